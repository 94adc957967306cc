"""Circuit breaker of one provider or target: closed -> open -> half_open -> ramping -> closed.

Pure: no clock, no await, no I/O. Callers pass `now` in monotonic seconds, never less than before, and the
random generator comes from outside. One owner each, so nothing here locks. Left out: what counts as a failure
(the owner's table of errors says) and telling anybody (the owner drains `changes`).

Three rules keep it simple:

- **A permit carries the generation it was given in, and every change of state begins a new one.** LLM calls
  outlive state changes: what began before the change says nothing about now. Such an outcome is
  counted as stale and moves nothing; not even its Retry-After is heard. The same goes for a probe whose
  place was freed, for a second outcome of one probe, and for an early probe once its break is over.
- **Each generation begins with an empty window**: what tripped the circuit cannot trip it twice.
- **What time alone causes happens as of the instant it was due**, however late `tick` or another call comes
  by, so that how often it is looked at changes nothing.
"""

from __future__ import annotations

import random
from collections import deque
from math import inf
from typing import Final

from resilio.config.settings import BreakerSettings
from resilio.statemachines.breaker_table import (
    BREAKER,
    BreakerChange,
    BreakerState,
    BreakerStatistics,
    Permit,
)
from resilio.statemachines.window import OutcomeWindow

__all__ = ["BREAKER", "Breaker", "BreakerChange", "BreakerState", "BreakerStatistics", "Permit"]


_CLOSED: Final = BreakerState.CLOSED
_OPEN: Final = BreakerState.OPEN
_HALF_OPEN: Final = BreakerState.HALF_OPEN
_RAMPING: Final = BreakerState.RAMPING
_FORCED_OPEN: Final = BreakerState.FORCED_OPEN
_DISABLED: Final = BreakerState.DISABLED
_METRICS_ONLY: Final = BreakerState.METRICS_ONLY

# From the default base to the default cap takes about three steps. Remembering eight keeps a provider that
# was down all night from needing all morning to be trusted with a short break again.
_STEPS_REMEMBERED: Final = 8

# Ten shares of 0.1 sum to a little less than 1 in binary floating point.
_WHOLE_CREDIT: Final = 1.0 - 1e-9


class Breaker:
    """One circuit breaker.

    Args:
        name: Provider or target, for changes and statistics.
        settings: When it opens and how it comes back; see `reconfigure`.
        rng: Jitter of repeated breaks.
        now: Monotonic seconds.

    Raises:
        ValueError: `max_probes` is below `probe_successes`: the circuit could never close again.

    Attributes:
        state: Where it is, as of the last call that was given a time.
        generation: Grows by one with each change of state.
        changes: What happened since `drain_changes()` was last called.
    """

    __slots__ = (
        "_break_starts", "_breaks", "_closed_at", "_credit", "_early_at", "_failures", "_hint_until",
        "_ignored", "_next_id", "_next_settings", "_out", "_probe_failures", "_probe_successes", "_ramp_ends",
        "_ramp_starts", "_reopens_at", "_rng", "_slow", "_stale", "_successes", "_window", "changes", "current",
        "generation", "name", "settings", "state",
    )  # fmt: skip

    current: Permit
    """The permit all calls of this generation share but probes. A probe that streams is decided by its first
    chunk; what becomes of the rest is recorded with this one: while half open a failure counts as one of
    a probe and a success as nothing."""

    def __init__(self, name: str, settings: BreakerSettings, *, rng: random.Random, now: float) -> None:
        _check_probes(name, settings)
        self.name = name
        self.settings = settings
        self._next_settings: BreakerSettings | None = None
        self.state = _CLOSED
        self.generation = 0
        self.changes: list[BreakerChange] = []
        self._rng = rng
        self._next_id = 0
        self._successes = self._failures = self._slow = self._stale = self._ignored = 0
        self._window = OutcomeWindow(settings)
        self._out: dict[int, float] = {}
        self._breaks: deque[float] = deque(maxlen=_STEPS_REMEMBERED)
        self._closed_at = now
        self._hint_until = -inf
        self._break_starts = self._reopens_at = self._early_at = -inf
        self._ramp_starts = self._ramp_ends = -inf
        self._probe_successes = self._probe_failures = 0
        self._credit = 0.0
        BREAKER.bind(self)
        self._begin_generation()

    # --- admission ---------------------------------------------------------------------------

    def acquire(self, now: float, *, insist: bool = False) -> Permit | None:
        """Admit one call, or refuse it at once.

        Args:
            now: Monotonic seconds.
            insist: Admit whatever the share of a ramp, because nobody else will take it; costs the share nothing.

        Returns:
            A permit, to be handed back exactly once; None when refused.
        """
        state = self.state
        if state is _CLOSED:
            return self.current
        if state is _FORCED_OPEN or (state is _OPEN and now < self._reopens_at):
            return None
        self.tick(now)
        if self.state is _HALF_OPEN:
            free = self._has_place(len(self._out)) and now >= self._hint_until
            return self._send_probe(now) if free else None
        if self.state is _RAMPING and not insist and not self._preferred(now):
            return None
        return self.current

    def acquire_early(self, now: float) -> Permit | None:
        """Ask an open circuit for a probe before its break is over; see `early_at` for when it consents.

        Its success makes the circuit half open with one success to its credit; its failure leaves the break
        as it was, unless a Retry-After stretches it. When the break turns out to be over this is `acquire`.
        """
        before = self.state
        if before is not _OPEN:
            return None
        self.tick(now)
        if self.state is not _OPEN:
            return self.acquire(now)
        at = self.early_at(now)
        if at is None or now < at:
            return None
        self._early_at = now
        return self._send_probe(now)

    def early_at(self, now: float) -> float | None:
        """The instant from which an early probe is allowed; None: not open, or not before the break is over.

        At most one per second or tenth of the break, whichever is longer, counted from the trip; one out at
        a time; never before a Retry-After.
        """
        settings = self.settings
        if self.state is not _OPEN or not settings.early_probes:
            return None
        at = max(self._early_at + max(1.0, (self._reopens_at - self._break_starts) / 10), self._hint_until)
        if self._out:
            at = max(at, self._oldest_probe() + settings.probe_timeout)
        return at if max(at, now) < self._reopens_at else None

    def wait(self, now: float) -> float | None:
        """Seconds until it may next admit a call; 0: it would now; None: it was opened by hand."""
        state = self.state
        if state is _FORCED_OPEN:
            return None
        if state is _OPEN:
            return max(0.0, self._reopens_at - now)
        if state is not _HALF_OPEN:
            return 0.0
        ends = [started + self.settings.probe_timeout for started in self._out.values()]
        still_out = [end for end in ends if now < end]
        place = now if self._has_place(len(still_out)) else still_out[0]
        return max(0.0, place - now, self._hint_until - now)

    # --- outcomes ----------------------------------------------------------------------------

    def record(
        self, permit: Permit, now: float, *, ok: bool, slow: bool = False, retry_after: float | None = None
    ) -> bool:
        """Count the outcome of one call, and act on it.

        Args:
            permit: As acquired, or `current`.
            now: Monotonic seconds.
            ok: Whether it succeeded; for a probe that streams, whether content came.
            slow: Whether its first token was late; says nothing about a probe's success.
            retry_after: Seconds the provider asked for, with a failure. A success withdraws an earlier hint.

        Returns:
            False when the outcome is stale: it was counted as such and moved nothing.
        """
        state = self.state
        if state is _CLOSED or state is _METRICS_ONLY:
            # In these states the shared permit is the only one there is, so identity tells its generation.
            if permit is not self.current:
                self._stale += 1
                return False
            self._count(now, ok, slow, retry_after)
            return True
        self.tick(now)
        state = self.state
        if not self._is_fresh(permit):
            self._stale += 1
            return False
        if state is _DISABLED:
            self._ignored += 1
        elif state is _RAMPING:
            self._count(now, ok, slow, retry_after)
        elif permit.probe or not ok:
            self._decide(now, ok, slow, retry_after)
        return True

    def release(self, permit: Permit, now: float) -> None:
        """Hand a permit back without evidence (its caller cancelled, say); frees a probe's place."""
        self._ignored += 1
        self._out.pop(permit.id, None)  # no id is given out twice, so a stale one frees nobody else's place

    def _is_fresh(self, permit: Permit) -> bool:
        if permit.generation != self.generation:
            return False
        if permit.probe:
            return self._out.pop(permit.id, None) is not None
        return self.state is not _OPEN and self.state is not _FORCED_OPEN  # they give out no shared permit

    def _count(self, now: float, ok: bool, slow: bool, retry_after: float | None) -> None:
        """Put an outcome into the window, and trip if that was one too many. The hot path."""
        self._window.add(now, failed=not ok, slow=slow)
        if slow:
            self._slow += 1
        if ok:
            self._successes += 1
            self._hint_until = -inf
        else:
            self._failures += 1
            self._heed(now, retry_after)
        if self._window.is_too_much() and self.state is not _METRICS_ONLY:
            self._fire("trip", now)

    def _heed(self, now: float, retry_after: float | None) -> None:
        if retry_after is not None and 0 < retry_after < inf:
            self._hint_until = max(self._hint_until, now + retry_after)

    def trip_now(self, now: float) -> bool:
        """Open the circuit for a reason of the owner's, as failures would.

        Returns:
            False where failures would not open it either: open already, or held by hand.
        """
        self.tick(now)
        if self.state not in (_CLOSED, _HALF_OPEN, _RAMPING):
            return False
        self._fire("trip", now)
        return True

    # --- probes and ramp ---------------------------------------------------------------------

    def _decide(self, now: float, ok: bool, slow: bool, retry_after: float | None) -> None:
        """Judge the outcome of a probe, early or not, or a later failure of one that had succeeded."""
        self._slow += slow
        if ok:
            self._successes += 1
            self._hint_until = -inf
            if self.state is _OPEN:
                self._fire("early_success", now)
            else:
                self._probe_successes += 1
        else:
            self._failures += 1
            self._heed(now, retry_after)
            if self.state is _OPEN:
                self._reopens_at = max(self._reopens_at, self._hint_until)
                return
            self._probe_failures += 1
        settings = self.settings
        if self._probe_successes >= settings.probe_successes:
            self._fire("recover", now)
        elif settings.max_probes - self._probe_failures < settings.probe_successes:
            self._fire("trip", now)

    def _send_probe(self, now: float) -> Permit:
        self._next_id += 1
        self._out[self._next_id] = now
        return Permit(self.generation, probe=True, id=self._next_id)

    def _has_place(self, out: int) -> bool:
        decided = self._probe_successes + self._probe_failures
        return out < self.settings.probes_at_once and decided + out < self.settings.max_probes

    def _oldest_probe(self) -> float:
        return next(iter(self._out.values()))

    def _share(self, now: float) -> float:
        length = self._ramp_ends - self._ramp_starts
        done = min(1.0, (now - self._ramp_starts) / length)
        return self.settings.ramp_start + (1.0 - self.settings.ramp_start) * done

    def _preferred(self, now: float) -> bool:
        """Earn this call's share of a credit; a whole one admits it. No chance in it, and no bursts."""
        self._credit += self._share(now)
        if self._credit < _WHOLE_CREDIT:
            return False
        self._credit = max(0.0, self._credit - 1.0)
        return True

    # --- time --------------------------------------------------------------------------------

    def next_change_at(self) -> float | None:
        """The instant at which time alone will next cause something: call `tick` then. None: never."""
        state = self.state
        if state is _RAMPING:
            return self._ramp_ends
        if state is not _OPEN and state is not _HALF_OPEN:
            return None
        due = self._reopens_at if state is _OPEN else inf
        if self._out:
            due = min(due, self._oldest_probe() + self.settings.probe_timeout)
        if state is _HALF_OPEN and self._hint_until > -inf:
            due = min(due, self._hint_until)
        return due if due < inf else None

    def tick(self, now: float) -> None:
        """Do what time alone has caused by `now`: end breaks, ramps and hints, free late probes' places."""
        while (due := self.next_change_at()) is not None and due <= now:
            if self.state is _RAMPING:
                self._fire("ramped", due)
            elif self.state is _OPEN and self._reopens_at <= due:
                self._fire("probe", due)
            elif self.state is _HALF_OPEN and self._hint_until == due:
                self._hint_until = -inf
            else:
                del self._out[next(iter(self._out))]

    # --- by hand -----------------------------------------------------------------------------

    def force_open(self, now: float) -> None:
        """Admit nothing until told otherwise."""
        self._by_hand("force_open", now)

    def disable(self, now: float) -> None:
        """Admit everything and count nothing until told otherwise."""
        self._by_hand("disable", now)

    def watch(self, now: float) -> None:
        """Admit and count everything, and never trip, until told otherwise."""
        self._by_hand("watch", now)

    def reset(self, now: float) -> None:
        """Close the circuit and forget its breaks, from any state."""
        self._by_hand("reset", now)

    def reconfigure(self, settings: BreakerSettings) -> None:
        """Go by other settings from now on; state, window and breaks stay as they are.

        While half open it waits for the next change of state: probes are judged by the numbers they were sent
        under, or a smaller `max_probes` could leave a circuit with too many probes decided to ever close.

        Raises:
            ValueError: As for the constructor; nothing has changed.
        """
        _check_probes(self.name, settings)
        self._next_settings = settings
        if self.state is not _HALF_OPEN:
            self._apply_settings()

    def _apply_settings(self) -> None:
        if (settings := self._next_settings) is not None:
            self._next_settings = None
            self.settings = settings
            self._window.reconfigure(settings)

    def _by_hand(self, event: str, now: float) -> None:
        self.tick(now)
        self._fire(event, now)

    # --- transitions -------------------------------------------------------------------------

    def _fire(self, event: str, at: float) -> None:
        source = self.state
        # No guard can decline: `tick` fires at the instant the guard waits for, and the rest have a row without.
        BREAKER.fire(self, event, at)
        self._begin_generation()
        self._apply_settings()
        duration = self._reopens_at - at if self.state is _OPEN else None
        self.changes.append(BreakerChange(source, self.state, event, at, duration))

    def _begin_generation(self) -> None:
        self.generation += 1
        self.current = Permit(self.generation, probe=False, id=0)
        self._out.clear()
        self._window.clear()

    def _break_over(self, now: float) -> bool:
        return now >= self._reopens_at

    def _ramps(self, now: float) -> bool:
        return self.settings.ramp_duration > 0

    def _ramp_over(self, now: float) -> bool:
        return now >= self._ramp_ends

    def _start_break(self, now: float) -> None:
        """Set the length of the break: the base, then min(cap, U(base, 3 * previous)), stretched by hints.

        Decorrelated jitter as in "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: clients that
        tripped together do not come back together.
        """
        settings, breaks = self.settings, self._breaks
        clean = max(0.0, now - self._closed_at)
        for _ in range(min(len(breaks), int(clean / settings.clean_duration))):
            breaks.pop()
        length = settings.break_duration
        if breaks:
            length = min(settings.max_break_duration, self._rng.uniform(length, 3.0 * breaks[-1]))
        breaks.append(length)
        self._closed_at = inf  # no time counts as clean until it has closed
        self._break_starts = self._early_at = now
        self._reopens_at = max(now + length, self._hint_until)

    def _start_probing(self, now: float) -> None:
        self._probe_successes = self._probe_failures = 0
        self._hint_until = -inf  # the break has outlasted it

    def _start_probing_ahead(self, now: float) -> None:
        self._start_probing(now)
        self._probe_successes = 1

    def _start_ramp(self, now: float) -> None:
        self._ramp_starts, self._ramp_ends = now, now + self.settings.ramp_duration
        self._credit = 0.0

    def _close(self, now: float) -> None:
        self._closed_at = now

    def _start_over(self, now: float) -> None:
        self._close(now)
        self._breaks.clear()
        self._hint_until = -inf

    # --- reports -----------------------------------------------------------------------------

    def drain_changes(self) -> list[BreakerChange]:
        """The changes since the last call, oldest first."""
        changes, self.changes = self.changes, []
        return changes

    def statistics(self, now: float) -> BreakerStatistics:
        """A frozen copy of what it knows. Changes no state: call `tick` first to be up to date."""
        window = self._window
        window.expire(now)
        calls = len(window)
        is_open = self.state is _OPEN
        shares = {_OPEN: 0.0, _HALF_OPEN: 0.0, _FORCED_OPEN: 0.0}
        return BreakerStatistics(
            name=self.name,
            state=self.state,
            generation=self.generation,
            window_calls=calls,
            window_failures=window.failures,
            window_slow=window.slow,
            failure_rate=window.failures / calls if calls else 0.0,
            slow_rate=window.slow / calls if calls else 0.0,
            consecutive_failures=window.consecutive,
            successes=self._successes,
            failures=self._failures,
            slow=self._slow,
            stale=self._stale,
            ignored=self._ignored,
            break_duration=self._reopens_at - self._break_starts if is_open else None,
            reopens_in=max(0.0, self._reopens_at - now) if is_open else None,
            probes_out=len(self._out),
            share=self._share(now) if self.state is _RAMPING else shares.get(self.state, 1.0),
        )

    def __repr__(self) -> str:
        window = f"{self._window.failures} of {len(self._window)} failed"
        return f"<Breaker {self.name} {self.state}, generation {self.generation}, {window}>"


def _check_probes(name: str, settings: BreakerSettings) -> None:
    if settings.max_probes < settings.probe_successes:
        raise ValueError(f"breaker {name!r}: max_probes ({settings.max_probes}) is below probe_successes")
