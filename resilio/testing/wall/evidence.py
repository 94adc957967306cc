"""What a verdict is given on: what the caller saw, and what the upstreams' logs say. Values only.

All times are nominal seconds: of a run with every time shrunk to a tenth, the measured ones times ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from resilio.testing.reaction import Outcome, SeenRequest

__all__ = [
    "DEADLINE",
    "FIRST_TOKEN",
    "IDLE",
    "Ask",
    "Ended",
    "Evidence",
    "Mode",
    "Seen",
    "Tried",
    "UpstreamCall",
    "WallClient",
    "calls_of",
]

DEADLINE: Final = 20.0
"""Seconds in which every call must have ended."""
FIRST_TOKEN: Final = 10.0
"""First-token clock, in seconds, that a client or gateway is to be configured with."""
IDLE: Final = 5.0
"""Idle clock, likewise."""


class Mode(StrEnum):
    """How the answer is asked for, and what is to happen when it breaks in the middle."""

    COMPLETE = "complete"
    """As a whole; upstream it may be streamed."""
    CONTINUE = "stream_continue"
    """As a stream that another target continues where it breaks."""
    ERROR = "stream_error"
    """As a stream that ends in a typed error where it breaks."""

    @property
    def stream(self) -> bool:
        return self is not Mode.COMPLETE


class Ended(StrEnum):
    """How the call ended for the caller."""

    COMPLETE = "complete"
    """Reported as a whole answer, whether it was one or not."""
    PARTIAL = "partial"
    """Reported as a part of one."""
    REFUSED = "refused"
    """Reported as refused by a content filter or the model."""
    ERROR = "error"
    LEFT = "left"
    """The caller went away, as it meant to."""
    HUNG = "hung"
    """Neither answer nor error within the deadline and a grace."""
    CRASHED = "crashed"
    """An exception that is none of the client's own."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of a caller."""

    model: str
    mode: Mode
    deadline: float
    """Real seconds of the loop, scaled."""
    pause: float = 0.0
    """Seconds the caller takes over each chunk before it asks for the next."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt as the client reports it."""

    target: str
    error_class: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """How one call looked to its caller. None where a client does not say."""

    ended: Ended
    text: str = ""
    """What the caller has in hand: of a stream its chunks, joined."""
    error: str | None = None
    partial_text: str | None = None
    """What an error carries of the answer; of a stream, what the caller already has."""
    chunks: int = 0
    elapsed: float = 0.0
    target: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    attempts: tuple[Tried, ...] | None = None


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """One request that reached an upstream; instants are seconds after the row began."""

    upstream: str
    at: float
    ended_at: float | None
    model: str
    stream: bool
    status: int | None
    outcome: str
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a verdict may look at."""

    mode: Mode
    seen: Sequence[Seen]
    """One for each request, in the order they were begun."""
    calls: Sequence[UpstreamCall]
    """All upstreams' calls, oldest first."""
    slack: float = 0.05
    """Seconds by which an instant may be off: next to nothing on virtual time."""
    left_at: float | None = None
    """When callers went away, in seconds after the row began."""
    leaks: Sequence[str] = ()
    """What the client or an upstream still holds after the last call."""

    def of(self, upstream: str) -> list[UpstreamCall]:
        """The calls this upstream saw."""
        return [call for call in self.calls if call.upstream == upstream]

    @property
    def amplification(self) -> float:
        """Upstream calls for each caller's call."""
        return len(self.calls) / len(self.seen) if self.seen else 0.0


class WallClient(Protocol):
    """Whatever is held to the wall: a library, an SDK, a gateway."""

    async def ask(self, ask: Ask) -> Seen:
        """Ask `QUESTION` and tell what the caller sees; `elapsed` may be left to the runner.

        Cancelled when the caller hangs up. Exceptions of the client's own are turned into `Seen`; any other counts
        as a failure.
        """
        ...

    def leaks(self) -> Sequence[str]:
        """What is still held although no call runs; empty where it cannot be known."""
        ...


def calls_of(upstream: str, log: Sequence[SeenRequest], began: float, scale: float) -> list[UpstreamCall]:
    """The log of a simulated provider as evidence."""
    return [
        UpstreamCall(
            upstream,
            (seen.at - began) / scale,
            None if seen.ended_at is None else (seen.ended_at - began) / scale,
            seen.model,
            seen.stream,
            seen.status,
            seen.outcome,
            tuple(type(fault).__name__ for fault in seen.faults),
        )
        for seen in log
        if seen.outcome is not Outcome.NOT_CONNECTED
    ]
