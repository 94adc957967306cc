"""Ledgers for tests: one that several engines share and that outlives them, and one that fails when told to."""

import asyncio
from collections import Counter, defaultdict

from resilio.errors import LedgerUnavailable
from resilio.store.base import Claimed, Entry


class Book:
    """What is on the disk: entries, claims and what each engine holds. Engines are `SharedLedger`s over it."""

    def __init__(self):
        self.entries = []
        self.claims = defaultdict(Counter)
        self.held = defaultdict(dict)
        self.most = Counter()
        """The most that was ever spent and claimed of a budget and entity, in what counted together."""

    def spent(self, account):
        return sum(entry.amount for entry in self.entries if entry.account == account)

    def balances(self):
        totals = Counter()
        for entry in self.entries:
            totals[entry.account] += entry.amount
        return totals

    def adopt(self, owner):
        """An engine died: what it had in use is charged, the rest of its claims is free."""
        for account, units in self.held.pop(owner, {}).items():
            if units:
                self.entries.append(Entry(account, "presumed", units, "crash", 0.0))
        self.claims.pop(owner, None)


class SharedLedger:
    """One engine's view of a `Book`.

    `delay`: each call takes so long, `turns`: so many turns of the loop. `broken`: calls raise. `crash()`: the process
    is gone, whatever its tasks still do.
    """

    def __init__(self, book, delay=0.0, turns=0):
        self.book = book
        self.delay, self.turns = delay, turns
        self.broken = self.dead = False
        self.calls = Counter()

    async def _turn(self, name):
        self.calls[name] += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.broken or self.dead:
            raise LedgerUnavailable("test", "the disk is full", "make room")

    async def claim(self, account, wanted, *, least, limit, counted):
        assert 1 <= least <= wanted
        assert account.window in counted
        await self._turn("claim")
        book = self.book
        windows = [account._replace(window=name) for name in counted]
        taken = sum(map(book.spent, windows)) + sum(its[each] for its in book.claims.values() for each in windows)
        left = limit - taken
        granted = min(wanted, left) if left >= least else 0
        if granted:
            self.book.most[account[:2]] = max(self.book.most[account[:2]], taken + granted)
        book.claims[self][account] += granted
        return Claimed(granted, max(0, left - granted))

    async def give_back(self, account, amount):
        assert 0 < amount <= self.book.claims[self][account]
        await self._turn("give_back")
        self.book.claims[self][account] -= amount

    async def settle(self, entries):
        await self._turn("settle")
        for entry in entries:
            self.book.entries.append(entry)
            claims = self.book.claims[self]
            claims[entry.account] = max(0, claims[entry.account] - entry.amount)
            # As `Ledger.settle` asks: written and held move together, so that a crash between counts nothing twice.
            self.book.held[self][entry.account] = max(0, self.book.held[self].get(entry.account, 0) - entry.amount)

    def crash(self):
        self.dead = True
        self.book.adopt(self)

    def hold(self, account, units):
        if self.dead:
            return
        self.book.held[self][account] = units

    async def spent(self, budget, windows):
        await self._turn("spent")
        return {
            entity: sum(
                entry.amount
                for entry in self.book.entries
                if entry.account[:2] == (budget, entity) and entry.account.window in counted
            )
            for entity, counted in windows.items()
        }

    async def aclose(self):
        self.calls["aclose"] += 1
        self.book.adopt(self)
