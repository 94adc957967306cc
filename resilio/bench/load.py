"""Sends calls, as many callers would (closed loop) or as traffic arrives (open loop).

A closed loop has N callers, each of which waits for its answer before it asks again: when the system stalls they
stop asking, so the worst moments are hardly sampled. An open loop sends at the instants of a schedule drawn
beforehand, whatever became of earlier calls, and measures each latency from that instant: a stall then shows in
every call that should have been sent during it. To leave that out is what Gil Tene named coordinated omission
("How NOT to Measure Latency", 2013-2015; the correction by schedule is that of his wrk2).
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from resilio.bench.samples import Samples
from resilio.errors import ResilioError
from resilio.models import Reply

__all__ = ["Call", "Load", "drive"]

Call = Callable[[int], Awaitable[Reply]]
"""Makes the n-th call, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One level of load: exactly one of `concurrency` and `rate`, and at least one bound."""

    concurrency: int | None = None
    """Closed loop: callers at one time."""
    rate: float | None = None
    """Open loop: calls per second."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    """Of an open loop: independent callers, or a metronome."""
    requests: int | None = None
    seconds: float | None = None
    """No call begins later than this; those under way are waited for."""
    at_least: float = 0.0
    """Of a closed loop: a caller does not begin a call sooner than this after its last one began."""

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("give either concurrency (closed loop) or rate (open loop)")
        if self.requests is None and self.seconds is None:
            raise ValueError("give requests or seconds, or the run never ends")

    @property
    def level(self) -> float:
        """What is varied between runs: callers, or calls per second."""
        return self.concurrency or self.rate or 0

    @property
    def open_loop(self) -> bool:
        return self.rate is not None


async def drive(
    call: Call, load: Load, rng: random.Random, *, on_progress: Callable[[float], None] | None = None
) -> Samples:
    """Put the load on, wait until every call is over, and return what became of them.

    Args:
        call: Makes one call.
        load: How many, how fast.
        rng: Draws the arrivals of an open loop, all from one stream: the same seed, the same schedule.
        on_progress: Called after each call with the share of the run that is done, 0 to 1.
    """
    driver = _Driver(call, load, on_progress)
    async with asyncio.TaskGroup() as group:
        if load.rate is not None:
            await driver.send_on_schedule(group, _arrivals(load.rate, load, rng))
        else:
            for _ in range(min(load.concurrency or 1, load.requests or load.concurrency or 1)):
                group.create_task(driver.ask_again_and_again())
    return driver.samples


def _arrivals(rate: float, load: Load, rng: random.Random) -> Iterator[float]:
    """Instants, in seconds after the beginning, at which calls are due."""
    constant = load.arrivals == "constant"
    at = 0.0
    for number in itertools.count():
        at = number / rate if constant else at + rng.expovariate(rate)
        if number == load.requests or (load.seconds is not None and at >= load.seconds):
            return
        yield at


class _Driver:
    """Numbers the calls, makes them and keeps their ends."""

    def __init__(self, call: Call, load: Load, on_progress: Callable[[float], None] | None) -> None:
        self.samples = Samples()
        self._call = call
        self._load = load
        self._on_progress = on_progress
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._begun = 0

    async def send_on_schedule(self, group: asyncio.TaskGroup, arrivals: Iterator[float]) -> None:
        """The open loop: each call in a task of its own, at its instant or, where that is over, at once."""
        for number, at in enumerate(arrivals):
            # Even a generator that is late gives way, or no call could make any progress.
            await asyncio.sleep(max(0.0, self._began + at - self._clock()))
            group.create_task(self._one(number, at))

    async def ask_again_and_again(self) -> None:
        """One caller of the closed loop."""
        load = self._load
        while load.requests is None or self._begun < load.requests:
            at = self._clock() - self._began
            if load.seconds is not None and at >= load.seconds:
                return
            number = self._begun
            self._begun += 1
            await self._one(number, at)
            if (early := at + load.at_least - (self._clock() - self._began)) > 0:
                await asyncio.sleep(early)

    async def _one(self, number: int, intended: float) -> None:
        started = self._clock() - self._began
        try:
            reply = await self._call(number)
        except ResilioError as exc:
            self.samples.error(intended, started, self._clock() - self._began, exc)
        else:
            self.samples.reply(intended, started, self._clock() - self._began, reply)
        if self._on_progress is not None:
            self._on_progress(self._done())

    def _done(self) -> float:
        load, samples = self._load, self.samples
        by_count = len(samples) / load.requests if load.requests else 0.0
        by_time = samples.ended / load.seconds if load.seconds else 0.0
        return min(1.0, max(by_count, by_time))
