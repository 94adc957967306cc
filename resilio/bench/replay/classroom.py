"""A log made up: a class asks an assistant, each question in one of three wordings, some far more often than others.

Questions and wordings are a file of this package, written for it; how often each is asked follows Zipf's law. The
same seed gives the same log.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Final

from resilio.bench.replay.log import Logged

__all__ = ["QUESTIONS", "classroom_log"]

QUESTIONS: Final = Path(__file__).parents[1] / "data" / "classroom.jsonl"
"""110 questions of eight subjects, in three wordings each; some of them differ in a word alone."""
LATENCY: Final = 1.2
"""Seconds of a model call."""
COST_USD: Final = 0.0006
"""Of a model call on average; longer answers cost more."""
SPACING: Final = 6.0
"""Seconds between two requests on average."""
ZIPF: Final = 0.8
"""The question of rank r is asked in proportion to r ** -0.8."""


def classroom_log(requests: int = 0, *, students: int = 28, seed: int = 0) -> tuple[Logged, ...]:
    """Make the log.

    Args:
        requests: How many there are. 0: every wording of every question once, so that no request is the very same as
            another.
        students: How many users ask.
        seed: Of everything drawn at random.
    """
    rng = random.Random(seed)
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    costs = [COST_USD * rng.lognormvariate(-0.125, 0.5) for _ in rows]
    if requests:
        rank = list(range(len(rows)))
        rng.shuffle(rank)
        weights = [(1 + place) ** -ZIPF for place in rank]
        asked = [(number, rng.randrange(3)) for number in rng.choices(range(len(rows)), weights, k=requests)]
    else:
        asked = [(number, wording) for number in range(len(rows)) for wording in range(3)]
        rng.shuffle(asked)
    at, log = 0.0, []
    for number, wording in asked:
        at += rng.expovariate(1 / SPACING)
        question = rows[number]["wordings"]
        log.append(
            Logged(
                at=round(at, 3),
                text=question[wording],
                intent=question[0],
                answer="",
                latency=LATENCY,
                cost_usd=round(costs[number], 7),
                user=f"student-{rng.randrange(students) + 1}",
                tenant="school",
            )
        )
    return tuple(log)
