"""What is sent to Gemini: held against the official SDK's own types and converters, and looked at field by field."""

import base64
import copy
import itertools
import json

import orjson
import pytest
from chat_requests import ASKED, CALLS, HELLO, JSON_SCHEMA, LOOP, LOSSY, PNG, REQUESTS, SCHEMA, TOOLS, call, image, user
from google.auth.credentials import AnonymousCredentials
from google.genai import Client, models, types
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from resilio.config import ProviderSettings, TargetSettings
from resilio.errors import Unencodable
from resilio.models import Request
from resilio.providers import OpenAICodec
from resilio.providers.gemini import GeminiCodec
from resilio.providers.gemini.contents import SENTINEL

NEW, OLDER, OLDEST = "gemini-3-pro-preview", "gemini-2.5-flash", "gemini-2.0-flash"
CODEC = GeminiCodec()
SDK = Client(api_key="x")._api_client
VERTEX = CODEC.for_provider(
    ProviderSettings(name="v", kind="gemini", base_url="https://aiplatform.googleapis.com/v1/projects/p")
)
VERTEX_SDK = Client(vertexai=True, project="p", location="global", credentials=AnonymousCredentials())._api_client
LOSES = {
    "two images": "messages[0].content[1]",  # a GIF
    "one tool at a time": "parallel_tool_calls",
}
"""Requests of the common kind that nothing of Gemini's can say in full."""
MORE = {
    OLDER: {"json schema and tools": "response_format"},
    OLDEST: {
        "json schema and tools": "response_format", "strict tool": "tools", "low effort": "reasoning_effort",
        "high effort": "reasoning_effort", "image by url": "messages[0].content[1]",
        "pdf by url": "messages[0].content[0]",
    },
    NEW: {"no effort": "reasoning_effort"},
}  # fmt: skip
"""And those of one model."""
KEPT = ("temperature", "hot", "top_p", "seed", "several answers", "logprobs", "penalties", "json object", "sound")
"""Requests with something that not every dialect can say, and this one can."""


def sent(messages=HELLO, wire=None, *, model=NEW, limit=None, stream=False, codec=CODEC, key="sk",
         base="https://generativelanguage.googleapis.com", headers=None, **more):  # fmt: skip
    """The request as it goes out."""
    request = Request("chat", messages, {**(wire or {}), **more})
    return codec.encode(
        request, TargetSettings(provider="a", model=model), base_url=base, key=key, headers=headers or {},
        stream=stream, max_output_tokens=limit,
    )  # fmt: skip


def body(*args, **more):
    return json.loads(sent(*args, **more).body)


def config(*args, **more):
    return body(*args, **more).get("generationConfig", {})


def lost(messages=HELLO, wire=None, *, model=NEW, limit=None, codec=CODEC, **more):
    request = Request("chat", messages, {**(wire or {}), **more})
    return codec.unsupported(request, TargetSettings(provider="a", model=model), max_output_tokens=limit)


def paths(*args, **more):
    return [loss.path for loss in lost(*args, **more)]


def plain(value):
    """What the SDK is about to send, as JSON."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json", by_alias=True, exclude_none=True))
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return base64.urlsafe_b64encode(value).decode() if isinstance(value, bytes) else value


def validate(made, *, vertex=False):
    """By the SDK's own types, which refuse what they do not name; what it would send of it itself is the same."""
    top = {name: value for name, value in made.items() if name not in ("contents", "generationConfig")}
    asked = {"model": "m", "contents": made["contents"], "config": {**made.get("generationConfig", {}), **top}}
    parameters = types._GenerateContentParameters.model_validate(copy.deepcopy(asked))
    if vertex:
        again = plain(models._GenerateContentParameters_to_vertex(VERTEX_SDK, parameters))
    else:
        again = plain(models._GenerateContentParameters_to_mldev(SDK, parameters))
    del again["_url"]
    again.setdefault("generationConfig", {})
    if "systemInstruction" in again:  # the SDK gives it a role, which changes nothing
        again["systemInstruction"].pop("role", None)
    assert again == {**made, "generationConfig": made.get("generationConfig", {})}


@pytest.mark.parametrize("model", [NEW, OLDER, OLDEST])
@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_is_one_of_the_sdks_own(name, model):
    messages, wire = copy.deepcopy(REQUESTS[name])
    made = body(messages, wire, model=model)
    assert made == body(messages, wire, model=model, stream=True)
    assert (messages, wire) == REQUESTS[name], "the caller's own was changed"
    if not any(loss.needed for loss in lost(messages, wire, model=model)):
        validate(made)
    roles = [content["role"] for content in made["contents"]]
    assert roles[:1] == ["user"] or (name, model) == ("pdf by url", OLDEST)
    assert all(one != other for one, other in itertools.pairwise(roles))


@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_is_one_of_the_sdks_own_for_vertex_too(name):
    assert paths(*REQUESTS[name], codec=VERTEX, model=OLDER) == paths(*REQUESTS[name], model=OLDER)
    if not any(loss.needed for loss in lost(*REQUESTS[name], codec=VERTEX, model=OLDER)):
        validate(body(*REQUESTS[name], codec=VERTEX, model=OLDER), vertex=True)


@pytest.mark.parametrize("model", [NEW, OLDER, OLDEST])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_of_the_common_kind_loses_nothing_but_what_is_listed(name, model):
    expected = {**LOSES, **MORE[model]}.get(name)
    if name == "two images" and model == OLDEST:
        expected = "messages[0].content[1]"
    assert paths(*REQUESTS[name], model=model) == ([expected] if expected else [])


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_lost_is_told_and_not_sent(name):
    messages, wire = LOSSY[name]
    losses, made = lost(messages, wire), body(messages, wire)
    assert bool(losses) is (name not in KEPT)
    assert any(loss.needed for loss in losses) is (name in ("file by id", "custom tool"))
    if made["contents"]:
        validate(made)
    assert not {"verbosity", "logit_bias"} & made.keys()


class TestEnvelope:
    def test_url_and_key(self):
        made = sent()
        assert made.url == f"https://generativelanguage.googleapis.com/v1beta/models/{NEW}:generateContent"
        assert made.headers["x-goog-api-key"] == "sk"
        assert "sk" not in repr(made)
        assert sent(stream=True).url.endswith(f"/v1beta/models/{NEW}:streamGenerateContent?alt=sse")

    @pytest.mark.parametrize(
        ("base", "model", "url"),
        [
            ("https://a.test", "m", "https://a.test/v1beta/models/m:generateContent"),
            ("https://a.test/", "m", "https://a.test/v1beta/models/m:generateContent"),
            ("https://a.test/v1", "m", "https://a.test/v1/models/m:generateContent"),
            ("https://a.test/v1beta/", "m", "https://a.test/v1beta/models/m:generateContent"),
            ("https://a.test/v1alpha", "m", "https://a.test/v1alpha/models/m:generateContent"),
            ("https://a.test/gemini", "m", "https://a.test/gemini/v1beta/models/m:generateContent"),
            ("https://a.test/?k=v", "m", "https://a.test/v1beta/models/m:generateContent?k=v"),
            ("https://a.test", "tunedModels/x", "https://a.test/v1beta/tunedModels/x:generateContent"),
            ("https://a.test", "a?b", "https://a.test/v1beta/models/a%3Fb:generateContent"),
            (
                "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/publishers/google", "m",
                "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/publishers/google/models/m"
                ":generateContent",
            ),
        ],
    )  # fmt: skip
    def test_a_base_url_may_name_its_version_or_not(self, base, model, url):
        made = sent(base=base, model=model, key=None)
        assert made.url == url
        assert "x-goog-api-key" not in made.headers
        streamed = sent(base=base, model=model, stream=True).url
        assert streamed.endswith("alt=sse")
        assert streamed.count("?") == 1

    def test_the_providers_own_headers_win(self):
        headers = {"Authorization": "Bearer x"}
        assert dict(sent(headers=headers).headers) == {"Content-Type": "application/json", **headers}

    def test_a_limit_is_sent_where_there_is_one(self):
        assert "maxOutputTokens" not in config()
        assert config(limit=500)["maxOutputTokens"] == 500
        assert config(limit=500, max_tokens=7)["maxOutputTokens"] == 7


class TestContents:
    def test_system_messages_stand_apart_in_order(self):
        made = body(*REQUESTS["two system messages"])
        assert made["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "In German."}]}
        assert made["contents"] == [{"role": "user", "parts": [{"text": "Hello"}]}]

    def test_a_conversation_that_the_assistant_begins_gets_a_turn_before_it(self):
        first, second, _ = body(*REQUESTS["assistant first"])["contents"]
        assert (first["parts"], second["role"]) == ([{"text": "."}], "model")

    def test_a_system_message_alone_gets_a_turn_after_it(self):
        made = body([{"role": "system", "content": "Tell a joke."}])
        validate(made)
        assert made["systemInstruction"] == {"parts": [{"text": "Tell a joke."}]}
        assert made["contents"] == [{"role": "user", "parts": [{"text": "."}]}]

    def test_results_answer_calls_by_name_and_id_in_one_turn(self):
        made = body([*LOOP, {"role": "user", "content": "Thanks"}], tools=TOOLS)["contents"]
        assert [content["role"] for content in made] == ["user", "model", "user"]
        text, *calling = made[1]["parts"]
        assert text == {"text": "Let me look."}
        assert [part["functionCall"]["args"] for part in calling] == [{"city": "Köln"}, {"city": "Oslo"}, {}]
        *results, last = made[2]["parts"]
        assert last == {"text": "Thanks"}
        assert [part["functionResponse"] for part in results] == [
            {"id": "call_1", "name": "get_weather", "response": {"result": "12 degrees"}},
            {"id": "call_2", "name": "get_weather", "response": {"result": "3 degrees"}},
            {"id": "call_3", "name": "get_time", "response": {"result": "noon"}},
        ]

    def test_results_that_come_after_the_users_words_are_moved_before_them(self):
        made = body([LOOP[0], CALLS, {"role": "user", "content": "Well?"}, *LOOP[2:]])
        assert "functionResponse" in made["contents"][-1]["parts"][0]

    def test_a_failed_tool_gives_an_error(self):
        failed = [LOOP[0], CALLS, *({**each, "is_error": True} for each in LOOP[2:])]
        results = body(failed)["contents"][2]["parts"]
        assert [list(part["functionResponse"]["response"]) for part in results] == [["error"]] * 3

    def test_pictures_in_a_result_stand_in_it_or_behind_it(self):
        picture = {"inlineData": {"mimeType": "image/png", "data": PNG}}
        (result,) = body(*REQUESTS["image as a result"])["contents"][2]["parts"]
        assert result["functionResponse"]["parts"] == [picture]
        result, behind = body(*REQUESTS["image as a result"], model=OLDER)["contents"][2]["parts"]
        assert "parts" not in result["functionResponse"]
        assert behind == picture

    def test_a_result_of_no_call_is_never_left_out(self):
        (loss,) = lost([*HELLO, {"role": "tool", "tool_call_id": "x", "content": "y"}])
        assert (loss.path, loss.needed) == ("messages[1]", True)
        (loss,) = lost([*HELLO, {"role": "tool", "content": "y"}])
        assert loss.needed

    def test_arguments_that_are_no_json_are_wrapped(self):
        part = body(*REQUESTS["broken arguments"])["contents"][1]["parts"][0]
        assert part["functionCall"]["args"] == {"_raw": '{"city": "K'}

    def test_a_prefill_is_the_last_turn_of_the_models(self):
        made = body(*REQUESTS["prefill"])["contents"]
        assert made[-1] == {"role": "model", "parts": [{"text": "The answer is "}]}
        assert CODEC.prefilled("The answer is ") == "The answer is "

    def test_an_unknown_part_or_role_is_never_left_out(self):
        (loss,) = lost([*HELLO, {"role": "user", "content": [{"type": "hologram"}]}])
        assert (loss.path, loss.needed) == ("messages[1].content[0]", True)
        (loss,) = lost([*HELLO, {"role": "narrator", "content": "x"}])
        assert (loss.path, loss.needed) == ("messages[1]", True)
        (loss,) = lost([{"role": "system", "content": [image("https://a.test/x.png")]}, *HELLO])
        assert loss.needed


def parts_of(*content, **more):
    return body(user(*content), **more)["contents"][0]["parts"]


class TestMedia:
    def test_base64_goes_inline(self):
        assert parts_of(image(f"data:image/png;base64,{PNG}")) == [
            {"inlineData": {"mimeType": "image/png", "data": PNG}}
        ]

    def test_urls_are_fetched_by_google_where_it_does(self):
        linked = image("https://a.test/x.jpg?size=2")
        made = [{"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.test/x.jpg?size=2"}}]
        assert parts_of(linked) == parts_of(linked, model=OLDER) == made
        (loss,) = lost(user(linked), model=OLDEST)
        assert (loss.needed, "base64" in loss.why) == (True, True)
        assert lost(user(linked), model=OLDEST, codec=VERTEX) == ()
        assert lost(user(image("http://a.test/x.jpg")))[0].needed, "only https is fetched"

    def test_a_url_without_an_ending_has_no_type(self):
        assert parts_of(image("https://a.test/picture")) == [{"fileData": {"fileUri": "https://a.test/picture"}}]

    @pytest.mark.parametrize(
        ("file_id", "uri"),
        [
            ("files/abc", "https://generativelanguage.googleapis.com/v1beta/files/abc"),
            ("gs://bucket/a.pdf", "gs://bucket/a.pdf"),
        ],
    )
    def test_its_own_files_go_by_their_name(self, file_id, uri):
        (part,) = parts_of({"type": "file", "file": {"file_id": file_id}}, model=OLDEST)
        assert part["fileData"]["fileUri"] == uri

    def test_sound_and_documents_go_inline(self):
        sound = {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}}
        table = {"type": "file", "file": {"file_data": "data:application/json;base64,e30="}}
        first, second = parts_of(sound, table)
        assert first["inlineData"]["mimeType"] == "audio/mp3"
        assert second["inlineData"] == {"mimeType": "text/plain", "data": "e30="}

    @pytest.mark.parametrize(
        "part",
        [
            image(f"data:image/gif;base64,{PNG}"),
            image("https://a.test/x.bmp"),
            {"type": "file", "file": {"file_data": "data:application/zip;base64,e30="}},
            {"type": "input_audio", "input_audio": {"format": "wav"}},
        ],
    )
    def test_what_it_cannot_read_is_never_left_out(self, part):
        (loss,) = lost(user(part))
        assert loss.needed

    def test_detail_is_lost_and_the_picture_is_not(self):
        (part,) = parts_of(image("https://a.test/x.jpg", detail="low"))
        assert "fileData" in part
        assert len(lost(user(image("https://a.test/x.jpg", detail="low")), model=OLDEST)) == 2


SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
LOOKING = {"role": "assistant", "content": "Look:", "tool_calls": [{**call("c1", "get_time", "{}"), **SIGNED}]}
NOON = {"role": "tool", "tool_call_id": "c1", "content": "noon"}


class TestSignatures:
    def turn(self, message, model=NEW):
        return body([ASKED, message, NOON], model=model)["contents"][1]["parts"]

    def test_a_calls_own_goes_back(self):
        for model in (NEW, OLDER):
            assert self.turn(LOOKING, model)[1]["thoughtSignature"] == "c2ln"

    def test_a_call_that_another_made_gets_the_sentinel_the_first_of_its_turn_alone(self):
        _, *calling = body(LOOP)["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in calling] == [SENTINEL, None, None]
        assert len(base64.urlsafe_b64decode(SENTINEL)) == 24, "it is bytes in base64, as all signatures are"

    def test_models_that_check_nothing_are_sent_no_sentinel(self):
        assert not any("thoughtSignature" in part for part in body(LOOP, model=OLDER)["contents"][1]["parts"])

    def test_the_very_parts_that_came_with_the_ids_of_the_message(self):
        kept = [
            {"text": "Hm.", "thought": True},
            {"text": "Look:", "thoughtSignature": "dGV4dA=="},
            {"functionCall": {"name": "get_time", "args": {}}, "thoughtSignature": "Y2FsbA=="},
        ]
        *before, calling = self.turn({**LOOKING, "gemini_content": kept})
        assert before == kept[:2]
        assert calling == {
            "functionCall": {"id": "c1", "name": "get_time", "args": {}}, "thoughtSignature": "Y2FsbA==",
        }  # fmt: skip
        assert "id" not in kept[2]["functionCall"]

    @pytest.mark.parametrize("kept", [[], "x", [7], [{"text": "Look:"}], [{"functionCall": {"name": "other"}}]])
    def test_parts_that_hold_other_calls_are_not_sent(self, kept):
        text, calling = self.turn({**LOOKING, "gemini_content": kept})
        assert text == {"text": "Look:"}
        assert calling["thoughtSignature"] == "c2ln"

    @pytest.mark.parametrize(
        ("words", "said"), [("Look", "Look"), (None, ""), ([{"type": "text", "text": each} for each in "ab"], "ab")]
    )
    def test_parts_of_a_message_whose_words_were_changed_are_not_sent(self, words, said):
        kept = [
            {"text": "Look:", "thoughtSignature": "dGV4dA=="},
            {"functionCall": {"name": "get_time", "args": {}}, "thoughtSignature": "Y2FsbA=="},
        ]
        *texts, calling = self.turn({**LOOKING, "content": words, "gemini_content": kept})
        assert "".join(part["text"] for part in texts) == said
        assert calling["thoughtSignature"] == "c2ln"
        assert self.turn({**LOOKING, "content": "Look:\n", "gemini_content": kept})[0] == kept[0]

    def test_arguments_too_deep_to_be_compared_are_no_error(self):
        deep = '{"a":' * 1000 + "1" + "}" * 1000
        kept = [{"functionCall": {"name": "get_time", "args": orjson.loads(deep)}}]
        message = {**LOOKING, "tool_calls": [call("c1", "get_time", deep)], "gemini_content": kept}
        assert lost([ASKED, message, NOON]) == ()
        with pytest.raises(Unencodable, match="nested"):
            self.turn(message)

    @pytest.mark.parametrize("odd", [7, {}, {"google": 7}, {"google": {"thought_signature": 7}}])
    def test_an_odd_signature_is_none(self, odd):
        message = {**LOOKING, "tool_calls": [{**call("c1", "get_time", "{}"), "extra_content": odd}]}
        assert self.turn(message)[1]["thoughtSignature"] == SENTINEL

    @pytest.mark.parametrize(
        ("base", "kept"),
        [
            ("https://api.openai.com/v1", False),
            ("https://generativelanguage.googleapis.com/v1beta/openai", True),
            ("https://googleapis.com.evil.test/v1", False),
        ],
    )
    def test_openais_dialect_is_sent_them_by_google_alone(self, base, kept):
        made = body([ASKED, {**LOOKING, "gemini_content": [{}]}, NOON], codec=OpenAICodec("openai"), base=base)
        message = made["messages"][1]
        assert ("extra_content" in message["tool_calls"][0]) is kept
        assert "gemini_content" not in message


class TestTools:
    def test_functions_keep_their_schema(self):
        (tool,) = body(tools=TOOLS)["tools"]
        first, second = tool["functionDeclarations"]
        assert first == {
            "name": "get_weather",
            "description": "Weather of a city.",
            "parametersJsonSchema": TOOLS[0]["function"]["parameters"],
        }
        assert second == {"name": "get_time", "parametersJsonSchema": {"type": "object", "properties": {}}}

    @pytest.mark.parametrize(
        ("given", "calling"),
        [
            ("auto", {"mode": "AUTO"}),
            ("required", {"mode": "ANY"}),
            ("none", {"mode": "NONE"}),
            (
                {"type": "function", "function": {"name": "get_time"}},
                {"mode": "ANY", "allowedFunctionNames": ["get_time"]},
            ),
            (
                {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"name": "get_time"}]}},
                {"mode": "ANY", "allowedFunctionNames": ["get_time"]},
            ),
        ],
    )
    def test_the_choice_of_tools(self, given, calling):
        made = body(tools=TOOLS, tool_choice=given)
        assert made["toolConfig"] == {"functionCallingConfig": calling}
        assert "toolConfig" not in body(tool_choice=given), "without a tool there is no choice"

    def test_allowed_tools_are_all_that_is_sent(self):
        ((tool,),) = [its["functionDeclarations"] for its in body(*REQUESTS["tools allowed"])["tools"]]
        assert tool["name"] == "get_time"

    @pytest.mark.parametrize("mode", ["auto", "required"])
    def test_of_allowed_tools_only_those_that_there_are_may_be_called(self, mode):
        names = ["nothing", "get_time"]
        allowed = [{"type": "function", "function": {"name": name}} for name in names]
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
        made = body(tools=[*TOOLS, {"googleSearch": {}}], tool_choice=choice)
        validate(made)
        assert [list(tool) for tool in made["tools"]] == [["functionDeclarations"]]
        calling = made["toolConfig"]["functionCallingConfig"]
        assert calling.get("allowedFunctionNames") == (["get_time"] if mode == "required" else None)
        nothing = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed[:1]}}
        assert paths(tools=TOOLS, tool_choice=nothing) == (["tool_choice"] if mode == "required" else [])

    def test_where_nothing_may_be_called_its_own_tools_are_left_out_too(self):
        assert "tools" not in body(tools=[{"google_search": {}}], tool_choice="none")
        assert list(body(tools=[{"google_search": {}}, TOOLS[0]], tool_choice="none")["tools"][0]) == [
            "functionDeclarations"
        ]

    @pytest.mark.parametrize("given", ["required", {"type": "function", "function": {"name": "get_time"}}])
    def test_a_call_that_is_required_of_no_function_is_told_of(self, given):
        assert paths(tool_choice=given) == paths(tools=[{"google_search": {}}], tool_choice=given) == ["tool_choice"]

    def test_a_strict_function_is_held_to_its_schema(self):
        made = body(*REQUESTS["strict tool"])
        assert made["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
        forced = body(*REQUESTS["strict tool"], tool_choice="required")
        assert forced["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
        assert lost(*REQUESTS["strict tool"], tool_choice="required", model=OLDEST) == ()

    def test_tools_of_its_own_pass(self):
        made = body(tools=[{"google_search": {}}, TOOLS[1], {"urlContext": {}}])
        assert made["tools"][1:] == [{"google_search": {}}, {"urlContext": {}}]
        validate({**made, "tools": [{"googleSearch": {}}]})
        assert paths(tools=[{"type": "web_search_20250305", "name": "web_search"}]) == ["tools[0]"]

    def test_one_call_at_a_time_cannot_be_asked_for(self):
        assert paths(tools=TOOLS, parallel_tool_calls=False) == ["parallel_tool_calls"]
        assert paths(tools=TOOLS, parallel_tool_calls=True) == []
        assert paths(parallel_tool_calls=False) == []
        assert paths(tools=TOOLS, tool_choice="none", parallel_tool_calls=False) == []

    def test_a_choice_that_says_nothing_is_a_loss(self):
        assert paths(tools=TOOLS, tool_choice={"type": "x"}) == ["tool_choice"]


class TestGeneration:
    def test_sampling_and_counts(self):
        wire = {
            "temperature": 1.5, "top_p": 0.9, "top_k": 40, "frequency_penalty": 0.5, "presence_penalty": -0.5,
            "seed": 7, "n": 3, "logprobs": True, "top_logprobs": 5, "stop": ["a", "b"],
        }  # fmt: skip
        assert lost(HELLO, wire) == ()
        assert config(HELLO, wire) == {
            "temperature": 1.5, "topP": 0.9, "topK": 40, "frequencyPenalty": 0.5, "presencePenalty": -0.5, "seed": 7,
            "candidateCount": 3, "responseLogprobs": True, "logprobs": 5, "stopSequences": ["a", "b"],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("wire", "path"),
        [
            ({"stop": list("abcdef")}, "stop[5]"),
            ({"stop": ["a", ""]}, "stop[1]"),
            ({"stop": {"a": 1}}, "stop"),
            ({"seed": 2**40}, "seed"),
            ({"seed": "x"}, "seed"),
            ({"n": 9}, "n"),
            ({"n": "x"}, "n"),
            ({"temperature": "warm"}, "temperature"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
            ({"top_logprobs": 3}, "top_logprobs"),
            ({"service_tier": "scale"}, "service_tier"),
            ({"generation_config": 7}, "generation_config"),
            ({"modalities": ["text", "audio"]}, "modalities"),
            ({"wobble": 1}, "wobble"),
        ],
    )
    def test_what_has_no_form_is_told(self, wire, path):
        assert paths(HELLO, wire) == [path]
        validate(body(HELLO, wire))

    def test_the_form_of_the_answer(self):
        made = {"responseMimeType": "application/json"}
        assert config(response_format={"type": "json_object"}) == made
        assert config(response_format=JSON_SCHEMA) == {**made, "responseJsonSchema": SCHEMA}
        assert config(response_format={"type": "text"}) == {}
        assert "responseMimeType" in config(response_format=JSON_SCHEMA, tools=TOOLS)
        assert config(response_format=JSON_SCHEMA, tools=TOOLS, model=OLDER) == {}

    @pytest.mark.parametrize(
        ("model", "effort", "thinking", "told"),
        [
            (NEW, "low", {"thinkingLevel": "LOW", "includeThoughts": True}, False),
            (NEW, "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}, False),
            (NEW, "medium", {"thinkingLevel": "HIGH", "includeThoughts": True}, False),
            (NEW, "none", {"thinkingLevel": "LOW"}, True),
            (NEW, "xhigh", {"thinkingLevel": "HIGH", "includeThoughts": True}, True),
            ("gemini-3.5-flash", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}, False),
            ("gemini-3.5-flash", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}, False),
            ("gemini-3.5-flash", "none", {"thinkingLevel": "MINIMAL"}, False),
            ("gemini-flash-latest", "max", {"thinkingLevel": "XHIGH", "includeThoughts": True}, False),
            (OLDER, "none", {"thinkingBudget": 0}, False),
            (OLDER, "medium", {"thinkingBudget": 8192, "includeThoughts": True}, False),
            (OLDER, "max", {"thinkingBudget": 24_576, "includeThoughts": True}, False),
            ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, True),
            ("gemini-2.5-pro", "xhigh", {"thinkingBudget": 32_768, "includeThoughts": True}, False),
            (OLDEST, "none", None, False),
            (OLDEST, "high", None, True),
            (NEW, "fierce", None, True),
        ],
    )
    def test_effort_is_a_level_or_a_budget(self, model, effort, thinking, told):
        assert config(model=model, reasoning_effort=effort).get("thinkingConfig") == thinking
        assert paths(model=model, reasoning_effort=effort) == (["reasoning_effort"] if told else [])

    def test_its_own_fields_pass_in_either_spelling(self):
        own = {
            "safety_settings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
            "cachedContent": "cachedContents/x",
            "thinkingConfig": {"thinkingBudget": 5},
            "media_resolution": "MEDIA_RESOLUTION_LOW",
            "generation_config": {"audioTimestamp": True},
        }
        assert lost(HELLO, own) == ()
        made = body(HELLO, own, reasoning_effort="high")
        assert made["safetySettings"] == own["safety_settings"]
        assert made["cachedContent"] == "cachedContents/x"
        assert made["generationConfig"] == {
            "audioTimestamp": True, "thinkingConfig": {"thinkingBudget": 5}, "mediaResolution": "MEDIA_RESOLUTION_LOW",
        }  # fmt: skip

    def test_tiers(self):
        assert body(service_tier="default")["serviceTier"] == "standard"
        assert body(service_tier="flex")["serviceTier"] == "flex"
        assert "serviceTier" not in body(service_tier="auto")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(0, 2) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["tools", "tool_choice", "stop", "response_format", "reasoning_effort", "user", "metadata", "service_tier",
     "temperature", "top_p", "parallel_tool_calls", "functions", "function_call", "n", "logprobs", "top_logprobs",
     "seed", "modalities", "logit_bias", "generation_config"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=6), st.sampled_from([NEW, OLDER, OLDEST]))
def test_nonsense_in_fields_never_raises(wire, model):
    made = body(HELLO, wire, model=model)
    assert made["contents"]
    for loss in lost(HELLO, wire, model=model):
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
    roles = [content["role"] for content in made["contents"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in itertools.pairwise(roles))
    parts = [part for content in made["contents"] for part in content["parts"]]
    calling = [part for part in parts if "functionCall" in part]
    assert [part["functionCall"]["id"] for part in calling] == [
        each["id"] for turn in turns for each in turn.get("tool_calls", ())
    ]
    signed = [part["functionCall"]["id"] for part in calling if "thoughtSignature" in part]
    assert signed == [turn["tool_calls"][0]["id"] for turn in turns if turn.get("tool_calls")]
    answered = [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"]
    assert [part["functionResponse"]["id"] for part in parts if "functionResponse" in part] == answered
    said = "".join(turn["content"] or "" for turn in turns if turn["role"] in ("user", "assistant")) + "!"
    heard = "".join(part["text"] for part in parts if "text" in part)
    assert heard in (said, f".{said}")
