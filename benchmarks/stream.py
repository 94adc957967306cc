"""What does a stream through resilio cost over one read by hand?

Three questions, each against a bare aiohttp client that reads, splits and parses the same events in the same run:
CPU per 50-chunk stream (a burst: the worst case, as paced streams spend their time waiting); time to first token added,
one stream at a time; and 500 slow streams of 20 chunks a second held open together: the gaps between chunks. With
``--abandon N`` also: resident memory after N streams abandoned half-way. Last line: JSON.

    python benchmarks/stream.py [--streams 400] [--rounds 5] [--hold 10] [--abandon 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import time
from pathlib import Path

import aiohttp
import orjson
from _mock import CHUNKS, mock

from resilio import Client

BODY = {"model": "mock", "messages": [{"role": "user", "content": "Tell me."}], "stream": True}
HEADERS = {"Authorization": "Bearer sk-x", "Content-Type": "application/json"}


def configuration(origin: str) -> dict:
    """One route for each kind of stream the mock knows, with limits as a service would have them."""
    limits = {"requests_per_minute": 10_000_000, "tokens_per_minute": 10_000_000_000}
    kinds = ("burst", "slow", "first")
    return {
        "provider": [
            {
                "name": kind, "kind": "openai", "base_url": f"{origin}/{kind}", "keys": ["sk-x"],
                "models": {"mock": limits}, "max_concurrency": 1000,
            }
            for kind in kinds
        ],
        "route": {kind: {"targets": [f"{kind}/mock"], "max_output_tokens": 1024} for kind in kinds},
    }  # fmt: skip


async def bare(session: aiohttp.ClientSession, url: str):
    """Yield the chunks of a stream, read with aiohttp and orjson alone."""
    async with session.post(url, data=orjson.dumps(BODY), headers=HEADERS) as response:
        tail = b""
        async for data in response.content.iter_any():
            *events, tail = (tail + data).split(b"\n\n")
            for event in events:
                if event != b"data: [DONE]":
                    yield orjson.loads(event[6:])


class Sides:
    """The same stream through both clients."""

    def __init__(self, session: aiohttp.ClientSession, llm: Client, origin: str) -> None:
        self.session, self.llm, self.origin = session, llm, origin

    async def bare(self, kind: str):
        async for chunk in bare(self.session, f"{self.origin}/{kind}/chat/completions"):
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                yield chunk["choices"][0]["delta"]["content"]

    async def ours(self, kind: str):
        async with self.llm.stream(kind, "Tell me.", deadline=600) as stream:
            async for chunk in stream:
                if chunk.text:
                    yield chunk.text


async def cpu_us(read, streams: int) -> float:
    """CPU microseconds per burst stream."""
    gc.collect()
    began = time.process_time()
    for _ in range(streams):
        count = 0
        async for _ in read("burst"):
            count += 1
        assert count == CHUNKS, count
    return (time.process_time() - began) / streams * 1e6


async def first_token_ms(read) -> float:
    """Milliseconds from asking to the first chunk; the mock sends it after 50."""
    began = time.perf_counter()
    first = 0.0
    async for _ in read("first"):
        first = first or time.perf_counter()
    return (first - began) * 1e3


async def hold(read, streams: int, seconds: float) -> list[float]:
    """Gaps between chunks, in milliseconds, of many slow streams held at once."""
    gaps: list[float] = []
    ends = time.perf_counter() + seconds

    async def one() -> None:
        chunks = read("slow")
        last = None
        async for _ in chunks:
            now = time.perf_counter()
            if last is not None:
                gaps.append((now - last) * 1e3)
            last = now
            if now >= ends:
                break
        await chunks.aclose()

    await asyncio.gather(*(one() for _ in range(streams)))
    return gaps


def percentile(values: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def rss_mb() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def abandon(llm: Client, streams: int) -> tuple[float, float]:
    """Resident MB after a fifth of the streams, and after all: each is left after its third chunk."""

    async def one() -> None:
        async with llm.stream("burst", "Tell me.") as stream:
            seen = 0
            async for _ in stream:
                seen += 1
                if seen == 3:
                    break

    early = 0.0
    for number in range(streams):
        await one()
        if number == streams // 5:
            gc.collect()
            early = rss_mb()
    gc.collect()
    return early, rss_mb()


async def measure(origin: str, options: argparse.Namespace) -> dict:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        Client(configuration(origin)) as llm,
    ):
        sides = Sides(session, llm, origin)
        both = (sides.bare, sides.ours)
        for read in both:
            await cpu_us(read, options.streams // 4)
        cpu: tuple[list[float], list[float]] = ([], [])
        for number in range(options.rounds):
            for side, read in zip(cpu, both, strict=True):
                side.append(await cpu_us(read, options.streams))
            print(f"round {number + 1}: bare {cpu[0][-1]:7.1f} us a stream, resilio {cpu[1][-1]:7.1f} us")
        first: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.first):
            for side, read in zip(first, both, strict=True):
                side.append(await first_token_ms(read))
        medians = [statistics.median(side) for side in first]
        print(f"first token: bare p50 {medians[0]:.2f} ms, resilio p50 {medians[1]:.2f} ms")
        gaps = {}
        for name, read in zip(("bare", "resilio"), both, strict=True):
            began = time.process_time()
            gaps[name] = await hold(read, options.held, options.hold)
            used = (time.process_time() - began) / options.hold
            p50, p99 = percentile(gaps[name], 0.5), percentile(gaps[name], 0.99)
            print(f"{options.held} slow streams, {name}: gaps p50 {p50:.1f} ms, p99 {p99:.1f} ms, {used:.0%} of a core")
        result = {
            "bare_us": round(statistics.median(cpu[0]), 1),
            "resilio_us": round(statistics.median(cpu[1]), 1),
            "stream_ratio_to_bare": round(statistics.median(b / a for a, b in zip(*cpu, strict=True)), 3),
            "ttft_added_ms_p50": round(statistics.median(first[1]) - statistics.median(first[0]), 3),
            "ttft_added_ms_p99": round(percentile(first[1], 0.99) - percentile(first[0], 0.99), 3),
            "gap_p99_ms": round(percentile(gaps["resilio"], 0.99), 1),
            "bare_gap_p99_ms": round(percentile(gaps["bare"], 0.99), 1),
        }
        if options.abandon:
            early, late = await abandon(llm, options.abandon)
            print(f"{options.abandon} streams abandoned: {early:.1f} MB after a fifth, {late:.1f} MB after all")
            result |= {"abandoned": options.abandon, "rss_mb_early": round(early, 1), "rss_mb_late": round(late, 1)}
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=400, help="streams per round and side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first", type=int, default=100, help="streams timed to their first token, per side")
    parser.add_argument("--held", type=int, default=500, help="slow streams held at once")
    parser.add_argument("--hold", type=float, default=10.0, help="seconds they are held")
    parser.add_argument("--abandon", type=int, default=10_000, help="streams left half-way; 0 skips it")
    options = parser.parse_args()
    with mock() as origin:
        print(json.dumps(asyncio.run(measure(origin, options))))


if __name__ == "__main__":
    main()
