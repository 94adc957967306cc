"""Where the money went: what calls cost in a period, by whatever they have, and what changed against the one before.

`periods` knows the calendar, `rates` what a token cost, `causes` splits a change into its causes, `summary` puts a
report together of sums that it is handed; `wording` says it and `plots` draws it. Decides, and reads nothing itself:
the sums come from `resilio.store.totals`, the command line is `resilio.cli.report`.
"""

from resilio.report.causes import CAUSES, Cause, Change, ModelUse, change_of
from resilio.report.periods import Day, Period, PeriodError, days_of, period_before, period_of
from resilio.report.summary import Collected, Report, Row, make_report

__all__ = [
    "CAUSES",
    "Cause",
    "Change",
    "Collected",
    "Day",
    "ModelUse",
    "Period",
    "PeriodError",
    "Report",
    "Row",
    "change_of",
    "days_of",
    "make_report",
    "period_before",
    "period_of",
]
