"""What does the ledger cost: settled requests a second, time added to a call, bytes an entry, opening and auditing.

Four questions in one run, on a file on the disk this is run on, every commit synced:

1. How many requests a second settle, when many callers each wait for their own settlement?
2. What does a call see? It holds, and after its answer hands its settlement to the budgets' queue (and is done);
   every so often it claims a block and waits for that. Times are wall-clock, under a load of calls a second. The time
   until a settlement is durable is given apart: no call waits for it.
3. How many bytes does an entry take, all told (file after the checkpoint; request ids of 24 characters)?
4. How long does it take to open a ledger with a million entries (it is read from end to end), and to audit it?

Last line: JSON.

    python benchmarks/ledger.py [--calls 30000] [--rate 2000] [--entries 1000000] [--folder .]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from resilio.store import Account, Entry
from resilio.store.audit import audit
from resilio.store.sqlite import SqliteLedger

LIMIT = 10**15
BLOCK = 50_000
USED = 100
ACCOUNTS = [Account("user/day/tokens", f"user-{number}", "2027-01-15") for number in range(50)]


def entry(number: int) -> Entry:
    return Entry(ACCOUNTS[number % len(ACCOUNTS)], "settled", USED, f"req-4fa1-{number:015}", 1_800_000_000.0 + number)


def bytes_of(path: Path) -> int:
    return path.stat().st_size


class Calls:
    """What budgets do for calls, in a few lines: blocks of claims, reservations inside them, settlements behind."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.free = dict.fromkeys(ACCOUNTS, 0)
        self.in_use = dict.fromkeys(ACCOUNTS, 0)
        self.durable_ms: list[float] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def reserve(self, account: Account) -> None:
        while self.free[account] < USED:
            got = await self.ledger.claim(account, BLOCK, least=USED, limit=LIMIT, counted=(account.window,))
            self.free[account] += got.granted
        self.free[account] -= USED
        self.hold(account, USED)

    def hold(self, account: Account, units: int) -> None:
        self.in_use[account] += units
        self.ledger.hold(account, self.in_use[account])

    async def settle(self, its: Entry) -> None:
        began = time.perf_counter()
        await self.ledger.settle([its])
        self.hold(its.account, -USED)
        self.durable_ms.append((time.perf_counter() - began) * 1e3)

    def settle_behind(self, its: Entry) -> None:
        task = asyncio.ensure_future(self.settle(its))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def throughput(path: Path, calls: int, callers: int = 256) -> dict:
    """Everybody waits for their own settlement, and only for that."""
    ledger = await SqliteLedger.open(path)
    books = Calls(ledger)
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            its = entry(number)
            await books.reserve(its.account)
            await books.settle(its)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took = time.perf_counter() - began
    batches = ledger.batches
    await ledger.aclose()
    found = audit(path)
    assert found.clean
    assert found.entries == calls
    return {
        "settled_per_s": round(calls / took),
        "settled_per_commit": round(calls / batches, 1),
        "bytes_per_entry": round(bytes_of(path) / calls, 1),
    }


async def added(path: Path, calls: int, rate: float) -> dict:
    """Calls come at a rate; of each the time is taken that the ledger adds to it."""
    ledger = await SqliteLedger.open(path)
    books = Calls(ledger)
    added_ms: list[float] = []
    began = time.perf_counter()
    for number in range(calls):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        its = entry(number)
        first = time.perf_counter()
        await books.reserve(its.account)
        between = time.perf_counter()
        await asyncio.sleep(0)  # the call itself
        second = time.perf_counter()
        books.settle_behind(its)
        added_ms.append((between - first + time.perf_counter() - second) * 1e3)
    await asyncio.gather(*books.tasks)
    await ledger.aclose()
    return {**shares("added_ms", added_ms), **shares("durable_ms", books.durable_ms)}


def shares(name: str, values: list[float]) -> dict:
    cuts = statistics.quantiles(values, n=100)
    return {f"{name}_p50": round(cuts[49], 4), f"{name}_p99": round(cuts[98], 4)}


async def large(path: Path, entries: int) -> dict:
    """Written in large pieces, then opened, and audited."""
    ledger = await SqliteLedger.open(path)
    for start in range(0, entries, 10_000):
        await ledger.settle([entry(number) for number in range(start, min(start + 10_000, entries))])
    await ledger.aclose()
    began = time.perf_counter()
    ledger = await SqliteLedger.open(path)
    opened = time.perf_counter()
    found = audit(path)
    audited = time.perf_counter()
    await ledger.aclose()
    assert found.clean
    assert found.entries == entries
    return {
        "entries": entries,
        "megabytes": round(bytes_of(path) / 1e6, 1),
        "open_s": round(opened - began, 3),
        "audit_s": round(audited - opened, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--rate", type=float, default=2000.0, help="calls a second while latencies are taken")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", default=".", help="where the files are written: the disk to measure")
    options = parser.parse_args()
    result: dict = {}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ledger-benchmark-") as name:
        folder = Path(name)
        for what, measured in (
            ("throughput", throughput(folder / "busy.db", options.calls)),
            ("added to a call", added(folder / "calls.db", min(options.calls, 10_000), options.rate)),
            ("a large ledger", large(folder / "large.db", options.entries)),
        ):
            found = asyncio.run(measured)
            print(f"{what}: {json.dumps(found)}")
            result |= found
    print(json.dumps({**result, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
