"""Whose an answer in a cache is, and which of them a purge takes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["NOBODY", "Owner", "Purge"]


class Owner(NamedTuple):
    """On whose behalf an answer was asked for."""

    tenant: tuple[str, str]
    """Kind and name, as `resilio.cache.keys.tenant` tells."""
    user: str | None
    namespace: str
    """As the call had named it; empty: none."""
    tags: Mapping[str, str]


NOBODY: Final = Owner(("default", ""), None, "", {})
"""Of calls that name nobody."""


class Purge(NamedTuple):
    """What to take out: entries of which everything that is given holds; with nothing given, all."""

    tenant: str | None = None
    """Name of the organisation or of the API key; ``default`` for calls that had neither."""
    user: str | None = None
    namespace: str | None = None
    tags: Mapping[str, str] = {}
    """The call had each of these, with this value."""
    older_than: float | None = None
    """Seconds since it was stored."""

    def takes(self, owner: Owner, age: float) -> bool:
        """Whether it takes out an entry of this owner, stored `age` seconds ago."""
        return (
            (self.tenant is None or self.tenant == (owner.tenant[1] or owner.tenant[0]))
            and (self.user is None or self.user == owner.user)
            and (self.namespace is None or self.namespace == owner.namespace)
            and all(owner.tags.get(name) == value for name, value in self.tags.items())
            and (self.older_than is None or age >= self.older_than)
        )
