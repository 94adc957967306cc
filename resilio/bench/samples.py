"""What became of every call of one run, in columns.

Filled in on the path of every call, so it only appends numbers and counts; all arithmetic is in `report` and
`timeline`. A million calls take about 30 MB.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final

from resilio.errors import ResilioError
from resilio.models import AttemptRecord, Reply

__all__ = ["PARTIAL", "Samples"]

PARTIAL: Final = "PartialAnswer"
"""How a partial answer stands among the errors: the call did not raise, and did not get what it asked for."""


class Samples:
    """One row a call, in the order in which calls ended. Instants are seconds after the run began.

    Attributes:
        intended: When the call should have been sent: of an open loop its arrival, of a closed one its start.
        lag: How much later it was really sent, because the generator itself was late; seconds.
        latency: From the intended start to the end, whatever that was; seconds.
        first_token: From the intended start to the first content; NaN where there was none.
        answered: 1 for a whole answer, else 0.
        errors: Calls without a whole answer, by the type of their error.
        attempt_errors: Upstream requests that failed, by class, those of answered calls included.
        levels: Answers by the rung that gave them.
        targets: Answers by target.
        upstream: Requests sent to providers.
        cost_usd: Of the answers whose price is known.
        priced: How many those are.
        ended: When the last call was over.
    """

    __slots__ = (
        "answered", "attempt_errors", "cost_usd", "ended", "errors", "first_token", "intended", "lag", "latency",
        "levels", "priced", "targets", "upstream",
    )  # fmt: skip

    def __init__(self) -> None:
        self.intended = array("d")
        self.lag = array("d")
        self.latency = array("d")
        self.first_token = array("d")
        self.answered = bytearray()
        self.errors: Counter[str] = Counter()
        self.attempt_errors: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.targets: Counter[str] = Counter()
        self.upstream = 0
        self.cost_usd = 0.0
        self.priced = 0
        self.ended = 0.0

    def __len__(self) -> int:
        return len(self.intended)

    def __repr__(self) -> str:
        return f"<Samples calls={len(self)} answered={sum(self.answered)} upstream={self.upstream}>"

    def reply(self, intended: float, started: float, ended: float, reply: Reply) -> None:
        """A call that was answered, if not always to the end."""
        first = reply.first_token
        whole = reply.complete
        self._row(intended, started, ended, math.nan if first is None else started - intended + first, int(whole))
        if not whole:
            self.errors[PARTIAL] += 1
        self.levels[reply.level] += 1
        self.targets[reply.target] += 1
        if reply.cost_usd is not None:
            self.cost_usd += reply.cost_usd
            self.priced += 1
        self._attempts(reply.attempts)

    def error(self, intended: float, started: float, ended: float, error: ResilioError) -> None:
        """A call that was not."""
        self._row(intended, started, ended, math.nan, 0)
        self.errors[type(error).__name__] += 1
        self._attempts(error.attempts)

    def _row(self, intended: float, started: float, ended: float, first_token: float, answered: int) -> None:
        self.intended.append(intended)
        self.lag.append(max(0.0, started - intended))
        self.latency.append(ended - intended)
        self.first_token.append(first_token)
        self.answered.append(answered)
        self.ended = max(self.ended, ended)

    def _attempts(self, attempts: Sequence[AttemptRecord]) -> None:
        self.upstream += len(attempts)
        for attempt in attempts:
            if attempt.error is not None:
                self.attempt_errors[attempt.error_class or attempt.outcome] += 1
