"""The index of the semantic cache: which stored vectors are nearest to this one.

One `VectorIndex` for each partition. It knows labels and vectors and nothing of what they stand for. Importing it
brings numpy and hnswlib in, so it is imported where it is first used.
"""

from resilio.cache.index.guard import IndexClosed
from resilio.cache.index.saving import IndexUnusable
from resilio.cache.index.vector_index import IndexStatistics, VectorIndex

__all__ = ["IndexClosed", "IndexStatistics", "IndexUnusable", "VectorIndex"]
