"""Spans of a calendar: which one a report is about, which one it is held against, and the days of both.

Pure: the time is an argument. Spans run from the first instant to the last, exclusive; days are those of a time zone,
and may have 23 or 25 hours. The rule that keeps two spans comparable: what is not over yet is held against as much of
the one before.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

__all__ = ["Day", "Period", "PeriodError", "days_of", "period_before", "period_of"]


class PeriodError(ValueError):
    """There is no such period, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Period:
    """A span in local time; both instants are aware and of one zone."""

    start: datetime
    end: datetime
    month: bool = False
    """It is a calendar month, or what has passed of it."""

    @property
    def is_whole(self) -> bool:
        """Of a month: it is over."""
        return self.end.month != self.start.month

    @property
    def name(self) -> str:
        """As in ``2026-11`` or ``2026-10-26 to 2026-11-24``, last day included."""
        if self.month:
            return f"{self.start:%Y-%m}" + ("" if self.is_whole else f", up to {self.end:%Y-%m-%d %H:%M}")
        if self.start.time() == time() and self.end.time() == time():
            return f"{self.start:%Y-%m-%d} to {self.end - timedelta(days=1):%Y-%m-%d}"
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


class Day(NamedTuple):
    """A day, or what a period has of it; Unix seconds."""

    date: date
    start: float
    end: float


def period_of(
    now: datetime,
    *,
    days: int | None = None,
    month: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Period:
    """The period that is asked for; without anything, the last 30 days, today included.

    Args:
        now: In the zone whose calendar counts.
        days: So many days up to now, today included.
        month: ``2026-11``; of the current one, what has passed of it.
        since: A day or an instant, as ISO 8601 writes them.
        until: Likewise; a day is included, an instant is not. Not given: now.

    Raises:
        PeriodError: They do not go together, or lie in the future, or are not dates.
    """
    if (days is not None) + (month is not None) + (since is not None or until is not None) > 1:
        raise PeriodError("--days, --month and --since with --until are three ways to say it: use one of them")
    if month is not None:
        return _month(month, now)
    if until is not None and since is None:
        raise PeriodError("--until needs --since: from when?")
    if since is not None:
        start, end = _instant(since, now), now if until is None else _instant(until, now, included=True)
        if start >= end:
            raise PeriodError(f"the period from {since} to {until or 'now'} is empty: --since must be earlier")
        return Period(start, end)
    first = _midnight(now.date(), now.tzinfo, shift=1 - (30 if days is None else days))
    return Period(first, now)


def period_before(period: Period) -> Period:
    """The one to hold it against: the month before, or as many days before it.

    Of a month that is not over, as much of the one before; of a span of days, the same hours of earlier days.

    Raises:
        PeriodError: It would begin before the calendar does.
    """
    zone = period.start.tzinfo
    try:
        if period.month:
            last = period.start.date() - timedelta(days=1)
            start = _midnight(last.replace(day=1), zone)
            if period.is_whole or period.end.day > last.day:
                return Period(start, period.start, month=True)
            return Period(start, _shifted(period.end, (last.replace(day=1) - period.start.date()).days), month=True)
        length = (period.end.date() - period.start.date()).days
        if period.end.time() > period.start.time():
            length += 1
        return Period(_shifted(period.start, -length), _shifted(period.end, -length))
    except (OverflowError, ValueError) as exc:
        raise PeriodError(f"there is no period before {period.name}") from exc


def days_of(period: Period) -> Iterator[Day]:
    """Its days in order, the first and the last perhaps in part."""
    start, day = period.start, period.start.date()
    while start < period.end:
        day += timedelta(days=1)
        end = min(_midnight(day, period.start.tzinfo), period.end)
        yield Day(start.date(), start.timestamp(), end.timestamp())
        start = end


def _month(text: str, now: datetime) -> Period:
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=now.tzinfo)
    except ValueError as exc:
        raise PeriodError(f"a month is written as in 2026-11, not {text!r}") from exc
    length = calendar.monthrange(first.year, first.month)[1]
    end = min(_midnight(first.date(), now.tzinfo, shift=length), now)
    if first >= end:
        raise PeriodError(f"the month {text} has not begun")
    return Period(first, end, month=True)


def _instant(text: str, now: datetime, *, included: bool = False) -> datetime:
    """A day's first instant, or, where the day is included, the next one's; or the instant that is written."""
    try:
        found = datetime.fromisoformat(text)
        is_day = len(text) <= len("2026-11-24") and found.time() == time()
        if found.tzinfo is None:
            found = found.replace(tzinfo=now.tzinfo)
        found = found.astimezone(now.tzinfo)
        if is_day and included:
            found = _midnight(found.date(), now.tzinfo, shift=1)
        found.timestamp()  # the year 1 may be out of reach
    except (ValueError, OverflowError) as exc:
        raise PeriodError(f"a day is written as in 2026-11-24, an instant 2026-11-24T13:30, not {text!r}") from exc
    return found


def _midnight(day: date, zone: tzinfo | None, *, shift: int = 0) -> datetime:
    return datetime.combine(day + timedelta(days=shift), time(), zone)


def _shifted(at: datetime, days: int) -> datetime:
    """The same hour of another day."""
    return datetime.combine(at.date() + timedelta(days=days), at.timetz())
