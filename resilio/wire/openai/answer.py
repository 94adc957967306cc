"""A reply as a chat completion.

What a reply itself does not hold (logprobs, annotations, further choices) is taken from `Reply.raw`, where the answer
came in OpenAI's dialect or in another that has it. The rule that keeps it simple: what both have comes from the reply,
which checks may have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilio.models import Reply, Usage
from resilio.providers.gemini import choices as gemini
from resilio.providers.openai.answer import read_content
from resilio.providers.openai.faults import FINISH_SPELLINGS
from resilio.providers.responses import choices as responses
from resilio.wire.faults import Fault
from resilio.wire.story import FIELD, story_of

__all__ = [
    "chat_completion",
    "error_object",
    "finish_of",
    "identity",
    "native_finish",
    "raw_choices",
    "tier_of",
    "usage_of",
]

_FINISHES: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_TIERS: Final = {
    "auto": "auto", "default": "default", "flex": "flex", "scale": "scale", "priority": "priority", "fast": "fast",
    "standard": "default",
}  # fmt: skip
"""OpenAI's name of a tier; clients that validate take no other."""
_MORE: Final = ("annotations", "audio")
"""Fields of OpenAI's message that no other dialect has."""


def chat_completion(reply: Reply, *, model: str, created: int) -> dict[str, Any]:
    """The body of a whole answer."""
    raw = reply.raw
    choices = raw_choices(raw)
    first = next((its for its in choices if not its.get("index")), {})
    rest = [_further(its, complete=reply.complete) for its in choices if its.get("index")]
    body: dict[str, Any] = {
        "id": identity(reply.request_id),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_first(reply, first), *rest],
        "usage": usage_of(reply.usage),
    }
    if (tier := tier_of(reply.usage)) is not None:
        body["service_tier"] = tier
    if choices:
        body.update((name, raw[name]) for name in ("system_fingerprint", "moderation") if raw.get(name) is not None)
    body[FIELD] = story_of(reply)
    return body


def identity(request_id: str) -> str:
    """The answer's `id`: it leads to the call in resilio's own log."""
    return f"chatcmpl-{request_id}"


def finish_of(finish: str | None, *, complete: bool) -> str:
    """OpenAI's word for why it ended. A part of an answer was cut: ``length``, whatever was to come."""
    if not complete:
        return "length"
    return finish if finish in _FINISHES else "stop"


def native_finish(raw: Mapping[str, Any]) -> str | None:
    """Why it ended in the words of a provider of another dialect."""
    said = raw.get("stop_reason") if raw.get("type") == "message" else None
    return said if isinstance(said, str) else None


def _first(reply: Reply, raw: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
    if not (reply.text or reply.refusal or reply.tool_calls):
        message["content"] = ""
    if reply.tool_calls:
        message["tool_calls"] = [call.as_sent() for call in reply.tool_calls]
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    said = raw.get("message")
    if isinstance(said, Mapping):
        message.update((name, said[name]) for name in _MORE if said.get(name) is not None)
    message.update(reply.extras or {})
    made = {
        "index": 0,
        "message": message,
        "logprobs": raw.get("logprobs"),
        "finish_reason": finish_of(reply.finish_reason, complete=reply.complete),
    }
    if reply.complete and (native := native_finish(reply.raw)) is not None:
        made["native_finish_reason"] = native
    return made


def _further(choice: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """One of the other choices of ``n``, which the reply itself does not hold."""
    said = choice.get("message")
    said = said if isinstance(said, Mapping) else {}
    text, reasoning = read_content(said)
    message = {"role": "assistant", "content": text or None, "refusal": said.get("refusal")}
    message.update((name, said[name]) for name in ("tool_calls", *_MORE) if said.get(name))
    if reasoning:
        message["reasoning_content"] = reasoning
    finish = choice.get("finish_reason")
    finish = FINISH_SPELLINGS.get(finish, finish) if isinstance(finish, str) else None
    ended = finish_of(finish, complete=complete or bool(finish))
    return {"index": choice["index"], "message": message, "logprobs": choice.get("logprobs"), "finish_reason": ended}


def raw_choices(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The choices of an answer that came in OpenAI's dialect, or what others have of theirs; else empty."""
    if "candidates" in raw:
        return gemini.openai_choices(raw)
    if "output" in raw or raw.get("type") == "response.output_text.delta":
        return responses.openai_choices(raw)
    given = raw.get("choices")
    return [its for its in given if isinstance(its, Mapping)] if isinstance(given, list) else []


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens in OpenAI's convention: what was cached, and what was thought, are parts of the two sums."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def tier_of(usage: Usage) -> str | None:
    """The tier that served it, where OpenAI has a name for it."""
    return _TIERS.get(usage.service_tier or "")


def error_object(fault: Fault) -> dict[str, Any]:
    """An error as it stands under ``error``, in a body and in an event."""
    return {"message": fault.message, "type": fault.row.type, "param": None, "code": fault.row.code}
