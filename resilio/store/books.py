"""The ledger's tables, and what is done to them inside one transaction.

Synchronous and used by one thread at a time. Balances (`account.spent`) are kept for speed: `resilio.store.audit`
proves them from the entries, which are only ever added. A claim is a row for each process and account.

The rule that counts each unit once, whenever a process dies: its slot in the held file says
``acknowledged + in use``, its claim row says how much is ``durable``, and both only ever count one generation of the
account in that process. What was in use and is not an entry yet is the difference, whether or not the process had
heard of its last commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from resilio.errors import LedgerUnavailable
from resilio.store.base import Account, Claimed, Entry, EntryKind
from resilio.store.files import Layout, is_corrupt, unavailable
from resilio.store.held import Held, TakenOver
from resilio.store.writer import Job

__all__ = ["KINDS", "LEDGER", "Books"]

KINDS: Final[tuple[EntryKind, ...]] = ("settled", "presumed", "corrected")
"""An entry keeps the place of its kind."""

LEDGER: Final = Layout(
    what="ledger",
    application_id=0x52534C31,
    synchronous="FULL",
    steps=(
        """
        CREATE TABLE account (
            id INTEGER PRIMARY KEY, budget TEXT NOT NULL, entity TEXT NOT NULL, period TEXT NOT NULL,
            spent INTEGER NOT NULL DEFAULT 0 CHECK (typeof(spent) = 'integer'),
            UNIQUE (budget, entity, period));
        CREATE TABLE entry (
            id INTEGER PRIMARY KEY, account INTEGER NOT NULL, kind INTEGER NOT NULL, amount INTEGER NOT NULL,
            request TEXT NOT NULL, at REAL NOT NULL);
        CREATE TRIGGER entries_stay BEFORE DELETE ON entry
            BEGIN SELECT RAISE(ABORT, 'entries are only ever added'); END;
        CREATE TRIGGER entries_stay_as_they_are BEFORE UPDATE ON entry
            BEGIN SELECT RAISE(ABORT, 'entries are only ever added'); END;
        CREATE TABLE process (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, boot TEXT NOT NULL, since REAL NOT NULL);
        CREATE TABLE claim (
            process INTEGER NOT NULL, account INTEGER NOT NULL, claimed INTEGER NOT NULL,
            generation INTEGER NOT NULL, durable INTEGER NOT NULL, PRIMARY KEY (process, account)) WITHOUT ROWID;
        CREATE INDEX claim_of_account ON claim (account);
        """,
    ),
)

_SEEN_ACCOUNTS: Final = 10_000


class Books:
    """One process's access to the tables.

    Args:
        connection: Of its own.
        path: The ledger, for messages and for the held files beside it.
        name: Of this process's held file.
        boot: Which start of the machine this is; empty: it cannot be told.
        wall: Unix seconds.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, name: str, boot: str, wall: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._path = path
        self._held = path.with_name(path.name + "-held")
        self._name = name
        self._boot = boot
        self._wall = wall
        self._ids: dict[Account, int] = {}
        self._fresh: list[Account] = []
        self._taken: list[TakenOver] = []
        self._broken: Exception | None = None
        self.process = 0

    # --- transactions ------------------------------------------------------------------------

    def commit(self, jobs: Sequence[Job[Any]]) -> list[Any]:
        """Do jobs in one transaction; if that fails, each in one of its own, so that one bad job fails alone.

        Returns:
            For each its result, or the exception it ended with.
        """
        try:
            return self._transaction(jobs)
        except Exception as exc:
            if len(jobs) == 1 or getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                return [self._translated(exc)] * len(jobs)
        results = []
        for job in jobs:
            try:
                results += self._transaction([job])
            except Exception as exc:
                results.append(self._translated(exc))
        return results

    def _transaction(self, jobs: Sequence[Job[Any]]) -> list[Any]:
        if self._broken is not None:
            raise self._broken
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        committed = False
        try:
            results = [job.run() for job in jobs]
            connection.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                for account in self._fresh:
                    self._ids.pop(account, None)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._fresh.clear()
            for taken in self._taken:  # before the commit its file may still be needed by the next who tries
                taken.close(remove=committed)
            self._taken.clear()
        return results

    def _translated(self, exc: Exception) -> Exception:
        if is_corrupt(exc):  # what else is damaged nobody knows: nothing is written to it any more
            self._broken = unavailable(self._path, exc)
            return self._broken
        return unavailable(self._path, exc)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # --- inside one --------------------------------------------------------------------------

    def enter(self) -> None:
        """Register this process, and take over what dead ones left."""
        row = (self._name, self._boot, self._wall())
        insert = "INSERT INTO process (name, boot, since) VALUES (?, ?, ?) RETURNING id"
        self.process = int(self._connection.execute(insert, row).fetchone()[0])
        self.adopt()

    def claim(
        self, account: Account, generation: int, wanted: int, least: int, limit: int, counted: Sequence[str]
    ) -> tuple[int, Claimed]:
        """Take units of what is left, looking for dead processes' claims if too few are.

        Returns:
            The account's number, and what was granted.
        """
        self._check_alive()
        number = self.number(account)
        left = limit - self._taken_of(account, counted)
        if left < least and self.adopt():
            left = limit - self._taken_of(account, counted)
        granted = min(wanted, left) if left >= least else 0
        self.open_claim(number, generation, granted)
        return number, Claimed(granted, max(0, left - granted))

    def open_claim(self, number: int, generation: int, granted: int = 0) -> int:
        """Add to this process's claim; another generation begins to count anew what is durable."""
        self._connection.execute(
            "INSERT INTO claim (process, account, claimed, generation, durable) VALUES (?1, ?2, ?3, ?4, 0) "
            "ON CONFLICT (process, account) DO UPDATE SET claimed = claimed + ?3, "
            "durable = iif(generation = ?4, durable, 0), generation = ?4",
            (self.process, number, granted, generation),
        )
        return number

    def give_back(self, account: Account, amount: int) -> None:
        """Make a claim smaller.

        Raises:
            ValueError: It is not so large.
        """
        changed = self._connection.execute(
            "UPDATE claim SET claimed = claimed - ?1 WHERE process = ?2 AND account = ?3 AND claimed >= ?1",
            (amount, self.process, self.number(account)),
        ).rowcount
        if not changed:
            raise ValueError(f"{amount} units of {account} were to be given back, and fewer are claimed")

    def drop_claim(self, number: int, generation: int) -> None:
        """Forget a claim of which nothing is left."""
        self._connection.execute(
            "DELETE FROM claim WHERE process = ? AND account = ? AND generation = ? AND claimed = 0",
            (self.process, number, generation),
        )

    def settle(self, entries: Iterable[Entry]) -> None:
        """Append entries and take their amounts out of the claims."""
        totals: dict[int, int] = {}
        rows = []
        for entry in entries:
            number = self.number(entry.account)
            totals[number] = totals.get(number, 0) + entry.amount
            rows.append((number, KINDS.index(entry.kind), entry.amount, _text(entry.request_id), entry.at))
        self._append(rows)
        for number, amount in totals.items():
            self._spend(number, amount)
            self._connection.execute(
                "UPDATE claim SET claimed = max(0, claimed - ?1), durable = durable + ?1 "
                "WHERE process = ?2 AND account = ?3",
                (amount, self.process, number),
            )

    def spent(self, budget: str, windows: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Units spent by each entity in its windows."""
        return {
            entity: sum(self._spent_in(Account(budget, entity, window)) for window in set(counted))
            for entity, counted in windows.items()
        }

    def adopt(self) -> int:
        """Charge and free what dead processes have claimed; returns how many there were."""
        rows = self._connection.execute("SELECT id, name, boot FROM process WHERE id <> ?", (self.process,)).fetchall()
        adopted = 0
        for process, name, boot in rows:
            held: Mapping[int, Held] | None = None
            try:
                taken = TakenOver.if_dead(self._held / name)
            except FileNotFoundError:  # nobody can tell what was in use
                pass
            except OSError:  # no descriptors, no permission: nobody can tell whether it lives, so its claims stand
                continue
            else:
                if taken is None:
                    continue
                self._taken.append(taken)
                # After a restart of the machine the file may be older than the last that was stored in it.
                held = taken.read() if boot and boot == self._boot else None
            self._take_over(process, name, held)
            adopted += 1
        return adopted

    def leave(self, held: Mapping[int, Held]) -> None:
        """End this process's part: charge what is in use, free the rest."""
        self._take_over(self.process, self._name, held)

    def number(self, account: Account) -> int:
        """The number of an account, given one if it has none."""
        number = self._ids.get(account)
        if number is None:
            names = _texts(account)
            row = self._connection.execute(
                "SELECT id FROM account WHERE budget = ? AND entity = ? AND period = ?", names
            ).fetchone()
            if row is None:
                insert = "INSERT INTO account (budget, entity, period) VALUES (?, ?, ?) RETURNING id"
                row = self._connection.execute(insert, names).fetchone()
            number = int(row[0])
            if len(self._ids) >= _SEEN_ACCOUNTS:
                self._ids.clear()
            self._ids[account] = number
            self._fresh.append(account)
        return number

    # --- inside ------------------------------------------------------------------------------

    def _append(self, rows: Sequence[tuple[int, int, int, str, float]]) -> None:
        insert = "INSERT INTO entry (account, kind, amount, request, at) VALUES (?, ?, ?, ?, ?)"
        self._connection.executemany(insert, rows)

    def _spend(self, number: int, amount: int) -> None:
        self._connection.execute("UPDATE account SET spent = spent + ? WHERE id = ?", (amount, number))

    def _spent_in(self, account: Account) -> int:
        query = "SELECT spent FROM account WHERE budget = ? AND entity = ? AND period = ?"
        row = self._connection.execute(query, _texts(account)).fetchone()
        return 0 if row is None else int(row[0])

    def _taken_of(self, account: Account, counted: Sequence[str]) -> int:
        """Units spent and claimed in windows that count, by anybody."""
        taken = 0
        for window in set(counted):
            row = self._connection.execute(
                "SELECT spent + (SELECT coalesce(sum(claimed), 0) FROM claim WHERE account = account.id) "
                "FROM account WHERE budget = ? AND entity = ? AND period = ?",
                _texts(account._replace(window=window)),
            ).fetchone()
            taken += 0 if row is None else int(row[0])
        return taken

    def _take_over(self, process: int, name: str, held: Mapping[int, Held] | None) -> None:
        query = "SELECT account, claimed, generation, durable FROM claim WHERE process = ? ORDER BY account"
        at = self._wall()
        for number, claimed, generation, durable in self._connection.execute(query, (process,)).fetchall():
            amount = claimed if held is None else _in_use(held.get(number), generation, durable)
            if amount:
                self._append([(number, KINDS.index("presumed"), amount, f"presumed:{name}", at)])
                self._spend(number, amount)
        self._connection.execute("DELETE FROM claim WHERE process = ?", (process,))
        self._connection.execute("DELETE FROM process WHERE id = ?", (process,))

    def _check_alive(self) -> None:
        """Refuse to claim once this process was taken for dead: nobody would ever free its claims.

        Raises:
            LedgerUnavailable: Its row is gone, since somebody has removed its held file.
        """
        if not self._connection.execute("SELECT 1 FROM process WHERE id = ?", (self.process,)).fetchone():
            raise LedgerUnavailable(str(self._path), "this process was taken for dead", "restart it")


def _text(value: str) -> str:
    r"""The text, with what UTF-8 cannot say spelt out (``\ud800``): one odd name must not stop everybody's spending."""
    return value if value.isascii() else value.encode(errors="backslashreplace").decode()


def _texts(account: Account) -> tuple[str, ...]:
    return tuple(_text(name) for name in account)


def _in_use(slot: Held | None, generation: int, durable: int) -> int:
    """Units in use that no entry has charged."""
    if slot is None:
        return 0
    return max(0, slot.value - (durable if slot.generation == generation else 0))
