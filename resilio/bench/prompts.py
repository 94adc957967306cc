"""What a benchmark asks, and how it asks it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from resilio.bench.load import Call
from resilio.client import Client
from resilio.errors import ConfigError
from resilio.models import Message, Reply

__all__ = ["PROMPTS", "caller", "read_prompts"]

Conversation = str | Sequence[Message]

PROMPTS: Final[tuple[Conversation, ...]] = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Summarise in one sentence: the meeting moved from Tuesday to Thursday because the room was taken.",
    "Translate to German: the train leaves at nine.",
    "Name three primary colours.",
    "Is this review positive or negative? The soup was cold and the waiter was rude.",
    "What do bees make?",
    "Write a title for a talk about circuit breakers.",
)
"""Short, of different lengths, and answered by any model."""


def read_prompts(path: Path) -> tuple[Conversation, ...]:
    """Read prompts: a line each, or JSONL: a line each of messages, a string, or ``{"messages": [...]}``.

    A file is JSONL when its name ends in .jsonl; empty lines are left out.

    Raises:
        ConfigError: The file cannot be read, is empty, or holds a line that is no prompt; all are listed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"is not UTF-8: {exc}"], str(path)) from exc
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ConfigError(["holds no prompt"], str(path))
    if path.suffix != ".jsonl":
        return tuple(line for _, line in lines)
    found: list[Conversation] = []
    problems = []
    for number, line in lines:
        try:
            found.append(_conversation(json.loads(line)))
        except ValueError as exc:
            problems.append(f"line {number}: {exc}")
    if problems:
        raise ConfigError(problems, str(path))
    return tuple(found)


def _conversation(value: Any) -> Conversation:
    if isinstance(value, dict):
        value = value.get("messages")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value):
        return value
    raise ValueError('expected a string, a list of messages, or {"messages": [...]}')


def caller(
    llm: Client,
    route: str,
    prompts: Sequence[Conversation],
    wire: Mapping[str, Any],
    *,
    streamed: bool,
    rng: random.Random,
) -> Call:
    """What makes the n-th call: prompts take turns, in an order drawn once.

    Args:
        llm: An open client.
        route: Which route.
        prompts: At least one.
        wire: Further fields of each request.
        streamed: Ask for streams, and read them to their end.
        rng: Draws the order.
    """
    order = rng.sample(list(prompts), len(prompts))
    turns = len(order)

    async def complete(number: int) -> Reply:
        return await llm.complete(route, order[number % turns], **wire)

    async def stream(number: int) -> Reply:
        async with llm.stream(route, order[number % turns], **wire) as answer:
            async for _ in answer:
                pass
        return answer.reply

    return stream if streamed else complete
