"""What is sent: held against the official client's own types; and what a request needs."""

import copy
from types import MappingProxyType

import orjson
import pytest
from chat_requests import LOSSY, PNG, REQUESTS, as_validated, image, text
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai_wire import CODEC, request
from pydantic import TypeAdapter

from resilio.config import TargetSettings
from resilio.errors import Unencodable
from resilio.models import Capability, Request
from resilio.providers import REGISTRY

TARGET = TargetSettings(provider="openai", model="gpt-5-nano")
OPENAI = "https://api.openai.com/v1"

PICTURE, OTHER = image(f"data:image/png;base64,{PNG}"), image("https://a.test/y.gif")
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TOOL_LOOP = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {"url": "data:"}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
]


def encode(of, *, base_url=OPENAI, key="sk-secret", headers=None, stream=False, max_output_tokens=None):
    return CODEC.encode(
        of,
        TARGET,
        base_url=base_url,
        key=key,
        headers=headers or {},
        stream=stream,
        max_output_tokens=max_output_tokens,
    )


def body_of(*args, **kwargs):
    return orjson.loads(encode(*args, **kwargs).body)


def assert_the_official_client_would_send_it(body, params):
    assert as_validated(TypeAdapter(params), body) == body


@pytest.mark.parametrize("name", [*REQUESTS, *LOSSY])
def test_each_request_is_one_the_official_client_would_send(name):
    messages, wire = copy.deepcopy({**REQUESTS, **LOSSY}[name])
    whole, streamed = (body_of(Request("chat", messages, wire), stream=stream) for stream in (False, True))
    if name != "pdf by url":  # a form of our callers'
        assert_the_official_client_would_send_it(whole, CompletionCreateParamsNonStreaming)
        assert_the_official_client_would_send_it(streamed, CompletionCreateParamsStreaming)
    assert (messages, wire) == {**REQUESTS, **LOSSY}[name], "the caller's own was changed"


class TestResultsOfTools:
    """OpenAI's own servers answer 400 to a picture in one."""

    ROUND = (
        {"role": "tool", "tool_call_id": "a", "content": [text("A map"), PICTURE, text("of it")]},
        {"role": "tool", "tool_call_id": "b", "content": [OTHER]},
    )

    def test_pictures_follow_behind_the_results_of_their_round(self):
        later = {"role": "assistant", "content": "I see."}
        sent = body_of(request([*TOOL_LOOP[:3], *self.ROUND, later]))["messages"]
        assert sent == [
            *TOOL_LOOP[:3],
            {"role": "tool", "tool_call_id": "a", "content": [text("A map"), text("of it")]},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "user", "content": [PICTURE, OTHER]},
            later,
        ]

    def test_at_the_end_too(self):
        assert body_of(request([*self.ROUND]))["messages"][-1] == {"role": "user", "content": [PICTURE, OTHER]}

    def test_of_two_rounds_each_has_its_own(self):
        roles = [its["role"] for its in body_of(request([*self.ROUND, TOOL_LOOP[2], *self.ROUND]))["messages"]]
        assert roles == ["tool", "tool", "user", "assistant", "tool", "tool", "user"]

    def test_other_servers_are_sent_what_the_caller_wrote(self):
        sent = body_of(request([*self.ROUND]), base_url="https://openrouter.ai/api/v1")["messages"]
        assert sent == [*self.ROUND]


class TestTheBody:
    def test_a_unary_body_is_what_the_official_client_would_send(self):
        of = request(TOOL_LOOP, temperature=0.2, tools=[TOOL], tool_choice="auto", seed=7, n=2)
        body = body_of(of, max_output_tokens=100)
        assert_the_official_client_would_send_it(body, CompletionCreateParamsNonStreaming)
        assert body["model"] == "gpt-5-nano"
        assert body["messages"] == TOOL_LOOP

    def test_a_stream_body_is_what_the_official_client_would_send(self):
        body = body_of(request(TOOL_LOOP, stop=["\n"]), stream=True, max_output_tokens=100)
        assert_the_official_client_would_send_it(body, CompletionCreateParamsStreaming)
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}

    def test_the_callers_stream_options_are_kept_and_usage_is_asked_for_regardless(self):
        of = request(stream_options={"include_obfuscation": False, "include_usage": False})
        assert body_of(of, stream=True)["stream_options"] == {"include_obfuscation": False, "include_usage": True}

    def test_stream_options_of_another_shape_are_replaced(self):
        assert body_of(request(stream_options="yes"), stream=True)["stream_options"] == {"include_usage": True}

    def test_a_unary_call_sends_neither_stream_nor_its_options(self):
        body = body_of(request(stream=True, stream_options={"include_usage": True}))
        assert set(body) == {"model", "messages"}

    def test_unknown_fields_go_out_untouched(self):
        assert body_of(request(brand_new={"a": [1, None]}))["brand_new"] == {"a": [1, None]}

    def test_the_target_decides_the_model_whatever_the_wire_fields_say(self):
        of = Request("chat", [{"role": "user", "content": "Hi"}], {"model": "route", "messages": "none"})
        assert body_of(of)["model"] == "gpt-5-nano"
        assert body_of(of)["messages"] == [{"role": "user", "content": "Hi"}]

    def test_the_callers_mappings_are_not_changed(self):
        wire = {"stream_options": {"include_obfuscation": True}, "tools": [copy.deepcopy(TOOL)]}
        of = request(copy.deepcopy(TOOL_LOOP), **wire)
        before = copy.deepcopy((of.messages, dict(of.wire)))
        encode(of, stream=True, max_output_tokens=5)
        encode(of, stream=False, max_output_tokens=5)
        assert (of.messages, dict(of.wire)) == before

    def test_read_only_mappings_will_do(self):
        of = request((MappingProxyType({"role": "user", "content": "Hi"}),))
        assert body_of(of)["messages"] == [{"role": "user", "content": "Hi"}]

    def test_what_json_cannot_write_is_refused_with_its_place(self):
        with pytest.raises(Unencodable, match="temperature: nan"):
            encode(request(temperature=float("nan")))
        with pytest.raises(Unencodable, match=r"messages\[0\].content: object"):
            encode(request([{"role": "user", "content": object()}]))


class TestTheOutputLimit:
    @pytest.mark.parametrize(
        ("base_url", "field"),
        [
            (OPENAI, "max_completion_tokens"),
            ("https://eu.api.openai.com/v1", "max_completion_tokens"),
            ("https://acme.openai.azure.com/openai/v1", "max_completion_tokens"),
            ("https://acme.services.ai.azure.com/openai/v1", "max_completion_tokens"),
            ("https://acme.openai.azure.us/openai/v1", "max_completion_tokens"),
            ("https://azure.us/openai/v1", "max_tokens"),
            ("https://acme.openai.azure.com/openai/deployments/d", "max_tokens"),
            ("https://api.mistral.ai/v1", "max_tokens"),
            ("http://127.0.0.1:8080/v1", "max_tokens"),
            ("https://api.openai.com.example.org/v1", "max_tokens"),
        ],
    )
    def test_it_has_the_name_the_server_knows(self, base_url, field):
        body = body_of(request(), base_url=base_url, max_output_tokens=64)
        assert {name: body[name] for name in body if name.startswith("max")} == {field: 64}

    @pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
    @pytest.mark.parametrize("base_url", [OPENAI, "http://127.0.0.1:8080/v1"])
    def test_the_callers_own_wins(self, field, base_url):
        body = body_of(request(**{field: 9}), base_url=base_url, max_output_tokens=64)
        assert {name: body[name] for name in body if name.startswith("max")} == {field: 9}

    def test_a_null_of_the_callers_is_no_limit(self):
        body = body_of(request(max_tokens=None), base_url="http://127.0.0.1:8080/v1", max_output_tokens=64)
        assert body["max_tokens"] == 64

    def test_none_is_sent_where_none_is_set(self):
        assert set(body_of(request())) == {"model", "messages"}


class TestUrlAndHeaders:
    @pytest.mark.parametrize(
        ("base_url", "url"),
        [
            (OPENAI, "https://api.openai.com/v1/chat/completions"),
            (OPENAI + "/", "https://api.openai.com/v1/chat/completions"),
            ("https://a.b/d?api-version=2026-01-01", "https://a.b/d/chat/completions?api-version=2026-01-01"),
            ("", "/chat/completions"),
        ],
    )
    def test_the_path_is_added_before_the_query(self, base_url, url):
        assert encode(request(), base_url=base_url).url == url

    def test_the_key_goes_out_as_bearer(self):
        assert dict(encode(request(), headers={"x-team": "a"}).headers) == {
            "Content-Type": "application/json",
            "Authorization": "Bearer sk-secret",
            "x-team": "a",
        }

    def test_without_a_key_there_is_no_authorization(self):
        assert "Authorization" not in encode(request(), key=None, headers={"api-key": "azure"}).headers

    def test_the_providers_own_headers_win(self):
        given_headers = {"authorization": "Basic abc", "content-type": "application/json; charset=utf-8"}
        assert dict(encode(request(), headers=given_headers).headers) == given_headers

    def test_keys_do_not_get_mixed_up(self):
        for key in ("sk-1", "sk-2", "sk-1"):
            assert encode(request(), key=key).headers["Authorization"] == f"Bearer {key}"

    def test_the_shared_headers_cannot_be_changed(self):
        with pytest.raises(TypeError):
            encode(request()).headers["Authorization"] = "Bearer stolen"

    def test_the_key_is_in_no_repr(self):
        assert "sk-secret" not in repr(encode(request()))


class TestNeeds:
    def test_plain_text_needs_nothing(self):
        assert CODEC.needs(request("Hi", temperature=1, response_format={"type": "json_object"})) == frozenset()

    @pytest.mark.parametrize(
        ("of", "need"),
        [
            (request(tools=[TOOL]), Capability.TOOLS),
            (request(functions=[{"name": "f"}]), Capability.TOOLS),
            (request(response_format={"type": "json_schema", "json_schema": {}}), Capability.JSON_SCHEMA),
            (request([{"role": "user", "content": [{"type": "image_url"}]}]), Capability.IMAGES),
            (request([{"role": "user", "content": [{"type": "input_audio"}]}]), Capability.AUDIO),
            (request([{"role": "user", "content": [{"type": "file"}]}]), Capability.FILES),
        ],
    )
    def test_each_need_is_seen(self, of, need):
        assert CODEC.needs(of) == {need}

    def test_needs_add_up(self):
        of = request(TOOL_LOOP, tools=[TOOL], response_format={"type": "json_schema"})
        assert CODEC.needs(of) == {Capability.TOOLS, Capability.IMAGES, Capability.JSON_SCHEMA}

    def test_empty_tools_are_no_need(self):
        assert CODEC.needs(request(tools=[])) == frozenset()


class TestEstimate:
    def test_four_bytes_are_a_token(self):
        assert CODEC.estimate_tokens(request("x" * 396)) == 100  # and "user" is one

    def test_bytes_count_not_characters(self):
        assert CODEC.estimate_tokens(request("ü" * 198)) == 100

    def test_tools_and_tool_calls_count(self):
        plain = CODEC.estimate_tokens(request("Hi"))
        assert CODEC.estimate_tokens(request("Hi", tools=[TOOL])) - plain == pytest.approx(
            len(orjson.dumps([TOOL])) / 4, abs=1
        )
        assert CODEC.estimate_tokens(request(TOOL_LOOP)) > 765

    def test_an_image_costs_by_its_detail_not_by_its_bytes(self):
        def with_image(**image):
            return CODEC.estimate_tokens(request([{"content": [{"type": "image_url", "image_url": image}]}]))

        assert with_image(url="data:image/png;base64," + "A" * 100_000) == 765
        assert with_image(url="https://a.b/c.png", detail="low") == 85

    def test_audio_and_files_cost_by_their_length(self):
        def with_part(part):
            return CODEC.estimate_tokens(request([{"content": [part]}]))

        ten_seconds = {"type": "input_audio", "input_audio": {"data": "A" * 213_333, "format": "mp3"}}
        assert with_part(ten_seconds) == pytest.approx(100, rel=0.1)
        assert with_part({"type": "file", "file": {"file_data": "A" * 100_000}}) == 1001
        assert with_part({"type": "file", "file": {"file_id": "file-1"}}) == 1000

    def test_what_encode_would_refuse_does_not_disturb_it(self):
        odd = [7, {"role": "user", "content": [{"type": "text", "text": "abcd"}, "bare", {"type": "new", "x": "y"}]}]
        assert CODEC.estimate_tokens(request(odd, tools=[{1: object()}])) > 1
        assert CODEC.needs(request(odd)) == frozenset()

    def test_nothing_is_still_a_token(self):
        assert CODEC.estimate_tokens(request([])) == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "image_url", "content", "tools"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    messages=st.lists(ANYTHING, max_size=3),
    wire=st.dictionaries(st.sampled_from(["tools", "response_format", "stream_options"]), ANYTHING),
)
def test_a_request_of_any_shape_is_sent_or_refused_by_name(messages, wire):
    of = request(messages, **wire)
    CODEC.unsupported(of, TARGET, max_output_tokens=None)
    CODEC.needs(of)
    assert CODEC.estimate_tokens(of) >= 1
    try:
        body = body_of(of, stream=True)
    except Unencodable:
        return
    assert body["messages"] == messages


class TestWhatOnlyAnotherDialectCanSay:
    @pytest.mark.parametrize("kind", ["openai", "azure", "vllm", "openrouter"])
    @pytest.mark.parametrize(
        "part",
        [
            {"type": "document", "source": {"type": "content", "content": []}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {"type": "search_result", "source": "https://a.test", "title": "A", "content": []},
            {"type": "container_upload", "file_id": "file_1"},
            {"type": "file", "file": {"file_url": "https://a.test/a.pdf"}},
        ],
        ids=lambda part: part["type"],
    )
    def test_a_part_is_told_once_and_is_needed(self, kind, part):
        (loss,) = REGISTRY[kind].unsupported(
            request([{"role": "user", "content": [text("See:"), part]}]), TARGET, max_output_tokens=None
        )
        assert (loss.path, loss.needed) == ("messages[0].content[1]", True)

    def test_a_tool_of_anthropics_own_is_told(self):
        of = request(tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}])
        (loss,) = CODEC.unsupported(of, TARGET, max_output_tokens=None)
        assert (loss.path, loss.needed) == ("tools[1]", True)

    def test_what_is_merely_unknown_goes_out_as_it_came(self):
        of = request([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://a.test/v"}}]}])
        of = request(list(of.messages), tools=[{"type": "builtin_function", "function": {"name": "$web_search"}}])
        assert CODEC.unsupported(of, TARGET, max_output_tokens=None) == ()
        assert body_of(of)["messages"] == of.messages
