"""An embedder for tests: hashed n-grams, the same on every machine, with no model and no thread.

Texts that share words and letters are near each other; it knows nothing of meaning, so it was never calibrated
and has the profile ``safety`` alone. The rule: nothing but sums of signs, so that a test can foresee what is near.

Source: feature hashing with signs, Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from resilio.cache.embedding.base import Profile

if TYPE_CHECKING:
    from resilio.cache.embedding.base import Vectors

__all__ = ["HashingEmbedder"]

_WORD: Final = re.compile(r"\w+")
GRAM: Final = 3
"""Letters of a gram; a word counts once as a whole and once for each gram, its ends marked."""


class HashingEmbedder:
    """An `Embedder` of words and their letters, in any number of dimensions."""

    profiles: Mapping[str, Profile] = MappingProxyType({"safety": Profile(0.97, strict=True)})

    def __init__(self, dimension: int = 256) -> None:
        """Make one; few dimensions make unlike texts look alike by chance.

        Raises:
            ValueError: dimension is under 1.
        """
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, not {dimension}")
        self.dimension = dimension
        self.id = f"hashing-{GRAM}-grams-{dimension}"

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, here and now: it takes microseconds.

        Returns:
            float32, shape (len(texts), dimension), unit length, finite. A text without words has a vector too.
        """
        import numpy as np

        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for feature in _features(text):
                hashed = zlib.crc32(feature.encode(errors="replace"))
                row[(hashed >> 1) % self.dimension] += 1 if hashed & 1 else -1
            if not row.any():  # no words at all, or they cancel out
                row[0] = 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def fits(self, text: str) -> bool:
        """All of any text is read."""
        return True

    async def aclose(self) -> None:
        """Nothing to let go of."""


def _features(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        yield word
        marked = f"<{word}>"
        for at in range(len(marked) - GRAM + 1):
            yield marked[at : at + GRAM]
