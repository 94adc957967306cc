"""In which order to try the targets of a route.

A strategy sees a snapshot of the targets and returns all their indices, best first. It leaves none out:
whether a target admits the request is its actor's answer, and whether it can serve it is checked before.
Pure: no clock, no await, random numbers are an argument. The rule that keeps it simple: a strategy
that does not need the snapshot never asks for it, so the plain order costs nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

__all__ = ["STRATEGIES", "PeakEwma", "Strategy", "TargetView", "least_loaded", "priority"]


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target, as a strategy sees it."""

    name: str
    in_flight: int
    """Requests sent and not settled."""
    peak_latency: float = 0.0
    """Seconds, decayed: `PeakEwma.value`. 0.0: nothing is known of it."""
    weight: float = 1.0
    """How much it may be preferred to others at the same cost; at 0 it comes last."""


class PeakEwma:
    """A latency that jumps up to a slower sample at once and forgets it exponentially.

    A mean would need many slow answers to notice that a target has become slow, and by then many callers
    would wait. Left alone the value decays to 0, so a target once slow is tried again. The idea is that
    of Finagle's `PeakEwma` load balancer.

    Args:
        decay_s: Seconds after which 1/e of a peak is left.
        now: Monotonic seconds.

    Raises:
        ValueError: `decay_s` is not positive.
    """

    __slots__ = ("_at", "_decay_s", "_peak")

    def __init__(self, decay_s: float, now: float) -> None:
        if not decay_s > 0:
            raise ValueError(f"decay_s must be above 0, not {decay_s!r}")
        self._decay_s = decay_s
        self._at = now
        self._peak = 0.0

    def __repr__(self) -> str:
        return f"<PeakEwma {self._peak:.6g} s at {self._at:.3f} s>"

    def _kept(self, now: float) -> float:
        """Share of the last peak that is left; an earlier `now` than the last keeps all of it."""
        elapsed = now - self._at
        return math.exp(-elapsed / self._decay_s) if elapsed > 0 else 1.0

    def observe(self, now: float, latency: float) -> None:
        """Count one answer that took `latency` seconds: a peak decays towards it, and never below it."""
        self._peak = latency + max(0.0, self._peak - latency) * self._kept(now)
        self._at = max(self._at, now)

    def charge(self, now: float, penalty: float) -> None:
        """Count a failure as an answer of `penalty` seconds: failing fast must not look like being fast."""
        self._peak = max(self.value(now), penalty)
        self._at = max(self._at, now)

    def value(self, now: float) -> float:
        """Seconds; 0.0 when nothing was observed yet."""
        return self._peak * self._kept(now)


class Strategy(Protocol):
    """Orders the targets of a route."""

    def __call__(self, views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
        """Put the targets into the order in which to try them.

        Args:
            views: Takes the snapshot, one view for each target, as configured. Called at most once.
            count: Number of targets.
            rng: For strategies that draw.

        Returns:
            Each of ``0 .. count - 1`` once.
        """
        ...


@lru_cache(maxsize=256)
def _as_configured(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def priority(views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
    """As configured: the next target is for when the ones before it do not take the request."""
    return _as_configured(count)


def _costs(views: Sequence[TargetView]) -> list[tuple[float, bool]]:
    """Cost of each target, the second part breaking ties in favour of the unknown.

    Cost = peak latency * (in flight + 1) / weight: about how long one more request will take there. An
    unknown target is taken to be as fast as the fastest known one. (A cost of 0 would send everybody
    to a new target until its first answer is there, which with a language model takes seconds.)
    """
    fastest = min((view.peak_latency for view in views if view.peak_latency > 0), default=1.0)
    costs = []
    for view in views:
        busy = (view.peak_latency or fastest) * (view.in_flight + 1)
        costs.append((busy / view.weight if view.weight > 0 else math.inf, view.peak_latency > 0))
    return costs


def _draw_two(count: int, rng: random.Random) -> tuple[int, int]:
    """Two different indices below `count` (>= 2), each pair as likely as any other."""
    first = int(rng.random() * count)
    second = int(rng.random() * (count - 1))
    return first, second + (second >= first)


def least_loaded(views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
    """The cheaper of two targets drawn at random, then the others by ascending cost.

    Always taking the cheapest would send every caller to the same one until its load shows; two choices
    avoid that and are nearly as good. Source: M. Mitzenmacher, "The Power of Two Choices in Randomized
    Load Balancing", IEEE TPDS 12(10), 2001.
    """
    if count < 2:
        return _as_configured(count)
    costs = _costs(views())
    one, other = _draw_two(count, rng)
    winner = one if costs[one] <= costs[other] else other
    rest = sorted((index for index in range(count) if index != winner), key=costs.__getitem__)
    return (winner, *rest)


STRATEGIES: Final[dict[str, Callable[[], Strategy]]] = {
    "priority": lambda: priority,
    "least_loaded": lambda: least_loaded,
}
"""Name in the configuration -> makes one for a route; a strategy that keeps state starts afresh for each."""
