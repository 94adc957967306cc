"""Prove a ledger from its entries, and make a sound one of what can be read of a damaged one.

Synchronous, for the command line and tests. An audit only reads, and may run beside a program that spends. A repair
never touches the damaged files: it reads a copy and writes a new ledger.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from resilio.errors import LedgerUnavailable
from resilio.store.base import Account, Entry
from resilio.store.books import KINDS, LEDGER
from resilio.store.files import (
    FILE_ERRORS,
    SUFFIXES,
    connect,
    door,
    in_use,
    make,
    set_aside,
    set_aside_files,
    unavailable,
)

__all__ = ["Audit", "Difference", "Repair", "Standing", "audit", "entries", "repair", "standings"]

_CHUNK: Final = 4096
_ADD: Final = "INSERT INTO entry (account, kind, amount, request, at) VALUES (?, ?, ?, ?, ?)"
_MAX_FAILURES: Final = 100_000
"""Reads that may fail before the rest is given up: seconds."""
_PAGE_BYTES: Final = 4096
"""Page size of a ledger: SQLite's own default since 2016, and `make` sets no other."""
_LEAST_ROW_BYTES: Final = 8


class Difference(NamedTuple):
    """A balance that its entries do not prove."""

    account: Account
    balance: int
    entries: int
    """What they add up to."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found."""

    path: str
    entries: int
    accounts: int
    processes: int
    """Programs that have it open, or died with it open and were not taken over yet."""
    differences: tuple[Difference, ...] = ()
    damage: tuple[str, ...] = ()
    """What SQLite finds wrong with the file."""

    @property
    def clean(self) -> bool:
        """Every balance is proved, and the file is whole."""
        return not (self.differences or self.damage)


class Standing(NamedTuple):
    """One account as it stands."""

    account: Account
    spent: int
    claimed: int


def audit(path: Path) -> Audit:
    """Recompute every balance from the entries.

    Raises:
        LedgerUnavailable: There is no such file, or it is not a ledger, or nothing of it can be read.
    """
    with _reading(path) as connection:
        damage = tuple(_damage(connection))
        try:
            return _audited(connection, path, damage)
        except FILE_ERRORS as exc:
            if not damage:
                raise
            return Audit(str(path), 0, 0, 0, (), (*damage, str(exc)))


def _damage(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        for (line,) in connection.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield " ".join(line.split())
    except FILE_ERRORS as exc:
        yield str(exc)


def _audited(connection: sqlite3.Connection, path: Path, damage: tuple[str, ...]) -> Audit:
    connection.execute("BEGIN")  # one moment for all of it
    sums = dict(connection.execute("SELECT account, sum(amount) FROM entry GROUP BY account"))
    count = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    differences, accounts = [], 0
    for number, budget, entity, window, spent in connection.execute(
        "SELECT id, budget, entity, period, spent FROM account"
    ):
        accounts += 1
        proved = sums.pop(number, 0)
        if proved != spent:
            differences.append(Difference(Account(budget, entity, window), spent, proved))
    differences += [Difference(_nameless(number), 0, proved) for number, proved in sums.items()]
    processes = connection.execute("SELECT count(*) FROM process").fetchone()[0]
    return Audit(str(path), count, accounts, processes, tuple(differences), damage)


def standings(path: Path, *, budget: str | None = None, entity: str | None = None) -> list[Standing]:
    """Accounts with what is spent and claimed, those of which most is spent first.

    Raises:
        LedgerUnavailable: As for `audit`.
    """
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT budget, entity, period, spent, "
            "(SELECT coalesce(sum(claimed), 0) FROM claim WHERE account = account.id) FROM account "
            "WHERE (?1 IS NULL OR budget = ?1) AND (?2 IS NULL OR entity = ?2) ORDER BY spent DESC, id",
            (budget, entity),
        )
        return [Standing(Account(*row[:3]), row[3], row[4]) for row in rows]


def entries(
    path: Path, *, last: int | None = None, budget: str | None = None, entity: str | None = None
) -> list[Entry]:
    """Entries in the order they were added; `last`: only so many, from the end.

    Raises:
        LedgerUnavailable: As for `audit`.
    """
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT budget, entity, period, kind, amount, request, at FROM entry "
            "JOIN account ON account.id = entry.account "
            "WHERE (?1 IS NULL OR budget = ?1) AND (?2 IS NULL OR entity = ?2) ORDER BY entry.id DESC LIMIT ?3",
            (budget, entity, -1 if last is None else last),
        )
        return [Entry(Account(*row[:3]), KINDS[row[3]], *row[4:]) for row in rows][::-1]


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        aside = set_aside(path)
        remedy = f"run: resilio ledger repair {path}" if aside else ""
        raise LedgerUnavailable(str(path), "there is no such file" + (f", but {aside.name!r}" if aside else ""), remedy)
    try:
        with closing(connect(path, LEDGER, mode="ro")) as connection:
            if connection.execute("PRAGMA application_id").fetchone()[0] != LEDGER.application_id:
                raise LedgerUnavailable(str(path), "it is not a ledger")
            yield connection
    except FILE_ERRORS as exc:
        raise unavailable(path, exc) from exc


# --- repair --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Repair:
    """What a repair has done."""

    path: str
    """The new ledger."""
    damaged: str
    """Where the damaged one lies, as it was."""
    entries: int = 0
    unreadable: int = 0
    """Entries that were there and cannot be read."""
    corrected: list[Difference] = field(default_factory=list)
    """Accounts whose balance says that more was spent than the readable entries: the difference is an entry now."""
    claims: int = 0
    """Claims of dead processes that the next to open it will charge or free."""
    claims_lost: bool = False
    """They cannot be read, so what was in use when it broke is not charged."""


def repair(path: Path, *, wall: Callable[[], float] = time.time) -> Repair:
    """Make a new ledger of what can be read of the damaged one, which is kept.

    Args:
        path: Where the ledger is, or was until it was set aside.
        wall: Unix seconds, for the entries that make up for lost ones.

    Raises:
        LedgerUnavailable: There is nothing to repair, a process still uses it, or there is no room.
    """
    try:
        with door(path, alone=True):
            return _repaired(path, wall)
    except FILE_ERRORS as exc:
        raise unavailable(path, exc) from exc


def _repaired(path: Path, wall: Callable[[], float]) -> Repair:
    if in_use(path):
        raise LedgerUnavailable(str(path), "a process still uses it", "stop all that use it first")
    damaged = set_aside_files(path) if path.exists() else set_aside(path)
    if damaged is None:
        raise LedgerUnavailable(str(path), "there is no such file, and none that was set aside")
    beside = path.with_name(f"{path.name}.repaired")
    beside.unlink(missing_ok=True)
    make(beside, LEDGER)
    done = Repair(str(path), str(damaged))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.repair-") as folder:
        copy = _readable_copy(damaged, beside, Path(folder))
        with closing(connect(copy, LEDGER)) as source, closing(connect(beside, LEDGER)) as target:
            _carry_over(source, target, done, wall())
    held = Path(f"{damaged}-held")
    if held.is_dir() and done.claims:  # who opens it next reads there what was in use
        shutil.copytree(held, f"{path}-held", dirs_exist_ok=True)
    beside.rename(path)
    return done


def _readable_copy(damaged: Path, sound: Path, folder: Path) -> Path:
    """A copy to read from. Where its first page is gone, it gets that of a new ledger: all ledgers begin alike."""
    copy = folder / "copy"
    for suffix in SUFFIXES[:2]:
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{damaged}{suffix}", f"{copy}{suffix}")
    with suppress(*FILE_ERRORS):
        if _schema(copy) == _schema(sound):
            return copy
    page = bytearray(sound.read_bytes()[:_PAGE_BYTES])
    page[18:20] = b"\x02\x02"  # as a file with a write-ahead log says
    page[28:32] = (copy.stat().st_size // _PAGE_BYTES).to_bytes(4)  # pages in the file; valid while the next two agree
    page[92:96] = page[24:28]
    with open(copy, "r+b") as file:
        file.write(page)
    return copy


def _schema(path: Path) -> list[tuple[Any, ...]]:
    with closing(connect(path, LEDGER)) as connection:
        return connection.execute("SELECT name, rootpage, sql FROM sqlite_schema ORDER BY name").fetchall()


def _carry_over(source: sqlite3.Connection, target: sqlite3.Connection, done: Repair, now: float) -> None:
    source.execute("PRAGMA query_only = ON")
    source.execute("PRAGMA cell_size_check = ON")
    target.execute("BEGIN IMMEDIATE")
    accounts = _accounts(source)
    sums: dict[int, int] = {}
    rows, done.unreadable = _rows(source, "entry", "id, account, kind, amount, request, at")
    for row in rows:
        number, kind, amount, request, at = row[1:]
        if not _is_entry(row) or kind >= len(KINDS):
            done.unreadable += 1
            continue
        done.entries += 1
        sums[number] = sums.get(number, 0) + amount
        target.execute(_ADD, (number, kind, amount, request, at))
    for number in {*accounts, *sums}:
        account, balance = accounts.get(number, (_nameless(number), 0))
        proved = sums.get(number, 0)
        if done.unreadable and balance > proved:  # the balance remembers what the lost entries said
            done.corrected.append(Difference(account, balance, proved))
            target.execute(_ADD, (number, KINDS.index("corrected"), balance - proved, "repair", now))
            proved = balance
        target.execute("INSERT INTO account VALUES (?, ?, ?, ?, ?)", (number, *account, proved))
    _carry_claims(source, target, done)
    target.execute("COMMIT")


def _accounts(source: sqlite3.Connection) -> Mapping[int, tuple[Account, int]]:
    """Names and balances by number; the index of names stands in for pages of the table that are gone."""
    found: dict[int, tuple[Account, int]] = {}
    with suppress(*FILE_ERRORS):
        for number, *names in source.execute(
            "SELECT id, budget, entity, period FROM account ORDER BY budget, entity, period"
        ):
            found[number] = (Account(*names), 0)
    for number, budget, entity, window, spent in _rows(source, "account", "id, budget, entity, period, spent")[0]:
        if isinstance(spent, int) and all(isinstance(its, str) for its in (budget, entity, window)):
            found[number] = (Account(budget, entity, window), spent)
    return found


def _carry_claims(source: sqlite3.Connection, target: sqlite3.Connection, done: Repair) -> None:
    try:
        processes = source.execute("SELECT id, name, boot, since FROM process").fetchall()
        claims = source.execute("SELECT process, account, claimed, generation, durable FROM claim").fetchall()
    except FILE_ERRORS:
        done.claims_lost = True
        return
    target.executemany("INSERT INTO process VALUES (?, ?, ?, ?)", processes)
    target.executemany("INSERT INTO claim VALUES (?, ?, ?, ?, ?)", claims)
    done.claims = len(claims)


def _rows(source: sqlite3.Connection, table: str, columns: str) -> tuple[list[tuple[Any, ...]], int]:
    """All rows of a table that can be read, and how many cannot.

    Numbers are given out without gaps, so those up to the last that no read reaches were rows.
    """
    last = _last_id(source, table)
    query = f"SELECT {columns} FROM {table} WHERE id BETWEEN ? AND ?"  # noqa: S608 - names of ours
    found: list[tuple[Any, ...]] = []
    failures = 0
    ranges = [(low, min(low + _CHUNK - 1, last)) for low in range(1, last + 1, _CHUNK)][::-1]
    while ranges and failures < _MAX_FAILURES:
        low, high = ranges.pop()
        try:
            found += source.execute(query, (low, high)).fetchall()
        except FILE_ERRORS:
            failures += 1
            if low < high:  # halved around what cannot be read
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
    return found, max(0, last - len(found))


def _last_id(source: sqlite3.Connection, table: str) -> int:
    """The highest number given out; where its page is damaged, the highest that can be read."""
    pages = source.execute("PRAGMA page_count").fetchone()[0]
    most = int(pages) * _PAGE_BYTES // _LEAST_ROW_BYTES  # a number beyond it is damage itself
    query = f"SELECT coalesce(max(id), 0) FROM {table} WHERE id BETWEEN 1 AND ?"  # noqa: S608
    while most:
        try:
            return int(source.execute(query, (most,)).fetchone()[0])
        except FILE_ERRORS:
            most = most * 9 // 10
    return 0


def _is_entry(row: Sequence[Any]) -> bool:
    types = (int, int, int, int, str, float)
    return all(isinstance(its, kind) for its, kind in zip(row, types, strict=True))


def _nameless(number: int) -> Account:
    """An account whose name is lost."""
    return Account("unknown", f"account {number}", "unknown")
