"""A cap holds under any order of reserving, settling and releasing."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilio.budget import SpendCap


def test_what_fits_is_reserved_and_what_does_not_is_refused_whole():
    cap = SpendCap(1.0)
    assert cap.reserve(0.7)
    assert not cap.reserve(0.4)
    assert cap.left == pytest.approx(0.3)
    assert cap.reserve(0.3)
    assert cap.left == 0


def test_the_smallest_amount_kept_is_too_much_for_a_full_cap():
    cap = SpendCap(1.0)
    assert not cap.reserve(1.0 + 1e-12)
    assert cap.reserve(1.0)
    assert not cap.reserve(1e-12)


def test_settling_frees_what_was_reserved_and_not_used():
    cap = SpendCap(1.0)
    cap.reserve(0.8)
    cap.settle(0.8, 0.1)
    assert (cap.spent, cap.reserved, cap.left) == (0.1, 0.0, 0.9)


def test_a_released_reservation_costs_nothing():
    cap = SpendCap(1.0)
    cap.reserve(1.0)
    cap.release(1.0)
    assert (cap.spent, cap.left) == (0.0, 1.0)


def test_using_more_than_reserved_passes_the_limit_by_just_that_and_stops_the_next_call():
    cap = SpendCap(1.0)
    cap.reserve(1.0)
    cap.settle(1.0, 1.25)
    assert (cap.spent, cap.overrun, cap.left) == (1.25, 0.25, 0.0)
    assert not cap.reserve(0.0)


def test_ten_tenths_fill_a_cap_of_one_exactly():
    cap = SpendCap(1.0)
    assert all(cap.reserve(0.1) for _ in range(10))
    assert cap.left == 0
    for _ in range(10):
        cap.release(0.1)
    assert cap.reserved == 0


@pytest.mark.parametrize("wrong", [-0.01, math.nan, math.inf])
def test_an_amount_that_is_no_amount_is_refused_with_advice(wrong):
    with pytest.raises(ValueError, match="finite number of at least 0"):
        SpendCap(wrong)
    cap = SpendCap(1.0)
    cap.reserve(0.5)
    for attempt in (
        lambda: cap.reserve(wrong),
        lambda: cap.settle(0.5, wrong),
        lambda: cap.settle(wrong, 0.5),
        lambda: cap.release(wrong),
    ):
        with pytest.raises(ValueError, match="pass the most the call can cost"):
            attempt()
    assert (cap.spent, cap.reserved) == (0.0, 0.5)


def test_giving_a_reservation_back_twice_is_found_and_changes_nothing():
    cap = SpendCap(1.0)
    cap.reserve(0.5)
    cap.settle(0.5, 0.5)
    with pytest.raises(ValueError, match="exactly once"):
        cap.release(0.5)
    with pytest.raises(ValueError, match="exactly once"):
        cap.settle(0.5, 0.5)
    assert (cap.spent, cap.reserved) == (0.5, 0.0)


def test_statistics_and_repr_tell_how_it_stands():
    cap = SpendCap(2.0)
    cap.reserve(0.5)
    cap.settle(0.5, 0.75)
    cap.reserve(1.0)
    seen = cap.statistics()
    assert (seen.limit, seen.spent, seen.reserved, seen.left, seen.overrun) == (2.0, 0.75, 1.0, 0.25, 0.25)
    assert repr(cap) == "<SpendCap 0.75 spent and 1 reserved of 2>"


@example(4097.999999999999, 1.015695608034207)
@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_whatever_is_left_can_be_reserved(limit, used):
    cap = SpendCap(limit)
    cap.reserve(min(limit, used))
    assert cap.reserve(cap.left)


cents = st.integers(0, 120)


class AnyOrder(RuleBasedStateMachine):
    """Against a model that keeps every open reservation and every cost, and adds them up each time."""

    def __init__(self):
        super().__init__()
        self.cap = SpendCap(3.0)
        self.open = []
        self.settled = []

    @rule(amount=cents)
    def reserve(self, amount):
        total = sum(self.open) + sum(used for _, used in self.settled)
        assert self.cap.reserve(amount / 100) == (total + amount <= 300)
        if total + amount <= 300:
            self.open.append(amount)

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 99), used=cents)
    def settle(self, pick, used):
        held = self.open.pop(pick % len(self.open))
        self.cap.settle(held / 100, used / 100)
        self.settled.append((held, used))

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 99))
    def release(self, pick):
        self.cap.release(self.open.pop(pick % len(self.open)) / 100)

    @invariant()
    def the_sums_agree_exactly(self):
        assert Fraction(str(self.cap.spent)) == Fraction(sum(used for _, used in self.settled), 100)
        assert Fraction(str(self.cap.reserved)) == Fraction(sum(self.open), 100)

    @invariant()
    def the_limit_is_passed_by_no_more_than_the_overruns(self):
        overrun = sum(max(0, used - held) for held, used in self.settled)
        assert Fraction(str(self.cap.overrun)) == Fraction(overrun, 100)
        assert sum(self.open) + sum(used for _, used in self.settled) <= 300 + overrun


TestAnyOrder = AnyOrder.TestCase
