"""One word in the place of another: the guard for whatever no list has.

`length` and `overlap` are for the strict profile alone.
"""

from __future__ import annotations

from typing import Final

from resilio.cache.guards.polarity import opposite
from resilio.cache.guards.prepared import Prepared
from resilio.cache.guards.words import has_equal, lists

__all__ = ["length", "overlap", "replaced"]

MOST_REPLACED: Final = 3
"""Words on a side. With more of them different it is another wording, and the vectors have said how near it is."""
MOST_COMPARED: Final = 40
"""Words on a side whose meanings are compared, each with each: what is all new takes milliseconds, not more."""
LENGTH_RATIO: Final = 0.5
OVERLAP: Final = 0.6


def _unmatched(here: Prepared, there: Prepared) -> list[int]:
    """Places of the words whose meaning the other question has nowhere."""
    known = lists()
    new = [at for at in here.solid if here.words[at] not in there.stems and here.words[at] not in known.dates]
    found = [at for at in new[:MOST_COMPARED] if not _has_equal(here, at, there)] + new[MOST_COMPARED:]
    # Make faster: beside another word a verb that says little says nothing.
    return [at for at in found if here.words[at] not in known.stop] or found


def _has_equal(here: Prepared, at: int, there: Prepared) -> bool:
    word = here.words[at]
    # Opposites that got as far as this have a negation that makes up for them.
    if _in_parts(word, there) or opposite(word, there):
        return True
    if any(name in there.rivals.get(kind, ()) for kind, name in lists().rivals.get(word, ())):
        return True
    others = (place for place in there.solid[:MOST_COMPARED] if there.words[place] not in here.stems)
    return has_equal(word, here.spelled[at], ((there.words[place], there.spelled[place]) for place in others))


def _in_parts(word: str, text: Prepared) -> bool:
    """Whether a phrase is there in pieces (gave my card back), or a word as one piece of a phrase."""
    known = lists()
    parts = [part for part in word.split("_") if part not in known.stop] or [word]
    if word in known.rivals:
        return text.parts.issuperset(parts)
    return not text.parts.isdisjoint(parts)


def replaced(asked: Prepared, kept: Prepared) -> str | None:
    """A few words differ, and the first of them have the same neighbour: a radiator's price, a boiler's price.

    Synonyms, kinsmen and misspellings are no difference; one without counterpart is none either.
    """
    one, other = _unmatched(asked, kept), _unmatched(kept, asked)
    if not one or not other or max(len(one), len(other)) > MOST_REPLACED:
        return None
    at, there = one[0], other[0]
    same_before = _neighbour(asked, at, -1) == _neighbour(kept, there, -1)
    same_after = _neighbour(asked, one[-1], 1) == _neighbour(kept, other[-1], 1)
    if same_before or same_after:
        return f"word: {asked.spelled[at]} against {kept.spelled[there]}"
    return None


def _neighbour(text: Prepared, at: int, step: int) -> str:
    at += step
    return text.words[at] if 0 <= at < len(text.words) else ""


def length(asked: Prepared, kept: Prepared) -> str | None:
    """One says twice as many words that matter as the other."""
    one, other = sorted((len(asked.solid), len(kept.solid)))
    if other and one / other < LENGTH_RATIO:
        return f"length: {one} words against {other}"
    return None


def overlap(asked: Prepared, kept: Prepared) -> str | None:
    """Too few of the words that matter are in both, or mean the same."""
    total = len(asked.solid) + len(kept.solid)
    if not total:
        return None
    alone = len(_unmatched(asked, kept)) + len(_unmatched(kept, asked))
    share = 1 - alone / total
    return f"overlap: {share:.0%} of the words" if share < OVERLAP else None
