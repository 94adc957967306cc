"""Units of budgets: whole tokens, or whole 1e-12ths of a US dollar.

Sums of floats drift, so an entity of many small calls would end with money that nobody holds. One token at 0.000001
dollars a million is one such part.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

__all__ = ["MOST", "SCALE", "Need", "Unit", "amount_of", "units_of"]

Unit = Literal["tokens", "usd"]

SCALE: Final = 10**12
"""Units in a US dollar."""


MOST: Final[int] = 2**60
"""Units no amount passes, as ledgers keep whole numbers of 64 bits: over a million US dollars. A provider that
reports more is not believed."""


class Need(NamedTuple):
    """The most one attempt can use, or what it did use. None: it cannot be known."""

    tokens: int | None
    usd: int | None
    """In 1e-12 US dollars."""
    advice: str = ""
    """What to set where something is not known."""

    def of(self, unit: Unit) -> int | None:
        """In one of the units."""
        return self.tokens if unit == "tokens" else self.usd


def units_of(unit: Unit, amount: float) -> int:
    """Tokens or US dollars as whole units, rounded up: what is reserved must not be less than what it stands for."""
    return math.ceil(amount) if unit == "tokens" else math.ceil(round(amount * SCALE, 3))


def amount_of(unit: Unit, units: int) -> float:
    """Whole units as tokens or US dollars."""
    return units if unit == "tokens" else units / SCALE
