"""What does a look-up by meaning cost, beside embedding the question?

Clustered vectors of 384 dimensions, three sizes. For each: p50 of a look-up without the trip into a thread (checking
the query, searching, naming), and of the whole `await index.search(...)`; recall@4 against comparing everything; and
resident memory an entry. Apart: the trip into a thread, and embedding one question with MiniLM. GPTCache over the same
vectors and queries in the same run, round by round, where it installs. Last line: JSON.

    python benchmarks/semantic_lookup.py [--sizes 1000 10000 100000] [--rounds 7] [--peer PYTHON | --no-peer]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from resilio.cache.embedding.minilm import MiniLM
from resilio.cache.index import VectorIndex
from resilio.cache.index.checks import checked_query
from resilio.cache.index.guard import Guard
from resilio.cache.index.readers import _Query, _search_all
from resilio.errors import EmbedderUnavailable

DIMENSION = 384
QUERIES = 200
K = 4
PEER = ("gptcache==0.1.44", "faiss-cpu", "sqlalchemy", "setuptools<81")
SUBJECTS = ("an invoice", "my password", "the capital of France", "a refund", "the delivery date", "photosynthesis")
FRAMES = ("How do I change {}?", "What should I know about {} before Monday?", "Please explain {} to a beginner.")


def clustered(count: int, rng: np.random.Generator, centres: np.ndarray) -> np.ndarray:
    """Questions about subjects: two of one subject have a cosine of about 0.75, two of different ones about 0."""
    vectors = centres[rng.integers(len(centres), size=count)] + 0.55 * unit(rng, count)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(entries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors to store; and queries: half are reworded entries (cosine about 0.97), half are new."""
    rng = np.random.default_rng(seed)
    centres = unit(rng, max(10, entries // 50))
    vectors = clustered(entries, rng, centres)
    reworded = vectors[rng.integers(entries, size=QUERIES // 2)] + 0.25 * unit(rng, QUERIES // 2)
    reworded /= np.linalg.norm(reworded, axis=1, keepdims=True)
    return vectors, np.concatenate([reworded, clustered(QUERIES - len(reworded), rng, centres)])


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def p50(took: list[float]) -> float:
    return statistics.median(took)


def percentile(took: list[float], share: float) -> float:
    return sorted(took)[int(len(took) * share)]


# --- ours ----------------------------------------------------------------------------------------------


def look_up(index: VectorIndex, query: np.ndarray) -> list[tuple[int, float]]:
    """All of a look-up but the trip into a thread: what `search` does on the loop and what it does in the thread."""
    found = index.search_nowait(query, K)
    if found is not None:
        return found
    contents = index._contents  # noqa: SLF001
    asked = _Query(checked_query(query, DIMENSION), K, None)  # type: ignore[arg-type]
    [hits] = _search_all(contents.graph, contents.flat.snapshot(), contents.labels, [asked])
    return contents.named(hits, K)


async def built(vectors: np.ndarray, executor: ThreadPoolExecutor) -> tuple[VectorIndex, float]:
    """An index of these, and the resident bytes an entry takes."""
    before = resident()
    index = VectorIndex(DIMENSION, "benchmark", executor=executor)
    for start in range(0, len(vectors), 500):
        await index.add(range(start, min(start + 500, len(vectors))), vectors[start : start + 500])
    began = time.perf_counter()
    while index.statistics().growing or index.statistics().rows > 5000:
        await asyncio.sleep(0.05)
        if time.perf_counter() - began > 1800:
            raise SystemExit(f"no graph in half an hour: {index.statistics()}")
    return index, (resident() - before) / len(vectors)


def recall(index: VectorIndex, vectors: np.ndarray, queries: np.ndarray) -> float:
    """Share of the true four nearest that are found."""
    found = true = 0
    for query in queries:
        nearest = set(np.argsort(-(vectors @ query), kind="stable")[:K].tolist())
        found += len(nearest.intersection(label for label, _ in look_up(index, query)))
        true += K
    return found / true


async def one_round(index: VectorIndex, queries: np.ndarray) -> tuple[list[float], list[float]]:
    """Milliseconds of each look-up, without the trip and with it."""
    bare, whole = [], []
    for query in queries:
        began = time.perf_counter()
        look_up(index, query)
        bare.append((time.perf_counter() - began) * 1e3)
    for query in queries:
        began = time.perf_counter()
        await index.search(query, K)
        whole.append((time.perf_counter() - began) * 1e3)
    return bare, whole


async def hop(executor: ThreadPoolExecutor, times: int = 2000) -> float:
    """Milliseconds of a trip into a thread that does nothing there, p50."""
    guard, took = Guard(executor), []
    for _ in range(times):
        began = time.perf_counter()
        await guard.in_thread(int)
        took.append((time.perf_counter() - began) * 1e3)
    return p50(took)


async def embedding(times: int = 200) -> float | None:
    """Milliseconds of embedding one question, p50; None where the model is not installed."""
    embedder, took = MiniLM(), []
    try:
        await embedder.embed(["The first one loads the model."])
        for number in range(times):
            question = FRAMES[number % 3].format(f"{SUBJECTS[number % 6]} number {number}")
            began = time.perf_counter()
            await embedder.embed([question])
            took.append((time.perf_counter() - began) * 1e3)
    except EmbedderUnavailable as error:
        print(f"no embedder: {error}")
        return None
    finally:
        await embedder.aclose()
    return p50(took)


# --- the peer ------------------------------------------------------------------------------------------


class Peer:
    """GPTCache in a process of its own."""

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("_gptcache.py")
        # One thread for it as for us: on a machine with other work the threads of faiss wait for each other and its
        # look-ups take several times as long.
        self._process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def ask(self, line: str = "") -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError("GPTCache has ended")
        return json.loads(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def peer(python: Path | None, *, wanted: bool) -> Iterator[Peer | None]:
    """GPTCache, or None where it does not install."""
    with tempfile.TemporaryDirectory() as folder:
        if wanted and python is None:
            python = installed(Path(folder))
        found = Peer(python) if wanted and python is not None else None
        try:
            yield found
        finally:
            if found is not None:
                found.close()


def installed(folder: Path) -> Path | None:
    uv = Path(sys.executable).with_name("uv")
    uv = uv if uv.exists() else Path(shutil.which("uv") or uv)
    python = folder / "bin" / "python"
    try:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, capture_output=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PEER], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"GPTCache does not install here: {getattr(error, 'stderr', b'').decode().strip() or error}")
        return None
    return python


def fill(other: Peer, entries: int, vectors: np.ndarray, queries: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        order = {"entries": entries, "vectors": f"{folder}/vectors.npy", "queries": f"{folder}/queries.npy"}
        np.save(order["vectors"], vectors)
        np.save(order["queries"], queries)
        other.ask(json.dumps(order))


# --- all together ----------------------------------------------------------------------------------------


async def measure(entries: int, rounds: int, other: Peer | None, executor: ThreadPoolExecutor) -> dict[str, Any]:
    vectors, queries = made(entries, seed=entries)
    index, size = await built(vectors, executor)
    if other is not None:
        fill(other, entries, vectors, queries)
    bare: list[float] = []
    whole: list[float] = []
    theirs: list[float] = []
    for number in range(rounds + 1):
        mine = await one_round(index, queries)
        peers = other.ask() if other is not None else []
        if number:  # the first is for warming up
            bare += mine[0]
            whole += mine[1]
            theirs += peers
    row = {
        "entries": entries, "mode": index.statistics().mode, "lookup_ms": p50(bare), "p95_ms": percentile(bare, 0.95),
        "with_hop_ms": p50(whole), "recall_at_4": recall(index, vectors, queries), "bytes_per_entry": round(size),
        "gptcache_ms": p50(theirs) if theirs else None,
    }  # fmt: skip
    await index.aclose()
    return row


def printed(row: dict[str, Any]) -> None:
    theirs = row["gptcache_ms"]
    beside = "" if theirs is None else f"   GPTCache {theirs:.2f} ms, {theirs / row['lookup_ms']:.0f}x"
    print(
        f"{row['entries']:7} {row['mode']:5}  look-up p50 {row['lookup_ms']:.3f} p95 {row['p95_ms']:.3f} ms, "
        f"with the trip {row['with_hop_ms']:.3f} ms, recall@4 {row['recall_at_4']:.4f}, "
        f"{row['bytes_per_entry']} B/entry{beside}",
        flush=True,
    )


async def run(options: argparse.Namespace, other: Peer | None) -> None:
    with ThreadPoolExecutor(4) as executor:
        rows = []
        for entries in options.sizes:
            rows.append(await measure(entries, options.rounds, other, executor))
            printed(rows[-1])
        hop_ms = await hop(executor)
    embed_ms = await embedding()
    print(f"a trip into a thread {hop_ms:.3f} ms; embedding a question " + (f"{embed_ms:.2f} ms" if embed_ms else "-"))
    by_size = {row["entries"]: row for row in rows}
    found: dict[str, Any] = {
        f"lookup_ms_{size // 1000}k": round(by_size[size]["lookup_ms"], 4) if size in by_size else None
        for size in (1000, 10_000, 100_000)
    }
    found["embed_ms"] = round(embed_ms, 2) if embed_ms else None
    ten = by_size.get(10_000, {})
    theirs = ten.get("gptcache_ms")
    found["x_gptcache_10k"] = round(theirs / ten["lookup_ms"], 1) if theirs else None
    found["hop_ms"] = round(hop_ms, 4)
    found["sizes"] = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()} for row in rows
    ]
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7, help=f"of {QUERIES} look-ups each")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="an interpreter with gptcache and faiss")
    parser.add_argument("--no-peer", action="store_true", help="without GPTCache")
    options = parser.parse_args()
    with peer(options.peer, wanted=not options.no_peer) as other:
        asyncio.run(run(options, other))


if __name__ == "__main__":
    main()
