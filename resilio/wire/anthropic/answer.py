"""A reply as a message.

Where the answer came in Anthropic's dialect and says what the reply says, its very blocks are written: thinking with
its signatures, citations, results of the server's own tools. Else they are made from the reply. The rule that keeps it
simple: the reply decides, the provider's own form is only taken where it agrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from resilio.models import Reply, Usage
from resilio.providers.anthropic.faults import STOPS
from resilio.providers.conversation import arguments_object
from resilio.wire.faults import Fault
from resilio.wire.story import FIELD, story_of

__all__ = ["error_body", "identity", "message_of", "stop_of", "usage_of"]

_FINISHES: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_TIERS: Final = {"default": "standard", "standard": "standard", "priority": "priority", "batch": "batch"}
"""Anthropic's name of a tier; clients that validate take no other."""


def message_of(reply: Reply, *, model: str) -> dict[str, Any]:
    """The body of a whole answer."""
    return {
        "id": identity(reply.request_id),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _content(reply),
        **stop_of(reply),
        "usage": usage_of(reply.usage),
        FIELD: story_of(reply),
    }


def identity(request_id: str) -> str:
    """The answer's `id`: it leads to the call in resilio's own log."""
    return f"msg_{request_id}"


def stop_of(reply: Reply) -> dict[str, Any]:
    """`stop_reason`, `stop_sequence` and `stop_details`.

    A part of an answer was cut: ``max_tokens``, whatever was to come. An answer that calls tools stops for them, which
    OpenAI's dialect does not say of a forced call.
    """
    made: dict[str, Any] = {"stop_reason": "max_tokens", "stop_sequence": None, "stop_details": None}
    if not reply.complete:
        return made
    raw = reply.raw if reply.raw.get("type") == "message" else {}
    native = raw.get("stop_reason")
    refused = bool(reply.refusal) or reply.finish_reason == "content_filter"
    if isinstance(native, str) and STOPS.get(native) == reply.finish_reason and refused == (native == "refusal"):
        return {name: raw.get(name) for name in made}
    if refused:
        made["stop_reason"] = "refusal"
        if reply.refusal:
            made["stop_details"] = {"type": "refusal", "category": None, "explanation": reply.refusal}
    else:
        made["stop_reason"] = _FINISHES.get(reply.finish_reason, "end_turn")
        if made["stop_reason"] in ("end_turn", "tool_use"):
            made["stop_reason"] = "tool_use" if reply.tool_calls else "end_turn"
    return made


def _content(reply: Reply) -> Sequence[Any]:
    for source, name in ((reply.raw, "content"), (reply.extras or {}, "anthropic_content")):
        blocks = source.get(name)
        if isinstance(blocks, list) and _agrees(blocks, reply):
            return blocks
    made: list[dict[str, Any]] = []
    if reply.reasoning:
        made.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
    if reply.text:
        made.append({"type": "text", "text": reply.text})
    for index, call in enumerate(reply.tool_calls):
        given = {"id": call.id or f"toolu_{reply.request_id}_{index}", "name": call.name}
        made.append({"type": "tool_use", **given, "input": arguments_object(call.arguments)})
    return made


def _agrees(blocks: Sequence[Any], reply: Reply) -> bool:
    """Whether a provider's blocks say what the reply says: it may be of several legs, or changed by a check."""
    if not all(isinstance(block, Mapping) for block in blocks):
        return False
    text = "".join(str(block.get("text")) for block in blocks if block.get("type") == "text")
    thoughts = "".join(str(block.get("thinking")) for block in blocks if block.get("type") == "thinking")
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    return (
        (text, thoughts) == (reply.text, reply.reasoning)
        and [(call.get("id"), call.get("name")) for call in calls] == [(its.id, its.name) for its in reply.tool_calls]
        and all(
            call.get("input") == arguments_object(its.arguments)
            for call, its in zip(calls, reply.tool_calls, strict=True)
        )
    )


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens in Anthropic's convention: what was read from or written to its cache is no part of `input_tokens`."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    made: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read_tokens - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
    if usage.service_tier == "fast":
        made["speed"] = "fast"
    elif (tier := _TIERS.get(usage.service_tier or "")) is not None:
        made["service_tier"] = tier
    return made


def error_body(fault: Fault, request_id: str = "") -> dict[str, Any]:
    """An error as a whole body, and as the data of an event."""
    error = {"type": fault.row.anthropic_type, "message": fault.row.words + fault.message}
    return {"type": "error", "error": error, "request_id": request_id or None}
