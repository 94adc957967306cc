"""`resilio calibrate`: what a threshold of the semantic cache is worth, measured on labelled pairs of questions."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from resilio.bench.figures import check_plots
from resilio.cache.calibration import (
    SHIPPED,
    Calibrated,
    Calibration,
    Measurement,
    Recommendation,
    Row,
    load_calibration,
    measure,
    read_pairs,
    save_calibration,
)
from resilio.cache.calibration.measure import guarded_by
from resilio.cli.command import UsageError, share
from resilio.cli.embedders import add_embedder, opened
from resilio.cli.screen import Screen
from resilio.errors import ConfigError

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "add_measuring", "measured", "run", "told"]

SHOWN: Final = (0.97, 0.95, 0.92, 0.90, 0.87, 0.85, 0.80)
"""Thresholds of the table; JSON has all of the grid."""
MAX_WRONG: Final = (0.05, 0.02, 0.01)
FILE: Final = Path("calibration.toml")
PROFILES: Final = ("default", "faq")
"""What a calibration may set: `safety` is the same for every embedder."""

DESCRIPTION: Final = """\
Measure, on labelled pairs of questions, what a semantic cache would serve rightly and wrongly at each threshold,
with and without guards, and recommend thresholds for a share of wrong answers among hits. Each comes with an upper
bound (Clopper and Pearson). Below the hits that could prove it (59, 149 or 299 without one wrong, for 0.05, 0.02 or
0.01) it says "not enough data". Pairs are JSON lines {"a": ..., "b": ..., "same": 0 or 1, "kind": ..., "domain": ...};
without a file, those that come with resilio."""

EXAMPLES: Final = """\
  resilio calibrate                                              the pairs that come with resilio
  resilio calibrate pairs.jsonl --plot calibration.png           yours, drawn
  resilio calibrate pairs.jsonl --max-wrong 0.05 --write calibration.toml --profile faq
                                     a file that [cache.semantic] can name: calibration = "calibration.toml"
  resilio calibrate pairs.jsonl --config resilio.toml --json     with the embedder of a configuration, for programs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_measuring(parser)
    parser.add_argument(
        "--max-wrong", type=_shares, metavar="S,...", default=MAX_WRONG,
        help="wrong answers among hits, at most (default: 0.05,0.02,0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--write", type=Path, nargs="?", const=FILE, metavar="FILE.toml",
        help=f"keep the threshold of the one --max-wrong (without a name: {FILE})",
    )  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="default", help="its name there (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it; needs matplotlib")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """Declare what every measurement needs."""
    parser.add_argument("pairs", nargs="?", type=Path, metavar="PAIRS.jsonl", help="default: those of resilio")
    add_embedder(parser)
    parser.add_argument("--confidence", type=share, default=0.95, metavar="S", help="of bounds (default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="with the strict guards of the profile safety")


def _shares(text: str) -> tuple[float, ...]:
    """Option type: one or more shares, parted by commas."""
    return tuple(share(part) for part in text.split(","))


_shares.__name__ = "list"  # argparse names it in its message


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Measure and say what came out.

    Raises:
        UsageError: The options do not go together.
        ConfigError: The pairs, or the file to write, cannot be used.
        EmbedderUnavailable: The embedder cannot be used here.
        PlotError: The plot cannot be drawn here; nothing was measured.
    """
    if options.plot is not None:
        check_plots(options.plot)
    if options.write is not None and len(options.max_wrong) != 1:
        raise UsageError("--write keeps one threshold: say for which --max-wrong, such as --max-wrong 0.02")
    found = measured(options, screen)
    recommendations = [found.recommend(max_wrong) for max_wrong in options.max_wrong]
    if options.json:
        screen.json(_as_dict(found, recommendations, options))
    else:
        _show(found, recommendations, screen)
    if options.plot is not None:
        from resilio.bench.cache_plots import draw_calibration

        title = f"{_name(options)}: {len(found.scored)} pairs, embedder {found.embedder}"
        draw_calibration(found, recommendations, options.plot, title)
        screen.note(f"drawn: {options.plot}", "dim")
    if options.write is not None:
        return _write(found, recommendations[0], options, screen)
    return 0


def measured(options: argparse.Namespace, screen: Screen) -> Measurement:
    """Measure the pairs that the options name; errors as for `run`."""
    path = options.pairs or SHIPPED
    pairs = read_pairs(path)
    if all(pair.same for pair in pairs):
        text = "has no pair that is labelled different, so nothing served could be wrong and nothing is proven"
        raise ConfigError([f"{text}; add the nearest questions with other answers"], str(path))
    guard = guarded_by(strict=options.strict)

    async def all_of_it(show: Callable[[float], None]) -> Measurement:
        async with opened(options) as embedder:
            return await measure(pairs, embedder, guard, confidence=options.confidence, on_progress=show)

    with screen.progress(f"{len(pairs)} pairs") as show:
        return asyncio.run(all_of_it(show))


def _name(options: argparse.Namespace) -> str:
    return "the pairs of resilio" if options.pairs is None else str(options.pairs.name)


def _write(found: Measurement, recommended: Recommendation, options: argparse.Namespace, screen: Screen) -> int:
    """Add the threshold to the file; 1 where there is none to add."""
    if recommended.threshold is None:
        screen.note(f"nothing written: {recommended.outcome}", "red")
        return 1
    kept: dict[str, Calibrated] = {}
    if options.write.exists():
        before = load_calibration(options.write)
        if before.embedder != found.embedder:
            raise UsageError(f"{options.write} is about embedder {before.embedder!r}, not {found.embedder!r}")
        kept = dict(before.measured)
    kept[options.profile] = Calibrated.of(recommended, _name(options), strict=options.strict)
    save_calibration(options.write, Calibration(found.embedder, kept))
    screen.note(f"written: {options.write}, profile {options.profile!r}", "dim")
    return 0


# --- what came out -----------------------------------------------------------------------------


def _as_dict(
    found: Measurement, recommendations: Sequence[Recommendation], options: argparse.Namespace
) -> dict[str, Any]:
    from resilio.cache.bound import GRID

    return {
        "pairs": len(found.scored),
        "same": found.same,
        "different": found.different,
        "embedder": found.embedder,
        "confidence": found.confidence,
        "strict": options.strict,
        "thresholds": [
            {
                "threshold": at,
                "guarded": asdict(found.row(at, guarded=True)),
                "bare": asdict(found.row(at, guarded=False)),
            }
            for at in GRID
        ],
        "recommended": [asdict(each) for each in recommendations],
        "kinds": {str(at): found.kinds(at) for at in SHOWN},
    }


def _show(found: Measurement, recommendations: Sequence[Recommendation], screen: Screen) -> None:
    screen.say(f"{found.same} pairs with the same answer, {found.different} without; embedder {found.embedder}\n")
    headers = (
        "threshold",
        "hits",
        "wrong",
        "precision",
        "recall",
        "false hits",
        "at most",
        "bare: recall",
        "false hits",
    )
    screen.table(headers, [_cells(found.row(at, guarded=True), found.row(at, guarded=False)) for at in SHOWN])
    screen.say("\nprecision, recall: of hits and of pairs with the same answer; false hits: of pairs without")
    worst = sorted(found.kinds(0.90).items(), key=lambda item: -item[1][2])
    traps = {each.pair.kind for each in found.scored if not each.pair.same}
    listed = [f"{kind} {passed} of {pairs}" for kind, (pairs, _, passed) in worst if passed and kind in traps and kind]
    if listed:
        screen.say(f"false hits at 0.90 by kind: {', '.join(listed)}")
    screen.say("")
    for each in recommendations:
        style = {"found": "green", "not enough data": "yellow", "too many wrong": "red"}[each.outcome]
        screen.say(told(each), style)


def told(found: Recommendation) -> str:
    """A recommendation, in words."""
    row, aim = found.row, f"at most {found.max_wrong:.3g} wrong per hit"
    if found.outcome == "not enough data":
        return f"{aim}: not enough data, {row.hits} hits at most and {found.needed} needed without one wrong"
    figures = (
        f"{row.wrong} wrong of {row.hits} hits, at most {row.wrong_bound:.3g} with confidence {found.confidence:g}"
    )
    if found.threshold is None:
        return f"{aim}: no threshold; at {row.threshold:g}, the first with enough hits, {figures}"
    return f"{aim}: threshold {found.threshold:g} ({figures}; recall {_percent(row.recall)})"


def _cells(row: Row, bare: Row) -> tuple[str, ...]:
    return (
        f"{row.threshold:.2f}", str(row.hits), str(row.wrong), _percent(row.precision), _percent(row.recall),
        _percent(row.false_hits), _percent(row.false_hits_bound), _percent(bare.recall), _percent(bare.false_hits),
    )  # fmt: skip


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
