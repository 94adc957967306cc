"""What is spoken of: numbers, dates, names, and how much of it is meant."""

from __future__ import annotations

from functools import cache
from typing import Final

from resilio.cache.guards.numbers import Number, same_number
from resilio.cache.guards.prepared import Prepared
from resilio.cache.guards.words import common_form, has_equal, lines_of, lists, words_of

__all__ = ["dates", "names", "numbers", "scope"]

_MOST: Final = 50
"""Numbers that are matched one with another."""
_MOST_NAMES: Final = 20
"""Names that are looked for in other words of the other question."""
_ALIKE: Final = 2
"""Words by which two questions may differ that are one but for "all" or "best"; others mention these in passing."""


def numbers(asked: Prepared, kept: Prepared) -> str | None:
    """A number that the other question has not, in any writing or unit. One and single may be articles."""
    if max(len(asked.numbers), len(kept.numbers)) > _MOST:
        return None if asked.numbers == kept.numbers else "number: too many to be matched"
    left = list(kept.numbers)
    rest: list[Number] = []
    for number in asked.numbers:
        match = next((other for other in left if same_number(number, other)), None)
        if match is None:
            rest.append(number)
        else:
            left.remove(match)
    if rest and left:
        return f"number: {_number(rest[0])} against {_number(left[0])}"
    strong = [number for number in (*rest, *left) if not number.weak]
    return f"number: {_number(strong[0])} in one alone" if strong else None


def _number(number: Number) -> str:
    return f"{number.value} ({number.dimension})" if number.dimension else number.value


@cache
def _weak_dates() -> frozenset[str]:
    return frozenset(map(common_form, words_of(lists().raw["dates"]["weak"])))


def dates(asked: Prepared, kept: Prepared) -> str | None:
    """A day, month, season or time of day that the other has not; or another rhythm (a month against a year)."""
    if not (asked.dates or kept.dates):
        return None
    for group in (("month", "weekday", "season", "feast", "relative", "century"), ("every",), ("clock",)):
        one = frozenset().union(*(asked.dates.get(kind, frozenset()) for kind in group))
        other = frozenset().union(*(kept.dates.get(kind, frozenset()) for kind in group))
        if one == other:
            continue
        if one - other and other - one:
            return f"date: {_phrase(min(one - other))} against {_phrase(min(other - one))}"
        strong = (one ^ other) - _weak_dates()
        if strong:
            return f"date: {_phrase(min(strong))} in one alone"
    return None


def _phrase(word: str) -> str:
    return word.replace("_", " ")


@cache
def _never_in_passing() -> frozenset[str]:
    return frozenset(words_of(lists().raw["names"]["alone"]))


def names(asked: Prepared, kept: Prepared) -> str | None:
    """A name that the other question has not: known by the lists, or by its capital inside a sentence."""
    for kind in asked.rivals.keys() | kept.rivals.keys():
        one, other = asked.rivals.get(kind, frozenset()), kept.rivals.get(kind, frozenset())
        if one - other and other - one:
            return f"{kind}: {_phrase(min(one - other))} against {_phrase(min(other - one))}"
        if one != other and kind in _never_in_passing():
            return f"{kind}: {_phrase(min(one ^ other))} in one alone"
    one, other = _missing(asked, kept), _missing(kept, asked)
    if one and other:
        return f"name: {_phrase(min(one))} against {_phrase(min(other))}"
    if one or other:
        return f"name: {_phrase(min(one | other))} in one alone"
    return None


def _missing(here: Prepared, there: Prepared) -> frozenset[str]:
    if here.names <= there.stems:
        return frozenset()
    candidates = sorted(here.names - there.stems)
    # One for which there is no time is one that the other has not.
    missing = [name for name in candidates[:_MOST_NAMES] if not _named(name, there)]
    return frozenset(missing + candidates[_MOST_NAMES:])


def _meant(word: str, text: Prepared) -> bool:
    """Whether the text has the word in other words, or misspelt."""
    return has_equal(word, word, ((other, other) for other in text.words))


def _named(name: str, text: Prepared) -> bool:
    known = lists().rivals
    aliases = known.get(name, ())
    dated = lists().dates.get(name)
    if dated is not None and dated[1] in text.dates.get(dated[0], ()):
        return True
    if any(alias in text.rivals.get(kind, ()) for kind, alias in aliases):
        return True
    if _meant(name, text):
        return True
    initials = "".join(word[0] for word in text.words if word)
    return 2 <= len(name) <= 6 and name in initials


@cache
def _scopes() -> tuple[dict[str, int], frozenset[str]]:
    raw = lists().raw["scope"]
    groups = {common_form(word): i for i, line in enumerate(lines_of(raw["words"])) for word in words_of(line)}
    return groups, frozenset(map(common_form, words_of(raw["narrowing"])))


def scope(asked: Prepared, kept: Prepared) -> str | None:
    """All against some, the best against any, for children against for anybody."""
    groups, narrowing = _scopes()
    alike = len(asked.content ^ kept.content) <= _ALIKE
    for here, there in ((asked, kept), (kept, asked)):
        for word in here.stems - there.stems:
            group = groups.get(word)
            if group is not None and any(groups.get(other) == group for other in there.stems):
                continue
            if ((group is not None and alike) or word in narrowing) and not _meant(word, there):
                return f"scope: {_phrase(word)} in one alone"
    return None
