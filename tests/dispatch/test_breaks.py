"""A stream that breaks after its first content: an error, a marked part, or another target that goes on."""

from contextlib import suppress

import pytest
from world import world

from resilio import StreamBroken
from resilio.events import CallSettled
from resilio.testing.faults import Cut, Error, Malformed, NoPrefill, Stall
from resilio.testing.script import Script

TEXT = "one two three four five six seven"
WHOLE = Script(answer=TEXT)


def go_on(body):
    """Answers like a model that continues a last message of the assistant's."""
    last = body["messages"][-1]
    return TEXT.removeprefix(last["content"]) if last["role"] == "assistant" else TEXT


CAN_PREFILL = {"models": {"m": {"capabilities": ["streaming", "prefill"]}}}
GO_ON = {"on_break": "continue"}


async def collect(stream):
    return "".join([chunk.text async for chunk in stream])


async def test_an_error_carries_the_text_so_far_and_asks_nobody_else():
    async with world(a=Script.of(Cut(3), answer=TEXT), b=WHOLE) as w:
        with pytest.raises(StreamBroken) as caught:
            async with w.llm.stream("chat", "hi") as stream:
                await collect(stream)
        assert TEXT.startswith(caught.value.text)
        assert caught.value.text
        assert caught.value.usage.estimated
        assert stream.reply.broken == "truncated"
        assert w.calls("b") == 0
        assert [event.final for event in w.events if isinstance(event, CallSettled)] == ["failed"]
        w.assert_idle()


async def test_a_partial_answer_ends_without_an_error_and_says_so():
    async with world(a=Script.of(Cut(3), answer=TEXT), b=WHOLE, route={"on_break": "partial"}) as w:
        async with w.llm.stream("chat", "hi") as stream:
            text = await collect(stream)
        reply = stream.reply
        assert (reply.complete, reply.broken, reply.text) == (False, "truncated", text)
        assert reply.finish_reason == ""
        assert [event.final for event in w.events if isinstance(event, CallSettled)] == ["partial"]
        w.assert_idle()


@pytest.mark.parametrize(
    "route", [GO_ON, {"on_break": "partial"}, {"on_break": "error"}], ids=lambda route: route["on_break"]
)
async def test_a_stream_knows_its_calls_own_number_from_the_beginning_whoever_goes_on(route):
    async with world(a=Script.of(Cut(3), answer=TEXT), b=Script(answer=go_on), route=route) as w:
        opening = w.llm.stream("chat", "hi")
        async with opening as stream:
            known = {opening.request_id, stream.request_id}
            with suppress(StreamBroken):
                await collect(stream)
        (settled,) = (event for event in w.events if isinstance(event, CallSettled))
        assert known == {stream.request_id, stream.reply.request_id, settled.request_id}
        assert len(known) == 1


@pytest.mark.parametrize("fault", [Cut(3), Cut(3, clean=False), Stall(3), Malformed(3)])
@pytest.mark.parametrize("how", ["prefill", "restart"])
async def test_another_target_goes_on_and_the_seam_is_marked(fault, how):
    only = {"b": CAN_PREFILL} if how == "prefill" else {}
    async with world(a=Script.of(fault, answer=TEXT), b=Script(answer=go_on), route=GO_ON, only=only) as w:
        async with w.llm.stream("chat", "hi") as stream:
            text = await collect(stream)
        reply = stream.reply
        assert text == TEXT
        assert (reply.text, reply.complete, reply.finish_reason, reply.target) == (TEXT, True, "stop", "b/m")
        (seam,) = reply.seams
        assert (seam.source, seam.target, seam.how) == ("a/m", "b/m", how)
        assert TEXT[: seam.at] == "one two three "
        assert [each.outcome for each in reply.attempts] == ["failure", "success"]
        assert seam.cause == reply.attempts[0].error_class
        last = w.providers["b"].log[0].body["messages"][-1]
        assert last["role"] == ("assistant" if how == "prefill" else "user")
        w.assert_idle()


async def test_usage_and_cost_of_a_continued_stream_are_those_of_both_legs():
    priced = {"price": {"input": 1.0, "output": 2.0}}
    async with world(a=Script.of(Cut(3), answer=TEXT), b=WHOLE, route=GO_ON, model=priced) as w:
        async with w.llm.stream("chat", "hi") as stream:
            await collect(stream)
        usage = stream.reply.usage
        assert usage.estimated
        assert usage.output_tokens > 7
        assert stream.reply.cost_usd == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)


async def test_a_prefill_that_is_rejected_is_followed_by_an_answer_from_the_beginning():
    picky = Script(answer=TEXT).with_rule(NoPrefill())
    async with world(a=Script.of(Cut(3), answer=TEXT), b=picky, route=GO_ON, only={"b": CAN_PREFILL}) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert await collect(stream) == TEXT
        reply = stream.reply
        assert [each.target for each in reply.attempts] == ["a/m", "b/m", "b/m"]
        assert reply.attempts[0].error_class == "truncated", "the first cause is kept"
        assert [seam.how for seam in reply.seams] == ["restart"]


async def test_an_answer_that_differs_is_not_spliced():
    async with world(a=Script.of(Cut(3), answer=TEXT), b=Script(answer="eins zwei drei"), route=GO_ON) as w:
        with pytest.raises(StreamBroken, match="nobody could go on") as caught:
            async with w.llm.stream("chat", "hi") as stream:
                await collect(stream)
        assert TEXT.startswith(caught.value.text)
        assert w.llm.status().providers["b"].targets["b/m"].breaker.failures == 0, "it did nothing wrong"
        w.assert_idle()


async def test_an_answer_that_is_shorter_than_what_was_handed_out_is_not_spliced():
    async with world(a=Script.of(Cut(5), answer=TEXT), b=Script(answer="one two"), route=GO_ON) as w:
        with pytest.raises(StreamBroken):
            async with w.llm.stream("chat", "hi") as stream:
                await collect(stream)
        w.assert_idle()


async def test_a_third_target_goes_on_where_the_second_broke():
    settings = {**GO_ON, "retry": {"max_attempts": 4}}
    async with world(a=Script.of(Cut(2), answer=TEXT), b=Script.of(Cut(4), answer=TEXT), c=WHOLE, route=settings) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert await collect(stream) == TEXT
        assert [(seam.source, seam.target) for seam in stream.reply.seams] == [("a/m", "b/m"), ("b/m", "c/m")]
        assert stream.reply.seams[0].at < stream.reply.seams[1].at


async def test_nothing_left_to_go_on_with_is_an_error_with_both_causes():
    down = Script.of(Error(status=503))
    async with world(a=Script.of(Cut(3), answer=TEXT), b=down, route=GO_ON) as w:
        with pytest.raises(StreamBroken, match=r"without a finish_reason.*nobody could go on") as caught:
            async with w.llm.stream("chat", "hi") as stream:
                await collect(stream)
        assert [each.error_class for each in caught.value.attempts] == ["truncated", "overloaded"]
        w.assert_idle()


async def test_a_stream_held_back_moves_on_without_a_trace():
    async with world(a=Script.of(Cut(3), answer=TEXT), b=WHOLE, route={"hold_back_tokens": 5}) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert await collect(stream) == TEXT
        assert stream.reply.seams == ()
        assert [each.target for each in stream.reply.attempts] == ["a/m", "b/m"]


async def test_what_is_shorter_than_the_hold_back_is_handed_out_whole():
    async with world(a=Script(answer="short"), route={"hold_back_tokens": 500}) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert await collect(stream) == "short"
        assert stream.reply.complete


# --- complete() over an upstream stream ---------------------------------------------------------------

AUTO = {"upstream_stream": "auto"}


async def test_a_whole_answer_is_collected_from_an_upstream_stream():
    async with world(a=WHOLE, route=AUTO) as w:
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.complete, reply.finish_reason) == (TEXT, True, "stop")
        assert w.providers["a"].log[0].stream
        assert not reply.usage.estimated


@pytest.mark.parametrize("fault", [Cut(3), Cut(3, clean=False), Stall(3), Malformed(3)])
async def test_a_break_on_the_way_to_a_whole_answer_starts_over_elsewhere(fault):
    async with world(a=Script.of(fault, answer=TEXT), b=WHOLE, route=AUTO) as w:
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.target, reply.complete) == (TEXT, "b/m", True)
        w.assert_idle()


async def test_the_total_clock_returns_what_there_is_marked_as_partial():
    slow = Script(answer="word " * 200, tokens_per_second=10)
    async with world(a=slow, b=WHOLE, route={**AUTO, "clocks": {"total": 5, "first_token": 2, "connect": 2}}) as w:
        began = w.now
        reply = await w.llm.complete("chat", "hi")
        assert w.now - began == pytest.approx(5, abs=0.1)
        assert (reply.complete, reply.broken, reply.target) == (False, "total", "a/m")
        assert reply.text.startswith("word word")
        assert [event.final for event in w.events if isinstance(event, CallSettled)] == ["partial"]
        w.assert_idle()


async def test_the_deadline_returns_what_there_is_and_blames_nobody():
    slow = Script(answer="word " * 200, tokens_per_second=10)
    async with world(a=slow, route=AUTO) as w:
        began = w.now
        reply = await w.llm.complete("chat", "hi", deadline=3.0)
        assert w.now - began == pytest.approx(3, abs=0.05)
        assert (reply.complete, reply.broken) == (False, "total")
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0


async def test_a_target_that_cannot_stream_is_asked_for_the_whole_answer():
    unary = {"models": {"m": {"capabilities": ["tools"]}}}
    async with world(a=WHOLE, route=AUTO, only={"a": unary}) as w:
        assert (await w.llm.complete("chat", "hi")).text == TEXT
        assert not w.providers["a"].log[0].stream
