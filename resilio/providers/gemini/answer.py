"""What is read from a whole response, and the parts of it that streams share.

The rule that keeps it simple: a candidate is believed only if it says why it finished. What the caller has to send
back for the next round stands where its place is: the signature of a call at the call (`ToolCall.extra`, in Google's
own convention for OpenAI's dialect), all else that is signed in the parts as they came (`Answer.extras`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from resilio.errors import ErrorClass, ProviderError, ProviderRefused
from resilio.models import Answer, ToolCall, Usage
from resilio.providers.classify import EXCEPTIONS, excerpt, load_object, malformed
from resilio.providers.gemini.faults import FAULTS, FINISHES, STOPS
from resilio.providers.reading import as_count, as_json_text, as_text

__all__ = [
    "answer_of",
    "blocked",
    "block_reason",
    "call_id",
    "decode_answer",
    "failed",
    "finish_of",
    "read_parts",
    "read_usage",
    "refusal_of",
]

_PLAIN: Final = frozenset({"text", "thought"})


def decode_answer(who: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a unary 2xx response.

    Raises:
        MalformedResponse: It is none (HTML, broken JSON, no candidate), or its first candidate did not finish.
        ProviderRefused: The prompt, or all of the answer, was blocked without a word of why.
        ProviderError: An error object inside the 2xx, or a finish reason that means failure.
    """
    parsed = load_object(FAULTS, who, status, headers, body)
    try:
        return _checked(who, status, parsed)
    except (AttributeError, KeyError, TypeError) as exc:
        # A number where an object should be, text where a list should: not worth a check a field.
        raise malformed(who, status, f"{status} with JSON of another shape ({exc!r})") from exc


def _checked(who: str, status: int, body: Mapping[str, Any]) -> Answer:
    candidates = body.get("candidates")
    if not candidates:
        reason = block_reason(body)
        if not reason:
            raise malformed(who, status, f"{status} without any candidate")
        answer = answer_of(body)
        if not answer.refusal:
            raise blocked(who, status, "the prompt", reason)
        return answer
    if not isinstance(candidates, list):
        raise TypeError("candidates are no list")
    first = _first(candidates)
    reason = as_text(first.get("finishReason"))
    if reason in FINISHES:
        raise failed(who, status, first)
    answer = answer_of(body)
    if not answer.finish_reason:
        raise malformed(who, status, f"{status} with a candidate without a finishReason: it may be cut")
    if any(not call.name for call in answer.tool_calls):
        raise malformed(who, status, f"{status} with a function call that names no function")
    if answer.finish_reason == "content_filter" and not (answer.text or answer.tool_calls or answer.refusal):
        raise blocked(who, status, "the answer", reason)
    return answer


def _first(candidates: list[Any]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = next((each for each in candidates if not each.get("index")), candidates[0])
    return first


def answer_of(body: Mapping[str, Any], arguments: Mapping[int, str] | None = None) -> Answer:
    """A response as an answer.

    Args:
        body: As it came, or as far as it came.
        arguments: Of calls, by their number among the calls, where they are not to be written anew.
    """
    candidates = body.get("candidates")
    first = _first(candidates) if candidates else {}
    parts = (first.get("content") or {}).get("parts") or []
    response_id = as_text(body.get("responseId"))
    text, thoughts, calls = read_parts(first, response_id, 0, arguments)
    return Answer(
        text,
        finish_of(first.get("finishReason"), calls) if candidates else "content_filter" if block_reason(body) else "",
        read_usage(body.get("usageMetadata")),
        tuple(calls),
        thoughts,
        refusal_of(body, first),
        as_text(body.get("modelVersion")),
        response_id,
        body,
        {"gemini_content": parts} if any(map(_wanted_back, parts)) else None,
    )


def read_parts(
    candidate: Mapping[str, Any], response_id: str, index: int, arguments: Mapping[int, str] | None = None
) -> tuple[str, str, list[ToolCall]]:
    """Text, thoughts and calls of a candidate; `index` is what its calls without an id are named by."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for part in (candidate.get("content") or {}).get("parts") or ():
        call = part.get("functionCall")
        if call is not None:
            identity = as_text(call.get("id")) or call_id(response_id, index, len(calls))
            calls.append(_call(part, call, identity, (arguments or {}).get(len(calls))))
        elif part.get("text") is not None:
            (thoughts if part.get("thought") is True else texts).append(as_text(part["text"]))
    return "".join(texts), "".join(thoughts), calls


def _call(part: Mapping[str, Any], call: Any, identity: str, written: str | None) -> ToolCall:
    arguments = as_json_text(call.get("args") or {}) if written is None else written
    signature = as_text(part.get("thoughtSignature"))
    extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else None
    return ToolCall(identity, as_text(call.get("name")), arguments, extra)


def _wanted_back(part: Mapping[str, Any]) -> bool:
    """Whether a message of text and calls could not carry this part."""
    if "functionCall" in part:
        return False
    return bool(part.get("thoughtSignature")) or not _PLAIN.issuperset(part)


def call_id(response_id: str, index: int, number: int) -> str:
    """An id for a call without one: the same each time the same response is read, another in each response.

    Args:
        response_id: The provider's own.
        index: Of the candidate.
        number: Of the call among the candidate's.
    """
    return "_".join(filter(None, ("call", response_id, str(index) if index else "", str(number))))


def finish_of(reason: Any, calls: Iterable[object]) -> str:
    """OpenAI's finish reason; empty where it has not finished."""
    named = as_text(reason)
    if named in ("", "FINISH_REASON_UNSPECIFIED"):
        return ""
    finish = STOPS.get(named, named)
    return "tool_calls" if finish == "stop" and any(True for _ in calls) else finish


def block_reason(body: Mapping[str, Any]) -> str:
    """Why the prompt was blocked; empty where it was not."""
    feedback = body.get("promptFeedback")
    return as_text(feedback.get("blockReason")) if isinstance(feedback, Mapping) else ""


def refusal_of(body: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """What was said of why the prompt or this candidate was blocked, if anything was."""
    if STOPS.get(as_text(candidate.get("finishReason"))) == "content_filter":
        return as_text(candidate.get("finishMessage"))
    return as_text(body["promptFeedback"].get("blockReasonMessage")) if not candidate and block_reason(body) else ""


def blocked(who: str, status: int, what: str, reason: str) -> ProviderRefused:
    """The error of an answer of which nothing is left."""
    return ProviderRefused(
        f"{who} answered {status} and blocked {what}: {excerpt(reason)}",
        ErrorClass.REFUSED,
        status=status,
        code=excerpt(reason)[:64],
    )


def failed(who: str, status: int, candidate: Mapping[str, Any]) -> ProviderError:
    """The error that a `finishReason` of `FINISHES` stands for."""
    reason = candidate["finishReason"]
    error_class = FINISHES[reason]
    words = excerpt(as_text(candidate.get("finishMessage")))
    return EXCEPTIONS[error_class](
        f"{who} answered {status} and gave up: finishReason {reason}{': ' if words else ''}{words}",
        error_class,
        status=status,
        code=reason,
    )


def read_usage(raw: Any) -> Usage | None:
    """Token counts, in our convention: the output with its thoughts, which theirs leaves out."""
    if not isinstance(raw, Mapping):
        return None
    # What Google's own tools fed back to the model is prompt too, and billed as that.
    prompt = as_count(raw.get("promptTokenCount")) + as_count(raw.get("toolUsePromptTokenCount"))
    thought = as_count(raw.get("thoughtsTokenCount"))
    output = as_count(raw.get("candidatesTokenCount")) + thought
    if not (prompt or output):
        return None
    cached = min(as_count(raw.get("cachedContentTokenCount")), prompt)
    return Usage(prompt, output, cached, reasoning_tokens=thought, service_tier=_tier(raw))


def _tier(raw: Mapping[str, Any]) -> str | None:
    """The Gemini API names the tier; Vertex AI tells it with the kind of traffic, ``ON_DEMAND_FLEX``."""
    tier = as_text(raw.get("serviceTier")).lower()
    if tier:
        return tier
    traffic = as_text(raw.get("trafficType")).removeprefix("ON_DEMAND_").lower()
    return traffic if traffic in ("flex", "priority") else None
