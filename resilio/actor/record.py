"""All state of one provider: what must outlive its actor's task stands here and nowhere else.

Records are plain owners of pure parts (breakers, limiters, budgets); the rules are in `resilio.actor`
(admission, the queue) and `resilio.actor.lease` (settlement).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from resilio.actor.keys import Key
from resilio.actor.refusal import Why
from resilio.config import KeySettings, ModelSettings, ProviderSettings
from resilio.events import ActorChanged, BreakerChanged, Event, Listener, tell
from resilio.models import Demand
from resilio.quantiles import RecentQuantiles
from resilio.ratelimit import RateLimiter
from resilio.retry import RetryBudget
from resilio.routing import PeakEwma, TargetView
from resilio.statemachines.actor import ActorLifecycle
from resilio.statemachines.breaker import Breaker
from resilio.tokens import TokenEstimator

if TYPE_CHECKING:
    from resilio.actor import ProviderActor
    from resilio.actor.lease import Lease
    from resilio.actor.refusal import Refusal

__all__ = ["Key", "ModelRecord", "ProviderRecord", "Waiter", "limits_by_group"]

EWMA_DECAY: Final = 10.0
"""Seconds in which the peak latency of a target forgets; Finagle's default for its peak-EWMA balancer."""


class ModelRecord:
    """The state of one target: a model of this provider."""

    __slots__ = (
        "breaker",
        "first_tokens",
        "group",
        "in_flight",
        "keys",
        "latencies",
        "model",
        "name",
        "peak",
        "settings",
        "tokens",
    )

    def __init__(self, provider: str, model: str, settings: ModelSettings, breaker: Breaker, now: float) -> None:
        self.name = f"{provider}/{model}"
        self.model = model
        self.settings = settings
        self.group = settings.group or model
        self.breaker = breaker
        self.in_flight = 0
        self.keys: tuple[tuple[Key, RateLimiter], ...] = ()
        """The provider's keys, in order, each with its limits for this model's group."""
        self.peak = PeakEwma(EWMA_DECAY, now)
        self.latencies = RecentQuantiles()
        """Seconds from sending to the whole answer."""
        self.first_tokens = RecentQuantiles()
        """Seconds from sending to the first content of a stream."""
        self.tokens = TokenEstimator()
        """What is learned of how this model counts the tokens of a prompt."""

    def view(self, now: float, weight: float = 1.0) -> TargetView:
        """What routing may know of this target."""
        return TargetView(self.name, self.in_flight, self.peak.value(now), weight, self.settings.price)


class Waiter:
    """A caller in the queue. Ordered by priority, then by arrival."""

    __slots__ = ("demand", "future", "order", "record", "why")

    def __init__(
        self,
        order: tuple[int, int],
        record: ModelRecord,
        demand: Demand,
        future: asyncio.Future[Lease | Refusal],
    ) -> None:
        self.order, self.record, self.demand, self.future = order, record, demand, future
        self.why = Why.QUEUE_AHEAD
        """What it waits for, as the actor last saw it."""

    def __lt__(self, other: Waiter) -> bool:
        return self.order < other.order


class ProviderRecord:
    """Everything that is known of one provider and must outlive its actor's task."""

    actor: ProviderActor
    """The actor of this generation; the supervisor sets it, and replaces it after a crash."""

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        listeners: list[Listener],
        keys: Iterable[KeySettings | None] = (None,),
    ) -> None:
        now = clock()
        self.settings = settings
        self.name = settings.name
        self.clock = clock
        self.rng = rng
        self.listeners = listeners
        self.breaker = Breaker(settings.name, settings.breaker, rng=rng, now=now)
        self.models = {
            model: ModelRecord(
                settings.name,
                model,
                its,
                Breaker(f"{settings.name}/{model}", settings.breaker, rng=rng, now=now),
                now,
            )
            for model, its in settings.models.items()
        }
        self.keys = [Key(index, its, limits_by_group(self.models.values(), its), now) for index, its in enumerate(keys)]
        for record in self.models.values():
            record.keys = tuple((key, key.limiters[record.group]) for key in self.keys)
        self.keyless = False
        """Its circuit was opened because no key was left."""
        self.renew: Callable[[Key], bool] = _cannot
        """Has a key's file or command asked for another secret, soon; says whether that will be done."""
        self.retry_budget = RetryBudget(settings.retry_budget, now)
        self.lifecycle = ActorLifecycle()
        self.in_flight = 0
        self.waiters: list[Waiter] = []
        self.arrivals = 0
        self.uses = 0
        """Leases handed out so far."""
        self.slot_starved = False
        """Somebody in the queue waits for a slot, not for tokens: then nobody may pass, whatever the model."""
        self.mailbox: deque[Callable[[float], None]] = deque()
        self.wake = asyncio.Event()

    def emit(self, event: Event) -> None:
        """Tell every listener; one that raises is logged and does no harm."""
        tell(self.listeners, event)

    def flush_changes(self, *, wake: bool = True) -> None:
        """Turn what the state machines noted into events, and let the actor's timers look again."""
        for machine in (self.breaker, *(record.breaker for record in self.models.values())):
            if machine.changes:
                for change in machine.drain_changes():
                    if self.listeners:
                        self.emit(BreakerChanged(machine.name, *change))
        for source, dest, generation, at, error in self.lifecycle.drain_changes():
            if self.listeners:
                self.emit(ActorChanged(self.name, source, dest, generation, at, error))
        if wake:
            self.wake.set()

    def __repr__(self) -> str:
        return (
            f"<ProviderRecord {self.name} {self.lifecycle.state}, circuit {self.breaker.state}, "
            f"{self.in_flight} in flight, {len(self.waiters)} waiting>"
        )


def _cannot(key: Key) -> bool:
    return False


def limits_by_group(records: Iterable[ModelRecord], key: KeySettings | None = None) -> dict[str, dict[str, float]]:
    """Limits of a key by model group; where models of one group differ the smallest holds, and the key's own wins."""
    groups: dict[str, dict[str, float]] = {}
    for record in records:
        dimensions = groups.setdefault(record.group, {})
        for dimension in ("requests", "tokens", "input_tokens", "output_tokens"):
            limit: float | None = getattr(record.settings, f"{dimension}_per_minute")
            own: float | None = getattr(key, f"{dimension}_per_minute", None)
            if own is not None:
                dimensions[dimension] = own
            elif limit is not None:
                dimensions[dimension] = min(limit, dimensions.get(dimension, math.inf))
    return groups
