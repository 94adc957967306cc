"""Tables of settings inside the pages of `docs/`, written from the settings themselves.

A page says where it wants one with a pair of comments; what stands between them is replaced:

    <!-- defaults: RetrySettings -->
    <!-- end -->

or, for those settings alone whose names begin so, ``<!-- defaults: RouteSettings hedge* -->``.

`fill` and `settings_table` are pure text; only `main` touches files, and only when run:

    python -m resilio.config.docs            bring the pages up to date
    python -m resilio.config.docs --check    exit with 1 if one is stale

Names, defaults, units, bounds and meanings come from the annotations in `resilio.config.settings`, so a
page cannot disagree with the code: a test fails while it is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_type_hints

from resilio.config import settings

__all__ = ["fill", "main", "settings_table"]

PAGES: Final = Path(__file__).resolve().parents[2] / "docs"
"""Of a checkout; an installed package has no pages."""

_BLOCK: Final = re.compile(
    r"^<!-- defaults: (?P<name>\w+)(?: (?P<only>\w+)\*)? -->\n(?P<old>.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL
)
_OPENING: Final = re.compile(r"^[ \t]*<!-- *defaults:.*$", re.MULTILINE)


def fill(text: str) -> str:
    """Replace what stands between each pair of markers of a page by the table it asks for.

    Raises:
        ValueError: A marker names no settings, or has no ``<!-- end -->`` of its own.
    """
    blocks = list(_BLOCK.finditer(text))
    whole = {block.start() for block in blocks if not _OPENING.search(block["old"])}
    for opening in _OPENING.finditer(text):
        if opening.start() not in whole:
            raise ValueError(
                f"marker {opening[0].strip()!r} is not one settings class on a line of its own, "
                "followed by a line '<!-- end -->'"
            )
    return _BLOCK.sub(_filled, text)


def _filled(block: re.Match[str]) -> str:
    name, only = block["name"], block["only"] or ""
    cls = getattr(settings, name, None)
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise ValueError(f"marker 'defaults: {name}' names no class of resilio.config.settings")
    marker = f"{name} {only}*" if only else name
    return f"<!-- defaults: {marker} -->\n\n{settings_table(cls, only)}\n\n<!-- end -->"


def settings_table(cls: type[Any], only: str = "") -> str:
    """A markdown table of a settings class: name, default, unit, bounds and meaning of each field that is written.

    Args:
        cls: The class.
        only: How the names of the fields begin that are told.

    Raises:
        ValueError: A field carries no `Setting`, so nothing can be said of it; or none is told.
    """
    hints = get_type_hints(cls, include_extras=True)
    lines = ["| setting | default | unit | allowed | meaning |", "|---|---|---|---|---|"]
    for field in fields(cls):
        metadata = getattr(hints[field.name], "__metadata__", ())
        setting = next((each for each in metadata if isinstance(each, settings.Setting)), None)
        if setting is None:
            raise ValueError(f"{cls.__name__}.{field.name} carries no Setting to document it")
        if not field.name.startswith(only):
            continue
        if not setting.doc:  # nobody writes it: the loader fills it in
            continue
        cells = (f"`{field.name}`", _default(field), setting.unit, _bounds(setting), setting.doc)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    if only and len(lines) == 2:
        raise ValueError(f"{cls.__name__} has no setting that begins with {only!r}")
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "required"
    if value is None:  # TOML has no way to write it
        return "not set"
    if is_dataclass(value):
        return f"as `{type(value).__name__}`"
    if value == settings.ALL_CAPABILITIES:
        return "all of them"
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    """A value as a configuration file spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) >= 1e6:
        return f"{int(value):_}"  # not as a power of ten
    if isinstance(value, float):
        return f"{value:g}" if value == float(f"{value:g}") else repr(value)
    if isinstance(value, int):
        return f"{value:_}"
    if is_dataclass(value):  # a rung: its kind says it
        return _toml(getattr(value, "kind", type(value).__name__))
    if isinstance(value, str):
        return f'"{value.value if isinstance(value, Enum) else value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Collection):
        each = sorted(value) if isinstance(value, frozenset) else value
        return "[" + ", ".join(_toml(item) for item in each) + "]"
    raise TypeError(f"no spelling for {value!r}: teach it to resilio.config.docs")


def _bounds(setting: settings.Setting) -> str:
    low = None if setting.minimum is None else f">= {setting.minimum:g}"
    if setting.above is not None:
        low = f"> {setting.above:g}"
    high = None if setting.maximum is None else f"<= {setting.maximum:g}"
    return ", ".join(bound for bound in (low, high) if bound is not None)


def main(argv: Sequence[str] | None = None) -> int:
    """Bring all pages up to date, or check them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilio.config.docs", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    parser.add_argument("pages", nargs="?", type=Path, default=PAGES, help="folder of *.md files")
    arguments = parser.parse_args(argv)
    stale = []
    for path in sorted(arguments.pages.rglob("*.md")):
        old = path.read_text(encoding="utf-8")
        try:
            new = fill(old)
        except ValueError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        if new != old:
            stale.append(path)
            if not arguments.check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{path}: {'stale; run python -m resilio.config.docs' if arguments.check else 'written'}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
