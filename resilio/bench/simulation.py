"""A configuration against simulated providers on virtual time: an hour of traffic in seconds.

Everything random comes from one seed and no real clock is read, so a run can be repeated to the digit. What is
left out is what only a machine shows: the time that the engine itself takes, and sockets.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from resilio.bench.load import Load, drive
from resilio.bench.prompts import PROMPTS, Conversation, caller
from resilio.bench.samples import Samples
from resilio.bench.scenario import as_simulated
from resilio.bench.timeline import Change, changes
from resilio.client import Client
from resilio.config import Config
from resilio.events import BreakerChanged, Event
from resilio.testing import loop as virtual
from resilio.testing.provider import SimulatedProvider
from resilio.testing.reaction import Outcome, Reaction, SeenRequest
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

__all__ = ["SimulatedRun", "Simulation", "simulate"]

SHORTEST_CALL: Final = 0.001
"""Seconds between two calls of one caller of a closed loop: where the engine's work takes no time, a provider that
refuses at once would otherwise be asked for ever in one instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What to simulate."""

    config: Config
    route: str
    scripts: Mapping[str, Script]
    """By provider; one for each of the configuration."""
    prompts: Sequence[Conversation] = PROMPTS
    wire: Mapping[str, Any]
    streamed: bool
    seed: int
    warmup: int = 0
    """Calls before the run, which do not count."""

    @property
    def has_faults(self) -> bool:
        return any(script.rules for script in self.scripts.values())

    def without_faults(self) -> Simulation:
        """The same providers, with the same latencies, on a day on which nothing goes wrong."""
        return replace(self, scripts={name: replace(script, rules=()) for name, script in self.scripts.items()})

    def rng(self, purpose: str) -> random.Random:
        """A stream of random numbers of its own, so that one more draw here changes nothing there."""
        return random.Random(f"{self.seed} {purpose}")


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """How it went."""

    samples: Samples
    changes: Sequence[Change]
    requests: Mapping[str, int]
    """What reached each provider, by its own count."""


def simulate(simulation: Simulation, load: Load, *, on_progress: Callable[[float], None] | None = None) -> SimulatedRun:
    """Run it, on a virtual loop of its own."""
    return virtual.run(_simulate(simulation, replace(load, at_least=SHORTEST_CALL), on_progress))


async def _simulate(simulation: Simulation, load: Load, on_progress: Callable[[float], None] | None) -> SimulatedRun:
    loop = asyncio.get_running_loop()
    config = as_simulated(simulation.config)
    providers = {
        each.name: _Counting(simulation.scripts[each.name], simulation.rng(f"provider {each.name}").getrandbits(64))
        for each in config.providers
    }
    moves: list[BreakerChanged] = []

    def hear(event: Event) -> None:
        if isinstance(event, BreakerChanged):
            moves.append(event)

    transport = ScriptedTransport({each.base_url: providers[each.name] for each in config.providers})
    async with Client(
        config, transport=transport, rng=simulation.rng("engine"), wall=virtual.wall_clock(loop), listeners=[hear]
    ) as llm:
        call = caller(
            llm,
            simulation.route,
            simulation.prompts,
            simulation.wire,
            streamed=simulation.streamed,
            rng=simulation.rng("prompts"),
        )
        if simulation.warmup:
            await drive(call, Load(concurrency=1, requests=simulation.warmup), simulation.rng("warm-up"))
            moves.clear()
        for provider in providers.values():
            provider.begin()
        began = loop.time()
        samples = await drive(call, load, simulation.rng("arrivals"), on_progress=on_progress)
    return SimulatedRun(samples, changes(moves, began), {name: each.requests for name, each in providers.items()})


class _Counting(SimulatedProvider):
    """Counts its requests and forgets them: an hour of them would fill the memory."""

    def __init__(self, script: Script, seed: int) -> None:
        super().__init__(script, seed=seed)
        self.requests = 0

    def begin(self) -> None:
        """The seconds of its script, and its requests, count from now on: all providers of a run have one time."""
        self._started = self._clock()
        self._counts.clear()
        self.requests = 0

    def react(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, fresh: bool = True
    ) -> tuple[SeenRequest, Reaction]:
        """See `SimulatedProvider.react`."""
        reacted = super().react(method, path, headers, body, fresh=fresh)
        self.log.clear()
        return reacted

    def settle(self, seen: SeenRequest, outcome: Outcome | None = None) -> None:
        """See `SimulatedProvider.settle`."""
        if seen.outcome is Outcome.OPEN:
            super().settle(seen, outcome)
            self.requests += 1
