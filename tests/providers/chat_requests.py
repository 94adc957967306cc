"""Fifty requests of OpenAI's shape, as programs send them: every codec has to write each of them, or say what is lost.

By name: the messages, the other wire fields, and (for whoever cares) nothing about any provider.
"""

import base64
import copy
from collections.abc import Iterable

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(41)).decode()
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
TOOLS = [WEATHER, CLOCK]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}


def call(id, name, arguments):  # noqa: A002 - the wire's own name
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def text(words, **more):
    return {"type": "text", "text": words, **more}


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


ASKED = {"role": "user", "content": "Weather in Köln and Oslo, and the time?"}
CALLS = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [
        call("call_1", "get_weather", '{"city": "Köln"}'),
        call("call_2", "get_weather", '{"city": "Oslo"}'),
        call("call_3", "get_time", ""),
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"},
    {"role": "tool", "tool_call_id": "call_2", "content": [text("3 degrees")]},
    {"role": "tool", "tool_call_id": "call_3", "content": "noon"},
]
LOOP = [ASKED, CALLS, *RESULTS]
SYSTEM = {"role": "system", "content": "Be brief."}

REQUESTS = {
    "hello": (HELLO, {}),
    "system": ([SYSTEM, *HELLO], {}),
    "developer": ([{"role": "developer", "content": "Be brief."}, *HELLO], {}),
    "two system messages": ([SYSTEM, {"role": "developer", "content": "In German."}, *HELLO], {}),
    "late system message": ([*HELLO, {"role": "assistant", "content": "Hi"}, SYSTEM, *HELLO], {}),
    "system in parts": ([{"role": "system", "content": [text("Be"), text("brief.")]}, *HELLO], {}),
    "cached system": (
        [{"role": "system", "content": [text("Long.", cache_control={"type": "ephemeral"})]}, *HELLO],
        {},
    ),
    "turns": ([*HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "More"}], {}),
    "neighbours": ([*HELLO, {"role": "user", "content": "Anyone?"}], {}),
    "assistant first": ([{"role": "assistant", "content": "Welcome."}, *HELLO], {}),
    "prefill": ([*HELLO, {"role": "assistant", "content": "The answer is "}], {}),
    "text parts": (user(text("One"), text("two")), {}),
    "blank parts": (user(text(""), text("two"), text("  ")), {}),
    "image by url": (user(text("What?"), image("https://a.test/x.jpg")), {}),
    "image in base64": (user(text("What?"), image(f"data:image/png;base64,{PNG}")), {}),
    "two images": (user(image(f"data:image/png;base64,{PNG}"), image("https://a.test/y.gif", detail="high")), {}),
    "pdf": (
        user(
            text("Sum up."),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        ),
        {},
    ),
    "pdf by url": (user({"type": "file", "file": {"file_url": "https://a.test/a.pdf"}}), {}),
    "text file": (user({"type": "file", "file": {"file_data": "data:text/plain;base64,aGVsbG8="}}), {}),
    "tools": (HELLO, {"tools": TOOLS}),
    "tools chosen freely": (HELLO, {"tools": TOOLS, "tool_choice": "auto"}),
    "a tool required": (HELLO, {"tools": TOOLS, "tool_choice": "required"}),
    "no tool": (HELLO, {"tools": TOOLS, "tool_choice": "none"}),
    "a tool named": (
        HELLO,
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "get_time"}}},
    ),
    "tools allowed": (
        HELLO,
        {
            "tools": TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_time"}}]},
            },
        },
    ),
    "one tool at a time": (HELLO, {"tools": TOOLS, "parallel_tool_calls": False}),
    "strict tool": (HELLO, {"tools": [{**CLOCK, "function": {**CLOCK["function"], "strict": True}}]}),
    "older functions": (HELLO, {"functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}}),
    "tool loop": (LOOP, {"tools": TOOLS}),
    "tool loop goes on": ([*LOOP, {"role": "user", "content": "Thanks"}], {"tools": TOOLS}),
    "second round": (
        [
            *LOOP,
            {"role": "assistant", "tool_calls": [call("call_4", "get_time", "{}")], "content": None},
            {"role": "tool", "tool_call_id": "call_4", "content": "one"},
        ],
        {"tools": TOOLS},
    ),
    "broken arguments": (
        [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [call("c", "get_weather", '{"city": "K')]},
            {"role": "tool", "tool_call_id": "c", "content": "error"},
        ],
        {"tools": TOOLS},
    ),
    "foreign ids": (
        [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [call("a.b:c/1", "get_time", "{}")]},
            {"role": "tool", "tool_call_id": "a.b:c/1", "content": ""},
        ],
        {"tools": TOOLS},
    ),
    "image as a result": (
        [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [call("c", "get_weather", "{}")]},
            {"role": "tool", "tool_call_id": "c", "content": [text("A map"), image(f"data:image/png;base64,{PNG}")]},
        ],
        {"tools": TOOLS},
    ),
    "older function result": (
        [
            ASKED,
            {"role": "assistant", "content": None, "function_call": {"name": "get_time", "arguments": "{}"}},
            {"role": "function", "name": "get_time", "content": "noon"},
        ],
        {"functions": [CLOCK["function"]]},
    ),
    "json schema": (HELLO, {"response_format": JSON_SCHEMA}),
    "json schema and tools": (HELLO, {"response_format": JSON_SCHEMA, "tools": TOOLS}),
    "plain text asked for": (HELLO, {"response_format": {"type": "text"}}),
    "max tokens": (HELLO, {"max_tokens": 100}),
    "max completion tokens": (HELLO, {"max_completion_tokens": 100}),
    "one stop": (HELLO, {"stop": "END"}),
    "stops": (HELLO, {"stop": ["END", "STOP"]}),
    "user": (HELLO, {"user": "u-1"}),
    "safety identifier": (HELLO, {"safety_identifier": "hash", "metadata": {"team": "a"}, "store": False}),
    "low effort": (HELLO, {"reasoning_effort": "low", "max_tokens": 8192}),
    "high effort": (HELLO, {"reasoning_effort": "high", "max_tokens": 64000}),
    "no effort": (HELLO, {"reasoning_effort": "none"}),
    "service tier": (HELLO, {"service_tier": "auto"}),
    "neutral values": (
        HELLO,
        {"n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "seed": None},
    ),
    "stream options": (HELLO, {"stream": True, "stream_options": {"include_usage": True}}),
    "refusal kept": ([*HELLO, {"role": "assistant", "content": None, "refusal": "No."}, *HELLO], {}),
}

LOSSY = {
    "temperature": (HELLO, {"temperature": 0.5}),
    "hot": (HELLO, {"temperature": 1.5}),
    "top_p": (HELLO, {"top_p": 0.9}),
    "seed": (HELLO, {"seed": 7}),
    "several answers": (HELLO, {"n": 3}),
    "logprobs": (HELLO, {"logprobs": True, "top_logprobs": 5}),
    "penalties": (HELLO, {"frequency_penalty": 0.5, "presence_penalty": 0.5}),
    "logit bias": (HELLO, {"logit_bias": {"50256": -100}}),
    "json object": (HELLO, {"response_format": {"type": "json_object"}}),
    "verbosity": (HELLO, {"verbosity": "low"}),
    "blank stop": (HELLO, {"stop": ["END", " "]}),
    "named speaker": ([{"role": "user", "name": "Ann", "content": "Hello"}], {}),
    "low detail": (user(image("https://a.test/x.jpg", detail="low")), {}),
    "sound": (user(text("What?"), {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}), {}),
    "file by id": (user({"type": "file", "file": {"file_id": "file-abc"}}), {}),
    "custom tool": (HELLO, {"tools": [{"type": "custom", "custom": {"name": "sql"}}]}),
}
"""Likewise, with something that not every dialect can say."""


def as_validated(adapter, made):
    """What the SDK's types make of a body, as plain JSON: what they do not name is missing in it, at any depth.

    Pydantic judges an ``Iterable``, which most lists of the SDKs are, only as it is walked.
    """
    return _walked(adapter.validate_python(copy.deepcopy(made)))


def _walked(value):
    if isinstance(value, dict):
        return {name: _walked(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_walked(each) for each in value]
    return value


def without(value, *names):
    """The same JSON without these fields, at any depth."""
    if isinstance(value, dict):
        return {name: without(each, *names) for name, each in value.items() if name not in names}
    return [without(each, *names) for each in value] if isinstance(value, list) else value
