"""What an actor says when it admits nobody: plain values, on which dispatch decides and errors are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Refusal", "Why"]


class Why:
    """Why an actor refuses. Plain strings, named in errors and reasons."""

    STOPPED: Final = "stopped"
    RESTARTING: Final = "restarting"
    """Its task crashed and is about to come back: those who wait are served then."""
    PROVIDER_OPEN: Final = "provider_open"
    TARGET_OPEN: Final = "target_open"
    RAMPING: Final = "ramping"
    QUEUE_AHEAD: Final = "queue_ahead"
    BUSY: Final = "busy"
    RATE_LIMITED: Final = "rate_limited"
    TOO_LARGE: Final = "too_large"
    NO_KEY: Final = "no_key"
    RENEWING: Final = "renewing"
    """The only keys left were refused, and their files or commands are asked for other secrets."""
    QUEUE_FULL: Final = "queue_full"


_WAITABLE: Final = frozenset({Why.QUEUE_AHEAD, Why.BUSY, Why.RATE_LIMITED, Why.RESTARTING, Why.RENEWING})
_CIRCUITS: Final = frozenset({Why.PROVIDER_OPEN, Why.TARGET_OPEN, Why.NO_KEY})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An actor's no: which target, and why."""

    target: str
    why: str
    retry_in: float | None = None
    """Seconds after which asking again makes sense; None: unknown, or never."""
    detail: str = ""
    """The actor's state (stopped, restarting), or the error class that set the keys aside (no_key)."""
    count: int = 0
    """Requests in flight (busy), or callers who wait already (queue_ahead, queue_full)."""
    waited: float = 0.0
    """Seconds already spent in the queue."""

    @property
    def waitable(self) -> bool:
        """Whether a place in the queue can turn this into a lease."""
        return self.why in _WAITABLE

    @property
    def probeable(self) -> bool:
        """Whether an open circuit refused, which an early probe might test."""
        return self.why in _CIRCUITS
