"""How long the simulated provider thinks: distributions of seconds, and mixtures of them.

Values that draw from a generator they are handed; nothing here keeps state.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Annotated

from resilio.config.settings import Setting

__all__ = ["Distribution", "Fixed", "Latency", "LogNormal", "Mixture", "Uniform"]

Seconds = Annotated[float, Setting("how long", "s", minimum=0)]
NotNegative = Annotated[float, Setting("spread", minimum=0)]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    seconds: Seconds = 0.0

    def draw(self, rng: random.Random) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything between two bounds, equally likely."""

    low: Seconds
    high: Seconds

    def draw(self, rng: random.Random) -> float:
        return rng.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """What real first-token times look like: half of them below `median`, and a long tail.

    `sigma` is the standard deviation of the logarithm: 0.5 puts the 95th percentile at 2.3 times the median.
    """

    median: Seconds
    sigma: NotNegative = 0.5

    def draw(self, rng: random.Random) -> float:
        return self.median * math.exp(rng.gauss(0.0, self.sigma))


Distribution = Fixed | Uniform | LogNormal


@dataclass(frozen=True, slots=True)
class Mixture:
    """One of several distributions, chosen by weight: mostly fast, sometimes very slow."""

    parts: tuple[tuple[float, Distribution], ...]

    def draw(self, rng: random.Random) -> float:
        chosen = rng.choices(self.parts, weights=[weight for weight, _ in self.parts])[0][1]
        return chosen.draw(rng)


Latency = Distribution | Mixture
