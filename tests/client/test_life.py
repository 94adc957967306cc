"""Opening, closing and leaving: nothing starts before, nothing is left after."""

import asyncio

import anyio
import pytest
from world import world

from resilio import Client, Exhausted, ResilioError
from resilio.testing.faults import Cut, Silence
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

CONFIG = {
    "provider": [{"name": "a", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "models": {"m": {}}}],
    "route": {"chat": {"targets": ["a/m"]}},
}


async def test_a_client_that_is_not_open_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        await Client(CONFIG).complete("chat", "hi")


async def test_a_client_opens_once():
    async with Client(CONFIG) as llm:
        with pytest.raises(RuntimeError, match="open already"):
            await llm.__aenter__()


async def test_a_client_can_be_opened_in_one_task_and_closed_in_another():
    before = asyncio.all_tasks()
    llm = Client(CONFIG)
    await asyncio.create_task(llm.__aenter__())
    await asyncio.create_task(llm.__aexit__(None, None, None))
    assert asyncio.all_tasks() == before


async def test_a_refused_connection_is_an_error_that_says_what_to_check():
    async with Client(CONFIG) as llm:
        with pytest.raises(Exhausted, match="check host and port in base_url"):
            await llm.complete("chat", "hi")


async def test_closing_waits_for_calls_in_flight():
    async with world(a=Script(answer="fine", first_token=Fixed(3.0))) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await asyncio.sleep(0.1)
    assert (await call).text == "fine"


async def test_closing_does_not_wait_longer_than_the_drain_timeout():
    async with world(a=Script.of(Silence()), defaults={"drain_timeout": 2.0}) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await asyncio.sleep(0.1)
        began = w.now
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.1)
    call.cancel()
    await asyncio.wait([call])


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_caller_frees_everything_and_hangs_up_at_once(how, streamed):
    async with world(a=Script.of(Silence())) as w:

        async def ask():
            if streamed:
                async with w.llm.stream("chat", "hi"):
                    pytest.fail("nobody answers")
            await w.llm.complete("chat", "hi")

        began = w.now
        if how == "task":
            task = asyncio.create_task(ask())
            await asyncio.sleep(1.0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        else:
            with anyio.move_on_after(1.0) as scope:
                await ask()
            assert scope.cancelled_caught
        (seen,) = w.providers["a"].log
        assert seen.outcome == "client_gone"
        assert seen.ended_at - began == pytest.approx(1.0, abs=0.1)
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0
        w.assert_idle()


async def test_a_stream_left_early_is_settled_as_cancelled_and_hangs_up():
    async with world(a=Script(answer="one two three four five", tokens_per_second=2)) as w:
        async with w.llm.stream("chat", "hi") as stream:
            async for chunk in stream:
                if "two" in chunk.text:
                    break
        assert not stream.reply.complete
        assert stream.reply.text.startswith("one two")
        assert stream.reply.usage.estimated
        assert stream.reply.attempts[-1].outcome == "cancelled"
        assert w.providers["a"].log[0].outcome == "client_gone"
        assert w.transport.open_responses == 0
        w.assert_idle()


async def test_an_error_in_the_callers_own_body_leaves_nothing_behind():
    async with world(a=Script(answer="one two three", tokens_per_second=2)) as w:
        with pytest.raises(ZeroDivisionError):
            async with w.llm.stream("chat", "hi") as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        w.assert_idle()
        assert w.transport.open_responses == 0


async def test_a_timeout_of_the_callers_own_around_one_read_loses_nothing():
    async with world(a=Script(answer="one two three", tokens_per_second=1)) as w:
        text = ""
        async with w.llm.stream("chat", "hi") as stream:
            while True:
                try:
                    async with asyncio.timeout(0.3):
                        text += (await anext(stream)).text
                except TimeoutError:
                    continue
                except StopAsyncIteration:
                    break
        assert text == "one two three"
        assert stream.reply.complete


async def test_a_broken_stream_moves_on_before_its_first_content_and_not_after():
    ok = Script(answer="whole")
    async with world(a=Script.of(Cut(0), answer="lost"), b=ok) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "whole"
        assert [each.error_class for each in stream.reply.attempts] == ["truncated", None]
    async with world(a=Script.of(Cut(1), answer="lost for good"), b=ok) as w:
        with pytest.raises(ResilioError) as caught:
            async with w.llm.stream("chat", "hi") as stream:
                async for _ in stream:
                    pass
        assert caught.value.text
        assert w.calls("b") == 0
