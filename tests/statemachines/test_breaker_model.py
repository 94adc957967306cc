"""The circuit breaker against a naive model of it, and searched exhaustively for a few steps.

The model keeps everything that ever happened in a generation and works out each answer from scratch, with
exact fractions where the breaker counts in floats. Times are multiples of half a second.
"""

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilio.config.settings import BreakerSettings
from resilio.statemachines.breaker import BREAKER, Breaker, BreakerState

SETTINGS = st.builds(
    BreakerSettings,
    consecutive_failures=st.integers(1, 4),
    failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
    slow_rate=st.sampled_from([0.25, 0.5, 1.0]),
    window_calls=st.integers(1, 6),
    window_duration=st.sampled_from([2.0, 6.0]),
    minimum_calls=st.integers(1, 4),
    break_duration=st.sampled_from([2.0, 4.0, 20.0]),
    max_break_duration=st.sampled_from([20.0, 40.0]),
    clean_duration=st.sampled_from([1.0, 8.0]),
    probes_at_once=st.integers(1, 3),
    probe_successes=st.integers(1, 3),
    max_probes=st.integers(3, 5),
    probe_timeout=st.sampled_from([1.5, 6.0]),
    ramp_duration=st.sampled_from([0.0, 2.0, 5.0]),
    ramp_start=st.sampled_from([0.0, 0.1, 1.0]),
    early_probes=st.booleans(),
)


class NaiveBreaker:
    """The rules of the design, one by one, in the plainest code that says them."""

    def __init__(self, settings, seed):
        self.set = settings
        self.rng = random.Random(seed)
        self.log = []  # (source, dest, event, at)
        self.past_breaks = []
        self.retry_not_before = None
        self.closed_since = 0.0
        self.totals = Counter()
        self.generation = 0
        self.enter("closed")

    def enter(self, state, event=None, at=None):
        if event:
            self.log.append((self.state, state, event, at))
        self.state = state
        self.generation += 1
        self.outcomes = []  # (at, ok, slow), of this generation
        self.in_a_row = 0
        self.probes = {}  # number -> sent at, while undecided
        self.verdicts = []  # of decided probes

    # Permits are ("shared" | "probe", generation, number).

    def pass_time(self, now):
        while True:
            due = []
            if self.state == "open":
                due.append((self.reopens_at, 0, "probe"))
            if self.state == "ramping":
                due.append((self.ramp_from + self.set.ramp_duration, 0, "ramped"))
            for number, sent in self.probes.items():
                due.append((sent + self.set.probe_timeout, 1, number))
            due = [item for item in due if item[0] <= now]
            if not due:
                return
            at, _, what = min(due, key=lambda item: item[:2])
            if what == "probe":
                self.enter("half_open", "probe", at)
                self.retry_not_before = None
            elif what == "ramped":
                self.closed_since = at
                self.enter("closed", "ramped", at)
            else:
                del self.probes[what]

    def place_for_probe(self, now):
        if self.retry_not_before is not None and now < self.retry_not_before:
            return False
        room = len(self.probes) < self.set.probes_at_once
        return room and len(self.verdicts) + len(self.probes) < self.set.max_probes

    def new_probe(self, now):
        self.totals["probes"] += 1
        self.probes[self.totals["probes"]] = now
        return ("probe", self.generation, self.totals["probes"])

    def acquire(self, now, insist):
        self.pass_time(now)
        if self.state in ("open", "forced_open"):
            return None
        if self.state == "half_open":
            return self.new_probe(now) if self.place_for_probe(now) else None
        if self.state == "ramping" and not insist:
            start = Fraction(str(self.set.ramp_start))
            self.credit += start + (1 - start) * Fraction(now - self.ramp_from) / Fraction(self.set.ramp_duration)
            if self.credit < 1:
                return None
            self.credit -= 1
        return ("shared", self.generation, 0)

    def acquire_early(self, now):
        if self.state != "open":
            return None
        self.pass_time(now)
        if self.state != "open":
            return self.acquire(now, False)
        spacing = max(1.0, (self.reopens_at - self.tripped_at) / 10)
        forbidden = (
            not self.set.early_probes
            or self.probes
            or now < self.last_early + spacing
            or (self.retry_not_before is not None and now < self.retry_not_before)
        )
        if forbidden:
            return None
        self.last_early = now
        return self.new_probe(now)

    def trip(self, now):
        settings = self.set
        if self.state == "closed":
            for _ in range(int((now - self.closed_since) / settings.clean_duration)):
                if self.past_breaks:
                    self.past_breaks.pop()
        length = settings.break_duration
        if self.past_breaks:
            length = min(settings.max_break_duration, self.rng.uniform(length, self.past_breaks[-1] * 3))
        self.past_breaks = [*self.past_breaks, length][-8:]
        self.tripped_at = self.last_early = now
        self.reopens_at = now + length
        if self.retry_not_before is not None:
            self.reopens_at = max(self.reopens_at, self.retry_not_before)
        self.enter("open", "trip", now)

    def recover(self, now):
        if self.set.ramp_duration == 0:
            self.closed_since = now
            self.enter("closed", "recover", now)
        else:
            self.ramp_from, self.credit = now, Fraction(0)
            self.enter("ramping", "recover", now)

    def window(self, now):
        recent = self.outcomes[-self.set.window_calls :]
        return [outcome for outcome in recent if now - outcome[0] <= self.set.window_duration]

    def record(self, permit, now, ok, slow, retry_after):
        self.pass_time(now)
        kind, generation, number = permit
        fresh = generation == self.generation
        if fresh and kind == "probe":
            fresh = self.probes.pop(number, None) is not None
        elif fresh:
            fresh = self.state not in ("open", "forced_open")
        if not fresh:
            self.totals["stale"] += 1
            return False
        if self.state == "disabled":
            self.totals["ignored"] += 1
            return True
        if self.state == "half_open" and kind == "shared" and ok:
            return True
        self.totals["successes" if ok else "failures"] += 1
        self.totals["slow"] += slow
        if ok:
            self.retry_not_before = None
        elif retry_after is not None:
            self.retry_not_before = max(self.retry_not_before or 0.0, now + retry_after)
        if self.state == "open":
            if ok:
                self.enter("half_open", "early_success", now)
                self.judge(now, ok)
            elif self.retry_not_before is not None:
                self.reopens_at = max(self.reopens_at, self.retry_not_before)
        elif self.state == "half_open":
            self.judge(now, ok)
        else:
            self.weigh(now, ok, slow)
        return True

    def judge(self, now, ok):
        self.verdicts.append(ok)
        if self.verdicts.count(True) >= self.set.probe_successes:
            self.recover(now)
        elif self.verdicts.count(False) > self.set.max_probes - self.set.probe_successes:
            self.trip(now)

    def weigh(self, now, ok, slow):
        self.outcomes.append((now, ok, slow))
        self.in_a_row = 0 if ok else self.in_a_row + 1
        window = self.window(now)
        failed = sum(not outcome[1] for outcome in window)
        late = sum(outcome[2] for outcome in window)
        over = len(window) >= self.set.minimum_calls and (
            (failed and Fraction(failed, len(window)) >= Fraction(str(self.set.failure_rate)))
            or (late and Fraction(late, len(window)) >= Fraction(str(self.set.slow_rate)))
        )
        if self.state != "metrics_only" and (self.in_a_row >= self.set.consecutive_failures or over):
            self.trip(now)

    def release(self, permit, now):
        self.totals["ignored"] += 1
        if permit[0] == "probe":
            self.pass_time(now)
            if permit[1] == self.generation:
                self.probes.pop(permit[2], None)

    def trip_now(self, now):
        self.pass_time(now)
        if self.state in ("closed", "half_open", "ramping"):
            self.trip(now)
            return True
        return False

    def by_hand(self, event, dest, now):
        self.pass_time(now)
        if event == "reset":
            self.past_breaks, self.retry_not_before, self.closed_since = [], None, now
        self.enter(dest, event, now)


HANDS = {"force_open": "forced_open", "disable": "disabled", "watch": "metrics_only", "reset": "closed"}
STEPS = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0, 6.0, 20.0, 50.0])


class BreakerAgainstModel(RuleBasedStateMachine):
    """Random events at random times: a breaker nobody ticks, a twin ticked all the time, and the model."""

    @initialize(settings=SETTINGS, seed=st.integers(0, 99))
    def make(self, settings, seed):
        self.now = 0.0
        self.lazy = Breaker("p", settings, rng=random.Random(seed), now=0.0)
        self.twin = Breaker("p", settings, rng=random.Random(seed), now=0.0)
        self.model = NaiveBreaker(settings, seed)
        self.held = []

    def both(self, method, *args, **kwargs):
        """Call a method of the breaker and of its twin, which must answer the same."""
        lazy = getattr(self.lazy, method)(*args, **kwargs)
        assert getattr(self.twin, method)(*args, **kwargs) == lazy
        return lazy

    def keep(self, permit, model):
        assert (permit is None) is (model is None)
        if permit is not None:
            assert (permit.generation, permit.id, permit.probe) == (model[1], model[2], model[0] == "probe")
            self.held.append((permit, model))

    @rule(step=STEPS)
    def pass_time(self, step):
        for _ in range(4):
            self.now += step / 4
            self.twin.tick(self.now)

    @rule(insist=st.booleans(), times=st.integers(1, 4))
    def acquire(self, insist, times):
        for _ in range(times):
            self.keep(self.both("acquire", self.now, insist=insist), self.model.acquire(self.now, insist))

    @rule()
    def acquire_early(self):
        at = self.twin.early_at(self.now)
        open_ = self.model.state == "open"
        assert open_ or at is None
        if open_ or self.lazy.state is not BreakerState.OPEN:
            permit = self.both("acquire_early", self.now)
            assert (permit is not None) is (at is not None and at <= self.now)
            self.keep(permit, self.model.acquire_early(self.now))
        else:  # only the lazy one has yet to notice that the break is over, and then just acquires
            permit = self.lazy.acquire_early(self.now)
            assert permit == self.twin.acquire(self.now)
            self.keep(permit, self.model.acquire(self.now, False))

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        ok=st.booleans(),
        slow=st.booleans(),
        retry_after=st.sampled_from([None, None, 0.5, 3.0, 30.0]),
        spend=st.sampled_from([True, True, True, False]),
    )
    def record(self, data, ok, slow, retry_after, spend):
        index = data.draw(st.integers(0, len(self.held) - 1))
        permit, model = self.held.pop(index) if spend else self.held[index]
        counted = self.model.record(model, self.now, ok, slow, retry_after)
        # The shared permit is the one object each breaker gave out; hand each its own.
        for circuit in (self.lazy, self.twin):
            mine = circuit.current if permit == circuit.current else permit
            assert circuit.record(mine, self.now, ok=ok, slow=slow, retry_after=retry_after) is counted

    @rule(ok=st.booleans())
    def record_what_followed_a_probe(self, ok):
        self.model.pass_time(self.now)
        self.lazy.tick(self.now)
        counted = self.model.record(("shared", self.model.generation, 0), self.now, ok, False, None)
        for circuit in (self.lazy, self.twin):
            assert circuit.record(circuit.current, self.now, ok=ok) is counted

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        permit, model = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.model.release(model, self.now)
        self.both("release", permit, self.now)

    @rule()
    def trip_now(self):
        assert self.both("trip_now", self.now) is self.model.trip_now(self.now)

    @rule(method=st.sampled_from(list(HANDS)), then_reset=st.booleans())
    def by_hand(self, method, then_reset):
        for each in [method, "reset"] if then_reset else [method]:
            self.model.by_hand(each, HANDS[each], self.now)
            self.both(each, self.now)

    @invariant()
    def the_twin_and_the_model_agree(self):
        if not hasattr(self, "model"):
            return
        now, twin, model = self.now, self.twin, self.model
        twin.tick(now)
        model.pass_time(now)
        assert (twin.state, twin.generation) == (model.state, model.generation)
        assert [change[:4] for change in twin.changes] == model.log
        stats, window = twin.statistics(now), model.window(now)
        assert stats.window_calls == len(window)
        assert stats.window_failures == sum(not ok for _, ok, _ in window)
        assert stats.window_slow == sum(slow for _, _, slow in window)
        assert stats.consecutive_failures == model.in_a_row
        assert stats.probes_out == len(model.probes)
        for name in ("successes", "failures", "slow", "stale", "ignored"):
            assert getattr(stats, name) == model.totals[name], name

    @invariant()
    def the_lazy_one_is_at_most_late(self):
        if hasattr(self, "model"):
            done = len(self.lazy.changes)
            assert self.lazy.changes == self.twin.changes[:done]
            late = [change.event for change in self.twin.changes[done:]]
            assert late in ([], ["probe"], ["ramped"])

    @invariant()
    def waiting_as_long_as_told_is_enough_and_needed(self):
        if not hasattr(self, "model"):
            return
        wait, model = self.both("wait", self.now), self.model
        if model.state == "forced_open":
            assert wait is None
        elif model.state == "open":
            assert wait == model.reopens_at - self.now
        elif model.state == "half_open":
            assert (wait == 0.0) is model.place_for_probe(self.now)
        else:
            assert wait == 0.0

    @invariant()
    def time_has_something_to_do_only_later(self):
        if hasattr(self, "model"):
            due = self.twin.next_change_at()
            assert due is None or due > self.now

    def teardown(self):
        if hasattr(self, "model"):
            self.lazy.tick(self.now)
            assert self.lazy.statistics(self.now) == self.twin.statistics(self.now)
            assert self.lazy.changes == self.twin.changes


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
# Seven states, three clocks: the default number of runs leaves corners unvisited.
TestBreakerAgainstModel.settings = settings(max_examples=max(150, settings.default.max_examples))


# --- the history of probes, seen from outside ------------------------------------------------


def live_through(settings, seed, calls):
    """Callers with random latencies, some cancelled or lost for good, on a provider that fails in phases."""
    rng = random.Random(seed)
    circuit = Breaker("p", settings, rng=random.Random(seed), now=0.0)
    history, pending, now = [], [], 0.0
    for _ in range(calls):
        now += rng.choice([0.0, 0.0, 0.25, 1.0])
        pending.sort(key=lambda item: item[0])
        while pending and pending[0][0] <= now:
            at, permit, end = pending.pop(0)
            if end == "cancelled":
                circuit.release(permit, at)
            elif end != "lost":
                circuit.record(permit, at, ok=end == "ok")
            history.append((at, end, permit))
        permit = circuit.acquire_early(now) if rng.random() < 0.1 else circuit.acquire(now, insist=rng.random() < 0.5)
        if permit is not None:
            history.append((now, "sent", permit))
            sick = int(now / 20) % 2
            end = rng.choices(["ok", "failed", "cancelled", "lost"], [1, 6, 1, 1] if sick else [6, 1, 1, 1])[0]
            pending.append((now + rng.choice([0.0, 0.5, 2.0, 9.0]), permit, end))
    return circuit, history


def check_probes(history, settings, half_open_generations):
    """At no instant more probes out than allowed; in no generation more sent that were not given back."""
    out, used = {}, Counter()
    for at, what, permit in history:
        if not permit.probe or permit.generation not in half_open_generations:
            continue
        for late in [each for each, sent in out.items() if at - sent >= settings.probe_timeout]:
            del out[late]
            used[late.generation] -= 1  # freed neutrally
        if what == "sent":
            out[permit] = at
            used[permit.generation] += 1
            rivals = sum(each.generation == permit.generation for each in out)
            assert rivals <= settings.probes_at_once, (at, permit)
            assert used[permit.generation] <= settings.max_probes, (at, permit)
        elif permit in out and what != "lost":
            del out[permit]
            if what == "cancelled":
                used[permit.generation] -= 1
    return used


@pytest.mark.parametrize("probes_at_once", [1, 2, 4])
def test_probes_of_a_generation_stay_within_their_limits_whatever_becomes_of_them(probes_at_once):
    settings = BreakerSettings(
        break_duration=3.0, max_break_duration=6.0, ramp_duration=4.0, probe_timeout=4.0, max_probes=4,
        probe_successes=2, probes_at_once=probes_at_once,
    )  # fmt: skip
    most = 0
    for seed in range(8):
        circuit, history = live_through(settings, seed, calls=600)
        half_open = {
            generation for generation, change in enumerate(circuit.changes, 2) if change.dest is BreakerState.HALF_OPEN
        }
        assert len(half_open) > 3
        most = max(most, *check_probes(history, settings, half_open).values())
    assert most == settings.max_probes  # or the limit was never put to the test


# --- exhaustive search of a few steps --------------------------------------------------------

SMALL = BreakerSettings(
    consecutive_failures=2, window_calls=4, minimum_calls=4, break_duration=4.0, max_break_duration=8.0,
    clean_duration=4.0, probe_successes=2, max_probes=3, probe_timeout=4.0, ramp_duration=4.0, ramp_start=0.5,
)  # fmt: skip
DEPTH = 7


class Replay:
    """A breaker after some steps; permits are used newest first."""

    ALPHABET = ("acquire", "early", "ok", "fail", "hint", "release", "later", "much_later", "trip", "reset", "force")

    def __init__(self, steps):
        self.now, self.held = 0.0, []
        self.circuit = Breaker("p", SMALL, rng=random.Random(1), now=0.0)
        for step in steps:
            getattr(self, f"do_{step}")()

    def hold(self, permit):
        if permit is not None:
            self.held.append(permit)

    def do_acquire(self):
        now, circuit = self.now, self.circuit
        wait = circuit.wait(now)
        permit = circuit.acquire(now, insist=True)
        assert (permit is not None) is (wait == 0.0)
        self.hold(permit)

    def do_early(self):
        was = self.circuit.state
        self.hold(self.circuit.acquire_early(self.now))
        assert self.circuit.state is was or (was, self.circuit.state) == ("open", "half_open")

    def settle(self, **outcome):
        if self.held:
            permit = self.held.pop()
            before = len(self.circuit.changes)
            counted = self.circuit.record(permit, self.now, **outcome)
            moved = [change for change in self.circuit.changes[before:] if change.event not in ("probe", "ramped")]
            assert counted or not moved

    def do_ok(self):
        self.settle(ok=True)

    def do_fail(self):
        self.settle(ok=False)

    def do_hint(self):
        self.settle(ok=False, retry_after=6.0)

    def do_release(self):
        if self.held:
            self.circuit.release(self.held.pop(), self.now)

    def do_later(self):
        self.now += 1.0

    def do_much_later(self):
        self.now += 4.0

    def do_trip(self):
        self.circuit.trip_now(self.now)

    def do_reset(self):
        self.circuit.reset(self.now)

    def do_force(self):
        self.circuit.force_open(self.now)

    def check(self):
        circuit, now = self.circuit, self.now
        circuit.tick(now)
        stats = circuit.statistics(now)
        due = circuit.next_change_at()
        assert due is None or due > now
        assert circuit.generation == 1 + len(circuit.changes)
        assert stats.probes_out <= SMALL.probes_at_once
        if circuit.state in ("closed", "ramping"):
            assert stats.probes_out == 0
            assert stats.consecutive_failures < SMALL.consecutive_failures
        rows = {(source, row.dest, row.event) for source, row in BREAKER.arrows()}
        for change in circuit.changes:
            assert change[:3] in rows
            assert (change.break_duration is not None) is (change.dest is BreakerState.OPEN)

    def fingerprint(self):
        """All that its future depends on, with instants taken relative to now."""
        circuit, now = self.circuit, self.now
        window = circuit._window
        return (
            circuit.state, circuit.next_change_at() and circuit.next_change_at() - now, circuit.early_at(now),
            circuit.wait(now), tuple(round(now - at, 6) for at in circuit._out.values()), tuple(circuit._breaks),
            circuit._probe_successes, circuit._probe_failures, window.failures, window.consecutive, len(window),
            round(circuit._credit, 6), circuit._hint_until - now, now - circuit._closed_at,
            tuple((permit.generation - circuit.generation, permit.id in circuit._out) for permit in self.held),
        )  # fmt: skip


def test_every_short_sequence_of_steps_keeps_the_rules():
    seen, frontier, states = set(), [()], set()
    for _ in range(DEPTH):
        following = []
        for steps in frontier:
            for step in Replay.ALPHABET:
                path = (*steps, step)
                replay = Replay(path)
                replay.check()
                states.add(replay.circuit.state)
                mark = replay.fingerprint()
                if mark not in seen:
                    seen.add(mark)
                    following.append(path)
        frontier = following
    assert states >= {"closed", "open", "half_open", "forced_open", "ramping"}
