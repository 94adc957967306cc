"""Bodies and streams in the true shapes of the Responses API, for the tests beside this file."""

import orjson

from resilio.providers.responses import ResponsesCodec

CODEC = ResponsesCodec(name="gpt")
SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 30},
    "output_tokens": 40,
    "output_tokens_details": {"reasoning_tokens": 24},
    "total_tokens": 140,
}


def text(words):
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def refusal(words):
    return {"type": "refusal", "refusal": words}


def message(*parts, id="msg_1", **more):  # noqa: A002 - the wire's own name
    return {"id": id, "type": "message", "role": "assistant", "status": "completed", "content": list(parts), **more}


def reasoning(*summary, id="rs_1", sealed="gAAAAx", **more):  # noqa: A002
    parts = [{"type": "summary_text", "text": words} for words in summary]
    return {"id": id, "type": "reasoning", "summary": parts, "encrypted_content": sealed, **more}


def function(call_id, name, arguments):
    return {
        "id": f"fc_{call_id}", "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments,
        "status": "completed",
    }  # fmt: skip


def custom(call_id, name, given):
    return {"id": f"ctc_{call_id}", "type": "custom_tool_call", "call_id": call_id, "name": name, "input": given}


def response(*output, status="completed", reason=None, usage=USAGE, **more):
    """A whole response."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_795_430_000,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": "gpt-5.6",
        "output": list(output),
        "parallel_tool_calls": True,
        "service_tier": "default",
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
        **more,
    }


def failed(code, words, **more):
    return response(status="failed", usage=None, error={"code": code, "message": words, **more})


def started(kind="response.created"):
    return {"type": kind, "response": response(status="in_progress", usage=None)}


def pieces(words, size):
    return [words[at : at + size] for at in range(0, len(words), size)]


def grown(index, item, size=7):
    """An item as events, its text in pieces of this size."""
    kind, its = item["type"], {"output_index": index, "item_id": item["id"]}
    if kind == "message":
        yield added(index, {**item, "content": [], "status": "in_progress"})
        for place, part in enumerate(item["content"]):
            field = "refusal" if part["type"] == "refusal" else "text"
            event = f"response.{'refusal' if field == 'refusal' else 'output_text'}"
            where = {**its, "content_index": place}
            yield {"type": "response.content_part.added", **where, "part": {**part, field: ""}}
            more = {} if field == "refusal" else {"logprobs": []}
            for piece in pieces(part[field], size):
                yield {"type": f"{event}.delta", **where, "delta": piece, **more}
            yield {"type": f"{event}.done", **where, field: part[field], **more}
            yield {"type": "response.content_part.done", **where, "part": part}
    elif kind == "reasoning":
        yield added(index, {**item, "summary": [], "content": [], "encrypted_content": ""})
        for place, part in enumerate(item.get("content") or ()):
            where = {**its, "content_index": place}
            for piece in pieces(part["text"], size):
                yield {"type": "response.reasoning_text.delta", **where, "delta": piece}
            yield {"type": "response.reasoning_text.done", **where, "text": part["text"]}
        for place, part in enumerate(item["summary"]):
            where = {**its, "summary_index": place}
            yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
            for piece in pieces(part["text"], size):
                yield {"type": "response.reasoning_summary_text.delta", **where, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **where, "text": part["text"]}
    elif kind == "function_call":
        yield added(index, {**item, "arguments": "", "status": "in_progress"})
        for piece in pieces(item["arguments"], size):
            yield {"type": "response.function_call_arguments.delta", **its, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **its, "arguments": item["arguments"]}
    elif kind == "custom_tool_call":
        yield added(index, {**item, "input": ""})
        for piece in pieces(item["input"], size):
            yield {"type": "response.custom_tool_call_input.delta", **its, "delta": piece}
        yield {"type": "response.custom_tool_call_input.done", **its, "input": item["input"]}
    else:
        yield added(index, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def added(index, item):
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def ended(whole):
    return {"type": f"response.{whole['status']}", "response": whole}


def events_of(whole, size=7):
    """A whole response as the events it would have been."""
    yield started()
    yield started("response.in_progress")
    for index, item in enumerate(whole["output"]):
        yield from grown(index, item, size)
    yield ended(whole)


def stream(*bodies, named=True):
    """Events with their sequence numbers; `named`: each with a line that says its type, as real ones have."""
    frames = []
    for number, body in enumerate(bodies):
        name = b"event: " + body["type"].encode() + b"\n" if named else b""
        frames.append(name + b"data: " + orjson.dumps({"sequence_number": number, **body}) + b"\n\n")
    return b"".join(frames)


WEATHER = function("call_1", "get_weather", '{"city":"Köln","days":[1,2]}')
CLOCK = function("call_2", "get_time", "{}")
SQL = custom("call_3", "sql", "SELECT 1")
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}

RESPONSES = {
    "text": response(message(text("Grüße aus Köln 🌍."))),
    "two texts": response(message(text("One. "), text("Two.")), message(text(" Three."), id="msg_2")),
    "empty": response(message(text(""))),
    "no words": response(reasoning("Hm."), status="incomplete", reason="max_output_tokens"),
    "nothing": response(status="incomplete", reason="max_output_tokens"),
    "length": response(message(text("Cut he")), status="incomplete", reason="max_output_tokens"),
    "filtered": response(message(text("Well, ")), status="incomplete", reason="content_filter"),
    "steered": response(message(text("Well, ")), status="incomplete", reason="steered"),
    "tools": response(message(text("Let me look.")), WEATHER, CLOCK),
    "cut call": response(function("call_1", "f", '{"city": "K'), status="incomplete", reason="max_output_tokens"),
    "custom": response(SQL),
    "reasoning": response(reasoning("Two and two…"), message(text("4"))),
    "reasoning and tools": response(reasoning("First.", "Then."), message(text("Look:"), phase="commentary"), WEATHER),
    "silent reasoning": response(reasoning(), message(text("4"))),
    "open reasoning": response(
        reasoning(content=[{"type": "reasoning_text", "text": "Hm, hm."}], sealed=None), message(text("4"))
    ),
    "search": response(SEARCH, message(text("Found it."))),
    "refusal": response(message(refusal("Not this."))),
    "refusal after text": response(message(text("Well. "), refusal("No."))),
    "no usage": response(message(text("x")), usage=None),
}
