"""One API key: what is known of it, and how it is set aside, tried again and brought back.

A key the provider refuses is set aside alone. It comes back when it works again, which one request at a time
finds out once its rest is over (the *trial*); when its file or command gives another secret; or by hand. When
nothing is left to ask with, the provider's circuit opens, and its probes try the keys one by one.

Synchronous, like all that settles: nobody meets half of a change. The rule that keeps it simple: a secret is in
`Key.secret` and in the leases it was lent to, and an outcome tells of the secret it was sent with, no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from resilio.config import KeySettings
from resilio.errors import ErrorClass
from resilio.events import KeyRenewed, KeyRestored, KeySetAside
from resilio.models import Demand
from resilio.ratelimit import RateLimiter
from resilio.statemachines.breaker import BreakerState

if TYPE_CHECKING:
    from resilio.actor.lease import Lease
    from resilio.actor.record import ModelRecord, ProviderRecord

__all__ = [
    "REMOVED",
    "Key",
    "any_left",
    "give",
    "key_found",
    "nothing_new",
    "pick",
    "restore",
    "set_aside",
    "trial_over",
]

REMOVED: Final = "removed"
"""Why a key is set aside that the configuration has no more."""

_FIRST_REST: Final[Mapping[str, float]] = {ErrorClass.UNAUTHORISED: 60.0, ErrorClass.OUT_OF_CREDIT: 300.0}
"""Seconds a key is not tried after it was refused, where the provider said nothing; each further refusal in a
row doubles it. A wrong key is corrected by somebody at work now; an account is topped up when somebody notices."""

_LONGEST_REST: Final = 3600.0
"""Seconds; a key that was put right is in use again within this, whatever came before."""

_NO_VERDICT: Final = 5.0
"""Seconds until the next trial after one that said nothing of the key (the provider failed, the caller left)."""

_OPENED: Final = (BreakerState.OPEN, BreakerState.HALF_OPEN)


class Key:
    """One API key of a provider: its secret, its health, and its rate limits by model group."""

    __slots__ = (
        "aside", "aside_at", "aside_until", "in_flight", "index", "last_use", "limiters", "renewed_at", "renewing",
        "rests", "secret", "settings", "throttles", "trial", "works_since",
    )  # fmt: skip

    def __init__(
        self, index: int, settings: KeySettings | None, limits: Mapping[str, Mapping[str, float]], now: float
    ) -> None:
        self.index = index
        self.settings = settings
        """None: the provider is asked without a key."""
        self.secret = None if settings is None else settings.key
        self.aside: str | None = None
        """Why it is not used, or None while it is."""
        self.aside_at = -math.inf
        self.aside_until = math.inf
        """Since when, and the instant from which one request may try it."""
        self.rests = 0
        """How often in a row it was set aside."""
        self.trial: Lease | None = None
        """The request that tries it now."""
        self.renewing = False
        """It was refused, and its file or command is asked for another secret before that counts."""
        self.renewed_at = -math.inf
        self.works_since = -math.inf
        """When the request was admitted that showed a key set aside to work again: older ones no longer tell."""
        self.in_flight = 0
        self.last_use = 0
        """A number that grows with every request of the provider, as it was when this key served last."""
        self.throttles: dict[str, tuple[int, float]] = {}
        """By model group: pauses in a row, which the next one grows with when no hint came, and the instant the
        last of them began."""
        self.limiters = {group: RateLimiter(dimensions, now) for group, dimensions in limits.items()}

    @property
    def name(self) -> str:
        return "" if self.settings is None else self.settings.name

    @property
    def renewable(self) -> bool:
        """Whether there is a file or command to ask for another secret."""
        settings = self.settings
        return settings is not None and settings.source is not None and settings.source.renewable

    def __repr__(self) -> str:
        called = f" {self.name}" if self.name else ""
        state = "renewing" if self.renewing else self.aside or "in use"
        return f"<Key {self.index}{called} {state}>"


def pick(target: ModelRecord, now: float, demand: Demand) -> tuple[Key, RateLimiter] | None:
    """Take room for a request with one of several keys; None: none has any.

    A key whose rest is over goes first, with one request. Then the one whose account holds the beginning of the prompt
    in its cache. Else it is the one with the largest share of its limits left, so that all of them run dry together; of
    equals, the one with the fewest requests in flight, then the one that has idled longest. So no key that has room
    starves, and of keys without limits each has its turn: conversations are shared out, where prompts are cached.
    """
    held = demand.held
    holder = held.key if held is not None and held.target == target.name else -1
    best: tuple[Key, RateLimiter] | None = None
    most = (False, -math.inf, 0, 0)
    for pair in target.keys:
        key, limiter = pair
        if key.aside is not None:
            if now >= key.aside_until and key.trial is None and limiter.reserve(now, demand) == 0.0:
                return pair
            continue
        room = limiter.room(now, demand)
        if room >= 0 and (rank := (key.index == holder, room, -key.in_flight, -key.last_use)) > most:
            best, most = pair, rank
    if best is not None:
        best[1].take(demand)
    return best


def set_aside(record: ProviderRecord, key: Key, why: ErrorClass, now: float, hint: float | None = None) -> None:
    """The provider refused this key: use it no more, until its rest is over.

    Args:
        record: The provider's.
        key: One of its keys, in use or tried again.
        why: `UNAUTHORISED` or `OUT_OF_CREDIT`.
        now: Monotonic seconds.
        hint: Seconds the provider named, if it did; a few at least are kept to.
    """
    known = key.aside is not None and not key.renewing
    key.aside, key.aside_at, key.renewing = str(why), now, False
    rest = min(_LONGEST_REST, _FIRST_REST[why] * 2.0 ** min(key.rests, 16))
    key.aside_until = now + max(hint or rest, _NO_VERDICT)
    key.rests += 1
    if not known and record.listeners:
        record.emit(KeySetAside(record.name, key.index, str(why), now, key.name))
    if not any_left(record):
        record.keyless = record.breaker.trip_now(now) or record.keyless


def restore(record: ProviderRecord, key: Key, now: float, why: str) -> None:
    """Use a key again that was set aside.

    Args:
        record: The provider's.
        key: One of its keys; nothing happens to one in use.
        now: Monotonic seconds.
        why: ``works``: a request has shown it; ``renewed``: it has another secret; ``by_hand``.
    """
    if key.aside is None:
        return
    told = not key.renewing
    key.aside, key.renewing, key.rests, key.trial = None, False, 0, None
    key.aside_until = math.inf
    if why != "works":
        key.works_since = now
        key_found(record, now)
    record.keyless = False  # where a probe has found that it works, the circuit knows what to do
    if told and record.listeners:
        record.emit(KeyRestored(record.name, key.index, why, now, key.name))
    record.flush_changes()


def any_left(record: ProviderRecord) -> bool:
    """Whether there is a key to ask with, or may be in a moment.

    Where there is none, the circuit opens: its probes will try the keys again, one by one, so that a key that is paid
    or corrected comes back without a restart.
    """
    return any(key.aside is None or key.renewing for key in record.keys)


def key_found(record: ProviderRecord, now: float) -> None:
    """There is a key to ask with that no request has been refused with: a circuit open for want of one closes."""
    if record.keyless and record.breaker.state in _OPENED:
        record.breaker.reset(now)
    record.keyless = False


def give(record: ProviderRecord, key: Key, secret: str, now: float) -> None:
    """Put another secret in the place of a key's; what was the old one's fault is forgiven.

    Its limits and a pause for throttling stay: a rotated key is the same account's. Requests that are out with the
    old secret settle as ever, and can set aside nothing any more.
    """
    key.secret, key.renewed_at = secret, now
    if record.listeners:
        record.emit(KeyRenewed(record.name, key.index, now, key.name))
    restore(record, key, now, "renewed")


def nothing_new(record: ProviderRecord, key: Key, now: float) -> None:
    """File or command had no other secret: a refusal that waited for it counts now."""
    if key.renewing:
        set_aside(record, key, ErrorClass.UNAUTHORISED, now)
        record.flush_changes()


def trial_over(key: Key, now: float) -> None:
    """The request that tried a key has settled; if it said nothing of the key, another may soon."""
    key.trial = None
    if key.aside is not None and key.aside_until <= now:
        key.aside_until = now + _NO_VERDICT
