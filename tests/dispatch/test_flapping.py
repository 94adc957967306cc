"""Thousands of calls through flapping providers, cancelled at random: everything always goes back."""

import asyncio
import os
import random

import anyio
import pytest
from world import world

from resilio import ResilioError
from resilio.events import AttemptEnded, CallSettled
from resilio.testing.faults import Cut, Error, Html, Malformed, Refused, Reset, Silence, Stale, Stall
from resilio.testing.latency import Uniform
from resilio.testing.script import Script

SOAK = os.environ.get("RESILIO_SOAK") == "1"
CALLS = 20_000 if SOAK else 2_000


def flapping(rng):
    """A provider that fails in every way, and is down now and then."""
    script = Script(answer="one two three four five six", first_token=Uniform(0.01, 0.5), tokens_per_second=50)
    for fault in (
        Error(status=500), Error(status=503), Error("rate_limit_exceeded", retry_after=0.3),
        Error("rate_limit_exceeded"),
        Reset(), Refused(), Silence(), Cut(2), Cut(2, clean=False), Stall(2), Malformed(2), Html(), Stale(),
    ):  # fmt: skip
        script = script.probability(rng.uniform(0.0, 0.04), fault)
    return script.flapping(rng.uniform(20, 60), rng.uniform(5, 20), Error(status=503))


async def one_call(w, rng, counts):
    """One call, whole or streamed, perhaps given up half-way: natively, by scope, or by just leaving."""
    deadline = rng.choice([0.2, 1.0, 5.0, 30.0])
    patience = rng.choice([None, None, rng.uniform(0, 1.5)])

    async def ask():
        if rng.random() < 0.5:
            await w.llm.complete("chat", "hi", deadline=deadline)
            return
        async with w.llm.stream("chat", "hi", deadline=deadline) as stream:
            async for _ in stream:
                if rng.random() < 0.05:
                    return

    try:
        if patience is None:
            await ask()
        elif rng.random() < 0.5:
            with anyio.move_on_after(patience) as scope:
                await ask()
            counts["cancelled"] += scope.cancelled_caught
        else:
            task = asyncio.create_task(ask())
            await asyncio.sleep(patience)
            task.cancel()
            await asyncio.wait([task])
            counts["cancelled"] += task.cancelled()
            if not task.cancelled() and task.exception():
                raise task.exception()
        counts["answered"] += 1
    except ResilioError:
        counts["failed"] += 1


@pytest.mark.parametrize("seed", range(3) if SOAK else range(1))
async def test_every_lease_settles_and_nothing_is_left(seed):
    rng = random.Random(seed)
    counts = {"answered": 0, "failed": 0, "cancelled": 0}
    settings = {"max_concurrency": 20, "queue": {"max_waiting": 50}}
    limits = {"requests_per_minute": 3000, "tokens_per_minute": 400_000}
    before = asyncio.all_tasks()
    async with world(
        a=flapping(rng), b=flapping(rng), c=flapping(rng), provider=settings, model=limits, seed=seed,
        route={"strategy": "least_loaded", "clocks": {"first_token": 1, "idle": 1, "connect": 1}},
    ) as w:  # fmt: skip

        async def caller():
            for _ in range(CALLS // 50):
                await one_call(w, rng, counts)
                await asyncio.sleep(rng.expovariate(2.0))

        await asyncio.gather(*(caller() for _ in range(50)))
        await asyncio.sleep(1)
        w.assert_idle()
        assert w.transport.open_responses == 0
        ended = [event for event in w.events if isinstance(event, AttemptEnded)]
        settled = [event for event in w.events if isinstance(event, CallSettled)]
        assert len(settled) == CALLS, "one record for each call, however it ended"
        assert len({event.request_id for event in settled}) == CALLS
        sent = sum(provider.count() for provider in w.providers.values())
        refused = sum(event.attempt.error_class == "connect" for event in ended)
        never_sent = sum(event.attempt.outcome in ("cancelled", "rejected") for event in ended)
        assert len(ended) - refused - never_sent <= sent <= len(ended)
    assert min(counts.values()) > CALLS // 50, counts
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before, "no task is left"
