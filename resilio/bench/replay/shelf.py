"""What is kept of one partition in a replay, and the search for what is near: exact, over numbers of texts.

A text is known by its number; similarities come as rows over all texts of the log, worked out once however many
caches are replayed. The rule: an entry counts from the moment its answer was there until its time is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

__all__ = ["Near", "Shelf", "Similarities"]

REMEMBERED: Final = 4000
"""Rows that are kept: 64 MB at most."""


class Near(NamedTuple):
    """A candidate."""

    similarity: float
    text: int
    request: int
    """Whose answer it is."""


class Similarities:
    """Cosines of every text with every other.

    Args:
        vectors: float32, shape (texts, dimension), unit length.
    """

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors
        self._rows: dict[int, Floats] = {}

    def row(self, text: int) -> Floats:
        """Similarities of one text to all: float32, shape (texts,)."""
        row = self._rows.get(text)
        if row is None:
            row = self._vectors @ self._vectors[text]
            if len(self._rows) < REMEMBERED and len(self._vectors) <= REMEMBERED:
                self._rows[text] = row
        return row


class Shelf:
    """Entries of one partition, one a text."""

    def __init__(self) -> None:
        import numpy as np

        self._np = np
        self._slots: dict[int, int] = {}
        self._requests: list[int] = []
        self._texts = np.zeros(16, np.int64)
        self._from = np.full(16, np.inf)
        self._until = np.full(16, np.inf)

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, text: int, request: int, since: float, until: float) -> None:
        """Keep an answer from an instant until another; one to the same text gives way."""
        slot = self._slots.get(text)
        if slot is None:
            slot = self._slots[text] = len(self._requests)
            self._requests.append(request)
            if slot == len(self._texts):
                self._grow()
        self._requests[slot] = request
        self._texts[slot], self._from[slot], self._until[slot] = text, since, until

    def _grow(self) -> None:
        np, size = self._np, len(self._texts)
        self._texts = np.concatenate([self._texts, np.zeros(size, np.int64)])
        self._from = np.concatenate([self._from, np.full(size, np.inf)])
        self._until = np.concatenate([self._until, np.full(size, np.inf)])

    def remove(self, text: int) -> None:
        """Let an entry go, if it is there."""
        if (slot := self._slots.pop(text, None)) is not None:
            self._from[slot] = self._np.inf  # its place stays empty: a replay ends before that matters

    def get(self, text: int, now: float) -> tuple[int, float] | None:
        """Whose answer is kept for this very text, and since when, which may be after now: it is on its way."""
        slot = self._slots.get(text)
        if slot is None or self._until[slot] <= now:
            return None
        return self._requests[slot], float(self._from[slot])

    def nearest(self, row: Floats, now: float, floor: float, count: int) -> list[Near]:
        """The nearest entries at or above a similarity, nearest first, at most so many."""
        np, used = self._np, len(self._requests)
        found = row[self._texts[:used]]
        found[(self._from[:used] > now) | (self._until[:used] <= now)] = -2.0
        near = np.flatnonzero(found >= floor)
        if len(near) > count:
            near = near[np.argpartition(-found[near], count - 1)[:count]]
        near = near[np.argsort(-found[near], kind="stable")]
        return [Near(float(found[slot]), int(self._texts[slot]), self._requests[slot]) for slot in near]
