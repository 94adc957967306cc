"""The durable ledger of one machine: a file of SQLite in WAL mode, shared by any number of processes.

Here is what the event loop sees: claims, settlements and what is held. `books` holds the tables and the transactions,
`writer` the thread, `held` the file that survives us, `files` how a file is opened or set aside. Every commit is
synced to the disk, so what is acknowledged is durable; many calls share one.

The rule that keeps crashes honest: a slot of the held file says ``acknowledged + in use``. Both move in one step of the
loop, when a settlement returns and its caller lowers what it holds, so that one store of 8 bytes changes both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Self

from resilio.errors import LedgerUnavailable
from resilio.store.base import Account, Claimed, Entry
from resilio.store.books import LEDGER, Books
from resilio.store.checks import check_claim, check_entries, check_units
from resilio.store.files import door, opened, unavailable
from resilio.store.held import Held, HeldFile
from resilio.store.writer import Job, Writer

__all__ = ["SqliteLedger", "boot_id"]

logger = logging.getLogger("resilio")

ADOPT_EVERY: Final = 60.0
"""Seconds after which a claim also looks for dead processes, though it is granted."""
SWEEP_AT: Final = 4096
"""Accounts known before those of which nothing is left are forgotten."""


def boot_id() -> str:
    """Which start of the machine this is; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class _Own:
    """What this process knows of one account it has claimed of."""

    __slots__ = ("acknowledged", "claimed", "generation", "jobs", "number", "slot", "units")

    def __init__(self, generation: int, slot: int) -> None:
        self.generation = generation
        self.slot = slot
        self.number = 0
        """Once the ledger has said it; the slot is assigned then."""
        self.claimed = self.acknowledged = self.units = self.jobs = 0

    def count(self, by: int) -> None:
        """So many more jobs are under way for it."""
        self.jobs += by

    @property
    def idle(self) -> bool:
        return not (self.units or self.jobs or self.claimed)


class SqliteLedger:
    """See the module; open one with `open`. A `resilio.store.Ledger`, for one event loop of one process.

    After a fork the child must open its own.
    """

    def __init__(self, path: Path, books: Books, held: HeldFile, executor: Executor, *, own_executor: bool) -> None:
        self.path = path
        self._books = books
        self._held = held
        self._executor = executor
        self._own_executor = own_executor
        self._writer = Writer(books.commit, executor)
        self._own: dict[Account, _Own] = {}
        self._generations = 0
        self._sweep_at = SWEEP_AT
        self._clock = asyncio.get_running_loop().time
        self._adopted_at = self._clock()
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        executor: Executor | None = None,
        wall: Callable[[], float] = time.time,
        boot: str | None = None,
        check: bool = True,
    ) -> Self:
        """Open the ledger, or make it; take over what dead processes left in it.

        Args:
            path: The file. ``<path>-wal`` and the folder ``<path>-held`` stand beside it.
            executor: Where the file is used, one thing at a time; default: a thread of its own.
            wall: Unix seconds, for entries made here.
            boot: Tells one start of the machine from another; default: what the system says.
            check: Read the whole file first, to find damage.

        Raises:
            LedgerUnavailable: It cannot be used. A damaged one was set aside, with what to do about it in the message.
        """
        place = Path(path)
        runs = executor or ThreadPoolExecutor(1, thread_name_prefix="resilio-ledger")
        opening = runs.submit(_open, place, boot_id() if boot is None else boot, wall, check)
        try:
            books, held = await asyncio.wrap_future(opening)
        except BaseException:
            opening.add_done_callback(_undo)  # cancelled, it may still succeed
            if executor is None:
                runs.shutdown(wait=False)
            raise
        return cls(place, books, held, runs, own_executor=executor is None)

    # --- the protocol ------------------------------------------------------------------------

    async def claim(self, account: Account, wanted: int, *, least: int, limit: int, counted: Sequence[str]) -> Claimed:
        """See `Ledger.claim`."""
        check_claim(account, wanted, least, limit, counted)
        self._check_open()
        own = self._known(account)
        left_alone = False
        granted = Claimed(0, 0)

        def run() -> tuple[int, Claimed]:
            return self._books.claim(account, own.generation, wanted, least, limit, counted)

        def told(result: tuple[int, Claimed]) -> None:
            nonlocal granted
            number, granted = result
            own.claimed += granted.granted
            self._number(own, number)
            if left_alone:
                self._give_back(account, own, granted.granted)

        self._adopt_now_and_then()
        try:
            await self._writer.do(Job(run, told=told, count=own.count))
        except asyncio.CancelledError:
            left_alone = True
            if granted.granted:
                self._give_back(account, own, granted.granted)
            raise
        return granted

    async def give_back(self, account: Account, amount: int) -> None:
        """See `Ledger.give_back`."""
        check_units(amount, "amount")
        self._check_open()
        if not amount:
            return
        own = self._known(account)
        await self._writer.do(self._returning(account, own, amount), certainly=True)

    async def settle(self, entries: Sequence[Entry]) -> None:
        """See `Ledger.settle`."""
        lines = check_entries(entries)
        self._check_open()
        shares: dict[Account, int] = {}
        for line in lines:
            shares[line.account] = shares.get(line.account, 0) + line.amount
        owns = [(own, amount) for account, amount in shares.items() if (own := self._own.get(account)) is not None]

        def told(_: None) -> None:
            for own, amount in owns:
                own.claimed = max(0, own.claimed - amount)

        def count(by: int) -> None:
            for own, _ in owns:
                own.jobs += by

        job = Job(lambda: self._books.settle(lines), len(lines), told, count)
        try:
            await self._writer.do(job, certainly=True)
        except asyncio.CancelledError:
            self._acknowledge(owns)
            raise
        # Not when the thread is done, but here: nothing can come between this and what the caller says next.
        self._acknowledge(owns)

    def hold(self, account: Account, units: int) -> None:
        """See `Ledger.hold`."""
        own = self._own.get(account)
        if own is None:
            if not units or self._closed:
                return
            own = self._known(account)
        own.units = units
        if self._closed:
            return
        if own.number:
            self._held.store(own.slot, own.acknowledged + units)
        elif not own.jobs:  # nothing was claimed: it needs a row to be found by
            self._writer.submit(self._naming(account, own))

    async def spent(self, budget: str, windows: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
        """See `Ledger.spent`."""
        self._check_open()
        asked = {entity: tuple(counted) for entity, counted in windows.items()}
        return await self._writer.do(Job(lambda: self._books.spent(budget, asked)))

    async def aclose(self) -> None:
        """See `Ledger.aclose`. What the disk does not take is left as a crash would leave it."""
        if self._closed:
            return
        self._closed = True
        await self._writer.flush()
        held = {
            own.number: Held(own.generation, own.acknowledged + own.units) for own in self._own.values() if own.number
        }
        left = True
        try:
            await self._writer.do(Job(lambda: self._books.leave(held)))
        except LedgerUnavailable as exc:
            left = False
            logger.warning("what this process claimed stays claimed until the ledger is opened again: %s", exc)
        finally:
            self._held.close(remove=left)
            await asyncio.wrap_future(self._executor.submit(self._books.close))
            if self._own_executor:
                self._executor.shutdown(wait=False)

    # --- for tests and benchmarks ------------------------------------------------------------

    def abandon(self) -> None:
        """Leave everything as `kill -9` would, for tests: what is queued is lost, claims and held file stay."""
        self._closed = True
        self._writer.drop()
        self._executor.submit(self._books.close).result()  # a dead process commits no more once its lock is gone
        self._held.close(remove=False)
        if self._own_executor:
            self._executor.shutdown(wait=False)

    @property
    def batches(self) -> int:
        """Commits so far."""
        return self._writer.batches

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._own)} accounts, {self._writer.kept} kept"
        return f"<SqliteLedger {str(self.path)!r}: {state}>"

    # --- inside ------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerUnavailable(str(self.path), "it is closed")

    def _known(self, account: Account) -> _Own:
        """What is known of this account, from now on.

        Raises:
            LedgerUnavailable: The held file has no room for it and cannot grow.
        """
        own = self._own.get(account)
        if own is not None:
            return own
        if len(self._own) >= self._sweep_at:
            self._sweep()
        try:
            slot = self._held.allocate()
        except OSError as exc:
            raise unavailable(self.path, exc) from exc
        self._generations += 1
        own = self._own[account] = _Own(self._generations, slot)
        return own

    def _sweep(self) -> None:
        """Forget accounts of which nothing is left; those that are in use may make the next sweep later."""
        for account, own in [(account, own) for account, own in self._own.items() if own.idle]:
            del self._own[account]
            self._held.release(own.slot)
            if own.number:
                self._writer.submit(Job(partial(self._books.drop_claim, own.number, own.generation)))
        self._sweep_at = max(SWEEP_AT, 2 * len(self._own))

    def _number(self, own: _Own, number: int) -> None:
        if not own.number and not self._closed:
            own.number = number
            self._held.assign(own.slot, number, own.generation, own.acknowledged + own.units)

    def _naming(self, account: Account, own: _Own) -> Job[int]:
        def told(number: int) -> None:
            self._number(own, number)

        def run() -> int:
            return self._books.open_claim(self._books.number(account), own.generation)

        return Job(run, told=told, count=own.count, keep=True)

    def _acknowledge(self, owns: Sequence[tuple[_Own, int]]) -> None:
        """From now on these amounts are not among what the caller holds."""
        for own, amount in owns:
            own.acknowledged += amount

    def _returning(self, account: Account, own: _Own, amount: int) -> Job[None]:
        def told(_: None) -> None:
            own.claimed -= amount

        return Job(lambda: self._books.give_back(account, amount), told=told, count=own.count)

    def _give_back(self, account: Account, own: _Own, amount: int) -> None:
        """Return what a cancelled claim was granted; nobody waits for it."""
        if amount and not self._closed:
            job = self._returning(account, own, amount)
            job.keep = True
            self._writer.submit(job)

    def _adopt_now_and_then(self) -> None:
        now = self._clock()
        if now - self._adopted_at >= ADOPT_EVERY:
            self._adopted_at = now
            self._writer.submit(Job(self._books.adopt))


def _open(path: Path, boot: str, wall: Callable[[], float], check: bool) -> tuple[Books, HeldFile]:
    """In the thread: everything that opening takes."""
    try:
        with door(path, alone=False):  # a repair must not move the file away before we are seen to use it
            return _entered(path, boot, wall, check)
    except ImportError as exc:
        why = "this system has no locks on files (fcntl), and without them nobody can tell who lives"
        raise LedgerUnavailable(str(path), why) from exc
    except OSError as exc:
        raise unavailable(path, exc) from exc


def _entered(path: Path, boot: str, wall: Callable[[], float], check: bool) -> tuple[Books, HeldFile]:
    connection = opened(path, LEDGER, check=check)
    held = None
    try:
        held = HeldFile.create(path.with_name(path.name + "-held"))
        books = Books(connection, path, held.path.name, boot, wall)
        entered = books.commit([Job(books.enter)])[0]
        if isinstance(entered, Exception):
            raise entered
    except BaseException as exc:
        connection.close()
        if held is not None:
            held.close(remove=True)
        if isinstance(exc, Exception) and not isinstance(exc, ImportError):
            raise unavailable(path, exc) from exc
        raise
    return books, held


def _undo(opening: Future[tuple[Books, HeldFile]]) -> None:
    """An opening that nobody waits for any more."""
    with contextlib.suppress(BaseException):
        books, held = opening.result()
        books.commit([Job(lambda: books.leave({}))])
        books.close()
        held.close(remove=True)
