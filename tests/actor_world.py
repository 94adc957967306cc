"""Providers without a wire: records, actors and supervisors whose clock is a number or the virtual loop's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from resilio.actor import Lease, Outcome, ProviderActor, ProviderRecord, Refusal
from resilio.config import BreakerSettings, KeySettings, ModelSettings, ProviderSettings, QueueSettings, load_config
from resilio.errors import ErrorClass
from resilio.events import Event
from resilio.models import Demand, Usage
from resilio.supervisor import Supervisor

SMALL = Demand(10, 10)


class Clock:
    """Monotonic seconds that move when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class One:
    """One provider "p" whose actor runs, without its task: for what is synchronous."""

    record: ProviderRecord
    clock: Clock
    events: list[Event] = field(default_factory=list)

    @property
    def actor(self) -> ProviderActor:
        return self.record.actor

    @property
    def now(self) -> float:
        return self.clock.now

    def later(self, seconds: float) -> None:
        self.clock.now += seconds

    def model(self, name: str = "m") -> Any:
        return self.record.models[name]

    def ask(self, model: str = "m", demand: Demand = SMALL, **how: Any) -> Lease | Refusal:
        return self.actor.admit(self.clock.now, self.model(model), demand, **how)

    def lease(self, model: str = "m", demand: Demand = SMALL, **how: Any) -> Lease:
        got = self.ask(model, demand, **how)
        assert isinstance(got, Lease), got
        return got

    def refusal(self, model: str = "m", demand: Demand = SMALL, **how: Any) -> Refusal:
        got = self.ask(model, demand, **how)
        assert isinstance(got, Refusal), got
        return got

    def settle(
        self, lease: Lease, outcome: str = Outcome.SUCCESS, error_class: ErrorClass | None = None, **what: Any
    ) -> bool:
        """Settle a lease whose request was sent."""
        lease.sent = True
        return lease.settle(self.clock.now, outcome, error_class=error_class, **what)

    def fail(self, error_class: ErrorClass, times: int = 1, model: str = "m", **what: Any) -> None:
        """Admit and fail, so many times."""
        for _ in range(times):
            self.settle(self.lease(model), Outcome.FAILURE, error_class, **what)

    def ignore(self, error_class: ErrorClass, model: str = "m", **what: Any) -> None:
        self.settle(self.lease(model), Outcome.IGNORED, error_class, **what)

    def level(self, dimension: str = "tokens", key: int = 0, group: str = "m") -> float:
        """Units in hand of one limit."""
        return self.record.keys[key].limiters[group].statistics(self.clock.now).dimensions[dimension].level

    def resting(self, key: int = 0, group: str = "m") -> float:
        return self.record.keys[key].limiters[group].statistics(self.clock.now).resting


def one(
    models: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    keys: int | Sequence[KeySettings] = 1,
    breaker: Mapping[str, Any] | None = None,
    queue: Mapping[str, Any] | None = None,
    **settings: Any,
) -> One:
    """Provider "p" with model "m" (or these models) and so many keys, or these."""
    clock, events = Clock(), []
    record = ProviderRecord(
        ProviderSettings(
            name="p",
            kind="openai",
            models={name: ModelSettings(**its) for name, its in (models or {"m": {}}).items()},
            breaker=BreakerSettings(**(breaker or {})),
            queue=QueueSettings(**(queue or {})),
            **settings,
        ),
        clock=clock,
        rng=random.Random(7),
        listeners=[events.append],
        keys=[KeySettings(key=f"sk-{index}") for index in range(keys)] if isinstance(keys, int) else keys,
    )
    record.actor = ProviderActor(record)
    record.lifecycle.started(clock.now)
    record.flush_changes(wake=False)
    events.clear()
    return One(record, clock, events)


@dataclass
class Many:
    """A supervisor that runs on the loop's time; route "r" has all targets, in the order of the providers."""

    supervisor: Supervisor
    events: list[Event]

    @property
    def now(self) -> float:
        return self.supervisor.clock()

    @property
    def route(self) -> Any:
        return self.supervisor.routes["r"]

    def provider(self, name: str = "p") -> ProviderRecord:
        return self.supervisor.providers[name]

    def model(self, target: str = "p/m") -> Any:
        provider, _, model = target.partition("/")
        return self.provider(provider).models[model]

    def ask(self, target: str = "p/m", demand: Demand = SMALL, **how: Any) -> Lease | Refusal:
        record = self.provider(target.partition("/")[0])
        return record.actor.admit(self.now, self.model(target), demand, **how)

    def lease(self, target: str = "p/m", demand: Demand = SMALL, **how: Any) -> Lease:
        got = self.ask(target, demand, **how)
        assert isinstance(got, Lease), got
        return got

    def acquire(self, demand: Demand = SMALL, **how: Any) -> tuple[Any, Lease]:
        order = self.route.order(self.supervisor.clock, random.Random(1))
        return self.supervisor.acquire_nowait(order, demand, among=self.route.targets, **how)

    async def wait(
        self, target: str = "p/m", demand: Demand = SMALL, *, seconds: float = 60.0, priority: int = 0
    ) -> Lease | Refusal:
        record = self.provider(target.partition("/")[0])
        return await record.actor.wait_admit(self.model(target), demand, until=self.now + seconds, priority=priority)

    def waiting(self, *args: Any, **how: Any) -> asyncio.Task[Lease | Refusal]:
        """`wait` in a task of its own; it stands in the queue after `settled`."""
        return asyncio.get_running_loop().create_task(self.wait(*args, **how))

    def done(self, lease: Lease, outcome: str = Outcome.SUCCESS, *, usage: Usage | None = None) -> None:
        lease.sent = True
        lease.settle(self.now, outcome, usage=usage)

    def trip(self, target: str = "p/m", error_class: ErrorClass = ErrorClass.SERVER_ERROR, **what: Any) -> None:
        """Five failures in a row."""
        for _ in range(5):
            lease = self.lease(target)
            lease.sent = True
            lease.settle(self.now, Outcome.FAILURE, error_class=error_class, **what)

    def crash(self, provider: str = "p", message: str = "a bug") -> None:
        def crash(now: float) -> None:
            raise ZeroDivisionError(message)

        self.provider(provider).actor.post(crash)

    def assert_idle(self) -> None:
        """Everything that was acquired went back."""
        for name, record in self.supervisor.providers.items():
            assert record.in_flight == 0, f"{name}: {record.in_flight} slots not returned"
            assert not record.waiters, f"{name}: somebody still waits"
            assert record.breaker.statistics(self.now).probes_out == 0, name
            for target in record.models.values():
                assert target.in_flight == 0, target.name
                assert target.breaker.statistics(self.now).probes_out == 0, target.name


@asynccontextmanager
async def many(
    *providers: Mapping[str, Any], drain_timeout: float = 0.0, seed: int = 7, targets: Sequence[str] | None = None
) -> AsyncIterator[Many]:
    """A running supervisor; each mapping is a provider's settings ("p" with model "m" if it says nothing)."""
    tables = [
        {"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "keys": ["sk-0"], "models": {"m": {}}, **each}
        for each in (providers or ({},))
    ]
    route = targets or [f"{table['name']}/{model}" for table in tables for model in table["models"]]
    config = load_config({"provider": tables, "route": {"r": {"targets": list(route)}}})
    events: list[Event] = []
    loop = asyncio.get_running_loop()
    supervisor = Supervisor(config, clock=loop.time, rng=random.Random(seed), listeners=[events.append])
    await supervisor.start()
    try:
        yield Many(supervisor, events)
    finally:
        await supervisor.aclose(drain_timeout)


async def settled(turns: int = 10) -> None:
    """Let every task that can run do so; takes no time."""
    for _ in range(turns):
        await asyncio.sleep(0)
