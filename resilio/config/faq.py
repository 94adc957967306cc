"""Prepared answers: a file of questions and what is said to them, for the rung `static` of a ladder.

TOML, an array of tables `[[answer]]`, or JSON lines, one object each, with the same keys:

    [[answer]]
    question = "How do I reset a password?"      # or questions = ["...", "..."]
    answer = "Open Settings, Security, Reset."

The settings need the values alone, so what reads and complains is imported when there is a file. Every problem of a
file is found in one run, with its line. Two questions are the same when they differ in case,
punctuation and spaces alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resilio.errors import ConfigError

__all__ = ["Faq", "FaqAnswer", "read_faq", "same_question"]

_KEYS: Final = ("question", "questions", "answer")
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class FaqAnswer:
    """One answer, and the questions it is given to, in different words."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Faq:
    """A whole file."""

    path: str
    answers: tuple[FaqAnswer, ...]


def same_question(text: str) -> str:
    """What two questions have in common that differ in case, punctuation and spaces alone."""
    return " ".join(_WORD.findall(text.casefold()))


def read_faq(path: Path) -> Faq:
    """Read and check a file.

    Raises:
        ConfigError: It cannot be read, or something in it is wrong; every problem is listed with its line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise ConfigError(["there is no such file"], str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"is not UTF-8 text (byte {exc.start})"], str(path)) from exc
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    problems: list[str] = []
    rows = _json_lines(text, problems) if path.suffix in (".jsonl", ".ndjson") else _toml(text, path)
    answers = tuple(_checked(rows, problems))
    if not answers and not problems:
        problems.append("holds no answers: write [[answer]] with question and answer in it")
    if problems:
        raise ConfigError(problems, str(path))
    return Faq(str(path), answers)


def _toml(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    import tomllib

    from resilio.config.problems import listed
    from resilio.config.toml_lines import line_of, locate

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError([f"is not TOML: {exc}"], str(path)) from exc
    lines = locate(text)
    for key in document:
        if key != "answer":
            where = line_of(lines, (key,))
            raise ConfigError([f"line {where}: unknown section{listed(key, ('answer',))}"], str(path))
    rows = document.get("answer", [])
    if not isinstance(rows, list):
        raise ConfigError(["answer: expected an array of tables: write [[answer]]"], str(path))
    for index, row in enumerate(rows):
        yield line_of(lines, ("answer", index)) or 0, row


def _json_lines(text: str, problems: list[str]) -> Iterator[tuple[int, Any]]:
    import orjson

    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield number, orjson.loads(line)
        except ValueError as exc:
            problems.append(f"line {number}: is not JSON: {exc}")


def _checked(rows: Iterable[tuple[int, Any]], problems: list[str]) -> Iterator[FaqAnswer]:
    from resilio.config.problems import shown

    seen: dict[str, int] = {}
    for line, row in rows:
        found = _row(row)
        if isinstance(found, str):
            problems.append(f"line {line}: {found}")
            continue
        for question in found.questions:
            same = same_question(question)
            if same in seen:
                where = f"line {seen[same]}" if seen[same] != line else "the same answer"
                problems.append(f"line {line}: question {shown(question)} stands at {where} already")
            seen.setdefault(same, line)
        yield found


def _row(row: Any) -> FaqAnswer | str:
    """One answer; or what is wrong with it."""
    from resilio.config.problems import listed, shown

    if not isinstance(row, Mapping):
        return f"is {shown(row)}; expected an object with question and answer"
    for key in row:
        if key not in _KEYS:
            return f"unknown key {shown(key)}{listed(str(key), _KEYS)}"
    if "question" in row and "questions" in row:
        return "has both question and questions; write one of them"
    questions = row.get("questions", [row["question"]] if "question" in row else [])
    if not isinstance(questions, list) or not questions:
        return "has no question"
    for question in questions:
        if not isinstance(question, str) or not same_question(question):
            return f"question {shown(question)} has no words"
    answer = row.get("answer")
    if not isinstance(answer, str) or not answer.strip():
        return f"the answer to {shown(questions[0])} is empty"
    return FaqAnswer(tuple(questions), answer.strip())
