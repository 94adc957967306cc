"""Rate limits of one key and model group: token buckets that may run into debt.

A request is admitted when every dimension (requests, tokens, input or output tokens) has room for
what it is expected to take, and takes it from all of them or from none. When it is over, the
reservation is corrected to what it really used. What response headers tell lowers the estimate.

Not here: the queue of those who wait, the number in flight, the choice of the key. Pure: no clock,
no await. Callers pass `now`, in monotonic seconds; one actor owns each limiter, so nothing locks.
The rule that keeps it simple: only time, credits and refunds raise a level, and none above the burst.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from resilio.models import Demand, LimitReading, Usage

__all__ = ["DIMENSIONS", "DimensionStatistics", "RateLimiter", "RateLimiterStatistics", "TokenBucket"]

DIMENSIONS: Final = ("requests", "tokens", "input_tokens", "output_tokens")

_SLACK: Final = 1e-6
"""Seconds added to every wait, so that rounding cannot make the caller come back a hair too early
and spin: it outweighs the rounding of instants (1e-10 s at an uptime of ten days) and of levels."""

_NOTICEABLE: Final = 0.01
"""Headers are rounded (Anthropic's remaining tokens to thousands, its resets to seconds) and lag behind
what is in flight: a change below this share of the limit is followed, and not reported."""

_MINUTE_WINDOW: Final = 61.0
"""Seconds; a reset within this can belong to a window of one minute (one second for rounding)."""

_LARGEST_LIMIT: Final = 1e15
"""Units; beyond any real limit, and floats still count single tokens up to here."""

_LONGEST_RESET: Final = 31 * 86_400.0
"""Seconds; the longest quota window known is a month. A reset further away is taken for this."""


class TokenBucket:
    """One dimension: `burst` units at most, refilled by `rate_per_s` units a second, full at the start.

    Admits no more than ``burst + rate_per_s * t`` units in any `t` seconds, credits and refunds
    subtracted. The level may go below 0 by `settle` (debt), never by `reserve`.
    """

    __slots__ = ("_at", "_level", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        if not (0 < rate_per_s < math.inf and 0 < burst < math.inf):
            raise ValueError(f"rate and burst must be positive numbers, not {rate_per_s!r} and {burst!r}")
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._level = burst
        self._at = now

    def __repr__(self) -> str:
        level = f"{self._level:.6g} of {self.burst:.6g}"
        return f"<TokenBucket {level} at {self._at:.3f} s, {self.rate_per_s:.6g}/s>"

    def level(self, now: float) -> float:
        """Units in hand; negative is debt. An earlier `now` than the last changes nothing."""
        elapsed = now - self._at
        if elapsed > 0:
            self._at = now
            level = self._level + elapsed * self.rate_per_s
            self._level = min(self.burst, level)
        return self._level

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` is there: 0.0 now, ``math.inf`` never (it is more than the burst).

        While in debt even an amount of 0 waits until the debt is paid.
        """
        missing = amount - self.level(now)
        if missing <= 0:
            return 0.0
        if amount > self.burst:
            return math.inf
        return missing / self.rate_per_s + _SLACK

    def reserve(self, now: float, amount: float) -> float:
        """Take `amount` if it is there; the answer is that of `wait`, and only 0.0 means taken."""
        seconds = self.wait(now, amount)
        if seconds == 0.0:
            self.take(amount)
        return seconds

    def take(self, amount: float) -> None:
        """Take `amount`, for which `wait` has just answered 0.0 at the same `now`."""
        self._level -= amount

    def settle(self, now: float, credit: float) -> None:
        """Give `credit` back (more than was used had been reserved) or, if negative, take it as debt."""
        level = self.level(now) + credit
        self._level = min(self.burst, level)

    def lower(self, now: float, level: float) -> None:
        """Bring the level down to at most `level`."""
        self._level = min(self.level(now), level)

    def resize(self, now: float, rate_per_s: float, burst: float) -> None:
        """Change both from now on; what is in hand stays, capped by the new burst."""
        level = self.level(now)
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._level = min(level, burst)


@dataclass(frozen=True, slots=True)
class DimensionStatistics:
    """One dimension as it stands."""

    level: float
    """Units in hand; negative is debt."""
    limit: float
    """The most that can be in hand (the burst), in units."""
    rate: float
    """Units a second."""
    learned: bool
    """It was not configured, or response headers hold it below the configuration."""


@dataclass(frozen=True, slots=True)
class RateLimiterStatistics:
    """A whole limiter as it stands."""

    dimensions: Mapping[str, DimensionStatistics]
    resting: float
    """Seconds for which nothing at all is admitted."""


class _Dimension:
    """A bucket, what it counts, and what is configured and told of its limit."""

    __slots__ = ("bucket", "configured", "kind", "told_rate")

    def __init__(self, kind: int, bucket: TokenBucket, configured: tuple[float, float] | None) -> None:
        self.kind = kind
        """Index into `DIMENSIONS`."""
        self.bucket = bucket
        self.configured = configured
        """Rate (1/s) and burst of the configuration; None: known from response headers alone."""
        self.told_rate: float | None = None
        """Last rate derived from headers, in units a second."""


def _amounts(demand: Demand) -> tuple[int, int, int, int]:
    """What one request takes, in the order of `DIMENSIONS`."""
    taken, written = demand.input_tokens, demand.output_tokens
    return 1, taken + written, taken, written


class RateLimiter:
    """All rate limits of one key and model group.

    Args:
        limits: Dimension (one of `DIMENSIONS`) to units a minute. Others may be learned later.
        now: Monotonic seconds.
        burst_seconds: How much of the limit may be taken at once, as seconds of its rate. The default
            is one minute's worth, what providers count over as a rule; some enforce shorter
            windows (Azure: 1 to 10 s).

    Raises:
        ValueError: An unknown dimension, or a limit that is not a positive number.
    """

    __slots__ = ("_burst_seconds", "_dimensions", "_names", "_rest_until")

    def __init__(self, limits: Mapping[str, float], now: float, burst_seconds: float = 60.0) -> None:
        self._dimensions: tuple[_Dimension, ...] = ()
        self._names: dict[str, _Dimension] = {}
        self._rest_until = -math.inf
        self._burst_seconds = burst_seconds
        for name, limit in limits.items():
            if name not in DIMENSIONS:
                raise ValueError(f"unknown dimension {name!r}; known are {', '.join(DIMENSIONS)}")
            rate, burst = self._shape(name, limit)
            self._add(name, _Dimension(DIMENSIONS.index(name), TokenBucket(rate, burst, now), (rate, burst)))

    def _shape(self, name: str, limit: float) -> tuple[float, float]:
        """Rate (1/s) and burst of a limit in units a minute."""
        burst = limit / 60 * self._burst_seconds
        return limit / 60, max(1.0, burst) if name == "requests" else burst  # a part of a request helps nobody

    def reconfigure(self, limits: Mapping[str, float], now: float) -> None:
        """Go by other configured limits from now on; what is in hand or owed stays, and so does a rest.

        A limit that changed forgets what headers had lowered it to: the next header says so again. One that is
        configured no longer is forgotten, until a header teaches it; what was learned and never configured stays.

        Args:
            limits: As for the constructor, which must have accepted them.
            now: Monotonic seconds.
        """
        kept: dict[str, _Dimension] = {}
        for name, dimension in self._names.items():
            if name in limits:
                shape = self._shape(name, limits[name])
                if dimension.configured != shape:
                    dimension.configured = shape
                    dimension.bucket.resize(now, *shape)
                kept[name] = dimension
            elif dimension.configured is None:
                kept[name] = dimension
        for name in limits:
            if name not in kept:
                shape = self._shape(name, limits[name])
                kept[name] = _Dimension(DIMENSIONS.index(name), TokenBucket(*shape, now), shape)
        self._names = kept
        self._dimensions = tuple(kept.values())

    def __repr__(self) -> str:
        each = ", ".join(f"{name}: {dimension.bucket!r}" for name, dimension in self._names.items())
        return f"<RateLimiter {each or 'without limits'}>"

    def _add(self, name: str, dimension: _Dimension) -> None:
        self._names[name] = dimension
        self._dimensions = (*self._dimensions, dimension)

    def reserve(self, now: float, demand: Demand) -> float:
        """Take a request and its tokens from all dimensions, or nothing from any.

        Returns:
            0.0 if taken; else the seconds until it could be, if nobody else takes it before;
            ``math.inf`` if it is more than the burst of some dimension, so that waiting is useless.
        """
        dimensions = self._dimensions
        if not dimensions:  # the common case: no limit known, nothing to compute
            rest = self._rest_until - now
            return rest + _SLACK if rest > 0 else 0.0
        if now < self._rest_until:
            return self.wait(now, demand)
        amounts = _amounts(demand)
        for dimension in dimensions:
            if dimension.bucket.level(now) < amounts[dimension.kind]:
                return self.wait(now, demand)
        for dimension in dimensions:
            dimension.bucket.take(amounts[dimension.kind])
        return 0.0

    def room(self, now: float, demand: Demand) -> float:
        """The share of the limits that would be left with this request taken, in the dimension with the least.

        Returns:
            0.0 to 1.0 (no limit is known); below 0 where `reserve` would refuse.
        """
        if now < self._rest_until:
            return -1.0
        least = 1.0
        if dimensions := self._dimensions:
            amounts = _amounts(demand)
            for dimension in dimensions:
                bucket = dimension.bucket
                left = (bucket.level(now) - amounts[dimension.kind]) / bucket.burst
                if left < least:
                    least = left
        return least

    def take(self, demand: Demand) -> None:
        """Take a request and its tokens, for which `room` has just answered at least 0."""
        amounts = _amounts(demand)
        for dimension in self._dimensions:
            dimension.bucket.take(amounts[dimension.kind])

    def wait(self, now: float, demand: Demand) -> float:
        """The answer of `reserve`, without taking anything."""
        rest = self._rest_until - now
        longest = rest + _SLACK if rest > 0 else 0.0
        amounts = _amounts(demand)
        for dimension in self._dimensions:
            seconds = dimension.bucket.wait(now, amounts[dimension.kind])
            if seconds > longest:
                longest = seconds
        return longest

    def wait_behind(self, now: float, ahead: Iterable[Demand], demand: Demand) -> float:
        """The least time until `demand` can be reserved once all those `ahead` have been.

        What must flow in by then is what all of them take together, less what is in hand. It can only be
        sooner than this if a reservation is given back, or somebody ahead leaves.

        Returns:
            Seconds; never less than `wait` says of `demand` alone.
        """
        seconds = self.wait(now, demand)
        if seconds == math.inf or not self._dimensions:
            return seconds
        total = list(_amounts(demand))
        for each in ahead:
            for kind, amount in enumerate(_amounts(each)):
                total[kind] += amount
        for dimension in self._dimensions:
            bucket = dimension.bucket
            seconds = max(seconds, (total[dimension.kind] - bucket.level(now)) / bucket.rate_per_s)
        return seconds

    def settle(self, now: float, reserved: Demand, used: Demand | Usage) -> None:
        """Correct a reservation to what was used. The request itself stays spent."""
        taken = reserved.input_tokens - used.input_tokens
        written = reserved.output_tokens - used.output_tokens
        if not taken and not written:
            return
        surplus = (0, taken + written, taken, written)
        for dimension in self._dimensions:
            if credit := surplus[dimension.kind]:
                dimension.bucket.settle(now, credit)

    def refund(self, now: float, reserved: Demand) -> None:
        """Give everything back, the request too: right only if it provably was never sent."""
        amounts = _amounts(reserved)
        for dimension in self._dimensions:
            dimension.bucket.settle(now, amounts[dimension.kind])

    def rest(self, until: float) -> None:
        """Admit nothing before the instant `until` (a 429's hint). Of several the latest holds."""
        if until > self._rest_until:
            self._rest_until = until

    def wake(self) -> None:
        """End a rest at once."""
        self._rest_until = -math.inf

    def learn(self, now: float, reading: LimitReading) -> bool:
        """Follow what a response header said; it can lower a level and never raises one.

        A configured dimension takes the smaller of configuration and header; when the header's limit rises
        again it follows, up to the configuration. A dimension that is not configured is learned:
        burst = limit, level = remaining, rate = (limit - remaining) / reset_after, which is what
        "full again after" means, whatever window the provider counts over. Without a reset the last
        rate so derived is kept, and without any the limit is taken for one of a minute. A limit that is
        full again within a minute is never taken for slower than that, nor one of which far more is left than
        is believed: a reset in another unit would starve it for good.

        Readings that make no sense (negative, NaN, a limit below 1, more remaining than the limit) are
        ignored whole: Azure is known to send -1 and 0.

        Returns:
            Whether limit, rate or level is now lower than believed, by more than the headers' rounding.
        """
        name = reading.dimension
        if name not in DIMENSIONS or not _sensible(reading):
            return False
        dimension = self._names.get(name)
        if dimension is not None:
            return _follow(dimension, now, reading)
        limit, remaining = reading.limit, reading.remaining
        if limit is None:  # what remains of an unknown whole: no bucket can be made of it
            return False
        rate = _derived_rate(limit, reading)
        dimension = _Dimension(DIMENSIONS.index(name), TokenBucket(rate or limit / 60, limit, now), None)
        dimension.told_rate = rate
        if remaining is not None:
            dimension.bucket.lower(now, remaining)
        self._add(name, dimension)
        return True

    def statistics(self, now: float) -> RateLimiterStatistics:
        """All dimensions as they stand at `now`."""
        return RateLimiterStatistics(
            dimensions={name: _statistics(dimension, now) for name, dimension in self._names.items()},
            resting=max(0.0, self._rest_until - now),
        )


def _statistics(dimension: _Dimension, now: float) -> DimensionStatistics:
    bucket = dimension.bucket
    return DimensionStatistics(
        level=bucket.level(now),
        limit=bucket.burst,
        rate=bucket.rate_per_s,
        learned=dimension.configured != (bucket.rate_per_s, bucket.burst),
    )


def _sensible(reading: LimitReading) -> bool:
    limit, remaining, reset = reading.limit, reading.remaining, reading.reset_after
    for value in (limit, remaining, reset):
        if value is not None and not 0 <= value < math.inf:  # NaN fails every comparison
            return False
    if limit is None:
        return remaining is not None
    return 1 <= limit <= _LARGEST_LIMIT and (remaining is None or remaining <= limit)


def _derived_rate(limit: float, reading: LimitReading) -> float | None:
    """Units a second, or None when the reading does not tell (nothing used yet, no reset)."""
    remaining, reset = reading.remaining, reading.reset_after
    if remaining is None or not reset or limit - remaining < 1:
        return None
    rate = (limit - remaining) / min(max(reset, _SLACK), _LONGEST_RESET)
    # Where the provider counts in fixed windows, "1 of 500 used, 60 s left" would read as one a
    # minute, and a drained bucket that sends one request a minute would read just that for ever.
    # With a bucket that refills steadily this matters only within a minute's worth of being full.
    return max(rate, limit / 60) if reset <= _MINUTE_WINDOW else rate


def _follow(dimension: _Dimension, now: float, reading: LimitReading) -> bool:
    """Apply a sensible reading to a dimension that exists."""
    bucket = dimension.bucket
    level, old_rate, old_burst = bucket.level(now), bucket.rate_per_s, bucket.burst
    limit = reading.limit
    if limit is None and reading.remaining is not None and reading.remaining <= old_burst:
        derived = _derived_rate(old_burst, reading)
    else:
        derived = None if limit is None else _derived_rate(limit, reading)
    if derived is not None:
        dimension.told_rate = derived
    rate, burst = old_rate, old_burst
    told = dimension.told_rate or 0.0
    if not told or (reading.remaining or 0.0) - level > (limit or old_burst) / 2:
        # No rate is known; or what was told is too slow, as by the provider's own word most is left of what is taken
        # here for used up. Its resets were in another unit, or by a clock that is off.
        told = max(told, (limit or old_burst) / 60)
    if dimension.configured is None:
        if limit is not None:
            burst = limit
        rate = told
    elif limit is not None:
        full_rate, full_burst = dimension.configured
        burst = min(limit, full_burst)
        # A told limit at or above the configured one says nothing against the configured rate: it
        # may be of another window (Groq's request headers count days), so its rate is not compared.
        below = limit < full_rate * 60
        rate = min(full_rate, told) if below else full_rate
    bucket.resize(now, rate, burst)
    if reading.remaining is not None:
        bucket.lower(now, reading.remaining)
    return (
        burst < old_burst * (1 - _NOTICEABLE)
        or rate < old_rate * (1 - _NOTICEABLE)
        or bucket.level(now) < level - _NOTICEABLE * old_burst
    )
