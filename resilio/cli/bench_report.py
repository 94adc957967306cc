"""How `resilio bench` prints what it found: tables for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from resilio.bench.report import LevelReport, Percentiles
from resilio.bench.timeline import Bin, Change
from resilio.cli.screen import Screen

__all__ = ["Level", "as_dict", "load_of", "show"]

SHOWN_CHANGES: Final = 24
DIGITS: Final = 9
"""Of seconds in JSON: nanoseconds, where floating point adds noise of its own."""


@dataclass(frozen=True, slots=True)
class Level:
    """One run; what follows the report comes from simulations alone."""

    report: LevelReport
    calm: LevelReport | None = None
    """The same run without faults; None: it had none."""
    changes: Sequence[Change] = ()
    bins: Sequence[Bin] = ()
    requests: Mapping[str, int] = field(default_factory=dict)
    """What reached each provider, by its own count."""

    @property
    def added_latency(self) -> dict[str, float] | None:
        """What the faults cost those who got an answer: percentile against percentile, in seconds."""
        if self.calm is None or self.calm.latency is None or self.report.latency is None:
            return None
        calm, met = asdict(self.calm.latency), asdict(self.report.latency)
        return {name: met[name] - calm[name] for name in met}


def load_of(report: LevelReport) -> str:
    """The load, in words."""
    if report.open_loop:
        return f"{report.level:g} requests/s"
    return f"{report.level:g} caller{'s' if report.level != 1 else ''}"


# --- for programs ------------------------------------------------------------------------------


def as_dict(levels: Sequence[Level], route: str, *, simulated: bool, seed: int) -> dict[str, Any]:
    """Everything; of a simulation nothing that a second run would find different."""
    found = []
    for level in levels:
        entry = {"load": load_of(level.report), **asdict(level.report)}
        if simulated:
            entry |= {
                "without_faults": None if level.calm is None else asdict(level.calm),
                "added_latency": level.added_latency,
                "provider_requests": dict(level.requests),
                "breaker_changes": [asdict(change) for change in level.changes],
                "bins": [asdict(each) for each in level.bins],
            }
        found.append(_rounded(entry))
    return {"route": route, "simulated": simulated, "seed": seed, "levels": found}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value


# --- for people --------------------------------------------------------------------------------


def show(levels: Sequence[Level], screen: Screen, *, streamed: bool) -> None:
    """A table of all runs, and below it what they met."""
    headers = ["load", "calls", "answered", "answers/s", "p50", "p95", "p99"]
    headers += ["first token p50", "p95", "p99"] if streamed else []
    rows = []
    for level in levels:
        report = level.report
        rows.append(
            [
                load_of(report), f"{report.calls:,}", _share(report.availability), f"{report.throughput:,.4g}",
                *_cells(report.latency), *(_cells(report.first_token) if streamed else ()),
                f"{report.amplification:.3f}",
            ]
        )  # fmt: skip
    screen.table([*headers, "upstream/call"], rows)
    for level in levels:
        _details(level, screen)


def _details(level: Level, screen: Screen) -> None:
    report = level.report
    screen.say(f"\n{load_of(report)}", "bold")
    if (
        not level.changes
        and len(report.levels) == 1
        and not report.errors
        and not report.attempt_errors
        and len(report.targets) == 1
    ):
        screen.say(f"  all answered by {next(iter(report.targets))}, level {next(iter(report.levels))}")
        _extras(report, screen)
        return
    for what, counted in (
        ("answered at level", report.levels),
        ("answered by", report.targets),
        ("not answered", report.errors),
        ("upstream errors", report.attempt_errors),
    ):
        if counted:
            screen.say(f"  {what}: " + ", ".join(f"{name} {number:,}" for name, number in counted.items()))
    _extras(report, screen)
    if (added := level.added_latency) is not None:
        told = ", ".join(f"{name} {value * 1000:+.1f} ms" for name, value in added.items())
        screen.say(f"  latency added by the faults: {told}")
    if level.changes:
        _changes(level.changes, screen)


def _extras(report: LevelReport, screen: Screen) -> None:
    if report.cost_usd is not None:
        screen.say(f"  cost: {report.cost_usd:.6f} USD")
    if report.lag is not None and report.lag.p99 > 0.005:
        text = f"the generator was late itself: {_told(report.lag.p99)} at p99; these latencies include it"
        screen.say(f"  {text}", "yellow")


def _changes(changes: Sequence[Change], screen: Screen) -> None:
    shown = changes[:SHOWN_CHANGES]
    screen.say("  breakers:")
    for change in shown:
        wait = "" if change.break_duration is None else f", next probe in {change.break_duration:.1f} s"
        screen.say(f"    {change.at:9.2f} s  {change.name}: {change.source} -> {change.dest}{wait}")
    if len(changes) > len(shown):
        screen.say(f"    and {len(changes) - len(shown)} more; --json lists all")


def _cells(percentiles: Percentiles | None) -> tuple[str, str, str]:
    if percentiles is None:
        return "-", "-", "-"
    return _told(percentiles.p50), _told(percentiles.p95), _told(percentiles.p99)


def _told(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _share(share: float) -> str:
    """Never "100 %" where something failed."""
    text = f"{share:.2%}"
    return f"{share:.4%}" if text == "100.00%" and share < 1 else text
