"""The race of two attempts at its edges: ties, errors, budgets, accounts, and a client that closes meanwhile."""

import asyncio

import pytest
from world import world

from resilio import Exhausted, ProviderRefused
from resilio.events import AttemptEnded, CallSettled
from resilio.testing.faults import Cut, Error, ErrorFrame, NoPrefill, Silence, SlowFirstToken
from resilio.testing.latency import Fixed
from resilio.testing.schedule import shuffled
from resilio.testing.script import Script

HEDGE = {"hedge": 1.0, "hedge_share": 1.0}
SILENT = Script.of(Silence())


def after(seconds, answer, *faults):
    return Script.of(*faults, answer=answer, first_token=Fixed(seconds))


async def streamed(w, **options):
    async with w.llm.stream("chat", "hi", **options) as stream:
        text = "".join([chunk.text async for chunk in stream])
    return text, stream.reply


def record(w):
    (event,) = [event for event in w.events if isinstance(event, CallSettled)]
    return event


# --- ties --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["complete", "auto", "stream"])
def test_two_answers_of_the_same_moment_are_one_reply_of_one_target_in_any_order(call):
    async def main():
        route = {**HEDGE, "upstream_stream": "auto" if call == "auto" else "as_asked"}
        async with world(a=after(3.0, "a"), b=after(2.0, "b"), route=route) as w:
            reply = (await streamed(w))[1] if call == "stream" else await w.llm.complete("chat", "hi")
            assert reply.target == f"{reply.text}/m" == record(w).target
            assert {each.target for each in reply.attempts} == {"a/m", "b/m"}
            assert list(record(w).attempts) == list(reply.attempts)
            await asyncio.sleep(0.01)
            w.assert_idle()
            assert w.transport.open_responses == 0

    shuffled(main)


def test_an_answer_beats_a_refusal_of_the_same_moment():
    async def main():
        refuses = after(2.0, "no", ErrorFrame(0, code="content_policy_violation"))
        async with world(a=after(3.0, "a"), b=refuses, route=HEDGE) as w:
            assert (await streamed(w))[0] == "a"
            w.assert_idle()

    shuffled(main)


# --- accounts ----------------------------------------------------------------------------------------


async def test_the_reply_of_a_hedged_unary_call_lists_the_loser_with_an_estimate_of_what_it_cost():
    async with world(a=SILENT, b=after(0.2, "b"), route=HEDGE) as w:
        reply = await w.llm.complete("chat", "hi there, how are you?")
        assert [(each.target, each.outcome) for each in reply.attempts] == [("b/m", "success"), ("a/m", "cancelled")]
        loser = next(each for each in w.events if isinstance(each, AttemptEnded) and each.attempt.target == "a/m")
        assert loser.usage.estimated
        assert (loser.usage.input_tokens > 0, loser.usage.output_tokens) == (True, 0)


async def test_a_hedge_that_the_cap_forbids_costs_neither_the_answer_nor_an_attempt():
    dear = {"b": {"models": {"m": {"price": {"input": 1e6, "output": 1e6}}}}}
    cheap = {"price": {"input": 0.1, "output": 0.1}}
    route = {**HEDGE, "max_output_tokens": 10, "retry": {"max_attempts": 2}}
    first = after(2.0, "never", Cut(0))
    async with world(a=first, b=after(0.1, "b"), c=after(0.1, "c"), model=cheap, only=dear, route=route) as w:
        with w.llm.scope(max_cost_usd=1.0):
            text, reply = await streamed(w)
        assert text == "c", "the second attempt was not used up by the one that never was"
        assert [each.target for each in reply.attempts] == ["a/m", "c/m"]
        w.assert_idle()


async def test_a_throttled_target_that_lost_may_be_asked_again_when_nothing_else_is_left():
    throttled = Script(answer="b").first(1, Error("rate_limit_exceeded", retry_after=1.5))
    async with world(a=SILENT, b=throttled, route={**HEDGE, "clocks": {"first_token": 2}}) as w:
        text, reply = await streamed(w)
        assert text == "b"
        assert [each.target for each in reply.attempts] == ["b/m", "a/m", "b/m"]


async def test_a_hedge_refused_for_lack_of_a_share_costs_the_provider_none_of_its_retries():
    async with world(a=after(2.0, "a"), b=after(0.1, "b"), route={"hedge": 1.0, "hedge_share": 0.0001}) as w:
        for _ in range(10):
            await streamed(w)
        assert w.calls("b") == 1
        assert w.llm.engine.supervisor.providers["b"].retry_budget.statistics(w.now).taken == 1


async def test_a_hedge_that_found_no_target_leaves_the_share_to_the_next_call():
    async with world(a=after(2.0, "a"), b=after(0.1, "b"), route={"hedge": 1.0, "hedge_share": 0.0001}) as w:
        b = w.llm.engine.supervisor.providers["b"]
        b.breaker.force_open(w.now)
        await streamed(w)
        b.breaker.reset(w.now)
        assert (await streamed(w))[0] == "b"


async def test_the_share_is_one_of_calls_whatever_each_of_them_tries_again():
    flaky = Script(answer="a").sequence(*[Error(status=500), None] * 5)
    async with world(a=flaky, b=Script(answer="b"), route=HEDGE) as w:
        for _ in range(5):
            await w.llm.complete("chat", "hi")
        budget = w.llm.engine.supervisor.routes["chat"].hedge_budget
        assert budget.statistics(w.now).calls == 5


async def test_the_p95_of_whole_answers_decides_for_whole_answers():
    async with world(a=after(0.3, "usual"), b=after(0.1, "b"), route={"hedge": "p95", "hedge_share": 1.0}) as w:
        for _ in range(20):
            await w.llm.complete("chat", "hi")
        w.providers["a"].script = Script.of(SlowFirstToken(20))
        began = w.now
        assert (await w.llm.complete("chat", "hi")).text == "b"
        assert w.now - began == pytest.approx(0.4)


# --- errors ------------------------------------------------------------------------------------------


async def test_a_prefill_refused_by_the_hedge_does_not_stop_the_one_that_goes_on():
    picky = Script(answer="one two three").with_rule(NoPrefill())
    can = {"models": {"m": {"capabilities": ["streaming", "prefill"]}}}
    route = {**HEDGE, "on_break": "continue", "retry": {"max_attempts": 5, "max_targets": 4}}
    async with world(
        a=Script.of(Cut(2), answer="one two three"), b=after(1.5, "three"), c=picky, route=route,
        only={"b": can, "c": can},
    ) as w:  # fmt: skip
        began = w.now
        text, reply = await streamed(w)
        assert text == "one two three"
        assert reply.seams[0].target == "b/m"
        assert w.now - began == pytest.approx(1.5)
        w.assert_idle()


async def test_a_refusal_ends_the_race_and_lists_both_attempts():
    filtered = Script.of(Error("content_policy_violation"))
    async with world(a=SILENT, b=filtered, route=HEDGE) as w:
        with pytest.raises(ProviderRefused) as caught:
            await streamed(w)
        assert {each.target for each in caught.value.attempts} == {"a/m", "b/m"}
        assert list(record(w).attempts) == list(caught.value.attempts)
        assert record(w).final == "refused"


async def test_both_failing_at_one_moment_lists_both():
    async with world(a=after(2.0, "", Cut(0)), b=after(1.0, "", Cut(0)), route=HEDGE) as w:
        with pytest.raises(Exhausted) as caught:
            await streamed(w)
        assert {each.target for each in caught.value.attempts} == {"a/m", "b/m"}
        w.assert_idle()


# --- the client closes -------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["complete", "stream"])
async def test_a_hedged_call_in_flight_is_drained_like_any_other_when_the_client_closes(call):
    async with world(a=after(3.0, "a"), b=SILENT, route=HEDGE, defaults={"drain_timeout": 20}) as w:
        ask = w.llm.complete("chat", "hi") if call == "complete" else streamed(w)
        task = asyncio.create_task(ask)
        await asyncio.sleep(1.5)
    got = await task
    assert (got.text if call == "complete" else got[0]) == "a"
