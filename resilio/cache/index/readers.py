"""Searches in threads: at most so many at a time, and several queries to one trip into a thread.

A caller leaves its query and waits on a future of its own. The tasks that take the lock belong to the index, are made
when there is something to do and end when there is not. So a caller that is cancelled, however often, holds nothing:
its query is dropped before its turn, or answered to nobody. The queue is as long as there are callers waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from resilio.cache.index.contents import Contents
from resilio.cache.index.flat import Hit, Rows
from resilio.cache.index.graph import Graph
from resilio.cache.index.guard import Guard, IndexClosed

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats

__all__ = ["Readers"]

TOGETHER: Final = 8
"""So many queries go into a thread at once: a trip costs about as much as a search."""


class _Query(NamedTuple):
    vector: Floats
    k: int
    answer: asyncio.Future[list[Hit]]


class Readers:
    """The readers of one index.

    Args:
        contents: What is searched.
        guard: The lock and the threads.
        most: Readers at a time.
    """

    def __init__(self, contents: Contents, guard: Guard, most: int) -> None:
        self._contents, self._guard, self._most = contents, guard, most
        self._waiting: deque[_Query] = deque()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Queries that no reader has taken yet."""
        return len(self._waiting)

    async def search(self, vector: Floats, k: int) -> list[tuple[int, float]]:
        """Wait for a reader's answer.

        Raises:
            IndexClosed: The index was closed before it came.
        """
        loop = asyncio.get_running_loop()
        while True:
            query = _Query(vector, k, loop.create_future())
            self._waiting.append(query)
            if len(self.tasks) < self._most:
                self._start(loop)
            hits = await query.answer
            # Here nothing comes between looking and returning. What was removed since the thread looked may have been
            # in the place of something else.
            if all(hit.ticket in self._contents.labels for hit in hits):
                return self._contents.named(hits, k)

    def close(self) -> None:
        """Refuse whoever waits; searches under way go on to their end."""
        while self._waiting:
            _fail(self._waiting.popleft(), IndexClosed("the index was closed before this search began"))

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._read(), name="index reader")
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        # Somebody cancelled it, as a loop does with all tasks when it ends; then those who wait have gone too.
        if not self.tasks and any(not query.answer.done() for query in self._waiting):
            self._start(task.get_loop())

    async def _read(self) -> None:
        while batch := self._take():
            try:
                found = await self._search(batch)
            except BaseException as error:
                for query in batch:
                    _fail(query, error)
                if not isinstance(error, Exception):
                    raise
                continue
            for query, hits in zip(batch, found, strict=True):
                if not query.answer.done():
                    query.answer.set_result(hits)
        # No await between seeing that nothing waits and leaving: a query that comes later finds room for a reader.
        task = asyncio.current_task()
        assert task is not None
        self.tasks.discard(task)

    def _take(self) -> list[_Query]:
        batch: list[_Query] = []
        while self._waiting and len(batch) < TOGETHER:
            query = self._waiting.popleft()
            if not query.answer.done():  # else its caller has gone
                batch.append(query)
        return batch

    async def _search(self, batch: list[_Query]) -> list[list[Hit]]:
        contents = self._contents
        async with self._guard.reader:
            # Both parts as of one moment under the lock: whatever moves from the rows into the graph does so as a
            # writer, so it is found in the one or in the other.
            return await self._guard.in_thread(
                _search_all, contents.graph, contents.flat.snapshot(), contents.labels, batch
            )


def _search_all(graph: Graph | None, rows: Rows, living: dict[int, int], batch: list[_Query]) -> list[list[Hit]]:
    """In a thread. `living` changes meanwhile; looking a number up in it is atomic."""
    found = []
    for query in batch:
        hits = rows.search(query.vector, query.k)
        if graph is not None:
            hits += graph.search(query.vector, query.k, living)
        found.append(hits)
    return found


def _fail(query: _Query, error: BaseException) -> None:
    if query.answer.done():
        return
    if isinstance(error, Exception):
        query.answer.set_exception(error)
    else:
        query.answer.cancel()
