"""Counts what a semantic cache would serve, rightly and wrongly, at each threshold, and says how sure one can be.

A pair at or above the threshold that no guard refuses is a *hit*: its second question would have been served the
answer to the first. Bounds are Clopper and Pearson's, one-sided. A threshold is recommended by testing the grid
strictest first, from the first threshold with enough hits to pass at all, and taking the last one before the first
failure: a fixed sequence, so the chance that the one taken is worse than its bound stays 1 - confidence.

Pure arithmetic after the embedding. The rule: below the number of hits that could prove it, no number is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

from resilio.cache.bound import GRID
from resilio.cache.calibration.pairs import Pair
from resilio.cache.proportions import clean_needed, fixed_upper

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resilio.cache.embedding import Embedder

    Vector: TypeAlias = NDArray[np.float32]

__all__ = ["Guard", "Measurement", "Recommendation", "Row", "Scored", "guarded_by", "measure"]

BATCH: Final = 64
"""Texts embedded at one time."""


class Guard(Protocol):
    """Says why an answer may not be served although the questions are near; None: nothing speaks against it."""

    def __call__(self, asked: str, kept: str, /) -> str | None: ...


class Scored(NamedTuple):
    """A pair, measured."""

    pair: Pair
    similarity: float
    refused: str | None
    """By which guard."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one threshold does. Shares are None where there is nothing to take a share of."""

    threshold: float
    guarded: bool
    """Guards were asked."""
    hits: int
    """Pairs that would be served."""
    wrong: int
    """Hits whose questions do not have the same answer."""
    precision: float | None
    """Right ones among the hits."""
    recall: float | None
    """Hits among the pairs that have the same answer."""
    false_hits: float | None
    """Hits among the pairs that do not."""
    wrong_bound: float
    """Upper bound of wrong ones among hits."""
    false_hits_bound: float
    """Upper bound of hits among pairs that do not have the same answer."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The loosest threshold that is proven, or why there is none."""

    outcome: Literal["found", "not enough data", "too many wrong"]
    threshold: float | None
    row: Row
    """Of the threshold; where none is found, of the one that failed or came nearest to enough hits."""
    max_wrong: float
    confidence: float
    needed: int
    """Hits that it takes when not one of them is wrong."""


class Measurement:
    """A set of pairs, measured with one embedder.

    Args:
        scored: The pairs.
        embedder: Its id.
        confidence: Of each bound.
    """

    def __init__(self, scored: Sequence[Scored], embedder: str, confidence: float = 0.95) -> None:
        self.scored = tuple(scored)
        self.embedder = embedder
        self.confidence = confidence
        self.same = sum(each.pair.same for each in scored)
        self.different = len(scored) - self.same

    def row(self, threshold: float, *, guarded: bool) -> Row:
        """What a threshold does."""
        hits = [
            each.pair.same
            for each in self.scored
            if each.similarity >= threshold and not (guarded and each.refused is not None)
        ]
        right = sum(hits)
        wrong = len(hits) - right
        return Row(
            threshold=threshold,
            guarded=guarded,
            hits=len(hits),
            wrong=wrong,
            precision=_share(right, len(hits)),
            recall=_share(right, self.same),
            false_hits=_share(wrong, self.different),
            wrong_bound=fixed_upper(wrong, len(hits), self.confidence),
            false_hits_bound=fixed_upper(wrong, self.different, self.confidence),
        )

    def recommend(self, max_wrong: float, *, guarded: bool = True) -> Recommendation:
        """The loosest threshold whose hits are proven to be wrong no more often than this.

        Args:
            max_wrong: Wrong ones among *hits*, of pairs like these.
            guarded: Ask guards, as the cache does.
        """
        needed = clean_needed(max_wrong, self.confidence)

        def result(outcome: Literal["found", "not enough data", "too many wrong"], row: Row) -> Recommendation:
            threshold = row.threshold if outcome == "found" else None
            return Recommendation(outcome, threshold, row, max_wrong, self.confidence, needed)

        last: Row | None = None
        row = self.row(GRID[0], guarded=guarded)
        for threshold in GRID:
            row = self.row(threshold, guarded=guarded)
            # How many hits there are says nothing about how many are wrong, so it may choose where the tests begin.
            if row.hits < needed:
                continue
            if row.wrong_bound > max_wrong:
                return result("too many wrong", row) if last is None else result("found", last)
            last = row
        return result("not enough data", row) if last is None else result("found", last)

    def kinds(self, threshold: float) -> dict[str, tuple[int, int, int]]:
        """By kind of pair: how many there are, how many are near enough, and how many of these guards let pass."""
        found: dict[str, tuple[int, int, int]] = {}
        for each in self.scored:
            near = each.similarity >= threshold
            pairs, hits, passed = found.get(each.pair.kind, (0, 0, 0))
            found[each.pair.kind] = (pairs + 1, hits + near, passed + (near and each.refused is None))
        return dict(sorted(found.items()))


async def measure(
    pairs: Sequence[Pair],
    embedder: Embedder,
    guard: Guard,
    *,
    confidence: float = 0.95,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Measurement:
    """Embed every question once, and ask the guard about every pair.

    Raises:
        EmbedderUnavailable: The embedder cannot be used here.
    """
    texts = sorted({text for pair in pairs for text in (pair.a, pair.b)}, key=len)
    place = {text: number for number, text in enumerate(texts)}
    vectors: list[Vector] = []
    for start in range(0, len(texts), BATCH):
        vectors.extend(await embedder.embed(texts[start : start + BATCH]))
        on_progress(min(1.0, (start + BATCH) / len(texts)))
    scored = [
        Scored(pair, float(vectors[place[pair.a]] @ vectors[place[pair.b]]), guard(pair.b, pair.a)) for pair in pairs
    ]
    return Measurement(scored, embedder.id, confidence)


def guarded_by(*, strict: bool = False) -> Guard:
    """The guards of the semantic cache, each text prepared once."""
    from resilio.cache import guards  # reads its word lists

    prepared: dict[str, guards.Prepared] = {}

    def guard(asked: str, kept: str) -> str | None:
        for text in (asked, kept):
            if text not in prepared:
                prepared[text] = guards.prepare(text)
        return guards.check(prepared[asked], prepared[kept], strict=strict)

    return guard


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
