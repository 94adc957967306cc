"""What is sent to a server of the Responses API: held against the official SDK's own types, and field by field."""

import copy
import json

import pytest
from chat_requests import (
    HELLO,
    JSON_SCHEMA,
    LOOP,
    LOSSY,
    PDF,
    PNG,
    REQUESTS,
    SCHEMA,
    TOOLS,
    as_validated,
    call,
    image,
    user,
)
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import response_create_params as params
from pydantic import TypeAdapter, ValidationError

from resilio.config import TargetSettings
from resilio.errors import Unencodable
from resilio.models import Request
from resilio.providers import REGISTRY
from resilio.providers.responses import ResponsesCodec

PARAMS = TypeAdapter(params.ResponseCreateParamsNonStreaming | params.ResponseCreateParamsStreaming)
CODEC = ResponsesCodec(name="gpt")
MODEL = "gpt-5.6"


def target(model=MODEL):
    return TargetSettings(provider="gpt", model=model)


def sent(messages=HELLO, wire=None, *, model=MODEL, limit=None, stream=False, base="https://api.openai.com/v1", **more):
    """The request as it goes out."""
    return CODEC.encode(
        Request("chat", messages, {**(wire or {}), **more}), target(model), base_url=base, key="sk", headers={},
        stream=stream, max_output_tokens=limit,
    )  # fmt: skip


def body(*args, **more):
    return json.loads(sent(*args, **more).body)


def lost(messages=HELLO, wire=None, *, model=MODEL, codec=CODEC, **more):
    return codec.unsupported(Request("chat", messages, {**(wire or {}), **more}), target(model), max_output_tokens=None)


def paths(*args, **more):
    return [loss.path for loss in lost(*args, **more)]


def validate(made):
    """By the SDK's own types; what they do not name is refused, as the API refuses it."""
    assert as_validated(PARAMS, made) == made


def test_the_sdks_types_refuse_what_is_wrong_deep_inside():
    odd = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": 7}]}
    with pytest.raises(ValidationError):
        validate({"model": "m", "input": [odd]})


@pytest.mark.parametrize("model", [MODEL, "gpt-4o"])
@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_is_one_of_the_sdks_own(name, model):
    messages, wire = copy.deepcopy(REQUESTS[name])
    for stream in (False, True):
        made = body(messages, wire, model=model, stream=stream)
        validate(made)
        assert made.get("stream", False) is stream
        assert made["store"] is False
    assert (messages, wire) == REQUESTS[name], "the caller's own was changed"


STOPS = {"one stop", "stops"}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_of_the_common_kind_loses_nothing_but_its_stops(name):
    assert paths(*REQUESTS[name]) == (["stop"] if name in STOPS else [])


LOST = {
    "seed": ["seed"],
    "several answers": ["n"],
    "penalties": ["frequency_penalty", "presence_penalty"],
    "logit bias": ["logit_bias"],
    "blank stop": ["stop"],
    "named speaker": ["messages[0].name"],
    "sound": ["messages[0].content[1]"],
}


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_lost_is_told_and_not_sent(name):
    messages, wire = LOSSY[name]
    losses = lost(messages, wire)
    assert [loss.path for loss in losses] == LOST.get(name, [])
    assert any(loss.needed for loss in losses) is (name == "sound")
    validate(body(messages, wire))


class TestEnvelope:
    @pytest.mark.parametrize(
        ("base", "url"),
        [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/responses"),
            ("https://a.test/openai/v1/?api-version=p", "https://a.test/openai/v1/responses?api-version=p"),
        ],
    )
    def test_url_and_key(self, base, url):
        made = sent(base=base)
        assert made.url == url
        assert made.headers["Authorization"] == "Bearer sk"
        assert "sk" not in repr(made)

    def test_a_limit_of_the_routes_yields_to_the_callers(self):
        assert "max_output_tokens" not in body()
        assert body(limit=500)["max_output_tokens"] == 500
        assert body(limit=500, max_tokens=7)["max_output_tokens"] == 7
        assert body(limit=500, max_output_tokens=9, max_tokens=7)["max_output_tokens"] == 9

    def test_automatic_caches_are_helped_where_that_is_asked_for(self):
        wire = {"tools": TOOLS}
        request = Request("chat", HELLO, wire)

        def made(mode):
            to = TargetSettings(provider="gpt", model=MODEL, prompt_cache=mode)
            sent = CODEC.encode(
                request, to, base_url="https://api.openai.com/v1", key=None, headers={}, stream=False,
                max_output_tokens=None,
            )  # fmt: skip
            return json.loads(sent.body)

        helped, plain = made("auto"), made("off")
        validate(helped)
        assert helped["prompt_cache_key"]
        assert [tool["name"] for tool in helped["tools"]] == ["get_time", "get_weather"]
        assert "prompt_cache_key" not in plain
        assert [tool["name"] for tool in plain["tools"]] == ["get_weather", "get_time"]

    def test_of_a_streams_options_only_its_own_is_sent(self):
        options = {"include_usage": True, "include_obfuscation": False}
        assert body(stream=True, stream_options=options)["stream_options"] == {"include_obfuscation": False}
        assert "stream_options" not in body(stream_options=options)


class TestWhatTheServerKeeps:
    def test_a_request_is_whole_and_asks_for_its_reasoning_in_encrypted_form(self):
        made = body()
        assert (made["store"], made["include"]) == (False, ["reasoning.encrypted_content"])

    @pytest.mark.parametrize(
        "model",
        ["gpt-4o", "gpt-4.1-mini", "openai/gpt-4o-mini", "gpt-5-chat-latest", "gpt-3.5", "team-a-gpt-4o", "GPT-4o_eu",
         "gpt-35-turbo", "DeepSeek-V4-Pro", "meta/llama-4", "prod.gpt4"],
    )  # fmt: skip
    def test_a_model_that_does_not_reason_is_not_asked_for_it(self, model):
        assert "include" not in body(model=model)

    @pytest.mark.parametrize(
        "model", ["gpt-5", "o4-mini", "gpt-5.6", "team-a-gpt-5.4", "gpt-oss-120b", "grok-4", "prod"]
    )
    def test_any_other_model_is_asked_for_it(self, model):
        assert body(model=model)["include"] == ["reasoning.encrypted_content"]

    def test_the_callers_own_store_and_include_win(self):
        assert "include" not in body(store=True)
        assert body(include=[])["store"] is False
        assert "include" not in body(include=[])
        assert body(include=["file_search_call.results"])["include"] == ["file_search_call.results"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("prompt", {"id": "p"}), ("background", True)],
    )
    def test_what_speaks_of_it_goes_through_and_no_other_dialect_is_asked(self, name, value):
        assert body(stream=True, **{name: value})[name] == value
        assert lost(**{name: value}) == ()
        for other in (codec for kind, codec in REGISTRY.items() if kind != "responses"):
            (loss,) = lost(codec=other, **{name: value})
            assert (loss.path, loss.needed) == (name, True)
            assert lost(codec=other, **{name: None}) == ()

    def test_an_answer_that_would_come_later_is_asked_for_only_as_a_stream(self):
        with pytest.raises(Unencodable, match="background"):
            body(background=True)


class TestMessages:
    def test_system_and_developer_messages_keep_role_and_place(self):
        assert body(*REQUESTS["late system message"])["input"] == [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ]
        assert body(*REQUESTS["developer"])["input"][0] == {"role": "developer", "content": "Be brief."}

    def test_the_callers_own_instructions_stand_beside_them(self):
        made = body(*REQUESTS["system"], instructions="In German.")
        assert (made["instructions"], made["input"][0]["role"]) == ("In German.", "system")

    def test_calls_and_results_are_items(self):
        items = body(LOOP)["input"]
        assert [item.get("type", item.get("role")) for item in items] == [
            "user", "assistant", "function_call", "function_call", "function_call",
            "function_call_output", "function_call_output", "function_call_output",
        ]  # fmt: skip
        assert items[2] == {
            "type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Köln"}'
        }  # fmt: skip
        assert items[4]["arguments"] == "{}"
        assert items[6] == {"type": "function_call_output", "call_id": "call_2", "output": "3 degrees"}

    def test_a_very_long_id_is_shortened_alike_in_call_and_result(self):
        long = "x" * 65
        turns = [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call(long, "f", "{}")]},
            {"role": "tool", "tool_call_id": long, "content": ""},
        ]
        _, made, result = body(turns)["input"]
        assert made["call_id"] == result["call_id"]
        assert len(made["call_id"]) <= 64

    def test_pictures_and_files(self):
        image_url = f"data:image/png;base64,{PNG}"
        file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
        parts = [
            image(image_url, detail="low"),
            {"type": "file", "file": file},
            {"type": "file", "file": {"file_data": file["file_data"]}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "file", "file": {"file_url": "https://a.test/a.pdf"}},
        ]
        assert body(user(*parts))["input"][0]["content"] == [
            {"type": "input_image", "image_url": image_url, "detail": "low"},
            {"type": "input_file", **file},
            {"type": "input_file", "filename": "file.pdf", "file_data": file["file_data"]},
            {"type": "input_file", "file_id": "file-1"},
            {"type": "input_file", "file_url": "https://a.test/a.pdf"},
        ]

    def test_a_picture_as_a_result_stays_one(self):
        result = body(*REQUESTS["image as a result"])["input"][-1]
        assert [part["type"] for part in result["output"]] == ["input_text", "input_image"]

    def test_another_providers_file_is_never_left_out(self):
        (loss,) = lost(user({"type": "file", "file": {"file_id": "file_01"}}))
        assert loss.needed
        assert "another provider" in loss.why

    def test_its_own_parts_and_hints_pass(self):
        own = [
            {"type": "input_image", "file_id": "file-1", "detail": "auto"},
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ]
        assert body(user(*own))["input"][0]["content"] == [own[0], {**own[1], "type": "input_text"}]

    def test_an_unknown_part_or_role_is_never_left_out(self):
        for odd in ({"role": "user", "content": [{"type": "hologram"}]}, {"role": "narrator", "content": "x"}):
            (loss,) = lost([*HELLO, odd])
            assert loss.needed


REASONING = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
CALL = {
    "id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "get_time", "arguments": "{}",
    "status": "completed",
}  # fmt: skip
SPOKEN = {
    "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}],
}  # fmt: skip
LOOKING = {"role": "assistant", "content": "Let me look.", "tool_calls": [call("call_1", "get_time", "{}")]}
NOON = {"role": "tool", "tool_call_id": "call_1", "content": "noon"}
MADE = [
    {"role": "assistant", "content": "Let me look."},
    {key: CALL[key] for key in CALL if key not in ("id", "status")},
]


class TestReasoningGoesBack:
    def turn(self, items, *, provider="gpt", **wire):
        kept = {"responses_output": {"provider": provider, "items": items}}
        made = body([*HELLO, {**LOOKING, **kept}, NOON], wire)
        validate(made)
        return made["input"][1:-1]

    def test_the_very_items_that_came(self):
        items = [REASONING, SPOKEN, {**CALL, "created_by": "x"}]
        assert self.turn(items) == [REASONING, SPOKEN, CALL]

    def test_another_servers_are_made_anew_from_the_message(self):
        assert self.turn([REASONING, SPOKEN, CALL], provider="azure") == MADE

    def test_items_of_a_message_whose_calls_were_changed_are_made_anew(self):
        assert self.turn([REASONING, SPOKEN, {**CALL, "call_id": "call_2"}]) == MADE
        assert self.turn([REASONING, SPOKEN, {**CALL, "name": "get_weather"}]) == MADE
        assert self.turn([REASONING, SPOKEN, {**CALL, "arguments": '{"zone":1}'}]) == MADE
        assert self.turn([REASONING, SPOKEN, CALL, {**CALL, "call_id": "call_2"}]) == MADE

    def test_items_of_a_message_whose_words_were_changed_are_made_anew(self):
        other = {**SPOKEN, "content": [{**SPOKEN["content"][0], "text": "His number is 555."}]}
        assert self.turn([REASONING, other, CALL]) == MADE
        assert self.turn([REASONING, CALL]) == MADE

    def test_arguments_that_a_caller_wrote_anew_are_still_the_same(self):
        spaced = {**CALL, "arguments": "{ }"}
        assert self.turn([REASONING, SPOKEN, spaced]) == [REASONING, SPOKEN, spaced]

    def test_arguments_too_deep_to_be_compared_are_no_error(self):
        deep = '{"a":' * 1000 + "1" + "}" * 1000
        kept = {"provider": "gpt", "items": [{**CALL, "arguments": deep}]}
        calling = {"role": "assistant", "content": None, "tool_calls": [call("call_1", "get_time", deep)]}
        made = body([*HELLO, {**calling, "responses_output": kept}, NOON])
        assert made["input"][1]["arguments"] == deep

    def test_reasoning_without_its_encrypted_form_is_a_name_of_nothing_unless_the_server_keeps_it(self):
        bare = {name: value for name, value in REASONING.items() if name != "encrypted_content"}
        assert self.turn([bare, SPOKEN, CALL]) == MADE
        assert self.turn([bare, SPOKEN, CALL], store=True) == [bare, SPOKEN, CALL]

    @pytest.mark.parametrize("kept", ["x", ["x"], {"provider": "gpt"}, {"provider": "gpt", "items": "x"}, None, 7])
    def test_nonsense_in_its_place_is_passed_over(self, kept):
        assert body([*HELLO, {**LOOKING, "responses_output": kept}, NOON])["input"][1:-1] == MADE

    def test_no_other_dialect_is_sent_it(self):
        messages = [*HELLO, {**LOOKING, "responses_output": {"provider": "gpt", "items": [CALL]}}, NOON]
        for other in (REGISTRY["openai"], REGISTRY["anthropic"], REGISTRY["gemini"]):
            assert lost(messages, codec=other) == ()
            made = other.encode(
                Request("chat", messages), target(), base_url="https://a.test", key=None, headers={}, stream=False,
                max_output_tokens=None,
            )  # fmt: skip
            assert b"responses_output" not in made.body


class TestTools:
    def test_they_are_flat_and_say_whether_they_are_strict(self):
        weather, clock = body(tools=TOOLS)["tools"]
        assert weather == {"type": "function", "strict": False, **TOOLS[0]["function"]}
        assert (clock["name"], clock["parameters"]) == ("get_time", {"type": "object", "properties": {}})

    def test_a_strict_one_without_parameters_is_closed(self):
        (tool,) = body(*REQUESTS["strict tool"])["tools"]
        assert tool["strict"] is True
        assert tool["parameters"]["additionalProperties"] is False

    @pytest.mark.parametrize(
        ("given", "choice"),
        [
            ("auto", "auto"),
            ("required", "required"),
            ("any", "required"),
            ("none", "none"),
            ({"type": "function", "function": {"name": "get_time"}}, {"type": "function", "name": "get_time"}),
            ({"type": "function", "name": "get_time"}, {"type": "function", "name": "get_time"}),
            ({"type": "tool", "name": "get_time"}, {"type": "function", "name": "get_time"}),
            ({"type": "custom", "custom": {"name": "sql"}}, {"type": "custom", "name": "sql"}),
            ({"type": "any"}, "required"),
            ({"type": "file_search"}, {"type": "file_search"}),
        ],
    )
    def test_the_choice(self, given, choice):
        made = body(tools=TOOLS, tool_choice=given)
        validate(made)
        assert made["tool_choice"] == choice

    def test_those_that_are_allowed(self):
        assert body(*REQUESTS["tools allowed"])["tool_choice"] == {
            "type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get_time"}]
        }  # fmt: skip
        assert len(body(*REQUESTS["tools allowed"])["tools"]) == 2

    def test_a_choice_that_says_nothing_is_a_loss(self):
        assert paths(tools=TOOLS, tool_choice="perhaps") == ["tool_choice"]
        assert paths(tools=TOOLS, tool_choice={"type": "function"}) == ["tool_choice"]

    def test_custom_tools_their_calls_and_their_results(self):
        grammar = {"syntax": "lark", "definition": "start: /x/"}
        tool = {"name": "sql", "format": {"type": "grammar", "grammar": grammar}}
        asked = [{"type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}, "id": "call_1"}]
        plain = [call("call_2", "sql", "SELECT 2")]  # as `Reply.message` has it
        turns = [*HELLO]
        for calls in (asked, plain):
            turns.append({"role": "assistant", "content": None, "tool_calls": calls})
            turns.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "1"})
        made = body(turns, tools=[{"type": "custom", "custom": tool}])
        validate(made)
        assert made["tools"] == [{"type": "custom", "name": "sql", "format": {"type": "grammar", **grammar}}]
        assert [(item["type"], item.get("input")) for item in made["input"][1:]] == [
            ("custom_tool_call", "SELECT 1"), ("custom_tool_call_output", None),
            ("custom_tool_call", "SELECT 2"), ("custom_tool_call_output", None),
        ]  # fmt: skip

    def test_the_servers_own_pass_and_another_servers_are_never_left_out(self):
        search = {"type": "web_search", "search_context_size": "low"}
        assert body(tools=[search])["tools"] == [search]
        (loss,) = lost(tools=[{"type": "web_search_20250305", "name": "web_search"}])
        assert (loss.path, loss.needed) == ("tools[0]", True)


class TestFields:
    def test_the_form_of_the_answer_and_its_length_share_a_field(self):
        made = body(response_format=JSON_SCHEMA, verbosity="low")
        form = {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}
        assert made["text"] == {"format": form, "verbosity": "low"}
        assert body(response_format={"type": "json_object"})["text"] == {"format": {"type": "json_object"}}
        own = {"format": {"type": "text"}, "verbosity": "high"}
        assert body(text=own, response_format=JSON_SCHEMA, verbosity="low")["text"] == own

    def test_effort_and_the_callers_own_reasoning_share_a_field(self):
        assert body(reasoning_effort="high")["reasoning"] == {"effort": "high"}
        made = body(reasoning={"summary": "auto"}, reasoning_effort="low")
        assert made["reasoning"] == {"summary": "auto", "effort": "low"}
        assert body(reasoning={"effort": "high"}, reasoning_effort="low")["reasoning"] == {"effort": "high"}

    def test_log_probabilities(self):
        made = body(logprobs=True, top_logprobs=5)
        assert made["top_logprobs"] == 5
        assert made["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
        assert "top_logprobs" not in body(logprobs=False, top_logprobs=0)

    def test_what_both_have_goes_as_it_came(self):
        both = {
            "temperature": 0.2, "top_p": 0.9, "metadata": {"team": "a"}, "prompt_cache_key": "k", "user": "u",
            "service_tier": "flex", "safety_identifier": "h", "parallel_tool_calls": False, "truncation": "auto",
            "prompt_cache_retention": "24h", "max_tool_calls": 3,
        }  # fmt: skip
        made = body(HELLO, both)
        validate(made)
        assert {name: made[name] for name in both} == both

    def test_an_unknown_field_is_a_loss_and_not_sent(self):
        assert paths(wobble=1) == ["wobble"]
        assert "wobble" not in body(wobble=1)
        assert "prediction" not in body(prediction={"type": "content", "content": "x"})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(0, 2) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["tools", "tool_choice", "stop", "response_format", "reasoning_effort", "reasoning", "text", "include", "store",
     "logprobs", "top_logprobs", "functions", "function_call", "n", "max_tokens", "seed", "stream_options"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6), st.booleans())
def test_nonsense_in_fields_never_raises(wire, stream):
    assert body(HELLO, wire, stream=stream)["input"] == HELLO
    for loss in lost(HELLO, wire):
        assert loss.why


@st.composite
def conversations(draw):
    """Any order of turns, each call answered or not."""
    turns, open_ids = [], []
    for number in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["user", "assistant", "calls", "results", "system"]))
        if kind == "calls":
            ids = [f"call_{number}_{index}" for index in range(draw(st.integers(1, 3)))]
            open_ids += ids
            made = [call(each, "f", draw(st.sampled_from(["{}", "["]))) for each in ids]
            turns.append({"role": "assistant", "content": draw(st.none() | st.text(max_size=4)), "tool_calls": made})
        elif kind == "results" and open_ids:
            turns += [{"role": "tool", "tool_call_id": each, "content": draw(st.text(max_size=4))} for each in open_ids]
            open_ids = []
        else:
            turns.append({"role": kind if kind != "results" else "user", "content": draw(st.text(max_size=4))})
    return turns


@given(conversations())
def test_any_conversation_keeps_every_word_and_call_in_its_order(turns):
    made = body(turns)
    validate(made)
    told = []
    for turn in turns:
        if turn["role"] == "tool":
            told.append((turn["tool_call_id"], turn["content"]))
            continue
        if turn["content"] or turn["role"] in ("user", "system"):
            told.append((turn["role"], turn["content"]))
        told += [(one["id"], one["function"]["arguments"]) for one in turn.get("tool_calls", ())]
    heard = [
        (item.get("call_id") or item["role"], item.get("content", item.get("arguments", item.get("output"))))
        for item in made["input"]
    ]
    assert heard == told
