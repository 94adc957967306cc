"""The exact cache in memory: answers by key, each for its time, within a number of entries and of bytes.

Synchronous and owned by one event loop, so nothing locks. Time is an argument. Which answer goes when room is needed:
Greedy-Dual-Size-Frequency (Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
Policy", HP Laboratories HPL-98-69R1, 1998). An entry's priority is L + hits x cost / size as of its last use; the one
with the lowest goes, and L, the age of the cache, becomes its priority. So dear, small and often used answers stay
longer, and what was not used for long goes whatever it cost. Worths are rounded, and entries of one worth stand in one
queue, whose head is the least of them (Ghandeharizadeh et al., "CAMP: A Cost Adaptive Multi-Queue Eviction Policy",
Middleware 2014): no step takes longer with more entries.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush
from math import frexp, ldexp
from typing import Final, Protocol

from resilio.cache.owner import NOBODY, Owner, Purge
from resilio.cache.recording import Recording
from resilio.config.settings import ExactCacheSettings

__all__ = ["Backend", "CacheStatistics", "Entry", "ExactCache"]

TICK: Final = 10.0
"""Seconds: entries are swept out of memory at most so long after their end (they are never served after it)."""
SWEEP: Final = 200
"""At most so many entries are swept out at one time, which takes about half a millisecond."""
STEPS: Final = 8
"""Worths between one power of two and the next: they are rounded down by an eighth of themselves at most."""
NOMINAL_USD_PER_TOKEN: Final = 1e-6
"""What an answer of unknown price is taken to be worth keeping."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache has done since it was opened, and what it holds."""

    entries: int
    bytes: int
    hits: int
    misses: int
    shared: int
    """Calls served by the answer to an identical one that was under way."""
    stale: int
    """Entries served past their time, because nobody else answered."""
    stored: int
    evictions: int
    """Entries that went to make room."""
    expirations: int
    """Entries that went because their time was over."""
    saved_usd: float
    """What the answers served had cost, where that is known."""


class Entry:
    """One answer in the cache, or one that was too large for it. Instants are monotonic seconds."""

    __slots__ = (
        "density", "expires_at", "hits", "kept_until", "key", "number", "owner", "priority", "recording", "stored_at",
        "worth",
    )  # fmt: skip

    def __init__(
        self,
        key: bytes,
        number: int,
        recording: Recording,
        owner: Owner,
        *,
        stored_at: float,
        expires_at: float,
        kept_until: float,
    ) -> None:
        self.key = key
        self.number = number
        self.recording = recording
        self.owner = owner
        self.stored_at = stored_at
        self.expires_at = expires_at
        self.kept_until = kept_until
        cost = recording.cost_usd
        tokens = max(1, recording.usage.total_tokens)
        self.density = (cost or tokens * NOMINAL_USD_PER_TOKEN) / recording.size
        self.hits = 1
        self.priority = 0.0
        self.worth = 0
        """Which queue it stands in."""

    @property
    def id(self) -> str:
        return f"{self.key[:6].hex()}-{self.number}"

    def __repr__(self) -> str:
        return f"<Entry {self.id} of {self.recording.target}, {self.recording.size} bytes>"


class Backend(Protocol):
    """Where answers are kept."""

    def get(self, key: bytes, now: float, max_age: float | None = None) -> Entry | None:
        """An answer within its time.

        Args:
            key: See `resilio.cache.keys`.
            now: Monotonic seconds.
            max_age: Seconds: an older one is not wanted.
        """
        ...

    def get_stale(self, key: bytes, now: float, max_age: float | None = None) -> Entry | None:
        """An answer within its time or, after it, within `stale_for`; arguments as for `get`."""
        ...

    def share(self, entry: Entry) -> None:
        """Count an answer that was handed to somebody who had waited for it."""
        ...

    def put(
        self, key: bytes, recording: Recording, now: float, ttl: float | None = None, owner: Owner = NOBODY
    ) -> Entry:
        """Keep an answer of this owner, in the place of an older one; `ttl` in seconds, None: as configured."""
        ...

    def purge(self, wanted: Purge, now: float) -> int:
        """Take out every entry that is wanted out; returns how many there were."""
        ...

    def configure(self, settings: ExactCacheSettings) -> None:
        """Go by other settings from now on; what is kept keeps its time."""
        ...

    def statistics(self) -> CacheStatistics:
        """A snapshot."""
        ...


class ExactCache:
    """The backend `memory`.

    Args:
        settings: Times and limits.
        rng: For the jitter of times.
    """

    def __init__(self, settings: ExactCacheSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._entries: dict[bytes, Entry] = {}
        self._queues: dict[int, OrderedDict[bytes, Entry]] = {}
        """By worth, the least recently used first."""
        self._age = 0.0
        """L of the algorithm."""
        self._ends: dict[int, list[bytes]] = {}
        """Keys by the tick after which their entry is to be swept out."""
        self._ticks: list[int] = []
        """The ticks in `_ends`, as a heap."""
        self._bytes = self._number = 0
        self._hits = self._misses = self._shared = self._stale = 0
        self._stored = self._evictions = self._expirations = 0
        self._saved_usd = 0.0

    def __repr__(self) -> str:
        return f"<ExactCache of {len(self._entries)} entries, {self._bytes} bytes>"

    # --- reading -------------------------------------------------------------------------------

    def get(self, key: bytes, now: float, max_age: float | None = None) -> Entry | None:
        """See `Backend`."""
        entry = self._entries.get(key)
        if entry is None or now >= entry.expires_at or (max_age is not None and now - entry.stored_at >= max_age):
            self._misses += 1
            return None
        self._hits += 1
        return self._served(entry)

    def get_stale(self, key: bytes, now: float, max_age: float | None = None) -> Entry | None:
        """See `Backend`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        until = entry.expires_at if max_age is None else min(entry.expires_at, entry.stored_at + max_age)
        if now >= min(until + self._settings.stale_for, entry.kept_until):
            return None
        if now < until:
            self._hits += 1
        else:
            self._stale += 1
        return self._served(entry)

    def share(self, entry: Entry) -> None:
        """See `Backend`."""
        self._shared += 1
        if self._entries.get(entry.key) is entry:
            self._served(entry)
        else:  # too large to be kept, or gone by now
            self._saved_usd += entry.recording.cost_usd or 0.0

    def _served(self, entry: Entry) -> Entry:
        entry.hits += 1
        self._saved_usd += entry.recording.cost_usd or 0.0
        self._unqueue(entry)
        self._queue(entry)
        return entry

    # --- writing -------------------------------------------------------------------------------

    def put(
        self, key: bytes, recording: Recording, now: float, ttl: float | None = None, owner: Owner = NOBODY
    ) -> Entry:
        """See `Backend`. One too large for the whole cache is returned and not kept."""
        settings = self._settings
        self._sweep(now)
        lasts = (settings.ttl if ttl is None else ttl) * (1 - settings.ttl_jitter * self._rng.random())
        self._number += 1
        entry = Entry(
            key, self._number, recording, owner,
            stored_at=now, expires_at=now + lasts, kept_until=now + lasts + settings.stale_for,
        )  # fmt: skip
        old = self._entries.get(key)
        if old is not None:
            self._remove(old)
        if recording.size > settings.max_bytes:
            return entry
        self._make_room(settings.max_entries - 1, settings.max_bytes - recording.size)
        self._stored += 1
        self._bytes += recording.size
        self._entries[key] = entry
        self._queue(entry)
        tick = int(entry.kept_until / TICK) + 1
        keys = self._ends.get(tick)
        if keys is None:
            keys = self._ends[tick] = []
            heappush(self._ticks, tick)
        keys.append(key)
        return entry

    def configure(self, settings: ExactCacheSettings) -> None:
        """See `Backend`."""
        self._settings = settings
        self._make_room(settings.max_entries, settings.max_bytes)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.key]
        self._bytes -= entry.recording.size
        self._unqueue(entry)

    def _sweep(self, now: float) -> None:
        """Let entries go whose time is over, some at a time."""
        left = SWEEP
        while self._ticks and self._ticks[0] * TICK <= now:
            keys = self._ends[self._ticks[0]]
            while keys:
                if not left:
                    return
                left -= 1
                entry = self._entries.get(keys.pop())
                if entry is not None and entry.kept_until <= now:  # else a later entry has its key
                    self._remove(entry)
                    self._expirations += 1
            del self._ends[heappop(self._ticks)]

    def purge(self, wanted: Purge, now: float) -> int:
        """See `Backend`."""
        doomed = [each for each in self._entries.values() if wanted.takes(each.owner, now - each.stored_at)]
        for entry in doomed:
            self._remove(entry)
        return len(doomed)

    # --- making room -----------------------------------------------------------------------------

    def _make_room(self, entries: int, size: int) -> None:
        while len(self._entries) > entries or self._bytes > size:
            entry = self._least()
            self._age = max(self._age, entry.priority)
            self._remove(entry)
            self._evictions += 1

    def _least(self) -> Entry:
        """The entry with the lowest priority: the head of one of the few dozen queues there are."""
        heads = [next(iter(queue.values())) for queue in self._queues.values()]
        return min(heads, key=lambda entry: entry.priority)

    def _queue(self, entry: Entry) -> None:
        """Stand it at the end of the queue of its worth: L only grows, so all before it have a lower priority."""
        mantissa, exponent = frexp(entry.hits * entry.density)
        step = int(mantissa * 2 * STEPS)
        entry.worth = worth = exponent * STEPS + step
        entry.priority = self._age + ldexp(step / (2 * STEPS), exponent)
        queue = self._queues.get(worth)
        if queue is None:
            queue = self._queues[worth] = OrderedDict()
        queue[entry.key] = entry

    def _unqueue(self, entry: Entry) -> None:
        queue = self._queues[entry.worth]
        del queue[entry.key]
        if not queue:
            del self._queues[entry.worth]

    def statistics(self) -> CacheStatistics:
        """See `Backend`."""
        return CacheStatistics(
            len(self._entries), self._bytes, self._hits, self._misses, self._shared, self._stale, self._stored,
            self._evictions, self._expirations, self._saved_usd,
        )  # fmt: skip
