"""Checks of what is asked and of what is answered: what each kind looks for, as pure functions of texts.

Nothing here waits or knows a call: when a check runs, and what follows from what it finds, is dispatch's. A function of
one's own is found here and run there.
"""

from resilio.checks.check import Check, Checks, CheckStatistics
from resilio.checks.verdict import CheckInput, Verdict
from resilio.checks.window import Sieve

__all__ = ["Check", "CheckInput", "CheckStatistics", "Checks", "Sieve", "Verdict"]
