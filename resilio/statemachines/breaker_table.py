"""Words of the circuit breaker: its states and their table, permits, changes and statistics.

Data only; `breaker` makes it move.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from resilio.statemachines.table import Row, Table

__all__ = ["BREAKER", "BreakerChange", "BreakerState", "BreakerStatistics", "Permit"]


class BreakerState(StrEnum):
    """The last three are entered and left by hand only."""

    CLOSED = "closed"
    """Every call is admitted."""
    OPEN = "open"
    """None is, until the break is over."""
    HALF_OPEN = "half_open"
    """A few real calls probe whether it works again."""
    RAMPING = "ramping"
    """It works again; its share of the calls rises."""
    FORCED_OPEN = "forced_open"
    """None is admitted."""
    DISABLED = "disabled"
    """Every call is admitted and none is counted."""
    METRICS_ONLY = "metrics_only"
    """Every call is admitted and counted; nothing trips."""


_S = BreakerState
_ANY: Final = tuple(BreakerState)

BREAKER: Final = Table(
    "breaker",
    "The circuit of a provider or target: opened by failures or slowness, closed again by probes and a ramp.",
    initial=_S.CLOSED,
    rows=(
        Row("trip", (_S.CLOSED, _S.HALF_OPEN, _S.RAMPING), _S.OPEN, None, "start_break"),
        Row("probe", _S.OPEN, _S.HALF_OPEN, "break_over", "start_probing"),
        Row("early_success", _S.OPEN, _S.HALF_OPEN, None, "start_probing_ahead"),
        Row("recover", _S.HALF_OPEN, _S.RAMPING, "ramps", "start_ramp"),
        Row("recover", _S.HALF_OPEN, _S.CLOSED, None, "close"),
        Row("ramped", _S.RAMPING, _S.CLOSED, "ramp_over", "close"),
        Row("force_open", _ANY, _S.FORCED_OPEN),
        Row("disable", _ANY, _S.DISABLED),
        Row("watch", _ANY, _S.METRICS_ONLY),
        Row("reset", _ANY, _S.CLOSED, None, "start_over"),
    ),
)


class Permit(NamedTuple):
    """Leave to make one call. Hand it back exactly once, to `Breaker.record` or `Breaker.release`."""

    generation: int
    probe: bool
    id: int
    """Which probe; 0 for the permit all other calls of a generation share."""


class BreakerChange(NamedTuple):
    """One change of state, in the order of the fields of `resilio.events.BreakerChanged`."""

    source: BreakerState
    dest: BreakerState
    event: str
    at: float
    """Monotonic seconds at which it was due."""
    break_duration: float | None
    """Seconds until the first probe, when it opened."""


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """One breaker at one instant. Totals run since it was made, rates over the window."""

    name: str
    state: BreakerState
    generation: int
    window_calls: int
    window_failures: int
    window_slow: int
    failure_rate: float
    """0 for an empty window."""
    slow_rate: float
    consecutive_failures: int
    successes: int
    failures: int
    slow: int
    """Also among successes or failures."""
    stale: int
    """Outcomes that came too late to move anything."""
    ignored: int
    """Permits released without evidence, and outcomes while disabled."""
    break_duration: float | None
    """Seconds, stretched by hints; None unless open."""
    reopens_in: float | None
    """Seconds until an open circuit is probed; None unless open."""
    probes_out: int
    share: float
    """Of the calls that prefer it, how many it takes."""
