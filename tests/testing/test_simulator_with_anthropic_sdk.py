"""The official `anthropic` client against the simulated provider over a real socket.

What the SDK makes of each answer and each fault is the proof that the simulated dialect is the real one.
"""

import json

import anthropic
import pytest
from anthropic import AsyncAnthropic

from resilio.testing import Script, SimulatedProvider, SimulatedServer, faults

pytestmark = [pytest.mark.anyio, pytest.mark.real_loop]

HELLO = [{"role": "user", "content": "one two three four five six seven"}]
TOOLS = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


class Rig:
    """A server and an SDK client that talks to it; the provider's log is at hand."""

    def __init__(self, script=None, *, version=None, **provider):
        self.provider = SimulatedProvider(script, **provider)
        self.server = SimulatedServer(self.provider)
        self.version = version

    async def __aenter__(self):
        await self.server.__aenter__()
        headers = {"anthropic-version": self.version} if self.version else None
        url = self.server.url.removesuffix("/v1")
        self.client = AsyncAnthropic(base_url=url, api_key="sk-test", max_retries=0, default_headers=headers)
        return self.client

    async def __aexit__(self, *exc):
        await self.client.close()
        await self.server.__aexit__(*exc)


def ask(client, messages=HELLO, **more):
    return client.messages.create(model="claude-m", max_tokens=100, messages=messages, **more)


async def streamed(client, messages=HELLO, **more):
    async with client.messages.stream(model="claude-m", max_tokens=100, messages=messages, **more) as stream:
        pieces = [piece async for piece in stream.text_stream]
        return "".join(pieces), await stream.get_final_message()


async def test_a_whole_answer_is_the_sdks_own_message():
    rig = Rig()
    async with rig as client:
        reply = await ask(client, system="Be brief.")
    assert reply.content[0].text == HELLO[0]["content"]
    assert (reply.stop_reason, reply.model, reply.usage.output_tokens) == ("end_turn", "claude-m", 7)
    assert reply.id.startswith("msg_")
    assert reply._request_id == "req_00000001"
    assert (rig.provider.log[0].key, rig.provider.log[0].path) == ("sk-test", "/v1/messages")


async def test_a_stream_adds_up_to_the_same_answer():
    async with Rig() as client:
        text, message = await streamed(client)
    assert text == message.content[0].text == HELLO[0]["content"]
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 7)


async def test_prompts_that_are_marked_are_written_and_read_again():
    system = [{"type": "text", "text": "s" * 8000, "cache_control": {"type": "ephemeral"}}]
    async with Rig() as client:
        written = (await ask(client, system=system)).usage
        read = (await ask(client, system=system)).usage
        _, message = await streamed(client, system=system)
    assert (written.cache_creation_input_tokens, written.cache_read_input_tokens) == (2000, 0)
    assert written.cache_creation.ephemeral_5m_input_tokens == 2000
    assert (read.cache_creation_input_tokens, read.cache_read_input_tokens) == (0, 2000)
    assert message.usage.cache_read_input_tokens == 2000
    assert read.input_tokens == written.input_tokens < 20


async def test_tools_are_called_whole_and_in_fragments():
    call = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    none = {"id": "toolu_2", "type": "function", "function": {"name": "clock", "arguments": ""}}
    answer = {"role": "assistant", "content": "Let me look.", "tool_calls": [call, none]}
    async with Rig(Script(answer=lambda body: answer)) as client:
        whole = await ask(client, tools=TOOLS)
        _, message = await streamed(client, tools=TOOLS)
    for reply in (whole, message):
        assert [block.type for block in reply.content] == ["text", "tool_use", "tool_use"]
        assert [block.input for block in reply.content[1:]] == [{"city": "Oslo"}, {}]
        assert reply.stop_reason == "tool_use"


async def test_thinking_comes_with_a_signature_and_is_wanted_back_with_it():
    answers = iter(
        [
            {"reasoning_content": "Hm.", "tool_calls": [
                {"id": "toolu_1", "function": {"name": "weather", "arguments": "{}"}}
            ]},
            "Fine.",
        ]
    )  # fmt: skip
    thinking = {"type": "enabled", "budget_tokens": 50}
    async with Rig(Script(answer=lambda body: next(answers))) as client:
        _, first = await streamed(client, tools=TOOLS, thinking=thinking)
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]}
        with pytest.raises(anthropic.BadRequestError, match="Expected `thinking`"):
            await ask(client, [*HELLO, {"role": "assistant", "content": first.content[1:]}, result], thinking=thinking)
        forged = [{**first.content[0].model_dump(), "signature": "x"}, *first.content[1:]]
        with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
            await ask(client, [*HELLO, {"role": "assistant", "content": forged}, result], thinking=thinking)
        again = await ask(client, [*HELLO, {"role": "assistant", "content": first.content}, result], thinking=thinking)
    assert again.content[0].text == "Fine."


async def test_a_refusal_is_a_reason_to_stop():
    async with Rig(Script.of(faults.Refusal("refusal", text="No."))) as client:
        whole = await ask(client)
        _, message = await streamed(client)
    for reply in (whole, message):
        assert (reply.stop_reason, reply.stop_details.explanation, reply.content) == ("refusal", "No.", [])


@pytest.mark.parametrize(
    ("fault", "expected", "kind"),
    [
        (faults.Error("rate_limit_exceeded", retry_after=1), anthropic.RateLimitError, "rate_limit_error"),
        (faults.Error("server_is_overloaded"), anthropic.InternalServerError, "overloaded_error"),
        (faults.Error("server_error"), anthropic.InternalServerError, "api_error"),
        (faults.Error("insufficient_quota"), anthropic.BadRequestError, "invalid_request_error"),
        (faults.Error("credit_balance_exhausted"), anthropic.APIStatusError, "billing_error"),
        (faults.Error("context_length_exceeded"), anthropic.BadRequestError, "invalid_request_error"),
        (faults.Error("invalid_api_key"), anthropic.AuthenticationError, "authentication_error"),
        (faults.Error("request_too_large"), anthropic.APIStatusError, "request_too_large"),
        (faults.Refusal("prompt"), anthropic.BadRequestError, "invalid_request_error"),
    ],
)
async def test_each_error_becomes_the_sdks_own_exception(fault, expected, kind):
    async with Rig(Script.of(fault)) as client:
        with pytest.raises(expected) as refused:
            await ask(client)
    assert refused.value.body["error"]["type"] == kind
    assert refused.value.body["error"]["message"]


async def test_an_error_event_inside_a_stream_raises():
    async with Rig(Script.of(faults.ErrorFrame(after=2, code="server_is_overloaded"))) as client:
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            await streamed(client)


async def test_a_clean_cut_passes_for_an_answer_with_the_sdk_which_is_why_resilio_checks():
    async with Rig(Script.of(faults.Cut(5))) as client:
        text, message = await streamed(client)
    assert text == "one two three four five "
    assert message.stop_reason is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"extra_body": {"temperature": 1.0}}, "temperature: Extra inputs are not permitted"),
        ({"extra_body": {"seed": 1}}, "seed: Extra inputs are not permitted"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "first message must use the \"user\" role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-whitespace text"),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]}, *HELLO]},
            "without `tool_result` blocks",
        ),
    ],
)  # fmt: skip
async def test_what_the_real_server_refuses_is_refused(more, words):
    async with Rig() as client:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await ask(client, **more)
    assert words in refused.value.body["error"]["message"]


async def test_the_older_version_takes_a_temperature():
    async with Rig(version="2023-06-01") as client:
        assert (await ask(client, extra_body={"temperature": 0.5})).stop_reason == "end_turn"


async def test_unknown_models_and_keys_are_refused():
    async with Rig(models=["other"]) as client:
        with pytest.raises(anthropic.NotFoundError):
            await ask(client)
    async with Rig(keys=["another"]) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await ask(client)


async def test_a_script_sees_the_request_in_openais_shape():
    seen = []

    def answer(body):
        seen.append(body)
        return "ok"

    messages = [
        *HELLO,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
    ]
    async with Rig(Script(answer=answer)) as client:
        await ask(client, messages, system="Be brief.", tools=TOOLS)
    system, user, called, result = seen[0]["messages"]
    assert (system["content"], user["content"][0]["text"], result["content"]) == (
        "Be brief.",
        HELLO[0]["content"],
        "rain",
    )
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert (result["role"], result["tool_call_id"]) == ("tool", "toolu_1")
    assert seen[0]["tools"][0]["function"]["name"] == "weather"
