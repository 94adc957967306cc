"""The model on this machine behind the engine: its genuine fault costs a replay and nothing else."""

import pytest

from resilio import Client

pytestmark = pytest.mark.real_loop

CONFIG = {
    "provider": [{"name": "local", "kind": "local"}],
    "route": {"chat": {"targets": ["local/smollm2-135m"], "max_output_tokens": 4, "clocks": {"first_token": 50}}},
}


async def streamed(llm):
    async with llm.stream("chat", "Say hello.", temperature=0) as stream:
        assert [chunk async for chunk in stream]
    return stream.reply


async def test_a_connection_the_server_dropped_after_a_stream_is_replayed_at_once_and_counts_for_nothing():
    async with Client(CONFIG) as llm:
        first, second = await streamed(llm), await streamed(llm)
        assert [attempt.outcome for attempt in first.attempts] == ["success"]
        dropped, replay = second.attempts
        assert (dropped.outcome, dropped.error_class, dropped.replay) == ("ignored", "disconnected", False)
        assert (replay.outcome, replay.replay) == ("success", True)
        local = llm.status().providers["local"]
        assert local.targets["local/smollm2-135m"].breaker.failures == 0
        assert local.breaker.failures == 0
        assert (first.complete, second.complete, second.level) == (True, True, "full")
