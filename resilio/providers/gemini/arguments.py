"""Arguments of a function call that come in pieces: `partialArgs`, each a value at a JSON path.

Text may come in many pieces for one path, numbers and the like come whole. The rule that keeps it simple: a piece
finds its place by names and numbers alone, and a list grows by one at a time, so nothing foreign can claim memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["PartialArguments"]

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPED: Final = re.compile(r"\\(.)")
_DEEPEST: Final = 100
_VALUES: Final = ("numberValue", "boolValue")


class _Text(list[str]):
    """Pieces of one text, joined when the arguments are asked for."""


class PartialArguments:
    """The arguments of one call as they grow."""

    __slots__ = ("_texts", "_whole")

    def __init__(self, whole: Any = None) -> None:
        """Begin with the arguments that came whole, if any did.

        Raises:
            TypeError: They are no object.
        """
        if whole is not None and not isinstance(whole, Mapping):
            raise TypeError("arguments that are no object")
        self._whole: dict[str, Any] = dict(whole or {})
        self._texts: dict[str, _Text] = {}

    def add(self, piece: Mapping[str, Any]) -> int:
        """Take in one piece; returns how many characters of text it had.

        Raises:
            TypeError: Its path leads nowhere, or its value is an object or a list.
        """
        path = piece["jsonPath"]
        text = piece.get("stringValue")
        if text is not None:
            if type(text) is not str:
                raise TypeError("a text that is none")
            if path not in self._texts:
                self._texts[path] = _Text()
                self._put(path, self._texts[path])
            self._texts[path].append(text)
            return len(text)
        value = next((piece[name] for name in _VALUES if piece.get(name) is not None), None)
        if isinstance(value, dict | list):  # and perhaps too deep to be written again
            raise TypeError("a single value that is none")
        self._put(path, value)
        return 1

    def value(self) -> dict[str, Any]:
        """Everything so far."""
        found: dict[str, Any] = _joined(self._whole)
        return found

    def _put(self, path: Any, value: Any) -> None:
        steps = _steps(path)
        place: Any = self._whole
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            last = following is None
            made = value if last else ([] if isinstance(following, int) else {})
            if isinstance(step, int):
                if not isinstance(place, list) or isinstance(place, _Text) or step > len(place):
                    raise TypeError(f"no place at {step} of {path[:80]!r}")
                if step == len(place):
                    place.append(made)
                elif last:
                    place[step] = made
            else:
                if not isinstance(place, dict):
                    raise TypeError(f"no place at {step[:80]!r} of {path[:80]!r}")
                if last or step not in place:
                    place[step] = made
            place = place[step]


def _steps(path: Any) -> list[str | int]:
    """``$.a[0]['b c']`` as its names and numbers."""
    if type(path) is not str or not path.startswith("$"):
        raise TypeError("a piece of arguments without a path")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(steps) == _DEEPEST:
            raise TypeError(f"no path: {path[:80]!r}")
        name, number, single, double = found.groups()
        if number is not None:
            steps.append(int(number))
        else:
            quoted = single if single is not None else double
            steps.append(name if name is not None else _ESCAPED.sub(r"\1", quoted))
        at = found.end()
    if not steps:
        raise TypeError("a piece of arguments at their root")
    return steps


def _joined(value: Any) -> Any:
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(each) for name, each in value.items()}
    return [_joined(each) for each in value] if isinstance(value, list) else value
