"""What every dialect of callers offers: the protocols that a gateway relies on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from resilio.models import Chunk, Reply

__all__ = ["CallerDialect", "HttpAnswer", "StreamEncoder", "StreamOver"]


class HttpAnswer(NamedTuple):
    """A whole response. `headers` exclude those that HTTP itself needs; their names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamOver(RuntimeError):
    """Something was to be written after the end of a stream; a fault of the program."""

    def __init__(self) -> None:
        super().__init__("this stream has ended: nothing can follow its end or its error")


class StreamEncoder(Protocol):
    """Writes one stream. After `end` or `error` nothing may follow.

    Why an answer ended is written by `end` alone, however early its chunk came: what comes last may still go wrong,
    and a client that has seen a finish reason holds its answer for whole.
    """

    def chunk(self, chunk: Chunk) -> bytes:
        """The next piece, as whole events; empty for a chunk that says nothing in this dialect.

        Raises:
            StreamOver: The stream has ended.
        """
        ...

    def end(self, reply: Reply) -> bytes:
        """The end of the answer that `reply` tells of.

        A part of an answer ends as a stream that broke does, in an error, with the story of it: the SDKs show their
        callers nothing else of a stream's end, and would take any finish reason for that of a whole answer.

        Raises:
            StreamOver: The stream has ended.
        """
        ...

    def error(self, error: BaseException) -> bytes:
        """The error that ended it, instead of `end`; close the connection after it.

        Raises:
            StreamOver: The stream has ended.
        """
        ...

    def keep_alive(self) -> bytes:
        """A sign of life without content; it may come before the first chunk, and between any two."""
        ...


class CallerDialect(Protocol):
    """One dialect. Stateless and shared."""

    name: str

    def reply(self, reply: Reply, *, model: str, created: int) -> HttpAnswer:
        """A whole answer.

        Args:
            reply: Complete or not: a partial one is marked, and ends in the dialect's word for one that was cut.
            model: What the answer calls its model.
            created: Unix time, in seconds.
        """
        ...

    def error(self, error: BaseException, *, request_id: str = "") -> HttpAnswer:
        """An error instead of an answer. What is no `ResilioError` becomes a 500 that tells nothing of it."""
        ...

    def stream(
        self, *, request_id: str, model: str, created: int, input_tokens: int = 0, include_usage: bool = False
    ) -> StreamEncoder:
        """Begin to write a stream; its response has status 200 and the type ``text/event-stream``.

        Args:
            request_id: Of the call: the answer's identity is made of it.
            model: What the answer calls its model.
            created: Unix time, in seconds.
            input_tokens: An estimate of the prompt, for dialects that tell of it at the beginning.
            include_usage: Whether the caller asked for usage, in dialects where one has to.
        """
        ...
