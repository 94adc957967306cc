"""Life of one request, from its arrival to the one state it settles in.

Only the order of things is kept here; what happens in each state is `dispatch.py`'s and the ladder's. A
request lives too briefly for a `transitions` trigger at each step: `RequestFlow` steps through the
compiled table instead.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from resilio.statemachines.table import Row, Stepper, Table

__all__ = ["REQUEST", "RequestFlow", "RequestState"]


class RequestState(StrEnum):
    """Where a request is; the last five are how it can settle."""

    RECEIVED = "received"
    """Its deadline is fixed."""
    LOOKED_UP = "looked_up"
    """No cache had the answer."""
    RESERVED = "reserved"
    """Its budgets hold a reservation for it, where there are any."""
    ATTEMPTING = "attempting"
    """A request to a target is out."""
    WAITING = "waiting"
    """In a queue for capacity, or between two attempts."""
    STREAMING = "streaming"
    """The caller has seen content: no other target may start over."""
    DEGRADING = "degrading"
    """The targets are exhausted; the rungs below are asked."""
    COMPLETE = "complete"
    PARTIAL = "partial"
    """An honest part of an answer, marked as such."""
    REFUSED = "refused"
    """A content filter or the model refused, or a check of the route did."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    """By the caller."""


_S = RequestState
_LIVE: Final = (_S.RECEIVED, _S.LOOKED_UP, _S.RESERVED, _S.ATTEMPTING, _S.WAITING, _S.STREAMING, _S.DEGRADING)

REQUEST: Final = Table(
    "request",
    "One request: caches, budget, attempts and the ladder, until it settles in exactly one of five ways.",
    initial=_S.RECEIVED,
    finals=(_S.COMPLETE, _S.PARTIAL, _S.REFUSED, _S.FAILED, _S.CANCELLED),
    rows=(
        Row("hit", _S.RECEIVED, _S.COMPLETE),
        Row("miss", _S.RECEIVED, _S.LOOKED_UP),
        Row("reserve", _S.LOOKED_UP, _S.RESERVED),
        Row("over_budget", _S.LOOKED_UP, _S.DEGRADING),
        # A rung may try another route, so attempts also begin while degrading.
        Row("attempt", (_S.RESERVED, _S.WAITING, _S.ATTEMPTING, _S.DEGRADING), _S.ATTEMPTING),
        Row("wait", (_S.RESERVED, _S.ATTEMPTING, _S.DEGRADING), _S.WAITING),
        Row("exhaust", (_S.RESERVED, _S.ATTEMPTING, _S.WAITING), _S.DEGRADING),
        Row("content", _S.ATTEMPTING, _S.STREAMING),
        # on_break = "continue": another target takes the broken stream up where it stopped.
        Row("resume", _S.STREAMING, _S.ATTEMPTING),
        Row("answer", (_S.ATTEMPTING, _S.STREAMING, _S.DEGRADING), _S.COMPLETE),
        # A clock ran out, or a stream broke, with a part of the answer in hand.
        Row("cut", (_S.ATTEMPTING, _S.WAITING, _S.STREAMING), _S.PARTIAL),
        # By a model, or by a check of the route: before anything is sent, or wherever an answer is asked for again.
        Row("refuse", _LIVE, _S.REFUSED),
        Row("fail", _LIVE, _S.FAILED),
        Row("cancel", _LIVE, _S.CANCELLED),
    ),
)


class RequestFlow(Stepper[RequestState], table=REQUEST):
    """The state of one request; `step(event)` moves it, `settled` says it is over."""

    __slots__ = ()
