"""Numbers of a text: written or spelled out, with units, clock times, ordinals, versions and codes.

Left out: what a difference means, and arithmetic beyond the units of one dimension. The rule: what cannot be read as a
quantity is a code, which equals nothing but itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from resilio.cache.guards.words import Token, lines_of, lists, stem, words_of

__all__ = ["Number", "find_numbers", "is_unit", "same_number"]

_PARTS: Final = re.compile(r"(-)?([£$€¥₹])?\s?(\d(?:[\d.,:/-]*\d)?)\s?(.*)", re.DOTALL)
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ISO_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_SCALES: Final[Mapping[str, float]] = {"k": 1e3, "mn": 1e6, "bn": 1e9}
_ONLY_ATTACHED: Final = frozenset({"s", "m", "h", "b", "p", "w", "in", "f"})
"""Units that are words of their own when they stand apart: 5in, but 5 in a row."""


class Number(NamedTuple):
    """One number. Not hashed by size, since sizes are compared with a tolerance."""

    value: str
    """As written, thousands separators and the like taken out; a code as it stands."""
    dimension: str = ""
    """``time``, ``mass``, ``money usd``...; empty: a bare number or a code."""
    size: float = math.nan
    """In the smallest unit of its dimension."""
    weak: bool = False
    """Perhaps an article: one, a single."""


def same_number(one: Number, other: Number) -> bool:
    """Whether the two may mean the same: 14 days and two weeks, 18 and 18 years, not 10 GB and 10 MB."""
    if one.dimension and one.dimension == other.dimension:
        return math.isclose(one.size, other.size)
    return not (one.dimension and other.dimension) and one.value == other.value


@cache
def _units() -> Mapping[str, tuple[str, float]]:
    found: dict[str, tuple[str, float]] = {}
    for line in lines_of(lists().raw["numbers"]["units"]):
        dimension, _, units = line.partition(":")
        for unit in words_of(units):
            names, _, size = unit.rpartition(" ")
            for name in names.split("="):
                found[name] = found[stem(name)] = (dimension, float(size))
    return found


def is_unit(word: str) -> bool:
    """Whether a word behind a number belongs to it."""
    return word in _units() or stem(word) in _units()


@cache
def _spelled() -> tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float], Mapping[str, int]]:
    """Ones and tens, scales, other words for numbers, ordinals."""
    raw = lists().raw["numbers"]
    small: dict[str, float] = {word: float(i) for i, word in enumerate(words_of(raw["ones"]))}
    small.update((word, 10.0 * i) for i, word in enumerate(words_of(raw["tens"]), 2))

    def pairs(block: str) -> dict[str, float]:
        return {word.strip(): float(value) for word, _, value in (each.partition(":") for each in words_of(block))}

    return small, pairs(raw["scales"]), pairs(raw["others"]), {w: i for i, w in enumerate(words_of(raw["ordinals"]))}


def find_numbers(found: Sequence[Token]) -> tuple[list[Number], set[int]]:
    """The numbers of a text, and which tokens spell them (units not among these)."""
    numbers: list[Number] = []
    used: set[int] = set()
    at = 0
    while at < len(found):
        token = found[at]
        if token.kind == "number":
            numbers.extend(_written(found, at))
            used.add(at)
            if token.text[-1].isdigit() and at + 1 < len(found) and found[at + 1].text in _spelled()[1]:
                at += 1  # 1.5 million
                used.add(at)
        elif token.kind == "word":
            if not token.text.isalpha() and any(char.isdigit() for char in token.text):
                numbers.append(Number(token.text))  # iphone12, p60: a code
                used.add(at)
            else:
                end, number = _spelled_out(found, at)
                if number is not None:
                    numbers.append(number)
                    used.update(range(at, end))
                    at = end - 1
        at += 1
    return numbers, used


def _unit_after(found: Sequence[Token], at: int) -> tuple[str, float] | None:
    if at < len(found) and found[at].kind in {"word", "symbol"} and found[at].text not in _ONLY_ATTACHED:
        return _units().get(found[at].text) or _units().get(stem(found[at].text))
    return None


def _unit_around(found: Sequence[Token], at: int) -> tuple[str, float]:
    """The unit behind token `at`, or the currency before it."""
    unit = _unit_after(found, at + 1)
    if unit is None and at > 0:
        before = _unit_after(found, at - 1)
        unit = before if before is not None and before[0].startswith("money") else None
    return unit or ("", 1.0)


def _written(found: Sequence[Token], at: int) -> list[Number]:
    text = found[at].text
    match = _PARTS.fullmatch(text)
    if match is None:
        return [Number(text)]
    sign, currency, body, suffix = (part or "" for part in match.groups())
    iso = _ISO_DATE.fullmatch(body)
    if iso is not None:
        return [Number(part.lstrip("0")) for part in iso.groups()]
    if "/" in body:
        return [Number(body)]
    parts = body.split("-")
    if len(parts) > 2 or (len(parts) == 2 and sign):
        return [Number(body)]
    factor, unit = 1.0, _units().get(currency)
    if suffix:
        scale = 1e6 if currency and suffix == "m" else _SCALES.get(suffix)
        if scale is not None:
            factor = scale
        elif suffix in {"st", "nd", "rd", "th"}:
            unit = ("order", 1.0)
        else:
            unit = _units().get(suffix) or unit
            if suffix not in _units():
                return [Number(text)]  # 4x4, 737max
    else:
        following = found[at + 1].text if at + 1 < len(found) else ""
        factor = _spelled()[1].get(following, 1.0)
        unit = unit or _unit_around(found, at + (factor != 1.0))
    return [_quantity(sign + part, factor, *(unit or _unit_around(found, at))) for part in parts]


def _quantity(body: str, factor: float, dimension: str, size: float) -> Number:
    if ":" in body:
        return _clock(body, dimension)
    if _GROUPED.fullmatch(body.lstrip("-")):
        body = body.replace(",", "")
    elif body.count(",") == 1 and "." not in body:
        body = body.replace(",", ".")
    try:
        amount = float(body) * factor
    except ValueError:
        return Number(body)  # a version, say
    if not math.isfinite(amount):
        return Number(body)
    whole, _, fraction = body.partition(".")
    if factor != 1.0:
        value = f"{amount:.12g}"
    else:
        # 3.10 and 3.1 are two versions, but 3.0 is 3, and money has no versions.
        fraction = fraction.rstrip("0") if dimension.startswith("money") or not fraction.strip("0") else fraction
        whole = whole.lstrip("0") or "0" if len(whole) < 3 else whole
        value = f"{whole}.{fraction}" if fraction else whole
    return Number(value, dimension, amount * size)


def _clock(body: str, dimension: str) -> Number:
    """7:30 is what 7.30 is; after noon by the long clock is pm by the short one."""
    hours, _, minutes = body.partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(hours) < 24):
        return Number(body)
    hour = int(hours)
    if hour > 12 or hour == 0:
        dimension = "evening" if hour else "morning"
        hour = hour - 12 if hour else 12
    value = f"{hour}.{minutes}" if minutes.strip("0") else str(hour)
    return Number(value, dimension, float(f"{hour}.{minutes}"))


def _spelled_out(found: Sequence[Token], at: int) -> tuple[int, Number | None]:
    """The number spelled from token `at` on, and where it ends."""
    small, scales, others, ordinals = _spelled()
    first = found[at].text
    if first in ordinals:
        # A second of time is not the second of several.
        if first == "second" and (at == 0 or found[at - 1].text not in {"the", "my", "this", "that", "every", "and"}):
            return at, None
        return at + 1, Number(str(ordinals[first]), "order", float(ordinals[first]))
    weak = first in words_of(lists().raw["numbers"]["weak"])
    if first in others:
        return at + 1, _spelled_quantity(found, at, others[first], weak=weak)
    if first not in small and first not in scales:
        return at, None
    total, group, end = 0.0, 1.0 if first in scales else 0.0, at
    while end < len(found):
        word = found[end].text
        if word in small and (end == at or group % 10 == 0):
            group += small[word]
        elif word == "hundred":
            group = (group or 1.0) * 100
        elif word in scales:
            total, group = total + (group or 1.0) * scales[word], 0.0
        elif not (word == "and" and group >= 100 and end + 1 < len(found) and found[end + 1].text in small):
            break
        end += 1
    if first == "one" and end - at > 1:
        weak = False
    return end, _spelled_quantity(found, end - 1, total + group, weak=weak)


def _spelled_quantity(found: Sequence[Token], last: int, amount: float, *, weak: bool) -> Number:
    dimension, size = _unit_after(found, last + 1) or ("", 1.0)
    return Number(f"{amount:.12g}", dimension, amount * size, weak and not dimension.startswith("money"))
