"""The command `resilio`: finds the command, runs it, and turns how it ended into an exit status.

Each command is a module of this package with the shape of `resilio.cli.command.CommandModule`; a row of
`COMMANDS` is all it takes to add one. A module is imported only when its command runs, so `resilio --help` pays
for none of them. Nothing but this module knows about exit statuses:

    0    done
    1    it did not work; the reason is on standard error
    2    the command line or the configuration is wrong
    130  Ctrl-C (141: nobody reads our output any more)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from resilio import __version__
from resilio.cli.command import UsageError
from resilio.cli.screen import Screen
from resilio.errors import ConfigError, ResilioError

if TYPE_CHECKING:
    from resilio.cli.command import CommandModule

__all__ = ["COMMANDS", "Command", "main"]

FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what is typed, the module that does it, one line of help."""

    name: str
    module: str
    help: str


COMMANDS: Final = {
    command.name: command
    for command in (
        Command("ask", "resilio.cli.ask", "ask a question and see who answered"),
        Command("check", "resilio.cli.check", "check a configuration and say what it will do"),
        Command("providers", "resilio.cli.providers", "show every kind of provider, and what it can be asked for"),
        Command("prices", "resilio.cli.prices", "show what models cost, and where that is known from"),
        Command("ctl", "resilio.cli.ctl", "look at a running program's providers, and move them by hand"),
        Command("machines", "resilio.cli.machines", "show the state machines as tables or diagrams"),
        Command("report", "resilio.cli.report", "show where the money went, and why it changed"),
        Command("ledger", "resilio.cli.ledger", "audit, repair or show the file that keeps what was spent"),
        Command("local", "resilio.cli.local", "install, inspect or serve the model on this machine"),
        Command("simulated-provider", "resilio.cli.simulate", "serve a provider that fails as you say"),
        Command("chat", "resilio.cli.chat", "talk with a route, breakers and all"),
        Command("bench", "resilio.cli.bench", "put load on a configuration, real or simulated"),
        Command(
            "calibrate", "resilio.cli.calibrate", "what a threshold of the semantic cache is worth, on labelled pairs"
        ),
        Command("cache", "resilio.cli.cache", "hold a cache to a bound, or replay recorded requests through it"),
        Command("wall", "resilio.cli.wall", "sixteen ways a provider fails, against us or any gateway"),
        Command("demo", "resilio.cli.demo", "failing providers, questions in other words, a walk down the ladder"),
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: As typed after `resilio`; by default those of this process.

    Returns:
        The exit status.

    Raises:
        SystemExit: `--help`, `--version` or a wrong option: argparse has said what there is to say.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character of an answer gets a mark in its place, not a traceback.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # some streams cannot, hence suppress
    if not given or given[0] not in COMMANDS:
        return _no_command(given)
    screen = Screen()
    try:
        status = _run(COMMANDS[given[0]], given[1:], screen)
        sys.stdout.flush()
    except UsageError as exc:
        screen.note(f"resilio {given[0]}: {exc}", "red")
        return WRONG_USAGE
    except ConfigError as exc:
        screen.note(str(exc), "red")
        return WRONG_USAGE
    except ResilioError as exc:
        screen.note(f"resilio {given[0]}: {exc}", "red")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status


def _run(command: Command, arguments: Sequence[str], screen: Screen) -> int:
    module = cast("CommandModule", import_module(command.module))
    parser = argparse.ArgumentParser(
        prog=f"resilio {command.name}",
        description=module.DESCRIPTION,
        epilog=f"examples:\n{module.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(arguments), screen)


def _no_command(given: Sequence[str]) -> int:
    """`resilio` alone, with an option of its own, or with a command there is not."""
    width = max(len(name) for name in COMMANDS)
    listed = "\n".join(f"  {command.name:{width}}  {command.help}" for command in COMMANDS.values())
    parser = argparse.ArgumentParser(
        prog="resilio",
        usage="resilio COMMAND [OPTION ...]",
        description="One await between async Python and every LLM provider.",
        epilog=f"commands:\n{listed}\n\n`resilio COMMAND --help` says more, with examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"resilio {__version__}")
    if given:
        parser.parse_known_args(given)  # --help and --version end here
        near = get_close_matches(given[0], COMMANDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
        parser.error(f"no command {given[0]!r}; {hint}")
    parser.print_help()
    return WRONG_USAGE
