"""What one attempt holds of caps and budgets, from before it is admitted until it is over.

What happens to it happens between two awaits. It ends exactly once, by `settle`, `charge` or `release`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from resilio.budget import Block, Holding, Need, SpendCap
from resilio.errors import BudgetExceeded, LedgerUnavailable
from resilio.store.base import Account

if TYPE_CHECKING:
    from resilio.spending.desk import Spending

__all__ = ["Line", "Reservation"]


class Line(NamedTuple):
    """Units reserved in one block."""

    holding: Holding[Account]
    block: Block[Account]
    """The holding's at that time: its window may be over when the call is."""
    units: int


class Reservation:
    """The most an attempt can use, set aside in every budget it touches and every scope it runs in."""

    __slots__ = ("_capped", "_caps", "_lines", "_request_id", "_spending", "over")

    def __init__(
        self, spending: Spending, request_id: str, lines: list[Line], caps: Sequence[SpendCap], capped: int
    ) -> None:
        self._spending = spending
        self._request_id = request_id
        self._lines = lines
        self._caps = caps
        self._capped = capped
        """Units of 1e-12 US dollars reserved of each cap."""
        self.over = False

    def narrow(self, need: Need) -> None:
        """Keep what this target needs; what was set aside for a dearer one goes back."""
        for index, line in enumerate(self._lines):
            units = need.of(line.holding.budget.unit)
            if units is not None and units < line.units:
                line.block.settle(line.units - units, 0)
                self._spending.hold(line.block)
                self._lines[index] = line._replace(units=units)
        if self._caps and need.usd is not None and need.usd < self._capped:
            for cap in self._caps:
                cap.release_units(self._capped - need.usd)
            self._capped = need.usd

    @property
    def stops(self) -> bool:
        """Whether a budget among these ends streams that use more than is reserved."""
        return any(line.holding.budget.stop_streams for line in self._lines)

    async def widen(self, more: Need, until: float) -> BudgetExceeded | None:
        """Reserve more, of the budgets that stop streams.

        Args:
            more: What to add.
            until: Monotonic instant until which the ledger may be waited for; a ledger that does not answer or cannot
                be written stops nobody: calls under way finish.

        Returns:
            Why not: one of them has nothing left.
        """
        for index in range(len(self._lines)):
            holding, block, _ = self._lines[index]
            units = more.of(holding.budget.unit)
            if not holding.budget.stop_streams or units is None:
                continue
            try:
                while block.free < units and block is holding.block and not holding.gone:  # others may be quicker
                    if not await self._spending.claim_for(holding, block, units, until):
                        return self._spending.refusal(holding, units)
            except (LedgerUnavailable, TimeoutError):
                continue
            if not self.over and block.free >= units:
                block.reserve(units)
                self._spending.hold(block)
                self._lines[index] = self._lines[index]._replace(units=self._lines[index].units + units)
        return None

    def settle(self, used: Need) -> None:
        """It used so much, perhaps more than was reserved; what of it is not known is charged as reserved."""
        self._end()
        for holding, block, reserved in self._lines:
            units = used.of(holding.budget.unit)
            self._spending.settle(holding, block, reserved, reserved if units is None else units, self._request_id)
        for cap in self._caps:
            cap.settle_units(self._capped, self._capped if used.usd is None else used.usd)

    def charge(self) -> None:
        """Nobody knows what it used: all of it."""
        self.settle(Need(None, None))

    def release(self) -> None:
        """It certainly used nothing."""
        self.settle(Need(0, 0))

    def _end(self) -> None:
        if self.over:
            raise RuntimeError(f"the reservation of {self._request_id} has ended before: a bug in the caller")
        self.over = True

    def __repr__(self) -> str:
        amounts = ", ".join(f"{line.units} of {line.holding.budget.account}" for line in self._lines)
        return f"<Reservation of {self._request_id}: {amounts or 'caps alone'}>"
