"""What do budgets cost a call?

CPU microseconds of one reservation and its settlement over 1, 2 and 4 budgets (blocks at hand), and of a whole
`Client.complete` in process with and without them, interleaved in one run. The ledger is in memory; writing to it in
the background is counted. Last line: JSON.

    python benchmarks/budgets.py [--rounds 7] [--calls 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time

from resilio import Client
from resilio.budget import Need
from resilio.models import Identity
from resilio.testing import Script, ScriptedTransport, SimulatedProvider

WHO = {"user": "alice", "organisation": "acme", "feature": "search"}
BUDGETS = [
    {"per": per, "window": window, "limit_tokens": 10**12}
    for per, window in (("user", "day"), ("organisation", "month"), ("feature", "day"), ("all", "hour"))
]


def opened(budgets: list) -> Client:
    config = {
        "provider": [{"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "models": {"m": {}}}],
        "route": {"chat": {"targets": ["p/m"], "max_output_tokens": 256}},
        "budget": budgets,
    }
    return Client(config, transport=ScriptedTransport({"http://p.test/v1": SimulatedProvider(Script(answer="fine"))}))


async def pair_us(llm: Client, rounds: int = 20_000) -> float:
    """One reservation and its settlement, and what the clerk does with the entries."""
    spending, identity = llm.engine.spending, Identity(user="alice", organisation="acme", feature="search")
    need, used, until = Need(300, 0), Need(200, 0), llm.engine.clock() + 1e9
    began = time.process_time()
    for number in range(rounds):
        holdings = spending.touched(identity)
        held = await spending.reserve("r", holdings, (), need, until)
        held.settle(used)
        if number % 500 == 0:
            await asyncio.sleep(0)
    for holding in spending.holdings:
        while holding.pending_here():  # noqa: ASYNC110 - the clerk tells nobody when it has written
            await asyncio.sleep(0.005)
    return (time.process_time() - began) / rounds * 1e6


async def call_us(llm: Client, calls: int) -> float:
    gc.collect()
    began = time.process_time()
    for _ in range(calls):
        await llm.complete("chat", "Summarise the following paragraph in one sentence.", **WHO)
    return (time.process_time() - began) / calls * 1e6


async def measure(rounds: int, calls: int) -> dict:
    pairs: dict[int, list[float]] = {1: [], 2: [], 4: []}
    bare, budgeted = [], []
    async with opened([]) as without, opened(BUDGETS[:1]) as one, opened(BUDGETS[:2]) as two, opened(BUDGETS) as four:
        clients = {1: one, 2: two, 4: four}
        for client in (without, one, two, four):
            await call_us(client, calls // 4)
        for number in range(rounds):
            for count, client in clients.items():
                pairs[count].append(await pair_us(client))
            bare.append(await call_us(without, calls))
            budgeted.append(await call_us(two, calls))
            last = ", ".join(f"{each[-1]:.1f}" for each in pairs.values())
            print(f"round {number + 1}: reserve + settle {last} us; "
                  f"call {bare[-1]:.1f} us without, {budgeted[-1]:.1f} us with two budgets")  # fmt: skip
    found = {f"reserve_settle_{count}_us": round(statistics.median(each), 2) for count, each in pairs.items()}
    over = statistics.median(with_ - without for with_, without in zip(budgeted, bare, strict=True))
    return {**found, "call_us": round(statistics.median(bare), 1), "over_call_2_us": round(over, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.rounds, options.calls))))


if __name__ == "__main__":
    main()
