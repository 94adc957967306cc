"""Circuits seen from the caller: who reaches a provider that is down, and how it comes back."""

import asyncio

import pytest
from world import world

from resilio import CircuitOpen, Exhausted
from resilio.events import BreakerChanged
from resilio.testing.faults import Error, Silence
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

DOWN = Script.of(Error(status=503))
OK = Script(answer="fine")


def changes(w, name):
    return [
        (event.source, event.dest) for event in w.events if isinstance(event, BreakerChanged) and event.name == name
    ]


async def test_after_five_failures_the_target_is_left_alone():
    async with world(a=DOWN, b=OK) as w:
        for _ in range(100):
            assert (await w.llm.complete("chat", "hi")).text == "fine"
        assert w.calls("a") == 5
        assert changes(w, "a/m") == [("closed", "open")]
        assert w.llm.status().providers["a"].breaker.state == "closed"


async def test_at_the_instant_the_break_ends_one_of_200_callers_reaches_the_provider():
    async with world(a=DOWN, b=Script(answer="fine", first_token=Fixed(0.5))) as w:
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        await asyncio.sleep(30)
        seen = w.calls("a")
        began = w.now
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(60)))
        assert w.calls("a") - seen == 1
        assert sum(len(reply.attempts) == 2 for reply in replies) == 1
        assert {reply.target for reply in replies} == {"b/m"}
        assert w.now - began <= 0.6, "nobody waited for the probe"
        w.assert_idle()


async def test_with_200_callers_and_room_for_all_one_probes_and_199_go_elsewhere_at_once():
    async with world(a=DOWN, b=OK, provider={"max_concurrency": 500}) as w:
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        await asyncio.sleep(30)
        seen = w.calls("a")
        began = w.now
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(200)))
        assert w.calls("a") - seen == 1
        assert sum(len(reply.attempts) for reply in replies) == 201
        assert w.now - began < 0.01


async def test_a_recovered_target_is_ramped_up_and_closes():
    async with world(a=DOWN, b=OK) as w:
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        w.providers["a"].script = Script(answer="back")
        await asyncio.sleep(30)
        for _ in range(3):
            assert (await w.llm.complete("chat", "hi")).text == "back"
        assert w.llm.status().providers["a"].targets["a/m"].breaker.state == "ramping"
        first = [(await w.llm.complete("chat", "hi")).target for _ in range(100)]
        assert first.count("a/m") == 10
        await asyncio.sleep(31)
        assert changes(w, "a/m") == [
            ("closed", "open"),
            ("open", "half_open"),
            ("half_open", "ramping"),
            ("ramping", "closed"),
        ], "the actor's timers move it, with or without traffic"


async def test_a_cancelled_probe_frees_its_place():
    async with world(a=DOWN, b=OK) as w:
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        w.providers["a"].script = Script.of(Silence())
        await asyncio.sleep(30)
        probe = asyncio.create_task(w.llm.complete("chat", "hi"))
        await asyncio.sleep(0.1)
        assert w.llm.status().providers["a"].targets["a/m"].breaker.probes_out == 1
        probe.cancel()
        await asyncio.wait([probe])
        assert w.llm.status().providers["a"].targets["a/m"].breaker.probes_out == 0
        w.providers["a"].script = Script(answer="back")
        assert (await w.llm.complete("chat", "hi")).text == "back"
        w.assert_idle()


async def test_a_success_from_before_the_break_does_not_close_the_circuit():
    async with world(a=Script(answer="late", first_token=Fixed(8.0)), b=OK) as w:
        early = asyncio.create_task(w.llm.complete("chat", "hi"))
        await asyncio.sleep(0.1)
        w.providers["a"].script = DOWN
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        assert w.llm.status().providers["a"].targets["a/m"].breaker.state == "open"
        assert (await early).text == "late", "the caller gets the answer all the same"
        breaker = w.llm.status().providers["a"].targets["a/m"].breaker
        assert (breaker.state, breaker.stale) == ("open", 1)


async def test_a_crash_of_the_actor_keeps_the_circuit_open(caplog):
    async with world(a=DOWN, b=OK) as w:
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        seen = w.calls("a")
        record = w.llm.engine.supervisor.providers["a"]

        def bug(now):
            raise ZeroDivisionError("a bug in a control message")

        record.actor.post(bug)
        await asyncio.sleep(1)
        status = w.llm.status().providers["a"]
        assert (status.state, status.generation) == ("running", 1)
        assert status.targets["a/m"].breaker.state == "open"
        for _ in range(20):
            await w.llm.complete("chat", "hi")
        assert w.calls("a") == seen
        assert "crashed" in caplog.text


async def test_when_all_are_open_one_early_probe_goes_out_and_everybody_else_is_told_at_once():
    async with world(a=DOWN) as w:
        for _ in range(5):
            with pytest.raises(Exhausted):
                await w.llm.complete("chat", "hi")
        await asyncio.sleep(4)
        w.providers["a"].script = Script(answer="back", first_token=Fixed(1.0))
        began = w.now
        results = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(50)), return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert w.calls("a") == 6
        assert w.now - began <= 1.1


async def test_an_open_circuit_is_said_with_the_time_of_its_next_probe():
    async with world(a=DOWN, provider={"breaker": {"early_probes": False}}) as w:
        for _ in range(5):
            with pytest.raises(Exhausted):
                await w.llm.complete("chat", "hi")
        with pytest.raises(CircuitOpen, match=r"circuit for 'a/m' is open; next probe in \d+\.\d s") as caught:
            await w.llm.complete("chat", "hi")
        assert caught.value.retry_after == pytest.approx(30, abs=3)


async def test_an_outage_of_ten_minutes_costs_few_calls():
    async with world(a=Script(answer="up").flapping(60, 600, Error(status=503)), b=OK) as w:
        for _ in range(1000):
            reply = await w.llm.complete("chat", "hi")
            assert reply.complete
            await asyncio.sleep(0.6)
        down = [seen for seen in w.providers["a"].log if seen.status == 503]
        assert len(down) <= 5 + 20, "threshold and probes"
