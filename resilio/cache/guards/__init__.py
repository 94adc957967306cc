"""May the answer to one question stand for another that is near in meaning? The guards of the semantic cache.

Vectors tell how near two texts are, and hardly notice a "not", a 3 for a 4, or who does what to whom. Each guard looks
for one such difference in the words themselves. Left out: meaning, which is the vectors' part. The rules: a guard
refuses only on evidence that both texts show, it never raises, and it says the same whichever text comes first.

A guard is a row of `GUARDS`; the words it knows stand in `data/guards.toml`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from resilio.cache.guards.asking import kind_of_question, modality
from resilio.cache.guards.order import direction
from resilio.cache.guards.polarity import antonyms, negation
from resilio.cache.guards.prepared import Prepared, prepare
from resilio.cache.guards.things import dates, names, numbers, scope
from resilio.cache.guards.wording import length, overlap, replaced

__all__ = ["GUARDS", "Guard", "LONGEST_REASON", "Prepared", "STRICT_GUARDS", "check", "prepare"]

Guard = Callable[[Prepared, Prepared], str | None]

GUARDS: Final[tuple[tuple[str, Guard], ...]] = (
    ("numbers", numbers),
    ("dates", dates),
    ("negation", negation),
    ("antonyms", antonyms),
    ("names", names),
    ("scope", scope),
    ("kind_of_question", kind_of_question),
    ("modality", modality),
    ("direction", direction),
    ("replaced", replaced),
)
"""Asked one after the other; the first reason counts. Cheap ones first."""

STRICT_GUARDS: Final[tuple[tuple[str, Guard], ...]] = (("length", length), ("overlap", overlap))
"""Asked after the others where a profile is strict."""


LONGEST_REASON: Final = 80
"""Characters: reasons quote the questions, and are recorded."""


def check(asked: Prepared, kept: Prepared, *, strict: bool = False) -> str | None:
    """Whether the answer to one question may be given to another.

    Args:
        asked: The question that is asked now.
        kept: One whose answer is stored, and whose vector is near.
        strict: Ask for about the same length and mostly the same words too.

    Returns:
        None where it may, else what differs, in a few words, some of them the questions' own.
    """
    if asked.text == kept.text and asked.rest == kept.rest:
        return None
    if asked.rest != kept.rest:
        return "text: too long to be compared"
    for _, guard in (*GUARDS, *STRICT_GUARDS) if strict else GUARDS:
        reason = guard(asked, kept)
        if reason is not None:
            return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"
    return None
