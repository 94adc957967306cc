"""Single values out of foreign JSON: whatever stands there, what comes out has the type it should have."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["as_count", "as_json_text", "as_text"]


def as_text(value: Any) -> str:
    """What stands where the dialect has a text: itself, a number as text, else nothing.

    Never `str()` of a list or an object: one that is nested a thousand deep would end in a RecursionError.
    """
    return value if isinstance(value, str) else "" if isinstance(value, list | dict | None) else str(value)


def as_count(value: Any) -> int:
    """What stands where the dialect has a count: itself, or 0."""
    return value if type(value) is int and value > 0 else 0


def as_json_text(value: Any) -> str:
    """Arguments of a tool call as JSON text, which some dialects send as text and some as an object.

    Raises:
        TypeError: It is nested too deep to be written.
    """
    return value if isinstance(value, str) else orjson.dumps(value).decode()
