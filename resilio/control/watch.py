"""`FileWatch`: has a file changed, and is whoever writes it done?

It only looks, when asked; the clock and what to do about it are the caller's. Notification services of the
system are left out: they miss network file systems and mounted ConfigMaps, and a look costs a few microseconds.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

__all__ = ["FileWatch"]


class FileWatch:
    """Watches one file; what it holds when this is made counts as known.

    Args:
        path: May be missing, now or later.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._known_state = self._last_state = self._state()
        self._known_content = self._content()

    def look(self) -> bool:
        """Whether the file holds something else than when this last said so.

        Only what two looks in a row find alike counts: a file is often written in pieces, and the first half
        of a configuration can be a sound one.
        """
        state, before = self._state(), self._last_state
        self._last_state = state
        if state == self._known_state or state != before:
            return False
        self._known_state = state
        known, self._known_content = self._known_content, self._content()
        return known != self._known_content

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        # The time of change as well: a copy may carry over the time of modification.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _content(self) -> bytes | None:
        try:
            return blake2b(Path(self.path).read_bytes()).digest()
        except OSError:
            return None
