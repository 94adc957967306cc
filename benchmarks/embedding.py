"""How long a text takes to become a vector, alone and in batches, and what the model keeps in memory.

In one process, no network: all-MiniLM-L6-v2 in its worker thread, then the same through an `Encoder` as the semantic
cache uses it. Texts are questions of the length people ask; the last line is JSON.
"""

import argparse
import asyncio
import json
import statistics
import time

from resilio.cache.embedding import EMBEDDERS, Encoder, Means

SUBJECTS = ("my card", "a transfer", "the exchange rate", "my account", "a refund", "the top-up limit", "my new phone")
QUESTIONS = (
    "How do I find out what happened to {}?",
    "Why was {} declined yesterday?",
    "I ordered it over a week ago and still have not heard anything about {}. What should I do now?",
    "Can I change {}?",
    "What does {} cost, and is there a way to avoid the fee when I travel abroad?",
)


def questions(count):
    return [f"{QUESTIONS[n % 5].format(SUBJECTS[n % 7])} ({n})" for n in range(count)]


def memory_mb():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


async def timed(work):
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def alone(embedder, texts):
    """Microseconds of each text by itself, the hop to the thread and back included."""
    return [1e6 * await timed(embedder.embed([text])) for text in texts]


async def batched(embedder, texts, size):
    """Microseconds per text, the median of its batches."""
    batches = [texts[at : at + size] for at in range(0, len(texts), size)]
    return statistics.median([1e6 * await timed(embedder.embed(batch)) / len(batch) for batch in batches])


async def remembered(encoder, text, rounds=100_000):
    """Microseconds of a text that is known."""
    await encoder.vector(text)
    began = time.perf_counter()
    for _ in range(rounds):
        encoder.vector_nowait(text)
    return 1e6 * (time.perf_counter() - began) / rounds


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=256)
    texts = questions(parser.parse_args().texts)
    before = memory_mb()
    embedder = EMBEDDERS["minilm"](Means())
    load = await timed(embedder.embed(["warm up"]))
    loaded = memory_mb() - before
    single = await alone(embedder, texts)
    sizes = {size: await batched(embedder, texts, size) for size in (8, 32)}
    long_ms = 1e3 * statistics.median([await timed(embedder.embed(["word " * 300])) for _ in range(5)])
    encoder = Encoder(embedder)
    crowd = 1e6 * await timed(asyncio.gather(*(encoder.vector(f"{text}!") for text in texts))) / len(texts)
    known = await remembered(encoder, texts[0])
    figures = {
        "embed_ms": round(statistics.median(single) / 1e3, 2),
        "embed_p95_ms": round(statistics.quantiles(single, n=20)[-1] / 1e3, 2),
        **{f"batch_{size}_us_per_text": round(us) for size, us in sizes.items()},
        "encoder_us_per_text": round(crowd),
        "longest_text_ms": round(long_ms, 1),
        "remembered_us": round(known, 2),
        "load_ms": round(1e3 * load),
        "model_mb": round(loaded),
        "model_mb_after": round(memory_mb() - before),
        "texts": len(texts),
    }
    await encoder.aclose()
    print(f"one question alone           {figures['embed_ms']:8.2f} ms p50, {figures['embed_p95_ms']:.2f} ms p95")
    for size, us in sizes.items():
        print(f"in batches of {size:<3}            {us / 1e3:8.2f} ms a text")
    print(f"all at once, by the encoder  {crowd / 1e3:8.2f} ms a text")
    print(f"a text past 256 pieces       {long_ms:8.2f} ms")
    print(f"a text that is remembered    {known:8.2f} us")
    print(f"loading the model            {1e3 * load:8.0f} ms, {loaded:.0f} MB")
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main())
