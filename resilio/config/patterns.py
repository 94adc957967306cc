r"""Regular expressions that somebody else's text is searched with: compiled, and refused where they could hang.

Python's engine backtracks and holds the interpreter while it does; no clock can stop it. So a repeat is refused whose
repetitions can be told apart in more than one way: there each further character may double the work. What passes
takes at worst polynomial time in the length of the text, with one power for each unbounded repeat in a row.

The test is that of one-unambiguous expressions (A. Brüggemann-Klein, D. Wood: One-Unambiguous Regular Languages,
Information and Computation 142, 1998): inside a repeat the next character alone must tell which way to go. It is
sufficient, not necessary, so some harmless patterns are refused too; possessive repeats (``\w++``) and atomic
groups, which never go back, always pass.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

__all__ = ["compile_pattern", "compile_words", "widths"]

_parser: Any = import_module("re._parser")
_FEW: Final = 8
"""Repeats bounded by no more than this multiply the work by a constant, if a large one."""

_LATIN: Final = 0x250
_ELSEWHERE: Final = {"digit": 0x661, "space": 0x2028, "word": 0x4E2D, "other": 0x1F600}
_SAMPLE: Final = frozenset(range(_LATIN)) | frozenset(_ELSEWHERE.values())
"""Code points that stand for all: Latin in full, and one of each kind for the rest."""
_CATEGORIES: Final[Mapping[str, Callable[[str], bool]]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda letter: letter.isalnum() or letter == "_",
}


class _Ambiguous(Exception):
    """A repetition could be read in two ways."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern to search with.

    Raises:
        ValueError: It is none, it can match without a character (and so anywhere), or it could take exponential time.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern = re.compile(text)
            parsed = _parser.parse(text)
    except (re.error, RecursionError, OverflowError, Warning) as exc:
        raise ValueError(f"is no regular expression: {exc}") from None
    if widths(pattern)[0] == 0:
        raise ValueError("can match no character at all, and so anywhere")
    try:
        _sequence(parsed, frozenset(), inside=False)
    except (_Ambiguous, RecursionError):
        advice = 'make the inner repeat possessive, as in "(?:\\w++ )+", or bound it'
        raise ValueError(f"could take for ever: a repeat in it can be read in more than one way; {advice}") from None
    return pattern


def compile_words(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of these words or phrases: whole words, in any case, with any space between them."""
    longest_first = sorted(words, key=len, reverse=True)
    each = (r"\s{1,8}".join(map(re.escape, word.split())) for word in longest_first)
    return re.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)", re.IGNORECASE)


def widths(pattern: re.Pattern[str]) -> tuple[int, int | None]:
    """Characters of the shortest and the longest match; None: there is no longest."""
    low, high = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE).getwidth()
    return int(low), None if high >= _parser.MAXREPEAT else int(high)


# --- what may come first -------------------------------------------------------------------------


def _sequence(nodes: Sequence[Any], follow: frozenset[int], *, inside: bool) -> tuple[frozenset[int], bool]:
    """What a sequence can begin with, and whether it can be empty; `follow` is what can come after it.

    Raises:
        _Ambiguous: `inside` a repeat the next character does not tell which way to go.
    """
    first: frozenset[int] = frozenset()
    empty = True
    for name, argument in reversed(nodes):
        starts, may_be_empty = _node(str(name), argument, first | follow if empty else first, inside=inside)
        first = starts | first if may_be_empty else starts
        empty = empty and may_be_empty
    return first, empty


def _node(name: str, argument: Any, follow: frozenset[int], *, inside: bool) -> tuple[frozenset[int], bool]:
    match name:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
            return _characters(name, argument), False
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, body = argument
            return _repeat(low, high, body, follow, inside=inside)
        case "POSSESSIVE_REPEAT":
            low, _, body = argument
            first, empty = _sequence(body, frozenset(), inside=False)
            return first, empty or low == 0
        case "SUBPATTERN":
            return _sequence(argument[-1], follow, inside=inside)
        case "ATOMIC_GROUP":
            return _sequence(argument, frozenset(), inside=False)
        case "BRANCH":
            return _branch(argument[1], follow, inside=inside)
        case "GROUPREF_EXISTS":
            return _branch([its for its in argument[1:] if its is not None], follow, inside=inside)
        case "ASSERT" | "ASSERT_NOT":
            _sequence(argument[1], frozenset(), inside=False)
            return frozenset(), True
        case "AT":
            return frozenset(), True
        case _:  # a back reference, which may be anything
            return _SAMPLE, True


def _repeat(
    low: int, high: int, body: Sequence[Any], follow: frozenset[int], *, inside: bool
) -> tuple[frozenset[int], bool]:
    first, empty = _sequence(body, frozenset(), inside=False)
    if inside and low != high and first & follow:
        raise _Ambiguous
    _sequence(body, first | follow if high > 1 else follow, inside=inside or high > _FEW)
    return first, empty or low == 0


def _branch(branches: Sequence[Sequence[Any]], follow: frozenset[int], *, inside: bool) -> tuple[frozenset[int], bool]:
    union: frozenset[int] = frozenset()
    empty = False
    for each in branches:
        first, may_be_empty = _sequence(each, follow, inside=inside)
        if inside and (first & union or (empty and may_be_empty)):
            raise _Ambiguous
        union, empty = union | first, empty or may_be_empty
    if inside and empty and union & follow:
        raise _Ambiguous
    return union, empty


def _characters(name: str, argument: Any) -> frozenset[int]:
    """The characters of the sample one place can hold, in either case, as flags may ignore it; rather one too many."""
    match name:
        case "ANY":
            return _SAMPLE
        case "LITERAL":
            return _both_cases({_stand_in(argument)})
        case "NOT_LITERAL":
            return _SAMPLE - {argument}
    found: set[int] = set()
    exact: set[int] = set()
    negated = False
    for kind, value in argument:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                exact.add(value)
                found.add(_stand_in(value))
            case "RANGE":
                exact |= {code for code in _SAMPLE if value[0] <= code <= value[1]}
                found |= exact
                if value[1] >= _LATIN:
                    found |= set(_ELSEWHERE.values())
            case _:
                exact |= _category(str(value))
                found |= exact
    return _SAMPLE - exact if negated else _both_cases(found)


def _stand_in(code: int) -> int:
    if code in _SAMPLE:
        return code
    letter = chr(code)
    kind = "digit" if letter.isdecimal() else "space" if letter.isspace() else "word" if letter.isalnum() else "other"
    return _ELSEWHERE[kind]


def _category(name: str) -> set[int]:
    inverse = name.startswith("CATEGORY_NOT_")
    belongs = _CATEGORIES[name.replace("_NOT_", "_").replace("_UNI_", "_")]
    return {code for code in _SAMPLE if belongs(chr(code)) is not inverse}


def _both_cases(codes: set[int]) -> frozenset[int]:
    letters = map(chr, codes)
    cases = {other for letter in letters for other in (letter.lower(), letter.upper()) if len(other) == 1}
    return frozenset(codes) | {_stand_in(ord(letter)) for letter in cases}
