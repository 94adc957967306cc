"""A report on two periods, put together of the sums of a request log.

`collect` asks for sums a day at a time, so that somebody can watch and stop it, and days need no calendar in the
database; `make_report` adds them up and finds the causes of the change. Where sums come from is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, Protocol

from resilio.report.causes import Change, ModelUse, change_of
from resilio.report.periods import Day, Period, days_of
from resilio.store.totals import Moments, Moves, Totals

__all__ = ["Collected", "DayTotals", "Names", "Report", "Row", "Source", "collect", "make_report"]

Names = Mapping[str | None, Totals]


class Source(Protocol):
    """What sums come from; see `resilio.store.totals.RequestTotals`."""

    def span(self) -> tuple[float, float] | None: ...

    def by(self, dimension: str, start: float, end: float) -> Names: ...

    def by_model(self, start: float, end: float) -> Mapping[str | None, tuple[Totals, Moments]]: ...

    def moves(self, start: float, end: float) -> Mapping[tuple[str, str], Moves]: ...


class DayTotals(NamedTuple):
    """One day: totals by model."""

    date: date
    models: Names


@dataclass(slots=True)
class Collected:
    """The sums over one period."""

    period: Period
    days: list[DayTotals] = field(default_factory=list)
    models: dict[str | None, ModelUse] = field(default_factory=dict)
    groups: dict[str, dict[str | None, Totals]] = field(default_factory=dict)
    """By dimension, then by name; None: calls that have nothing in it."""
    moves: dict[tuple[str, str], Moves] = field(default_factory=dict)
    """Of conversations, by the target that held them and the one that went on."""


class Row(NamedTuple):
    """One name of a dimension in both periods."""

    name: str | None
    before: Totals
    after: Totals


@dataclass(frozen=True, slots=True)
class Report:
    """Two periods held against each other."""

    before: Period
    after: Period
    totals: tuple[Totals, Totals]
    """Before and after, over all calls."""
    change: Change
    groups: Mapping[str, Sequence[Row]]
    """By dimension, dearest first."""
    days: tuple[Sequence[DayTotals], Sequence[DayTotals]]
    """Of the earlier period and of the later, each in order; days before the log begins are left out."""
    models: Mapping[str | None, tuple[ModelUse, ModelUse]]
    begins: float | None = None
    """Unix seconds of the first call in the log; None: it is empty."""
    ends: float | None = None
    moves: Mapping[tuple[str, str], tuple[Moves, Moves]] = field(default_factory=dict)
    """Of conversations from one target to another, before and after, dearest first."""

    @property
    def is_half(self) -> bool:
        """The log begins after the earlier period does, so that it cannot have all of it."""
        return self.begins is not None and self.begins >= self.before.start.timestamp() + 86400.0


def collect(
    source: Source, periods: Sequence[Period], by: Sequence[str], show: Callable[[float], None] = lambda share: None
) -> list[Collected]:
    """Ask for the sums of each period, by model and by what else is named.

    Args:
        source: Where calls are summed up.
        periods: May overlap.
        by: Dimensions; the source says which there are.
        show: Told the share that is done, 0 to 1.
    """
    span = source.span()
    found = [Collected(period, groups={dimension: {} for dimension in by}) for period in periods]
    work = [(into, day) for into in found for day in days_of(into.period) if _has_calls(day, span)]
    for done, (into, day) in enumerate(work):
        show(done / len(work))
        models = source.by_model(day.start, day.end)
        into.days.append(DayTotals(day.date, {name: totals for name, (totals, _) in models.items()}))
        for name, (totals, moments) in models.items():
            use = into.models.get(name, ModelUse())
            into.models[name] = ModelUse(use.totals.plus(totals), use.moments.plus(moments))
        for pair, moves in source.moves(day.start, day.end).items():
            into.moves[pair] = into.moves.get(pair, Moves()).plus(moves)
        for dimension in by:
            sums = into.groups[dimension]
            named = into.days[-1].models if dimension == "model" else source.by(dimension, day.start, day.end)
            for name, totals in named.items():
                sums[name] = sums[name].plus(totals) if name in sums else totals
    show(1.0)
    return found


def _has_calls(day: Day, span: tuple[float, float] | None) -> bool:
    return span is not None and day.start <= span[1] and day.end > span[0]


def make_report(before: Collected, after: Collected, span: tuple[float, float] | None = None) -> Report:
    """Put together what was collected of two periods.

    Args:
        before: The earlier one.
        after: The one that is asked about, with the same dimensions.
        span: When the first and the last call of the log ended.
    """
    groups = {dimension: _rows(before.groups[dimension], names) for dimension, names in after.groups.items()}
    models = {
        name: (before.models.get(name, ModelUse()), after.models.get(name, ModelUse()))
        for name in {**before.models, **after.models}
    }
    begins, ends = span or (None, None)
    return Report(
        before.period, after.period, (_all(before), _all(after)), change_of(before.models, after.models), groups,
        (before.days, after.days), models, begins, ends, _moves(before.moves, after.moves),
    )  # fmt: skip


def _moves(
    before: Mapping[tuple[str, str], Moves], after: Mapping[tuple[str, str], Moves]
) -> dict[tuple[str, str], tuple[Moves, Moves]]:
    found = {pair: (before.get(pair, Moves()), after.get(pair, Moves())) for pair in {**before, **after}}
    return dict(sorted(found.items(), key=lambda each: (-each[1][1].cost_usd, -each[1][1].times, each[0])))


def _all(collected: Collected) -> Totals:
    total = Totals()
    for use in collected.models.values():
        total = total.plus(use.totals)
    return total


def _rows(before: Names, after: Names) -> list[Row]:
    rows = [Row(name, before.get(name, Totals()), after.get(name, Totals())) for name in {**before, **after}]
    return sorted(rows, key=_dearest_first)


def _dearest_first(row: Row) -> tuple[float, float, int, bool, str]:
    """Names of one cost stand by what they cost before, then by calls, then by alphabet."""
    return (-row.after.cost_usd, -row.before.cost_usd, -row.after.calls, row.name is None, str(row.name))
