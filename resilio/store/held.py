"""What a process has in use, in a small file that outlives it: the other half of a claim.

The file is mapped into memory, so saying `hold` is one store into the page cache: no system call, and it is there
after `kill -9`. The operating system's lock on the file tells whether its process lives (numbers of processes are
given out again, locks are not). Power loss takes the page cache along; who reads the file must know of it otherwise.

A slot is four words of 8 bytes: account, generation, value, check. The value changes by one aligned store and is never
half written; the other three are written once, account last, before anybody relies on them. Its blocks are allocated
when the file is made or grows: a store into a hole of a full disk would kill the process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

__all__ = ["Held", "HeldFile", "TakenOver"]

_MAGIC: Final = int.from_bytes(b"RSLHELD1", "little", signed=True)
_WORDS: Final = 4
_SLOT_BYTES: Final = 8 * _WORDS
_FIRST_SLOTS: Final = 1024
"""Slot 0 is the file's head: its magic stands in the place of an account."""
_SALT: Final = 0x5E3779B97F4A7C15
_MASK: Final = (1 << 63) - 1


class Held(NamedTuple):
    """One slot in use."""

    generation: int
    value: int


class HeldFile:
    """The file of this process, locked as long as it lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._free: list[int] = []
        self._slots = 0
        self._map: mmap.mmap | None = None
        self._words: memoryview[int]
        self._grow(_FIRST_SLOTS)
        self._words[0] = _MAGIC

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new file, under a name that was never used.

        Raises:
            OSError: The folder cannot be written, or has no room.
        """
        import fcntl

        folder.mkdir(exist_ok=True)
        while True:
            path = folder / secrets.token_hex(8)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    return cls(path, descriptor)
            except BlockingIOError:  # somebody who looks for the living was quicker
                path.unlink(missing_ok=True)
            except BaseException:
                path.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            os.close(descriptor)

    def allocate(self) -> int:
        """A slot for `assign`.

        Raises:
            OSError: The file has to grow and there is no room.
        """
        if not self._free:
            self._grow(2 * self._slots)
        return self._free.pop()

    def assign(self, slot: int, account: int, generation: int, value: int) -> None:
        """Begin to say what is held of an account (a whole number above 0)."""
        at, words = slot * _WORDS, self._words
        words[at + 2] = value
        words[at + 1] = generation
        words[at + 3] = _check(account, generation)
        words[at] = account

    def store(self, slot: int, value: int) -> None:
        """Another value."""
        self._words[slot * _WORDS + 2] = value

    def release(self, slot: int) -> None:
        """The slot may be given to another account."""
        self._words[slot * _WORDS] = 0
        self._free.append(slot)

    def close(self, *, remove: bool) -> None:
        """Let go of the lock; `remove`: nothing in the file is wanted any more."""
        if self._map is None:
            return
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._words.release()
        self._map.close()
        self._map = None
        os.close(self._descriptor)

    def _grow(self, slots: int) -> None:
        size = slots * _SLOT_BYTES
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._descriptor, 0, size)
        else:  # macOS
            os.pwrite(self._descriptor, bytes(size - self._slots * _SLOT_BYTES), self._slots * _SLOT_BYTES)
        larger = mmap.mmap(self._descriptor, size)
        if self._map is not None:  # both show the same pages
            self._words.release()
            self._map.close()
        self._map = larger
        self._words = memoryview(larger).cast("q")
        self._free += reversed(range(max(1, self._slots), slots))
        self._slots = slots


class TakenOver:
    """A dead process's file, locked by us: nobody else takes it over meanwhile."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def if_dead(cls, path: Path) -> Self | None:
        """Take it over; None: its process lives.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        import fcntl

        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def read(self) -> Mapping[int, Held] | None:
        """What was held, by account; None: the file is damaged."""
        size = os.fstat(self._descriptor).st_size
        data = os.pread(self._descriptor, size, 0)
        if len(data) != size or size < _SLOT_BYTES or size % _SLOT_BYTES:
            return None
        slots = struct.iter_unpack("=4q", data)
        if next(slots)[0] != _MAGIC:
            return None
        found = {}
        for account, generation, value, check in slots:
            if account:
                if check != _check(account, generation) or account in found:
                    return None
                found[account] = Held(generation, value)
        return found

    def close(self, *, remove: bool) -> None:
        """Let go of it."""
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)


def _check(account: int, generation: int) -> int:
    return (account * _SALT ^ (generation + 1) * (_SALT >> 7) ^ _MAGIC) & _MASK
