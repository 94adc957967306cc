"""Limits of connections and connect errors as callers meet them: through the whole engine, over loopback."""

import asyncio
import random

import pytest

from resilio import Client
from resilio.errors import Exhausted
from resilio.testing.latency import Fixed
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.server import SimulatedServer


def client(urls, network=None, **route):
    provider = {"kind": "openai", "keys": ["sk-test"], "models": {"m": {}}, "network": network or {}}
    return Client(
        {
            "provider": [{"name": name, "base_url": url, **provider} for name, url in urls.items()],
            "route": {"chat": {"targets": [f"{name}/m" for name in urls], "clocks": {"connect": 2}, **route}},
        },
        rng=random.Random(1),
    )


async def test_a_wait_for_a_connection_runs_on_the_connect_clock_and_is_no_evidence_against_the_provider():
    simulated = SimulatedProvider(Script(first_token=Fixed(30.0)))
    clocks = {"connect": 2, "first_token": 50}
    async with (
        SimulatedServer({"a": simulated}) as server,
        client(server.urls, {"max_connections": 1}, clocks=clocks) as llm,
    ):
        loop = asyncio.get_running_loop()
        served = asyncio.create_task(llm.complete("chat", "Hello?"))
        await asyncio.sleep(1)
        began = loop.time()
        with pytest.raises(Exhausted) as caught:
            await llm.complete("chat", "And me?")
        assert loop.time() - began == pytest.approx(2)
        (attempt,) = caught.value.attempts
        assert (attempt.clock, attempt.outcome) == ("connect", "ignored")
        assert "all network.max_connections = 1 were in use; raise it or send less at once" in attempt.error
        assert (await served).text
        breaker = llm.engine.supervisor.providers["a"].breaker.statistics(loop.time())
        assert breaker.failures == 0


async def test_a_short_wait_for_a_connection_costs_time_and_nothing_else():
    simulated = SimulatedProvider(Script(first_token=Fixed(0.5)))
    async with SimulatedServer({"a": simulated}) as server, client(server.urls, {"max_connections": 1}) as llm:
        replies = await asyncio.gather(*(llm.complete("chat", "Hello?") for _ in range(3)))
        assert all(reply.complete and len(reply.attempts) == 1 for reply in replies)


async def test_a_provider_that_cannot_be_connected_to_says_what_to_check_and_the_next_one_answers():
    async with SimulatedServer({"b": SimulatedProvider()}) as server:
        urls = {"a": "http://127.0.0.1:1/v1", **server.urls}
        async with client(urls) as llm:
            reply = await llm.complete("chat", "Hello?")
            first, second = reply.attempts
            assert (first.error_class, second.outcome) == ("connect", "success")
            assert "check host and port in base_url, and that the server runs" in first.error
