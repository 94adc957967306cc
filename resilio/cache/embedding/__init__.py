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

__all__ = ["EMBEDDERS", "Embedder", "Means", "Profile"]


def _minilm(means: Means) -> Embedder:
    from resilio.cache.embedding.minilm import MiniLM

    return MiniLM(means.executor)


EMBEDDERS: Final[Mapping[str, Callable[[Means], Embedder]]] = MappingProxyType({"minilm": _minilm})
"""What `embedder` of a section may be, and what makes one."""
