"""From evidence to a verdict. Pure.

A row's verdict is the worst of its requests', and `fail` when a check of the row finds a rule broken. Nothing is
taken on trust: a "complete" answer must be one of the upstreams' texts from the first letter to the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from resilio.testing.wall.evidence import DEADLINE, Ended, Evidence, Mode, Seen
from resilio.testing.wall.texts import TEXTS

if TYPE_CHECKING:
    from resilio.testing.wall.rows import Row

__all__ = ["Judgement", "Verdict", "judge"]


class Verdict(StrEnum):
    """Best first."""

    PASS = "pass"  # noqa: S105 - a verdict
    PARTIAL = "partial"
    SAFE = "safe"
    FAIL = "fail"


_ORDER: Final = {verdict: place for place, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what stood in the way of a better one."""

    verdict: Verdict
    why: str = ""


def judge(row: Row, evidence: Evidence) -> Judgement:
    """The verdict on one row in one mode."""
    broken = [why for check in row.checks if (why := check(evidence)) is not None]
    broken += [f"not given back: {leak}" for leak in evidence.leaks]
    if broken:
        return Judgement(Verdict.FAIL, "; ".join(broken))
    judged = [_one(row, evidence, seen) for seen in evidence.seen]
    if not judged:
        return Judgement(Verdict.FAIL, "nothing was asked")
    worst = max(judged, key=lambda judgement: _ORDER[judgement.verdict])
    if worst.verdict is Verdict.PASS:
        return worst
    same = sum(judgement.verdict is worst.verdict for judgement in judged)
    times = f" ({same} of {len(judged)} requests)" if len(judged) > 1 else ""
    return Judgement(worst.verdict, worst.why + times)


def _one(row: Row, evidence: Evidence, seen: Seen) -> Judgement:
    """The verdict on what one caller saw."""
    if seen.ended is Ended.HUNG or seen.elapsed > DEADLINE + evidence.slack:
        return Judgement(Verdict.FAIL, f"neither answer nor error within {DEADLINE:g} s ({seen.elapsed:.1f} s)")
    if row.expects_refusal:
        return _refusal(seen)
    match seen.ended:
        case Ended.LEFT if row.leaves_after is not None:
            return Judgement(Verdict.PASS)
        case Ended.COMPLETE:
            return _whole(row, seen)
        case Ended.PARTIAL:
            return _part(seen)
        case Ended.ERROR:
            return _error(row, evidence.mode, seen)
        case _:
            return Judgement(Verdict.FAIL, f"ended as {seen.ended}: {seen.error or 'nobody asked for that'}")


def _refusal(seen: Seen) -> Judgement:
    if seen.ended is Ended.REFUSED:
        return Judgement(Verdict.PASS)
    if seen.ended is Ended.ERROR and not seen.text:
        return Judgement(Verdict.SAFE, f"an error that does not tell of a refusal: {seen.error}")
    return Judgement(Verdict.FAIL, f"a refusal reported as {seen.ended}: {_shown(seen.text)}")


def _whole(row: Row, seen: Seen) -> Judgement:
    name = next((name for name, text in TEXTS.items() if text == seen.text), None)
    if name is None:
        return Judgement(Verdict.FAIL, f"reported as complete, but is {_fault_of(seen.text)}")
    if name not in row.answers:
        return Judgement(Verdict.FAIL, f"answered by {name}, which this row forbids")
    return Judgement(Verdict.PASS)


def _part(seen: Seen) -> Judgement:
    if not _begins_one(seen.text):
        return Judgement(Verdict.FAIL, f"a partial answer that is {_fault_of(seen.text)}")
    return Judgement(Verdict.PARTIAL, f"a marked partial answer of {len(seen.text)} characters")


def _error(row: Row, mode: Mode, seen: Seen) -> Judgement:
    if seen.partial_text and seen.partial_text not in TEXTS.values() and not _begins_one(seen.partial_text):
        return Judgement(Verdict.FAIL, f"the error carries {_fault_of(seen.partial_text)}")
    if mode is Mode.ERROR and row.breaks_in_the_middle and seen.partial_text:
        return Judgement(Verdict.PASS)
    return Judgement(Verdict.SAFE, f"error: {seen.error}")


def _begins_one(text: str) -> bool:
    return bool(text) and any(whole != text and whole.startswith(text) for whole in TEXTS.values())


def _fault_of(text: str) -> str:
    if not text:
        return "empty"
    if _begins_one(text):
        return f"truncated after {len(text)} characters"
    for name, whole in TEXTS.items():
        same = next(
            (i for i, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), min(len(text), len(whole))
        )
        if same > 1:
            return f"that of {name} only up to character {same}: {_shown(text[max(0, same - 20) : same + 20])}"
    return f"no text of any upstream: {_shown(text)}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
