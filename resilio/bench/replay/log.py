"""A recorded stream of requests: JSON lines, one a request.

    {"at": 12.5, "text": "How do I reset my password?", "intent": "password", "latency": 1.2, "cost_usd": 0.0004}
    {"at": 13.0, "messages": [...], "answer": "Open the settings ...", "user": "ann", "tenant": "acme"}

`text` is one question without history, `messages` a conversation whose last turn is the question. `intent` says which
questions have the same answer; without it, `answer` is compared. What is not given: `at` is the number of the line in
seconds, latency and cost are the reader's defaults.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from resilio.errors import ConfigError

__all__ = ["Logged", "read_log", "write_log"]

SHOWN: Final = 10
"""Problems that are listed."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One request, and what the model did with it."""

    at: float
    """Seconds since the beginning."""
    text: str
    """The question: the last turn."""
    intent: str | None
    """Questions of one intent have one answer; None: `answer` is what is compared."""
    answer: str
    latency: float
    """Seconds the model took."""
    cost_usd: float
    user: str = ""
    tenant: str = ""
    history: str = ""
    """A digest of all earlier turns; empty: there are none."""


def read_log(path: Path, *, latency: float = 1.0, cost_usd: float = 0.001) -> tuple[Logged, ...]:
    """Read a log and put it in order of time.

    Args:
        path: The file; empty lines are left out.
        latency: Seconds, where a line does not say.
        cost_usd: Where a line does not say.

    Raises:
        ConfigError: The file cannot be read, is empty, or has lines that are no request; the first are listed.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"is not UTF-8: {exc}"], str(path)) from exc
    found: list[Logged] = []
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            defaults = {"at": float(len(found)), "latency": latency, "cost_usd": cost_usd}
            found.append(_logged(json.loads(line), defaults))
        except ValueError as exc:
            problems.append(f"line {number}: {exc}")
    if problems:
        rest = len(problems) - SHOWN
        raise ConfigError(problems[:SHOWN] + ([f"and {rest} more"] if rest > 0 else []), str(path))
    if not found:
        raise ConfigError(["holds no requests"], str(path))
    return tuple(sorted(found, key=lambda each: each.at))


def write_log(path: Path, log: Iterable[Logged]) -> None:
    """Write a log of questions without history.

    Raises:
        ConfigError: It cannot be written.
    """
    rows = (
        {"at": each.at, "text": each.text, "intent": each.intent, "answer": each.answer, "latency": each.latency,
         "cost_usd": each.cost_usd, "user": each.user, "tenant": each.tenant}
        for each in log
    )  # fmt: skip
    try:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    except OSError as exc:
        raise ConfigError([f"cannot be written: {exc.strerror}"], str(path)) from exc


def _logged(row: Any, defaults: Mapping[str, float]) -> Logged:
    if not isinstance(row, dict):
        raise ValueError("is not an object")
    text, history = _question(row)
    intent, answer = row.get("intent"), row.get("answer")
    if intent is None and not (isinstance(answer, str) and answer.strip()):
        raise ValueError("has neither an intent nor an answer, so nobody can tell right from wrong")
    figures = {name: _figure(row, name, default) for name, default in defaults.items()}
    return Logged(
        text=text,
        intent=None if intent is None else str(intent),
        answer=answer if isinstance(answer, str) else "",
        user=str(row.get("user") or ""),
        tenant=str(row.get("tenant") or row.get("organisation") or ""),
        history=history,
        **figures,
    )


def _question(row: Mapping[str, Any]) -> tuple[str, str]:
    """The question, and a digest of what came before it."""
    messages = row.get("messages")
    if messages is None:
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise ValueError("has no text, and no messages either")
        return text, ""
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "user" or not isinstance(last.get("content"), str):
        raise ValueError("has messages that do not end with a text of the user")
    earlier = messages[:-1]
    if not earlier:
        return last["content"], ""
    told = json.dumps(earlier, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return last["content"], blake2b(told.encode(errors="replace"), digest_size=16).hexdigest()


def _figure(row: Mapping[str, Any], name: str, default: float) -> float:
    value = row.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least 0, not {value!r:.40}")
    return float(value)
