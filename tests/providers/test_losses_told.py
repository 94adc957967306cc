"""Nothing is lost without a word: each field and each part is in the body, or told of, or listed here as a hint."""

import base64
import json

import pytest
from chat_requests import HELLO, JSON_SCHEMA, TOOLS, call
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import TargetSettings
from resilio.models import Request
from resilio.providers.anthropic import AnthropicCodec
from resilio.providers.gemini import GeminiCodec
from resilio.providers.responses import ResponsesCodec

CODECS = {
    "anthropic": (AnthropicCodec(), "claude-sonnet-4-5"),
    "gemini": (GeminiCodec(), "gemini-3-pro-preview"),
    "responses": (ResponsesCodec(name="gpt"), "gpt-5.6"),
}
EACH = pytest.mark.parametrize("kind", CODECS)

HINTS = {"metadata", "prediction", "store", "stream", "stream_options", "user", "prompt_cache_key", "safety_identifier"}
"""Fields that change no answer, so that any dialect may leave them out."""
ASKS_NOTHING = {
    "n": [1], "frequency_penalty": [], "presence_penalty": [], "logit_bias": [], "modalities": [["text"]], "stop": [],
    "tools": [], "functions": [], "logprobs": [], "top_logprobs": [], "response_format": [{"type": "text"}],
    "service_tier": ["auto"], "parallel_tool_calls": [True], "tool_choice": ["auto", "none"],
    "function_call": ["auto", "none"], "generation_config": [], "reasoning": [], "text": [], "include": [],
}  # fmt: skip
"""Values that ask for what is done anyway: with no tool to call, also those that speak of tools.
What is empty or false asks for none of these."""
FIELDS = (
    *HINTS, *ASKS_NOTHING, "audio", "include", "instructions", "max_completion_tokens", "max_tokens", "reasoning",
    "reasoning_effort", "seed", "system", "temperature", "text", "thinking", "top_k", "top_p", "verbosity",
    "web_search_options", "wobble",
)  # fmt: skip
NONSENSE = st.recursive(
    st.booleans()
    | st.integers(-3, 40)
    | st.floats(0, 2)
    | st.sampled_from(["", "x", "low", "none", "auto", "required"]),
    lambda its: st.lists(its, max_size=2) | st.dictionaries(st.sampled_from(["type", "name", "x"]), its, max_size=2),
    max_leaves=4,
)
SENSE = st.sampled_from([
    TOOLS, [{"name": "f"}], JSON_SCHEMA, {"type": "json_schema"}, {"type": "json_object"}, {"type": "grammar"},
    {"type": "function", "function": {"name": "get_time"}}, ["\n", "END"], {"effort": "low"}, "high", "flex",
])  # fmt: skip


def translated(kind, messages, wire):
    """The body, and the losses."""
    codec, model = CODECS[kind]
    request, target = Request("chat", messages, wire), TargetSettings(provider="a", model=model)
    made = codec.encode(
        request, target, base_url="https://a.test", key=None, headers={}, stream=False, max_output_tokens=None
    )
    return json.loads(made.body), codec.unsupported(request, target, max_output_tokens=None)


@EACH
@given(st.sampled_from(sorted(FIELDS)), NONSENSE | SENSE, st.booleans())
def test_a_field_is_sent_or_told_of_or_asks_for_nothing(kind, name, value, with_tools):
    base = {"tools": TOOLS} if with_tools and name not in ("tools", "functions") else {}
    before, _ = translated(kind, HELLO, base)
    after, losses = translated(kind, HELLO, {**base, name: value})
    told = any(loss.path.startswith(name) for loss in losses)
    quiet = name in ASKS_NOTHING and (not value or value in ASKS_NOTHING[name])
    assert after != before or told or quiet or name in HINTS


MARK = "mark7"
SEALED = base64.b64encode(b"mark7mark7mark").decode().rstrip("=")
SEALED += "=" * (-len(SEALED) % 4)
PARTS = st.sampled_from([
    MARK, 7, None, {"text": MARK}, {"type": "hologram", "hologram": MARK}, {"type": ["text"], "text": MARK},
    {"type": "text", "text": MARK}, {"type": "text", "text": [MARK]}, {"type": "refusal", "refusal": MARK},
    {"type": "image_url", "image_url": {"url": f"https://a.test/{MARK}.png"}}, {"type": "image_url", "image_url": MARK},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SEALED}"}},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SEALED}!"}},
    {"type": "image_url", "image_url": {"url": f"http://a.test/{MARK}.png"}},
    {"type": "image", "source": {"type": "url", "url": f"https://a.test/{MARK}.png"}},
    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{SEALED}", "filename": MARK}},
    {"type": "file", "file": {"file_data": f"data:application/zip;base64,{SEALED}", "filename": MARK}},
    {"type": "file", "file": {"file_id": f"file-{MARK}"}}, {"type": "file", "file": {"file_id": f"file_{MARK}"}},
    {"type": "file", "file": {"file_url": f"https://a.test/{MARK}.pdf"}}, {"type": "file", "file": MARK},
    {"type": "input_audio", "input_audio": {"data": SEALED, "format": "wav"}}, {"type": "input_audio"},
    {"type": "video_url", "video_url": {"url": f"https://a.test/{MARK}.mp4"}},
    {"type": "document", "source": {"type": "text", "data": MARK}}, {"type": "thinking", "thinking": MARK},
])  # fmt: skip
LOOKING = {"role": "assistant", "content": None, "tool_calls": [call("c1", "get_time", "{}")]}
ROLES = {
    "system": [], "developer": [], "user": [], "assistant": [], "tool": [LOOKING],
}  # fmt: skip


@EACH
@given(st.sampled_from(sorted(ROLES)), PARTS)
def test_a_part_is_sent_or_told_of_as_needed(kind, role, part):
    before = [*HELLO, *ROLES[role]]
    message = {"role": role, "content": [part], **({"tool_call_id": "c1"} if role == "tool" else {})}
    made, losses = translated(kind, [*before, message], {})
    sent = any(mark in json.dumps(made) for mark in (MARK, SEALED))
    told = [loss for loss in losses if loss.needed and loss.path.startswith(f"messages[{len(before)}]")]
    assert sent or told


MESSAGES = {
    "words": {"content": MARK},
    "a refusal": {"content": None, "refusal": MARK},
    "a call": {"tool_calls": [call("c1", "f", json.dumps({"a": MARK}))]},
    "a call with an object": {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": MARK}}}]},
    "a call of any text": {"tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "f", "input": MARK}}]},
    "an older call": {"function_call": {"name": MARK, "arguments": "{}"}},
    "a call of nothing": {"tool_calls": [{"id": "c1", "function": {"arguments": MARK}}]},
    "calls that are no list": {"tool_calls": {"id": MARK}},
    "sound by its name": {"content": None, "audio": {"id": MARK}},
    "sound and its words": {"content": None, "audio": {"id": "x", "transcript": MARK}},
    "words that are none": {"content": {"text": MARK}},
}


ASSISTANTS = ("a refusal", "sound by its name", "sound and its words")


@EACH
@pytest.mark.parametrize(
    ("role", "name"),
    [*(("assistant", name) for name in MESSAGES), *(("user", name) for name in MESSAGES if name not in ASSISTANTS)],
)
def test_a_message_is_sent_or_told_of_as_needed(kind, role, name):
    made, losses = translated(kind, [*HELLO, {"role": role, **MESSAGES[name]}], {})
    told = [loss for loss in losses if loss.needed and loss.path.startswith("messages[1]")]
    assert MARK in json.dumps(made) or told


@EACH
@pytest.mark.parametrize(
    ("wire", "path"),
    [
        ({"max_tokens": "7"}, "max_tokens"),
        ({"max_completion_tokens": 7.5}, "max_completion_tokens"),
        ({"tools": "x"}, "tools"),
        ({"tools": {"a": 1}}, "tools"),
        ({"functions": "x"}, "functions"),
        ({"functions": [{"name": "f"}], "tools": TOOLS}, "functions"),
        ({"function_call": 7}, "function_call"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]},
         "tools[0].function.parameters"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"reasoning_effort": 7}, "reasoning_effort"),
        ({"stop": 0}, "stop"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": "many"}, "top_logprobs"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_told_of(kind, wire, path):
    _, losses = translated(kind, HELLO, wire)
    assert [loss.path for loss in losses] == [path]
