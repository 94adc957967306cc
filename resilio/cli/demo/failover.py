"""Providers that fail in front of a model that is real, and every question answered.

Two simulated providers on loopback sockets fail in different ways; behind them stands the model on this machine.
Questions go through `Client.complete` and `Client.stream` like a program's. What is printed comes from the
engine's events and replies, the figures in the last line from them and from the simulators' own logs, which
must agree: a demo that only says it works would prove nothing.
"""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from resilio.cli.ask import LOCAL_TEMPERATURE, local_messages
from resilio.cli.screen import Screen
from resilio.cli.simulate import mixture
from resilio.client import Client
from resilio.errors import ResilioError
from resilio.events import AttemptEnded, BreakerChanged, Event
from resilio.local import DEFAULT_MODEL
from resilio.models import AttemptRecord, Reply
from resilio.testing import Script, SimulatedProvider, SimulatedServer
from resilio.testing.faults import Cut, Error, Html, Reset, Silence

__all__ = ["LOCAL", "QUESTIONS", "Show", "figures", "make_simulators", "show"]

QUESTIONS: Final = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Name three primary colours.",
    "What do bees make?",
    "What is photosynthesis?",
    "Write one sentence about the sea.",
)
ENOUGH: Final = 5
"""So many of the questions must be answered by the real model, or all where fewer are asked."""

LOCAL: Final = f"local/{DEFAULT_MODEL}"
SHOWN_LINES: Final = 3
WIDTH: Final = 96


def make_simulators(seed: int) -> dict[str, SimulatedProvider]:
    """Two providers that never answer well, each in its own way; `seed` draws the faults of east."""
    east = mixture([Error("server_is_overloaded"), Reset(), Cut(after=0, clean=False)])
    # Throttled first; then a stream is never answered, and a unary call gets the page of some proxy.
    west = Script().first(1, Error("rate_limit_exceeded", retry_after=2.0)).with_rule(Silence(), stream=True)
    return {
        "east": SimulatedProvider(east, seed=seed),
        "west": SimulatedProvider(west.with_rule(Html(502)), seed=seed),
    }


def _settings(urls: Mapping[str, str]) -> dict[str, Any]:
    """Short clocks and breaks, so that a minute shows what otherwise takes an hour."""
    breaker = {"consecutive_failures": 3, "break_duration": 4.0, "max_break_duration": 8.0, "early_probes": False}
    simulated = [
        {"name": name, "kind": "openai", "base_url": url, "models": {"large": {}}, "breaker": breaker}
        for name, url in urls.items()
    ]
    real = {"target": LOCAL, "first_token": 50.0}  # a cold start on a busy machine
    return {
        "defaults": {"deadline": 60.0},
        "provider": [*simulated, {"name": "local", "kind": "local"}],
        "route": {
            "chat": {
                "targets": [*(f"{name}/large" for name in urls), real],
                "max_output_tokens": 60,
                # One more than the targets: a 502 is tried twice on the same target.
                "retry": {"max_attempts": 4},
                "clocks": {"connect": 1.0, "first_token": 1.0, "idle": 10.0, "total": 55.0},
            }
        },
    }


async def show(screen: Screen, questions: int, seed: int) -> tuple[bool, dict[str, Any]]:
    """Ask so many questions; whether it showed what it should, and the figures."""
    simulators = make_simulators(seed)
    its = Show(screen, time.monotonic())
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(SimulatedServer(its)) for name, its in simulators.items()}
        urls = {name: server.url for name, server in servers.items()}
        screen.say("".join(f"{name}: {url}   " for name, url in urls.items()) + f"behind them: {LOCAL}")
        screen.say("deadline 60 s, first token 1 s, a breaker opens after 3 failures in a row, for 4 s at first")
        llm = await stack.enter_async_context(Client(_settings(urls), listeners=[its.hear]))
        for number, question in enumerate(QUESTIONS[:questions], 1):
            await its.ask(llm, number, question, streamed=number % 3 != 0)
    return figures(its, simulators, enough=min(ENOUGH, questions))


@dataclass(slots=True)
class Show:
    """Asks, prints what the engine says while it works, and keeps what the figures are made of."""

    screen: Screen
    began: float
    replies: dict[str, Reply] = field(default_factory=dict)
    """By question."""
    attempts: list[AttemptRecord] = field(default_factory=list)
    """Of every call, answered or not."""
    breaks: int = 0

    async def ask(self, llm: Client, number: int, question: str, *, streamed: bool) -> None:
        """One question, whole or as a stream."""
        self.screen.say()
        self._line(f"{number}. {question}  [{'stream' if streamed else 'complete'}]", "bold")
        messages = local_messages(question)
        try:
            if streamed:
                async with llm.stream("chat", messages, temperature=LOCAL_TEMPERATURE) as stream:
                    async for _ in stream:
                        pass
                reply = stream.reply
            else:
                reply = await llm.complete("chat", messages, temperature=LOCAL_TEMPERATURE)
        except ResilioError as exc:
            self.attempts += exc.attempts
            self._line(f"   no answer: {str(exc).splitlines()[0]}", "red")
            return
        await asyncio.sleep(0)  # what was heard last is printed
        self.attempts += reply.attempts
        self.replies[question] = reply
        written = [line for paragraph in reply.text.splitlines() for line in textwrap.wrap(paragraph, WIDTH)]
        for line in written[:SHOWN_LINES]:
            self.screen.say(f"            | {line}", "green")
        if len(written) > SHOWN_LINES:
            self.screen.say(f"            | ({len(written) - SHOWN_LINES} more lines)", "green")
        tried = f"{len(reply.attempts)} attempt{'s' if len(reply.attempts) != 1 else ''}"
        self._line(f"   level {reply.level} by {reply.target}, {tried}, {reply.latency:.2f} s")

    def hear(self, event: Event) -> None:
        """Print attempts and breaker changes as they happen."""
        if isinstance(event, AttemptEnded):
            attempt = event.attempt
            what = "answered" if attempt.error is None else attempt.error.splitlines()[0]
            marks = "".join(f" [{name}]" for name in ("probe", "replay") if getattr(attempt, name))
            style = "" if attempt.error is None else "yellow"
            self._line(f"   {attempt.target:20} {attempt.elapsed:5.2f} s{marks}  {what}", style)
        elif isinstance(event, BreakerChanged):
            self.breaks += event.dest == "open"
            wait = "" if event.break_duration is None else f" for {event.break_duration:.1f} s"
            text = f"   breaker of {event.name}: {event.source} -> {event.dest}{wait}"
            # An attempt settles, which moves the breaker, before it is reported: one turn of the loop puts
            # cause and effect in their order.
            asyncio.get_running_loop().call_soon(self._line, text, "magenta")

    def _line(self, text: str, style: str = "") -> None:
        self.screen.say(f"{time.monotonic() - self.began:6.2f} s {text}", style)


def figures(show: Show, simulators: Mapping[str, SimulatedProvider], *, enough: int) -> tuple[bool, dict[str, Any]]:
    """Print the table, and tell whether the figures are what the demo is about.

    What the engine says of itself is held against what the simulators saw: each request and its end, and which
    questions failed somewhere before they were answered elsewhere.
    """
    answered = {question: reply for question, reply in show.replies.items() if reply.text.strip()}
    answers = sum(1 for reply in answered.values() if reply.target == LOCAL)
    failovers = {question for question, reply in answered.items() if reply.attempts[0].target != reply.target}
    local = sum(1 for attempt in show.attempts if attempt.target == LOCAL)
    agree = failovers == answered.keys() & {
        str(line.body["messages"][-1]["content"]) for its in simulators.values() for line in its.log if line.faults
    }
    rows, requests, failures = [], 0, 0
    for name, simulator in simulators.items():
        reported = [attempt for attempt in show.attempts if attempt.target.startswith(f"{name}/")]
        failed = [attempt for attempt in reported if attempt.error is not None]
        seen, struck = len(simulator.log), sum(1 for line in simulator.log if line.faults)
        agree = agree and (seen, struck) == (len(reported), len(failed))
        requests, failures = requests + seen, failures + struck
        how = Counter(attempt.error_class or attempt.outcome for attempt in failed)
        told = ", ".join(f"{times} {kind}" for kind, times in how.items())
        rows.append((name, str(seen), str(struck), str(len(reported)), told))
    show.screen.say()
    show.screen.table(("simulator", "requests in its log", "ended badly", "attempts reported", "as"), rows)
    show.screen.say("the simulators' logs and the engine's reports " + ("agree" if agree else "DISAGREE"))
    return answers >= enough and agree, {
        "answers": answers,
        "failovers": len(failovers),
        "attempts": requests + local,
        "simulator_requests": requests,
        "simulator_failures": failures,
        "local_requests": local,
        "breakers_opened": show.breaks,
        "logs_agree": agree,
    }
