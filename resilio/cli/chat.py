"""`resilio chat`: a conversation with a route on the terminal, and after each answer who gave it and for how much.

The engine runs in a thread of its own, because reading a line blocks: breakers, timers and connections live on
while somebody thinks, and Ctrl-C reaches the main thread as what it is. It stops the answer that is being written,
never the program.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from resilio.cli.ask import CONFIG, LOCAL_SYSTEM, LOCAL_TEMPERATURE, answer_locally, load_for_one_use, pick_route
from resilio.cli.command import count, positive
from resilio.cli.screen import Screen
from resilio.client import Client
from resilio.config import Config
from resilio.errors import RequestUnsuitable, ResilioError, UnknownRoute, Unsupported
from resilio.models import Message, Reply
from resilio.statemachines.breaker import BreakerStatistics

__all__ = ["DESCRIPTION", "EXAMPLES", "Conversation", "add_arguments", "run"]

T = TypeVar("T")

PROMPT: Final = "> "
HELP: Final = "/reset forgets the conversation, /status shows breakers, /quit or Ctrl-D ends, Ctrl-C stops an answer"

DESCRIPTION: Final = f"""\
Talk with a route. Answers are streamed, and below each stands who gave it, at what level and for how much. The
conversation is kept and sent with every question.

  /reset     forgets the conversation      /status    shows providers, targets and their breakers
  /quit      ends, as Ctrl-D does          Ctrl-C     stops the answer that is being written

The configuration is --config, else ./{CONFIG} if it is there, else the model on this machine."""

EXAMPLES: Final = """\
  resilio chat
  resilio chat --config resilio.toml --route chat --system "Answer in French."
  printf 'Hello?\\nAnd in Italian?\\n' | resilio chat      two questions from a pipe"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", metavar="FILE", help=f"default: ./{CONFIG} if it is there, else the local model")
    parser.add_argument("--route", metavar="NAME", help='default: "chat", or the only route there is')
    parser.add_argument("--system", metavar="TEXT", help="instructions that stand before the conversation")
    parser.add_argument("--deadline", type=positive, metavar="S", help="seconds for each answer or an error")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="each answer is cut after so many tokens")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help=f"sent to the provider (local model: {LOCAL_TEMPERATURE:g})"
    )


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Talk until the user ends it.

    Raises:
        ConfigError: The configuration is wrong.
        UnknownRoute: It has no such route.
        LocalModelUnavailable: There is no configuration and no model on this machine.
    """
    path = options.config or (CONFIG if CONFIG.exists() else None)
    system, wire = options.system, {"max_tokens": options.max_tokens, "temperature": options.temperature}
    if path is None:
        config = answer_locally()
        system = LOCAL_SYSTEM if system is None else system
        if options.temperature is None:
            wire["temperature"] = LOCAL_TEMPERATURE
    else:
        config = load_for_one_use(path)
    route = pick_route(config, options.route)
    if route not in config.routes:
        raise UnknownRoute(route, config.routes)
    conversation = Conversation(
        route, system, {name: value for name, value in wire.items() if value is not None}, options.deadline
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Client(config)) as llm:
        _Talk(portal, llm, config, conversation, screen).go_on()
    return 0


@dataclass(slots=True)
class Conversation:
    """What was said, and how it is asked."""

    route: str
    system: str | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    turns: list[Message] = field(default_factory=list)
    """Questions and answers in turn; an answer that was stopped stands as far as it came."""

    def messages(self, question: str) -> list[Message]:
        """What is sent to ask this next."""
        system: list[Message] = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, *self.turns, {"role": "user", "content": question}]

    def answered(self, question: str, text: str) -> None:
        """Keep a question and what came of it; where nothing came, it was never asked."""
        if text:
            self.turns += ({"role": "user", "content": question}, {"role": "assistant", "content": text})

    def reset(self) -> None:
        """Forget what was said."""
        self.turns.clear()


class _Talk:
    """Reads lines in the main thread, asks in the engine's."""

    def __init__(
        self, portal: BlockingPortal, llm: Client, config: Config, conversation: Conversation, screen: Screen
    ) -> None:
        self._portal = portal
        self._llm = llm
        self._config = config
        self._conversation = conversation
        self._screen = screen
        self._interactive = sys.stdin.isatty()
        self._waits = False
        """Ctrl-C may end what the main thread waits for; at any other moment it is not heard."""

    def go_on(self) -> None:
        """One line after the other, until they end."""
        if self._interactive:
            self._screen.note(f"route {self._conversation.route}; {HELP}", "dim")
            with contextlib.suppress(ImportError):  # not everywhere; without it there is no history of lines
                import readline  # noqa: F401 - `input` uses it once it is imported
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:  # in the background of a shell
            signal.signal(signal.SIGINT, self._interrupt)
        try:
            self._talk()
        finally:
            signal.signal(signal.SIGINT, before)

    def _talk(self) -> None:
        while (line := self._read()) is not None:
            match line.strip():
                case "":
                    continue
                case "/quit":
                    return
                case "/reset":
                    self._conversation.reset()
                    self._screen.note("forgotten", "dim")
                case "/status":
                    self._status()
                case text if text.startswith("/") and " " not in text:
                    self._screen.note(f"there is no {text}; {HELP}", "yellow")
                case text:
                    self._ask(text)

    def _read(self) -> str | None:
        """The next line; None at their end. Ctrl-C gives up what was typed."""
        while True:
            try:
                return self._interruptible(lambda: input(PROMPT if self._interactive else ""))
            except EOFError:
                if self._interactive:
                    self._screen.say()
                return None
            except KeyboardInterrupt:
                self._screen.say()

    # --- Ctrl-C ------------------------------------------------------------------------------

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise where it is expected, once: somebody who presses it five times means one thing."""
        if self._waits:
            self._waits = False
            raise KeyboardInterrupt

    def _interruptible(self, wait: Callable[[], T]) -> T:
        """Wait for something.

        Raises:
            KeyboardInterrupt: Ctrl-C; only out of here.
        """
        try:
            self._waits = True
            return wait()
        finally:
            self._waits = False

    # --- one answer --------------------------------------------------------------------------

    def _ask(self, question: str) -> None:
        said: list[str] = []
        over = threading.Event()
        future = self._portal.start_task_soon(self._stream, question, said, over)
        try:
            reply = self._interruptible(future.result)
        except KeyboardInterrupt:
            future.cancel()
            over.wait()  # the engine's clean-up is short, and must not be left half way
            self._screen.note("\nstopped", "yellow")
        except ResilioError as exc:
            if said:
                self._screen.write("\n")
            self._failed(exc)
        else:
            self._screen.write("\n")
            self._report(reply)
        self._conversation.answered(question, "".join(said))

    async def _stream(self, question: str, said: list[str], over: threading.Event) -> Reply:
        """In the engine's thread: the answer, onto the screen and into `said` as it comes."""
        talk = self._conversation
        try:
            messages = talk.messages(question)
            async with self._llm.stream(talk.route, messages, deadline=talk.deadline, **talk.wire) as stream:
                async for chunk in stream:
                    text = chunk.text or chunk.refusal
                    said.append(text)
                    self._screen.write(text)
            return stream.reply
        finally:
            over.set()

    def _report(self, reply: Reply) -> None:
        for attempt in reply.attempts:
            if attempt.error is not None:
                self._screen.note(f"tried {attempt}".splitlines()[0], "yellow")
        for reason in reply.reasons:
            self._screen.note(f"not answered by {reason}", "yellow")
        cost = "cost unknown" if reply.cost_usd is None else f"{reply.cost_usd:.6f} USD"
        tokens = f"{reply.usage.input_tokens} + {reply.usage.output_tokens} tokens"
        whole = "" if reply.complete else ", cut off"
        told = f"{reply.target}, level {reply.level}{whole}: {reply.latency:.2f} s, {tokens}, {cost}"
        self._screen.note(told, "dim")

    def _failed(self, exc: ResilioError) -> None:
        self._screen.note(str(exc), "red")
        if self._conversation.turns and isinstance(exc, RequestUnsuitable | Unsupported):
            self._screen.note("the conversation may have grown too long; /reset forgets it", "dim")

    # --- the breakers ------------------------------------------------------------------------

    def _status(self) -> None:
        status = self._portal.call(self._llm.status)
        rows = []
        for name, provider in status.providers.items():
            waiting = f"{provider.waiting} waiting" if provider.waiting else ""
            rows.append((name, str(provider.state), *_breaker(provider.breaker), str(provider.in_flight), waiting))
            rows += [
                (f"  {target}", "", *_breaker(each.breaker), str(each.in_flight), _usual(each.median_latency))
                for target, each in provider.targets.items()
            ]
        self._screen.table(("provider and targets", "actor", "breaker", "next probe", "in flight", ""), rows)


def _breaker(breaker: BreakerStatistics) -> tuple[str, str]:
    return str(breaker.state), "" if breaker.reopens_in is None else f"in {breaker.reopens_in:.1f} s"


def _usual(latency: float | None) -> str:
    return "" if latency is None else f"usually {latency:.2f} s"
