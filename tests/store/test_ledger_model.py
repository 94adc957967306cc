"""Ledgers against a naive model: several processes on one file that claim, spend, die and come back in any order."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledgers import Later, die, opened, run_with

from resilio.store import Account, Entry, Ledger, MemoryLedger
from resilio.store.audit import audit, entries
from resilio.testing import VirtualTimeLoop

ACCOUNTS = [Account("b", entity, window) for entity in ("alice", "bob") for window in ("monday", "tuesday")]
LIMIT = 100
UNITS = st.integers(1, 60)
ANY = st.sampled_from(ACCOUNTS)


@dataclass(repr=False)
class Process:
    ledger: Ledger
    later: Later
    claimed: Counter = field(default_factory=Counter)
    held: Counter = field(default_factory=Counter)
    queued: list = field(default_factory=list)
    """(task, account, amount) of settlements the thread has not come to."""
    asked: list = field(default_factory=list)
    """Accounts it has claimed of, or tried to: what is held is held of these."""


class Model:
    """What the books should say."""

    def __init__(self):
        self.spent = Counter()
        self.dead = []
        """Of each dead process that nobody has taken over: claims, and what is to be presumed."""

    def adopt(self):
        for _, presumed in self.dead:
            self.spent += presumed
        self.dead = []

    def left(self, account, counted, living):
        windows = [account._replace(window=window) for window in counted]
        claims = [process.claimed for process in living] + [claimed for claimed, _ in self.dead]
        return LIMIT - sum(self.spent[each] + sum(claimed[each] for claimed in claims) for each in windows)


class DurableLedgers(RuleBasedStateMachine):
    most = 3

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.path = self.folder / "ledger.db"
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.model = Model()
        self.living = []
        self.numbers = 0

    # --- helpers -----------------------------------------------------------------------------

    def one(self, data):
        return data.draw(st.sampled_from(self.living))

    def one_that_asked(self, data):
        process = data.draw(st.sampled_from([each for each in self.living if each.asked]))
        return process, data.draw(st.sampled_from(process.asked))

    def do(self, process, call):
        """A call to its end; what its process had queued is written before it."""

        async def go():
            result = await run_with(process.later, call)
            for task, *_ in process.queued:
                await task
            return result

        result = self.runner.run(go())
        self.written(process)
        return result

    def written(self, process):
        for _, account, amount in process.queued:
            self.model.spent[account] += amount
            process.claimed[account] = max(0, process.claimed[account] - amount)
        process.queued = []

    async def open(self):
        later = Later()
        return Process(await run_with(later, opened(self.path, executor=later)), later)

    # --- what happens ------------------------------------------------------------------------

    @initialize()
    def begin(self):
        self.living.append(self.runner.run(self.open()))

    @precondition(lambda self: len(self.living) < self.most)
    @rule()
    def another_process_opens_it(self):
        self.living.append(self.runner.run(self.open()))
        self.model.adopt()

    @precondition(lambda self: self.living)
    @rule(data=st.data(), account=ANY, wanted=UNITS, share=st.integers(1, 4), both=st.booleans())
    def claim(self, data, account, wanted, share, both):
        process = self.one(data)
        least = max(1, wanted // share)
        counted = ("monday", "tuesday") if both else (account.window,)
        claim = process.ledger.claim(account, wanted, least=least, limit=LIMIT, counted=counted)
        got = self.do(process, claim)
        left = self.model.left(account, counted, self.living)
        if left < least:
            self.model.adopt()
            left = self.model.left(account, counted, self.living)
        granted = min(wanted, left) if left >= least else 0
        assert got == (granted, max(0, left - granted))
        process.claimed[account] += granted
        process.asked.append(account)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), account=ANY, share=st.integers(1, 3))
    def give_back(self, data, account, share):
        process = self.one(data)
        for task, its, _ in process.queued:  # it will be smaller once they are written
            if its == account:
                self.do(process, self.wait(task))
        amount = max(0, process.claimed[account] - process.held[account]) // share
        self.do(process, process.ledger.give_back(account, amount))
        process.claimed[account] -= amount

    @staticmethod
    async def wait(task):
        await asyncio.wait([task])

    @precondition(lambda self: any(process.asked for process in self.living))
    @rule(data=st.data(), units=UNITS)
    def reserve(self, data, units):
        process, account = self.one_that_asked(data)
        process.held[account] += units
        process.ledger.hold(account, process.held[account])

    @precondition(lambda self: self.living)
    @rule(data=st.data(), account=ANY)
    def release(self, data, account):
        process = self.one(data)
        queued = sum(amount for _, its, amount in process.queued if its == account)
        process.held[account] = queued
        process.ledger.hold(account, queued)

    @precondition(lambda self: any(process.asked for process in self.living))
    @rule(data=st.data(), amount=st.integers(0, 60))
    def spend(self, data, amount):
        """It is queued, and written when the thread comes to it."""
        process, account = self.one_that_asked(data)
        process.held[account] += amount
        process.ledger.hold(account, process.held[account])
        self.numbers += 1
        entry = Entry(account, "settled", amount, f"r{self.numbers}", 1.0)

        async def settle():
            await process.ledger.settle([entry])
            process.held[account] -= amount
            process.ledger.hold(account, process.held[account])

        async def start():
            task = asyncio.ensure_future(settle())
            await asyncio.sleep(0)
            return task

        process.queued.append((self.runner.run(start()), account, amount))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def write(self, data):
        process = self.one(data)
        self.do(process, self.nothing(process))

    @staticmethod
    async def nothing(process):
        await asyncio.sleep(0)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def close(self, data):
        process = self.one(data)
        self.do(process, process.ledger.aclose())
        self.living.remove(process)
        self.model.spent += +process.held

    def finish(self):
        for process in self.living:
            self.do(process, process.ledger.aclose())
            self.model.spent += +process.held
        self.living = []

    def teardown(self):
        try:
            self.finish()
            self.check()
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    def check(self):
        async def look():
            process = await self.open()
            self.model.adopt()
            await run_with(process.later, process.ledger.aclose())

        self.runner.run(look())
        self.books_agree()
        found = audit(self.path)
        assert found.clean
        assert found.processes == 0
        settled = Counter(entry.request_id for entry in entries(self.path) if entry.kind == "settled")
        assert max(settled.values(), default=1) == 1

    # --- what only durable ones have ---------------------------------------------------------

    @precondition(lambda self: self.living)
    @rule(data=st.data(), thread_was_quicker=st.booleans())
    def die(self, data, thread_was_quicker):
        """`kill -9`, perhaps between a commit and those who wait for it."""
        process = self.one(data)
        presumed = Counter(process.held)
        if thread_was_quicker:
            process.later.step()
            for _, account, amount in process.queued:
                presumed[account] -= amount
            queued = process.queued
            self.written(process)
        else:
            queued, process.queued = process.queued, []
        die(process.ledger, process.later)
        for task, *_ in queued:
            task.cancel()
        self.living.remove(process)
        self.model.dead.append((process.claimed, +presumed))

    @invariant()
    def books_agree(self):
        if not self.path.exists():
            return
        with sqlite3.connect(self.path) as reader:
            spent = {
                tuple(row[:3]): row[3] for row in reader.execute("SELECT budget, entity, period, spent FROM account")
            }
            claims = {
                tuple(row[:3]): row[3]
                for row in reader.execute(
                    "SELECT budget, entity, period, sum(claimed) FROM claim JOIN account ON id = account GROUP BY id"
                )
            }
        reader.close()
        for account in ACCOUNTS:
            assert spent.get(account, 0) == self.model.spent[account], account
            expected = sum(process.claimed[account] for process in self.living)
            expected += sum(claimed[account] for claimed, _ in self.model.dead)
            assert claims.get(account, 0) == expected, account


class LedgersInMemory(DurableLedgers):
    most = 1
    die = None

    async def open(self):
        self.model.spent.clear()
        return Process(MemoryLedger(), Later())

    def close(self, data):
        """What it knew is gone."""

    def check(self):
        pass

    @invariant()
    def books_agree(self):
        if not self.living:
            return
        [process] = self.living
        if process.queued:
            self.do(process, self.nothing(process))
        for account in ACCOUNTS:
            found = self.runner.run(process.ledger.spent("b", {account.entity: (account.window,)}))
            assert found[account.entity] == self.model.spent[account], account


TestDurableLedgers = DurableLedgers.TestCase
if settings.default.max_examples < 100:  # each opens files: the full number only where time is no matter
    TestDurableLedgers.settings = settings(max_examples=15)
TestLedgersInMemory = LedgersInMemory.TestCase
