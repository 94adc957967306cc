"""Yes against no: negations, and words whose opposites stand in the other question."""

from __future__ import annotations

from functools import cache

from resilio.cache.guards.prepared import Prepared
from resilio.cache.guards.words import common_form, lists, words_of

__all__ = ["antonyms", "negation", "opposite"]


def negation(asked: Prepared, kept: Prepared) -> str | None:
    """An odd number of negations in one, an even one in the other.

    A word for its own opposite makes up for one (not legal is illegal), and so does one that says that something
    failed (I cannot log in, I have trouble logging in).
    """
    if asked.negations % 2 != kept.negations % 2:
        plain = kept if asked.negations % 2 else asked
        other = asked if plain is kept else kept
        excused = _opposites(asked, kept) or not (plain.stems - other.stems).isdisjoint(_failing())
        return None if excused else "negation"
    for here, there in ((asked.content, kept.content), (kept.content, asked.content)):
        if len(here - there) == 1 and here - there <= _turning() and there <= here:
            return f"negation: {min(here - there)}"
    return None


@cache
def _failing() -> frozenset[str]:
    return frozenset(map(common_form, words_of(lists().raw["polarity"]["failing"])))


@cache
def _turning() -> frozenset[str]:
    return frozenset(map(common_form, words_of(lists().raw["polarity"]["turning"])))


def antonyms(asked: Prepared, kept: Prepared) -> str | None:
    """A word in one whose opposite is in the other, unless as many negations make up for it."""
    found = _opposites(asked, kept)
    if not found or (len(found) == 1 and abs(asked.negations - kept.negations) == 1):
        return None
    one, other = found[0]
    return f"opposite: {one} against {other}"


def opposite(word: str, text: Prepared) -> bool:
    """Whether the text has the opposite of a word."""
    if any(-side in text.poles.get(axis, ()) for axis, side in lists().poles.get(word, ())):
        return True
    return any(
        prefix + word in text.stems or (word.startswith(prefix) and word[len(prefix) :] in text.stems)
        for prefix in _prefixes()
    )


def _opposites(asked: Prepared, kept: Prepared) -> list[tuple[str, str]]:
    """Pairs of opposites; those of several lines about the same two words count once."""
    found = {
        (_word_on(asked, axis, sides), _word_on(kept, axis, kept.poles[axis]))
        for axis, sides in asked.poles.items()
        if len(sides) == 1 and len(kept.poles.get(axis, ())) == 1 and sides.isdisjoint(kept.poles[axis])
    }
    found.update((bare, turned) for bare, turned in _turned(asked, kept))
    found.update((turned, bare) for bare, turned in _turned(kept, asked))
    if _subject(asked) != _subject(kept):
        found = {pair for pair in found if frozenset(pair) not in _converse()}
    return sorted(found)


@cache
def _converse() -> frozenset[frozenset[str]]:
    return frozenset(frozenset(pair.split("/")) for pair in words_of(lists().raw["polarity"]["converse"]))


def _subject(text: Prepared) -> str:
    return next((word for word in text.words if word in {"i", "we", "you"}), "")


def _word_on(text: Prepared, axis: int, sides: frozenset[int]) -> str:
    (side,) = sides
    poles = lists().poles
    return next((word.replace("_", " ") for word in text.words if (axis, side) in poles.get(word, ())), "its opposite")


@cache
def _prefixes() -> tuple[str, ...]:
    return tuple(words_of(lists().raw["polarity"]["prefixes"]))


def _turned(one: Prepared, other: Prepared) -> list[tuple[str, str]]:
    """Words that the other has behind a prefix of negation, and neither has both ways."""
    rare = one.content - other.content
    return [
        (word, prefix + word)
        for word in rare
        if len(word) >= 4
        for prefix in _prefixes()
        if prefix + word in other.stems and prefix + word not in one.stems
    ]
