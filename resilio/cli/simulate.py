"""`resilio simulated-provider`: a provider that fails as a script says, for clients in any language.

It speaks the real wire format over a real socket and costs nothing to ask. What really reached it is in its
summary (and at `/v1/log` while it runs), which is the honest way to count what a client sent.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from resilio.bench.scenario import read_scenario
from resilio.cli.command import UsageError, port, until_signal
from resilio.cli.screen import Screen
from resilio.errors import ConfigError, ResilioError
from resilio.testing import Outcome, Rule, Script, SeenRequest, SimulatedProvider, SimulatedServer
from resilio.testing.faults import ERRORS, FAULTS, Error, Fault

__all__ = [
    "DESCRIPTION",
    "EXAMPLES",
    "WatchedProvider",
    "add_arguments",
    "mixture",
    "run",
    "script_of",
    "serve_until_signal",
    "told",
]

_PLAIN: Final[Mapping[str, Callable[[], Fault]]] = {
    name: kind
    for name, kind in FAULTS.items()
    if all(
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )
}
"""Faults that need no further figure; the others are for scripts."""

_NAMES: Final = ("none", *_PLAIN, *ERRORS)

DESCRIPTION: Final = """\
Serve a simulated provider of chat completions and embeddings until Ctrl-C: OpenAI's wire format, streams
included, on a real socket. It echoes the question, unless a script or faults say otherwise. On exit it says what
it was asked."""

EXAMPLES: Final = f"""\
  resilio simulated-provider --port 9001                            always well
  resilio simulated-provider --fault reset silence rate_limit_exceeded
                                            each request meets one of the three, drawn by --seed
  resilio simulated-provider --fault none none server_error         a third of the requests fails
  resilio simulated-provider --script outage.toml --verbose --json

a script, which can do more:
  answer = "Paris."                         # default: the question
  first_token = {{ lognormal = {{ median = 0.4 }} }}
  tokens_per_second = 50
  [[rule]]                                  # the first rule that applies strikes
  fault = "error"
  code = "rate_limit_exceeded"
  retry_after = 2
  first = 3                                 # the first three requests only
  [[rule]]
  fault = "silence"
  probability = 0.2

faults: {", ".join(_NAMES[: len(_PLAIN) + 1])}
error codes: {", ".join(ERRORS)}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    behaviour = parser.add_mutually_exclusive_group()
    behaviour.add_argument("--script", type=Path, metavar="FILE.toml", help="what to do, request by request")
    behaviour.add_argument(
        "--fault", nargs="+", action="extend", metavar="NAME", help="faults or error codes; each request meets one"
    )
    parser.add_argument(
        "--provider", metavar="NAME", help="the script is a scenario of `resilio bench`: play its [provider.NAME]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything drawn at random (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--port", type=port, default=0, metavar="N", help="default: any free one")
    parser.add_argument("--verbose", action="store_true", help="a line on standard error for each request")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Serve until a signal.

    Raises:
        UsageError: A fault has no such name.
        ConfigError: The script is wrong.
        ResilioError: The address cannot be listened on.
    """
    if options.provider is not None and options.script is None:
        raise UsageError("--provider names a table of the --script: give both")
    return asyncio.run(serve_until_signal(script_of(options), options, screen))


def script_of(options: argparse.Namespace) -> Script:
    """The script that the options ask for.

    Raises:
        UsageError: A fault has no such name.
        ConfigError: The script is wrong.
    """
    if options.script is None:
        return mixture(_faults(options.fault or ()))
    if options.provider is None:
        return _from_file(options.script)
    scripts = read_scenario(options.script)
    if options.provider not in scripts:
        raise UsageError(f"no provider {options.provider!r} in {options.script}; there is {', '.join(scripts)}")
    return scripts[options.provider]


def mixture(faults: Sequence[Fault | None]) -> Script:
    """A script in which each request meets one of these faults, equally often; None is a healthy answer."""
    rules = []
    for position, fault in enumerate(faults):
        # Rules are asked in order: of those that come to this one, so many are its own.
        share = 1 / (len(faults) - position)
        rules.append(Rule(() if fault is None else (fault,), probability=share))
    return Script(rules=tuple(rules))


def told(seen: SeenRequest) -> str:
    """What became of one request, in words, from the provider's side."""
    faults = ", ".join(_fault_name(fault) for fault in seen.faults) or "no fault"
    status = "no answer" if seen.status is None else str(seen.status)
    took = "" if seen.ended_at is None else f", {seen.ended_at - seen.at:.2f} s"
    return f"{seen.model or seen.path}{' (stream)' if seen.stream else ''}: {faults}; {status}, {seen.outcome}{took}"


class WatchedProvider(SimulatedProvider):
    """A simulated provider that tells somebody of each request once it is over.

    Args:
        script: As for `SimulatedProvider`.
        on_settled: Called with the line of the log.
        seed: As for `SimulatedProvider`.
    """

    def __init__(self, script: Script, on_settled: Callable[[SeenRequest], None], *, seed: int = 0) -> None:
        super().__init__(script, seed=seed)
        self._on_settled = on_settled

    def settle(self, seen: SeenRequest, outcome: Outcome | None = None) -> None:
        """See `SimulatedProvider.settle`."""
        first = seen.outcome is Outcome.OPEN
        super().settle(seen, outcome)
        if first:
            self._on_settled(seen)


async def serve_until_signal(script: Script, options: argparse.Namespace, screen: Screen) -> int:
    """Serve this script; returns the exit status, which says by which signal it ended.

    Raises:
        ResilioError: The address cannot be listened on.
    """

    def settled(seen: SeenRequest) -> None:
        if options.verbose:
            screen.note(f"{len(provider.log):5}  {told(seen)}", "" if seen.outcome is Outcome.ANSWERED else "yellow")

    provider = WatchedProvider(script, settled, seed=options.seed)
    async with until_signal() as ended:
        try:
            async with SimulatedServer(provider, host=options.host, port=options.port) as server:
                # Alone on standard output until the end, so that another program can read it.
                screen.say(server.url)
                screen.note("serving until Ctrl-C")
                number = await ended
        except OSError as exc:
            raise ResilioError(f"cannot listen on {options.host}:{options.port}: {exc.strerror or exc}") from exc
    _summarise(provider.log, options, screen)
    return 128 + number


def _summarise(log: Sequence[SeenRequest], options: argparse.Namespace, screen: Screen) -> None:
    outcomes = Counter(str(seen.outcome) for seen in log)
    faults = Counter(_fault_name(fault) for seen in log for fault in seen.faults)
    models = Counter(seen.model for seen in log if seen.model)
    struck = sum(1 for seen in log if seen.faults)
    if options.json:
        screen.json({"requests": len(log), "struck": struck, "outcomes": outcomes, "faults": faults, "models": models})
        return
    screen.say(f"{len(log)} requests, {struck} of them met a fault")
    rows = [
        (what, name, str(count))
        for what, counted in (("outcome", outcomes), ("fault", faults), ("model", models))
        for name, count in sorted(counted.items())
    ]
    if rows:
        screen.table(("", "name", "requests"), rows)


# --- scripts -----------------------------------------------------------------------------------


def _from_file(path: Path) -> Script:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigError([f"is not TOML: {exc}"], str(path)) from exc
    return Script.from_dict(table, source=str(path))


def _faults(names: Iterable[str]) -> list[Fault | None]:
    found: list[Fault | None] = []
    for name in names:
        if name == "none":
            found.append(None)
        elif name in _PLAIN:
            found.append(_PLAIN[name]())
        elif name in ERRORS:
            found.append(Error(name))
        elif name in FAULTS:
            raise UsageError(f"fault {name!r} needs figures: write it into a --script")
        else:
            raise UsageError(f"no fault {name!r}; there are {', '.join(_NAMES)}")
    return found


def _fault_name(fault: Fault) -> str:
    if isinstance(fault, Error) and fault.code:
        return fault.code
    return next(name for name, kind in FAULTS.items() if kind is type(fault))
