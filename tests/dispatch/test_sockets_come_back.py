"""Over real sockets: however calls fail or are given up, connections, tasks and slots come back."""

import asyncio
import contextlib
import os
import random
import stat
from collections import Counter

import anyio

from resilio import Client, ResilioError
from resilio.testing import Script, SimulatedProvider, SimulatedServer, Uniform, wall_clock
from resilio.testing.faults import Cut, Error, Html, Malformed, Reset, Silence, Stale, Stall

CALLERS = 40 if os.environ.get("RESILIO_SOAK") == "1" else 8
CALLS_EACH = 25


def sockets_open():
    """Sockets this process holds."""
    held = set()
    for number in range(1024):
        with contextlib.suppress(OSError):
            seen = os.fstat(number)
            if stat.S_ISSOCK(seen.st_mode):
                held.add((number, seen.st_ino))
    return held


def unreliable(seed):
    script = Script(answer="one two three four five six", first_token=Uniform(0.01, 0.5), tokens_per_second=50)
    for fault in (
        Error(status=500), Error("rate_limit_exceeded", retry_after=0.3), Reset(), Silence(), Cut(2),
        Cut(2, clean=False), Stall(2), Malformed(2), Html(), Stale(),
    ):  # fmt: skip
        script = script.probability(0.04, fault)
    return SimulatedProvider(script.flapping(30, 5, Error(status=503)), seed=seed)


async def one_call(llm, rng):
    """How it ended: answered, failed, or given up by a scope, by `Task.cancel()` or by leaving a stream."""
    patience = rng.choice([60, 60, rng.uniform(0, 1.5)])

    async def ask():
        if rng.random() < 0.5:
            await llm.complete("chat", "hi", deadline=rng.choice([0.3, 5.0]))
            return "answered"
        async with llm.stream("chat", "hi", deadline=rng.choice([0.3, 5.0])) as stream:
            async for _ in stream:
                if rng.random() < 0.05:
                    return "left"
        return "answered"

    try:
        if rng.random() < 0.5:
            with anyio.move_on_after(patience):
                return await ask()
            return "timed out"
        task = asyncio.create_task(ask())
        await asyncio.wait([task], timeout=patience)
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else task.result()
    except ResilioError:
        return "failed"


async def test_no_socket_task_or_slot_is_left_by_calls_that_failed_or_were_given_up():
    rng, ends = random.Random(7), Counter()
    tasks_before, sockets_before = asyncio.all_tasks(), sockets_open()
    providers = {name: unreliable(seed) for seed, name in enumerate(("a", "b"))}
    async with SimulatedServer(providers) as server:
        listening = sockets_open()
        config = {
            "provider": [
                {"name": name, "kind": "openai", "base_url": url, "keys": ["sk-x"], "models": {"m": {}}}
                for name, url in server.urls.items()
            ],
            "route": {"chat": {"targets": ["a/m", "b/m"], "clocks": {"first_token": 1, "idle": 1, "connect": 1}}},
        }
        async with Client(config, rng=random.Random(1), wall=wall_clock(asyncio.get_running_loop())) as llm:

            async def caller():
                for _ in range(CALLS_EACH):
                    ends[await one_call(llm, rng)] += 1
                    await asyncio.sleep(rng.expovariate(2.0))

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
            await asyncio.sleep(1)
            for name, seen in llm.status().providers.items():
                assert (name, seen.state, seen.in_flight, seen.waiting) == (name, "running", 0, 0)
                assert providers[name].in_flight == 0, "the provider still answers somebody who has left"
        await asyncio.sleep(1)
        assert sockets_open() == listening
    assert sockets_open() == sockets_before
    assert asyncio.all_tasks() == tasks_before
    assert sum(ends.values()) == CALLERS * CALLS_EACH
    assert {"answered", "left", "timed out", "cancelled", "failed"} <= ends.keys(), ends
