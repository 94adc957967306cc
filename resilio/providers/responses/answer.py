"""What is read from a whole response, and the parts of it that streams share.

The rule that keeps it simple: a response is believed only if its status says that it ended. What the caller has to send
back for the next round (reasoning in its encrypted form, results of the server's own tools, the phase of a message) is
kept whole, in `Answer.extras`, beside the name of the provider that can read it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from resilio.errors import ErrorClass, ProviderError, ProviderUnavailable
from resilio.models import Answer, ToolCall, Usage
from resilio.providers.classify import error_in_answer, load_object, malformed, refused_answer
from resilio.providers.reading import as_count, as_json_text, as_text
from resilio.providers.responses.faults import FAULTS, REASONS
from resilio.providers.responses.items import CALLS, KEPT

__all__ = ["answer_of", "check_ended", "decode_answer", "failed", "finish_of", "is_empty", "read_usage", "written"]


def decode_answer(who: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a unary 2xx response.

    Raises:
        MalformedResponse: It is no response (HTML, broken JSON, no output), or one that has not ended.
        ProviderRefused: A content filter took the whole answer.
        ProviderError: It failed, or is an error object, classified as if that had come with its own status.
    """
    parsed = load_object(FAULTS, who, status, headers, body)
    check_ended(who, status, parsed)
    output = parsed.get("output")
    if not isinstance(output, list) or is_empty(parsed, output):
        raise malformed(who, status, f"{status} with a response without any output")
    try:
        answer = answer_of(who, parsed, output)
    except (AttributeError, KeyError, TypeError) as exc:
        # A number where an object should be, text where a list should: not worth a check a field.
        raise malformed(who, status, f"{status} with JSON of another shape ({exc!r})") from exc
    if any(not call.name for call in answer.tool_calls):
        raise malformed(who, status, f"{status} with a tool call that names no tool")
    if answer.finish_reason == "content_filter" and not (answer.text or answer.tool_calls or answer.refusal):
        raise refused_answer(who, status)
    return answer


def check_ended(who: str, status: int, response: Mapping[str, Any]) -> None:
    """Raise the error a response's own status stands for, unless it is completed or incomplete."""
    state = response.get("status")
    if state in ("completed", "incomplete"):
        return
    if state == "failed" or state == "cancelled":
        raise failed(who, status, response)
    raise malformed(who, status, f"{status} with a response that has not ended (status {as_text(state) or 'missing'})")


def is_empty(response: Mapping[str, Any], output: Collection[object]) -> bool:
    """Whether it says that it is complete and holds nothing, not even tokens that were spent on it."""
    usage = response.get("usage")
    counted = isinstance(usage, Mapping) and as_count(usage.get("output_tokens"))
    return not output and not counted and response.get("status") == "completed"


def failed(who: str, status: int, response: Mapping[str, Any]) -> ProviderError:
    """The error of a response that failed; its own words where it has some."""
    error = response.get("error")
    if isinstance(error, Mapping) and error:
        return error_in_answer(FAULTS, who, status, {"error": error})
    state = as_text(response.get("status")) or "failed"
    return ProviderUnavailable(
        f"{who} answered {status} and gave up: status {state}", ErrorClass.SERVER_ERROR, status=status, code=state
    )


def answer_of(
    who: str, response: Mapping[str, Any], output: Sequence[Mapping[str, Any]], *, ended: bool = True
) -> Answer:
    """A response as an answer; one that has not ended has no finish reason, and nothing to be sent back."""
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[ToolCall] = []
    own = False
    for item in output:
        kind = item.get("type")
        if kind == "message":
            own = own or bool(item.get("phase"))
            for part in item.get("content") or ():
                refusals.append(as_text(part.get("refusal")))
                texts.append(as_text(part.get("text")) if part.get("type") == "output_text" else "")
        elif kind in CALLS:
            own = own or kind != "function_call" or bool(item.get("namespace"))
            given = as_text(item.get("call_id")) or as_text(item.get("id"))
            calls.append(ToolCall(given, as_text(item.get("name")), written(item)))
        else:
            own = True
            if kind == "reasoning":
                thoughts += [as_text(part.get("text")) for part in item.get("content") or ()]
                thoughts += [as_text(part.get("text")) for part in item.get("summary") or ()]
    return Answer(
        "".join(texts),
        finish_of(response, calls) if ended else "",
        read_usage(response.get("usage"), response.get("service_tier")),
        tuple(calls),
        "\n\n".join(filter(None, thoughts)),
        "".join(refusals),
        as_text(response.get("model")),
        as_text(response.get("id")),
        response,
        {KEPT: {"provider": who, "items": list(output)}} if own and ended else None,
    )


def written(item: Mapping[str, Any]) -> str:
    """What the model wrote for a tool: arguments as JSON text, or any text for a custom one."""
    if item.get("type") == "custom_tool_call":
        return as_text(item.get("input"))
    arguments = item.get("arguments")
    return "" if arguments is None else as_json_text(arguments)


def finish_of(response: Mapping[str, Any], calls: Sequence[object]) -> str:
    """The finish reason chat completions would give."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = as_text(details.get("reason")) if isinstance(details, Mapping) else ""
        return REASONS.get(reason, reason) or "length"
    return "tool_calls" if calls else "stop"


def read_usage(raw: Any, service_tier: Any = None) -> Usage | None:
    """Token counts; the input holds its cached and written parts, the output its reasoning, as in our convention."""
    if not isinstance(raw, Mapping):
        return None
    given, output = as_count(raw.get("input_tokens")), as_count(raw.get("output_tokens"))
    if not (given or output):
        return None
    before, after = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    cached = as_count(before.get("cached_tokens")) if isinstance(before, Mapping) else 0
    new = as_count(before.get("cache_write_tokens")) if isinstance(before, Mapping) else 0
    reasoning = as_count(after.get("reasoning_tokens")) if isinstance(after, Mapping) else 0
    tier = service_tier if isinstance(service_tier, str) and service_tier else None
    return Usage(given, output, min(cached, given), min(new, given), 0, min(reasoning, output), service_tier=tier)
