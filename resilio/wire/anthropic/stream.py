"""Chunks as the events of a streamed message.

Blocks open when something of theirs comes. Text and thinking close when another block opens; a call of a tool stays
open to the end unless its provider closed it, for other dialects may mix the fragments of several. Of chunks that came
in Anthropic's dialect, what the neutral fields cannot hold is passed on: where a block of thinking begins and its
signature, citations, and blocks of the server's own tools. The rule that keeps it simple: text, thinking and calls are
those of the chunk; `raw` only adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from resilio.models import Chunk, Reply, ToolCallDelta, Usage
from resilio.wire.anthropic.answer import error_body, identity, stop_of, usage_of
from resilio.wire.base import StreamOver
from resilio.wire.faults import fault_of, fault_of_part
from resilio.wire.story import FIELD, story_of

__all__ = ["AnthropicEncoder"]

_OURS: Final = frozenset({"text", "thinking", "tool_use"})
"""Blocks that the neutral fields hold."""
_ADDED: Final = {"signature_delta": "thinking", "citations_delta": "text"}
"""Deltas they do not hold, and the block such a one adds to."""
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'


class _Call:
    """A call of a tool; its block opens when its name is known."""

    __slots__ = ("block", "held", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.held: list[str] = []
        self.block: int | None = None


class AnthropicEncoder:
    """Writes one stream; see `resilio.wire.base.StreamEncoder` for the contract.

    Only the first of several choices has a form here. A stop reason and `message_stop` stand after a whole answer
    alone.
    """

    __slots__ = (
        "_begun", "_calls", "_foreign", "_front", "_id", "_input_tokens", "_model", "_next", "_open", "_over",
        "_places", "_text",
    )  # fmt: skip

    def __init__(self, *, request_id: str, model: str, input_tokens: int = 0) -> None:
        self._id = request_id
        self._model = model
        self._input_tokens = input_tokens
        self._begun = False
        self._over = False
        self._next = 0
        """Index of the next block."""
        self._front: tuple[int, str] | None = None
        """The open block of text or thinking."""
        self._text = b""
        """The first half of an event of its text."""
        self._open: list[int] = []
        """Open blocks of calls, and of a provider's own kinds."""
        self._calls: dict[int, _Call] = {}
        self._places: dict[int, int] = {}
        """From an index of the provider's to ours, for its open blocks that are in `_open`."""
        self._foreign: set[int] = set()
        """Of those, the ones whose deltas are handed through."""

    def __repr__(self) -> str:
        return f"<AnthropicEncoder {self._id} {'over' if self._over else 'open'}, {self._next} blocks>"

    def chunk(self, chunk: Chunk) -> bytes:
        if self._over:
            raise StreamOver
        text, reasoning, _, calls, _, _, index, raw = chunk
        if index:
            return b"" if self._begun else self._begin(None)
        native = raw.get("type") if raw is not None else None
        front = self._front
        plain = text and not (reasoning or calls) and native != "content_block_start"
        if plain and front is not None and front[1] == "text":
            return self._text + orjson.dumps(text) + b"}}\n\n"
        frames = [] if self._begun else [self._begin(raw)]
        if native == "content_block_start":
            assert raw is not None, "it has a type"
            self._start(raw, frames)
        elif native == "message_start":  # of another leg of the stream too: its blocks are numbered anew
            self._places.clear()
            self._foreign.clear()
        if reasoning:
            self._say("thinking", reasoning, frames)
        if text:
            self._say("text", text, frames)
        for call in calls:
            self._fragment(call, frames)
        if native in ("content_block_start", "content_block_delta", "content_block_stop"):
            assert raw is not None, "it has a type"
            self._add(native, raw, calls, frames)
        return b"".join(frames)

    def end(self, reply: Reply) -> bytes:
        """The open blocks' ends, the stop reason with all usage, and the end of the message; of a part, an error."""
        if self._over:
            raise StreamOver
        self._over = True
        if not reply.complete:
            return _event({**error_body(fault_of_part(reply), self._id), FIELD: story_of(reply)})
        frames = [] if self._begun else [self._begin(None)]
        for call in self._calls.values():
            if call.block is None:  # its name never came
                self._open_call(call, frames)
        self._close_front(frames)
        frames += [_stop(index) for index in sorted(self._open)]
        delta: dict[str, Any] = {"type": "message_delta", "delta": stop_of(reply), "usage": usage_of(reply.usage)}
        frames += [_event({**delta, FIELD: story_of(reply)}), _event({"type": "message_stop"})]
        return b"".join(frames)

    def error(self, error: BaseException) -> bytes:
        if self._over:
            raise StreamOver
        self._over = True
        return _event(error_body(fault_of(error), self._id))

    def keep_alive(self) -> bytes:
        """A ping, which the dialect has after the message began; a comment before."""
        return _PING if self._begun else b": keep-alive\n\n"

    # --- events ----------------------------------------------------------------------------------

    def _begin(self, raw: Mapping[str, Any] | None) -> bytes:
        """What is known of usage at the beginning: the provider's own figures, or an estimate of the prompt."""
        self._begun = True
        usage: Mapping[str, Any] = usage_of(Usage(input_tokens=self._input_tokens))
        message = raw.get("message") if raw is not None and raw.get("type") == "message_start" else None
        if isinstance(message, Mapping) and isinstance(given := message.get("usage"), Mapping):
            usage = {**usage, **given}
        whole: dict[str, Any] = {
            "id": identity(self._id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": usage,
        }
        return _event({"type": "message_start", "message": whole})

    def _new(self, block: Mapping[str, Any], frames: list[bytes]) -> int:
        index = self._next
        self._next += 1
        frames.append(_event({"type": "content_block_start", "index": index, "content_block": block}))
        return index

    def _close_front(self, frames: list[bytes]) -> None:
        if self._front is not None:
            frames.append(_stop(self._front[0]))
            self._front = None

    def _open_front(self, kind: str, frames: list[bytes]) -> None:
        self._close_front(frames)
        block = {"type": kind, kind: "", **({"signature": ""} if kind == "thinking" else {})}
        index = self._new(block, frames)
        self._front = (index, kind)
        if kind == "text":
            marked = _delta(index, {"type": "text_delta", "text": "\0"})
            self._text = marked.partition(b'"\\u0000"')[0]

    def _say(self, kind: str, piece: str, frames: list[bytes]) -> None:
        if self._front is None or self._front[1] != kind:
            self._open_front(kind, frames)
        assert self._front is not None, "it was opened"
        frames.append(_delta(self._front[0], {"type": f"{kind}_delta", kind: piece}))

    # --- calls -----------------------------------------------------------------------------------

    def _fragment(self, piece: ToolCallDelta, frames: list[bytes]) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = _Call()
        call.id = call.id or piece.id or ""
        call.name = call.name or piece.name or ""
        if call.block is None:
            call.held.append(piece.arguments)
            if call.name:
                self._open_call(call, frames)
        elif piece.arguments:
            frames.append(_input(call.block, piece.arguments))

    def _open_call(self, call: _Call, frames: list[bytes]) -> None:
        self._close_front(frames)
        given = {"id": call.id or f"toolu_{self._id}_{self._next}", "name": call.name}
        call.block = self._new({"type": "tool_use", **given, "input": {}}, frames)
        self._open.append(call.block)
        if held := "".join(call.held):
            frames.append(_input(call.block, held))

    # --- what only Anthropic says ------------------------------------------------------------------

    def _start(self, raw: Mapping[str, Any], frames: list[bytes]) -> None:
        """A block began at the provider: one of text or thinking begins here too, one of its own is handed through."""
        block = raw["content_block"]
        kind = block.get("type")
        if kind in ("text", "thinking"):
            self._open_front(kind, frames)
        elif kind not in _OURS:
            self._close_front(frames)
            index = self._places[raw["index"]] = self._new(block, frames)
            self._open.append(index)
            self._foreign.add(raw["index"])

    def _add(self, native: str, raw: Mapping[str, Any], calls: Sequence[ToolCallDelta], frames: list[bytes]) -> None:
        place: Any = raw.get("index")
        if native == "content_block_stop":
            self._stopped(place, frames)
        elif native == "content_block_start":
            block = raw["content_block"]
            if calls and (opened := self._calls[calls[-1].index].block) is not None:
                self._places[place] = opened
            if block.get("type") == "thinking" and block.get("signature"):  # a block that came whole
                self._say_more({"type": "signature_delta", "signature": block["signature"]}, frames)
            for citation in block.get("citations") or ():
                self._say_more({"type": "citations_delta", "citation": citation}, frames)
        elif isinstance(delta := raw.get("delta"), Mapping):
            if place in self._foreign:
                frames.append(_delta(self._places[place], delta))
            else:
                self._say_more(delta, frames)

    def _say_more(self, delta: Mapping[str, Any], frames: list[bytes]) -> None:
        """Add what the neutral fields do not hold to the open block, if it is of the kind it belongs to."""
        if self._front is not None and self._front[1] == _ADDED.get(str(delta.get("type"))):
            frames.append(_delta(self._front[0], delta))

    def _stopped(self, place: Any, frames: list[bytes]) -> None:
        """A block ended at the provider: a call is whole then; text goes on in the same block until another opens."""
        index = self._places.pop(place, None)
        self._foreign.discard(place)
        if index in self._open:
            self._open.remove(index)
            frames.append(_stop(index))


def _event(body: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (body["type"].encode(), orjson.dumps(body))


def _delta(index: int, delta: Mapping[str, Any]) -> bytes:
    return _event({"type": "content_block_delta", "index": index, "delta": delta})


def _input(index: int, piece: str) -> bytes:
    return _delta(index, {"type": "input_json_delta", "partial_json": piece})


def _stop(index: int) -> bytes:
    return _event({"type": "content_block_stop", "index": index})
