"""Orders of targets, and the latency they are judged by."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import STRATEGY_NAMES
from resilio.routing import STRATEGIES, PeakEwma, TargetView, least_loaded, priority

views_of_any_kind = st.lists(
    st.builds(
        TargetView,
        name=st.just("p/m"),
        in_flight=st.integers(0, 200),
        peak_latency=st.just(0.0) | st.floats(0, 1e4),
        weight=st.sampled_from([0.0, 0.5, 1.0, 10.0]),
    ),
    min_size=1,
    max_size=8,
)


def cost(view):
    return view.peak_latency * (view.in_flight + 1) / view.weight


def never_asked():
    raise AssertionError("the snapshot was taken for nothing")


class Drawing(random.Random):
    """Gives the numbers it was told to."""

    def __init__(self, *numbers):
        super().__init__(0)
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(views=views_of_any_kind, seed=st.integers(0, 2**32))
def test_every_strategy_returns_every_target_once(name, views, seed):
    order = STRATEGIES[name]()(lambda: views, len(views), random.Random(seed))
    assert sorted(order) == list(range(len(views)))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(views=views_of_any_kind, seed=st.integers(0, 2**32))
def test_every_strategy_is_reproducible_from_its_seed(name, views, seed):
    orders = [tuple(STRATEGIES[name]()(lambda: views, len(views), random.Random(seed))) for _ in range(2)]
    assert orders[0] == orders[1]


def test_the_configuration_knows_just_these_strategies():
    assert set(STRATEGY_NAMES) == set(STRATEGIES)


def test_priority_keeps_the_order_and_takes_no_snapshot(rng):
    assert priority(never_asked, 3, rng) == (0, 1, 2)
    assert priority(never_asked, 3, rng) is priority(never_asked, 3, rng)


def test_a_single_target_needs_no_choice(rng):
    assert least_loaded(never_asked, 1, rng) == (0,)
    assert least_loaded(never_asked, 0, rng) == ()


known_views = st.lists(
    st.builds(TargetView, name=st.just("p/m"), in_flight=st.integers(0, 200), peak_latency=st.floats(1e-3, 1e3)),
    min_size=2,
    max_size=8,
)
fraction = st.floats(0, 1, exclude_max=True)


@given(views=known_views, first=fraction, second=fraction)
def test_the_cheaper_of_the_two_drawn_wins_and_the_rest_follow_by_cost(views, first, second):
    one = int(first * len(views))
    other = [index for index in range(len(views)) if index != one][int(second * (len(views) - 1))]
    winner, *rest = least_loaded(lambda: views, len(views), Drawing(first, second))
    assert winner in (one, other)
    assert cost(views[winner]) == min(cost(views[one]), cost(views[other]))
    assert [cost(views[index]) for index in rest] == sorted(cost(views[index]) for index in rest)


@given(views=known_views, seed=st.integers(0, 2**32))
def test_the_one_most_expensive_target_is_never_first(views, seed):
    costs = [cost(view) for view in views]
    winner = least_loaded(lambda: views, len(views), random.Random(seed))[0]
    assert costs[winner] < max(costs) or costs.count(max(costs)) > 1


def test_every_pair_is_drawn_alike(rng):
    # With costs 0 < 1 < 2 < 3 the winner is 0 in 3 of 6 pairs, 1 in 2, 2 in 1.
    views = [TargetView("t", 0, peak_latency=1.0 + index) for index in range(4)]
    winners = [least_loaded(lambda: views, 4, rng)[0] for _ in range(6_000)]
    shares = [winners.count(index) / 1_000 for index in range(4)]
    assert shares == pytest.approx([3, 2, 1, 0], abs=0.15)


def test_the_faster_target_gets_the_larger_share_and_the_slower_some(rng):
    # Each tick a request begins; a fast one is in flight for 1 tick, a slow one for 4.
    latencies, in_flight, sent = [1.0, 4.0, 4.0], [[], [], []], [0, 0, 0]
    for tick in range(3_000):
        in_flight = [[end for end in ends if end > tick] for ends in in_flight]
        views = [TargetView("t", len(in_flight[index]), latencies[index]) for index in range(3)]
        chosen = least_loaded(lambda views=views: views, 3, rng)[0]
        sent[chosen] += 1
        in_flight[chosen].append(tick + latencies[chosen])
    assert sent[0] > sent[1] + sent[2]
    assert min(sent) > 100


def test_a_target_nothing_is_known_of_wins_against_an_idle_one_as_fast_as_any(rng):
    views = [TargetView("known", 0, 0.8), TargetView("new", 0)]
    assert {least_loaded(lambda: views, 2, rng)[0] for _ in range(20)} == {1}


def test_a_target_nothing_is_known_of_is_not_stormed_before_its_first_answer(rng):
    views = [TargetView("known", 1, 0.8), TargetView("new", 5)]
    assert {least_loaded(lambda: views, 2, rng)[0] for _ in range(20)} == {0}


def test_among_targets_nothing_is_known_of_the_one_with_less_to_do_wins(rng):
    views = [TargetView("busy", 2), TargetView("idle", 0)]
    assert least_loaded(lambda: views, 2, rng) == (1, 0)


def test_weight_pays_for_latency_and_weight_0_comes_last(rng):
    views = [TargetView("light", 0, 1.0, weight=1.0), TargetView("heavy", 0, 2.0, weight=4.0)]
    assert least_loaded(lambda: views, 2, rng) == (1, 0)
    views = [TargetView("off", 0, 0.1, weight=0.0), TargetView("on", 50, 9.0)]
    assert least_loaded(lambda: views, 2, rng) == (1, 0)


def test_a_slower_answer_counts_in_full_at_once_and_fades():
    ewma = PeakEwma(decay_s=10, now=0)
    assert ewma.value(0) == 0.0
    ewma.observe(0, 0.5)
    ewma.observe(1, 8.0)
    assert ewma.value(1) == 8.0
    assert ewma.value(11) == pytest.approx(8.0 / math.e)


def test_a_faster_answer_is_approached_and_not_undercut():
    ewma = PeakEwma(decay_s=10, now=0)
    ewma.observe(0, 8.0)
    ewma.observe(10, 1.0)
    assert ewma.value(10) == pytest.approx(1.0 + 7.0 / math.e)


def test_a_failure_is_charged_as_slow_and_never_lowers_the_value():
    ewma = PeakEwma(decay_s=10, now=0)
    ewma.observe(0, 2.0)
    ewma.charge(0, 10.0)
    assert ewma.value(0) == 10.0
    ewma.charge(0, 0.01)
    assert ewma.value(0) == 10.0


def test_time_running_backwards_changes_nothing():
    ewma = PeakEwma(decay_s=10, now=100)
    ewma.observe(100, 4.0)
    ewma.observe(50, 1.0)
    assert ewma.value(50) == ewma.value(100) == 4.0


def test_a_decay_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        PeakEwma(decay_s=0, now=0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e3)), min_size=1, max_size=30))
def test_the_value_lies_between_the_last_sample_and_the_highest(samples):
    ewma, now = PeakEwma(decay_s=5, now=0), 0.0
    for pause, latency in samples:
        now += pause
        ewma.observe(now, latency)
        assert latency <= ewma.value(now) <= max(latency for _, latency in samples) * (1 + 1e-12)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0.01, 100)), min_size=1, max_size=20), st.floats(0, 60))
def test_each_step_is_that_of_the_formula(samples, later):
    """The step is: new = max(sample, old * w + sample * (1 - w)), with w = exp(-elapsed / decay)."""
    ewma, now, naive, at = PeakEwma(decay_s=7, now=0), 0.0, 0.0, 0.0
    for pause, latency in samples:
        now += pause
        ewma.observe(now, latency)
        kept = math.exp(-(now - at) / 7)
        naive, at = max(latency, naive * kept + latency * (1 - kept)), now
    assert ewma.value(now + later) == pytest.approx(naive * math.exp(-later / 7))
