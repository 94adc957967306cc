"""Bodies and streams in the true shapes of Anthropic's dialect, for the tests beside this file."""

import json

import orjson

from resilio.providers.anthropic import AnthropicCodec

CODEC = AnthropicCodec()
SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}

USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 40,
    "output_tokens_details": {"thinking_tokens": 24},
    "service_tier": "standard",
}
START_USAGE = {**USAGE, "output_tokens": 1}


def text(words):
    return {"type": "text", "text": words}


def tool(id, name, input):  # noqa: A002 - the wire's own names
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def thinking(words, signature="c2ln"):
    return {"type": "thinking", "thinking": words, "signature": signature}


def message(*content, stop="end_turn", usage=USAGE, **more):
    """A whole message."""
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
        **more,
    }


def event(body):
    """One event, with the blanks that real ones have after the JSON."""
    return b"event: " + body["type"].encode() + b"\ndata: " + orjson.dumps(body) + b"   \n\n"


def start(**more):
    return {"type": "message_start", "message": message(stop=None, usage=START_USAGE, **more)}


def opened(index, block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, **its):
    return {"type": "content_block_delta", "index": index, "delta": its}


def closed(index):
    return {"type": "content_block_stop", "index": index}


def stopped(stop="end_turn", usage=None, **more):
    inner = {"stop_reason": stop, "stop_sequence": None, **more}
    return {"type": "message_delta", "delta": inner, "usage": usage or {"output_tokens": 40}}


STOP = {"type": "message_stop"}
PING = {"type": "ping"}


def streamed(index, block, size=7):
    """A block as events, in pieces of this size."""
    kind = block["type"]
    if kind == "text":
        yield opened(index, text(""))
        yield from (delta(index, type="text_delta", text=each) for each in pieces(block["text"], size))
    elif kind == "thinking":
        yield opened(index, thinking("", ""))
        yield from (delta(index, type="thinking_delta", thinking=each) for each in pieces(block["thinking"], size))
        yield delta(index, type="signature_delta", signature=block["signature"])
    elif kind in ("tool_use", "server_tool_use"):
        yield opened(index, {**block, "input": {}})
        written = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
        yield from (delta(index, type="input_json_delta", partial_json=each) for each in ["", *pieces(written, size)])
    else:
        yield opened(index, block)
    yield closed(index)


def pieces(words, size):
    return [words[at : at + size] for at in range(0, len(words), size)]


def events_of(whole, size=7):
    """A whole message as the events it would have been."""
    yield start()
    yield PING
    for index, block in enumerate(whole["content"]):
        yield from streamed(index, block, size)
    details = {"stop_details": whole["stop_details"]} if whole.get("stop_details") else {}
    yield stopped(whole["stop_reason"], whole["usage"], **details)
    yield STOP


def stream(*bodies):
    return b"".join(map(event, bodies))


WEATHER = tool("toolu_1", "get_weather", {"city": "Köln", "days": [1, 2]})
CLOCK = tool("toolu_2", "get_time", {})
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
REFUSED = {"type": "refusal", "category": "cyber", "explanation": "Not this."}

MESSAGES = {
    "text": message(text("Grüße aus Köln 🌍.")),
    "two texts": message(text("One. "), text("Two.")),
    "empty": message(),
    "length": message(text("Cut he"), stop="max_tokens"),
    "window": message(text("Full"), stop="model_context_window_exceeded"),
    "stop sequence": message(text("One"), stop="stop_sequence"),
    "tools": message(text("Let me look."), WEATHER, CLOCK, stop="tool_use"),
    "thinking": message(thinking("Two and two…"), text("4")),
    "thinking and tools": message(
        thinking("Hm."), {"type": "redacted_thinking", "data": "ZGF0YQ=="}, text("Look:"), WEATHER, stop="tool_use"
    ),
    "search": message(SEARCH, FOUND, text("Found it."), stop="end_turn"),
    "pause": message(SEARCH, text("Wait"), stop="pause_turn"),
    "refusal": message(stop="refusal", stop_details=REFUSED),
    "late refusal": message(text("Well, "), stop="refusal", stop_details=REFUSED),
}
