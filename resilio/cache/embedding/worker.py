"""A thread for work that would hold up the event loop: hand it a function, await the result.

It leaves out batching and queues. The rule: the executor may be anybody's, one that runs inline for virtual time
included, and only a thread made here is ended here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

__all__ = ["Worker"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Worker:
    """One thread, started with the first piece of work; or somebody else's executor."""

    def __init__(self, executor: Executor | None, name: str) -> None:
        """Make one; `name` is the thread's, `executor` None: one thread of its own."""
        self._given, self._name = executor, name
        self._own: ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run it there. Cancelled: work that has begun goes on to its end, and its result is dropped.

        Raises:
            RuntimeError: `aclose` was called.
        """
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        executor = self._given
        if executor is None:
            executor = self._own = self._own or ThreadPoolExecutor(1, self._name)
        # Not loop.run_in_executor: this way an executor that runs inline needs no thread to call back from.
        return await asyncio.wrap_future(executor.submit(work, *args))

    async def aclose(self) -> None:
        """Take no more work, drop what has not begun, and join the thread; may be called twice."""
        self._closed = True
        executor, self._own = self._own, None
        if executor is None:
            return
        try:
            # Shutting down blocks until the thread is idle, so wait for that without blocking.
            await asyncio.wrap_future(executor.submit(_nothing))
        except asyncio.CancelledError:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown(wait=True)


def _nothing() -> None:
    """Work for a thread that shows it is idle."""
