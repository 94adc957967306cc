"""Guaranteed mode at work: tosses the coin, compares answers off the request's path, and tells what has changed.

The arithmetic stands in `resilio.cache.bound`, one `ErrorBound` a namespace; here is what a request has to do with it:

1. `toss`, before anything is looked up by meaning. Heads: the model is asked in any case.
2. Heads: look up at the loosest threshold of the grid, and hand what was found, with the fresh answer, to `audit`.
3. Tails: serve what is at least as near as `threshold` says.

An entry whose answer disagrees goes. A fresh answer that agrees need not be stored beside it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from resilio.cache.agreement import Agreement
from resilio.cache.bound import GRID, NOTHING_NEAR, BoundStatistics, Change, ErrorBound, Terms
from resilio.cache.semantic.entry import Found, NearEntry

__all__ = ["FLOOR", "Audit", "Guarantee"]

logger = logging.getLogger("resilio")

FLOOR: Final = GRID[-1]
"""The loosest threshold: what an audited request is looked up at."""


class Audit(NamedTuple):
    """One request that is asked of the model in any case."""

    namespace: str
    epoch: int
    """When the coin was tossed."""
    basis: str
    """What the counts stood on then."""
    entry: NearEntry | None
    """What would have been served at the loosest threshold."""
    similarity: float


class Guarantee:
    """The bounds of one cache.

    Args:
        terms: What is promised.
        agree: Whether two answers say the same.
        basis: What the counts stand on; those saved on another basis are dropped.
        clock: Monotonic seconds.
        rng: Tosses the coin.
        changed: Told of each threshold that changes, with its namespace.
    """

    def __init__(
        self,
        terms: Terms,
        agree: Agreement,
        *,
        basis: str,
        clock: Callable[[], float],
        rng: random.Random,
        changed: Callable[[str, Change], None],
    ) -> None:
        self.terms = terms
        self._agree = agree
        self._basis = basis
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._bounds: dict[str, ErrorBound] = {}

    def _of(self, namespace: str) -> ErrorBound:
        bound = self._bounds.get(namespace)
        if bound is None:
            bound = self._bounds[namespace] = ErrorBound(self.terms, self._clock(), basis=self._basis)
        return bound

    floor = FLOOR

    def toss(self, namespace: str) -> bool:
        """Whether this request is audited. Ask before anything is looked up: else the sample is biased."""
        return self._of(namespace).toss(self._rng)

    def threshold(self, namespace: str) -> float | None:
        """Serve what is at least so similar; None: serve nothing."""
        return self._of(namespace).threshold

    def opened(self, namespace: str, found: Found) -> Audit:
        """An audit, of what was found at the loosest threshold."""
        similarity = NOTHING_NEAR if found.entry is None else found.similarity
        return Audit(namespace, self._of(namespace).epoch, self._basis, found.entry, similarity)

    async def decide(self, audit: Audit, question: str, fresh: str | None) -> bool:
        """Compare, and count it.

        Args:
            audit: The audit.
            question: What was asked.
            fresh: The model's answer; None: it refused, or called tools, and no kept answer agrees with that.

        Returns:
            Whether the kept answer says the same. True without one: there is nothing wrong about it.

        Raises:
            Exception: The comparison failed; nothing was counted.
        """
        entry = audit.entry
        same = entry is None or (fresh is not None and await self._agree(question, entry.recording.text, fresh))
        if audit.basis != self._basis:  # other guards chose the entry, say: the counts are not about that any more
            return same
        bound = self._of(audit.namespace)
        change = bound.audited(audit.similarity, same, self._clock(), epoch=audit.epoch)
        if change is not None:
            self._changed(audit.namespace, change)
        return same

    def statistics(self) -> Mapping[str, BoundStatistics]:
        """By namespace."""
        return {namespace: bound.statistics() for namespace, bound in self._bounds.items()}

    # --- across restarts -------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Everything that was learned, as plain values for JSON."""
        return {namespace: bound.to_dict() for namespace, bound in self._bounds.items()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `to_dict` gave; what does not fit begins anew. What has been counted by now is added."""
        for namespace, state in saved.items():
            try:
                bound = ErrorBound.from_dict(state, self.terms, self._clock(), basis=self._basis)
            except (ValueError, TypeError, AttributeError) as exc:
                logger.info("semantic cache: the error bound of namespace %r begins anew: %s", namespace, exc)
                continue
            counted = self._bounds.get(namespace)
            if counted is None or bound.go_on_with(counted, self._clock()):
                self._bounds[namespace] = bound
