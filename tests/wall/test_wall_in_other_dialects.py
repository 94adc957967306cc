"""The wall with upstreams that speak Anthropic's dialect: the primary, the fallback, all of them."""

import pytest

from resilio.testing.wall import BEYOND, ROWS, run_library_row

ANTHROPIC = {
    "primary": {"primary": "anthropic"},
    "fallback": {"fallback": "anthropic"},
    "all": dict.fromkeys(("primary", "fallback", "spare"), "anthropic"),
}


def cases():
    """Every row in every mode with an Anthropic-speaking primary; the other mixtures in full only now and then."""
    for row in (*ROWS, *BEYOND):
        for mode in row.modes:
            for who in ANTHROPIC:
                rare = row.callers > 1 or who != "primary"
                yield pytest.param(
                    row, mode, who, id=f"{row.id}-{mode}-{who}", marks=[pytest.mark.soak] if rare else []
                )


@pytest.mark.parametrize(("row", "mode", "who"), [*cases()])
async def test_the_wall_stands_whoever_speaks_anthropics_dialect(row, mode, who):
    result = await run_library_row(row, mode, kinds=ANTHROPIC[who])
    assert result.passed, result.judgement
