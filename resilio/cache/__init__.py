"""Caches: what was answered before, served again.

`keys` says which requests are the same, `recording` what is kept of an answer, `exact` where and for how long,
`single_flight` how identical requests share one. When a call looks here, and what it does with what it finds, is
dispatch's. A backend is a row of `BACKENDS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from resilio.cache.control import USE, CacheControl, CacheMode, cache_control
from resilio.cache.exact import Backend, CacheStatistics, Entry, ExactCache
from resilio.cache.keys import Key, exact_key, fingerprints, tenant
from resilio.cache.owner import Owner, Purge
from resilio.cache.recording import CachedReply, Recording, Tape, answered, keepable, record
from resilio.cache.single_flight import Seat, SingleFlight
from resilio.config.settings import ExactCacheSettings

__all__ = [
    "BACKENDS",
    "USE",
    "Backend",
    "CacheControl",
    "CacheMode",
    "CacheStatistics",
    "CachedReply",
    "Entry",
    "ExactCache",
    "Key",
    "Owner",
    "Purge",
    "Recording",
    "Seat",
    "SingleFlight",
    "Tape",
    "answered",
    "cache_control",
    "exact_key",
    "fingerprints",
    "keepable",
    "record",
    "tenant",
]

BACKENDS: Final[Mapping[str, Callable[[ExactCacheSettings, random.Random], Backend]]] = {
    "memory": ExactCache,
}
"""What `backend` of a section may be, and what makes one."""
