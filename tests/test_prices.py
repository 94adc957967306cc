"""Costs, computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import LongPromptRates, Price, ServicePrice
from resilio.models import Usage
from resilio.prices import cost_usd, rates_of, rewritten_usd, saved_usd, service_tier, worst_cost_usd

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


def test_reasoning_with_a_price_of_its_own_is_taken_out_of_the_output():
    price = Price(input=2.0, output=8.0, reasoning=3.0)
    # 1,000 x 2 + 100 x 8 + 400 x 3
    assert cost_usd(price, Usage(1_000, 500, reasoning_tokens=400)) == pytest.approx(0.004)
    # more reasoning than output is a provider's mistake: all of the output was reasoning
    assert cost_usd(price, Usage(0, 500, reasoning_tokens=900)) == pytest.approx(0.0015)
    assert worst_cost_usd(price, 1_000, 500) == pytest.approx(0.002 + 0.004)


STEPPED = Price(
    input=1.0,
    output=4.0,
    cache_read=0.1,
    long_prompts=(LongPromptRates(above=300, input=3.0, output=9.0), LongPromptRates(above=200, input=2.0, output=6.0)),
    service={
        "batch": ServicePrice(input=0.5, output=2.0),
        "priority": ServicePrice(input=2.0, output=8.0, long_prompts=(LongPromptRates(above=200, input=5, output=5),)),
    },
)


@pytest.mark.parametrize(("tokens", "rate"), [(200, 1.0), (201, 2.0), (300, 2.0), (301, 3.0)])
def test_the_whole_of_a_long_prompt_costs_what_the_highest_threshold_says(tokens, rate):
    assert rates_of(STEPPED, tokens).input == rate
    assert cost_usd(STEPPED, Usage(tokens, 0)) == pytest.approx(tokens * rate / 1e6)


def test_cached_tokens_count_towards_the_threshold_and_cost_as_input_where_the_step_says_nothing():
    assert cost_usd(STEPPED, used(250, 0, read=100)) == pytest.approx(250 * 2.0 / 1e6)


def test_the_tier_an_answer_names_goes_before_the_one_that_was_asked_for():
    served = Usage(100, 10, service_tier="default")
    assert cost_usd(STEPPED, Usage(100, 10), "priority") == pytest.approx((200 + 80) / 1e6)
    assert cost_usd(STEPPED, served, "priority") == pytest.approx((100 + 40) / 1e6)
    assert cost_usd(STEPPED, Usage(100, 10, service_tier="batch")) == pytest.approx((50 + 20) / 1e6)
    assert cost_usd(STEPPED, Usage(100, 10), "unheard of") == pytest.approx((100 + 40) / 1e6)


@pytest.mark.parametrize(
    ("wire", "tier"),
    [
        ({}, None),
        ({"service_tier": "auto"}, None),
        ({"service_tier": 7}, None),
        ({"service_tier": "flex"}, "flex"),
        ({"speed": "fast"}, "speed_fast"),
    ],
)
def test_the_request_names_its_tier(wire, tier):
    assert service_tier(wire) == tier


def test_the_worst_case_knows_that_an_account_may_be_set_to_a_dearer_tier():
    assert worst_cost_usd(STEPPED, 100, 0) == pytest.approx(200 / 1e6)  # priority, which nobody asked for
    assert worst_cost_usd(STEPPED, 100, 0, "default") == pytest.approx(100 / 1e6)
    assert worst_cost_usd(STEPPED, 100, 0, "batch") == pytest.approx(100 / 1e6)  # it may be refused that tier
    assert worst_cost_usd(STEPPED, 250, 0) == pytest.approx(250 * 5 / 1e6)


def test_the_worst_case_does_not_pay_for_thresholds_it_cannot_pass():
    assert worst_cost_usd(STEPPED, 300, 0, "default") == pytest.approx(300 * 2 / 1e6)


rate = st.floats(0, 100)
rates = {
    "input": rate, "output": rate, "cache_read": st.none() | rate, "cache_write_5m": st.none() | rate,
    "cache_write_1h": st.none() | rate, "reasoning": st.none() | rate,
}  # fmt: skip
steps = st.lists(st.builds(LongPromptRates, above=st.integers(1, 10**6), **rates), max_size=2).map(tuple)
tiers = ["default", "batch", "flex", "priority", "fast"]
prices = st.builds(
    Price,
    **rates,
    long_prompts=steps,
    service=st.dictionaries(
        st.sampled_from(tiers), st.builds(ServicePrice, **rates, long_prompts=steps), max_size=2
    ),
)  # fmt: skip
tokens = st.integers(0, 10**6)


@given(
    price=prices,
    parts=st.tuples(tokens, tokens, tokens, tokens),
    spare=st.tuples(tokens, tokens),
    output=tokens,
    reasoning=tokens,
    asked=st.none() | st.sampled_from(tiers),
    data=st.data(),
)
def test_no_use_within_a_reservation_costs_more_than_the_worst_case(
    price, parts, spare, output, reasoning, asked, data
):
    uncached, read, write_5m, write_1h = parts
    billed = data.draw(st.sampled_from([asked, "default"] if asked else [None, "default", "priority", "fast"]))
    usage = Usage(sum(parts), output, read, write_5m, write_1h, reasoning, service_tier=billed)
    cost = cost_usd(price, usage, asked)
    worst = worst_cost_usd(price, sum(parts) + spare[0], output + spare[1], asked)
    assert cost is not None
    assert worst is not None
    assert 0 <= cost <= worst * (1 + 1e-9)
    plain = rates_of(price, uncached, billed or asked)
    assert cost_usd(price, Usage(uncached, output, service_tier=billed), asked) == pytest.approx(
        (uncached * plain.input + output * plain.output) / 1e6
    )


@given(usage=st.builds(Usage, tokens, tokens, tokens, tokens, tokens, tokens), tier=st.none() | st.sampled_from(tiers))
def test_what_is_unknown_stays_unknown_whatever_was_used(usage, tier):
    assert cost_usd(None, usage, tier) is None
    assert worst_cost_usd(None, usage.input_tokens, usage.output_tokens, tier) is None


# --- prompt caches ---------------------------------------------------------------------------------

CLAUDE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write_5m=3.75, cache_write_1h=6.0)
GPT_5_6 = Price(input=2.0, output=8.0, cache_read=0.2, cache_write_5m=2.5)
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("price", "usage", "saved"),
    [
        (CLAUDE, Usage(MILLION), 0.0),
        (CLAUDE, Usage(MILLION, 0, MILLION), 2.7),
        (CLAUDE, Usage(MILLION, 0, 0, MILLION), -0.75),
        (CLAUDE, Usage(MILLION, 0, 0, 0, MILLION), -3.0),
        (CLAUDE, Usage(2 * MILLION, 500, MILLION, MILLION), 1.95),
        (GPT_5_6, Usage(MILLION, 0, 0, MILLION), -0.5),
        (None, Usage(MILLION, 0, MILLION), None),
    ],
)
def test_what_a_prompt_cache_saved_is_the_price_without_it_less_the_cost(price, usage, saved):
    assert saved_usd(price, usage) == (None if saved is None else pytest.approx(saved))


@pytest.mark.parametrize(
    ("price", "usage", "tokens", "more"),
    [
        (CLAUDE, Usage(MILLION, 0, 0, MILLION), MILLION, 3.45),
        (CLAUDE, Usage(MILLION, 0, 0, 0, MILLION), MILLION, 5.7),
        (CLAUDE, Usage(MILLION, 0, 0, MILLION // 2, MILLION // 2), MILLION, 3.45 / 2 + 5.7 / 2),
        (CLAUDE, Usage(MILLION), MILLION, 2.7),
        (CLAUDE, Usage(MILLION, 0, 0, MILLION), 0, 0.0),
        (CLAUDE, Usage(MILLION, 0, MILLION), MILLION, 0.0),
        (GPT_5_6, Usage(MILLION), 2 * MILLION, 1.8),
        (None, Usage(MILLION), MILLION, None),
    ],
)
def test_what_was_read_anew_is_held_against_reading_it_from_a_cache(price, usage, tokens, more):
    assert rewritten_usd(price, usage, tokens) == (None if more is None else pytest.approx(more, abs=1e-12))
