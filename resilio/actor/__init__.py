"""One actor per provider: it admits requests and lets callers wait their turn.

Two lanes. The *fast lane* (`admit` in `admission.py`, and `Lease.settle` in `lease.py`) is synchronous: on one
event loop a section without `await` is atomic, so it takes no lock. The *mailbox lane* is the actor's task,
below: it alone grants capacity to callers who wait, and it runs timers and control messages.

`ProviderRecord` (in `record.py`) holds all state and belongs to the supervisor; `ProviderActor` holds
none, so that a crash of its task loses nothing: an open circuit stays open, a waiter keeps its place.
"""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from resilio.actor.admission import FastLane
from resilio.actor.lease import Lease, Outcome
from resilio.actor.record import Key, ModelRecord, ProviderRecord, Waiter
from resilio.actor.refusal import Refusal, Why
from resilio.models import Demand
from resilio.statemachines.actor import ActorState
from resilio.statemachines.breaker import Breaker, BreakerState

__all__ = ["Key", "Lease", "ModelRecord", "Outcome", "ProviderActor", "ProviderRecord", "Refusal", "Why"]

_RUNNING: Final = ActorState.RUNNING
_RESTARTING: Final = ActorState.RESTARTING
_CLOSED: Final = BreakerState.CLOSED


class ProviderActor(FastLane):
    """Behaviour over a `ProviderRecord`; one instance for each generation of the task."""

    # --- waiting -----------------------------------------------------------------------------

    async def wait_admit(
        self, target: ModelRecord, demand: Demand, *, until: float, priority: int = 0
    ) -> Lease | Refusal:
        """Wait in the queue for a lease, at most until this instant.

        A caller who cannot be served in time is told at once: the queue is full, the actor has stopped, or
        the tokens asked for by those ahead and by this request take longer to come than there is time.

        Args:
            target: One of this provider's models.
            demand: What the request will take from the rate limits.
            until: Monotonic seconds; `QueueSettings.max_wait` may end it sooner.
            priority: Higher goes first.
        """
        record = self._record
        now = record.clock()
        until = min(until, now + record.settings.queue.max_wait)
        order = (-priority, record.arrivals + 1)
        if (refusal := self._not_worth_it(now, target, demand, until, order)) is not None:
            return refusal
        record.arrivals += 1
        future: asyncio.Future[Lease | Refusal] = asyncio.get_running_loop().create_future()
        waiter = Waiter(order, target, demand, future)
        insort(record.waiters, waiter)
        if record.in_flight >= record.settings.max_concurrency:
            record.slot_starved = True  # now, not at the actor's next turn: a slot may be freed before it
        record.wake.set()
        try:
            async with asyncio.timeout_at(until):
                answer = await future
        except TimeoutError:
            granted = future.done() and not future.cancelled()  # in the very moment
            answer = future.result() if granted else self._timed_out(waiter)
        except BaseException:
            if future.done() and not future.cancelled() and isinstance(lease := future.result(), Lease):
                # Granted at the very moment the caller was cancelled: nobody will use it.
                lease.settle(record.clock(), Outcome.REJECTED)
            raise
        finally:
            if waiter in record.waiters:
                record.waiters.remove(waiter)
                record.wake.set()
        if isinstance(answer, Refusal):
            return replace(answer, waited=record.clock() - now)
        return answer

    def _not_worth_it(
        self, now: float, target: ModelRecord, demand: Demand, until: float, order: tuple[int, int]
    ) -> Refusal | None:
        """Why a place in the queue is not to be had or would be of no use; None: it may be."""
        record = self._record
        if record.lifecycle.state is not _RUNNING and record.lifecycle.state is not _RESTARTING:
            return self._not_running(target)
        if (refusal := self._known_open(now, target)) is not None:
            return refusal
        if len(record.waiters) >= record.settings.queue.max_waiting:
            return Refusal(target.name, Why.QUEUE_FULL, count=len(record.waiters))
        limiters = [limiter for key, limiter in target.keys if key.aside is None]
        if len(limiters) == 1:
            ahead = (
                waiter.demand
                for waiter in record.waiters
                if waiter.order < order and waiter.record.group == target.group and not waiter.future.done()
            )
            wait = limiters[0].wait_behind(now, ahead, demand)
        else:  # with several keys nobody knows who will be served by which
            wait = min((limiter.wait(now, demand) for limiter in limiters), default=0.0)
        return self._too_little(target, wait) if now + wait > until else None

    def _timed_out(self, waiter: Waiter) -> Refusal:
        """What somebody waited for in vain."""
        record, target = self._record, waiter.record
        if record.lifecycle.state is not _RUNNING:
            return self._not_running(target)
        if waiter.why == Why.BUSY:
            return Refusal(target.name, Why.BUSY, count=record.in_flight)
        wait = self._wait_of(record.clock(), target, waiter.demand)
        if wait == math.inf:  # the limit was lowered meanwhile
            return Refusal(target.name, Why.TOO_LARGE)
        ahead = sum(other < waiter and not other.future.done() for other in record.waiters)
        return Refusal(target.name, waiter.why, wait, count=ahead)

    # --- the task ----------------------------------------------------------------------------

    def post(self, message: Callable[[float], None]) -> None:
        """Put a control message into the mailbox; the actor's task calls it with the time.

        A message that raises crashes the actor, which is then restarted with its state intact.
        """
        self._record.mailbox.append(message)
        self._record.wake.set()

    async def run(self) -> None:
        """The actor's task: messages, timers, grants; ends once it is drained."""
        record = self._record
        loop = asyncio.get_running_loop()
        while True:
            record.wake.clear()
            now = record.clock()
            while record.mailbox:
                record.mailbox.popleft()(now)
            for breaker in self._breakers():
                breaker.tick(now)
            delay = self._grant(now)
            record.flush_changes(wake=False)
            if record.lifecycle.state is ActorState.DRAINING and not record.in_flight:
                return
            due = min(
                (at for breaker in self._breakers() if (at := breaker.next_change_at()) is not None),
                default=math.inf,
            )
            delay = min(delay, max(0.0, due - now))
            timer = loop.call_later(delay, record.wake.set) if delay < math.inf else None
            try:
                await record.wake.wait()  # set already, if a listener has posted just now
            finally:
                if timer is not None:
                    timer.cancel()

    def _breakers(self) -> Iterable[Breaker]:
        yield self._record.breaker
        for target in self._record.models.values():
            yield target.breaker

    def _grant(self, now: float) -> float:
        """Serve the queue in order; returns the seconds after which to look again (inf: when woken).

        A large request at the head of its group keeps its place: nobody behind it in the group is served
        before it. Without a free slot nobody is.
        """
        record = self._record
        blocked: set[str] = set()
        again = math.inf
        all_closed = all(breaker.state is _CLOSED for breaker in self._breakers())
        record.slot_starved = False
        for waiter in list(record.waiters):
            target = waiter.record
            if waiter.future.done():
                continue
            waiter.why = Why.QUEUE_AHEAD
            if record.slot_starved or target.group in blocked:
                if all_closed:
                    if record.slot_starved:
                        break
                    continue
                # Nobody is passed; but who waits for a circuit that has opened since is told so now.
                if (refusal := self._known_open(now, target)) is not None:
                    self._answer(waiter, refusal)
                continue
            got = self.admit(now, target, waiter.demand, insist=True, queued=True)
            if isinstance(got, Refusal) and got.waitable:
                waiter.why = got.why
                if got.why == Why.RATE_LIMITED:
                    blocked.add(target.group)
                    again = min(again, got.retry_in or 0.0)
                else:
                    record.slot_starved = True
                continue
            self._answer(waiter, got)
        return again

    def _answer(self, waiter: Waiter, got: Lease | Refusal) -> None:
        """Tell a waiter; a lease for one who has just left goes back."""
        record = self._record
        if waiter in record.waiters:
            record.waiters.remove(waiter)
        if not waiter.future.done():
            waiter.future.set_result(got)
        elif isinstance(got, Lease):  # a listener, told of a circuit by this very admission, cancelled the call
            got.settle(record.clock(), Outcome.REJECTED)

    def refuse_waiters(self) -> None:
        """Tell everybody in the queue that this provider will not serve them."""
        for waiter in list(self._record.waiters):
            self._answer(waiter, self._not_running(waiter.record))
