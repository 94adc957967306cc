"""`resilio wall`: sixteen ways a provider fails, held against resilio itself or against any gateway.

`serve` plays the faulty upstreams on a socket, for a gateway to be configured with. `run` asks: the library in
virtual time, or an OpenAI-compatible endpoint in real time; verdicts rest on the upstreams' own log.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from resilio.cli.command import UsageError, count, port, positive, until_signal
from resilio.cli.screen import Screen
from resilio.errors import ResilioError
from resilio.testing.loop import run as run_virtually
from resilio.testing.wall import (
    BEYOND,
    ROWS,
    HttpClient,
    LocalUpstreams,
    Mode,
    RemoteUpstreams,
    Result,
    Row,
    WallServer,
    row_of,
    run_library_row,
    run_row,
    summary,
    worst,
)

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "held", "report", "run", "serve_until_signal"]

DESCRIPTION: Final = """\
Sixteen ways a provider fails, and what a caller must see each time: a primary upstream with the fault, a
healthy fallback of another provider, 20 s in all. A row passes when the caller got what the row expects, in time,
and the upstreams' log shows no call that the row forbids."""

EXAMPLES: Final = """\
  resilio wall run --library                        resilio itself, in virtual time: about a second
  resilio wall run --library --sockets --seeds 5    over loopback sockets, five times each
  resilio wall serve --port 9200 --scale 0.1        the upstreams, ten times as fast, for a gateway
  resilio wall run --url http://127.0.0.1:4000/v1 --upstream http://127.0.0.1:9200 --scale 0.1
                                                    that gateway, with models named w01 to w16
  resilio wall run --library --rows W08 W09 --json  two rows, for a program to read"""

REAL_SLACK: Final = 0.25
"""Real seconds by which a measured instant may be off on a busy machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    serve = actions.add_parser("serve", help="play the upstreams until Ctrl-C")
    serve.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s")
    serve.add_argument("--port", type=port, default=0, metavar="N", help="default: any free one")
    serve.add_argument("--seed", type=int, default=1, metavar="N", help="of latencies (%(default)s)")
    ask = actions.add_parser("run", help="hold something against the wall")
    tested = ask.add_mutually_exclusive_group(required=True)
    tested.add_argument("--library", action="store_true", help="resilio itself, in virtual time")
    tested.add_argument("--url", help="an OpenAI-compatible endpoint, up to and including /v1")
    ask.add_argument("--upstream", metavar="URL", help="where `resilio wall serve` is, for its log; goes with --url")
    ask.add_argument("--key", default="sk-wall", help="sent to --url (%(default)s)")
    ask.add_argument(
        "--model", default="{row}", metavar="NAME", help="its models; {row} and {mode} are filled in (%(default)s)"
    )
    ask.add_argument("--seeds", type=count, default=1, metavar="N", help="each row so often; the worst counts")
    ask.add_argument("--sockets", action="store_true", help="--library over loopback sockets, not in process")
    ask.add_argument("--rows", nargs="+", metavar="ROW", help="only these, such as W08")
    ask.add_argument("--modes", nargs="+", choices=[str(mode) for mode in Mode], metavar="MODE", help=", ".join(Mode))
    ask.add_argument("--beyond", action="store_true", help="the harder cases B01 and up as well, counted apart")
    for action in (serve, ask):
        action.add_argument(
            "--scale", type=positive, default=1.0, metavar="X", help="every time is multiplied by this (%(default)s)"
        )
        action.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Do what was asked; exit status 1 when a row did not pass.

    Raises:
        UsageError: The options do not go together, or there is no such row.
        ResilioError: The address cannot be listened on, or the upstreams cannot be reached.
    """
    if options.action == "serve":
        return asyncio.run(serve_until_signal(options, screen))
    if options.library:
        if options.upstream or options.scale != 1.0:
            raise UsageError("--upstream and --scale go with --url: the library is tested in virtual time")
        results = list(_library(_rows(options), options))
    else:
        if not options.upstream:
            raise UsageError("--url needs --upstream: verdicts rest on the upstreams' log")
        if options.sockets:
            raise UsageError("--sockets goes with --library")
        results = asyncio.run(held(options, screen))
    return report(results, options, screen)


def _rows(options: argparse.Namespace) -> Sequence[Row]:
    if options.rows:
        try:
            return [row_of(name) for name in options.rows]
        except KeyError as exc:
            raise UsageError(f"no row {exc}; there are {', '.join(row.id for row in (*ROWS, *BEYOND))}") from exc
    return (*ROWS, *BEYOND) if options.beyond else ROWS


def _modes(row: Row, options: argparse.Namespace) -> list[Mode]:
    return [mode for mode in row.modes if not options.modes or mode in options.modes]


# --- what is tested ----------------------------------------------------------------------------


def _library(rows: Iterable[Row], options: argparse.Namespace) -> Iterable[Result]:
    for row in rows:
        for mode in _modes(row, options):
            yield worst(
                run_virtually(run_library_row(row, mode, seed=seed, sockets=options.sockets))
                for seed in range(1, options.seeds + 1)
            )


async def held(options: argparse.Namespace, screen: Screen) -> list[Result]:
    """Hold an endpoint against the wall, in real time, row after row: its breakers live on between them.

    Raises:
        UsageError: There is no such row.
        ResilioError: The upstreams cannot be reached.
    """
    import aiohttp  # only this way of running needs it

    results = []
    nothing = aiohttp.ClientTimeout(total=None)  # the row's own deadline bounds every call
    async with aiohttp.ClientSession(timeout=nothing, connector=aiohttp.TCPConnector(limit=0)) as session:
        client = HttpClient(session, options.url, key=options.key, model=options.model)
        upstreams = RemoteUpstreams(session, options.upstream)
        slack = REAL_SLACK / options.scale
        for mode in Mode:
            for row in _rows(options):
                if mode not in _modes(row, options):
                    continue
                try:
                    again = [
                        await run_row(client, upstreams, row, mode, scale=options.scale, slack=slack)
                        for _ in range(options.seeds)
                    ]
                except (aiohttp.ClientError, OSError) as exc:
                    raise ResilioError(f"the upstreams at {options.upstream} cannot be asked: {exc}") from exc
                results.append(worst(again))
                _tell(results[-1], options, screen)
    return results


# --- what is said ------------------------------------------------------------------------------


def _tell(result: Result, options: argparse.Namespace, screen: Screen) -> None:
    if not options.json:
        verdict = result.judgement.verdict
        screen.note(f"{result.mode:16} {result.row.id}  {verdict}", "green" if result.passed else "red")


def report(results: Sequence[Result], options: argparse.Namespace, screen: Screen) -> int:
    """A table for each mode, then the figures; returns the exit status.

    Raises:
        UsageError: There are no results.
    """
    if not results:
        raise UsageError("no row left: none of these rows is asked in these modes")
    if not options.json:
        for mode in Mode:
            if those := [result for result in results if result.mode is mode]:
                screen.say(f"\n{mode}")
                screen.table(("row", "fault", "verdict", "s", "calls", "why not"), [_line(result) for result in those])
    wall = [result for result in results if result.row in ROWS]
    beyond = [result for result in results if result.row not in ROWS]
    found: dict[str, Any] = dict(summary(wall))
    if beyond:
        found["beyond"] = summary(beyond)
    for result in results:
        if result.row.callers > 1:  # upstream calls for each of a caller's, while many ask at once
            told = found.setdefault("amplification", {}).setdefault(result.row.id, {})
            told[result.mode] = round(result.evidence.amplification, 3)
    screen.json(found)
    return 0 if all(result.passed for result in results) else 1


def _line(result: Result) -> tuple[str, ...]:
    evidence = result.evidence
    longest = max((seen.elapsed for seen in evidence.seen), default=0.0)
    made = " + ".join(str(len(evidence.of(name))) for name in result.row.targets)
    return (
        result.row.id,
        result.row.fault,
        str(result.judgement.verdict),
        f"{longest:.1f}",
        f"{made} / {len(evidence.seen)}",
        result.judgement.why,
    )


# --- serve -------------------------------------------------------------------------------------


async def serve_until_signal(options: argparse.Namespace, screen: Screen) -> int:
    """Serve the upstreams; returns the exit status, which says by which signal it ended.

    Raises:
        ResilioError: The address cannot be listened on.
    """
    upstreams = LocalUpstreams(scale=options.scale, seed=options.seed)
    async with until_signal() as ended:
        try:
            async with WallServer(upstreams, host=options.host, port=options.port) as server:
                _announce(server, options, screen)
                number = await ended
        except OSError as exc:
            raise ResilioError(f"cannot listen on {options.host}:{options.port}: {exc.strerror or exc}") from exc
    return 128 + number


def _announce(server: WallServer, options: argparse.Namespace, screen: Screen) -> None:
    root = server.urls["primary"].removesuffix("/primary/v1")
    every = {row.model: list(row.targets) for row in (*ROWS, *BEYOND)}
    if options.json:
        screen.json({"url": root, "upstreams": server.urls, "scale": options.scale, "models": every})
        return
    screen.say(root)
    screen.table(("upstream", "base URL"), list(server.urls.items()))
    screen.say(
        f"models: {', '.join(row.model for row in ROWS)}; beyond the sixteen: {', '.join(r.model for r in BEYOND)}"
    )
    screen.say("configure each of them with the primary first and the same name at the fallback behind it;")
    screen.say("those with a third target (w14, b13) with the spare last")
    screen.note(
        f"clocks of the gateway, in seconds: first token {10 * options.scale:g}, idle {5 * options.scale:g}, "
        f"deadline {20 * options.scale:g}; serving until Ctrl-C"
    )
