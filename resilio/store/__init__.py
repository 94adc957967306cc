"""Durable state behind small protocols: what was spent, and what was asked.

`base` holds the protocols. A ledger is a row of `STORES`: `memory` forgets, `sqlite` does not; `requests` is the log of
what was asked. Nothing here knows what a limit is for, or what a call is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Final, Protocol

from resilio.store.base import Account, Claimed, Entry, Ledger
from resilio.store.memory import MemoryLedger

__all__ = ["STORES", "Account", "Claimed", "Entry", "Ledger", "OpenLedger", "open_ledger"]


class OpenLedger(Protocol):
    """Opens a ledger.

    Args:
        path: Where it is kept, for those that keep it somewhere.
        executor: Where files are used, one thing at a time; None: a thread of its own.
        wall: Unix seconds.
    """

    async def __call__(
        self, path: str | os.PathLike[str], *, executor: Executor | None, wall: Callable[[], float]
    ) -> Ledger: ...


async def _memory(
    path: str | os.PathLike[str],
    *,
    executor: Executor | None,
    wall: Callable[[], float],
) -> Ledger:
    return MemoryLedger()


async def _sqlite(path: str | os.PathLike[str], *, executor: Executor | None, wall: Callable[[], float]) -> Ledger:
    from resilio.store.sqlite import SqliteLedger  # it imports sqlite3, which many programs never need

    return await SqliteLedger.open(path, executor=executor, wall=wall)


STORES: Final[Mapping[str, OpenLedger]] = {"memory": _memory, "sqlite": _sqlite}
"""What a ledger may be kept in, and what opens one."""


async def open_ledger(
    path: str | os.PathLike[str] | None = None,
    *,
    executor: Executor | None = None,
    wall: Callable[[], float] = time.time,
) -> Ledger:
    """The ledger in this file; without one, a ledger in memory.

    Args:
        path: The file, made if it is not there; its folder must be.
        executor: Where the file is used, one thing at a time; None: a thread of its own.
        wall: Unix seconds.

    Raises:
        LedgerUnavailable: It cannot be used; the message says why and what to do.
    """
    if path is None:
        return await STORES["memory"]("", executor=executor, wall=wall)
    return await STORES["sqlite"](path, executor=executor, wall=wall)
