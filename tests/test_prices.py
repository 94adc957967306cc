"""Costs, computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import Price
from resilio.models import Usage
from resilio.prices import cost_usd, worst_cost_usd

SONNET = Price(input=3.0, output=15.0, cache_read=0.30, cache_write_5m=3.75, cache_write_1h=6.0)
PLAIN = Price(input=2.0, output=8.0)


def used(inputs, outputs, read=0, write_5m=0, write_1h=0):
    return Usage(inputs, outputs, read, write_5m, write_1h)


def test_input_and_output_are_billed_by_the_million():
    # 1,000 x 2 / 1e6 + 500 x 8 / 1e6
    assert cost_usd(PLAIN, Usage(1_000, 500)) == pytest.approx(0.002 + 0.004)


def test_reasoning_is_part_of_the_output_and_not_billed_again():
    assert cost_usd(PLAIN, Usage(0, 500, reasoning_tokens=400)) == pytest.approx(0.004)


def test_each_part_of_a_cached_prompt_has_its_own_price():
    usage = used(10_000, 200, read=6_000, write_5m=2_000, write_1h=1_000)
    # uncached 1,000 x 3 = 3,000; read 6,000 x 0.30 = 1,800; 5 min 2,000 x 3.75 = 7,500;
    # 1 h 1,000 x 6 = 6,000; output 200 x 15 = 3,000; together 21,300 millionths
    assert cost_usd(SONNET, usage) == pytest.approx(0.0213)


def test_cache_prices_that_are_not_given_are_those_of_plain_input():
    usage = used(10_000, 0, read=6_000, write_5m=2_000, write_1h=1_000)
    assert cost_usd(PLAIN, usage) == pytest.approx(0.02)


def test_a_cache_read_at_price_0_is_free_and_not_taken_for_unknown():
    free = Price(input=2.0, output=8.0, cache_read=0.0)
    assert cost_usd(free, used(1_000, 0, read=1_000)) == 0.0


def test_cached_parts_larger_than_the_whole_never_make_the_rest_negative():
    # 500 x 0.30, and nothing is taken off for the 400 that are too many
    assert cost_usd(SONNET, used(100, 0, read=500)) == pytest.approx(0.00015)


def test_an_unknown_price_is_unknown_and_not_nothing():
    assert cost_usd(None, Usage(1_000, 500)) is None
    assert worst_cost_usd(None, 1_000, 500) is None


def test_the_worst_case_takes_all_input_at_the_dearest_input_price():
    # 1,000 x 6 (written to the 1-hour cache) + 100 x 15
    assert worst_cost_usd(SONNET, 1_000, 100) == pytest.approx(0.006 + 0.0015)
    assert worst_cost_usd(PLAIN, 1_000, 100) == pytest.approx(0.002 + 0.0008)


prices = st.floats(0, 100)
tokens = st.integers(0, 10**6)


@given(
    price=st.builds(
        Price,
        input=prices,
        output=prices,
        cache_read=st.none() | prices,
        cache_write_5m=st.none() | prices,
        cache_write_1h=st.none() | prices,
    ),
    parts=st.tuples(tokens, tokens, tokens, tokens),
    output=tokens,
)
def test_no_split_of_the_input_costs_more_than_the_worst_case(price, parts, output):
    uncached, read, write_5m, write_1h = parts
    usage = used(sum(parts), output, read=read, write_5m=write_5m, write_1h=write_1h)
    cost = cost_usd(price, usage)
    worst = worst_cost_usd(price, sum(parts), output)
    assert cost is not None
    assert worst is not None
    assert 0 <= cost <= worst * (1 + 1e-12)
    assert cost_usd(price, Usage(uncached, output)) == pytest.approx(
        (uncached * price.input + output * price.output) / 1e6
    )
