"""Embedders: texts as vectors of unit length, and the thresholds that were measured for them.

`base` says what one is, `minilm` runs on this machine, `provider` asks an endpoint, `hashing` needs nothing and is
for tests. The rule: importing this imports none of them, and choosing one loads no model before its first text.
An embedder is a row of `EMBEDDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from resilio.cache.embedding.base import Embedder, Means, Profile
from resilio.cache.embedding.encoder import Encoder, EncoderStatistics
from resilio.errors import ConfigError

__all__ = ["EMBEDDERS", "Embedder", "Encoder", "EncoderStatistics", "Means", "Profile"]


def _minilm(means: Means) -> Embedder:
    from resilio.cache.embedding.minilm import MiniLM

    return MiniLM(means.executor)


def _hashing(means: Means) -> Embedder:
    from resilio.cache.embedding.hashing import HashingEmbedder

    return HashingEmbedder(means.dimension) if means.dimension else HashingEmbedder()


def _provider(means: Means) -> Embedder:
    from resilio.cache.embedding.provider import ProviderEmbedder

    if means.call is None:
        raise ConfigError(["call: there is no endpoint to ask"], "embedder 'provider'")
    return ProviderEmbedder(means.call, means.model, means.dimension)


EMBEDDERS: Final[Mapping[str, Callable[[Means], Embedder]]] = MappingProxyType(
    {"minilm": _minilm, "provider": _provider, "hashing": _hashing}
)
"""What `embedder` of a section may be, and what makes one."""
