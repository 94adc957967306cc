"""Questions whose answer holds only for a moment, or only for whoever asks: they are not cached by meaning.

Words and phrases are data (`data/wording.toml`). The rule that keeps it safe: in doubt a question counts as bound,
which costs a hit and never an answer.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, Literal

__all__ = ["bound_by"]

_APOSTROPHES: Final = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u00b4`", "'"))


def bound_by(text: str, *, user: bool = True) -> tuple[Literal["time", "user"], str] | None:
    """What ties a question to a moment or a person.

    Args:
        text: The question.
        user: Look for ties to a person, too.

    Returns:
        The kind of tie and the words that show it; None: there is none.
    """
    plain = text.translate(_APOSTROPHES).lower()
    time_bound, user_bound = _patterns()
    if found := time_bound.search(plain):
        return "time", " ".join(found[0].split())
    if user and (found := user_bound.search(plain)):
        return "user", " ".join(found[0].split())
    return None


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    import tomllib
    from importlib.resources import files  # both only for who has a semantic cache

    data = tomllib.loads(files("resilio.cache").joinpath("data", "wording.toml").read_text("utf-8"))
    return _pattern(data["time_bound"]), _pattern(data["user_bound"])


def _pattern(phrases: list[str]) -> re.Pattern[str]:
    """One that finds any of the phrases, as whole words with any white space between them."""
    # The longest first, so that what is reported is the whole phrase.
    ordered = sorted(phrases, key=len, reverse=True)
    spelled = (r"\s+".join(map(re.escape, phrase.split())) for phrase in ordered)
    return re.compile(rf"(?<![\w'])(?:{'|'.join(spelled)})(?![\w])")
