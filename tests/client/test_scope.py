"""`scope`: identity, deadline and a spending cap for everything inside, tasks included."""

import asyncio

import pytest
from world import world

from resilio import BudgetExceeded, DeadlineExceeded
from resilio.events import CallSettled
from resilio.testing.faults import Silence
from resilio.testing.script import Script

OK = Script(answer="fine")
PRICED = {"price": {"input": 1.0, "output": 10.0}}


def identities(w):
    return [event.identity for event in w.events if isinstance(event, CallSettled)]


async def test_a_scope_names_who_asks_and_a_call_may_override_it():
    async with world(a=OK) as w:
        with w.llm.scope(user="alice", session="s1", tags={"team": "x"}):
            await w.llm.complete("chat", "hi")
            await w.llm.complete("chat", "hi", user="bob", tags={"step": "2"})
        await w.llm.complete("chat", "hi")
        first, second, third = identities(w)
        assert (first.user, first.session, first.tags) == ("alice", "s1", {"team": "x"})
        assert (second.user, second.session, second.tags) == ("bob", "s1", {"team": "x", "step": "2"})
        assert third.user is None


async def test_tasks_started_inside_belong_to_the_scope():
    async with world(a=OK) as w:
        with w.llm.scope(user="alice"):
            await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(3)))
        assert [each.user for each in identities(w)] == ["alice"] * 3


async def test_the_sooner_deadline_wins():
    async with world(a=Script.of(Silence())) as w:
        with w.llm.scope(deadline=3.0):
            began = w.now
            with pytest.raises(DeadlineExceeded):
                await w.llm.complete("chat", "hi", deadline=50)
            assert w.now - began == pytest.approx(3.0, abs=0.05)
            with pytest.raises(DeadlineExceeded):
                await w.llm.complete("chat", "hi")
            assert w.now - began == pytest.approx(3.0, abs=0.05)


async def test_calls_inside_never_cost_more_than_the_cap():
    async with world(a=OK, model=PRICED, route={"max_output_tokens": 1000}) as w:
        with w.llm.scope(max_cost_usd=0.05):
            results = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(20)), return_exceptions=True)
        answered = [each for each in results if not isinstance(each, BaseException)]
        refused = [each for each in results if isinstance(each, BudgetExceeded)]
        assert len(answered) + len(refused) == 20
        # Each reserves about a cent for 1,000 tokens, so four fit at one time.
        assert len(answered) == 4
        assert sum(each.cost_usd for each in answered) <= 0.05
        assert w.calls("a") == 4


async def test_what_was_reserved_and_not_used_is_free_again():
    async with world(a=OK, model=PRICED, route={"max_output_tokens": 1000}) as w:
        with w.llm.scope(max_cost_usd=0.05):
            replies = [await w.llm.complete("chat", "hi") for _ in range(20)]
        assert all(reply.complete for reply in replies)


async def test_a_cap_over_an_unknown_price_refuses_instead_of_guessing():
    async with world(a=OK, route={"max_output_tokens": 1000}) as w:
        with w.llm.scope(max_cost_usd=1.0), pytest.raises(BudgetExceeded, match="price"):
            await w.llm.complete("chat", "hi")
        assert w.calls("a") == 0
        w.assert_idle()


async def test_a_cap_over_an_answer_without_limit_refuses_and_says_what_to_set():
    async with world(a=OK, model=PRICED) as w:
        with w.llm.scope(max_cost_usd=1.0), pytest.raises(BudgetExceeded, match="max_output_tokens"):
            await w.llm.complete("chat", "hi")
        assert w.calls("a") == 0
