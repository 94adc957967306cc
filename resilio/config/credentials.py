"""Where a provider is and what it is shown: URLs, keys and headers, checked and filled in.

Keys and headers are secrets. They are read from the environment and from files here, given to `Problems` to be
kept out of every message, and quoted by none. A key that a command gives is left open: to read a configuration runs
nothing, and `resilio.actor.renewal` does it when the engine opens.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from resilio.config.problems import Path, Problems, nearest, shown
from resilio.config.secrets import SecretUnreadable, Source, anybody_may_write, read_file, words_of
from resilio.config.settings import KeySettings

__all__ = ["Credentials", "check_url"]

logger = logging.getLogger("resilio")

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE: Final = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
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


def check_url(problems: Problems, url: str, where: Path, example: str = "https://api.openai.com/v1") -> None:
    """Refuse what is no API root; `example` is one. The URL is quoted only where it can hold no secret."""
    if problems.touch(where):
        return
    if not url:
        problems.add(where, f'is missing; expected something like "{example}"')
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
    """Keys and headers as they will be sent.

    Args:
        problems: Where what is wrong goes.
        environ: Where ``env:NAME`` is looked up.
        folder: Where paths of ``file:PATH`` begin.
        pretend: Touch no file and look for no program: such a key is made up.
    """

    def __init__(
        self, problems: Problems, environ: Mapping[str, str], folder: str = "", *, pretend: bool = False
    ) -> None:
        self.problems = problems
        self.environ = environ
        self.folder = folder
        self.pretend = pretend

    def keys(self, keys: tuple[KeySettings, ...], path: Path) -> tuple[KeySettings, ...]:
        """With their secrets; that of a command is left empty."""
        resolved: list[KeySettings] = []
        for index, written in enumerate(keys):
            where = (*path, index)
            secret, source = self._found(written.key, where)
            if source is not None and source.kind == "command":
                secret = ""
            key = replace(written, key=secret, source=source)
            twin = next((at for at, other in enumerate(resolved) if _same(other, key)), None)
            if twin is not None and not self.problems.touch(where):
                self.problems.add(where, f"is the same key as keys[{twin}]")
            self._check_key(key, resolved, where)
            resolved.append(key)
        return tuple(resolved)

    def _check_key(self, key: KeySettings, others: list[KeySettings], where: Path) -> None:
        if key.name and any(other.name == key.name for other in others):
            self.problems.add((*where, "name"), f"{shown(key.name)} is the name of an earlier key too")
        elif key.name.isdecimal():
            self.problems.add((*where, "name"), f"{shown(key.name)} would be taken for a key's number")
        kind = None if key.source is None else key.source.kind
        if key.refresh is not None and kind not in ("file", "command"):
            self.problems.add((*where, "refresh"), "has a meaning for file: and command: alone")
        if key.timeout != KeySettings(key="").timeout and kind != "command":
            self.problems.add((*where, "timeout"), "has a meaning for command: alone")

    def headers(self, headers: Mapping[str, str], path: Path) -> dict[str, str]:
        found = {}
        for name, written in headers.items():
            where = (*path, name)
            if not _HEADER_NAME.fullmatch(name):
                self.problems.add(where, "is not the name of a header")
            found[name] = self._plain(written, where)
        return found

    def proxy(self, written: str, where: Path) -> str:
        """The URL of a proxy; a secret, as it may have a password in it."""
        return self._plain(written, where)

    def _plain(self, written: str, where: Path) -> str:
        """A header or proxy: read once, here, so a command would hold up whoever reads the configuration."""
        secret, source = self._found(written, where)
        if source is not None and source.kind == "command" and not self.problems.touch(where):
            self.problems.add(where, "cannot come from a command, only a key can; write env:NAME or file:PATH")
        return secret

    def _found(self, written: str, where: Path) -> tuple[str, Source | None]:
        """The value of a key or header, and where it is from if it does not stand there itself."""
        shell = _SHELL_NAME.fullmatch(written)
        if shell:
            self.problems.add(where, f"is not filled in from the shell; write env:{shell[1] or shell[2]}")
            return written, None
        if written.startswith("env:"):
            return self._variable(written, where)
        if written.startswith("file:"):
            return self._file(written.removeprefix("file:").strip(), where)
        self.problems.hide(written)
        if written.startswith("command:"):
            return self._command(written.removeprefix("command:").strip(), where)
        return self._sendable(written, where), None

    def _file(self, name: str, where: Path) -> tuple[str, Source | None]:
        if not name:
            self.problems.add(where, "names no file; expected file:PATH")
            return "", None
        path = os.path.abspath(os.path.join(self.folder, os.path.expanduser(name)))
        source = Source("file", path)
        if self.pretend:
            return f"simulated-{path.encode().hex()}", source
        try:
            secret = read_file(path)
        except SecretUnreadable as exc:
            self.problems.add(where, f'file "{path}" {exc}')
            return "", source
        if anybody_may_write(path):
            logger.warning("%s: every user of this machine may change %s", self.problems.render(where), path)
        self.problems.hide(secret)
        return secret, source

    def _command(self, line: str, where: Path) -> tuple[str, Source | None]:
        if not self.pretend:
            try:
                words_of(line)
            except SecretUnreadable as exc:
                self.problems.add(where, str(exc))
        return line, Source("command", line)

    def _variable(self, written: str, where: Path) -> tuple[str, Source | None]:
        name = written.removeprefix("env:").strip()
        if not name:
            self.problems.add(where, "names no variable; expected env:NAME")
            return written, None
        if not _VARIABLE.fullmatch(name):  # a key, as like as not, that should stand there without "env:"
            self.problems.add(where, "is not the name of an environment variable; expected env:NAME")
            return written, None
        # A secret read from a file often ends in a line break, which no header may contain.
        secret = self.environ.get(name, "").strip()
        if not secret:
            state = "empty" if name in self.environ else "not set"
            close = None if name in self.environ else nearest(name, tuple(self.environ), cutoff=0.85)
            hint = "" if close is None else f"; did you mean {close}, which is set?"
            self.problems.add(where, f"environment variable {name} is {state}", behind=hint)
            return written, None
        self.problems.hide(secret)
        return self._sendable(secret, where), Source("env", name)

    def _sendable(self, secret: str, where: Path) -> str:
        if not (secret.isascii() and secret.isprintable()):
            self.problems.add(where, "holds a character that no header may contain")
        return secret


def _same(one: KeySettings, other: KeySettings) -> bool:
    if one.source is not None and one.source == other.source:
        return True
    return bool(one.key) and one.key == other.key
