"""What streams reserve is used or given back, to the token and to the cent, whatever becomes of them."""

import asyncio
import os
import random
from collections import Counter

import anyio
import pytest
from world import world

from resilio import ResilioError
from resilio.budget import SpendCap
from resilio.client import _Scope, _scope
from resilio.events import AttemptEnded
from resilio.ratelimit import RateLimiter
from resilio.testing.faults import Cut, Error, Malformed, Reset, Silence, Stall, Terminator, UsageReport
from resilio.testing.latency import Uniform
from resilio.testing.script import Script

STREAMS = 10_000 if os.environ.get("RESILIO_SOAK") == "1" else 500
TEXT = "one two three four five six seven eight nine ten"


def unreliable(rng):
    script = Script(answer=TEXT, first_token=Uniform(0.01, 1.0), tokens_per_second=20)
    for fault in (
        Cut(2), Cut(6, clean=False), Stall(3), Malformed(2), Silence(), Reset(), Error(status=503),
        Error(status=500), Terminator(0), UsageReport(missing=True), Error("rate_limit_exceeded", retry_after=0.5),
    ):  # fmt: skip
        script = script.probability(rng.uniform(0.01, 0.06), fault)
    return script


class Ledger:
    """Every reservation and how it ended, counted at the limiter itself."""

    def __init__(self, monkeypatch):
        self.reserved, self.settled, self.refunded, self.used = Counter(), Counter(), Counter(), Counter()
        reserve, settle, refund = RateLimiter.reserve, RateLimiter.settle, RateLimiter.refund

        def counted_reserve(limiter, now, demand):
            wait = reserve(limiter, now, demand)
            if wait == 0.0:
                self.count(self.reserved, demand)
            return wait

        def counted_settle(limiter, now, reserved, used):
            self.count(self.settled, reserved)
            self.count(self.used, used)
            settle(limiter, now, reserved, used)

        def counted_refund(limiter, now, reserved):
            self.count(self.refunded, reserved)
            refund(limiter, now, reserved)

        monkeypatch.setattr(RateLimiter, "reserve", counted_reserve)
        monkeypatch.setattr(RateLimiter, "settle", counted_settle)
        monkeypatch.setattr(RateLimiter, "refund", counted_refund)

    def count(self, column, demand):
        column.update(leases=1, input=demand.input_tokens, output=demand.output_tokens)


async def one_stream(w, rng, counts):
    how = rng.choice(["read", "read", "slow", "leave", "task", "twice", "scope", "timeout"])
    patience = rng.uniform(0.0, 1.5)

    async def read():
        async with w.llm.stream("chat", "hi there", deadline=rng.choice([0.5, 3.0, 30.0])) as stream:
            async for _ in stream:
                if how == "slow":
                    await asyncio.sleep(rng.uniform(0.0, 1.0))
                if how == "leave" and rng.random() < 0.3:
                    return

    try:
        if how == "scope":
            with anyio.move_on_after(patience):
                await read()
        elif how == "timeout":
            async with asyncio.timeout(patience):
                await read()
        elif how in ("task", "twice"):
            task = asyncio.create_task(read())
            await asyncio.sleep(patience)
            task.cancel()
            if how == "twice":
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        else:
            await read()
    except (ResilioError, TimeoutError) as exc:
        counts[type(exc).__name__] += 1
    counts[how] += 1


@pytest.mark.parametrize("hedge", [None, 0.4])
async def test_tokens_and_money_add_up_over_many_streams(monkeypatch, hedge):
    rng = random.Random(11)
    ledger, counts = Ledger(monkeypatch), Counter()
    limits = {"requests_per_minute": 100_000, "tokens_per_minute": 50_000_000, "price": {"input": 1.0, "output": 2.0}}
    settings = {"on_break": "continue", "max_output_tokens": 64, "clocks": {"first_token": 2, "idle": 1, "connect": 1}}
    if hedge is not None:
        settings |= {"hedge": hedge, "hedge_share": 0.5}
    before = asyncio.all_tasks()
    async with world(a=unreliable(rng), b=unreliable(rng), c=unreliable(rng), model=limits, route=settings) as w:
        cap = SpendCap(1e6)
        token = _scope.set(_Scope(caps=(cap,)))

        async def caller():
            for _ in range(STREAMS // 25):
                await one_stream(w, rng, counts)

        await asyncio.gather(*(caller() for _ in range(25)))
        _scope.reset(token)
        await asyncio.sleep(0.1)
        w.assert_idle()
        assert w.transport.open_responses == 0
        ended = [event for event in w.events if isinstance(event, AttemptEnded)]
        for column in ("leases", "input", "output"):
            assert ledger.reserved[column] == ledger.settled[column] + ledger.refunded[column], column
        assert cap.reserved == 0
        assert cap.spent > 0
        paid = sum(event.usage.input_tokens + 2 * event.usage.output_tokens for event in ended if event.usage) / 1e6
        assert cap.spent >= paid * (1 - 1e-9), "what was reported was paid for; what was not is presumed"
        assert ledger.used["input"] >= sum(event.usage.input_tokens for event in ended if event.usage)
    assert counts["StreamBroken"] > 0
    assert asyncio.all_tasks() == before
