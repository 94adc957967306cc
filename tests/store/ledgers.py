"""Ledgers for tests: on virtual time, with the file used where it is asked for."""

from pathlib import Path

from resilio.store import Account, Entry
from resilio.store.sqlite import SqliteLedger
from resilio.testing import InlineExecutor

ALICE = Account("user/day/tokens", "alice", "today")
BOOT = "this-boot"


async def opened(path: Path, **options) -> SqliteLedger:
    """As one process would; without syncs, which only power loss could tell."""
    given = {"executor": InlineExecutor(), "boot": BOOT, "wall": lambda: 5.0, **options}
    ledger = await SqliteLedger.open(path, **given)
    ledger._books._connection.execute("PRAGMA synchronous = OFF")
    return ledger


async def claimed(ledger, units, *, least=1, limit=1000, account=ALICE):
    return await ledger.claim(account, units, least=least, limit=limit, counted=(account.window,))


def spending(amount, request_id="r", account=ALICE, at=1.0):
    return Entry(account, "settled", amount, request_id, at)


async def spent_by(ledger, account=ALICE):
    return (await ledger.spent(account.budget, {account.entity: (account.window,)}))[account.entity]
