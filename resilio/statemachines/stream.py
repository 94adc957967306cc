"""Life of one upstream stream, from sending the request to the one way it ends.

A stream lives as briefly as a request, so it steps through the compiled table. Which clock runs in which state, and
what follows an end, is `resilio.dispatch.leg`'s and `resilio.dispatch.stream`'s.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from resilio.statemachines.table import Row, Stepper, Table

__all__ = ["STREAM", "StreamFlow", "StreamState"]


class StreamState(StrEnum):
    """Where an upstream stream is; the last three are how it can end."""

    CONNECTING = "connecting"
    """The request is on its way; no response head yet."""
    AWAITING_FIRST_TOKEN = "awaiting_first_token"  # noqa: S105 - a token of text
    """The response began, its content did not."""
    FLOWING = "flowing"
    STALLED = "stalled"
    """A clock fired: first token, idle or total."""
    COMPLETED = "completed"
    """The dialect's finish reason was seen."""
    TRUNCATED = "truncated"
    """It ended, or made no sense, before its finish reason."""
    ABORTED = "aborted"
    """We gave it up: the caller left, or another target was faster."""


_S = StreamState

STREAM: Final = Table(
    "stream",
    "One upstream stream: complete only with its finish reason, never by a clean end of the connection alone.",
    initial=_S.CONNECTING,
    finals=(_S.COMPLETED, _S.TRUNCATED, _S.ABORTED),
    rows=(
        Row("head", _S.CONNECTING, _S.AWAITING_FIRST_TOKEN),
        Row("content", _S.AWAITING_FIRST_TOKEN, _S.FLOWING),
        Row("stall", (_S.CONNECTING, _S.AWAITING_FIRST_TOKEN, _S.FLOWING), _S.STALLED),
        # An answer may be whole without any content; what stalled may prove to have been whole already.
        Row("finish", (_S.AWAITING_FIRST_TOKEN, _S.FLOWING, _S.STALLED), _S.COMPLETED),
        Row("cut", (_S.CONNECTING, _S.AWAITING_FIRST_TOKEN, _S.FLOWING, _S.STALLED), _S.TRUNCATED),
        Row("abort", (_S.CONNECTING, _S.AWAITING_FIRST_TOKEN, _S.FLOWING, _S.STALLED), _S.ABORTED),
    ),
)


class StreamFlow(Stepper[StreamState], table=STREAM):
    """The state of one upstream stream; `step(event)` moves it, `settled` says it is over."""

    __slots__ = ()
