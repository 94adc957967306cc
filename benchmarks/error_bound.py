"""Does guaranteed mode keep its promise, what does it cost in hits, and does it notice when answers change?

BANKING77 as a stream: its 3,080 questions, each at least once and some again until there are 5,000, shuffled; an answer
is right when it belongs to the question's own intent, so the negative of a question is its nearest neighbour among all
that is kept. What is the very same question is the exact cache's business: only the first occurrence of each text is
scored. Twenty orders, at 1, 2 and 5 % wrong answers per request with confidence 0.95; beside them the fixed profiles.

Then a drift: in a stream that is heavy on one intent, the answer of that intent changes half-way. There every request
comes to the semantic cache. How many requests until the threshold is dropped, and what becomes of the hit rate? (A
threshold is dropped by a drift, or, while the counts are young, by the evidence itself. It is tightened before, and a
drift that is small enough, or healed by evictions soon enough, ends there.)

Everything runs on the parts that serve live: embedder, guards, `ErrorBound`. Last line: JSON.

    python benchmarks/error_bound.py --data DIR [--orders 20] [--requests 5000] [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from resilio.bench.replay import Kind, Logged, Plan, Replay, Run
from resilio.cache.agreement import AnswersAgree
from resilio.cache.bound import Terms
from resilio.cache.embedding import EMBEDDERS, Means

LIMITS = (0.01, 0.02, 0.05)
DRIFT_REQUESTS = 30_000
DRIFT_SHARE = 0.3
"""Of the requests of the drifting stream, so many are about the intent whose answer changes."""
DRIFT_RUNS = 10
STEP = 1500
"""Requests over which the hit rate of the drifting stream is told."""


def logged(number: int, text: str, intent: str) -> Logged:
    # The answer is there at once: this is about right and wrong, not about time.
    return Logged(at=float(number), text=text, intent=intent, answer="", latency=0.0, cost_usd=0.001)


def stream(rows: Sequence[dict], requests: int, rng: random.Random) -> list[Logged]:
    asked = [*rows, *rng.choices(rows, k=max(0, requests - len(rows)))]
    rng.shuffle(asked)
    return [logged(number, row["text"], row["intent"]) for number, row in enumerate(asked[:requests])]


def drifting(rows: Sequence[dict], requests: int, rng: random.Random) -> list[Logged]:
    """A stream in which one intent has a share of its own, and another answer from half-way on."""
    planted = rng.choice(sorted({row["intent"] for row in rows}))
    inside = [row for row in rows if row["intent"] == planted]
    outside = [row for row in rows if row["intent"] != planted]
    found = []
    for number in range(requests):
        row = rng.choice(inside if rng.random() < DRIFT_SHARE else outside)
        changed = row["intent"] == planted and number >= requests // 2
        found.append(logged(number, row["text"], row["intent"] + (" (new)" if changed else "")))
    return found


def scored(run: Run, log: Sequence[Logged]) -> dict[str, float]:
    """Of the first occurrence of each text."""
    first, seen = [], set()
    for request, served in zip(log, run.served, strict=True):
        if request.text not in seen:
            seen.add(request.text)
            first.append(served)
    hits = sum(each.kind is Kind.NEAR for each in first)
    wrong = sum(each.wrong for each in first if each.kind is Kind.NEAR)
    return {
        "hit_rate": hits / len(first),
        "wrong_per_request": wrong / len(first),
        "wrong_per_hit": wrong / hits if hits else 0.0,
        "audits": sum(each.kind is Kind.AUDIT for each in first) / len(first),
    }


async def orders(replay: Replay, rows: Sequence[dict], count: int, requests: int) -> dict[Plan, list[dict]]:
    """The figures of every order, by plan."""
    logs = [stream(rows, requests, random.Random(1000 + number)) for number in range(count)]
    plans = [Plan("default 0.95", 0.95), Plan("faq 0.90", 0.90)]
    plans += [Plan(f"guaranteed {limit:.0%}", terms=Terms(max_wrong=limit)) for limit in LIMITS]
    print(f"{'':>15}  hit rate  wrong/request (worst)  wrong/hit  audited  orders over the bound")
    found = {}
    for plan in plans:
        figures = [scored(await replay.on(log).play(plan, seed=number), log) for number, log in enumerate(logs)]
        found[plan] = figures
        worst = max(each["wrong_per_request"] for each in figures)
        told = f"{sum(over(plan, figures))} of {count}" if plan.terms else ""
        print(
            f"{plan.name:>15}  {mean(figures, 'hit_rate'):8.1%}  {mean(figures, 'wrong_per_request'):13.2%}"
            f" ({worst:5.2%})  {mean(figures, 'wrong_per_hit'):9.1%}  {mean(figures, 'audits'):7.1%}  {told:>21}",
            flush=True,
        )
    return found


def mean(figures: Sequence[dict], name: str) -> float:
    return statistics.fmean(each[name] for each in figures)


def over(plan: Plan, figures: Sequence[dict]) -> list[bool]:
    """For each order, whether more answers were wrong than promised."""
    return [each["wrong_per_request"] > plan.terms.max_wrong for each in figures]


def told(found: dict[Plan, list[dict]]) -> dict:
    """The figures for JSON."""
    guaranteed = {plan: figures for plan, figures in found.items() if plan.terms}
    violations = [broken for plan, figures in guaranteed.items() for broken in over(plan, figures)]
    result = {"bound_violations": round(statistics.fmean(violations), 4)}
    for plan, figures in guaranteed.items():
        name = f"{100 * plan.terms.max_wrong:.0f}pct"
        for what in ("hit_rate", "wrong_per_request", "wrong_per_hit"):
            result[f"{what}_{name}"] = round(mean(figures, what), 4)
    return result


async def drift(replay: Replay, rows: Sequence[dict], runs: int) -> tuple[dict, list[list[float]]]:
    """What became of the drift, and the hit rate of each run over time."""
    half = DRIFT_REQUESTS // 2
    noticed, tightened, why, wrong, curves = [], [], [], [], []
    for number in range(runs):
        log = drifting(rows, DRIFT_REQUESTS, random.Random(2000 + number))
        run = await replay.on(log).play(Plan("", terms=Terms(max_wrong=0.02), exact=False), seed=number)
        drop = next(((at - half, its.why) for at, its in run.changes if at >= half and its.after is None), None)
        noticed.append(None if drop is None else drop[0])
        raised = next(
            (at - half for at, its in run.changes if at >= half and (its.after or 1) > (its.before or 1)), None
        )
        tightened.append(raised)
        why.append(f"only tightened ({raised})" if drop is None else f"{drop[0]} ({drop[1]})")
        wrong.append(statistics.fmean(each.wrong for each in run.served))
        curves.append(
            [
                statistics.fmean(each.kind is Kind.NEAR for each in run.served[start : start + STEP])
                for start in range(0, len(log), STEP)
            ]
        )
    rates = [statistics.fmean(step) for step in zip(*curves, strict=True)]
    print(f"\ndrift planted after {half} requests; threshold dropped after so many more: {', '.join(why)}")
    print(f"hit rate, each {STEP} requests: {' '.join(f'{each:.0%}' for each in rates)}")
    print(f"wrong per request, all told: mean {statistics.fmean(wrong):.2%}, worst {max(wrong):.2%}")
    seen = [each for each in noticed if each is not None]
    return {
        "drift_noticed_after": statistics.median(seen) if seen else None,
        "drift_tightened_after": statistics.median(each for each in tightened if each is not None),
        "drift_noticed": f"{len(seen)} of {runs}",
        "drift_hit_rate_before": round(rates[half // STEP - 1], 4),
        "drift_hit_rate_lowest": round(min(rates[half // STEP :]), 4),
        "drift_hit_rate_at_end": round(rates[-1], 4),
        "drift_wrong_per_request": round(statistics.fmean(wrong), 4),
    }, curves


def draw(found: dict[Plan, list[dict]], curves: list[list[float]], path: Path) -> None:
    from resilio.bench.figures import INK, SHADES, empty, frame, save

    figure = empty(10.5, 4.4)
    figure.suptitle("Guaranteed mode on BANKING77, confidence 0.95", color=INK, fontsize=12)
    left, right = figure.subplots(1, 2)
    for (plan, figures), shade in zip(found.items(), SHADES, strict=False):
        left.plot([100 * each["hit_rate"] for each in figures], [100 * each["wrong_per_request"] for each in figures],
                  "o", ms=4, alpha=0.7, color=shade, label=plan.name)  # fmt: skip
        if plan.terms:
            left.axhline(100 * plan.terms.max_wrong, color=shade, lw=0.9, ls=":")
    left.set_xlabel("hit rate, % (a point is one order of the stream)")
    left.set_ylabel("wrong answers, % of requests (dotted: promised)")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=8)
    middles = [STEP * (number + 0.5) for number in range(len(curves[0]))]
    for curve in curves:
        right.plot(middles, [100 * each for each in curve], color=SHADES[0], lw=0.7, alpha=0.35)
    right.plot(middles, [100 * statistics.fmean(step) for step in zip(*curves, strict=True)], color=SHADES[0], lw=2)
    right.axvline(DRIFT_REQUESTS / 2, color=SHADES[2], lw=1)
    right.annotate("an answer changes", (DRIFT_REQUESTS / 2, 2), (5, 0), textcoords="offset points", color=SHADES[2])
    right.set_xlabel("requests")
    right.set_ylabel("hit rate at 2 %, %")
    right.set_ylim(bottom=0)
    frame(left)
    frame(right)
    save(figure, path)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds banking77_test.jsonl")
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it; needs matplotlib")
    options = parser.parse_args()
    rows = [json.loads(line) for line in (options.data / "banking77_test.jsonl").open(encoding="utf-8")]
    began = time.perf_counter()
    embedder = EMBEDDERS["minilm"](Means())
    log = [logged(number, row["text"], row["intent"]) for number, row in enumerate(rows)]
    replay = await Replay.prepare(log, embedder, AnswersAgree(embedder))
    print(f"{len(rows)} questions embedded in {time.perf_counter() - began:.0f} s", flush=True)
    found = await orders(replay, rows, options.orders, options.requests)
    drifted, curves = await drift(replay, rows, DRIFT_RUNS)
    await embedder.aclose()
    if options.plot is not None:
        draw(found, curves, options.plot)
    print(f"{time.perf_counter() - began:.0f} s")
    print(json.dumps(told(found) | drifted))


if __name__ == "__main__":
    asyncio.run(main())
