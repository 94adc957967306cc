"""`resilio machines`: the state machines, from the same tables they run on."""

from __future__ import annotations

import argparse
from typing import Final

from resilio.cli.command import UsageError
from resilio.cli.screen import Screen
from resilio.statemachines import TABLES, docs

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = f"""\
Show state machines as tables of rows (event, from, to, guard, action) or as mermaid diagrams. There are
{", ".join(TABLES)}. What is shown is what runs: there is no second description."""

EXAMPLES: Final = """\
  resilio machines                              every machine as a table
  resilio machines breaker --format mermaid     the circuit breaker, to paste into a page"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="machines to show; default: all")
    parser.add_argument("--format", choices=("table", "mermaid"), default="table", help="default: %(default)s")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show them.

    Raises:
        UsageError: No machine has that name.
    """
    try:
        text = docs.render(options.format, options.names or None)
    except KeyError as exc:
        raise UsageError(exc.args[0]) from exc
    if options.format == "table":
        screen.markdown(text)
    else:
        screen.say(text)
    return 0
