"""`resilio prices`: what models cost, where that is from, and price files out of LiteLLM's list."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

from resilio.catalogue import Priced, priced
from resilio.cli.command import UsageError
from resilio.cli.screen import Screen
from resilio.config import Config, ModelSettings, ProviderSettings, Rates, load_config
from resilio.config.price_file import read_document
from resilio.config.wording import price_words

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = """\
Show prices in US dollars for a million tokens, context windows, and where both are from: of models by name, as
genai-prices knows them, or of every model of a configuration, as its calls will be charged. An unknown price is said
to be unknown, with the reason. `import FILE` turns LiteLLM's list (JSON) into a price file for `[prices] file`."""

EXAMPLES: Final = """\
  resilio prices                                   the models of ./resilio.toml
  resilio prices gpt-4o anthropic/claude-sonnet-5  two models by name
  resilio prices --at 2026-03-01 gpt-5.6 --json    as of a day, for a program
  resilio prices import litellm.json gpt-4o > prices.toml"""

_IMPORT: Final = "import"
_ASKED: Final = "asked"
_DEFAULT: Final = "resilio.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "names", nargs="*", metavar="MODEL", help='"model" or "seller/model"; or: import FILE [MODEL ...]'
    )
    parser.add_argument("--config", default=_DEFAULT, metavar="FILE", help="its models; default: ./%(default)s")
    parser.add_argument("--at", type=_day, metavar="DAY", help="prices of this day, as 2026-03-01; default: now")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show them.

    Raises:
        UsageError: There is no such file, or nothing to show.
        ConfigError: The configuration is wrong.
    """
    names: list[str] = options.names
    if names[:1] == [_IMPORT]:
        return _import(names[1:], screen)
    at = options.at or datetime.now(UTC)
    if not names and options.config == _DEFAULT and not os.path.exists(_DEFAULT):
        raise UsageError("there is no ./resilio.toml: name models, or a configuration with --config")
    found = priced(_of_names(names) if names else load_config(options.config), at)
    rows = {
        model.price_as or name if names else f"{provider.name}/{name}": (f"{provider.name}/{name}", model)
        for provider in found.config.providers
        for name, model in provider.models.items()
    }
    if options.json:
        screen.json({"at": at.isoformat(), "hint": found.hint, "models": _plain(rows, found)})
    else:
        screen.table(("model", "price, USD for 1M tokens", "window", "from"), _table(rows, found))
        if found.hint:
            screen.note(found.hint, "yellow")
    return 0 if all(model.price is not None for _, model in rows.values()) else 1


def _of_names(names: Sequence[str]) -> Config:
    """A configuration that does nothing but name these models."""
    models = {str(index): ModelSettings(price_as=name) for index, name in enumerate(dict.fromkeys(names))}
    return Config(providers=(ProviderSettings(name=_ASKED, kind="openai", models=models),))


def _plain(rows: Mapping[str, tuple[str, ModelSettings]], found: Priced) -> dict[str, Any]:
    return {
        name: {
            "price": None if model.price is None else asdict(model.price),
            "unknown": found.unknown.get(full) if model.price is None else None,
            "context_window": model.context_window,
        }
        for name, (full, model) in rows.items()
    }


def _table(rows: Mapping[str, tuple[str, ModelSettings]], found: Priced) -> list[tuple[str, str, str, str]]:
    table = []
    for name, (full, model) in rows.items():
        window = "unknown" if model.context_window is None else f"{model.context_window:,}"
        price = model.price
        if price is None:
            table.append((name, "unknown", window, found.unknown.get(full, "no price is set")))
            continue
        table.append((name, price_words(price), window, price.source))
        others: list[tuple[str, Rates]] = [(f"  over {step.above:,} tokens", step) for step in price.long_prompts]
        others += [(f"  {tier}", its) for tier, its in price.service.items()]
        table += [(what, price_words(rates), "", "") for what, rates in others]
    return table


def _day(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), time(12), UTC)


# --- LiteLLM's list to a price file ------------------------------------------------------------


def _import(arguments: Sequence[str], screen: Screen) -> int:
    """Print a price file with the models asked for, or with all that have a price."""
    if not arguments:
        raise UsageError("import what? write: resilio prices import FILE [MODEL ...]")
    file, *wanted = arguments
    try:
        entries = read_document(file)
    except ValueError as exc:
        raise UsageError(f"{file} {exc}") from exc
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise UsageError(f"{file} has no model {', '.join(map(repr, missing))}")
    chosen = {name: entries[name] for name in wanted or entries if entries[name]}
    screen.say(f"# From {Path(file).name}. US dollars for a million tokens. Read by [prices] file.")
    for name, entry in chosen.items():
        screen.say(f"\n[models.{json.dumps(name)}]")
        for key, value in entry.items():
            screen.say(f"{key} = {_toml(value)}")
    screen.note(f"{len(chosen)} of {len(entries)} models")
    return 0


def _toml(value: Any) -> str:
    """A value as TOML writes it on one line; strings and numbers look as in JSON."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(its)}' for key, its in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
