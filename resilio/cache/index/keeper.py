"""The one task that changes the graph of an index: moves rows in, marks tombstones, builds anew, saves.

It does one thing at a time, each a short trip into a thread, and looks again what is due before the next. Being the
only writer it needs no lock to read the graph itself; it takes the lock as the writer for what must not happen beside
a search. A new graph is built beside the old one, without the lock, and takes its place between two awaits, so a
search is never held up by it and nothing that was added meanwhile is lost.

The task is made when something is due and ends when nothing is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from resilio.cache.index import saving
from resilio.cache.index.contents import Contents, Growing
from resilio.cache.index.flat import DEAD_SHARE, Rows
from resilio.cache.index.graph import Graph
from resilio.cache.index.guard import Guard, IndexClosed

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats, Numbers

__all__ = ["Keeper"]

WRITE_BATCH: Final = 16
"""Rows that move into the graph in one go. Searches wait meanwhile: about 0.5 ms for each row."""
GROW_BATCH: Final = 64
"""Entries copied into a new graph in one go. Nobody waits for that but other work for the same threads."""
MARK_BATCH: Final = 1024
"""Tombstones marked in one go; a microsecond each."""
MOSTLY_DEAD: Final = 0.5
"""With more of a graph removed than this, no row moves into it any more: it is being built anew."""
OVERFULL: Final = 4
"""Times `exact_limit` (or `absorb_at`): with more live rows than that outside the graph, `add` waits for room."""


class Keeper:
    """The writer of one index.

    Args:
        contents: What it keeps in order.
        guard: The lock and the threads.
        embedder_id: Written into files.
        exact_limit: Live entries up to which there is no graph; below half of it a graph is given up again.
        absorb_at: Rows beside a graph from which they are moved in, and removed nodes from which they are marked.
    """

    def __init__(self, contents: Contents, guard: Guard, embedder_id: str, exact_limit: int, absorb_at: int) -> None:
        self._contents, self._guard, self._embedder_id = contents, guard, embedder_id
        self._exact_limit, self._absorb_at = exact_limit, absorb_at
        self._saves: deque[tuple[Path, asyncio.Future[None]]] = deque()
        self._room: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self.task: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        """What went wrong the last time; None once it works again."""
        self.absorbed = self.graphs = self.saved = 0

    # --- from the index ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Begin if anything is due."""
        if self.task is None and not self._closed and self._due() is not None:
            self.task = asyncio.get_running_loop().create_task(self._keep(), name="index keeper")
            self.task.add_done_callback(self._ended)

    async def wait_for_room(self) -> None:
        """Wait until a batch may be added; returns at once unless far too many rows are outside the graph.

        Raises:
            IndexClosed: The index was closed first.
            Exception: What kept the graph from taking the rows: out of memory, say.
        """
        while self._overfull():
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(room)
            self.wake()
            await room

    async def save(self, path: Path) -> None:
        """Have it saved; see `VectorIndex.save`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._saves.append((path, done))
        self.wake()
        await done

    def close(self) -> None:
        """Begin nothing more; what is in a thread goes on to its end."""
        self._closed = True
        self._refuse(IndexClosed("the index was closed before this was done"))

    # --- the task --------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while not self._closed and (step := self._due()) is not None:
            try:
                await step()
            except Exception as error:
                # What it was about is whole or still due: rows leave, marks go and graphs are put in place only after
                # the thread has done its part. It is tried again when the index is next changed.
                self.failure = error
                self._contents.growing = None
                self._refuse(error)
                return
            self.failure = None
            self._let_in()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if task.cancelled():
            # A loop that ends cancels all tasks; then those who wait have gone too, and nothing more is begun.
            if any(not waiting.done() for waiting in self._waiting()):
                self.wake()
        elif self.failure is None:
            self.wake()

    def _due(self) -> Callable[[], Awaitable[None]] | None:
        """The next thing to do."""
        contents, graph, growing = self._contents, self._contents.graph, self._contents.growing
        live, rows = len(contents), contents.flat.rows
        small = live < self._exact_limit // 2 or not live
        if self._saves:
            return self._save
        if graph is None:
            if growing is not None:
                return partial(self._grow, growing) if not small else self._abandon
            return self._begin if live > self._exact_limit else None
        if small:
            return partial(self._flatten, graph)
        if growing is None and contents.dead >= DEAD_SHARE * graph.count:
            return self._begin
        full = contents.flat.live and rows >= (self._exact_limit if growing else self._absorb_at)
        if len(contents.unmarked) >= self._absorb_at or (full and self._takes_rows(graph)):
            return partial(self._write, graph)
        return None if growing is None else partial(self._grow, growing)

    def _takes_rows(self, graph: Graph) -> bool:
        # hnswlib links a new node to living ones alone. Where these are few it may end up with links that no search
        # comes along, so that it would not even find itself; the graph that is growing takes the rows instead.
        return self._contents.dead < MOSTLY_DEAD * graph.count

    async def _write(self, graph: Graph) -> None:
        """Move the oldest rows into the graph, and mark removed nodes."""
        contents = self._contents
        tickets, vectors = contents.flat.oldest(WRITE_BATCH if self._takes_rows(graph) else 0)
        due, contents.unmarked = contents.unmarked[:MARK_BATCH], contents.unmarked[MARK_BATCH:]
        try:
            async with self._guard.writer:
                await self._guard.in_thread(_change, graph, tickets, vectors, due)
                if len(tickets):
                    contents.moved(tickets)
                    self.absorbed += len(tickets)
        finally:
            contents.unmarked += due  # empty, unless it failed

    async def _begin(self) -> None:
        self._contents.grow()

    async def _abandon(self) -> None:
        self._contents.growing = None

    async def _grow(self, growing: Growing) -> None:
        """Copy some more entries into the new graph, or put it in place."""
        contents = self._contents
        tickets = growing.take(GROW_BATCH, contents.labels)
        if len(tickets):
            await self._guard.in_thread(_copy, contents.graph, contents.flat.snapshot(), growing.graph, tickets)
        elif not growing.todo:
            left = contents.flat.living()
            left = left[left > growing.through]
            if len(left) >= self._absorb_at:
                growing.follow(left.tolist())
            else:
                contents.grown(growing)
                self.graphs += 1

    async def _flatten(self, graph: Graph) -> None:
        """Give the graph up."""
        tickets = self._contents.graph_tickets()
        vectors = await self._guard.in_thread(graph.vectors_of, tickets)
        self._contents.flattened(tickets, vectors)

    async def _save(self) -> None:
        path, done = self._saves[0]
        if done.done():  # its caller has gone
            self._saves.popleft()
            return
        contents = self._contents
        content = saving.Content(
            self._embedder_id,
            contents.dimension,
            np.fromiter(contents.labels.values(), np.int64, len(contents)),
            np.fromiter(contents.labels, np.int64, len(contents)),
            contents.in_graph,
            contents.flat.snapshot(),
            contents.graph,
        )
        try:
            await self._guard.in_thread(saving.write, path, content)
        except OSError as error:  # a full disk is the caller's to know, and no fault of the index
            if not done.done():
                done.set_exception(error)
        else:
            self.saved += 1
            if not done.done():
                done.set_result(None)
        self._saves.popleft()

    # --- who waits ---------------------------------------------------------------------------------------

    def _overfull(self) -> bool:
        # What lives, not rows: tombstones among a few rows may stay for ever, and nothing would make room.
        return self._contents.flat.live > OVERFULL * max(self._exact_limit, self._absorb_at)

    def _let_in(self) -> None:
        while self._room and not self._overfull():
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)

    def _waiting(self) -> list[asyncio.Future[None]]:
        return [*self._room, *(done for _, done in self._saves)]

    def _refuse(self, error: Exception) -> None:
        for waiting in self._waiting():
            if not waiting.done():
                waiting.set_exception(error)
        self._room.clear()
        self._saves.clear()


def _change(graph: Graph, tickets: Numbers, vectors: Floats, marks: list[int]) -> None:
    """In a thread, as the writer."""
    graph.make_room(len(tickets))
    if len(tickets):
        graph.add(tickets, vectors)
    graph.mark(marks)


def _copy(source: Graph | None, rows: Rows, target: Graph, tickets: Numbers) -> None:
    """In a thread: entries from the old graph and from rows into the new graph."""
    fresh = np.searchsorted(tickets, rows.tickets[0]) if len(rows.tickets) else len(tickets)
    vectors = [rows.pick(tickets[fresh:])]
    if source is not None:
        vectors.insert(0, source.vectors_of(tickets[:fresh]))
    target.make_room(len(tickets))
    target.add(tickets, np.concatenate(vectors))
