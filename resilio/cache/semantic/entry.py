"""What the semantic cache keeps: answers, under the question and the owner they were given to. Values, no logic."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from resilio.cache.keys import Question
from resilio.cache.owner import Owner
from resilio.cache.recording import Recording

if TYPE_CHECKING:
    from resilio.cache.bound import BoundStatistics

__all__ = ["NOTHING", "Found", "NearEntry", "Place", "SemanticStatistics"]


class Place(NamedTuple):
    """Where one request looks, and stores."""

    question: Question
    owner: Owner
    trusted: bool
    """The caller may be told similarities."""
    may_store: bool


class NearEntry:
    """One answer. Instants are monotonic seconds."""

    __slots__ = (
        "expires_at", "indexed", "kept_until", "number", "owner", "partition", "placed", "recording", "size",
        "stored_at", "text",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        partition: bytes,
        text: str,
        owner: Owner,
        recording: Recording,
        *,
        stored_at: float,
        expires_at: float,
        kept_until: float,
        size: int,
    ) -> None:
        self.number = number
        """Its label in the index of its partition."""
        self.partition = partition
        self.text = text
        """The question."""
        self.owner = owner
        self.recording = recording
        self.stored_at = stored_at
        self.expires_at = expires_at
        self.kept_until = kept_until
        """Past `expires_at` it is served by the rung `cache` alone, until here."""
        self.size = size
        """Bytes, vector included."""
        self.indexed = False
        self.placed: asyncio.Future[None] | None = None
        """Done when it has its place in the index, or never gets one; there is one where somebody waits for that."""

    @property
    def id(self) -> str:
        """How replies call it."""
        return f"near-{self.number:x}"

    def __repr__(self) -> str:
        return f"<NearEntry {self.id} {self.text!r:.40} of {self.recording.target}>"


class Found(NamedTuple):
    """What a search has brought."""

    entry: NearEntry | None
    """The nearest that no guard refused; None: there is none that is near enough."""
    similarity: float
    """Of `entry` to the question, -1 to 1; without an entry, of the nearest there was."""
    passed_over: tuple[str, ...] = ()
    """Why nearer ones, or all that were near enough, were refused, each with its similarity."""


NOTHING = Found(None, -1.0)


@dataclass(frozen=True, slots=True)
class SemanticStatistics:
    """What the semantic cache has done since it was opened, and what it holds."""

    entries: int
    partitions: int
    bytes: int
    hits: int
    misses: int
    stale: int
    """Entries served past their time, because nobody else answered."""
    guarded: int
    """Candidates that were near enough and that a guard refused."""
    stored: int
    evictions: int
    """Entries that went to make room, alone or with their partition."""
    expirations: int
    """Entries that went because their time was over."""
    failures: int
    """Look-ups and storings that failed or took too long; each was a miss. `last_failure` is the newest."""
    last_failure: str | None
    saved_usd: float
    """What the answers served had cost, where that is known."""
    embedder: str
    threshold: float
    """From which entries are served; in guaranteed mode that of `bounds`."""
    bounds: Mapping[str, BoundStatistics] = field(default_factory=dict)
    """Guaranteed mode, by namespace of the calls."""
