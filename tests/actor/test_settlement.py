"""The way back: what each outcome returns, to which circuit it speaks, and what it does to the key."""

import pytest
from actor_world import one

from resilio.actor import Outcome, Why
from resilio.errors import ERROR_RULES, Counts, ErrorClass
from resilio.events import LimitLearned
from resilio.models import Demand, LimitReading, Usage
from resilio.statemachines.actor import ActorState
from resilio.statemachines.breaker import BreakerState

LIMITS = {"m": {"requests_per_minute": 100, "tokens_per_minute": 1000}}
ASKED = Demand(100, 50)
KEY_FAULTS = (ErrorClass.UNAUTHORISED, ErrorClass.OUT_OF_CREDIT)

# What each error class does, written down a second time: provider circuit, target circuit (+ success,
# - failure, . nothing), key. With a spare key, so that setting one aside opens nothing.
EFFECTS = {
    ErrorClass.CONNECT: ("-", ".", "used"),
    ErrorClass.FIRST_TOKEN: ("+", "-", "used"),
    ErrorClass.IDLE: ("+", "-", "used"),
    ErrorClass.TOTAL: ("+", "-", "used"),
    ErrorClass.DISCONNECTED: ("+", "-", "used"),
    ErrorClass.TRUNCATED: ("+", "-", "used"),
    ErrorClass.MALFORMED: ("+", "-", "used"),
    ErrorClass.OVERLOADED: ("+", "-", "used"),
    ErrorClass.SERVER_ERROR: ("+", "-", "used"),
    ErrorClass.THROTTLED: ("+", ".", "rests"),
    ErrorClass.OUT_OF_CREDIT: ("+", ".", "aside"),
    ErrorClass.UNAUTHORISED: ("+", ".", "aside"),
    ErrorClass.TOO_LONG: ("+", ".", "used"),
    ErrorClass.UNSUPPORTED: ("+", ".", "used"),
    ErrorClass.REFUSED: ("+", ".", "used"),
    ErrorClass.CALLER: ("+", ".", "used"),
    ErrorClass.BUDGET: ("+", ".", "used"),
}


def counted(breaker, now):
    its = breaker.statistics(now)
    assert its.successes + its.failures <= 1
    return "+" if its.successes else "-" if its.failures else "."


def key_state(p):
    if p.record.keys[0].aside is not None:
        return "aside"
    return "rests" if p.resting() else "used"


def everything_is_back(p):
    assert p.record.in_flight == p.model().in_flight == 0
    for breaker in (p.record.breaker, p.model().breaker):
        assert breaker.statistics(p.now).probes_out == 0


@pytest.mark.parametrize("error_class", ErrorClass)
def test_each_error_class_speaks_to_its_own_circuit_and_key(error_class):
    p = one(LIMITS, keys=2)
    counts = ERROR_RULES[error_class].counts
    outcome = Outcome.IGNORED if counts is Counts.NEITHER else Outcome.FAILURE
    stale = p.settle(p.lease(demand=ASKED), outcome, error_class)
    assert stale is False
    assert (
        counted(p.record.breaker, p.now),
        counted(p.model().breaker, p.now),
        key_state(p),
    ) == EFFECTS[error_class]
    everything_is_back(p)


@pytest.mark.parametrize("error_class", [None, *ErrorClass])
@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.REJECTED])
def test_what_never_came_to_an_end_is_no_evidence_whatever_it_carries(outcome, error_class):
    p = one(LIMITS, keys=2)
    p.settle(p.lease(demand=ASKED), outcome, error_class)
    assert (counted(p.record.breaker, p.now), counted(p.model().breaker, p.now), key_state(p)) == (".", ".", "used")
    everything_is_back(p)


@pytest.mark.parametrize(
    "error_class", [error for error in ErrorClass if ERROR_RULES[error].counts is not Counts.NEITHER]
)
def test_a_failure_that_was_ignored_for_the_callers_sake_opens_nothing(error_class):
    p = one(LIMITS)
    p.settle(p.lease(), Outcome.IGNORED, error_class)
    assert counted(p.model().breaker, p.now) == "."
    assert counted(p.record.breaker, p.now) == ("." if error_class is ErrorClass.CONNECT else "+")


def test_ignored_without_a_class_says_nothing():
    p = one(LIMITS)
    p.settle(p.lease(), Outcome.IGNORED)
    assert (counted(p.record.breaker, p.now), counted(p.model().breaker, p.now)) == (".", ".")


def test_a_failure_nobody_classified_still_counts_for_the_target():
    p = one(LIMITS)
    p.settle(p.lease(), Outcome.FAILURE)
    assert (counted(p.record.breaker, p.now), counted(p.model().breaker, p.now)) == ("+", "-")


@pytest.mark.parametrize(("outcome", "slow"), [(Outcome.SUCCESS, 0), (Outcome.SLOW, 1)])
def test_an_answer_counts_for_both_circuits_and_a_slow_one_for_the_targets_slowness(outcome, slow):
    p = one(LIMITS)
    lease = p.lease()
    p.later(3)
    p.settle(lease, outcome)
    assert (counted(p.record.breaker, p.now), counted(p.model().breaker, p.now)) == ("+", "+")
    assert p.model().breaker.statistics(p.now).slow == slow
    assert p.model().peak.value(p.now) == 3.0
    assert len(p.model().latencies) == 1
    everything_is_back(p)


def test_failing_fast_does_not_look_like_being_fast():
    p = one()
    p.fail(ErrorClass.SERVER_ERROR)
    assert p.model().peak.value(p.now) == p.record.settings.breaker.slow_first_token


def test_settling_twice_raises_and_gives_nothing_back_twice():
    p = one(LIMITS)
    lease = p.lease(demand=ASKED)
    p.settle(lease, Outcome.CANCELLED)
    before = p.level()
    with pytest.raises(RuntimeError, match="lease on p/m settled twice: cancelled, then success"):
        p.settle(lease)
    assert p.level() == before
    everything_is_back(p)


# --- what the rate limits get back -------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "error_class", "sent", "usage", "requests", "tokens"),
    [
        (Outcome.SUCCESS, None, True, Usage(100, 20), 99, 880),
        (Outcome.SUCCESS, None, True, Usage(100, 80), 99, 820),
        (Outcome.SUCCESS, None, True, None, 99, 850),
        (Outcome.REJECTED, None, False, None, 100, 1000),
        (Outcome.CANCELLED, None, False, None, 100, 1000),
        (Outcome.CANCELLED, None, True, None, 99, 900),
        (Outcome.CANCELLED, None, True, Usage(100, 7), 99, 893),
        (Outcome.FAILURE, ErrorClass.CONNECT, True, None, 100, 1000),
        (Outcome.FAILURE, ErrorClass.SERVER_ERROR, True, None, 99, 900),
        (Outcome.FAILURE, ErrorClass.TRUNCATED, True, Usage(100, 30), 99, 870),
        (Outcome.IGNORED, ErrorClass.THROTTLED, True, None, 99, 900),
        (Outcome.IGNORED, ErrorClass.CALLER, True, None, 99, 900),
    ],
)
def test_what_was_reserved_is_corrected_to_what_was_used(outcome, error_class, sent, usage, requests, tokens):
    p = one(LIMITS)
    lease = p.lease(demand=ASKED)
    assert (p.level("requests"), p.level()) == pytest.approx((99, 850))
    lease.sent = sent
    lease.settle(p.now, outcome, usage=usage, error_class=error_class)
    assert (p.level("requests"), p.level()) == pytest.approx((requests, tokens))


def test_headers_lower_a_limit_and_listeners_are_told():
    p = one(LIMITS)
    lease = p.lease(demand=ASKED)
    lease.learn(p.now, [LimitReading("tokens", limit=1000, remaining=200), LimitReading("requests", 100, 99)])
    assert p.level() == 200
    assert [event for event in p.events if isinstance(event, LimitLearned)] == [
        LimitLearned("p", 0, "m", "tokens", 1000, 200, p.now)
    ]


# --- circuits --------------------------------------------------------------------------------


def test_failures_to_connect_open_the_provider_and_no_target():
    p = one({"m": {}, "n": {}})
    p.fail(ErrorClass.CONNECT, 3, "m")
    p.fail(ErrorClass.CONNECT, 2, "n")
    assert p.record.breaker.state is BreakerState.OPEN
    assert {p.model(name).breaker.state for name in "mn"} == {BreakerState.CLOSED}
    assert [p.refusal(name).why for name in "mn"] == [Why.PROVIDER_OPEN] * 2


def test_failures_of_one_model_leave_its_sibling_and_the_provider_alone():
    p = one({"m": {}, "n": {}})
    p.fail(ErrorClass.OVERLOADED, 5, "m")
    assert p.refusal("m").why == Why.TARGET_OPEN
    assert p.record.breaker.state is BreakerState.CLOSED
    p.lease("n")


def test_a_retry_after_stretches_the_break_it_begins():
    p = one()
    p.fail(ErrorClass.OVERLOADED, 5, retry_after=45.0)
    assert p.refusal().retry_in == 45.0


def test_an_overloaded_answer_proves_the_way_to_a_provider_that_was_out_of_reach():
    p = one()
    p.fail(ErrorClass.CONNECT, 5)
    p.later(30)
    for _ in range(3):
        p.fail(ErrorClass.OVERLOADED)
    assert p.record.breaker.state is BreakerState.RAMPING
    assert p.model().breaker.statistics(p.now).failures == 3


# --- throttled keys ----------------------------------------------------------------------------


def test_a_hint_is_obeyed_to_the_second():
    p = one()
    p.ignore(ErrorClass.THROTTLED, retry_after=12.5)
    assert p.refusal().retry_in == pytest.approx(12.5, abs=1e-3)


def test_without_a_hint_pauses_double_half_of_each_certain_and_none_over_thirty_seconds():
    pauses = []
    p = one()
    for _ in range(8):
        p.ignore(ErrorClass.THROTTLED)
        pauses.append(p.resting())
        p.later(p.resting() + 1)
    for pause, longest in zip(pauses, (2, 4, 8, 16, 30, 30, 30, 30), strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 8, "half of it is random"


def test_requests_throttled_together_count_as_one_pause():
    p = one()
    burst = [p.lease() for _ in range(50)]
    p.later(1)
    for lease in burst:
        p.settle(lease, Outcome.IGNORED, ErrorClass.THROTTLED)
    assert 1 <= p.resting() <= 2


def test_the_longest_hint_of_a_burst_holds():
    p = one()
    burst = [p.lease() for _ in range(3)]
    p.later(1)
    for lease, hint in zip(burst, (5.0, 9.0, 2.0), strict=True):
        p.settle(lease, Outcome.IGNORED, ErrorClass.THROTTLED, retry_after=hint)
    assert p.resting() == 9.0


def test_an_answer_ends_the_doubling_unless_it_was_asked_for_before_the_pause():
    p = one()
    before = p.lease()
    p.later(1)
    p.ignore(ErrorClass.THROTTLED)
    p.later(p.resting() + 1)
    p.settle(before)
    p.ignore(ErrorClass.THROTTLED)
    assert 2 <= p.resting() <= 4, "the old success tells nothing"
    p.later(p.resting() + 1)
    p.settle(p.lease())
    p.ignore(ErrorClass.THROTTLED)
    assert 1 <= p.resting() <= 2


# --- streams: the first content decides a probe ------------------------------------------------


def probing(**how):
    p = one(**how)
    p.fail(ErrorClass.SERVER_ERROR, 5)
    p.later(30)
    return p, p.lease()


def test_the_first_content_of_a_stream_decides_the_probe_while_the_rest_flows():
    p, stream = probing()
    assert p.refusal().why == Why.TARGET_OPEN
    stream.first_token(p.now, 0.5)
    assert p.lease().probe, "the next probe may go"
    assert stream.probe, "it was one, whatever became of it since"
    assert list(p.model().first_tokens._values) == [0.5]


def test_a_probe_that_streamed_and_then_broke_fails_while_probing_goes_on_and_is_stale_after():
    p, stream = probing()
    stream.first_token(p.now, 0.5)
    assert p.settle(stream, Outcome.FAILURE, ErrorClass.TRUNCATED) is False
    assert p.model().breaker.statistics(p.now).failures == 6
    p, stream = probing()
    stream.first_token(p.now, 0.5)
    for _ in range(2):
        p.settle(p.lease())
    assert p.model().breaker.state is BreakerState.RAMPING
    assert p.settle(stream, Outcome.FAILURE, ErrorClass.TRUNCATED) is True
    assert p.model().breaker.statistics(p.now).window_failures == 0


@pytest.mark.parametrize("error_class", [ErrorClass.CONNECT, *KEY_FAULTS, ErrorClass.THROTTLED, ErrorClass.CALLER])
def test_a_probe_that_ended_in_something_else_than_the_targets_health_frees_its_place(error_class):
    p, probe = probing(keys=3)
    outcome = Outcome.FAILURE if error_class is ErrorClass.CONNECT else Outcome.IGNORED
    p.settle(probe, outcome, error_class)
    assert p.lease().probe


def test_a_probe_whose_content_came_too_late_is_stale_then_and_when_it_ends():
    p, stream = probing()
    p.later(31)
    stream.first_token(p.now, 31.0)
    assert p.model().breaker.statistics(p.now).stale == 1
    assert p.settle(stream, Outcome.FAILURE, ErrorClass.TRUNCATED) is True
    assert p.model().breaker.state is BreakerState.HALF_OPEN
    everything_is_back(p)


def test_a_streamed_probe_counts_once_for_the_provider_whose_circuit_was_closed():
    p, stream = probing()
    before = p.record.breaker.statistics(p.now).successes
    stream.first_token(p.now, 0.5)
    p.settle(stream)
    assert p.record.breaker.statistics(p.now).successes == before + 1


def test_first_content_shows_that_a_key_set_aside_works_again():
    p = one()
    p.ignore(ErrorClass.UNAUTHORISED)
    p.later(30)
    p.lease().first_token(p.now, 0.2)
    assert p.record.keys[0].aside is None


# --- waking the actor --------------------------------------------------------------------------


def test_the_last_request_of_a_draining_provider_wakes_its_actor():
    p = one()
    lease = p.lease()
    p.record.lifecycle.drain(p.now)
    p.record.wake.clear()
    p.settle(lease)
    assert p.record.lifecycle.state is ActorState.DRAINING
    assert p.record.wake.is_set()


def test_with_nobody_waiting_settling_wakes_nobody():
    p = one()
    p.record.wake.clear()
    p.settle(p.lease())
    assert not p.record.wake.is_set()


def test_a_lease_and_a_record_tell_what_they_are():
    p = one()
    lease = p.lease()
    assert repr(lease) == "<Lease p/m key 0 open>"
    assert lease.provider is p.record
    assert repr(p.record) == "<ProviderRecord p running, circuit closed, 1 in flight, 0 waiting>"
    assert repr(p.record.keys[0]) == "<Key 0 in use>"
    p.settle(lease, Outcome.IGNORED, ErrorClass.UNAUTHORISED)
    assert (repr(lease), repr(p.record.keys[0])) == ("<Lease p/m key 0 ignored>", "<Key 0 unauthorised>")


def test_a_listener_that_raises_is_logged_and_harms_nobody(caplog):
    p = one()

    def broken(event):
        raise ValueError("a bug of the listener")

    p.record.listeners.insert(0, broken)
    p.fail(ErrorClass.SERVER_ERROR, 5)
    assert p.refusal().why == Why.TARGET_OPEN
    assert len(p.events) == 1, "the others are told"
    assert "a bug of the listener" in caplog.text
