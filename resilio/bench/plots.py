"""Pictures of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resilio.bench.figures import INK, PlotError, check_plots, empty, frame, save
from resilio.bench.report import LevelReport, Percentiles
from resilio.bench.timeline import BIN_SECONDS, Band, Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PlotError", "check_plots", "draw_levels", "draw_timeline"]

_SHADES: Final = {"p50": "#2a6f97", "p95": "#e09f3e", "p99": "#b23a48"}
_STATES: Final = {
    "open": "#b23a48",
    "half_open": "#e09f3e",
    "ramping": "#84a98c",
    "forced_open": "#5e2129",
    "disabled": "#adb5bd",
    "metrics_only": "#ced4da",
}
WIDE: Final = 20.0
"""From this ratio of the slowest to the fastest on, a linear axis would hide the fast."""


def draw_levels(reports: Sequence[LevelReport], path: Path, title: str) -> None:
    """Throughput and latency against the level of load."""
    figure = empty(10.5, 4.2)
    figure.suptitle(title, color=INK, fontsize=12)
    left, right = figure.subplots(1, 2)
    levels = [report.level for report in reports]
    what = "requests per second offered" if reports[0].open_loop else "callers at one time"
    left.plot(levels, [report.throughput for report in reports], "o-", color=_SHADES["p50"], label="answered")
    if reports[0].open_loop:
        left.plot(levels, levels, ":", color=INK, label="offered")
        left.legend(frameon=False)
    for report in reports:
        failed = "" if report.answered == report.calls else f"\n{1 - report.availability:.1%} failed"
        note = f"{report.throughput:,.0f}" if report.throughput >= 100 else f"{report.throughput:.3g}"
        left.annotate(
            note + failed, (report.level, report.throughput), (0, 7), textcoords="offset points", ha="center",
            fontsize=8, color=INK,
        )  # fmt: skip
    left.set_ylim(0, max([report.throughput for report in reports] + [1e-9]) * 1.2)
    _dress(left, levels, what, "answers per second")
    for name, shade in _SHADES.items():
        right.plot(levels, _values(reports, name, lambda report: report.latency), "o-", color=shade, label=name)
        firsts = _values(reports, name, lambda report: report.first_token)
        if not all(map(math.isnan, firsts)):
            right.plot(levels, firsts, "s--", color=shade, alpha=0.55, label=f"{name}, first token")
    _dress(right, levels, what, "latency of answers")
    _log_seconds(right)
    right.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    save(figure, path)


def draw_timeline(found: Sequence[Bin], bands: Sequence[Band], seconds: float, path: Path, title: str) -> None:
    """Latency and availability over time, and below them what the breakers were doing.

    Args:
        found: At least one bin.
        bands: When breakers were not closed.
        seconds: How long the run took: the width of the picture.
        path: The file to write.
        title: Stands above.
    """
    names = sorted({band.name for band in bands})
    heights = [3.0, 1.6] + ([0.55 + 0.32 * len(names)] if names else [])
    figure = empty(10.0, sum(heights) + 1.3)
    figure.suptitle(title, color=INK, fontsize=12)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    top, middle = axes[0], axes[1]
    for name, shade in _SHADES.items():
        _line(top, found, [getattr(each, name) for each in found], shade, name)
    known = [value for each in found for value in (each.p50, each.p99) if value]
    if known and max(known) / min(known) > WIDE:
        _log_seconds(top)
    else:
        top.set_ylim(bottom=0)
        top.yaxis.set_major_formatter(lambda value, _: _told(value))
    top.set_ylabel("latency of answers")
    top.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3)
    shares = [100 * each.availability for each in found]
    _line(middle, found, shares, "#2d6a4f", None)
    lowest = min(shares)
    # Of a run that was nearly always well, the little that was not must still be seen.
    middle.set_ylim(max(-3.0, lowest - 0.15 * (100 - lowest) - 0.05), 100 + 0.12 * max(100 - lowest, 0.5))
    middle.set_ylabel("answered, %")
    if names:
        _bands(axes[2], bands, names)
    axes[-1].set_xlim(0, seconds)
    if seconds >= 600:
        step = max(60, 60 * round(seconds / 12 / 60))
        axes[-1].set_xticks(
            range(0, int(seconds) + 1, step), [f"{at // 60}" for at in range(0, int(seconds) + 1, step)]
        )
    unit = "minutes" if seconds >= 600 else "seconds"
    axes[-1].set_xlabel(f"{unit} since the beginning (each point: {BIN_SECONDS:g} s)")
    for each in axes:
        frame(each)
    save(figure, path)


def _bands(axes: Axes, bands: Sequence[Band], names: Sequence[str]) -> None:
    for row, name in enumerate(names):
        for state in _STATES:
            spans = [(band.start, band.end - band.start) for band in bands if (band.name, band.state) == (name, state)]
            # The edge keeps a span of a few seconds visible in an hour.
            axes.broken_barh(spans, (row - 0.36, 0.72), facecolors=_STATES[state], edgecolors=_STATES[state], lw=0.8)
    seen = [state for state in _STATES if any(band.state == state for band in bands)]
    handles = [axes.barh(-5, 0, color=_STATES[state], label=state.replace("_", "-")) for state in seen]
    axes.legend(handles=handles, frameon=False, loc="upper right", ncols=len(handles), fontsize=8,
                bbox_to_anchor=(1.0, 1.32))  # fmt: skip
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_ylabel("breakers")


def _line(axes: Axes, found: Sequence[Bin], values: Iterable[float | None], shade: str, label: str | None) -> None:
    """A line with gaps where there is no value."""
    middles = [each.start + BIN_SECONDS / 2 for each in found]
    drawn = [math.nan if value is None else value for value in values]
    axes.plot(middles, drawn, "-", color=shade, label=label, lw=1.2, marker="." if len(found) < 80 else "")


def _values(reports: Iterable[LevelReport], name: str, of: Callable[[LevelReport], Percentiles | None]) -> list[float]:
    found = (of(report) for report in reports)
    return [math.nan if percentiles is None else getattr(percentiles, name) for percentiles in found]


def _dress(axes: Axes, levels: Sequence[float], below: str, beside: str) -> None:
    if len(levels) > 1 and max(levels) / min(levels) >= 4:
        axes.set_xscale("log", base=2)
    axes.set_xticks(levels, [f"{level:g}" for level in levels])
    axes.minorticks_off()
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    frame(axes)


def _log_seconds(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: _told(value))
    axes.yaxis.set_minor_formatter(lambda value, _: _told(value) if _is_labelled(value) else "")


def _told(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _is_labelled(value: float) -> bool:
    """Of the ticks between powers of ten, 2 and 5 alone get a label."""
    lead = value / 10 ** math.floor(math.log10(value) + 1e-9) if value > 0 else 0
    return any(math.isclose(lead, wanted, rel_tol=1e-6) for wanted in (2, 5))
