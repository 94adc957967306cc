"""Many callers with random demands, holds, priorities, faults and changes of mind, over 2 x 2 x 2.

Two providers, two models each (one pair sharing a group), two keys each, on virtual time, with the tasks of each
turn in random order. Nothing is asserted of any one call; the invariants are of the whole history.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from actor_world import Many, many

from resilio.actor import Lease, Outcome, Why
from resilio.errors import ERROR_RULES, Counts, ErrorClass
from resilio.events import ActorChanged, BreakerChanged
from resilio.models import Demand, Usage
from resilio.supervisor import NoLease
from resilio.testing import run
from resilio.testing.schedule import ShufflingLoop

SOAK = os.environ.get("RESILIO_SOAK") == "1"
SEEDS = range(400 if SOAK else 12)
CALLERS = 500 if SOAK else 200
PER_MINUTE = 3000
SETTINGS = {
    "keys": ["sk-0", "sk-1"],
    "max_concurrency": 4,
    "queue": {"max_waiting": 12, "max_wait": 20},
    "breaker": {"break_duration": 4, "max_break_duration": 10, "ramp_duration": 5, "probe_timeout": 6},
}
PROVIDERS = (
    {"name": "a", **SETTINGS, "models": {"m": {"tokens_per_minute": PER_MINUTE}, "n": {"tokens_per_minute": 1500}}},
    {
        "name": "b",
        **SETTINGS,
        "models": {"m": {"group": "g", "tokens_per_minute": PER_MINUTE}, "n": {"group": "g"}},
    },
)
FAULTS = [error for error in ErrorClass if error not in (ErrorClass.UNAUTHORISED, ErrorClass.OUT_OF_CREDIT)]


@dataclass
class Books:
    """What the callers saw."""

    w: Many
    began: float
    live: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    taken: dict[tuple[str, int, str], float] = field(default_factory=lambda: defaultdict(float))
    """Tokens reserved and not given back, by provider, key and group."""
    leases: int = 0
    ends: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def took(self, lease: Lease) -> None:
        name = lease.provider.name
        self.leases += 1
        self.live[name] += 1
        assert self.live[name] <= lease.provider.in_flight <= lease.provider.settings.max_concurrency
        for breaker in (lease.provider.breaker, lease.record.breaker):
            its = breaker.statistics(self.w.now)
            assert its.probes_out <= breaker.settings.probes_at_once
        bucket = (name, lease.key.index, lease.record.group)
        self.taken[bucket] += lease.demand.input_tokens + lease.demand.output_tokens
        if (
            limit := lease.key.limiters[lease.record.group].statistics(self.w.now).dimensions.get("tokens")
        ) is not None:
            most = limit.limit + limit.rate * (self.w.now - self.began)
            assert self.taken[bucket] <= most + 1e-3, f"{bucket} admitted {self.taken[bucket]} of {most}"

    def gave_back(self, lease: Lease, tokens: float) -> None:
        self.live[lease.provider.name] -= 1
        self.taken[lease.provider.name, lease.key.index, lease.record.group] -= tokens


async def caller(books: Books, rng: random.Random) -> None:
    """One call: comes at a random time, takes what it gets, and ends somehow."""
    w = books.w
    await asyncio.sleep(rng.uniform(0, CALLERS / 10))
    demand = Demand(rng.randrange(200), rng.choice((0, 50, 400)))
    priority, until = rng.choice((0, 0, 0, 1)), w.now + rng.uniform(0, 15)
    lease = await served(books, rng, demand, priority, until)
    if lease is None:
        return
    lease.sent = rng.random() < 0.9
    try:
        hold = rng.expovariate(1.0)
        if rng.random() < 0.3:
            await asyncio.sleep(hold / 2)
            lease.first_token(w.now, hold / 2)
        await asyncio.sleep(hold)
    except BaseException:
        settle(books, lease, Outcome.CANCELLED, None, None)
        raise
    settle(books, lease, *how_it_ends(rng, lease))


async def served(books: Books, rng: random.Random, demand: Demand, priority: int, until: float) -> Lease | None:
    w = books.w
    try:
        _, lease = w.acquire(demand, priority=priority)
        assert not passed(lease, priority)
        books.took(lease)
        return lease
    except NoLease as refused:
        books.ends["refused"] += 1
        waitable = [refusal.target for refusal in refused.refusals if refusal.waitable]
    if not waitable:
        return None
    target = rng.choice(waitable)
    name = target.partition("/")[0]
    answer = await w.provider(name).actor.wait_admit(w.model(target), demand, until=until, priority=priority)
    assert w.now <= until + 1e-6
    if not isinstance(answer, Lease):
        books.ends[answer.why] += 1
        return None
    books.took(answer)
    return answer


def passed(lease: Lease, priority: int) -> list[object]:
    """Waiters of equal or higher priority that wait for what the fast lane has just handed out."""
    return [
        waiter
        for waiter in lease.provider.waiters
        if not waiter.future.done()
        and waiter.order[0] <= -priority
        and (waiter.record.group == lease.record.group or waiter.why == Why.BUSY)
    ]


def how_it_ends(rng: random.Random, lease: Lease) -> tuple[str, ErrorClass | None, Usage | None]:
    if rng.random() < 0.6:
        return Outcome.SUCCESS, None, Usage(lease.demand.input_tokens, rng.randrange(200))
    if rng.random() < 0.02:
        return Outcome.IGNORED, rng.choice((ErrorClass.UNAUTHORISED, ErrorClass.OUT_OF_CREDIT)), None
    fault = rng.choice(FAULTS)
    return (Outcome.IGNORED if ERROR_RULES[fault].counts is Counts.NEITHER else Outcome.FAILURE), fault, None


def settle(books: Books, lease: Lease, outcome: str, error_class: ErrorClass | None, usage: Usage | None) -> None:
    asked = lease.demand.input_tokens + lease.demand.output_tokens
    if usage is not None:
        back = asked - usage.input_tokens - usage.output_tokens
    elif not lease.sent or error_class is ErrorClass.CONNECT:
        back = asked
    else:
        back = lease.demand.output_tokens
    lease.settle(books.w.now, outcome, usage=usage, error_class=error_class)
    books.gave_back(lease, back)
    books.ends[outcome] += 1
    with pytest.raises(RuntimeError):
        lease.settle(books.w.now, Outcome.CANCELLED)


async def trouble(w: Many, rng: random.Random, tasks: list[asyncio.Task[None]]) -> None:
    """Callers change their minds, and actors crash now and then."""
    for _ in range(len(tasks) // 4):
        await asyncio.sleep(rng.expovariate(2.0))
        if rng.random() < 0.08:
            w.crash(rng.choice("ab"))
        else:
            rng.choice(tasks).cancel()


def check_history(w: Many) -> None:
    """Each machine's events are one unbroken chain, in the order of time."""
    at: dict[str, tuple[str, float]] = {}
    for event in w.events:
        if isinstance(event, BreakerChanged):
            name, first = f"circuit {event.name}", "closed"
        elif isinstance(event, ActorChanged):
            name, first = f"actor {event.provider}", "starting"
        else:
            continue
        state, instant = at.get(name, (first, 0.0))
        assert event.source == state, f"{name} was {state}, not {event.source}"
        assert event.at >= instant
        at[name] = (event.dest, event.at)


async def scenario(seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    async with many(*PROVIDERS, seed=seed, drain_timeout=1.0) as w:
        before = asyncio.all_tasks()
        books = Books(w, w.now)
        tasks = [
            asyncio.get_running_loop().create_task(caller(books, random.Random(rng.random()))) for _ in range(CALLERS)
        ]
        worry = asyncio.get_running_loop().create_task(trouble(w, rng, tasks))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await worry
        for each in ended:
            if each is not None and not isinstance(each, asyncio.CancelledError):
                raise each
        assert asyncio.all_tasks() <= before
        w.assert_idle()
        await asyncio.sleep(120)
        for record in w.supervisor.providers.values():
            for key in record.keys:
                for limiter in key.limiters.values():
                    for its in limiter.statistics(w.now).dimensions.values():
                        assert its.level == pytest.approx(its.limit)
        check_history(w)
        assert books.leases == sum(books.ends[outcome] for outcome in ("success", "failure", "ignored", "cancelled"))
        return books.ends


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_callers_do_limits_hold_and_everything_comes_back(seed, caplog):
    ends = run(scenario(seed), loop_factory=functools.partial(ShufflingLoop, seed))
    assert ends["success"] > CALLERS / 10
    assert ends["refused"] > 0


def test_the_schedules_are_not_all_easy(caplog):
    seen: dict[str, int] = defaultdict(int)
    for seed in range(4):
        for how, times in run(scenario(seed), loop_factory=functools.partial(ShufflingLoop, seed)).items():
            seen[how] += times
    assert {"success", "failure", "ignored", "cancelled", "refused", "rate_limited"} <= set(seen)
    assert seen.keys() & {"busy", "queue_ahead", "queue_full", "target_open", "provider_open"}
