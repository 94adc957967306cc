"""A report for programs: one JSON object, or the rows of one CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from resilio.report.causes import Change, Factors
from resilio.report.periods import Period
from resilio.report.summary import Report
from resilio.report.wording import evidence, moved, notes, spoken
from resilio.store.totals import Totals

__all__ = ["HEADERS", "as_dict", "csv_rows"]

PERIODS: Final = ("before", "now")
HEADERS: Final = ("period", "by", "name", "calls", *Totals._fields)
"""Of the CSV file. A row is one name of one dimension in one period (`before`, `now`); of a day, `name` is its date.
Rows by `cause` have the amount in `cost_usd`."""


def as_dict(report: Report, *, top: int | None = None) -> dict[str, Any]:
    """Everything; costs in US dollars, None where a name stands for calls that have nothing in a dimension.

    Args:
        report: What to tell.
        top: Only so many names of each dimension.
    """
    return {
        "now": _period(report.after, report.totals[1]),
        "before": _period(report.before, report.totals[0]),
        "log": {"begins": _instant(report.begins), "ends": _instant(report.ends), "has_all_before": not report.is_half},
        "change": _change(report.change, report),
        "moves": [
            {"from": pair[0], "to": pair[1], "what": moved(pair), "before": one._asdict(), "now": two._asdict()}
            for pair, (one, two) in report.moves.items()
        ],
        "notes": [*notes(report)],
        "by": {
            dimension: [{"name": row.name, "now": _sums(row.after), "before": _sums(row.before)} for row in rows[:top]]
            for dimension, rows in report.groups.items()
        },
        "days": [
            {
                "period": period, "date": day.date.isoformat(),
                "models": [{"name": name, **_sums(its)} for name, its in day.models.items()],
            }
            for period, days in zip(PERIODS, report.days, strict=True)
            for day in days
        ],
    }  # fmt: skip


def _change(found: Change, report: Report) -> dict[str, Any]:
    return {
        "before_usd": found.before,
        "after_usd": found.after,
        "amount_usd": found.amount,
        "foremost": None if found.foremost is None else found.foremost.name,
        "causes": [
            {
                "name": cause.name, "spoken": spoken(cause), "amount_usd": cause.amount,
                "share": cause.amount / found.amount if found.amount else None, "evidence": evidence(cause, report),
                "models": [{"name": name, "amount_usd": amount} for name, amount in cause.models.items()],
            }
            for cause in found.causes
        ],
        "models": [
            {"name": name, "before": _factors(one), "now": _factors(two)} for name, (one, two) in found.models.items()
        ],
    }  # fmt: skip


def _factors(its: Factors) -> dict[str, Any]:
    return {
        "share": its.share, "prompt_tokens": its.prompt, "answer_tokens": its.answer, "known": its.known,
        "input_usd_per_million": its.rates.input * 1e6, "output_usd_per_million": its.rates.output * 1e6,
        "rates_assumed": not its.rates.told,
    }  # fmt: skip


def _period(period: Period, totals: Totals) -> dict[str, Any]:
    return {"name": period.name, "start": period.start.isoformat(), "end": period.end.isoformat(), **_sums(totals)}


def _sums(totals: Totals) -> dict[str, Any]:
    return {"calls": totals.calls, **totals._asdict()}


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def csv_rows(report: Report, *, top: int | None = None) -> Iterator[Sequence[Any]]:
    """Rows under `HEADERS`: totals, causes, days, then each dimension."""
    for period, totals in zip(PERIODS, report.totals, strict=True):
        yield (period, "total", "", totals.calls, *totals)
    for cause in report.change.causes:
        yield (
            "now", "cause", cause.name, "",
            *(cause.amount if column == "cost_usd" else "" for column in Totals._fields),
        )  # fmt: skip
    for period, days in zip(PERIODS, report.days, strict=True):
        for day in days:
            totals = Totals()
            for its in day.models.values():
                totals = totals.plus(its)
            yield (period, "day", day.date.isoformat(), totals.calls, *totals)
    for dimension, rows in report.groups.items():
        for row in rows[:top]:
            yield ("before", dimension, _cell(row.name), row.before.calls, *row.before)
            yield ("now", dimension, _cell(row.name), row.after.calls, *row.after)


def _cell(name: str | None) -> str:
    """Callers choose names; a spreadsheet must not take one for a formula."""
    text = "" if name is None else str(name)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
