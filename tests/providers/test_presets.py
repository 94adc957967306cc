"""Servers of OpenAI's dialect with a difference: what each is sent, what it loses, and what comes back."""

import copy
import itertools
import json
import re

import pytest
from chat_requests import (
    ASKED,
    CALLS,
    HELLO,
    JSON_SCHEMA,
    LOSSY,
    PNG,
    REQUESTS,
    RESULTS,
    TOOLS,
    WEATHER,
    as_validated,
    image,
    user,
    without,
)
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai_wire import SSE, completion, piece, stream, tool_delta
from pydantic import TypeAdapter

from resilio.config import ProviderSettings, TargetSettings
from resilio.config.kinds import KINDS, Do
from resilio.models import Loss, Request
from resilio.providers import REGISTRY, EmbeddingCodec
from resilio.providers.openai.preset import PresetCodec
from resilio.providers.openai.quirks import call_id

PRESETS = [name for name, kind in KINDS.items() if kind.quirks and name != "azure"]
PARAMS = {False: TypeAdapter(CompletionCreateParamsNonStreaming), True: TypeAdapter(CompletionCreateParamsStreaming)}
UNNAMED = {"deepseek": ("cache_control", "reasoning_content", "thinking")}
"""Fields that only the servers know; the hints of other dialects stand for all."""
MISTRAL_FIELDS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata",
    "response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction",
    "parallel_tool_calls", "reasoning_effort", "prompt_mode", "guardrails", "prompt_cache_key", "safe_prompt",
}  # fmt: skip
"""Of Mistral's own types: any other is a 422."""
MISTRAL_MESSAGES = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


def asked(messages=HELLO, wire=None, **more):
    return Request("chat", messages, {**(wire or {}), **more})


def sent(kind, request, *, streamed=False, limit=None):
    """The body as it goes out."""
    made = REGISTRY[kind].encode(
        request, TargetSettings(provider="p", model="m"), base_url=KINDS[kind].url, key="k", headers={},
        stream=streamed, max_output_tokens=limit,
    )  # fmt: skip
    return json.loads(made.body)


def lost(kind, request):
    return REGISTRY[kind].unsupported(request, TargetSettings(provider="p", model="m"), max_output_tokens=None)


def paths(kind, *args, **more):
    return [loss.path for loss in lost(kind, asked(*args, **more))]


def only_messages(kind, messages, **wire):
    return sent(kind, asked(messages, wire))["messages"]


# --- every preset ------------------------------------------------------------------------------

OWN = {
    "audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"], "moderation": {"model": "m"},
    "verbosity": "low", "web_search_options": {}, "logit_bias": {"50256": -100}, "n": 2, "seed": 7,
    "service_tier": "flex", "logprobs": True, "top_logprobs": 2, "parallel_tool_calls": False,
}  # fmt: skip
"""Fields of OpenAI's that ask for something, and what asks for it."""
SPEECH = ["audio", "modalities", "moderation", "verbosity", "web_search_options"]
TOLD = {
    "mistral": [*SPEECH, "logit_bias", "service_tier", "logprobs", "top_logprobs"],
    "groq": [*SPEECH, "logit_bias", "n", "logprobs", "top_logprobs"],
    "deepseek": [*SPEECH, "logit_bias", "n", "seed", "service_tier", "parallel_tool_calls"],
    "openrouter": ["n"],
    "vllm": [*SPEECH, "service_tier"],
    "ollama": [*SPEECH, "logit_bias", "n", "service_tier", "parallel_tool_calls"],
    "llamacpp": [*SPEECH, "service_tier"],
}
NOTED = ["store", "safety_identifier", "prompt_cache_options", "prompt_cache_retention"]
UNSAID = {
    "mistral": [*NOTED, "user"],
    "groq": [*NOTED, "prediction"],
    "deepseek": [*NOTED, "metadata", "prediction", "prompt_cache_key"],
    "openrouter": NOTED,
    "vllm": [*NOTED, "metadata", "prediction"],
    "ollama": [*NOTED, "metadata", "prediction", "prompt_cache_key", "user"],
    "llamacpp": [*NOTED, "metadata", "prediction", "prompt_cache_key", "user"],
}


@pytest.mark.parametrize("kind", PRESETS)
def test_each_field_of_openais_own_is_sent_or_told_as_its_server_has_it(kind):
    for name, value in OWN.items():
        alone = asked(HELLO, {name: value})
        assert [loss.path for loss in lost(kind, alone)] == ([name] if name in TOLD[kind] else []), name
        there = "random_seed" if (kind, name) == ("mistral", "seed") else name
        assert (there in sent(kind, alone)) is (name not in TOLD[kind]), name


@pytest.mark.parametrize("kind", PRESETS)
def test_what_changes_no_answer_is_left_out_without_a_word_where_it_is_not_known(kind):
    for name in (*NOTED, "metadata", "prediction", "prompt_cache_key", "user"):
        alone = asked(HELLO, {name: "x"})
        assert lost(kind, alone) == ()
        assert (name in sent(kind, alone)) is (name not in UNSAID[kind]), name


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_is_one_of_the_sdks_own(kind, name):
    messages, wire = copy.deepcopy(REQUESTS[name])
    for streamed in (False, True):
        made = sent(kind, asked(messages, wire), streamed=streamed, limit=64)
        assert made.get("stream", False) is streamed
        if kind == "mistral":
            validate_for_mistral(made)
            continue
        if any("file_url" in str(message) for message in messages):
            continue  # a form of our callers', which OpenAI's own types do not have
        if name != "image as a result":  # which OpenAI's own servers do not take, and others do
            made = without(made, *UNNAMED.get(kind, ("cache_control",)))
            assert as_validated(PARAMS[streamed], made) == made
        assert ("stream_options" in made) is streamed
    assert (messages, wire) == REQUESTS[name], "the caller's own was changed"


def validate_for_mistral(made):
    assert set(made) <= MISTRAL_FIELDS
    roles = [message["role"] for message in made["messages"]]
    follows = {"system": {"user", "assistant", "system"}, "user": {"assistant", "system", "user"},
               "assistant": {"assistant", "user", "tool"}, "tool": {"assistant", "tool"}}  # fmt: skip
    assert all(later in follows[role] for role, later in itertools.pairwise(roles))
    assert roles[-1] in ("user", "tool") or made["messages"][-1].get("prefix") or made["messages"][-1].get("tool_calls")
    assert made.get("tool_choice") in (None, "auto", "none", "any") or isinstance(made["tool_choice"], dict)
    for message in made["messages"]:
        assert set(message) <= MISTRAL_MESSAGES[message["role"]]
        ids = [its["id"] for its in message.get("tool_calls") or ()] + [message.get("tool_call_id")]
        assert all(re.fullmatch("[A-Za-z0-9]{9}", each) for each in ids if each)


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("name", LOSSY)
def test_what_is_lost_is_told_and_not_sent(kind, name):
    request = asked(*LOSSY[name])
    losses, made = lost(kind, request), sent(kind, request)
    for loss in losses:
        if not loss.needed and "." not in loss.path:
            assert loss.path not in made
    if kind == "mistral":
        validate_for_mistral(made)
    if name == "custom tool":
        assert losses == (Loss("tools[0]", "only functions can be called", needed=True),)


@pytest.mark.parametrize("kind", PRESETS)
def test_a_developer_is_a_system_where_nobody_knows_one(kind):
    talk = [{"role": "developer", "content": "Be brief."}, *HELLO]
    assert only_messages(kind, talk)[0]["role"] == ("developer" if kind == "openrouter" else "system")


@pytest.mark.parametrize("kind", PRESETS)
def test_a_refusal_is_said_as_content(kind):
    talk, _ = REQUESTS["refusal kept"]
    assert only_messages(kind, talk)[1] == {"role": "assistant", "content": "No."}
    assert only_messages(kind, [*HELLO, {"role": "assistant", "content": "Hi", "refusal": None}, *HELLO])[1] == {
        "role": "assistant",
        "content": "Hi",
    }


@pytest.mark.parametrize("kind", PRESETS)
def test_a_request_without_anything_odd_is_not_copied(kind):
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    request = asked(messages, temperature=0.5, top_p=0.9, stop=["END"], presence_penalty=0.1)
    assert lost(kind, request) == ()
    assert request.translations[kind][0] is request


@pytest.mark.parametrize("kind", PRESETS)
def test_neutral_values_are_no_loss(kind):
    request = asked(n=1, logprobs=False, top_logprobs=0, logit_bias={}, parallel_tool_calls=True, service_tier="auto")
    assert lost(kind, request) == ()
    assert lost(kind, asked(n=None, seed=None, logit_bias=None, service_tier=None)) == ()


def test_what_is_translated_is_translated_once():
    request = asked(seed=7)
    codec = REGISTRY["mistral"]
    target = TargetSettings(provider="p", model="m")
    codec.unsupported(request, target, max_output_tokens=None)
    first = request.translations["mistral"]
    sent("mistral", request)
    assert request.translations["mistral"] is first


@pytest.mark.parametrize("kind", PRESETS)
def test_an_older_function_is_a_tool(kind):
    wire = {"functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}}
    made = sent(kind, asked(HELLO, wire))
    assert made["tools"][0]["function"]["name"] == "get_weather"
    assert "functions" not in made
    assert "function_call" not in made
    if kind not in ("ollama", "llamacpp"):
        assert made["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    talk, wire = REQUESTS["older function result"]
    call, result = only_messages(kind, talk, **wire)[-2:]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert (call["tool_calls"][0]["function"]["name"], result["role"]) == ("get_time", "tool")


@pytest.mark.parametrize("kind", PRESETS)
def test_of_tools_that_are_allowed_only_those_are_sent(kind):
    messages, wire = REQUESTS["tools allowed"]
    request = asked(messages, wire)
    made = sent(kind, request)
    assert [tool["function"]["name"] for tool in made["tools"]] == ["get_time"]
    assert made.get("tool_choice", "auto") == "auto"
    assert lost(kind, request) == ()
    nobody = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert "tools" not in sent(kind, asked(tools=TOOLS, tool_choice=nobody))
    assert lost(kind, asked(tools=TOOLS, tool_choice=nobody)) == ()
    nobody = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}
    assert "tool_choice" in [loss.path for loss in lost(kind, asked(tools=TOOLS, tool_choice=nobody))]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "type", "text", "image_url", "content", "tools", "id", "tool_calls"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    kind=st.sampled_from(PRESETS),
    messages=st.lists(ANYTHING, max_size=3),
    wire=st.dictionaries(
        st.sampled_from(["tools", "tool_choice", "functions", "response_format", "seed", "n", "user", "stop"]), ANYTHING
    ),
)
def test_a_request_of_any_shape_is_put_into_form_and_the_callers_own_left_alone(kind, messages, wire):
    before = copy.deepcopy((messages, wire))
    lost(kind, asked(messages, wire))
    sent(kind, asked(messages, wire), streamed=True)
    assert (messages, wire) == before


# --- one by one --------------------------------------------------------------------------------


def test_mistral_hears_of_seed_required_and_developer_in_its_own_words():
    messages = [{"role": "developer", "content": "Be brief."}, *HELLO]
    made = sent("mistral", asked(messages, seed=7, tools=TOOLS, tool_choice="required", max_completion_tokens=9))
    assert (made["random_seed"], made["tool_choice"], made["max_tokens"]) == (7, "any", 9)
    assert made["messages"][0] == {"role": "system", "content": "Be brief."}
    assert not {"seed", "max_completion_tokens"} & made.keys()


def test_a_stream_of_mistrals_is_not_asked_for_usage():
    made = sent("mistral", asked(stream_options={"include_usage": True}), streamed=True)
    assert made["stream"] is True
    assert "stream_options" not in made


def test_ids_of_calls_fit_mistral_in_call_and_result_alike():
    call, *results = only_messages("mistral", [ASKED, CALLS, *RESULTS])[1:]
    assert [its["id"] for its in call["tool_calls"]] == [its["tool_call_id"] for its in results]
    assert len({its["id"] for its in call["tool_calls"]}) == 3


@given(st.text())
def test_an_id_is_made_to_fit_once_and_for_all(given):
    made = call_id(given)
    assert re.fullmatch("[A-Za-z0-9]{9}", made)
    assert call_id(made) == made


def test_an_id_that_fits_stays():
    assert call_id("D681PevKs") == "D681PevKs"


def test_mistral_is_told_no_speakers_and_no_thoughts():
    talk = [
        {"role": "user", "name": "Ann", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "Hm", "reasoning": "Hm"},
        *HELLO,
    ]
    assert lost("mistral", asked(talk)) == (Loss("messages[0].name", "only results of tools have one"),)
    assert only_messages("mistral", talk)[:2] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]
    result = {"role": "tool", "tool_call_id": "D681PevKs", "name": "get_time", "content": "noon"}
    assert only_messages("mistral", [result]) == [result]


def test_mistral_sees_its_own_order_of_roles():
    late = {"role": "system", "content": "Be brief."}
    talk = [
        {"role": "system", "content": "You know."},
        ASKED,
        CALLS,
        *RESULTS,
        late,
        {"role": "user", "content": "And?"},
    ]
    made = only_messages("mistral", talk)
    assert [message["role"] for message in made] == [
        "system",
        "system",
        "user",
        "assistant",
        *["tool"] * 3,
        "assistant",
        "user",
    ]
    assert (made[1], made[-2]) == (late, {"role": "assistant", "content": "."})


def test_an_answer_that_is_begun_is_marked_for_mistral():
    begun = {"role": "assistant", "content": "The answer is "}
    assert only_messages("mistral", [*HELLO, begun])[-1] == {**begun, "prefix": True}
    assert only_messages("mistral", [*HELLO, begun, *HELLO])[1] == begun


@pytest.mark.parametrize("kind", ["groq", "deepseek"])
def test_text_in_parts_is_one_text_where_parts_are_refused(kind):
    talk = [{"role": "system", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]}, *HELLO]
    assert only_messages(kind, talk)[0] == {"role": "system", "content": "Be\n\nbrief."}
    looked = user({"type": "text", "text": "What?"}, image(f"data:image/png;base64,{PNG}"))
    assert only_messages(kind, looked) == looked


def test_a_recording_goes_to_mistral_as_bare_base64():
    talk = user({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}})
    assert only_messages("mistral", talk)[0]["content"] == [{"type": "input_audio", "input_audio": PNG}]


@pytest.mark.parametrize("wire", [{"logprobs": True}, {"top_logprobs": 3}, {"logit_bias": {"1": 2}}, {"n": 2}])
def test_what_groq_answers_with_400_is_told_before(wire):
    (name,) = wire
    assert paths("groq", **wire) == [name]
    assert name not in sent("groq", asked(**wire))


def test_groq_is_sent_no_thoughts_under_anothers_name():
    talk = [{"role": "assistant", "content": "Hi", "reasoning_content": "Hm", "reasoning": "So"}, *HELLO]
    assert only_messages("groq", talk)[0] == {"role": "assistant", "content": "Hi", "reasoning": "So"}


@pytest.mark.parametrize("kind", ["groq", "mistral"])
def test_strict_servers_are_sent_no_marks_for_the_cache(kind):
    mark = {"cache_control": {"type": "ephemeral"}}
    looked = [{"type": "text", "text": "Look.", **mark}, image(f"data:image/png;base64,{PNG}")]
    talk = [{"role": "user", "content": looked}, CALLS, {**RESULTS[0], **mark}, *RESULTS[1:]]
    request = asked(talk, tools=[{**TOOLS[0], **mark}])
    before = copy.deepcopy(request.messages)
    body = sent(kind, request)
    assert "cache_control" not in json.dumps(body)
    assert body["tools"] == [TOOLS[0]]
    assert lost(kind, request) == ()
    assert request.messages == before


def test_marks_for_the_cache_are_sent_on_by_openrouter():
    part = {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}
    assert only_messages("openrouter", user(part)) == user(part)


@pytest.mark.parametrize("kind", ["groq", "mistral"])
def test_an_answer_as_openais_sdk_writes_it_down_is_taken_by_strict_servers(kind):
    dumped = {
        "role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None, "function_call": None,
        "tool_calls": CALLS["tool_calls"],
    }  # fmt: skip
    dumped["reasoning_details"] = [{"type": "reasoning.text", "text": "of another server"}]
    request = asked([ASKED, dumped, *RESULTS], tool_choice=None, reasoning_effort=None)
    assert lost(kind, request) == ()
    body = sent(kind, request)
    assert set(body["messages"][1]) == {"role", "content", "tool_calls"}
    assert set(body) == {"model", "messages"}
    spoken = asked([*HELLO, {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}, *HELLO])
    assert [loss.path for loss in lost(kind, spoken)] == ["messages[1].audio"]


@pytest.mark.parametrize("kind", PRESETS)
def test_a_refusal_in_parts_is_said_as_text(kind):
    talk = [*HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "I won't."}]}, *HELLO]
    content = only_messages(kind, talk)[1]["content"]
    assert content in ("I won't.", [{"type": "text", "text": "I won't."}])


def test_groq_is_told_no_speakers_and_keeps_the_name_of_a_tool():
    talk = [{"role": "user", "name": "Ann", "content": "Hello"}, {"role": "tool", "name": "f", "content": "noon"}]
    assert lost("groq", asked(talk)) == (Loss("messages[0].name", "400 if supplied"),)
    assert only_messages("groq", talk) == [{"role": "user", "content": "Hello"}, talk[1]]


@pytest.mark.parametrize("kind", [kind for kind in PRESETS if kind != "openrouter"])
def test_a_document_is_never_left_out_where_none_is_read(kind):
    paper = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjcK"}}
    (loss,) = lost(kind, asked(user(paper)))
    assert (loss.path, loss.needed) == ("messages[0].content[0]", True)
    assert lost("openrouter", asked(user(paper))) == ()


def test_deepseek_takes_json_in_place_of_a_schema_where_the_prompt_says_so():
    talk = [{"role": "user", "content": [{"type": "text", "text": "As JSON, please."}]}]
    request = asked(talk, response_format=JSON_SCHEMA)
    assert [loss.path for loss in lost("deepseek", request)] == ["response_format"]
    assert sent("deepseek", request)["response_format"] == {"type": "json_object"}
    assert "response_format" not in sent("deepseek", asked(response_format=JSON_SCHEMA))
    plain = asked(response_format={"type": "json_object"})
    assert lost("deepseek", plain) == ()
    assert sent("deepseek", plain)["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(("said", "heard"), [("minimal", "low"), ("medium", "high"), ("xhigh", "high"), ("max", "max")])
def test_deepseek_hears_efforts_it_knows(said, heard):
    assert sent("deepseek", asked(reasoning_effort=said))["reasoning_effort"] == heard


def test_deepseek_does_not_think_where_no_effort_is_asked_for():
    request = asked(reasoning_effort="none")
    assert lost("deepseek", request) == ()
    assert sent("deepseek", request) == {"model": "m", "messages": HELLO, "thinking": {"type": "disabled"}}
    own = sent("deepseek", asked(reasoning_effort="none", thinking={"type": "enabled"}))
    assert own == {"model": "m", "messages": HELLO, "thinking": {"type": "enabled"}}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_time"}}])
def test_deepseek_does_not_think_where_a_call_is_forced(choice):
    forced = asked(tools=TOOLS, tool_choice=choice)
    assert lost("deepseek", forced) == ()
    made = sent("deepseek", forced)
    assert (made["tool_choice"], made["thinking"]) == (choice, {"type": "disabled"})
    effort = asked(tools=TOOLS, tool_choice=choice, reasoning_effort="high")
    assert [loss.path for loss in lost("deepseek", effort)] == ["reasoning_effort"]
    assert "reasoning_effort" not in sent("deepseek", effort)
    assert lost("deepseek", asked(tools=TOOLS, tool_choice=choice, reasoning_effort="none")) == ()
    own = {"thinking": {"type": "enabled"}}
    assert sent("deepseek", asked(tools=TOOLS, tool_choice=choice, **own))["thinking"] == own["thinking"]
    for free in ("auto", "none"):
        assert "thinking" not in sent("deepseek", asked(tools=TOOLS, tool_choice=free))
    assert "thinking" not in sent("deepseek", asked(tool_choice=choice))


def test_deepseek_sees_pictures_and_hears_nothing():
    talk = user({"type": "text", "text": "What?"}, image(f"data:image/png;base64,{PNG}"))
    assert lost("deepseek", asked(talk)) == ()
    assert only_messages("deepseek", talk) == talk
    (loss,) = lost("deepseek", asked(user({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}})))
    assert loss == Loss("messages[0].content[0]", "it reads text and pictures", needed=True)


def test_reasoning_goes_back_to_deepseek_with_the_calls_it_led_to_and_to_nobody_else():
    codec = REGISTRY["deepseek"]
    calls = [{"id": "c", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]
    whole = codec.decode(200, {}, json.dumps(completion(
        {"content": None, "reasoning_content": "I need the time.", "tool_calls": calls}, finish="tool_calls"
    )).encode())  # fmt: skip
    decoder = codec.stream_decoder(200, SSE)
    decoder.feed(stream(
        piece({"reasoning_content": "I need "}), piece({"reasoning_content": "the time."}),
        piece(tool_delta(0, id="c", name="get_time", arguments="{}")), piece(finish="tool_calls"),
    ))  # fmt: skip
    for answer in (whole, decoder.answer()):
        message = {"role": "assistant", "content": None, "tool_calls": calls, **answer.extras}
        talk = [*HELLO, message, {"role": "tool", "tool_call_id": "c", "content": "noon"}]
        back = only_messages("deepseek", talk)[1]
        said = {"role": "assistant", "content": None, "tool_calls": calls}
        assert back == {**said, "reasoning_content": "I need the time."}
        for other in ("openai", "groq", "mistral", "vllm"):
            assert "I need the time." not in json.dumps(only_messages(other, talk))


SIGNED = [
    {"type": "reasoning.text", "text": "I need the time.", "signature": "c2ln", "format": "g-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "b3BhcXVl", "id": "c", "format": "g-v1", "index": 1},
]


def _streamed(*deltas):
    decoder = REGISTRY["openrouter"].stream_decoder(200, SSE)
    call = piece(tool_delta(0, id="c", name="get_time", arguments="{}"))
    decoder.feed(stream(*(piece({"reasoning_details": its}) for its in deltas), call, piece(finish="tool_calls")))
    return decoder.answer()


def test_signed_reasoning_goes_back_to_openrouter_with_the_calls_it_led_to_and_to_nobody_else():
    calls = [{"id": "c", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]
    whole = REGISTRY["openrouter"].decode(200, {}, json.dumps(completion(
        {"content": None, "reasoning_details": SIGNED, "tool_calls": calls}, finish="tool_calls"
    )).encode())  # fmt: skip
    streamed = _streamed(
        [{"type": "reasoning.text", "text": "I need ", "signature": None, "format": "g-v1", "index": 0}],
        [{"type": "reasoning.text", "text": "the time.", "signature": "c2ln", "format": "g-v1", "index": 0}],
        [SIGNED[1]],
    )
    for answer in (whole, streamed):
        message = {"role": "assistant", "content": None, "tool_calls": calls, **answer.extras}
        talk = [*HELLO, message, {"role": "tool", "tool_call_id": "c", "content": "noon"}]
        back = only_messages("openrouter", talk)[1]
        assert back == {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_details": SIGNED}
        for other in ("openai", "groq", "mistral", "vllm", "deepseek"):
            assert "b3BhcXVl" not in json.dumps(only_messages(other, talk))


def test_signed_reasoning_that_the_caller_kept_themselves_wins():
    kept = {**CALLS, "reasoning_details": SIGNED, "reasoning_given_back": "of another server"}
    assert only_messages("openrouter", [ASKED, kept, *RESULTS])[1] == {**CALLS, "reasoning_details": SIGNED}


@pytest.mark.parametrize("odd", [None, "text", {}, [None, "a", 1], []])
def test_reasoning_of_no_known_shape_is_not_given_back(odd):
    assert _streamed(odd).extras is None
    calls = [{"id": "c", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]
    body = json.dumps(completion({"reasoning_details": odd, "tool_calls": calls}, finish="tool_calls")).encode()
    assert REGISTRY["openrouter"].decode(200, {}, body).extras is None


def test_a_call_that_another_made_goes_to_deepseek_with_an_empty_thought():
    assert only_messages("deepseek", [ASKED, CALLS, *RESULTS])[1]["reasoning_content"] == ""
    kept = {**CALLS, "reasoning_content": "My own."}
    assert only_messages("deepseek", [ASKED, kept, *RESULTS])[1]["reasoning_content"] == "My own."


def test_an_answer_of_deepseeks_without_calls_has_nothing_to_give_back():
    answer = REGISTRY["deepseek"].decode(200, {}, json.dumps(completion({"reasoning_content": "Hm"})).encode())
    assert (answer.reasoning, answer.extras) == ("Hm", None)


def test_ollama_looks_at_pictures_it_is_given_and_fetches_none():
    assert lost("ollama", asked(user(image(f"data:image/png;base64,{PNG}")))) == ()
    (loss,) = lost("ollama", asked(user(image("https://a.test/x.jpg"))))
    assert loss == Loss("messages[0].content[0]", "pictures are taken as base64 alone", needed=True)


@pytest.mark.parametrize("choice", ["required", "none", {"type": "function", "function": {"name": "get_time"}}])
def test_ollama_leaves_the_choice_of_tools_to_the_model(choice):
    assert paths("ollama", tools=TOOLS, tool_choice=choice) == ["tool_choice"]
    assert "tool_choice" not in sent("ollama", asked(tools=TOOLS, tool_choice=choice))
    assert lost("ollama", asked(tools=TOOLS, tool_choice="auto")) == ()


def test_llamacpp_can_require_a_tool_and_not_name_one():
    assert lost("llamacpp", asked(tools=TOOLS, tool_choice="required")) == ()
    named = {"type": "function", "function": {"name": "get_time"}}
    assert paths("llamacpp", tools=TOOLS, tool_choice=named) == ["tool_choice"]


@pytest.mark.parametrize("kind", ["mistral", "deepseek", "ollama", "llamacpp"])
def test_a_limit_by_its_new_name_is_sent_by_its_old_one(kind):
    assert sent(kind, asked(max_completion_tokens=9), limit=5)["max_tokens"] == 9
    both = sent(kind, asked(max_completion_tokens=9, max_tokens=7))
    assert (both["max_tokens"], "max_completion_tokens" in both) == (7, False)
    assert sent(kind, asked(), limit=5)["max_tokens"] == 5


@pytest.mark.parametrize("kind", PRESETS)
def test_a_provider_gives_its_codec_a_name_and_keeps_what_it_knows(kind):
    codec = REGISTRY[kind].for_provider(ProviderSettings(name="mine", kind=kind, base_url="http://127.0.0.1/v1"))
    assert isinstance(codec, PresetCodec)
    assert "mine" in str(codec.error(500, {}, b"{}", wall_now=0.0))
    assert lost(kind, asked(tools=[{"type": "custom", "custom": {"name": "sql"}}]))[0].needed


def test_every_quirk_says_where_it_is_known_from():
    for kind in KINDS.values():
        for quirk in kind.quirks:
            assert quirk.source, (kind.name, quirk.field)
            assert quirk.to or quirk.why or quirk.do in (Do.HINT, Do.MESSAGE), (kind.name, quirk.field)
            assert str(quirk)


@pytest.mark.parametrize("kind", PRESETS)
def test_who_makes_no_vectors_is_not_asked_for_any(kind):
    assert isinstance(REGISTRY[kind], EmbeddingCodec) is KINDS[kind].embeddings
    assert isinstance(REGISTRY[kind], EmbeddingCodec) is (kind not in ("groq", "deepseek"))


def test_vectors_are_asked_for_in_the_words_of_their_server():
    request = Request("embed", (), {"dimensions": 8, "user": "ann"}, inputs=("a", "b"))
    target = TargetSettings(provider="p", model="m")
    bodies = {
        kind: json.loads(
            REGISTRY[kind].encode_embeddings(request, target, base_url=KINDS[kind].url, key="k", headers={}).body
        )
        for kind in ("mistral", "vllm")
    }
    assert bodies["mistral"] == {"model": "m", "input": ["a", "b"], "output_dimension": 8}
    assert bodies["vllm"] == {"model": "m", "input": ["a", "b"], "dimensions": 8, "user": "ann"}


@pytest.mark.parametrize("kind", [*PRESETS, "azure"])
def test_tools_have_one_order_where_prompts_are_to_be_cached(kind):
    orders = []
    for tools in (TOOLS, TOOLS[::-1]):
        made = REGISTRY[kind].encode(
            asked(tools=tools), TargetSettings(provider="p", model="m", prompt_cache="auto"),
            base_url=KINDS[kind].url or "https://mine.openai.azure.com", key="k", headers={}, stream=False,
            max_output_tokens=None,
        )  # fmt: skip
        orders.append([tool["function"]["name"] for tool in json.loads(made.body)["tools"]])
    assert orders == [["get_time", "get_weather"]] * 2
