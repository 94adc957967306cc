"""Which target holds the beginning of a conversation in its prompt cache.

Names of conversations are hashes made elsewhere; what they say is never here. Whether a conversation goes back to where
it is held is for whoever routes it to decide: this only remembers, for as long as the provider does. Every operation
takes the same short time however many there are, and the memory is bounded: the least recently used is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["Affinity", "AffinityStatistics", "Hold"]

MOST: Final = 20_000
"""Conversations; each takes about 300 bytes."""


class Hold(NamedTuple):
    """What one target holds of a conversation."""

    target: str
    """Full name, "provider/model"."""
    tokens: int
    """Of the prefix, as its provider counts."""
    until: float
    """Monotonic seconds: after this its provider may have forgotten it."""


@dataclass(frozen=True, slots=True)
class AffinityStatistics:
    """Since the client was opened."""

    held: int
    """Conversations remembered now, those among them that have expired since."""
    moves: int
    """How often one went on at another target while the one before still held it."""
    evicted: int
    """How many were forgotten for lack of room."""


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

    def of(self, conversation: bytes, now: float) -> Hold | None:
        """Where it is held; None: nowhere that is known, or no more."""
        hold = self._holds.get(conversation)
        if hold is None:
            return None
        if hold.until <= now:
            del self._holds[conversation]
            return None
        self._holds.move_to_end(conversation)
        return hold

    def note(self, conversation: bytes, hold: Hold, now: float) -> Hold | None:
        """It is held here from now on.

        Returns:
            What another target still held of it: the conversation has moved. None: it has not.
        """
        before = self.of(conversation, now)
        self._holds[conversation] = hold
        self._holds.move_to_end(conversation)
        if len(self._holds) > self._most:
            self._holds.popitem(last=False)
            self._evicted += 1
        if before is None or before.target == hold.target:
            return None
        self._moves += 1
        return before

    def statistics(self) -> AffinityStatistics:
        """Counts so far."""
        return AffinityStatistics(len(self._holds), self._moves, self._evicted)
