"""The formats that are checked: how each is recognised, which codec reads it, and what its own SDK reads.

To add one: a reader beside these, and a row in `FORMATS`. The SDKs are imported when a row is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from resilio.models import Answer
from resilio.providers import REGISTRY, Codec
from resilio.testing.recordings.exchange import Exchange

__all__ = ["FORMATS", "Format", "Reading", "reading_of"]


class Reading(NamedTuple):
    """What an answer says, in words that both sides share."""

    text: str
    tool_calls: tuple[tuple[str, Any], ...]
    """Names with arguments: an object, or the text where it is none."""
    finish: str
    input_tokens: int
    """The whole prompt, cached parts included; 0 where nothing was reported."""
    output_tokens: int


class Format(NamedTuple):
    """One row."""

    name: str
    codec: Codec
    matches: Callable[[Exchange], bool]
    read: Callable[[Exchange], Reading]
    """By the provider's own SDK; raises whatever that raises."""
    ends: Callable[[Mapping[str, Any]], bool]
    """Whether this object of a stream may end it: until the last such object has come, the stream is incomplete."""


def reading_of(answer: Answer) -> Reading:
    """What our codec reads."""
    calls = tuple((call.name, _arguments(call.arguments)) for call in answer.tool_calls)
    usage = answer.usage
    tokens = (usage.input_tokens, usage.output_tokens) if usage is not None else (0, 0)
    return Reading(answer.text, calls, answer.finish_reason, *tokens)


def _arguments(text: str) -> Any:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return text


# --- OpenAI chat completions ---------------------------------------------------------------------

_SPELLINGS: Final = {"model_length": "length", "eos": "stop", "end_turn": "stop", "max_tokens": "length"}


def _is_chat(exchange: Exchange) -> bool:
    if exchange.status >= 400:
        error = exchange.first.get("error")
        if not exchange.url:  # the shape tells: others' errors have no such field
            return isinstance(error, Mapping) and "param" in error
        return exchange.url.endswith(("/chat/completions", "/embeddings")) and error is not None
    kind = str(exchange.first.get("object") or "")
    return kind.startswith("chat.completion") or (not kind and isinstance(exchange.first.get("choices"), list))


def _read_chat(exchange: Exchange) -> Reading:
    from openai._models import construct_type
    from openai.lib.streaming.chat import ChatCompletionStreamState
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    read: Any
    if exchange.stream:
        state: Any = ChatCompletionStreamState()
        usage: Any = None
        for body in exchange.objects:
            chunk: Any = construct_type(type_=ChatCompletionChunk, value=body)
            state.handle_chunk(chunk)
            usage = chunk.usage or usage
        read = state.current_completion_snapshot
    else:
        read = construct_type(type_=ChatCompletion, value=exchange.first)
        usage = read.usage
    choice = next(each for each in read.choices if not each.index)
    message = choice.message
    content = message.content or ""
    if not isinstance(content, str):  # the SDK leaves Mistral's parts as they came
        content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
    calls = tuple((call.function.name, _arguments(call.function.arguments)) for call in message.tool_calls or ())
    prompt, written = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
    if usage and usage.total_tokens:  # what no other figure counts is reasoning
        written = max(written, usage.total_tokens - prompt)
    finish = choice.finish_reason or ""
    return Reading(content, calls, _SPELLINGS.get(finish, finish), prompt, written)


def _ends_chat(body: Mapping[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in body.get("choices") or ())


# --- Anthropic messages --------------------------------------------------------------------------

_STOPS: Final = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "tool_use": "tool_calls",
    "max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "content_filter",
}  # fmt: skip


def _is_messages(exchange: Exchange) -> bool:
    return exchange.first.get("type") in (("error",) if exchange.status >= 400 else ("message", "message_start"))


def _read_messages(exchange: Exchange) -> Reading:
    from anthropic._models import construct_type
    from anthropic.lib.streaming._messages import accumulate_event
    from anthropic.types import Message, RawMessageStreamEvent

    read: Any = None
    if exchange.stream:
        buffers: dict[int, bytes] = {}
        for body in exchange.objects:
            if body.get("type") != "ping":
                event: Any = construct_type(type_=RawMessageStreamEvent, value=body)
                read = accumulate_event(event=event, current_snapshot=read, json_bufs=buffers)
    else:
        read = construct_type(type_=Message, value=exchange.first)
    text = "".join(block.text for block in read.content if block.type == "text")
    calls = tuple((block.name, block.input) for block in read.content if block.type == "tool_use")
    usage = read.usage
    prompt = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Reading(text, calls, _STOPS.get(read.stop_reason, read.stop_reason), prompt, usage.output_tokens)


def _ends_messages(body: Mapping[str, Any]) -> bool:
    return body.get("type") == "message_delta" and bool(body["delta"].get("stop_reason"))


# --- Gemini generateContent ----------------------------------------------------------------------

_FINISHES: Final = {
    "STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter", "MODEL_ARMOR": "content_filter", "ESCALATION": "content_filter",
    "IMAGE_SAFETY": "content_filter", "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}  # fmt: skip
_METHODS: Final = (":generateContent", ":streamGenerateContent", ":streamGenerateContent?alt=sse")


def _is_generated(exchange: Exchange) -> bool:
    if exchange.status >= 400:
        return exchange.url.endswith(_METHODS)
    return isinstance(exchange.first.get("candidates"), list) or "promptFeedback" in exchange.first


def _read_generated(exchange: Exchange) -> Reading:
    """What the SDK reads; it raises nothing for an answer of which a filter left nothing, so this does."""
    from google.genai.types import GenerateContentResponse

    parts: list[Any] = []
    finish, prompt, written, words = "", 0, 0, ""
    for body in exchange.objects:
        # As the SDK does it: what its types do not name is left out, in place.
        read = GenerateContentResponse._from_response(response=copy.deepcopy(body), kwargs={})  # noqa: SLF001
        feedback = read.prompt_feedback
        if feedback is not None and feedback.block_reason:
            finish, words = "content_filter", feedback.block_reason_message or ""
        for candidate in read.candidates or ():
            if candidate.index:
                continue
            parts += (candidate.content and candidate.content.parts) or ()
            if candidate.finish_reason:
                finish = _FINISHES.get(candidate.finish_reason.value, candidate.finish_reason.value)
                words = candidate.finish_message or ""
        usage = read.usage_metadata
        if usage is not None and (usage.prompt_token_count or usage.candidates_token_count):
            prompt = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
            written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    text = "".join(part.text or "" for part in parts if not part.thought)
    calls = _calls_of([part.function_call for part in parts if part.function_call is not None])
    if finish == "content_filter" and not (text or calls or words):
        raise ValueError("a response of which a filter left nothing")
    return Reading(text, calls, "tool_calls" if calls and finish == "stop" else finish, prompt, written)


def _calls_of(pieces: list[Any]) -> tuple[tuple[str, Any], ...]:
    """Calls as the SDK's types tell them, with those that came in pieces put together by name."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for piece in pieces:
        if piece.name:
            calls.append((piece.name, dict(piece.args or {})))
        for part in piece.partial_args or ():
            name, given = part.json_path.removeprefix("$."), calls[-1][1]
            if part.string_value is not None:
                given[name] = given.get(name, "") + part.string_value
            else:
                given[name] = part.bool_value if part.number_value is None else part.number_value
    return tuple(calls)


def _ends_generated(body: Mapping[str, Any]) -> bool:
    return any(candidate.get("finishReason") for candidate in body.get("candidates") or ())


# --- OpenAI responses ----------------------------------------------------------------------------

_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


def _is_response(exchange: Exchange) -> bool:
    if exchange.status >= 400:
        return exchange.url.partition("?")[0].endswith("/responses") and "error" in exchange.first
    first = exchange.first
    return first.get("object") == "response" or str(first.get("type")).startswith("response.")


def _read_response(exchange: Exchange) -> Reading:
    from openai import omit
    from openai._models import construct_type
    from openai.lib.streaming.responses._responses import ResponseStreamState
    from openai.types.responses import Response, ResponseStreamEvent

    read: Any
    if exchange.stream:
        state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
        ends: list[Any] = []
        for body in exchange.objects:
            event: Any = construct_type(type_=ResponseStreamEvent, value=body)
            told = state.handle_event(event)
            ends += [each.response for each in told if each.type in _RESPONSE_ENDS]
        read = ends[-1]
    else:
        read = construct_type(type_=Response, value=exchange.first)
    if read.status not in ("completed", "incomplete"):
        raise ValueError(f"status {read.status}: {read.error}")
    calls = tuple(
        (item.name, _arguments(item.arguments if item.type == "function_call" else item.input))
        for item in read.output
        if item.type in ("function_call", "custom_tool_call")
    )
    details = read.incomplete_details
    reason = details.reason if details else "stop"
    finish = {"max_output_tokens": "length", "max_messages": "length"}.get(reason, reason)
    tokens = (read.usage.input_tokens, read.usage.output_tokens) if read.usage else (0, 0)
    return Reading(read.output_text, calls, "tool_calls" if calls and finish == "stop" else finish, *tokens)


def _ends_response(body: Mapping[str, Any]) -> bool:
    return body.get("type") in _RESPONSE_ENDS


FORMATS: Final = (
    Format("openai-chat", REGISTRY["openai"], _is_chat, _read_chat, _ends_chat),
    Format("anthropic", REGISTRY["anthropic"], _is_messages, _read_messages, _ends_messages),
    Format("gemini", REGISTRY["gemini"], _is_generated, _read_generated, _ends_generated),
    Format("openai-responses", REGISTRY["responses"], _is_response, _read_response, _ends_response),
)
