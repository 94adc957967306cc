"""In which order to try the targets of a route.

A strategy sees a snapshot of the targets and returns all their indices, best first. It leaves none out:
whether a target admits the request is its actor's answer, and whether it can serve it is checked before.
It is asked once for each call, whatever is retried later, so one that counts its answers counts calls.
Pure: no clock, no await, random numbers are an argument. The rule that keeps it simple: a strategy
that does not need the snapshot never asks for it, so the plain order costs nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from resilio.config import Price

__all__ = [
    "STRATEGIES",
    "Holding",
    "PeakEwma",
    "WEIGHING",
    "RoundRobin",
    "Strategy",
    "TargetView",
    "Weighted",
    "as_configured",
    "blended_usd",
    "cheapest",
    "holding_of",
    "least_loaded",
    "priority",
    "view_of_group",
]

_INPUT_SHARE: Final = 0.75
"""Of a typical call's tokens: three of input to one of output, the blend by which Artificial Analysis compares."""


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target, as a strategy sees it; or a nested route as if it were one: see `view_of_group`."""

    name: str
    in_flight: int
    """Requests sent and not settled."""
    peak_latency: float = 0.0
    """Seconds, decayed: `PeakEwma.value`. 0.0: nothing is known of it."""
    weight: float = 1.0
    """How much it is preferred to others; at 0 it comes last."""
    price: Price | None = None
    """None: unknown."""


def view_of_group(name: str, views: Sequence[TargetView], weight: float) -> TargetView:
    """A nested route as one target: as busy as the least busy of its targets, as dear as the dearest.

    A request sent there goes to about the least busy; which it will cost like is not known before, so
    the highest price is taken, and none where any is unknown.
    """
    idlest = min(views, key=lambda view: view.peak_latency * (view.in_flight + 1))
    prices = [view.price for view in views if view.price is not None]
    dearest = max(prices, key=blended_usd) if len(prices) == len(views) else None
    return TargetView(name, idlest.in_flight, idlest.peak_latency, weight, dearest)


def blended_usd(price: Price) -> float:
    """One figure to compare prices by: US dollars for a million tokens, three of input to one of output."""
    return price.input * _INPUT_SHARE + price.output * (1 - _INPUT_SHARE)


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
    """Orders the targets of a route.

    A configuration names one of one's own as ``strategy = "my_package.my_module:cheap_then_idle"``:

        def cheap_then_idle(views, count, rng):
            seen = views()
            return sorted(range(count), key=lambda index: (seen[index].price is None, seen[index].in_flight))

    A function serves all routes that name it; of a class, each route gets an instance, which may hold state.
    One of one's own may leave targets out: they are not asked for this call. Where prompts are cached it is asked for
    the first turn of a conversation alone, and again when the target that holds it cannot take it; with an attribute
    ``ranks = True`` it is asked for every turn.
    """

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
def as_configured(count: int) -> tuple[int, ...]:
    """The order of the configuration: the same object each time, so that it can be told by identity."""
    return tuple(range(count))


def priority(views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
    """As configured: the next target is for when the ones before it do not take the request."""
    return as_configured(count)


class Weighted:
    """Shares calls out by weight, evenly spread; the others follow by weight, for when the first does not take one.

    Smooth weighted round robin, as in nginx (M. Dounin, "Upstream: smooth weighted round-robin balancing",
    nginx 1.3.1, 2012): at each call every target's credit grows by its weight, and the one with most
    credit is chosen and pays the sum of all weights. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
    Weights are read once: a route that is configured anew gets a new strategy.
    """

    __slots__ = ("_credit", "_orders", "_total", "_weights")

    def __init__(self) -> None:
        self._weights: list[float] = []
        self._credit: list[float] = []
        self._orders: list[tuple[int, ...]] = []
        self._total = 0.0

    def _begin(self, views: Sequence[TargetView]) -> None:
        self._weights = [view.weight for view in views]
        self._credit = [0.0] * len(views)
        self._total = sum(self._weights)
        by_weight = sorted(range(len(views)), key=lambda index: -self._weights[index])
        self._orders = [(first, *(each for each in by_weight if each != first)) for first in range(len(views))]

    def __call__(self, views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
        """See `Strategy`."""
        if len(self._weights) != count:
            self._begin(views())
        if not self._total:
            return as_configured(count)
        credit, most, best = self._credit, -math.inf, 0
        for index, weight in enumerate(self._weights):
            if weight:
                credit[index] += weight
                if credit[index] > most:
                    most, best = credit[index], index
        credit[best] -= self._total
        return self._orders[best]


class RoundRobin:
    """Each target in turn; those after it follow, round to the one before it."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
        """See `Strategy`."""
        if count < 2:
            return as_configured(count)
        first = self._next % count
        self._next = first + 1
        return (*range(first, count), *range(first))


def cheapest(views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
    """By price; unknown prices come last, and what costs the same stays as configured."""
    if count < 2:
        return as_configured(count)
    prices = [math.inf if view.price is None else blended_usd(view.price) for view in views()]
    return sorted(range(count), key=prices.__getitem__)


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
        return as_configured(count)
    seen = views()
    costs = _costs(seen)
    drawn = as_configured(count)
    if not all(view.weight > 0 for view in seen):
        # Two of weight 0 must not be drawn together while there are others.
        drawn = tuple(index for index in drawn if seen[index].weight > 0) or drawn
    if len(drawn) == 1:
        winner = drawn[0]
    else:
        one, other = (drawn[place] for place in _draw_two(len(drawn), rng))
        winner = one if costs[one] <= costs[other] else other
    rest = sorted((index for index in range(count) if index != winner), key=costs.__getitem__)
    return (winner, *rest)


STRATEGIES: Final[dict[str, Callable[[], Strategy]]] = {
    "priority": lambda: priority,
    "weighted": Weighted,
    "round_robin": RoundRobin,
    "least_loaded": lambda: least_loaded,
    "cheapest": lambda: cheapest,
}
"""Name in the configuration -> makes one for a route; a strategy that keeps state starts afresh for each."""


class Holding(Enum):
    """What a strategy's order means to a conversation that a target further back in it holds in its prompt cache."""

    EQUALS = "equals"
    """It shares out: all targets are as good, so the one that holds the conversation comes first."""
    RANKS = "ranks"
    """It ranks: a better target takes the conversation back, once it is in full health again."""
    COSTS = "costs"
    """It ranks by price: what this call costs where its prompt is held decides."""


def holding_of(name: str, strategy: object) -> Holding:
    """How a strategy deals with conversations that are held.

    One of one's own says ``ranks = True`` (an attribute of the function or class) where its order is a ranking.
    """
    if name in _HOLDING:
        return _HOLDING[name]
    return Holding.RANKS if getattr(strategy, "ranks", False) is True else Holding.EQUALS


_HOLDING: Final = {
    "priority": Holding.RANKS,
    "weighted": Holding.EQUALS,
    "round_robin": Holding.EQUALS,
    "least_loaded": Holding.EQUALS,
    "cheapest": Holding.COSTS,
}

WEIGHING: Final = frozenset({"weighted", "least_loaded"})
"""Strategies that read weights: to them a target of weight 0 is a fallback, and no equal of the others."""
