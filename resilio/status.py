"""What the engine looks like right now: a frozen snapshot, safe to keep, print or serialise.

Reading it changes nothing but what time alone has caused (a break that is over, a ramp that ended).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from resilio.actor import Key, ModelRecord, ProviderRecord
from resilio.affinity import AffinityStatistics
from resilio.cache import CacheStatistics
from resilio.cache.semantic import SemanticStatistics
from resilio.checks import CheckStatistics
from resilio.config import Price
from resilio.ratelimit import RateLimiterStatistics
from resilio.retry import RetryBudgetStatistics
from resilio.spending import BudgetStatus
from resilio.statemachines.breaker import BreakerStatistics
from resilio.statemachines.service import ReducedService
from resilio.supervisor import Supervisor
from resilio.tokens import TokenEstimatorStatistics

__all__ = ["KeyStatus", "ProviderStatus", "Status", "TargetStatus", "status_of"]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One model of one provider. Latencies in seconds, None without enough history."""

    breaker: BreakerStatistics
    in_flight: int
    median_latency: float | None
    p95_first_token: float | None
    price: Price | None
    """What it costs, and where that is from; None: unknown."""
    price_unknown: str | None
    """Why it is unknown."""
    context_window: int | None
    prompts: tuple[TokenEstimatorStatistics, TokenEstimatorStatistics]
    """What is learned of how it counts prompts without tools, and with."""


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One API key: never the key itself, only its position."""

    index: int
    set_aside: str | None
    """The error class that set it aside, or None while it is used."""
    limits: Mapping[str, RateLimiterStatistics]
    """By model group."""
    name: str = ""
    """As configured."""
    in_flight: int = 0
    tried_again_in: float | None = None
    """Seconds until a request may try a key that is set aside; None: it is used. Where every key is set aside
    the provider's circuit decides, and may try one sooner."""


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One provider's actor."""

    state: str
    generation: int
    """How often its task was restarted."""
    breaker: BreakerStatistics
    in_flight: int
    max_concurrency: int
    waiting: int
    keys: tuple[KeyStatus, ...]
    retry_budget: RetryBudgetStatistics
    targets: Mapping[str, TargetStatus]
    """By full name, "provider/model"."""


@dataclass(frozen=True, slots=True)
class Status:
    """The whole engine."""

    providers: Mapping[str, ProviderStatus]
    routes: Mapping[str, tuple[str, ...]]
    """Targets of each route, in the configured order."""
    leaving: tuple[ProviderStatus, ...] = ()
    """Providers the configuration has no more and calls still use; `breaker.name` says which."""
    caches: Mapping[str, CacheStatistics | SemanticStatistics] = field(default_factory=dict)
    """By name of its section: ``exact``, ``semantic``."""
    budgets: Mapping[str, BudgetStatus] = field(default_factory=dict)
    """By name in the ledger: ``user/day/tokens``."""
    reduced: tuple[ReducedService, ...] = ()
    """Routes that gave somebody less than everything when they asked last, because of their budget."""
    checks: Mapping[str, CheckStatistics] = field(default_factory=dict)
    """How often each check led to what, by route and name: ``chat/no-secrets``."""
    conversations: AffinityStatistics = field(default_factory=lambda: AffinityStatistics(0, 0, 0))
    """Those that targets hold in their prompt caches."""


def status_of(
    supervisor: Supervisor,
    caches: Mapping[str, CacheStatistics | SemanticStatistics] | None = None,
    unpriced: Mapping[str, str] | None = None,
    budgets: Mapping[str, BudgetStatus] | None = None,
    reduced: Iterable[ReducedService] = (),
    conversations: AffinityStatistics | None = None,
) -> Status:
    """Take the snapshot.

    Args:
        supervisor: Of the running engine.
        caches: Dispatch's.
        unpriced: The catalogue's: why prices are unknown, by target.
        budgets: Those of `resilio.spending`.
        reduced: Dispatch's: who is given less than everything.
        conversations: Dispatch's: those that are held somewhere.
    """
    unpriced = unpriced or {}
    return Status(
        {name: _provider(record, unpriced) for name, record in supervisor.providers.items()},
        {name: tuple(target.name for target in route.targets) for name, route in supervisor.routes.items()},
        tuple(_provider(record, unpriced) for record in supervisor.leaving),
        caches or {},
        budgets or {},
        tuple(reduced),
        checks={
            f"{name}/{check}": counts
            for name, route in supervisor.routes.items()
            if route.checks is not None
            for check, counts in route.checks.statistics().items()
        },
        conversations=conversations or AffinityStatistics(0, 0, 0),
    )


def _provider(record: ProviderRecord, unpriced: Mapping[str, str]) -> ProviderStatus:
    now = record.clock()
    record.breaker.tick(now)
    return ProviderStatus(
        state=str(record.lifecycle.state),
        generation=record.lifecycle.generation,
        breaker=record.breaker.statistics(now),
        in_flight=record.in_flight,
        max_concurrency=record.settings.max_concurrency,
        waiting=len(record.waiters),
        keys=tuple(_key(key, now) for key in record.keys),
        retry_budget=record.retry_budget.statistics(now),
        targets={model.name: _target(model, now, unpriced) for model in record.models.values()},
    )


def _key(key: Key, now: float) -> KeyStatus:
    limits = {group: limiter.statistics(now) for group, limiter in key.limiters.items()}
    again = max(0.0, key.aside_until - now) if key.aside is not None and key.aside_until < math.inf else None
    return KeyStatus(key.index, key.aside, limits, key.name, key.in_flight, again)


def _target(record: ModelRecord, now: float, unpriced: Mapping[str, str]) -> TargetStatus:
    record.breaker.tick(now)
    price = record.settings.price
    return TargetStatus(
        record.breaker.statistics(now),
        record.in_flight,
        record.latencies.median,
        record.first_tokens.p95,
        price,
        unpriced.get(record.name, "no price is set") if price is None else None,
        record.settings.context_window,
        record.tokens.statistics(),
    )
