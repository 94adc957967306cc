"""What is sent to Anthropic: held against the official SDK's own types, and looked at field by field."""

import copy
import itertools
import json

import pytest
from anthropic.types import MessageCreateParams
from chat_requests import CALLS, HELLO, JSON_SCHEMA, LOOP, LOSSY, REQUESTS, SCHEMA, TOOLS, as_validated, call
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from resilio.config import ModelSettings, TargetSettings
from resilio.models import Request
from resilio.providers.anthropic import AnthropicCodec

OLD, NEW = "2023-06-01", "2026-10-21"
SONNET, OLDER, OLDEST = "claude-sonnet-5-5", "claude-sonnet-4-5", "claude-3-haiku-20240307"
PARAMS = TypeAdapter(MessageCreateParams)
CODECS = {version: AnthropicCodec(version=version) for version in (OLD, NEW)}


def sent(
    messages=HELLO, wire=None, *, version=OLD, model=SONNET, limit=None, stream=False, codec=None, key="sk", **more
):
    """The request as it goes out."""
    request = Request("chat", messages, {**(wire or {}), **more})
    return (codec or CODECS[version]).encode(
        request, TargetSettings(provider="a", model=model), base_url="https://api.anthropic.com", key=key,
        headers={}, stream=stream, max_output_tokens=limit,
    )  # fmt: skip


def body(*args, **more):
    return json.loads(sent(*args, **more).body)


def lost(messages=HELLO, wire=None, *, version=OLD, model=SONNET, limit=None, **more):
    request = Request("chat", messages, {**(wire or {}), **more})
    target = TargetSettings(provider="a", model=model)
    return CODECS[version].unsupported(request, target, max_output_tokens=limit)


def paths(*args, **more):
    return [loss.path for loss in lost(*args, **more)]


def validate(made):
    """By the SDK's own types; what they do not name is refused, as the API refuses it."""
    older = {name: made[name] for name in ("temperature", "top_p", "top_k") if name in made}  # no field of the SDK's
    assert {**as_validated(PARAMS, made), **older} == made


@pytest.mark.parametrize("odd", [{"role": "nobody"}, {"content": [{"type": "text", "text": 7}]}, {"name": "Ann"}])
def test_these_tests_would_see_a_message_that_is_none(odd):
    made = body()
    made["messages"][0] |= odd
    with pytest.raises((ValidationError, AssertionError)):
        validate(made)


@pytest.mark.parametrize("model", [SONNET, OLDER, OLDEST])
@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_is_one_of_the_sdks_own(name, version, model):
    messages, wire = copy.deepcopy(REQUESTS[name])
    for stream in (False, True):
        made = body(messages, wire, version=version, model=model, stream=stream)
        validate(made)
        assert made.get("stream", False) is stream
    assert (messages, wire) == REQUESTS[name], "the caller's own was changed"
    roles = [message["role"] for message in made["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in itertools.pairwise(roles))


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_of_the_common_kind_loses_nothing(name):
    assert lost(*REQUESTS[name], version=NEW, limit=4096) == lost(*REQUESTS[name], version=OLD, limit=4096) == ()


@pytest.mark.parametrize("version", [OLD, NEW])
@pytest.mark.parametrize("name", LOSSY)
def test_what_is_lost_is_told_and_not_sent(name, version):
    messages, wire = LOSSY[name]
    model = OLDER if version == OLD else SONNET
    losses = lost(messages, wire, version=version, model=model)
    made = body(messages, wire, version=version, model=model)
    if name in ("temperature", "top_p") and version == OLD:
        assert losses == ()
        assert made[name] == wire[name]
        return
    assert losses, name
    validate({**made, "messages": made["messages"] or body()["messages"]})
    if version == NEW:
        assert not {"temperature", "top_p", "top_k"} & made.keys()
    assert not {"seed", "n", "logprobs", "logit_bias", "frequency_penalty", "response_format"} & made.keys()
    assert any(loss.needed for loss in losses) is (name in ("sound", "file by id", "custom tool"))


class TestEnvelope:
    def test_url_key_and_version(self):
        made = sent(version=NEW)
        assert made.url == "https://api.anthropic.com/v1/messages"
        assert made.headers["x-api-key"] == "sk"
        assert made.headers["anthropic-version"] == NEW
        assert "sk" not in repr(made)

    @pytest.mark.parametrize(
        ("base", "url"),
        [
            ("https://a.test", "https://a.test/v1/messages"),
            ("https://a.test/", "https://a.test/v1/messages"),
            ("https://a.test/v1", "https://a.test/v1/messages"),
            ("https://a.test/anthropic/v1/?k=v", "https://a.test/anthropic/v1/messages?k=v"),
        ],
    )
    def test_a_base_url_may_end_in_v1_or_not(self, base, url):
        made = CODECS[OLD].encode(
            Request("chat", HELLO), TargetSettings(provider="a", model="m"), base_url=base, key=None,
            headers={}, stream=False, max_output_tokens=None,
        )  # fmt: skip
        assert made.url == url
        assert "x-api-key" not in made.headers

    def test_the_providers_own_headers_win(self):
        headers = {"Authorization": "Bearer x", "anthropic-version": "2099-01-01", "anthropic-beta": "b"}
        made = CODECS[OLD].encode(
            Request("chat", HELLO), TargetSettings(provider="a", model="m"), base_url="https://a.test", key="sk",
            headers=headers, stream=False, max_output_tokens=None,
        )  # fmt: skip
        assert dict(made.headers) == {"Content-Type": "application/json", **headers}

    def test_max_tokens_is_always_there(self):
        models = {SONNET: ModelSettings(max_output_tokens=64_000)}
        assert body()["max_tokens"] == 4096
        assert body(codec=AnthropicCodec(models=models))["max_tokens"] == 64_000
        assert body(codec=AnthropicCodec(models=models), limit=500)["max_tokens"] == 500
        assert body(limit=500, max_tokens=7)["max_tokens"] == 7


class TestMessages:
    def test_system_messages_are_joined_apart(self):
        made = body(*REQUESTS["two system messages"])
        assert made["system"] == "Be brief.\n\nIn German."
        assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]

    def test_a_system_message_with_a_hint_stays_in_blocks(self):
        (block,) = body(*REQUESTS["cached system"])["system"]
        assert block == {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}

    def test_the_callers_own_system_field_comes_first(self):
        assert body([{"role": "system", "content": "B"}, *HELLO], system="A")["system"] == "A\n\nB"

    def test_all_results_stand_first_in_one_turn(self):
        made = body([*LOOP, {"role": "user", "content": "Thanks"}], tools=TOOLS)
        assert [message["role"] for message in made["messages"]] == ["user", "assistant", "user"]
        kinds = [block["type"] for block in made["messages"][2]["content"]]
        assert kinds == ["tool_result"] * 3 + ["text"]
        uses = [block for block in made["messages"][1]["content"] if block["type"] == "tool_use"]
        assert [use["input"] for use in uses] == [{"city": "Köln"}, {"city": "Oslo"}, {}]
        assert [use["id"] for use in uses] == [its["tool_use_id"] for its in made["messages"][2]["content"][:3]]

    def test_results_that_come_after_the_users_words_are_moved_before_them(self):
        made = body([LOOP[0], CALLS, {"role": "user", "content": "Well?"}, *LOOP[2:]])
        assert made["messages"][-1]["content"][0]["type"] == "tool_result"

    def test_ids_of_others_are_made_fit_on_both_sides(self):
        made = body(*REQUESTS["foreign ids"])
        use, result = made["messages"][1]["content"][0], made["messages"][2]["content"][0]
        assert use["id"] == result["tool_use_id"] == "a_b_c_1"
        assert "content" not in result

    def test_arguments_that_are_no_json_are_wrapped(self):
        assert body(*REQUESTS["broken arguments"])["messages"][1]["content"][0]["input"] == {"_raw": '{"city": "K'}

    def test_a_failed_tool_is_marked(self):
        failed = [LOOP[0], CALLS, *({**each, "is_error": True} for each in LOOP[2:])]
        assert all(block["is_error"] for block in body(failed)["messages"][2]["content"])

    def test_a_prefill_ends_without_a_blank(self):
        made = body(*REQUESTS["prefill"])["messages"]
        assert made[-1] == {"role": "assistant", "content": [{"type": "text", "text": "The answer is"}]}

    def test_images_are_urls_or_base64(self):
        first, second = body(*REQUESTS["two images"])["messages"][0]["content"]
        assert first["source"]["media_type"] == "image/png"
        assert second["source"] == {"type": "url", "url": "https://a.test/y.gif"}

    def test_documents_are_pdf_text_or_urls(self):
        pdf = body(*REQUESTS["pdf"])["messages"][0]["content"][1]
        assert (pdf["title"], pdf["source"]["type"], pdf["source"]["media_type"]) == (
            "a.pdf",
            "base64",
            "application/pdf",
        )
        plain = body(*REQUESTS["text file"])["messages"][0]["content"][0]
        assert plain["source"] == {"type": "text", "media_type": "text/plain", "data": "hello"}

    def test_anthropics_own_parts_pass(self):
        block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
        assert body([{"role": "user", "content": [block]}])["messages"][0]["content"] == [block]

    def test_an_unknown_part_or_role_is_never_left_out(self):
        (loss,) = lost([*HELLO, {"role": "user", "content": [{"type": "hologram"}]}])
        assert (loss.path, loss.needed) == ("messages[1].content[0]", True)
        (loss,) = lost([*HELLO, {"role": "narrator", "content": "x"}])
        assert (loss.path, loss.needed) == ("messages[1]", True)


THOUGHT = [
    {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
    {"type": "text", "text": "Let me look."},
    {"type": "tool_use", "id": "call_1", "name": "get_time", "input": {}},
]
LOOKING = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}],
}
NOON = {"role": "tool", "tool_call_id": "call_1", "content": "noon"}


class TestThinkingGoesBack:
    def turn(self, **more):
        return body([*HELLO, {**LOOKING, **more}, NOON])["messages"][1]["content"]

    def test_the_very_blocks_that_came(self):
        assert self.turn(anthropic_content=THOUGHT) == THOUGHT

    def test_blocks_of_thinking_alone(self):
        assert self.turn(thinking_blocks=THOUGHT[:1]) == THOUGHT

    def test_a_message_whose_calls_were_changed_keeps_its_thinking(self):
        other = [*THOUGHT, {"type": "tool_use", "id": "call_2", "name": "get_time", "input": {}}]
        assert self.turn(anthropic_content=other) == THOUGHT

    def test_words_and_arguments_that_the_caller_changed_go_out_as_changed(self):
        thought, _, call = THOUGHT
        made = self.turn(anthropic_content=THOUGHT, content="Struck out.")
        assert made == [thought, {"type": "text", "text": "Struck out."}, call]
        function = {"name": "get_time", "arguments": '{"zone": "UTC"}'}
        made = self.turn(anthropic_content=THOUGHT, tool_calls=[{**LOOKING["tool_calls"][0], "function": function}])
        assert made == [*THOUGHT[:2], {**call, "input": {"zone": "UTC"}}]

    def test_thoughts_without_a_signature_are_somebody_elses(self):
        assert self.turn(thinking_blocks=[{"type": "thinking", "thinking": "Hm."}]) == THOUGHT[1:]

    def test_on_a_budget_a_round_begun_elsewhere_costs_the_effort(self):
        wire = {"reasoning_effort": "high", "max_tokens": 8000}
        foreign = [*HELLO, LOOKING, NOON]
        own = [*HELLO, {**LOOKING, "anthropic_content": THOUGHT}, NOON]
        assert paths(foreign, wire, model=OLDER) == ["reasoning_effort"]
        assert "thinking" not in body(foreign, wire, model=OLDER)
        assert body(own, wire, model=OLDER)["thinking"] == {"type": "enabled", "budget_tokens": 4000}
        assert body(foreign, wire, model=SONNET)["thinking"] == {"type": "adaptive"}


class TestFields:
    def test_effort_is_a_budget_for_older_models_and_an_effort_for_newer(self):
        wire = {"reasoning_effort": "medium", "max_tokens": 32_000}
        assert body(HELLO, wire, model=OLDER)["thinking"] == {"type": "enabled", "budget_tokens": 4096}
        made = body(HELLO, wire)
        assert (made["thinking"], made["output_config"]) == ({"type": "adaptive"}, {"effort": "medium"})
        assert paths(HELLO, wire, model=OLDEST) == ["reasoning_effort"]
        assert body(HELLO, reasoning_effort="none")["thinking"] == {"type": "disabled"}
        assert "thinking" not in body(HELLO, reasoning_effort="none", model=OLDER)

    def test_a_budget_needs_room(self):
        (loss,) = lost(reasoning_effort="high", max_tokens=1500, model=OLDER)
        assert "leaves no room" in loss.why
        assert lost(reasoning_effort="high", model=OLDER, limit=1500) == (loss,)

    @pytest.mark.parametrize(
        "wire", [{"tools": TOOLS, "tool_choice": "required"}, {"response_format": JSON_SCHEMA, "model_is_old": True}]
    )
    def test_a_forced_call_costs_the_effort(self, wire):
        wire = dict(wire)
        model = "claude-sonnet-4-0" if wire.pop("model_is_old", False) else SONNET
        assert paths(HELLO, wire, reasoning_effort="high", max_tokens=9000, model=model) == ["reasoning_effort"]

    def test_a_model_that_thinks_takes_no_temperature(self):
        wire = {"reasoning_effort": "high", "max_tokens": 9000}
        assert paths(HELLO, wire, temperature=0.2) == ["temperature"]
        assert paths(HELLO, wire, temperature=1) == []

    def test_a_temperature_above_one_is_sent_as_one(self):
        assert body(temperature=1.7, model=OLDER)["temperature"] == 1
        assert paths(temperature=1.7, model=OLDER) == ["temperature"]

    @pytest.mark.parametrize("model", [SONNET, "claude-opus-4-7", "claude-opus-4-8-20260801", "claude-haiku-5"])
    def test_models_that_refuse_sampling_parameters_are_sent_none_in_any_version(self, model):
        wire = {"temperature": 0.5, "top_p": 0.9, "top_k": 4}
        assert paths(HELLO, wire, model=model) == list(wire)
        assert not body(HELLO, wire, model=model).keys() & wire.keys()

    @pytest.mark.parametrize(
        "model", ["claude-3-5-sonnet-20241022", "claude-opus-4-20250514", "claude-sonnet-4-0", "of-a-proxy"]
    )
    def test_older_models_take_both_and_of_an_unknown_one_its_server_tells(self, model):
        wire = {"temperature": 0.5, "top_p": 0.9, "top_k": 4}
        assert paths(HELLO, wire, model=model) == []
        assert wire.items() <= body(HELLO, wire, model=model).items()

    @pytest.mark.parametrize(
        ("wire", "taken", "told"),
        [
            ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
            ({"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}, []),
            ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, []),
            ({"top_p": 0.9}, {"top_p": 0.9}, []),
            ({"temperature": None, "top_p": 0.9}, {"top_p": 0.9}, []),
        ],
    )
    @pytest.mark.parametrize("model", [OLDER, "claude-opus-4-1-20250805", "claude-sonnet-4-6", "claude-haiku-4-5"])
    def test_a_model_that_takes_one_of_them_is_sent_one(self, model, wire, taken, told):
        made = body(HELLO, wire, model=model)
        assert {name: made[name] for name in ("temperature", "top_p") if name in made} == taken
        assert paths(HELLO, wire, model=model) == told

    @pytest.mark.parametrize(("version", "model"), [(NEW, OLDER), (OLD, SONNET)])
    def test_what_is_done_anyway_is_no_loss_where_it_may_not_be_said(self, version, model):
        wire = {"temperature": 1.0, "top_p": 1}
        assert paths(HELLO, wire, version=version, model=model) == []
        assert not body(HELLO, wire, version=version, model=model).keys() & wire.keys()

    def test_a_system_prompt_alone_is_answered(self):
        made = body([{"role": "system", "content": "Say hello."}])
        assert made["system"] == "Say hello."
        assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "."}]}]

    def test_a_document_of_the_assistants_is_never_sent_to_the_version_that_refuses_it(self):
        paper = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
        talk = [*HELLO, {"role": "assistant", "content": None, "anthropic_content": [paper]}, *HELLO]
        (loss,) = lost(talk, version=NEW)
        assert (loss.path, loss.needed) == ("messages", True)
        assert lost(talk, version=OLD) == ()
        looked = [{"role": "user", "content": [paper]}]
        assert lost(looked, version=NEW) == ()

    def test_where_nobody_sets_a_limit_there_is_room_beside_a_budget_of_the_callers(self):
        wire = {"thinking": {"type": "enabled", "budget_tokens": 10_000}}
        assert body(HELLO, wire, model=OLDER)["max_tokens"] == 14_096
        assert body(HELLO, wire, model=OLDER, limit=12_000)["max_tokens"] == 12_000
        for odd in ("much", True, -1, None):
            assert body(HELLO, {"thinking": {"budget_tokens": odd}}, model=OLDER)["max_tokens"] == 4096

    def test_structured_outputs(self):
        assert body(response_format=JSON_SCHEMA)["output_config"] == {
            "format": {"type": "json_schema", "schema": SCHEMA}
        }
        made = body(response_format=JSON_SCHEMA, model=OLDEST)
        assert made["tool_choice"] == {"type": "tool", "name": "resilio_answer"}
        assert made["tools"][0]["input_schema"] == SCHEMA
        both = body(response_format=JSON_SCHEMA, tools=TOOLS, model=OLDEST)
        assert both["tool_choice"] == {"type": "any"}
        assert len(both["tools"]) == 3

    def test_effort_and_form_share_a_field(self):
        made = body(response_format=JSON_SCHEMA, reasoning_effort="low", max_tokens=9000)
        assert made["output_config"].keys() == {"effort", "format"}

    @pytest.mark.parametrize(
        ("given", "choice"),
        [
            ("auto", {"type": "auto"}),
            ("required", {"type": "any"}),
            ("none", {"type": "none"}),
            ({"type": "function", "function": {"name": "get_time"}}, {"type": "tool", "name": "get_time"}),
            ({"type": "tool", "name": "get_time"}, {"type": "tool", "name": "get_time"}),
            ({"type": "any"}, {"type": "any"}),
        ],
    )
    def test_the_choice_of_tools(self, given, choice):
        assert body(tools=TOOLS, tool_choice=given)["tool_choice"] == choice
        one = body(tools=TOOLS, tool_choice=given, parallel_tool_calls=False)["tool_choice"]
        assert one == (choice if given == "none" else {**choice, "disable_parallel_tool_use": True})

    def test_allowed_tools_are_all_that_is_sent(self):
        (tool,) = body(*REQUESTS["tools allowed"])["tools"]
        assert tool == {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}

    def test_a_call_that_is_demanded_of_no_tool_is_a_loss(self):
        unknown = [{"type": "function", "function": {"name": "nobody"}}]
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": unknown}}
        assert paths(tools=TOOLS, tool_choice=allowed) == ["tool_choice"]
        assert "tools" not in body(tools=TOOLS, tool_choice=allowed)
        assert paths(tool_choice="required") == ["tool_choice"]
        assert paths(tool_choice="auto") == []

    def test_tools_of_its_own_pass(self):
        search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
        assert body(tools=[search])["tools"] == [search]

    def test_who_asks_is_told_by_one_field(self):
        assert body(user="u")["metadata"] == {"user_id": "u"}
        assert body(metadata={"user_id": "v", "team": "x"}, user="u")["metadata"] == {"user_id": "v"}

    def test_its_own_fields_pass(self):
        own = {"thinking": {"type": "adaptive"}, "cache_control": {"type": "ephemeral"}, "speed": "fast", "top_k": 4}
        made = body(HELLO, {**own, "reasoning_effort": "low"})
        assert {name: made[name] for name in own if name != "top_k"} == {
            name: its for name, its in own.items() if name != "top_k"
        }
        assert paths(HELLO, own) == ["top_k"]

    def test_an_unknown_field_is_a_loss_and_not_sent(self):
        assert paths(wobble=1) == ["wobble"]
        assert "wobble" not in body(wobble=1)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(0, 2) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["tools", "tool_choice", "stop", "response_format", "reasoning_effort", "user", "metadata", "service_tier",
     "temperature", "top_p", "parallel_tool_calls", "functions", "function_call", "n", "system", "seed"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6), st.sampled_from([OLD, NEW]), st.sampled_from([SONNET, OLDER]))
def test_nonsense_in_fields_never_raises(wire, version, model):
    made = body(HELLO, wire, version=version, model=model)
    assert made["messages"]
    assert made["max_tokens"] == 4096
    for loss in lost(HELLO, wire, version=version, model=model):
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
            arguments = st.sampled_from(["{}", "", "["])
            made = [call(each, "f", draw(arguments)) for each in ids]
            turns.append({"role": "assistant", "content": draw(st.none() | st.text(max_size=4)), "tool_calls": made})
        elif kind == "results" and open_ids:
            turns += [{"role": "tool", "tool_call_id": each, "content": draw(st.text(max_size=4))} for each in open_ids]
            open_ids = []
        else:
            turns.append({"role": kind if kind != "results" else "user", "content": draw(st.text(max_size=4))})
    return turns


@given(conversations())
def test_any_conversation_alternates_begins_with_the_user_and_keeps_every_word(turns):
    made = body([*turns, {"role": "user", "content": "!"}])
    validate(made)
    roles = [message["role"] for message in made["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in itertools.pairwise(roles))
    blocks = [block for message in made["messages"] for block in message["content"]]
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    calls = [call["id"] for turn in turns for call in turn.get("tool_calls", ())]
    assert [block["id"] for block in blocks if block["type"] == "tool_use"] == calls
    answered = [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"]
    assert [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"] == answered
    said = "".join(turn["content"] or "" for turn in turns if turn["role"] in ("user", "assistant"))
    heard = "".join(block["text"] for block in blocks if block["type"] == "text")
    said, heard = "".join(said.split()) + "!", "".join(heard.split())
    assert heard in (said, f".{said}")
