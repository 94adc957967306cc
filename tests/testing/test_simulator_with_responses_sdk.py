"""The official `openai` client's `responses` against the simulated provider over a real socket.

What the SDK makes of each answer and each fault is the proof that the simulated dialect is the real one.
"""

import json

import openai
import pytest
from openai import AsyncOpenAI

from resilio.testing import Script, SimulatedProvider, SimulatedServer, faults

pytestmark = [pytest.mark.anyio, pytest.mark.real_loop]

HELLO = "one two three four five six seven"
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
NONE = {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
SEALED = {"include": ["reasoning.encrypted_content"], "store": False}


class Rig:
    """A server and an SDK client that talks to it; the provider's log is at hand."""

    def __init__(self, script=None, **provider):
        self.provider = SimulatedProvider(script, **provider)
        self.server = SimulatedServer(self.provider)

    async def __aenter__(self):
        await self.server.__aenter__()
        self.client = AsyncOpenAI(base_url=self.server.url, api_key="sk-test", max_retries=0)
        return self.client

    async def __aexit__(self, *exc):
        await self.client.close()
        await self.server.__aexit__(*exc)


def ask(client, given=HELLO, **more):
    return client.responses.create(model="gpt-m", input=given, **more)


async def streamed(client, given=HELLO, **more):
    """By the SDK's own accumulator, which is strict about identities and order."""
    async with client.responses.stream(model="gpt-m", input=given, **more) as stream:
        pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        return "".join(pieces), await stream.get_final_response()


async def events(client, given=HELLO, **more):
    return [event async for event in await ask(client, given, stream=True, **more)]


async def test_a_whole_answer_is_the_sdks_own_response():
    rig = Rig()
    async with rig as client:
        reply = await ask(client, instructions="Be brief.")
    assert reply.output_text == HELLO
    assert (reply.status, reply.model, reply.usage.output_tokens) == ("completed", "gpt-m", 7)
    assert reply.id.startswith("resp_")
    assert reply.instructions == "Be brief."
    assert reply._request_id == "req_00000001"
    assert (rig.provider.log[0].key, rig.provider.log[0].path) == ("sk-test", "/v1/responses")


async def test_a_stream_adds_up_to_the_same_answer_and_its_events_are_numbered():
    async with Rig() as client:
        text, reply = await streamed(client)
        told = await events(client)
    assert text == reply.output_text == HELLO
    assert (reply.status, reply.usage.output_tokens) == ("completed", 7)
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert told[0].type == "response.created"
    assert told[-1].type == "response.completed"


async def test_tools_are_called_whole_and_in_fragments():
    answer = {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, NONE]}
    async with Rig(Script(answer=lambda body: answer)) as client:
        whole = await ask(client, tools=TOOLS)
        _, reply = await streamed(client, tools=TOOLS)
    for each in (whole, reply):
        assert [item.type for item in each.output] == ["message", "function_call", "function_call"]
        assert [json.loads(item.arguments) for item in each.output[1:]] == [{"city": "Oslo"}, {}]
        assert each.output[1].call_id == "call_1"


async def test_a_custom_tool_is_called_with_any_text():
    call = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    async with Rig(Script(answer=lambda body: {"role": "assistant", "tool_calls": [call]})) as client:
        told = await events(client, tools=[{"type": "custom", "name": "sql"}])
    (item,) = told[-1].response.output
    assert (item.type, item.name, item.input) == ("custom_tool_call", "sql", "SELECT 1")
    pieces = [event.delta for event in told if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(pieces) == "SELECT 1"


async def test_reasoning_is_shown_to_who_asks_and_wanted_back_in_its_encrypted_form():
    answers = iter([{"reasoning_content": "Hm.", "tool_calls": [CALL]}] * 2 + ["Fine."])
    more = {"reasoning": {"summary": "auto"}, "tools": TOOLS}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
    async with Rig(Script(answer=lambda body: next(answers))) as client:
        _, bare = await streamed(client, **more)
        reasoning, call = (item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in bare.output)
        assert reasoning["summary"][0]["text"] == "Hm."
        assert "encrypted_content" not in reasoning
        with pytest.raises(openai.BadRequestError, match="Items are not persisted"):
            await ask(client, [{"role": "user", "content": HELLO}, reasoning, call, result], store=False)
        _, first = await streamed(client, **more, **SEALED)
        reasoning, call = (item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output)
        loop = [{"role": "user", "content": HELLO}, reasoning, call, result]
        forged = [loop[0], {**reasoning, "encrypted_content": "gAAAAforged"}, call, result]
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(client, forged, **SEALED)
        assert refused.value.code == "invalid_encrypted_content"
        with pytest.raises(openai.BadRequestError, match="without its required following item"):
            await ask(client, loop[:2], **SEALED)
        assert (await ask(client, loop, **SEALED)).output_text == "Fine."


async def test_reasoning_nobody_asked_to_see_has_no_words():
    async with Rig(Script(answer=lambda body: {"content": "4", "reasoning_content": "Hm."})) as client:
        reply = await ask(client, **SEALED)
    assert (reply.output[0].type, reply.output[0].summary) == ("reasoning", [])
    assert reply.output[0].encrypted_content


async def test_a_refusal_is_a_part_of_the_message():
    async with Rig(Script.of(faults.Refusal("refusal", text="No."))) as client:
        whole = await ask(client)
        told = await events(client)
    for reply in (whole, told[-1].response):
        assert (reply.status, reply.output[0].content[0].refusal, reply.output_text) == ("completed", "No.", "")
    assert [event.delta for event in told if event.type == "response.refusal.delta"] == ["No."]


@pytest.mark.parametrize(
    ("script", "more", "reason"),
    [
        (Script(), {"max_output_tokens": 3}, "max_output_tokens"),
        (Script.of(faults.Refusal("content_filter", text="Well, ")), {}, "content_filter"),
    ],
)
async def test_an_answer_that_was_cut_is_incomplete(script, more, reason):
    async with Rig(script) as client:
        whole = await ask(client, **more)
        told = await events(client, **more)
    assert told[-1].type == "response.incomplete"
    for reply in (whole, told[-1].response):
        assert (reply.status, reply.incomplete_details.reason) == ("incomplete", reason)


@pytest.mark.parametrize(
    ("fault", "expected", "code"),
    [
        (faults.Error("rate_limit_exceeded", retry_after=1), openai.RateLimitError, "rate_limit_exceeded"),
        (faults.Error("server_is_overloaded"), openai.InternalServerError, "server_is_overloaded"),
        (faults.Error("server_error"), openai.InternalServerError, "server_error"),
        (faults.Error("insufficient_quota"), openai.RateLimitError, "insufficient_quota"),
        (faults.Error("context_length_exceeded"), openai.BadRequestError, "context_length_exceeded"),
        (faults.Error("invalid_api_key"), openai.AuthenticationError, "invalid_api_key"),
        (faults.Refusal("prompt"), openai.BadRequestError, "content_policy_violation"),
    ],
)
async def test_each_error_becomes_the_sdks_own_exception(fault, expected, code):
    async with Rig(Script.of(fault)) as client:
        with pytest.raises(expected) as refused:
            await ask(client)
    assert refused.value.code == code


async def test_an_error_event_inside_a_stream_is_the_sdks_own_and_raises_nothing_which_is_why_resilio_checks():
    async with Rig(Script.of(faults.ErrorFrame(after=2, code="server_is_overloaded"))) as client:
        told = await events(client)
    assert (told[-1].type, told[-1].code) == ("error", "server_is_overloaded")
    assert "overloaded" in told[-1].message


async def test_a_clean_cut_passes_for_an_answer_with_the_sdk_which_is_why_resilio_checks():
    async with Rig(Script.of(faults.Cut(5))) as client:
        told = await events(client)
    deltas = [event.delta for event in told if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "one two three four five "
    assert told[-1].type == "response.output_text.delta"


@pytest.mark.parametrize(
    ("given", "more", "code"),
    [
        (HELLO, {"extra_body": {"messages": []}}, "unsupported_parameter"),
        (HELLO, {"extra_body": {"response_format": {"type": "text"}}}, "unsupported_parameter"),
        (HELLO, {"extra_body": {"seed": 1}}, "unknown_parameter"),
        (HELLO, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "missing_required_parameter"),
        (HELLO, {"tool_choice": {"type": "function", "function": {"name": "f"}}}, "missing_required_parameter"),
        (HELLO, {"previous_response_id": "resp_1"}, "previous_response_not_found"),
        ("", {}, "missing_required_parameter"),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], {}, "invalid_value"),
        ([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}], {}, "invalid_value"),
        ([{"role": "tool", "content": "x"}], {}, "invalid_value"),
        ([{"type": "hologram"}], {}, "invalid_value"),
        ([{"type": "function_call_output", "call_id": "c", "output": "x"}], {}, None),
        ([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}], {}, None),
    ],
)
async def test_what_the_real_server_refuses_is_refused(given, more, code):
    async with Rig() as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(client, given, **more)
    assert refused.value.code == code
    assert refused.value.body["message"]


async def test_unknown_models_and_keys_are_refused():
    async with Rig(models=["other"]) as client:
        with pytest.raises(openai.NotFoundError):
            await ask(client)
    async with Rig(keys=["another"]) as client:
        with pytest.raises(openai.AuthenticationError):
            await ask(client)


async def test_a_script_sees_the_request_in_the_shape_of_chat_completions():
    seen = []

    def answer(body):
        seen.append(body)
        return "ok"

    given = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"role": "assistant", "content": "Let me look."},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"a": 1}'},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "x"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "1"},
    ]
    async with Rig(Script(answer=answer)) as client:
        await ask(client, given, instructions="Be brief.", tools=TOOLS, max_output_tokens=99)
    system, user, called, first, second = seen[0]["messages"]
    assert (system["content"], user["content"][0]["text"]) == ("Be brief.", "Weather?")
    assert [call["type"] for call in called["tool_calls"]] == ["function", "custom"]
    assert (called["content"], first["tool_call_id"], second["content"]) == ("Let me look.", "call_1", "1")
    assert seen[0]["tools"][0]["function"]["name"] == "weather"
    assert seen[0]["max_completion_tokens"] == 99
