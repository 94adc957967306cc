"""Exact search: every vector is compared, one row after another.

The rule that makes it safe beside threads: a row never moves and never changes once it is written. New rows go behind
the last; room is made by copying what lives into new arrays and leaving the old ones to whoever still reads them. So a
`Rows` taken on the event loop may be searched in any thread for as long as it likes.

Rows stand in the order of their tickets (see `contents`), so a ticket is found by bisection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats, Numbers

__all__ = ["DEAD_SHARE", "Flat", "Hit", "Rows"]

DEAD_SHARE: Final = 0.3
"""So much of a part may be tombstones before it is made anew."""
SMALLEST: Final = 64
"""Fewer rows are not made anew for a few tombstones."""
FIRST: Final = 4
"""Rows there is room for at the least: there may be thousands of indexes with an entry or two."""
GONE: Final = np.float32(-4.0)
"""Added to the similarity of a removed row: below any that a unit vector can have."""
FEW: Final = 16
"""Up to so many neighbours are picked one by one, which costs less than a partition of all the scores."""


class Hit(NamedTuple):
    """One neighbour."""

    ticket: int
    similarity: float
    """Cosine, -1 to 1."""


class Rows(NamedTuple):
    """What was there at one moment; searched in any thread."""

    tickets: Numbers
    vectors: Floats
    """Shape (rows, dimension)."""
    bias: Floats
    """Zero, or `GONE` for a removed row; the one thing that changes, from the loop."""

    def search(self, query: Floats, k: int) -> list[Hit]:
        """The nearest that are not removed, best first; fewer than `k` where there are no more."""
        # vecdot, not a matrix product: BLAS would hand a product of this size to all its threads, which costs more
        # than it saves as soon as the processors have something else to do (0.1 ms become 8 at 5,000 rows).
        scores = np.vecdot(self.vectors, query)
        scores += self.bias
        best = _best(scores, min(k, len(scores)))
        return [Hit(int(self.tickets[row]), max(-1.0, min(1.0, score))) for row, score in best if score > -2.0]

    def pick(self, tickets: Numbers) -> Floats:
        """The vectors of some of the rows, in the order asked for."""
        return self.vectors[np.searchsorted(self.tickets, tickets)]


def _best(scores: Floats, k: int) -> list[tuple[int, float]]:
    """Rows and values of the `k` highest scores, best first. The scores are spoilt."""
    if k > FEW:
        rows = scores.argpartition(len(scores) - k)[len(scores) - k :]
        rows = rows[scores[rows].argsort(kind="stable")[::-1]]
        return list(zip(rows.tolist(), scores[rows].tolist(), strict=True))
    best = []
    for _ in range(k):
        row = int(scores.argmax())
        best.append((row, float(scores[row])))
        scores[row] = -np.inf
    return best


class Flat:
    """Rows that can be searched exactly, of vectors of one dimension."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._first = self._end = 0
        """Rows before `_first` have been dropped, those from `_end` on are not written yet."""
        self.live = 0
        self._allocate(FIRST)

    def __repr__(self) -> str:
        return f"<Flat of {self.live} live rows of {self.rows}, room for {len(self._tickets)}>"

    @property
    def rows(self) -> int:
        """Rows that a search goes through, removed ones included."""
        return self._end - self._first

    @property
    def bytes(self) -> int:
        """Memory of its arrays."""
        return self._tickets.nbytes + self._vectors.nbytes + self._bias.nbytes

    def snapshot(self) -> Rows:
        """All rows as they are now."""
        part = slice(self._first, self._end)
        return Rows(self._tickets[part], self._vectors[part], self._bias[part])

    def oldest(self, count: int) -> tuple[Numbers, Floats]:
        """Tickets and vectors of the first rows that live, at most `count`."""
        rows = self._first + np.flatnonzero(self._bias[self._first : self._end] == 0)[:count]
        return self._tickets[rows], self._vectors[rows]

    def living(self) -> Numbers:
        """Tickets of all rows that live."""
        part = slice(self._first, self._end)
        tickets: Numbers = self._tickets[part][self._bias[part] == 0]
        return tickets

    def append(self, tickets: Numbers, vectors: Floats) -> None:
        """Write rows behind the last.

        Args:
            tickets: Rising, and higher than all before.
            vectors: Shape (len(tickets), dimension).
        """
        end = self._end + len(tickets)
        if end > len(self._tickets):
            self._repack((self.live + len(tickets)) * 3 // 2)
            end = self._end + len(tickets)
        part = slice(self._end, end)
        self._tickets[part], self._vectors[part] = tickets, vectors
        self._end = end
        self.live += len(tickets)

    def remove(self, ticket: int) -> bool:
        """Never return this one again; False where it has no row here."""
        row = self._first + int(np.searchsorted(self._tickets[self._first : self._end], ticket))
        if row >= self._end or self._tickets[row] != ticket or self._bias[row]:
            return False
        self._bias[row] = GONE
        self.live -= 1
        if self.rows - self.live >= DEAD_SHARE * max(self.rows, SMALLEST):
            self._repack(self.live * 5 // 4)
        return True

    def drop_through(self, ticket: int) -> None:
        """Let all rows up to and including this ticket go: they are somewhere else now."""
        first = self._first + int(np.searchsorted(self._tickets[self._first : self._end], ticket, side="right"))
        self.live -= int(np.count_nonzero(self._bias[self._first : first] == 0))
        self._first = first
        if self._first >= self.rows:  # copying what is left costs no more than what went had cost
            self._repack(self.live * 5 // 4)

    def _repack(self, capacity: int) -> None:
        """Copy what lives into new arrays."""
        old = self.snapshot()
        keep = np.flatnonzero(old.bias == 0)
        self._allocate(max(capacity, FIRST))
        self._first, self._end = 0, len(keep)
        self._tickets[: len(keep)] = old.tickets[keep]
        np.take(old.vectors, keep, axis=0, out=self._vectors[: len(keep)])

    def _allocate(self, capacity: int) -> None:
        self._tickets: Numbers = np.empty(capacity, np.int64)
        self._vectors: Floats = np.empty((capacity, self._dimension), np.float32)
        self._bias: Floats = np.zeros(capacity, np.float32)
