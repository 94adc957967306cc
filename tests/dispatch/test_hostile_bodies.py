"""Whatever bytes a provider sends, callers see a reply or one of our errors, and everything goes back."""

import asyncio
import random
from collections import Counter

import pytest
from hostile import CannedTransport, responses
from hypothesis import HealthCheck, given, settings

from resilio import Client, Reply, ResilioError
from resilio.testing.loop import run, wall_clock

CASES = max(170, settings().max_examples)
"""For each way to ask: 510 in all, more in the nightly run."""
CONFIG = {
    "provider": [
        {
            "name": "p",
            "kind": "openai",
            "base_url": "http://p.test/v1",
            "keys": ["sk-secret-of-mine"],
            "models": {"m": {}},
            "max_body_bytes": 4096,
        }
    ],
    "route": {"chat": {"targets": ["p/m"]}, "auto": {"targets": ["p/m"], "upstream_stream": "auto"}},
}


async def whole(llm):
    return await llm.complete("chat", "hi", deadline=30)


async def collected(llm):
    return await llm.complete("auto", "hi", deadline=30)


async def streamed(llm):
    async with llm.stream("chat", "hi", deadline=30) as stream:
        async for chunk in stream:
            assert isinstance(chunk.text, str)
    return stream.reply


async def ask(canned, how):
    """The reply or the error, once everything that must hold in either case has been checked."""
    loop, transport, unhandled = asyncio.get_running_loop(), CannedTransport(canned), []
    loop.set_exception_handler(lambda loop, context: unhandled.append(context))
    async with Client(CONFIG, transport=transport, rng=random.Random(1), wall=wall_clock(loop)) as llm:
        try:
            ended = await how(llm)
        except ResilioError as error:
            ended = error
        provider = llm.status().providers["p"]
        assert (provider.state, provider.in_flight, provider.waiting) == ("running", 0, 0)
        assert llm.engine.supervisor.providers["p"].models["m"].in_flight == 0
        assert transport.open_responses == 0
        assert 1 <= transport.sent <= 3
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert unhandled == []
    return ended


def check_reply(reply):
    assert reply.complete
    for text in (reply.text, reply.finish_reason, reply.reasoning, reply.refusal):
        assert type(text) is str
    for call in reply.tool_calls:
        assert {type(call.id), type(call.name), type(call.arguments)} == {str}
    assert min(reply.usage.input_tokens, reply.usage.output_tokens) >= 0


def check_error(error):
    assert error.attempts, "it was sent, so there is an attempt to tell of"
    for attempt in error.attempts:
        assert attempt.error_class
        assert attempt.error
    assert len(str(error)) < 3000
    assert "sk-secret" not in str(error)


@pytest.mark.parametrize("how", [whole, collected, streamed])
def test_whatever_a_provider_sends_is_a_reply_or_a_precise_error(how):
    ends = Counter()

    @settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
    @given(responses())
    def check(canned):
        ended = run(ask(canned, how))
        if isinstance(ended, Reply):
            assert 200 <= canned.status < 300
            check_reply(ended)
            ends["replies"] += 1
        else:
            check_error(ended)
            ends.update(str(attempt.error_class) for attempt in ended.attempts)

    check()
    # The cases are of every sort: neither all too wild to be read nor all too tame to fail.
    assert {"replies", "malformed", "truncated"} <= ends.keys(), ends
    assert len(ends) >= 6, ends
