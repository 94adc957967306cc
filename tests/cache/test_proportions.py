"""Bounds of a share: against published values, against exact sums, and by simulation of what they promise."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.cache import proportions
from resilio.cache.proportions import (
    anytime_lower,
    anytime_needed,
    anytime_upper,
    beta_cdf,
    beta_quantile,
    clean_needed,
    fixed_lower,
    fixed_upper,
)

SOAK = os.environ.get("RESILIO_SOAK") == "1"


def binomial_cdf(hits, trials, share):
    """P(X <= hits), summed."""
    return math.fsum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(hits + 1))


# --- fixed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "needed"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_so_many_clean_trials_are_needed_for_a_fixed_bound(share, needed):
    assert clean_needed(share) == needed
    assert fixed_upper(0, needed) <= share < fixed_upper(0, needed - 1)


@pytest.mark.parametrize(
    ("hits", "trials", "lower", "upper"),
    [
        # The interval of confidence 0.95, whose two sides have 0.975 each: tables of Clopper and Pearson's method.
        (1, 10, 0.0025286, 0.4450161),
        (10, 100, 0.0490046, 0.1762226),
        (50, 100, 0.3983211, 0.6016789),
        (0, 20, 0.0, 0.1684335),
        (20, 20, 0.8315665, 1.0),
    ],
)
def test_the_fixed_bounds_are_those_of_clopper_and_pearson(hits, trials, lower, upper):
    assert fixed_lower(hits, trials, 0.975) == pytest.approx(lower, abs=1e-6)
    assert fixed_upper(hits, trials, 0.975) == pytest.approx(upper, abs=1e-6)


@given(st.integers(1, 300), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_at_the_upper_bound_so_few_hits_are_just_as_improbable_as_stated(trials, data, confidence):
    hits = data.draw(st.integers(0, trials - 1))
    assert binomial_cdf(hits, trials, fixed_upper(hits, trials, confidence)) == pytest.approx(1 - confidence, rel=1e-6)
    # The lower bound is the upper one of the opposite.
    assert fixed_lower(trials - hits, trials, confidence) == pytest.approx(1 - fixed_upper(hits, trials, confidence))


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.001, 0.999))
def test_the_incomplete_beta_function_is_a_tail_of_the_binomial(a, b, x):
    trials = a + b - 1
    assert beta_cdf(x, a, b) == pytest.approx(1 - binomial_cdf(a - 1, trials, x), abs=1e-9)
    assert beta_cdf(x, a, b) == pytest.approx(1 - beta_cdf(1 - x, b, a), abs=1e-9)


def test_the_beta_function_has_its_known_values():
    assert [beta_cdf(0, 2, 3), beta_cdf(1, 2, 3)] == [0, 1]
    assert beta_cdf(0.3, 1, 1) == pytest.approx(0.3)
    assert beta_cdf(0.25, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(0.5))  # the arcsine law
    assert beta_quantile(0.5, 7.5, 7.5) == pytest.approx(0.5)
    assert fixed_upper(50_000, 1_000_000) == pytest.approx(0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 1e6), abs=2e-6)


# --- anytime -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "clean", "two"), [(0.05, 116, 224), (0.02, 320, 597), (0.01, 680, 1242), (0.005, 1438, 2574)]
)
def test_so_many_audits_are_needed_for_an_anytime_bound(share, clean, two):
    assert (anytime_needed(share), anytime_needed(share, 2)) == (clean, two)
    for hits, needed in ((0, clean), (2, two)):
        assert anytime_upper(hits, needed) <= share < anytime_upper(hits, needed - 1)


@pytest.mark.parametrize(
    ("share", "clean", "two"), [(0.05, 118, 228), (0.02, 322, 604), (0.01, 684, 1258), (0.005, 1449, 2592)]
)
def test_a_search_in_steps_of_two_per_cent_finds_the_table_of_the_method(share, clean, two):
    steps = [1]
    while steps[-1] < 4000:
        steps.append(int(steps[-1] * 1.02) + 1)
    for hits, told in ((0, clean), (2, two)):
        assert next(step for step in steps if step > hits and anytime_upper(hits, step) <= share) == told


@given(st.integers(1, 2000), st.data())
def test_the_anytime_bounds_solve_their_equation_and_enclose_the_estimate(trials, data):
    hits = data.draw(st.integers(0, trials))
    lower, upper = anytime_lower(hits, trials), anytime_upper(hits, trials)
    assert 0 <= lower <= hits / trials <= upper <= 1
    if 0 < hits < trials:
        for bound in (lower, upper):
            assert proportions._evidence(bound, hits, trials) == pytest.approx(math.log(20), abs=1e-6)
    # What may be looked at whenever one likes is wider than what may be looked at once.
    assert upper >= fixed_upper(hits, trials) - 1e-12
    assert lower <= fixed_lower(hits, trials) + 1e-12


@given(st.integers(1, 3000), st.data(), st.floats(0.001, 0.999))
def test_whether_a_bound_is_past_a_share_can_be_told_without_the_bound(trials, data, share):
    hits = data.draw(st.integers(0, trials))
    for told, bound, sign in (
        (proportions.anytime_below, anytime_upper(hits, trials), 1),
        (proportions.anytime_above, anytime_lower(hits, trials), -1),
    ):
        if abs(bound - share) > 1e-9:
            assert told(share, hits, trials) == (sign * bound <= sign * share)


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
def test_looking_at_it_all_the_time_an_anytime_bound_fails_as_seldom_as_it_says(share, rng):
    runs, trials, every = (500, 4000, 10) if SOAK else (120, 1500, 25)
    anytime = fixed = 0
    for _ in range(runs):
        # A bound is never below the estimate, so most looks need no bound.
        looks = [(hits, n) for hits, n in looks_of(share, trials, every, rng) if hits < share * n]
        anytime += any(anytime_upper(hits, n) < share for hits, n in looks)
        fixed += any(beta_cdf(share, hits + 1, n - hits) > 0.95 for hits, n in looks)  # is: fixed_upper < share
    assert anytime <= 0.05 * runs
    # The simulation can see a failure: the same looks are too many for a bound that is made for one.
    assert fixed > 0.05 * runs


def looks_of(share, trials, every, rng):
    """Hits so far and trials so far, whenever one looks."""
    hits, looks = 0, []
    for n in range(1, trials + 1):
        hits += rng.random() < share
        if n % every == 0:
            looks.append((hits, n))
    return looks


def test_a_lower_bound_fails_as_seldom(rng):
    runs, every = (1000, 1) if SOAK else (100, 10)
    failed = sum(
        any(hits and proportions.anytime_above(0.05, hits, n) for hits, n in looks_of(0.05, 1000, every, rng))
        for _ in range(runs)
    )
    assert failed <= 0.05 * runs


# --- nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [fixed_upper, fixed_lower, anytime_upper, anytime_lower])
def test_counts_and_probabilities_that_cannot_be_are_refused(bound):
    for hits, trials, other in ((-1, 5, 0.5), (6, 5, 0.5), (1, 5, 0.0), (1, 5, 1.0)):
        with pytest.raises(ValueError, match="must be"):
            bound(hits, trials, other)
    assert bound(0, 0) == (1.0 if bound in (fixed_upper, anytime_upper) else 0.0)


@pytest.mark.parametrize("needed", [clean_needed, anytime_needed])
def test_nobody_can_need_trials_for_a_share_that_is_none(needed):
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            needed(share)
