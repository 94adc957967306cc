"""What is read from a streamed message.

A stream is complete once a reason to stop has come (``message_delta``), whether ``message_stop``, which says nothing
but its name, follows or not; and never without one: a clean end of the connection proves nothing. A second
``message_start`` where nothing came in between is a stammer and harmless; in the middle of an answer (a proxy that
tried again) it is an error, for what was handed out cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from resilio.errors import ErrorClass, MalformedResponse
from resilio.models import Answer, Chunk, ToolCallDelta, Usage
from resilio.providers.anthropic.answer import answer_of, decode_answer, finish_of, read_usage, refusal_of
from resilio.providers.anthropic.faults import FAULTS
from resilio.providers.anthropic.request import ANSWER_TOOL
from resilio.providers.classify import refused_answer
from resilio.providers.conversation import arguments_object
from resilio.providers.reading import as_text
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.stream import EventStream

__all__ = ["AnthropicStreamDecoder"]

CHARACTERS_PER_TOKEN: Final = 4
_INSIDE: Final = frozenset({
    "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
})  # fmt: skip


class _Block:
    """One block of content as it grows; fragments are kept in lists and joined once."""

    __slots__ = ("call", "citations", "fragments", "kind", "pieces", "signature", "start")

    def __init__(self, start: Mapping[str, Any], call: int | None) -> None:
        self.start = start
        self.kind = as_text(start.get("type"))
        self.call = call
        """Its number among the calls of the caller's tools; None: it is none."""
        self.pieces: list[str] = []
        """Of text or thinking."""
        self.fragments: list[str] = []
        """Of the JSON of a call's input."""
        self.signature: list[str] = []
        self.citations: list[Any] = []

    def whole(self) -> dict[str, Any]:
        """As it would stand in a message that was not streamed."""
        made = dict(self.start)
        if self.kind in ("text", "thinking"):
            made[self.kind] = as_text(made.get(self.kind)) + "".join(self.pieces)
        if self.fragments:
            made["input"] = arguments_object("".join(self.fragments))
        if self.signature:
            made["signature"] = "".join(self.signature)
        if self.citations:
            made["citations"] = [*(made.get("citations") or ()), *self.citations]
        return made


class AnthropicStreamDecoder(EventStream):
    """Reads one streamed response; see `resilio.providers.base.StreamDecoder` for the contract.

    Every event gives at least one chunk, even one that says nothing, so whoever passes `raw` on misses nothing.
    """

    __slots__ = ("_blocks", "_calls", "_message", "_pings", "_size", "_usage")

    faults = FAULTS

    def __init__(
        self, who: str, status: int, headers: Mapping[str, str], max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(who, status, headers, max_event_bytes)
        self._message: dict[str, Any] | None = None
        """Of ``message_start``; later what ``message_delta`` brings."""
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._pings = 0
        self._usage: dict[str, Any] = {}
        self._size = 0  # characters so far

    @property
    def complete(self) -> bool:
        """A reason to stop has come, and nothing went wrong."""
        return bool(self._stop_reason) and self._error is None

    @property
    def comments(self) -> int:
        """Keep-alives so far: pings are what comments are elsewhere."""
        return self._parser.comments + self._pings

    @property
    def _stop_reason(self) -> str:
        return as_text(self._message.get("stop_reason")) if self._message else ""

    def answer(self) -> Answer:
        """Everything so far; `finish_reason` is empty while there is no reason to stop.

        `raw` is what the same server would have sent without streaming, as far as it came. Where the final usage did
        not come, the input is the provider's own figure and the output counted from what came.
        """
        places = sorted(self._blocks)
        message = {
            **(self._message or {}),
            "content": [self._blocks[place].whole() for place in places],
            "usage": self._usage,
        }
        written = {number: "".join(self._blocks[place].fragments) for number, place in enumerate(places)}
        answer = answer_of(message, written)
        usage = answer.usage
        if usage is None or self._stop_reason:
            return answer
        counted = max(usage.output_tokens, self._size // CHARACTERS_PER_TOKEN + 1)
        usage = Usage(
            usage.input_tokens, counted, usage.cache_read_tokens, usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens, estimated=True,
        )  # fmt: skip
        return Answer(
            answer.text, answer.finish_reason, usage, answer.tool_calls, answer.reasoning, answer.refusal,
            answer.model, answer.response_id, answer.raw, answer.extras,
        )  # fmt: skip

    # --- what the dialect says -------------------------------------------------------------------

    def _ends(self, body: dict[str, Any]) -> bool:
        delta = body.get("delta")
        return body.get("type") == "message_delta" and isinstance(delta, dict) and bool(delta.get("stop_reason"))

    def _unfinished(self) -> MalformedResponse:
        if self._message is None:
            return self._malformed("with a stream that ended before any message", ErrorClass.TRUNCATED)
        return self._malformed("with a stream that ended without a stop_reason", ErrorClass.TRUNCATED)

    def _take_whole(self, body: bytes, chunks: list[Chunk]) -> None:
        """A server that ignored `stream`: its one message becomes the events it would have been."""
        message = dict(decode_answer(self._who, self._status, self._headers, body).raw)
        content = message.pop("content")
        stop = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
        start = {**message, "content": [], "stop_reason": None}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
        for index, block in enumerate(content):
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events.append({"type": "content_block_stop", "index": index})
        events.append({"type": "message_delta", "delta": stop, "usage": message.get("usage")})
        events.append({"type": "message_stop"})
        for event in events:
            self._take(event, chunks)

    def _take(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        kind = body.get("type")
        if self._message is None and kind in _INSIDE:
            raise self._malformed("with a stream that does not begin with message_start")
        try:
            match kind:
                case "content_block_delta":
                    self._add(body, chunks)
                case "content_block_start":
                    self._start_block(body, chunks)
                case "content_block_stop":
                    self._stop_block(body, chunks)
                case "message_start":
                    self._start_message(body, chunks)
                case "message_delta":
                    self._stop_reasons(body, chunks)
                case "message_stop":
                    self.done = True
                    chunks.append(Chunk(raw=body))
                case _:  # ping, and whatever may come to be
                    self._pings += kind == "ping"
                    chunks.append(Chunk(raw=body))
        except (AttributeError, KeyError, TypeError) as exc:
            # A number where an object should be, text where a list should: not worth a check a field.
            raise self._malformed(f"with an event of another shape ({exc!r})") from exc

    # --- events ----------------------------------------------------------------------------------

    def _start_message(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        if self._blocks or self._stop_reason:
            raise self._malformed("and began a second message in the middle of the first")
        message = dict(body["message"])
        self._usage = dict(message.get("usage") or {})
        content = message.get("content") or []
        self._message = message
        chunks.append(Chunk(raw=body))
        for index, block in enumerate(content):  # the protocol has it empty
            self._start_block({"index": index, "content_block": block}, chunks)

    def _start_block(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        start, index = body["content_block"], body["index"]
        if type(index) is not int or not isinstance(start, dict):
            raise TypeError("a block without an index or content")
        orjson.dumps(start.get("input"))  # nested too deep to be written, it is refused here and not at the end
        ours = start.get("type") == "tool_use" and start.get("name") == ANSWER_TOOL
        if start.get("type") != "tool_use" or ours:
            self._blocks[index] = block = _Block(start, None)
            text = as_text(start.get("text")) if block.kind == "text" else ""
            thought = as_text(start.get("thinking")) if block.kind == "thinking" else ""
            self._size += len(text) + len(thought)
            chunks.append(Chunk(text, thought, raw=body))
            return
        name = as_text(start.get("name"))
        if not name:
            raise self._malformed("with a tool call that names no tool")
        self._blocks[index] = _Block(start, self._calls)
        chunks.append(Chunk(tool_calls=(ToolCallDelta(self._calls, as_text(start.get("id")), name),), raw=body))
        self._calls += 1

    def _add(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        block, delta = self._blocks[body["index"]], body["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            piece = _string(delta["text"])
            block.pieces.append(piece)
            chunk = Chunk(piece, raw=body)
        elif kind == "thinking_delta":
            piece = _string(delta["thinking"])
            block.pieces.append(piece)
            chunk = Chunk(reasoning=piece, raw=body)
        elif kind == "input_json_delta":
            piece = _string(delta["partial_json"])
            if piece:
                block.fragments.append(piece)
            chunk = self._fragment(block, piece, body)
        else:
            piece = ""
            if kind == "signature_delta":
                block.signature.append(_string(delta["signature"]))
            elif kind == "citations_delta":
                block.citations.append(delta["citation"])
            chunk = Chunk(raw=body)
        self._size += len(piece)
        chunks.append(chunk)

    def _fragment(self, block: _Block, piece: str, body: dict[str, Any]) -> Chunk:
        """A piece of a call's input, which is that of a server's tool, the answer itself, or for the caller."""
        if block.call is not None:
            return Chunk(tool_calls=(ToolCallDelta(block.call, arguments=piece),) if piece else (), raw=body)
        return Chunk(piece if block.start.get("name") == ANSWER_TOOL else "", raw=body)

    def _stop_block(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        """A call without arguments may have no fragment at all; those of a whole block came at its beginning."""
        block = self._blocks[body["index"]]
        if block.kind == "tool_use" and not block.fragments:
            written = orjson.dumps(block.start.get("input") or {}).decode()
            block.fragments.append(written)
            chunks.append(self._fragment(block, written, body))
        else:
            chunks.append(Chunk(raw=body))

    def _stop_reasons(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        """``message_delta``: why it stopped, and usage, cumulative and perhaps corrected."""
        assert self._message is not None, "only after message_start"
        delta = body["delta"]
        self._message.update((name, value) for name, value in delta.items() if value is not None)
        self._usage.update((name, value) for name, value in (body.get("usage") or {}).items() if value is not None)
        if not delta.get("stop_reason"):
            chunks.append(Chunk(raw=body))
            return
        ours = any(block.start.get("name") == ANSWER_TOOL for block in self._blocks.values())
        finish = finish_of(delta["stop_reason"], range(self._calls), ours=ours)
        refusal = refusal_of(self._message)
        chunks.append(Chunk(refusal=refusal, finish_reason=finish, usage=read_usage(self._usage), raw=body))
        if finish == "content_filter" and not (refusal or self._calls or self._wrote()):
            raise refused_answer(self._who, self._status)

    def _wrote(self) -> bool:
        return any(block.kind == "text" and block.whole()["text"] for block in self._blocks.values())


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{type(value).__name__} in place of text")
    return value
