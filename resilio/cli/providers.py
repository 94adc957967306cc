"""`resilio providers`: every kind of provider, what it can be asked for, and which key it would use.

What is shown is what the engine goes by: codecs are asked, addresses and differences are rows of a table. Of a key it
is told whether its variable is set, and never more.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from resilio.cli.command import UsageError
from resilio.cli.screen import Screen
from resilio.config.implied import conventional_key, unknown_provider
from resilio.config.kinds import KINDS, PREFIXES, Kind
from resilio.providers.support import differences, known, support

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = """\
Show every kind of provider: its wire format, what of a request it can honour, its address, and the variable that holds
its key, with whether that is set. With a kind's name: each feature with the reason where it lacks, in every version of
the API, and what is done differently for it, with the page it is known from. A kind's name is also the prefix that
means it in a target: "anthropic/claude-sonnet-4-5"."""

EXAMPLES: Final = """\
  resilio providers             all of them
  resilio providers mistral     one, with its differences
  resilio providers --json      for a program"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help="show this one in detail; default: all, in a table")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show them.

    Raises:
        UsageError: There is no such kind.
    """
    if options.kind is None:
        if options.json:
            screen.json({"kinds": [_plain(kind) for kind in known()]})
        else:
            head, rows = _table(known())
            if screen.width is None or _width(head, rows) <= screen.width:
                screen.table(head, rows)
            else:
                screen.table(*_narrow_table(known()))
                screen.say("Whatever is not named is supported; `resilio providers KIND` says more of one.")
        return 0
    kind = PREFIXES.get(options.kind)
    if kind is None or kind not in known():
        raise UsageError(f"no kind is called {options.kind!r}{unknown_provider(options.kind, KINDS)}")
    if options.json:
        screen.json(_plain(kind))
    else:
        _details(kind, screen)
    return 0


def _table(kinds: Sequence[Kind]) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows: list[Sequence[str]] = []
    features: list[str] = []
    for kind in kinds:
        found = support(kind)
        features = list(found)
        words = [its.word for its in found.values()]
        rows.append((kind.name, kind.format, *words, _address(kind), _key(kind, os.environ)))
    return ("kind", "format", *features, "address", "key"), rows


def _width(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns that a table takes with its borders and the space around each cell."""
    return sum(max(len(row[column]) for row in (head, *rows)) + 3 for column in range(len(head))) + 1


def _narrow_table(kinds: Sequence[Kind]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The same where a column a feature has no room: what lacks, in words."""
    rows: list[Sequence[str]] = []
    for kind in kinds:
        found = support(kind)
        none = [name for name, its in found.items() if its.word == "no"]
        some = [f"{name}: only {its.word}" for name, its in found.items() if its.why and its.word != "no"]
        rows.append(
            (kind.name, "; ".join([*([", ".join(none)] if none else []), *some]) or "nothing", _key(kind, os.environ))
        )
    return ("kind", "what lacks", "key"), rows


def _key(kind: Kind, environ: Mapping[str, str]) -> str:
    """The variable that would be read, and whether it is set."""
    if not kind.key_variables:
        return "none"
    variable = conventional_key(kind, environ)
    if variable is not None:
        return f"{variable}: set"
    return f"{' or '.join(kind.key_variables)}: not set{'' if kind.needs_key else ', not needed'}"


def _address(kind: Kind) -> str:
    return kind.url or ("your own, as base_url" if kind.own_server else "this machine")


def _details(kind: Kind, screen: Screen) -> None:
    screen.say(f"{kind.name}: {kind.title}, {kind.format}")
    screen.say(f"address: {_address(kind)}")
    screen.say(f"key: {_key(kind, os.environ)}")
    if kind.url_variables:
        screen.say(f"address, where nobody declares it: {' or '.join(kind.url_variables)}")
    names = " or ".join(f"{name}/{kind.example}" for name in (kind.name, *kind.synonyms))
    screen.say(f"as a target: {names}")
    versions = kind.versions or ("",)
    found = [support(kind, version) for version in versions]
    rows = []
    for feature in found[0]:
        why = dict.fromkeys(reason for each in found for reason in each[feature].why)
        rows.append((feature, *(each[feature].word for each in found), "; ".join(why)))
    screen.say("")
    screen.table(("feature", *(version or "supported" for version in versions), "what lacks"), rows)
    if kind.quirks:
        screen.say("")
        screen.table(("what is different", "known from"), list(differences(kind)))


def _plain(kind: Kind) -> dict[str, Any]:
    """One kind for a JSON writer."""
    return {
        "name": kind.name,
        "title": kind.title,
        "format": kind.format,
        "address": kind.url or None,
        "prefixes": [kind.name, *kind.synonyms],
        "key_variables": list(kind.key_variables),
        "key_set": conventional_key(kind, os.environ) is not None,
        "key_needed": kind.needs_key,
        "versions": {
            version or "": {
                name: {"support": its.word, "why": list(its.why)} for name, its in support(kind, version).items()
            }
            for version in kind.versions or ("",)
        },
        "differences": [
            {"what": quirk.do.value, "field": quirk.field, "says": str(quirk), "source": quirk.source}
            for quirk in kind.quirks
        ],
    }
