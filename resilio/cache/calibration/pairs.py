"""Labelled pairs of questions: JSON lines, each with two questions and whether one answer serves both.

    {"a": "How do I reset my password?", "b": "I forgot my password, how do I set a new one?", "same": 1}
    {"a": "How do I reset my password?", "b": "How do I reset my PIN?", "same": 0, "kind": "entity"}

Other names of the fields that are in use are understood (see `NAMES`). The rule that makes a set worth measuring on:
what is labelled different should be the *nearest* different question there is, not any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from resilio.errors import ConfigError

__all__ = ["NAMES", "SHIPPED", "Pair", "read_pairs"]

SHIPPED: Final = Path(__file__).parents[1] / "data" / "pairs.jsonl"
"""The set that comes with resilio: 612 pairs in twelve domains, half paraphrases and half traps, written for it."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "a": ("a", "kept", "question1", "question_a", "sentence1", "text_a", "query"),
    "b": ("b", "asked", "question2", "question_b", "sentence2", "text_b", "candidate"),
    "same": ("same", "is_duplicate", "label", "match"),
    "kind": ("kind", "cat", "category", "type"),
    "domain": ("domain", "topic"),
}
"""What a field may be called."""
_LABELS: Final[Mapping[Any, bool]] = {
    True: True, False: False, "1": True, "0": False, "true": True, "false": False, "yes": True, "no": False,
    "same": True, "different": False, "duplicate": True, "paraphrase": True,
}  # fmt: skip
SHOWN: Final = 10
"""Problems that are listed."""


class Pair(NamedTuple):
    """Two questions."""

    a: str
    """The one whose answer is kept."""
    b: str
    """The one that is asked afterwards."""
    same: bool
    """One answer serves both."""
    kind: str = ""
    """What makes them differ, or alike."""
    domain: str = ""


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Read a set; empty lines are left out.

    Raises:
        ConfigError: The file cannot be read, is empty, or has lines that are no pair, or that another line has
            already, in either order; the first are listed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"is not UTF-8: {exc}"], str(path)) from exc
    pairs, problems = [], []
    seen: dict[frozenset[str], tuple[int, bool]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            pair = _pair(json.loads(line))
            before, same = seen.setdefault(frozenset((pair.a, pair.b)), (number, pair.same))
            if same != pair.same:
                raise ValueError(f"contradicts line {before}: the same two questions have another label")
            if before != number:
                raise ValueError(f"repeats line {before}: bounds hold for pairs that are each counted once")
            pairs.append(pair)
        except ValueError as exc:
            problems.append(f"line {number}: {exc}")
    if problems:
        rest = len(problems) - SHOWN
        raise ConfigError(problems[:SHOWN] + ([f"and {rest} more"] if rest > 0 else []), str(path))
    if not pairs:
        raise ConfigError(["holds no pairs"], str(path))
    return tuple(pairs)


def _pair(row: Any) -> Pair:
    if not isinstance(row, dict):
        raise ValueError("is not an object with two questions and a label")
    a, b = _text(row, "a"), _text(row, "b")
    if a == b:
        raise ValueError("has the same question twice, which the exact cache answers")
    label = _field(row, "same")
    wanted = label.lower() if isinstance(label, str) else label
    # 1.0 and 1 are the same key as True; lists and objects cannot be one.
    if isinstance(wanted, list | dict) or wanted not in _LABELS:
        raise ValueError(f"has no label: {' or '.join(NAMES['same'])} must be 1 (the same) or 0, not {label!r:.40}")
    kind, domain = (_field(row, name) for name in ("kind", "domain"))
    return Pair(a, b, _LABELS[wanted], str(kind or ""), str(domain or ""))


def _text(row: Mapping[str, Any], field: str) -> str:
    value = _field(row, field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no question {field!r}: one of {', '.join(NAMES[field])} must be a text")
    return value


def _field(row: Mapping[str, Any], field: str) -> Any:
    return next((row[name] for name in NAMES[field] if row.get(name) is not None), None)
