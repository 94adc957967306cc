"""`resilio demo`: what resilio does, shown on a model that is real, in a minute and without a key.

Each scene is a module with a `show` that prints what happens as it happens and returns whether it was what it should
be, with figures. What is printed comes from the engine's events and replies; a demo that only says it works would
prove nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any, Final

from resilio.cli.ask import answer_locally
from resilio.cli.demo import descent, failover, meaning
from resilio.cli.screen import Screen

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = """\
Three scenes with the real model on this machine.

  failover   two providers in front of it fail: "east" answers 503, resets connections or cuts answers short; "west"
             throttles, then goes silent. The model on this machine answers in the end.
  meaning    questions in other words are answered from the semantic cache, questions that only look alike are not.
  ladder     what answers is switched off, one after another: the second provider, the cache, a simpler model, a
             prepared answer and the error follow, and each reply says why the ones above did not answer.

Each line shows what the engine met and did. The last line is JSON; the exit status is 1 when a scene did not show
what it should: too few answers, a wrong question served, or simulators' logs that disagree with the engine's
reports."""

EXAMPLES: Final = """\
  resilio demo                        all, about a minute
  resilio demo --only meaning         one scene
  resilio demo --questions 2          a shorter failover
  resilio demo --seed 7               "east" draws its faults otherwise
  resilio demo | tail -1              the figures alone"""

SCENES: Final = ("failover", "meaning", "ladder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    most = len(failover.QUESTIONS)
    numbers = range(1, most + 1)
    parser.add_argument(
        "--questions", type=int, choices=numbers, default=most, metavar="N", help=f"1 to {most} (default: {most})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the faults of east (%(default)s)")
    parser.add_argument("--only", choices=SCENES, metavar="SCENE", help=", ".join(SCENES))


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Run the scenes; 1 when one did not show what it should.

    Raises:
        LocalModelUnavailable: The real model is not installed; the message says how to.
    """
    answer_locally()
    return asyncio.run(_run(options, screen))


async def _run(options: argparse.Namespace, screen: Screen) -> int:
    began = time.monotonic()
    good, figures = True, dict[str, Any]()
    if options.only in (None, "failover"):
        well, of_scene = await failover.show(screen, options.questions, options.seed)
        good, figures = good and well, {**figures, **of_scene}
    if options.only in (None, "meaning"):
        well, of_scene = await meaning.show(screen)
        good, figures = good and well, {**figures, **of_scene}
    if options.only in (None, "ladder"):
        well, of_scene = await descent.show(screen)
        good, figures = good and well, {**figures, **of_scene}
    screen.json({**figures, "seconds": round(time.monotonic() - began, 2)})
    return 0 if good else 1
