"""Strategies that share calls out: by weight, in turn, by price."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import Price
from resilio.routing import RoundRobin, TargetView, Weighted, blended_usd, cheapest, least_loaded, view_of_group

PICKS = 10_000
RNG = random.Random(0)


def weighted_views(weights):
    return [TargetView(f"t{index}", 0, weight=weight) for index, weight in enumerate(weights)]


def first_choices(strategy, views, picks):
    counts = [0] * len(views)
    for _ in range(picks):
        counts[strategy(lambda: views, len(views), RNG)[0]] += 1
    return counts


def never_asked():
    raise AssertionError("the snapshot was taken for nothing")


some_weights = st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]) | st.floats(0.01, 100), min_size=1, max_size=7).filter(
    any
)


@given(some_weights)
def test_shares_follow_the_weights_within_one_per_cent_over_ten_thousand_picks(weights):
    counts = first_choices(Weighted(), weighted_views(weights), PICKS)
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count / PICKS - weight / sum(weights)) < 0.01
        assert weight or not count


@given(some_weights, st.integers(1, 200))
def test_at_no_time_is_a_target_behind_or_ahead_by_more_than_there_are_targets(weights, picks):
    counts = first_choices(Weighted(), weighted_views(weights), picks)
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - picks * weight / sum(weights)) <= len(weights)


def test_picks_of_a_heavy_target_are_spread_not_bunched():
    strategy, views = Weighted(), weighted_views([5, 1, 1])
    assert "".join("abc"[strategy(lambda: views, 3, RNG)[0]] for _ in range(14)) == "aabacaa" * 2


@given(some_weights, st.integers(1, 30))
def test_the_targets_not_chosen_follow_by_weight_and_those_of_weight_0_come_last(weights, picks):
    strategy, views = Weighted(), weighted_views(weights)
    for _ in range(picks):
        first, *rest = strategy(lambda: views, len(views), RNG)
        assert sorted([first, *rest]) == list(range(len(views)))
        assert weights[first] > 0
        assert [weights[index] for index in rest] == sorted((weights[index] for index in rest), reverse=True)


def test_weighted_takes_the_snapshot_once():
    strategy, views = Weighted(), weighted_views([2, 1])
    strategy(lambda: views, 2, RNG)
    assert [strategy(never_asked, 2, RNG)[0] for _ in range(2)] == [1, 0]


def test_two_routes_of_the_same_strategy_do_not_share_its_state():
    views = weighted_views([1, 1])
    assert [Weighted()(lambda: views, 2, RNG)[0] for _ in range(3)] == [0, 0, 0]


def test_weights_of_nothing_but_0_leave_the_order_of_the_configuration():
    assert Weighted()(lambda: weighted_views([0, 0, 0]), 3, RNG) == (0, 1, 2)


@given(st.integers(1, 9), st.integers(0, 60))
def test_round_robin_gives_each_target_its_turn_and_the_next_ones_as_fallback(count, picks):
    strategy = RoundRobin()
    for number in range(picks):
        order = strategy(never_asked, count, RNG)
        assert list(order) == [(number + step) % count for step in range(count)]


def priced(*prices):
    return [TargetView("t", 0, price=None if each is None else Price(input=each[0], output=each[1])) for each in prices]


def test_the_cheapest_comes_first_an_unknown_price_last_and_ties_stay_as_configured():
    views = priced(None, (2, 8), (0.1, 0.4), (2, 8), None)
    assert list(cheapest(lambda: views, 5, RNG)) == [2, 1, 3, 0, 4]
    assert list(cheapest(never_asked, 1, RNG)) == [0]


def test_prices_are_compared_at_three_tokens_of_input_to_one_of_output():
    assert blended_usd(Price(input=2, output=8)) == 3.5
    views = priced((1.0, 10.0), (3.0, 3.0))  # 3.25 and 3
    assert list(cheapest(lambda: views, 2, RNG)) == [1, 0]


amount = st.floats(0, 1000)


@given(st.lists(st.none() | st.tuples(amount, amount), min_size=1, max_size=8))
def test_no_target_stands_before_a_cheaper_one(prices):
    views = priced(*prices)
    figures = [float("inf") if view.price is None else blended_usd(view.price) for view in views]
    ordered = [(figures[index], index) for index in cheapest(lambda: views, len(views), RNG)]
    assert ordered == sorted((figure, index) for index, figure in enumerate(figures))


@given(st.integers(0, 2**32), st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=6).filter(any))
def test_least_loaded_never_puts_a_target_of_weight_0_before_another(seed, weights):
    order = least_loaded(lambda: weighted_views(weights), len(weights), random.Random(seed))
    assert sorted(order) == list(range(len(weights)))
    in_order = [weights[index] for index in order]
    assert in_order == sorted(in_order, reverse=True)


def test_a_nested_route_is_as_busy_as_its_least_busy_target_and_as_dear_as_its_dearest():
    cheap, dear = Price(input=1, output=1), Price(input=9, output=9)
    views = [TargetView("a", 5, 1.0, price=dear), TargetView("b", 1, 2.0, price=cheap)]
    assert view_of_group("small", views, 3.0) == TargetView("small", 1, 2.0, 3.0, dear)
    assert view_of_group("small", [*views, TargetView("c", 9, 9.0)], 1.0).price is None


@pytest.mark.parametrize("weights", [[3, 1], [1, 1, 1]])
def test_ten_thousand_picks_are_the_same_every_time(weights):
    views = weighted_views(weights)
    one, other = Weighted(), Weighted()
    assert all(one(lambda: views, len(views), RNG) == other(lambda: views, len(views), RNG) for _ in range(PICKS))
