"""Streams under checks: nothing a window is there for gets out, however it is cut, and the end waits for its checks."""

import asyncio
import re
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import world

from resilio import CheckDenied, DeadlineExceeded, StreamBroken
from resilio.checks import Checks
from resilio.config import load_config
from resilio.dispatch.guard import Guard
from resilio.events import CallSettled
from resilio.models import Chunk, Level, ToolCallDelta, Usage
from resilio.testing.faults import Cut
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

EXACT = {"exact": {"ttl": 100, "ttl_jitter": 0, "stale_for": 50}}
LETTERS = "".join(chr(97 + at % 26) for at in range(200))


def check(name="it", stage="after", **settings):
    return {"name": name, "stage": stage, **settings}


def own(function, **settings):
    return check(function=f"own_checks:{function}", **settings)


def flowing(answer):
    return Script(answer=answer, first_token=Fixed(1.0), tokens_per_second=10)


def words(count):
    return " ".join(f"word{at}" for at in range(count))


async def read(w, message="hi", **options):
    """Chunks up to the end or the error, the error, and the reply."""
    chunks, error = [], None
    async with w.llm.stream("chat", message, **options) as stream:
        try:
            async for chunk in stream:
                chunks.append(chunk)
        except StreamBroken as exc:
            error = exc
    return chunks, error, stream.reply


def text_of(chunks):
    return "".join(chunk.text for chunk in chunks)


def settled(w):
    return [event for event in w.events if isinstance(event, CallSettled)]


# --- at the end -----------------------------------------------------------------------------------------


async def test_a_stream_that_passes_is_complete_and_its_end_came_after_its_checks():
    async with world(a=flowing("one two three"), route={"checks": [own("slow")]}) as w:
        began, times = w.now, []
        async with w.llm.stream("chat", "hi") as stream:
            async for chunk in stream:
                times.append((chunk.finish_reason, w.now - began))
        ends = [at for reason, at in times if reason]
        texts = [at for reason, at in times if not reason]
        assert ends[0] >= max(texts[:3]) + 1, "the finish reason waited for the check"
        assert (stream.reply.complete, stream.reply.text) == (True, "one two three")
        assert [record.action for record in stream.reply.checks] == ["allowed"]
        assert settled(w)[0].final == "complete"


@pytest.mark.parametrize(
    "rule",
    [
        {"regex": "three"}, {"max_characters": 5}, {"json_schema": {"type": "object"}, "then": "retry"},
        {"function": "own_checks:say_no"}, {"function": "own_checks:shout"}, {"function": "own_checks:raises"},
        {"regex": "three", "then": "redact", "stream": "end"}, {"function": "own_checks:elsewhere"},
    ],
)  # fmt: skip
async def test_a_stream_that_does_not_pass_ends_as_broken_with_the_reason_and_without_a_finish_reason(rule):
    async with world(a=flowing("one two three"), route={"checks": [check(**rule)]}, cache=EXACT) as w:
        for _ in range(2):
            chunks, error, reply = await read(w)
            assert text_of(chunks) == "one two three"
            assert not any(chunk.finish_reason for chunk in chunks)
            assert isinstance(error.__cause__, CheckDenied)
            assert str(error).startswith("stream broken after 13 characters: check 'it' ")
            assert error.__cause__.record.reason in str(error)
            assert (reply.complete, reply.broken, reply.raw) == (False, "denied", {})
            assert reply.checks[-1].action in ("denied", "failed")
            assert (settled(w)[-1].final, settled(w)[-1].checks) == ("refused", reply.checks)
        assert w.calls("a") == 2, "it is not kept"
        assert reply.attempts[0].outcome == "success", "the provider did nothing wrong"
        w.assert_idle()


async def test_a_check_before_sending_stops_a_stream_before_it_opens():
    async with world(a=flowing("one"), route={"checks": [check(stage="before", regex="hi")]}) as w:
        with pytest.raises(CheckDenied):
            async with w.llm.stream("chat", "hi"):
                pass
        assert (w.calls("a"), settled(w)[0].final) == (0, "refused")


async def test_leaving_before_the_checks_have_run_is_leaving_early_and_keeps_nothing():
    async with world(a=Script(answer="one two"), route={"checks": [own("slow")]}, cache=EXACT) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert (await anext(stream)).text
        assert (stream.reply.complete, stream.reply.broken) == (False, "left")
        async with w.llm.stream("chat", "hi") as stream:
            while True:
                try:
                    async with asyncio.timeout(0.5):
                        await anext(stream)
                except TimeoutError:  # in the middle of the check
                    break
        assert (stream.reply.complete, stream.reply.broken, stream.reply.text) == (False, "left", "one two")
        assert stream.reply.attempts[0].outcome == "success"
        await read(w)
        assert w.calls("a") == 3
        assert [event.final for event in settled(w)] == ["cancelled", "cancelled", "complete"]
        w.assert_idle()


async def test_a_caller_whose_patience_ended_in_the_middle_of_a_check_may_read_on():
    async with world(a=Script(answer="one two"), route={"checks": [own("slow")]}) as w:
        chunks = []
        async with w.llm.stream("chat", "hi") as stream:
            while True:
                try:
                    async with asyncio.timeout(0.7):
                        chunks.append(await anext(stream))
                except TimeoutError:
                    break
            chunks += [chunk async for chunk in stream]
        assert (text_of(chunks), stream.reply.complete) == ("one two", True)
        assert [record.action for record in stream.reply.checks] == ["allowed"]


async def test_a_partial_stream_is_held_against_its_checks_too():
    script = Script.of(Cut(2), answer="one two three four", tokens_per_second=10)
    for rule, final in (({"regex": "two"}, "refused"), ({"regex": "four"}, "partial")):
        async with world(a=script, route={"on_break": "partial", "checks": [check(**rule)]}) as w:
            chunks, error, reply = await read(w)
            assert (settled(w)[0].final, reply.complete) == (final, False)
            assert (error is None) is (final == "partial")
            assert "three" not in text_of(chunks)
            w.assert_idle()


async def test_a_stream_whose_checks_are_not_done_by_the_deadline_ends_as_broken():
    async with world(a=flowing("one two"), route={"checks": [own("hangs", timeout=50, on_error="allow")]}) as w:
        began = w.now
        chunks, error, reply = await read(w, deadline=5)
        assert w.now - began == pytest.approx(5)
        assert isinstance(error.__cause__, DeadlineExceeded)
        assert not any(chunk.finish_reason for chunk in chunks)
        assert (reply.complete, reply.broken, settled(w)[0].final) == (False, "deadline", "failed")
        w.assert_idle()


async def test_after_a_partial_stream_there_is_nothing_more():
    tool = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"q":"x"}'}}
    script = Script.of(Cut(4), answer=lambda body: {"content": "Let me see.", "tool_calls": [tool]})
    async with world(a=script, route={"on_break": "partial", "checks": [check(regex="zz", stream="window")]}) as w:
        async with w.llm.stream("chat", "hi") as stream:
            chunks = [chunk async for chunk in stream]
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        assert (stream.reply.complete, stream.reply.tool_calls) == (False, ())
        assert stream.reply.text == text_of(chunks)


async def test_a_stream_that_went_on_elsewhere_is_checked_as_a_whole():
    cut = Script.of(Cut(2), answer="one two three four", tokens_per_second=10)
    whole = Script(answer="one two three four", tokens_per_second=10)
    for rule, passes in (({"regex": "two three"}, False), ({"regex": "five"}, True)):
        async with world(a=cut, b=whole, route={"on_break": "continue", "checks": [check(**rule)]}) as w:
            chunks, error, reply = await read(w)
            assert text_of(chunks) == "one two three four"
            assert (error is None, reply.complete) == (passes, passes)


async def test_the_answer_of_a_stream_that_passed_is_kept_and_replayed():
    route = {"checks": [check(regex="x+", stream="window"), own("allow", name="end")]}
    async with world(a=flowing(words(100)), route=route, cache=EXACT) as w:
        first, _, _ = await read(w)
        again, _, reply = await read(w)
        assert (reply.cached.kind, reply.level, w.calls("a")) == ("exact", Level.CACHED, 1)
        assert text_of(again) == text_of(first) == words(100)
        assert [chunk.finish_reason for chunk in again if chunk.finish_reason] == ["stop"]


# --- through a window -----------------------------------------------------------------------------------


async def test_what_is_redacted_never_comes_out_and_the_rest_comes_in_time():
    secret = "sk-" + "A1b2" * 6
    answer = f"{words(100)} {secret} {words(100)}"
    rule = check(regex=r"sk-\w{20,40}", then="redact", window=60)
    async with world(a=flowing(answer), route={"checks": [rule]}, cache=EXACT) as w:
        began, first = w.now, None
        chunks = []
        async with w.llm.stream("chat", "hi") as stream:
            async for chunk in stream:
                first = first or w.now - began
                chunks.append(chunk)
        assert text_of(chunks) == stream.reply.text == answer.replace(secret, "[redacted]")
        assert first < 3, "it flows, sixty characters behind"
        assert "sk-" not in repr(chunks) + repr(stream.reply)
        assert (stream.reply.complete, stream.reply.raw, stream.reply.checks[0].action) == (True, {}, "redacted")
        await read(w)
        assert w.calls("a") == 2, "it is not kept"


async def test_what_is_denied_ends_the_stream_before_any_of_it():
    async with world(a=flowing(f"{words(50)} hunter2 {words(50)}"), route={"checks": [
        check(banned_words=["hunter2"], stream="window", window=20)]}) as w:  # fmt: skip
        chunks, error, reply = await read(w)
        assert f"{words(50)} ".startswith(text_of(chunks))
        assert len(text_of(chunks)) > 300
        assert reply.text == error.text == text_of(chunks)
        assert "hunter2" not in str(error) + repr(reply)
        assert (reply.broken, reply.checks[-1].action, settled(w)[0].final) == ("denied", "denied", "refused")
        assert reply.attempts[0].outcome == "ignored", "we ended it: no evidence about the provider"
        w.assert_idle()


async def test_a_stream_that_grows_too_long_is_ended_at_once():
    async with world(a=flowing(words(500)), route={"checks": [check(max_characters=40, stream="window")]}) as w:
        began = w.now
        chunks, error, _ = await read(w)
        assert len(text_of(chunks)) <= 40
        assert "at most 40 are wanted" in str(error)
        assert w.now - began < 5


async def test_a_window_holds_back_what_breaks_off_and_another_target_goes_on_from_there():
    answer = f"{words(10)} pin 123-45 {words(10)}"
    cut = Script.of(Cut(11), answer=answer, tokens_per_second=10)
    rule = check(regex=r"\d{3}-\d{2}", then="redact", window=30)
    route = {"on_break": "continue", "checks": [rule]}
    async with world(a=cut, b=Script(answer=answer, tokens_per_second=10), route=route) as w:
        chunks, error, reply = await read(w)
        assert error is None
        assert text_of(chunks) == reply.text == answer.replace("123-45", "[redacted]")
        assert len(reply.seams) == 1


async def test_tool_calls_wait_for_the_end_and_are_searched_whole():
    tool = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"q":"hunter2"}'}}
    script = Script(answer=lambda body: {"content": "Let me see.", "tool_calls": [tool]}, tokens_per_second=10)
    async with world(a=script, route={"checks": [check(regex="hunter2", then="redact")]}) as w:
        chunks, error, reply = await read(w)
        assert "in a tool call" in str(error)
        assert "hunter2" not in repr(chunks) + repr(reply)
    async with world(a=script, route={"checks": [check(regex="hunter3", then="redact")]}) as w:
        chunks, error, reply = await read(w)
        assert error is None
        assert reply.tool_calls[0].arguments == '{"q":"hunter2"}'
        assert [chunk for chunk in chunks if chunk.tool_calls]


# --- the guard alone, at every cut ------------------------------------------------------------------------

PATTERN = r"\d{3}-\d{2}|secret"


def guard_of(*rules):
    provider = {"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "models": {"m": {}}}
    config = load_config({"provider": [provider], "route": {"chat": {"targets": ["p/m"], "checks": list(rules)}}})
    noted = []

    class Checked:
        def in_window(self, call, check, verdict):
            noted.append(verdict)
            if verdict.action == "deny":
                raise CheckDenied(SimpleNamespace(name=check.name, stage="after", action="denied", reason=""))

        async def at_end(self, call, checks, reply):
            noted.append(reply)

    return Guard(Checked(), None, Checks.of(config.routes["chat"])), noted


@st.composite
def streams(draw):
    """Text and reasoning of an answer, each cut anywhere, the pieces of the two between each other."""
    pieces = st.lists(st.sampled_from(["a", "secret", "123-45", "se", "cret", "1", "-", " "]), max_size=30)
    chunks = []
    for field in ("text", "reasoning"):
        text = "".join(draw(pieces))
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
        chunks.append([Chunk(**{field: text[a:b]}) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)])
    order = draw(st.permutations([0] * len(chunks[0]) + [1] * len(chunks[1])))
    turns = [iter(each) for each in chunks]
    return [next(turns[which]) for which in order]


def drain(guard):
    out = list(guard.ready)
    guard.ready.clear()
    return out


@given(streams(), st.integers(1, 4))
async def test_what_a_guard_lets_out_is_the_redacted_whole_whatever_the_chunks(chunks, at_once):
    rule = {"name": "r", "stage": "after", "regex": PATTERN, "then": "redact", "window": 6, "replacement": "*"}
    guard, noted = guard_of(rule)
    end = Chunk(finish_reason="stop", usage=Usage(1, 1))
    feed = [*chunks, end]
    out = []
    for start in range(0, len(feed), at_once):
        guard.take(deque(feed[start : start + at_once]))
        out += drain(guard)
    assert not any(chunk.finish_reason for chunk in out)
    guard.flush()
    await guard.end(SimpleNamespace(tool_calls=()))
    out += drain(guard)
    assert guard.ended
    for field in ("text", "reasoning"):
        whole = "".join(getattr(chunk, field) for chunk in chunks)
        assert "".join(getattr(chunk, field) for chunk in out) == re.sub(PATTERN, "*", whole)
    assert "".join(guard.originals) == "".join(chunk.text for chunk in chunks)
    assert (out[-1].finish_reason, out[-1].usage) == ("stop", end.usage)
    assert noted[0].action in ("allow", "redact")


@given(streams())
async def test_a_guard_that_denies_has_let_out_nothing_of_what_it_denies(chunks):
    guard, _ = guard_of({"name": "r", "stage": "after", "regex": PATTERN, "stream": "window", "window": 6})
    out = []
    try:
        for chunk in chunks:
            guard.take(deque([chunk]))
            out += drain(guard)
        guard.flush()
        out += drain(guard)
        denied = False
    except CheckDenied:
        denied = True
    wholes = {field: "".join(getattr(chunk, field) for chunk in chunks) for field in ("text", "reasoning")}
    assert denied is any(re.search(PATTERN, whole) for whole in wholes.values())
    for field, whole in wholes.items():
        shown = "".join(getattr(chunk, field) for chunk in out)
        first = re.search(PATTERN, whole)
        assert whole.startswith(shown)
        assert len(shown) <= (len(whole) if first is None else first.start())


async def test_two_windows_one_behind_the_other_do_as_two_passes_would():
    first = {"name": "1", "stage": "after", "regex": "ab", "then": "redact", "replacement": "c"}
    second = {"name": "2", "stage": "after", "regex": "cc", "then": "redact", "replacement": "d", "window": 4}
    guard, _ = guard_of(first, second)
    for letter in "xababy":
        guard.take(deque([Chunk(letter)]))
    guard.take(deque([Chunk(tool_calls=(ToolCallDelta(0, "1", "f", "{}"),)), Chunk("other", index=1)]))
    guard.flush()
    assert guard.holds_tools
    await guard.end(SimpleNamespace(tool_calls=()))
    assert "".join(chunk.text for chunk in drain(guard)) == "xdy"
