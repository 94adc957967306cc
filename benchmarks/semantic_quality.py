"""Is what the semantic cache serves the answer to what was asked?

Three questions, with the local embedder's vectors, each with and without guards. Trap pairs: questions that look alike
and are not (a "not", another number, another name), among paraphrases: how many traps are served, how many paraphrases.
Conversations: only the last turn is matched by meaning, and only where all before it is equal: how many traps are
served, how many repeats. A stream: customer questions one after the other, each served from the nearest stored one or
stored itself: how many are served, and how many of those with the answer to another intent. Last line: JSON.

The folder holds fow_pairs_dev.jsonl and fow_conv_dev.jsonl (of the package fow-cache, CC BY 4.0) and
banking77_test.jsonl (PolyAI, CC BY 4.0).

    python benchmarks/semantic_quality.py --data ../shared/data
    python benchmarks/semantic_quality.py --data ../shared/data --list      # what was served wrongly, what was lost
    python benchmarks/semantic_quality.py --data ../shared/data --json      # nothing but the last line
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resilio.cache.embedding import EMBEDDERS, Means, Profile
from resilio.cache.guards import GUARDS, Prepared, check, prepare
from resilio.cache.keys import question
from resilio.models import Request

THRESHOLDS = (0.97, 0.95, 0.92, 0.90)
AT = 0.92
"""The threshold of the headline figures, between the profiles `default` and `faq`."""
NEAREST = 4
"""Candidates of a question; the first that the guards let pass is served."""
BATCH = 64
SEED = 77

log = partial(print, file=sys.stdout, flush=True)


class Texts:
    """Vectors and prepared forms of all texts, by text."""

    def __init__(self, vectors: dict[str, np.ndarray], profiles: dict[str, Profile]) -> None:
        self.vectors = vectors
        self.profiles = profiles
        self.prepared: dict[str, Prepared] = {text: prepare(text) for text in vectors}

    def near(self, one: str, other: str) -> float:
        """Cosine similarity."""
        return float(self.vectors[one] @ self.vectors[other])

    def refusal(self, asked: str, kept: str, *, strict: bool = False) -> str | None:
        return check(self.prepared[asked], self.prepared[kept], strict=strict)


class Pair(NamedTuple):
    """Two questions of the labelled set, as the cache sees them."""

    asked: str
    kept: str
    same: bool
    kind: str
    similarity: float
    refusal: str | None


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


async def embed(texts: Iterable[str]) -> Texts:
    """Embed every text once."""
    todo = sorted(set(texts), key=len)
    embedder = EMBEDDERS["minilm"](Means())
    found: dict[str, np.ndarray] = {}
    began = time.perf_counter()
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        found.update(zip(batch, await embedder.embed(batch), strict=True))
        if start // BATCH % 20 == 0:
            log(f"embedded {len(found):,} of {len(todo):,} texts, {time.perf_counter() - began:.0f} s")
    await embedder.aclose()
    return Texts(found, dict(embedder.profiles))


def share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


# --- trap pairs ------------------------------------------------------------------------------------


def trap_pairs(data: list[dict], texts: Texts, *, listed: bool) -> dict:
    """False-hit rate and recall at each threshold, with and without guards."""
    pairs = [
        Pair(
            row["b"], row["a"], bool(row["same"]), row["cat"],
            texts.near(row["a"], row["b"]), texts.refusal(row["b"], row["a"]),
        )
        for row in data
    ]  # fmt: skip
    traps, repeats = [pair for pair in pairs if not pair.same], [pair for pair in pairs if pair.same]
    log(f"\ntrap pairs: {len(traps)} traps, {len(repeats)} that ask the same\n")
    log("            traps served              recall")
    log("threshold   bare      guarded         bare      guarded")
    table = {}
    for threshold in THRESHOLDS:
        figures = [
            share(sum(pair.similarity >= threshold and not (guarded and pair.refusal) for pair in group), len(group))
            for group in (traps, repeats)
            for guarded in (False, True)
        ]
        table[threshold] = figures
        log("   {:.2f}     {:6.1%}    {:6.1%}          {:6.1%}    {:6.1%}".format(threshold, *figures))
    log(f"\nserved at {AT} by kind, bare -> guarded")
    for kind in sorted({pair.kind for pair in pairs}):
        near = [pair for pair in pairs if pair.kind == kind and pair.similarity >= AT]
        total = sum(pair.kind == kind for pair in pairs)
        log(f"   {kind:14} {len(near):3} -> {sum(not pair.refusal for pair in near):3} of {total}")
    if listed:
        list_pairs(pairs)
    bare_traps, guarded_traps, bare_recall, guarded_recall = table[AT]
    return {
        "trap_false_hits_bare": bare_traps,
        "trap_false_hits_guarded": guarded_traps,
        "trap_recall_bare": bare_recall,
        "trap_recall_guarded": guarded_recall,
        "trap_recall_loss": round(bare_recall - guarded_recall, 4),
    }


def list_pairs(pairs: Sequence[Pair]) -> None:
    """What went wrong at the lowest threshold, nearest first."""
    near = sorted((pair for pair in pairs if pair.similarity >= THRESHOLDS[-1]), key=lambda pair: -pair.similarity)
    for title, wrong in (
        ("traps served", [pair for pair in near if not pair.same and not pair.refusal]),
        ("repeats refused", [pair for pair in near if pair.same and pair.refusal]),
    ):
        log(f"\n{title} at {THRESHOLDS[-1]}: {len(wrong)}")
        for pair in wrong:
            log(f"   {pair.similarity:.3f}  {pair.kept}  |  {pair.asked}  |  {pair.refusal or 'served'}")


# --- conversations ---------------------------------------------------------------------------------


def conversations(data: list[dict], texts: Texts) -> dict:
    """What the cache's own partitions serve, at the profile `default`."""
    profile = texts.profiles["default"]

    def served(kept: Sequence[dict], asked: Sequence[dict]) -> bool:
        one, other = (question(Request("chat", messages, {}), "", stream=False) for messages in (kept, asked))
        assert one is not None
        assert other is not None
        return (
            one.partition == other.partition
            and texts.near(one.text, other.text) >= profile.threshold
            and not texts.refusal(other.text, one.text, strict=profile.strict)
        )

    traps, repeats = [row for row in data if not row["same"]], [row for row in data if row["same"]]
    trap_hits = sum(served(row["a"], row["b"]) for row in traps)
    hits = sum(served(row["a"], row["b"]) for row in repeats)
    # What the rule is for: the same opening again, and another last turn after the very same history.
    openings = [[next(message for message in row["a"] if message["role"] == "user")] for row in data]
    first = sum(served(opening, [dict(opening[0])]) for opening in openings)
    letter = sum(served(row["a"], [dict(message) for message in row["a"]]) for row in data)
    reworded = sum(served(row["a"], [*row["a"][:-1], row["b"][-1]]) for row in repeats)
    found = {
        "conversation_traps_served": share(trap_hits, len(traps)),
        "conversation_recall": share(hits, len(repeats)),
        "first_turn_repeats_served": share(first, len(openings)),
        "equal_history_repeats_served": share(letter, len(data)),
        "equal_history_reworded_served": share(reworded, len(repeats)),
    }
    log(f"\nconversations: {len(traps)} traps, {len(repeats)} that ask the same, profile default\n")
    for name, value in found.items():
        log(f"   {name.replace('_', ' '):32} {value:6.1%}")
    return found


# --- stream ----------------------------------------------------------------------------------------


def stream(data: list[dict], texts: Texts, *, listed: bool) -> dict:
    """Hit rate, and wrong answers among the hits, at each profile."""
    data = list(data)
    random.Random(SEED).shuffle(data)
    vectors = np.stack([texts.vectors[row["text"]] for row in data])
    near = np.clip(vectors @ vectors.T, -1.0, 1.0)
    log(f"\nstream: {len(data):,} questions, seed {SEED}, {NEAREST} candidates\n")
    log("profile         threshold    hits bare  guarded   wrong of them bare  guarded")
    found = {}
    for name, profile in sorted(texts.profiles.items(), key=lambda each: -each[1].threshold):
        figures = {}
        for guarded in (False, True):
            pairs = replay(data, texts, near, profile, guarded=guarded)
            wrong = [pair for pair in pairs if data[pair[0]]["intent"] != data[pair[1]]["intent"]]
            figures[guarded] = share(len(pairs), len(data)), share(len(wrong), len(pairs))
        tag = f"{profile.threshold:.2f}".replace(".", "")
        found[f"stream_hit_rate_{tag}"], found[f"stream_wrong_per_hit_{tag}"] = figures[True]
        found[f"stream_hit_rate_{tag}_bare"], found[f"stream_wrong_per_hit_{tag}_bare"] = figures[False]
        label = f"{name}{' (strict)' if profile.strict else ''}"
        log(
            f"{label:18} {profile.threshold:.2f}       {figures[False][0]:6.1%}   {figures[True][0]:6.1%}"
            f"            {figures[False][1]:6.1%}   {figures[True][1]:6.1%}"
        )
        if listed:
            for asked, kept in wrong:
                log(f"   {near[asked, kept]:.3f}  {data[kept]['text']}  |  {data[asked]['text']}")
    return found


def replay(
    data: Sequence[dict], texts: Texts, near: np.ndarray, profile: Profile, *, guarded: bool
) -> list[tuple[int, int]]:
    """Asked and stored question of each hit."""
    stored: list[int] = []
    hits = []
    for asked, row in enumerate(data):
        similarity = near[asked, stored]
        for best in np.argsort(-similarity)[:NEAREST]:
            if similarity[best] < profile.threshold:
                continue
            kept = stored[int(best)]
            if not guarded or not texts.refusal(row["text"], data[kept]["text"], strict=profile.strict):
                hits.append((asked, kept))
                break
        else:
            stored.append(asked)
    return hits


# --- cost ------------------------------------------------------------------------------------------


def cost(data: list[dict], texts: Texts, rounds: int = 5) -> dict:
    """CPU microseconds of taking one question apart, and of one check: of any pair, and of one that passes."""
    questions = [row[side] for row in data for side in "ab"]
    pairs = [(texts.prepared[row["a"]], texts.prepared[row["b"]]) for row in data]
    passing = [pair for pair in pairs if check(*pair) is None]

    def each(count: int, run) -> float:
        best = float("inf")
        for _ in range(rounds):
            began = time.process_time()
            run()
            best = min(best, time.process_time() - began)
        return round(best / count * 1e6, 1)

    found = {
        "prepare_us": each(len(questions), lambda: [prepare(text) for text in questions]),
        "check_us": each(len(pairs), lambda: [check(*pair) for pair in pairs]),
        "check_passing_us": each(len(passing), lambda: [check(*pair) for pair in passing]),
        "check_strict_us": each(len(passing), lambda: [check(*pair, strict=True) for pair in passing]),
    }
    log(f"\nguards: {len(GUARDS)}; CPU of one question or pair")
    for name, value in found.items():
        log(f"   {name:18} {value:7.1f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the three files")
    parser.add_argument("--list", action="store_true", help="list false hits and lost repeats")
    parser.add_argument("--json", action="store_true", help="print the last line alone")
    options = parser.parse_args()
    if options.json:
        globals()["log"] = lambda *_: None
    names = ("fow_pairs_dev.jsonl", "fow_conv_dev.jsonl", "banking77_test.jsonl")
    missing = [name for name in names if not (options.data / name).is_file()]
    if missing:
        parser.error(f"{options.data} has no {', '.join(missing)}")
    pairs, talks, questions = (rows(options.data / name) for name in names)
    turns = [m["content"] for row in talks for side in "ab" for m in row[side] if m["role"] == "user"]
    wanted = [*(row[side] for row in pairs for side in "ab"), *turns, *(row["text"] for row in questions)]
    texts = asyncio.run(embed(wanted))
    found = trap_pairs(pairs, texts, listed=options.list)
    found |= conversations(talks, texts)
    found |= stream(questions, texts, listed=options.list)
    found |= cost(pairs, texts)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
