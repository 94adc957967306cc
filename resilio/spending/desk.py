"""`Spending`: reserves what calls may use, in blocks of budgets that it claims from the ledger.

Reserving is synchronous where the blocks at hand suffice. Where one is short the caller waits for a claim, before it
has taken anything else; one claim an account is under way at a time, in a task of its own, so that a caller
who is cancelled loses nothing and takes nothing along. The rule that keeps it safe: what is reserved was claimed
before, and the ledger knows of it (`hold`) before anything is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Final

from resilio.budget import (
    MOST,
    SCALE,
    Block,
    Budget,
    Holding,
    Need,
    SpendCap,
    amount_of,
    budgets_of,
    entity_of,
    units_of,
)
from resilio.config import BudgetSettings
from resilio.errors import BudgetExceeded, LedgerUnavailable, ResilioError, UnknownBudget
from resilio.events import BudgetChanged, Event
from resilio.models import Identity
from resilio.spending.clerk import Clerk
from resilio.spending.report import BudgetStatus, BudgetUsage, status_of, usage_of
from resilio.spending.reservation import Line, Reservation
from resilio.store.base import Account, Ledger

__all__ = ["Purse", "Spending"]

logger = logging.getLogger("resilio")

Purse = Holding[Account]

REFUSED_FOR: Final = 0.25
"""Seconds for which a refusal of the ledger is believed, so that a crowd of refused callers does not ask it each."""

SCOPE: Final = "max_cost_usd of the scope"


class Spending:
    """The budgets of one client.

    Args:
        settings: Of the budgets.
        ledger: Where spending is written down; closed by `aclose`.
        clock: Monotonic seconds.
        wall: Unix seconds: which window it is.
        emit: Told of every budget that changes its state.
    """

    def __init__(
        self,
        settings: Iterable[BudgetSettings],
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        self.budgets = budgets_of(settings)
        self._ledger = ledger
        self._clock = clock
        self._wall = wall
        self._emit = emit
        self._holdings: dict[tuple[str, str], Purse] = {}
        self._gone: dict[tuple[str, str], Purse] = {}
        """Of budgets that another configuration has not, as long as calls under way use them. Should it come back, its
        entity goes on with the same blocks: two of one account would each tell the ledger half of what is in use."""
        self._claims: dict[Block[Account], asyncio.Task[int | ResilioError]] = {}
        """Claims under way, by block. Each ends with the units of the least it was refused, 0 where it was granted."""
        self._limits: dict[tuple[str, str | None], int] = {}
        """Limits set by hand, by account and entity (None: everybody)."""
        self._clerk = Clerk(ledger, self._holdings, clock=clock, wall=wall, told=self.tell)
        self._context = copy_context()
        """Of whoever opened the client: a claim must not live in the scope of the call that happened to need it."""

    def start(self) -> None:
        """Begin to write. A client without budgets pays for none of it."""
        if self.budgets:
            self._clerk.start()

    @property
    def holdings(self) -> Collection[Purse]:
        """The entities in use, for tools that look inside."""
        return self._holdings.values()

    # --- whose budgets ---------------------------------------------------------------------------

    def touched(self, identity: Identity) -> Sequence[Purse]:
        """The holdings a call of this identity draws on; budgets of entities it does not name are none of its."""
        found: list[Purse] = []
        for budget in self.budgets:
            entity = entity_of(budget.per, identity)
            if entity is None or (budget.only and entity not in budget.only):
                continue
            holding = self._holdings.get((budget.account, entity))
            found.append(self._open(budget, entity) if holding is None else holding)
        return found

    def _open(self, budget: Budget, entity: str) -> Purse:
        now, wall = self._clock(), self._wall()
        holding = self._gone.pop((budget.account, entity), None)
        if holding is None:
            holding = Holding(budget, entity, Account, wall)
        else:
            holding.gone = False
            holding.rebudget(now, wall, budget)
        limit = self._by_hand(budget, entity)
        if limit is not None:
            holding.by_hand = True
            holding.set_limit(now, limit)
        self._holdings[budget.account, entity] = holding
        self._clerk.look(holding, now)
        return holding

    def _keeps(self, holding: Purse) -> bool:
        """Whether it is the one in use for its entity."""
        return self._holdings.get((holding.budget.account, holding.entity)) is holding

    def _live(self, holdings: Sequence[Purse]) -> Sequence[Purse]:
        """Those that still limit something.

        A caller may have waited for so long that a budget was taken away or its entity forgotten; the latter is taken
        up again.
        """
        if all(map(self._keeps, holdings)):
            return holdings
        live = [each for each in holdings if not each.gone]
        return [self._holdings.setdefault((each.budget.account, each.entity), each) for each in live]

    def _by_hand(self, budget: Budget, entity: str) -> int | None:
        own = self._limits.get((budget.account, entity))
        return self._limits.get((budget.account, None)) if own is None else own

    # --- reserving -------------------------------------------------------------------------------

    async def reserve(
        self, request_id: str, holdings: Sequence[Purse], caps: Sequence[SpendCap], need: Need, until: float
    ) -> Reservation:
        """Set `need` aside in all of them, or nothing in any. Waits only where a block must be claimed.

        Args:
            request_id: Of the call, for the ledger.
            holdings: As from `touched`.
            caps: Of the scopes it runs in.
            need: The most it can use. What is not known is refused where a budget or cap counts it.
            until: Monotonic instant after which it is of no use.

        Raises:
            BudgetExceeded: It might pass a limit.
            LedgerUnavailable: Nothing new may be spent.
            TimeoutError: The ledger did not answer in time.
        """
        if holdings and self._clerk.full:
            await self._clerk.wait_for_room(until - self._clock())
        while True:
            got = self.reserve_nowait(request_id, holdings, caps, need)
            if isinstance(got, Reservation):
                return got
            for holding in got:
                units = need.of(holding.budget.unit)
                assert units is not None, "reserve_nowait refuses what is not known"
                if not await self.claim_for(holding, holding.block, units, until):
                    raise self._refuse(holding, units)

    def reserve_nowait(
        self, request_id: str, holdings: Sequence[Purse], caps: Sequence[SpendCap], need: Need
    ) -> Reservation | list[Purse]:
        """As `reserve`; where blocks are short, the holdings they belong to, and nothing is reserved.

        Raises:
            BudgetExceeded, LedgerUnavailable: As for `reserve`.
        """
        short: list[Purse] = []
        if holdings:
            holdings = self._live(holdings)
            self._clerk.check()
            now, wall = self._clock(), self._wall()
            for holding in holdings:
                if holding.roll(now, wall):
                    self._rolled(holding)
                units = need.of(holding.budget.unit)
                if units is None:
                    raise self.refusal(holding, None, need.advice)
                if units and holding.block.free < units:
                    short.append(holding)
        if caps and need.usd is None:
            cap = caps[-1]
            raise BudgetExceeded(SCOPE, cap.limit, cap.left, None, need.advice)
        if short:
            return short
        self._reserve_caps(caps, need)
        lines = []
        for holding in holdings:
            units, block = need.of(holding.budget.unit) or 0, holding.block
            block.reserve(units)
            holding.used_at = now
            self.hold(block)
            lines.append(Line(holding, block, units))
        return Reservation(self, request_id, lines, caps, need.usd or 0)

    def _reserve_caps(self, caps: Sequence[SpendCap], need: Need) -> None:
        """All of them, or none."""
        for index, cap in enumerate(caps):
            assert need.usd is not None, "checked before"
            if not cap.reserve_units(need.usd):
                for reserved in caps[:index]:
                    reserved.release_units(need.usd)
                raise BudgetExceeded(SCOPE, cap.limit, cap.left, need.usd / SCALE)

    def hold(self, block: Block[Account]) -> None:
        """Let the ledger know what of a block is in use."""
        self._ledger.hold(block.account, block.in_use)

    def settle(self, holding: Purse, block: Block[Account], reserved: int, used: int, request_id: str) -> None:
        """Turn units reserved in a block into spending; they are written down in the background."""
        used = max(0, min(used, MOST))  # a provider may report anything
        block.settle(reserved, used)
        if used:
            self._clerk.write(block, used, request_id, self._wall())
            holding.spend(self._clock(), block, used)
            if holding.flow.changes:
                self.tell(holding)
        self.hold(block)
        if block is not holding.block or holding.gone:  # its window is over: what is free is of no use here
            self._clerk.give_back(block, 0)

    # --- claiming --------------------------------------------------------------------------------

    async def claim_for(self, holding: Purse, block: Block[Account], units: int, until: float) -> bool:
        """Wait until a block has been claimed that may hold so many units; somebody else may take them meanwhile.

        Returns:
            False: there are not so many left for anybody.

        Raises:
            LedgerUnavailable, TimeoutError: As for `reserve`.
        """
        short = units - block.free
        if short <= 0 or block is not holding.block:
            return True
        if units > holding.limit:
            return False
        now = self._clock()
        if now < holding.refused_until and short >= holding.refused:
            return False
        holding.wanted += units
        try:
            task = self._claims.get(block)
            if task is None:
                task = self._start_claim(holding, block, short)
            # Not awaited itself: who is cancelled must not cancel the claim that others wait for.
            await asyncio.wait((task,), timeout=max(0.0, until - now))
        finally:
            holding.wanted -= units
        if not task.done():
            raise TimeoutError
        refused = task.result()
        if isinstance(refused, LedgerUnavailable):
            raise LedgerUnavailable(refused.path, refused.why, refused.remedy)
        if isinstance(refused, ResilioError):
            raise refused
        return not (refused and units - block.free >= refused)

    def _start_claim(self, holding: Purse, block: Block[Account], least: int) -> asyncio.Task[int | ResilioError]:
        task = asyncio.get_running_loop().create_task(
            self._claim(holding, block, least), name=f"resilio claim {holding.budget.account}", context=self._context
        )
        self._claims[block] = task
        task.add_done_callback(lambda _: self._claims.pop(block, None))
        return task

    async def _claim(self, holding: Purse, block: Block[Account], least: int) -> int | ResilioError:
        """Claim for all who wait for this block now."""
        await asyncio.sleep(0)  # callers of the same turn join
        await self._clerk.wait_returned(holding)  # or what is on its way back would seem to be spent
        wanted, limit = max(holding.to_claim(), least), holding.limit
        try:
            got = await self._ledger.claim(
                block.account, wanted, least=least, limit=limit, counted=holding.span.counted
            )
        except LedgerUnavailable as exc:
            self._clerk.failed(exc)
            return exc
        except Exception as exc:  # a bug, ours or the ledger's: as little may be spent as if it were broken
            logger.exception("the ledger failed")
            failed = LedgerUnavailable(holding.budget.account, f"{type(exc).__name__}: {exc}")
            self._clerk.failed(failed)
            return failed
        block.grant(got.granted)
        now = self._clock()
        # Meanwhile its window ended, it was forgotten, or a lower limit was set than it was granted under.
        if block is not holding.block or not self._keeps(holding) or holding.limit < limit:
            self._clerk.give_back(block, 0)
            return 0
        holding.left = got.left
        self._clerk.look(holding, now)
        if got.granted:
            return 0
        holding.refused, holding.refused_until = least, now + REFUSED_FOR
        return least

    def _rolled(self, holding: Purse) -> None:
        """A window has begun: what is free in the others goes back."""
        for block in holding.blocks.values():
            if block is not holding.block:
                self._clerk.give_back(block, 0)
        holding.forget()
        self.tell(holding)
        if holding.budget.window.slides:
            self._clerk.look(holding, self._clock())

    # --- refusing and telling --------------------------------------------------------------------

    def _refuse(self, holding: Purse, units: int) -> BudgetExceeded:
        holding.flow.refuse(self._clock())
        self.tell(holding)
        return self.refusal(holding, units)

    def refusal(self, holding: Purse, units: int | None, advice: str = "") -> BudgetExceeded:
        """The error of a request that needs so many units; None: nobody knows how many."""
        unit = holding.budget.unit
        left = max(0, holding.block.free) + max(0, holding.left)
        return BudgetExceeded(
            holding.budget.name,
            amount_of(unit, holding.limit),
            amount_of(unit, left),
            None if units is None else amount_of(unit, units),
            advice,
            unit=unit,
            entity=holding.entity,
            retry_after=None if units is None else holding.resets_in(self._wall()),
        )

    def tell(self, holding: Purse) -> None:
        """Let listeners know what has changed."""
        budget = holding.budget
        for change in holding.flow.drain_changes():
            self._emit(
                BudgetChanged(
                    budget.name, holding.entity, budget.unit, str(change.source), str(change.dest), change.event,
                    amount_of(budget.unit, holding.limit), amount_of(budget.unit, change.spent), holding.span.name,
                    holding.resets_in(self._wall()), change.at,
                )
            )  # fmt: skip

    # --- by hand ---------------------------------------------------------------------------------

    def set_limit(self, name: str, limit: float | None, *, unit: str | None, entity: str | None) -> None:
        """Set a limit while running; see `resilio.Client.set_limit`."""
        budget = self._named(name, unit)
        key = (budget.account, entity)
        if limit is None:
            self._limits.pop(key, None)
        else:
            if not 0 <= limit <= amount_of(budget.unit, MOST):  # NaN fails every comparison
                raise ValueError(f"limit must be a number from 0 to {amount_of(budget.unit, MOST):g}, not {limit!r}")
            self._limits[key] = units_of(budget.unit, limit)
        for (account, its), holding in self._holdings.items():
            if account == budget.account and entity in (None, its):
                self._relimit(holding)

    def _relimit(self, holding: Purse) -> None:
        by_hand = self._by_hand(holding.budget, holding.entity)
        holding.by_hand = by_hand is not None
        limit = holding.budget.limit_of(holding.entity) if by_hand is None else by_hand
        if limit == holding.limit:
            return
        lower = limit < holding.limit
        holding.set_limit(self._clock(), limit)
        self.tell(holding)
        if lower:  # it was granted under a limit that does not hold any more
            self._clerk.give_back(holding.block, 0)

    def _named(self, name: str, unit: str | None) -> Budget:
        found = [each for each in self.budgets if name in (each.name, each.account) and unit in (None, each.unit)]
        if not found:
            raise UnknownBudget(name, {each.name for each in self.budgets})
        if len(found) > 1:
            raise ValueError(f"budget {name!r} has limits in tokens and in usd; say which: unit=...")
        return found[0]

    def reconfigure(self, settings: Iterable[BudgetSettings]) -> None:
        """Other budgets hold from now on. Those that keep their name keep what was spent and reserved."""
        budgets = budgets_of(settings)
        now, wall = self._clock(), self._wall()
        named = {budget.account: budget for budget in budgets}
        self.budgets = budgets
        self.start()
        self._gone = {
            key: each for key, each in self._gone.items() if any(block.in_use for block in each.blocks.values())
        }
        for key, holding in list(self._holdings.items()):
            budget = named.get(holding.budget.account)
            if budget is None:
                del self._holdings[key]
                holding.gone, holding.by_hand = True, False
                if any(block.in_use for block in holding.blocks.values()):
                    self._gone[key] = holding
                self._limits = {each: limit for each, limit in self._limits.items() if each[0] != key[0]}
                for block in holding.blocks.values():
                    self._clerk.give_back(block, 0)
                continue
            lower = budget.limit_of(holding.entity) < holding.limit
            if holding.rebudget(now, wall, budget):
                self._rolled(holding)
            elif lower:
                self._clerk.give_back(holding.block, 0)
            self.tell(holding)

    # --- reports ---------------------------------------------------------------------------------

    def current(self, identity: Identity) -> Sequence[Purse]:
        """As `touched`, each in the window that runs now."""
        found = self.touched(identity)
        for holding in found:
            if holding.roll(self._clock(), self._wall()):
                self._rolled(holding)
        return found

    async def know(self, identity: Identity, until: float) -> None:
        """Wait until the ledger has said once what was spent of each budget a call of this identity draws on.

        Args:
            identity: Whose.
            until: Monotonic instant after which it goes on without; so it does where the ledger cannot be read.
        """
        for holding in self.current(identity):
            if not holding.asked and self._clerk.unavailable is None:
                with suppress(LedgerUnavailable, TimeoutError):
                    async with asyncio.timeout(max(0.0, until - self._clock())):
                        await self._clerk.know(holding)

    async def usage(self, identity: Identity) -> tuple[BudgetUsage, ...]:
        """What is spent and left of every budget a call of this identity would draw on.

        Raises:
            LedgerUnavailable: It cannot be read.
        """
        found = []
        for holding in self.current(identity):
            await self._clerk.know(holding)
            found.append(usage_of(holding, self._wall()))
        return tuple(found)

    def status(self) -> Mapping[str, BudgetStatus]:
        """Every budget as this process knows it, by its name in the ledger."""
        return status_of(self.budgets, self._holdings.values(), self._clerk, self._wall())

    async def aclose(self) -> None:
        """Write down what was spent, give back what is free, close the ledger. Bounded; see `Clerk.aclose`."""
        await self._clerk.aclose(tuple(self._claims.values()))
