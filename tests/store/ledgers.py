"""Ledgers for tests: on virtual time, with the file used where it is asked for."""

import asyncio
from concurrent.futures import Future
from pathlib import Path

from resilio.store import Account, Entry
from resilio.store.sqlite import SqliteLedger
from resilio.testing import InlineExecutor

ALICE = Account("user/day/tokens", "alice", "today")
BOOT = "this-boot"


async def opened(path: Path, **options) -> SqliteLedger:
    """As one process would."""
    given = {"executor": InlineExecutor(), "boot": BOOT, "wall": lambda: 5.0, **options}
    return await SqliteLedger.open(path, **given)


async def claimed(ledger, units, *, least=1, limit=1000, account=ALICE):
    return await ledger.claim(account, units, least=least, limit=limit, counted=(account.window,))


def spending(amount, request_id="r", account=ALICE, at=1.0):
    return Entry(account, "settled", amount, request_id, at)


async def spent_by(ledger, account=ALICE):
    return (await ledger.spent(account.budget, {account.entity: (account.window,)}))[account.entity]


class Later:
    """An executor that works when it is told to, or at once when `at_once` is set."""

    def __init__(self):
        self.work = []
        self.at_once = False

    def submit(self, fn, *args):
        future = Future()
        if self.at_once:
            future.set_result(fn(*args))
        else:
            self.work.append((future, fn, args))
        return future

    def step(self):
        """Do what was submitted."""
        work, self.work = self.work, []
        for future, fn, args in work:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args))
                except BaseException as error:
                    future.set_exception(error)


async def run_with(later, call):
    """One call, from beginning to end."""
    task = asyncio.ensure_future(call)
    while not task.done():
        await asyncio.sleep(0)
        later.step()
    return await task


def die(ledger, later):
    """As `kill -9` would, whatever the thread had still to do."""
    later.at_once = True
    later.work.clear()
    ledger.abandon()
