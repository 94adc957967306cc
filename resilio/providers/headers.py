"""What response headers say of rate limits: every form seen.

=====================  ======================================================  =======================
who                    names after ``x-ratelimit-{limit,remaining,reset}``     a reset is
=====================  ======================================================  =======================
OpenAI, Groq           ``-requests``, ``-tokens`` (OpenAI: ``-project-...``,   a duration, ``6m0s``
                       ``-tokens_usage_based``)
Azure, GitHub Models   the same, and ``x-ratelimit-renewalperiod-...``         bare milliseconds
Mistral                ``-req-10-second``, ``-tokens-minute``                  not sent: from the name
Together, Replicate    none; Replicate drops the ``x-`` as well                bare seconds
=====================  ======================================================  =======================

Anthropic writes ``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}``, and a
reset is an instant, ``2026-11-24T13:21:04Z``, that may be past already.

Left out: a month's quota (a budget, not a rate) and images. The rule that keeps it simple: a value that
makes no sense says nothing, and a reading in which nothing made sense is not given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from resilio.models import LimitReading
from resilio.retry import parse_duration, parse_instant, sent_at

__all__ = ["ANTHROPIC", "OPENAI", "Form", "read_limits"]

_COUNT: Final = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]+)?)\s*(?:[,;]|$)")
"""A number of at least 0; a window or policy may follow it (``60, 60;w=60``)."""


class Form(NamedTuple):
    """One way to write one limit; header names in lower case."""

    dimension: str
    remaining: str
    limit: str
    reset: str
    renewal: str
    period: float | None
    """Seconds the limit is counted over, where the name says so."""


def _form(dimension: str, suffix: str, period: float | None = None, prefix: str = "x-ratelimit") -> Form:
    remaining, limit, reset, renewal = (
        f"{prefix}-{what}{suffix}" for what in ("remaining", "limit", "reset", "renewalperiod")
    )
    return Form(dimension, remaining, limit, reset, renewal, period)


OPENAI: Final = (
    _form("requests", "-requests"),
    _form("tokens", "-tokens"),
    _form("requests", "-project-requests"),
    _form("tokens", "-project-tokens"),
    _form("tokens", "-tokens_usage_based"),
    _form("requests", "-req-10-second", 10.0),
    _form("requests", "-req-minute", 60.0),
    _form("tokens", "-tokens-minute", 60.0),
    _form("requests", ""),
    _form("requests", "", prefix="ratelimit"),
)
"""All who speak OpenAI's dialect."""


def _instants(dimension: str) -> Form:
    remaining, limit, reset = (
        f"anthropic-ratelimit-{dimension.replace('_', '-')}-{what}" for what in ("remaining", "limit", "reset")
    )
    return Form(dimension, remaining, limit, reset, "", None)


ANTHROPIC: Final = tuple(map(_instants, ("requests", "tokens", "input_tokens", "output_tokens")))


def read_limits(
    headers: Mapping[str, str], wall_now: float, forms: tuple[Form, ...] = OPENAI
) -> tuple[LimitReading, ...]:
    """Read what `headers` say, at most one reading a dimension: the one with the least left.

    Args:
        headers: Case-insensitive, or with lower-case names.
        wall_now: Unix seconds, for resets given as instants where no Date header says when that was.
        forms: The ones to look for.

    Returns:
        Readings whose `reset_after` is in seconds until the whole limit is there again. Where a provider
        states the period instead (Mistral), that is the used share of it: limits refill steadily.
    """
    get = headers.get
    found: dict[str, LimitReading] | None = None
    for form in forms:
        text = get(form.remaining)
        if text is None:
            continue
        reading = _read(form, text, headers, wall_now)
        if reading is None:
            continue
        if found is None:
            found = {form.dimension: reading}
        elif form.dimension not in found or _left(reading) < _left(found[form.dimension]):
            found[form.dimension] = reading
    return () if found is None else tuple(found.values())


def _left(reading: LimitReading) -> float:
    return math.inf if reading.remaining is None else reading.remaining


def _read(form: Form, text: str, headers: Mapping[str, str], wall_now: float) -> LimitReading | None:
    remaining = _count(text)
    stated = headers.get(form.limit)
    limit = None if stated is None else _count(stated)
    if stated is not None and not limit:
        # Azure's Responses surface sends a limit of -1 or 0 beside a remaining of the same kind.
        return None
    if remaining is not None and limit is not None and remaining > limit:
        remaining = None
    period = form.period
    renewal = headers.get(form.renewal) if form.renewal else None
    if renewal is not None:
        period = _count(renewal)
    reset = headers.get(form.reset)
    if reset is None:
        reset_after = None
        if period and limit and remaining is not None:
            reset_after = (limit - remaining) / limit * period
    else:
        reset_after = _reset(reset, headers, wall_now, milliseconds=renewal is not None)
    if remaining is None and limit is None and reset_after is None:
        return None
    return LimitReading(form.dimension, limit, remaining, reset_after)


def _count(text: str) -> float | None:
    found = _COUNT.match(text)
    return None if found is None else float(found[1])


def _reset(text: str, headers: Mapping[str, str], wall_now: float, *, milliseconds: bool) -> float | None:
    """Seconds from now; None when it makes no sense.

    An instant is measured against the server's own clock: taken by ours, an hour behind, a limit that is full again
    in a second would be one that takes an hour, and the key would starve for as long as the clock is wrong.

    `milliseconds` tells that a bare number counts those. Azure's do, undocumented: ``500`` beside a limit of
    120 a minute with one used, and ``7`` beside 120 000 tokens a minute with 14 used, are exact as
    milliseconds of a steady refill and impossible as seconds. Only Azure sends a renewal period.
    """
    if milliseconds and (count := _count(text)) is not None:
        return count / 1000
    seconds = parse_duration(text)
    return parse_instant(text, sent_at(headers, wall_now)) if seconds is None else seconds
