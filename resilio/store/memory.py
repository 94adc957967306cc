"""The ledger of a program that keeps none: the same protocol, forgotten when the process ends.

Claims are granted as a durable ledger grants them, to the one process there is. Entries are added up and not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from resilio.errors import LedgerUnavailable
from resilio.store.base import Account, Claimed, Entry
from resilio.store.checks import check_claim, check_entries, check_units

__all__ = ["MemoryLedger"]

SPARE_WINDOWS: Final = 8
"""Windows kept of an entity besides those that count: a clock that was put back finds what was spent in them."""


class _Balance:
    __slots__ = ("claimed", "spent")

    def __init__(self) -> None:
        self.spent = self.claimed = 0


class MemoryLedger:
    """See the module. A `resilio.store.Ledger`."""

    def __init__(self) -> None:
        self._entities: dict[tuple[str, str], dict[str, _Balance]] = {}
        self._closed = False

    async def claim(self, account: Account, wanted: int, *, least: int, limit: int, counted: Sequence[str]) -> Claimed:
        """See `Ledger.claim`."""
        check_claim(account, wanted, least, limit, counted)
        self._check_open()
        windows = self._windows(account)
        its = [windows[window] for window in set(counted) if window in windows]
        left = limit - sum(each.spent + each.claimed for each in its)
        granted = min(wanted, left) if left >= least else 0
        self._balance(account).claimed += granted
        self._forget(windows, counted)
        return Claimed(granted, max(0, left - granted))

    async def give_back(self, account: Account, amount: int) -> None:
        """See `Ledger.give_back`."""
        check_units(amount, "amount")
        self._check_open()
        balance = self._balance(account)
        if amount > balance.claimed:
            raise ValueError(f"{amount} units of {account} were to be given back, and {balance.claimed} are claimed")
        balance.claimed -= amount

    async def settle(self, entries: Sequence[Entry]) -> None:
        """See `Ledger.settle`."""
        lines = check_entries(entries)
        self._check_open()
        totals: dict[Account, int] = {}
        for line in lines:
            totals[line.account] = totals.get(line.account, 0) + line.amount
        for account, amount in totals.items():
            balance = self._balance(account)
            balance.spent += amount
            balance.claimed = max(0, balance.claimed - amount)

    def hold(self, account: Account, units: int) -> None:
        """Nothing outlives this process, so nobody will ask."""

    async def spent(self, budget: str, windows: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
        """See `Ledger.spent`."""
        self._check_open()
        found = {}
        for entity, counted in windows.items():
            its = self._entities.get((budget, entity), {})
            found[entity] = sum(its[window].spent for window in set(counted) if window in its)
        return found

    async def aclose(self) -> None:
        """See `Ledger.aclose`: everything is forgotten."""
        self._closed = True
        self._entities.clear()

    def __repr__(self) -> str:
        return f"<MemoryLedger: {len(self._entities)} entities>"

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerUnavailable("memory", "it is closed")

    def _windows(self, account: Account) -> dict[str, _Balance]:
        return self._entities.setdefault((account.budget, account.entity), {})

    def _balance(self, account: Account) -> _Balance:
        windows = self._windows(account)
        balance = windows.get(account.window)
        if balance is None:
            balance = windows[account.window] = _Balance()
        return balance

    def _forget(self, windows: dict[str, _Balance], counted: Sequence[str]) -> None:
        """Drop the oldest windows that are over, or they would pile up for as long as the program runs."""
        excess = len(windows) - len(counted) - SPARE_WINDOWS
        if excess > 0:
            over = [name for name, its in windows.items() if name not in counted and its.claimed <= 0]
            for name in over[:excess]:
                del windows[name]
