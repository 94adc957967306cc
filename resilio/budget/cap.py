"""A cap on what one scope may spend, in US dollars or tokens.

Reserve the most a call can cost, then settle it to what it did cost or release it. Not here: windows of time, entities
and what survives a restart (see `resilio.budget.holding`). Pure: nothing awaits, so reserving is atomic on one event
loop. The rule that keeps it true: spent + reserved never passes the limit by a reservation; only a call that
used more than it reserved can carry it past, by just that difference, which `overrun` adds up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["SpendCap", "SpendCapStatistics"]

_SCALE: Final = 10**12
"""Amounts are kept as whole 1e-12ths (one token at 0.000001 dollars a million). Sums of floats drift, so a
scope of many small calls would end with a reservation of 1e-17 that nobody holds."""


def _units(amount: float, what: str) -> int:
    if not 0 <= amount < math.inf:  # NaN fails every comparison
        raise ValueError(
            f"{what} must be a finite number of at least 0, not {amount!r}: pass the most the call can cost "
            "(where the price is unknown, cap tokens instead of US dollars)"
        )
    return round(amount * _SCALE)


@dataclass(frozen=True, slots=True)
class SpendCapStatistics:
    """A cap as it stands, all in its own unit."""

    limit: float
    spent: float
    reserved: float
    left: float
    overrun: float


class SpendCap:
    """A cap over one scope: a session, an agent run.

    Args:
        limit: US dollars or tokens; all amounts are in the same unit.

    Raises:
        ValueError: Here and in every method: an amount is negative, NaN or infinite.
    """

    __slots__ = ("_limit", "_overrun", "_reserved", "_spent")

    def __init__(self, limit: float) -> None:
        self._limit = _units(limit, "limit")
        self._spent = self._reserved = self._overrun = 0

    def __repr__(self) -> str:
        return f"<SpendCap {self.spent:.6g} spent and {self.reserved:.6g} reserved of {self.limit:.6g}>"

    @property
    def limit(self) -> float:
        return self._limit / _SCALE

    @property
    def spent(self) -> float:
        return self._spent / _SCALE

    @property
    def reserved(self) -> float:
        """What calls in flight may still spend."""
        return self._reserved / _SCALE

    @property
    def left(self) -> float:
        """The most that can be reserved now; never negative."""
        units = max(0, self._limit - self._spent - self._reserved)
        amount = units / _SCALE
        while round(amount * _SCALE) > units:  # the nearest float may lie above what is left
            amount = math.nextafter(amount, 0.0)
        return amount

    @property
    def overrun(self) -> float:
        """By how much calls together used more than they had reserved."""
        return self._overrun / _SCALE

    def reserve(self, amount: float) -> bool:
        """Set `amount` aside, all of it or nothing; False if it could pass the limit."""
        return self.reserve_units(_units(amount, "amount"))

    def reserve_units(self, units: int) -> bool:
        """As `reserve`, in whole 1e-12ths; `settle_units` and `release_units` likewise. What is counted in units
        stays in units: a float of a large amount is not exact.
        """
        if self._spent + self._reserved + units > self._limit:
            return False
        self._reserved += units
        return True

    def settle(self, reserved: float, used: float) -> None:
        """Turn a reservation into spending, exactly once.

        Args:
            reserved: The amount that was reserved.
            used: What the call did cost, perhaps more.

        Raises:
            ValueError: More than all that is reserved now: settled or released twice.
        """
        self.settle_units(_units(reserved, "reserved"), _units(used, "used"))

    def settle_units(self, reserved: int, used: int) -> None:
        """As `settle`."""
        self.release_units(reserved)
        self._spent += used
        self._overrun += max(0, used - reserved)

    def release(self, reserved: float) -> None:
        """Give a reservation back, exactly once, of a call that certainly cost nothing.

        Raises:
            ValueError: More than all that is reserved now: settled or released twice.
        """
        self.release_units(_units(reserved, "reserved"))

    def statistics(self) -> SpendCapStatistics:
        """The cap as it stands."""
        return SpendCapStatistics(self.limit, self.spent, self.reserved, self.left, self.overrun)

    def release_units(self, units: int) -> None:
        """As `release`."""
        if units > self._reserved:
            raise ValueError(
                f"{units / _SCALE:.6g} was to be given back and only {self.reserved:.6g} is reserved: "
                "settle or release each reservation exactly once"
            )
        self._reserved -= units
