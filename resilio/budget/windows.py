"""Windows of time over which a budget counts: of the calendar, or sliding.

Pure: instants are Unix seconds and arguments. A window is known by its name, which is what spending is written
under; so whatever the clock does, one name is granted its limit once. The rule that keeps it simple: a window answers
one question, which span an instant belongs to.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Final, NamedTuple, Protocol

from resilio.config import BudgetSettings

__all__ = ["SLOTS", "CalendarWindow", "FixedWindow", "SlidingWindow", "Span", "Window", "window_of"]

SLOTS: Final = 24
"""Parts of a sliding window. Spending leaves it part by part: up to one part (4 %) late, never early."""

_LENGTHS: Final = {"hour": 3600.0, "day": 86_400.0, "month": 31 * 86_400.0}
"""Of sliding windows, in seconds: a month is the longest there is, so that none is granted more than its limit."""


class Span(NamedTuple):
    """One window of the calendar, or one part of a sliding one."""

    name: str
    """What its spending is written under."""
    counted: tuple[str, ...]
    """Names of everything that counts against the limit during it, its own among them."""
    start: float
    end: float
    """Unix seconds; the first instant that is not in it any more."""


class Window(Protocol):
    """How time is cut."""

    @property
    def slides(self) -> bool:
        """Whether earlier spans count too. Then a clock that was turned back does not undo the later ones."""
        ...

    def at(self, wall: float) -> Span:
        """The span this instant (Unix seconds) belongs to."""
        ...

    def leaves(self, span: Span) -> float:
        """The instant from which what was spent in this span counts no more."""
        ...


class CalendarWindow:
    """Hours, days or months as the clocks of one time zone show them.

    A day is from midnight to midnight there: 23 or 25 hours long where the clocks change. Of the two hours that a
    clock shows when it is put back, each is a window: their names carry the offset from UTC.
    """

    slides = False

    def __init__(self, unit: str, zone: tzinfo) -> None:
        self._unit = unit
        self._zone = zone

    def at(self, wall: float) -> Span:
        second = math.floor(wall)
        local = datetime.fromtimestamp(second, self._zone)
        if self._unit == "hour":
            return self._hour(second, local)
        first = local.date()
        if self._unit == "month":
            first = first.replace(day=1)
            following = (first + timedelta(days=32)).replace(day=1)
        else:
            following = first + timedelta(days=1)
        name = first.isoformat()[: 7 if self._unit == "month" else 10]
        return Span(name, (name,), self._midnight(first), self._midnight(following))

    def leaves(self, span: Span) -> float:
        return span.end

    def _midnight(self, day: date) -> float:
        # Where the clocks skip midnight, the offset before the change applies: the very instant of the change.
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()

    def _hour(self, second: int, local: datetime) -> Span:
        start = second - 60 * local.minute - local.second
        end = start + 3600
        # Clocks that change inside an hour (by half an hour, on Lord Howe Island) end it there.
        if self._offset(start) != self._offset(second):
            start = self._change(start, second)
        if self._offset(end - 1) != self._offset(second):
            end = self._change(second, end - 1)
        name = local.strftime("%Y-%m-%dT%H%z")
        return Span(name, (name,), start, end)

    def _offset(self, second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, self._zone).utcoffset()

    def _change(self, before: int, after: int) -> int:
        """The first second of the later of two offsets."""
        earlier = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == earlier:
                before = middle
            else:
                after = middle
        return after


class FixedWindow:
    """Windows of so many seconds, one after the other, counted from 1 January 1970, 00:00 UTC."""

    slides = False

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def at(self, wall: float) -> Span:
        index = math.floor(wall / self._seconds)
        name = f"{self._seconds:.15g}s:{index}"
        return Span(name, (name,), index * self._seconds, (index + 1) * self._seconds)

    def leaves(self, span: Span) -> float:
        return span.end


class SlidingWindow:
    """The last so many seconds, in `SLOTS` parts.

    At any instant the part it lies in counts and all parts that reach into the window before it: between 24 and 25
    parts, so that no stretch of the window's length ever holds more than the limit. Parts as far ahead count as well:
    a clock that was ahead and is put back, in another process or before a restart, has spent there.
    """

    slides = True

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._width = seconds / SLOTS

    def at(self, wall: float) -> Span:
        # Exactly: a quotient of floats may round up to a part that has not begun, and then too few behind it count.
        index = math.floor(Fraction(wall) * SLOTS / Fraction(self._seconds))
        counted = tuple(self._name(each) for each in range(index - SLOTS, index + SLOTS + 1))
        return Span(counted[SLOTS], counted, index * self._width, (index + 1) * self._width)

    def leaves(self, span: Span) -> float:
        return span.end + self._seconds

    def _name(self, index: int) -> str:
        return f"{self._seconds:.15g}s/{SLOTS}:{index}"


def window_of(settings: BudgetSettings) -> Window:
    """The window a budget's settings describe; the loader has checked them."""
    span = settings.window
    if settings.kind == "sliding":
        return SlidingWindow(_LENGTHS[span] if isinstance(span, str) else span)
    if not isinstance(span, str):
        return FixedWindow(span)
    if settings.time_zone == "UTC":  # known to machines without a time zone database too
        return CalendarWindow(span, UTC)
    from zoneinfo import ZoneInfo  # only who names a zone pays for it

    return CalendarWindow(span, ZoneInfo(settings.time_zone))
