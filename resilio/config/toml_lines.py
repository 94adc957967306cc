"""Line numbers of a TOML document: where each key, table and element of an array begins.

`tomllib` keeps no positions, and a problem without a line makes the reader search. This walks text
that `tomllib` has already accepted, so it never has to judge: it only counts lines. It is run when
there is something to report, never for a configuration that is right.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

__all__ = ["Path", "line_of", "locate"]

Path = tuple[str | int, ...]
"""Keys and array positions from the top of the document."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_TEXT: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'',
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^#,\]}#\r\n]*")


def locate(text: str) -> dict[Path, int]:
    """Map every path of a valid TOML document to the line, from 1, on which it begins."""
    return _Walk(text).document()


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a path, or of the nearest thing around it; None when nothing of it was written."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


class _Walk:
    """One pass over the text; `position` only moves forward."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[Path, int] = {}
        self._counted = (0, 1)
        self._sizes: dict[Path, int] = {}

    def document(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_BLANK)
        while self.position < len(self.text):
            if self._take("[["):
                table = self._header(repeated=True)
            elif self._take("["):
                table = self._header(repeated=False)
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _header(self, *, repeated: bool) -> Path:
        """Read the rest of ``[a.b]`` or ``[[a.b]]``; parts that name an array mean its latest table."""
        keys = self._keys()
        line = self._line()
        self._take("]]" if repeated else "]")
        path: Path = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if repeated and place == len(keys) - 1:
                self._sizes[path] = self._sizes.get(path, 0) + 1
            if path in self._sizes:
                path = (*path, self._sizes[path] - 1)
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._take("=")
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            bare = _BARE.match(self.text, self.position)
            if bare:
                keys.append(bare.group())
                self.position = bare.end()
            else:
                keys.append(str(tomllib.loads(f"key = {self._skip(_TEXT)}")["key"]))
            self._skip(_SPACE)
            if not self._take("."):
                return keys

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._items(path, "]")
        elif self._take("{"):
            self._items(path, "}")
        elif not self._skip(_TEXT):
            self._skip(_SCALAR)

    def _items(self, path: Path, end: str) -> None:
        """Read the inside of an array or an inline table, up to and with its closing bracket."""
        index = 0
        while True:
            self._skip(_BLANK)
            if self._take(end) or self.position >= len(self.text):
                return
            if end == "}":
                self._pair(path)
            else:
                self.lines[(*path, index)] = self._line()
                self._value((*path, index))
                index += 1
            self._skip(_BLANK)
            self._take(",")

    def _take(self, token: str) -> bool:
        found = self.text.startswith(token, self.position)
        if found:
            self.position += len(token)
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match.group()

    def _line(self) -> int:
        start, line = self._counted
        line += self.text.count("\n", start, self.position)
        self._counted = (self.position, line)
        return line
