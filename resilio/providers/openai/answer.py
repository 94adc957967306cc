"""What is read from a whole answer, and the parts of it that streams share.

The rule that keeps it simple: an answer is believed only if it says that it ended. So a choice needs
a `finish_reason`; where a server leaves it out, reported output tokens stand in, for a server that has
counted its output has ended it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilio.errors import ProviderError
from resilio.models import Answer, ToolCall, Usage
from resilio.providers.classify import EXCEPTIONS, error_in_answer, load_object, malformed, refused_answer
from resilio.providers.openai.faults import FAULTS, FINISH_SPELLINGS, FINISHES
from resilio.providers.reading import as_count, as_json_text, as_text

__all__ = [
    "decode_answer",
    "failed_finish",
    "read_arguments",
    "read_content",
    "read_extra",
    "read_usage",
]


def decode_answer(who: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a unary 2xx response.

    Raises:
        MalformedResponse: It is no chat completion (HTML, broken JSON, no choices), or one that did not end.
        ProviderRefused: A content filter took the whole answer.
        ProviderError: An error object inside the 2xx, classified as if it had come with its own status.
    """
    parsed = load_object(FAULTS, who, status, headers, body)
    try:
        return _answer(who, status, parsed)
    except (AttributeError, TypeError) as exc:
        # A number where an object should be, text where a list should: not worth a check a field.
        raise malformed(who, status, f"{status} with JSON of another shape ({exc})") from exc


def _answer(who: str, status: int, body: dict[str, Any]) -> Answer:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise malformed(who, status, f"{status} without any choice")
    choice = next((one for one in choices if isinstance(one, dict) and not one.get("index")), choices[0])
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise malformed(who, status, f"{status} with a choice that holds no message")
    if choice.get("error"):  # OpenRouter: the model failed half-way
        raise error_in_answer(FAULTS, who, status, choice)
    text, reasoning = read_content(message)
    calls = _tool_calls(who, status, message)
    refusal = as_text(message.get("refusal"))
    usage = read_usage(body.get("usage"), body.get("service_tier"))
    finish = choice.get("finish_reason") or ""
    if finish in FINISHES:
        raise failed_finish(who, status, finish)
    if not finish:
        if usage is None or not usage.output_tokens:
            raise malformed(who, status, f"{status} with a choice without a finish_reason: it may be cut")
        finish = "tool_calls" if calls else "stop"
    finish = FINISH_SPELLINGS.get(finish, as_text(finish))
    if finish == "content_filter" and not (text or calls or refusal):
        raise refused_answer(who, status)
    return Answer(
        text,
        finish,
        usage,
        calls,
        reasoning,
        refusal,
        as_text(body.get("model")),
        as_text(body.get("id")),
        body,
    )


def failed_finish(who: str, status: int, finish: str) -> ProviderError:
    """The error a `finish_reason` of `FINISHES` stands for."""
    error_class = FINISHES[finish]
    return EXCEPTIONS[error_class](
        f"{who} answered {status} and gave up: finish_reason {finish}",
        error_class,
        status=status,
        code=finish,
    )


def read_content(message: Mapping[str, Any]) -> tuple[str, str]:
    """Text and reasoning of a message or delta.

    `content` is a string, null, or parts: Mistral puts reasoning into parts of type ``thinking``. Others
    send it as `reasoning_content` (DeepSeek, vLLM) or `reasoning` (Groq, OpenRouter, Ollama). Of a spoken
    answer the text is the transcript.
    """
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(reasoning, str):
        reasoning = ""
    if isinstance(content, str):
        if content:
            return content, reasoning
    elif isinstance(content, list):
        texts: list[str] = []
        thoughts = [reasoning]
        for part in content:
            _read_part(part, texts, thoughts)
        return "".join(texts), "".join(thoughts)
    audio = message.get("audio")
    transcript = audio.get("transcript") if isinstance(audio, dict) else None
    return as_text(transcript), reasoning


def _read_part(part: Any, texts: list[str], thoughts: list[str]) -> None:
    if not isinstance(part, dict):
        return
    if part.get("type") == "thinking":
        inner = part.get("thinking")
        if isinstance(inner, str):
            thoughts.append(inner)
        elif isinstance(inner, list):
            thoughts.extend(as_text(piece.get("text")) for piece in inner if isinstance(piece, dict))
    elif isinstance(part.get("text"), str):
        texts.append(part["text"])


def read_arguments(function: Mapping[str, Any]) -> str:
    """Arguments of a function call (JSON text) or input of a custom one (any text).

    Servers that send the object itself instead of its text are put right.
    """
    arguments = function.get("arguments")
    if arguments is None:
        arguments = function.get("input")
    if arguments is None:
        return ""
    return as_json_text(arguments)


def read_extra(call: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a call bears beside its function and has to bear when it is sent back: Google's signature of a thought."""
    extra = call.get("extra_content")
    return {"extra_content": extra} if isinstance(extra, dict) and extra else None


def _tool_calls(who: str, status: int, message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    raw = message.get("tool_calls") or ()
    if not raw:
        legacy = message.get("function_call")
        if not legacy:
            return ()
        raw = [{"function": legacy}]
    calls = []
    for call in raw if isinstance(raw, list) else [raw]:
        function = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not (name := as_text(function.get("name"))):
            raise malformed(who, status, f"{status} with a tool call that names no tool")
        calls.append(ToolCall(as_text(call.get("id")), name, read_arguments(function), read_extra(call)))
    return tuple(calls)


def read_usage(raw: Any, service_tier: Any = None) -> Usage | None:
    """Token counts, in our convention: input with cached parts, output with reasoning.

    `service_tier` stands beside the counts and says at which tier they are billed.

    What `total_tokens` has beyond input and output is output too: xAI and Google's compatible endpoint leave
    reasoning out of `completion_tokens`.
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion = as_count(raw.get("prompt_tokens")), as_count(raw.get("completion_tokens"))
    total = as_count(raw.get("total_tokens"))
    if not (prompt or completion or total):
        return None
    before = raw.get("prompt_tokens_details")
    after = raw.get("completion_tokens_details")
    cached = written = reasoning = 0
    if isinstance(before, dict):
        cached, written = as_count(before.get("cached_tokens")), as_count(before.get("cache_write_tokens"))
    if isinstance(after, dict):
        reasoning = as_count(after.get("reasoning_tokens"))
    if not cached:  # DeepSeek's name, Mistral's name
        cached = as_count(raw.get("prompt_cache_hit_tokens")) or as_count(raw.get("num_cached_tokens"))
    output = max(completion, total - prompt)
    tier = service_tier if isinstance(service_tier, str) and service_tier else None
    return Usage(
        prompt, output, min(cached, prompt), min(written, prompt), 0, min(reasoning, output), service_tier=tier
    )
