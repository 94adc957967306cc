"""JSON out, for every codec: fast where all is well, precise where it is not.

orjson writes NaN and infinity as ``null`` and says of other trouble only what, never where. Here both are
errors that name the place. The rule that keeps it simple: nothing is searched unless the bytes or
orjson give reason to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from resilio.errors import Unencodable

__all__ = ["dumps", "plain"]

_DEEPEST: Final = 254
"""Levels of nesting orjson writes before it refuses; also what ends a cycle."""


def dumps(body: Mapping[str, Any]) -> bytes:
    """Write `body` as JSON.

    Any Mapping or Sequence is taken, not only dict, list and tuple; `body` is not changed.

    Raises:
        Unencodable: A value JSON has no form for; the message has its path.
    """
    try:
        data = orjson.dumps(body, plain)
    except TypeError as exc:
        path, why = _culprit(body, "", 0) or ("", str(exc))
        raise Unencodable(path, why) from exc
    # NaN became `null`: only a body that has a `null` can have held one.
    if b"null" in data and (found := _culprit(body, "", 0)) is not None:
        raise Unencodable(*found)
    return data


def plain(value: object) -> object:
    """What orjson is to write in the place of a Mapping or Sequence that is no dict, list or tuple."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError


def _culprit(value: Any, path: str, depth: int) -> tuple[str, str] | None:
    """The first place below `value` that cannot be written, and why; None if all can."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, f"{value!r} has no form in JSON")
    if depth > _DEEPEST:
        return path[:80] + "...", f"it is nested more than {_DEEPEST} levels deep, or holds itself"
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                return path, f"the key {key!r} is not a string"
            found = _culprit(item, f"{path}.{key}" if path else key, depth + 1)
            if found is not None:
                return found
        return None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        for index, item in enumerate(value):
            found = _culprit(item, f"{path}[{index}]", depth + 1)
            if found is not None:
                return found
        return None
    try:
        orjson.dumps(value)
    except TypeError as exc:
        return path, f"{type(value).__name__}: {exc}"
    return None
