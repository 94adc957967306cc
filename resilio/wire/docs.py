"""Writes the table of errors in `docs/dialects-out.md` from the one the code runs on.

    python -m resilio.wire.docs            bring the page up to date
    python -m resilio.wire.docs --check    exit with 1 if it is stale

Not imported by the engine: the one file in `wire` that reads and writes files.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from resilio.wire.faults import CLASSES, FAULTS, TYPES

__all__ = ["main", "table"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "dialects-out.md"
_BLOCK: Final = re.compile(
    r"(<!-- Written by `python -m resilio\.wire\.docs`\. -->\n).*?(<!-- end -->)", re.DOTALL
)  # fmt: skip
_OTHERS: Final = {
    "refused": ["`CheckDenied`"],
    "unavailable": ["`Exhausted`, where attempts have no class in common"],
    "internal": ["`CheckDenied`, where a check failed or timed out", "whatever is no `ResilioError`"],
}
"""What `fault_of` finds by looking closer."""


def table() -> str:
    """A row for each kind of error."""
    lines = ["| errors and classes of provider errors | OpenAI: status, `code` | Anthropic: status, `type` | retry |"]
    lines.append("|---|---|---|---|")
    for kind, row in FAULTS.items():
        found = [f"`{its.__name__}`" for its, name in TYPES if name == kind] + _OTHERS.get(kind, [])
        found += [f"class `{its.value}`" for its, name in CLASSES.items() if name == kind]
        retry = "the client's choice" if row.sheds else "no"
        own = f"{row.anthropic_status} `{row.anthropic_type}`"
        lines.append(f"| {'; '.join(found)} | {row.status} `{row.code}` | {own} | {retry} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, path: Path = PAGE) -> int:
    """Write the table, or only compare; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilio.wire.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    options = parser.parse_args(arguments)
    text = path.read_text(encoding="utf-8")
    made = _BLOCK.sub(lambda found: f"{found[1]}\n{table()}\n\n{found[2]}", text)
    if made == text:
        return 0
    if options.check:
        sys.stderr.write(f"{path} is stale; run: python -m resilio.wire.docs\n")
        return 1
    path.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
