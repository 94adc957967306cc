"""How long a request must wait behind others: never more than it turns out to take, and often just that."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.models import Demand
from resilio.ratelimit import RateLimiter

demands = st.builds(Demand, st.integers(0, 900), st.integers(0, 900))
limits = st.dictionaries(
    st.sampled_from(["requests", "tokens", "input_tokens", "output_tokens"]), st.integers(1, 2000), min_size=1
)


def test_everybody_ahead_counts_in_full():
    limiter = RateLimiter({"tokens": 600}, 0.0)
    limiter.reserve(0.0, Demand(500, 0))
    assert limiter.wait_behind(0.0, [Demand(100, 50), Demand(0, 150)], Demand(100, 0)) == pytest.approx(30.0)


def test_with_nobody_ahead_it_is_the_own_wait():
    limiter = RateLimiter({"tokens": 600, "requests": 1}, 0.0)
    for now, demand in ((0.0, Demand(10, 0)), (1.0, Demand(10, 0)), (5.0, Demand(700, 0))):
        assert limiter.wait_behind(now, [], demand) == limiter.wait(now, demand)
        limiter.reserve(now, demand)


def test_the_slowest_dimension_decides():
    limiter = RateLimiter({"tokens": 6_000, "requests": 6}, 0.0)
    assert limiter.wait_behind(0.0, [Demand(1, 0)] * 7, Demand(1, 0)) == pytest.approx(20.0)


def test_a_rest_and_the_refill_run_side_by_side():
    limiter = RateLimiter({"tokens": 600}, 0.0)
    limiter.reserve(0.0, Demand(600, 0))
    limiter.rest(5.0)
    assert limiter.wait_behind(0.0, [Demand(100, 0)], Demand(100, 0)) == pytest.approx(20.0)
    assert limiter.wait_behind(0.0, [], Demand(10, 0)) == pytest.approx(5.0, abs=1e-5)


def test_what_can_never_be_admitted_waits_for_ever():
    limiter = RateLimiter({"tokens": 600}, 0.0)
    assert limiter.wait_behind(0.0, [], Demand(601, 0)) == math.inf
    assert limiter.wait_behind(0.0, [Demand(500, 0)] * 5, Demand(600, 0)) < math.inf


def test_without_limits_nobody_waits_but_for_a_rest():
    limiter = RateLimiter({}, 0.0)
    assert limiter.wait_behind(0.0, [Demand(10**9, 0)] * 3, Demand(10**9, 0)) == 0.0
    limiter.rest(3.0)
    assert limiter.wait_behind(0.0, [Demand(10**9, 0)], Demand(1, 0)) == pytest.approx(3.0, abs=1e-5)


@given(limits, demands, st.lists(demands, max_size=6), demands, st.floats(0, 100))
def test_it_is_never_more_than_the_queue_takes_when_it_is_served_in_order(each, first, ahead, own, rest):
    limiter = RateLimiter(each, 0.0)
    limiter.reserve(0.0, first)
    limiter.rest(rest)
    ahead = [demand for demand in ahead if limiter.wait(0.0, demand) < math.inf]  # others are refused at once
    least = limiter.wait_behind(0.0, ahead, own)
    now = 0.0
    for demand in (*ahead, own):
        while (wait := limiter.reserve(now, demand)) > 0.0:
            if wait == math.inf:
                assert demand is own
                assert least == math.inf
                return
            now += wait
    assert least <= now + 1e-4
