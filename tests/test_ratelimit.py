"""Rate limits: what is admitted never passes burst + rate x time, and headers are followed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilio.models import Demand, LimitReading
from resilio.ratelimit import DIMENSIONS, RateLimiter, TokenBucket

SMALL = Demand(10, 10)


def level(limiter, now, name="tokens"):
    return limiter.statistics(now).dimensions[name].level


# --- one bucket ------------------------------------------------------------------------------


def test_a_bucket_starts_full_and_refills_no_further_than_its_burst():
    bucket = TokenBucket(rate_per_s=2, burst=10, now=0)
    assert bucket.reserve(0, 10) == 0.0
    assert bucket.level(3) == 6
    assert bucket.level(1_000) == 10


def test_a_bucket_takes_nothing_when_it_says_wait():
    bucket = TokenBucket(rate_per_s=2, burst=10, now=0)
    bucket.reserve(0, 8)
    assert bucket.reserve(0, 4) == pytest.approx(1.0, abs=1e-5)
    assert bucket.level(0) == 2


def test_more_than_the_burst_is_never_there():
    assert TokenBucket(rate_per_s=2, burst=10, now=0).wait(0, 10.5) == math.inf


def test_settling_may_run_into_debt_which_delays_even_an_empty_request():
    bucket = TokenBucket(rate_per_s=2, burst=10, now=0)
    bucket.settle(0, -14)
    assert bucket.level(0) == -4
    assert bucket.wait(0, 0) == pytest.approx(2.0, abs=1e-5)
    assert bucket.wait(2, 0) == 0.0


def test_a_clock_that_steps_back_refills_nothing_twice():
    bucket = TokenBucket(rate_per_s=1, burst=10, now=100)
    bucket.reserve(100, 10)
    assert bucket.level(105) == 5
    assert bucket.level(50) == 5
    assert bucket.level(106) == 6


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1), (math.nan, 1), (1, math.inf)])
def test_a_bucket_without_rate_or_burst_is_refused(rate, burst):
    with pytest.raises(ValueError, match="positive"):
        TokenBucket(rate, burst, 0)


@given(
    rate=st.floats(1e-3, 1e6),
    minutes=st.floats(0.01, 2_000),
    start=st.floats(0, 1e7),
    first=st.floats(0, 1),
    second=st.floats(0, 1),
)
def test_the_wait_it_tells_is_enough_and_a_little_less_is_not(rate, minutes, start, first, second):
    bucket = TokenBucket(rate, rate * 60 * minutes, start)
    bucket.reserve(start, first * bucket.burst)
    seconds = bucket.wait(start, second * bucket.burst)
    if seconds > 1e-3:
        assert bucket.wait(start + seconds * 0.99, second * bucket.burst) > 0
    assert bucket.reserve(start + seconds, second * bucket.burst) == 0.0
    assert bucket.level(start + seconds) >= 0


# --- reserve, settle, refund -----------------------------------------------------------------


def test_without_limits_everything_is_admitted():
    limiter = RateLimiter({}, now=0)
    assert limiter.reserve(0, Demand(10**9, 10**9)) == 0.0
    assert limiter.wait(0, SMALL) == 0.0
    limiter.settle(0, SMALL, Demand())
    limiter.refund(0, SMALL)
    assert limiter.statistics(0).dimensions == {}


def test_each_dimension_takes_its_own_part_of_the_demand():
    limiter = RateLimiter(dict.fromkeys(DIMENSIONS, 600), now=0)
    assert limiter.reserve(0, Demand(100, 30)) == 0.0
    assert {name: seen.level for name, seen in limiter.statistics(0).dimensions.items()} == {
        "requests": 599, "tokens": 470, "input_tokens": 500, "output_tokens": 570,
    }  # fmt: skip


@given(
    limits=st.dictionaries(st.sampled_from(DIMENSIONS), st.floats(1, 2000)),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 300), st.integers(0, 300), st.booleans()), max_size=30),
)
def test_to_look_for_room_and_take_it_is_to_reserve(limits, steps):
    one, other, now = RateLimiter(limits, 0.0), RateLimiter(limits, 0.0), 0.0
    for pause, taken, written, rest in steps:
        now, demand = now + pause, Demand(taken, written)
        if rest:
            one.rest(now + 5)
            other.rest(now + 5)
        room = one.room(now, demand)
        if room >= 0:
            one.take(demand)
        assert (room >= 0) == (other.reserve(now, demand) == 0.0)
        assert room <= 1
        assert one.statistics(now) == other.statistics(now)


def test_one_dimension_without_room_takes_from_none():
    limiter = RateLimiter({"requests": 60, "tokens": 60}, now=0)
    limiter.reserve(0, Demand(50, 0))
    assert limiter.reserve(0, SMALL) == pytest.approx(10.0, abs=1e-5)
    assert level(limiter, 0, "requests") == 59
    assert level(limiter, 0) == 10


def test_the_longest_wait_of_all_dimensions_is_told():
    limiter = RateLimiter({"requests": 1, "tokens": 60}, now=0)
    limiter.reserve(0, Demand(60, 0))
    assert limiter.wait(0, Demand(5, 0)) == pytest.approx(60.0, abs=1e-5)


def test_a_request_larger_than_the_burst_is_told_never_even_while_resting():
    limiter = RateLimiter({"tokens": 600}, now=0)
    limiter.rest(10)
    assert limiter.reserve(0, Demand(601, 0)) == math.inf


def test_asking_for_the_wait_takes_nothing():
    limiter = RateLimiter({"tokens": 600}, now=0)
    assert limiter.wait(0, SMALL) == 0.0
    assert level(limiter, 0) == 600


def test_settling_gives_tokens_back_and_keeps_the_request_spent():
    limiter = RateLimiter({"requests": 60, "tokens": 600}, now=0)
    limiter.reserve(0, Demand(100, 200))
    limiter.settle(0, Demand(100, 200), Demand(110, 50))
    assert level(limiter, 0) == 440
    assert level(limiter, 0, "requests") == 59


def test_an_answer_longer_than_reserved_is_paid_off_before_the_next_request():
    limiter = RateLimiter({"tokens": 600}, now=0)
    limiter.reserve(0, Demand(600, 0))
    limiter.settle(0, Demand(600, 0), Demand(600, 100))
    assert level(limiter, 0) == -100
    assert limiter.reserve(9, Demand()) == pytest.approx(1.0, abs=1e-5)


def test_credit_never_raises_a_level_above_the_burst():
    limiter = RateLimiter({"tokens": 600}, now=0)
    limiter.reserve(0, Demand(300, 0))
    limiter.settle(1_000, Demand(300, 0), Demand())
    assert level(limiter, 1_000) == 600


def test_a_refund_gives_the_request_back_too():
    limiter = RateLimiter({"requests": 60, "tokens": 600}, now=0)
    limiter.reserve(0, SMALL)
    limiter.refund(0, SMALL)
    assert level(limiter, 0, "requests") == 60
    assert level(limiter, 0) == 600


def test_a_shorter_burst_spreads_the_same_rate():
    limiter = RateLimiter({"tokens": 600}, now=0, burst_seconds=10)
    assert limiter.wait(0, Demand(101, 0)) == math.inf
    assert limiter.reserve(0, Demand(100, 0)) == 0.0
    assert limiter.reserve(10, Demand(100, 0)) == 0.0


def test_less_than_one_request_a_burst_still_admits_one():
    limiter = RateLimiter({"requests": 2}, now=0, burst_seconds=10)
    assert limiter.reserve(0, SMALL) == 0.0
    assert limiter.reserve(0, SMALL) == pytest.approx(30.0, abs=1e-5)


def test_a_limit_of_an_unknown_dimension_is_refused():
    with pytest.raises(ValueError, match="unknown dimension 'tokens_per_minute'; known are requests, tokens"):
        RateLimiter({"tokens_per_minute": 5}, now=0)


def test_statistics_and_repr_tell_how_it_stands():
    limiter = RateLimiter({"tokens": 600}, now=0)
    limiter.rest(4)
    seen = limiter.statistics(1)
    assert (seen.resting, seen.dimensions["tokens"].rate, seen.dimensions["tokens"].limit) == (3, 10, 600)
    assert not seen.dimensions["tokens"].learned
    assert "tokens: <TokenBucket 600 of 600" in repr(limiter)
    assert repr(RateLimiter({}, now=0)) == "<RateLimiter without limits>"


# --- rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"tokens": 600}])
def test_nothing_is_admitted_before_the_rest_is_over(limits):
    limiter = RateLimiter(limits, now=0)
    limiter.rest(7)
    seconds = limiter.reserve(2, SMALL)
    assert seconds == pytest.approx(5.0, abs=1e-5)
    assert limiter.reserve(2 + seconds, SMALL) == 0.0


def test_of_several_rests_the_longest_holds():
    limiter = RateLimiter({}, now=0)
    limiter.rest(7)
    limiter.rest(3)
    limiter.rest(math.nan)
    assert limiter.wait(0, SMALL) == pytest.approx(7.0, abs=1e-5)


# --- learning from headers -------------------------------------------------------------------


def test_what_remains_by_the_header_lowers_the_level_and_never_raises_it():
    limiter = RateLimiter({"tokens": 600}, now=0)
    assert limiter.learn(0, LimitReading("tokens", 600, 200))
    assert level(limiter, 0) == 200
    assert not limiter.learn(0, LimitReading("tokens", 600, 500))
    assert level(limiter, 0) == 200


def test_what_remains_counts_without_a_limit_too():
    limiter = RateLimiter({"tokens": 600}, now=0)
    assert limiter.learn(0, LimitReading("tokens", remaining=0))
    assert limiter.wait(0, SMALL) == pytest.approx(2.0, abs=1e-5)


def test_a_header_below_the_configuration_is_followed_down_and_up_again_but_not_above():
    limiter = RateLimiter({"tokens": 600}, now=0)
    assert limiter.learn(0, LimitReading("tokens", 300, 300))
    seen = limiter.statistics(0).dimensions["tokens"]
    assert (seen.limit, seen.rate, seen.level, seen.learned) == (300, 5, 300, True)
    assert not limiter.learn(0, LimitReading("tokens", 480, 480))
    seen = limiter.statistics(0).dimensions["tokens"]
    assert (seen.limit, seen.rate, seen.level, seen.learned) == (480, 8, 300, True)
    assert not limiter.learn(0, LimitReading("tokens", 9_000, 9_000))
    seen = limiter.statistics(0).dimensions["tokens"]
    assert (seen.limit, seen.rate, seen.level, seen.learned) == (600, 10, 300, False)


def test_a_limit_counted_over_days_does_not_slow_a_configured_rate():
    limiter = RateLimiter({"requests": 30}, now=0)
    assert not limiter.learn(0, LimitReading("requests", 14_400, 14_380, reset_after=120))
    assert limiter.statistics(0).dimensions["requests"].rate == 0.5


def test_a_dimension_nobody_configured_is_learned():
    limiter = RateLimiter({}, now=0)
    assert limiter.learn(0, LimitReading("requests", 1_000, 400, reset_after=120))
    seen = limiter.statistics(0).dimensions["requests"]
    assert (seen.limit, seen.level, seen.rate, seen.learned) == (1_000, 400, 5, True)
    assert limiter.reserve(0, SMALL) == 0.0
    assert level(limiter, 0, "requests") == 399


def test_a_learned_limit_without_a_reset_is_taken_for_one_of_a_minute():
    limiter = RateLimiter({}, now=0)
    assert limiter.learn(0, LimitReading("tokens", 6_000))
    seen = limiter.statistics(0).dimensions["tokens"]
    assert (seen.level, seen.rate) == (6_000, 100)


def test_a_reading_without_a_reset_keeps_the_rate_of_the_last_one_that_had_it():
    limiter = RateLimiter({}, now=0)
    limiter.learn(0, LimitReading("requests", 1_000, 400, reset_after=120))
    assert limiter.learn(0, LimitReading("requests", 1_000, 100))
    assert limiter.statistics(0).dimensions["requests"].rate == 5
    assert limiter.learn(0, LimitReading("requests", remaining=40, reset_after=480))
    assert limiter.statistics(0).dimensions["requests"].rate == 2


def test_a_learned_limit_that_rises_is_followed_up():
    limiter = RateLimiter({}, now=0)
    limiter.learn(0, LimitReading("tokens", 600, 100))
    assert not limiter.learn(0, LimitReading("tokens", 1_200, 1_000))
    seen = limiter.statistics(0).dimensions["tokens"]
    assert (seen.limit, seen.rate, seen.level) == (1_200, 20, 100)


def test_a_fixed_window_at_its_beginning_is_not_taken_for_a_slow_refill():
    limiter = RateLimiter({}, now=0)
    limiter.learn(0, LimitReading("requests", 500, 499, reset_after=60))
    for _ in range(499):
        limiter.reserve(0, Demand())
    assert limiter.wait(0, Demand()) < 1


def test_a_reset_at_the_edge_of_what_floats_hold_makes_no_rate_of_infinity_or_nothing():
    for reset in (5e-324, 1e308):
        limiter = RateLimiter({}, now=0)
        assert limiter.learn(0, LimitReading("tokens", 1e15, 0, reset_after=reset))
        assert 0 < limiter.statistics(0).dimensions["tokens"].rate < math.inf


def test_the_rounding_of_headers_is_followed_and_not_reported():
    limiter = RateLimiter({"tokens": 100_000}, now=0)
    assert not limiter.learn(0, LimitReading("tokens", 100_000, 99_500))
    assert level(limiter, 0) == 99_500


@pytest.mark.parametrize(
    "reading",
    [
        LimitReading("tokens", limit=-1, remaining=-1),
        LimitReading("tokens", limit=0, remaining=0),
        LimitReading("tokens", limit=100, remaining=101),
        LimitReading("tokens", limit=math.nan, remaining=5),
        LimitReading("tokens", limit=math.inf),
        LimitReading("tokens", limit=1e300),
        LimitReading("tokens", limit=1e-300, remaining=0),
        LimitReading("tokens", limit=100, remaining=math.nan),
        LimitReading("tokens", limit=100, remaining=5, reset_after=-3),
        LimitReading("tokens", limit=100, remaining=5, reset_after=math.nan),
        LimitReading("tokens", reset_after=3),
        LimitReading("tokens"),
        LimitReading("images", limit=100, remaining=5),
    ],
    ids=str,
)
@pytest.mark.parametrize("limits", [{}, {"tokens": 600}])
def test_a_reading_that_makes_no_sense_changes_nothing(limits, reading):
    limiter = RateLimiter(limits, now=0)
    before = limiter.statistics(0)
    assert not limiter.learn(0, reading)
    assert limiter.statistics(0) == before


def test_what_remains_of_an_unknown_limit_makes_no_bucket():
    limiter = RateLimiter({}, now=0)
    assert not limiter.learn(0, LimitReading("tokens", remaining=5))
    assert limiter.statistics(0).dimensions == {}


numbers = st.none() | st.floats() | st.integers(-2, 2_000).map(float)


@pytest.mark.parametrize("configured", [{}, {"requests": 6000.0}])
@pytest.mark.parametrize("at_once", [1, 120])
def test_a_reset_that_cannot_be_true_does_not_starve_a_limit_of_which_nearly_all_is_left(configured, at_once):
    limiter, now, admitted = RateLimiter(configured, 0.0), 0.0, 0
    for _ in range(600):
        now += 1.0
        got = sum(limiter.reserve(now, SMALL) == 0.0 for _ in range(at_once))
        for _ in range(got):  # milliseconds taken for seconds, or an instant by a clock that is off
            limiter.learn(now, LimitReading("requests", 120.0, 119.0, 500.0))
        admitted += got
    assert admitted >= 500


@given(
    limits=st.sampled_from([{}, {"tokens": 600.0}]),
    steps=st.lists(st.tuples(st.floats(0, 100), numbers, numbers, numbers), max_size=20),
)
def test_no_reading_whatever_breaks_a_limiter_or_raises_what_is_in_hand(limits, steps):
    limiter, now = RateLimiter(limits, now=0), 0.0
    for pause, *values in steps:
        now += pause
        before = limiter.statistics(now).dimensions
        limiter.learn(now, LimitReading("tokens", *values))
        after = limiter.statistics(now).dimensions
        for name, seen in after.items():
            assert 0 < seen.rate < math.inf
            assert 0 < seen.limit < math.inf
            assert seen.level <= seen.limit
            if name in before:
                assert seen.level <= before[name].level
            if limits:
                assert seen.limit <= 600
                assert seen.rate <= 10
        seconds = limiter.wait(now, Demand(1, 0))
        assert seconds == math.inf or limiter.reserve(now + seconds, Demand(1, 0)) == 0.0
        now += min(seconds, 1e6)


# --- any order of events ---------------------------------------------------------------------

# Times are quarters of seconds and rates whole numbers: floats are exact, the model is compared with ==.
LIMITS = {"requests": 60, "tokens": 960, "output_tokens": 480}
tokens = st.integers(0, 500)
demands = st.builds(Demand, tokens, tokens)


def takes(name, demand):
    return {
        "requests": 1,
        "tokens": demand.input_tokens + demand.output_tokens,
        "output_tokens": demand.output_tokens,
    }[name]


class AnyOrder(RuleBasedStateMachine):
    """Against a list of everything that happened, summed up anew from the beginning each time."""

    @initialize()
    def begin(self):
        self.now = 0.0
        self.limiter = RateLimiter(LIMITS, now=0.0)
        self.events = {name: [] for name in LIMITS}
        self.rests = []
        self.open = []

    def naive(self, name):
        """Level, burst and rate of one dimension."""
        level = burst = LIMITS[name]
        rate, at = burst / 60, 0.0
        for when, what, amount in [*self.events[name], (self.now, "credit", 0)]:
            level = min(burst, level + (when - at) * rate)
            at = when
            if what == "limit":
                burst = min(amount, LIMITS[name])
                rate = burst / 60
                level = min(level, burst)
            elif what == "remaining":
                level = min(level, amount)
            else:
                level = min(burst, level + amount)
        return level, burst, rate

    def note(self, name, what, amount):
        self.events[name].append((self.now, what, amount))

    @rule(quarters=st.integers(1, 120))
    def time_passes(self, quarters):
        self.now += quarters / 4

    @rule(demand=demands)
    def reserve(self, demand):
        levels = {name: self.naive(name) for name in LIMITS}
        never = any(takes(name, demand) > burst for name, (_, burst, _) in levels.items())
        room = all(takes(name, demand) <= level for name, (level, _, _) in levels.items())
        resting = any(until > self.now for until in self.rests)
        seconds = self.limiter.reserve(self.now, demand)
        assert (seconds == 0) == (room and not resting)
        assert (seconds == math.inf) == never
        if 0 < seconds < math.inf:
            waits = [(takes(name, demand) - level) / rate for name, (level, _, rate) in levels.items()]
            waits += [until - self.now for until in self.rests]
            assert seconds == pytest.approx(max(waits), abs=1e-5)
        if seconds == 0:
            self.open.append(demand)
            for name in LIMITS:
                self.note(name, "reserve", -takes(name, demand))

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 99), used=demands)
    def settle(self, pick, used):
        reserved = self.open.pop(pick % len(self.open))
        self.limiter.settle(self.now, reserved, used)
        for name in LIMITS:
            self.note(name, "credit", takes(name, reserved) - takes(name, used))

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 99))
    def refund(self, pick):
        reserved = self.open.pop(pick % len(self.open))
        self.limiter.refund(self.now, reserved)
        for name in LIMITS:
            self.note(name, "credit", takes(name, reserved))

    @rule(quarters=st.integers(-4, 80))
    def rest(self, quarters):
        self.limiter.rest(self.now + quarters / 4)
        self.rests.append(self.now + quarters / 4)

    @rule(name=st.sampled_from(sorted(LIMITS)), limit=st.integers(1, 20), share=st.sampled_from([0, 0.25, 1]))
    def a_header_tells(self, name, limit, share):
        limit *= 60
        self.limiter.learn(self.now, LimitReading(name, limit, limit * share))
        self.note(name, "limit", limit)
        self.note(name, "remaining", limit * share)

    @rule()  # not an invariant: looking refills the buckets, which must also work when nobody looks
    def look(self):
        for name, seen in self.limiter.statistics(self.now).dimensions.items():
            assert (seen.level, seen.limit, seen.rate) == self.naive(name)

    @invariant()
    def no_stretch_of_time_admitted_more_than_burst_and_rate_allow(self):
        for name, limit in LIMITS.items():
            taken = [(when, -amount, what) for when, what, amount in self.events[name] if what in ("reserve", "credit")]
            for first in range(len(taken)):
                net = 0
                for when, amount, what in taken[first:]:
                    net += amount
                    if what == "reserve":  # debt of a settled answer may stand until the next admission
                        assert net <= limit + limit / 60 * (when - taken[first][0])


TestAnyOrder = AnyOrder.TestCase


# --- other limits while it runs ------------------------------------------------------------------


def test_a_limit_that_stays_keeps_what_headers_lowered_it_to():
    limiter = RateLimiter({"tokens": 600}, 0.0)
    limiter.learn(0.0, LimitReading("tokens", limit=300, remaining=200, reset_after=20.0))
    before = limiter.statistics(1.0)
    limiter.reconfigure({"tokens": 600}, 1.0)
    assert limiter.statistics(1.0) == before


def test_another_limit_keeps_debts_and_rests():
    limiter = RateLimiter({"tokens": 600}, 0.0)
    limiter.reserve(0.0, Demand(600, 0))
    limiter.settle(0.0, Demand(600, 0), Demand(900, 0))
    limiter.rest(5.0)
    limiter.reconfigure({"tokens": 6000}, 0.0)
    assert limiter.statistics(0.0).dimensions["tokens"].level == -300
    assert limiter.wait(0.0, Demand(0, 0)) == pytest.approx(5.0)


def test_a_limit_configured_no_longer_goes_and_a_learned_one_stays_until_it_is_configured():
    limiter = RateLimiter({"tokens": 600}, 0.0)
    limiter.learn(0.0, LimitReading("requests", limit=100, remaining=40, reset_after=60.0))
    limiter.reconfigure({}, 0.0)
    assert list(limiter.statistics(0.0).dimensions) == ["requests"]
    limiter.reconfigure({"requests": 30, "input_tokens": 50}, 0.0)
    now = limiter.statistics(0.0).dimensions
    assert (now["requests"].level, now["requests"].limit, now["requests"].learned) == (30, 30, False)
    assert now["input_tokens"].level == 50
    assert limiter.reserve(0.0, Demand(51, 0)) == float("inf")


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["reserve", "reconfigure", "later"]), st.integers(1, 900), st.sampled_from([60, 600, 6000])
        ),
        max_size=40,
    )
)
def test_no_order_of_reconfigurations_admits_more_than_the_largest_limit_allows(steps):
    limiter, now, admitted, largest = RateLimiter({"tokens": 60}, 0.0), 0.0, 0, 60
    for step, amount, limit in steps:
        if step == "reserve":
            admitted += amount if limiter.reserve(now, Demand(amount, 0)) == 0.0 else 0
        elif step == "reconfigure":
            limiter.reconfigure({"tokens": limit}, now)
            largest = max(largest, limit)
        else:
            now += amount / 100
        assert admitted <= largest + largest / 60 * now + 1e-6
        # A limit that rises gives nothing at once: what is in hand only ever flows in.
        assert limiter.statistics(now).dimensions["tokens"].level <= 60 + 100 * now + 1e-6
