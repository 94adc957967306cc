"""What is read from a streamed answer.

A stream is complete when every choice seen in it has a finish reason, whether ``[DONE]`` comes or not, and
never without: a clean end of the connection proves nothing, and no official client checks. The rule that
keeps it simple: each event of the stream is one parsed object, taken whole or refused whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from resilio.errors import ErrorClass, MalformedResponse, ProviderError
from resilio.models import Answer, Chunk, ToolCallDelta, Usage
from resilio.providers.openai.answer import (
    decode_answer,
    failed_finish,
    is_error,
    read_content,
    read_usage,
    refused_answer,
)
from resilio.providers.openai.assembly import StreamedChoice, as_streamed, assembled
from resilio.providers.openai.classify import as_text, error_in_answer, malformed
from resilio.providers.openai.faults import FINISH_SPELLINGS, FINISHES
from resilio.providers.sse import MAX_EVENT_BYTES, SSEEvent, SSEParser

__all__ = ["OpenAIStreamDecoder"]

_SSE_STARTS: Final = (b"d", b"e", b"i", b"r", b":")
"""How an event stream begins: data, event, id, retry, a comment. JSON, HTML and most plain text do not; the
Content-Type is not asked, for servers err in it both ways."""


def _ends(body: dict[str, Any]) -> bool:
    """Whether an object of the stream carries a finish reason."""
    choices = body.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
    )


class OpenAIStreamDecoder:
    """Reads one streamed response; see `resilio.providers.base.StreamDecoder` for the contract.

    Every JSON object of the stream gives at least one chunk, even one that says nothing (Azure's filter
    results, the role), so whoever passes `raw` on misses nothing. An object with several choices gives a
    chunk for each, and only the first of them carries `raw`.

    Attributes:
        done: ``[DONE]`` has come; what follows it is ignored.
    """

    __slots__ = (
        "_choices",
        "_error",
        "_head",
        "_headers",
        "_limit",
        "_meta",
        "_open",
        "_parser",
        "_raw_usage",
        "_status",
        "_usage",
        "_who",
        "_whole",
        "_whole_size",
        "done",
    )

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
        self._choices: dict[int, StreamedChoice] = {}
        self._open = 0  # choices without a finish reason
        self._usage: Usage | None = None
        self._raw_usage: Any = None
        self._meta: Mapping[str, Any] = {}  # an object that names id and model
        self._error: ProviderError | None = None

    def __repr__(self) -> str:
        state = "complete" if self.complete else "done" if self.done else "open"
        return f"<OpenAIStreamDecoder {self._who} {state}, {len(self._choices)} choices, {self._parser!r}>"

    @property
    def complete(self) -> bool:
        """Every choice seen has its finish reason, and nothing went wrong."""
        return bool(self._choices) and not self._open and self._error is None

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

    def answer(self) -> Answer:
        """Everything so far; `finish_reason` is empty while the first choice has none.

        `raw` is what the same server would have sent without streaming, as far as it came.
        """
        first = self._choices.get(0) or next(iter(self._choices.values()), None) or StreamedChoice()
        return Answer(
            "".join(first.text),
            first.finish,
            self._usage,
            first.tool_calls(),
            "".join(first.reasoning),
            "".join(first.refusal),
            as_text(self._meta.get("model")),
            as_text(self._meta.get("id")),
            assembled(self._meta, self._choices, self._raw_usage),
        )

    # --- bytes -------------------------------------------------------------------------------

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

    def _take_whole(self, body: bytes, chunks: list[Chunk]) -> None:
        """A server that ignored `stream`: its one answer becomes one object of a stream."""
        answer = decode_answer(self._who, self._status, self._headers, body)
        try:
            choices = [as_streamed(choice, answer.finish_reason) for choice in answer.raw["choices"]]
        except (AttributeError, TypeError, ValueError) as exc:
            raise self._malformed(f"with JSON of another shape ({exc})") from exc
        self._take({**answer.raw, "object": "chat.completion.chunk", "choices": choices}, chunks)

    def _take_tail(self, chunks: list[Chunk]) -> None:
        for event in self._parser.flush():
            try:
                body = orjson.loads(event.data)
            except orjson.JSONDecodeError:
                continue  # cut inside: the end of the stream tells it
            if is_error(body):
                raise error_in_answer(self._who, self._status, body)
            if isinstance(body, dict) and (self.complete or _ends(body)):
                self._take(body, chunks)

    def _unfinished(self) -> MalformedResponse:
        if self._choices:
            how = "then [DONE]" if self.done else "then the end of the stream"
            return self._malformed(f"{how}, without a finish_reason", ErrorClass.TRUNCATED)
        if self.done:
            return self._malformed("with a stream without any choice")
        return self._malformed("with a stream that ended before any choice", ErrorClass.TRUNCATED)

    def _malformed(self, what: str, error_class: ErrorClass = ErrorClass.MALFORMED) -> MalformedResponse:
        return malformed(self._who, self._status, f"{self._status} {what}", error_class)

    # --- events ------------------------------------------------------------------------------

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
            raise error_in_answer(self._who, self._status, body)
        if type(body) is not dict:
            raise self._malformed("with an event that is not an object")
        self._take(body, chunks)
        return False

    def _take_odd(self, event: SSEEvent, exc: Exception) -> None:
        """What is not JSON: a blank keep-alive, the end with blanks around it, an error in words, or broken."""
        text = event.data.strip()
        if not text:
            return
        if text == b"[DONE]":
            self.done = True
        elif event.event == "error":
            raise error_in_answer(self._who, self._status, text.decode("utf-8", "replace")) from exc
        else:
            raise self._malformed(f"with an event of {len(text)} bytes that is not JSON ({exc})") from exc

    def _take(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        """Take one object of the stream in."""
        if self._take_plain(body, chunks):
            return
        usage = None
        if (raw_usage := body.get("usage")) is not None:
            usage = read_usage(raw_usage, body.get("service_tier"))
            if usage is not None:
                self._usage, self._raw_usage = usage, raw_usage  # the last counts: some repeat it, growing
        if not self._meta.get("id"):
            self._meta = body
        choices = body.get("choices")
        if not choices:
            chunks.append(Chunk(usage=usage, raw=body))
            return
        raw: Mapping[str, Any] | None = body
        try:
            for choice in choices:
                self._take_choice(choice, usage, raw, chunks)
                usage = raw = None
        except (AttributeError, TypeError) as exc:
            # A number where an object should be, text where a list should: not worth a check a field.
            raise self._malformed(f"with an event of another shape ({exc})") from exc

    def _take_plain(self, body: dict[str, Any], chunks: list[Chunk]) -> bool:
        """The event most streams consist of: a few letters of a choice that is known. False: it is not one."""
        choices = body.get("choices")
        if type(choices) is not list or len(choices) != 1 or body.get("usage") is not None:
            return False
        choice = choices[0]
        if type(choice) is not dict or choice.get("finish_reason"):
            return False
        delta = choice.get("delta")
        if type(delta) is not dict or len(delta) != 1:
            return False
        text, index = delta.get("content"), choice.get("index")
        if type(text) is not str or not text or type(index) is not int or (state := self._choices.get(index)) is None:
            return False
        state.text.append(text)
        chunks.append(Chunk(text, index=index, raw=body))
        return True

    def _take_choice(
        self, choice: dict[str, Any], usage: Usage | None, raw: Mapping[str, Any] | None, chunks: list[Chunk]
    ) -> None:
        index = choice.get("index") or 0
        state = self._choices.get(index)
        if state is None:
            if type(index) is not int:
                raise TypeError("index is not a number")
            state = self._choices[index] = StreamedChoice()
            self._open += 1
        text = reasoning = refusal = ""
        tools: tuple[ToolCallDelta, ...] = ()
        delta = choice.get("delta")
        if delta:
            text, reasoning = read_content(delta)
            if text:
                state.text.append(text)
            if reasoning:
                state.reasoning.append(reasoning)
            if delta.get("refusal"):
                refusal = as_text(delta["refusal"])
                state.refusal.append(refusal)
            if delta.get("tool_calls"):
                tools = tuple([state.take_tool(call) for call in delta["tool_calls"]])
            elif delta.get("function_call"):
                tools = (state.take_tool({"index": 0, "function": delta["function_call"]}),)
        finish = choice.get("finish_reason") or None
        if finish is not None:
            if finish in FINISHES or choice.get("error"):
                chunk = Chunk(text, reasoning, refusal, tools, None, usage, index, raw)
                self._give_up(choice, finish, chunk, chunks)
            finish = FINISH_SPELLINGS.get(finish, as_text(finish))
            if not state.finish:
                self._open -= 1
            state.finish = finish
        chunks.append(Chunk(text, reasoning, refusal, tools, finish, usage, index, raw))
        if finish == "content_filter" and not self._open:
            self._check_refused()

    def _give_up(self, choice: dict[str, Any], finish: str, chunk: Chunk, chunks: list[Chunk]) -> None:
        if chunk.has_content:
            chunks.append(chunk)
        if choice.get("error"):
            raise error_in_answer(self._who, self._status, choice)
        raise failed_finish(self._who, self._status, finish)

    def _check_refused(self) -> None:
        if not any(choice.answered for choice in self._choices.values()):
            raise refused_answer(self._who, self._status)
