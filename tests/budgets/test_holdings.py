"""Holdings and blocks against a naive book: random callers, claims, returns and clocks, one step at a time."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilio.budget import Block, Holding, budgets_of, entity_of
from resilio.config import BudgetSettings
from resilio.models import Identity


def holding(wall=0.0, **settings):
    given = {"per": "user", "window": 100, "limit_tokens": 1000, **settings}
    (budget,) = budgets_of([BudgetSettings(**given)])
    return Holding(budget, "alice", lambda *names: names, wall)


def test_a_block_reserves_what_is_free_and_no_more():
    block = Block("a")
    block.grant(10)
    block.reserve(7)
    with pytest.raises(ValueError, match="4 units were to be reserved and 3 are free"):
        block.reserve(4)
    block.settle(7, 9)
    assert (block.free, block.in_use, block.spent, block.overrun) == (1, 9, 9, 2)
    with pytest.raises(ValueError, match="0 are reserved"):
        block.settle(1, 0)
    block.written(9)
    assert (block.free, block.claimed, block.idle) == (1, 1, True)


def test_use_beyond_the_claim_leaves_less_than_nothing_for_others_and_nothing_for_free():
    block = Block("a")
    block.grant(10)
    block.reserve(5)
    block.reserve(5)
    block.settle(5, 12)
    assert block.free == -7
    assert block.take_back() == 0
    block.reserve(0)
    block.written(12)
    assert (block.claimed, block.free) == (0, -5)


def test_units_on_their_way_back_cannot_be_reserved():
    block = Block("a")
    block.grant(10)
    assert block.take_back(keep=4) == 6
    with pytest.raises(ValueError, match="4 are free"):
        block.reserve(5)
    block.returned(6)
    assert (block.claimed, block.free) == (4, 4)


@pytest.mark.parametrize(
    ("per", "entity"),
    [("user", "u"), ("organisation", "o"), ("feature", None), ("key", None), ("tag:team", "t"), ("tag:x", None),
     ("all", "*")],
)  # fmt: skip
def test_whose_budget_a_call_draws_on(per, entity):
    assert entity_of(per, Identity(user="u", organisation="o", tags={"team": "t"})) == entity


@pytest.mark.parametrize(("value", "name"), [(7, "7"), ("\ud800", "\\ud800"), ("zoë", "zoë"), ("", "")])
def test_an_entity_is_text_that_a_ledger_can_keep(value, name):
    assert entity_of("user", Identity(user=value)) == name


def test_a_clock_that_is_put_back_finds_what_was_spent_then():
    its = holding()
    its.block.grant(100)
    its.block.reserve(50)
    its.block.settle(50, 50)
    first = its.block
    assert its.roll(0.0, 100.0)
    assert its.block is not first
    assert its.flow.spent == 0
    assert its.roll(0.0, 99.0)
    assert its.block is first
    assert its.flow.spent == 50


def test_a_sliding_window_does_not_go_back():
    its = holding(kind="sliding")
    assert its.roll(0.0, 50.0)
    name = its.span.name
    assert not its.roll(0.0, 0.0)
    assert its.span.name == name


def test_overrides_and_both_units():
    tokens, usd = budgets_of(
        [BudgetSettings(per="user", window="day", limit_tokens=5, limit_usd=0.1, limit_usd_for={"a": 1e-12})]
    )
    assert (tokens.account, usd.account) == ("user/day/tokens", "user/day/usd")
    assert (tokens.limit_of("a"), usd.limit_of("a"), usd.limit_of("b")) == (5, 1, 10**11)


class HoldingAgainstABook(RuleBasedStateMachine):
    """The ledger is two numbers a window: what is spent, what is claimed."""

    LIMIT = 1000

    @initialize(kind=st.sampled_from(["calendar", "sliding"]))
    def begin(self, kind):
        self.holding = holding(kind=kind, limit_tokens=self.LIMIT)
        self.wall = 0.0
        self.spent, self.claimed = {}, {}
        self.calls = []
        self.overrun = 0

    def total(self, book):
        return sum(book.get(name, 0) for name in self.holding.span.counted)

    @rule(step=st.floats(-150, 150))
    def time_passes(self, step):
        self.wall = max(0.0, self.wall + step)
        self.holding.roll(0.0, self.wall)
        for name, block in self.holding.blocks.items():
            if block is not self.holding.block and (units := block.take_back()):
                block.returned(units)
                self.claimed[name] -= units
        self.holding.forget()

    @rule(units=st.integers(1, 300))
    def claim(self, units):
        left = self.LIMIT - self.total(self.spent) - self.total(self.claimed)
        granted = min(units, max(0, left))
        self.holding.block.grant(granted)
        self.holding.left = left - granted
        name = self.holding.span.name
        self.claimed[name] = self.claimed.get(name, 0) + granted

    @rule(units=st.integers(0, 200))
    def reserve(self, units):
        block = self.holding.block
        if block.free >= units:
            block.reserve(units)
            self.calls.append((self.holding.span.name, block, units))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), share=st.floats(0, 1.2))
    def settle(self, data, share):
        name, block, units = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        used = round(units * share)
        self.overrun += max(0, used - units)
        block.settle(units, used)
        self.holding.spend(0.0, block, used)
        block.written(used)
        self.spent[name] = self.spent.get(name, 0) + used
        self.claimed[name] = max(0, self.claimed.get(name, 0) - used)

    @rule(keep=st.integers(0, 50))
    def give_back(self, keep):
        units = self.holding.block.take_back(keep)
        self.holding.block.returned(units)
        name = self.holding.span.name
        self.claimed[name] = self.claimed.get(name, 0) - units

    @invariant()
    def spending_and_reservations_stay_within_the_limit_but_for_overruns(self):
        for name in {name for name, _, _ in self.calls} | set(self.spent):
            reserved = sum(units for its, _, units in self.calls if its == name)
            assert self.spent.get(name, 0) + reserved <= self.LIMIT + self.overrun
        assert self.total(self.spent) + self.holding.reserved_here() <= self.LIMIT + self.overrun

    @invariant()
    def what_the_blocks_say_is_what_the_book_says(self):
        for name, block in self.holding.blocks.items():
            assert block.claimed == self.claimed.get(name, 0), name
        mine = sum(units for name, _, units in self.calls if name in self.holding.span.counted)
        assert self.holding.reserved_here() == mine

    @invariant()
    def what_is_left_is_told_and_when_it_resets(self):
        assert self.holding.to_claim() >= 0 or self.holding.block.free > 0
        # A window of 100 s and the part it ends in; a clock that was put back has to come as far again.
        assert 0 <= self.holding.resets_in(self.wall) <= max(self.holding.span.end - self.wall, 0) + 105


TestHoldingAgainstABook = HoldingAgainstABook.TestCase
