"""Hedging: a second target is asked when the first is silent; the faster one answers, the loser leaves no trace."""

import asyncio

import anyio
import pytest
from world import world

from resilio import Exhausted, InvalidRequest
from resilio.events import AttemptEnded
from resilio.testing.faults import Error, Silence
from resilio.testing.latency import Fixed, Uniform
from resilio.testing.script import Script

SLOW = Script(answer="slow", first_token=Fixed(8.0))
QUICK = Script(answer="quick", first_token=Fixed(0.2))
HEDGE = {"hedge": 1.0, "hedge_share": 1.0}


async def streamed(w, **options):
    async with w.llm.stream("chat", "hi", **options) as stream:
        text = "".join([chunk.text async for chunk in stream])
    return text, stream.reply


async def test_a_silent_first_target_loses_to_the_second():
    async with world(a=SLOW, b=QUICK, route=HEDGE) as w:
        began = w.now
        text, reply = await streamed(w)
        assert (text, reply.target) == ("quick", "b/m")
        assert w.now - began == pytest.approx(1.2, abs=0.05)
        assert {(each.target, each.outcome) for each in reply.attempts} == {("a/m", "cancelled"), ("b/m", "success")}
        assert w.providers["a"].log[0].outcome == "client_gone"
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0
        w.assert_idle()
        assert w.transport.open_responses == 0


async def test_a_first_target_that_answers_after_all_wins():
    async with world(a=Script(answer="first", first_token=Fixed(1.5)), b=SLOW, route=HEDGE) as w:
        text, _ = await streamed(w)
        assert text == "first"
        assert w.providers["b"].log[0].outcome == "client_gone"
        w.assert_idle()


async def test_a_quick_first_target_is_never_hedged():
    async with world(a=QUICK, b=QUICK, route=HEDGE) as w:
        await streamed(w)
        assert w.calls("b") == 0


@pytest.mark.parametrize("auto", ["as_asked", "auto"])
async def test_whole_answers_are_hedged_too(auto):
    async with world(a=SLOW, b=QUICK, route={**HEDGE, "upstream_stream": auto}) as w:
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.target) == ("quick", "b/m")
        w.assert_idle()


async def test_the_p95_of_the_target_decides_once_it_has_a_history():
    usual = Script(answer="usual", first_token=Uniform(0.1, 0.3))
    async with world(a=usual, b=QUICK, route={"hedge": "p95", "hedge_share": 1.0}) as w:
        for _ in range(4):
            await streamed(w)
        assert w.calls("b") == 0, "no history yet"
        for _ in range(60):
            await streamed(w)
        assert w.calls("b") <= 15
        w.providers["a"].script = SLOW
        began = w.now
        text, _ = await streamed(w)
        assert text == "quick"
        assert w.now - began <= 0.55


async def test_hedges_stay_under_their_share():
    async with world(
        a=Script(answer="a", first_token=Fixed(2.0)), b=QUICK, route={"hedge": 1.0, "hedge_share": 0.05}
    ) as w:
        for _ in range(200):
            await streamed(w)
        assert w.calls("b") <= 1 + 0.05 * 200


async def test_hedges_draw_on_the_retry_budget_of_the_second_provider():
    broke = {"b": {"retry_budget": {"ratio": 0, "per_second": 0, "initial": 2}}}
    async with world(a=Script(answer="a", first_token=Fixed(2.0)), b=QUICK, route=HEDGE, only=broke) as w:
        for _ in range(20):
            await streamed(w)
        assert w.calls("b") == 2


async def test_when_the_first_fails_the_hedge_goes_on_alone():
    late = Script.of(Error(status=503), first_token=Fixed(0.0)).with_rule()
    async with world(a=Script.of(Silence()), b=late, c=QUICK, route={**HEDGE, "clocks": {"first_token": 3}}) as w:
        text, reply = await streamed(w)
        assert text == "quick"
        assert {each.target for each in reply.attempts} == {"a/m", "b/m", "c/m"}
        w.assert_idle()


async def test_when_both_fail_the_error_lists_both():
    async with world(
        a=Script.of(Silence()), b=Script.of(Silence()), route={**HEDGE, "clocks": {"first_token": 3}}
    ) as w:
        with pytest.raises(Exhausted) as caught:
            await streamed(w)
        assert {each.target for each in caught.value.attempts} == {"a/m", "b/m"}
        w.assert_idle()


async def test_a_fault_of_the_caller_found_by_the_hedge_ends_the_call():
    async with world(a=SLOW, b=Script.of(Error("invalid_value")), route=HEDGE) as w:
        began = w.now
        with pytest.raises(InvalidRequest):
            await streamed(w)
        assert w.now - began < 2
        w.assert_idle()


@pytest.mark.parametrize("after", [0.0, 0.5, 1.0, 1.1, 1.2])
@pytest.mark.parametrize("how", ["task", "twice", "scope"])
async def test_a_cancelled_caller_ends_both(how, after):
    before = asyncio.all_tasks()
    async with world(a=SLOW, b=Script(answer="b", first_token=Fixed(5.0)), route=HEDGE) as w:
        if how == "scope":
            with anyio.move_on_after(after):
                await streamed(w)
        else:
            task = asyncio.create_task(streamed(w))
            await asyncio.sleep(after)
            task.cancel()
            if how == "twice":
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await asyncio.sleep(0.01)
        w.assert_idle()
        assert w.transport.open_responses == 0
        ended = [event for event in w.events if isinstance(event, AttemptEnded)]
        assert all(event.attempt.outcome == "cancelled" for event in ended)
    assert asyncio.all_tasks() == before
