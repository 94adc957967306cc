"""resilio before the wall: every row, asked in each way, in process and over sockets, on virtual time."""

import os

import pytest

from resilio.testing.wall import BEYOND, ROWS, Mode, run_library_row

SEEDS = 20 if os.environ.get("RESILIO_SOAK") == "1" else 1


def cases(rows):
    """Row, mode and transport; the crowds are asked once a day in every way, and once a run in one."""
    for row in rows:
        for mode in row.modes:
            for sockets in (False, True):
                crowd = row.callers > 1 and (sockets or mode is not Mode.COMPLETE)
                marks = [pytest.mark.soak] if crowd else []
                name = f"{row.id}-{mode}-{'sockets' if sockets else 'in-process'}"
                yield pytest.param(row, mode, sockets, id=name, marks=marks)


async def told(row, mode, sockets):
    """What stood in the way, by seed; empty when every run passed."""
    seeds = range(1, 1 + (1 if row.callers > 1 else SEEDS))
    results = {seed: await run_library_row(row, mode, seed=seed, sockets=sockets) for seed in seeds}
    return {seed: result.judgement for seed, result in results.items() if not result.passed}


@pytest.mark.parametrize(("row", "mode", "sockets"), [*cases(ROWS)])
async def test_the_library_stands_before_the_wall(row, mode, sockets):
    assert await told(row, mode, sockets) == {}


@pytest.mark.parametrize(("row", "mode", "sockets"), [*cases(BEYOND)])
async def test_the_library_stands_beyond_the_wall(row, mode, sockets):
    assert await told(row, mode, sockets) == {}
