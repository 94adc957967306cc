"""A pattern looked for in a text that comes in pieces, so that no part of a match is ever handed out.

Whether a match begins at a character is decided once `window` characters from there on are in hand: what a match of at
most that length is, more text cannot change. So the last of the text is held back, and what comes out in the end is the
same however the text was cut, as long as no match, with what it looks ahead to, is longer than the window. Of a longer
one what lies before its first `window` characters may be out before it is known.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Sieve"]

_CONTEXT: Final = 256
"""Characters kept of what was handed out, for what a pattern looks back at."""


class Sieve:
    """One pattern over one text.

    Args:
        pattern: What may not be handed out; it never matches the empty text.
        window: How many characters are held back.
        replacement: What stands in the place of a match; None: the first match ends it, and nothing more comes out.
    """

    __slots__ = ("_at", "_buffer", "_gone", "_next", "_pattern", "_replacement", "_window", "found")

    def __init__(self, pattern: re.Pattern[str], window: int, replacement: str | None) -> None:
        self._pattern = pattern
        self._window = window
        self._replacement = replacement
        self._buffer = ""
        self._next = 0
        """Where in the buffer the undecided begins; before it lies context."""
        self._gone = 0
        """Characters of the text that are not in the buffer any more."""
        self._at: int | None = None
        self.found = 0
        """Matches so far."""

    @property
    def denied_at(self) -> int | None:
        """Where the match that ended it begins, in characters of the text; None: it goes on."""
        return self._at

    def feed(self, text: str) -> str:
        """Take the next piece; returns what may be handed out now."""
        self._buffer += text
        return self._decide(len(self._buffer) - self._window)

    def finish(self) -> str:
        """There is no more; returns the rest."""
        return self._decide(len(self._buffer) + 1)

    def _decide(self, limit: int) -> str:
        """Decide about every beginning before `limit`."""
        out: list[str] = []
        place = self._next
        while place < limit and self._at is None:
            match = self._pattern.search(self._buffer, place)
            if match is None or match.start() >= limit:
                break
            out.append(self._buffer[place : match.start()])
            self.found += 1
            if self._replacement is None:
                self._at = self._gone + match.start()
                self._buffer, self._next = "", 0
                return "".join(out)
            out.append(self._replacement)
            place = match.end()
        if place < limit and self._at is None:
            out.append(self._buffer[place:limit])
            place = min(limit, len(self._buffer))
        self._next = max(self._next, place)
        self._forget()
        return "".join(out)

    def _forget(self) -> None:
        drop = self._next - _CONTEXT
        if drop > _CONTEXT:
            self._buffer = self._buffer[drop:]
            self._next -= drop
            self._gone += drop
