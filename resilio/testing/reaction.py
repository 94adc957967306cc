"""What a simulated provider does with one request, and what it remembers of it.

The seam between deciding (the provider) and doing (a server or a transport). Values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from resilio.testing.faults import Fault

__all__ = ["Connect", "Ending", "Outcome", "Reaction", "SeenRequest"]


class Connect(StrEnum):
    """How the connection comes about."""

    OK = "ok"
    REFUSED = "refused"
    HANGS = "hangs"
    STALE = "stale"
    """It was kept alive from an earlier request, and is dead."""


class Ending(StrEnum):
    """How it ends after the last piece."""

    CLEAN = "clean"
    """The HTTP message is whole."""
    CUT = "cut"
    """The connection is closed in the middle of the message."""
    RESET = "reset"
    """The connection is reset (TCP RST)."""
    NEVER = "never"
    """Nothing more comes and nothing is closed."""


@dataclass(slots=True)
class Reaction:
    """Head, body with its timing, and ending of one response."""

    status: int | None
    """None: not even a head is sent."""
    headers: dict[str, str]
    pieces: list[tuple[float, bytes]]
    """Bytes of the body, each with the seconds that pass before it."""
    ending: Ending = Ending.CLEAN
    head_delay: float = 0.0
    """Seconds from the request to the head."""
    stream: bool = False
    """Sent in chunks of unknown number; otherwise the head says how long the body is."""
    connect: Connect = Connect.OK


class Outcome(StrEnum):
    """How a request went, as the provider sees it."""

    OPEN = "open"
    """Still being answered."""
    ANSWERED = "answered"
    """Everything the script wanted to send was sent, whatever it was worth."""
    ERROR = "error"
    """An HTTP error was sent."""
    BROKEN = "broken"
    """The provider ended the connection before its answer was whole."""
    CLIENT_GONE = "client_gone"
    """The client hung up first."""
    NOT_CONNECTED = "not_connected"
    """No connection came about; a real provider would not know of it."""


@dataclass(slots=True)
class SeenRequest:
    """One line of the log. Instants are the provider's clock, in seconds."""

    at: float
    method: str
    path: str
    model: str
    key: str | None
    """The bearer token, as sent."""
    stream: bool
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    faults: tuple[Fault, ...] = ()
    status: int | None = None
    outcome: Outcome = Outcome.OPEN
    ended_at: float | None = None
    """When the outcome was settled, and so when a client that hung up was noticed."""
