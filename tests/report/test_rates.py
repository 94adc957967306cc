"""What a token cost is read back from what calls cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import Price
from resilio.models import Usage
from resilio.prices import cost_usd
from resilio.report.rates import ASSUMED_RATIO, rates_of
from resilio.store.totals import Moments, Totals

NOTHING = Totals(), Moments()
PRICE = Price(input=2.0, output=8.0, cache_read=0.5, cache_write_5m=2.5)


def summed(usages, price=PRICE):
    """The sums that the log makes of these calls."""
    costs = [cost_usd(price, its) for its in usages]
    rows = [(its.output_tokens, its.input_tokens, its.cache_read_tokens, its.cache_write_5m_tokens) for its in usages]
    pairs = [(i, j) for i in range(4) for j in range(i, 4)]
    moments = Moments(
        tuple(sum(row[i] * row[j] for row in rows) for i, j in pairs),
        tuple(sum(row[i] * cost for row, cost in zip(rows, costs, strict=True)) for i in range(4)),
        sum(cost * cost for cost in costs),
    )
    totals = [sum(column) for column in zip(*rows, strict=True)]
    return Totals(
        priced=len(rows), cost_usd=sum(costs), output_tokens=totals[0], input_tokens=totals[1],
        cache_read_tokens=totals[2], cache_write_tokens=totals[3],
    ), moments  # fmt: skip


CALLS = [Usage(100, 40), Usage(300, 10), Usage(250, 90)]
ALIKE = [Usage(100, 40)] * 3


def test_prices_are_found_exactly():
    rates, _ = rates_of(summed(CALLS), NOTHING)
    assert rates == (pytest.approx(2e-6), pytest.approx(8e-6), True)


def test_what_a_provider_reads_from_its_cache_makes_input_cheaper_and_output_not():
    calls = [
        Usage(1000, 40, 600),
        Usage(900, 300, 100, 300),
        Usage(500, 80),
        Usage(700, 10, 650),
        Usage(800, 500, 0, 700),
    ]
    rates, _ = rates_of(summed(calls), NOTHING)
    prompts = sum(
        cost_usd(PRICE, Usage(its.input_tokens, 0, its.cache_read_tokens, its.cache_write_5m_tokens)) for its in calls
    )
    assert rates.output == pytest.approx(8e-6)
    assert rates.input == pytest.approx(prompts / sum(its.input_tokens for its in calls))


@given(
    st.lists(st.builds(Usage, st.integers(0, 9000), st.integers(0, 9000)), max_size=8),
    st.lists(st.builds(Usage, st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 9000)), max_size=8),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_whatever_the_calls_rates_are_not_negative_and_account_for_the_cost(before, after, input_price, output_price):
    sums = [
        summed(calls, Price(input=input_price, output=output_price)) if calls else NOTHING for calls in (before, after)
    ]
    for rates, (totals, _) in zip(rates_of(*sums), sums, strict=True):
        if rates is None:
            assert not totals.input_tokens
            assert not totals.output_tokens
            continue
        assert rates.input >= 0
        assert rates.output >= 0
        paid = totals.input_tokens * rates.input + totals.output_tokens * rates.output
        assert paid == pytest.approx(totals.cost_usd, rel=1e-9, abs=1e-15)


def test_calls_of_one_shape_take_the_ratio_of_the_other_period():
    dearer = Price(input=4.0, output=16.0)
    before, after = rates_of(summed(CALLS), summed(ALIKE, dearer))
    assert after == (pytest.approx(4e-6), pytest.approx(16e-6), True)
    assert before == (pytest.approx(2e-6), pytest.approx(8e-6), True)


def test_two_shapes_in_two_periods_tell_the_price_that_explains_both():
    before, after = rates_of(summed(ALIKE), summed([Usage(100, 900)] * 2))
    for rates in (before, after):
        assert rates == (pytest.approx(2e-6), pytest.approx(8e-6), True)


def test_two_shapes_that_no_one_price_explains_are_split_by_an_assumption_that_is_owned_up_to():
    before, after = rates_of(summed(ALIKE), summed([Usage(100, 41)] * 3, Price(input=9.0, output=1.0)))
    assert (before.told, after.told) == (False, False)
    assert before.output / before.input == after.output / after.input == ASSUMED_RATIO


def test_embeddings_have_a_price_for_input_alone_and_nothing_is_assumed_of_what_they_do_not_have():
    rates, _ = rates_of(summed([Usage(100), Usage(300)]), NOTHING)
    assert rates.input == pytest.approx(2e-6)


def test_prompts_may_be_free_or_answers():
    free_prompts, _ = rates_of(summed(CALLS, Price(input=0.0, output=8.0)), NOTHING)
    assert free_prompts == (pytest.approx(0.0, abs=1e-12), pytest.approx(8e-6), True)
    free_answers, _ = rates_of(summed(CALLS, Price(input=2.0, output=0.0)), NOTHING)
    assert free_answers == (pytest.approx(2e-6), pytest.approx(0.0, abs=1e-12), True)


def test_what_costs_nothing_has_rates_of_nothing():
    rates, none = rates_of(summed(CALLS, Price(input=0.0, output=0.0)), NOTHING)
    assert rates == (0.0, 0.0, True)
    assert none is None
