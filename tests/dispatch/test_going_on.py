"""What may be spliced onto a broken stream and what may not, and what the books say of it."""

import asyncio

import pytest
from frames import FINISH, event, plays, say, think
from world import world

from resilio import StreamBroken
from resilio.events import AttemptEnded, CallSettled
from resilio.models import Level
from resilio.testing.faults import Cut, Error, ErrorFrame, NoPrefill, Refused, Silence
from resilio.testing.reaction import Ending
from resilio.testing.script import Script

TEXT = "one two three four five six"
WHOLE = Script(answer=TEXT)
GO_ON = {"on_break": "continue"}
CAN_PREFILL = {"models": {"m": {"capabilities": ["streaming", "prefill", "tools"]}}}


def tool(arguments, **more):
    return event({"tool_calls": [{"index": 0, "function": {"arguments": arguments, **more}}]})


def settled(w):
    (event,) = [event for event in w.events if isinstance(event, CallSettled)]
    return event


async def read(w, **options):
    chunks = []
    async with w.llm.stream("chat", "hi", **options) as stream:
        async for chunk in stream:
            chunks.append(chunk)
    return chunks, stream.reply


async def test_a_break_after_reasoning_alone_asks_the_next_target_as_if_nothing_had_been():
    async with world(a=Script(), b=Script(), route=GO_ON, only={"b": CAN_PREFILL}) as w:
        plays(w, "a", (0.0, think("first thoughts. ")), ending=Ending.CUT)
        plays(w, "b", (0.0, think("second thoughts.")), (0.0, say("four")), (0.0, FINISH))
        chunks, reply = await read(w)
        assert [message["role"] for message in w.providers["b"].log[0].body["messages"]] == ["user"]
        assert (reply.text, reply.complete) == ("four", True)
        assert reply.reasoning == "".join(chunk.reasoning for chunk in chunks) == "first thoughts. second thoughts."
        assert [(seam.at, seam.how) for seam in reply.seams] == [(0, "restart")]


@pytest.mark.parametrize("only", [{}, {"b": CAN_PREFILL}], ids=["restart", "prefill"])
async def test_a_tool_call_that_has_begun_is_never_spliced_and_comes_with_the_error(only):
    async with world(a=Script(), b=WHOLE, route=GO_ON, only=only) as w:
        plays(w, "a", (0.0, say("Let me look. ")), (0.0, tool('{"city": ', name="weather")), ending=Ending.CUT)
        with pytest.raises(StreamBroken) as caught:
            await read(w)
        assert w.calls("b") == 0
        assert caught.value.text == "Let me look. "
        (fragment,) = caught.value.chunks
        assert fragment.tool_calls[0].arguments == '{"city": '


async def test_a_tool_call_beside_text_in_one_chunk_is_not_spliced_either():
    both = event({"content": "Look: ", "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]})
    async with world(a=Script(), b=Script(answer="Look: no"), route=GO_ON) as w:
        plays(w, "a", (0.0, both), ending=Ending.CUT)
        with pytest.raises(StreamBroken):
            await read(w)
        assert w.calls("b") == 0


async def test_several_choices_are_never_spliced_even_if_only_the_first_has_begun():
    async with world(a=Script.of(Cut(1), answer=TEXT), b=WHOLE, route=GO_ON, only={"b": CAN_PREFILL}) as w:
        with pytest.raises(StreamBroken):
            await read(w, n=2)
        assert w.calls("b") == 0


async def test_a_refusal_in_mid_stream_is_not_dodged():
    refusal = ErrorFrame(2, code="content_policy_violation")
    async with world(a=Script.of(refusal, answer=TEXT), b=WHOLE, route=GO_ON) as w:
        with pytest.raises(StreamBroken):
            await read(w)
        assert w.calls("b") == 0


@pytest.mark.parametrize("last", [event({"content": "one "}, "stop"), event({"content": "one two "}, "length")])
async def test_an_answer_that_ends_before_what_was_handed_out_is_never_a_success(last):
    async with world(a=Script.of(Cut(3), answer=TEXT), b=Script(), route=GO_ON) as w:
        plays(w, "b", (0.0, last))
        with pytest.raises(StreamBroken, match="nobody could go on"):
            await read(w)
        assert w.calls("b") == 1
        w.assert_idle()


async def test_what_comes_in_the_chunk_that_ends_the_repeated_text_is_not_lost():
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    async with world(a=Script.of(Cut(3), answer=TEXT), b=Script(), route=GO_ON) as w:
        plays(w, "b", (0.0, event({"content": "one two three "}, "length", usage=usage)))
        chunks, reply = await read(w)
        assert (reply.text, reply.finish_reason, reply.complete) == ("one two three ", "length", True)
        assert chunks[-1].finish_reason == "length"
        assert chunks[-1].text == ""


async def test_no_raw_chunk_holds_text_that_was_handed_out_before():
    async with world(a=Script.of(Cut(2), answer=TEXT), b=Script(), route=GO_ON) as w:
        plays(w, "b", (0.0, say("one two three ")), (0.0, say("four")), (0.0, FINISH))
        chunks, _ = await read(w)
        raw = [chunk.raw["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk.raw]
        assert "".join(raw).count("one") == 1


async def test_a_prefill_that_is_refused_goes_to_another_who_takes_one_before_anybody_answers_anew():
    def continued(body):
        last = body["messages"][-1]
        return TEXT.removeprefix(last["content"]) if last["role"] == "assistant" else "quite another answer"

    picky, takes = Script(answer="another answer").with_rule(NoPrefill()), Script(answer=continued)
    only = {"b": CAN_PREFILL, "c": CAN_PREFILL}
    async with world(a=Script.of(Cut(3), answer=TEXT), b=picky, c=takes, route=GO_ON, only=only) as w:
        _, reply = await read(w)
        assert (reply.text, reply.complete) == (TEXT, True)
        assert [each.target for each in reply.attempts] == ["a/m", "b/m", "c/m"]
        assert [(seam.target, seam.how) for seam in reply.seams] == [("c/m", "prefill")]


async def test_a_time_out_of_the_callers_own_in_mid_continuation_may_be_followed_by_reading_on():
    settings = {**GO_ON, "retry": {"max_attempts": 8}}
    async with world(a=Script.of(Cut(3), answer=TEXT), b=Script.of(Silence()), route=settings) as w:
        async with w.llm.stream("chat", "hi") as stream:
            text = "".join([(await anext(stream)).text for _ in range(3)])
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await anext(stream)
            w.providers["b"].script = WHOLE
            async for chunk in stream:
                text += chunk.text
        assert text == stream.reply.text == TEXT
        assert len(stream.reply.seams) == 1
        assert [each.outcome for each in stream.reply.attempts] == ["failure", "cancelled", "cancelled", "success"]
        assert settled(w).final == "complete"
        w.assert_idle()


async def test_leaving_in_mid_continuation_settles_once():
    async with world(a=Script.of(Cut(3), answer=TEXT), b=Script.of(Silence()), route=GO_ON) as w:
        async with w.llm.stream("chat", "hi") as stream:
            for _ in range(3):
                await anext(stream)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(stream)
        assert (stream.reply.broken, stream.reply.text) == ("left", "one two three ")
        assert settled(w).final == "cancelled"
        w.assert_idle()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_the_record_of_a_broken_stream_says_what_was_used():
    priced = {"price": {"input": 1.0, "output": 2.0}}
    async with world(a=Script.of(Cut(3), answer=TEXT), model=priced) as w:
        with pytest.raises(StreamBroken) as caught:
            await read(w)
        record = settled(w)
        assert (record.final, record.target) == ("failed", "a/m")
        assert record.usage == caught.value.usage
        assert record.cost_usd > 0


async def test_the_record_of_a_stream_left_early_says_what_was_used():
    async with world(a=Script(answer=TEXT)) as w:
        async with w.llm.stream("chat", "hi") as stream:
            await anext(stream)
        record = settled(w)
        assert (record.final, record.usage) == ("cancelled", stream.reply.usage)
        assert record.usage.output_tokens > 0
        (ended,) = [event for event in w.events if isinstance(event, AttemptEnded)]
        assert ended.usage == record.usage


async def test_time_for_rungs_below_is_not_kept_once_content_is_handed_out():
    ladder = {**GO_ON, "ladder": ["full", {"simpler": "small"}]}
    routes = {"small": {"targets": ["c/m"]}}
    slow = Script.of(Silence())
    async with world(
        a=Script.of(Cut(3), answer=TEXT), b=slow, c=WHOLE,
        route={**ladder, "targets": ["a/m", "b/m"], "clocks": {"first_token": 50}}, routes=routes,
    ) as w:  # fmt: skip
        with pytest.raises(StreamBroken) as caught:
            await read(w, deadline=8.0)
        assert caught.value.attempts[-1].clock_seconds == pytest.approx(8.0)
        assert w.calls("c") == 0


async def test_a_simpler_rung_answers_a_stream_and_says_why():
    routes = {"small": {"targets": ["c/m"]}}
    down = {"targets": ["a/m", "b/m"], "ladder": ["full", {"simpler": "small"}]}
    async with world(a=Script.of(Refused()), b=Script.of(Error(status=503)), c=WHOLE, route=down, routes=routes) as w:
        _, reply = await read(w)
        assert (reply.text, reply.level, reply.target) == (TEXT, Level.SIMPLER, "c/m")
        assert [each.target for each in reply.attempts] == ["a/m", "b/m", "c/m"]
        assert len(reply.reasons) == 1
        assert (settled(w).final, settled(w).level) == ("complete", Level.SIMPLER)


async def test_a_simpler_rung_that_breaks_after_content_asks_nobody_above_it():
    routes = {"small": {"targets": ["c/m"], "on_break": "partial"}}
    down = {"targets": ["a/m"], "ladder": ["full", {"simpler": "small"}], "on_break": "error"}
    async with world(a=Script.of(Refused()), c=Script.of(Cut(2), answer=TEXT), route=down, routes=routes) as w:
        _, reply = await read(w)
        assert (reply.complete, reply.broken, reply.level) == (False, "truncated", Level.SIMPLER)
        assert w.providers["a"].log[-1].at == w.now


@pytest.mark.parametrize("piece", [think("hm " * 40), tool("x" * 100), event({"refusal": "n" * 100})])
async def test_any_content_fills_what_is_held_back(piece):
    async with world(a=Script(), route={"hold_back_tokens": 20}) as w:
        plays(w, "a", (0.0, piece), (5.0, say("late")), (0.0, FINISH))
        began = w.now
        async with w.llm.stream("chat", "hi") as stream:
            assert w.now == began
            async for _ in stream:
                pass
        assert stream.reply.complete
