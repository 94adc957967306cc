"""An embeddings endpoint as an embedder, reached through resilio itself.

How the call is made is not known here: a function is given, in practice one that ends in `Client.embed`, so the
endpoint has its breaker, limits and retries like any other. The rule: what comes back is believed only after it was
counted, measured and found finite, for one wrong vector poisons an index for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from resilio.cache.embedding.base import Profile
from resilio.errors import ConfigError, ErrorClass, MalformedResponse

if TYPE_CHECKING:
    from resilio.cache.embedding.base import Vectors

__all__ = ["ProviderEmbedder"]

UNCALIBRATED: Final[Mapping[str, Profile]] = MappingProxyType({"safety": Profile(0.97, strict=True)})


class ProviderEmbedder:
    """An `Embedder` whose vectors somebody else computes."""

    def __init__(
        self,
        call: Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]],
        model: str,
        dimension: int,
        *,
        profiles: Mapping[str, Profile] = UNCALIBRATED,
    ) -> None:
        """Make one.

        Args:
            call: Embeds texts, in order. What it raises goes to whoever asked.
            model: The model's name: with the dimension it is the id, so a change of either starts anew.
            dimension: Numbers in a vector; an answer of another length is refused.
            profiles: Thresholds, if they were measured for this model.

        Raises:
            ConfigError: The model has no name, or the dimension is under 1.
        """
        problems = [] if model else ["model: which model makes the vectors must be said: it is part of their id"]
        if dimension < 1:
            problems.append(f"dimension: how long its vectors are must be said, and {dimension} is not it")
        if problems:
            raise ConfigError(problems, "embedder 'provider'")
        self._call = call
        self.id = f"{model}-{dimension}"
        self.dimension = dimension
        self.profiles = profiles

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts with one call; none are no call.

        Returns:
            float32, shape (len(texts), dimension), unit length, finite.

        Raises:
            MalformedResponse: Vectors are missing, of another length, not finite, or without a direction.
        """
        import numpy as np

        if not texts:
            return np.empty((0, self.dimension), np.float32)
        return self._checked(await self._call(texts), len(texts))

    def fits(self, text: str) -> bool:
        """The endpoint cuts nothing: it refuses what is too long."""
        return True

    async def aclose(self) -> None:
        """Nothing is held here; the client that is called is somebody else's."""

    def _checked(self, given: Any, count: int) -> Vectors:
        import numpy as np

        try:
            vectors = np.array(given, np.float64)
        except (TypeError, ValueError) as error:
            raise self._malformed("of several lengths, or not of numbers") from error
        if vectors.shape != (count, self.dimension):
            raise self._malformed(f"of shape {vectors.shape}, not {(count, self.dimension)}")
        # Scaled to 1 before it is squared, or large numbers would overflow and small ones vanish.
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        if not np.isfinite(largest).all():
            raise self._malformed("with numbers that are not finite")
        if not largest.all():
            raise self._malformed("with one that is all zeros and points nowhere")
        vectors /= largest
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)

    def _malformed(self, what: str) -> MalformedResponse:
        return MalformedResponse(f"{self.id} gave vectors {what}", ErrorClass.MALFORMED)
