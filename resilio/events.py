"""Records of what happened, and the protocol of who listens.

Events are plain frozen values, sent synchronously after the fact; a listener must return quickly
and must not raise (what it raises is logged and swallowed). With no listener none is built.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from resilio.models import AttemptRecord, CacheHit, CheckRecord, Identity, Level, PromptCacheUse, Usage

__all__ = [
    "ActorChanged",
    "AttemptEnded",
    "BreakerChanged",
    "BudgetChanged",
    "CacheThresholdChanged",
    "CallSettled",
    "CheckEnded",
    "ConfigApplied",
    "ConfigRefused",
    "ConversationMoved",
    "Event",
    "KeyRenewed",
    "KeyRestored",
    "KeySetAside",
    "KeyUnreadable",
    "LimitLearned",
    "Listener",
    "ServiceLevelChanged",
    "tell",
]

logger = logging.getLogger("resilio")


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A circuit breaker moved. `name` is a provider or a target; `at` is monotonic seconds."""

    name: str
    source: str
    dest: str
    event: str
    at: float
    break_duration: float | None = None
    """Seconds until the next probe, when it opened."""


@dataclass(frozen=True, slots=True)
class BudgetChanged:
    """An entity passed a limit of a budget, or is within it again. Amounts are in `unit`: tokens or US dollars.

    `dest` ``soft_exceeded`` and ``hard_exceeded`` are told once in a window (by each process, of what it knows).
    """

    budget: str
    entity: str
    unit: str
    source: str
    dest: str
    event: str
    """``spend``, ``refuse``, ``reset`` or ``set_limit``."""
    limit: float
    spent: float
    window: str
    resets_in: float
    """Seconds until the window ends, or something of a sliding one."""
    at: float


@dataclass(frozen=True, slots=True)
class ActorChanged:
    """A provider's actor moved through its life cycle; `generation` counts its restarts."""

    provider: str
    source: str
    dest: str
    generation: int
    at: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class KeySetAside:
    """A key was refused by the provider and is not used any more. `key` is its index, `name` what it is called."""

    provider: str
    key: int
    why: str
    at: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class KeyRestored:
    """A key that was set aside is used again."""

    provider: str
    key: int
    why: str
    """``works``: a request has shown it; ``renewed``: it has another secret; ``by_hand``."""
    at: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class KeyRenewed:
    """A key has another secret: its file, its command or the configuration gave one."""

    provider: str
    key: int
    at: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class KeyUnreadable:
    """A key's file or command gave no secret; the one there is stays. Told when it begins, and when `why` changes."""

    provider: str
    key: int
    why: str
    at: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class LimitLearned:
    """A response header lowered what we believe of a rate limit."""

    provider: str
    key: int
    group: str
    dimension: str
    limit: float | None
    remaining: float | None
    at: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One HTTP request settled."""

    request_id: str
    route: str
    attempt: AttemptRecord
    usage: Usage | None
    stale: bool
    """The breaker had moved on since; the outcome was counted and changed nothing."""
    at: float


@dataclass(frozen=True, slots=True)
class CheckEnded:
    """A check of a route looked at a request or at an answer; `at` is monotonic seconds."""

    request_id: str
    route: str
    check: CheckRecord
    at: float


@dataclass(frozen=True, slots=True)
class CallSettled:
    """The decision record of one call: exactly one for each, however it ends."""

    request_id: str
    route: str
    identity: Identity
    final: str
    """complete, partial, refused, failed or cancelled."""
    level: Level
    target: str | None
    attempts: tuple[AttemptRecord, ...]
    reasons: tuple[str, ...]
    usage: Usage
    cost_usd: float | None
    latency: float
    first_token: float | None
    error: str | None
    at: float
    tags: Mapping[str, str]
    asked_route: str = ""
    """The route the caller named; `route` is the one that served, another where a rule chose."""
    rule: str | None = None
    """Name of the rule that chose."""
    cached: CacheHit | None = None
    """Set where the answer came from the cache; `usage` and `cost_usd` are then 0."""
    at_unix: float = 0.0
    """`at` in Unix seconds, for what outlives this process."""
    checks: tuple[CheckRecord, ...] = ()
    """What the route's checks did, in order; of a call that ended as ``refused`` the last says why."""
    prompt_cache: PromptCacheUse | None = None
    """What the provider's prompt cache did; None: nothing that is known."""


@dataclass(frozen=True, slots=True)
class ConversationMoved:
    """A conversation went on at `target` while `source` still held its beginning in its prompt cache."""

    request_id: str
    route: str
    source: str
    target: str
    tokens: int
    """Held at `source`, and read anew."""
    cost_usd: float | None
    """What they cost more than from a cache; None: the price is unknown."""
    at: float


@dataclass(frozen=True, slots=True)
class ConfigApplied:
    """A new configuration took effect. Names are those of the tables: ``provider.openai``, ``route.chat``.

    A provider in `added` and in `removed` was replaced: its kind or place changed, so it began afresh.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    at: float
    """Monotonic seconds."""
    source: str = "configuration"
    """The file it came from, or ``configuration``."""


@dataclass(frozen=True, slots=True)
class ConfigRefused:
    """A new configuration was wrong: nothing changed, the engine goes on with the old one."""

    source: str
    problems: tuple[str, ...]
    """One line a problem, as in `ConfigError`."""
    at: float


@dataclass(frozen=True, slots=True)
class ServiceLevelChanged:
    """A route gives one entity less, or more again, as its budget is spent; told when the entity asks."""

    route: str
    budget: str
    entity: str
    source: str
    dest: str
    """``full``, ``economy``, ``cache_only`` or ``shedding``."""
    share: float
    """Of the limit that is spent."""
    at: float


@dataclass(frozen=True, slots=True)
class CacheThresholdChanged:
    """Guaranteed mode of the semantic cache goes by another threshold: None serves nothing and audits every request."""

    namespace: str
    before: float | None
    after: float | None
    epoch: int
    why: str
    """``evidence``: as the audits have it; ``drift``: recent audits refute the promise, and a new epoch begins."""
    at: float


Event = (
    BreakerChanged
    | BudgetChanged
    | ActorChanged
    | KeyRenewed
    | KeyRestored
    | KeySetAside
    | KeyUnreadable
    | LimitLearned
    | AttemptEnded
    | CheckEnded
    | CallSettled
    | ConfigApplied
    | ConfigRefused
    | ConversationMoved
    | CacheThresholdChanged
    | ServiceLevelChanged
)


@runtime_checkable
class Listener(Protocol):
    """Anything callable with an event."""

    def __call__(self, event: Event, /) -> None: ...


def tell(listeners: Iterable[Listener], event: Event) -> None:
    """Call every listener; one that raises is logged, and neither the others nor a call notice."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("listener %r failed on %r", listener, event)
