"""Where a provider is and what it is shown: URLs, keys and headers, checked and filled in.

Keys and headers are secrets. They are read from the environment here, given to `Problems` to be kept
out of every message, and quoted by none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from resilio.config.problems import Path, Problems, nearest, shown

__all__ = ["Credentials", "check_url"]

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SHELL_NAME: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PATH_MISTAKES: Final = (
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/messages",
    "/models",
)
"""Paths a client adds to the root it is given; people copy them from a curl example."""


def check_url(problems: Problems, url: str, where: Path) -> None:
    """Refuse what is no API root. The URL is quoted only where it can hold no secret."""
    if problems.touch(where):
        return
    if not url:
        problems.add(where, 'is missing; expected something like "https://api.openai.com/v1"')
        return
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        problems.add(where, "is not a URL")
        return
    if "@" in parts.netloc or parts.query or parts.fragment:
        text = "has credentials, a query or a fragment in it; use keys and headers, and end at the path"
        problems.add(where, text)
    elif not valid or " " in url:
        problems.add(where, f"is {shown(url)}; expected a URL that begins with http:// or https://")
    else:
        ending = parts.path.rstrip("/")
        mistake = next((end for end in _PATH_MISTAKES if ending.endswith(end)), None)
        if mistake is not None:
            root = url.rstrip("/")[: -len(mistake)]
            text = f"ends in {mistake}, which is added to it; end at /v1: {shown(root)}"
            problems.add(where, text)


class Credentials:
    """Keys and headers as they will be sent."""

    def __init__(self, problems: Problems, environ: Mapping[str, str]) -> None:
        self.problems = problems
        self.environ = environ

    def keys(self, keys: tuple[str, ...], path: Path) -> tuple[str, ...]:
        resolved: list[str] = []
        for index, written in enumerate(keys):
            where = (*path, index)
            secret = self._secret(written, where)
            if secret in resolved and not self.problems.touch(where):
                self.problems.add(where, f"is the same key as keys[{resolved.index(secret)}]")
            resolved.append(secret)
        return tuple(resolved)

    def headers(self, headers: Mapping[str, str], path: Path) -> dict[str, str]:
        found = {}
        for name, written in headers.items():
            where = (*path, name)
            if not _HEADER_NAME.fullmatch(name):
                self.problems.add(where, "is not the name of a header")
            found[name] = self._secret(written, where)
        return found

    def proxy(self, written: str, where: Path) -> str:
        """The URL of a proxy; a secret, as it may have a password in it."""
        return self._secret(written, where)

    def _secret(self, written: str, where: Path) -> str:
        """The value of a key or header, from the environment if it says so; never quoted in a message."""
        shell = _SHELL_NAME.fullmatch(written)
        if shell:
            self.problems.add(where, f"is not filled in from the shell; write env:{shell[1] or shell[2]}")
            return written
        if not written.startswith("env:"):
            self.problems.hide(written)
            return self._sendable(written, where)
        name = written.removeprefix("env:").strip()
        if not name:
            self.problems.add(where, "names no variable; expected env:NAME")
            return written
        # A secret read from a file often ends in a line break, which no header may contain.
        secret = self.environ.get(name, "").strip()
        if not secret:
            state = "empty" if name in self.environ else "not set"
            close = None if name in self.environ else nearest(name, tuple(self.environ), cutoff=0.85)
            hint = "" if close is None else f"; did you mean {close}, which is set?"
            self.problems.add(where, f"environment variable {name} is {state}", behind=hint)
            return written
        self.problems.hide(secret)
        return self._sendable(secret, where)

    def _sendable(self, secret: str, where: Path) -> str:
        if not (secret.isascii() and secret.isprintable()):
            self.problems.add(where, "holds a character that no header may contain")
        return secret
