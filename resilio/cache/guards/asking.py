"""What is asked about it: who or when, may I or must I."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from resilio.cache.guards.words import lines_of, lists, stem, words_of

if TYPE_CHECKING:
    from resilio.cache.guards.prepared import Prepared

__all__ = ["kind_of_question", "kinds_of", "modal_of", "modality"]

_PREPOSITIONS: Final = frozenset({"for", "at", "in", "by", "on", "to", "from", "since", "until"})
_CONJUNCTIONS: Final = frozenset({"when", "where"})
_AUXILIARIES: Final = frozenset({"be", "do", "have", "can", "could", "will", "would", "shall", "should", "may", "must"})
_PAST: Final = frozenset({"did", "was", "were", "had"})
_FUTURE: Final = frozenset({"will", "shall"})


@cache
def _kinds() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Beginnings and the kind each shows, the longest first."""
    found = [
        (tuple(beginning.split()), kind)
        for kind, _, beginnings in (line.partition(":") for line in lines_of(lists().raw["ask"]["kinds"]))
        for beginning in words_of(beginnings)
    ]
    return tuple(sorted(found, key=lambda each: -len(each[0])))


@cache
def _apart() -> tuple[frozenset[frozenset[str]], frozenset[str], frozenset[str]]:
    raw = lists().raw["ask"]
    pairs = frozenset(frozenset(pair.split("/")) for pair in words_of(raw["apart"]))
    return pairs, frozenset(words_of(raw["leading"])), frozenset(beginning[0] for beginning, _ in _kinds())


def kind_of_question(asked: Prepared, kept: Prepared) -> str | None:
    """Who against when, why against how many. What, which and questions for yes or no differ from none."""
    one, other = asked.kinds, kept.kinds
    if not one or not other or not one.isdisjoint(other):
        return None
    pairs = _apart()[0]
    if all(frozenset((left, right)) in pairs for left in one for right in other):
        return f"question: {min(one)} against {min(other)}"
    return None


def kinds_of(words: Sequence[str], begins: Container[int]) -> frozenset[str]:
    """The kinds of question a text asks.

    Args:
        words: As they are written, in lower case.
        begins: Where in them a clause begins.
    """
    _, leading, firsts = _apart()
    found: set[str] = set()
    words = tuple(words)
    for at, word in enumerate(words):
        if word not in firsts:
            continue
        before = words[at - 1] if at else ""
        if at and at not in begins and before not in leading and before not in _PREPOSITIONS:
            continue  # of a clause: the day when it opened, someone who is allergic
        if word in _CONJUNCTIONS and before not in leading and not _asks(words[at + 1 : at + 2]):
            continue  # when I got there, ...
        for beginning, kind in _kinds():
            if words[at : at + len(beginning)] == beginning:
                found.add(kind)
                break
    return frozenset(found)


def _asks(following: tuple[str, ...]) -> bool:
    return not following or stem(following[0]) in _AUXILIARIES or following[0] == "to"


@cache
def _modals() -> tuple[tuple[tuple[str, ...], str], ...]:
    raw = lists().raw["ask"]
    return tuple(
        (tuple(phrase.split()), kind)
        for kind in ("possibility", "necessity", "advice")
        for phrase in words_of(raw[kind])
    )


@cache
def _modal_firsts() -> frozenset[str]:
    return frozenset(phrase[0] for phrase, _ in _modals())


def modality(asked: Prepared, kept: Prepared) -> str | None:
    """May I against must I, did it against will it, where all else is equal and both begin alike.

    After `how` the verbs mean the same.
    """
    begins = asked.spelled[:1], kept.spelled[:1]
    if asked.content != kept.content or "how" in asked.spelled or "how" in kept.spelled:
        return None
    past = [not _PAST.isdisjoint(text.spelled) for text in (asked, kept)]
    future = [not _FUTURE.isdisjoint(text.spelled) for text in (asked, kept)]
    if past == future[::-1] and past[0] != past[1] and not asked.negations:
        return "tense: past against future"
    one, other = asked.modal, kept.modal
    if not one or not other or one == other:
        return None
    both_ask = all(_opens(begin) for begin in begins)
    if both_ask or (begins[0] == begins[1] and "necessity" in {one, other}):
        return f"modality: {one} against {other}"
    return None


def _opens(begin: tuple[str, ...]) -> bool:
    return bool(begin) and stem(begin[0]) in _AUXILIARIES


def modal_of(words: Sequence[str]) -> str:
    """The kind of the first modal verb, or nothing; can you and could you ask for nothing but an answer."""
    words = tuple(words)
    for at, word in enumerate(words):
        if word not in _modal_firsts():
            continue
        for phrase, kind in _modals():
            if phrase[0] == word and words[at : at + len(phrase)] == phrase and words[at + 1 : at + 2] != ("you",):
                return kind
    return ""
