"""What a run looked like over time: bins of calls, and the lives of breakers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from resilio.bench.report import nearest_rank
from resilio.bench.samples import Samples
from resilio.events import BreakerChanged

__all__ = ["BIN_SECONDS", "Band", "Bin", "Change", "bands", "bins", "changes"]

BIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Bin:
    """The calls that were due in one span of time. Latencies in seconds; None: no call was answered."""

    start: float
    """Seconds after the run began."""
    calls: int
    availability: float
    p50: float | None
    p95: float | None
    p99: float | None


def bins(samples: Samples, width: float = BIN_SECONDS) -> list[Bin]:
    """Calls by when they were due, oldest first; spans in which none was due are left out."""
    calls: dict[int, int] = {}
    latencies: dict[int, list[float]] = {}
    for intended, latency, answered in zip(samples.intended, samples.latency, samples.answered, strict=True):
        number = int(intended / width)
        calls[number] = calls.get(number, 0) + 1
        if answered:
            latencies.setdefault(number, []).append(latency)
    found = []
    for number in sorted(calls):
        ordered = sorted(latencies.get(number, ()))
        p50, p95, p99 = (nearest_rank(ordered, share) if ordered else None for share in (0.5, 0.95, 0.99))
        found.append(Bin(number * width, calls[number], len(ordered) / calls[number], p50, p95, p99))
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker moved."""

    at: float
    """Seconds after the run began."""
    name: str
    """A provider, or a target ("provider/model")."""
    source: str
    dest: str
    break_duration: float | None


def changes(events: Iterable[BreakerChanged], began: float) -> list[Change]:
    """Changes as they happened; `began` is the monotonic instant of the run's beginning."""
    return [Change(each.at - began, each.name, each.source, each.dest, each.break_duration) for each in events]


@dataclass(frozen=True, slots=True)
class Band:
    """A span in which a breaker was in one state other than closed."""

    name: str
    state: str
    start: float
    end: float


def bands(moves: Sequence[Change], until: float) -> list[Band]:
    """The spans in which each breaker was not closed, in order of their beginnings.

    Args:
        moves: Of all breakers, in the order in which they happened.
        until: When the run ended: where what is still going on is cut off.
    """
    since: dict[str, Change] = {}
    found = []
    for move in moves:
        if (before := since.pop(move.name, None)) is not None:
            found.append(Band(move.name, before.dest, before.at, move.at))
        if move.dest != "closed":
            since[move.name] = move
    found += [Band(name, move.dest, move.at, max(until, move.at)) for name, move in since.items()]
    return sorted(found, key=lambda band: (band.start, band.name))
