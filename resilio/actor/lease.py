"""The lease: what admission hands out, and how it settles, exactly once.

Synchronous throughout: settling is atomic on the event loop, and runs on every way out of an attempt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from resilio.actor.keys import REMOVED, restore, set_aside, trial_over
from resilio.actor.record import Key, ModelRecord, ProviderRecord
from resilio.errors import ERROR_RULES, Counts, ErrorClass
from resilio.events import LimitLearned
from resilio.models import Demand, LimitReading, Usage
from resilio.ratelimit import RateLimiter
from resilio.statemachines.actor import ActorState
from resilio.statemachines.breaker import Permit

__all__ = ["Lease", "Outcome"]


class Outcome:
    """How a lease settles. Plain strings: they go straight into records."""

    SUCCESS: Final = "success"
    SLOW: Final = "slow"
    FAILURE: Final = "failure"
    IGNORED: Final = "ignored"
    """The provider answered, but the answer says nothing about its health (throttled, a 4xx)."""
    CANCELLED: Final = "cancelled"
    REJECTED: Final = "rejected"
    """Certainly never sent."""


_FIRST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds a key rests that was throttled without a hint: half certain, half random, doubling each time."""

_KEY_FAULTS: Final = frozenset({ErrorClass.OUT_OF_CREDIT, ErrorClass.UNAUTHORISED})
_RUNNING: Final = ActorState.RUNNING


class Lease:
    """What admission hands out: breaker permits, rate-limit reservation and slot, to be settled exactly once."""

    __slots__ = (
        "_owner", "_probing", "_provider_permit", "_target_permit", "admitted_at", "demand", "key", "limiter", "probe",
        "record", "secret", "sent", "settled", "trial",
    )  # fmt: skip

    def __init__(
        self,
        owner: ProviderRecord,
        record: ModelRecord,
        key: Key,
        limiter: RateLimiter,
        demand: Demand,
        provider_permit: Permit,
        target_permit: Permit,
        now: float,
    ) -> None:
        self._owner = owner
        self.record = record
        self.key = key
        self.secret = key.secret
        """What to send: the key's secret as it was on admission, whatever becomes of it meanwhile."""
        self.trial = key.aside is not None
        """Whether it finds out if a key that was set aside works again."""
        key.in_flight += 1
        owner.uses = key.last_use = owner.uses + 1
        self.limiter = limiter
        self.demand = demand
        self._provider_permit = provider_permit
        self._target_permit = target_permit
        self.probe = self._probing = provider_permit.probe or target_permit.probe
        """Whether it probes a circuit."""
        self.admitted_at = now
        self.sent = False
        """Whether the provider may have seen the request; decides between refund and charge."""
        self.settled: str | None = None

    @property
    def provider(self) -> ProviderRecord:
        return self._owner

    def first_token(self, now: float, latency: float) -> None:
        """Note the first content of a stream; it decides a probe at once, while the rest still flows."""
        self.record.first_tokens.add(latency)
        if self.trial:
            self._key_answered(now)
        if not self._probing:
            return
        self._probing = False
        provider, record = self._owner.breaker, self.record.breaker
        # A decided probe's permit is spent: what still happens to this stream counts as an ordinary outcome.
        # A probe that came too late stays what it is: stale now, and stale when it ends.
        if self._provider_permit.probe and provider.record(self._provider_permit, now, ok=True):
            self._provider_permit = provider.current
        slow = latency > self._owner.settings.breaker.slow_first_token
        if self._target_permit.probe and record.record(self._target_permit, now, ok=True, slow=slow):
            self._target_permit = record.current
        self._owner.flush_changes()

    def learn(self, now: float, readings: Iterable[LimitReading]) -> None:
        """Lower what we believe of this key's limits to what the provider's headers said."""
        for reading in readings:
            if self.limiter.learn(now, reading) and self._owner.listeners:
                self._owner.emit(
                    LimitLearned(
                        self._owner.name, self.key.index, self.record.group, reading.dimension, reading.limit,
                        reading.remaining, now,
                    )
                )  # fmt: skip

    def settle(
        self,
        now: float,
        outcome: str,
        *,
        usage: Usage | None = None,
        latency: float | None = None,
        error_class: ErrorClass | None = None,
        retry_after: float | None = None,
    ) -> bool:
        """End the lease: everything it holds goes back, and the breakers learn what happened.

        Args:
            now: Monotonic seconds.
            outcome: One of `Outcome`.
            usage: Tokens used, where known; the reservation is corrected to it.
            latency: Seconds a success took, where that is not all the time since admission: a slow reader of a
                stream must not make its target look slow.
            error_class: For failures and ignored outcomes: decides which breaker counts, which key rests.
            retry_after: The provider's hint in seconds.

        Returns:
            True when the outcome was stale: a breaker had moved on since admission, so it moved nothing.

        Raises:
            RuntimeError: The lease was settled before: a bug in the caller, never hidden.
        """
        if self.settled is not None:
            raise RuntimeError(f"lease on {self.record.name} settled twice: {self.settled}, then {outcome}")
        self.settled = outcome
        owner, record, key = self._owner, self.record, self.key
        owner.in_flight -= 1
        record.in_flight -= 1
        key.in_flight -= 1
        if outcome == Outcome.SUCCESS or outcome == Outcome.SLOW:
            stale = self._succeed(now, slow=outcome == Outcome.SLOW, usage=usage, latency=latency)
        else:
            stale = self._fail(now, outcome, usage, error_class, retry_after)
        if key.trial is self:
            trial_over(key, now)
        if owner.breaker.changes or record.breaker.changes:
            owner.flush_changes()
        elif owner.waiters or owner.lifecycle.state is not _RUNNING:  # a draining actor waits for the last one
            owner.wake.set()
        return stale

    def _succeed(self, now: float, *, slow: bool, usage: Usage | None, latency: float | None) -> bool:
        record = self.record
        if latency is None:
            latency = now - self.admitted_at
        record.peak.observe(now, latency)
        record.latencies.add(latency)
        if usage is not None:
            self.limiter.settle(now, self.demand, usage)
        key = self.key
        if key.aside is not None:
            self._key_answered(now)
        if key.throttles and self.admitted_at > key.throttles.get(record.group, (0, math.inf))[1]:
            del key.throttles[record.group]
        counted = self._owner.breaker.record(self._provider_permit, now, ok=True)
        return not record.breaker.record(self._target_permit, now, ok=True, slow=slow) or not counted

    def _fail(
        self,
        now: float,
        outcome: str,
        usage: Usage | None,
        error_class: ErrorClass | None,
        retry_after: float | None,
    ) -> bool:
        owner, record = self._owner, self.record
        self._give_back(now, usage, unsent=not self.sent or error_class is ErrorClass.CONNECT)
        if outcome in (Outcome.CANCELLED, Outcome.REJECTED) or (error_class is None and outcome != Outcome.FAILURE):
            owner.breaker.release(self._provider_permit, now)
            record.breaker.release(self._target_permit, now)
            return False
        if error_class in _KEY_FAULTS:
            return self._set_aside(now, error_class, retry_after)
        counts = Counts.NEITHER
        if outcome == Outcome.FAILURE:  # one without a class is still a failure
            counts = Counts.TARGET if error_class is None else ERROR_RULES[error_class].counts
        if counts is Counts.PROVIDER:
            record.breaker.release(self._target_permit, now)
            return not owner.breaker.record(self._provider_permit, now, ok=False, retry_after=retry_after)
        if error_class is ErrorClass.CONNECT:
            owner.breaker.release(self._provider_permit, now)
            stale = False
        else:
            # Something answered or at least took the request: the way to the provider is sound.
            stale = not owner.breaker.record(self._provider_permit, now, ok=True)
        if counts is Counts.TARGET:
            record.peak.charge(now, max(now - self.admitted_at, owner.settings.breaker.slow_first_token))
            return not record.breaker.record(self._target_permit, now, ok=False, retry_after=retry_after) or stale
        record.breaker.release(self._target_permit, now)
        if error_class is ErrorClass.THROTTLED:
            self._rest(now, retry_after)
        return stale

    def _give_back(self, now: float, usage: Usage | None, *, unsent: bool) -> None:
        if unsent:
            self.limiter.refund(now, self.demand)
        elif usage is not None:
            self.limiter.settle(now, self.demand, usage)
        else:
            # Providers count the prompt of a failed request too; what it would have written it did not.
            self.limiter.settle(now, self.demand, Demand(self.demand.input_tokens, 0))

    def _rest(self, now: float, retry_after: float | None) -> None:
        """Rest this key's limits: until the hint, or by a growing, half-random pause where none came.

        Nor is 0 a hint: who throttles and says "at once" would be asked at once, by everybody.
        """
        throttles, group = self.key.throttles, self.record.group
        pauses, began = throttles.get(group, (0, -math.inf))
        if self.admitted_at > began:
            pauses += 1
            throttles[group] = (pauses, now)
        elif not retry_after:
            return  # sent before the pause began, as many at a time are: it does not say that it is too short
        if not retry_after:
            longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(pauses - 1, 16))
            retry_after = longest * (0.5 + 0.5 * self._owner.rng.random())
        self.limiter.rest(now + retry_after)

    def _key_answered(self, now: float) -> None:
        """A key that was set aside worked, for a request sent after that: it is used again."""
        key = self.key
        if key.aside in _KEY_FAULTS and self.admitted_at > key.aside_at and self.secret == key.secret:
            key.works_since = self.admitted_at
            restore(self._owner, key, now, "works")

    def _set_aside(self, now: float, error_class: ErrorClass, hint: float | None) -> bool:
        """The provider refused the key: use it no more. Returns whether the outcome was stale."""
        owner, key = self._owner, self.key
        self.record.breaker.release(self._target_permit, now)
        if self.admitted_at < key.works_since or self.secret != key.secret or key.aside == REMOVED:
            return not owner.breaker.record(self._provider_permit, now, ok=True)
        if error_class is ErrorClass.UNAUTHORISED and owner.renew(key) and key.aside is None:
            # Whoever rotated the secret may just have done so: it counts when there is no other.
            key.aside, key.aside_at, key.renewing = str(error_class), now, True
        if key.renewing:
            owner.breaker.release(self._provider_permit, now)
            return False
        known = key.aside is not None
        last = all(other is key or (other.aside is not None and not other.renewing) for other in owner.keys)
        fresh = owner.breaker.record(self._provider_permit, now, ok=not last)
        if known and not fresh:
            return True
        set_aside(owner, key, error_class, now, hint)
        return not fresh

    def __repr__(self) -> str:
        return f"<Lease {self.record.name} key {self.key.index} {self.settled or 'open'}>"
