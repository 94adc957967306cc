"""Guaranteed mode of the semantic cache: how near is near enough, so that few enough answers are wrong.

A share of requests is *audited*: the model is asked although the cache might have answered, and the two answers are
compared. From these counts comes, for each threshold of a grid, an upper bound of the share of **requests** that would
be served a wrong answer. It holds at every moment at once (see `proportions`), so looking after every audit and acting
on it costs nothing. The share grows as the threshold falls: thresholds are tested strictest first, and the last one
before the first that fails is in force, without a correction for testing many. No threshold: nothing is served.

What it does not bound is the share of wrong answers among **hits**; that is estimated beside it. And it is a statement
about traffic that stays as it is: when the most recent audits alone refute the bound, the threshold is dropped, the
counts are too, and a new epoch begins.

Pure: no clock, no randomness of its own, no await. One namespace owns one `ErrorBound` on one event loop. The rule:
it is told what happened, and never looks for itself.

Related: vCache (Schroeder et al., arXiv 2502.03771) bounds the same quantity by a logistic model of every cached item.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from resilio.cache.proportions import anytime_above, anytime_below, anytime_upper

__all__ = ["EVERY", "GRID", "NOTHING_NEAR", "WINDOW", "BoundStatistics", "Change", "ErrorBound", "Terms"]

GRID: Final = tuple(round(0.99 - 0.01 * step, 2) for step in range(40))
"""The thresholds that are tested, strictest first: 0.99, 0.98, ... 0.60."""
EVERY: Final = 25
"""Audits between two looks at the counts."""
WINDOW: Final = 400
"""The most recent audits, in which drift is looked for. A lower bound: an upper one of so few is always too high."""
NOTHING_NEAR: Final = -1.0
"""The similarity of an audit that found no entry to compare with: none near, or none that the guards let pass."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is promised, and what is spent on it.

    Raises:
        ValueError: A figure is outside its range.
    """

    max_wrong: float = 0.02
    """Delta: at most this share of requests is served a wrong answer, while traffic stays as it is."""
    confidence: float = 0.95
    """1 - eta: with this probability the promise is kept throughout an epoch."""
    audit: float = 0.1
    """This share of requests is asked of the model in any case, and compared."""

    def __post_init__(self) -> None:
        for name, least, most in (("max_wrong", 0.0, 0.5), ("confidence", 0.5, 1.0), ("audit", 0.0, 1.0)):
            value = getattr(self, name)
            if not least < value < most and not (name == "audit" and value == most):
                raise ValueError(f"{name} must be above {least:g} and below {most:g}, not {value!r}")

    @property
    def eta(self) -> float:
        return 1 - self.confidence


class Change(NamedTuple):
    """The threshold in force has changed."""

    before: float | None
    after: float | None
    """None: nothing is served from now on."""
    epoch: int
    why: Literal["evidence", "drift"]


@dataclass(frozen=True, slots=True)
class BoundStatistics:
    """What is known at one moment. Everything counts from the beginning of the epoch, unless it says otherwise."""

    threshold: float | None
    """Similarity from which on an entry is served; None: none is, and every request is audited."""
    max_wrong: float
    confidence: float
    bound: float | None
    """Upper bound of wrong answers per request at the threshold, as of now; None without one. It can be above
    `max_wrong` until the next look, which then moves the threshold."""
    wrong_per_request: float | None
    """The estimate of what is bounded: audits at or above the threshold that disagreed, per audit."""
    wrong_per_hit: float | None
    """The same per audit at or above the threshold: an estimate, and **not bounded**. None: there was no such audit."""
    hit_rate: float | None
    """Estimated share of requests that the cache answers, those not served because of their audit left out."""
    audits: int
    disagreements: int
    """Audits, at any similarity of the grid, whose answers disagreed."""
    epoch: int
    """From 1; each further one began with a drift."""
    audits_ever: int
    """In all epochs."""
    changed_at: float
    """When the threshold changed last, in monotonic seconds."""


class ErrorBound:
    """State of one namespace.

    Args:
        terms: What is promised.
        now: The current time, in monotonic seconds.
        basis: Names what the counts are about: embedder, guards, way of comparing answers. Counts that were saved on
            another basis are not taken over.
    """

    def __init__(self, terms: Terms, now: float, *, basis: str = "") -> None:
        self.terms = terms
        self.basis = basis
        self.epoch = 1
        self._threshold: float | None = None
        self._audits_before = 0
        self._changed_at = now
        self._begin()

    def _begin(self) -> None:
        self._audits = 0
        self._near = [0] * len(GRID)
        """Audits with an entry at or above each threshold."""
        self._wrong = [0] * len(GRID)
        """Those of them whose answers disagreed: k_j."""
        self._recent: deque[tuple[float, bool]] = deque(maxlen=WINDOW)
        """Similarity of the most recent audits, and whether the answers disagreed."""

    @property
    def threshold(self) -> float | None:
        """Serve what is at least so similar; None: serve nothing."""
        return self._threshold

    def toss(self, rng: random.Random) -> bool:
        """Whether to audit this request. To be asked *before* anything is looked up: else the sample is biased."""
        return self._threshold is None or rng.random() < self.terms.audit

    def audited(self, similarity: float, agree: bool, now: float, *, epoch: int | None = None) -> Change | None:
        """Count one audit, and after every 25th see what follows.

        Args:
            similarity: Of the entry that would have been served at the loosest threshold: the nearest one that the
                guards let pass. `NOTHING_NEAR`: there was none.
            agree: Whether the model's answer says the same as that entry's; of no account without one.
            now: Monotonic seconds.
            epoch: The epoch in which the coin was tossed. Of an earlier one than the present, the audit says nothing
                about the traffic there is now, and is left out. None: the present one.

        Returns:
            What changed; None: nothing did.

        Raises:
            ValueError: The similarity is not a number.
        """
        if math.isnan(similarity):
            raise ValueError("the similarity of an audit must be a number, not NaN")
        if epoch is not None and epoch != self.epoch:
            return None
        self._audits += 1
        self._recent.append((similarity, not agree))
        for index in range(_first(similarity), len(GRID)):
            self._near[index] += 1
            self._wrong[index] += not agree
        return self._look(now) if self._audits % EVERY == 0 else None

    def _look(self, now: float) -> Change | None:
        if self._has_drifted():
            self._audits_before += self._audits
            self.epoch += 1
            self._begin()
            return self._move(None, now, "drift")
        return self._move(self._proven(), now, "evidence")

    def _has_drifted(self) -> bool:
        if (threshold := self._threshold) is None:
            return False
        wrong = sum(disagreed for similarity, disagreed in self._recent if similarity >= threshold)
        return anytime_above(self.terms.max_wrong, wrong, len(self._recent), self.terms.eta)

    def _proven(self) -> float | None:
        """The loosest threshold before the first that fails."""
        found = None
        for threshold, wrong in zip(GRID, self._wrong, strict=True):
            if not anytime_below(self.terms.max_wrong, wrong, self._audits, self.terms.eta):
                break
            found = threshold
        return found

    def _move(self, threshold: float | None, now: float, why: Literal["evidence", "drift"]) -> Change | None:
        before, self._threshold = self._threshold, threshold
        if before == threshold:
            return None
        self._changed_at = now
        return Change(before, threshold, self.epoch, why)

    def statistics(self) -> BoundStatistics:
        """A snapshot."""
        index = None if self._threshold is None else GRID.index(self._threshold)
        wrong = near = None
        if index is not None:
            wrong, near = self._wrong[index], self._near[index]
        return BoundStatistics(
            threshold=self._threshold,
            max_wrong=self.terms.max_wrong,
            confidence=self.terms.confidence,
            bound=None if wrong is None else anytime_upper(wrong, self._audits, self.terms.eta),
            wrong_per_request=None if wrong is None else wrong / self._audits,
            wrong_per_hit=wrong / near if wrong is not None and near else None,
            hit_rate=None if near is None else (1 - self.terms.audit) * near / self._audits,
            audits=self._audits,
            disagreements=self._wrong[-1],
            epoch=self.epoch,
            audits_ever=self._audits_before + self._audits,
            changed_at=self._changed_at,
        )

    def go_on_with(self, later: ErrorBound, now: float) -> bool:
        """Count what another one has counted since this one was saved.

        Returns:
            False: it has seen a change, or more than it remembers one by one, and stands better alone.
        """
        if later._audits_before or later._audits > len(later._recent):
            return False
        for similarity, disagreed in later._recent:
            self.audited(similarity, not disagreed, now)
        return True

    # --- across restarts -------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Everything that was learned, as plain values for JSON. Counts hold under other terms too."""
        return {
            "version": _VERSION,
            "basis": self.basis,
            "grid": list(GRID),
            "epoch": self.epoch,
            "audits": self._audits,
            "audits_before": self._audits_before,
            "near": list(self._near),
            "wrong": list(self._wrong),
            "recent": [[similarity, disagreed] for similarity, disagreed in self._recent],
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], terms: Terms, now: float, *, basis: str = "") -> ErrorBound:
        """Go on from what `to_dict` gave, under these terms, which may be others: the threshold is worked out anew.

        Raises:
            ValueError: It is no such state, is damaged, or was counted on another basis or grid; says which. The
                caller begins anew then.
        """
        if saved.get("version") != _VERSION or saved.get("grid") != list(GRID):
            raise ValueError("the saved error bound is of another version")
        if saved.get("basis") != basis:
            raise ValueError(f"the saved error bound is about {saved.get('basis')!r:.120}, not {basis!r:.120}")
        bound = cls(terms, now, basis=basis)
        bound.epoch, bound._audits_before = _count(saved, "epoch"), _count(saved, "audits_before")
        bound._audits = _count(saved, "audits")
        bound._near, bound._wrong = (_counts(saved, name, bound._audits) for name in ("near", "wrong"))
        if any(wrong > near for wrong, near in zip(bound._wrong, bound._near, strict=True)):
            raise ValueError("the saved error bound has more disagreements than audits")
        bound._recent.extend(_recent(saved))
        bound._threshold = bound._proven()
        return bound


def _first(similarity: float) -> int:
    """Index of the first threshold of the grid that is not above this similarity; len(GRID): all are."""
    return next((index for index, threshold in enumerate(GRID) if threshold <= similarity), len(GRID))


def _count(saved: Mapping[str, Any], name: str) -> int:
    value = saved.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"the saved error bound has no {name}")
    return value


def _counts(saved: Mapping[str, Any], name: str, audits: int) -> list[int]:
    values = saved.get(name)
    if not isinstance(values, list) or len(values) != len(GRID):
        raise ValueError(f"the saved error bound has no {name}")
    found = [_count({name: value}, name) for value in values]
    if any(left > right for left, right in pairwise(found)) or found[-1] > audits:
        raise ValueError(f"the saved error bound counts {name} that cannot be")
    return found


def _recent(saved: Mapping[str, Any]) -> list[tuple[float, bool]]:
    values = saved.get("recent")
    if not isinstance(values, list) or len(values) > WINDOW:
        raise ValueError("the saved error bound has no recent audits")
    found = []
    for value in values:
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], int | float)):
            raise ValueError("the saved error bound has recent audits that cannot be")
        found.append((float(value[0]), value[1] is True))
    return found
