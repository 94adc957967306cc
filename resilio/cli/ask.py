"""`resilio ask`: one question through the engine, and on standard error how it went.

Without a configuration it asks the model on this machine, so the first command of a newcomer works without a
key, an account or a bill. A key that happens to be in the environment is not used: what costs money is
written into a configuration by somebody, or named with ``--model``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from resilio.cli.command import UsageError, count, positive
from resilio.cli.screen import Screen
from resilio.client import Client
from resilio.config import Config, ControlSettings, load_config
from resilio.dispatch.stream import Stream
from resilio.errors import LocalModelUnavailable, ResilioError, StreamBroken, UnknownRoute
from resilio.local import DEFAULT_MODEL, MODELS, status
from resilio.local.install import INSTALL_COMMAND
from resilio.models import Message, Reply

__all__ = [
    "DESCRIPTION",
    "EXAMPLES",
    "add_arguments",
    "answer_locally",
    "local_messages",
    "pick_route",
    "reply_as_dict",
    "run",
]

CONFIG: Final = Path("resilio.toml")

LOCAL_CONFIG: Final[Mapping[str, Any]] = {
    # A cold start and a long answer on a busy machine stay within these.
    "defaults": {"deadline": 120.0},
    "provider": [{"name": "local", "kind": "local"}],
    "route": {
        "chat": {
            "targets": [f"local/{DEFAULT_MODEL}"],
            "max_output_tokens": 200,
            "clocks": {"first_token": 110.0, "total": 119.0},
        }
    },
}
LOCAL_TEMPERATURE: Final = 0.2
"""A model this small rambles at the usual 0.7 and more."""

LOCAL_SYSTEM: Final = "Answer the question in one or two plain English sentences."
"""Without it the model falls into other languages and repeats itself; longer instructions confuse it."""

DESCRIPTION: Final = f"""\
Ask a question through the engine. The answer goes to standard output, who gave it, at what level, how long it
took and what was tried before to standard error.

The configuration is --config, else ./{CONFIG} if it is there. Without either the model on this machine answers;
it needs no key, and `{INSTALL_COMMAND}` gets it. With --model no configuration is read: the name says
whom to ask, and the key is in the variable it is kept in by convention (`resilio providers` lists both)."""

EXAMPLES: Final = """\
  resilio ask "What is the capital of France?"
  resilio ask --config resilio.toml --route chat --deadline 20 "Why is the sky blue?"
  resilio ask --model anthropic/claude-sonnet-4-5 --model gpt-4.1 "Why?"     the second where the first fails
  git diff | resilio ask - --json --max-tokens 80     the question from standard input, JSON for a program"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("question", help='what to ask; "-" reads it from standard input')
    parser.add_argument("--config", metavar="FILE", help=f"default: ./{CONFIG} if it is there, else the local model")
    parser.add_argument("--route", metavar="NAME", help='default: "chat", or the only route there is')
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help='ask this model, "provider/model", without a configuration; again: where the one before fails',
    )
    parser.add_argument(
        "--stream", action=argparse.BooleanOptionalAction, help="print the answer as it comes (default without --json)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object: the answer and how it went")
    parser.add_argument("--deadline", type=positive, metavar="S", help="seconds for an answer or an error")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="the answer is cut after so many tokens")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help=f"sent to the provider (local model: {LOCAL_TEMPERATURE:g})"
    )


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Ask.

    Raises:
        UsageError: There is no question, or --model stands beside a configuration.
        ConfigError: The configuration is wrong.
        ResilioError: There is no answer, and why.
    """
    question = sys.stdin.read().strip() if options.question == "-" else options.question
    if not question.strip():
        raise UsageError("the question is empty")
    if options.model and (options.config or options.route):
        raise UsageError("--model says whom to ask; leave out --config and --route")
    path = options.config or (CONFIG if CONFIG.exists() else None)
    messages: list[Message] = [{"role": "user", "content": question}]
    wire = {"max_tokens": options.max_tokens, "temperature": options.temperature}
    if options.model:
        config = load_config({"route": {"chat": {"targets": options.model}}})
    elif path is None:
        config = answer_locally()
        messages = local_messages(question)
        if options.temperature is None:
            wire["temperature"] = LOCAL_TEMPERATURE
    else:
        config = load_for_one_use(path)
    sent = {name: value for name, value in wire.items() if value is not None}
    try:
        reply = asyncio.run(_ask(config, pick_route(config, options.route), messages, sent, options, screen))
    except ResilioError as exc:
        if options.json:
            screen.json(_error_as_dict(exc))
        raise
    if options.json:
        screen.json(reply_as_dict(reply))
    else:
        _report(reply, config, screen)
    return 0


def load_for_one_use(path: Path) -> Config:
    """A configuration of somebody's, without its control socket: that belongs to the program that serves with it."""
    return replace(load_config(path), control=ControlSettings())


def answer_locally(settings: Mapping[str, Any] = LOCAL_CONFIG) -> Config:
    """A configuration that needs the model on this machine.

    Raises:
        LocalModelUnavailable: It is not installed; the message says how to.
    """
    if (problem := status().problem) is not None:
        raise LocalModelUnavailable(DEFAULT_MODEL, problem, remedy=INSTALL_COMMAND)
    return load_config(settings)


def local_messages(question: str) -> list[Message]:
    """A question as the model on this machine answers it best."""
    return [{"role": "system", "content": LOCAL_SYSTEM}, {"role": "user", "content": question}]


def pick_route(config: Config, asked: str | None) -> str:
    """The route that was asked for; else `chat`, or the only one there is.

    Raises:
        UnknownRoute: There are several, and none of that name.
    """
    if asked is not None or "chat" in config.routes:
        return asked or "chat"
    if len(config.routes) != 1:
        raise UnknownRoute("chat", config.routes)
    return next(iter(config.routes))


async def _ask(
    config: Config,
    route: str,
    messages: Sequence[Message],
    wire: Mapping[str, Any],
    options: argparse.Namespace,
    screen: Screen,
) -> Reply:
    streamed = not options.json if options.stream is None else options.stream
    async with Client(config) as llm:
        if not streamed:
            with screen.busy(f"asking {route}"):
                reply = await llm.complete(route, messages, deadline=options.deadline, **wire)
            if not options.json:
                screen.write(f"{reply.text}\n")
            return reply
        with ExitStack() as spinner:
            spinner.enter_context(screen.busy(f"asking {route}"))
            async with llm.stream(route, messages, deadline=options.deadline, **wire) as stream:
                spinner.close()  # the first words are here, and want the terminal for themselves
                return await _print(stream, screen, silent=options.json)


async def _print(stream: Stream, screen: Screen, *, silent: bool) -> Reply:
    try:
        async for chunk in stream:
            if not silent:
                screen.write(chunk.text or chunk.refusal)
    finally:
        if not silent:
            screen.write("\n")
    return stream.reply


# --- how it went -------------------------------------------------------------------------------


def _report(reply: Reply, config: Config, screen: Screen) -> None:
    for attempt in reply.attempts:
        if attempt.error is not None:
            screen.note(f"tried {attempt}", "yellow")
    for reason in reply.reasons:
        screen.note(f"not answered by {reason}", "yellow")
    usage = reply.usage
    first = "" if reply.first_token is None else f" (first token {reply.first_token:.2f} s)"
    tokens = f"{'about ' if usage.estimated else ''}{usage.input_tokens} + {usage.output_tokens} tokens"
    cost = "" if reply.cost_usd is None else f", {reply.cost_usd:.6f} USD"
    screen.note(f"{reply.target}, level {reply.level}: {reply.latency:.2f} s{first}, {tokens}{cost}", "dim")
    if reply.finish_reason == "length":
        screen.note("the answer was cut at its token limit; --max-tokens raises it", "dim")
    provider, _, model = reply.target.partition("/")
    if any(its.name == provider and its.kind == "local" for its in config.providers) and model in MODELS:
        millions = round(MODELS[model].parameters / 1e6)
        screen.note(f"a {millions}M model on this machine: its answers are fluent and often wrong", "dim")


def reply_as_dict(reply: Reply) -> dict[str, Any]:
    """A reply for a JSON writer, without the provider's raw body."""
    return {name: value for name, value in asdict(reply).items() if name != "raw"}


def _error_as_dict(exc: ResilioError) -> dict[str, Any]:
    return {
        "error": type(exc).__name__,
        "message": str(exc),
        "retry_after": exc.retry_after,
        "text": exc.text if isinstance(exc, StreamBroken) else "",
        "attempts": [asdict(attempt) for attempt in exc.attempts],
    }
