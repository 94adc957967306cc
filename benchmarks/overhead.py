"""What does a call through resilio cost over the same call made by hand?

CPU time of one process, per call: `Client.complete` (breakers, limiter, retry budget, deadline and clocks on,
nobody listening) against a bare aiohttp POST with orjson to the same mock, interleaved in one run; and admission +
settle alone. The mock runs in its own process, so its CPU is not counted. Last line: JSON.

    python benchmarks/overhead.py [--calls 3000] [--rounds 5] [--concurrency 1]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time

import aiohttp
import orjson
from _mock import mock

from resilio import Client
from resilio.actor import Outcome
from resilio.models import Demand, Usage

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Summarise the following paragraph in one sentence, please. " * 5},
]
WIRE = {"temperature": 0.2, "max_tokens": 256}


def configuration(url: str) -> dict:
    """Two targets, each with limits, as a service would have them."""
    limits = {"requests_per_minute": 10_000_000, "tokens_per_minute": 10_000_000_000}
    return {
        "provider": [
            {"name": name, "kind": "openai", "base_url": url, "keys": ["sk-x"], "models": {"mock": dict(limits)}}
            for name in ("first", "second")
        ],
        "route": {"chat": {"targets": ["first/mock", "second/mock"], "max_output_tokens": 1024}},
    }


async def cpu_us(call, calls: int, concurrency: int) -> float:
    """CPU microseconds per call."""

    async def worker() -> None:
        for _ in range(calls // concurrency):
            await call()

    gc.collect()
    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return (time.process_time() - began) / (calls // concurrency * concurrency) * 1e6


def admit_settle_us(llm: Client, rounds: int = 20_000) -> float:
    """CPU microseconds of one admission and one settle on the fast lane."""
    supervisor = llm.engine.supervisor
    target = supervisor.routes["chat"].targets[0]
    actor, record, clock = target.provider.actor, target.record, supervisor.clock
    demand, usage = Demand(100, 256), Usage(110, 180)
    began = time.process_time()
    for _ in range(rounds):
        lease = actor.admit(clock(), record, demand)
        lease.settle(clock(), Outcome.SUCCESS, usage=usage)
    return (time.process_time() - began) / rounds * 1e6


async def measure(url: str, calls: int, rounds: int, concurrency: int) -> dict:
    headers = {"Authorization": "Bearer sk-x", "Content-Type": "application/json"}
    endpoint = url + "/chat/completions"
    bare_us, ours_us, pair_us = [], [], []
    async with aiohttp.ClientSession() as session, Client(configuration(url)) as llm:

        async def bare() -> str:
            body = orjson.dumps({"model": "mock", "messages": MESSAGES, **WIRE})
            async with session.post(endpoint, data=body, headers=headers) as response:
                return orjson.loads(await response.read())["choices"][0]["message"]["content"]

        async def ours() -> str:
            return (await llm.complete("chat", MESSAGES, **WIRE)).text

        assert await bare() == await ours()
        for call in (bare, ours):
            await cpu_us(call, calls // 4, concurrency)
        for number in range(rounds):
            bare_us.append(await cpu_us(bare, calls, concurrency))
            ours_us.append(await cpu_us(ours, calls, concurrency))
            pair_us.append(admit_settle_us(llm))
            print(f"round {number + 1}: bare {bare_us[-1]:6.1f} us, resilio {ours_us[-1]:6.1f} us, "
                  f"admit + settle {pair_us[-1]:.2f} us")  # fmt: skip
    over = [ours - bare for ours, bare in zip(ours_us, bare_us, strict=True)]
    ratio = [ours / bare for ours, bare in zip(ours_us, bare_us, strict=True)]
    return {
        "calls": calls,
        "concurrency": concurrency,
        "bare_us": round(statistics.median(bare_us), 1),
        "resilio_us": round(statistics.median(ours_us), 1),
        "over_bare_us": round(statistics.median(over), 1),
        "ratio_to_bare": round(statistics.median(ratio), 3),
        "admit_settle_us": round(statistics.median(pair_us), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000, help="calls per round and side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=1)
    options = parser.parse_args()
    with mock() as origin:
        print(json.dumps(asyncio.run(measure(f"{origin}/v1", options.calls, options.rounds, options.concurrency))))


if __name__ == "__main__":
    main()
