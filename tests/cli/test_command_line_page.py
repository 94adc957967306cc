"""The page about the command line knows every command and every option there is."""

from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

from resilio.cli import COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"


def options_of(parser):
    """Every long option, those of sub-commands included."""
    for action in parser._actions:
        yield from (name for name in action.option_strings if name.startswith("--") and name != "--help")
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                yield from options_of(child)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_every_option_of_a_command(name):
    section = PAGE.read_text().split(f"\n### {name}\n")[1].split("\n##")[0]
    parser = ArgumentParser()
    import_module(COMMANDS[name].module).add_arguments(parser)
    assert [option for option in options_of(parser) if option not in section] == []
