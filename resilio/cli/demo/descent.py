"""A walk down the ladder: what answers is switched off, one after another, and each reply says who was left.

The primary and the second provider are simulated, so that they can be switched off; the simpler model is the real one
on this machine. Levels and reasons are those of the replies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from resilio.cli.screen import Screen
from resilio.client import Client
from resilio.errors import ResilioError
from resilio.local import DEFAULT_MODEL
from resilio.models import Level, Reply
from resilio.testing import Script, SimulatedProvider, SimulatedServer
from resilio.testing.faults import Error

__all__ = ["QUESTION", "STEPS", "Step", "show"]

QUESTION: Final = "How do I reset a password?"
ANOTHER: Final = "Which planet is the largest?"
FAQ: Final = f"""
[[answer]]
question = "{QUESTION}"
answer = "Open Settings, then Security, then Reset."
"""


class Step(NamedTuple):
    """One thing more is switched off, and what should answer then."""

    off: str
    """``primary``, ``second``, ``cache`` or ``simpler``; empty: nothing yet."""
    level: Level
    target: str
    """Who answers: the beginning of the reply's target."""
    question: str = QUESTION


STEPS: Final = (
    Step("", Level.FULL, "primary/"),
    Step("primary", Level.FULL, "second/"),
    Step("second", Level.CACHED, "second/"),
    Step("cache", Level.SIMPLER, "local/"),
    Step("simpler", Level.STATIC, "static/"),
    Step("", Level.ERROR, "", ANOTHER),
)


async def show(screen: Screen, steps: Sequence[Step] = STEPS) -> tuple[bool, dict[str, Any]]:
    """Walk down; whether each step was answered by who should, and the levels."""
    screen.say()
    screen.say("the ladder: full, cache, simpler, static, and the error last", "bold")
    providers = {
        name: SimulatedProvider(Script(answer=f"The {name} provider answers in full."))
        for name in ("primary", "second")
    }
    levels: list[str] = []
    right = 0
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "faq.toml").write_text(FAQ, encoding="utf-8")
        servers = {name: await stack.enter_async_context(SimulatedServer(its)) for name, its in providers.items()}
        llm = await stack.enter_async_context(Client(_settings({n: s.url for n, s in servers.items()}, folder)))
        off = _switches(llm, providers)
        for step in steps:
            off[step.off]()
            got = await _ask(llm, step)
            levels.append(str(got.level if isinstance(got, Reply) else Level.ERROR))
            right += levels[-1] == step.level and (not isinstance(got, Reply) or got.target.startswith(step.target))
            _tell(screen, step, got)
    return right == len(steps), {"ladder": {"levels": levels, "as_expected": right}}


def _switches(llm: Client, providers: dict[str, SimulatedProvider]) -> dict[str, Callable[[], object]]:
    """How each rung is switched off. The cache is emptied, the local model drained."""

    def fail(name: str) -> None:
        providers[name].script = Script.of(Error("server_is_overloaded"))

    return {
        "": lambda: None,
        "primary": lambda: fail("primary"),
        "second": lambda: fail("second"),
        "cache": llm.purge_cache,
        "simpler": lambda: llm.provider("local").drain(),
    }


def _settings(urls: dict[str, str], folder: Path) -> dict[str, Any]:
    simulated = [
        {"name": name, "kind": "openai", "base_url": url, "models": {"large": {}}} for name, url in urls.items()
    ]
    ladder = ["full", "cache", {"simpler": "small"}, {"static": str(folder / "faq.toml")}]
    return {
        "provider": [*simulated, {"name": "local", "kind": "local"}],
        "cache": {"exact": {"ttl": 3600}},
        "route": {
            "chat": {"targets": ["primary/large", "second/large"], "ladder": ladder},
            "small": {"targets": [f"local/{DEFAULT_MODEL}"], "max_output_tokens": 40},
        },
    }


async def _ask(llm: Client, step: Step) -> Reply | ResilioError:
    """Ask anew, so that the cache answers as a rung and not before anybody was asked."""
    try:
        return await llm.complete("chat", step.question, cache="refresh", deadline=60)
    except ResilioError as exc:
        return exc


def _tell(screen: Screen, step: Step, got: Reply | ResilioError) -> None:
    switched = f"{step.off} off" if step.off else "everything on" if step is STEPS[0] else "another question"
    if isinstance(got, Reply):
        screen.say(f"   {switched:18} level {got.level:8} {got.label:28} by {got.target}", "green")
        screen.say(f"            | {got.text.splitlines()[0] if got.text else ''}", "green")
        for reason in got.reasons:
            screen.say(f"            - {reason}")
    else:
        screen.say(f"   {switched:18} level {Level.ERROR:8} {str(got).splitlines()[0]}", "yellow")
