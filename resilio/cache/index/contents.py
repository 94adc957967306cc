"""What an index holds: which labels live, where their vectors are, and what is being made anew.

Synchronous and owned by one event loop, so nothing here locks. Each entry gets a *ticket*, a number that rises and is
never used twice; flat rows and graph nodes know tickets only. So a label that was removed may come back with another
vector while a search for the old one is still in a thread: its ticket is dead, and a dead ticket is never named.

An entry is in exactly one of two places. New ones are flat rows, found exactly and at once; where there is a graph,
the oldest rows move into it, some at a time. Every ticket in the graph is therefore lower than any in a flat row.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resilio.cache.index.flat import Flat, Hit
from resilio.cache.index.graph import Graph

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats, Numbers

__all__ = ["Contents", "Growing"]


class Growing:
    """A graph that is being built, and that nobody searches yet."""

    def __init__(self, dimension: int, tickets: Numbers) -> None:
        self.graph = Graph(dimension, len(tickets) * 5 // 4)
        self.todo: deque[int] = deque(tickets.tolist())
        self.through = self.todo[-1]
        """All entries up to this ticket are in it or in `todo`."""
        self.removed: list[int] = []
        self._skipped: set[int] = set()

    def follow(self, tickets: Iterable[int]) -> None:
        """Take further entries in, in the order of their tickets."""
        self.todo.extend(ticket for ticket in tickets if ticket > self.through)
        if self.todo:
            self.through = max(self.through, self.todo[-1])

    def take(self, count: int, living: dict[int, int]) -> Numbers:
        """The next that live."""
        taken: list[int] = []
        while self.todo and len(taken) < count:
            ticket = self.todo.popleft()
            if ticket in living:
                taken.append(ticket)
            else:
                self._skipped.add(ticket)
        return np.array(taken, np.int64)

    def tombstones(self) -> list[int]:
        """Nodes whose entry was removed after it had been copied."""
        return [ticket for ticket in self.removed if ticket not in self._skipped]


class Contents:
    """Entries of one index."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.flat = Flat(dimension)
        self.graph: Graph | None = None
        self.growing: Growing | None = None
        self.unmarked: list[int] = []
        """Nodes of the graph whose entry was removed, and which hnswlib still returns."""
        self.labels: dict[int, int] = {}
        """By ticket, rising. What is not in here is dead."""
        self._tickets: dict[int, int] = {}
        """By label."""
        self._next = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __contains__(self, label: int) -> bool:
        return label in self._tickets

    @property
    def in_graph(self) -> int:
        """Live entries that are nodes of the graph."""
        return len(self.labels) - self.flat.live

    @property
    def dead(self) -> int:
        """Nodes of the graph whose entry was removed."""
        return self.graph.count - self.in_graph if self.graph else 0

    def refuse_known(self, labels: Iterable[int]) -> None:
        """See that labels are new.

        Raises:
            ValueError: One of them lives; says which.
        """
        for label in labels:
            if label in self._tickets:
                raise ValueError(f"label {label} is in the index already; remove it first")

    def add(self, labels: Sequence[int], vectors: Floats) -> None:
        """Add entries, all or none; arguments have been checked but for `refuse_known`."""
        self.refuse_known(labels)
        tickets = range(self._next, self._next + len(labels))
        self.flat.append(np.arange(tickets.start, tickets.stop), vectors)
        self._next = tickets.stop
        self.labels.update(zip(tickets, labels, strict=True))
        self._tickets.update(zip(labels, tickets, strict=True))

    def remove(self, label: int) -> bool:
        """Never name this one again; False where it is not here."""
        ticket = self._tickets.pop(label, None)
        if ticket is None:
            return False
        del self.labels[ticket]
        if not self.flat.remove(ticket):
            self.unmarked.append(ticket)
        if self.growing is not None and ticket <= self.growing.through:
            self.growing.removed.append(ticket)
        return True

    def named(self, hits: Iterable[Hit], k: int) -> list[tuple[int, float]]:
        """Labels and similarities of the best hits that live, best first."""
        best = sorted({hit.ticket: hit for hit in hits if hit.ticket in self.labels}.values(), key=_order)
        return [(self.labels[hit.ticket], hit.similarity) for hit in best[:k]]

    # --- moving between the two places, while nobody reads the graph -------------------------------

    def moved(self, tickets: Numbers) -> None:
        """The oldest rows have become nodes of the graph."""
        moved = tickets.tolist()
        self.flat.drop_through(moved[-1])
        self.unmarked += [ticket for ticket in moved if ticket not in self.labels]
        if self.growing is not None:
            self.growing.follow(ticket for ticket in moved if ticket in self.labels)

    # --- making anew: what was made takes its place between two awaits -----------------------------

    def grow(self) -> None:
        """Begin to build a graph of all that is in one, or of all there is."""
        tickets = self.graph_tickets() if self.in_graph else self.flat.living()
        self.growing = Growing(self.dimension, tickets)

    def grown(self, growing: Growing) -> None:
        """Put the finished graph in the place of the old one and of the rows it has."""
        self.graph, self.growing = growing.graph, None
        self.flat.drop_through(growing.through)
        self.unmarked = growing.tombstones()

    def flattened(self, tickets: Numbers, vectors: Floats) -> None:
        """Give the graph up for rows of all its entries that live."""
        rows = self.flat.snapshot()
        keep = np.flatnonzero(rows.bias == 0)
        alive = np.array([ticket in self.labels for ticket in tickets.tolist()], bool)
        self.flat = Flat(self.dimension)
        self.flat.append(tickets[alive], vectors[alive])
        self.flat.append(rows.tickets[keep], rows.vectors[keep])
        self.graph, self.growing, self.unmarked = None, None, []

    def graph_tickets(self) -> Numbers:
        """Of all live entries in the graph."""
        return np.fromiter(itertools.islice(self.labels, self.in_graph), np.int64, self.in_graph)

    # --- coming from a file -------------------------------------------------------------------------

    def restore(self, labels: Numbers, tickets: Numbers, fresh: Floats, graph: Graph | None) -> None:
        """Fill an empty one: the last `len(fresh)` entries are flat rows, the others nodes of the graph."""
        self.labels = dict(zip(tickets.tolist(), labels.tolist(), strict=True))
        self._tickets = dict(zip(labels.tolist(), tickets.tolist(), strict=True))
        self._next = int(tickets[-1]) + 1 if len(tickets) else 0
        self.flat.append(tickets[len(tickets) - len(fresh) :], fresh)
        self.graph = graph


def _order(hit: Hit) -> tuple[float, int]:
    return -hit.similarity, hit.ticket
