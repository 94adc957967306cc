"""Writes the tables of kinds into `docs/providers.md`: ``python -m resilio.providers.support.docs [--check]``.

What stands between ``<!-- kinds: NAME -->`` and ``<!-- end -->`` is replaced: ``addresses``, ``support`` and
``differences``. Not imported by the engine. With ``--check`` nothing is written and a stale page is an error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from resilio.config.kinds import Kind
from resilio.providers.support import differences, known, support

__all__ = ["fill", "main"]

PAGE: Final = Path(__file__).parents[3] / "docs" / "providers.md"
_BLOCK: Final = re.compile(r"^<!-- kinds: (?P<name>\w+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def fill(text: str) -> str:
    """Replace what stands in each block of a page.

    Raises:
        KeyError: A block has a name there is not.
    """
    return _BLOCK.sub(
        lambda block: f"<!-- kinds: {block['name']} -->\n\n{_TABLES[block['name']]()}\n<!-- end -->", text
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _addresses() -> str:
    return _table(("`kind`, prefix", "speaks", "`base_url` unless set", "its key is in"), map(_address, known()))


def _address(kind: Kind) -> tuple[str, str, str, str]:
    prefixes = ", ".join(f"`{name}`" for name in (kind.name, *kind.synonyms))
    where = f"`{kind.url}`" if kind.url else "has to be written" if kind.own_server else "this machine"
    if kind.url_variables and not kind.url:
        where += f"; as a prefix: {_code(kind.url_variables)}"
    keys = _code(kind.key_variables) + ("" if kind.needs_key else ", if it has one") if kind.key_variables else "none"
    return prefixes, f"{kind.format} ({kind.title})", where, keys


def _code(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _support() -> str:
    rows: list[Sequence[str]] = []
    features: list[str] = []
    for kind in known():
        versions = [
            version for version in kind.versions or ("",) if version in ("", kind.version) or _differs(kind, version)
        ]
        for version in versions:
            found = support(kind, version)
            features = list(found)
            rows.append(
                (f"`{kind.name}`{f' {version}' if len(versions) > 1 else ''}", *(its.word for its in found.values()))
            )
    return _table(("kind", *features), rows)


def _differs(kind: Kind, version: str) -> bool:
    return support(kind, version) != support(kind)


def _differences() -> str:
    rows = [(f"`{kind.name}`", text, source) for kind in known() for text, source in differences(kind)]
    return _table(("kind", "what is different", "known from"), rows)


_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "addresses": _addresses,
    "support": _support,
    "differences": _differences,
}


def main(arguments: Sequence[str] | None = None, path: Path = PAGE) -> int:
    """Write the tables, or with ``--check`` say whether they are up to date; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilio.providers.support.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    check = parser.parse_args(arguments).check
    old = path.read_text(encoding="utf-8")
    new = fill(old)
    if new == old:
        return 0
    if check:
        sys.stderr.write(f"{path} is stale; run: python -m resilio.providers.support.docs\n")
        return 1
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
