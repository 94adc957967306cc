"""What each clock of a stream counts, what it does not, and against whom its firing is evidence."""

import asyncio

import orjson
import pytest
from frames import COMMENT, FINISH, event, plays, say, think
from world import world

from resilio import Exhausted, StreamBroken
from resilio.testing.faults import ConnectHang, Cut, Stall
from resilio.testing.reaction import Ending
from resilio.testing.script import Script

TEXT = "one two three four five six seven eight"


def failures(w, name):
    return w.llm.status().providers[name].targets[f"{name}/m"].breaker.failures


async def read(w, **options):
    async with w.llm.stream("chat", "hi", **options) as stream:
        text = "".join([chunk.text async for chunk in stream])
    return text, stream.reply


# --- idle ------------------------------------------------------------------------------------------


async def test_chunks_that_are_no_life_do_not_make_the_callers_own_time_count_as_idle():
    async with world(a=Script(), route={"counts_as_life": [], "clocks": {"total": 900}}) as w:
        plays(w, "a", (0.0, say("one ")), *[(1.0, think("hm"))] * 4, (1.0, say("two")), (0.0, FINISH))
        async with w.llm.stream("chat", "hi", deadline=1000) as stream:
            async for _ in stream:
                await asyncio.sleep(25)
        assert (stream.reply.text, stream.reply.complete) == ("one two", True)


async def test_a_callers_own_short_time_outs_do_not_hide_a_stall():
    async with world(a=Script.of(Stall(2), answer=TEXT)) as w:
        began = w.now
        with pytest.raises(StreamBroken, match="silent for 20 s"):
            async with w.llm.stream("chat", "hi") as stream:
                while True:
                    try:
                        async with asyncio.timeout(0.7):
                            await anext(stream)
                    except TimeoutError:
                        await asyncio.sleep(0.3)  # the caller's own time
        assert w.now - began == pytest.approx(28.4), "28 times 0.7 s, and 0.4 s"
        assert failures(w, "a") == 1


@pytest.mark.parametrize("piece", [COMMENT, think("hm"), event({"role": "assistant"}), b"\n"])
async def test_bytes_that_are_no_life_do_not_move_the_idle_clock(piece):
    async with world(a=Script(), route={"counts_as_life": []}) as w:
        plays(w, "a", (0.0, say("one ")), *[(5.0, piece)] * 9, (0.0, FINISH))
        began = w.now
        with pytest.raises(StreamBroken, match="silent for 20 s"):
            await read(w)
        assert w.now - began == pytest.approx(20)


@pytest.mark.parametrize(("life", "piece"), [("comments", COMMENT), ("reasoning", think("hm"))])
async def test_what_counts_as_life_moves_the_idle_clock(life, piece):
    async with world(a=Script(), route={"counts_as_life": [life]}) as w:
        plays(w, "a", (0.0, say("one ")), *[(15.0, piece)] * 3, (0.0, FINISH))
        assert (await read(w))[1].complete


# --- first token -----------------------------------------------------------------------------------


async def test_comments_that_count_as_life_never_outlast_the_total_clock():
    settings = {"counts_as_life": ["comments"], "clocks": {"first_token": 5, "total": 12}}
    async with world(a=Script(), b=Script(answer="b"), route=settings) as w:
        plays(w, "a", *[(1.0, COMMENT)] * 500)
        began = w.now
        text, reply = await read(w, deadline=300)
        assert text == "b"
        assert w.now - began == pytest.approx(12)
        assert (reply.attempts[0].clock, reply.attempts[0].clock_seconds) == ("total", 12)


async def test_comments_that_count_as_life_never_outlast_the_deadline():
    async with world(a=Script(), route={"counts_as_life": ["comments"], "clocks": {"total": 900}}) as w:
        plays(w, "a", *[(1.0, COMMENT)] * 500)
        began = w.now
        with pytest.raises(Exception, match="no answer within 30 s"):
            await read(w, deadline=30)
        assert w.now - began == pytest.approx(30, abs=0.01)
        assert failures(w, "a") == 0


async def test_a_long_text_that_comes_anew_is_not_bound_by_the_first_token_clock():
    words = Script(answer=TEXT, tokens_per_second=0.5)  # two seconds a word
    settings = {"on_break": "continue", "clocks": {"first_token": 4, "idle": 3, "total": 200}}
    async with world(a=Script.of(Cut(6), answer=TEXT), b=words, route=settings) as w:
        text, reply = await read(w, deadline=300)
        assert (text, reply.complete) == (TEXT, True)
        assert failures(w, "b") == 0
        assert w.llm.engine.supervisor.providers["b"].models["m"].breaker.statistics(w.now).slow == 0


async def test_a_target_that_thinks_before_it_repeats_the_text_is_not_bound_by_the_first_token_clock():
    settings = {"on_break": "continue", "clocks": {"first_token": 4, "idle": 3, "total": 200}}
    async with world(a=Script.of(Cut(2), answer=TEXT), b=Script(), route=settings) as w:
        plays(w, "b", *[(2.0, think("hm "))] * 5, (2.0, say(TEXT)), (0.0, FINISH))
        assert (await read(w, deadline=300))[0] == TEXT


async def test_a_text_that_comes_anew_and_stalls_is_ended_by_the_idle_clock():
    stalls = Script.of(Stall(3), answer=TEXT)
    settings = {"on_break": "continue", "clocks": {"first_token": 10, "idle": 3}}
    async with world(a=Script.of(Cut(6), answer=TEXT), b=stalls, c=Script(answer=TEXT), route=settings) as w:
        began = w.now
        text, reply = await read(w)
        assert text == TEXT
        assert [(each.target, each.clock) for each in reply.attempts] == [("a/m", None), ("b/m", "idle"), ("c/m", None)]
        assert w.now - began == pytest.approx(3)


# --- connect ---------------------------------------------------------------------------------------


async def test_a_connection_that_never_comes_counts_also_when_another_setting_is_the_shorter():
    clocks = {"connect": 5, "first_token": 2}
    async with world(a=Script.of(ConnectHang()), b=Script(answer="b"), route={"clocks": clocks}) as w:
        _, reply = await read(w, deadline=50)
        assert (reply.attempts[0].clock, reply.attempts[0].clock_seconds) == ("connect", 2)
        assert w.llm.status().providers["a"].breaker.failures == 1


async def test_a_connection_that_the_deadline_left_no_time_for_counts_for_nothing():
    async with world(a=Script.of(ConnectHang()), b=Script(answer="b")) as w:
        _, reply = await read(w, deadline=1.0)
        assert (reply.attempts[0].clock, reply.attempts[0].outcome) == ("connect", "ignored")
        assert w.llm.status().providers["a"].breaker.failures == 0


# --- total -----------------------------------------------------------------------------------------


async def test_a_slow_reader_who_uses_up_the_total_clock_is_no_evidence_against_the_target():
    async with world(a=Script(answer=TEXT), route={"on_break": "partial"}) as w:
        for _ in range(6):
            async with w.llm.stream("chat", "hi", deadline=900) as stream:
                async for _ in stream:
                    await asyncio.sleep(20)
            assert (stream.reply.complete, stream.reply.broken) == (False, "total")
        assert failures(w, "a") == 0
        assert w.llm.status().providers["a"].targets["a/m"].breaker.state == "closed"


async def test_a_target_that_uses_up_the_total_clock_itself_is_counted():
    slow = Script(answer="word " * 500, tokens_per_second=5)
    async with world(a=slow, route={"on_break": "partial"}) as w:
        _, reply = await read(w, deadline=900)
        assert reply.broken == "total"
        assert failures(w, "a") == 1


async def test_a_slow_reader_gets_what_had_come_before_a_break():
    async with world(a=Script.of(Cut(4), answer=TEXT), b=Script(answer=TEXT), route={"on_break": "continue"}) as w:
        async with w.llm.stream("chat", "hi", deadline=900) as stream:
            parts = []
            async for chunk in stream:
                parts.append(chunk.text)
                await asyncio.sleep(6)
        assert "".join(parts) == TEXT
        assert stream.reply.complete


# --- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [COMMENT, event({}), b"\n"])
async def test_who_holds_the_connection_after_the_answer_does_not_hold_the_caller(piece):
    async with world(a=Script()) as w:
        plays(w, "a", (0.0, say("all")), (0.0, FINISH), *[(0.5, piece)] * 500)
        began = w.now
        text, reply = await read(w)
        assert (text, reply.complete) == ("all", True)
        assert w.now - began == pytest.approx(2.0)
        w.assert_idle()


async def test_the_grace_after_the_answer_ends_with_the_deadline():
    async with world(a=Script()) as w:
        plays(w, "a", (0.0, say("all")), (0.9, FINISH), ending=Ending.NEVER)
        began = w.now
        _, reply = await read(w, deadline=1.0)
        assert reply.complete
        assert w.now - began == pytest.approx(1.0)


async def test_a_slow_reader_still_gets_the_usage_that_comes_last():
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    async with world(a=Script()) as w:
        last = b"data: " + orjson.dumps({"id": "1", "model": "m", "choices": [], "usage": usage}) + b"\n\n"
        plays(w, "a", (0.0, say("all")), (0.0, FINISH), (0.0, last), (0.0, b"data: [DONE]\n\n"))
        async with w.llm.stream("chat", "hi") as stream:
            async for _ in stream:
                await asyncio.sleep(5)
        assert stream.reply.usage.output_tokens == 1
        assert not stream.reply.usage.estimated
        assert w.transport.open_responses == 0


@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize("auto", ["as_asked", "auto"])
async def test_an_empty_answer_is_whole_however_its_connection_ends(ending, auto):
    async with world(a=Script(), b=Script(answer="b"), route={"upstream_stream": auto}) as w:
        plays(w, "a", (0.0, event({"role": "assistant", "content": ""})), (0.0, FINISH), ending=ending)
        began = w.now
        if auto == "auto":
            reply = await w.llm.complete("chat", "hi")
        else:
            _, reply = await read(w)
        assert (reply.text, reply.complete, reply.finish_reason, reply.target) == ("", True, "stop", "a/m")
        assert w.now - began <= 2.0
        assert failures(w, "a") == 0
        w.assert_idle()


async def test_a_stream_whose_first_chunk_is_its_last():
    async with world(a=Script()) as w:
        plays(w, "a", (0.3, event({"content": "all"}, "stop")))
        text, reply = await read(w)
        assert (text, reply.complete, reply.finish_reason) == ("all", True, "stop")
        assert reply.first_token == pytest.approx(0.3)


async def test_the_head_clock_ends_a_silence_before_the_head_only():
    settings = {"clocks": {"headers": 1.0, "first_token": 5.0}}
    late = Script(answer="a", head="with_first_token")
    async with world(a=late, b=Script(answer="b"), route=settings) as w:
        provider = w.providers["a"]
        react = provider.react

        def slow_head(*args, **options):
            seen, reaction = react(*args, **options)
            reaction.head_delay = 3.0
            return seen, reaction

        provider.react = slow_head
        _, reply = await read(w)
        assert [(each.target, each.clock) for each in reply.attempts] == [("a/m", "headers"), ("b/m", None)]
    async with world(a=Script(answer="a"), route=settings) as w:
        plays(w, "a", (3.0, say("late")), (0.0, FINISH))
        assert (await read(w))[0] == "late"


async def test_nobody_left_is_an_error_that_lists_every_clock():
    clocks = {"first_token": 1}
    async with world(a=Script(), b=Script(), route={"clocks": clocks}) as w:
        plays(w, "a", ending=Ending.NEVER)
        plays(w, "b", ending=Ending.NEVER)
        with pytest.raises(Exhausted) as caught:
            await read(w)
        assert [(each.clock, each.clock_seconds) for each in caught.value.attempts] == [("first_token", 1)] * 2
