"""`resilio check`: is this configuration sound, and what will it do?"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Final

from resilio.catalogue import priced
from resilio.cli.screen import Screen
from resilio.config import load_config
from resilio.config.explain import explain
from resilio.errors import ConfigError

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = """\
Read a configuration as strictly as the engine does. When it is sound, say what a call of each route will meet:
targets, clocks, attempts, ladder, breakers. When it is not, list every problem with its path (exit status 2).
Keys are looked up in the environment and in files, and never shown; commands that give keys are not run."""

EXAMPLES: Final = """\
  resilio check resilio.toml           what each route will do, or what is wrong
  resilio check resilio.toml --json    the same for a program
  resilio check && start-my-service    refuse to start on a wrong ./resilio.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", nargs="?", default="resilio.toml", metavar="FILE", help="default: ./%(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Check it.

    Raises:
        ConfigError: It is wrong.
    """
    try:
        known = priced(load_config(options.file), datetime.now(UTC))
        found = explain(known.config, known.unknown, known.hint)
    except ConfigError as exc:
        if options.json:
            screen.json({"sound": False, "file": options.file, "problems": exc.problems})
        raise
    if options.json:
        screen.json({"sound": True, "file": options.file, **found.as_dict()})
    else:
        screen.say(f"{options.file} is sound\n", "green")
        screen.say(found.as_text())
    return 0
