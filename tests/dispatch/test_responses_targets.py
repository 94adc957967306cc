"""Targets that speak the Responses API in the engine: first and spare, whole and streamed, in loops that change it."""

import pytest
from world import world

from resilio import Unsupported
from resilio.errors import Exhausted, StreamBroken
from resilio.testing import Script, faults
from resilio.testing.dialects.responses import encrypted

pytestmark = pytest.mark.anyio

RESPONSES = {"kind": "responses", "models": {"m": {}}}
KINDS = {"responses": RESPONSES, "anthropic": {"kind": "anthropic", "models": {"m": {}}}, "openai": {"kind": "openai"}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
TOOL_CALLS = [
    {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": f'{{"city":"{city}"}}'}}
    for city in ("Oslo", "Rome")
]


def speaking(**kinds):
    """Targets by name with the dialect each speaks, the first asked first."""
    return {name: KINDS[kind] for name, kind in kinds.items()}


async def whole(it, *args, **wire):
    return await it.llm.complete("chat", *args, **wire)


async def streamed(it, *args, **wire):
    async with it.llm.stream("chat", *args, **wire) as stream:
        text = "".join([chunk.text async for chunk in stream])
    assert text == stream.reply.text
    return stream.reply


BOTH = pytest.mark.parametrize("ask", [whole, streamed])
MODES = pytest.mark.parametrize("mode", ["as_asked", "auto"])
PAIR = {"only": speaking(gpt="responses")}


@BOTH
@MODES
async def test_it_answers_first(ask, mode):
    route = {"upstream_stream": mode}
    async with world(**PAIR, route=route, gpt=Script(answer="from gpt"), spare=Script(answer="no")) as it:
        reply = await ask(it, "Hello", max_tokens=50)
        assert (reply.text, reply.target) == ("from gpt", "gpt/m")
        assert (reply.finish_reason, reply.complete) == ("stop", True)
        assert reply.usage.output_tokens == 2
        assert not reply.usage.estimated
        (seen,) = it.providers["gpt"].log
        assert (seen.path, seen.key, seen.body["max_output_tokens"]) == ("/v1/responses", "sk-test", 50)
        assert seen.stream is (mode == "auto" or ask is streamed)
        it.assert_idle()


@BOTH
@MODES
@pytest.mark.parametrize(
    "fault",
    [
        faults.Error("server_is_overloaded"),
        faults.Error("rate_limit_exceeded", retry_after=30),
        faults.Error("insufficient_quota"),
        faults.Error("context_length_exceeded"),
        faults.Error("model_not_found"),
        faults.Html(),
        faults.TruncatedJson(),
        faults.Cut(0),
        faults.Cut(0, clean=False),
        faults.EmptyChoices(),
        faults.ErrorFrame(after=0),
        faults.Silence(),
        faults.Refused(),
    ],
    ids=lambda fault: type(fault).__name__ + getattr(fault, "code", ""),
)
async def test_whatever_befalls_it_the_spare_answers(ask, mode, fault):
    route = {"upstream_stream": mode}
    async with world(**PAIR, route=route, gpt=Script.of(fault), spare=Script(answer="from spare")) as it:
        reply = await ask(it, "one")
        assert (reply.text, reply.target) == ("from spare", "spare/m")
        assert reply.attempts[0].target == "gpt/m"
        it.assert_idle()


@BOTH
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_it_is_the_spare_of_another_dialect(ask, kind):
    only = speaking(first=kind, gpt="responses")
    first = Script.of(faults.Error("server_is_overloaded"))
    async with world(only=only, first=first, gpt=Script(answer="from gpt")) as it:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        reply = await ask(it, messages)
        assert (reply.text, reply.target) == ("from gpt", "gpt/m")
        assert it.providers["gpt"].log[0].body["input"] == messages
        it.assert_idle()


@pytest.mark.parametrize("clean", [True, False])
async def test_a_stream_that_is_cut_in_the_middle_is_never_taken_for_whole(clean):
    async with world(**PAIR, gpt=Script.of(faults.Cut(2, clean=clean), answer="one two three four")) as it:
        with pytest.raises(StreamBroken) as caught:
            await streamed(it, "?")
        assert caught.value.text == "one two "
        it.assert_idle()


async def test_an_error_inside_a_stream_says_what_it_is():
    fault = faults.ErrorFrame(after=2, code="server_is_overloaded")
    async with world(**PAIR, gpt=Script.of(fault, answer="one two three four")) as it:
        with pytest.raises(StreamBroken, match="overloaded"):
            await streamed(it, "?")
        it.assert_idle()


class TestWhatTheServerKeeps:
    async def test_a_request_that_speaks_of_it_goes_to_no_other_dialect(self):
        only = speaking(claude="anthropic", chat="openai", gpt="responses")
        missing = Script(answer="no")
        async with world(only=only, claude=missing, chat=missing, gpt=Script(answer="yes")) as it:
            reply = await whole(it, "?", conversation="conv_1")
            assert (reply.target, len(reply.attempts)) == ("gpt/m", 1)
            assert it.providers["gpt"].log[0].body["conversation"] == "conv_1"

    @pytest.mark.parametrize("policy", ["error", "warn", "drop"])
    async def test_without_one_it_is_an_error_before_anything_is_sent(self, policy):
        only = speaking(claude="anthropic", chat="openai")
        route = {"on_unsupported": policy}
        async with world(only=only, route=route, claude=Script(), chat=Script()) as it:
            with pytest.raises(Unsupported, match="previous_response_id"):
                await whole(it, "?", previous_response_id="resp_1")
            assert it.calls("claude") == it.calls("chat") == 0

    async def test_a_server_that_does_not_have_it_is_no_reason_not_to_ask_the_next(self):
        only = speaking(first="responses", second="responses")
        async with world(only=only, first=Script(), second=Script()) as it:
            with pytest.raises(Exhausted, match="not found"):
                await whole(it, "?", previous_response_id="resp_1")
            assert (it.calls("first"), it.calls("second")) == (1, 1)

    async def test_left_out_stops_and_seeds_are_told(self):
        async with world(**PAIR, route={"on_unsupported": "warn"}, gpt=Script(answer="yes")) as it:
            reply = await whole(it, "?", stop=["END"], seed=7, user="u")
            assert [line.split()[4] for line in reply.warnings] == ["stop", "seed"]


def asks_for_tools_until(rounds, thought=None):
    """An answer maker that calls two tools at once in each round, then says how many results it saw."""

    def answer(body):
        results = [message for message in body["messages"] if message["role"] == "tool"]
        if len(results) < 2 * rounds:
            calls = [{**call, "id": f"{call['id']}_{len(results)}"} for call in TOOL_CALLS]
            thoughts = {"reasoning_content": thought} if thought else {}
            return {"role": "assistant", "content": "Looking.", "tool_calls": calls, **thoughts}
        return f"{len(results)} results"

    return answer


async def loop(it, ask, messages, rounds, **wire):
    """What an agent does: run the tools, append what came, ask again."""
    targets = []
    for number in range(rounds + 1):
        reply = await ask(it, messages, tools=[WEATHER], **wire)
        targets.append(reply.target)
        messages.append(reply.message())
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": f"{number}: mild"} for call in reply.tool_calls
        ]
    return reply, targets


def reasoning_in(body):
    return [item for item in body["input"] if item.get("type") == "reasoning"]


@BOTH
@pytest.mark.parametrize("thought", [None, "Both, I think."])
async def test_a_loop_of_three_rounds_with_parallel_calls_gives_all_reasoning_back(ask, thought):
    async with world(**PAIR, gpt=Script(answer=asks_for_tools_until(3, thought))) as it:
        wire = {"reasoning": {"summary": "auto"}} if thought else {}
        reply, _ = await loop(it, ask, [{"role": "user", "content": "Weather?"}], 3, **wire)
        assert (reply.text, reply.finish_reason) == ("6 results", "stop")
        last = it.providers["gpt"].log[-1].body
        assert last["store"] is False
        sent = [item["encrypted_content"] for item in reasoning_in(last)]
        assert sent == ([encrypted(thought)] * 3 if thought else [])


@BOTH
@pytest.mark.parametrize("thought", [None, "Both, I think."])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("responses", "openai"),
        ("anthropic", "responses"),
        ("responses", "responses"),
    ],
)
async def test_a_loop_moves_to_another_dialect_in_the_middle_and_back(ask, thought, first, second):
    """The first answers one round, is down for the next, and answers again."""
    only = speaking(one=first, two=second)
    down = faults.Error("server_is_overloaded")
    one = Script(answer=asks_for_tools_until(3, thought)).sequence(None, down, None, None)
    two = Script(answer=asks_for_tools_until(3, thought))
    async with world(only=only, one=one, two=two) as it:
        reply, targets = await loop(it, ask, [{"role": "user", "content": "?"}], 3)
        assert targets == ["one/m", "two/m", "one/m", "one/m"]
        assert reply.text == "6 results"
        (moved,) = it.providers["two"].log
        assert "responses_output" not in str(moved.body)
        if second == "responses":
            assert reasoning_in(moved.body) == [], "what another server encrypted cannot be read here"
        if first == "responses" and thought:
            back = it.providers["one"].log[-1].body
            assert len(reasoning_in(back)) == 2, "its own rounds, without the one made elsewhere"


@BOTH
async def test_a_question_about_a_picture_is_answered_in_a_schema(ask):
    def answer(body):
        (question,) = body["messages"]
        assert [part["type"] for part in question["content"]] == ["input_text", "input_image"]
        assert body["text"]["format"]["schema"] == SCHEMA
        return '{"animal": "cat"}'

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    asked = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SCHEMA, "strict": True}}
    async with world(**PAIR, gpt=Script(answer=answer)) as it:
        reply = await ask(it, messages, response_format=asked)
        assert (reply.text, reply.target) == ('{"animal": "cat"}', "gpt/m")


@BOTH
async def test_a_custom_tool_goes_round(ask):
    def answer(body):
        last = body["messages"][-1]
        if last["role"] == "tool":
            return f"got {last['content']}"
        call = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
        return {"role": "assistant", "tool_calls": [call]}

    tool = {"type": "custom", "custom": {"name": "sql"}}
    async with world(**PAIR, gpt=Script(answer=answer)) as it:
        messages = [{"role": "user", "content": "?"}]
        reply = await ask(it, messages, tools=[tool])
        assert (reply.tool_calls[0].name, reply.tool_calls[0].arguments) == ("sql", "SELECT 1")
        messages += [reply.message(), {"role": "tool", "tool_call_id": "call_1", "content": "1"}]
        assert (await ask(it, messages, tools=[tool])).text == "got 1"


async def test_limits_are_learned_from_its_headers():
    headers = {
        "x-ratelimit-limit-requests": "50", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"
    }  # fmt: skip
    async with world(**PAIR, gpt=Script(headers=headers, answer="a"), spare=Script(answer="b")) as it:
        assert (await whole(it, "?")).target == "gpt/m"
        assert (await whole(it, "?")).target == "spare/m"
