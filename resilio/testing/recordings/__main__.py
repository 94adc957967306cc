"""``python -m resilio.testing.recordings DIR [--json]``: exit status 1 where anything differs, 2 without a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from resilio.testing.recordings import check_folder
from resilio.testing.recordings.check import Summary

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder and print what was found; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m resilio.testing.recordings", description="Hold the codecs against recorded exchanges."
    )
    parser.add_argument("folder", type=Path, help="where the recordings are, one JSON file each")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seed", type=int, default=0, help="for the random cuts")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    summary = check_folder(given.folder, seed=given.seed)
    if given.json:
        sys.stdout.write(orjson.dumps(summary.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(summary)
    return 1 if summary.differences else 0


def _print(summary: Summary) -> None:
    for finding in summary.findings:
        sys.stdout.write(f"{finding.format:12} {finding.kind:6} {finding.outcome:22} {finding.name}\n")
        for line in (*finding.differences, *([finding.note] if finding.note else ())):
            sys.stdout.write(f"{'':20}{line}\n")
    for count in summary.as_json()["counts"]:
        sys.stdout.write(f"{count['count']:5} {count['format']} {count['kind']} {count['outcome']}\n")
    sys.stdout.write(f"{len(summary.passed_over):5} of formats that are not checked\n")
    sys.stdout.write(f"{summary.differences:5} differences\n")


if __name__ == "__main__":
    sys.exit(main())
