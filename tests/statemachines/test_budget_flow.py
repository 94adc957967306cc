"""The budget's machine: each limit is told once, and only a window or another limit takes it back."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from resilio.statemachines.budget import BUDGET, BudgetFlow, BudgetState

OPEN, SOFT, HARD = BudgetState


def walked(flow):
    return [(change.event, change.source, change.dest) for change in flow.drain_changes()]


def test_soft_then_hard_then_a_new_window():
    flow = BudgetFlow(100, 80)
    for spent in (10, 79, 80, 90, 100, 120):
        flow.spend(1.0, spent)
    assert walked(flow) == [("spend", OPEN, SOFT), ("spend", SOFT, HARD)]
    flow.reset(2.0, 0)
    assert walked(flow) == [("reset", HARD, OPEN)]


def test_one_large_call_goes_straight_to_the_hard_limit():
    flow = BudgetFlow(100, 80)
    flow.spend(1.0, 100)
    assert walked(flow) == [("spend", OPEN, HARD)]


def test_a_refusal_is_told_once_and_holds_until_the_window_ends():
    flow = BudgetFlow(100, 80)
    flow.refuse(1.0)
    flow.refuse(1.5)
    flow.spend(2.0, 85)
    assert walked(flow) == [("refuse", OPEN, HARD)]


def test_another_limit_moves_it_either_way():
    flow = BudgetFlow(100, 80)
    flow.spend(1.0, 90)
    flow.set_limit(2.0, 1000, 800)
    flow.set_limit(3.0, 90, 72)
    flow.set_limit(4.0, 100, 80)
    assert walked(flow) == [
        ("spend", OPEN, SOFT), ("set_limit", SOFT, OPEN), ("set_limit", OPEN, HARD), ("set_limit", HARD, SOFT),
    ]  # fmt: skip


def test_a_window_that_slides_may_leave_it_between_the_limits():
    flow = BudgetFlow(100, 80)
    flow.spend(1.0, 100)
    flow.reset(2.0, 90)
    flow.reset(3.0, 95)
    assert walked(flow) == [("spend", OPEN, HARD), ("reset", HARD, SOFT)]


def test_a_limit_of_nothing_is_reached_by_nothing():
    flow = BudgetFlow(0, 0)
    flow.spend(1.0, 0)
    assert flow.state is HARD


STEPS = st.lists(
    st.tuples(st.sampled_from(["spend", "refuse", "reset", "set_limit"]), st.integers(0, 120), st.integers(0, 120)),
    max_size=30,
)


@given(STEPS)
def test_at_any_time_it_is_what_was_spent_or_refused_since_the_window_began(steps):
    flow, spent, limit, refused = BudgetFlow(100, 80), 0, 100, False
    for event, amount, new in steps:
        if event == "spend":
            spent = spent + amount % 20
            flow.spend(0.0, spent)
        elif event == "refuse":
            refused = True
            flow.refuse(0.0)
        elif event == "reset":
            spent, refused = amount % 100, False
            flow.reset(0.0, spent)
        else:
            limit, refused = new, False
            flow.set_limit(0.0, limit, limit * 8 // 10)
        told = flow.state
        if refused:
            assert told is HARD
        elif spent >= limit:
            assert told is HARD or (spent == 0 and event == "spend")
        elif spent >= limit * 8 // 10:
            assert told is not OPEN
    changes = flow.drain_changes()
    assert all(one.dest is following.source for one, following in pairwise(changes))
    assert all(change.source is not change.dest for change in changes)
    assert {change.event for change in changes} <= set(BUDGET.events)
