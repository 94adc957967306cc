"""What is wrong with a configuration, gathered before anything is raised, and how it is worded.

Nothing here knows a setting. A problem has a path (``route.chat.targets[1]``), for TOML a line, and
says what is wrong, what is expected and the nearest valid spelling. Secrets are told to `Problems`
as they are met, and no line it gives out contains one.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from resilio.config.toml_lines import Path, line_of, locate
from resilio.errors import ConfigError

__all__ = ["Path", "Problems", "in_seconds", "listed", "mask", "nearest", "number", "shown", "unit_suffix"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_UNITS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
}
_SHOWN_LENGTH: Final = 60
_SHORTEST_HIDDEN: Final = 12


class Problems:
    """The list that ends up in one `ConfigError`, or stays empty."""

    def __init__(self) -> None:
        self._found: list[tuple[Path, str, str | None]] = []
        self._secrets: set[str] = set()
        self.labels: dict[Path, str] = {}
        """Names for array elements: ``provider.openai`` says more than ``provider[0]``."""

    def add(self, path: Path, text: str, *, behind: str | None = None) -> None:
        """Note one problem; with `behind`, the path comes in brackets between `text` and that."""
        self._found.append((path, text, behind))

    def hide(self, secret: str) -> None:
        """Never print this text."""
        # Values of secret settings are never quoted in the first place. This is for the same text in a
        # second, wrong place. Of a short one (servers without keys are given "ollama" or "EMPTY") it would
        # garble names and paths; real keys are longer.
        if len(secret) >= _SHORTEST_HIDDEN:
            self._secrets.add(secret)

    def touch(self, path: Path) -> bool:
        """Whether anything at, inside or around `path` is wrong: what is derived from it would mislead."""
        return any(found[: len(path)] == path[: len(found)] for found, _, _ in self._found)

    def render(self, path: Path) -> str:
        """A path as a reader of the file would write it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.labels:
                text, rest = self.labels[path[:length]], path[length:]
                break
        else:
            text, rest = "", path
        for part in rest:
            text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{key_text(part)}"
        return text

    def error(self, source: str, text: str | None) -> ConfigError | None:
        """Everything noted, in the order of the file where its text is known; None: there is nothing."""
        if not self._found:
            return None
        lines = {} if text is None else locate(text)
        numbered = [(line_of(lines, problem[0]), problem) for problem in self._found]
        numbered.sort(key=lambda item: item[0] or 0)
        return ConfigError([self._worded(line, *problem) for line, problem in numbered], source)

    def raise_if_any(self, source: str) -> None:
        """Raise everything noted."""
        if (error := self.error(source, None)) is not None:
            raise error

    def _worded(self, line: int | None, path: Path, text: str, behind: str | None) -> str:
        where = self.render(path)
        worded = f"{where}: {text}" if where else text
        if behind is not None:
            worded = f"{text} ({where}){behind}"
        return mask(worded if line is None else f"line {line}: {worded}", self._secrets)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in `text` by ``***``; longest first, as one may contain another."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text


def nearest(word: str, options: Collection[str], cutoff: float = 0.6) -> str | None:
    """The option that looks most like `word`, upper and lower case alike, or None."""
    lowered = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word[:80].lower(), lowered, n=1, cutoff=cutoff)
    return lowered[found[0]] if found else None


def listed(word: str, options: Collection[str]) -> str:
    """The end of a message about an unknown `word`: its nearest spelling, else what there is."""
    close = nearest(word, options)
    if close is not None:
        return f"; did you mean {shown(close)}?"
    names = ", ".join(shown(option) for option in sorted(options)[:8])
    more = ", ..." if len(options) > 8 else ""
    return f"; expected one of {names}{more}" if names else "; there is none"


def shown(value: Any) -> str:
    """A value as it may stand in a message: short, and whatever it is, without failing."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, int):
        return str(int(value)) if abs(value) < 10**20 else "a huge number"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        text = repr(str(value[: _SHOWN_LENGTH + 1]))[1:-1]
        return '"' + (text if len(value) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "...") + '"'
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "an array"
    return f"a value of type {type(value).__name__}"


def key_text(key: str) -> str:
    """A key as TOML writes it: bare where it can be."""
    return key if _BARE.fullmatch(key) else shown(key)


def number(value: float) -> str:
    """A number as one would type it: no exponent, no trailing zeros, where that is exact."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def in_seconds(text: str) -> float | None:
    """Seconds meant by a text such as ``30s``, ``500 ms``, ``1m30s`` or ``60``; None if it is none."""
    position, total = 0, 0.0
    text = text.strip()
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or part[2].lower() not in _UNITS:
            return None
        total += float(part[1]) * _UNITS[part[2].lower()]
        position = part.end()
    return round(total, 9) if text and math.isfinite(total) else None


def unit_suffix(key: str) -> tuple[str, float] | None:
    """Split a key that carries a unit (``timeout_ms``) into its stem and the seconds of that unit."""
    stem, _, unit = key.rpartition("_")
    return (stem, _UNITS[unit]) if stem and unit and unit in _UNITS else None
