"""The semantic cache: questions that mean the same are answered once.

`entry` holds its values, `place` says which requests may look and store, `store` finds and keeps, `saving` lets it
outlive the process. Importing this costs nothing; `store` is imported by who has a `[cache.semantic]`.
"""

from __future__ import annotations

from resilio.cache.semantic.entry import NOTHING, Found, NearEntry, Place, SemanticStatistics
from resilio.cache.semantic.place import place_of, trusted

__all__ = ["NOTHING", "Found", "NearEntry", "Place", "SemanticStatistics", "place_of", "trusted"]
