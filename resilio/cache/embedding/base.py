"""What the semantic cache asks of an embedder: vectors for texts, and thresholds that were measured for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

__all__ = ["Embedder", "Means", "Profile"]


class Profile(NamedTuple):
    """How near is near enough, for one embedder."""

    threshold: float
    """Cosine similarity, 0 to 1: a candidate below it is not served."""
    strict: bool
    """Guards check length ratio and overlap of content words too."""


@dataclass(frozen=True, slots=True)
class Means:
    """What an embedder may use; each takes what it needs.

    Attributes:
        executor: Where to compute, not shut down by the embedder. None: a thread of its own.
        call: Embeds texts at a provider, through all protections; the embedder's own module says more.
        model: Names what `call` reaches, for the embedder's id.
        dimension: How long its vectors are. 0: the embedder's own length, where it has one.
    """

    executor: Executor | None = None
    call: Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]] | None = None
    model: str = ""
    dimension: int = 0


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

    def fits(self, text: str) -> bool:
        """Whether all of a text is read.

        One that is cut looks the same as another that only ends differently: who serves by meaning leaves it alone.
        """
        ...

    async def aclose(self) -> None:
        """Let go of threads and files."""
        ...
