"""Approximate search in a large part of an index: hnswlib, with its traps closed.

Hierarchical navigable small worlds (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search
using Hierarchical Navigable Small World graphs", 2016). Everything here blocks and is called from a thread. The rule:
`search`, `vectors_of` and `save` may run beside each other; `add`, `mark` and `make_room` only alone, because hnswlib
reads its arrays without looking and a resize takes them away from under a search. Who sees to it is `guard`.

hnswlib's labels are tickets (see `contents`), never reused, so it never takes one entry for the update of another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hnswlib
import numpy as np

from resilio.cache.index.flat import Hit

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats, Numbers

__all__ = ["Graph"]

M: Final = 16
"""Links of a node on each level; twice as many on the lowest."""
EF_CONSTRUCTION: Final = 200
"""Candidates looked at when a node is linked."""
EF: Final = 64
"""Candidates looked at in a search, or as many as are asked for if that is more."""
WIDER: Final = 4
"""How much more is asked for where tombstones took the place of neighbours."""
SMALLEST: Final = 256
PER_NODE: Final = 4 + 4 * 2 * M + 8 + 8 + 48 + 60
"""Bytes of a node beside its vector: links, label, share of the higher levels, locks and marks, and hnswlib's map."""


class Graph:
    """Vectors of unit length, linked."""

    def __init__(self, dimension: int, capacity: int = SMALLEST, *, file: Path | None = None) -> None:
        """Make an empty one, or read what `save` wrote.

        Args:
            dimension: Of the vectors.
            capacity: Nodes to have room for.
            file: What to read. Whoever gives it has made sure of it: hnswlib trusts every number in a file.

        Raises:
            RuntimeError: The file cannot be read.
        """
        self._dimension = dimension
        # The inner product of unit vectors is their cosine; asked for a cosine it would normalise each vector again.
        self._index = hnswlib.Index("ip", dimension)
        if file is None:
            self._index.init_index(max(capacity, SMALLEST), M, EF_CONSTRUCTION)
        else:
            self._index.load_index(str(file), max(capacity, SMALLEST))
        self._index.set_ef(EF)  # loading puts it to 10
        self._index.set_num_threads(1)
        self.marked = 0
        """Nodes that are tombstones to hnswlib: searches go through them and do not return them."""

    def __repr__(self) -> str:
        return f"<Graph of {self.count} nodes, {self.marked} marked as removed, room for {self.capacity}>"

    @property
    def count(self) -> int:
        """Nodes, tombstones included."""
        return int(self._index.element_count)

    @property
    def capacity(self) -> int:
        """Nodes there is room for."""
        return int(self._index.max_elements)

    @property
    def bytes(self) -> int:
        """Memory it takes, reckoned."""
        return self.count * (4 * self._dimension + PER_NODE)

    # --- beside each other -----------------------------------------------------------------------

    def search(self, query: Floats, k: int, living: Container[int]) -> list[Hit]:
        """The nearest nodes that live, best first.

        Args:
            query: Shape (dimension,).
            k: How many are wanted.
            living: Tickets of what was not removed: not all that was is marked yet.

        Returns:
            Fewer than `k` where no more can be reached.
        """
        ask = k
        while True:
            ask = min(ask, self.count - self.marked)
            found = self._nearest(query, ask)
            hits = [hit for hit in found if hit.ticket in living][:k]
            if len(hits) == k or len(found) < ask or ask == self.count - self.marked:
                return hits
            ask *= WIDER

    def _nearest(self, query: Floats, k: int) -> list[Hit]:
        """As many as can be reached: hnswlib returns all that were asked for or raises."""
        while k > 0:
            try:
                tickets, distances = self._index.knn_query(query, k=k, num_threads=1)
            except RuntimeError:
                k //= 2
            else:
                # Rounding takes the distance of a vector to itself a little below zero.
                similarities = np.clip(1.0 - distances[0], -1.0, 1.0)
                return [Hit(*pair) for pair in zip(tickets[0].tolist(), similarities.tolist(), strict=True)]
        return []

    def vectors_of(self, tickets: Numbers) -> Floats:
        """The vectors of nodes, bit for bit as they were added; none of the nodes may be marked."""
        if not len(tickets):
            return np.empty((0, self._dimension), np.float32)
        return np.asarray(self._index.get_items(tickets, return_type="numpy"), np.float32)

    def save(self, path: Path) -> None:
        """Write it as hnswlib does; whole only when this returns."""
        self._index.save_index(str(path))

    # --- alone -----------------------------------------------------------------------------------

    def make_room(self, more: int) -> None:
        """See that so many nodes can be added."""
        needed = self.count + more
        if needed > self.capacity:
            self._index.resize_index(max(needed, self.capacity * 3 // 2))

    def add(self, tickets: Numbers, vectors: Floats) -> None:
        """Add nodes.

        Raises:
            ValueError: There is no room. Nothing was added, while hnswlib would add a part and then raise.
        """
        if self.count + len(tickets) > self.capacity:
            raise ValueError(f"{len(tickets)} more nodes do not fit: {self.count} of {self.capacity} are taken")
        self._index.add_items(vectors, tickets, num_threads=1)

    def mark(self, tickets: list[int]) -> None:
        """Make nodes tombstones; those that are leave the list, so that after an error it holds the rest."""
        while tickets:
            self._index.mark_deleted(tickets[-1])
            tickets.pop()
            self.marked += 1

    def adopt(self, living: Numbers) -> bool:
        """After reading: make tombstones of all nodes but these, marked in the file or not.

        Returns:
            False where not all of these are nodes.
        """
        nodes = self._index.get_ids_list()
        dead = set(nodes).difference(living.tolist())
        if len(nodes) - len(dead) != len(living):
            return False
        for ticket in dead:
            with contextlib.suppress(RuntimeError):  # it is marked
                self._index.mark_deleted(ticket)
        self.marked = len(dead)
        return True
