"""A whole engine over simulated providers, in process, on virtual time: what most dispatch tests need."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from resilio import Client
from resilio.events import Event
from resilio.store import Ledger
from resilio.testing.executor import InlineExecutor
from resilio.testing.loop import wall_clock
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

QUIET = {"early_probes": False}


@dataclass
class World:
    """The client, the providers behind it by name, and every event so far."""

    llm: Client
    providers: Mapping[str, SimulatedProvider]
    transport: ScriptedTransport
    events: list[Event] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    """What the client was opened with, to be changed and loaded again."""

    def calls(self, name: str) -> int:
        """Requests this provider saw."""
        return self.providers[name].count()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def assert_idle(self) -> None:
        """Everything that was acquired went back."""
        for name, record in self.llm.engine.supervisor.providers.items():
            assert record.in_flight == 0, f"{name}: {record.in_flight} slots not returned"
            assert not record.waiters, f"{name}: somebody still waits"
            for target in record.models.values():
                assert target.in_flight == 0, target.name
                assert target.breaker.statistics(self.now).probes_out == 0, target.name
            assert record.breaker.statistics(self.now).probes_out == 0, name
        for holding in self.llm.engine.spending.holdings:
            assert not any(block.reserved for block in holding.blocks.values()), f"{holding}: a reservation is left"
        for name, provider in self.providers.items():
            assert provider.in_flight == 0, f"{name} still answers {provider.in_flight}"


@asynccontextmanager
async def world(
    *,
    provider: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    route: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    only: Mapping[str, Mapping[str, Any]] | None = None,
    routes: Mapping[str, Mapping[str, Any]] | None = None,
    rules: Sequence[Mapping[str, Any]] = (),
    cache: Mapping[str, Any] | None = None,
    budgets: Sequence[Mapping[str, Any]] = (),
    ledger: Ledger | None = None,
    wall: Callable[[], float] | None = None,
    seed: int = 1,
    **scripts: Script,
) -> AsyncIterator[World]:
    """Providers named and scripted by keyword, all in one route, in that order.

    `provider`, `model` and `route` are further settings of each; `only` overrides those of one provider.
    `routes` are further routes, or another "chat"; `cache` is its section. `ledger` and `wall` go to the client.
    """
    providers = {name: SimulatedProvider(script, seed=seed) for name, script in scripts.items()}
    transport = ScriptedTransport({f"http://{name}.test/v1": each for name, each in providers.items()})
    config = {
        "defaults": dict(defaults or {}),
        "provider": [
            {
                "name": name, "kind": "openai", "base_url": f"http://{name}.test/v1", "keys": ["sk-test"],
                "models": {"m": dict(model or {})}, **(provider or {}), **((only or {}).get(name, {})),
            }
            for name in scripts
        ],
        "route": {"chat": {"targets": [f"{name}/m" for name in scripts], **(route or {})}, **(routes or {})},
        "rule": list(rules),
        "cache": dict(cache or {}),
        "budget": list(budgets),
    }  # fmt: skip
    events: list[Event] = []
    loop = asyncio.get_running_loop()
    async with Client(
        config,
        transport=transport,
        rng=random.Random(seed),
        wall=wall or wall_clock(loop),
        listeners=[events.append],
        executor=InlineExecutor(),
        ledger=ledger,
    ) as llm:
        yield World(llm, providers, transport, events, config)
