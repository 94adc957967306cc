"""The circuit breaker, rule by rule."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config.settings import BreakerSettings
from resilio.statemachines.breaker import Breaker, BreakerState

CLOSED, OPEN, HALF_OPEN, RAMPING, FORCED_OPEN, DISABLED, METRICS_ONLY = BreakerState
DEFAULTS = BreakerSettings()
TEXTBOOK = BreakerSettings(
    consecutive_failures=5,
    failure_rate=1.0,
    slow_rate=1.0,
    break_duration=30.0,
    max_break_duration=30.0,
    probe_successes=1,
    max_probes=1,
    ramp_duration=0.0,
    early_probes=False,
)


class Jitter(random.Random):
    """Draws the given share of the way from a to b, and remembers the bounds it was asked for."""

    def __init__(self, share=0.5):
        super().__init__(0)
        self.share, self.asked = share, []

    def uniform(self, a, b):
        self.asked.append((a, b))
        return a + self.share * (b - a)


def breaker(rng=None, **settings):
    return Breaker("p", replace(DEFAULTS, **settings), rng=rng or Jitter(), now=0.0)


def call(circuit, now, *, ok=True, slow=False, retry_after=None):
    permit = circuit.acquire(now, insist=True)
    assert permit is not None
    assert circuit.record(permit, now, ok=ok, slow=slow, retry_after=retry_after)


def fail(circuit, now, times=5, **outcome):
    for _ in range(times):
        call(circuit, now, ok=False, **outcome)


def opened(now=0.0, **settings):
    circuit = breaker(**settings)
    fail(circuit, now, circuit.settings.consecutive_failures)
    assert circuit.state is OPEN
    return circuit


def half_open(**settings):
    circuit = opened(**settings)
    circuit.tick(circuit.settings.break_duration)
    assert circuit.state is HALF_OPEN
    return circuit


def ramping(**settings):
    """Ramping since the 30th second."""
    circuit = half_open(**settings)
    for _ in range(circuit.settings.probe_successes):
        call(circuit, 30.0)
    assert circuit.state is RAMPING
    return circuit


# --- closed: what trips and what does not ----------------------------------------------------


def test_all_calls_of_a_closed_generation_share_one_permit():
    circuit = breaker()
    assert circuit.acquire(1.0) is circuit.acquire(2.0) is circuit.current


def test_five_failures_in_a_row_open_the_circuit_for_the_first_break_exactly():
    circuit = breaker()
    fail(circuit, 7.0, 4)
    assert circuit.state is CLOSED
    fail(circuit, 8.0, 1)
    assert circuit.state is OPEN
    assert circuit.drain_changes() == [(CLOSED, OPEN, "trip", 8.0, 30.0)]
    assert circuit.acquire(37.9) is None
    assert circuit.acquire(38.0) is not None


def test_a_success_between_failures_begins_the_count_anew():
    circuit = breaker(minimum_calls=50)
    for _ in range(4):
        fail(circuit, 1.0, 4)
        call(circuit, 1.0)
    assert circuit.state is CLOSED
    assert circuit.statistics(1.0).consecutive_failures == 0


@pytest.mark.parametrize("outcome", [{"ok": False}, {"ok": True, "slow": True}])
def test_half_of_the_outcomes_failed_or_slow_open_the_circuit_once_there_are_ten(outcome):
    circuit = breaker()
    for _ in range(4):
        call(circuit, 1.0)
        call(circuit, 1.0, **outcome)
    call(circuit, 1.0)
    assert circuit.state is CLOSED
    call(circuit, 1.0, **outcome)
    assert circuit.state is OPEN


def test_a_rate_just_below_the_limit_keeps_it_closed():
    circuit = breaker(failure_rate=0.3)
    for number in range(200):
        call(circuit, 1.0, ok=number % 4 != 3)
    assert circuit.state is CLOSED


def test_a_rate_is_compared_without_rounding_surprises():
    circuit = breaker(failure_rate=0.1, minimum_calls=30)
    for number in range(29):
        call(circuit, 1.0, ok=number >= 2)
    fail(circuit, 1.0, 1)
    assert circuit.state is OPEN  # 3 of 30, though 0.1 * 30 > 3 in floating point


def test_the_window_holds_no_more_than_the_last_outcomes():
    circuit = breaker(window_calls=10, consecutive_failures=50)
    for _ in range(4):
        call(circuit, 1.0, ok=False)
    for _ in range(40):
        call(circuit, 1.0)
    stats = circuit.statistics(1.0)
    assert (stats.window_calls, stats.window_failures, stats.failures, stats.successes) == (10, 0, 4, 40)


def test_outcomes_older_than_the_window_do_not_count_but_those_of_its_very_age_do():
    circuit = breaker(consecutive_failures=50)
    fail(circuit, 0.0, 9)
    assert circuit.statistics(60.0).window_failures == 9
    assert circuit.statistics(60.1).window_failures == 0
    fail(circuit, 60.1, 9)
    assert circuit.state is CLOSED
    fail(circuit, 60.1, 1)
    assert circuit.state is OPEN


def test_a_cancelled_call_is_no_evidence():
    circuit = breaker()
    fail(circuit, 1.0, 4)
    circuit.release(circuit.acquire(1.0), 1.0)
    stats = circuit.statistics(1.0)
    assert (stats.window_calls, stats.consecutive_failures, stats.ignored) == (4, 4, 1)
    fail(circuit, 1.0, 1)
    assert circuit.state is OPEN


# --- stale outcomes --------------------------------------------------------------------------


def test_a_success_from_before_the_break_does_not_close_the_circuit():
    circuit = breaker()
    early = circuit.acquire(0.0)
    fail(circuit, 1.0)
    circuit.tick(31.0)
    for _ in range(10):
        assert circuit.record(early, 32.0, ok=True) is False
    assert circuit.state is HALF_OPEN
    assert circuit.statistics(32.0).stale == 10
    assert circuit.statistics(32.0).successes == 0


def test_failures_of_calls_in_flight_when_it_tripped_neither_lengthen_the_break_nor_trip_again():
    circuit = breaker()
    in_flight = [circuit.acquire(0.0) for _ in range(64)]
    counted = [circuit.record(permit, 1.0, ok=False, retry_after=500.0 if n > 5 else None)
               for n, permit in enumerate(in_flight)]  # fmt: skip
    assert counted.count(True) == 5
    assert circuit.wait(1.0) == 30.0
    assert len(circuit.changes) == 1


def test_a_late_failure_of_the_old_generation_does_not_count_after_recovery():
    circuit = breaker(ramp_duration=0.0)
    old = circuit.acquire(0.0)
    fail(circuit, 1.0)
    for _ in range(3):
        call(circuit, 31.0)
    assert circuit.state is CLOSED
    assert not circuit.record(old, 32.0, ok=False)
    assert circuit.statistics(32.0).consecutive_failures == 0


def test_releasing_a_permit_of_an_earlier_generation_frees_nobody_elses_place():
    circuit = half_open(probe_timeout=1000.0)
    old = circuit.acquire(30.0)
    circuit.trip_now(31.0)
    current = circuit.acquire(500.0)
    circuit.release(old, 501.0)
    assert circuit.acquire(501.0) is None
    assert circuit.record(current, 501.0, ok=True)


# --- the break -------------------------------------------------------------------------------


def test_wait_counts_down_to_the_first_probe():
    circuit = opened()
    assert [circuit.wait(now) for now in (0.0, 12.5, 30.0, 99.0)] == [30.0, 17.5, 0.0, 0.0]
    assert circuit.next_change_at() == 30.0
    assert circuit.statistics(12.5).reopens_in == 17.5


def test_repeated_trips_lengthen_the_break_by_decorrelated_jitter_up_to_the_cap():
    jitter = Jitter(share=1.0)
    circuit = breaker(rng=jitter)
    now, breaks = 0.0, []
    fail(circuit, now)
    for _ in range(5):
        breaks.append(circuit.wait(now))
        now += circuit.wait(now)
        fail(circuit, now, 3)  # three failed probes leave two: three successes cannot be had
        assert circuit.state is OPEN
    assert breaks == [30.0, 90.0, 270.0, 300.0, 300.0]
    assert jitter.asked == [(30.0, 90.0), (30.0, 270.0), (30.0, 810.0), (30.0, 900.0), (30.0, 900.0)]


def test_breaks_drawn_at_random_stay_between_the_base_and_the_cap():
    circuit = breaker(rng=random.Random(7))
    now, breaks = 0.0, []
    fail(circuit, now)
    for _ in range(200):
        breaks.append(circuit.wait(now))
        now += circuit.wait(now)
        fail(circuit, now, 3)
    assert breaks[0] == 30.0
    assert all(30.0 - 1e-9 <= length <= 300.0 + 1e-9 for length in breaks)
    assert len(set(breaks)) > 50


@pytest.mark.parametrize(("clean", "previous"), [(59.0, 90.0), (60.0, 30.0), (119.0, 30.0), (120.0, None), (9e9, None)])
def test_each_clean_minute_spent_closed_takes_one_step_back(clean, previous):
    jitter = Jitter(share=1.0)
    circuit = breaker(rng=jitter, ramp_duration=0.0)
    fail(circuit, 0.0)  # break of 30
    fail(circuit, 30.0, 3)  # break of 90
    for _ in range(3):
        call(circuit, 120.0)
    assert circuit.state is CLOSED
    fail(circuit, 120.0 + clean)
    if previous is None:
        assert circuit.wait(120.0 + clean) == 30.0
    else:
        assert jitter.asked[-1] == (30.0, 3 * previous)


def test_a_trip_while_ramping_takes_the_next_step_however_long_the_ramp():
    jitter = Jitter(share=1.0)
    circuit = ramping(rng=jitter, ramp_duration=1000.0)
    fail(circuit, 900.0)
    assert circuit.state is OPEN
    assert jitter.asked == [(30.0, 90.0)]
    assert circuit.wait(900.0) == 90.0


def test_after_a_night_of_trips_a_few_clean_minutes_restore_the_first_break():
    circuit = breaker(ramp_duration=0.0)
    now = 0.0
    fail(circuit, now)
    for _ in range(100):
        now += circuit.wait(now)
        fail(circuit, now, 3)
    now += circuit.wait(now)
    for _ in range(3):
        call(circuit, now)
    fail(circuit, now + 8 * 60.0)
    assert circuit.wait(now + 8 * 60.0) == 30.0


def test_a_retry_after_just_before_the_trip_stretches_the_break():
    circuit = breaker()
    fail(circuit, 1.0, 1, retry_after=120.0)
    fail(circuit, 2.0, 4)
    assert circuit.wait(2.0) == 119.0
    assert circuit.changes[-1].break_duration == 119.0


def test_a_retry_after_on_the_tripping_failure_stretches_the_break_even_beyond_the_cap():
    circuit = breaker()
    fail(circuit, 1.0, 4)
    fail(circuit, 1.0, 1, retry_after=3600.0)
    assert circuit.wait(1.0) == 3600.0


def test_a_retry_after_shorter_than_the_break_changes_nothing():
    circuit = breaker()
    fail(circuit, 1.0, 5, retry_after=3.0)
    assert circuit.wait(1.0) == 30.0


def test_a_success_withdraws_an_earlier_retry_after():
    circuit = breaker()
    fail(circuit, 1.0, 1, retry_after=3600.0)
    call(circuit, 2.0)
    fail(circuit, 3.0)
    assert circuit.wait(3.0) == 30.0


@pytest.mark.parametrize("nonsense", [-5.0, 0.0, float("inf"), float("nan")])
def test_a_retry_after_that_makes_no_sense_is_not_heard(nonsense):
    circuit = breaker()
    fail(circuit, 1.0, 5, retry_after=nonsense)
    assert circuit.wait(1.0) == 30.0


# --- half open -------------------------------------------------------------------------------


def test_two_hundred_callers_at_the_instant_the_break_ends_get_one_permit():
    circuit = opened()
    permits = [circuit.acquire(30.0) for _ in range(200)]
    assert sum(permit is not None for permit in permits) == 1
    assert circuit.state is HALF_OPEN


def test_as_many_probes_are_out_at_once_as_configured_and_no_more():
    circuit = half_open(probes_at_once=2)
    first, second = circuit.acquire(30.0), circuit.acquire(30.0)
    assert first != second
    assert circuit.acquire(30.0) is None
    assert circuit.statistics(30.0).probes_out == 2
    circuit.record(first, 31.0, ok=True)
    assert circuit.acquire(31.0) is not None


def test_three_successful_probes_end_the_break():
    circuit = half_open()
    for state in (HALF_OPEN, HALF_OPEN, RAMPING):
        call(circuit, 31.0)
        assert circuit.state is state


def test_two_failed_probes_of_five_are_forgiven_and_the_third_opens_it_again():
    circuit = half_open()
    for ok in (False, True, False, True):
        call(circuit, 31.0, ok=ok)
    assert circuit.state is HALF_OPEN
    recovering, failing = circuit, half_open()
    call(recovering, 32.0)
    assert recovering.state is RAMPING
    fail(failing, 32.0, 2)
    assert failing.state is HALF_OPEN
    fail(failing, 32.0, 1)
    assert failing.state is OPEN


def test_probes_decided_and_out_never_exceed_the_number_of_probes_allowed():
    circuit = half_open(probes_at_once=5)
    permits = [circuit.acquire(30.0) for _ in range(5)]
    circuit.record(permits[0], 31.0, ok=True)
    circuit.record(permits[1], 31.0, ok=False)
    assert circuit.acquire(31.0) is None  # two decided and three out
    circuit.release(permits[2], 31.0)
    assert circuit.acquire(31.0) is not None


def test_a_cancelled_probe_frees_its_place_at_once():
    circuit = half_open()
    circuit.release(circuit.acquire(30.0), 30.5)
    assert circuit.wait(30.5) == 0.0
    assert circuit.acquire(30.5) is not None


def test_cancelled_probes_use_none_up():
    circuit = half_open()
    for _ in range(100):
        circuit.release(circuit.acquire(30.0), 30.0)
    for _ in range(3):
        call(circuit, 30.0)
    assert circuit.state is RAMPING


def test_an_undecided_probes_place_is_freed_and_its_late_outcome_moves_nothing():
    circuit = half_open()
    late = circuit.acquire(31.0)
    assert circuit.wait(41.0) == 20.0
    assert circuit.next_change_at() == 61.0
    assert circuit.acquire(60.9) is None
    current = circuit.acquire(61.0)
    assert current is not None
    for _ in range(3):
        assert not circuit.record(late, 62.0, ok=False)
    circuit.release(late, 62.0)
    assert circuit.acquire(62.0) is None  # the other probe is still out
    assert circuit.state is HALF_OPEN


def test_the_second_outcome_of_a_probe_is_stale():
    circuit = half_open()
    probe = circuit.acquire(30.0)
    assert circuit.record(probe, 31.0, ok=True)
    assert not circuit.record(probe, 32.0, ok=False)
    assert circuit.state is HALF_OPEN


def test_a_stream_that_breaks_after_its_probe_succeeded_counts_as_a_failed_probe():
    circuit = half_open(probe_successes=2, max_probes=2)
    call(circuit, 31.0)
    assert circuit.record(circuit.current, 40.0, ok=False)
    assert circuit.state is OPEN


def test_a_stream_that_ends_well_after_its_probe_succeeded_counts_nothing_more():
    circuit = half_open(probe_successes=2)
    call(circuit, 31.0)
    for _ in range(5):
        assert circuit.record(circuit.current, 40.0, ok=True)
    assert circuit.state is HALF_OPEN
    assert circuit.statistics(40.0).successes == 1


def test_a_stream_that_breaks_after_the_circuit_closed_counts_in_the_new_state():
    circuit = ramping()
    assert circuit.record(circuit.current, 40.0, ok=False)
    assert circuit.statistics(40.0).consecutive_failures == 1


def test_no_probe_is_sent_before_the_retry_after_of_a_failed_one():
    circuit = half_open()
    call(circuit, 30.0, ok=False, retry_after=10.0)
    assert circuit.acquire(39.0) is None
    assert circuit.wait(39.0) == 1.0
    assert circuit.next_change_at() == 40.0
    assert circuit.acquire(40.0) is not None


def test_a_successful_probe_withdraws_the_retry_after_of_another():
    circuit = half_open(probes_at_once=2)
    first, second = circuit.acquire(30.0), circuit.acquire(30.0)
    circuit.record(first, 31.0, ok=False, retry_after=600.0)
    circuit.record(second, 32.0, ok=True)
    assert circuit.wait(32.0) == 0.0
    fail(circuit, 32.0, 2)
    assert circuit.state is OPEN
    assert circuit.wait(32.0) == 60.0  # halfway between 30 and 90


def test_a_slow_probe_is_a_success_all_the_same():
    circuit = half_open(probe_successes=1, slow_rate=0.01)
    call(circuit, 31.0, slow=True)
    assert circuit.state is RAMPING
    assert circuit.statistics(31.0).slow == 1


# --- early probes ----------------------------------------------------------------------------


def test_an_early_probe_is_allowed_once_in_a_tenth_of_the_break():
    circuit = opened()
    assert circuit.early_at(0.0) == 3.0
    assert circuit.acquire_early(2.9) is None
    first = circuit.acquire_early(3.0)
    assert first is not None
    circuit.record(first, 3.1, ok=False)
    assert circuit.early_at(3.1) == 6.0
    assert circuit.acquire_early(5.9) is None
    assert circuit.acquire_early(6.0) is not None


def test_early_probes_of_a_short_break_are_a_second_apart():
    assert opened(break_duration=5.0).early_at(0.0) == 1.0


def test_one_early_probe_is_out_at_a_time_until_it_times_out():
    circuit = opened(probe_timeout=10.0)
    late = circuit.acquire_early(3.0)
    assert circuit.early_at(4.0) == 13.0
    assert circuit.next_change_at() == 13.0
    assert circuit.acquire_early(12.9) is None
    assert circuit.acquire_early(13.0) is not None
    assert not circuit.record(late, 14.0, ok=True)
    assert circuit.state is OPEN


def test_a_cancelled_early_probe_frees_its_place_but_not_its_turn():
    circuit = opened()
    circuit.release(circuit.acquire_early(3.0), 3.5)
    assert circuit.early_at(3.5) == 6.0


def test_a_successful_early_probe_leaves_two_to_go():
    circuit = opened()
    assert circuit.record(circuit.acquire_early(3.0), 4.0, ok=True)
    assert circuit.state is HALF_OPEN
    assert circuit.changes[-1][:4] == (OPEN, HALF_OPEN, "early_success", 4.0)
    call(circuit, 4.0)
    call(circuit, 4.0)
    assert circuit.state is RAMPING


def test_a_successful_early_probe_recovers_at_once_where_one_success_is_enough():
    circuit = opened(probe_successes=1)
    circuit.record(circuit.acquire_early(3.0), 4.0, ok=True)
    assert [change.event for change in circuit.changes] == ["trip", "early_success", "recover"]
    assert circuit.state is RAMPING


def test_a_failed_early_probe_leaves_the_break_as_it_was():
    circuit = opened()
    assert circuit.record(circuit.acquire_early(3.0), 4.0, ok=False)
    assert circuit.state is OPEN
    assert circuit.wait(4.0) == 26.0


def test_only_a_retry_after_of_an_early_probe_stretches_the_break():
    circuit = opened()
    circuit.record(circuit.acquire_early(3.0), 4.0, ok=False, retry_after=100.0)
    assert circuit.wait(4.0) == 100.0
    assert circuit.statistics(4.0).break_duration == 104.0


def test_no_early_probe_is_sent_before_a_retry_after():
    circuit = breaker()
    fail(circuit, 0.0, 5, retry_after=20.0)
    assert circuit.early_at(0.0) == 20.0
    assert circuit.acquire_early(19.9) is None
    assert circuit.acquire_early(20.0) is not None
    hinted = breaker()
    fail(hinted, 0.0, 5, retry_after=30.0)
    assert hinted.early_at(0.0) is None


def test_early_probes_can_be_forbidden_and_exist_only_while_open():
    assert opened(early_probes=False).early_at(10.0) is None
    assert opened(early_probes=False).acquire_early(10.0) is None
    closed = breaker()
    assert closed.early_at(10.0) is None
    assert closed.acquire_early(10.0) is None
    assert half_open().acquire_early(31.0) is None


def test_asking_for_an_early_probe_when_the_break_is_over_gives_an_ordinary_one():
    circuit = opened()
    assert circuit.early_at(30.0) is None
    permit = circuit.acquire_early(30.0)
    assert circuit.state is HALF_OPEN
    assert circuit.record(permit, 31.0, ok=True)


def test_an_early_probe_still_out_when_the_break_ends_is_stale():
    circuit = opened()
    early = circuit.acquire_early(29.0)
    circuit.tick(30.0)
    assert not circuit.record(early, 31.0, ok=True)
    assert circuit.state is HALF_OPEN


# --- ramp ------------------------------------------------------------------------------------


def test_the_preferred_share_rises_from_a_tenth_to_everything():
    circuit = ramping()
    shares = []
    for second in (30, 37.5, 45, 52.5, 59.9):
        asked = sum(circuit.acquire(second) is not None for _ in range(1000))
        shares.append(round(asked / 1000, 2))
    assert shares == [0.1, 0.33, 0.55, 0.78, 1.0]
    assert circuit.statistics(45.0).share == pytest.approx(0.55)


def test_the_share_is_counted_out_evenly_without_chance_or_bursts():
    circuit = ramping()
    admitted = [circuit.acquire(30.0) is not None for _ in range(40)]
    assert [number for number, yes in enumerate(admitted, 1) if yes] == [10, 20, 30, 40]


def test_a_second_ramp_begins_without_the_credit_of_the_first():
    circuit = ramping()
    for _ in range(9):
        circuit.acquire(30.0)
    fail(circuit, 30.0)
    for _ in range(3):
        call(circuit, 100.0)
    assert circuit.state is RAMPING
    assert [circuit.acquire(100.0) is not None for _ in range(10)] == [False] * 9 + [True]


def test_a_request_over_the_share_is_admitted_when_it_insists_and_costs_the_share_nothing():
    circuit = ramping()
    for _ in range(9):
        assert circuit.acquire(30.0) is None
        assert circuit.acquire(30.0, insist=True) is not None
    assert circuit.acquire(30.0) is not None


def test_the_circuit_is_closed_when_the_ramp_is_over():
    circuit = ramping()
    assert circuit.next_change_at() == 60.0
    circuit.tick(59.9)
    assert circuit.state is RAMPING
    circuit.tick(60.0)
    assert circuit.state is CLOSED
    assert circuit.next_change_at() is None


def test_a_ramp_of_no_length_closes_the_circuit_at_once():
    circuit = half_open(ramp_duration=0.0)
    for _ in range(3):
        call(circuit, 31.0)
    assert circuit.state is CLOSED


def test_failures_while_ramping_open_it_again():
    circuit = ramping()
    fail(circuit, 40.0)
    assert circuit.state is OPEN


def test_clean_time_counts_from_the_end_of_the_ramp_however_late_anybody_looks():
    late, on_time = ramping(), ramping()
    on_time.tick(60.0)
    for circuit in (late, on_time):
        fail(circuit, 119.0)
        assert circuit.wait(119.0) == 60.0  # halfway between 30 and 3 * 30: no step back yet
    assert late.drain_changes() == on_time.drain_changes()


# --- by hand ---------------------------------------------------------------------------------


def opened_late():
    return opened(now=29.0)


@pytest.mark.parametrize("prepare", [breaker, opened_late, half_open, ramping])
@pytest.mark.parametrize(
    ("method", "dest"), [("force_open", FORCED_OPEN), ("disable", DISABLED), ("watch", METRICS_ONLY), ("reset", CLOSED)]
)
@pytest.mark.parametrize("before", [None, "force_open", "disable", "watch"])
def test_every_state_can_be_left_by_hand(prepare, method, dest, before):
    circuit = prepare()
    if before:
        getattr(circuit, before)(30.0)
    generation = circuit.generation
    getattr(circuit, method)(30.0)
    assert circuit.state is dest
    assert circuit.generation == generation + 1
    assert circuit.next_change_at() is None


def test_forced_open_admits_nothing_and_nobody_can_say_until_when():
    circuit = breaker()
    circuit.force_open(1.0)
    assert circuit.acquire(1e9, insist=True) is None
    assert circuit.acquire_early(1e9) is None
    assert circuit.wait(1.0) is None
    assert not circuit.record(circuit.current, 2.0, ok=True)
    assert not circuit.trip_now(2.0)


def test_disabled_admits_everything_and_counts_nothing():
    circuit = breaker()
    circuit.disable(1.0)
    for _ in range(100):
        call(circuit, 1.0, ok=False, slow=True)
    stats = circuit.statistics(1.0)
    assert (stats.state, stats.failures, stats.window_calls, stats.ignored) == (DISABLED, 0, 0, 100)


def test_metrics_only_counts_and_never_trips():
    circuit = breaker()
    circuit.watch(1.0)
    for _ in range(100):
        call(circuit, 1.0, ok=False, slow=True)
    stats = circuit.statistics(1.0)
    assert (stats.state, stats.failure_rate, stats.slow_rate, stats.failures) == (METRICS_ONLY, 1.0, 1.0, 100)
    assert not circuit.trip_now(1.0)
    assert circuit.wait(1.0) == 0.0


def test_reset_forgets_the_breaks_and_the_hints():
    circuit = breaker()
    fail(circuit, 0.0, 5, retry_after=1000.0)
    circuit.reset(1.0)
    fail(circuit, 2.0)
    assert circuit.wait(2.0) == 30.0


def test_what_began_before_a_reset_is_stale_after_it():
    circuit = breaker()
    fail(circuit, 1.0, 4)
    old = circuit.current
    circuit.reset(1.0)
    assert not circuit.record(old, 2.0, ok=False)
    assert circuit.statistics(2.0).consecutive_failures == 0


# --- by its owner ----------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [breaker, half_open, ramping])
def test_the_owner_can_trip_it_as_failures_would(prepare):
    circuit = prepare()
    assert circuit.trip_now(31.0)
    assert circuit.state is OPEN
    assert not circuit.trip_now(32.0)


# --- the whole -------------------------------------------------------------------------------


def test_the_textbook_breaker_is_a_matter_of_settings():
    circuit = Breaker("p", TEXTBOOK, rng=Jitter(), now=0.0)
    for start in (0.0, 100.0, 200.0):
        fail(circuit, start, 5)
        assert [circuit.acquire(start + later) is None for later in (0.0, 15.0, 29.9)] == [True] * 3
        assert circuit.acquire_early(start + 15.0) is None
        call(circuit, start + 30.0, ok=False)
        assert circuit.state is OPEN
        call(circuit, start + 60.0)
        assert circuit.state is CLOSED
        for _ in range(40):  # at any rate below one it stays closed
            fail(circuit, start + 60.0, 4)
            call(circuit, start + 60.0)
        assert circuit.state is CLOSED


def test_a_whole_story_is_told_by_its_changes_in_order():
    circuit = ramping()
    circuit.tick(1000.0)
    assert circuit.generation == 5
    assert circuit.drain_changes() == [
        (CLOSED, OPEN, "trip", 0.0, 30.0),
        (OPEN, HALF_OPEN, "probe", 30.0, None),
        (HALF_OPEN, RAMPING, "recover", 30.0, None),
        (RAMPING, CLOSED, "ramped", 60.0, None),
    ]
    assert circuit.changes == []


def test_settings_that_could_never_close_the_circuit_are_refused():
    with pytest.raises(ValueError, match=r"breaker 'p': max_probes \(2\) is below probe_successes"):
        breaker(max_probes=2)


def test_statistics_of_an_open_circuit_say_when_it_will_be_probed():
    stats = opened().statistics(10.0)
    assert (stats.name, stats.state, stats.generation) == ("p", OPEN, 2)
    assert (stats.break_duration, stats.reopens_in, stats.share) == (30.0, 20.0, 0.0)
    assert (stats.window_calls, stats.failure_rate) == (0, 0.0)
    assert repr(opened()) == "<Breaker p open, generation 2, 0 of 0 failed>"


# --- other settings while it runs ----------------------------------------------------------------


def test_other_settings_judge_what_comes_next_with_what_is_in_the_window():
    circuit = breaker()
    fail(circuit, 1.0, 4)
    circuit.reconfigure(replace(DEFAULTS, consecutive_failures=3))
    assert circuit.state is CLOSED, "settings alone open nothing"
    fail(circuit, 2.0, 1)
    assert circuit.state is OPEN


def test_other_settings_leave_a_break_as_long_as_it_was():
    circuit = opened()
    circuit.reconfigure(replace(DEFAULTS, break_duration=5.0))
    assert circuit.wait(0.0) == 30.0
    circuit.reset(1.0)
    fail(circuit, 1.0)
    assert circuit.wait(1.0) == 5.0


def test_probes_are_judged_by_the_numbers_they_were_sent_under():
    circuit = half_open()  # 3 successes of at most 5
    call(circuit, 31.0, ok=False)
    call(circuit, 31.0)
    call(circuit, 31.0)
    circuit.reconfigure(replace(DEFAULTS, max_probes=3, ramp_duration=0.0))
    assert circuit.settings == DEFAULTS
    call(circuit, 32.0)
    assert circuit.state is RAMPING
    assert circuit.settings.max_probes == 3


def test_of_settings_that_come_while_half_open_the_last_hold():
    circuit = half_open()
    circuit.reconfigure(replace(DEFAULTS, break_duration=5.0))
    circuit.reconfigure(replace(DEFAULTS, break_duration=6.0))
    circuit.reset(31.0)
    assert circuit.settings.break_duration == 6.0


def test_settings_with_which_it_could_never_close_are_refused():
    circuit = breaker()
    with pytest.raises(ValueError, match="below probe_successes"):
        circuit.reconfigure(replace(DEFAULTS, max_probes=2))
    assert circuit.settings == DEFAULTS


SETTINGS = st.builds(
    lambda failures, window, successes, more, ramp: replace(
        DEFAULTS, consecutive_failures=failures, window_calls=window, probe_successes=successes,
        max_probes=successes + more, ramp_duration=ramp,
    ),
    st.integers(1, 6), st.integers(1, 60), st.integers(1, 4), st.integers(0, 3), st.sampled_from([0.0, 10.0]),
)  # fmt: skip


@given(st.lists(st.one_of(SETTINGS, st.booleans(), st.sampled_from([0.5, 31.0, 301.0])), max_size=40))
def test_whatever_settings_come_when_a_provider_that_has_recovered_is_used_again(steps):
    circuit, now = breaker(), 1.0
    for step in steps:
        if isinstance(step, bool):
            permit = circuit.acquire(now, insist=True)
            if permit is not None:
                circuit.record(permit, now, ok=step)
        elif isinstance(step, float):
            now += step
        else:
            circuit.reconfigure(step)
    for _ in range(20):
        now += 301.0
        permit = circuit.acquire(now, insist=True)
        assert permit is not None
        circuit.record(permit, now, ok=True)
    circuit.tick(now + 301.0)
    assert circuit.state is CLOSED
