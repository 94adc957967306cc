"""The picture of a report: cost by day and model, and how one period's cost became the next one's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resilio.bench.figures import INK, SHADES, empty, frame, save
from resilio.report.summary import DayTotals, Report
from resilio.report.wording import evidence, headline, name_of, spoken, usd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_report"]

_OTHERS: Final = "others"
_GREY: Final = "#adb5bd"
_DEARER: Final = "#b23a48"
_CHEAPER: Final = "#2d6a4f"
_MODELS: Final = len(SHADES) - 1
"""Shown by name; the rest of them together."""
_LABELS: Final = 12
"""Dates below the days, at most."""


def draw_report(report: Report, path: Path) -> None:
    """Draw it.

    Raises:
        PlotError: matplotlib is missing, or the file cannot be written.
    """
    figure = empty(11.0, 7.4)
    figure.suptitle(headline(report), color=INK, fontsize=13)
    top, bottom = figure.subplots(2, 1, height_ratios=(1.0, 1.05))
    _days(top, report)
    _waterfall(bottom, report)
    save(figure, path)


def _days(axes: Axes, report: Report) -> None:
    """Bars by day, the models of a day on top of each other."""
    days = [*report.days[0], *report.days[1]]
    names = _dearest(days)
    places = range(len(days))
    floor = [0.0] * len(days)
    for name, shade in zip([*names, _OTHERS], [*SHADES[: len(names)], _GREY], strict=True):
        heights = [_cost(day, name, names) for day in days]
        if not any(heights):
            continue
        axes.bar(places, heights, 0.86, bottom=floor, color=shade, label=_plain(name), lw=0)
        floor = [below + height for below, height in zip(floor, heights, strict=True)]
    divide = len(report.days[0])
    if 0 < divide < len(days):
        axes.axvline(divide - 0.5, color=INK, lw=1, ls=":")
        for text, at, side in (("before", divide - 0.8, "right"), ("now", divide - 0.2, "left")):
            axes.annotate(
                text, (at, 1.0), (0, -10), xycoords=("data", "axes fraction"), textcoords="offset points", ha=side,
                fontsize=9, color=INK,
            )  # fmt: skip
    step = max(1, -(-len(days) // _LABELS))
    axes.set_xticks(places[::step], [f"{day.date:%d %b}" for day in days[::step]], fontsize=8)
    axes.set_xlim(-0.7, max(len(days), 1) - 0.3)
    axes.set_ylim(0, max([*floor, 1e-12]) * 1.14)
    axes.set_ylabel("USD a day")
    if any(floor):
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.005, 1.0))
    frame(axes)


def _plain(text: str) -> str:
    """What stands between two dollar signs would be set as mathematics."""
    return text.replace("$", r"\$")


def _cost(day: DayTotals, name: str, names: Sequence[str]) -> float:
    if name == _OTHERS:
        return sum(its.cost_usd for model, its in day.models.items() if name_of(model) not in names)
    return sum(its.cost_usd for model, its in day.models.items() if name_of(model) == name)


def _dearest(days: Sequence[DayTotals]) -> list[str]:
    """The models that cost most, over all days."""
    costs: dict[str, float] = {}
    for day in days:
        for model, its in day.models.items():
            if its.cost_usd:
                costs[name_of(model)] = costs.get(name_of(model), 0.0) + its.cost_usd
    return sorted(costs, key=lambda name: (-costs[name], name))[:_MODELS]


def _waterfall(axes: Axes, report: Report) -> None:
    """From the cost before, cause by cause, to the cost now."""
    found = report.change
    rows = [("before", 0.0, found.before, _GREY, usd(found.before), report.before.name)]
    reached = found.before
    for cause in found.causes:
        shade = _DEARER if cause.amount > 0 else _CHEAPER
        label = usd(cause.amount, signed=True)
        rows.append((spoken(cause), reached, cause.amount, shade, label, evidence(cause, report)))
        reached += cause.amount
    rows.append(("now", 0.0, found.after, _GREY, usd(found.after), report.after.name))
    for place, (_, left, width, shade, label, text) in enumerate(rows):
        axes.barh(place, width, 0.66, left=left, color=shade, lw=0)
        axes.annotate(
            label, (max(left, left + width), place), (5, 0), textcoords="offset points", va="center", fontsize=9,
            color=INK,
        )  # fmt: skip
        axes.annotate(
            _plain(text), (1.005, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=INK,
            annotation_clip=False,
        )  # fmt: skip
    edges = [edge for _, left, width, *_ in rows for edge in (left, left + width)]
    axes.set_xlim(min(0.0, *edges) * 1.1, (max(edges) or 1e-12) * 1.12)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("USD in the period")
    frame(axes)
