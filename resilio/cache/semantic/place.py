"""Which requests are looked up and stored by meaning, where, and on whose behalf."""

from __future__ import annotations

from typing import Final

from resilio.cache.control import CacheControl
from resilio.cache.keys import question, tenant
from resilio.cache.owner import Owner
from resilio.cache.semantic.entry import Place
from resilio.cache.wording import bound_by
from resilio.config.settings import NamespaceSettings, SemanticCacheSettings
from resilio.models import Identity, Request

__all__ = ["place_of", "trusted"]

LONGEST: Final = 16_384
"""Characters of a question: nothing that is longer is looked through for wording, on the way of every call."""

_PRIVATE = NamespaceSettings()


def place_of(
    request: Request, fingerprint: str, control: CacheControl, settings: SemanticCacheSettings, *, stream: bool
) -> Place | None:
    """Where this request looks and stores.

    Returns:
        None for one that does neither: it has no question to compare (see `resilio.cache.keys.question`) or a very long
        one, asks for variety (temperature above the cap, several different answers), or its answer would hold only now
        or only for whoever asks.
    """
    temperature = request.wire.get("temperature")
    if control.answers > 1 or (isinstance(temperature, int | float) and temperature > settings.max_temperature):
        return None
    shared = settings.namespaces.get(control.namespace, _PRIVATE).shared
    found = question(
        request, fingerprint, namespace=(settings.namespace, control.namespace), shared=shared, stream=stream
    )
    if (
        found is None
        or len(found.text) > LONGEST
        or len(found.text.encode("utf-8", "replace")) // 4 > settings.max_tokens
    ):
        return None  # it would not be stored, so there is nothing to find either
    if bound_by(found.text, user=settings.user_bound == "skip"):
        return None
    identity = request.identity
    known = trusted(identity, settings.trusted)
    owner = Owner(tenant(identity), identity.user, control.namespace, identity.tags)
    return Place(found, owner, known, known or not shared)


def trusted(identity: Identity, principals: tuple[str, ...]) -> bool:
    """Whether a caller is one of the principals of `SemanticCacheSettings.trusted`."""
    return any(
        (principal == "program" and identity.user is None and identity.key is None)
        or (kind in _NAMED and name != "" and getattr(identity, kind) == name)
        for principal in principals
        for kind, _, name in (principal.partition(":"),)
    )


_NAMED = frozenset({"user", "key", "organisation", "feature"})
