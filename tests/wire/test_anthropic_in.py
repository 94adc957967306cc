"""Requests of Anthropic's own callers: sent to Anthropic as they were written, and to others in their words."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers.chat_requests import HELLO, PNG, REQUESTS

from resilio.config import TargetSettings
from resilio.models import Request
from resilio.providers import REGISTRY
from resilio.providers.anthropic import AnthropicCodec
from resilio.providers.openai import OpenAICodec
from resilio.wire import NotMessages, fault_of, read_messages

CACHED = {"type": "ephemeral", "ttl": "1h"}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Köln"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "8 °C"}
TOOL = {"name": "get_weather", "description": "Weather.", "input_schema": {"type": "object", "properties": {}}}
PDF_SOURCE = {"type": "base64", "media_type": "application/pdf", "data": PNG}
KEPT = {"type": "image", "source": {"type": "file", "file_id": "file_1"}, "cache_control": CACHED}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def text(words, **more):
    return {"type": "text", "text": words, **more}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def asked(*messages, **more):
    return {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": list(messages) or [user(text("Hi"))], **more}


def sent(codec, body, base_url="https://api.openai.com/v1"):
    """What a target of this codec is sent, and what is lost on the way."""
    read = read_messages(body)
    request = Request(read.model, read.messages, read.wire)
    target = TargetSettings(provider="a", model=read.model)
    made = codec.encode(
        request, target, base_url=base_url, key="sk", headers={}, stream=read.stream, max_output_tokens=None,
    )  # fmt: skip
    return json.loads(made.body), [its.path for its in codec.unsupported(request, target, max_output_tokens=None)]


def to_anthropic(body):
    return sent(AnthropicCodec(), body)


def to_openai(body):
    return sent(OpenAICodec("openai"), body)


LOSSLESS = {
    "plain": asked(),
    "sampling": asked(model="claude-opus-4-0", temperature=0.2, top_p=0.9, top_k=5, stop_sequences=["END"],
                      service_tier="standard_only"),
    "system": asked(system="Be brief."),
    "system in blocks": asked(system=[text("Long.", cache_control=CACHED), text("Short.")]),
    "user": asked(metadata={"user_id": "u1"}, stream=True),
    "tools": asked(tools=[TOOL, {**TOOL, "name": "b", "strict": True, "cache_control": CACHED}],
                   tool_choice={"type": "any", "disable_parallel_tool_use": True}),
    "one tool": asked(tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"}),
    "no tool": asked(tools=[TOOL], tool_choice={"type": "none"}),
    "tools of its own": asked(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
                                     {**TOOL, "defer_loading": True}]),
    "a loop": asked(user(text("Hi")), assistant(text("Let me look."), CALL), user(RESULT, text("And?"))),
    "a loop with thinking": asked(
        user(text("Hi")), assistant(SIGNED, {"type": "redacted_thinking", "data": "ZA=="}, text("Look."), CALL),
        user({**RESULT, "is_error": True, "cache_control": CACHED, "content": [text("8 °C"), PICTURE]}),
        tools=[TOOL], thinking={"type": "enabled", "budget_tokens": 5000}, max_tokens=9000,
    ),
    "adaptive": asked(thinking={"type": "adaptive"}, output_config={"effort": "max"}),
    "effort": asked(output_config={"effort": "low"}),
    "not thinking": asked(thinking={"type": "disabled"}),
    "schema": asked(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}),
    "pictures": asked(user(PICTURE, {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
                           KEPT)),
    "documents": asked(user(
        {"type": "document", "title": "a.pdf", "citations": {"enabled": True}, "context": "old",
         "cache_control": CACHED,
         "source": PDF_SOURCE},
        {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": "c"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}, "title": "d"},
        {"type": "search_result", "source": "s", "title": "t", "content": [text("x")]},
    )),
    "its own fields": asked(cache_control=CACHED, container="c", context_management={"edits": []}, speed="fast",
                            mcp_servers=[{"type": "url", "name": "m", "url": "https://m"}]),
    "search results": asked(
        user(text("Hi")), assistant({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
                                    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
                                    text("Found.", citations=[{"type": "x"}])), user(text("More")),
    ),
    "cached turns": asked(user(text("Hi", cache_control=CACHED)), assistant(text("Yes.", cache_control=CACHED)),
                          user(text("Go on"))),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSLESS)
def test_anthropic_is_sent_what_its_caller_wrote(name):
    body = LOSSLESS[name]
    made, lost = to_anthropic(body)
    assert made == body
    assert lost == []


@pytest.mark.parametrize("name", REQUESTS)
def test_what_anthropic_would_be_sent_is_read_back_as_the_same(name):
    messages, wire = REQUESTS[name][:2]
    codec, target = AnthropicCodec(), TargetSettings(provider="a", model="claude-sonnet-5-5")
    first = codec.encode(
        Request("chat", messages, wire), target, base_url="https://a", key="sk", headers={}, stream=False,
        max_output_tokens=None,
    )  # fmt: skip
    body = json.loads(first.body)
    made, lost = to_anthropic(body)
    for message in (*made["messages"], *body["messages"]):  # OpenAI's files have to have a name
        for block in message["content"]:
            if block["type"] == "document":
                block.pop("title", None)
    assert made == body
    assert lost == []


@st.composite
def conversations(draw):
    """Turns that alternate, with calls and their results."""
    words = st.text("abc äö", min_size=1, max_size=5).filter(str.strip)
    turns, open_calls = [], []
    for place in range(draw(st.integers(1, 5))):
        if place % 2 == 0:
            blocks = [{"type": "tool_result", "tool_use_id": each, "content": draw(words)} for each in open_calls]
            rest = [text(each) for each in draw(st.lists(words, min_size=0 if blocks else 1, max_size=2))]
            turns.append(user(*blocks, *rest))
            continue
        blocks = [SIGNED] if draw(st.booleans()) else []
        blocks += [text(each) for each in draw(st.lists(words, min_size=1, max_size=2))]
        open_calls = [f"toolu_{place}_{number}" for number in range(draw(st.integers(0, 2)))]
        given = st.dictionaries(words, words, max_size=2)
        blocks += [{"type": "tool_use", "id": each, "name": "f", "input": draw(given)} for each in open_calls]
        turns.append(assistant(*blocks))
    if turns[-1]["role"] == "assistant":
        turns.append(user(*[{"type": "tool_result", "tool_use_id": each, "content": "x"} for each in open_calls],
                          text("end")))  # fmt: skip
    return turns


@given(conversations())
def test_any_conversation_reaches_anthropic_as_it_was(turns):
    assert to_anthropic(asked(*turns)) == (asked(*turns), [])


def test_text_alone_may_be_written_without_blocks():
    read = read_messages(asked({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"},
                               {"role": "user", "content": "Go on"}, system="S"))  # fmt: skip
    assert read.messages == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Go on"},
    ]
    assert (read.wire, read.stream) == ({"max_completion_tokens": 100}, False)


def test_another_target_is_asked_in_openais_words():
    made, lost = to_openai(LOSSLESS["a loop with thinking"])
    assert lost == []
    assert "thinking" not in made
    assert "anthropic_fields" not in made
    assert (made["reasoning_effort"], made["max_completion_tokens"]) == ("medium", 9000)
    ask, said, result, behind = made["messages"]
    assert said == {"role": "assistant", "content": "Look.", "tool_calls": [
        {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Köln"}'}}
    ]}  # fmt: skip
    assert (ask["content"][0]["text"], result["role"], result["tool_call_id"]) == ("Hi", "tool", "toolu_1")
    (picture,) = behind["content"]
    assert (behind["role"], picture["image_url"]["url"]) == ("user", f"data:image/png;base64,{PNG}")
    made, _ = to_openai(LOSSLESS["tools"])
    assert made["tools"][0]["function"]["parameters"] == TOOL["input_schema"]
    assert (made["tool_choice"], made["parallel_tool_calls"]) == ("required", False)
    made, _ = to_openai(LOSSLESS["schema"])
    assert made["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert made["reasoning_effort"] == "low"
    made, _ = to_openai(LOSSLESS["user"])
    assert (made["user"], made["stream"]) == ("u1", True)


@pytest.mark.parametrize("kind", sorted(set(REGISTRY) - {"anthropic"}))
def test_no_other_kind_of_provider_sees_fields_of_anthropics_own(kind):
    def told(body):
        read = read_messages(body)
        request = Request(read.model, read.messages, read.wire)
        return [
            its.path
            for its in REGISTRY[kind].unsupported(
                request, TargetSettings(provider="a", model="m"), max_output_tokens=None
            )
            if its.path.startswith("anthropic_fields")
        ]

    assert told(LOSSLESS["adaptive"]) == []
    assert "anthropic_fields.mcp_servers" in told(LOSSLESS["its own fields"])
    made = sent(REGISTRY[kind], LOSSLESS["its own fields"], base_url="https://a.test/v1")[0]
    assert "anthropic_fields" not in json.dumps(made)


def test_what_only_anthropic_can_do_is_a_loss_elsewhere():
    _, lost = to_openai(LOSSLESS["its own fields"])
    assert sorted(lost) == [
        "anthropic_fields.container",
        "anthropic_fields.context_management",
        "anthropic_fields.mcp_servers",
        "anthropic_fields.speed",
    ]


def test_openai_is_not_sent_hints_that_only_others_read():
    hinted = asked(
        user(text("Hi", cache_control=CACHED)), assistant(CALL),
        user({**RESULT, "is_error": False, "cache_control": CACHED, "content": [text("8", cache_control=CACHED)]}),
        system=[text("Long.", cache_control=CACHED)], tools=[{**TOOL, "cache_control": CACHED}],
    )  # fmt: skip
    made, lost = to_openai(hinted)
    assert "cache_control" not in json.dumps(made)
    assert "is_error" not in json.dumps(made)
    assert lost == []
    made, _ = sent(OpenAICodec("openai"), hinted, base_url="https://openrouter.ai/api/v1")
    assert json.dumps(made).count("cache_control") == 5
    assert to_anthropic(hinted) == (hinted, [])


def test_a_document_has_a_name_where_openai_wants_one():
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}}
    made, _ = to_openai(asked(user(plain)))
    (part,) = made["messages"][0]["content"]
    data = base64.b64encode(b"Hi").decode()
    assert part["file"] == {"file_data": f"data:text/plain;base64,{data}", "filename": "document.txt"}


def test_thoughts_that_nobody_signed_do_not_go_to_anthropic():
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    made, _ = to_anthropic(asked(user(text("Hi")), assistant(unsigned, CALL), user(RESULT)))
    assert made["messages"][1]["content"] == [CALL]


def test_arguments_that_were_no_object_come_back_as_they_were():
    made, _ = to_openai(asked(user(text("Hi")), assistant({**CALL, "input": {"_raw": "[1"}}), user(RESULT)))
    assert made["messages"][1]["tool_calls"][0]["function"]["arguments"] == "[1"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "body"),
        ({**asked(), "model": None}, "model"),
        ({**asked(), "max_tokens": True}, "max_tokens"),
        ({**asked(), "max_tokens": 0}, "max_tokens"),
        ({**asked(), "messages": []}, "messages"),
        (asked(system=5), "system"),
        (asked(system=[5]), "system.0"),
        (asked({"role": "tool", "content": "x"}), "messages.0.role"),
        (asked({"role": "user"}), "messages.0.content"),
        (asked(user("x")), "messages.0.content.0"),
        (asked(user({"type": "tool_result"})), "messages.0.content.0.tool_use_id"),
        (asked(user({**RESULT, "content": 5})), "messages.0.content.0.content"),
        (asked(assistant({**CALL, "name": None})), "messages.0"),
        (asked(tools={}), "tools"),
        (asked(tools=["x"]), "tools.0"),
        (asked(tool_choice={"type": "x"}), "tool_choice"),
    ],
)
def test_what_is_no_request_is_refused_with_its_place(body, path):
    with pytest.raises(NotMessages) as caught:
        read_messages(body)
    assert caught.value.path == path
    assert fault_of(caught.value).status == 400


NAMES = st.sampled_from([*asked(), *CALL, *RESULT, "role", "source", "format", "type"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["text", "user", "assistant", "tool_use", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*asked(), *CALL, *RESULT, "role", "source", "format", "type"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


FIELDS = [
    "messages", "system", "tools", "tool_choice", "output_config", "thinking", "stream", "metadata", "service_tier",
]  # fmt: skip


@given(json_values, st.sampled_from(FIELDS))
def test_nonsense_is_refused_or_read_but_never_a_crash(value, name):
    body = {**asked(*HELLO), name: value}
    with contextlib.suppress(NotMessages):
        read_messages(body)


def test_an_input_nested_too_deep_to_be_written_is_refused():
    deep = {}
    for _ in range(300):
        deep = {"x": deep}
    with pytest.raises(NotMessages, match="tool_use"):
        read_messages(asked(assistant({**CALL, "input": deep})))
