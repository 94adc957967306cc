"""Gemini-speaking targets in the engine: first and spare, whole and streamed, with what is theirs alone."""

import json

import pytest
from tool_loops import BOTH, TOOL_CALLS, WEATHER, asks_for_tools_until, loop, streamed, whole
from world import world

from resilio import Unsupported
from resilio.errors import ProviderRefused, StreamBroken
from resilio.testing import Script, faults

pytestmark = pytest.mark.anyio

GEMINI = {"kind": "gemini"}
MODES = pytest.mark.parametrize("mode", ["as_asked", "auto"])


def pair(first, second, **more):
    """An OpenAI-speaking and a Gemini-speaking target, `first` asked first."""
    return world(only={"gemini": GEMINI}, **more, **dict([first, second]))


@BOTH
@MODES
async def test_it_answers_first(ask, mode):
    route = {"upstream_stream": mode}
    async with pair(("gemini", Script(answer="from gemini")), ("gpt", Script(answer="from gpt")), route=route) as it:
        reply = await ask(it, "Hello", max_tokens=50)
        assert (reply.text, reply.target) == ("from gemini", "gemini/m")
        assert (reply.finish_reason, reply.complete) == ("stop", True)
        assert (reply.usage.output_tokens, reply.usage.service_tier, reply.usage.estimated) == (2, "standard", False)
        (seen,) = it.providers["gemini"].log
        method = "streamGenerateContent" if mode == "auto" or ask is streamed else "generateContent"
        assert (seen.path, seen.key) == (f"/v1/models/m:{method}", "sk-test")
        assert seen.body["generationConfig"] == {"maxOutputTokens": 50}
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
        faults.Error("invalid_api_key"),
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
    async with pair(("gemini", Script.of(fault)), ("gpt", Script(answer="from gpt")), route=route) as it:
        reply = await ask(it, "one")
        assert (reply.text, reply.target) == ("from gpt", "gpt/m")
        assert reply.attempts[0].target == "gemini/m"
        it.assert_idle()


async def test_the_wait_of_its_details_is_kept_to():
    script = Script().sequence(faults.Error("rate_limit_exceeded", retry_after=30))
    async with pair(("gemini", script), ("gpt", Script(answer="x"))) as it:
        first, second = await whole(it, "?"), await whole(it, "?")
        assert (first.attempts[0].error_class, first.attempts[0].status) == ("throttled", 429)
        assert (second.attempts[0].target, it.calls("gemini")) == ("gpt/m", 1)


async def test_a_stream_that_is_cut_in_the_middle_is_never_taken_for_whole():
    async with world(only={"gemini": GEMINI}, gemini=Script.of(faults.Cut(2), answer="one two three four")) as it:
        with pytest.raises(StreamBroken) as caught:
            await streamed(it, "?")
        assert caught.value.text == "one two "
        it.assert_idle()


@pytest.mark.parametrize("words", ["one two three four", "one\n\n- two\n\n- three\n", "one two  three"])
async def test_a_broken_stream_goes_on_at_it_from_the_very_letter(words):
    settings = {**GEMINI, "models": {"m": {"capabilities": ["streaming", "prefill"]}}}

    def go_on(body):
        last = body["messages"][-1]
        return words[len(last["content"][0]["text"]) :] if last["role"] == "assistant" else words

    scripts = {"gpt": Script.of(faults.Cut(2), answer=words), "gemini": Script(answer=go_on)}
    async with world(only={"gemini": settings}, route={"on_break": "continue"}, **scripts) as it:
        reply = await streamed(it, "?")
        assert reply.text == words
        assert (reply.complete, reply.seams[0].how, reply.seams[0].target) == (True, "prefill", "gemini/m")


@BOTH
async def test_a_block_without_a_word_is_a_refusal_and_one_with_words_an_answer(ask):
    silent, loud = faults.Refusal("content_filter", text=""), faults.Refusal("refusal", text="Not this.")
    async with world(only={"gemini": GEMINI}, gemini=Script().sequence(silent, loud)) as it:
        with pytest.raises(ProviderRefused, match="SAFETY"):
            await ask(it, "?")
        reply = await ask(it, "?")
        assert (reply.refusal, reply.finish_reason, reply.text) == ("Not this.", "content_filter", "")


class TestUnsupported:
    async def test_one_call_at_a_time_sends_the_question_to_the_target_that_can(self):
        wire = {"tools": [WEATHER], "parallel_tool_calls": False}
        async with pair(("gemini", Script(answer="no")), ("gpt", Script(answer="yes"))) as it:
            assert (await whole(it, "?", **wire)).target == "gpt/m"
            assert (await whole(it, "?", tools=[WEATHER])).target == "gemini/m"

    async def test_alone_it_is_an_error_before_anything_is_sent(self):
        async with world(only={"gemini": GEMINI}, gemini=Script()) as it:
            with pytest.raises(Unsupported, match=r"logit_bias \(there is no such field\)"):
                await whole(it, "?", logit_bias={"1": 2})
            assert it.calls("gemini") == 0

    @pytest.mark.parametrize("policy", ["warn", "drop"])
    async def test_left_out_the_real_server_accepts_the_rest(self, policy):
        route = {"on_unsupported": policy}
        async with world(only={"gemini": GEMINI}, route=route, gemini=Script(answer="yes")) as it:
            reply = await whole(it, "?", temperature=0.2, seed=7, verbosity="low", user="u", stop=["x"])
            assert reply.text == "yes"
            assert [line.split()[4] for line in reply.warnings] == (["verbosity"] if policy == "warn" else [])


@BOTH
async def test_a_loop_gives_every_signature_back_and_none_that_is_made_up(ask):
    script = Script(answer=asks_for_tools_until(3, thought="Both, I think."))
    async with world(only={"gemini": GEMINI}, gemini=script) as it:
        reply, _ = await loop(it, ask, [{"role": "user", "content": "?"}], 3, reasoning_effort="high")
        assert reply.text == "6 results"
        last = it.providers["gemini"].log[-1].body
        assert last["generationConfig"]["thinkingConfig"]["includeThoughts"] is True
        calls = [part for turn in last["contents"] for part in turn["parts"] if "functionCall" in part]
        signed = [part["thoughtSignature"] for part in calls if "thoughtSignature" in part]
        assert (len(calls), len(signed)) == (6, 3)
        assert "skip_thought_signature_validator" not in json.dumps(dict(last))


@BOTH
async def test_signed_text_goes_back_as_it_came(ask):
    answer = {"role": "assistant", "content": "Four.", "reasoning_content": "Two and two."}
    async with world(only={"gemini": GEMINI}, gemini=Script(answer=lambda body: answer)) as it:
        messages = [{"role": "user", "content": "?"}]
        reply = await ask(it, messages)
        assert (reply.text, reply.reasoning) == ("Four.", "Two and two.")
        await ask(it, [*messages, reply.message(), {"role": "user", "content": "Sure?"}])
        parts = it.providers["gemini"].log[-1].body["contents"][1]["parts"]
        assert any(part.get("thoughtSignature") for part in parts)
        assert "".join(part["text"] for part in parts if not part.get("thought")) == "Four."


async def test_a_history_made_elsewhere_gets_the_sentinel():
    call = TOOL_CALLS[0]
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "mild"},
    ]
    async with world(only={"gemini": GEMINI}, gemini=Script(answer="It is mild.")) as it:
        assert (await whole(it, messages, tools=[WEATHER])).text == "It is mild."
        part = it.providers["gemini"].log[0].body["contents"][1]["parts"][0]
        assert part["thoughtSignature"] == "skip_thought_signature_validator"
