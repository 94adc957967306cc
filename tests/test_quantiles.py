"""Quantiles of recent values: against sorting all of them, and only of those that are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.quantiles import RecentQuantiles

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


def test_there_is_no_answer_below_the_minimum():
    quantiles = RecentQuantiles(minimum=3)
    for value, median in ((1.0, None), (5.0, None), (3.0, 3.0)):
        quantiles.add(value)
        assert quantiles.median == median
    assert len(quantiles) == 3


def test_an_empty_history_has_none_even_where_no_minimum_is_asked():
    assert RecentQuantiles(minimum=0).p95 is None


def test_the_oldest_are_forgotten():
    quantiles = RecentQuantiles(size=10, minimum=1)
    for value in range(100):
        quantiles.add(float(value))
    assert len(quantiles) == 10
    assert (quantiles.quantile(0.0), quantiles.median, quantiles.quantile(1.0)) == (90.0, 95.0, 99.0)


def test_one_outlier_in_a_hundred_is_above_the_p95_and_ten_are_not():
    few, many = RecentQuantiles(size=100), RecentQuantiles(size=100)
    for number in range(100):
        few.add(60.0 if number == 50 else 1.0)
        many.add(60.0 if number % 10 == 0 else 1.0)
    assert (few.p95, many.p95) == (1.0, 60.0)


@given(values, st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.95, 1.0]))
def test_at_least_the_share_lies_at_or_below_and_the_answer_is_one_of_the_values(given_values, q):
    quantiles = RecentQuantiles(size=64, minimum=1)
    for value in given_values:
        quantiles.add(value)
    recent = given_values[-64:]
    answer = quantiles.quantile(q)
    assert answer in recent
    assert sum(value <= answer for value in recent) >= q * len(recent)
    assert sum(value < answer for value in recent) <= q * len(recent)


@given(values)
def test_a_higher_quantile_is_never_lower(given_values):
    quantiles = RecentQuantiles(minimum=1)
    for value in given_values:
        quantiles.add(value)
    answers = [quantiles.quantile(q) for q in (0.0, 0.1, 0.5, 0.95, 1.0)]
    assert answers == sorted(answers)
    assert quantiles.median == pytest.approx(answers[2])
