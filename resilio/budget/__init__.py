"""What may be spent, as arithmetic: caps of scopes, windows of time, blocks of a limit.

Pure throughout: no clock, no await, no I/O; instants are arguments. Amounts are whole units, tokens or 1e-12 US
dollars. Who claims blocks from the ledger, and when, stands in `resilio.spending`, a layer above.
"""

from resilio.budget.block import Block
from resilio.budget.cap import SpendCap, SpendCapStatistics
from resilio.budget.holding import Budget, Holding, budgets_of, entity_of
from resilio.budget.units import MOST, SCALE, Need, Unit, amount_of, units_of
from resilio.budget.windows import CalendarWindow, SlidingWindow, Span, Window, window_of

__all__ = [
    "MOST",
    "SCALE",
    "Block",
    "Budget",
    "CalendarWindow",
    "Holding",
    "Need",
    "SlidingWindow",
    "Span",
    "SpendCap",
    "SpendCapStatistics",
    "Unit",
    "Window",
    "amount_of",
    "budgets_of",
    "entity_of",
    "units_of",
    "window_of",
]
