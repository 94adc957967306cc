"""What may go into an index and be asked of it: finite float32 vectors of unit length, whole numbers as labels.

Refused here, at the door, because behind it nothing would notice: hnswlib takes a NaN for a distance and sorts by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]
    Numbers: TypeAlias = NDArray[np.int64]

__all__ = ["checked_k", "checked_labels", "checked_query", "checked_vectors"]

UNIT: Final = 1e-3
"""How far the length of a vector may be from one: float32 of a few hundred dimensions stays below 1e-6, float16 does
not, and a vector that was never normalised is nowhere near."""
SMALLEST_LABEL: Final = -(2**63)
LARGEST_LABEL: Final = 2**63 - 1


def checked_query(vector: Any, dimension: int) -> Floats:
    """One vector.

    Returns:
        float32, shape (dimension,), contiguous; the caller's own array where it is that already.

    Raises:
        ValueError: Another shape, not finite, or not of unit length; says which.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        query: Floats = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (dimension,):
            raise ValueError(f"a query has shape ({dimension},) here, not {np.shape(vector)}")
        square = float(query.dot(query))
    if not abs(square - 1.0) <= 2 * UNIT:  # written so that NaN is refused too
        raise ValueError(f"the query {_fault(query)}")
    return query


def checked_vectors(vectors: Any, dimension: int, count: int) -> Floats:
    """A batch of vectors.

    Returns:
        float32, shape (count, dimension), contiguous.

    Raises:
        ValueError: Another shape, or a row that is not finite or not of unit length; says which row.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        batch: Floats = np.ascontiguousarray(vectors, dtype=np.float32)
    if batch.shape != (count, dimension):
        raise ValueError(
            f"{count} vectors of {dimension} dimensions have shape ({count}, {dimension}), not {np.shape(vectors)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", batch, batch)
        wrong = np.flatnonzero(~(np.abs(squares - 1.0) <= 2 * UNIT))
    if len(wrong):
        raise ValueError(f"vector {wrong[0]} of {count} {_fault(batch[wrong[0]])}")
    return batch


def _fault(vector: Floats) -> str:
    if not np.isfinite(vector).all():
        return f"is not finite: dimension {int(np.flatnonzero(~np.isfinite(vector))[0])} is not a number"
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return f"has length {length:.6g}, not 1: normalise it first"


def checked_labels(labels: Iterable[int]) -> Sequence[int]:
    """Labels of a batch.

    Raises:
        TypeError: One is not a whole number.
        ValueError: One comes twice, or needs more than 64 bits.
    """
    numbers = [_whole(label) for label in labels]
    if len(set(numbers)) != len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise ValueError(f"label {twice} comes twice in one batch")
    return numbers


def _whole(label: Any) -> int:
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise TypeError(f"a label is a whole number, not {label!r}")
    number = int(label)
    if not SMALLEST_LABEL <= number <= LARGEST_LABEL:
        raise ValueError(f"label {number} does not fit into 64 bits")
    return number


def checked_k(k: int) -> int:
    """How many neighbours are wanted.

    Raises:
        ValueError: Fewer than one.
    """
    if k < 1:
        raise ValueError(f"at least one neighbour is searched for, not {k}")
    return k
