"""The simulated provider's side of OpenAI's wire format: answers, chunks and errors as bytes.

Shapes follow OpenAI's API reference (November 2026). Pure: ids, times and numbers are arguments.
Text is cut into words, each one token, so that a reader can count what was lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from resilio.testing.faults import ERRORS

__all__ = [
    "DONE",
    "Completion",
    "content_text",
    "error_body",
    "models_body",
    "prompt_text",
    "words",
]

_WORD: Final = re.compile(r"\S+\s*|\s+")
DONE: Final = b"data: [DONE]\n\n"


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


@dataclass(slots=True)
class Completion:
    """One answer, ready to be put on the wire, whole or in chunks."""

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

    def body(self) -> bytes:
        """The unary response."""
        text = "".join(self.pieces)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self.refusal or (self.tool_calls and not text) else text,
            "refusal": text if self.refusal else None,
            "annotations": [],
        }
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        choices = [
            {"index": i, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
            for i in range(self.n)
        ]
        whole = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "service_tier": self.service_tier,
            "system_fingerprint": "fp_simulated",
        }
        if self.usage is not None:
            whole["usage"] = self.usage
        return orjson.dumps(whole)

    def chunks(self, *, include_usage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """The stream as three runs of SSE frames: opening (roles), content, closing (finish and usage)."""
        tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        common = {"id": self.id, "object": "chat.completion.chunk", "created": self.created}
        head = b"data: " + orjson.dumps(
            common | {"model": self.model, "service_tier": self.service_tier, "system_fingerprint": "fp_simulated"}
        )
        head = head[:-1] + b',"choices":['
        opening, content, closing = [], [], []
        field = b"refusal" if self.refusal else b"content"
        for index in range(self.n):
            before = b'%s{"index":%d,"delta":' % (head, index)
            after = b',"logprobs":null,"finish_reason":null}' + tail
            first = None if self.refusal or self.tool_calls else ""
            role = orjson.dumps({"role": "assistant", "content": first, "refusal": None})
            opening.append(before + role + after)
            content += [before + b'{"%s":%s}' % (field, orjson.dumps(piece)) + after for piece in self.pieces]
            content += [before + orjson.dumps(delta) + after for delta in self._tool_deltas()]
            reason = orjson.dumps(self.finish_reason)
            closing.append(before + b'{},"logprobs":null,"finish_reason":%s}' % reason + tail)
        if include_usage and self.usage is not None:
            closing.append(head + b'],"usage":' + orjson.dumps(self.usage) + b"}\n\n")
        return opening, content, closing

    def _tool_deltas(self) -> list[dict[str, Any]]:
        """Name and id once, then the arguments in pieces, as the real stream has them."""
        deltas: list[dict[str, Any]] = []
        for index, call in enumerate(self.tool_calls):
            function = call["function"]
            opening = dict(call, index=index, function={"name": function["name"], "arguments": ""})
            deltas.append({"tool_calls": [opening]})
            arguments = function["arguments"]
            for start in range(0, len(arguments), 8):
                piece = {"index": index, "function": {"arguments": arguments[start : start + 8]}}
                deltas.append({"tool_calls": [piece]})
        return deltas


def error_body(code: str | None, message: str | None = None, param: str | None = None) -> bytes:
    """``{"error": ...}`` as OpenAI writes it."""
    shape = ERRORS.get(code or "")
    error = {
        "message": message or (shape.message if shape else "Simulated error."),
        "type": shape.type if shape else "invalid_request_error",
        "param": param,
        "code": code,
    }
    return orjson.dumps({"error": error})


def models_body(models: Sequence[str], created: int) -> bytes:
    """``GET /v1/models``."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": "simulated"} for name in models]
    return orjson.dumps({"object": "list", "data": data})
