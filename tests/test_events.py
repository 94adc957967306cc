"""Whoever listens hears everything, and a listener's own bug stays its own."""

import asyncio
import random

from world import QUIET

from resilio import Client
from resilio.events import AttemptEnded, CallSettled
from resilio.testing import Script, ScriptedTransport, SimulatedProvider, wall_clock
from resilio.testing.faults import Error

CONFIG = {
    "provider": [
        {"name": name, "kind": "openai", "base_url": f"http://{name}.test/v1", "models": {"m": {}}, "breaker": QUIET}
        for name in ("a", "b")
    ],
    "route": {"chat": {"targets": ["a/m", "b/m"]}},
}


def deaf(event):
    raise ValueError("a bug of the listener")


async def test_a_listener_that_raises_costs_no_call_and_the_others_hear_everything(caplog):
    heard, loop = [], asyncio.get_running_loop()
    providers = {"http://a.test/v1": SimulatedProvider(Script.of(Error(status=503)))}
    providers["http://b.test/v1"] = SimulatedProvider(Script(answer="from b"))
    async with Client(
        CONFIG, transport=ScriptedTransport(providers), rng=random.Random(1), wall=wall_clock(loop),
        listeners=[deaf, heard.append],
    ) as llm:  # fmt: skip
        assert (await llm.complete("chat", "hi")).text == "from b"
        async with llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "from b"
        for seen in llm.status().providers.values():
            assert (seen.state, seen.in_flight) == ("running", 0)
    attempts = [(event.attempt.target, event.attempt.outcome) for event in heard if isinstance(event, AttemptEnded)]
    assert attempts == [("a/m", "failure"), ("b/m", "success")] * 2
    assert [event.final for event in heard if isinstance(event, CallSettled)] == ["complete"] * 2
    told = [record for record in caplog.records if "failed on" in record.message]
    assert len(told) == len(heard)
    assert "a bug of the listener" in caplog.text
