"""Which prepared answer fits a question, by its words.

Words weigh as in BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009). Its
score has no upper end, so what two questions share is measured against what each shares with itself, and no question
can be more like another than itself: 2 s(a, b) / (s(a, a) + s(b, b)), from 0 to 1. So words that stand in few questions
decide, and a word that only one of the two has counts against both.

Pure: no clock, no I/O. Matching by meaning needs an embedder and stands a layer above.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from resilio.config.faq import Faq, FaqAnswer

__all__ = ["KeywordMatcher", "Match"]

K1: Final = 1.2
"""How soon further occurrences of a word stop counting; BM25's usual value."""
_WORD: Final = re.compile(r"\w+")
_ENDINGS: Final = ("ing", "ed", "es", "s")
"""Taken off longer words, so that "resets" and "resetting" are "reset": enough for a question's few words."""
_SHORTEST: Final = 4


class Match(NamedTuple):
    """A prepared answer, and how well it fits."""

    answer: FaqAnswer
    question: str
    """The one of its questions that fits best."""
    score: float
    """0 to 1."""


class KeywordMatcher:
    """Finds the prepared answers whose questions share most with one that is asked."""

    def __init__(self, faq: Faq) -> None:
        self._rows = [(_terms(question), question, answer) for answer in faq.answers for question in answer.questions]
        self._having = Counter(term for terms, _, _ in self._rows for term in terms)
        """In how many questions a word stands."""
        self._by_term: dict[str, list[int]] = {}
        for number, (terms, _, _) in enumerate(self._rows):
            for term in terms:
                self._by_term.setdefault(term, []).append(number)
        self._own = [self._score(terms, terms) for terms, _, _ in self._rows]

    def best(self, question: str, count: int = 4) -> list[Match]:
        """The best fits, best first, one for each answer; those that share no word with it are none."""
        asked = _terms(question)
        own = self._score(asked, asked)
        numbers = {number for term in asked for number in self._by_term.get(term, ())}
        found: dict[int, Match] = {}
        for match in sorted(self._matches(asked, own, numbers), key=lambda match: -match.score):
            found.setdefault(id(match.answer), match)
        return list(found.values())[:count]

    def _matches(self, asked: Counter[str], own: float, numbers: set[int]) -> Iterator[Match]:
        for number in numbers:
            terms, question, answer = self._rows[number]
            yield Match(answer, question, 2 * self._score(asked, terms) / (own + self._own[number]))

    def _score(self, one: Counter[str], other: Counter[str]) -> float:
        return sum(
            self._weight(term) * _saturated(count) * _saturated(other[term])
            for term, count in one.items()
            if term in other
        )

    def _weight(self, term: str) -> float:
        """Inverse document frequency, as Lucene has it: never negative."""
        having = self._having[term]
        return math.log(1 + (len(self._rows) - having + 0.5) / (having + 0.5))


def _saturated(count: int) -> float:
    return count * (K1 + 1) / (count + K1)


def _terms(text: str) -> Counter[str]:
    return Counter(map(_stem, _WORD.findall(text.casefold())))


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            stem = word.removesuffix(ending)
            # "resetting": the doubled letter goes too.
            return stem[:-1] if ending in ("ing", "ed") and stem[-1] == stem[-2] else stem
    return word
