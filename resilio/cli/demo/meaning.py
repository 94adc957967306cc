"""The semantic cache at work: questions in other words cost nothing, questions that only look alike are asked.

Whether a question was served from the cache stands in its reply; that nothing was sent for it is counted from the
engine's own events of attempts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resilio.cli.ask import local_messages
from resilio.cli.screen import Screen
from resilio.client import Client
from resilio.errors import EmbedderUnavailable
from resilio.events import AttemptEnded, Event
from resilio.local import DEFAULT_MODEL

__all__ = ["TALKS", "Talk", "Turn", "show"]


MOST_TOKENS: Final = 200
"""Enough for whole sentences: an answer that is cut is not stored."""


class Turn(NamedTuple):
    """One question, and whether the cache should answer it."""

    question: str
    cached: bool


class Talk(NamedTuple):
    """Questions that meet one cache."""

    settings: Mapping[str, Any]
    turns: Sequence[Turn]


TALKS: Final = (
    Talk(
        {"profile": "faq"},
        (
            Turn("What is the capital of France?", cached=False),
            Turn("Tell me France's capital city", cached=True),
            Turn("What is the capital of Germany?", cached=False),
        ),
    ),
    Talk(
        {"threshold": 0.87},
        (
            Turn("What is photosynthesis?", cached=False),
            Turn("Explain photosynthesis", cached=True),
            Turn("How does photosynthesis work?", cached=True),
        ),
    ),
)


async def show(
    screen: Screen, talks: Sequence[Talk] = TALKS, *, client: Callable[..., Client] = Client
) -> tuple[bool, dict[str, Any]]:
    """Ask; whether each question came from where it should, and the figures."""
    turns = right = served = sent = 0
    for talk in talks:
        told = ", ".join(f"{name} = {value!r}" for name, value in talk.settings.items())
        screen.say()
        screen.say(f"semantic cache, {told}", "bold")
        try:
            answers = await _ask(screen, talk, client)
        except EmbedderUnavailable as exc:
            screen.say(f"   {exc}", "red")
            return False, {"meaning": None}
        for turn, (cached, attempts) in zip(talk.turns, answers, strict=True):
            turns, served, sent = turns + 1, served + cached, sent + attempts
            right += cached == turn.cached and attempts == (not cached)
    figures = {"questions": turns, "from_cache": served, "upstream_calls": sent, "as_expected": right}
    return right == turns, {"meaning": figures}


async def _ask(screen: Screen, talk: Talk, client: Callable[..., Client]) -> list[tuple[bool, int]]:
    """For each question whether the cache answered, and how many requests were sent for it."""
    attempts = 0

    def hear(event: Event) -> None:
        nonlocal attempts
        # A connection that the server had closed while it idled is replayed at once: one request, seen twice.
        attempts += isinstance(event, AttemptEnded) and event.attempt.error is None

    settings = {
        "provider": [{"name": "local", "kind": "local"}],
        "route": {"chat": {"targets": [f"local/{DEFAULT_MODEL}"], "max_output_tokens": MOST_TOKENS}},
        "cache": {"semantic": dict(talk.settings)},
    }
    found = []
    async with client(settings, listeners=[hear]) as llm:
        for turn in talk.turns:
            before, began = attempts, time.monotonic()
            reply = await llm.complete("chat", local_messages(turn.question), temperature=0)
            took = 1000 * (time.monotonic() - began)
            hit = reply.cached
            how = "asked upstream" if hit is None else f"{hit.kind} (similarity {hit.similarity:.3f}), nothing sent"
            screen.say(f"   {turn.question:34} {took:7.1f} ms  {how}", "" if hit is None else "green")
            screen.say(f"            | {reply.text.splitlines()[0] if reply.text else ''}", "green")
            found.append((hit is not None, attempts - before))
    return found
