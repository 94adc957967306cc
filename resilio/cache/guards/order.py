"""The same words in other roles: from A to B, A bites B, A is faster than B.

Left out: grammar. Roles come from a few prepositions and from what stands on which side of a word, so that a clause
moved to the front ("on the menu, what is there?") changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from resilio.cache.guards.words import common_form, lists, words_of

if TYPE_CHECKING:
    from resilio.cache.guards.prepared import Prepared

__all__ = ["Roles", "direction", "roles_of"]

_SPAN: Final = 3
"""Words of a name or noun that are looked at on each side of a preposition."""
_STOPPERS: Final = frozenset({
    "from", "to", "into", "toward", "towards", "onto", "by", "with", "without", "in", "on", "at", "for", "of", "if",
    "when", "and", "or", "than", "what", "how", "who", "which", "using", "use", "via", "before", "after",
})  # fmt: skip
_PRONOUNS: Final = {
    "i": "i", "me": "i", "we": "we", "us": "we", "you": "you", "they": "they", "them": "they",
    "he": "he", "him": "he", "she": "she",
}  # fmt: skip
_ARTICLES: Final = frozenset({"a", "an", "the"})
_LONGEST: Final = 40
"""Words of a text that are compared pairwise."""


class Roles(NamedTuple):
    """Who does what to whom in one text, as far as it shows."""

    source: frozenset[str]
    """Words of where something comes from."""
    target: frozenset[str]
    """Words of where it goes."""
    bag: tuple[str, ...]
    """All words, sorted, but articles and dates; pronouns in one form."""
    sequence: tuple[str, ...]
    """Those of them that may play a role and are there once, in order."""
    agent: tuple[str, str] | None
    """Verb and doer of `was written by Austen`."""


def roles_of(words: Sequence[str], spelled: Sequence[str]) -> Roles:
    """Read the roles off a text.

    Args:
        words: Its stems.
        spelled: The same words as they are written, in lower case.
    """
    roles = _roles(words)
    return Roles(*_ends(words, spelled), tuple(sorted(roles)), tuple(_sequence(roles)), _agent(words, spelled))


def direction(asked: Prepared, kept: Prepared) -> str | None:
    """Something the source here and the target there, or two things that changed places around a third."""
    if len(asked.stems & kept.stems) < 2:
        return None
    source, target, *_ = asked.roles
    source_kept, target_kept, *_ = kept.roles
    swapped = (source - target) & (target_kept - source_kept), (target - source) & (source_kept - target_kept)
    # A name on the wrong side is enough; other words only where both ends changed.
    both = swapped[0] | swapped[1] if swapped[0] and swapped[1] else frozenset()
    found = both or frozenset(word for word in swapped[0] | swapped[1] if _is_name(word, asked, kept))
    if found:
        return f"direction: from against to {min(found)}"
    return _changed_sides(asked, kept)


def _is_name(word: str, asked: Prepared, kept: Prepared) -> bool:
    return word in asked.names or word in kept.names or word in lists().rivals


@cache
def _direction_words() -> tuple[frozenset[str], ...]:
    """Source, target, verbs and nouns of transfer, what goes before an infinitive, and verbs."""
    raw = lists().raw["direction"]
    blocks = raw["source"], raw["target"], raw["transfers"], raw["infinitive_after"], lists().raw["plain"]["verbs"]
    return tuple(frozenset(map(common_form, words_of(block))) for block in blocks)


def _ends(words: Sequence[str], spelled: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    sources, targets, transfers, infinitive, verbs = _direction_words()
    source: set[str] = set()
    target: set[str] = set()
    before_target: set[str] = set()
    for at, word in enumerate(words):
        if word in sources:
            source.update(_span(words, range(at + 1, len(words))))
        elif word in targets:
            previous = words[at - 1] if at else ""
            following = spelled[at + 1] if at + 1 < len(words) else ""
            if word == "to" and (previous in infinitive or not at or following in verbs):
                continue
            target.update(_span(words, range(at + 1, len(words))))
            if not transfers.isdisjoint(words[:at]):
                before_target.update(_span(words, range(at - 1, -1, -1)))
        elif word == "than":
            source.update(_span(words, range(at - 1, -1, -1)))
            target.update(_span(words, range(at + 1, len(words))))
    return frozenset(source or before_target), frozenset(target)


def _span(words: Sequence[str], places: range) -> Iterator[str]:
    """The nearest words that say something, as far as the next preposition."""
    stop = lists().stop
    seen = 0
    for at in places:
        word = words[at]
        if word in _STOPPERS or seen == _SPAN:
            return
        if word not in stop:
            seen += 1
            yield word


def _roles(words: Sequence[str]) -> list[str]:
    dates = lists().dates
    return [_PRONOUNS.get(word, word) for word in words[:_LONGEST] if word not in _ARTICLES and word not in dates]


def _sequence(roles: list[str]) -> list[str]:
    known = lists()
    return [word for word in roles if (word not in known.stop or word in _playing()) and roles.count(word) == 1]


@cache
def _playing() -> frozenset[str]:
    """Stop words that play a role all the same: I give you, you give me; my branch onto main, main onto my branch."""
    light = map(common_form, words_of(lists().raw["plain"]["light"]))
    return frozenset(_PRONOUNS.values()) | lists().negators | frozenset(light) | _direction_words()[1]


def _agent(words: Sequence[str], spelled: Sequence[str]) -> tuple[str, str] | None:
    for at in range(2, len(words)):
        verb = spelled[at - 1]
        if words[at] == "by" and "be" in words[max(at - 4, 0) : at - 1] and verb != words[at - 1]:
            agent = next(iter(_span(words, range(at + 1, len(words)))), "")
            return (words[at - 1], agent) if agent and not verb.endswith("ing") else None
    return None


def _changed_sides(asked: Prepared, kept: Prepared) -> str | None:
    one, other = asked.roles.sequence, kept.roles.sequence
    passive, active = asked.roles.agent, kept.roles.agent
    if (passive is None) != (active is None) and len(asked.content ^ kept.content) <= 1:
        verb, agent = passive or active or ("", "")
        order = other if passive else one
        if verb in order and agent in order and order.index(agent) > order.index(verb):
            return f"direction: {agent} on the other side of {verb}"
        return None
    if asked.roles.bag != kept.roles.bag:
        return None
    places = {word: at for at, word in enumerate(other)}
    for (left, first), (right, second) in combinations(enumerate(one), 2):
        if right - left < 2 or places[second] > places[first]:
            continue
        if any(places[second] < places[pivot] < places[first] for pivot in one[left + 1 : right]):
            return f"direction: {first} and {second} changed places"
    return None
