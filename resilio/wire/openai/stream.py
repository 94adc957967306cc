"""Chunks as the events of a streamed chat completion.

Nearly every chunk is a few letters of one choice: those are put between two halves of an event that were written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from resilio.models import Chunk, Reply, ToolCallDelta
from resilio.wire.base import StreamOver
from resilio.wire.faults import fault_of, fault_of_part
from resilio.wire.openai.answer import (
    error_object,
    finish_of,
    identity,
    native_finish,
    raw_choices,
    tier_of,
    usage_of,
)
from resilio.wire.story import FIELD, story_of

__all__ = ["OpenAIEncoder"]

_DONE = b"data: [DONE]\n\n"


class OpenAIEncoder:
    """Writes one stream; see `resilio.wire.base.StreamEncoder` for the contract.

    A finish reason and ``[DONE]`` stand after a whole answer alone.
    """

    __slots__ = ("_base", "_calls", "_finishes", "_id", "_include_usage", "_opened", "_over", "_tail")

    def __init__(self, *, request_id: str, model: str, created: int, include_usage: bool = False) -> None:
        self._id = request_id
        self._include_usage = include_usage
        self._base: dict[str, Any] = {
            "id": identity(request_id),
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._tail = b'},"logprobs":null,"finish_reason":null}]%s}\n\n' % (b',"usage":null' if include_usage else b"")
        self._opened: dict[int, bytes] = {}
        """Choices that have begun, each with the first half of an event of its text."""
        self._calls: dict[int, set[int]] = {}
        """Indexes of the tool calls of each choice."""
        self._finishes: dict[int, str] = {}
        self._over = False

    def __repr__(self) -> str:
        return f"<OpenAIEncoder {self._id} {'over' if self._over else 'open'}, {len(self._opened)} choices>"

    def chunk(self, chunk: Chunk) -> bytes:
        if self._over:
            raise StreamOver
        text, reasoning, refusal, calls, finish, _, index, raw = chunk
        opening = self._opened.get(index)
        if finish:
            self._finishes[index] = finish
        head = b""
        if opening is None:
            head = self._open(index, content=None if calls or refusal else "")
            opening = self._opened[index]
        logprobs = _logprobs(raw, index) if raw is not None else None
        if text and not (reasoning or refusal or calls or logprobs):
            return head + opening + orjson.dumps(text) + self._tail
        if not (text or reasoning or refusal or calls or logprobs):
            return head
        delta: dict[str, Any] = {}
        if text:
            delta["content"] = text
        if reasoning:
            delta["reasoning_content"] = reasoning
        if refusal:
            delta["refusal"] = refusal
        if calls:
            delta["tool_calls"] = [self._call(index, call) for call in calls]
        return head + self._event(index, delta, logprobs)

    def end(self, reply: Reply) -> bytes:
        """Finish reasons, usage where it was asked for, and ``[DONE]``; of a part of an answer, an error."""
        if self._over:
            raise StreamOver
        self._over = True
        if not reply.complete:
            return _frame({"error": error_object(fault_of_part(reply)), FIELD: story_of(reply)})
        frames = [] if self._opened else [self._open(0, content="")]
        if (tier := tier_of(reply.usage)) is not None:
            self._base["service_tier"] = tier
        for index in sorted(self._opened):
            finish = self._finishes.get(index) or (None if index else reply.finish_reason)
            frames.append(self._finish(index, finish_of(finish, complete=True), reply))
        if self._include_usage:
            frames.append(_frame({**self._base, "choices": [], "usage": usage_of(reply.usage)}))
        frames.append(_DONE)
        return b"".join(frames)

    def error(self, error: BaseException) -> bytes:
        if self._over:
            raise StreamOver
        self._over = True
        return _frame({"error": error_object(fault_of(error))})

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    # --- events ----------------------------------------------------------------------------------

    def _open(self, index: int, *, content: str | None) -> bytes:
        """Begin a choice: who speaks is said once."""
        marked = self._event(index, {"content": "\0"}, None)
        self._opened[index] = marked.partition(b'"\\u0000"')[0]
        self._calls[index] = set()
        return self._event(index, {"role": "assistant", "content": content, "refusal": None}, None)

    def _event(self, index: int, delta: Mapping[str, Any], logprobs: Any, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        body: dict[str, Any] = {**self._base, "choices": [choice]}
        if self._include_usage:
            body["usage"] = None
        return _frame(body)

    def _call(self, index: int, call: ToolCallDelta) -> dict[str, Any]:
        """A fragment: the first of a call says which it is, also where its provider gave it no id."""
        function: dict[str, Any] = {"arguments": call.arguments}
        made: dict[str, Any] = {"index": call.index, "function": function}
        if call.index not in self._calls[index]:
            self._calls[index].add(call.index)
            made["id"] = call.id or f"call_{self._id}_{index}_{call.index}"
            made["type"] = "function"
            function["name"] = call.name or ""
        elif call.name:
            function["name"] = call.name
        return made

    def _finish(self, index: int, finish: str, reply: Reply) -> bytes:
        """Why a choice ended; with the first go what its provider wants back, and how the answer came about."""
        delta: dict[str, Any] = {}
        body: dict[str, Any] = dict(self._base)
        choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        if not index:
            delta.update(reply.extras or {})
            wanted = zip(sorted(self._calls[0]), reply.tool_calls, strict=False)
            nothing = {"arguments": ""}  # the SDK's helper expects a function in every fragment
            if calls := [{**call.extra, "index": place, "function": nothing} for place, call in wanted if call.extra]:
                delta["tool_calls"] = calls
            if (native := native_finish(reply.raw)) is not None:
                choice["native_finish_reason"] = native
            body[FIELD] = story_of(reply)
        body["choices"] = [choice]
        if self._include_usage:
            body["usage"] = None
        return _frame(body)


def _frame(body: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _logprobs(raw: Mapping[str, Any], index: int) -> Any:
    """Of a chunk that came in OpenAI's dialect."""
    choices = raw.get("choices")
    if type(choices) is list and len(choices) == 1:  # as it nearly always is
        choice = choices[0]
        return choice.get("logprobs") if type(choice) is dict else None
    return next((its.get("logprobs") for its in raw_choices(raw) if its.get("index") == index), None)
