"""Where a secret stands when it is not written down: `Source`, and how a file of one is read.

A source is what a key can be read again from. Commands are only described here; `resilio.actor.renewal` runs
them, in a thread. The rule that keeps it safe: what a source gave is returned or dropped, never quoted, and an
exception leaves here without the one that caused it, which may know more than it should.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

__all__ = ["MAX_SECRET", "SecretUnreadable", "Source", "anybody_may_write", "clean", "read_file", "words_of"]

MAX_SECRET: Final = 16 * 1024
"""Bytes; servers refuse longer headers, and the largest tokens known have some thousand."""


_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")


class SecretUnreadable(Exception):
    """A secret could not be had; the message says why and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one key comes from. Two that are equal lead to the same key."""

    kind: Literal["env", "file", "command"]
    what: str = field(repr=False)
    """Name of the variable, path from the root, or command line (which may hold a password)."""

    @property
    def renewable(self) -> bool:
        """Whether it may say something else later. A process's environment does not change from outside."""
        return self.kind != "env"

    def __str__(self) -> str:
        return f"{self.kind} {self.what}" if self.kind != "command" else f"command {_program(self.what)}"


def _program(line: str) -> str:
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    return os.path.basename(words[0]) if words else ""


def clean(raw: bytes) -> str:
    """The secret in what a file or program gave, without the line break that ends it and a mark that begins it.

    Some editors put a byte order mark in front of what they save as UTF-8.

    Raises:
        SecretUnreadable: There is none, or no header may carry it.
    """
    if len(raw) > MAX_SECRET:
        raise SecretUnreadable(f"holds more than {MAX_SECRET} bytes, which is no key")
    secret = raw.removeprefix(codecs.BOM_UTF8).strip()
    if not secret:
        raise SecretUnreadable("is empty")
    text = secret.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise SecretUnreadable("holds a character that no header may contain, such as a line break inside")
    return text


def read_file(path: str) -> str:
    """The secret that a file holds, all of it.

    Raises:
        SecretUnreadable: It cannot be read, is no plain file, or holds no secret.
    """
    raw, problem = b"", ""
    try:
        # Without waiting: a pipe that nobody writes to would hold the caller for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                with os.fdopen(handle, "rb", closefd=False) as file:
                    raw = file.read(MAX_SECRET + 1)
            else:
                problem = "is no plain file"
        finally:
            os.close(handle)
    except (OSError, ValueError) as exc:
        problem = f"cannot be read: {getattr(exc, 'strerror', None) or 'not a path'}"
    if problem:
        raise SecretUnreadable(problem)
    return clean(raw)


def anybody_may_write(path: str) -> bool:
    """Whether every user of this machine may put another key into the file.

    That everybody may *read* it is not asked: Kubernetes mounts secrets so (mode 0644) into containers, where
    there is nobody else, and a warning that everybody gets warns nobody.
    """
    try:
        return os.name == "posix" and bool(Path(path).stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def words_of(line: str) -> list[str]:
    """A command line in words, as a shell would part it; no shell will see it.

    Raises:
        SecretUnreadable: It has no program that is there, or a quotation without an end.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        words = None
    if words is None:
        raise SecretUnreadable("has a quotation without an end")
    if not words:
        raise SecretUnreadable("names no program; expected command:PROGRAM ARGUMENTS")
    if _ASSIGNMENT.match(words[0]):  # what is assigned may be a password, so the word is not quoted
        raise SecretUnreadable(
            "begins with an assignment, which only a shell reads; write command:env NAME=... PROGRAM"
        )
    if shutil.which(words[0]) is None:
        raise SecretUnreadable(f"names a program that is not there, or may not be run: {os.path.basename(words[0])}")
    return words
