"""Server-sent events, read from bytes that arrive in pieces of any size.

Follows the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream": LF, CRLF and CR end a
line, a blank line ends an event, `data` lines join with LF, one byte order mark may lead. `id` and `retry`
are ignored: a language model's stream cannot be resumed. Left out: what the data means.

The rule that keeps it simple: everything is bytes. UTF-8 never holds CR or LF inside a character, so a
character split between two reads needs no care here, and the JSON parser decodes it later. Searching
and splitting are done by `bytes` methods, never byte by byte in Python.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from resilio.errors import ErrorClass, MalformedResponse

__all__ = ["MAX_EVENT_BYTES", "SSEEvent", "SSEParser"]

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Default limit of one event, in bytes: the same as of a whole body."""

_BOM: Final = b"\xef\xbb\xbf"


class SSEEvent(NamedTuple):
    """One event; `event` is its type (``message`` if the stream gave none), `data` its UTF-8 text."""

    event: str
    data: bytes


class SSEParser:
    """An incremental parser of one stream.

    The size of an event is that of its lines with their ends, comments not counted. The limit is applied as
    bytes come in, so that no endless line is ever held, and gives the same verdict however they are cut.

    Attributes:
        comments: Comment lines so far. A keep-alive is one: proof of life, though not of content.
    """

    __slots__ = (
        "_data",
        "_error",
        "_event",
        "_lead",
        "_limit",
        "_size",
        "_skip_lf",
        "_tail",
        "_tail_size",
        "comments",
    )

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.comments = 0
        self._limit = max_event_bytes
        self._tail: list[bytes] = []  # pieces of the unfinished line, joined only when it ends
        self._tail_size = 0
        self._data: list[bytes] = []  # `data` lines of the unfinished event
        self._event = ""
        self._size = 0  # bytes of the unfinished event's finished lines
        self._skip_lf = False  # the last byte was a CR: an LF that follows belongs to it
        self._lead: bytes | None = b""  # the first bytes while they may still be a BOM, then None
        self._error: MalformedResponse | None = None

    def __repr__(self) -> str:
        return f"<SSEParser {self._size + self._tail_size} bytes of an event held, {self.comments} comments>"

    @property
    def pending(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._size or self._tail_size or self._lead)

    def feed(self, data: bytes) -> list[SSEEvent]:
        """Take the next bytes; returns the events they complete, in order.

        Raises:
            MalformedResponse: An event passes the limit. Events completed before it by the same bytes are
                returned first; the error is then raised by every later call.
        """
        if self._error is not None:
            raise self._error
        if self._lead is not None:
            data = self._without_bom(data)
        if self._skip_lf and data:
            self._skip_lf = False
            if data[0] == 0x0A:
                data = data[1:]
        if b"\r" in data:
            # A CR at the very end is a line end already; should its LF come next, that is dropped.
            self._skip_lf = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[SSEEvent] = []
        try:
            self._split(data, events)
        except MalformedResponse as error:
            self._error = error
            if not events:
                raise
        return events

    def flush(self) -> list[SSEEvent]:
        """Say that the bytes ended; returns the event whose closing blank line was still missing, if any.

        The standard discards such an event. Whether it is whole the caller can tell (JSON ends
        itself), and some servers close without the last blank line.

        Raises:
            MalformedResponse: The one `feed` held back.
        """
        return self.feed(b"\n\n")

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._lead or b"") + data
        if len(data) < 3 and _BOM.startswith(data):
            self._lead = data
            return b""
        self._lead = None
        return data[3:] if data.startswith(_BOM) else data

    def _split(self, data: bytes, events: list[SSEEvent]) -> None:
        """Cut normalised bytes into lines and events."""
        if b"\n" not in data:
            if data:
                self._hold(data)
            return
        if self._tail:
            self._tail.append(data)
            data = b"".join(self._tail)
            self._tail.clear()
            self._tail_size = 0
        *blocks, rest = data.split(b"\n\n")
        limit = self._limit
        for block in blocks:
            # Nearly every event of nearly every provider is this: one line, and nothing else.
            if block.startswith(b"data: ") and b"\n" not in block and not self._size:
                if len(block) > limit:
                    self._refuse()
                events.append(SSEEvent("message", block[6:]))
                continue
            for line in block.split(b"\n"):
                self._line(line, events)
            self._dispatch(events)
        if rest:
            *lines, last = rest.split(b"\n")
            for line in lines:
                self._line(line, events)
            if last:
                self._hold(last)

    def _hold(self, piece: bytes) -> None:
        self._tail.append(piece)
        self._tail_size += len(piece)
        if self._size + self._tail_size > self._limit:
            self._refuse()

    def _line(self, line: bytes, events: list[SSEEvent]) -> None:
        """Interpret one whole line, its end stripped."""
        if not line:
            self._dispatch(events)
            return
        if self._size + len(line) > self._limit:
            self._refuse()
        field, _, value = line.partition(b":")
        if not field:
            self.comments += 1
            return
        self._size += len(line) + 1
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")

    def _dispatch(self, events: list[SSEEvent]) -> None:
        if self._data:
            events.append(SSEEvent(self._event or "message", b"\n".join(self._data)))
            self._data.clear()
        self._event = ""
        self._size = 0

    def _refuse(self) -> None:
        self._tail.clear()
        self._data.clear()
        raise MalformedResponse(f"an event of the stream is larger than {self._limit} bytes", ErrorClass.MALFORMED)
