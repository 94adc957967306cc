"""A queue of jobs for one file, done in batches in one thread, off the event loop.

Group commit without a clock: the thread takes what is queued (at most 50 rows), commits it, and takes what came
meanwhile. A job that comes alone does not wait for company, and under load a commit is shared by many. Knows nothing of
what a job does, nor of SQLite. The queue is bounded: who comes when it is full waits for room.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, Generic, TypeVar

from resilio.errors import LedgerUnavailable

__all__ = ["Job", "Writer"]

logger = logging.getLogger("resilio")

MAX_ROWS: Final = 50
MAX_JOBS: Final = 10_000

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work.

    Args:
        run: Does it, in the thread, inside a transaction; must not keep what it did if that is rolled back.
        rows: How many rows it writes, about.
        told: Called on the loop with what `run` gave, before anybody who awaits the job goes on; not after an error.
        count: Called with 1 when it begins to wait, and with -1 when it is over, whichever way.
        keep: If the file cannot be written nobody else will try again, so the writer does.
    """

    __slots__ = ("count", "counted", "future", "keep", "rows", "run", "told", "waited")

    def __init__(
        self,
        run: Callable[[], T],
        rows: int = 1,
        told: Callable[[T], None] | None = None,
        count: Callable[[int], None] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.run = run
        self.rows = rows
        self.told = told
        self.keep = keep
        self.count = count
        self.counted = False
        self.future: asyncio.Future[T] | None = None
        self.waited = False

    def mark(self, *, counted: bool) -> None:
        """It begins, or is over; saying so twice changes nothing."""
        if self.count is not None and self.counted is not counted:
            self.counted = counted
            self.count(1 if counted else -1)


class Writer:
    """The queue and its thread. Used by one event loop.

    Args:
        commit: Does a batch in the thread; gives for each job its result or an exception. Never raises.
        executor: Where; runs one thing at a time, or what is run must be safe.
        max_jobs: Bound of the queue.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Job[Any]]], list[Any]],
        executor: Executor,
        *,
        max_jobs: int = MAX_JOBS,
    ) -> None:
        self._commit = commit
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._queue: deque[Job[Any]] = deque()
        self._running = False
        self._room = asyncio.Semaphore(max_jobs)
        self._kept: list[Job[Any]] = []
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.batches = 0
        self.jobs = 0

    @property
    def kept(self) -> int:
        """Jobs that failed and wait for the next to come along."""
        return len(self._kept)

    async def do(self, job: Job[T], *, certainly: bool = False) -> T:
        """Queue it and wait until it is committed.

        Cancelled before it was queued, it is not done, unless `certainly`; afterwards it is done all the same.

        Raises:
            Exception: What doing it raised.
        """
        job.mark(counted=True)
        try:
            await self._room.acquire()
        except asyncio.CancelledError:
            if certainly:
                job.keep = True
                self.submit(job)
            else:
                job.mark(counted=False)
            raise
        job.waited = True
        future: asyncio.Future[T] = self._loop.create_future()
        job.future = future
        self.submit(job)
        try:
            return await future
        except asyncio.CancelledError:
            job.keep = certainly
            if not future.cancelled() and future.exception() is not None and certainly:
                job.mark(counted=True)
                self._kept.append(job)  # it had failed already, and nobody will hear of it
            raise

    def submit(self, job: Job[Any]) -> None:
        """Queue it, behind what was kept; nobody needs to wait. The bound does not hold for it."""
        job.mark(counted=True)
        jobs, self._kept = [*self._kept, job], []
        self._queue_all(jobs)

    async def flush(self) -> None:
        """Wait until all that is queued is done, what was kept included if it can be."""
        if self._kept:
            jobs, self._kept = self._kept, []
            self._queue_all(jobs)
        await self._idle.wait()

    def drop(self) -> None:
        """Forget what is queued: for tests, as a crash would."""
        with self._lock:
            self._queue.clear()
        self._kept = []
        self._open = 0
        self._idle.set()

    def _queue_all(self, jobs: Sequence[Job[Any]]) -> None:
        self._open += len(jobs)
        self._idle.clear()
        with self._lock:
            self._queue += jobs
            start, self._running = not self._running, True
        if start:
            self._executor.submit(self._drain)

    # --- in the thread -----------------------------------------------------------------------

    def _drain(self) -> None:
        while True:
            with self._lock:
                batch = self._take()
                if not batch:
                    self._running = False
                    return
            results = self._commit(batch)
            try:
                self._loop.call_soon_threadsafe(self._hand_out, batch, results)
            except RuntimeError:  # the loop is closed, so nobody waits; what is queued is written all the same
                continue

    def _take(self) -> list[Job[Any]]:
        batch: list[Job[Any]] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= MAX_ROWS):
            batch.append(job := self._queue.popleft())
            rows += job.rows
        return batch

    # --- on the loop again -------------------------------------------------------------------

    def _hand_out(self, batch: Sequence[Job[Any]], results: Sequence[Any]) -> None:
        self.batches += 1
        self.jobs += len(batch)
        self._open -= len(batch)
        for job, result in zip(batch, results, strict=True):
            failed = isinstance(result, Exception)
            if job.waited:
                job.waited = False
                self._room.release()
            if not failed and job.told is not None:
                job.told(result)
            future, job.future = job.future, None
            if failed and job.keep and isinstance(result, LedgerUnavailable):
                self._kept.append(job)
            else:
                if failed and job.keep:
                    logger.error("what a cancelled call left behind cannot be written: %r", result)
                job.mark(counted=False)
            if future is None or future.done():
                continue
            if failed:
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._open <= 0:
            self._idle.set()
