"""Quantiles of the most recent values: what a model usually takes, learned while it runs.

Pure. A ring of recent values; they are sorted only when somebody asks and enough is new, because both
adding and asking are on the path of every call.
"""

from __future__ import annotations

from collections import deque

__all__ = ["RecentQuantiles"]


class RecentQuantiles:
    """The last `size` values and their quantiles, which lag behind by at most `refresh` values.

    Args:
        size: How many values are remembered.
        minimum: Below this many there is no answer yet.
        refresh: The order is worked out anew after this many further values (before the ring is full: at once).
    """

    __slots__ = ("_fresh", "_ordered", "_values", "minimum", "refresh")

    def __init__(self, size: int = 64, minimum: int = 5, refresh: int = 16) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._ordered: list[float] = []
        self._fresh = 0
        """Values added since they were last put in order."""
        self.minimum = max(1, minimum)
        self.refresh = refresh

    def add(self, value: float) -> None:
        """Remember one value; the oldest is forgotten when there are too many."""
        self._values.append(value)
        self._fresh += 1

    def quantile(self, q: float) -> float | None:
        """The value below which the share `q` of recent values lies, or None without history."""
        values = self._values
        count = len(values)
        if count < self.minimum:
            return None
        if self._fresh and (self._fresh >= self.refresh or len(self._ordered) < count):
            self._ordered = sorted(values)
            self._fresh = 0
        ordered = self._ordered
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    @property
    def median(self) -> float | None:
        return self.quantile(0.5)

    @property
    def p95(self) -> float | None:
        return self.quantile(0.95)

    def __len__(self) -> int:
        return len(self._values)
