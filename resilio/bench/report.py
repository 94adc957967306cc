"""Figures of one run: throughput, percentiles, errors, amplification. Pure.

Percentiles are exact (all values are kept and sorted) and by nearest rank: a value that really occurred.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from resilio.bench.load import Load
from resilio.bench.samples import Samples

__all__ = ["LevelReport", "Percentiles", "level_report", "nearest_rank"]


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the ascending, non-empty values does not exceed."""
    # A share such as 0.95 times a count may come out a hair above a whole number, and would skip a rank.
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations, in seconds."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles | None:
        """None: there are no values."""
        ordered = sorted(values)
        if not ordered:
            return None
        p50, p95, p99 = (nearest_rank(ordered, share) for share in (0.5, 0.95, 0.99))
        return cls(math.fsum(ordered) / len(ordered), p50, p95, p99, ordered[-1])


@dataclass(frozen=True, slots=True)
class LevelReport:
    """One run at one level of load."""

    level: float
    """Callers of a closed loop, or calls per second of an open one."""
    open_loop: bool
    calls: int
    answered: int
    availability: float
    """Share of the calls that got a whole answer, from whichever rung."""
    seconds: float
    """From the first call to the end of the last."""
    throughput: float
    """Answered calls per second."""
    latency: Percentiles | None
    """Of answered calls, from the instant at which each was due."""
    first_token: Percentiles | None
    """Of streamed answers, likewise."""
    lag: Percentiles | None
    """How late the generator sent its calls; only an open loop has a schedule to be late for."""
    errors: Mapping[str, int]
    attempt_errors: Mapping[str, int]
    levels: Mapping[str, int]
    targets: Mapping[str, int]
    upstream: int
    amplification: float
    """Upstream requests per call."""
    cost_usd: float | None
    """None: no answer had a known price."""


def level_report(samples: Samples, load: Load, *, streamed: bool) -> LevelReport:
    """Work out one level.

    Args:
        samples: Of at least one call.
        load: What was put on.
        streamed: The answers came as streams: only then is a first token an observation of its own.
    """
    calls, answered = len(samples), sum(samples.answered)
    firsts = (value for value in samples.first_token if value == value) if streamed else ()
    return LevelReport(
        level=load.level,
        open_loop=load.open_loop,
        calls=calls,
        answered=answered,
        availability=answered / calls if calls else 0.0,
        seconds=samples.ended,
        throughput=answered / samples.ended if samples.ended else 0.0,
        latency=Percentiles.of(compress(samples.latency, samples.answered)),
        first_token=Percentiles.of(firsts),
        lag=Percentiles.of(samples.lag) if load.open_loop else None,
        errors=_counted(samples.errors),
        attempt_errors=_counted(samples.attempt_errors),
        levels=_counted(samples.levels),
        targets=_counted(samples.targets),
        upstream=samples.upstream,
        amplification=samples.upstream / calls if calls else 0.0,
        cost_usd=samples.cost_usd if samples.priced else None,
    )


def _counted(counter: Mapping[str, int]) -> dict[str, int]:
    """Most frequent first, then by name: an order that does not depend on what happened first."""
    return {str(name): counter[name] for name in sorted(counter, key=lambda name: (-counter[name], name))}
