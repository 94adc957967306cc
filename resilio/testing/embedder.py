"""What every embedder must hold, whatever computes its vectors: run `check_embedder` on yours.

It knows no model, so it says nothing about which texts are near. Findings are `AssertionError`s that name the text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from resilio.cache.embedding import Embedder
    from resilio.cache.embedding.base import Vectors

__all__ = ["check_embedder"]

TEXTS: Final = (
    "How do I reset my password?",
    "What does the premium plan cost?",
    "naïve 你好 🙂",
    "",
    " \n\t",
    "\x00",
    "\ud83d",
    "0" * 4000,
    "word " * 4000,
)
SAME: Final = 1e-4
"""How far apart two vectors of the same text may be (1 - cosine): far below what any threshold tells apart."""


async def check_embedder(embedder: Embedder, texts: Sequence[str] = TEXTS) -> None:
    """Hold an embedder to its protocol, and close it.

    Args:
        embedder: The embedder; it is closed afterwards.
        texts: At least two that mean different things first; then whatever is odd.

    Raises:
        AssertionError: A rule was broken.
    """
    _check_names(embedder)
    try:
        together = await _embedded(embedder, texts)
        await _check_alone(embedder, texts, together)
        await _check_at_once(embedder, texts, together)
        await _check_cancelled(embedder, texts, together)
        apart = float(together[0] @ together[1])
        _require(apart < 1 - SAME, f"{texts[0]!r} and {texts[1]!r} have the same vector")
        _require((await _embedded(embedder, ())).shape[0] == 0, "no texts have vectors")
        _require(all(isinstance(embedder.fits(text), bool) for text in texts), "`fits` is neither True nor False")
    finally:
        await embedder.aclose()
        await embedder.aclose()


def _require(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def _check_names(embedder: Embedder) -> None:
    _require(embedder.id and isinstance(embedder.id, str), f"id is {embedder.id!r}")
    _require(embedder.dimension >= 1, f"dimension is {embedder.dimension}")
    _require("safety" in embedder.profiles, f"no profile 'safety' in {sorted(embedder.profiles)}")
    for name, profile in embedder.profiles.items():
        _require(0 < profile.threshold <= 1, f"threshold of profile {name!r} is {profile.threshold}")
    safety = embedder.profiles["safety"]
    _require(safety.threshold >= 0.97 and safety.strict, f"profile 'safety' is {safety}, not strict from 0.97 up")


async def _embedded(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    import numpy as np

    vectors = await embedder.embed(texts)
    due = (len(texts), embedder.dimension)
    _require(vectors.dtype == np.float32, f"vectors are {vectors.dtype}, not float32")
    _require(vectors.shape == due, f"{len(texts)} texts have vectors of shape {vectors.shape}, not {due}")
    for text, vector in zip(texts, vectors, strict=True):
        _require(np.isfinite(vector).all(), f"{text[:40]!r} has numbers that are not finite")
        length = float(np.linalg.norm(vector))
        _require(abs(length - 1) < 1e-4, f"{text[:40]!r} has a vector of length {length}, not 1")
    return vectors


def _check_same(found: Vectors, due: Vectors, texts: Sequence[str], how: str) -> None:
    for text, one, other in zip(texts, found, due, strict=True):
        _require(float(one @ other) > 1 - SAME, f"{text[:40]!r} has another vector {how}")


async def _check_alone(embedder: Embedder, texts: Sequence[str], due: Vectors) -> None:
    for row, text in enumerate(texts):
        _check_same(await _embedded(embedder, [text]), due[row : row + 1], [text], "alone than among others")
    backwards = await _embedded(embedder, texts[::-1])
    _check_same(backwards[::-1], due, texts, "when the order is turned round")


async def _check_at_once(embedder: Embedder, texts: Sequence[str], due: Vectors) -> None:
    for found in await asyncio.gather(*(_embedded(embedder, texts) for _ in range(4))):
        _check_same(found, due, texts, "when others are embedded at the same time")


async def _check_cancelled(embedder: Embedder, texts: Sequence[str], due: Vectors) -> None:
    """Callers who leave, before the work has begun or in it, spoil nothing for those who stay."""
    leaving = [asyncio.create_task(embedder.embed(texts)) for _ in range(3)]
    staying = asyncio.create_task(_embedded(embedder, texts))
    for turns, task in enumerate(leaving):
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    _check_same(await staying, due, texts, "when others are cancelled")
