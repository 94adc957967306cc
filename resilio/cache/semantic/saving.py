"""The semantic cache on disk: two files a partition, written whole and put in place by a rename.

`<partition>.answers` holds questions and answers, with a checksum; `<partition>.vectors` is the index's own file. The
two need not fit each other: a question without a vector is embedded anew, a vector without a question is dropped. So a
process that dies between them, or in the middle of one, costs time and never an answer. Instants are kept as Unix
seconds, for the monotonic clock begins anew with the machine.

The rule that keeps purges true: no file outlives the entries it holds. What cannot be used, because it is damaged or of
another embedder, is deleted when the folder is read, for no purge would ever reach it.

Blocking: all of this runs in a worker thread. One process may use a folder, which its lock file sees to.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from resilio.cache.owner import Owner
from resilio.cache.recording import Recording
from resilio.cache.semantic.entry import NearEntry
from resilio.models import ToolCall, Usage

__all__ = ["Folder", "SavedPartition"]

logger = logging.getLogger("resilio")

_MAGIC: Final = "resilio answers"
_FORMAT: Final = 2
ANSWERS: Final = ".answers"
VECTORS: Final = ".vectors"
BOUNDS: Final = "bounds.json"
_FILE: Final = re.compile(rf"([0-9a-f]{{40}})(?:{re.escape(ANSWERS)}|{re.escape(VECTORS)})")
"""Begins the names of all files of a partition; graphs of its index have more behind it."""


class SavedPartition(NamedTuple):
    """What was read of one partition."""

    partition: bytes
    entries: Sequence[NearEntry]
    vectors: Path
    """Where its index may be."""


class Folder:
    """A folder that this process alone uses until it is closed.

    Args:
        path: Made where it is missing.
        embedder: Its id: what was saved for another is not read.

    Raises:
        OSError: It cannot be made or written to.
        BlockingIOError: Another process uses it.
    """

    def __init__(self, path: str, embedder: str) -> None:
        self._path = Path(path)
        self._embedder = embedder
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)  # what users asked is nobody else's business
        self._lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._lock)
            raise
        for left in self._path.glob("*.new"):  # of a process that died while it wrote
            left.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another process use it."""
        os.close(self._lock)

    def vectors(self, partition: bytes) -> Path:
        """Where the index of a partition is saved."""
        return self._path / f"{partition.hex()}{VECTORS}"

    def write(self, partition: bytes, entries: Iterable[NearEntry], *, wall_minus_now: float) -> None:
        """Save the answers of one partition, in the place of those saved before.

        Args:
            partition: Its digest.
            entries: All of its entries.
            wall_minus_now: What to add to a monotonic instant to make it one of Unix.
        """
        lines = [orjson.dumps(_row(entry, wall_minus_now)) for entry in entries]
        body = b"\n".join(lines)
        head = {
            "embedder": self._embedder, "partition": partition.hex(), "count": len(lines), "checksum": _checksum(body),
        }  # fmt: skip
        self._put(self._path / f"{partition.hex()}{ANSWERS}", head, body)

    def _put(self, path: Path, head: Mapping[str, Any], body: bytes) -> None:
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(orjson.dumps({"magic": _MAGIC, "format": _FORMAT, **head}) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def _opened(self, path: Path) -> tuple[Any, bytes]:
        """Head and body of a file of this folder's embedder."""
        first, _, body = path.read_bytes().partition(b"\n")
        head = orjson.loads(first)
        if head["magic"] != _MAGIC or head["format"] != _FORMAT:
            raise ValueError("it is not of this format")
        if head["embedder"] != self._embedder:
            raise ValueError(f"it is of embedder {head['embedder']!r}, not {self._embedder!r}")
        return head, body

    def write_bounds(self, state: Mapping[str, Any]) -> None:
        """Save what guaranteed mode has learned."""
        body = orjson.dumps(state)
        self._put(self._path / BOUNDS, {"embedder": self._embedder, "checksum": _checksum(body)}, body)

    def read_bounds(self) -> Mapping[str, Any]:
        """What guaranteed mode had learned; empty where nothing is saved that can be used."""
        try:
            head, body = self._opened(self._path / BOUNDS)
            if head["checksum"] != _checksum(body):
                raise ValueError("it is damaged")
            found: Mapping[str, Any] = orjson.loads(body)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as exc:
            logger.warning("semantic cache: %s is not used: %s", self._path / BOUNDS, exc)
            return {}
        return found

    def forget(self, partitions: Collection[bytes]) -> None:
        """Delete all that was saved of partitions that are gone."""
        if partitions:
            gone = {partition.hex() for partition in partitions}
            self._delete(lambda name: name in gone)

    def _delete(self, doomed: Callable[[str], bool]) -> None:
        """Delete the files of partitions by name; an index has several."""
        for file in os.listdir(self._path):
            if (found := _FILE.match(file)) and doomed(found[1]):
                (self._path / file).unlink(missing_ok=True)
        # Or a power cut could bring them back.
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, *, wall_minus_now: float) -> Iterator[SavedPartition]:
        """What was saved, partition by partition; files that are damaged, or of another embedder, are deleted.

        What is read is checked to the last byte first.
        """
        kept: set[str] = set()
        for path in sorted(self._path.glob(f"*{ANSWERS}")):
            try:
                partition, rows = self._rows(path)
                entries = [_entry(row, partition, wall_minus_now) for row in rows]
            except (OSError, ValueError, TypeError, KeyError, IndexError) as exc:
                logger.warning("semantic cache: %s is not used: %s", path, exc)
                if isinstance(exc, OSError):  # perhaps it can be read the next time
                    kept.add(path.stem)
                continue
            kept.add(path.stem)
            yield SavedPartition(partition, entries, self.vectors(partition))
        self._delete(lambda name: name not in kept)

    def _rows(self, path: Path) -> tuple[bytes, list[Any]]:
        head, body = self._opened(path)
        lines = body.split(b"\n") if body else []
        if head["checksum"] != _checksum(body) or head["count"] != len(lines):
            raise ValueError("it is damaged")
        partition = bytes.fromhex(head["partition"])
        if path.name != f"{partition.hex()}{ANSWERS}":
            raise ValueError("it was saved under another name")
        return partition, [orjson.loads(line) for line in lines]


def _checksum(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()


def _row(entry: NearEntry, shift: float) -> dict[str, Any]:
    its, owner = entry.recording, entry.owner
    return {
        "number": entry.number, "text": entry.text, "size": entry.size,
        "stored": entry.stored_at + shift, "expires": entry.expires_at + shift, "until": entry.kept_until + shift,
        "owner": [owner.tenant, owner.user, owner.namespace, dict(owner.tags)],
        "answer": [
            its.text, its.finish_reason, its.target, its.usage, its.tool_calls, its.reasoning, its.cost_usd,
            orjson.Fragment(its.raw), None if its.tape is None else orjson.Fragment(its.tape), its.size,
            its.warnings, orjson.Fragment(its.extras) if its.extras else None,
        ],
    }  # fmt: skip


def _entry(row: dict[str, Any], partition: bytes, shift: float) -> NearEntry:
    (kind, name), user, namespace, tags = row["owner"]
    text, finish, target, usage, tools, reasoning, cost, raw, tape, size, warnings, extras = row["answer"]
    recording = Recording(
        text, finish, target, Usage(**usage), tuple(ToolCall(**tool) for tool in tools), reasoning, cost,
        orjson.dumps(raw), None if tape is None else orjson.dumps(tape), size,
        tuple(warnings), b"" if extras is None else orjson.dumps(extras),
    )  # fmt: skip
    return NearEntry(
        row["number"], partition, row["text"], Owner((kind, name), user, namespace, tags), recording,
        stored_at=row["stored"] - shift, expires_at=row["expires"] - shift, kept_until=row["until"] - shift,
        size=row["size"],
    )  # fmt: skip
