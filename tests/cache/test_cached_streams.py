"""Streams through the cache: kept whole, replayed chunk by chunk as they were, never from a part."""

import asyncio
import random
from contextlib import asynccontextmanager

import orjson
import pytest
from answers import reply as whole_reply
from hypothesis import given, settings
from hypothesis import strategies as st
from world import world

from resilio import Client, Stream, StreamBroken
from resilio.cache import Tape, record
from resilio.events import CallSettled
from resilio.models import Chunk, Level, ToolCall, ToolCallDelta, Usage
from resilio.testing.faults import Cut, Error, Refusal
from resilio.testing.latency import Fixed
from resilio.testing.loop import run, wall_clock
from resilio.testing.provider import SimulatedProvider
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

EXACT = {"exact": {"ttl": 100, "ttl_jitter": 0, "stale_for": 50}}
TEXT = "one two three four"
SECOND = Script(answer=TEXT, first_token=Fixed(1.0), tokens_per_second=10)
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city":"Köln"}'}}
TOOLS = Script(answer=lambda body: {"content": "Let me see.", "tool_calls": [CALL]}, tokens_per_second=10)


async def read(w, message="hi", **options):
    async with w.llm.stream("chat", message, **options) as stream:
        chunks = [chunk async for chunk in stream]
    return chunks, stream.reply


def bare(chunks):
    return [chunk._replace(raw=None) for chunk in chunks]


# --- replays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [SECOND, TOOLS])
async def test_a_replay_is_the_original_chunk_by_chunk_and_takes_no_time(script):
    async with world(a=script, cache=EXACT) as w:
        chunks, first = await read(w)
        began = w.now
        again, second = await read(w)
        assert (w.now, w.calls("a")) == (began, 1)
        assert bare(again) == bare(chunks)
        assert len(again) > 2
        assert (second.text, second.tool_calls, second.usage, second.finish_reason) == (
            first.text, first.tool_calls, first.usage, first.finish_reason,
        )  # fmt: skip
        assert (first.cached, second.cached.kind, second.level, second.cost_usd) == (None, "exact", Level.CACHED, 0.0)
        assert second.raw == first.raw
        assert second.complete
        w.assert_idle()


async def test_a_replayed_stream_is_a_stream_like_any_other():
    async with world(a=SECOND, cache=EXACT) as w:
        await read(w)
        async with w.llm.stream("chat", "hi") as stream:
            assert isinstance(stream, Stream)
            assert stream.target == "a/m"
            known = stream.request_id
            assert "open" in repr(stream)
            with pytest.raises(RuntimeError):
                _ = stream.reply
            assert [chunk.text async for chunk in stream][:2] == ["one ", "two "]
        assert "over" in repr(stream)
        assert stream.reply.request_id == known
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        stream.leave()


async def test_an_answer_that_was_streamed_serves_a_whole_call_and_the_other_way_round():
    async with world(a=TOOLS, cache=EXACT) as w:
        _, streamed = await read(w, "one")
        whole = await w.llm.complete("chat", "one")
        assert (whole.cached.kind, whole.text, whole.tool_calls) == ("exact", streamed.text, streamed.tool_calls)
        first = await w.llm.complete("chat", "two")
        chunks, reply = await read(w, "two")
        assert w.calls("a") == 2
        assert "".join(chunk.text for chunk in chunks) == first.text == reply.text
        (delta,) = [tool for chunk in chunks for tool in chunk.tool_calls]
        assert ToolCall(delta.id, delta.name, delta.arguments) == first.tool_calls[0] == reply.tool_calls[0]
        assert (chunks[-1].finish_reason, chunks[-1].usage) == ("tool_calls", first.usage)


async def test_leaving_a_replay_early_is_a_hit_all_the_same():
    async with world(a=SECOND, cache=EXACT) as w:
        await read(w)
        async with w.llm.stream("chat", "hi") as stream:
            async for _ in stream:
                break
        assert (stream.reply.complete, stream.reply.text, stream.reply.cached.kind) == (True, TEXT, "exact")
        assert [event.final for event in w.events if isinstance(event, CallSettled)] == ["complete"] * 2


async def test_a_request_for_more_than_plain_fields_keeps_the_raw_of_each_chunk():
    async with world(a=SECOND, cache=EXACT) as w:
        chunks, _ = await read(w, logprobs=True)
        for chunk in chunks:
            chunk.raw.clear()
        again, _ = await read(w, logprobs=True)
        assert w.calls("a") == 1
        assert all("choices" in chunk.raw for chunk in again)
        assert bare(again) == bare(chunks)
        await w.llm.complete("chat", "hi", logprobs=True)
        assert w.calls("a") == 2, "what stands in raw alone differs between a stream and a whole answer"


DELTAS = st.lists(
    st.one_of(
        st.builds(lambda text: {"content": text}, st.text(min_size=1, max_size=5)),
        st.builds(lambda text: {"reasoning_content": text}, st.text(min_size=1, max_size=5)),
        st.builds(
            lambda index, name, text: {
                "tool_calls": [{"index": index, "id": f"c{index}", "function": {"name": name, "arguments": text}}]
            },
            st.integers(0, 2), st.sampled_from(["f", "g"]), st.text(max_size=4),
        ),
        st.fixed_dictionaries({"content": st.text(max_size=3), "reasoning_content": st.text(max_size=3)}),
    ),
    min_size=1, max_size=12,
)  # fmt: skip
USAGES = st.none() | st.fixed_dictionaries({
    "prompt_tokens": st.integers(1, 99), "completion_tokens": st.integers(1, 99),
    "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": st.integers(0, 9)}),
})  # fmt: skip


class Canned(SimulatedProvider):
    """Sends the same stream each time it is asked."""

    frames: tuple[bytes, ...] = ()

    def react(self, *args, **more):
        seen, reaction = super().react(*args, **more)
        reaction.pieces = [(0.01, frame) for frame in self.frames]
        return seen, reaction


def frames_of(deltas, usage):
    def event(choices, **more):
        body = {"id": "x", "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + orjson.dumps(body) + b"\n\n"

    found = [event([{"index": 0, "delta": {"content": "first"}, "finish_reason": None}])]
    found += [event([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    found.append(event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    found += [] if usage is None else [event([], usage=usage)]
    return (*found, b"data: [DONE]\n\n")


@given(DELTAS, USAGES)
@settings(max_examples=60)
def test_any_stream_is_replayed_as_it_was_in_content_usage_tool_calls_and_reasoning(deltas, usage):
    async def main():
        provider = Canned()
        provider.frames = frames_of(deltas, usage)
        transport = ScriptedTransport({"http://a.test/v1": provider}, shatter=True)
        config = {
            "provider": [{"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}],
            "route": {"chat": {"targets": ["a/m"]}},
            "cache": EXACT,
        }
        clock = wall_clock(asyncio.get_running_loop())
        async with Client(config, transport=transport, rng=random.Random(1), wall=clock) as llm:
            ends = []
            for _ in range(2):
                async with llm.stream("chat", "hi") as stream:
                    chunks = [chunk async for chunk in stream]
                reply = stream.reply
                ends.append((bare(chunks), reply.text, reply.reasoning, reply.tool_calls, reply.usage))
            assert provider.count() == 1
            assert ends[0] == ends[1]

    run(main())


SHORT = st.none() | st.text(max_size=3)


@given(
    st.lists(
        st.builds(
            Chunk,
            text=st.text(max_size=4), reasoning=st.text(max_size=4), refusal=st.text(max_size=4),
            tool_calls=st.lists(st.builds(ToolCallDelta, st.integers(0, 3), SHORT, SHORT, st.text(max_size=5)),
                                max_size=2).map(tuple),
            finish_reason=st.none() | st.just("stop"),
            usage=st.none() | st.builds(Usage, *[st.integers(0, 10**9)] * 6, st.booleans()),
            index=st.integers(0, 3),
            raw=st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
        ),
        max_size=8,
    ),
    st.booleans(),
)  # fmt: skip
def test_a_tape_gives_back_every_field(chunks, raw):
    tape = Tape(raw=raw)
    for chunk in chunks:
        tape.add(chunk)
    recording = record(whole_reply(), tape)
    assert list(recording.chunks()) == (chunks if raw else bare(chunks))
    assert list(recording.chunks()) == list(recording.chunks())


# --- what is never kept ------------------------------------------------------------------------


async def test_a_stream_that_breaks_is_not_kept():
    async with world(a=SECOND.first(2, Cut(2)), cache=EXACT) as w:
        for _ in range(2):
            with pytest.raises(StreamBroken):
                await read(w)
        _, reply = await read(w)
        assert (reply.text, reply.cached) == (TEXT, None)
        assert w.llm.status().caches["exact"].stored == 1


@pytest.mark.parametrize("on_break", ["partial", "continue"])
async def test_a_part_and_an_answer_pieced_together_are_not_kept(on_break):
    async with world(a=SECOND.with_rule(Cut(2)), b=SECOND, cache=EXACT, route={"on_break": on_break}) as w:
        for _ in range(2):
            _, reply = await read(w)
            assert reply.cached is None
        assert w.llm.status().caches["exact"].stored == 0


async def test_a_stream_left_early_is_not_kept():
    async with world(a=SECOND, cache=EXACT) as w:
        async with w.llm.stream("chat", "hi") as stream:
            async for _ in stream:
                break
        assert w.llm.status().caches["exact"].stored == 0
        assert (await read(w))[1].cached is None


async def test_a_whole_stream_left_before_its_last_chunk_was_read_is_kept_as_an_answer():
    async with world(a=Script(answer=TEXT), cache=EXACT) as w:
        async with w.llm.stream("chat", "hi") as stream:
            async for chunk in stream:
                if chunk.finish_reason:
                    break
        assert stream.reply.complete
        again, reply = await read(w)
        assert (reply.cached.kind, "".join(chunk.text for chunk in again)) == ("exact", TEXT)


async def test_a_whole_answer_of_which_little_was_read_is_kept_as_an_answer_and_not_as_that_stream():
    async with world(a=SECOND, cache=EXACT, route={"hold_back_tokens": 100}) as w:
        for options in ({}, {"logprobs": True}):
            async with w.llm.stream("chat", "hi", **options) as stream:
                await anext(stream)
            assert stream.reply.complete
        again, reply = await read(w)
        assert (reply.cached.kind, "".join(chunk.text for chunk in again)) == ("exact", TEXT)
        again, reply = await read(w, logprobs=True)
        assert (reply.cached, "".join(chunk.text for chunk in again)) == (None, TEXT)


async def test_a_filtered_stream_is_not_kept():
    async with world(a=SECOND.with_rule(Refusal("content_filter")), cache=EXACT) as w:
        for _ in range(2):
            assert (await read(w))[1].cached is None


# --- single flight -----------------------------------------------------------------------------


async def test_streams_and_whole_calls_share_one_upstream_call():
    async with world(a=SECOND, cache=EXACT) as w:
        both = [read(w) for _ in range(20)] + [w.llm.complete("chat", "hi") for _ in range(20)]
        ends = await asyncio.gather(*both)
        assert w.calls("a") == 1
        assert {bare(chunks) == bare(ends[0][0]) for chunks, _ in ends[:20]} == {True}
        assert {reply.text for reply in ends[20:]} == {TEXT}
        w.assert_idle()


async def test_a_leading_stream_that_is_left_hands_over():
    async with world(a=SECOND, cache=EXACT) as w:

        async def leave():
            async with w.llm.stream("chat", "hi") as stream:
                await anext(stream)

        ends = await asyncio.gather(leave(), *(read(w) for _ in range(10)))
        assert {reply.text for _, reply in ends[1:]} == {TEXT}
        assert w.calls("a") == 2
        w.assert_idle()


async def test_a_leading_stream_that_breaks_breaks_for_itself_alone():
    async with world(a=SECOND.first(1, Cut(2)), cache=EXACT) as w:
        ends = await asyncio.gather(*(read(w) for _ in range(10)), return_exceptions=True)
        assert isinstance(ends[0], StreamBroken)
        assert {reply.text for _, reply in ends[1:]} == {TEXT}
        assert w.calls("a") <= 3
        assert w.llm._dispatcher.cached.flights == 0
        w.assert_idle()


async def test_a_stream_that_never_began_hands_over_too():
    async with world(a=SECOND.first(1, Error(status=503)), cache=EXACT, route={"retry": {"max_attempts": 1}}) as w:
        ends = await asyncio.gather(*(read(w) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(end, Exception) for end in ends) == 1
        assert w.llm._dispatcher.cached.flights == 0


def test_a_stream_cancelled_anywhere_takes_nothing_with_it():
    @asynccontextmanager
    async def scenario():
        async with world(a=SECOND, cache=EXACT) as w:

            async def late():
                await asyncio.sleep(0.5)
                return await read(w)

            others = [asyncio.create_task(late()) for _ in range(2)]
            yield lambda: read(w)
            for other in others:
                assert (await other)[1].text == TEXT
            assert w.calls("a") <= 2
            assert w.llm._dispatcher.cached.flights == 0
            w.assert_idle()

    assert cancel_everywhere(scenario) >= 4
