"""Anthropic-speaking targets in the engine: first and spare, whole and streamed, in loops that change the dialect."""

import pytest
from tool_loops import BOTH, asks_for_tools_until, loop, streamed, whole
from world import world

from resilio import Unsupported
from resilio.errors import StreamBroken
from resilio.testing import Script, faults

pytestmark = pytest.mark.anyio

CLAUDE = {"kind": "anthropic", "models": {"m": {}}}
NEWER = {**CLAUDE, "version": "2026-10-21"}
THINKER = {**CLAUDE, "models": {"claude-sonnet-4-5": {"max_output_tokens": 8000}}}


def pair(first, second, *, anthropic="claude", settings=CLAUDE, **more):
    """An OpenAI-speaking and an Anthropic-speaking target, `first` asked first."""
    scripts = dict([first, second])
    return world(only={anthropic: settings}, **more, **scripts)


MODES = pytest.mark.parametrize("mode", ["as_asked", "auto"])


@BOTH
@MODES
async def test_it_answers_first(ask, mode):
    route = {"upstream_stream": mode}
    async with pair(("claude", Script(answer="from claude")), ("gpt", Script(answer="from gpt")), route=route) as it:
        reply = await ask(it, "Hello", max_tokens=50)
        assert (reply.text, reply.target) == ("from claude", "claude/m")
        assert (reply.finish_reason, reply.complete) == ("stop", True)
        assert reply.usage.output_tokens == 2
        assert not reply.usage.estimated
        (seen,) = it.providers["claude"].log
        assert (seen.path, seen.key, seen.body["max_tokens"]) == ("/v1/messages", "sk-test", 50)
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
    async with pair(("claude", Script.of(fault)), ("gpt", Script(answer="from gpt")), route=route) as it:
        reply = await ask(it, "one")
        assert (reply.text, reply.target) == ("from gpt", "gpt/m")
        assert reply.attempts[0].target == "claude/m"
        it.assert_idle()


@BOTH
@MODES
@pytest.mark.parametrize("fault", [faults.Error("server_is_overloaded"), faults.Cut(0), faults.Silence()])
async def test_it_is_the_spare_of_another_dialect(ask, mode, fault):
    route = {"upstream_stream": mode}
    async with pair(("gpt", Script.of(fault)), ("claude", Script(answer="from claude")), route=route) as it:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        reply = await ask(it, messages)
        assert (reply.text, reply.target) == ("from claude", "claude/m")
        assert it.providers["claude"].log[0].body["system"] == "Be brief."
        it.assert_idle()


async def test_errors_have_the_class_of_their_type():
    script = Script().sequence(
        faults.Error("rate_limit_exceeded", retry_after=30), faults.Error("server_is_overloaded")
    )
    async with pair(("claude", script), ("gpt", Script(answer="x"))) as it:
        first, second = await whole(it, "?"), await whole(it, "?")
        assert first.attempts[0].error_class == "throttled"
        assert first.attempts[0].status == 429
        assert second.attempts[0].target == "gpt/m", "the key rests for its 30 s"


async def test_a_stream_that_is_cut_in_the_middle_is_never_taken_for_whole():
    async with world(only={"claude": CLAUDE}, claude=Script.of(faults.Cut(2), answer="one two three four")) as it:
        with pytest.raises(StreamBroken) as caught:
            await streamed(it, "?")
        assert caught.value.text == "one two "
        it.assert_idle()


@pytest.mark.parametrize("words", ["one two three four", "one\n\n- two\n\n- three\n", "one two  three"])
@pytest.mark.parametrize("repeats", [True, False])
async def test_a_broken_stream_goes_on_at_it_from_the_very_letter(words, repeats):
    """It is not sent the blank at the end, and may write it again or not."""
    settings = {**CLAUDE, "models": {"m": {"capabilities": ["streaming", "prefill"]}}}

    def go_on(body):
        last = body["messages"][-1]
        rest = words[len(last["content"][0]["text"]) :] if last["role"] == "assistant" else words
        return rest if repeats else rest.lstrip()

    route = {"on_break": "continue"}
    first = ("gpt", Script.of(faults.Cut(2), answer=words))
    async with pair(first, ("claude", Script(answer=go_on)), settings=settings, route=route) as it:
        reply = await streamed(it, "?")
        assert reply.text == words
        assert (reply.complete, reply.seams[0].how, reply.seams[0].target) == (True, "prefill", "claude/m")


class TestUnsupported:
    async def test_a_temperature_sends_the_call_to_the_target_that_knows_one(self):
        async with pair(("claude", Script(answer="no")), ("gpt", Script(answer="yes")), settings=NEWER) as it:
            assert (await whole(it, "?", temperature=0.2)).target == "gpt/m"
            assert (await whole(it, "?")).target == "claude/m"

    async def test_alone_it_is_an_error_before_anything_is_sent(self):
        async with world(only={"claude": NEWER}, claude=Script()) as it:
            with pytest.raises(Unsupported, match=r"temperature \(version 2026-10-21"):
                await whole(it, "?", temperature=0.2)
            assert it.calls("claude") == 0

    async def test_the_older_version_takes_it(self):
        async with world(only={"claude": CLAUDE}, claude=Script(answer="yes")) as it:
            assert (await whole(it, "?", temperature=0.2)).text == "yes"
            assert it.providers["claude"].log[0].body["temperature"] == 0.2

    @pytest.mark.parametrize("policy", ["warn", "drop"])
    async def test_left_out_the_real_server_accepts_the_rest(self, policy):
        async with world(only={"claude": NEWER}, route={"on_unsupported": policy}, claude=Script(answer="yes")) as it:
            reply = await whole(it, "?", temperature=0.2, seed=7, user="u")
            assert reply.text == "yes"
            assert [line.split()[4] for line in reply.warnings] == (["temperature", "seed"] if policy == "warn" else [])


@BOTH
async def test_a_loop_with_thinking_gives_every_signature_back(ask):
    script = Script(answer=asks_for_tools_until(3, thought="Both, I think."))
    route = {"targets": ["claude/claude-sonnet-4-5"]}
    async with world(only={"claude": THINKER}, route=route, claude=script) as it:
        reply, _ = await loop(it, ask, [{"role": "user", "content": "?"}], 3, reasoning_effort="high")
        assert reply.text == "6 results"
        last = it.providers["claude"].log[-1].body
        assert last["thinking"] == {"type": "enabled", "budget_tokens": 4000}
        thoughts = [block for turn in last["messages"] for block in turn["content"] if block["type"] == "thinking"]
        assert len(thoughts) == 3


async def test_limits_are_learned_from_its_headers():
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2100-01-01T00:00:00Z",
    }
    async with pair(("claude", Script(headers=headers, answer="a")), ("gpt", Script(answer="b"))) as it:
        assert (await whole(it, "?")).target == "claude/m"
        assert (await whole(it, "?")).target == "gpt/m"


async def test_a_structured_answer_of_an_older_model_is_its_text():
    settings = {**CLAUDE, "models": {"claude-3-haiku": {}}}
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    given = {"id": "toolu_1", "type": "function", "function": {"name": "resilio_answer", "arguments": '{"age":3}'}}
    script = Script(answer=lambda body: {"role": "assistant", "tool_calls": [given]})
    async with world(only={"claude": settings}, route={"targets": ["claude/claude-3-haiku"]}, claude=script) as it:
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        for ask in (whole, streamed):
            reply = await ask(it, "?", response_format=asked)
            assert (reply.text, reply.finish_reason, reply.tool_calls) == ('{"age":3}', "stop", ())
        assert it.providers["claude"].log[0].body["tool_choice"] == {"type": "tool", "name": "resilio_answer"}
