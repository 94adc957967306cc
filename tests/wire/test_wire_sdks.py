"""The official SDKs read what we write, over real sockets: validating strictly, whole, streamed, and when it breaks."""

import anthropic
import openai
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from spoken import USAGE, encoder, reply
from test_wire_round_trips import CHUNKS, REPLY

from resilio.errors import ErrorClass, MailboxFull, ProviderError, StreamBroken
from resilio.models import Chunk, ToolCall, Usage
from resilio.wire import DIALECTS, read_messages

pytestmark = [pytest.mark.anyio, pytest.mark.real_loop]

HELLO = [{"role": "user", "content": "Hello"}]


class Gateway:
    """A server that answers every request with one reply, stream or error, and clients that talk to it."""

    def __init__(self, said=None, chunks=(), *, error=None, breaks=None, silent=False):
        self.said, self.chunks, self.error, self.breaks, self.silent = said, chunks, error, breaks, silent
        self.bodies = []

    async def answer(self, request):
        body = await request.json()
        self.bodies.append(body)
        dialect = DIALECTS["anthropic" if request.path.endswith("/messages") else "openai"]
        if self.error is not None:
            status, headers, data = dialect.error(self.error, request_id="a1-7")
            return web.Response(status=status, headers=headers, body=data)
        if not body.get("stream"):
            status, headers, data = dialect.reply(self.said, model="chat", created=1_795_430_000)
            return web.Response(status=status, headers=headers, body=data)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        writing = encoder(dialect.name, include_usage=bool(body.get("stream_options", {}).get("include_usage")))
        await response.write(writing.keep_alive())
        for chunk in self.chunks:
            await response.write(writing.chunk(chunk) + writing.keep_alive())
        if self.breaks is not None:
            await response.write(writing.error(self.breaks))
        elif not self.silent:
            await response.write(writing.end(self.said))
        return response

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        common = {"api_key": "sk", "max_retries": 2, "_strict_response_validation": True}
        self.openai = AsyncOpenAI(base_url=f"{url}/v1", **common)
        self.anthropic = AsyncAnthropic(base_url=url, **common)
        return self

    async def __aexit__(self, *exc):
        await self.openai.close()
        await self.anthropic.close()
        await self.runner.cleanup()

    def ask(self, **more):
        return self.openai.chat.completions.create(model="chat", messages=HELLO, **more)

    def ask_anthropic(self, **more):
        return self.anthropic.messages.create(model="chat", max_tokens=100, messages=HELLO, **more)

    async def stream(self, **more):
        async with self.openai.chat.completions.stream(model="chat", messages=HELLO, **more) as stream:
            return await stream.get_final_completion()

    async def stream_anthropic(self, **more):
        async with self.anthropic.messages.stream(model="chat", max_tokens=100, messages=HELLO, **more) as stream:
            return await stream.get_final_message()


async def test_openais_sdk_reads_an_answer_with_calls_whole_and_streamed():
    async with Gateway(REPLY, CHUNKS) as it:
        whole = await it.ask()
        streamed = await it.stream(stream_options={"include_usage": True})
    for got in (whole, streamed):
        choice = got.choices[0]
        assert (got.id, got.model, got.created) == ("chatcmpl-a1-7", "chat", 1_795_430_000)
        assert (choice.message.content, choice.finish_reason) == ("Let me look 🌍.", "tool_calls")
        calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
        assert calls == [(call.id, call.name, call.arguments) for call in REPLY.tool_calls]
        assert choice.message.model_extra["reasoning_content"] == "Grüße…"
        assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (100, 40, 140)
        details = got.usage.prompt_tokens_details
        assert (details.cached_tokens, details.cache_write_tokens) == (64, 16)
        assert got.usage.completion_tokens_details.reasoning_tokens == 24
    assert (whole._request_id, whole.service_tier) == ("a1-7", "default")
    assert whole.model_extra["resilio"]["target"] == "openai/gpt-5"


async def test_anthropics_sdk_reads_an_answer_with_calls_whole_and_streamed():
    async with Gateway(REPLY, CHUNKS) as it:
        whole = await it.ask_anthropic()
        streamed = await it.stream_anthropic()
    for got in (whole, streamed):
        assert (got.id, got.model, got.role) == ("msg_a1-7", "chat", "assistant")
        thought, text, *calls = got.content
        assert (thought.thinking, thought.signature, text.text) == ("Grüße…", "", "Let me look 🌍.")
        assert [(call.id, call.name, call.input) for call in calls] == [
            ("call_a", "get_weather", {"city": "Köln"}),
            ("call_b", "get_time", {}),
        ]
        assert got.stop_reason == "tool_use"
        assert (got.usage.input_tokens, got.usage.output_tokens) == (20, 40)
        assert (got.usage.cache_read_input_tokens, got.usage.cache_creation_input_tokens) == (64, 16)
        assert got.usage.output_tokens_details.thinking_tokens == 24
    assert (whole._request_id, whole.usage.service_tier) == ("a1-7", "standard")


async def test_a_refusal_is_one_to_either_sdk():
    said = reply("", "content_filter", refusal="Not this.")
    chunks = [Chunk(refusal="Not "), Chunk(refusal="this."), Chunk(finish_reason="content_filter")]
    async with Gateway(said, chunks) as it:
        got = await it.ask()
        assert (got.choices[0].message.refusal, got.choices[0].message.content) == ("Not this.", None)
        assert got.choices[0].finish_reason == "content_filter"
        deltas = [chunk.choices[0].delta async for chunk in await it.ask(stream=True)]
        assert "".join(delta.refusal or "" for delta in deltas) == "Not this."
        with pytest.raises(openai.ContentFilterFinishReasonError):
            await it.stream()
        for got in (await it.ask_anthropic(), await it.stream_anthropic()):
            assert (got.stop_reason, got.stop_details.explanation) == ("refusal", "Not this.")


async def test_an_answer_of_nothing_is_one_to_either_sdk():
    async with Gateway(reply("", usage=Usage()), [Chunk(finish_reason="stop")]) as it:
        for got in (await it.ask(), await it.stream()):
            assert (got.choices[0].message.content, got.choices[0].finish_reason) == ("", "stop")
        for got in (await it.ask_anthropic(), await it.stream_anthropic()):
            assert (got.content, got.stop_reason) == ([], "end_turn")


async def test_a_part_of_an_answer_is_cut_off_to_either_sdk_and_says_why():
    said = reply("Hel", "", complete=False, broken="idle")
    async with Gateway(said) as it:
        got = await it.ask()
        assert (got.choices[0].message.content, got.choices[0].finish_reason) == ("Hel", "length")
        assert got.model_extra["resilio"]["broken"] == "idle"
        headers = (await it.openai.chat.completions.with_raw_response.create(model="c", messages=HELLO)).headers
        assert (headers["x-resilio-complete"], headers["x-resilio-broken"]) == ("false", "idle")
        got = await it.ask_anthropic()
        assert (got.content[0].text, got.stop_reason) == ("Hel", "max_tokens")
        assert got.model_extra["resilio"]["broken"] == "idle"


async def test_a_stream_of_a_part_is_raised_by_either_sdk_and_by_its_helper():
    said = reply("Hel", "length", complete=False, broken="idle")
    async with Gateway(said, [Chunk("Hel"), Chunk(finish_reason="length")]) as it:
        chunks, events = [], []
        with pytest.raises(openai.APIError, match="3 characters: idle") as caught:
            async for chunk in await it.ask(stream=True, stream_options={"include_usage": True}):
                chunks.append(chunk.choices[0])
        assert (caught.value.code, [its.finish_reason for its in chunks if its.finish_reason]) == ("timeout", [])
        assert "".join(its.delta.content or "" for its in chunks) == "Hel"
        with pytest.raises(openai.APIError, match="idle"):
            await it.stream()
        with pytest.raises(anthropic.APIStatusError, match="3 characters: idle") as caught:
            async for event in await it.ask_anthropic(stream=True):
                events.append(event)
        story = caught.value.body["resilio"]
        assert (story["complete"], story["broken"], story["request_id"]) == (False, "idle", "a1-7")
        assert not {"message_delta", "message_stop"} & {event.type for event in events}
        with pytest.raises(anthropic.APIStatusError, match="idle"):
            await it.stream_anthropic()


async def test_an_error_inside_a_stream_is_raised_by_either_sdk():
    cause = ProviderError("it fell silent", ErrorClass.IDLE)
    broken = StreamBroken("stream broken after 3 characters", "Hel", USAGE)
    broken.__cause__ = cause
    async with Gateway(reply("Hel"), [Chunk("Hel")], breaks=broken) as it:
        seen = []
        with pytest.raises(openai.APIError, match="after 3 characters") as caught:
            async for chunk in await it.ask(stream=True):
                seen += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        assert (seen, caught.value.code, caught.value.type) == (["Hel"], "timeout", "server_error")
        seen = []
        with pytest.raises(anthropic.APIStatusError, match="after 3 characters") as caught:
            async for event in await it.ask_anthropic(stream=True):
                seen += [event.delta.text] if event.type == "content_block_delta" else []
        assert (seen, caught.value.body["error"]["type"]) == (["Hel"], "timeout_error")


async def test_a_stream_cut_after_any_chunk_has_no_reason_to_end_in_either_sdk():
    for count in range(len(CHUNKS) + 1):
        async with Gateway(REPLY, CHUNKS[:count], silent=True) as it:
            reasons = [choice.finish_reason async for chunk in await it.ask(stream=True) for choice in chunk.choices]
            assert not any(reasons)
            kinds = [event.type async for event in await it.ask_anthropic(stream=True)]
            assert not {"message_delta", "message_stop"} & set(kinds)


async def test_either_sdk_raises_its_own_class_and_does_not_multiply_retries():
    async with Gateway(error=ProviderError("slow down", ErrorClass.THROTTLED, retry_after=0.001)) as it:
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            await it.ask()
        assert (caught.value.code, caught.value.request_id) == ("rate_limit_exceeded", "a1-7")
        with pytest.raises(anthropic.RateLimitError, match="slow down") as caught:
            await it.ask_anthropic()
        assert caught.value.request_id == "a1-7"
        assert len(it.bodies) == 2
    async with Gateway(error=ProviderError("no room", ErrorClass.OVERLOADED)) as it:
        with pytest.raises(openai.InternalServerError) as caught:
            await it.ask()
        assert caught.value.status_code == 503
        with pytest.raises(anthropic.APIStatusError) as caught:
            await it.ask_anthropic()
        assert caught.value.status_code == 529
        assert len(it.bodies) == 2


async def test_shed_load_is_asked_again_by_either_sdk_when_it_was_told_to():
    full = MailboxFull("a", 9)
    full.retry_after = 0.001
    async with Gateway(error=full) as it:
        with pytest.raises(openai.InternalServerError):
            await it.ask()
        assert len(it.bodies) == 3
        with pytest.raises(anthropic.APIStatusError):
            await it.ask_anthropic()
        assert len(it.bodies) == 6


async def test_several_choices_and_logprobs_reach_openais_sdk():
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    logprobs = {"content": [token], "refusal": None}
    raw = {"choices": [
        {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop", "logprobs": logprobs},
        {"index": 1, "message": {"content": "Ho", "tool_calls": None}, "finish_reason": "eos"},
    ], "system_fingerprint": "fp_1"}  # fmt: skip
    chunks = [
        Chunk("Hi", raw={"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": logprobs}]}),
        Chunk("Ho", index=1), Chunk(finish_reason="stop"), Chunk(finish_reason="stop", index=1),
    ]  # fmt: skip
    async with Gateway(reply("Hi", raw=raw), chunks) as it:
        for got in (await it.ask(n=2, logprobs=True), await it.stream(n=2, logprobs=True)):
            first, second = got.choices
            assert [first.message.content, second.message.content] == ["Hi", "Ho"]
            assert [first.finish_reason, second.finish_reason] == ["stop", "stop"]
            assert first.logprobs.content[0].token == "Hi"


async def test_a_forced_call_ends_in_the_word_each_sdk_waits_for():
    said = reply("", "stop", tool_calls=(ToolCall("call_a", "f", ""),))
    async with Gateway(said) as it:
        assert (await it.ask()).choices[0].finish_reason == "stop"
        got = await it.ask_anthropic()
        assert (got.stop_reason, got.content[0].input) == ("tool_use", {})


async def test_the_next_round_of_anthropics_sdk_is_read_with_all_that_came():
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
    raw = {"type": "message", "content": [signed, call], "stop_reason": "tool_use"}
    said = reply("", "tool_calls", reasoning="Hm.", tool_calls=(ToolCall("toolu_1", "f", '{"x": 1}'),), raw=raw)
    async with Gateway(said) as it:
        got = await it.ask_anthropic()
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "8"}]}
        await it.anthropic.messages.create(model="chat", max_tokens=9, messages=[*HELLO, got.to_param(), result])
        asked = read_messages(it.bodies[-1])
    _, turn, answer = asked.messages
    assert turn["anthropic_content"] == [signed, call]
    assert turn["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert (answer["role"], answer["tool_call_id"], answer["content"]) == ("tool", "toolu_1", "8")
