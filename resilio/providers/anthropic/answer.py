"""What is read from a whole message, and the parts of it that streams share.

The rule that keeps it simple: a message is believed only if it says why it stopped. What the caller has to send back
for the next round (thinking with its signatures, results of the server's own tools) is kept whole, in `Answer.extras`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resilio.models import Answer, ToolCall, Usage
from resilio.providers.anthropic.faults import FAULTS, STOPS
from resilio.providers.anthropic.request import ANSWER_TOOL
from resilio.providers.classify import load_object, malformed, refused_answer
from resilio.providers.reading import as_count, as_json_text, as_text

__all__ = ["answer_of", "decode_answer", "finish_of", "read_usage", "refusal_of"]


def decode_answer(who: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a unary 2xx response.

    Raises:
        MalformedResponse: It is no message (HTML, broken JSON, no content), or one that did not stop.
        ProviderRefused: The model refused, and left nothing of the answer.
        ProviderError: An error object inside the 2xx, classified as if it had come with its own status.
    """
    parsed = load_object(FAULTS, who, status, headers, body)
    if not isinstance(parsed.get("content"), list):
        raise malformed(who, status, f"{status} with a message that has no content")
    if not parsed.get("stop_reason"):
        raise malformed(who, status, f"{status} with a message without a stop_reason: it may be cut")
    try:
        answer = answer_of(parsed)
    except (AttributeError, KeyError, TypeError) as exc:
        # A number where an object should be, text where a list should: not worth a check a field.
        raise malformed(who, status, f"{status} with JSON of another shape ({exc!r})") from exc
    if any(not call.name for call in answer.tool_calls):
        raise malformed(who, status, f"{status} with a tool call that names no tool")
    if answer.finish_reason == "content_filter" and not (answer.text or answer.tool_calls or answer.refusal):
        raise refused_answer(who, status)
    return answer


def answer_of(message: Mapping[str, Any], arguments: Mapping[int, str] | None = None) -> Answer:
    """A message as an answer.

    Args:
        message: As it came, or as far as it came.
        arguments: Of streamed calls, by the place of their block, as the model wrote them: perhaps no JSON.
    """
    texts, thoughts = [], []
    calls: list[ToolCall] = []
    ours = own = False
    for place, block in enumerate(message["content"]):
        kind = block.get("type")
        if kind == "text":
            texts.append(as_text(block.get("text")))
        elif kind == "tool_use":
            written = (arguments or {}).get(place) or as_json_text(block.get("input") or {})
            if block.get("name") == ANSWER_TOOL:
                ours = True
                texts.append(written)
            else:
                calls.append(ToolCall(as_text(block.get("id")), as_text(block.get("name")), written))
        else:
            own = True
            if kind == "thinking":
                thoughts.append(as_text(block.get("thinking")))
    return Answer(
        "".join(texts),
        finish_of(message.get("stop_reason"), calls, ours=ours),
        read_usage(message.get("usage")),
        tuple(calls),
        "".join(thoughts),
        refusal_of(message),
        as_text(message.get("model")),
        as_text(message.get("id")),
        message,
        {"anthropic_content": message["content"]} if own and not ours else None,
    )


def finish_of(stop_reason: Any, calls: Sequence[object], *, ours: bool) -> str:
    """OpenAI's finish reason. `ours`: the only tool called is the one that gives the form of the answer."""
    stop = as_text(stop_reason)
    if stop == "tool_use" and ours and not calls:
        return "stop"
    return STOPS.get(stop, stop)


def refusal_of(message: Mapping[str, Any]) -> str:
    """The words of a refusal, if any came; `message` holds `stop_reason` and `stop_details`."""
    details = message.get("stop_details")
    if message.get("stop_reason") != "refusal" or not isinstance(details, Mapping):
        return ""
    return as_text(details.get("explanation"))


def read_usage(raw: Any) -> Usage | None:
    """Token counts, in our convention: the input whole, where theirs leaves cached parts out."""
    if not isinstance(raw, Mapping):
        return None
    fresh, read = as_count(raw.get("input_tokens")), as_count(raw.get("cache_read_input_tokens"))
    output, details = as_count(raw.get("output_tokens")), raw.get("output_tokens_details")
    parts, total = raw.get("cache_creation"), raw.get("cache_creation_input_tokens")
    hour = as_count(parts.get("ephemeral_1h_input_tokens")) if isinstance(parts, Mapping) else 0
    written = as_count(total)
    if total is None and isinstance(parts, Mapping):
        written = hour + as_count(parts.get("ephemeral_5m_input_tokens"))
    hour = min(hour, written)  # a stream's end corrects the sum alone
    thought = as_count(details.get("thinking_tokens")) if isinstance(details, Mapping) else 0
    if not (fresh or read or written or output):
        return None
    # Fast mode is a tier of its own to whoever knows the prices.
    tier = "fast" if raw.get("speed") == "fast" else as_text(raw.get("service_tier")) or None
    return Usage(
        fresh + read + written, output, read, written - hour, hour, min(thought, output), service_tier=tier
    )  # fmt: skip
