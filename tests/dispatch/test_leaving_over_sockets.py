"""Callers who leave, and callers who dawdle, over loopback sockets: what the provider and the others see of it."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from resilio import Client
from resilio.testing.faults import Giant, Silence, Stall
from resilio.testing.latency import Fixed
from resilio.testing.loop import wall_clock
from resilio.testing.provider import SimulatedProvider
from resilio.testing.reaction import Outcome
from resilio.testing.script import Script
from resilio.testing.server import SimulatedServer
from resilio.transport.http import AiohttpTransport

WORDS = Script(answer="word " * 200, tokens_per_second=10)
SOON = 0.1
"""Seconds within which the provider must know that its caller has gone."""


@asynccontextmanager
async def sockets(script, **route):
    provider = SimulatedProvider(script)
    async with SimulatedServer({"a": provider}) as server:
        config = {
            "provider": [
                {"name": "a", "kind": "openai", "base_url": server.urls["a"], "keys": ["k"], "models": {"m": {}}}
            ],
            "route": {"chat": {"targets": ["a/m"], **route}},
        }
        clock = wall_clock(asyncio.get_running_loop())
        async with Client(config, transport=AiohttpTransport(), rng=random.Random(1), wall=clock) as llm:
            yield llm, provider
            record = llm.engine.supervisor.providers["a"]
            assert record.in_flight == 0
            assert record.models["m"].breaker.statistics(0).failures == 0
            assert not llm.engine.tasks


async def gone(provider):
    """Wait as long as is allowed; the request must have been given up, and say when."""
    left_at = asyncio.get_running_loop().time()
    await asyncio.sleep(SOON)
    (seen,) = provider.log
    assert seen.outcome is Outcome.CLIENT_GONE
    assert seen.ended_at - left_at <= SOON
    assert provider.in_flight == 0


async def read(llm):
    async with llm.stream("chat", "hi") as stream:
        async for _ in stream:
            pass


async def ask(llm):
    await llm.complete("chat", "hi")


@pytest.mark.parametrize(
    ("call", "script"),
    [
        (ask, Script(answer="late", first_token=Fixed(30))),
        (ask, Script.of(Stall(3), answer="word " * 50)),
        (ask, Script.of(Silence())),
        (read, Script.of(Silence())),
        (read, Script.of(Silence(head=True))),
        (read, Script.of(Stall(3), answer="word " * 50)),
        (read, WORDS),
    ],
)
@pytest.mark.parametrize("how", ["task", "timeout"])
async def test_the_provider_knows_soon_that_its_caller_was_cancelled(call, script, how):
    async with sockets(script) as (llm, provider):
        if how == "task":
            task = asyncio.create_task(call(llm))
            await asyncio.sleep(2.0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):
                    await call(llm)
        await gone(provider)


async def test_the_provider_knows_soon_that_a_reader_broke_out_of_the_loop():
    async with sockets(WORDS) as (llm, provider):
        async with llm.stream("chat", "hi") as stream:
            async for _ in stream:
                break
        assert stream.reply.broken == "left"
        assert stream.reply.usage.estimated
        await gone(provider)


async def test_a_whole_answer_collected_from_a_stream_is_given_up_as_soon():
    async with sockets(WORDS, upstream_stream="auto") as (llm, provider):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await ask(llm)
        await gone(provider)


# --- slow readers ------------------------------------------------------------------------------------

GIANT = 64 * 1024 * 1024


class Written:
    """Counts what a server has written, by watching its frames go."""

    def __init__(self, monkeypatch):
        self.size = 0
        write = web.StreamResponse.write

        async def counted(response, data):
            await write(response, data)
            self.size += len(data)

        monkeypatch.setattr(web.StreamResponse, "write", counted)


async def test_a_slow_reader_holds_up_a_giant_stream_and_nobody_else(monkeypatch):
    written = Written(monkeypatch)
    script = Script(answer="short").with_rule(Giant(GIANT), first=1)
    async with sockets(script) as (llm, provider):
        async with llm.stream("chat", "hi") as stream:
            await anext(stream)
            await asyncio.sleep(5.0)  # the giant would be through by now, were there room for it
            held = written.size
            assert held < 16 * 1024 * 1024, "what is not read waits in the provider's socket"
            for _ in range(20):
                began = asyncio.get_running_loop().time()
                assert (await llm.complete("chat", "quick")).text == "short"
                assert asyncio.get_running_loop().time() - began < 0.1
            assert written.size - held < 1024 * 1024, "and goes on waiting while others are served"
            chunk = await anext(stream)
            assert len(stream._leg.ready) * len(chunk.text) < 4 * 1024 * 1024
        assert provider.log[0].outcome in (Outcome.OPEN, Outcome.CLIENT_GONE)


async def test_a_slow_reader_who_reads_to_the_end_gets_every_word():
    answer = "".join(f"{number} " for number in range(20_000))
    async with sockets(Script(answer=answer)) as (llm, _):
        parts = []
        async with llm.stream("chat", "hi", deadline=900) as stream:
            async for chunk in stream:
                parts.append(chunk.text)
                if len(parts) % 1000 == 0:
                    await asyncio.sleep(1.0)
        assert "".join(parts) == answer == stream.reply.text
        assert stream.reply.complete
