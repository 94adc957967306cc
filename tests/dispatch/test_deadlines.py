"""The deadline holds, whatever hangs, and its error says where the time went."""

import asyncio

import pytest
from world import world

from resilio import DeadlineExceeded, MalformedRequest, StreamBroken
from resilio.testing.faults import ConnectHang, Silence, SlowFirstToken, Stall
from resilio.testing.script import Script

HANGS = Script.of(Silence())


async def test_three_hanging_targets_share_a_unary_deadline_and_all_are_tried():
    async with world(a=HANGS, b=HANGS, c=HANGS) as w:
        began = w.now
        with pytest.raises(DeadlineExceeded) as caught:
            await w.llm.complete("chat", "hi", deadline=2.0)
        assert w.now - began <= 2.05
        attempts = caught.value.attempts
        assert [each.target for each in attempts] == ["a/m", "b/m", "c/m"]
        assert [each.clock for each in attempts] == ["total"] * 3
        # A third of the time is kept for the next target while it has no history.
        assert [each.clock_seconds for each in attempts] == pytest.approx([4 / 3, 4 / 9, 2 / 9])
        for each in attempts:
            assert each.target in str(caught.value)
            assert f"within {each.clock_seconds:.3g} s" in str(caught.value)
        w.assert_idle()


async def test_three_hanging_targets_share_a_streaming_deadline_equally():
    async with world(a=HANGS, b=HANGS, c=HANGS) as w:
        began = w.now
        with pytest.raises(DeadlineExceeded) as caught:
            async with w.llm.stream("chat", "hi", deadline=2.0):
                pytest.fail("nobody answered")
        assert w.now - began <= 2.05
        attempts = caught.value.attempts
        assert [(each.target, each.clock) for each in attempts] == [(f"{n}/m", "first_token") for n in "abc"]
        assert [each.clock_seconds for each in attempts] == pytest.approx([2 / 3] * 3)
        w.assert_idle()


async def test_a_connection_that_never_comes_is_ended_by_the_connect_clock():
    async with world(a=Script.of(ConnectHang()), b=Script()) as w:
        reply = await w.llm.complete("chat", "hi")
        assert reply.target == "b/m"
        first = reply.attempts[0]
        assert (first.clock, first.clock_seconds, first.error_class) == ("connect", 5.0, "connect")
        assert w.llm.status().providers["a"].breaker.consecutive_failures == 1
        assert w.llm.status().providers["a"].targets["a/m"].breaker.consecutive_failures == 0


async def test_a_clock_cut_short_by_the_deadline_is_no_evidence_against_the_provider():
    async with world(a=HANGS) as w:
        for _ in range(20):
            with pytest.raises(DeadlineExceeded):
                await w.llm.complete("chat", "hi", deadline=0.5)
        target = w.llm.status().providers["a"].targets["a/m"]
        assert (target.breaker.state, target.breaker.failures) == ("closed", 0)


async def test_a_clock_that_ran_its_full_time_counts_as_a_failure():
    async with world(a=HANGS, b=Script(), route={"clocks": {"first_token": 3, "total": 30}}) as w:
        async with w.llm.stream("chat", "hi", deadline=60) as stream:
            assert "".join([chunk.text async for chunk in stream])
        assert [(each.clock, each.clock_seconds) for each in stream.reply.attempts] == [
            ("first_token", 3.0),
            (None, None),
        ]
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 1


async def test_a_slow_first_token_moves_a_stream_on_at_once():
    slow = Script.of(SlowFirstToken(30))
    async with world(a=slow, b=Script(answer="from b")) as w:
        began = w.now
        async with w.llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "from b"
        assert 10 <= w.now - began <= 10.1


async def test_a_stream_that_writes_until_the_deadline_breaks_honestly_and_blames_nobody():
    slow = Script(answer="word " * 1000, tokens_per_second=5)
    async with world(a=slow) as w:
        began = w.now
        with pytest.raises(StreamBroken) as caught:
            async with w.llm.stream("chat", "hi", deadline=3.0) as stream:
                async for _ in stream:
                    pass
        assert w.now - began <= 3.05
        assert caught.value.text.startswith("word word")
        assert not stream.reply.complete
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0
        w.assert_idle()


async def test_idle_counts_only_the_time_spent_waiting_for_the_provider():
    async with world(a=Script(answer="one two three four five"), route={"clocks": {"total": 900}}) as w:
        async with w.llm.stream("chat", "hi", deadline=1000) as stream:
            async for _ in stream:
                await asyncio.sleep(25)  # longer than the idle clock: the caller's own business
        assert stream.reply.complete
        assert stream.reply.text == "one two three four five"


async def test_a_stall_in_mid_stream_is_ended_by_the_idle_clock():
    async with world(a=Script.of(Stall(3), answer="one two three four five six seven")) as w:
        began = w.now
        with pytest.raises(StreamBroken, match="silent for 20 s"):
            async with w.llm.stream("chat", "hi") as stream:
                async for _ in stream:
                    pass
        assert 20 <= w.now - began <= 20.1
        assert stream.reply.attempts[-1].clock == "idle"
        w.assert_idle()


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
async def test_a_deadline_that_is_not_a_positive_number_is_refused(deadline):
    async with world(a=Script()) as w:
        with pytest.raises(MalformedRequest, match="deadline"):
            await w.llm.complete("chat", "hi", deadline=deadline)
        assert w.calls("a") == 0


async def test_no_attempt_begins_after_the_deadline():
    async with world(a=HANGS, b=HANGS, c=HANGS, route={"retry": {"max_attempts": 10}}) as w:
        for deadline in (0.001, 0.3, 1.0, 7.0):
            began = w.now
            with pytest.raises(DeadlineExceeded):
                await w.llm.complete("chat", "hi", deadline=deadline)
            for provider in w.providers.values():
                for seen in provider.log:
                    assert seen.at < began + deadline
                provider.log.clear()
