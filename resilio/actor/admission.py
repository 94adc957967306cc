"""The fast lane: admit a request at once, or say at once why not.

Synchronous: on one event loop a section without `await` is atomic, so nothing here locks. It asks for a slot
first, then for the permits of both circuits, then for a key with room; what was taken goes back when a later
one refuses. It never barges: who would pass a waiter of equal or higher priority is refused.
"""

from __future__ import annotations

import math
from typing import Final

from resilio.actor.keys import pick
from resilio.actor.lease import Lease
from resilio.actor.record import Key, ModelRecord, ProviderRecord
from resilio.actor.refusal import Refusal, Why
from resilio.models import Demand
from resilio.ratelimit import RateLimiter
from resilio.statemachines.actor import ActorState
from resilio.statemachines.breaker import Breaker, BreakerState, Permit

__all__ = ["FastLane"]

_RUNNING: Final = ActorState.RUNNING
_CLOSED: Final = BreakerState.CLOSED
_OPEN: Final = BreakerState.OPEN


class FastLane:
    """Admission over a `ProviderRecord`."""

    def __init__(self, record: ProviderRecord) -> None:
        self._record = record

    def admit(
        self,
        now: float,
        target: ModelRecord,
        demand: Demand,
        *,
        priority: int = 0,
        insist: bool = False,
        early: bool = False,
        queued: bool = False,
    ) -> Lease | Refusal:
        """Hand out a lease, or refuse at once.

        Args:
            now: Monotonic seconds.
            target: One of this provider's models.
            demand: What the request will take from the rate limits.
            priority: Higher passes lower in the queue; equal ones are served first come, first served.
            insist: Also admit what is over the preferred share of a ramping circuit.
            early: Ask an open circuit for an early probe, and insist.
            queued: The mailbox lane asks, for the head of the queue.
        """
        provider = self._record
        if provider.lifecycle.state is not _RUNNING:
            return self._not_running(target)
        if provider.waiters and not queued and self._must_queue(target, priority):
            return self._no_place(now, target, Why.QUEUE_AHEAD, demand)
        if provider.in_flight >= provider.settings.max_concurrency:
            return self._no_place(now, target, Why.BUSY, demand)
        breaker, own = provider.breaker, target.breaker
        insist = insist or early
        whole = breaker.acquire(now, insist=insist)
        if whole is None and early and own.state is not _OPEN:
            whole = breaker.acquire_early(now)
        if whole is None:
            return self._closed_to(now, target, breaker, Why.PROVIDER_OPEN)
        permit = own.acquire(now, insist=insist)
        if permit is None and early:
            permit = own.acquire_early(now)
        if permit is None:
            breaker.release(whole, now)
            return self._closed_to(now, target, own, Why.TARGET_OPEN)
        if len(target.keys) > 1:
            chosen = pick(target, now, demand)
            if chosen is None:
                return self._no_key_at_once(now, target, demand, whole, permit)
            key, limiter = chosen
        else:  # the common case, for which a call less is worth it
            key, limiter = target.keys[0]
            if key.aside is not None or limiter.reserve(now, demand) != 0.0:
                return self._no_key_at_once(now, target, demand, whole, permit)
        return self._lease(now, target, key, limiter, demand, whole, permit)

    def _lease(
        self,
        now: float,
        target: ModelRecord,
        key: Key,
        limiter: RateLimiter,
        demand: Demand,
        whole: Permit,
        permit: Permit,
    ) -> Lease:
        provider = self._record
        provider.in_flight += 1
        target.in_flight += 1
        if provider.breaker.changes or target.breaker.changes:
            provider.flush_changes()
        lease = Lease(provider, target, key, limiter, demand, whole, permit, now)
        if lease.trial:
            key.trial = lease
        return lease

    def _no_key_at_once(
        self, now: float, target: ModelRecord, demand: Demand, whole: Permit, permit: Permit
    ) -> Lease | Refusal:
        """No key that is in use has room: the shortest wait, or a try with a key that is set aside."""
        provider = self._record
        wait = self._wait_of(now, target, demand)
        if wait is None and self.renewing:
            provider.breaker.release(whole, now)
            target.breaker.release(permit, now)
            self._noticed(provider.breaker, target.breaker)
            return Refusal(target.name, Why.RENEWING)
        if wait is None:
            # All keys are set aside, and still the circuit admits: it probes, or somebody closed it by hand. The
            # key that has rested longest is tried.
            key, limiter = min(target.keys, key=lambda each: each[0].aside_at)
            if (wait := limiter.reserve(now, demand)) == 0.0:
                return self._lease(now, target, key, limiter, demand, whole, permit)
        provider.breaker.release(whole, now)
        target.breaker.release(permit, now)
        self._noticed(provider.breaker, target.breaker)
        return self._too_little(target, wait)

    # --- refusals ----------------------------------------------------------------------------

    def _not_running(self, target: ModelRecord) -> Refusal:
        state = self._record.lifecycle.state
        why = Why.RESTARTING if state is ActorState.RESTARTING else Why.STOPPED
        return Refusal(target.name, why, detail=str(state))

    def _too_little(self, target: ModelRecord, wait: float) -> Refusal:
        if wait == math.inf:
            return Refusal(target.name, Why.TOO_LARGE)
        return Refusal(target.name, Why.RATE_LIMITED, wait)

    def _must_queue(self, target: ModelRecord, priority: int) -> bool:
        """Whether somebody who must not be passed waits before this caller."""
        record = self._record
        for waiter in record.waiters:
            if waiter.order[0] > -priority:  # sorted: all that follow are of lower priority
                return False
            if (record.slot_starved or waiter.record.group == target.group) and not waiter.future.done():
                return True
        return False

    def _no_place(self, now: float, target: ModelRecord, why: str, demand: Demand) -> Refusal:
        """Refuse for lack of a place, unless the place would be of no use: then say that."""
        record = self._record
        if (refusal := self._known_open(now, target)) is not None:
            return refusal
        if why == Why.BUSY:
            return Refusal(target.name, why, count=record.in_flight)
        wait = self._wait_of(now, target, demand)
        if wait == math.inf:
            return Refusal(target.name, Why.TOO_LARGE)
        return Refusal(target.name, why, wait, count=len(record.waiters))

    def _known_open(self, now: float, target: ModelRecord) -> Refusal | None:
        """The refusal of a circuit that would surely refuse now; asks it for nothing, so it costs no probe."""
        for breaker, why in ((self._record.breaker, Why.PROVIDER_OPEN), (target.breaker, Why.TARGET_OPEN)):
            if breaker.state is not _CLOSED and breaker.wait(now) != 0.0:
                return self._closed_to(now, target, breaker, why)
        return None

    def _closed_to(self, now: float, target: ModelRecord, breaker: Breaker, why: str) -> Refusal:
        record = self._record
        self._noticed(record.breaker, target.breaker)
        if breaker.state is BreakerState.RAMPING:
            return Refusal(target.name, Why.RAMPING)
        wait = breaker.wait(now)
        if why == Why.PROVIDER_OPEN and all(key.aside is not None for key in record.keys):
            return Refusal(target.name, Why.NO_KEY, wait, detail=record.keys[0].aside or "")
        return Refusal(target.name, why, wait)

    def _noticed(self, *breakers: Breaker) -> None:
        if any(breaker.changes for breaker in breakers):
            self._record.flush_changes()

    @property
    def renewing(self) -> bool:
        """Whether a key that was refused may have another secret in a moment."""
        return any(key.renewing for key in self._record.keys)

    def has_spare_key(self, now: float, target: ModelRecord, demand: Demand) -> bool:
        """Whether another try on this target would use a key with room at once."""
        return any(key.aside is None and limiter.wait(now, demand) == 0.0 for key, limiter in target.keys)

    def _wait_of(self, now: float, target: ModelRecord, demand: Demand) -> float | None:
        """Seconds until a key has room, were nobody else there; None: no key is in use."""
        return min((limiter.wait(now, demand) for key, limiter in target.keys if key.aside is None), default=None)
