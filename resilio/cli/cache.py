"""`resilio cache`: hold a cache's thresholds to a bound, or see what a cache would have done with recorded traffic."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from resilio.cache.calibration import load_calibration
from resilio.cache.embedding import Profile
from resilio.cli import cache_replay
from resilio.cli.calibrate import add_measuring, measured
from resilio.cli.command import UsageError, share
from resilio.cli.embedders import opened
from resilio.cli.screen import Screen
from resilio.config import load_config

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

NOT_ENOUGH: Final = 2

DESCRIPTION: Final = """\
  evaluate   is the share of wrong answers among hits within a bound, on labelled pairs? for CI: exit status 0 when it
             is proven, 1 when it is not, 2 when there is not enough data to tell
  replay     a recorded stream of requests through several caches: hits, wrong answers, money and time saved"""

EXAMPLES: Final = """\
  resilio cache evaluate pairs.jsonl --max-wrong 0.05 --threshold 0.97
  resilio cache evaluate pairs.jsonl --max-wrong 0.05 --profile safety && deploy
  resilio cache replay                                         a class of students, made up
  resilio cache replay requests.jsonl --shared --plot replay.png
  resilio cache replay requests.jsonl --profile default --max-wrong 0.02 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="evaluate|replay")
    evaluate = commands.add_parser("evaluate", help="hold a threshold to a bound, for CI")
    add_measuring(evaluate)
    evaluate.add_argument("--max-wrong", type=share, required=True, metavar="S", help="wrong answers among hits")
    which = evaluate.add_mutually_exclusive_group()
    which.add_argument("--threshold", type=share, metavar="S", help="cosine similarity")
    which.add_argument("--profile", metavar="NAME", help="of the embedder (default: default)")
    evaluate.add_argument("--json", action="store_true", help="one JSON object instead of text")
    cache_replay.add_arguments(commands.add_parser("replay", help="play recorded requests through caches"))


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Do what was asked; errors as for `resilio.cli.calibrate.run`."""
    return _evaluate(options, screen) if options.what == "evaluate" else cache_replay.run(options, screen)


async def _profiles(options: argparse.Namespace) -> Mapping[str, Profile]:
    """Those of the embedder, and of the calibration that the configuration names."""
    async with opened(options) as embedder:  # which loads no model before its first text
        profiles = embedder.profiles
    settings = None if options.config is None else load_config(options.config).cache.semantic
    if settings is None or settings.calibration is None:
        return profiles
    return {**profiles, **load_calibration(Path(settings.calibration)).profiles}  # opening has seen that it fits


def _evaluate(options: argparse.Namespace, screen: Screen) -> int:
    threshold = options.threshold
    if threshold is None:
        profiles = asyncio.run(_profiles(options))
        name = options.profile or ("default" if "default" in profiles else "safety")
        if name not in profiles:
            raise UsageError(f"the embedder has no profile {name!r}; there is {', '.join(profiles)}")
        threshold = profiles[name].threshold
        options.strict = options.strict or profiles[name].strict
    found = measured(options, screen)
    row, needed = found.row(threshold, guarded=True), found.recommend(options.max_wrong).needed
    if row.hits < needed:
        status, verdict = NOT_ENOUGH, "not enough data"
    elif row.wrong_bound <= options.max_wrong:
        status, verdict = 0, "within the bound"
    else:
        status, verdict = 1, "not within the bound"
    if options.json:
        screen.json(
            {"verdict": verdict, "threshold": threshold, "strict": options.strict, "max_wrong": options.max_wrong,
             "confidence": options.confidence, "hits": row.hits, "wrong": row.wrong, "bound": row.wrong_bound,
             "recall": row.recall, "needed": needed, "embedder": found.embedder}
        )  # fmt: skip
        return status
    figures = f"{row.wrong} wrong of {row.hits} hits at {threshold:g}"
    more = f"at most {row.wrong_bound:.3g} wrong per hit with confidence {options.confidence:g}"
    more += f", {options.max_wrong:g} allowed"
    if status == NOT_ENOUGH:
        more = f"{needed} hits are needed without one wrong"
    screen.say(f"{verdict}: {figures}; {more}", ("green", "red", "yellow")[status])
    return status
