"""The wall's rows as data: the fault of the primary, who asks how often, what is expected, which rules hold.

The model's name chooses the fault: a client that asks for ``w06`` meets row W06, at the primary and, where a row
says so, at the fallback. Harder cases of the same form are in `beyond.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from resilio.testing.dialects.base import words
from resilio.testing.faults import (
    Cut,
    Error,
    Fault,
    Malformed,
    NoPrefill,
    Refusal,
    Reset,
    Silence,
    SlowFirstToken,
    Stall,
    Terminator,
)
from resilio.testing.latency import Uniform
from resilio.testing.script import Flapping, Rule, Script
from resilio.testing.wall.checks import (
    Check,
    accounts_for,
    at_most,
    first_cause_is_kept,
    in_time,
    never_says,
    primary_is_back,
    probes_only,
    quiet_after,
    spaced,
)
from resilio.testing.wall.evidence import FIRST_TOKEN, Mode
from resilio.testing.wall.texts import QUESTION, TEXTS, answer_of

__all__ = ["EITHER", "PACE", "PRICES", "ROWS", "UPSTREAMS", "Row", "script_of"]

UPSTREAMS: Final = tuple(TEXTS)

PRICES: Final[Mapping[str, tuple[float, float]]] = {"primary": (1.0, 2.0), "fallback": (3.0, 7.0), "spare": (5.0, 11.0)}
"""US dollars for a million input and output tokens: all different, so that a wrong bill shows."""

MARK: Final = "\\u00"
"""Characters that only the malformed chunk holds."""

PACE: Final = 25.0
"""Tokens a second."""

EITHER: Final = frozenset({"primary", "fallback"})


@dataclass(frozen=True, slots=True)
class Row:
    """One way a provider fails, and what a caller must see. Seconds are nominal."""

    id: str
    fault: str
    expected: str
    primary: tuple[Rule, ...]
    checks: tuple[Check, ...] = ()
    fallback: tuple[Rule, ...] = ()
    answers: frozenset[str] = EITHER
    """Upstreams whose text may be the answer."""
    targets: tuple[str, ...] = ("primary", "fallback")
    requests: int = 1
    """Of each caller, one after the other."""
    pause: float = 0.0
    """From the beginning of one request of a caller to that of its next, at the least."""
    callers: int = 1
    """How many ask at the same time."""
    stagger: float = 0.0
    """Seconds between the first requests of two callers."""
    twin: bool = False
    """The fallback serves the primary's own model: its text is the same."""
    paced: bool = False
    """The primary's tokens come one by one, 25 a second; where their pace tells nothing, answers come in one go."""
    first_token: tuple[float, float] = (0.2, 0.4)
    """Healthy first tokens come within these bounds."""
    expects_refusal: bool = False
    breaks_in_the_middle: bool = False
    """A stream may end in a typed error with the text so far where its caller asked for that."""
    leaves_after: float | None = None
    """The caller goes away so many seconds after it asked."""
    reads_slowly: float = 0.0
    """Seconds it takes over each chunk."""
    keys: tuple[str, ...] = ("sk-wall",)
    """Of the primary."""
    modes: tuple[Mode, ...] = field(default=tuple(Mode))

    @property
    def model(self) -> str:
        """What a client asks for."""
        return self.id.lower()

    @property
    def span(self) -> float:
        """Seconds from the first request to the last, when answers are prompt."""
        return self.pause * (self.requests - 1) + self.stagger * (self.callers - 1)


def script_of(row: Row, upstream: str, scale: float = 1.0) -> Script:
    """What an upstream does in this row.

    Args:
        row: The row.
        upstream: One of `UPSTREAMS`.
        scale: Every time of the script is multiplied by it.
    """
    rules = {"primary": row.primary, "fallback": row.fallback}.get(upstream, ())
    named = "primary" if row.twin and upstream == "fallback" else upstream
    return Script(
        tuple(_scaled(replace(rule, model=row.model), scale) for rule in rules),
        answer=answer_of(named),
        first_token=Uniform(row.first_token[0] * scale, row.first_token[1] * scale),
        tokens_per_second=PACE / scale if row.paced and upstream == "primary" else None,
    )


def _scaled(rule: Rule, scale: float) -> Rule:
    if rule.flapping is not None:
        rule = replace(
            rule, flapping=replace(rule.flapping, up=rule.flapping.up * scale, down=rule.flapping.down * scale)
        )
    return replace(rule, faults=tuple(_scaled_fault(fault, scale) for fault in rule.faults))


def _scaled_fault(fault: Fault, scale: float) -> Fault:
    match fault:
        case SlowFirstToken(seconds=seconds):
            return SlowFirstToken(seconds * scale)
        case Error(retry_after=float(hint)):
            return replace(fault, retry_after=hint * scale)
        case _:
            return fault


def _usage() -> tuple[int, int]:
    """Tokens of the question and of the fallback's answer, as the simulated provider counts them."""
    return max(1, len(QUESTION.encode()) // 4), len(words(TEXTS["fallback"]))


_DOWN: Final = Error("server_is_overloaded")
_FLAPS: Final = Rule((_DOWN,), flapping=Flapping(up=60.0, down=60.0, start="down"))

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "W01",
        "429 with `Retry-After: 1`",
        "waits or moves on; the primary is left alone for that second",
        (Rule((Error("rate_limit_exceeded", retry_after=1.0),), first=1),),
        (quiet_after(1.0),),
        requests=16,
        first_token=(0.05, 0.1),
    ),
    Row(
        "W02",
        "429 without a hint",
        "backs off or moves on; no immediate repeat",
        (Rule((Error("rate_limit_exceeded"),), first=2),),
        (spaced(0.1),),
        requests=2,
    ),
    Row(
        "W03",
        "one 500, then healthy",
        "answer; at most one extra call",
        (Rule((Error("server_error"),), first=1),),
        (at_most(2),),
    ),
    Row(
        "W04",
        "503 for ever",
        "fallback answers; once the breaker is open the primary gets probes only",
        (Rule((_DOWN,)),),
        (probes_only(),),
        answers=frozenset({"fallback"}),
        requests=24,
        pause=2.5,
    ),
    Row(
        "W05",
        "connection reset after the request is sent",
        "fallback answers",
        (Rule((Reset(),)),),
        answers=frozenset({"fallback"}),
    ),
    Row(
        "W06",
        "total silence",
        "moves on at the first-token clock, once",
        (Rule((Silence(),)),),
        (in_time(FIRST_TOKEN + 3), at_most(1, "primary")),
        answers=frozenset({"fallback"}),
    ),
    Row(
        "W07",
        "first token after 30 s",
        "moves on at the first-token clock",
        (Rule((SlowFirstToken(30.0),)),),
        (in_time(FIRST_TOKEN + 3), at_most(1, "primary")),
        answers=frozenset({"fallback"}),
    ),
    Row(
        "W08",
        "stream cut after 5 chunks, closed cleanly, no finish reason",
        "complete answer, never half a text as a success; `error`: a typed error with the text so far",
        (Rule((Cut(5),)),),
        (in_time(FIRST_TOKEN),),
        breaks_in_the_middle=True,
        paced=True,
    ),
    Row(
        "W09",
        "stream stalls after 5 chunks for ever",
        "as W08, at the idle clock",
        (Rule((Stall(5),)),),
        (in_time(FIRST_TOKEN + 3),),
        breaks_in_the_middle=True,
        paced=True,
    ),
    Row(
        "W10",
        "one malformed chunk in mid-stream",
        "complete answer, or as W08; the malformed bytes reach nobody",
        (Rule((Malformed(5, lost=True),)),),
        (never_says(MARK), in_time(FIRST_TOKEN)),
        breaks_in_the_middle=True,
        paced=True,
    ),
    Row(
        "W11",
        "complete answer with finish reason, no `[DONE]`",
        "success, no extra call",
        (Rule((Terminator(0),)),),
        (at_most(1),),
        answers=frozenset({"primary"}),
    ),
    Row(
        "W12",
        "400 context length exceeded; the fallback has a larger context",
        "fallback answers; the primary is not asked again, and nothing is held against it",
        (Rule((Error("context_length_exceeded"),), first=7),),
        (at_most(8, "primary"), primary_is_back),
        requests=8,
        pause=0.5,
    ),
    Row(
        "W13",
        "content filter refusal",
        "reported as a refusal; nobody else is asked",
        (Rule((Refusal(),)),),
        (at_most(0, "fallback"), at_most(1, "primary")),
        expects_refusal=True,
    ),
    Row(
        "W14",
        "stream cut after 5 chunks, and the fallback rejects a trailing assistant message",
        "complete answer by restart or another target; the first cause is kept; `error`: as W08",
        (Rule((Cut(5),)),),
        (first_cause_is_kept,),
        fallback=(Rule((NoPrefill(),)),),
        answers=frozenset(UPSTREAMS),
        targets=UPSTREAMS,
        twin=True,
        breaks_in_the_middle=True,
        paced=True,
    ),
    Row(
        "W15",
        "flapping: 60 s down, 60 s up, 20 requests spread over it",
        "everyone answered; while it is down, calls of the primary <= threshold + probes",
        (_FLAPS,),
        (probes_only(),),
        requests=20,
        pause=6.0,
    ),
    Row(
        "W16",
        "500 for ever: the fallback answers after failed attempts",
        "usage, cost and target of the one that answered; attempts as in the logs",
        (Rule((Error("server_error"),)),),
        (accounts_for("fallback", _usage, PRICES["fallback"]),),
        answers=frozenset({"fallback"}),
    ),
)
