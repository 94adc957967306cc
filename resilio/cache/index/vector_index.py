"""`VectorIndex`: the nearest of many vectors, exact while they are few and by a graph when they are many.

The face of the package; one event loop uses it. What it holds is in `contents`, who searches it in threads in
`readers`, who changes the graph in `keeper`, the lock between the two in `guard`.

    up to `exact_limit` entries   every vector is compared, on the loop, without waiting
    above                         hnswlib, in a thread; entries too new for the graph are compared exactly
    below half of it again        every vector is compared
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resilio.cache.index import saving
from resilio.cache.index.checks import checked_k, checked_labels, checked_query, checked_vectors
from resilio.cache.index.contents import Contents
from resilio.cache.index.guard import Guard, IndexClosed
from resilio.cache.index.keeper import Keeper
from resilio.cache.index.readers import Readers

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats

__all__ = ["IndexStatistics", "VectorIndex"]

PER_LABEL = 170
"""Bytes a live entry takes in the two maps between labels and tickets, its numbers included; measured."""


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """What an index holds and what it has done since it was made."""

    entries: int
    mode: Literal["exact", "graph"]
    growing: bool
    """A graph is being built, the first one or another."""
    nodes: int
    """Of the graph, tombstones included."""
    rows: int
    """Searched exactly, tombstones included."""
    dead: int
    """Nodes whose entry was removed."""
    bytes: int
    """Memory, reckoned."""
    readers: int
    """In threads now."""
    waiting: int
    """Queries that wait for a reader."""
    searches: int
    added: int
    removed: int
    absorbed: int
    """Rows moved into the graph."""
    graphs: int
    """How often a new graph took its place."""
    saved: int
    failure: str | None
    """What kept the graph from being changed the last time; the index answers all the same."""


class VectorIndex:
    """Vectors of one embedder, by label.

    Args:
        dimension: Of every vector.
        embedder_id: Whose vectors they are; a file of another's is refused.
        executor: Gives the threads; not shut down here.
        exact_limit: Live entries up to which each search compares every vector (0.15 ms at 5,000 of 384 dimensions).
        absorb_at: Entries beside a graph from which they are moved into it, and removed ones from which they are
            marked in it.
        readers: Searches in threads at a time.
    """

    def __init__(
        self,
        dimension: int,
        embedder_id: str,
        *,
        executor: Executor,
        exact_limit: int = 5000,
        absorb_at: int = 256,
        readers: int = 4,
    ) -> None:
        for name, value in {"dimension": dimension, "exact_limit": exact_limit, "absorb_at": absorb_at,
                            "readers": readers}.items():  # fmt: skip
            if value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        self.dimension, self.embedder_id = dimension, embedder_id
        self.rebuilt_because: str | None = None
        """Why a graph that had been saved is built anew; see `load`."""
        self._exact_limit = exact_limit
        self._contents = Contents(dimension)
        guard = Guard(executor)
        self._readers = Readers(self._contents, guard, readers)
        self._keeper = Keeper(self._contents, guard, embedder_id, exact_limit, absorb_at)
        self._closed = False
        self._searches = self._added = self._removed = 0

    def __len__(self) -> int:
        """Live entries."""
        return len(self._contents)

    def __contains__(self, label: int) -> bool:
        return label in self._contents

    def labels(self) -> tuple[int, ...]:
        """All that live, the oldest first."""
        return tuple(self._contents.labels.values())

    def __repr__(self) -> str:
        now = self.statistics()
        state = "closed" if self._closed else now.mode + (", growing a graph" if now.growing else "")
        return f"<VectorIndex of {self.embedder_id!r}, {now.entries} entries of {self.dimension} dimensions, {state}>"

    # --- searching -----------------------------------------------------------------------------------

    def search_nowait(self, vector: Any, k: int = 4) -> list[tuple[int, float]] | None:
        """Find the nearest entries at once, exactly.

        Args:
            vector: float32, shape (dimension,), unit length.
            k: How many at most.

        Returns:
            Labels and cosines (-1 to 1), best first. None: there are too many for that, use `search`.

        Raises:
            ValueError: The vector is not of the right shape, not finite or not of unit length.
            IndexClosed: It was closed.
        """
        self._check_open()
        query = checked_query(vector, self.dimension)
        checked_k(k)
        if not self._is_exact:
            return None
        return self._search_rows(query, k)

    async def search(self, vector: Any, k: int = 4) -> list[tuple[int, float]]:
        """Find the nearest entries, in a thread where there are too many for `search_nowait`.

        What was added before this is found or, through the graph, most probably so; what was removed before it
        returns is not. Arguments, result and errors as of `search_nowait`.
        """
        self._check_open()
        query = checked_query(vector, self.dimension)
        checked_k(k)
        if self._is_exact:
            return self._search_rows(query, k)
        self._searches += 1
        return await self._readers.search(query, k)

    @property
    def _is_exact(self) -> bool:
        return self._contents.graph is None and len(self._contents) <= self._exact_limit

    def _search_rows(self, query: Floats, k: int) -> list[tuple[int, float]]:
        self._searches += 1
        labels = self._contents.labels
        return [(labels[hit.ticket], hit.similarity) for hit in self._contents.flat.snapshot().search(query, k)]

    # --- changing ------------------------------------------------------------------------------------

    async def add(self, labels: Iterable[int], vectors: Any) -> None:
        """Add entries, all or none; searches find them from the moment this returns.

        It waits only while far more entries are new than the graph has taken in. Cancelled, it has added none.

        Args:
            labels: Whole numbers of 64 bits; none that lives. One that was removed may come back.
            vectors: float32, shape (number of labels, dimension), unit length; not to be changed until this returns.

        Raises:
            TypeError: A label is not a whole number.
            ValueError: A label comes twice or lives; the vectors are not of the right shape, not finite or not of unit
                length.
            IndexClosed: It was closed.
            Exception: What keeps the graph from taking more, where that is why it waits: out of memory, say.
        """
        self._check_open()
        numbers = checked_labels(labels)
        batch = checked_vectors(vectors, self.dimension, len(numbers))
        self._contents.refuse_known(numbers)
        await self._keeper.wait_for_room()
        self._check_open()
        self._contents.add(numbers, batch)
        self._added += len(numbers)
        self._keeper.wake()

    def remove(self, label: int) -> bool:
        """Remove an entry: from now on no search returns it, those under way included.

        Returns:
            False where there is none of this label.

        Raises:
            IndexClosed: It was closed.
        """
        self._check_open()
        gone = self._contents.remove(label)
        self._removed += gone
        self._keeper.wake()
        return gone

    # --- files -----------------------------------------------------------------------------------------

    async def save(self, path: Path | str) -> None:
        """Write the index as it is when its turn comes, and be sure that it is on the disk.

        Searches go on meanwhile, and so do `add` and `remove`. A crash leaves the file that was there before.
        Cancelled, it is not written, or written all the same if it had begun.

        Args:
            path: The file; a graph is a second file beside it. No other process may save to the same path.

        Raises:
            OSError: It could not be written. What was there is still there.
            IndexClosed: It was closed first.
        """
        self._check_open()
        await self._keeper.save(Path(path))

    @classmethod
    async def load(
        cls,
        path: Path | str,
        dimension: int,
        embedder_id: str,
        *,
        executor: Executor,
        exact_limit: int = 5000,
        absorb_at: int = 256,
        readers: int = 4,
    ) -> VectorIndex:
        """Take up what `save` wrote. Arguments as for a new one.

        It holds what was there at the save, so a label removed since is back: whoever knows the entries looks which of
        them are still meant. A graph that is missing or in doubt is built anew from the vectors, in the background;
        `rebuilt_because` says why.

        Raises:
            saving.IndexUnusable: There is no such file, or it is not whole, or of other vectors. Make a new one.
        """
        index = cls(
            dimension, embedder_id, executor=executor, exact_limit=exact_limit, absorb_at=absorb_at, readers=readers
        )
        found = await asyncio.wrap_future(executor.submit(saving.read, Path(path), dimension, embedder_id))
        index._contents.restore(found.labels, found.tickets, found.fresh, found.graph)
        index.rebuilt_because = found.doubt
        index._keeper.wake()
        return index

    # --- the rest --------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Take nothing more, and wait until no thread works on it any more; may be called twice.

        Whoever waits for a search that has not begun, for room or for a save gets `IndexClosed`. Nothing is saved.
        """
        self._closed = True
        self._readers.close()
        self._keeper.close()
        while self._readers.tasks:
            await asyncio.wait(self._readers.tasks)
        if self._keeper.task is not None:
            await asyncio.wait([self._keeper.task])

    def _check_open(self) -> None:
        if self._closed:
            raise IndexClosed(f"the index of {self.embedder_id!r} is closed")

    def statistics(self) -> IndexStatistics:
        """A snapshot."""
        contents, keeper, graph = self._contents, self._keeper, self._contents.graph
        size = contents.flat.bytes + PER_LABEL * len(contents)
        size += sum(each.bytes for each in (graph, contents.growing and contents.growing.graph) if each)
        return IndexStatistics(
            entries=len(contents),
            mode="graph" if graph else "exact",
            growing=contents.growing is not None,
            nodes=graph.count if graph else 0,
            rows=contents.flat.rows,
            dead=contents.dead,
            bytes=size,
            readers=len(self._readers.tasks),
            waiting=self._readers.waiting,
            searches=self._searches,
            added=self._added,
            removed=self._removed,
            absorbed=keeper.absorbed,
            graphs=keeper.graphs,
            saved=keeper.saved,
            failure=None if keeper.failure is None else repr(keeper.failure),
        )
