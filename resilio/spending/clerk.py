"""The clerk: one task that writes down what was spent, gives back what is not needed, and asks what others spent.

All of it in one task, one after the other: so what is known of an account is never counted twice, once as durable and
once as not. Nothing a call does waits for it, but for room in its queue. While the ledger cannot be written
nothing is lost and nothing new may be spent (`check`); it is tried again, more and more rarely.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from resilio.budget import Block, Holding
from resilio.errors import LedgerUnavailable
from resilio.statemachines.budget import BudgetState
from resilio.store.base import Account, Entry, Ledger

__all__ = ["Clerk"]

logger = logging.getLogger("resilio")

LINGER: Final = 0.02
"""Seconds an entry waits for others: one transaction for all. Until it is written the ledger holds it as in use."""
BATCH: Final = 1000
MOST_WAITING: Final = 10_000
"""Entries not yet written; callers who come then wait for room."""
IDLE: Final = 2.0
"""Seconds without a reservation after which all that is free goes back, and between two looks at what is in use."""
KEEP: Final = 60.0
"""Seconds after which an entity that nobody asks for is forgotten; the ledger remembers."""
LOOKS: Final = 500
"""Entities looked at in one go."""
FIRST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 5.0
CLOSING: Final = 5.0
"""Seconds that closing may wait for the ledger."""


class Clerk:
    """See the module.

    Args:
        ledger: Where to write.
        holdings: Those in use, by account and entity; those that are idle are taken out.
        clock: Monotonic seconds.
        wall: Unix seconds: whether a window is over.
        told: Called with a holding whose state may have changed.

    Attributes:
        unavailable: Why the ledger could not be written when it was last tried; None: it could.
    """

    def __init__(
        self,
        ledger: Ledger,
        holdings: dict[tuple[str, str], Holding[Account]],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        told: Callable[[Holding[Account]], None],
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._clock = clock
        self._wall = wall
        self._told = told
        self.unavailable: LedgerUnavailable | None = None
        self._entries: deque[tuple[Block[Account], Entry]] = deque()
        self._returns: dict[Block[Account], None] = {}
        self._unknown: dict[Holding[Account], list[asyncio.Future[None]]] = {}
        self._due: deque[tuple[float, Holding[Account]]] = deque()
        """Who is looked at and when, soonest first. Those idle for long stand in a line of their own: here they would
        keep all who stand behind them from being looked at."""
        self._resting: deque[tuple[float, Holding[Account]]] = deque()
        self._armed = math.inf
        """The instant the timer is set to."""
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        """Set whenever something was written or given back; whoever waits for that clears it first."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._retry = FIRST_RETRY
        self._closing = False

    # --- what others ask of it -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work; twice is as once."""
        if self._task is None and not self._closing:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="resilio clerk")

    @property
    def unwritten(self) -> int:
        """Entries that are not durable yet."""
        return len(self._entries)

    @property
    def full(self) -> bool:
        """So much waits to be written that new spending has to wait."""
        return len(self._entries) >= MOST_WAITING

    def check(self) -> None:
        """Raise `LedgerUnavailable` while nothing new may be spent."""
        if (why := self.unavailable) is not None:
            raise LedgerUnavailable(why.path, why.why, why.remedy)
        if self._closing:
            raise LedgerUnavailable("", "this client is closing")

    def failed(self, exc: LedgerUnavailable) -> None:
        """A claim could not be made: nothing new is spent until the ledger has been tried again."""
        self._unavailable(exc)

    async def wait_for_room(self, timeout: float) -> None:
        """Wait until fewer entries wait.

        Raises:
            LedgerUnavailable: They cannot be written.
            TimeoutError: They were not, in time.
        """
        async with asyncio.timeout(max(0.0, timeout)):
            while self.full:
                self.check()
                await self._movement()

    async def wait_returned(self, holding: Holding[Account]) -> None:
        """Wait until nothing of this holding is on its way back, unless the ledger cannot be written."""
        while any(block.returning for block in holding.blocks.values()) and self.unavailable is None:
            await self._movement()

    async def _movement(self) -> None:
        self._moved.clear()
        self._wake.set()
        await self._moved.wait()

    def write(self, block: Block[Account], amount: int, request_id: str, at: float) -> None:
        """Write down what was spent, soon."""
        if not self._entries:
            asyncio.get_running_loop().call_later(LINGER, self._wake.set)
        self._entries.append((block, Entry(block.account, "settled", amount, request_id, at)))

    def give_back(self, block: Block[Account], keep: int) -> None:
        """Give back what is free in a block, but for `keep` units."""
        if block.take_back(keep):
            self._returns[block] = None
            self._wake.set()

    def look(self, holding: Holding[Account], now: float) -> None:
        """Ask what others spent of it, and look now and then whether it needs all it has."""
        self._unknown.setdefault(holding, [])
        self._wake.set()
        if holding.due > now + IDLE:
            holding.due = now + IDLE
            self._due.append((holding.due, holding))
            self._arm(now)

    async def know(self, holding: Holding[Account]) -> None:
        """Wait until it is known what is spent of this holding.

        Raises:
            LedgerUnavailable: It cannot be read.
        """
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unknown.setdefault(holding, []).append(known)
        self._wake.set()
        await known

    # --- looking after what is claimed -----------------------------------------------------------

    def _arm(self, now: float) -> None:
        at = min((queue[0][0] for queue in (self._due, self._resting) if queue), default=math.inf)
        if self._closing or (at >= self._armed and self._timer is not None) or at == math.inf:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self._look_around)

    def _look_around(self) -> None:
        """Give back what is not needed; forget who has not asked for long."""
        self._timer = None
        now = self._clock()
        for queue in (self._due, self._resting):
            for _ in range(LOOKS):
                if not queue or queue[0][0] > now:
                    break
                at, holding = queue.popleft()
                if at == holding.due:  # else it is to be looked at sooner or was already
                    self._look_at(holding, now)
        self._arm(now)

    def _look_at(self, holding: Holding[Account], now: float) -> None:
        idle = now - holding.used_at
        keep = 0 if idle >= IDLE else holding.surplus()
        for block in holding.blocks.values():
            self.give_back(block, keep if block is holding.block else 0)
        holding.forget()
        if holding.idle and (holding.gone or (idle >= KEEP and self._nothing_to_remember(holding, now))):
            holding.due = math.inf
            key = (holding.budget.account, holding.entity)
            if self._holdings.get(key) is holding:  # another may stand there since a reload
                del self._holdings[key]
        elif idle >= KEEP and not holding.wanted:
            holding.due = now + KEEP
            self._resting.append((holding.due, holding))
        else:
            holding.due = now + IDLE
            self._due.append((holding.due, holding))

    def _nothing_to_remember(self, holding: Holding[Account], now: float) -> bool:
        """Whether nobody would be told anything twice if this entity were forgotten.

        One whose window is over is open again, and that is told: else all who ever came to a limit stay for good.
        """
        if holding.flow.state is BudgetState.OPEN:
            return True
        if self._wall() < holding.budget.window.leaves(holding.span):
            return False
        holding.roll(now, self._wall())
        self._told(holding)
        return True

    # --- its work --------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write()
                await self._return()
                await self._ask()
            except LedgerUnavailable as exc:
                self._unavailable(exc)
            except Exception as exc:  # a bug, ours or the ledger's: as little may be spent as if it were broken
                logger.exception("the ledger failed")
                self._unavailable(LedgerUnavailable("", f"{type(exc).__name__}: {exc}"))
            else:
                self.unavailable = None
                self._retry = FIRST_RETRY
            self._moved.set()
            if self._closing and not (self._entries or self._returns):
                return

    def _unavailable(self, exc: LedgerUnavailable) -> None:
        if self.unavailable is None:
            logger.error("%s; nothing new is spent until it can be", exc)
        self.unavailable = exc
        for waiting in self._unknown.values():
            for known in waiting:
                if not known.done():
                    known.set_exception(LedgerUnavailable(exc.path, exc.why, exc.remedy))
            waiting.clear()
        asyncio.get_running_loop().call_later(self._retry, self._wake.set)
        self._retry = min(LONGEST_RETRY, 2 * self._retry)

    async def _write(self) -> None:
        while self._entries:
            batch = list(islice(self._entries, BATCH))
            try:
                await self._ledger.settle([entry for _, entry in batch])
            except asyncio.CancelledError:  # the ledger has taken them over and writes them
                self._written(batch)
                raise
            self._written(batch)
            self._moved.set()

    def _written(self, batch: Sequence[tuple[Block[Account], Entry]]) -> None:
        """These are the ledger's now; awaits nothing: see `Ledger.settle`."""
        for block, entry in batch:
            self._entries.popleft()
            block.written(entry.amount)
        for block in dict.fromkeys(block for block, _ in batch):
            self._ledger.hold(block.account, block.in_use)

    async def _return(self) -> None:
        while self._returns:
            block = next(iter(self._returns))
            if units := block.returning:
                await self._ledger.give_back(block.account, units)
                block.returned(units)
            if not block.returning:  # more may have come meanwhile
                self._returns.pop(block, None)

    async def _ask(self) -> None:
        """One question a budget, for all whose spending is not known."""
        asked, self._unknown = self._unknown, {}
        try:
            by_budget: dict[str, list[Holding[Account]]] = {}
            for holding in asked:
                by_budget.setdefault(holding.budget.account, []).append(holding)
            for name, holdings in by_budget.items():
                windows = {holding.entity: holding.span.counted for holding in holdings}
                spent = await self._ledger.spent(name, windows)
                for holding in holdings:
                    if holding.span.counted is windows[holding.entity]:  # else its window ended meanwhile
                        holding.known(self._clock(), spent.get(holding.entity, 0))
                        self._told(holding)
                    for known in asked.pop(holding):
                        if not known.done():
                            known.set_result(None)
        except BaseException:
            for holding, waiting in asked.items():
                self._unknown.setdefault(holding, []).extend(waiting)
            raise

    # --- the end ---------------------------------------------------------------------------------

    async def aclose(self, claims: Iterable[asyncio.Task[object]]) -> None:
        """Write what is queued, give back what is free, close the ledger; bounded by `CLOSING`, cancelled or not."""
        import anyio  # only who closes pays for it

        closing = asyncio.get_running_loop().create_task(self._close(tuple(claims)), name="resilio clerk closing")
        gone: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not closing.done():
                try:
                    await asyncio.wait((closing,))
                except asyncio.CancelledError as exc:  # a native one passes the shield; what was spent must be kept
                    gone = exc
        if gone is not None:
            raise gone
        closing.result()

    async def _close(self, claims: Sequence[asyncio.Task[object]]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSING
        if claims:
            await asyncio.wait(claims, timeout=CLOSING)
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        for holding in self._holdings.values():
            for block in holding.blocks.values():
                self.give_back(block, 0)
        self._wake.set()
        if (task := self._task) is not None:
            await asyncio.wait((task,), timeout=max(0.0, until - loop.time()))
            if not task.done():
                logger.error("%d entries could not be written to the ledger before closing", len(self._entries))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for claim in claims:
            claim.cancel()
        for waiting in self._unknown.values():
            for known in waiting:
                known.cancel()
        try:
            async with asyncio.timeout(CLOSING):
                await self._ledger.aclose()
        except TimeoutError:
            logger.error("the ledger did not close within %g s", CLOSING)
