"""The simulated provider's side of Anthropic's wire format: messages, events and errors as bytes.

Shapes follow Anthropic's API reference and its SDK's types (November 2026). It is as strict as the real server where a
careless client is found out: `max_tokens`, the version header, unknown fields, sampling parameters by version, results
of tools directly after the calls, and thinking that comes back with the signature it was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from resilio.testing.dialects.base import ByPath, Objection, Said
from resilio.testing.dialects.breakpoints import breakpoints

__all__ = ["Anthropic", "Message", "signature_of"]

_ERRORS: Final[Mapping[str, tuple[int, str, str]]] = {
    "rate_limit_exceeded": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "slow_down": (429, "rate_limit_error", "Your usage rose too fast. Please slow down."),
    "insufficient_quota": (400, "invalid_request_error", "Your credit balance is too low to access the API."),
    "credit_balance_exhausted": (402, "billing_error", "Your credit balance is exhausted."),
    "billing_not_active": (402, "billing_error", "Your account is not active."),
    "server_is_overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "bad_gateway": (502, "api_error", "Bad gateway"),
    "context_length_exceeded": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "content_policy_violation": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "unsupported_parameter": (400, "invalid_request_error", "speed: Extra inputs are not permitted"),
    "invalid_value": (400, "invalid_request_error", "tools.0.name: String should match pattern"),
    "invalid_api_key": (401, "authentication_error", "invalid x-api-key"),
    "model_not_found": (404, "not_found_error", "model: no-such-model"),
}
"""OpenAI's codes, which scripts are written in, as Anthropic says the same."""
_STATUSES: Final = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "conflict_error": 409, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500,
    "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
"""Its own types may be asked for as well."""
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_FIELDS: Final = frozenset({
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "stop_sequences", "stream", "metadata",
    "thinking", "output_config", "service_tier", "speed", "container", "inference_geo", "cache_control", "diagnostics",
})  # fmt: skip
_SAMPLING: Final = frozenset({"temperature", "top_p", "top_k"})
_BREAKPOINTS: Final = 4
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})


def signature_of(thought: str) -> str:
    """The signature this server gives a thought, and wants back with it."""
    return hashlib.blake2b(thought.encode(), digest_size=12).hexdigest()


class Message(Said):
    """One answer, whole or as events."""

    def body(self) -> bytes:
        return orjson.dumps(self._message(list(self._blocks()), self._stop_reason, self._usage(None)))

    def chunks(self, *, include_usage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Each piece of content is one frame, with the events that open and close its block joined on.

        So faults that count pieces count the same here as in every dialect.
        """
        start = self._message([], None, self._usage(1))
        opening = [_event({"type": "message_start", "message": start}) + _event({"type": "ping"})]
        content = [frame for index, block in enumerate(self._blocks()) for frame in self._streamed(index, block)]
        delta = {"stop_reason": self._stop_reason, "stop_sequence": None, "stop_details": self._stop_details}
        end: dict[str, Any] = {"type": "message_delta", "delta": delta}
        if self.usage is not None:
            end["usage"] = self._usage(None)
        return opening, content, [_event(end)]

    def _blocks(self) -> Iterator[dict[str, Any]]:
        if not self.n:
            return
        if self.reasoning:
            yield {"type": "thinking", "thinking": self.reasoning, "signature": signature_of(self.reasoning)}
        if self.pieces and not self.refusal:
            yield {"type": "text", "text": "".join(self.pieces)}
        for call in self.tool_calls:
            function = call["function"]
            given = orjson.loads(function["arguments"] or b"{}")
            yield {"type": "tool_use", "id": call["id"], "name": function["name"], "input": given}

    def _streamed(self, index: int, block: Mapping[str, Any]) -> list[bytes]:
        if block["type"] == "text":
            opened, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in self.pieces]
        elif block["type"] == "thinking":
            opened = {**block, "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        else:
            opened = {**block, "input": {}}
            written = orjson.dumps(block["input"]).decode() if block["input"] else ""
            parts = [written[at : at + 8] for at in range(0, len(written), 8)]
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *parts]]
        frames = [_event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
        frames[0] = _event({"type": "content_block_start", "index": index, "content_block": opened}) + frames[0]
        frames[-1] += _event({"type": "content_block_stop", "index": index})
        return frames

    @property
    def _stop_reason(self) -> str | None:
        if not self.n:
            return None
        return "refusal" if self.refusal else _STOPS.get(self.finish_reason or "", self.finish_reason)

    @property
    def _stop_details(self) -> dict[str, Any] | None:
        if not self.refusal:
            return None
        return {"type": "refusal", "category": None, "explanation": "".join(self.pieces)}

    def _usage(self, output: int | None) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        cached, written = self.usage["prompt_tokens_details"]["cached_tokens"], sum(self.cache_written)
        five, hour = self.cache_written
        return {
            "input_tokens": max(0, self.usage["prompt_tokens"] - cached - written),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
            "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
            "output_tokens": self.usage["completion_tokens"] if output is None else output,
            "service_tier": "standard",
        }

    def _message(self, content: list[Any], stop: str | None, usage: dict[str, Any] | None) -> dict[str, Any]:
        whole = {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "stop_details": self._stop_details if stop else None,
        }
        return whole if usage is None else {**whole, "usage": usage}


def _event(body: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (body["type"].encode(), orjson.dumps(body))


class Anthropic(ByPath):
    """Implements `resilio.testing.dialects.base.Dialect`."""

    path = "/messages"
    marks_prefixes = True
    said = Message
    last: Final = _event({"type": "message_stop"})

    def headers(self, number: int) -> dict[str, str]:
        return {"request-id": f"req_{number:08d}", "anthropic-organization-id": "org_simulated"}

    def identity(self, bits: int) -> str:
        return f"msg_{bits:016x}"

    def error(self, code: str | None, message: str | None = None, param: str | None = None) -> tuple[int, bytes]:
        named = code or "invalid_request_error"
        status, kind, words = _ERRORS.get(named, (_STATUSES.get(named, 400), named, "Simulated error."))
        if named not in _ERRORS and named not in _STATUSES:
            kind = "invalid_request_error"
        error: dict[str, Any] = {"type": kind, "message": message or words}
        return status, orjson.dumps({"type": "error", "error": error, "request_id": "req_simulated"})

    def frame(self, data: bytes, *, error: bool = False) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (b"error" if error else b"content_block_delta", data)

    def wants_usage(self, body: Mapping[str, Any]) -> bool:
        return True

    def objection(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Objection | None:
        why = _why_not(body, {name.lower(): value for name, value in headers.items()})
        return None if why is None else Objection(None, why)

    def neutral(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Messages, tools and limits; what has no twin is not told."""
        messages: list[dict[str, Any]] = []
        if body.get("system"):
            messages.append({"role": "system", "content": body["system"]})
        for message in body["messages"]:
            messages += _neutral(message)
        tools = [
            {"type": "function", "function": {**tool, "parameters": tool.get("input_schema")}}
            for tool in body.get("tools") or ()
        ]
        return {**body, "messages": messages, **({"tools": tools} if tools else {})}


def _neutral(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One message: its results each as one of a tool, then its text and calls."""
    content = _blocks_of(message)
    for block in content:
        if block["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block.get("content") or ""}
    rest = [block for block in content if block["type"] not in ("tool_result", "tool_use", *_THOUGHTS)]
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()},
        }
        for block in content
        if block["type"] == "tool_use"
    ]
    if rest or calls:
        yield {"role": message["role"], "content": rest or None, **({"tool_calls": calls} if calls else {})}


def _blocks_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, Mapping) and "type" in block] if content else []


# --- what is refused ---------------------------------------------------------------------------


def _why_not(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    version = headers.get("anthropic-version")
    if not version:
        return "anthropic-version: header is required"
    if type(body.get("max_tokens")) is not int:
        return "max_tokens: Field required"
    known = _FIELDS if version >= "2026-10-21" else _FIELDS | _SAMPLING
    for name in body:
        if name not in known:
            return f"{name}: Extra inputs are not permitted"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, Mapping) for each in messages):
        return "messages: at least one message is required"
    if messages[0].get("role") != "user":
        return 'messages: first message must use the "user" role'
    return _why_not_messages(messages, body) or _why_not_cached(body)


def _why_not_cached(body: Mapping[str, Any]) -> str | None:
    lifetimes = [ttl for _, ttl in breakpoints(body)]
    if len(lifetimes) > _BREAKPOINTS:
        return f"A maximum of {_BREAKPOINTS} blocks with cache_control may be provided. Found {len(lifetimes)}."
    if lifetimes != sorted(lifetimes):  # "1h" comes before "5m" in the alphabet, too
        return "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
    unknown = [ttl for ttl in lifetimes if ttl not in ("5m", "1h")]
    return f"cache_control.ephemeral.ttl: Input should be '5m' or '1h', not {unknown[0]!r}" if unknown else None


def _why_not_messages(messages: list[Mapping[str, Any]], body: Mapping[str, Any]) -> str | None:
    thinking = body.get("thinking")
    on_budget = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
    for index, message in enumerate(messages):
        blocks = _blocks_of(message)
        if not blocks:
            return f"messages.{index}: all messages must have non-empty content"
        for number, block in enumerate(blocks):
            if block["type"] == "text" and not str(block.get("text")).strip():
                return f"messages.{index}.content.{number}: text content blocks must contain non-whitespace text"
            if block["type"] == "thinking" and block.get("signature") != signature_of(block.get("thinking", "")):
                return f"messages.{index}.content.{number}: Invalid `signature` in `thinking` block"
        used = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if not used:
            continue
        following = _blocks_of(messages[index + 1]) if index + 1 < len(messages) else []
        first = following[: len(used)]
        if used != {block.get("tool_use_id") for block in first if block["type"] == "tool_result"}:
            return f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after"
        if on_budget and index + 2 == len(messages) and blocks[0]["type"] not in _THOUGHTS:
            return f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    return None
