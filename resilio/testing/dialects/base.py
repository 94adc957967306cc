"""What a simulated provider needs of a wire format to speak it, and what every answer has in common.

Text is cut into words, each one token, so that a reader can count what was lost. Scripts and faults are in OpenAI's
words whatever is spoken: a dialect puts them into its own, so one script tries every dialect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["ByPath", "Dialect", "Objection", "Said", "content_text", "prompt_text", "words"]

_WORD: Final = re.compile(r"\S+\s*|\s+")


def words(text: str) -> list[str]:
    """The pieces a stream hands out; joined, they are the text."""
    return _WORD.findall(text)


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """All text of a conversation, for counting; parts that are not text count as nothing."""
    return "\n".join(content_text(message) for message in messages)


def content_text(message: Mapping[str, Any]) -> str:
    """The text of one message, whether a string or parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, Mapping))
    return ""


class Objection(NamedTuple):
    """Why a request is a 400."""

    code: str | None
    message: str | None
    """None: what goes with the code."""
    param: str | None = None


@dataclass(slots=True)
class Said:
    """One answer, to be put on the wire by a dialect, whole or in chunks."""

    id: str
    created: int
    model: str
    pieces: list[str]
    finish_reason: str | None = "stop"
    refusal: bool = False
    """The pieces are the model's own refusal, not content."""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    n: int = 1
    usage: Mapping[str, Any] | None = None
    service_tier: str = "default"
    reasoning: str = ""
    """What it thought; dialects that do not show it leave it out."""
    cache_written: tuple[int, int] = (0, 0)
    """Tokens of the prompt written to a cache for 5 minutes, and for an hour; `usage` counts them as input."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The request, as `Dialect.neutral` gave it, for dialects whose answers repeat some of it."""

    def body(self) -> bytes:
        """The unary response."""
        raise NotImplementedError

    def chunks(self, *, include_usage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """The stream as three runs of SSE frames: opening, content (one each word), closing (finish and usage)."""
        raise NotImplementedError


class Dialect(Protocol):
    """One wire format, as a server speaks it. Stateless."""

    def speaks(self, path: str) -> bool:
        """Whether this is a path of its chat endpoint; it may have a query."""
        ...

    def asked(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request with `model` and `stream`, wherever it says them."""
        ...

    @property
    def stream_type(self) -> str:
        """The content type of its streams."""
        ...

    @property
    def marks_prefixes(self) -> bool:
        """Whether a request says itself which beginnings of it are to be kept in the prompt cache."""
        ...

    @property
    def said(self) -> type[Said]:
        """Its answers."""
        ...

    @property
    def last(self) -> bytes:
        """The frame that ends a stream: what the fault `Terminator` sends never, or twice. Empty: there is none."""
        ...

    def headers(self, number: int) -> dict[str, str]:
        """Headers of every response; `number` counts them."""
        ...

    def identity(self, bits: int) -> str:
        """An answer's id."""
        ...

    def error(self, code: str | None, message: str | None = None, param: str | None = None) -> tuple[int, bytes]:
        """Status and body of an error; `code` is one of `resilio.testing.faults.ERRORS`, or the dialect's own."""
        ...

    def hinted(self, body: bytes, seconds: float) -> bytes | None:
        """An error's body with the wait it asks for; None: this dialect has it in headers."""
        ...

    def frame(self, data: bytes, *, error: bool = False) -> bytes:
        """Any bytes as one event of a stream in mid-answer."""
        ...

    def objection(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Objection | None:
        """What the real server would refuse the request for."""
        ...

    def neutral(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request in OpenAI's shape, for scripts that answer by it."""
        ...

    def wants_usage(self, body: Mapping[str, Any]) -> bool:
        """Whether a stream is to tell its usage."""
        ...


class ByPath:
    """What most dialects have in common: one path, a request that says everything, and hints in headers."""

    path: str
    """How the path of its chat endpoint ends."""
    stream_type: str = "text/event-stream; charset=utf-8"
    marks_prefixes: bool = False

    def speaks(self, path: str) -> bool:
        return path.partition("?")[0].endswith(self.path)

    def asked(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return body

    def hinted(self, body: bytes, seconds: float) -> bytes | None:
        return None
