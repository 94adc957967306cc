"""How far one entity has come with one of its budgets: open, past the soft limit, at the hard limit.

Pure: callers pass `now` in monotonic seconds and say what was spent. It gates nothing, as reservations do that to the
unit; it says once what is worth telling. The last state is left by a new window or another limit alone, so
what it tells it tells once a window.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from resilio.statemachines.table import Row, Table

__all__ = ["BUDGET", "BudgetChange", "BudgetFlow", "BudgetState"]


class BudgetState(StrEnum):
    """Where a budget is in its window."""

    OPEN = "open"
    SOFT_EXCEEDED = "soft_exceeded"
    """The soft share of the limit is spent: told, and nothing refused."""
    HARD_EXCEEDED = "hard_exceeded"
    """All of the limit is spent, or a request was refused because it might have passed it."""


_S = BudgetState
_ANY: Final = tuple(BudgetState)

BUDGET: Final = Table(
    "budget",
    "What one entity has spent of one budget in the window that runs.",
    initial=_S.OPEN,
    rows=(
        Row("spend", _S.OPEN, _S.SOFT_EXCEEDED, "past_soft"),
        Row("spend", (_S.OPEN, _S.SOFT_EXCEEDED), _S.HARD_EXCEEDED, "at_hard"),
        Row("refuse", (_S.OPEN, _S.SOFT_EXCEEDED), _S.HARD_EXCEEDED),
        # A window has begun, or a part of a sliding one has left: what still counts decides.
        Row("reset", _ANY, _S.SOFT_EXCEEDED, "past_soft"),
        Row("reset", _ANY, _S.HARD_EXCEEDED, "at_hard"),
        Row("reset", _ANY, _S.OPEN),
        Row("set_limit", _ANY, _S.SOFT_EXCEEDED, "past_soft"),
        Row("set_limit", _ANY, _S.HARD_EXCEEDED, "at_hard"),
        Row("set_limit", _ANY, _S.OPEN),
    ),
)


class BudgetChange(NamedTuple):
    """One change of state."""

    source: BudgetState
    dest: BudgetState
    event: str
    at: float
    spent: int
    """Units known to be spent in the window."""


class BudgetFlow:
    """The state of one entity's budget.

    Args:
        limit: Units of the hard limit.
        soft: Units from which it is worth a word.

    Attributes:
        state: Where it is.
        spent: Units known to be spent in the window that runs.
        changes: What happened since `drain_changes()` was last called.
    """

    __slots__ = ("changes", "limit", "soft", "spent", "state")

    def __init__(self, limit: int, soft: int) -> None:
        self.state = BudgetState.OPEN
        self.limit = limit
        self.soft = soft
        self.spent = 0
        self.changes: list[BudgetChange] = []
        BUDGET.bind(self)

    def spend(self, now: float, spent: int) -> None:
        """So many units are spent by now, in this window."""
        self.spent = spent
        if self.state is BudgetState.HARD_EXCEEDED or spent < self.soft:
            return  # nothing to tell: the usual case
        self._fire("spend", now)

    def refuse(self, now: float) -> None:
        """A request was refused, as it might have passed the limit."""
        if self.state is not BudgetState.HARD_EXCEEDED:
            self._fire("refuse", now)

    def reset(self, now: float, spent: int) -> None:
        """A window has begun, or less counts in one that slides."""
        self.spent = spent
        self._fire("reset", now)

    def set_limit(self, now: float, limit: int, soft: int) -> None:
        """Another limit holds."""
        self.limit, self.soft = limit, soft
        self._fire("set_limit", now)

    def drain_changes(self) -> list[BudgetChange]:
        """The changes since the last call, oldest first."""
        changes, self.changes = self.changes, []
        return changes

    def _fire(self, event: str, now: float) -> None:
        source = self.state
        if BUDGET.fire(self, event, now) and self.state is not source:
            self.changes.append(BudgetChange(source, self.state, event, now, self.spent))

    def _at_hard(self, now: float) -> bool:
        return self.spent >= self.limit

    def _past_soft(self, now: float) -> bool:
        return self.soft <= self.spent < self.limit

    def __repr__(self) -> str:
        return f"<BudgetFlow {self.state}, {self.spent} of {self.limit}>"
