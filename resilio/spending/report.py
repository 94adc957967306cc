"""What budgets look like: frozen, in tokens or US dollars, for programs, operators and the command line."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resilio.budget import Budget, Holding, amount_of
from resilio.statemachines.budget import BudgetState
from resilio.store.base import Account

if TYPE_CHECKING:
    from resilio.spending.clerk import Clerk

__all__ = ["BudgetStatus", "BudgetUsage", "status_of", "usage_of"]

NEAREST: Final = 50
"""Entities a snapshot lists of each budget: those nearest to their limits."""


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """One entity's part in one budget, in the window that runs. Amounts in `unit`."""

    budget: str
    entity: str
    """``*``: everybody together."""
    unit: str
    """``tokens`` or ``usd``."""
    limit: float
    soft_limit: float
    spent: float
    """Settled, by any process as far as this one knows."""
    reserved: float
    """The most that calls of this process under way may still use."""
    left: float
    """What neither is spent nor reserved here."""
    window: str
    resets_in: float
    """Seconds until the window ends, or something of a sliding one."""
    state: str


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget in one unit, as this process knows it."""

    per: str
    unit: str
    limit: float
    """Of an entity that has none of its own."""
    entities: int
    """Entities that are in use here."""
    soft_exceeded: int
    hard_exceeded: int
    unwritten: int
    """Entries of all budgets that are not durable yet."""
    unavailable: str | None
    """Why the ledger cannot be written, and nothing new is spent; None while it can."""
    nearest: tuple[BudgetUsage, ...]
    """The entities nearest to their limits, nearest first; not all of them."""


def usage_of(holding: Holding[Account], wall: float) -> BudgetUsage:
    """One entity's part."""
    budget, flow = holding.budget, holding.flow
    reserved = holding.reserved_here()
    return BudgetUsage(
        budget=budget.name,
        entity=holding.entity,
        unit=budget.unit,
        limit=amount_of(budget.unit, holding.limit),
        soft_limit=amount_of(budget.unit, flow.soft),
        spent=amount_of(budget.unit, flow.spent),
        reserved=amount_of(budget.unit, reserved),
        left=amount_of(budget.unit, max(0, holding.limit - flow.spent - reserved)),
        window=holding.span.name,
        resets_in=holding.resets_in(wall),
        state=str(flow.state),
    )


def status_of(
    budgets: Sequence[Budget], holdings: Iterable[Holding[Account]], clerk: Clerk, wall: float
) -> Mapping[str, BudgetStatus]:
    """Every budget, by its name in the ledger."""
    by_budget: dict[str, list[Holding[Account]]] = {budget.account: [] for budget in budgets}
    for holding in holdings:
        by_budget[holding.budget.account].append(holding)
    unavailable = None if clerk.unavailable is None else str(clerk.unavailable)
    found = {}
    for budget in budgets:
        its = by_budget[budget.account]
        nearest = heapq.nlargest(NEAREST, its, key=lambda each: each.flow.spent / max(1, each.limit))
        found[budget.account] = BudgetStatus(
            per=budget.per,
            unit=budget.unit,
            limit=amount_of(budget.unit, budget.limit),
            entities=len(its),
            soft_exceeded=sum(each.flow.state is BudgetState.SOFT_EXCEEDED for each in its),
            hard_exceeded=sum(each.flow.state is BudgetState.HARD_EXCEEDED for each in its),
            unwritten=clerk.unwritten,
            unavailable=unavailable,
            nearest=tuple(usage_of(each, wall) for each in nearest),
        )
    return found
