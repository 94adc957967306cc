"""Holds a client to one row: sends the requests, times them, collects the logs, asks for the verdict.

Knows neither what is tested nor whether time is virtual: a run at a tenth of the speed only sleeps less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from resilio.testing.wall.evidence import DEADLINE, Ask, Ended, Evidence, Mode, Seen, WallClient
from resilio.testing.wall.rows import Row
from resilio.testing.wall.upstreams import Upstreams
from resilio.testing.wall.verdict import Judgement, Verdict, judge

__all__ = ["Result", "run_row", "summary", "worst"]

GRACE = 2.0
"""Seconds after the deadline at which a call counts as hung."""
SETTLE = 0.2
"""Seconds the upstreams get to notice what was cancelled, before their logs are read."""


@dataclass(frozen=True, slots=True)
class Result:
    """One row in one mode."""

    row: Row
    mode: Mode
    judgement: Judgement
    evidence: Evidence

    @property
    def passed(self) -> bool:
        return self.judgement.verdict is Verdict.PASS


async def run_row(
    client: WallClient, upstreams: Upstreams, row: Row, mode: Mode, *, scale: float = 1.0, slack: float = 0.05
) -> Result:
    """One row in one mode.

    Args:
        client: What is tested; it must be fresh where rows should not touch one another.
        upstreams: Where its requests end up.
        row: The row.
        mode: How to ask.
        scale: Every time is multiplied by it; what is measured is divided by it.
        slack: Seconds by which a measured instant may be off; nominal, as everything in the evidence.
    """
    await upstreams.prepare(row)
    ask = Ask(row.model, mode, DEADLINE * scale, row.reads_slowly * scale)
    callers = [_caller(client, row, ask, scale, row.stagger * number) for number in range(row.callers)]
    seen = [one for each in await asyncio.gather(*callers) for one in each]
    left_at = None if row.leaves_after is None else seen[0].elapsed
    await asyncio.sleep(SETTLE * scale)
    calls = await upstreams.calls()
    leaks = (*client.leaks(), *upstreams.leaks())
    evidence = Evidence(mode, seen, calls, slack, left_at, leaks)
    return Result(row, mode, judge(row, evidence), evidence)


async def _caller(client: WallClient, row: Row, ask: Ask, scale: float, delay: float) -> list[Seen]:
    """All requests of one caller, one after the other."""
    clock = asyncio.get_running_loop().time
    began = clock() + delay * scale
    seen = []
    for number in range(row.requests):
        await asyncio.sleep(max(0.0, began + number * row.pause * scale - clock()))
        seen.append(await _call(client, ask, row.leaves_after, scale))
    return seen


async def _call(client: WallClient, ask: Ask, leaves_after: float | None, scale: float) -> Seen:
    """One request, or as much of it as its caller stays for."""
    clock = asyncio.get_running_loop().time
    began = clock()
    limit = ask.deadline + GRACE * scale if leaves_after is None else leaves_after * scale
    seen = Seen(Ended.HUNG if leaves_after is None else Ended.LEFT)
    try:
        async with asyncio.timeout(limit) as scope:
            seen = await client.ask(ask)
    except TimeoutError as exc:
        if not scope.expired():
            seen = _crash(exc)
    except Exception as exc:  # a bug of the client must cost it its row, not end the wall
        seen = _crash(exc)
    return replace(seen, elapsed=(clock() - began) / scale)


def _crash(exc: Exception) -> Seen:
    return Seen(Ended.CRASHED, error=f"{type(exc).__name__}: {exc}")


def worst(results: Iterable[Result]) -> Result:
    """Of several runs of the same row and mode, the one with the worst verdict."""
    order = list(Verdict)
    return max(results, key=lambda result: order.index(result.judgement.verdict))


def summary(results: Iterable[Result]) -> dict[str, dict[str, object]]:
    """By mode: how many rows passed, of how many, and why the others did not."""
    found: dict[str, dict[str, object]] = {}
    by_mode: dict[Mode, list[Result]] = {}
    for result in results:
        by_mode.setdefault(result.mode, []).append(result)
    for mode, those in by_mode.items():
        found[mode] = {"passed": sum(result.passed for result in those), "of": len(those)}
        if others := {
            each.row.id: f"{each.judgement.verdict}: {each.judgement.why}" for each in those if not each.passed
        }:
            found[mode]["not_passed"] = others
    return found
