"""Pictures of the semantic cache: what a threshold is worth, and what a replay came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from resilio.bench.figures import INK, SHADES, empty, frame, save
from resilio.bench.replay import HITS, Run
from resilio.cache.bound import GRID
from resilio.cache.calibration import Measurement, Recommendation

__all__ = ["draw_calibration", "draw_replay"]

POINTS = 200
"""Of a curve over the requests of a log."""
ENOUGH = 40
"""Hits from which a bound shapes the axis."""


def draw_calibration(
    measurement: Measurement, recommendations: Sequence[Recommendation], path: Path, title: str
) -> None:
    """Recall, precision and false hits by threshold, with and without guards.

    Args:
        measurement: What was measured.
        recommendations: Those with a threshold are marked.
        path: The file to write.
        title: Stands above.
    """
    figure = empty(10.5, 4.4)
    figure.suptitle(title, color=INK, fontsize=12)
    left, right = figure.subplots(1, 2)
    for guarded, style in ((False, ":"), (True, "-")):
        rows = [measurement.row(threshold, guarded=guarded) for threshold in GRID]
        how = "with guards" if guarded else "without"
        left.plot(GRID, [_percent(row.recall) for row in rows], style, color=SHADES[0], label=f"recall, {how}")
        left.plot(GRID, [_percent(row.false_hits) for row in rows], style, color=SHADES[2], label=f"false hits, {how}")
        right.plot(GRID, [_percent(1 - row.precision if row.precision is not None else None) for row in rows], style,
                   color=SHADES[2], label=f"wrong per hit, {how}")  # fmt: skip
        if guarded:
            bounds = [_percent(row.wrong_bound) for row in rows]
            right.plot(GRID, bounds, "--", color=SHADES[1], label=f"its upper bound ({measurement.confidence:.0%})")
    for place, found in enumerate(recommendations):
        right.axhline(100 * found.max_wrong, color=INK, lw=0.7, alpha=0.5)
        at = GRID[-1 - 4 * place]  # side by side, for the lines may be close
        right.annotate(f"{found.max_wrong:.3g}", (at, 100 * found.max_wrong), (3, 2),
                       textcoords="offset points", fontsize=7, color=INK)  # fmt: skip
        if found.threshold is not None:
            right.plot([found.threshold], [100 * found.row.wrong_bound], "o", color=SHADES[3])
    left.set_ylabel("% of pairs with the same answer, or not")
    right.set_ylabel("% of hits")
    # Of a few hits any bound is near 100 %, and would flatten all the rest.
    bare = [measurement.row(threshold, guarded=False) for threshold in GRID]
    right.set_ylim(0, max([5.0] + [115 * row.wrong_bound for row in bare if row.hits >= ENOUGH]))
    for axes in (left, right):
        axes.set_xlabel("threshold: cosine similarity")
        axes.set_xlim(GRID[-1], GRID[0])
        axes.legend(frameon=False, fontsize=8)
        frame(axes)
    save(figure, path)


def draw_replay(runs: Sequence[Run], path: Path, title: str) -> None:
    """Hit rate and wrong answers over the requests of a log, a line for each cache."""
    figure = empty(10.5, 4.4)
    figure.suptitle(title, color=INK, fontsize=12)
    left, right = figure.subplots(1, 2)
    for run, shade in zip(runs, _shades(len(runs)), strict=True):
        steps = sorted({round(part * len(run.served) / POINTS) for part in range(1, POINTS + 1)} - {0})
        hits = _shares([each.kind in HITS for each in run.served], steps)
        left.plot(steps, hits, color=shade, label=run.plan.name, lw=1.4)
        right.plot(steps, _shares([each.wrong for each in run.served], steps), color=shade, lw=1.4)
        if run.plan.terms is not None:
            right.axhline(100 * run.plan.terms.max_wrong, color=shade, lw=0.8, ls=":")
    left.set_ylabel("answered by the cache, % of requests so far")
    right.set_ylabel("answered wrongly, % of requests so far")
    right.set_ylim(bottom=0)
    figure.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    for axes in (left, right):
        axes.set_xlabel("requests")
        frame(axes)
    save(figure, path)


def _shades(count: int) -> list[str]:
    return [SHADES[number % len(SHADES)] for number in range(count)]


def _shares(happened: Sequence[bool], steps: Sequence[int]) -> list[float]:
    """Per cent so far, at each step."""
    found, so_far, place = [], 0, 0
    for step in steps:
        so_far += sum(happened[place:step])
        place = step
        found.append(100 * so_far / step)
    return found


def _percent(share: float | None) -> float:
    return math.nan if share is None else 100 * share
