"""Harder cases beyond the sixteen, of the same form: crowds, callers who leave, slow readers, lies in a 200, keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from resilio.testing.faults import Cut, EmptyChoices, Error, ErrorFrame, Html, Refusal
from resilio.testing.script import Rule
from resilio.testing.wall.checks import amplified_at_most, at_most, caller_gone_is_noticed, probes_only, struck_at_most
from resilio.testing.wall.evidence import Mode
from resilio.testing.wall.rows import ROWS, Row

__all__ = ["BEYOND", "row_of"]

_BY_ID: Final = {row.id: row for row in ROWS}


def _harder(of: str, identity: str, **changes: Any) -> Row:
    return replace(_BY_ID[of], id=identity, **changes)


_GONE: Final = (caller_gone_is_noticed(0.1),)
_NO_CREDIT: Final = "out of credit"
_MOVES_ON: Final = "fallback answers; the primary is not asked again at once"

BEYOND: Final[tuple[Row, ...]] = (
    _harder(
        "W04",
        "B01",
        fault="503 for ever, 50 callers x 20 calls",
        expected="as W04; at most 1.3 upstream calls for each of a caller's",
        checks=(probes_only(at_once=50), amplified_at_most(1.3)),
        requests=20,
        pause=1.5,
        callers=50,
        stagger=0.03,
    ),
    _harder(
        "W15",
        "B02",
        fault="flapping as in W15, 50 callers x 20 calls",
        expected="as W15; upstream calls for each of a caller's are reported",
        checks=(probes_only(at_once=50),),
        callers=50,
        stagger=0.12,
    ),
    _harder(
        "W06",
        "B03",
        fault="caller hangs up during silence",
        expected="upstream cancelled within 100 ms, nothing leaked",
        checks=_GONE,
        leaves_after=4.0,
    ),
    _harder(
        "W09",
        "B04",
        fault="caller hangs up during a stall",
        expected="upstream cancelled within 100 ms, nothing leaked",
        checks=_GONE,
        leaves_after=3.0,
    ),
    _harder(
        "W08",
        "B05",
        fault="cut as in W08, read slowly (0.3 s a chunk)",
        expected="as W08: the reader's time is on no clock but the deadline",
        checks=(),
        reads_slowly=0.3,
        modes=(Mode.CONTINUE, Mode.ERROR),
    ),
    Row("B06", "200 with a proxy's HTML page", "fallback answers", (Rule((Html(),)),), answers=frozenset({"fallback"})),
    Row(
        "B07", "200 with empty choices", "fallback answers", (Rule((EmptyChoices(),)),), answers=frozenset({"fallback"})
    ),
    Row(
        "B08",
        "an error frame inside a 200 stream, after 5 chunks",
        "as W08",
        (Rule((ErrorFrame(5),)),),
        breaks_in_the_middle=True,
        paced=True,
    ),
    Row(
        "B09",
        f"{_NO_CREDIT}: 402",
        _MOVES_ON,
        (Rule((Error("credit_balance_exhausted"),)),),
        (at_most(1, "primary"),),
        answers=frozenset({"fallback"}),
        requests=3,
    ),
    Row(
        "B10",
        f"{_NO_CREDIT}: 400 with that code",
        _MOVES_ON,
        (Rule((Error("insufficient_quota", status=400),)),),
        (at_most(1, "primary"),),
        answers=frozenset({"fallback"}),
        requests=3,
    ),
    Row(
        "B11",
        "wrong key (401), a second key is configured",
        "the second key answers; the wrong one is tried once",
        (Rule((Error("invalid_api_key"),), key="sk-wrong"),),
        (struck_at_most(1),),
        answers=frozenset({"primary"}),
        requests=3,
        keys=("sk-wrong", "sk-wall"),
    ),
    _harder("W14", "B12", fault="as W14, without another target", targets=("primary", "fallback")),
    _harder("W14", "B13", fault="as W14, the fallback is another model", twin=False),
    _harder(
        "W13",
        "B14",
        fault="the model's own refusal",
        primary=(Rule((Refusal("refusal"),)),),
    ),
    _harder("W13", "B15", fault="the prompt is refused with 400", primary=(Rule((Refusal("prompt"),)),)),
    _harder(
        "W08",
        "B16",
        fault="as W08, the connection ends in mid-body",
        primary=(Rule((Cut(5, clean=False),)),),
    ),
)
"""Harder cases of the same form; no part of the sixteen."""


def row_of(identity: str) -> Row:
    """The row of this name, in any case.

    Raises:
        KeyError: There is none.
    """
    for row in (*ROWS, *BEYOND):
        if row.id == identity.upper():
            return row
    raise KeyError(identity)
