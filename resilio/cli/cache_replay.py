"""`resilio cache replay`: recorded requests through several caches, in the time of the recording."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from resilio.bench.figures import check_plots
from resilio.bench.replay import Kind, Plan, Replay, Run, classroom_log, read_log, write_log
from resilio.bench.replay.log import Logged
from resilio.bench.scenario import load_without_keys
from resilio.cache.agreement import AnswersAgree
from resilio.cache.bound import Terms
from resilio.cache.embedding import EMBEDDERS, Embedder, Means
from resilio.cli.ask import pick_route
from resilio.cli.command import UsageError, count, positive, share
from resilio.cli.embedders import LOCAL
from resilio.cli.screen import Screen
from resilio.errors import UnknownRoute

__all__ = ["add_arguments", "plans", "run"]

CLASSROOM: Final = 1000
"""Requests of the class."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("log", nargs="?", type=Path, metavar="LOG.jsonl", help="default: a class of students, made up")
    parser.add_argument(
        "--requests", type=_whole, metavar="N",
        help=f"of the class (default: {CLASSROOM}); 0: every wording of every question once",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="play the whole configuration too, its caches as set"
    )
    parser.add_argument("--route", metavar="NAME", help='of --config (default: "chat", or the only one)')
    parser.add_argument("--namespace", metavar="NAME", help="of --config: the cache_namespace that calls name")
    parser.add_argument("--embedder", choices=LOCAL, default="minilm", help="default: %(default)s")
    parser.add_argument("--profile", action="append", metavar="NAME", help="play this one (default: all), repeatable")
    parser.add_argument("--threshold", type=share, action="append", metavar="S", help="play this one too, repeatable")
    parser.add_argument(
        "--max-wrong", type=share, action="append", metavar="S", help="guaranteed mode (default: 0.02), repeatable"
    )
    parser.add_argument("--confidence", type=share, default=0.95, metavar="S", help="of the guarantee (%(default)s)")
    parser.add_argument("--audit", type=share, default=0.1, metavar="S", help="of the guarantee (%(default)s)")
    parser.add_argument(
        "--shared", action=argparse.BooleanOptionalAction, default=None,
        help="users of one tenant share answers (default: no; the class does)",
    )  # fmt: skip
    parser.add_argument(
        "--ttl", type=positive, default=float("inf"), metavar="S", help="of answers (default: for ever)"
    )
    parser.add_argument("--latency", type=positive, default=1.0, metavar="S", help="of a call, where the log is silent")
    parser.add_argument(
        "--cost", type=positive, default=0.001, metavar="USD", help="of a call, where the log is silent"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the class and of audits (%(default)s)")
    parser.add_argument("--write-log", type=Path, metavar="FILE.jsonl", help="keep the log that was made up")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it; needs matplotlib")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def _whole(text: str) -> int:
    """Option type: a whole number of at least 0."""
    return 0 if text == "0" else count(text)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Play it; errors as for `resilio.cli.calibrate.run`."""
    if options.plot is not None:
        check_plots(options.plot)
    if options.log is not None and (options.requests is not None or options.write_log is not None):
        raise UsageError("--requests and --write-log are about the class; leave out the log, or them")
    if options.config is None and (options.route is not None or options.namespace is not None):
        raise UsageError("--route and --namespace are of a configuration: add --config")
    log = _log(options)
    runs, encode = asyncio.run(_play(log, options, screen))
    if options.config is not None:
        runs.append(_play_configuration(log, options, screen))
    if options.json:
        screen.json({"requests": len(log), "encode_seconds": encode, "runs": [_as_dict(each, log) for each in runs]})
    else:
        _show(runs, log, screen)
        screen.note(f"a text is embedded in {1000 * encode:.1f} ms here (median)", "dim")
    if options.plot is not None:
        from resilio.bench.cache_plots import draw_replay

        draw_replay(runs, options.plot, f"{_name(options)}: {len(log):,} requests replayed")
        screen.note(f"drawn: {options.plot}", "dim")
    return 0


def _name(options: argparse.Namespace) -> str:
    return "a class of students" if options.log is None else str(options.log.name)


def _log(options: argparse.Namespace) -> tuple[Logged, ...]:
    if options.log is not None:
        return read_log(options.log, latency=options.latency, cost_usd=options.cost)
    log = classroom_log(CLASSROOM if options.requests is None else options.requests, seed=options.seed)
    if options.write_log is not None:
        write_log(options.write_log, log)
    return log


def plans(options: argparse.Namespace, embedder: Embedder) -> list[Plan]:
    """The caches to play: the exact one alone, profiles, thresholds, guaranteed mode.

    Raises:
        UsageError: The embedder has no such profile, or the terms of the guarantee make no sense.
    """
    common: dict[str, Any] = {"shared": _shared(options), "ttl": options.ttl}
    found = [Plan("exact alone", **common)]
    for name in options.profile or sorted(embedder.profiles, key=lambda each: -embedder.profiles[each].threshold):
        if name not in embedder.profiles:
            raise UsageError(f"embedder {options.embedder!r} has no profile {name!r}")
        profile = embedder.profiles[name]
        found.append(Plan(f"{name} ({profile.threshold:g})", profile.threshold, profile.strict, **common))
    found += [Plan(f"threshold {each:g}", each, **common) for each in options.threshold or ()]
    for each in options.max_wrong or (0.02,):
        try:
            terms = Terms(max_wrong=each, confidence=options.confidence, audit=options.audit)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        found.append(Plan(f"guaranteed {each:g}", terms=terms, **common))
    return found


async def _play(log: Sequence[Logged], options: argparse.Namespace, screen: Screen) -> tuple[list[Run], float]:
    embedder = EMBEDDERS[options.embedder](Means())
    try:
        wanted = plans(options, embedder)
        with screen.progress("embedding") as show:
            replay = await Replay.prepare(log, embedder, AnswersAgree(embedder), show)
        runs = []
        for plan in wanted:
            with screen.progress(plan.name) as show:
                runs.append(await replay.play(plan, options.seed, show))
        return runs, replay.encode_seconds
    finally:
        await embedder.aclose()


def _play_configuration(log: Sequence[Logged], options: argparse.Namespace, screen: Screen) -> Run:
    from resilio.bench.replay.engine import play_configuration

    config = load_without_keys(options.config)
    route = pick_route(config, options.route)
    if route not in config.routes:
        raise UnknownRoute(route, config.routes)
    with screen.progress("as configured") as show:
        return play_configuration(
            config, log, route, namespace=options.namespace, shared=_shared(options), seed=options.seed,
            on_progress=show,
        )  # fmt: skip


def _shared(options: argparse.Namespace) -> bool:
    shared: bool | None = options.shared
    return options.log is None if shared is None else shared


def _as_dict(run: Run, log: Sequence[Logged]) -> dict[str, Any]:
    cost = sum(each.cost_usd for each in log)
    waited = sum(each.latency for each in run.served)
    return {
        "name": run.plan.name,
        "threshold": run.plan.threshold,
        "strict": run.plan.strict,
        "shared": run.plan.shared,
        "hit_rate": run.hit_rate,
        "answered_by": {kind.value: run.count(kind) for kind in Kind},
        "wrong": run.wrong,
        "wrong_per_request": run.wrong / len(log),
        "wrong_per_near_hit": run.wrong_per_near_hit,
        "cost_usd": run.spent_usd,
        "cost_saved": 1 - run.spent_usd / cost if cost else 0.0,
        "near_hit_latency_p50": run.near_latency,
        "latency_saved": 1 - waited / (sum(each.latency for each in log) or 1.0),
        "bound": None if run.bound is None else asdict(run.bound),
        "changes": [{"request": number, **change._asdict()} for number, change in run.changes],
    }


def _show(runs: Sequence[Run], log: Sequence[Logged], screen: Screen) -> None:
    headers = ("cache", "hits", "by meaning", "wrong/request", "wrong/hit by meaning", "cost saved", "time saved",
               "hit by meaning p50", "threshold at the end", "bound")  # fmt: skip
    screen.table(headers, [_cells(run, _as_dict(run, log)) for run in runs])


def _cells(run: Run, found: Mapping[str, Any]) -> tuple[str, ...]:
    at_end = run.plan.threshold if run.bound is None else run.bound.threshold
    p50, bound = run.near_latency, None if run.bound is None else run.bound.bound
    return (
        run.plan.name,
        f"{run.hit_rate:.1%}",
        f"{run.count(Kind.NEAR) / len(run.served):.1%}",
        f"{found['wrong_per_request']:.2%}",
        "-" if run.wrong_per_near_hit is None else f"{run.wrong_per_near_hit:.1%}",
        f"{found['cost_saved']:.1%}",
        f"{found['latency_saved']:.1%}",
        "-" if p50 is None else f"{1000 * p50:.1f} ms",
        "-" if at_end is None else f"{at_end:.2f}",
        "-" if bound is None else f"{bound:.2%}",
    )
