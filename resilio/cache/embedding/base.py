"""What the semantic cache asks of an embedder: vectors for texts, and thresholds that were measured for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

__all__ = ["Embedder", "Profile"]


class Profile(NamedTuple):
    """How near is near enough, for one embedder."""

    threshold: float
    """Cosine similarity, 0 to 1: a candidate below it is not served."""
    strict: bool
    """Guards check length ratio and overlap of content words too."""


class Embedder(Protocol):
    """Turns texts into vectors. Similarities and thresholds of one embedder mean nothing for another."""

    id: str
    """Names model and version: vectors of different ids are never compared."""
    dimension: int
    profiles: Mapping[str, Profile]
    """Calibrated thresholds by name: ``safety``, ``default``, ``faq``. One that was never calibrated has ``safety``
    alone, and a threshold below 0.97 is refused for it until it is."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, off the event loop.

        Returns:
            float32, shape (len(texts), dimension), unit length, finite.
        """
        ...

    async def aclose(self) -> None:
        """Let go of threads and files."""
        ...
