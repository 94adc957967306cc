"""What the guards look at in one text, taken apart once.

Left out: any comparison. The rule: a text is read from left to right and kept small, so that the prepared form of a
stored question can be kept beside it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Final

from resilio.cache.guards.asking import kinds_of, modal_of
from resilio.cache.guards.numbers import Number, find_numbers, is_unit
from resilio.cache.guards.order import Roles, roles_of
from resilio.cache.guards.words import Token, common_form, lines_of, lists, stem, tokens, words_of

__all__ = ["Prepared", "prepare"]

READ: Final = 1_000
"""Characters taken apart; what follows must be equal. About what the local embedder reads."""
MOST_WORDS: Final = 200
"""Likewise words, numbers and signs: where each letter is a word, time would not end with the characters."""
_PARTED: Final = frozenset({"turn", "switch", "log", "sign", "opt", "check", "put", "shut"})
_PARTICLES: Final = frozenset({"on", "off", "in", "out", "up", "down"})
_AUXILIARIES: Final = frozenset({"be", "do", "have", "can", "will", "could", "would", "should"})
_PRONOUNS: Final = frozenset({"it", "i", "you", "he", "she", "we", "they", "there"})
_APART: Final = 5
"""Words that may stand between a verb and its particle: turn the lights in the kitchen off."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One text, taken apart. Words are stems; phrases the lists know are joined by ``_``."""

    text: str
    """What was read, spaces evened out."""
    rest: bytes
    """A hash of what was not read; empty for most texts."""
    words: tuple[str, ...]
    """All of them in order, fillers left out, numbers as their values."""
    spelled: tuple[str, ...]
    """The same, as they are written, in lower case."""
    solid: tuple[int, ...]
    """Which of `words` say what the text is about."""
    stems: frozenset[str]
    parts: frozenset[str]
    """`stems`, and what their phrases are made of."""
    content: frozenset[str]
    """Those of `stems` that are no stop words."""
    numbers: tuple[Number, ...]
    negations: int
    poles: Mapping[int, frozenset[int]]
    """Line of the antonyms to the sides that are named."""
    names: frozenset[str]
    """Written like names."""
    rivals: Mapping[str, frozenset[str]]
    """Class to the names of that class."""
    dates: Mapping[str, frozenset[str]]
    kinds: frozenset[str]
    """Of question."""
    modal: str
    roles: Roles


def prepare(text: str) -> Prepared:
    """Take a text apart, whatever it is: any string will do.

    Costs some ten microseconds a word, and never more than a few milliseconds; keep the result where a text is compared
    again.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is a str, but no text
    # One character may become eighteen.
    first = unicodedata.normalize("NFKC", text[:READ])
    left = [text[READ:], first[READ:]]
    text = " ".join(first[:READ].split())
    found = tokens(text)
    left += [token.text for token in found[MOST_WORDS:]]
    found = found[:MOST_WORDS]
    rest = blake2b("\0".join(left).encode(), digest_size=8).digest() if any(left) else b""
    numbers, used = find_numbers(found)
    words, spelled, capitals, begins, numeric = _joined(found, used)
    known = lists()
    stems = frozenset(words)
    solid = tuple(
        at
        for at, word in enumerate(words)
        if (word not in known.stop or word in _light())
        and at not in numeric
        and not (at - 1 in numeric and is_unit(spelled[at]))
    )
    return Prepared(
        text=text,
        rest=rest,
        words=tuple(words),
        spelled=tuple(spelled),
        solid=solid,
        stems=stems,
        parts=stems.union(*(word.split("_") for word in stems if "_" in word)),
        content=frozenset(words[at] for at in solid if words[at] not in known.stop),
        numbers=tuple(numbers),
        negations=_negations(words, spelled),
        poles=_poles(words),
        names=frozenset(capitals),
        rivals=_grouped(pair for word in stems for pair in known.rivals.get(word, ())),
        dates=_dates(words, spelled, capitals),
        kinds=kinds_of(spelled, begins),
        modal=modal_of(spelled),
        roles=roles_of(words, spelled),
    )


@cache
def _light() -> frozenset[str]:
    return frozenset(map(stem, words_of(lists().raw["plain"]["light"])))


def _says_nothing(spelled: str, word: str) -> bool:
    return spelled in _common_capitals() or word in lists().stop or spelled in lists().stop


@cache
def _common_capitals() -> frozenset[str]:
    return frozenset(words_of(lists().raw["names"]["common_capitals"]))


def _joined(found: Sequence[Token], used: set[int]) -> tuple[list[str], list[str], set[str], list[int], set[int]]:
    """Stems with phrases joined, spelled words, names, where clauses begin, and where numbers are."""
    known = lists()
    kept: list[Token] = []
    numeric: set[int] = set()
    begins = {0}
    for at, token in enumerate(found):
        if token.kind in {"end", "comma"}:
            begins.add(len(kept))
        elif token.text not in known.fillers:
            if at in used:
                numeric.add(len(kept))
            kept.append(token)
    stems = [token.text if at in numeric else stem(token.text) for at, token in enumerate(kept)]
    words: list[str] = []
    spelled: list[str] = []
    names: set[str] = set()
    starts: list[int] = []
    places: set[int] = set()
    at = 0
    while at < len(kept):
        length = 1
        for phrase in known.phrases.get(stems[at], ()):
            end = at + len(phrase)
            if tuple(stems[at:end]) == phrase and begins.isdisjoint(range(at + 1, end)):
                length = len(phrase)
                break
        if at in begins:
            starts.append(len(words))
        word = "_".join(stems[at : at + length])
        if kept[at].capital and at not in numeric and not _says_nothing(kept[at].text, word):
            names.add(word)
        if at in numeric:
            places.add(len(words))
        words.append(word)
        spelled.append(" ".join(token.text for token in kept[at : at + length]))
        at += length
    return words, spelled, names, starts, places


def _negations(words: Sequence[str], spelled: Sequence[str]) -> int:
    negators = lists().negators
    idioms = _idioms()
    return sum(
        not negators.isdisjoint(word.split()) and words[at] not in idioms and not _asks_for_assent(words, at)
        for at, word in enumerate(spelled)
    )


@cache
def _idioms() -> frozenset[str]:
    return frozenset(map(common_form, lines_of(lists().raw["polarity"]["not_negations"])))


def _asks_for_assent(words: Sequence[str], at: int) -> bool:
    """The end of: it is open, isn't it? It denies nothing."""
    return 1 < at == len(words) - 2 and words[at - 1] in _AUXILIARIES and words[at + 1] in _PRONOUNS


def _poles(words: Sequence[str]) -> dict[int, frozenset[int]]:
    known = lists().poles
    found: dict[int, set[int]] = {}
    for at, word in enumerate(words):
        for axis, side in known.get(word, ()):
            found.setdefault(axis, set()).add(side)
        if word in _PARTED:
            for particle in words[at + 1 : at + 2 + _APART]:
                if particle in _PARTICLES:
                    for axis, side in known.get(f"{word}_{particle}", ()):
                        found.setdefault(axis, set()).add(side)
                    break
    return {axis: frozenset(sides) for axis, sides in found.items()}


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for kind, name in pairs:
        found.setdefault(kind, set()).add(name)
    return {kind: frozenset(names) for kind, names in found.items()}


@cache
def _doubtful() -> tuple[frozenset[str], frozenset[str]]:
    raw = lists().raw["dates"]
    return frozenset(map(common_form, words_of(raw["doubtful"]))), frozenset(words_of(raw["before"]))


def _dates(words: Sequence[str], spelled: Sequence[str], names: set[str]) -> dict[str, frozenset[str]]:
    known = lists().dates
    doubtful, before = _doubtful()
    pairs = []
    for at, word in enumerate(words):
        if word not in known:
            continue
        beside = spelled[max(at - 1, 0) : at + 2]
        if word in doubtful and not (
            word in names or (at and spelled[at - 1] in before) or any(each[0].isdigit() for each in beside)
        ):
            continue
        pairs.append(known[word])
    return _grouped(pairs)
