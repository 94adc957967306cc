"""The wall with upstreams that speak the Responses API: the primary, the fallback, all of them."""

import pytest

from resilio.testing.wall import BEYOND, ROWS, run_library_row

RESPONSES = {
    "primary": {"primary": "responses"},
    "fallback": {"fallback": "responses"},
    "all": dict.fromkeys(("primary", "fallback", "spare"), "responses"),
}


def cases():
    """Every row with all upstreams in its last mode; every other mode and mixture only now and then."""
    for row in (*ROWS, *BEYOND):
        for mode in row.modes:
            for who in RESPONSES:
                rare = row.callers > 1 or who != "all" or mode is not row.modes[-1]
                yield pytest.param(
                    row, mode, who, id=f"{row.id}-{mode}-{who}", marks=[pytest.mark.soak] if rare else []
                )


@pytest.mark.parametrize(("row", "mode", "who"), [*cases()])
async def test_the_wall_stands_whoever_speaks_the_responses_api(row, mode, who):
    result = await run_library_row(row, mode, kinds=RESPONSES[who])
    assert result.passed, result.judgement
