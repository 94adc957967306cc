"""The official SDK is the judge of the simulator's wire format. Real loop: the SDK starts threads."""

import json
import math

import openai
import pytest

from resilio.testing import Script, SimulatedProvider, SimulatedServer, faults

pytestmark = pytest.mark.real_loop

HELLO = [{"role": "user", "content": "one two three four five six seven"}]
TOOL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


class Rig:
    """A server and the official client, whose own retries are off."""

    def __init__(self, script=None, *, strict=True, **options):
        self.provider, self.strict = SimulatedProvider(script, **options), strict

    async def __aenter__(self):
        self.server = await SimulatedServer(self.provider).__aenter__()
        self.client = openai.AsyncOpenAI(
            base_url=self.server.url, api_key="right", max_retries=0, _strict_response_validation=self.strict
        )
        return self.client

    async def __aexit__(self, *error):
        await self.client.close()
        await self.server.__aexit__(*error)


async def streamed(client, **fields):
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True, **fields)
    return [chunk async for chunk in stream]


async def test_a_text_is_read_under_strict_validation():
    async with Rig() as client:
        reply = await client.chat.completions.create(model="m", messages=HELLO)
    assert reply.choices[0].message.content == HELLO[0]["content"]
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens == 7
    assert reply._request_id == "req_00000001"


async def test_a_stream_is_read_to_its_usage():
    async with Rig() as client:
        chunks = await streamed(client, stream_options={"include_usage": True})
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == HELLO[0]["content"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 7


async def test_tool_calls_are_read_whole_and_streamed():
    async with Rig(Script(answer=lambda body: {"role": "assistant", "tool_calls": [TOOL]})) as client:
        reply = await client.chat.completions.create(model="m", messages=HELLO)
        chunks = await streamed(client)
    assert reply.choices[0].message.tool_calls[0].function.name == "weather"
    pieces = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments for call in pieces)) == {"city": "Oslo"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_a_refusal_is_read_as_one():
    async with Rig(Script.of(faults.Refusal("refusal", text="No."))) as client:
        reply = await client.chat.completions.create(model="m", messages=HELLO)
    assert (reply.choices[0].message.content, reply.choices[0].message.refusal) == (None, "No.")


@pytest.mark.parametrize(
    ("fault", "expected", "code"),
    [
        (faults.Error("rate_limit_exceeded", retry_after=1), openai.RateLimitError, "rate_limit_exceeded"),
        (faults.Error("insufficient_quota"), openai.RateLimitError, "insufficient_quota"),
        (faults.Error("server_error"), openai.InternalServerError, "server_error"),
        (faults.Error("server_is_overloaded"), openai.InternalServerError, "server_is_overloaded"),
        (faults.Error("context_length_exceeded"), openai.BadRequestError, "context_length_exceeded"),
        (faults.Error("invalid_api_key"), openai.AuthenticationError, "invalid_api_key"),
        (faults.Error("credit_balance_exhausted"), openai.APIStatusError, "credit_balance_exhausted"),
        (faults.Refusal("prompt"), openai.BadRequestError, "content_policy_violation"),
    ],
)
async def test_each_error_becomes_the_sdks_own_exception(fault, expected, code):
    async with Rig(Script.of(fault)) as client:
        with pytest.raises(expected) as refused:
            await client.chat.completions.create(model="m", messages=HELLO)
    assert refused.value.code == code
    assert refused.value.body["message"]


async def test_unknown_models_and_keys_are_refused():
    async with Rig(models=["other"]) as client:
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="m", messages=HELLO)
    async with Rig(keys=["another"]) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="m", messages=HELLO)


async def test_a_reset_is_a_connection_error():
    async with Rig(Script.of(faults.Reset())) as client:
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model="m", messages=HELLO)


async def test_silence_is_a_time_out():
    async with Rig(Script.of(faults.Silence())) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="m", messages=HELLO, timeout=0.05)


async def test_an_error_frame_inside_a_stream_raises():
    async with Rig(Script.of(faults.ErrorFrame(after=2))) as client:
        with pytest.raises(openai.APIError, match="error processing"):
            await streamed(client)


async def test_a_clean_cut_passes_for_an_answer_with_the_sdk_which_is_why_resilio_checks():
    async with Rig(Script.of(faults.Cut(5))) as client:
        chunks = await streamed(client)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two three four five "
    assert all(c.choices[0].finish_reason is None for c in chunks)


@pytest.mark.parametrize("times", [0, 2])
async def test_the_sdk_does_not_mind_the_terminator(times):
    async with Rig(Script.of(faults.Terminator(times))) as client:
        assert (await streamed(client))[-1].choices[0].finish_reason == "stop"


async def test_embeddings_are_the_same_in_both_encodings():
    async with Rig(strict=False) as client:  # the SDK asks for base64, which its strict mode does not know
        packed = await client.embeddings.create(model="e", input=["a", "b"])
        plain = await client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
    assert len(packed.data) == 2
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert packed.usage.prompt_tokens == 2


async def test_texts_a_real_endpoint_refuses_are_refused():
    async with Rig(strict=False) as client:
        for texts, why in (
            (["a", ""], "empty string"),
            (["a"] * 2049, "maximum 2048"),
            (["x" * 800_000] * 2, "tokens"),
        ):
            with pytest.raises(openai.BadRequestError, match=why):
                await client.embeddings.create(model="e", input=texts)


async def test_faults_strike_embeddings_too():
    script = Script().first(1, faults.Error("rate_limit_exceeded")).first(1, faults.BadVectors("missing"))
    async with Rig(script.first(1, faults.BadVectors("nan")), strict=False) as client:
        with pytest.raises(openai.RateLimitError):
            await client.embeddings.create(model="e", input=["a", "b"])
        missing = await client.embeddings.create(model="e", input=["a", "b"])
        assert len(missing.data) == 1, "the SDK does not count, which is why resilio does"
        nan = await client.embeddings.create(model="e", input=["a", "b"])
        assert any(map(math.isnan, nan.data[1].embedding))


async def test_models_are_listed():
    async with Rig(models=["a", "b"]) as client:
        assert [model.id async for model in client.models.list()] == ["a", "b"]


async def test_retries_of_the_sdk_are_seen_in_the_log():
    rig = Rig(Script().first(2, faults.Error("server_error", retry_after=0.001, retry_after_as="ms")))
    async with rig as client:
        patient = client.with_options(max_retries=2)
        await patient.chat.completions.create(model="m", messages=HELLO, extra_headers={"x-test": "1"})
    assert [seen.status for seen in rig.provider.log] == [500, 500, 200]
    assert [seen.headers["x-stainless-retry-count"] for seen in rig.provider.log] == ["0", "1", "2"]
