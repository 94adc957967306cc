"""Whatever happens to callers, providers, clocks and processes: no limit is passed, and all use is charged."""

import asyncio
import os
import random
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio
import pytest
from shared_ledger import Book, SharedLedger
from world import world

from resilio import BudgetExceeded, ResilioError
from resilio.cache import USE
from resilio.dispatch.attempt import Attempt
from resilio.dispatch.hedge import _start
from resilio.spending import Reservation
from resilio.testing.faults import Cut, Error, Refused, Reset, Silence, SlowFirstToken, Stall, UsageReport
from resilio.testing.latency import Uniform
from resilio.testing.loop import WALL_START, run
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.script import Script

SOAK = os.environ.get("RESILIO_SOAK") == "1"
SEEDS = range(60 if SOAK else 3)
CALLERS = 200
CALLS = 5
LIMIT = 2000
BUDGETS = [
    {"per": "user", "window": "hour", "limit_tokens": LIMIT},
    {"per": "organisation", "window": 600, "kind": "sliding", "limit_tokens": 3 * LIMIT},
    {"per": "all", "window": "day", "time_zone": "Europe/Berlin", "limit_usd": 0.5},
]
PRICED = {"price": {"input": 1.0, "output": 10.0}}
ROUTE = {
    "max_output_tokens": 60, "hedge": 0.8, "hedge_share": 0.3, "retry": {"base": 0.05},
    "clocks": {"first_token": 2, "idle": 1, "connect": 1, "total": 5}, "on_break": "continue",
}  # fmt: skip
FAULTS = (
    Silence(), Reset(), Refused(), Error(status=500), Error("rate_limit_exceeded", retry_after=0.2), Cut(3), Stall(2),
    SlowFirstToken(1.5),
)  # fmt: skip


def unreliable(rng):
    script = Script(answer="one two three four five six seven", first_token=Uniform(0.05, 0.4), tokens_per_second=50)
    for _ in range(40):
        script = script.first(rng.randint(1, 2), rng.choice(FAULTS)).first(rng.randint(3, 20))
    return script


class Process:
    """One engine and those who call it."""

    def __init__(self, book, rng, wall):
        self.book, self.rng, self.wall = book, rng, wall
        self.delivered = Counter()
        """Tokens of answers that callers have in hand, by user."""
        self.refused = 0

    async def life(self, callers, crash_after=None):
        rng = self.rng
        ledger = SharedLedger(self.book, delay=rng.choice([0.0, 0.001, 0.02]))
        scripts = {name: unreliable(rng) for name in "abc"}
        async with world(
            **scripts, model=PRICED, route=ROUTE, budgets=BUDGETS, ledger=ledger, wall=self.wall, seed=rng.random()
        ) as w:
            tasks = [asyncio.create_task(self.caller(w)) for _ in range(callers)]
            if crash_after is not None:
                await asyncio.wait(tasks, timeout=crash_after)
                delivered = self.delivered.copy()
                ledger.crash()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                self.delivered = delivered
                return
            await asyncio.gather(*tasks)
            await asyncio.sleep(5)
            w.assert_idle()
        assert not sum(self.book.claims[ledger].values())

    async def caller(self, w):
        rng = self.rng
        for _ in range(CALLS):
            await asyncio.sleep(rng.expovariate(1.0))
            who = {"user": f"u{rng.randrange(6)}", "organisation": f"o{rng.randrange(2)}"}
            how = rng.choice(["plain", "plain", "plain", "native", "scope", "deadline", "stream", "leave"])
            with suppress(ResilioError, TimeoutError):
                await self.call(w, how, who)

    async def call(self, w, how, who):
        rng = self.rng
        prompt = "tell me " * rng.randint(1, 30)
        if how == "native":
            task = asyncio.create_task(w.llm.complete("chat", prompt, **who))
            await asyncio.sleep(rng.uniform(0, 0.6))
            task.cancel()
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                self.got(task.result(), who)
        elif how == "scope":
            with anyio.move_on_after(rng.uniform(0, 0.6)):
                self.got(await w.llm.complete("chat", prompt, **who), who)
        elif how in ("stream", "leave"):
            async with w.llm.stream("chat", prompt, **who) as stream:
                async for _ in stream:
                    if how == "leave":
                        break
            self.got(stream.reply, who)
        else:
            deadline = rng.uniform(0.1, 2) if how == "deadline" else 20
            try:
                self.got(await w.llm.complete("chat", prompt, deadline=deadline, **who), who)
            except BudgetExceeded:
                self.refused += 1
                raise

    def got(self, reply, who):
        self.delivered[who["user"]] += reply.usage.total_tokens


class TurnedClock:
    """A wall clock that somebody sets now and then."""

    def __init__(self):
        self.offset = 0.0
        self.began = None

    def __call__(self):
        now = asyncio.get_running_loop().time()
        self.began = now if self.began is None else self.began
        return WALL_START + now - self.began + self.offset

    async def turn(self, rng):
        while True:
            await asyncio.sleep(rng.uniform(0.5, 3))
            self.offset += rng.choice([-7200, -3600, -60, -1, 1, 60, 500, 3600, 5000])


def assert_within(book):
    for account, spent in book.balances().items():
        limit = {"user/hour/tokens": LIMIT, "organisation/600s/tokens": 3 * LIMIT, "all/day/usd": 5 * 10**11}[
            account.budget
        ]
        assert spent <= limit, account
    for (budget, _), most in book.most.items():
        assert most <= {"user/hour/tokens": LIMIT, "organisation/600s/tokens": 3 * LIMIT}.get(budget, 5 * 10**11)


def charged(book):
    found = Counter()
    for entry in book.entries:
        if entry.account.budget == "user/hour/tokens":
            found[entry.account.entity] += entry.amount
    return found


@pytest.fixture
def settled(monkeypatch):
    """Tokens that attempts settled to, by the budget of the user: kept apart from the books."""
    totals = Counter()
    settle = Reservation.settle

    def noted(self, used):
        for line in self._lines:
            if line.holding.budget.per == "user":
                totals[line.holding.entity] += line.units if used.tokens is None else used.tokens
        settle(self, used)

    monkeypatch.setattr(Reservation, "settle", noted)
    return totals


@pytest.mark.parametrize("seed", SEEDS)
def test_two_hundred_callers_never_pass_a_limit_and_spend_is_the_sum_of_settled_use(seed, settled):
    async def main():
        rng, book = random.Random(seed), Book()
        process = Process(book, rng, TurnedClock())
        await process.life(CALLERS)
        assert_within(book)
        assert charged(book) == +settled
        assert all(charged(book)[user] >= tokens for user, tokens in process.delivered.items())
        assert process.refused > 0, "the limits were reached"
        assert sum(process.delivered.values()) > LIMIT, "and most of them used"

    run(main())


@pytest.mark.parametrize("seed", SEEDS)
def test_clocks_that_are_set_and_processes_that_die_and_come_back_change_nothing_of_that(seed):
    async def main():
        rng, book, wall = random.Random(seed), Book(), TurnedClock()
        turning = asyncio.create_task(wall.turn(rng))

        async def place():
            total = Counter()
            for crash_after in (rng.uniform(1, 4), rng.uniform(1, 4), None):
                process = Process(book, rng, wall)
                await process.life(CALLERS // 4, crash_after)
                total += process.delivered
            return total

        # Two processes at any time, on one ledger; each crashes twice and is started again.
        delivered = sum(await asyncio.gather(place(), place()), Counter())
        turning.cancel()
        assert_within(book)
        assert {entry.kind for entry in book.entries} == {"settled", "presumed"}
        for user, tokens in delivered.items():
            assert charged(book)[user] >= tokens, user
        assert not any(sum(claims.values()) for claims in book.claims.values())

    run(main())


def test_what_a_prompt_exceeds_its_estimate_by_is_all_that_a_limit_is_passed_by(monkeypatch):
    async def main():
        book = Book()
        script = Script.of(UsageReport(prompt_tokens=500), answer="fine")
        budget = {"per": "user", "window": "day", "limit_tokens": 2000}
        async with world(a=script, route={"max_output_tokens": 60}, budgets=[budget], ledger=SharedLedger(book)) as w:
            results = await asyncio.gather(
                *(w.llm.complete("chat", "hi", user="alice") for _ in range(50)), return_exceptions=True
            )
            answered = [each for each in results if not isinstance(each, BaseException)]
            (holding,) = w.llm.engine.spending.holdings
            overrun = holding.block.overrun
            await asyncio.sleep(0.1)
            with pytest.raises(BudgetExceeded):
                await w.llm.complete("chat", "hi", user="alice")
        (spent,) = book.balances().values()
        assert spent == sum(each.usage.total_tokens for each in answered) > 2000
        assert spent - overrun <= 2000

    run(main())


@pytest.mark.parametrize("kind", ["complete", "stream"])
def test_a_call_cancelled_anywhere_on_its_way_through_claims_leaves_nothing_claimed(kind):
    @asynccontextmanager
    async def scenario():
        book = Book()
        budgets = [BUDGETS[0], BUDGETS[1]]
        script = Script(answer="one two three", first_token=Uniform(0.1, 0.2))
        async with world(
            a=script, b=script, route=ROUTE, budgets=budgets, ledger=SharedLedger(book, turns=3), model=PRICED
        ) as w:

            async def act():
                if kind == "complete":
                    return await w.llm.complete("chat", "hi", user="u", organisation="o")
                async with w.llm.stream("chat", "hi", user="u", organisation="o") as stream:
                    return [chunk async for chunk in stream]

            yield act
            await asyncio.sleep(10)
            w.assert_idle()
            assert not any(sum(claims.values()) for claims in book.claims.values()), "what is idle went back"
            by_budget = Counter()
            for account, spent in book.balances().items():
                by_budget[account.budget] += spent
            assert len(set(by_budget.values())) <= 1, "all or none"
            assert (await w.llm.complete("chat", "hi", user="u", organisation="o")).complete

    assert cancel_everywhere(scenario) >= 4


async def test_what_a_process_that_dies_has_in_use_is_charged_and_the_rest_of_its_block_is_free():
    book = Book()
    ledger = SharedLedger(book)
    quick = Script(answer="one two three", first_token=Uniform(0.1, 0.1)).sequence(None, Silence())
    async with world(a=quick, route={"max_output_tokens": 60}, budgets=[BUDGETS[0]], ledger=ledger) as w:
        reply = await w.llm.complete("chat", "hi", user="u")  # answered, and not yet written down
        assert book.entries == []
        under_way = asyncio.create_task(w.llm.complete("chat", "hi", user="u"))
        await asyncio.sleep(0.001)
        (usage,) = [each.reserved_here() for each in w.llm.engine.spending.holdings]
        ledger.crash()
        (charged,) = book.entries
        assert (charged.kind, charged.amount) == ("presumed", reply.usage.total_tokens + usage)
        assert usage > 60
        under_way.cancel()
    assert not any(sum(claims.values()) for claims in book.claims.values())


async def test_an_attempt_called_off_before_its_first_step_gives_back_what_it_had_reserved():
    book = Book()
    script = Script(answer="x")
    async with world(a=script, route={"max_output_tokens": 60}, budgets=[BUDGETS[0]], ledger=SharedLedger(book)) as w:
        engine = w.llm.engine
        call = w.llm._call("chat", "hi", "u", None, None, None, None, None, None, {}, USE)
        dispatcher = w.llm._open()
        plan = dispatcher._plan(call, call.enter()["chat"])
        call.flow.step("miss")
        call.flow.step("reserve")
        task = _start(await dispatcher._begin(call, plan), Attempt.ask)
        assert [each.reserved_here() > 60 for each in engine.spending.holdings] == [True]
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        w.assert_idle()
        assert w.calls("a") == 0
        call.fail(asyncio.CancelledError())


def test_others_who_wait_for_a_claim_get_it_when_the_one_who_began_it_is_cancelled():
    async def main():
        book = Book()
        ledger = SharedLedger(book, delay=1.0)
        async with world(a=Script(answer="x"), route=ROUTE, budgets=[BUDGETS[0]], ledger=ledger) as w:
            first, second = (asyncio.create_task(w.llm.complete("chat", "hi", user="u")) for _ in range(2))
            await asyncio.sleep(0.5)
            first.cancel()
            assert (await second).complete
            assert ledger.calls["claim"] == 1
            assert first.cancelled()

    run(main())


async def test_closing_while_callers_are_cancelled_twice_still_writes_everything():
    book = Book()
    ledger = SharedLedger(book, delay=0.3)

    async def all_of_it():
        async with AsyncExitStack() as stack:
            w = await stack.enter_async_context(
                world(a=Script(answer="x"), budgets=[BUDGETS[0]], route=ROUTE, ledger=ledger)
            )
            done.append((await w.llm.complete("chat", "hi", user="u")).usage.total_tokens)
            task.cancel()
            await asyncio.sleep(1)

    done = []
    task = asyncio.create_task(all_of_it())
    await asyncio.sleep(0.9)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert sum(book.balances().values()) == sum(done) > 0
    assert not any(sum(claims.values()) for claims in book.claims.values())
    assert ledger.calls["aclose"] == 1
