"""The simulated provider's side of OpenAI's wire format: answers, chunks and errors as bytes.

Shapes follow OpenAI's API reference (November 2026). Pure: ids, times and numbers are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from resilio.testing.dialects.base import ByPath, Objection, Said
from resilio.testing.faults import ERRORS

__all__ = ["Completion", "OpenAI", "error_body", "models_body"]


class Completion(Said):
    """One answer, ready to be put on the wire, whole or in chunks."""

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
        if not self.n:
            opening = [head + b"]}\n\n"]
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


class OpenAI(ByPath):
    """Implements `resilio.testing.dialects.base.Dialect`."""

    path = "/chat/completions"
    said = Completion
    last: Final = b"data: [DONE]\n\n"

    def headers(self, number: int) -> dict[str, str]:
        return {"x-request-id": f"req_{number:08d}", "openai-processing-ms": "1"}

    def identity(self, bits: int) -> str:
        return f"chatcmpl-{bits:016x}"

    def error(self, code: str | None, message: str | None = None, param: str | None = None) -> tuple[int, bytes]:
        shape = ERRORS.get(code or "")
        return shape.status if shape else 400, error_body(code, message, param)

    def frame(self, data: bytes, *, error: bool = False) -> bytes:
        return b"data: " + data + b"\n\n"

    def objection(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Objection | None:
        messages = body.get("messages")
        if messages is None:
            return Objection("missing_required_parameter", "Missing required parameter: 'messages'.", "messages")
        if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
            return Objection("invalid_type", "Invalid type for 'messages': expected an array of objects.", "messages")
        if not messages:
            return Objection("empty_array", "Invalid 'messages': empty array. Expected at least one.", "messages")
        return None

    def neutral(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return body

    def wants_usage(self, body: Mapping[str, Any]) -> bool:
        options = body.get("stream_options")
        return isinstance(options, Mapping) and options.get("include_usage") is True
