"""What the commands share: the shape of a command's module, types of options, the end of a server.

Importing it must stay cheap: the command line imports it before it knows which command will run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from resilio.cli.screen import Screen

__all__ = ["CommandModule", "UsageError", "count", "port", "positive", "share", "until_signal"]


class CommandModule(Protocol):
    """What the module of a command must have."""

    DESCRIPTION: str
    EXAMPLES: str
    """Command lines that work, each with what it does."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace, screen: Screen) -> int:
        """Do it; returns the exit status.

        Raises:
            UsageError: The options do not go together.
            ResilioError: It did not work.
        """
        ...


class UsageError(Exception):
    """The command line asks for something that does not make sense; the message says what to write."""


def positive(text: str) -> float:
    """Option type: a number above 0, such as seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def share(text: str) -> float:
    """Option type: a number above 0 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, not {text}")
    return value


def count(text: str) -> int:
    """Option type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def port(text: str) -> int:
    """Option type: a TCP port; 0 is any free one."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text}")
    return value


@contextlib.asynccontextmanager
async def until_signal() -> AsyncIterator[asyncio.Future[int]]:
    """Inside, SIGINT and SIGTERM end nothing: the first one becomes the result of the future.

    So a server stops in order and can still say what it did, whichever of the two its user or their process
    manager sends.
    """
    loop = asyncio.get_running_loop()
    received: asyncio.Future[int] = loop.create_future()

    def receive(number: int) -> None:
        if not received.done():
            received.set_result(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, receive, number)
    try:
        yield received
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
