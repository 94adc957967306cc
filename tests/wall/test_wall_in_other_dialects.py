"""The wall with upstreams that speak other dialects than OpenAI's: one of them, all of them, and mixed."""

import pytest

from resilio.testing.wall import BEYOND, ROWS, run_library_row

UPSTREAMS = ("primary", "fallback", "spare")
SPOKEN = {
    "anthropic first": {"primary": "anthropic"},
    "gemini first": {"primary": "gemini"},
    "mixed": {"primary": "gemini", "fallback": "anthropic"},
    "mixed the other way": {"primary": "anthropic", "fallback": "gemini", "spare": "anthropic"},
    "anthropic second": {"fallback": "anthropic"},
    "gemini second": {"fallback": "gemini"},
    "all anthropic": dict.fromkeys(UPSTREAMS, "anthropic"),
    "all gemini": dict.fromkeys(UPSTREAMS, "gemini"),
}
"""By name: the dialects of upstreams that do not speak OpenAI's."""
ALWAYS = ("anthropic first", "mixed")


def cases():
    """Every row in every mode with two of the mixtures; the others, and rows with crowds, only now and then."""
    for row in (*ROWS, *BEYOND):
        for mode in row.modes:
            for who in SPOKEN:
                rare = row.callers > 1 or who not in ALWAYS
                yield pytest.param(
                    row, mode, who, id=f"{row.id}-{mode}-{who}", marks=[pytest.mark.soak] if rare else []
                )


@pytest.mark.parametrize(("row", "mode", "who"), [*cases()])
async def test_the_wall_stands_whatever_is_spoken(row, mode, who):
    result = await run_library_row(row, mode, kinds=SPOKEN[who])
    assert result.passed, result.judgement
