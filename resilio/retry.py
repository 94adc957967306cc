"""When to try again: backoff, what servers ask for, and how many repeats a provider may see.

Not here: whether an error may be retried (`resilio.errors.ERROR_RULES`) and where the next attempt
goes (dispatch). Pure: instants and random numbers are arguments. The rule that keeps it simple: what
servers send is text from outside, so every parser returns None for what it does not understand.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from resilio.config import RetryBudgetSettings, RetrySettings

__all__ = [
    "MAX_HINT",
    "RetryBudget",
    "RetryBudgetStatistics",
    "backoff",
    "parse_duration",
    "parse_instant",
    "retry_after",
    "sent_at",
]

MAX_HINT: Final = 31 * 86_400.0
"""Seconds: longer hints are cut to this, as no quota known is counted over more than a month."""

_EPOCH_FROM: Final = 1e9
"""A bare number above this is an instant in Unix seconds (2001 and later), not 31 years of waiting."""
_EPOCH_MS_FROM: Final = 1e11
"""And above this one in milliseconds (1973 and later): OpenRouter's `X-RateLimit-Reset`."""

_MAX_TEXT: Final = 64
"""Characters; nothing that makes sense is longer, and what is longer is not worth the matching."""

_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?|\.[0-9]+(?:[eE][+-]?[0-9]{1,3})?")
_GO_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|μs|ns)")
_GO_DURATION: Final = re.compile(rf"(?:{_GO_PART.pattern})+")
_GO_UNITS: Final = {
    "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9,
}  # fmt: skip
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def backoff(settings: RetrySettings, n: int, rng: random.Random) -> float:
    """Seconds to wait before repeat `n` (the first is 0): full jitter, ``U(0, min(cap, base * 2**n))``.

    The cap comes before the jitter, else most late waits would be exactly the cap and callers would
    come back together. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    try:
        ceiling = min(settings.cap, math.ldexp(settings.base, n))
    except OverflowError:  # beyond about 2**1024
        ceiling = settings.cap
    return ceiling * rng.random()


def _number(text: str) -> float | None:
    """A number without sign, in ASCII digits; `float` alone would take "nan", "1_0" other scripts' digits."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if number < math.inf else None


def parse_duration(text: str) -> float | None:
    """Read a duration as providers write it.

    Takes a bare number (seconds), whole or fractional, or a Go duration: ``6m0s``, ``20m52.666s``, ``12ms``,
    ``1m26.4s``, with the units h, m, s, ms, us (or µs) and ns.

    Returns:
        Seconds, at most `MAX_HINT`. None for a negative one (Azure sends ``-1`` for unknown), for a number
        above 1e9 (that is an instant: see `parse_instant`) and for anything else.
    """
    text = text.strip().removeprefix("+")
    if not text or len(text) > _MAX_TEXT:
        return None
    seconds = _number(text)
    if seconds is None:
        if not _GO_DURATION.fullmatch(text):
            return None
        seconds = sum(float(amount) * _GO_UNITS[unit] for amount, unit in _GO_PART.findall(text))
    elif seconds > _EPOCH_FROM:
        return None
    return min(seconds, MAX_HINT)


@functools.lru_cache(maxsize=32)  # a response of Anthropic's has five, two or three of them alike
def _unix_time(text: str) -> float | None:
    """Read an instant: RFC 3339, an HTTP date (all three forms of RFC 9110), or a Unix time above 1e9."""
    text = text.strip()
    if not text or len(text) > _MAX_TEXT:
        return None
    number = _number(text)
    if number is not None:
        if number > _EPOCH_MS_FROM:
            return number / 1000
        return number if number > _EPOCH_FROM else None
    try:
        if _RFC3339.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
        else:
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None:  # asctime form, or "-0000": RFC 9110 says all are UTC
                moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_instant(text: str, wall_now: float) -> float | None:
    """Read an instant as the seconds left until it.

    Takes RFC 3339 (Anthropic's resets), an HTTP date, and Unix seconds or milliseconds as a bare number
    above 1e9.

    Args:
        text: As it stood in the header.
        wall_now: Unix time at which the text was true, in seconds.

    Returns:
        Seconds from `wall_now`, between 0.0 (it is past) and `MAX_HINT`; None for anything else.
    """
    moment = _unix_time(text)
    return None if moment is None else min(max(0.0, moment - wall_now), MAX_HINT)


def retry_after(headers: Mapping[str, str], wall_now: float) -> float | None:
    """Read when a server wants to be asked again.

    The first that makes sense of ``retry-after-ms``, ``x-ms-retry-after-ms`` (both milliseconds) and
    ``retry-after`` (seconds, fractions or a date). A date is measured against the response's own Date
    header where there is one, so a clock that is off, ours or theirs, does no harm.

    Read it on errors only: Anthropic sends ``retry-after`` on answers that succeeded, too.

    Args:
        headers: With lower-case names, or a mapping that ignores case.
        wall_now: Unix time in seconds, for a response without a Date.

    Returns:
        Seconds, between 0.0 and `MAX_HINT`; None when nothing usable was sent.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        text = headers.get(name)
        milliseconds = None if text is None else _number(text.strip())
        if milliseconds is not None:
            return min(milliseconds / 1000, MAX_HINT)
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = parse_duration(text)
    if seconds is not None:
        return seconds
    return parse_instant(text, sent_at(headers, wall_now))


def sent_at(headers: Mapping[str, str], wall_now: float) -> float:
    """When the server sent these headers by its own clock, in Unix seconds; `wall_now` where it does not say.

    Instants that a server names are to be measured against this: its clock and ours may be hours apart.
    """
    sent = _unix_time(headers.get("date", ""))
    return wall_now if sent is None else sent


@dataclass(frozen=True, slots=True)
class RetryBudgetStatistics:
    """A retry budget as it stands. `calls`, `taken` and `refused` count from its beginning."""

    balance: float
    """Repeats in hand."""
    calls: int
    taken: int
    refused: int


class RetryBudget:
    """How many repeats (retries on the same provider, hedges) all calls to it together may cause.

    Each first call earns a share of a repeat and each second a little more, up to a maximum; a repeat
    costs one. So an outage multiplies the load by little more than 1 + ratio, however many callers
    retry. The idea is that of Finagle's `RetryBudget`; instead of letting deposits expire after 10 s, saving
    is bounded by `RetryBudgetSettings.maximum`.

    Invariant: repeats <= initial + ratio * calls + per_second * time.
    """

    __slots__ = ("_at", "_balance", "_calls", "_maximum", "_per_second", "_ratio", "_refused", "_taken")

    def __init__(self, settings: RetryBudgetSettings, now: float) -> None:
        self._ratio = settings.ratio
        self._per_second = settings.per_second
        self._maximum = settings.maximum
        self._balance = min(settings.initial, settings.maximum)
        self._at = now
        self._calls = self._taken = self._refused = 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self._balance:.2f} of {self._maximum:.6g} at {self._at:.3f} s>"

    def reconfigure(self, settings: RetryBudgetSettings, now: float) -> None:
        """Earn and save by other settings from now on; what is in hand stays, up to the new maximum."""
        self.balance(now)
        self._ratio, self._per_second, self._maximum = settings.ratio, settings.per_second, settings.maximum

    def record_call(self, now: float) -> None:
        """Count a first call (not a repeat), sent at `now`."""
        # On the hot path, so neither time nor the maximum is worked out here: both only ever add or
        # cut from above, and cutting once at the next look gives the same balance.
        self._calls += 1
        self._balance += self._ratio

    def balance(self, now: float) -> float:
        """Repeats in hand."""
        elapsed = now - self._at
        if elapsed > 0:
            self._at = now
            self._balance += elapsed * self._per_second
        if self._balance > self._maximum:
            self._balance = self._maximum
        return self._balance

    def take(self, now: float) -> bool:
        """Take one repeat if there is one."""
        # Five fifths must make a whole one, whatever binary fractions say.
        if self.balance(now) < 1 - 1e-9:
            self._refused += 1
            return False
        self._balance -= 1
        self._taken += 1
        return True

    def give_back(self) -> None:
        """A repeat that was taken is not made after all."""
        self._balance += 1
        self._taken -= 1

    def statistics(self, now: float) -> RetryBudgetStatistics:
        """The budget as it stands at `now`."""
        return RetryBudgetStatistics(self.balance(now), self._calls, self._taken, self._refused)
