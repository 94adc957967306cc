"""The lock around a graph, and the one way to run something in a thread.

Searches are readers and run beside each other; whatever changes the graph is the writer and runs alone. A section ends
when its thread has: `in_thread` outlasts every cancellation, native ones and those of `asyncio.timeout` included, and
raises it afterwards. Only tasks that the index itself owns come here; a caller waits on a future of its own, so no
caller can be cancelled holding the lock or standing in its queue (a queued writer that is cancelled would leave
readers standing behind it: aiorwlock 1.5.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

from aiorwlock import RWLock

from resilio.errors import ResilioError

__all__ = ["Guard", "IndexClosed"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class IndexClosed(ResilioError):
    """The index was closed, or its executor was shut down, before this was done."""


class Guard:
    """Readers and a writer, each with a thread of an executor that is somebody else's."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = RWLock(fast=True)
        self.reader = self._lock.reader
        self.writer = self._lock.writer

    async def in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run it there and wait until it has ended, whatever happens to this task meanwhile.

        Raises:
            IndexClosed: The executor was shut down.
            asyncio.CancelledError: This task was cancelled; the work has ended nevertheless, its result is lost.
        """
        try:
            # Not loop.run_in_executor: an executor that runs inline then needs no thread to call back from.
            future = asyncio.wrap_future(self._executor.submit(work, *args))
        except RuntimeError as error:
            raise IndexClosed(f"the executor of the index takes no more work: {error}") from error
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            if not future.cancelled():
                future.exception()  # seen: it must not be reported as forgotten
            raise cancelled
        if future.cancelled():
            raise IndexClosed("the executor of the index was shut down before this was done")
        return future.result()
