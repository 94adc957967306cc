"""Who may spend what: budgets at work, over a ledger that outlives the process.

A process claims blocks of a limit from the ledger and reserves inside them without waiting for anybody; `desk` does
that. What is spent is written down in the background, by `clerk`. A call holds a `Reservation` from before it queues
for capacity until it is over. Arithmetic stands in `resilio.budget`, what an attempt may cost in
`resilio.dispatch.money`.
"""

from resilio.spending.desk import Purse, Spending
from resilio.spending.report import BudgetStatus, BudgetUsage
from resilio.spending.reservation import Reservation

__all__ = ["BudgetStatus", "BudgetUsage", "Purse", "Reservation", "Spending"]
