"""`resilio bench`: load on a configuration, against real providers, simulated ones, or an hour of virtual time.

Runs what `resilio.bench` offers, level by level, and prints what came out. What costs money is asked for twice: a
configuration is used only when it is named, and then the size of the run must be too.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from resilio.bench.load import Load, drive
from resilio.bench.plots import check_plots, draw_levels, draw_timeline
from resilio.bench.processes import simulated_providers
from resilio.bench.prompts import PROMPTS, Conversation, caller, read_prompts
from resilio.bench.report import LevelReport, level_report
from resilio.bench.scenario import (
    BUILT_IN,
    built_in,
    healthy,
    load_without_keys,
    read_scenario,
    simulated_url,
    without_socket,
)
from resilio.bench.simulation import SimulatedRun, Simulation, simulate
from resilio.bench.timeline import bands, bins
from resilio.cli import bench_report
from resilio.cli.ask import pick_route
from resilio.cli.command import UsageError, count, positive
from resilio.cli.screen import Screen
from resilio.client import Client
from resilio.config import Config, load_config
from resilio.errors import UnknownRoute

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

LEVELS: Final = (1, 16, 64, 256)
SECONDS: Final = 10.0
SIMULATED_SECONDS: Final = 600.0

DESCRIPTION: Final = f"""\
Put load on a route and report throughput, latency, errors, who answered, and upstream requests per call.

  nothing else        simulated providers over sockets, in processes of their own: what the engine can do here
  --config FILE       your providers. The requests are real and cost what they cost: give --requests or --seconds
  --simulate          simulated providers on virtual time: an hour in seconds, the same to the digit for one seed

Callers that wait for their answers are a closed loop (--concurrency), traffic that arrives whatever happens is an
open one (--rate), whose latencies count from the instant at which each call was due. A --script says what each
simulated provider does: tables [provider.NAME] (without a configuration: {" and ".join(BUILT_IN)})."""

EXAMPLES: Final = """\
  resilio bench --plot bench.png                                    1, 16, 64 and 256 callers
  resilio bench --config resilio.toml --concurrency 4 --requests 50 --stream
  resilio bench --config resilio.toml --rate 2 --seconds 60 --json
  resilio bench --simulate --config resilio.toml --script outage.toml --rate 50 --seconds 3600 --plot hour.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: two simulated providers, one route")
    parser.add_argument("--route", metavar="NAME", help='default: "chat", or the only route there is')
    parser.add_argument("--simulate", action="store_true", help="virtual time; every provider is simulated")
    parser.add_argument("--script", type=Path, metavar="FILE.toml", help="what the simulated providers do")
    loop = parser.add_mutually_exclusive_group()
    told = ",".join(map(str, LEVELS))
    loop.add_argument(
        "--concurrency", type=_several(count), metavar="N,...",
        help=f"callers at one time, one run each (default: {told}; with --config 1)",
    )  # fmt: skip
    loop.add_argument("--rate", type=_several(positive), metavar="R,...", help="calls per second, one run each")
    parser.add_argument(
        "--arrivals", choices=("poisson", "constant"), default="poisson", help="of --rate (default: %(default)s)"
    )
    parser.add_argument("--requests", type=count, metavar="N", help="calls of each run, or fewer if --seconds ends it")
    parser.add_argument(
        "--seconds", type=positive, metavar="S",
        help=f"length of each run (default: {SECONDS:g}; with --simulate --rate {SIMULATED_SECONDS:g})",
    )  # fmt: skip
    parser.add_argument(
        "--warmup", type=int, metavar="N", default=None,
        help="calls before the first run that do not count (default: 1; with --simulate 0)",
    )  # fmt: skip
    parser.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="ask for streams, not whole answers",
    )
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="one a line; .jsonl: messages a line")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="the answers are cut after so many tokens")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything drawn at random (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it; needs matplotlib")


def _several(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Option type: one or more values, parted by commas."""

    def read(text: str) -> list[Any]:
        return [kind(part) for part in text.split(",")]

    read.__name__ = "list"  # argparse names it in its message
    return read


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Run every level; 1 when no call was answered at all.

    Raises:
        UsageError: The options do not go together.
        ConfigError: The configuration, the script or the prompts are wrong.
        PlotError: The plot cannot be drawn here; nothing was run.
    """
    _check(options)
    plan = Plan(options, screen, _loads(options), read_prompts(options.prompts) if options.prompts else PROMPTS)
    began = time.perf_counter()
    try:
        if options.simulate:
            _simulated(plan)
        else:
            _measured(plan)
    except KeyboardInterrupt:
        if plan.found:
            screen.note("stopped; these runs were over:", "yellow")
            _say(plan)
        raise
    _say(plan)
    if options.simulate:
        virtual = sum(level.report.seconds for level in plan.found)
        screen.note(f"{virtual:,.0f} s of traffic in {time.perf_counter() - began:.1f} s", "dim")
    return 0 if any(level.report.answered for level in plan.found) else 1


@dataclass(slots=True)
class Plan:
    """What is run, and what was found so far."""

    options: argparse.Namespace
    screen: Screen
    loads: list[Load]
    prompts: tuple[Conversation, ...]
    route: str = ""
    found: list[bench_report.Level] = field(default_factory=list)

    @property
    def wire(self) -> dict[str, Any]:
        return {} if self.options.max_tokens is None else {"max_tokens": self.options.max_tokens}

    @contextmanager
    def level(self, load: Load, what: str = "") -> Iterator[Callable[[float], None]]:
        """A progress bar for one run."""
        number = f"{load.level:g} {'requests/s' if load.open_loop else 'callers'}"
        with self.screen.progress(f"{self.route}: {number}{what}") as show:
            yield show

    def report(self, load: Load, samples: Any) -> LevelReport:
        return level_report(samples, load, streamed=self.options.stream)


def _check(options: argparse.Namespace) -> None:
    if options.plot is not None:
        check_plots(options.plot)
    if options.script is not None and options.config is not None and not options.simulate:
        raise UsageError("--script is for simulated providers: add --simulate, or leave out --config")
    if options.config is not None and not options.simulate and not (options.requests or options.seconds):
        raise UsageError("the requests will be real: say how many, with --requests or --seconds")
    if options.warmup is not None and options.warmup < 0:
        raise UsageError("--warmup must be at least 0")


def _loads(options: argparse.Namespace) -> list[Load]:
    seconds = options.seconds
    if seconds is None and options.requests is None:
        seconds = SIMULATED_SECONDS if options.simulate and options.rate else SECONDS
    if options.rate:
        return [
            Load(rate=rate, arrivals=options.arrivals, requests=options.requests, seconds=seconds)
            for rate in options.rate
        ]
    levels = options.concurrency or ((1,) if options.config is not None and not options.simulate else LEVELS)
    return [Load(concurrency=level, requests=options.requests, seconds=seconds) for level in levels]


def _pick(config: Config, asked: str | None) -> str:
    route = pick_route(config, asked)
    if route not in config.routes:
        raise UnknownRoute(route, config.routes)
    return route


# --- virtual time ------------------------------------------------------------------------------


def _simulated(plan: Plan) -> None:
    options = plan.options
    if options.config is None:
        config = built_in({name: simulated_url(number) for number, name in enumerate(BUILT_IN)})
    else:
        config = load_without_keys(options.config)
    plan.route = _pick(config, options.route)
    names = [provider.name for provider in config.providers]
    scripts = dict.fromkeys(names, healthy()) | (read_scenario(options.script, names) if options.script else {})
    simulation = Simulation(
        config=config, route=plan.route, scripts=scripts, prompts=plan.prompts, wire=plan.wire,
        streamed=options.stream, seed=options.seed, warmup=options.warmup or 0,
    )  # fmt: skip
    for load in plan.loads:
        with plan.level(load) as show:
            run = simulate(simulation, load, on_progress=show)
        calm: SimulatedRun | None = None
        if simulation.has_faults:
            with plan.level(load, ", without faults") as show:
                calm = simulate(simulation.without_faults(), load, on_progress=show)
        plan.found.append(
            bench_report.Level(
                plan.report(load, run.samples),
                calm=None if calm is None else plan.report(load, calm.samples),
                changes=run.changes,
                bins=bins(run.samples),
                requests=run.requests,
            )
        )


# --- real time ---------------------------------------------------------------------------------


def _measured(plan: Plan) -> None:
    options = plan.options
    if options.config is not None:
        asyncio.run(_drive(plan, without_socket(load_config(options.config))))
        return
    with simulated_providers(BUILT_IN, options.script, options.seed) as urls:
        asyncio.run(_drive(plan, built_in(urls)))


async def _drive(plan: Plan, config: Config) -> None:
    options = plan.options
    plan.route = _pick(config, options.route)
    rng = random.Random(options.seed)
    async with Client(config) as llm:
        call = caller(llm, plan.route, plan.prompts, plan.wire, streamed=options.stream, rng=rng)
        warmup = 1 if options.warmup is None else options.warmup
        if warmup:
            with plan.screen.busy(f"{plan.route}: warming up"):
                await drive(call, Load(concurrency=min(warmup, 64), requests=warmup), rng)
        for load in plan.loads:
            with plan.level(load) as show:
                samples = await drive(call, load, rng, on_progress=show)
            plan.found.append(bench_report.Level(plan.report(load, samples)))


# --- what came out -----------------------------------------------------------------------------


def _say(plan: Plan) -> None:
    options, levels = plan.options, plan.found
    if options.json:
        plan.screen.json(bench_report.as_dict(levels, plan.route, simulated=options.simulate, seed=options.seed))
    else:
        bench_report.show(levels, plan.screen, streamed=options.stream)
    if options.plot is None:
        return
    if options.simulate and len(levels) == 1:
        (level,) = levels
        figures = level.report
        until = max(figures.seconds, options.seconds or 0.0)
        title = f"route {plan.route}, {bench_report.load_of(figures)}, virtual: {figures.availability:.3%} answered"
        draw_timeline(level.bins, bands(level.changes, until), until, options.plot, title)
    else:
        how = "streams" if options.stream else "whole answers"
        draw_levels([level.report for level in levels], options.plot, f"resilio bench, route {plan.route}, {how}")
    plan.screen.note(f"drawn: {options.plot}", "dim")
