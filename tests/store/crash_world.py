"""Processes that spend as fast as they can and are killed at random instants; what they had said stands in files.

Run as a script, it prints what it found as JSON. It forks before it has threads, so a process to kill costs
milliseconds. Each spender writes one line per step with one `write` call: R before it holds, H once it holds, A once
its entry is acknowledged. What has to be true after each death follows from these lines alone:

- lost: an A without an entry; double: a request with two entries, or another amount than it used;
- presumed: at least what requests with an H and without an entry used, at most what those with an R had reserved;
- overspent: spent and claimed together pass the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

from resilio.store import Account, Entry
from resilio.store.audit import audit
from resilio.store.sqlite import SqliteLedger
from resilio.testing import InlineExecutor

ACCOUNTS = [Account("user/day/tokens", entity, "today") for entity in ("alice", "bob")]
CALLERS = 16
MOST = 40


class Spender:
    """One process's budgets, in a few lines: blocks of claims, reservations inside them, settlements after."""

    def __init__(self, ledger: SqliteLedger, limits: dict[Account, int], log: int, name: str, seed: int) -> None:
        self.ledger = ledger
        self.limits = limits
        self.log = log
        self.name = name
        self.rng = random.Random(seed)
        self.free: Counter[Account] = Counter()
        self.in_use: Counter[Account] = Counter()
        self.number = 0

    def say(self, what: str, request_id: str, *more: object) -> None:
        os.write(self.log, " ".join(map(str, (what, request_id, *more))).encode() + b"\n")

    def use(self, account: Account, units: int) -> None:
        self.in_use[account] += units
        self.ledger.hold(account, self.in_use[account])

    async def call(self, until_refused: bool) -> bool:
        """One request; False: there is nothing left to claim."""
        account = self.rng.choice(ACCOUNTS)
        reserved = self.rng.randint(1, MOST)
        used = self.rng.randint(1, reserved)
        limit, windows = self.limits[account], (account.window,)
        while self.free[account] < reserved:
            got = await self.ledger.claim(account, 300, least=reserved, limit=limit, counted=windows)
            if not got.granted:
                if not until_refused:
                    await asyncio.sleep(0.001)
                return False
            self.free[account] += got.granted
        self.number += 1
        request_id = f"{self.name}-{self.number}"
        self.free[account] -= reserved
        self.say("R", request_id, ACCOUNTS.index(account), reserved, used)
        self.use(account, reserved)
        self.say("H", request_id)
        await asyncio.sleep(0)
        self.free[account] += reserved - used
        self.use(account, used - reserved)
        await self.ledger.settle([Entry(account, "settled", used, request_id, time.time())])
        self.use(account, -used)
        self.say("A", request_id)
        return True

    async def caller(self, until_refused: bool) -> None:
        while await self.call(until_refused) or not until_refused:
            pass


async def spend(path: Path, limits: dict[Account, int], log: Path, name: str, seed: int, until_refused: bool) -> None:
    ledger = await SqliteLedger.open(path, check=False)
    spender = Spender(ledger, limits, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), name, seed)
    await asyncio.gather(*(spender.caller(until_refused) for _ in range(CALLERS)))
    await ledger.aclose()


def start(*arguments: object) -> int:
    """A process that spends; returns its number."""
    child = os.fork()
    if child:
        return child
    try:
        asyncio.run(spend(*arguments))  # type: ignore[arg-type]
    except BaseException as error:
        sys.stderr.write(f"a spender failed: {error!r}\n")
        os._exit(1)
    os._exit(0)


class Judge:
    """Reads what the spenders said, and the ledger, and adds up what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: Counter[str] = Counter()
        self.amounts: dict[str, tuple[int, int]] = {}
        self.presumed: Counter[int] = Counter()
        self.last = 0
        self.found = Counter(lost=0, double=0, overspent=0, presumed_wrong=0, acknowledged=0, kills=0, held=0)

    def adopt(self, limits: dict[Account, int]) -> None:
        """Open the ledger as the next process would, and check that no limit is passed."""

        async def look() -> None:
            ledger = await SqliteLedger.open(self.path, executor=InlineExecutor(), check=False)
            with closing(sqlite3.connect(self.path)) as reader:
                reader.execute("BEGIN")
                for account, limit in limits.items():
                    query = (
                        "SELECT spent + (SELECT coalesce(sum(claimed), 0) FROM claim WHERE account = account.id) "
                        "FROM account WHERE entity = ?"
                    )
                    row = reader.execute(query, (account.entity,)).fetchone()
                    self.found["overspent"] += row is not None and row[0] > limit
            await ledger.aclose()

        asyncio.run(look())

    def spent(self) -> dict[Account, int]:
        with closing(sqlite3.connect(self.path)) as reader:
            rows = dict(reader.execute("SELECT entity, spent FROM account"))
        return {account: rows.get(account.entity, 0) for account in ACCOUNTS}

    def judge(self, logs: list[Path]) -> None:
        """After the death of those who wrote these, and of everybody else."""
        with closing(sqlite3.connect(self.path)) as reader:
            numbers = {
                number: ("alice", "bob").index(entity)
                for number, entity in reader.execute("SELECT id, entity FROM account")
            }
            new = reader.execute(
                "SELECT id, account, kind, amount, request FROM entry WHERE id > ? ORDER BY id", (self.last,)
            ).fetchall()
        entered: dict[str, tuple[int, int]] = {}
        presumed: Counter[int] = Counter()
        for number, account, kind, amount, request in new:
            self.last = number
            if kind:
                presumed[numbers[account]] += amount
            else:
                self.found["double"] += request in entered
                entered[request] = numbers[account], amount
        least: Counter[int] = Counter()
        most: Counter[int] = Counter()
        for log in logs:
            lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
            holding = {line[1] for line in lines if line[0] == "H"}
            for line in lines:
                if line[0] == "A":
                    self.found["acknowledged"] += 1
                    self.found["lost"] += line[1] not in entered
                elif line[0] == "R":
                    account, reserved, used = map(int, line[2:])
                    if line[1] in entered:
                        self.found["double"] += entered.pop(line[1]) != (account, used)
                        entered[line[1]] = account, used
                    else:
                        most[account] += reserved
                        least[account] += used * (line[1] in holding)
        self.found["presumed_wrong"] += any(not least[each] <= presumed[each] <= most[each] for each in (0, 1))
        self.found["held"] += sum(presumed.values())


def kill_some(folder: Path, kills: int, processes: int, seed: int) -> dict[str, int]:
    path = folder / "ledger.db"
    rng = random.Random(seed)
    judge = Judge(path)
    judge.adopt({})
    for number in range(kills):
        # Every other time the limit is so near that the spenders meet it.
        room = rng.choice((1_000, 10_000_000))
        limits = {account: spent + room for account, spent in judge.spent().items()}
        logs = [folder / f"{number}-{each}.log" for each in range(processes)]
        victims = [start(path, limits, log, log.stem, rng.random(), False) for log in logs]
        for victim in victims:
            time.sleep(rng.uniform(0.0, 0.25 / processes))
            os.kill(victim, signal.SIGKILL)
            _, status = os.waitpid(victim, 0)
            assert os.WIFSIGNALED(status), "it failed before it was killed"
            judge.found["kills"] += 1
            if victim != victims[-1]:
                judge.adopt(limits)  # the others still spend
        judge.adopt(limits)
        judge.judge(logs)
    # Whoever comes afterwards can spend what is left, and no more.
    limits = {account: spent + 2_000 for account, spent in judge.spent().items()}
    logs = [folder / f"last-{each}.log" for each in range(processes)]
    last = [start(path, limits, log, log.stem, rng.random(), True) for log in logs]
    for child in last:
        assert os.waitpid(child, 0)[1] == 0, "a spender failed"
    judge.adopt(limits)
    judge.judge(logs)
    spent = judge.spent()
    found = {**judge.found, "audit_clean": int(audit(path).clean)}
    return {**found, "left": max(limits[account] - spent[account] for account in ACCOUNTS)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ledger-crash-") as folder, suppress(KeyboardInterrupt):
        print(json.dumps(kill_some(Path(folder), options.kills, options.processes, options.seed)))


if __name__ == "__main__":
    main()
