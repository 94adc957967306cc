"""A change of cost is split exactly, and a change of one thing alone is that thing's alone."""

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilio.report.causes import (
    ANSWERS,
    CAUSES,
    HIT_RATE,
    KNOWN,
    MIX,
    PRICE,
    PROMPTS,
    VOLUME,
    Factors,
    ModelUse,
    change_of,
    decompose,
)
from resilio.report.rates import Rates
from resilio.store.totals import Moments, Totals

amounts = st.floats(0, 1e4, allow_subnormal=False).map(lambda value: 0.0 if value < 1e-6 else value)
shares = st.floats(0, 1, allow_subnormal=False).map(lambda value: 0.0 if value < 1e-6 else value)
factors = st.builds(
    Factors, amounts, shares, shares, amounts, amounts, st.builds(Rates, shares, shares), shares
)  # fmt: skip


def use(calls, *, prompts=(100, 200, 300), answers=(30, 10, 20), rates=(2e-6, 8e-6), hits=0, unpriced=0, saved=0.0):
    """What the log adds up to for so many calls, whose lengths are drawn in turn, at a price."""
    sizes = [(answers[n % len(answers)], prompts[n % len(prompts)]) for n in range(calls)]
    costs = [prompt * rates[0] + answer * rates[1] for answer, prompt in sizes]
    columns = [(answer, prompt, 0, 0) for answer, prompt in sizes]
    products = [sum(c[i] * c[j] for c in columns) for i in range(4) for j in range(i, 4)]
    with_cost = [sum(c[i] * cost for c, cost in zip(columns, costs, strict=True)) for i in range(4)]
    totals = Totals(
        hits=hits, saved_usd=saved, priced=calls, cost_usd=math.fsum(costs),
        input_tokens=sum(prompt for _, prompt in sizes), output_tokens=sum(answer for answer, _ in sizes),
        unpriced=unpriced, unpriced_input=200 * unpriced, unpriced_output=20 * unpriced,
    )  # fmt: skip
    return ModelUse(totals, Moments(tuple(products), tuple(with_cost), sum(cost * cost for cost in costs)))


def by_name(change):
    return {cause.name: cause.amount for cause in change.causes}


def only(change, cause, amount=None):
    """This cause has all of the change, and the others nothing worth naming."""
    found = by_name(change)
    scale = max(change.before, change.after)
    assert change.foremost.name == cause
    assert {name for name, its in found.items() if abs(its) > 1e-9 * scale} == {cause}
    assert found[cause] == pytest.approx(change.amount if amount is None else amount)


# --- the rule ------------------------------------------------------------------------------------


@given(factors, factors)
def test_the_parts_add_up_to_the_change(before, after):
    parts = decompose(before, after)
    largest = math.prod(max(pair) for pair in zip(before[:3] + before[6:], after[:3] + after[6:], strict=True)) * max(
        max(before.prompt, after.prompt) * max(before.rates.input, after.rates.input)
        + max(before.answer, after.answer) * max(before.rates.output, after.rates.output),
        1e-300,
    )
    assert math.fsum(parts) == pytest.approx(after.cost - before.cost, rel=1e-9, abs=1e-12 * largest + 1e-300)


@given(factors, factors)
def test_the_other_way_round_turns_every_sign(before, after):
    there, back = decompose(before, after), decompose(after, before)
    scale = max(map(abs, there))
    assert there == pytest.approx([-part for part in back], rel=1e-9, abs=1e-9 * scale)


@given(factors, factors, st.integers(0, len(CAUSES) - 1))
def test_a_change_of_one_factor_alone_is_attributed_to_it_alone(before, other, at):
    after = before._replace(**{Factors._fields[at]: other[at]})
    parts = decompose(before, after)
    assert [part for place, part in enumerate(parts) if place != at] == [0.0] * (len(CAUSES) - 1)
    assert parts[at] == pytest.approx(after.cost - before.cost, rel=1e-9, abs=1e-12 * max(before.cost, after.cost))


@settings(max_examples=3)
@given(factors, factors)
def test_it_is_the_average_over_all_orders(before, after):
    """The definition itself: 5040 orders."""
    names, sums = Factors._fields, [0.0] * len(CAUSES)
    for order in permutations(range(len(CAUSES))):
        now = before
        for at in order:
            new = now._replace(**{names[at]: after[at]})
            sums[at] += new.cost - now.cost
            now = new
    total = math.factorial(len(CAUSES))
    scale = max(1e-300, *map(abs, sums)) / total
    assert decompose(before, after) == pytest.approx([its / total for its in sums], rel=1e-7, abs=1e-7 * scale)


uses = st.builds(
    use, st.integers(0, 6),
    prompts=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    answers=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    rates=st.tuples(st.floats(0, 1e-4), st.floats(0, 1e-4)),
    hits=st.integers(0, 6), unpriced=st.integers(0, 3),
)  # fmt: skip
periods = st.dictionaries(st.sampled_from([None, "a", "b", "c", "d"]), uses, max_size=4)


@given(periods, periods)
def test_whatever_two_periods_hold_the_causes_add_up_to_the_change(before, after):
    found = change_of(before, after)
    bound = sum(abs(part) for cause in found.causes for part in cause.models.values())
    assert math.fsum(by_name(found).values()) == pytest.approx(found.amount, rel=1e-9, abs=1e-9 * bound + 1e-15)
    for one, two in found.models.values():
        assert all(map(math.isfinite, (one.cost, two.cost)))
    costs = [math.fsum(factors[at].cost for factors in found.models.values()) for at in (0, 1)]
    assert costs == pytest.approx([found.before, found.after], rel=1e-9, abs=1e-15)


@given(periods, periods)
def test_the_order_of_models_changes_nothing(before, after):
    def turned(period):
        return dict(reversed(period.items()))

    assert change_of(before, after).causes == change_of(turned(before), turned(after)).causes


@given(periods)
def test_two_equal_periods_have_no_causes(period):
    found = change_of(period, period)
    assert (found.amount, found.foremost) == (0.0, None)
    assert set(by_name(found).values()) <= {0.0}


# --- one thing at a time, from sums ----------------------------------------------------------------

BEFORE = {"large": use(300, rates=(2e-6, 8e-6)), "small": use(900, rates=(1e-7, 4e-7)), None: use(0, hits=1200)}


def test_twice_as_many_of_everything_is_volume():
    after = {"large": use(600), "small": use(1800, rates=(1e-7, 4e-7)), None: use(0, hits=2400)}
    only(change_of(BEFORE, after), VOLUME)


def test_misses_in_the_place_of_hits_are_the_hit_rate():
    after = {"large": use(600), "small": use(1800, rates=(1e-7, 4e-7))}
    only(change_of(BEFORE, after), HIT_RATE)


def test_the_dear_model_in_the_place_of_the_cheap_one_is_mix():
    after = {"large": use(900), "small": use(300, rates=(1e-7, 4e-7)), None: use(0, hits=1200)}
    only(change_of(BEFORE, after), MIX)


def test_longer_prompts_of_one_model_are_longer_prompts():
    found = change_of(BEFORE, {**BEFORE, "large": use(300, prompts=(400, 900, 500))})
    only(found, PROMPTS)
    assert found.causes[0].models == {"large": pytest.approx(found.amount)}


def test_longer_answers_are_longer_answers():
    only(change_of(BEFORE, {**BEFORE, "small": use(900, answers=(900, 700, 100), rates=(1e-7, 4e-7))}), ANSWERS)


@pytest.mark.parametrize("rates", [(4e-6, 16e-6), (9e-6, 8e-6), (2e-6, 9e-6)])
def test_a_higher_price_of_either_kind_is_price(rates):
    only(change_of(BEFORE, {**BEFORE, "large": use(300, rates=rates)}), PRICE)


def test_two_changes_share_what_they_do_together():
    """Twice the calls at twice the price: of the fourfold cost each has half of the rise."""
    before, after = {"m": use(300)}, {"m": use(600, rates=(4e-6, 16e-6))}
    found = by_name(change_of(before, after))
    assert found[VOLUME] == pytest.approx(found[PRICE])
    assert found[VOLUME] + found[PRICE] == pytest.approx(3 * before["m"].totals.cost_usd)


# --- what has no value -----------------------------------------------------------------------------


def test_after_a_period_without_calls_everything_is_volume():
    only(change_of({}, BEFORE), VOLUME)
    only(change_of(BEFORE, {}), VOLUME)


def test_two_periods_without_calls_have_nothing_to_tell():
    found = change_of({}, {})
    assert (found.before, found.after, found.foremost) == (0.0, 0.0, None)


def test_a_period_in_which_the_cache_answered_everything_differs_in_hit_rate():
    found = change_of({"m": use(0, hits=300)}, {"m": use(300)})
    only(found, HIT_RATE)


def test_a_model_that_is_new_in_the_place_of_one_that_is_gone_is_mix():
    only(change_of({"old": use(300, rates=(1e-7, 4e-7))}, {"new": use(300)}), MIX)


def test_prices_that_become_unknown_are_no_saving():
    before, after = {"m": use(300)}, {"m": use(0, unpriced=300)}
    found = change_of(before, after)
    assert by_name(found)[KNOWN] == pytest.approx(found.amount)
    assert by_name(found)[VOLUME] == 0.0


def test_known_prices_are_a_cause_only_where_something_is_unknown():
    assert KNOWN not in by_name(change_of(BEFORE, {"m": use(3)}))


def test_calls_that_cost_something_and_have_no_tokens_are_priced_by_the_call():
    picture = ModelUse(Totals(priced=10, cost_usd=0.4), Moments())
    dearer = ModelUse(Totals(priced=10, cost_usd=0.8), Moments())
    only(change_of({"m": picture}, {"m": dearer}), PRICE)


def test_answers_without_a_model_move_cost_by_mix():
    """Static answers cost nothing: calls that got one in the place of a model's are a cheaper mix."""
    static = ModelUse(Totals(priced=150))
    only(change_of({"m": use(300)}, {"m": use(150), None: static}), MIX)
