"""Budgets that change while calls wait and claims are under way: lower limits, reloads, forgetting, closing."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from shared_ledger import Book, SharedLedger
from world import world

from resilio import BudgetExceeded
from resilio.budget import Need
from resilio.config import BudgetSettings
from resilio.events import CallSettled
from resilio.models import Identity
from resilio.spending import Spending
from resilio.spending.clerk import IDLE, KEEP
from resilio.store import Entry
from resilio.store.memory import MemoryLedger
from resilio.testing.loop import WALL_START
from resilio.testing.script import Script

ALICE = Identity(user="alice")
DAY = BudgetSettings(per="user", window="day", limit_tokens=1000)


@asynccontextmanager
async def spending(ledger, *settings):
    loop = asyncio.get_running_loop()
    desk = Spending(
        settings or (DAY,), ledger, clock=loop.time, wall=lambda: WALL_START + loop.time(), emit=lambda event: None
    )
    desk.start()
    try:
        yield desk
    finally:
        await desk.aclose()


def reserving(desk, tokens, identity=ALICE, patience=30.0):
    until = asyncio.get_running_loop().time() + patience
    return asyncio.create_task(desk.reserve("r", desk.touched(identity), (), Need(tokens, 0), until))


def used(tokens):
    return Need(tokens, 0)


@pytest.mark.parametrize("how", ["by hand", "reload"])
async def test_a_limit_lowered_while_a_claim_is_under_way_is_kept(how):
    book = Book()
    async with spending(SharedLedger(book, delay=1.0)) as desk:
        waiting = reserving(desk, 500)
        await asyncio.sleep(0.5)
        if how == "by hand":
            desk.set_limit("user/day", 100, unit=None, entity=None)
        else:
            desk.reconfigure([BudgetSettings(per="user", window="day", limit_tokens=100)])
        with pytest.raises(BudgetExceeded, match="of 100 tokens"):
            await waiting
        (await reserving(desk, 100)).settle(used(100))
        with pytest.raises(BudgetExceeded):
            await reserving(desk, 1)
    assert sum(book.balances().values()) == 100


async def test_a_budget_taken_away_while_a_caller_waits_for_its_claim_lets_the_caller_go_on():
    ledger = SharedLedger(Book(), delay=1.0)
    async with spending(ledger) as desk:
        waiting = reserving(desk, 500)
        await asyncio.sleep(0.5)
        desk.reconfigure([])
        held = await waiting
        assert ledger.calls["claim"] == 1, "nothing is asked for what limits nobody"
        held.release()
    assert not sum(ledger.book.claims[ledger].values())


async def test_a_budget_that_comes_back_still_answers_for_calls_that_began_before():
    book = Book()
    ledger = SharedLedger(book)
    async with spending(ledger) as desk:
        before = await reserving(desk, 300)
        desk.reconfigure([])
        desk.reconfigure([DAY])
        after = await reserving(desk, 200)
        assert sum(book.held[ledger].values()) == 500, "a crash now must charge both"
        with pytest.raises(BudgetExceeded):
            await reserving(desk, 600)
        after.settle(used(200))
        await asyncio.sleep(KEEP + IDLE)
        (holding,) = desk.holdings
        assert holding.reserved_here() == 300
        before.settle(used(300))
        await asyncio.sleep(1)
        assert sum(book.balances().values()) == 500


async def test_an_entity_whose_first_claim_takes_long_is_not_forgotten_meanwhile():
    book = Book()
    ledger = SharedLedger(book, delay=3 * IDLE)
    async with spending(ledger) as desk:
        first = reserving(desk, 300)
        await asyncio.sleep(2.5 * IDLE)
        second = reserving(desk, 200)
        held = await asyncio.gather(first, second)
        assert ledger.calls["claim"] <= 2
        assert sum(book.held[ledger].values()) == 500
        assert len({line.block for each in held for line in each._lines}) == 1
        for each in held:
            each.release()
        await asyncio.sleep(10 * IDLE)
        assert not sum(book.claims[ledger].values()), "what is idle went back"


async def test_an_entity_forgotten_while_its_caller_waits_for_another_budget_is_taken_up_again():
    book = Book()
    ledger = SharedLedger(book)
    everybody = BudgetSettings(per="all", window="day", limit_tokens=10_000)
    async with spending(ledger, DAY, everybody) as desk:
        (await reserving(desk, 10)).settle(used(10))
        mine, theirs = desk.touched(ALICE)
        await asyncio.sleep(2 * KEEP + 1)
        assert mine not in desk.holdings
        held = await desk.reserve("r", (mine, theirs), (), Need(100, 0), 1e9)
        again = await reserving(desk, 50)
        assert sum(units for account, units in book.held[ledger].items() if account.entity == "alice") == 150
        held.release()
        again.release()


async def test_entities_that_were_only_refused_are_forgotten_when_the_window_is_over():
    hour = BudgetSettings(per="user", window="hour", limit_tokens=0)
    async with spending(MemoryLedger(), hour) as desk:
        for number in range(50):
            with pytest.raises(BudgetExceeded):
                await reserving(desk, 1, Identity(user=f"u{number}"))
        assert len(desk.holdings) == 50
        await asyncio.sleep(3600 + 2 * KEEP)
        assert not desk.holdings


@pytest.mark.parametrize("make", [MemoryLedger, lambda: SharedLedger(Book(), turns=2)])
async def test_use_beyond_the_reservation_while_the_rest_goes_back_stops_nobody(make):
    async with spending(make()) as desk:
        held = await reserving(desk, 60)
        (line,) = held._lines
        line.block.claimed = max(line.block.claimed, 100)
        desk._clerk.give_back(line.block, 0)
        held.settle(used(desk.holdings and line.block.claimed + 50))
        await asyncio.sleep(1)
        assert desk._clerk.unavailable is None
        assert (line.block.returning, line.block.claimed) == (0, 0)
        (await reserving(desk, 60)).release()


class Stuck(MemoryLedger):
    """Takes entries over and answers too late, as a disk that hangs: cancelled, it has them all the same."""

    def __init__(self):
        super().__init__()
        self.held = {}
        self.taken: list[Entry] = []
        self.at_close = None

    async def settle(self, entries):
        self.taken += entries
        await asyncio.sleep(60)

    def hold(self, account, units):
        self.held[account] = units

    async def aclose(self):
        self.at_close = dict(self.held)


async def test_what_a_stuck_ledger_has_taken_over_is_not_held_as_well_when_closing():
    ledger = Stuck()
    async with spending(ledger) as desk:
        (await reserving(desk, 60)).settle(used(40))
    assert [entry.amount for entry in ledger.taken] == [40]
    assert set(ledger.at_close.values()) == {0}, "it would be charged twice"


async def test_one_entity_that_is_idle_for_long_keeps_nothing_of_another_from_going_back():
    book = Book()
    ledger = SharedLedger(book)
    async with spending(ledger) as desk:
        with pytest.raises(BudgetExceeded):
            await reserving(desk, 2000)  # hard exceeded, so not forgotten
        await asyncio.sleep(KEEP + 2 * IDLE)
        (await reserving(desk, 10, Identity(user="bob"))).settle(used(10))
        (await reserving(desk, 10)).settle(used(10))
        assert sum(book.claims[ledger].values()) > 0
        await asyncio.sleep(2 * IDLE)
        assert not sum(book.claims[ledger].values()), "of either"


async def test_a_sliding_window_that_others_have_spent_tells_its_soft_limit_once():
    book, told = Book(), []
    window = BudgetSettings(per="user", window=240, kind="sliding", limit_tokens=1000)
    async with spending(SharedLedger(book), window) as other:
        (await reserving(other, 850)).settle(used(850))
    async with spending(SharedLedger(book, delay=0.01), window) as desk:
        desk._emit = told.append
        for _ in range(15):  # parts of the window, of 10 s each
            (await reserving(desk, 1)).settle(used(1))
            await asyncio.sleep(10)
        assert [change.dest for change in told] == ["soft_exceeded"]
        await asyncio.sleep(200)
        (await reserving(desk, 1)).settle(used(1))
        await asyncio.sleep(1)
        assert [change.dest for change in told] == ["soft_exceeded", "open"]


async def test_an_entity_that_was_forgotten_is_served_at_its_level_from_its_first_call_on():
    book = Book()
    routes = {
        "chat": {
            "targets": ["a/m"], "max_output_tokens": 10, "descent": {"economy": 0.5},
            "ladder": ["full", {"simpler": "small"}],
        },
        "small": {"targets": ["b/m"], "max_output_tokens": 10},
    }  # fmt: skip
    day = {"per": "user", "window": "day", "limit_tokens": 1000}
    async with spending(SharedLedger(book)) as earlier:
        (await reserving(earlier, 600)).settle(used(600))
    async with world(
        a=Script(answer="large"), b=Script(answer="small"), routes=routes, budgets=[day],
        ledger=SharedLedger(book, delay=0.05),
    ) as w:  # fmt: skip
        for _ in range(2):
            assert (await w.llm.complete("chat", "hi", user="alice")).text == "small"
            await asyncio.sleep(2 * KEEP + 2 * IDLE)
            assert not w.llm.engine.spending.holdings
        task = asyncio.create_task(w.llm.complete("chat", "hi", user="alice"))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        w.assert_idle()
        assert [event.final for event in w.events if isinstance(event, CallSettled)][-1] == "cancelled"
