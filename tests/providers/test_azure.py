"""Azure's OpenAI: deployments and the v1 surface, keys and tokens, its errors, its streams and its headers."""

import copy
import json

import openai
import pytest
from chat_requests import HELLO, REQUESTS, as_validated
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai_wire import AZURE_STREAM, SSE, completion, event, piece
from pydantic import TypeAdapter

from resilio import Client
from resilio.config import ModelSettings, ProviderSettings, TargetSettings
from resilio.errors import (
    ErrorClass,
    InvalidRequest,
    KeyRejected,
    ProviderRefused,
    ProviderThrottled,
    RequestUnsuitable,
    ResilioError,
)
from resilio.models import LimitReading, Request
from resilio.providers import REGISTRY
from resilio.providers.classify import EXCEPTIONS
from resilio.providers.openai.azure import azure_url
from resilio.testing import Script, ScriptedTransport, SimulatedProvider, SimulatedServer, run
from resilio.testing.faults import Error

RESOURCE = "https://mine.openai.azure.com"
KEY = "7b0c5d1e2f3a4b5c6d7e8f901a2b3c4d"
TOKEN = "eyJ0eXAiOiJKV1Qi.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl"
PARAMS = TypeAdapter(CompletionCreateParamsNonStreaming)
DATED = "2024-10-21"


def codec(version="", **models):
    settings = ProviderSettings(name="azure", kind="azure", base_url=RESOURCE, version=version, models=models)
    return REGISTRY["azure"].for_provider(settings)


def encoded(of=None, *, version="", model="gpt-4.1", key=KEY, headers=None, stream=False, limit=None, **models):
    return codec(version, **models).encode(
        of or Request("chat", HELLO), TargetSettings(provider="azure", model=model), base_url=RESOURCE, key=key,
        headers=headers or {}, stream=stream, max_output_tokens=limit,
    )  # fmt: skip


def failed(status, body, headers=None):
    return codec().error(status, headers or {}, json.dumps(body).encode(), wall_now=0.0)


# --- what is sent ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("version", ["v1", DATED])
def test_each_request_is_one_of_the_sdks_own(name, version):
    messages, wire = copy.deepcopy(REQUESTS[name])
    made = json.loads(encoded(Request("chat", messages, wire), version=version).body)
    if not any("file_url" in str(message) for message in messages):  # a form of our callers'
        assert as_validated(PARAMS, made) == made
    assert (messages, wire) == REQUESTS[name], "the caller's own was changed"


@pytest.mark.parametrize(
    ("version", "url"),
    [
        ("v1", f"{RESOURCE}/openai/v1/chat/completions"),
        ("", f"{RESOURCE}/openai/v1/chat/completions"),
        ("preview", f"{RESOURCE}/openai/v1/chat/completions?api-version=preview"),
        (DATED, f"{RESOURCE}/openai/deployments/gpt-4.1/chat/completions?api-version={DATED}"),
    ],
)
def test_a_version_says_which_surface_is_asked(version, url):
    assert encoded(version=version).url == url


@pytest.mark.parametrize(
    "base_url",
    [RESOURCE, f"{RESOURCE}/", f"{RESOURCE}/openai", f"{RESOURCE}/openai/", f"{RESOURCE}/openai/v1",
     f"{RESOURCE}/openai/v1/", f"{RESOURCE}/openai/deployments"],
)  # fmt: skip
@pytest.mark.parametrize("version", ["v1", DATED])
def test_a_resource_may_be_written_with_more_or_less_of_its_path(base_url, version):
    path = "/chat/completions"
    assert azure_url(base_url, "d", version, path) == azure_url(RESOURCE, "d", version, path)


def test_a_path_before_it_stays_and_a_deployments_name_is_quoted():
    url = azure_url("https://gateway.test/ai", "my model/1", DATED, "/embeddings")
    assert url == f"https://gateway.test/ai/openai/deployments/my%20model%2F1/embeddings?api-version={DATED}"


def test_a_deployment_is_asked_for_in_the_place_of_its_model():
    models = {"gpt-4.1": ModelSettings(deployment="prod-chat")}
    dated = encoded(version=DATED, **models)
    assert "/deployments/prod-chat/" in dated.url
    assert json.loads(dated.body)["model"] == "prod-chat"
    assert json.loads(encoded(**models).body)["model"] == "prod-chat"
    assert json.loads(encoded(model="other", **models).body)["model"] == "other"


def test_a_key_goes_in_its_own_header_and_a_token_as_a_bearer():
    assert encoded().headers["api-key"] == KEY
    assert "Authorization" not in encoded().headers
    assert encoded(key=TOKEN).headers["Authorization"] == f"Bearer {TOKEN}"
    assert "api-key" not in encoded(key=TOKEN).headers
    own = encoded(headers={"Authorization": "Bearer mine"}).headers
    assert (own["Authorization"], "api-key" in own) == ("Bearer mine", False)
    assert set(encoded(key=None).headers) == {"Content-Type"}


@pytest.mark.parametrize(
    ("version", "model", "field"),
    [
        ("v1", ModelSettings(), "max_completion_tokens"),
        ("2025-04-01-preview", ModelSettings(), "max_completion_tokens"),
        (DATED, ModelSettings(), "max_tokens"),
        (DATED, ModelSettings(reasoning=True), "max_completion_tokens"),
    ],
)
def test_a_limit_has_the_name_its_version_knows(version, model, field):
    made = json.loads(encoded(version=version, limit=9, **{"gpt-4.1": model}).body)
    assert made[field] == 9


@pytest.mark.parametrize("version", ["v1", DATED])
def test_hints_for_anothers_cache_are_left_out_whatever_the_version(version):
    mark = {"cache_control": {"type": "ephemeral"}}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    talk = [{"role": "user", "content": [{"type": "text", "text": "Hello", **mark}]}]
    body = json.loads(encoded(Request("chat", talk, {"tools": [{**tool, **mark}]}), version=version).body)
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    assert body["tools"] == [tool]


def test_an_old_version_is_not_asked_for_usage_in_a_stream():
    assert "stream_options" not in json.loads(encoded(version="2024-06-01", stream=True).body)
    assert json.loads(encoded(version=DATED, stream=True).body)["stream_options"] == {"include_usage": True}


def test_vectors_come_from_a_deployment_too():
    request = Request("embed", (), {"dimensions": 8}, inputs=("a", "b"))
    made = codec(DATED, small=ModelSettings(deployment="embed-1")).encode_embeddings(
        request, TargetSettings(provider="azure", model="small"), base_url=RESOURCE, key=KEY, headers={}
    )
    assert made.url == f"{RESOURCE}/openai/deployments/embed-1/embeddings?api-version={DATED}"
    assert json.loads(made.body) == {
        "model": "embed-1", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8,
    }  # fmt: skip
    assert made.headers["api-key"] == KEY


# --- what comes back ---------------------------------------------------------------------------

FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
        },
    }
}


def test_a_filtered_prompt_is_a_refusal():
    error = failed(400, FILTERED)
    assert (type(error), error.error_class, error.code) == (ProviderRefused, ErrorClass.REFUSED, "content_filter")


def test_of_a_filtered_answer_what_there_is_is_given():
    results = {"hate": {"filtered": False, "severity": "safe"}}
    whole = completion({"content": "Once upon"}, finish="content_filter")
    whole["choices"][0]["content_filter_results"] = results
    answer = codec().decode(200, {}, json.dumps(whole).encode())
    assert (answer.text, answer.finish_reason) == ("Once upon", "content_filter")
    assert answer.raw["choices"][0]["content_filter_results"] == results
    nothing = json.dumps(completion({"content": None}, finish="content_filter")).encode()
    with pytest.raises(ProviderRefused):
        codec().decode(200, {}, nothing)


def test_a_stream_that_opens_with_the_filters_word_is_read():
    decoder = codec().stream_decoder(200, SSE)
    first, *rest = decoder.feed(AZURE_STREAM)
    assert first.raw["prompt_filter_results"][0]["prompt_index"] == 0
    assert not first.has_content
    assert "".join(chunk.text for chunk in rest) == "Capital"
    decoder.finish()
    assert decoder.complete


def test_a_stream_that_its_filter_ends_is_whole_with_what_came():
    decoder = codec().stream_decoder(200, SSE)
    decoder.feed(event(piece({"content": "Once"})) + event(piece(finish="content_filter")))
    decoder.finish()
    assert (decoder.answer().text, decoder.answer().finish_reason) == ("Once", "content_filter")


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (401, "401", "Access denied due to invalid subscription key or wrong API endpoint.", KeyRejected),
        (401, "PermissionDenied", "Principal does not have access to API/Operation.", KeyRejected),
        (404, "DeploymentNotFound", "The API deployment for this resource does not exist.", RequestUnsuitable),
        (404, "404", "Resource not found", RequestUnsuitable),
        (400, "OperationNotSupported", "The chatCompletion operation does not work with the specified model.",
         RequestUnsuitable),
        (400, "BadRequest", "Invalid type for 'messages'.", InvalidRequest),
        (429, "429", "Requests have exceeded token rate limit. Please retry after 10 seconds.", ProviderThrottled),
        (429, "RateLimitReached", "Rate limit of 1 per 60s exceeded. Please wait 38 seconds.", ProviderThrottled),
    ],
)  # fmt: skip
def test_its_errors_are_told_apart(status, code, message, kind):
    assert type(failed(status, {"error": {"code": code, "message": message}})) is kind


def test_an_error_of_its_gateway_has_another_shape():
    error = failed(401, {"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."})
    assert isinstance(error, KeyRejected)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7"}, 7.0),
        ({}, 10.0),
    ],
)
def test_a_hint_is_taken_where_it_is_most_exact(headers, seconds):
    body = {"error": {"code": "429", "message": "Please retry after 10 seconds."}}
    assert failed(429, body, headers).retry_after == seconds


def test_limits_of_minus_one_and_nothing_say_nothing():
    nonsense = {"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"}
    assert codec().limits(nonsense, wall_now=0.0) == ()
    zero = {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"}
    assert codec().limits(zero, wall_now=0.0) == ()
    told = {
        "x-ratelimit-limit-requests": "120", "x-ratelimit-remaining-requests": "119",
        "x-ratelimit-reset-requests": "500", "x-ratelimit-renewalperiod-requests": "60",
    }  # fmt: skip
    assert codec().limits(told, wall_now=0.0) == (LimitReading("requests", 120.0, 119.0, 0.5),)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("content_policy_violation", ProviderRefused),
        ("rate_limit_exceeded", ProviderThrottled),
        ("invalid_api_key", KeyRejected),
        ("model_not_found", RequestUnsuitable),
    ],
)
def test_what_the_simulated_azure_says_is_understood(fault, kind):
    azure = SimulatedProvider(Script.of(Error(fault)))
    provider = {"name": "az", "kind": "azure", "base_url": RESOURCE, "version": DATED, "keys": [KEY]}
    config = {
        "defaults": {"retry": {"max_attempts": 1}},
        "provider": [{**provider, "models": {"m": {}}}],
        "route": {"chat": {"targets": ["az/m"]}},
    }

    async def main():
        async with Client(config, transport=ScriptedTransport({RESOURCE: azure})) as llm:
            with pytest.raises(ResilioError) as caught:
                await llm.complete("chat", "Hello")
            return caught.value

    assert EXCEPTIONS[run(main()).attempts[0].error_class] is kind


# --- the official client is the judge of the simulator's paths --------------------------------------


@pytest.mark.real_loop
async def test_the_official_azure_client_talks_to_the_simulated_provider():
    provider = SimulatedProvider(Script(), keys=[KEY], models=["prod-chat"])
    async with SimulatedServer(provider) as server:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=server.url.removesuffix("/v1"), api_key=KEY, api_version=DATED, max_retries=0
        )
        reply = await client.chat.completions.create(model="prod-chat", messages=HELLO)
        stream = await client.chat.completions.create(model="prod-chat", messages=HELLO, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        vectors = await client.embeddings.create(model="prod-chat", input=["a"])
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="other", messages=HELLO)
        provider.script = Script.of(Error("content_policy_violation"))
        with pytest.raises(openai.BadRequestError) as filtered:
            await client.chat.completions.create(model="prod-chat", messages=HELLO)
        await client.close()
    assert (reply.choices[0].message.content, text, len(vectors.data)) == ("Hello", "Hello", 1)
    assert reply.choices[0].model_extra["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    assert missing.value.code == "DeploymentNotFound"
    assert filtered.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert provider.log[0].path == "/openai/deployments/prod-chat/chat/completions"
    assert {seen.model for seen in provider.log} == {"prod-chat", "other"}


@pytest.mark.real_loop
async def test_the_official_client_talks_to_the_v1_surface_of_the_simulated_provider():
    provider = SimulatedProvider(Script(), keys=[KEY])
    async with SimulatedServer(provider) as server:
        base_url = server.url.removesuffix("/v1") + "/openai/v1/"
        client = openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0)
        reply = await client.chat.completions.create(model="prod-chat", messages=HELLO)
        await client.close()
    assert reply.choices[0].message.content == "Hello"
    assert provider.log[0].model == "prod-chat"
