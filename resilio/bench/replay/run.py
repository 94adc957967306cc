"""Plays a log through caches: one pass a configuration, in the time of the log.

Each request looks into the exact cache, then for what is near, as a call does; what it is not served it asks the
model, whose answer is there when the log says it was. Guaranteed mode is played as it runs live: the coin falls before
anything near is looked for, an audited entry that disagrees goes, and an audited request whose answer agrees with its
nearest entry is not kept a second time. The rule: all passes see the same requests, vectors and verdicts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import TYPE_CHECKING, Final

from resilio.bench.replay.log import Logged
from resilio.bench.replay.shelf import Near, Shelf, Similarities
from resilio.cache.agreement import Agreement
from resilio.cache.bound import GRID, NOTHING_NEAR, BoundStatistics, Change, ErrorBound, Terms
from resilio.cache.calibration.measure import Guard, guarded_by

if TYPE_CHECKING:
    from resilio.cache.embedding import Embedder

__all__ = ["HITS", "Kind", "Plan", "Replay", "Run", "Served"]

CANDIDATES: Final = 4
"""So many of the nearest are offered to the guards."""
BATCH: Final = 64
TIMED: Final = 100
"""Texts embedded alone, to know how long a hit waits for its vector."""


class Kind(Enum):
    """Who answered."""

    EXACT = "exact"
    SHARED = "shared"
    """The same request was on its way, and its answer served both."""
    NEAR = "near"
    MISS = "miss"
    AUDIT = "audit"
    """The model, because the coin said so."""
    FAILED = "failed"
    """Nobody: the engine had no answer. Only where a whole configuration is played."""


HITS: Final = frozenset({Kind.EXACT, Kind.SHARED, Kind.NEAR})
"""What the caches answered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One cache to play the log through."""

    name: str
    threshold: float | None = None
    """None, and no terms: only the very same request is a hit."""
    strict: bool = False
    terms: Terms | None = None
    """Guaranteed mode: the threshold follows from these."""
    shared: bool = False
    """Users of one tenant are served each other's answers."""
    ttl: float = float("inf")
    """Seconds an answer is served."""
    exact: bool = True
    """The very same request is looked for first."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request, as it went."""

    kind: Kind
    similarity: float
    """Of the entry that served, or would have; `NOTHING_NEAR`: there was none."""
    wrong: bool
    """It was served an answer that is not its own."""
    latency: float
    """Seconds until it had one."""
    cost_usd: float


@dataclass(slots=True)
class Run:
    """What came of one plan."""

    plan: Plan
    served: list[Served] = field(default_factory=list)
    """A row for each request of the log."""
    changes: list[tuple[int, Change]] = field(default_factory=list)
    """Of the threshold in guaranteed mode, with the number of the request."""
    bound: BoundStatistics | None = None

    def count(self, *kinds: Kind) -> int:
        """Requests that went one of these ways."""
        return sum(each.kind in kinds for each in self.served)

    @property
    def hits(self) -> int:
        return self.count(*HITS)

    @property
    def hit_rate(self) -> float:
        return self.hits / len(self.served)

    @property
    def wrong(self) -> int:
        return sum(each.wrong for each in self.served)

    @property
    def wrong_per_near_hit(self) -> float | None:
        near = [each.wrong for each in self.served if each.kind is Kind.NEAR]
        return sum(near) / len(near) if near else None

    @property
    def spent_usd(self) -> float:
        return sum(each.cost_usd for each in self.served)

    @property
    def near_latency(self) -> float | None:
        """Median of hits by meaning, in seconds; None: there was none."""
        found = [each.latency for each in self.served if each.kind is Kind.NEAR]
        return median(found) if found else None


class Replay:
    """A log, embedded once, ready to be played.

    Args:
        log: In order of time.
        similarities: Of its distinct texts, numbered as `texts`.
        texts: The number of each.
        agreement: Compares answers where a request has no intent.
        encode_seconds: How long a hit waits for its vector.
    """

    def __init__(
        self,
        log: Sequence[Logged],
        similarities: Similarities,
        texts: Mapping[str, int],
        agreement: Agreement,
        encode_seconds: float = 0.0,
    ) -> None:
        self.log = tuple(log)
        self.encode_seconds = encode_seconds
        self._similarities = similarities
        self._texts = texts
        self._agreement = agreement
        self._agreed: dict[tuple[int, int], bool] = {}
        self._guards: dict[bool, Guard] = {}
        self._refusals: dict[tuple[str, str, bool], bool] = {}

    @classmethod
    async def prepare(
        cls,
        log: Sequence[Logged],
        embedder: Embedder,
        agreement: Agreement,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> Replay:
        """Embed a log.

        Raises:
            EmbedderUnavailable: The embedder cannot be used here.
        """
        import numpy as np

        texts = {text: number for number, text in enumerate(dict.fromkeys(each.text for each in log))}
        names = list(texts)
        vectors, took = [], []
        await embedder.embed(names[:1])  # the first text loads the model
        for name in names[:TIMED]:
            began = time.perf_counter()
            vectors.append(await embedder.embed([name]))
            took.append(time.perf_counter() - began)
        for start in range(TIMED, len(names), BATCH):
            vectors.append(await embedder.embed(names[start : start + BATCH]))
            on_progress(min(1.0, (start + BATCH) / len(names)))
        return cls(log, Similarities(np.concatenate(vectors)), texts, agreement, median(took))

    def on(self, log: Sequence[Logged]) -> Replay:
        """The same texts in another log: nothing is embedded, and no guard asked, a second time."""
        other = Replay(log, self._similarities, self._texts, self._agreement, self.encode_seconds)
        other._guards, other._refusals = self._guards, self._refusals
        return other

    async def play(self, plan: Plan, seed: int = 0, on_progress: Callable[[float], None] = lambda share: None) -> Run:
        """Play the log through one cache; the same for the same seed, but for measured latencies."""
        play = _Pass(self, plan, random.Random(seed))
        for number in range(len(self.log)):
            play.run.served.append(await play.serve(number))
            if number % 256 == 0:
                on_progress(number / len(self.log))
        play.run.bound = None if play.bound is None else play.bound.statistics()
        return play.run

    async def agree(self, one: int, other: int) -> bool:
        """Whether two requests of the log have the same answer."""
        first, second = self.log[one], self.log[other]
        if first.intent is not None and second.intent is not None:
            return first.intent == second.intent
        key = (one, other)
        if key not in self._agreed:
            self._agreed[key] = await self._agreement(first.text, second.answer, first.answer)
        return self._agreed[key]

    def refused(self, asked: str, kept: str, *, strict: bool) -> bool:
        """Whether a guard speaks against serving one text the answer to another."""
        key = (asked, kept, strict)
        if key not in self._refusals:
            if strict not in self._guards:
                self._guards[strict] = guarded_by(strict=strict)
            self._refusals[key] = self._guards[strict](asked, kept) is not None
        return self._refusals[key]

    def number(self, text: str) -> int:
        """The number of a text."""
        return self._texts[text]

    def nearest(self, shelf: Shelf, request: Logged, floor: float, *, strict: bool) -> Near | None:
        """The nearest entry at or above a similarity that no guard refuses."""
        row = self._similarities.row(self._texts[request.text])
        for near in shelf.nearest(row, request.at, floor, CANDIDATES):
            if not self.refused(request.text, self.log[near.request].text, strict=strict):
                return near
        return None


class _Pass:
    """One plan, under way."""

    def __init__(self, replay: Replay, plan: Plan, rng: random.Random) -> None:
        self.run = Run(plan)
        self.bound = None if plan.terms is None else ErrorBound(plan.terms, 0.0)
        self._replay = replay
        self._plan = plan
        self._rng = rng
        self._exact: dict[tuple[str, ...], Shelf] = {}
        self._near: dict[tuple[str, ...], Shelf] = {}

    async def serve(self, number: int) -> Served:
        """Serve one request."""
        request = self._replay.log[number]
        text = self._replay.number(request.text)
        exact = self._exact.setdefault((request.tenant, request.history), Shelf())
        if self._plan.exact and (kept := exact.get(text, request.at)) is not None:
            waits = max(0.0, kept[1] - request.at)
            wrong = not await self._replay.agree(number, kept[0])
            return Served(Kind.SHARED if waits else Kind.EXACT, 1.0, wrong, waits, 0.0)
        owner = "" if self._plan.shared else request.user
        near = self._near.setdefault((request.tenant, request.history, owner), Shelf())
        served, keep = await self._by_meaning(number, near)
        if served.kind in (Kind.MISS, Kind.AUDIT):
            ready = request.at + request.latency
            exact.put(text, number, ready, ready + self._plan.ttl)
            if keep:
                near.put(text, number, ready, ready + self._plan.ttl)
        return served

    async def _by_meaning(self, number: int, shelf: Shelf) -> tuple[Served, bool]:
        """What became of it, and whether the model's answer is kept among what may be near."""
        request, plan, bound = self._replay.log[number], self._plan, self.bound
        if bound is not None and bound.toss(self._rng):  # before anything is looked at
            return await self._audit(number, shelf, bound)
        threshold = plan.threshold if bound is None else bound.threshold
        missed = Served(Kind.MISS, NOTHING_NEAR, False, request.latency, request.cost_usd)  # noqa: FBT003
        if threshold is None:
            return missed, False
        began = time.perf_counter()
        near = self._replay.nearest(shelf, request, threshold, strict=plan.strict)
        if near is None:
            return missed, True
        took = self._replay.encode_seconds + time.perf_counter() - began
        return Served(Kind.NEAR, near.similarity, not await self._replay.agree(number, near.request), took, 0.0), False

    async def _audit(self, number: int, shelf: Shelf, bound: ErrorBound) -> tuple[Served, bool]:
        request = self._replay.log[number]
        near = self._replay.nearest(shelf, request, GRID[-1], strict=self._plan.strict)
        agree = near is not None and await self._replay.agree(number, near.request)
        similarity = NOTHING_NEAR if near is None else near.similarity
        if near is not None and not agree:
            shelf.remove(near.text)
        if change := bound.audited(similarity, agree, request.at):
            self.run.changes.append((number, change))
        served = Served(Kind.AUDIT, similarity, False, request.latency, request.cost_usd)  # noqa: FBT003
        return served, not agree
