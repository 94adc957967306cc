"""The official `google-genai` client against the simulated provider over a real socket.

What the SDK makes of each answer and each fault is the proof that the simulated dialect is the real one.
"""

import json

import pytest
from google import genai
from google.genai import errors, types

from resilio.testing import Script, SimulatedProvider, SimulatedServer, faults
from resilio.testing.dialects.gemini import signature_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_loop,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),  # the SDK's own
]

HELLO = "one two three four five six seven"
TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name=name, parameters_json_schema={"type": "object"})
            for name in ("weather", "clock")
        ]
    )
]
CALLS = [
    {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
    for name, arguments in (("weather", '{"city": "Oslo"}'), ("clock", ""))
]


class Rig:
    """A server and an SDK client that talks to it; the provider's log is at hand."""

    def __init__(self, script=None, *, api_version=None, **provider):
        self.provider = SimulatedProvider(script, **provider)
        self.server = SimulatedServer(self.provider)
        self.api_version = api_version

    async def __aenter__(self):
        await self.server.__aenter__()
        url = self.server.url.removesuffix("/v1")
        options = types.HttpOptions(base_url=url, api_version=self.api_version)
        self.client = genai.Client(api_key="sk-test", http_options=options)
        return self.client.aio.models

    async def __aexit__(self, *exc):
        await self.client.aio.aclose()
        self.client.close()
        await self.server.__aexit__(*exc)


def ask(llm, contents=HELLO, **config):
    return llm.generate_content(model="gemini-m", contents=contents, config=config or None)


async def streamed(llm, contents=HELLO, **config):
    return [
        chunk
        async for chunk in await llm.generate_content_stream(model="gemini-m", contents=contents, config=config or None)
    ]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_a_whole_answer_is_the_sdks_own_response(version):
    rig = Rig(api_version=version)
    async with rig as llm:
        reply = await ask(llm, system_instruction="Be brief.", temperature=0.5)
    assert reply.text == HELLO
    assert reply.candidates[0].finish_reason is types.FinishReason.STOP
    assert (reply.model_version, reply.usage_metadata.candidates_token_count) == ("gemini-m", 7)
    (seen,) = rig.provider.log
    assert (seen.key, seen.path, seen.model) == ("sk-test", f"/{version}/models/gemini-m:generateContent", "gemini-m")


async def test_a_stream_adds_up_to_the_same_answer():
    rig = Rig()
    async with rig as llm:
        chunks = await streamed(llm)
    assert "".join(chunk.text or "" for chunk in chunks) == HELLO
    assert [chunk.candidates[0].finish_reason for chunk in chunks] == [*[None] * 7, types.FinishReason.STOP]
    assert chunks[-1].usage_metadata.candidates_token_count == 7
    assert rig.provider.log[0].stream


async def test_functions_are_called_and_the_first_call_is_signed():
    answer = {"role": "assistant", "content": "Let me look.", "tool_calls": CALLS}
    async with Rig(Script(answer=lambda body: answer)) as llm:
        whole = (await ask(llm, tools=TOOLS)).candidates[0].content.parts
        chunks = await streamed(llm, tools=TOOLS)
    pieces = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    for parts in (whole, pieces):
        calls = [part for part in parts if part.function_call]
        assert [(part.function_call.name, part.function_call.args) for part in calls] == [
            ("weather", {"city": "Oslo"}),
            ("clock", {}),
        ]
        assert [bool(part.thought_signature) for part in calls] == [True, False]


async def test_a_loop_of_the_sdks_own_chat_gives_the_signatures_back():
    def answer(body):
        results = [message for message in body["messages"] if message["role"] == "tool"]
        return f"{len(results)} results" if results else {"role": "assistant", "tool_calls": CALLS}

    rig = Rig(Script(answer=answer))
    async with rig:
        config = types.GenerateContentConfig(
            tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
        )
        chat = rig.client.aio.chats.create(model="gemini-m", config=config)
        reply = await chat.send_message("Weather?")
        results = [
            types.Part.from_function_response(name=call.name, response={"result": "mild"})
            for call in reply.function_calls
        ]
        assert (await chat.send_message(results)).text == "2 results"


async def test_a_call_that_comes_back_without_its_signature_is_refused():
    async with Rig(Script(answer="x")) as llm:

        def history(signature):
            call = types.Part(function_call=types.FunctionCall(name="clock", args={}), thought_signature=signature)
            result = types.Part.from_function_response(name="clock", response={"result": "noon"})
            return [
                types.Content(role="user", parts=[types.Part(text="?")]),
                types.Content(role="model", parts=[call]),
                types.Content(role="user", parts=[result]),
            ]

        for signature, words in ((None, "missing a thought_signature"), (b"forged", "Corrupted thought signature")):
            with pytest.raises(errors.ClientError, match=words):
                await ask(llm, history(signature))
        sentinel = types.Part.model_validate({"text": "", "thoughtSignature": "skip_thought_signature_validator"})
        assert (await ask(llm, history(sentinel.thought_signature))).text == "x"
        later = [*history(None), types.Content(role="user", parts=[types.Part(text="And now?")])]
        assert (await ask(llm, later)).text == "x", "only the turn going on is looked at"


async def test_thoughts_are_parts_of_their_own_and_text_is_signed():
    answer = {"role": "assistant", "content": "Four.", "reasoning_content": "Two and two."}
    async with Rig(Script(answer=lambda body: answer)) as llm:
        whole = (await ask(llm)).candidates[0].content.parts
        chunks = await streamed(llm)
    pieces = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    for parts in (whole, pieces):
        assert "".join(part.text for part in parts if part.thought) == "Two and two."
        assert "".join(part.text for part in parts if not part.thought) == "Four."
        signed = types.Part.model_validate({"text": "", "thoughtSignature": signature_of("Two and two.")})
        assert parts[-1].thought_signature == signed.thought_signature


async def test_a_block_is_a_reason_to_finish():
    async with Rig(Script.of(faults.Refusal("refusal", text="No."))) as llm:
        replies = [await ask(llm), (await streamed(llm))[-1]]
    for reply in replies:
        assert reply.candidates[0].finish_reason is types.FinishReason.SAFETY
        assert not reply.text


async def test_several_candidates_and_a_limit():
    async with Rig() as llm:
        reply = await ask(llm, candidate_count=2, max_output_tokens=3)
    assert [its.content.parts[0].text for its in reply.candidates] == ["one two three "] * 2
    assert {its.finish_reason for its in reply.candidates} == {types.FinishReason.MAX_TOKENS}


@pytest.mark.parametrize(
    ("fault", "kind", "code", "status"),
    [
        (faults.Error("rate_limit_exceeded", retry_after=1), errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        (faults.Error("insufficient_quota"), errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        (faults.Error("billing_not_active"), errors.ClientError, 403, "PERMISSION_DENIED"),
        (faults.Error("server_is_overloaded"), errors.ServerError, 503, "UNAVAILABLE"),
        (faults.Error("server_error"), errors.ServerError, 500, "INTERNAL"),
        (faults.Error("context_length_exceeded"), errors.ClientError, 400, "INVALID_ARGUMENT"),
        (faults.Error("invalid_api_key"), errors.ClientError, 400, "INVALID_ARGUMENT"),
        (faults.Error("DEADLINE_EXCEEDED"), errors.ServerError, 504, "DEADLINE_EXCEEDED"),
        (faults.Refusal("prompt"), errors.ClientError, 400, "INVALID_ARGUMENT"),
    ],
)
async def test_each_error_becomes_the_sdks_own_exception(fault, kind, code, status):
    async with Rig(Script.of(fault)) as llm:
        for attempt in (ask, streamed):
            with pytest.raises(kind) as refused:
                await attempt(llm)
            assert (refused.value.code, refused.value.status) == (code, status)
            assert refused.value.message


async def test_a_wait_stands_in_the_details_and_in_no_header():
    async with Rig(Script.of(faults.Error("rate_limit_exceeded", retry_after=34.4))) as llm:
        with pytest.raises(errors.ClientError) as refused:
            await ask(llm)
    quota, wait = refused.value.details["error"]["details"]
    assert "PerMinute" in quota["violations"][0]["quotaId"]
    assert wait["retryDelay"] == "34.4s"
    assert "retry-after" not in {name.lower() for name in refused.value.response.headers}


async def test_an_error_inside_a_stream_raises():
    async with Rig(Script.of(faults.ErrorFrame(after=2, code="server_is_overloaded"))) as llm:
        with pytest.raises(errors.ServerError, match="overloaded"):
            await streamed(llm)


async def test_a_clean_cut_passes_for_an_answer_with_the_sdk_which_is_why_resilio_checks():
    async with Rig(Script.of(faults.Cut(5))) as llm:
        chunks = await streamed(llm)
    assert "".join(chunk.text or "" for chunk in chunks) == "one two three four five "
    assert all(chunk.candidates[0].finish_reason is None for chunk in chunks)


async def test_unknown_models_and_keys_are_refused():
    async with Rig(models=["other"]) as llm:
        with pytest.raises(errors.ClientError, match="NOT_FOUND"):
            await ask(llm)
    async with Rig(keys=["another"]) as llm:
        with pytest.raises(errors.ClientError, match="API key not valid"):
            await ask(llm)


async def test_a_script_sees_the_request_in_openais_shape():
    seen = []

    def answer(body):
        seen.append(body)
        return "ok"

    contents = [
        types.Content(role="user", parts=[types.Part(text="Hello")]),
        types.Content(
            role="model",
            parts=[types.Part(function_call=types.FunctionCall(name="weather", args={"a": 1}), thought_signature=None)],
        ),
        types.Content(
            role="user",
            parts=[
                types.Part.from_function_response(name="weather", response={"result": "rain"}),
                types.Part(text="Well?"),
            ],
        ),
        types.Content(role="user", parts=[types.Part(text="?")]),
    ]
    async with Rig(Script(answer=answer)) as llm:
        await ask(llm, contents, system_instruction="Be brief.", tools=TOOLS)
    system, user, called, result, *more = seen[0]["messages"]
    assert (system["content"], user["content"][0]["text"], result["content"]) == ("Be brief.", "Hello", "rain")
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert (called["role"], result["role"], [message["role"] for message in more]) == (
        "assistant",
        "tool",
        ["user", "user"],
    )
    assert seen[0]["tools"][0]["function"]["name"] == "weather"


def react(body, path="/v1beta/models/m:generateContent"):
    provider = SimulatedProvider(Script(answer="one two"), clock=lambda: 0.0, wall_clock=lambda: 0.0)
    _, reaction = provider.react("POST", path, {}, json.dumps(body).encode())
    return reaction.status, b"".join(data for _, data in reaction.pieces), reaction.headers["Content-Type"]


USER = {"role": "user", "parts": [{"text": "?"}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "contents is not specified"),
        ({"contents": [USER], "seed": 1}, 'Unknown name "seed"'),
        ({"contents": [USER], "generationConfig": {"n": 1}}, "Unknown name \"n\" at 'generation_config'"),
        ({"contents": [USER], "generationConfig": {"stop_sequences": list("abcdef")}}, "at most 5"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "?"}]}]}, "valid role"),
        ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
        ({"contents": [{"role": "user", "parts": [{}]}]}, "required oneof field"),
        ({"contents": [{**USER, "role": "model"}]}, "start with a user turn"),
        (
            {"contents": [USER, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}, USER]},
            "number of function response parts",
        ),
    ],
)
def test_what_the_real_server_refuses_is_refused(body, words):
    status, said, _ = react(body)
    error = json.loads(said)["error"]
    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_a_stream_that_did_not_ask_for_events_is_one_array():
    status, said, kind = react({"contents": [USER]}, "/v1/models/m:streamGenerateContent")
    assert (status, kind) == (200, "application/json; charset=UTF-8")
    texts = [each["candidates"][0]["content"]["parts"][0]["text"] for each in json.loads(said)]
    assert texts == ["one ", "two", ""]
    _, said, kind = react({"contents": [USER]}, "/v1/models/m:streamGenerateContent?key=x&alt=sse")
    assert (said.count(b"data: "), kind) == (3, "text/event-stream; charset=utf-8")
