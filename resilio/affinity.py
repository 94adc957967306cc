"""Which target holds the beginning of a conversation in its prompt cache, turn by turn.

Names of turns are hashes made elsewhere; what they say is never here. Whether a conversation goes back to where it is
held is for whoever routes it to decide: this only remembers, for as long as the provider does. Every operation takes
the same short time however many there are, and the memory is bounded: the least recently used is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["Affinity", "AffinityStatistics", "Hold"]

MOST: Final = 20_000
"""Turns; each takes about 300 bytes."""


class Hold(NamedTuple):
    """What one target holds of a conversation."""

    target: str
    """Full name, "provider/model"."""
    tokens: int
    """Of the prefix, as its provider counts."""
    until: float
    """Monotonic seconds: after this its provider may have forgotten it."""
    key: int = 0
    """Index of the provider's key that it was read with: keys may be of accounts that share no cache."""


@dataclass(frozen=True, slots=True)
class AffinityStatistics:
    """Since the client was opened."""

    held: int
    """Turns remembered now, those among them that have expired since; one for each session that callers name."""
    moves: int
    """How often a conversation went on at another target while the one before still held it."""
    evicted: int
    """Turns forgotten for lack of room."""


class Affinity:
    """Remembers where conversations are held.

    Args:
        most: How many to remember.
    """

    __slots__ = ("_evicted", "_holds", "_most", "_moves")

    def __init__(self, most: int = MOST) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most!r}")
        self._holds: OrderedDict[bytes, Hold] = OrderedDict()
        self._most = most
        self._moves = self._evicted = 0

    def __repr__(self) -> str:
        return f"<Affinity {self.statistics()}>"

    def __len__(self) -> int:
        return len(self._holds)

    def of(self, names: Iterable[bytes], now: float) -> Hold | None:
        """Where the first of these turns is held that is; None: none is, as far as is known, or no more."""
        for name in names:
            hold = self._holds.get(name)
            if hold is None:
                continue
            if hold.until > now:
                self._holds.move_to_end(name)
                return hold
            del self._holds[name]
        return None

    def note(self, name: bytes, hold: Hold, before: Hold | None, now: float) -> Hold | None:
        """A turn is held here from now on.

        Args:
            name: Of the turn.
            hold: Where, how much of it and how long.
            before: What was known of it when the call began; None: nothing.
            now: Monotonic seconds.

        Returns:
            What another target still held of it: the conversation has moved. None: it has not.
        """
        self._holds[name] = hold
        self._holds.move_to_end(name)
        if len(self._holds) > self._most:
            self._holds.popitem(last=False)
            self._evicted += 1
        if before is None or before.until <= now or before.target == hold.target:
            return None
        self._moves += 1
        return before

    def statistics(self) -> AffinityStatistics:
        """Counts so far."""
        return AffinityStatistics(len(self._holds), self._moves, self._evicted)
