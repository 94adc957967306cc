"""Budgets over the whole engine: who pays, how much, when a call is refused, and what comes back."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from shared_ledger import Book, SharedLedger
from world import world

from resilio import BudgetExceeded, DeadlineExceeded, Exhausted, LedgerUnavailable, ResilioError, StreamBroken
from resilio.events import AttemptEnded, BudgetChanged
from resilio.testing import chat
from resilio.testing.faults import Cut, Error, Silence
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

OK = Script(answer="fine", first_token=Fixed(0.1))
PRICED = {"price": {"input": 1.0, "output": 10.0}}
ROUTE = {"max_output_tokens": 100}
PROMPT = 35
"""Tokens reserved for the prompt of "hi": one, and what a chat template may put around it."""
DAY = {"per": "user", "window": "day", "limit_tokens": 1000}


def used(w):
    return sum(each.usage.total_tokens for each in w.events if isinstance(each, AttemptEnded) and each.usage)


def spent(book, entity=None):
    return sum(each.amount for each in book.entries if entity in (None, each.account.entity))


def changes(w):
    return [(each.entity, each.dest) for each in w.events if isinstance(each, BudgetChanged)]


async def written(w):
    await asyncio.sleep(0.1)
    w.assert_idle()


async def test_a_call_is_charged_what_it_used_to_every_entity_it_names_and_to_no_other():
    book = Book()
    budgets = [
        DAY,
        {"per": "organisation", "window": "month", "limit_tokens": 10**6},
        {"per": "feature", "window": "day", "limit_usd": 1},
        {"per": "tag:team", "window": "hour", "limit_tokens": 10**6},
        {"per": "all", "window": 3600, "limit_tokens": 10**6},
    ]  # fmt: skip
    async with world(a=OK, model=PRICED, route=ROUTE, budgets=budgets, ledger=SharedLedger(book)) as w:
        reply = await w.llm.complete("chat", "hi", user="alice", organisation="acme", tags={"team": "x"})
        await written(w)
        total = reply.usage.total_tokens
        found = {account[:2]: amount for account, amount in book.balances().items()}
        assert found == {
            ("user/day/tokens", "alice"): total, ("organisation/month/tokens", "acme"): total,
            ("tag:team/hour/tokens", "x"): total, ("all/3600s/tokens", "*"): total,
        }  # fmt: skip
        reply = await w.llm.complete("chat", "hi", feature="search")
        await written(w)
        money = {
            account.entity: amount for account, amount in book.balances().items() if account.budget.endswith("usd")
        }
        assert money == {"search": round(reply.cost_usd * 10**12)}


async def test_a_budget_in_both_units_keeps_two_accounts_and_the_scarcer_one_refuses():
    budget = {"per": "user", "window": "day", "limit_tokens": 10**6, "limit_usd": 0.0015}
    async with world(a=OK, model=PRICED, route=ROUTE, budgets=[budget]) as w:
        await w.llm.complete("chat", "hi", user="a")
        with pytest.raises(BudgetExceeded, match=r"budget 'user/day' of 'a': this call may cost 0.00\d+ USD") as caught:
            await w.llm.complete("chat", "hi", user="a", max_tokens=200)
        assert (caught.value.unit, caught.value.entity, caught.value.limit) == ("usd", "a", 0.0015)
        assert await w.llm.remaining(user="a") == {
            "user/day/tokens": pytest.approx(10**6, abs=20), "user/day/usd": pytest.approx(0.0015, abs=2e-4),
        }  # fmt: skip


async def test_callers_at_one_time_never_pass_the_limit_and_what_fits_is_admitted():
    book = Book()
    async with world(a=OK, route=ROUTE, budgets=[DAY], ledger=SharedLedger(book)) as w:
        results = await asyncio.gather(
            *(w.llm.complete("chat", "hi", user="alice") for _ in range(40)), return_exceptions=True
        )
        answered = [each for each in results if not isinstance(each, BaseException)]
        refused = [each for each in results if isinstance(each, BudgetExceeded)]
        assert len(answered) + len(refused) == 40
        assert len(answered) == w.calls("a") == 1000 // (PROMPT + 100)
        assert refused[0].left < refused[0].needed
        assert 0 < refused[0].retry_after <= 86_400
        await written(w)
        assert spent(book) == used(w) < 1000
        assert [holding.block.overrun for holding in w.llm.engine.spending.holdings] == [0]


async def test_what_was_reserved_and_not_used_is_free_for_the_next():
    async with world(a=OK, route=ROUTE, budgets=[{**DAY, "limit_tokens": 200}]) as w:
        for _ in range(20):
            assert (await w.llm.complete("chat", "hi", user="alice")).complete


async def test_one_budget_without_room_leaves_nothing_reserved_in_the_others():
    budgets = [DAY, {"per": "organisation", "window": "day", "limit_tokens": 10}]
    async with world(a=OK, route=ROUTE, budgets=budgets) as w:
        with pytest.raises(BudgetExceeded, match="organisation/day"):
            await w.llm.complete("chat", "hi", user="alice", organisation="acme")
        assert w.calls("a") == 0
        w.assert_idle()
        assert (await w.llm.usage(user="alice"))[0].reserved == 0
        with w.llm.scope(max_cost_usd=1.0), pytest.raises(BudgetExceeded, match="price"):
            await w.llm.complete("chat", "hi", user="alice")
        w.assert_idle()


async def test_the_cap_of_a_scope_and_those_around_it_hold_together():
    async with world(a=OK, model=PRICED, route=ROUTE) as w:
        with w.llm.scope(max_cost_usd=0.001042), w.llm.scope(max_cost_usd=1.0):
            await w.llm.complete("chat", "hi")
            with pytest.raises(BudgetExceeded, match="max_cost_usd"):
                await w.llm.complete("chat", "hi")


async def test_a_call_that_names_no_entity_is_none_of_its_budget_and_one_not_listed_neither():
    budget = {**DAY, "limit_tokens": 0, "only": ["mallory"]}
    async with world(a=OK, budgets=[budget]) as w:
        assert (await w.llm.complete("chat", "hi")).complete, "without max_output_tokens, too"
        assert (await w.llm.complete("chat", "hi", user="alice")).complete
        with pytest.raises(BudgetExceeded):
            await w.llm.complete("chat", "hi", user="mallory", max_tokens=1)


async def test_an_audit_of_the_cache_is_paid_by_its_own_feature_and_not_by_the_caller_in_whose_scope_it_runs():
    book = Book()
    budgets = [DAY, {"per": "feature", "window": "day", "limit_tokens": 1000}]
    async with world(a=OK, model=PRICED, route=ROUTE, budgets=budgets, ledger=SharedLedger(book)) as w:
        with w.llm.scope(user="alice", feature="search", max_cost_usd=0.0, deadline=0.05):
            assert await w.llm._judge("chat", "the same?") == "fine"
        await written(w)
        assert {account.entity for account in book.balances()} == {"resilio-judge"}


async def test_an_answer_without_limit_is_refused_where_a_budget_applies_and_says_what_to_set():
    async with world(a=OK, budgets=[DAY]) as w:
        with pytest.raises(BudgetExceeded, match="set max_tokens or the route's max_output_tokens"):
            await w.llm.complete("chat", "hi", user="alice")
        assert w.calls("a") == 0


@pytest.mark.parametrize(
    ("wire", "needed"),
    [
        ({"max_tokens": 50}, 50), ({"max_tokens": 5, "max_completion_tokens": 70}, 70), ({"n": 3}, 300),
        ({"n": 2, "max_tokens": 10}, 20), ({"max_tokens": -1}, None), ({"max_tokens": "50"}, None), ({"n": "3"}, None),
        ({"max_tokens": True}, None), ({"max_tokens": 1e9}, None),
    ],
)  # fmt: skip
async def test_what_is_reserved_is_the_longest_answer_the_request_allows(wire, needed):
    async with world(a=OK, route=ROUTE, budgets=[{**DAY, "limit_tokens": 1}]) as w:
        with pytest.raises(BudgetExceeded) as caught:
            await w.llm.complete("chat", "hi", user="alice", **wire)
        assert caught.value.needed is needed or caught.value.needed == needed + PROMPT


async def test_the_routes_limit_is_what_is_sent_upstream():
    async with world(a=OK, route=ROUTE, budgets=[DAY]) as w:
        await w.llm.complete("chat", "hi", user="alice")
        assert w.providers["a"].log[0].body["max_tokens"] == 100


async def test_a_refusal_lets_the_ladder_go_on_to_a_cheaper_route():
    only = {"a": {"models": {"m": {"price": {"input": 100, "output": 100}}}}, "b": {"models": {"m": PRICED}}}
    routes = {
        "chat": {"targets": ["a/m"], "ladder": ["full", {"simpler": "small"}], **ROUTE},
        "small": {"targets": ["b/m"], **ROUTE},
    }
    budget = {"per": "user", "window": "day", "limit_usd": 0.002}
    async with world(a=OK, b=OK, only=only, routes=routes, budgets=[budget]) as w:
        reply = await w.llm.complete("chat", "hi", user="alice")
        assert (reply.level, reply.target) == ("simpler", "b/m")
        assert "budget 'user/day' of 'alice'" in reply.reasons[0]
        assert w.calls("a") == 0


async def test_a_target_too_dear_is_left_out_and_a_cheaper_one_of_the_route_answers():
    only = {"a": {"models": {"m": {"price": {"input": 100, "output": 100}}}}, "b": {"models": {"m": PRICED}}}
    async with world(
        a=OK, b=OK, only=only, route=ROUTE, budgets=[{"per": "all", "window": "day", "limit_usd": 0.002}]
    ) as w:
        assert (await w.llm.complete("chat", "hi")).target == "b/m"


async def test_what_a_dearer_target_would_have_needed_is_free_once_the_cheap_one_is_chosen():
    only = {"a": {"models": {"m": PRICED}}, "b": {"models": {"m": {"price": {"input": 100, "output": 100}}}}}
    async with world(
        a=OK, b=OK, only=only, route=ROUTE, budgets=[{"per": "all", "window": "day", "limit_usd": 1}]
    ) as w:
        task = asyncio.create_task(w.llm.complete("chat", "hi"))
        await asyncio.sleep(0.05)
        (usage,) = await w.llm.usage()
        assert usage.reserved == pytest.approx(0.001, abs=1e-4)
        await task


async def test_a_request_that_was_sent_and_reported_nothing_is_charged_in_full():
    book = Book()
    async with world(a=Script.of(Silence()), route=ROUTE, budgets=[DAY], ledger=SharedLedger(book)) as w:
        with pytest.raises(DeadlineExceeded):
            await w.llm.complete("chat", "hi", user="alice", deadline=3)
        await written(w)
        assert spent(book) == PROMPT + 100


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "invalid_api_key", "context_length_exceeded"])
async def test_a_request_that_the_provider_turned_away_costs_nothing(code):
    book = Book()
    async with world(a=Script.of(Error(code)), route=ROUTE, budgets=[DAY], ledger=SharedLedger(book)) as w:
        with pytest.raises(ResilioError):
            await w.llm.complete("chat", "hi", user="alice", deadline=3)
        await written(w)
        assert w.calls("a") > 0
        assert spent(book) == 0


async def test_a_call_cancelled_before_it_is_sent_costs_nothing_and_after_it_all_of_it():
    book = Book()
    provider = {"max_concurrency": 1}
    async with world(a=OK, provider=provider, route=ROUTE, budgets=[DAY], ledger=SharedLedger(book)) as w:
        first, second = (asyncio.create_task(w.llm.complete("chat", "hi", user=each)) for each in ("one", "two"))
        await asyncio.sleep(0.05)
        for task in (first, second):
            task.cancel()
        await asyncio.wait((first, second))
        await written(w)
        assert spent(book, "one") == PROMPT + 100
        assert spent(book, "two") == 0


async def test_a_stream_that_is_left_is_charged_what_was_read():
    book = Book()
    slow = Script(answer="word " * 400, first_token=Fixed(0.1), tokens_per_second=10)
    async with world(a=slow, route={"max_output_tokens": 500}, budgets=[DAY], ledger=SharedLedger(book)) as w:
        async with w.llm.stream("chat", "hi", user="alice") as stream:
            async for _ in stream:
                break
        await written(w)
        assert 0 < spent(book) == used(w) < 50


async def test_a_stream_of_a_model_that_thinks_out_of_sight_is_charged_in_full_when_it_is_left():
    book = Book()
    slow = Script(answer="word " * 400, first_token=Fixed(0.1), tokens_per_second=10)
    async with world(a=slow, route=ROUTE, model={"reasoning": True}, budgets=[DAY], ledger=SharedLedger(book)) as w:
        async with w.llm.stream("chat", "hi", user="alice") as stream:
            async for _ in stream:
                break
        await written(w)
        assert spent(book) == PROMPT + 100
        reply = await w.llm.complete("chat", "hi", user="bob")
        await written(w)
        assert spent(book, "bob") == reply.usage.total_tokens, "what is reported counts"


async def test_the_loser_of_a_hedge_is_charged():
    book = Book()
    route = {**ROUTE, "hedge": 0.5, "hedge_share": 1.0}
    quick = Script(answer="b", first_token=Fixed(0.1))
    async with world(a=Script.of(Silence()), b=quick, route=route, budgets=[DAY], ledger=SharedLedger(book)) as w:
        reply = await w.llm.complete("chat", "hi", user="alice")
        assert reply.target == "b/m"
        await written(w)
        assert spent(book) - reply.usage.total_tokens == PROMPT + 100


async def test_no_hedge_is_sent_that_the_budget_has_no_room_for():
    route = {**ROUTE, "hedge": 0.5, "hedge_share": 1.0}
    slow = Script(answer="a", first_token=Fixed(2.0))
    async with world(a=slow, b=OK, route=route, budgets=[{**DAY, "limit_tokens": 150}]) as w:
        assert (await w.llm.complete("chat", "hi", user="alice")).target == "a/m"
        assert w.calls("b") == 0
        w.assert_idle()


async def test_a_stream_that_goes_on_elsewhere_pays_for_the_text_it_takes_along():
    book = Book()
    route = {"max_output_tokens": 400, "on_break": "continue"}
    answer = "word " * 200
    broken = Script(answer=answer).first(1, Cut(40))
    model = {"capabilities": ["streaming", "prefill"]}
    async with world(
        a=broken,
        b=Script(answer=answer),
        route=route,
        model=model,
        budgets=[{**DAY, "limit_tokens": 5000}],
        ledger=SharedLedger(book),
    ) as w:
        async with w.llm.stream("chat", "hi", user="alice") as stream:
            async for _ in stream:
                pass
        assert len(stream.reply.seams) == 1
        await written(w)
        assert spent(book) == used(w) == stream.reply.usage.total_tokens


async def test_an_answer_from_the_cache_reserves_and_costs_nothing():
    book = Book()
    async with world(
        a=OK, route=ROUTE, cache={"exact": {}}, budgets=[{**DAY, "limit_tokens": 150}], ledger=SharedLedger(book)
    ) as w:
        await w.llm.complete("chat", "hi", user="alice")
        await written(w)
        before = spent(book)
        w.llm.set_limit("user/day", 0)
        assert (await w.llm.complete("chat", "hi", user="alice")).cached is not None
        await written(w)
        assert spent(book) == before


async def test_the_soft_limit_is_told_once_a_window_and_so_is_the_hard_one():
    book = Book()
    async with world(a=OK, route=ROUTE, budgets=[DAY], ledger=SharedLedger(book)) as w:
        for _ in range(400):
            with suppress(BudgetExceeded):
                await w.llm.complete("chat", "hi " * 20, user="alice")
        assert changes(w) == [("alice", "soft_exceeded"), ("alice", "hard_exceeded")]
        assert 800 <= next(each.spent for each in w.events if isinstance(each, BudgetChanged)) < 1000
        await asyncio.sleep(86_400)
        await w.llm.complete("chat", "hi", user="alice")
        assert changes(w)[2:] == [("alice", "open")]


async def test_at_midnight_there_is_a_new_budget_and_a_call_pays_where_it_began():
    book = Book()
    slow = Script(answer="fine", first_token=Fixed(20.0))
    async with world(
        a=slow,
        route={**ROUTE, "clocks": {"first_token": 30}},
        budgets=[{**DAY, "limit_tokens": 150}],
        ledger=SharedLedger(book),
    ) as w:
        await asyncio.sleep(16 * 3600 - 10)  # it was eight in the morning
        first = asyncio.create_task(w.llm.complete("chat", "hi", user="alice"))
        await asyncio.sleep(5)
        with pytest.raises(BudgetExceeded) as caught:
            await w.llm.complete("chat", "hi", user="alice")
        assert caught.value.retry_after == pytest.approx(5, abs=0.1)
        await asyncio.sleep(6)
        await w.llm.complete("chat", "hi", user="alice")
        await first
        await written(w)
        (claims,) = book.claims.values()
        assert {account.window: units > 0 for account, units in claims.items()} == {
            "2027-01-15": False,
            "2027-01-16": True,
        }
        assert {account.window: amount > 0 for account, amount in book.balances().items()} == {
            "2027-01-15": True, "2027-01-16": True,
        }  # fmt: skip


async def test_a_sliding_window_frees_what_has_left_it_and_never_earlier():
    budget = {"per": "user", "window": 240, "kind": "sliding", "limit_tokens": 330}
    async with world(a=Script(answer="word " * 90), route=ROUTE, budgets=[budget]) as w:
        admitted = []
        for _ in range(100):
            with suppress(BudgetExceeded):
                reply = await w.llm.complete("chat", "hi", user="alice")
                admitted.append((w.now, reply.usage.total_tokens))
            await asyncio.sleep(20)
        assert len(admitted) > 10
        for instant, _ in admitted:
            assert sum(tokens for at, tokens in admitted if instant - 240 <= at <= instant) <= 330


async def test_while_the_ledger_cannot_be_written_nothing_new_is_spent_and_nothing_is_lost():
    book = Book()
    ledger = SharedLedger(book)
    slow = Script(answer="fine", first_token=Fixed(1.0))
    async with world(a=slow, route=ROUTE, budgets=[{**DAY, "limit_tokens": 10**6}], ledger=ledger) as w:
        running = asyncio.create_task(w.llm.complete("chat", "hi", user="alice"))
        await asyncio.sleep(0.5)
        ledger.broken = True
        first = await running
        assert first.complete, "what is under way finishes"
        await asyncio.sleep(0.1)
        for user in ("alice", "bob"):
            with pytest.raises(LedgerUnavailable, match="the disk is full; make room"):
                await w.llm.complete("chat", "hi", user=user)
        assert (await w.llm.complete("chat", "hi")).complete, "no budget, no ledger"
        assert w.llm.status().budgets["user/day/tokens"].unavailable is not None
        assert spent(book) == 0
        ledger.broken = False
        await asyncio.sleep(6)
        second = await w.llm.complete("chat", "hi", user="alice")
        await written(w)
        assert spent(book) == first.usage.total_tokens + second.usage.total_tokens


async def test_what_is_idle_goes_back_and_another_process_has_it():
    book = Book()
    budgets = [{**DAY, "limit_tokens": 1000}]
    async with (
        world(a=OK, route=ROUTE, budgets=budgets, ledger=SharedLedger(book)) as one,
        world(a=OK, route={"max_output_tokens": 900}, budgets=budgets, ledger=SharedLedger(book)) as two,
    ):
        await one.llm.complete("chat", "hi", user="alice")
        assert sum(book.claims[one.llm.engine.spending._ledger].values()) > 0
        with pytest.raises(BudgetExceeded):
            await two.llm.complete("chat", "hi", user="alice")
        await asyncio.sleep(3)
        assert (await two.llm.complete("chat", "hi", user="alice")).complete


async def test_a_limit_set_by_hand_holds_at_once_and_through_a_reload():
    async with world(a=OK, route=ROUTE, budgets=[DAY]) as w:
        await w.llm.complete("chat", "hi", user="alice")
        w.llm.set_limit("user/day", 50, entity="alice")
        with pytest.raises(BudgetExceeded, match="of 50 tokens"):
            await w.llm.complete("chat", "hi", user="alice")
        await w.llm.complete("chat", "hi", user="bob")
        await w.llm.reload(w.llm.config)
        with pytest.raises(BudgetExceeded, match="of 50 tokens"):
            await w.llm.complete("chat", "hi", user="alice")
        w.llm.set_limit("user/day", None, entity="alice")
        assert (await w.llm.complete("chat", "hi", user="alice")).complete


@pytest.mark.parametrize("delay", [0.0, 0.5])
async def test_a_limit_lowered_while_a_block_is_at_hand_is_kept(delay):
    book = Book()
    async with world(
        a=OK, route=ROUTE, budgets=[{**DAY, "limit_tokens": 10**6}], ledger=SharedLedger(book, delay)
    ) as w:
        await w.llm.complete("chat", "hi", user="alice")
        w.llm.set_limit("user/day", 300)
        results = await asyncio.gather(
            *(w.llm.complete("chat", "hi", user="alice") for _ in range(9)), return_exceptions=True
        )
        admitted = sum(not isinstance(each, BaseException) for each in results)
        assert admitted >= 2 if delay else admitted == 2, "what is on its way back is not taken for spent"
        await written(w)
        assert spent(book) <= 300


async def test_a_reload_keeps_what_was_spent_and_takes_the_new_limit():
    async with world(a=OK, route=ROUTE, budgets=[{**DAY, "limit_tokens": 300}]) as w:
        for _ in range(4):
            await w.llm.complete("chat", "hi " * 10, user="alice")
        (before,) = await w.llm.usage(user="alice")
        (budget,) = w.llm.config.budgets
        await w.llm.reload(replace(w.llm.config, budgets=(replace(budget, limit_tokens=20),)))
        (after,) = await w.llm.usage(user="alice")
        assert (after.spent, after.limit) == (before.spent, 20)
        with pytest.raises(BudgetExceeded):
            await w.llm.complete("chat", "hi", user="alice")
        await w.llm.reload(replace(w.llm.config, budgets=()))
        assert (await w.llm.complete("chat", "hi", user="alice")).complete
        await asyncio.sleep(100)
        assert await w.llm.usage(user="alice") == ()


@pytest.mark.parametrize("policy", ["error", "partial", "continue"])
async def test_a_stream_that_passes_its_reservation_ends_when_the_budget_has_nothing_left(policy, monkeypatch):
    heeds = chat._said
    monkeypatch.setattr(chat, "_said", lambda script, body, *rest: heeds(script, {**body, "max_tokens": None}, *rest))
    endless = Script(answer="word " * 2000, first_token=Fixed(0.1), tokens_per_second=100)
    route = {"max_output_tokens": 100, "on_break": policy}
    async with world(a=endless, b=OK, route=route, budgets=[{**DAY, "limit_tokens": 800, "stop_streams": True}]) as w:
        async with w.llm.stream("chat", "hi", user="alice") as stream:
            if policy == "partial":
                async for _ in stream:
                    pass
                assert (stream.reply.complete, stream.reply.broken) == (False, "budget")
            else:
                with pytest.raises(StreamBroken, match="budget 'user/day' of 'alice' has nothing left"):
                    async for _ in stream:
                        pass
        assert w.calls("b") == 0
        (usage,) = await w.llm.usage(user="alice")
        assert 600 < usage.spent < 900


async def test_targets_that_fail_first_and_a_budget_that_then_has_no_room_are_both_told():
    async with world(
        a=Script.of(Silence()),
        b=OK,
        route={
            **ROUTE,
            "clocks": {"first_token": 1, "total": 1},
        },
        budgets=[{**DAY, "limit_tokens": 150}],
    ) as w:
        with pytest.raises(Exhausted, match="budget 'user/day' of 'alice'") as caught:
            await w.llm.complete("chat", "hi", user="alice")
        assert len(caught.value.attempts) == 1


async def test_vectors_are_paid_for_by_what_they_read_alone():
    book = Book()
    async with world(a=OK, budgets=[DAY], ledger=SharedLedger(book)) as w:
        reply = await w.llm.embed("chat", ["one text", "another"], user="alice")
        await written(w)
        assert spent(book) == reply.usage.total_tokens > 0
        w.llm.set_limit("user/day", 1)
        with pytest.raises(BudgetExceeded):
            await w.llm.embed("chat", ["one text"], user="alice")


async def test_an_exhausted_budget_of_money_still_lets_through_what_costs_nothing():
    only = {
        "a": {"models": {"m": {"price": {"input": 100, "output": 100}}}},
        "b": {"models": {"m": {"price": {"input": 0, "output": 0}}}},
    }
    async with world(
        a=OK, b=OK, only=only, route=ROUTE, budgets=[{"per": "all", "window": "day", "limit_usd": 0}]
    ) as w:
        assert (await w.llm.complete("chat", "hi")).target == "b/m"


async def test_a_call_whose_ledger_does_not_answer_ends_at_its_deadline():
    async with world(a=OK, route=ROUTE, budgets=[DAY], ledger=SharedLedger(Book(), delay=30.0)) as w:
        began = w.now
        with pytest.raises(DeadlineExceeded):
            await w.llm.complete("chat", "hi", user="alice", deadline=2.0)
        assert w.now - began == pytest.approx(2.0)
        assert w.calls("a") == 0
        w.assert_idle()


async def test_entities_that_nobody_asks_for_are_forgotten_and_the_ledger_remembers():
    book = Book()
    async with world(a=OK, route=ROUTE, budgets=[{**DAY, "limit_tokens": 10**6}], ledger=SharedLedger(book)) as w:
        replies = [await w.llm.complete("chat", "hi", user=f"user {number}") for number in range(300)]
        assert len(w.llm.engine.spending.holdings) == 300
        await asyncio.sleep(200)
        assert len(w.llm.engine.spending.holdings) == 0
        (usage,) = await w.llm.usage(user="user 7")
        assert usage.spent == replies[7].usage.total_tokens
