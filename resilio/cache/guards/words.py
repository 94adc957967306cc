"""The words of a text, in forms that can be compared, and what is known about each.

The lists stand in `data/guards.toml`, read at first use. Left out: what a difference between two texts means. The rule:
what is not listed is taken as it stands, so a word nobody thought of differs from every other.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["Lists", "Token", "common_form", "has_equal", "lists", "related", "same_meaning", "stem", "tokens", "typo"]

DATA: Final = Path(__file__).parents[1] / "data"
SUFFIXES: Final = frozenset({
    "", "able", "ible", "ably", "age", "al", "ally", "ance", "ence", "ant", "ation", "ication", "ition", "tion", "ion",
    "ment", "ness", "ful", "ity", "ive", "ing", "ed", "er", "or", "ly", "y", "th", "s", "es",
})  # fmt: skip
"""Endings that leave what a word is about: form and formation. Not those that make another (employer, employee)."""

MOST_KIN: Final = 8
"""Words that begin like one are looked at for the same root or a misspelling, so many for each."""

DATE_KINDS: Final = ("month", "weekday", "season", "feast", "relative", "century", "every", "clock")

_ASCII: Final = str.maketrans(
    "\u2019\u2018\u02bc\u0060\u00b4\u201c\u201d\u2010\u2011\u2013\u2014\u2212", "'''''\"\"-----"
)
_TOKEN: Final = re.compile(
    r"""
      (?P<number> (?:(?<![\w)])-)? (?:[£$€¥₹]\s?)? \d(?:[\d.,:/-]*\d)? (?:\s?% | °[cf]? | [^\W\d_]+\d*\w*)? )
    | (?P<word> [\u3040-\u30ff\u3400-\u9fff] | \.net\b | [^\W\d_][\w]*(?:'[^\W\d_]+)*(?:\+\+|\#(?!\w))? )
    | (?P<end> [.!?;:\n…]+ )
    | (?P<comma> , )
    | (?P<symbol> [+*/=<>^&|~](?=\s*\w) | [%$€£¥₹] | (?<=\s)-(?=\s) | [^\w\s\x00-\x7f] )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ABBREVIATION: Final = re.compile(r"\b([UE])\.\s?([SKU])\b\.?(?=[\sA?!,]|$)")
"""U.S. and U.K., with their stops."""


class Token(NamedTuple):
    """A word, number or sign, as it stands in a text."""

    text: str
    """In lower case; a contraction gives several."""
    kind: str
    """``word``, ``number``, ``symbol``, or ``end`` and ``comma`` for marks."""
    capital: bool
    """Written with a capital that no beginning of a sentence explains, or all in capitals."""


@dataclass(frozen=True, slots=True)
class Lists:
    """The data file, in forms fit for looking up. Words are stems, phrases are stems joined by ``_``."""

    raw: Mapping[str, Any]
    contractions: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, tuple[tuple[str, ...], ...]]
    """By their first word, the longest first."""
    stop: frozenset[str]
    fillers: frozenset[str]
    synonyms: Mapping[str, frozenset[int]]
    """The groups a word belongs to."""
    poles: Mapping[str, tuple[tuple[int, int], ...]]
    """Word to (line, side), the side being 1 or -1."""
    negators: frozenset[str]
    rivals: Mapping[str, tuple[tuple[str, str], ...]]
    """Word to (class, name): different names of one class are different things."""
    dates: Mapping[str, tuple[str, str]]
    """The same for what names a time."""


def words_of(line: str) -> list[str]:
    """A comma-separated line of a list."""
    return [word.strip() for word in line.replace("\n", ",").split(",") if word.strip()]


def lines_of(block: str) -> Iterator[str]:
    """The lines of a list that hold something."""
    return (line.strip() for line in block.splitlines() if line.strip())


@cache
def _raw() -> Mapping[str, Any]:
    return tomllib.loads((DATA / "guards.toml").read_text("utf-8"))


@cache
def lists() -> Lists:
    """Read the lists; once a process, about 20 ms."""
    raw = _raw()
    spelled: set[str] = set()

    def form(phrase: str) -> str:
        key = common_form(phrase)
        if "_" in key:
            spelled.add(key)
        return key

    synonyms: dict[str, set[int]] = {}
    for group, line in enumerate(lines_of(raw["plain"]["synonyms"])):
        for word in words_of(line):
            synonyms.setdefault(form(word), set()).add(group)
    poles: dict[str, list[tuple[int, int]]] = {}
    for axis, line in enumerate(lines_of(raw["polarity"]["antonyms"])):
        for side, pole in zip((1, -1), line.split("|"), strict=True):
            for word in words_of(pole):
                poles.setdefault(form(word), []).append((axis, side))
    rivals: dict[str, list[tuple[str, str]]] = {}
    classes = [line.partition(":")[::2] for line in lines_of(raw["names"]["rivals"])]
    for kind, members in classes:
        for names in words_of(members):
            known, *_ = aliases = [form(alias) for alias in names.split("=")]
            for alias in aliases:
                rivals.setdefault(alias, []).append((kind, known))
    dates: dict[str, tuple[str, str]] = {}
    for kind in DATE_KINDS:
        for names in words_of(raw["dates"][kind]):
            known, *_ = aliases = [form(alias) for alias in names.split("=")]
            dates.update((alias, (kind, known)) for alias in aliases)
    for phrase in (
        *lines_of(raw["polarity"]["not_negations"]),
        *words_of(raw["scope"]["narrowing"]),
        *words_of(raw["scope"]["idioms"]),
    ):
        form(phrase)
    stop = words_of(raw["plain"]["stop"])
    stop += [form(idiom) for idiom in lines_of(raw["polarity"]["not_negations"])]
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for phrase in spelled:
        parts = tuple(phrase.split("_"))
        phrases.setdefault(parts[0], []).append(parts)
    pairs = (line.split(":") for line in lines_of(raw["forms"]["contractions"]))
    return Lists(
        raw=raw,
        contractions={short.strip(): tuple(long.split()) for short, long in pairs},
        phrases={first: tuple(sorted(group, key=len, reverse=True)) for first, group in phrases.items()},
        stop=frozenset(map(stem, stop)) | frozenset(stop),
        fillers=frozenset(words_of(raw["plain"]["fillers"])),
        synonyms={word: frozenset(groups) for word, groups in synonyms.items()},
        poles={word: tuple(found) for word, found in poles.items()},
        negators=frozenset(words_of(raw["polarity"]["negators"])),
        rivals={word: tuple(found) for word, found in rivals.items()},
        dates=dates,
    )


@cache
def _irregular() -> Mapping[str, str]:
    return {
        form: base.strip()
        for base, _, forms in (line.partition(":") for line in lines_of(_raw()["forms"]["irregular"]))
        for form in (base.strip(), *words_of(forms))
    }


def common_form(phrase: str) -> str:
    """A word or phrase as the lists have it: stems joined by ``_``."""
    return "_".join(stem(word) for word in phrase.casefold().replace("-", " ").replace("'", "").split())


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The base of an inflected English word: buy of bought, enable of enabling, box of boxes.

    Endings go where what is left is a known word; one nobody knows loses the commonest. Comparatives stay as they are.

    Args:
        word: In lower case. Words of other languages come back as they are, or nearly.
    """
    base = _irregular().get(word)
    if base is not None:
        return base
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = _singular(word)
        if word in _irregular():
            return _irregular()[word]
    elif word.endswith("ied"):
        word = word[:-3] + "y"
    elif word.endswith("ed"):
        word = _without(word, word[:-2])
    if word.endswith("ing"):
        word = _without(word, word[:-3])
    if len(word) > 4:
        for british, american in (("isation", "ization"), ("ise", "ize"), ("our", "or")):
            if word.endswith(british):
                word = word[: -len(british)] + american
                break
    return word


def _singular(word: str) -> str:
    """The word without -s, -es, or -ies."""
    without = word[:-1]
    if word.endswith("ies"):
        return _first_known(word[:-3] + "y", without) or word[:-3] + "y"
    return (_first_known(without, word[:-2]) or without) if word.endswith("es") else without


def _first_known(*words: str) -> str:
    known = _known_words()
    return next((word for word in words if word in known), "")


_SILENT_E: Final = re.compile(r"(?:^|[^aeiou])[aeiou][^aeiouwxy]$|[cgvzu]$|[^aeious]s$|[^aeiou]l$")
"""Ends a root that has probably lost its e: rat(ing), chang(ing), mov(ing), enabl(ing)."""


def _without(word: str, root: str) -> str:
    """The word without -ing or -ed, or as it is where that is no ending."""
    if len(root) < 3 or not any(vowel in root for vowel in "aeiouy"):
        return word
    single = root[:-1] if root[-1] == root[-2] else ""
    if _SILENT_E.search(root) and _one_syllable_or_unknown(root):
        found = _first_known(root + "e", root, single)
    else:
        found = _first_known(root, single, root + "e")
    return found or (root if len(root) > 3 else word)


def _one_syllable_or_unknown(root: str) -> bool:
    return len(re.findall("[aeiouy]+", root)) == 1 or root not in _known_words()


def tokens(text: str) -> list[Token]:
    """The words, numbers and signs of a text, contractions resolved and possessives stripped."""
    text = _ABBREVIATION.sub(r"\1\2", unicodedata.normalize("NFKC", text).translate(_ASCII))
    contractions = lists().contractions
    letters = [char for char in text if char.isalpha()]
    shouting = bool(letters) and all(char.isupper() for char in letters if char.lower() != char.upper())
    found: list[Token] = []
    start = True
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        spelled = match.group()
        if kind != "word":
            found.append(Token(spelled.casefold().strip(), kind, capital=False))
            start = kind == "end" or (start and kind != "number")
            continue
        tail = spelled[1:]
        capital = not shouting and (
            (spelled[0].isupper() and not start) or (len(spelled) > 1 and tail.upper() == tail and tail.lower() != tail)
            or (not tail.islower() and tail.lower() != tail and "'" not in tail)
        )  # fmt: skip
        start = False
        # In capitals a country, else a pronoun.
        lower = "usa" if spelled == "US" and not shouting else spelled.casefold()
        found.extend(Token(word, kind, capital) for word in _resolve(lower, contractions))
    return found


def _resolve(word: str, contractions: Mapping[str, tuple[str, ...]]) -> Iterable[str]:
    known = contractions.get(word)
    if known is not None:
        return known
    if "'" not in word:
        return (word,)
    base, _, tail = word.rpartition("'")
    if tail == "t" and base.endswith("n") and len(base) > 2:
        return base[:-1], "not"
    if tail in {"s", "m", "re", "ve", "ll", "d"}:
        return contractions.get(base, (base,))
    return (word.replace("'", ""),)


def same_meaning(one: str, other: str) -> bool:
    """Whether the lists let one stem stand for the other; comparatives by their bases (fastest as quickest)."""
    synonyms = lists().synonyms
    groups = synonyms.get(one)
    if groups is not None and not groups.isdisjoint(synonyms.get(other, ())):
        return True
    for ending in ("er", "est"):
        if one.endswith(ending) and other.endswith(ending):
            bases = synonyms.get(_positive(one, ending), frozenset())
            return not bases.isdisjoint(synonyms.get(_positive(other, ending), ()))
    return False


def _positive(word: str, ending: str) -> str:
    root = word[: -len(ending)]
    if len(root) < 3:
        return word
    changed = root[:-1] + "y" if root[-1] == "i" else root[:-1] if root[-1] == root[-2] else ""
    known = lists().synonyms
    return next((base for base in (root, root + "e", changed) if base in known), word)


def has_equal(word: str, spelled: str, others: Iterable[tuple[str, str]]) -> bool:
    """Whether one of the others means the same as a word, grows from its root, or is it misspelt.

    Args:
        word: Its stem.
        spelled: As it is written; the same where that is not known.
        others: Likewise.
    """
    may_mean = word in lists().synonyms or word.endswith(("er", "est"))
    looked_at = 0
    for stem_, spelled_ in others:
        if may_mean and same_meaning(word, stem_):
            return True
        # All that begins alike costs the most, and a text may be made of that.
        if looked_at < MOST_KIN and (spelled[:1] == spelled_[:1] or word[:4] == stem_[:4]):
            looked_at += 1
            if related(word, stem_) or typo(spelled, spelled_):
                return True
    return False


def related(one: str, other: str) -> bool:
    """Whether two words grow from one root: form and formation, but not employer and employee."""
    if one[:4] != other[:4]:
        return False
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    if shared < 4:
        return False
    return {one[shared:], other[shared:]} <= SUFFIXES


@cache
def _known_words() -> frozenset[str]:
    """Words in common use: the whole words of the vocabulary that the local embedder reads with."""
    lines = (DATA / "bert-uncased-vocab.txt").read_text("utf-8").split("\n")
    return frozenset(line for line in lines if len(line) > 2 and line.isalpha())


def typo(one: str, other: str) -> bool:
    """Whether one word is the other misspelt: a letter more, less, wrong or out of place, and no word."""
    if one[:1] != other[:1] or abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 4:
        return False
    if not (one.isalpha() and other.isalpha()) or not _one_edit(one, other):
        return False
    known = _known_words()
    return (one in known) != (other in known)


def _one_edit(one: str, other: str) -> bool:
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    if one[at + 1 :] == other[at + 1 :]:
        return True
    return one[at : at + 2] == other[at : at + 2][::-1] and one[at + 2 :] == other[at + 2 :]
