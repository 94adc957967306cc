"""Bodies and streams in the true shapes of the OpenAI dialect, for the tests beside this file."""

import orjson

from resilio.models import Request
from resilio.providers.openai import OpenAICodec

CODEC = OpenAICodec("openai")
SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
DONE = b"data: [DONE]\n\n"

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 24, "audio_tokens": 0},
}


def completion(message=None, *, finish="stop", usage=USAGE, **more):
    """A whole chat completion with one choice."""
    message = {"role": "assistant", "content": "Grüße aus Köln.", "refusal": None, **(message or {})}
    return {
        "id": "chatcmpl-7Qy",
        "object": "chat.completion",
        "created": 1795430000,
        "model": "gpt-5-nano-2026-02-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
        "service_tier": "default",
        **more,
    }


def piece(delta=None, *, finish=None, index=0, **more):
    """One object of a stream with one choice."""
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-7Qz",
        "object": "chat.completion.chunk",
        "created": 1795430001,
        "model": "gpt-5-nano-2026-02-01",
        "choices": [choice],
        **more,
    }


def usage_piece(usage=USAGE):
    """The last object of a stream that was asked for usage."""
    return {**piece(), "choices": [], "usage": usage}


def event(body, end=b"\n"):
    """One object as an event."""
    return b"data: " + orjson.dumps(body) + end + end


def stream(*bodies, done=True):
    """Objects as the bytes of a stream."""
    return b"".join(event(body) for body in bodies) + (DONE if done else b"")


def tool_delta(index, *, id=None, name=None, arguments=""):  # noqa: A002 - the wire's own name
    """One fragment of a tool call, as a delta."""
    call = {"index": index, "function": {"arguments": arguments}}
    if id is not None:
        call |= {"id": id, "type": "function"}
    if name is not None:
        call["function"]["name"] = name
    return {"tool_calls": [call]}


TEXT_STREAM = stream(
    piece({"role": "assistant", "content": "", "refusal": None}, usage=None),
    piece({"content": "Grüß"}, usage=None),
    piece({"content": "e 🌍"}, usage=None),
    piece(finish="stop", usage=None),
    usage_piece(),
)
TOOL_STREAM = stream(
    piece({"role": "assistant", "content": None}),
    piece(tool_delta(0, id="call_a", name="get_weather")),
    piece(tool_delta(0, arguments='{"city": ')),
    piece(tool_delta(1, id="call_b", name="get_time")),
    piece(tool_delta(0, arguments='"Köln"}')),
    piece(tool_delta(1, arguments="{}")),
    piece(finish="tool_calls"),
    usage_piece(),
)
TWO_CHOICES_STREAM = stream(
    piece({"role": "assistant", "content": ""}, index=0),
    piece({"role": "assistant", "content": ""}, index=1),
    piece({"content": "left"}, index=0),
    piece({"content": "right"}, index=1),
    piece(finish="stop", index=0),
    piece({"content": "!"}, index=1),
    piece(finish="length", index=1),
)
AZURE_STREAM = stream(
    {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}],
    },
    piece({"role": "assistant", "content": ""}),
    piece({"content": "Capital"}),
    piece(finish="stop"),
)
REASONING_STREAM = b": OPENROUTER PROCESSING\n\n" * 3 + stream(
    piece({"role": "assistant", "content": None, "reasoning_content": ""}),
    piece({"content": None, "reasoning_content": "Two and two"}),
    piece({"reasoning": " make four."}),
    piece({"content": "4", "reasoning_content": None}),
    {
        **piece({"content": ""}, finish="stop"),
        "usage": {"prompt_tokens": 6, "completion_tokens": 12, "total_tokens": 18},
    },
)
REFUSAL_STREAM = stream(
    piece({"role": "assistant", "content": None, "refusal": ""}),
    piece({"refusal": "I cannot"}),
    piece({"refusal": " help."}),
    piece(finish="stop"),
)
CRLF_STREAM = TEXT_STREAM.replace(b"\n", b"\r\n")
NO_DONE_STREAM = TEXT_STREAM.removesuffix(DONE)

STREAMS = {
    "text": TEXT_STREAM,
    "tools": TOOL_STREAM,
    "two choices": TWO_CHOICES_STREAM,
    "azure": AZURE_STREAM,
    "reasoning": REASONING_STREAM,
    "refusal": REFUSAL_STREAM,
    "crlf": CRLF_STREAM,
    "no done": NO_DONE_STREAM,
}
"""Complete streams by what is special about them."""


def request(messages="Hello", **wire):
    """A request of one user message, or of the messages given."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return Request("chat", messages, wire)
