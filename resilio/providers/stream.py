"""What reading a stream has in common in every dialect: from bytes of any cut to one parsed object at a time.

A dialect says what an object means (`_take`), when the stream is whole (`complete`) and how a whole body is read
that came in a stream's place (`_take_whole`). The rules that keep it simple: an object is taken whole or refused
whole; an error is held back until what came before it has been handed out; and the end of the bytes proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import orjson

from resilio.errors import ErrorClass, MalformedResponse, ProviderError
from resilio.models import Chunk
from resilio.providers.classify import Faults, error_in_answer, is_error, malformed
from resilio.providers.sse import MAX_EVENT_BYTES, SSEEvent, SSEParser

__all__ = ["EventStream"]

_SSE_STARTS: Final = (b"d", b"e", b"i", b"r", b":")
"""How an event stream begins: data, event, id, retry, a comment. JSON, HTML and most plain text do not; the
Content-Type is not asked, for servers err in it both ways."""


class EventStream:
    """The half of a `resilio.providers.base.StreamDecoder` that no dialect needs to write.

    Attributes:
        done: The end was announced (``[DONE]``, or the dialect's own last event): what follows is ignored.
    """

    __slots__ = (
        "_error", "_head", "_headers", "_limit", "_parser", "_status", "_who", "_whole", "_whole_size", "done",
    )  # fmt: skip

    faults: ClassVar[Faults]
    """How the dialect's errors are read."""

    def __init__(
        self, who: str, status: int, headers: Mapping[str, str], max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self.done = False
        self._who = who
        self._status = status
        self._headers = headers
        self._limit = max_event_bytes
        self._parser = SSEParser(max_event_bytes)
        self._head: bytes | None = b""  # until the first byte that is not blank has shown what this is
        self._whole: list[bytes] | None = None  # a body that is no event stream, read at its end
        self._whole_size = 0
        self._error: ProviderError | None = None

    def __repr__(self) -> str:
        state = "complete" if self.complete else "done" if self.done else "open"
        return f"<{type(self).__name__} {self._who} {state}, {self._parser!r}>"

    # --- what a dialect says ---------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """See `resilio.providers.base.StreamDecoder.complete`."""
        raise NotImplementedError

    def _take(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        """Take one object of the stream in; may set `done`."""
        raise NotImplementedError

    def _take_whole(self, body: bytes, chunks: list[Chunk]) -> None:
        """A server that ignored `stream`: its one answer becomes a stream."""
        raise NotImplementedError

    def _ends(self, body: dict[str, Any]) -> bool:
        """Whether this object ends the answer, so that it counts even without the blank line after it."""
        raise NotImplementedError

    def _unfinished(self) -> MalformedResponse:
        """The error of a stream whose bytes ended too early."""
        raise NotImplementedError

    # --- bytes -----------------------------------------------------------------------------------

    @property
    def comments(self) -> int:
        """Keep-alive comments so far: signs of life, though not of content."""
        return self._parser.comments

    def feed(self, data: bytes) -> list[Chunk]:
        """Decode what these bytes complete.

        Raises:
            ProviderError: See `resilio.providers.base.StreamDecoder.feed`.
        """
        if self._error is not None:
            raise self._error
        if self.done:
            return []
        if self._head is not None:
            data = self._look(data)
        if self._whole is not None:
            self._collect(data)
            return []
        chunks: list[Chunk] = []
        try:
            for event in self._parser.feed(data):
                if self._take_event(event, chunks):
                    break
        except ProviderError as error:
            self._fail(error, chunks)
        return chunks

    def finish(self) -> list[Chunk]:
        """Say that the bytes ended.

        An event that lacks only its closing blank line still counts if it ends the answer.

        Raises:
            ProviderError: See `resilio.providers.base.StreamDecoder.finish`.
        """
        if self._error is not None:
            raise self._error
        chunks: list[Chunk] = []
        try:
            if self._whole is not None:
                self._take_whole(b"".join(self._whole), chunks)
                self._whole, self.done = None, True
            elif not self.done:
                self._take_tail(chunks)
            if not self.complete:
                raise self._unfinished()
        except ProviderError as error:
            self._error = error
            raise
        return chunks

    def _look(self, data: bytes) -> bytes:
        """Tell an event stream from a whole body by the first byte that is not blank."""
        head = (self._head or b"") + data
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not start or (len(head) < 3 and b"\xef\xbb\xbf".startswith(head)):
            self._head = head
            return b""
        self._head = None
        if not start.startswith(_SSE_STARTS):
            self._whole = []
        return head

    def _collect(self, data: bytes) -> None:
        if self._whole is not None and data:
            self._whole.append(data)
            self._whole_size += len(data)
            if self._whole_size > self._limit:
                self._whole = []
                self._error = self._malformed(f"with a body larger than {self._limit} bytes")
                raise self._error

    def _fail(self, error: ProviderError, chunks: list[Chunk]) -> None:
        """Hold the error back while there are chunks to hand out before it."""
        self._error = error
        if not chunks:
            raise error

    def _malformed(self, what: str, error_class: ErrorClass = ErrorClass.MALFORMED) -> MalformedResponse:
        return malformed(self._who, self._status, f"{self._status} {what}", error_class)

    # --- events ----------------------------------------------------------------------------------

    def _take_tail(self, chunks: list[Chunk]) -> None:
        for event in self._parser.flush():
            try:
                body = orjson.loads(event.data)
            except orjson.JSONDecodeError:
                continue  # cut inside: the end of the stream tells it
            if is_error(body):
                raise error_in_answer(self.faults, self._who, self._status, body)
            if isinstance(body, dict) and (self.complete or self._ends(body)):
                self._take(body, chunks)

    def _take_event(self, event: SSEEvent, chunks: list[Chunk]) -> bool:
        """Take one event in; returns whether it was the last."""
        data = event.data
        if data == b"[DONE]":
            self.done = True
            return True
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            self._take_odd(event, exc)
            return self.done
        if event.event == "error" or is_error(body):
            raise error_in_answer(self.faults, self._who, self._status, body)
        if type(body) is not dict:
            raise self._malformed("with an event that is not an object")
        self._take(body, chunks)
        return self.done

    def _take_odd(self, event: SSEEvent, exc: Exception) -> None:
        """What is not JSON: a blank keep-alive, the end with blanks around it, an error in words, or broken."""
        text = event.data.strip()
        if not text:
            return
        if text == b"[DONE]":
            self.done = True
        elif event.event == "error":
            words = text.decode("utf-8", "replace")
            raise error_in_answer(self.faults, self._who, self._status, words) from exc
        else:
            raise self._malformed(f"with an event of {len(text)} bytes that is not JSON ({exc})") from exc
