"""Files of SQLite: made whole or not at all, opened with care, and set aside when damaged; never overwritten.

A `Layout` says whose file it is and how its tables came to be. What SQLite raises is translated here, once.
The rule that keeps it safe: a file that cannot be read is renamed, and one that is missing while its damaged
predecessor still lies beside it is not made anew by silence, or its spending would be forgotten.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resilio.errors import LedgerUnavailable

__all__ = [
    "FILE_ERRORS",
    "Layout",
    "connect",
    "door",
    "in_use",
    "is_corrupt",
    "make",
    "opened",
    "set_aside",
    "set_aside_files",
    "unavailable",
]

logger = logging.getLogger("resilio")

BUSY_TIMEOUT: Final = 10.0
"""Seconds to wait for another process that writes."""
_DOOR_PAUSE: Final = 0.02
ASIDE: Final = ".corrupt-"
SUFFIXES: Final = ("", "-wal", "-held")
"""What belongs together. Not the index of the log (-shm): SQLite makes it anew."""

FILE_ERRORS: Final = (OSError, sqlite3.Error, UnicodeDecodeError)
"""What a file that is missing, in use, full or damaged raises."""
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REASONS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_BUSY: f"another process has kept it for {BUSY_TIMEOUT:g} s",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: is its folder there, and may this program write to it?",
    sqlite3.SQLITE_PERM: "no permission",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds.

    Attributes:
        what: Its name in messages.
        application_id: Tells it from other programs' databases.
        steps: SQL that leads from each version to the next; the version is the number of steps taken. A step that
            was released is never changed.
        synchronous: ``FULL``: what is committed survives power loss; ``NORMAL``: it survives the process.
    """

    what: str
    application_id: int
    steps: Sequence[str]
    synchronous: str

    @property
    def version(self) -> int:
        return len(self.steps)


def unavailable(path: Path, exc: Exception) -> Exception:
    """What a caller sees of this error: of the file, or of what they passed, which stays what it is."""
    if isinstance(exc, LedgerUnavailable):
        return exc
    if isinstance(exc, OSError):
        return LedgerUnavailable(str(path), exc.strerror or str(exc))
    if is_corrupt(exc):
        return LedgerUnavailable(str(path), f"it is damaged ({exc})", f"stop all that use it, then {_repair(path)}")
    if not isinstance(exc, sqlite3.Error) or isinstance(exc, sqlite3.IntegrityError):
        return exc
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # 0: the module's own, such as a closed connection
    return LedgerUnavailable(str(path), _REASONS.get(code, str(exc)))


def is_corrupt(exc: BaseException) -> bool:
    """Whether SQLite says that the file is not, or no more, a sound database."""
    if isinstance(exc, UnicodeDecodeError):  # its very message quotes garbage
        return True
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def opened(path: Path, layout: Layout, *, check: bool = True, anew: bool = False) -> sqlite3.Connection:
    """Open the file, or make it; bring it up to date.

    Args:
        path: The file; its folder must be there.
        layout: What it must hold.
        check: Read all of it, to find damage before it is relied on.
        anew: Begin a new one in the place of one that is damaged, or was and is not repaired.

    Raises:
        LedgerUnavailable: It is damaged, newer than this program, another program's, or the file system refuses.
    """
    try:
        if not path.exists():
            if not anew and (earlier := set_aside(path)) is not None:
                why = f"it was set aside as {earlier.name!r}, and nothing stands in its place"
                raise LedgerUnavailable(str(path), why, f"{_repair(path)}, or move that file away to begin anew")
            make(path, layout)
        return _sound(path, layout, check=check)
    except (*FILE_ERRORS, _Damaged) as exc:
        if isinstance(exc, _Damaged) or is_corrupt(exc):
            error = _report_damage(path, exc)
            logger.error("%s", error)
            if not anew or path.exists():
                raise error from exc
            return opened(path, layout, check=check, anew=True)
        raise unavailable(path, exc) from exc


class _Damaged(Exception):
    """What the check found."""


def _sound(path: Path, layout: Layout, *, check: bool) -> sqlite3.Connection:
    connection = connect(path, layout)
    try:
        _welcome(connection, path, layout)
        if check and (damage := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise _Damaged(" ".join(damage.split()))
    except BaseException:
        connection.close()
        raise
    return connection


def make(path: Path, layout: Layout) -> None:
    """Make an empty file; whoever comes second finds that of the first.

    It appears under its name when it is whole: an empty file there is the remains of one, not a new one.

    Raises:
        OSError: The file system refuses.
    """
    beside = path.with_name(f"{path.name}.new-{secrets.token_hex(4)}")
    try:
        connection = sqlite3.connect(beside, isolation_level=None)
        try:
            connection.execute(f"PRAGMA application_id = {layout.application_id}")
            connection.execute("PRAGMA journal_mode = WAL")  # here nobody else can be in the way of the change
            _migrate(connection, layout, 0)
        finally:
            connection.close()
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
        _sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def connect(path: Path, layout: Layout, *, mode: str = "rw") -> sqlite3.Connection:
    """A connection with the pragmas set, in autocommit; used by one thread at a time; `mode` ``ro``: only to read."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    try:
        connection.execute(f"PRAGMA synchronous = {layout.synchronous}")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
        connection.execute("PRAGMA journal_size_limit = 16777216")
    except BaseException:
        connection.close()
        raise
    return connection


def _welcome(connection: sqlite3.Connection, path: Path, layout: Layout) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != layout.application_id:
        if not path.stat().st_size:
            raise _Damaged("the file is empty")
        raise LedgerUnavailable(str(path), f"it is a database of another program, not a {layout.what}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > layout.version:
        why = f"a newer resilio has written it (version {version}; this one knows {layout.version})"
        raise LedgerUnavailable(str(path), why, "update resilio")
    connection.execute("PRAGMA journal_mode = WAL")
    if version < layout.version:
        _migrate(connection, layout, version)


def _migrate(connection: sqlite3.Connection, layout: Layout, version: int) -> None:
    """Take the steps from `version` on, each whole or not at all."""
    for number, step in enumerate(layout.steps[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;")


def _report_damage(path: Path, exc: Exception) -> LedgerUnavailable:
    aside = None if in_use(path) else set_aside_files(path)
    if aside is None:
        why = f"it is damaged ({exc}), and another process still uses it"
        return LedgerUnavailable(str(path), why, f"stop all that use it, then {_repair(path)}")
    why = f"it was damaged ({exc}) and is set aside as {aside.name!r}"
    return LedgerUnavailable(str(path), why, _repair(path))


def _repair(path: Path) -> str:
    return f"run: resilio ledger repair {path}"


def in_use(path: Path) -> bool:
    """Whether a process that lives holds something of it, or may: where it cannot be told, it does."""
    from resilio.store.held import TakenOver

    try:
        files = list(path.with_name(path.name + "-held").iterdir())
    except FileNotFoundError:
        return False
    for file in files:
        try:
            taken = TakenOver.if_dead(file)
        except FileNotFoundError:  # its process has closed the ledger meanwhile
            continue
        except OSError:
            return True
        if taken is None:
            return True
        taken.close(remove=False)
    return False


@contextlib.contextmanager
def door(path: Path, *, alone: bool) -> Iterator[None]:
    """Keep apart who opens a file and who repairs it: neither sees the other halfway.

    What is locked is the folder, which stays where it is while files in it are renamed, and needs no file of its own.

    Args:
        path: The file.
        alone: Nobody else may open or repair meanwhile; False: others may open, too.

    Raises:
        LedgerUnavailable: Somebody else was at it all the time that was waited; or there is no such folder.
    """
    import fcntl

    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise LedgerUnavailable(str(path), _REASONS[sqlite3.SQLITE_CANTOPEN]) from exc
    try:
        until = time.monotonic() + (0.0 if alone else BUSY_TIMEOUT)
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    what = "opens or repairs it" if alone else "repairs it"
                    raise LedgerUnavailable(str(path), f"another process {what}", "try again when it is done") from None
                time.sleep(_DOOR_PAUSE)
        yield
    finally:
        os.close(descriptor)


def set_aside_files(path: Path) -> Path:
    """Rename the file and what belongs to it; returns its new name.

    Raises:
        OSError: The folder cannot be written.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside, number = path.with_name(f"{path.name}{ASIDE}{stamp}"), 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{ASIDE}{stamp}-{number}")
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    with contextlib.suppress(OSError):
        os.unlink(f"{path}-shm")
    _sync_folder(path.parent)
    return aside


def set_aside(path: Path) -> Path | None:
    """The newest file that was set aside, if any."""
    found = sorted(its for its in path.parent.glob(f"{path.name}{ASIDE}*") if not its.name.endswith(SUFFIXES[1:]))
    return found[-1] if found else None


def _sync_folder(folder: Path) -> None:
    """A new name survives power loss only once its folder is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems know no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
