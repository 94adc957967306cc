"""Request logs of simulated months: what calls cost before, and after one thing has changed that doubles it.

For tests of reports, and pictures of them. Calls are written as the engine's own events, at prices that are known, so
what a report makes of them can be held against what was planted.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from math import log
from pathlib import Path
from typing import Final

from resilio.config import Price
from resilio.events import CallSettled
from resilio.models import AttemptRecord, CacheHit, Identity, Level, Usage
from resilio.prices import cost_usd
from resilio.report.causes import ANSWERS, HIT_RATE, MIX, PRICE, PROMPTS, VOLUME

__all__ = ["PLANTABLE", "ModelTraffic", "Traffic", "planted", "settled_calls", "simulated_log", "write_log"]

PLANTABLE: Final = (VOLUME, HIT_RATE, MIX, PROMPTS, ANSWERS, PRICE)
"""Causes that `planted` can plant."""

_WEEKEND: Final = 0.55
"""Of a working day's calls."""
_SPREAD: Final = 0.5
"""Of the logarithm of lengths."""
_FEATURES: Final = {"search": 0.45, "support": 0.35, "summary": 0.2}
_TEAMS: Final = ("red", "blue", "green")
_USERS: Final = 40
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class ModelTraffic:
    """Calls of one model: how many of all that miss the cache, how long on average, at what price."""

    target: str
    share: float
    prompt: float
    """Tokens."""
    answer: float
    price: Price
    read: float = 0.0
    """Share of a prompt that the provider reads from its own cache."""

    @property
    def prompt_usd(self) -> float:
        """Expected cost of a call's prompt."""
        cheaper = self.price.input if self.price.cache_read is None else self.price.cache_read
        return self.prompt * (self.price.input * (1 - self.read) + cheaper * self.read) / 1e6

    @property
    def answer_usd(self) -> float:
        """Expected cost of a call's answer."""
        return self.answer * self.price.output / 1e6

    @property
    def call_usd(self) -> float:
        """Expected cost of a call."""
        return self.prompt_usd + self.answer_usd


_MODELS: Final = (
    ModelTraffic("openai/large", 0.25, 1_400, 420, Price(input=2.5, output=10.0, cache_read=1.25), read=0.3),
    ModelTraffic("openai/small", 0.60, 1_000, 300, Price(input=0.4, output=1.6)),
    ModelTraffic("other/medium", 0.15, 1_800, 500, Price(input=1.0, output=5.0)),
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a program asks in a day."""

    calls: float = 200.0
    """On a working day, those that the cache answers included."""
    hit_rate: float = 0.6
    models: Sequence[ModelTraffic] = field(default=_MODELS)
    failing: float = 0.01
    """Share of calls that get no answer."""

    @property
    def answered_usd(self) -> float:
        """Expected cost of a call that is answered, by a model or by the cache."""
        return (1 - self.hit_rate) * sum(model.share * model.call_usd for model in self.models)


def planted(cause: str, traffic: Traffic = Traffic(), times: float = 2.0) -> Traffic:
    """The same traffic with one thing changed, so that its expected cost is so many times what it was.

    Args:
        cause: One of `PLANTABLE`.
        traffic: Before the change.
        times: How many times the cost; above 1.

    Raises:
        ValueError: That cause alone cannot do it: there are too few hits, or no model is so dear.
    """
    models = traffic.models
    cost = sum(model.share * model.call_usd for model in models)
    dearest = max(models, key=lambda model: model.call_usd)
    if cause == VOLUME:
        return replace(traffic, calls=traffic.calls * times)
    if cause == HIT_RATE and (hit_rate := 1 - times * (1 - traffic.hit_rate)) >= 0:
        return replace(traffic, hit_rate=hit_rate)
    if cause == MIX and (moved := (times - 1) * cost / (dearest.call_usd - cost)) <= 1:
        return replace(
            traffic,
            models=[replace(each, share=(1 - moved) * each.share + moved * (each is dearest)) for each in models],
        )
    if cause == PROMPTS:
        longer = 1 + (times - 1) * cost / sum(model.share * model.prompt_usd for model in models)
        return replace(traffic, models=[replace(each, prompt=each.prompt * longer) for each in models])
    if cause == ANSWERS:
        longer = 1 + (times - 1) * cost / sum(model.share * model.answer_usd for model in models)
        return replace(traffic, models=[replace(each, answer=each.answer * longer) for each in models])
    if cause == PRICE:
        dearer = 1 + (times - 1) * cost / (dearest.share * dearest.call_usd)
        return replace(traffic, models=[_dearer(each, dearer) if each is dearest else each for each in models])
    raise ValueError(f"{cause!r} alone cannot make this traffic cost {times:g} times as much")


def _dearer(model: ModelTraffic, times: float) -> ModelTraffic:
    price = model.price
    read = None if price.cache_read is None else price.cache_read * times
    return replace(model, price=replace(price, input=price.input * times, output=price.output * times, cache_read=read))


def settled_calls(traffic: Traffic, start: datetime, days: int, rng: random.Random) -> Iterator[CallSettled]:
    """The events of so many days, in order of time.

    Args:
        traffic: What is asked.
        start: Midnight, aware.
        days: How many.
        rng: What lengths, times and names are drawn from.
    """
    number = 0
    for offset in range(days):
        day = start + timedelta(days=offset)
        calls = traffic.calls * (_WEEKEND if day.weekday() >= 5 else 1.0) * rng.uniform(0.92, 1.08)
        for at in sorted(rng.random() for _ in range(round(calls))):
            number += 1
            yield _call(traffic, day.timestamp() + at * 86_399, f"{day:%Y%m%d}-{number}", rng)


def _call(traffic: Traffic, at: float, name: str, rng: random.Random) -> CallSettled:
    model = rng.choices(traffic.models, [each.share for each in traffic.models])[0]
    read_share = model.read * rng.uniform(0.4, 1.6)
    prompt, answer = _length(model.prompt, rng), _length(model.answer, rng)
    usage = Usage(prompt, answer, cache_read_tokens=int(prompt * read_share))
    cost = cost_usd(model.price, usage)
    chance = rng.random()
    final, level, target, cached, error = "complete", Level.FULL, model.target, None, None
    if chance < traffic.failing:
        final, level, usage, cost, error = "failed", Level.ERROR, Usage(), None, "every target failed"
    elif rng.random() < traffic.hit_rate:
        level, cached, usage, cost = Level.CACHED, CacheHit("exact", 60.0, "e", cost), Usage(), 0.0
    feature = rng.choices([*_FEATURES], [*_FEATURES.values()])[0]
    user = f"user-{min(int(rng.paretovariate(1.1)), _USERS)}"
    return CallSettled(
        request_id=name, route="chat", identity=Identity(user=user, feature=feature), final=final, level=level,
        target=target, attempts=() if cached else _ONE, reasons=(), usage=usage, cost_usd=cost, latency=1.0,
        first_token=None if error else 0.4, error=error, at=at, tags={"team": rng.choice(_TEAMS)}, cached=cached,
        at_unix=at,
    )  # fmt: skip


_ONE: Final[tuple[AttemptRecord, ...]] = (AttemptRecord("openai/large", 0, 0.0, 0.0, 1.0, "success"),)


def _length(mean: float, rng: random.Random) -> int:
    """Log-normal with this mean."""
    return max(1, round(rng.lognormvariate(log(mean) - _SPREAD**2 / 2, _SPREAD)))


def simulated_log(
    path: str | os.PathLike[str], cause: str, start: datetime, *, days: int = 30, traffic: Traffic = Traffic(),
    times: float = 2.0, seed: int = 1,
) -> int:  # fmt: skip
    """Write a log of a period as it was and one as long after `cause` was planted; returns how many calls it has.

    Args:
        path: A new file.
        cause: As for `planted`.
        start: Midnight of the first day, aware.
        days: Of each of the two periods.
        traffic: Of the first.
        times: How many times the second's cost is the first's.
        seed: Of lengths, times and names.
    """
    rng = random.Random(seed)
    before = settled_calls(traffic, start, days, rng)
    after = settled_calls(planted(cause, traffic, times), start + timedelta(days=days), days, rng)
    return write_log(path, before) + write_log(path, after)


def write_log(path: str | os.PathLike[str], calls: Iterable[CallSettled]) -> int:
    """Add calls to a request log, which is made if it is not there; returns how many. Not for a file in use."""
    from resilio.store.files import opened
    from resilio.store.requests import COLUMNS, REQUESTS, row_of

    insert = f"INSERT INTO request ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
    connection = opened(Path(path), REQUESTS, check=False)
    written, rest = 0, iter(calls)
    try:
        while rows := [row_of(call) for call in islice(rest, _BATCH)]:
            connection.execute("BEGIN")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
            written += len(rows)
    finally:
        connection.close()
    return written
