"""What does a hit of the exact cache cost, what does an entry take, and does it hold a million?

Three questions in one run. A hit: CPU time of `Client.complete` served from the cache, a 4 kB answer, everything on
(key, look-up, reply, call settled); and of its parts. An entry: memory measured by tracemalloc beside what the cache
reckons with. A million entries: CPU time of storing, finding, evicting (the least recently used of equals must go)
and of letting go what is over (none of it may be served), with the longest single step. Last line: JSON.

    python benchmarks/cache.py [--calls 20000] [--rounds 5] [--entries 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable

from resilio import Client
from resilio.cache import ExactCache, exact_key, record
from resilio.cache.exact import SWEEP
from resilio.config import ExactCacheSettings
from resilio.models import Level, Reply, Request, Usage
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Summarise the following paragraph in one sentence, please. " * 5},
]
WIRE = {"temperature": 0.2, "max_tokens": 2048}
ANSWER = "All is well. " * 315
CONFIG = {
    "provider": [
        {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["sk-x"],
         "models": {"m": {"price": {"input": 1.0, "output": 4.0}}}},
    ],
    "route": {"chat": {"targets": ["a/m"]}},
    "cache": {"exact": {}},
}  # fmt: skip


def answer(text: str) -> Reply:
    raw = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 80, "completion_tokens": 1000, "total_tokens": 1080},
    }  # fmt: skip
    return Reply(text, "stop", "a/m", Level.FULL, True, Usage(80, 1000), "r", 1.0, cost_usd=0.01, raw=raw)  # noqa: FBT003


def each_us(run: Callable[[], None], times: int) -> float:
    """CPU microseconds of one of `times` steps that `run` makes."""
    gc.collect()
    began = time.process_time()
    run()
    return (time.process_time() - began) / times * 1e6


async def hits(calls: int, rounds: int) -> dict:
    """CPU of a hit, of its parts, and of a replayed chunk."""
    provider = SimulatedProvider(Script(answer=ANSWER))
    transport = ScriptedTransport({"http://a.test/v1": provider})
    async with Client(CONFIG, transport=transport) as llm:
        async with llm.stream("chat", MESSAGES, **WIRE) as stream:
            chunks = len([chunk async for chunk in stream])

        async def hit_us() -> float:
            gc.collect()
            began = time.process_time()
            for _ in range(calls):
                reply = await llm.complete("chat", MESSAGES, **WIRE)
            took = time.process_time() - began
            assert reply.cached is not None
            assert reply.text == ANSWER
            return took / calls * 1e6

        async def chunk_us() -> float:
            began = time.process_time()
            for _ in range(calls // 400):
                async with llm.stream("chat", MESSAGES, **WIRE) as stream:
                    async for _chunk in stream:
                        pass
            return (time.process_time() - began) / (calls // 400 * chunks) * 1e6

        await hit_us()
        exact, replayed = [], []
        for number in range(rounds):
            exact.append(await hit_us())
            replayed.append(await chunk_us())
            print(f"round {number + 1}: a hit {exact[-1]:.2f} us, a replayed chunk {replayed[-1]:.2f} us")
        assert provider.count() == 1, "everything after the first call was a hit"

    request = Request("chat", MESSAGES, WIRE)

    def keys() -> None:
        for _ in range(calls):
            exact_key(request, "f" * 32, namespace=("", ""), stream=False)

    return {
        "exact_hit_us": round(statistics.median(exact), 2),
        "key_us": round(min(each_us(keys, calls) for _ in range(rounds)), 2),
        "replayed_chunk_us": round(statistics.median(replayed), 2),
        "answer_bytes": len(ANSWER),
    }


def entry_bytes(entries: int = 20_000) -> dict:
    """Memory of an entry with a 4 kB answer, measured and reckoned; nothing in it is shared with another."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    store = ExactCache(ExactCacheSettings(max_bytes=10**12), random.Random(1))
    for number in range(entries):
        recording = record(answer(f"{number:012}" + ANSWER[12:]))
        assert recording is not None
        store.put(number.to_bytes(20, "big"), recording, number / 100)
    del recording
    gc.collect()
    measured = (tracemalloc.get_traced_memory()[0] - before) / entries
    tracemalloc.stop()
    return {"entry_bytes": round(measured), "reckoned_bytes": round(store.statistics().bytes / entries)}


def timed(steps: Iterable[Callable[[], object]]) -> tuple[float, float]:
    """Mean and longest step, in microseconds of wall time."""
    longest = total = 0.0
    count = 0
    for step in steps:
        began = time.perf_counter()
        step()
        took = time.perf_counter() - began
        longest, total, count = max(longest, took), total + took, count + 1
    return total / count * 1e6, longest * 1e6


def million(entries: int) -> dict:
    """Fill, find, evict and let go at full size; the garbage collector runs as it does in a service."""
    settings = ExactCacheSettings(max_entries=entries, max_bytes=10**12, ttl=3600, ttl_jitter=0.1, stale_for=0)
    store = ExactCache(settings, random.Random(1))
    one = record(answer("short"))
    assert one is not None

    def key(number: int) -> bytes:
        return number.to_bytes(20, "big")

    def put(number: int, now: float) -> Callable[[], object]:
        mine = one._replace(text=f"answer {number}")
        return lambda: store.put(key(number), mine, now)

    put_us, put_worst = timed(put(number, number / entries) for number in range(entries))
    assert store.statistics().entries == entries
    picked = random.Random(2).sample(range(entries), entries // 10)
    get_us, get_worst = timed((lambda number=number: store.get(key(number), 10.0)) for number in picked)

    # Equal in cost and size, so recency decides: of the oldest fifth only what was asked for is still there.
    more = entries // 5
    evict_us, evict_worst = timed(put(entries + number, 20.0) for number in range(more))
    assert store.statistics().entries == entries
    asked = set(picked)
    oldest = random.Random(3).sample(range(more // 2), 10_000)
    there = [number for number in oldest if store.get(key(number), 30.0) is not None]
    assert asked.issuperset(there), "the least recently used went first"
    assert asked.intersection(oldest).issubset(there), "what was asked for stayed"

    late = 20.0 + 3600.0
    assert all(store.get(key(number), late) is None for number in (*picked, *range(entries, entries + 10_000)))
    sweeps = (entries + more) // SWEEP + 1
    sweep_us, sweep_worst = timed(put(10 * entries + number, late + 100.0) for number in range(sweeps))
    assert store.statistics().entries == sweeps, "what was over is out of memory"
    return {
        "entries": entries,
        "put_us": round(put_us, 2), "get_us": round(get_us, 2), "put_with_eviction_us": round(evict_us, 2),
        "put_with_sweep_us": round(sweep_us, 1),
        "longest_ms": {
            "put": round(put_worst / 1000, 2), "get": round(get_worst / 1000, 2),
            "eviction": round(evict_worst / 1000, 2), "sweep": round(sweep_worst / 1000, 2),
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="hits per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    found = asyncio.run(hits(options.calls, options.rounds)) | entry_bytes()
    print(f"an entry takes {found['entry_bytes']} bytes, {found['reckoned_bytes']} reckoned")
    print(json.dumps(found | {"million": million(options.entries)}))


if __name__ == "__main__":
    main()
