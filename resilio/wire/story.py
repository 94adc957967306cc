"""How an answer came about, told to callers over HTTP: the names of resilio's own headers, and of its field in bodies.

All names stand here. Headers are sent before a stream knows its end, so the same story is the field `resilio` of whole
bodies and of a stream's last events. Left out: reasons in prose and single attempts, which the request log has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from resilio.models import Reply

__all__ = ["FIELD", "RETRY_AFTER", "opening_headers", "reply_headers", "story_of"]

FIELD: Final = "resilio"
"""Of a body, or of the last event of a stream."""
RETRY_AFTER: Final = "x-resilio-retry-after"
"""Seconds, also where they are too many for `retry-after`."""

_PREFIX: Final = "x-resilio-"
_READABLE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""What a header's value holds as it is; all else is percent-encoded, as UTF-8."""


def story_of(reply: Reply) -> dict[str, Any]:
    """The story, by names that are those of `Reply` where it has the same.

    Always there: `request_id`, `route`, `target`, `level`, `complete`, `attempts` (how many). Where there is something
    to tell: `broken`, `cost_usd` (unknown without), `cached` with its `cached_age` in seconds, `label`, `rule`,
    `seams` (how many), `usage_estimated`, `warnings` (what of the request was left out).
    """
    told: dict[str, Any] = {
        "request_id": reply.request_id,
        "route": reply.route,
        "target": reply.target,
        "level": reply.level.value,
        "complete": reply.complete,
        "attempts": len(reply.attempts),
    }
    cached = reply.cached
    rest = {
        "broken": reply.broken,
        "cost_usd": reply.cost_usd,
        "cached": cached and cached.kind,
        "cached_age": cached and round(cached.age, 3),
        "label": reply.label or None,
        "rule": reply.rule,
        "seams": len(reply.seams) or None,
        "usage_estimated": reply.usage.estimated or None,
        "warnings": list(reply.warnings) or None,
    }
    told.update((name, value) for name, value in rest.items() if value is not None)
    return told


def reply_headers(reply: Reply) -> dict[str, str]:
    """The story as headers: each of its names with ``x-resilio-`` before it and hyphens in it."""
    return {_PREFIX + name.replace("_", "-"): _value(value) for name, value in story_of(reply).items()}


def opening_headers(*, request_id: str, target: str) -> dict[str, str]:
    """What is known when a stream begins."""
    known: Mapping[str, str] = {"request_id": request_id, "target": target}
    return {_PREFIX + name.replace("_", "-"): _value(value) for name, value in known.items() if value}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".")  # never 1e-06, which few parsers of decimals take
    if isinstance(value, list):
        return "; ".join(_value(each) for each in value)[:1000]
    text = str(value)
    if not (text.isascii() and text.isprintable() and "%" not in text):
        text = quote(text, safe=_READABLE)
    return text.strip()
