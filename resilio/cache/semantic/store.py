"""The semantic cache: answers found by what a question means, each within the partition it belongs to.

A partition is everything about a request but the text of its last turn; only inside one are questions compared. Each
has an index of its own, so a search cannot stray. Owned by one event loop; searching may wait (for a vector, or for a
worker thread), storing never does: what is kept becomes searchable a moment later, by a task of the cache's own.

The rule that keeps it safe: whatever goes wrong here is a miss, never an error of the call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from resilio.cache.embedding.encoder import Encoder
from resilio.cache.index import VectorIndex
from resilio.cache.owner import Purge
from resilio.cache.recording import Recording
from resilio.cache.semantic.entry import NOTHING, Found, NearEntry, Place, SemanticStatistics
from resilio.config.settings import SemanticCacheSettings

if TYPE_CHECKING:
    from resilio.cache.embedding.encoder import Vector
    from resilio.cache.guards import Prepared
    from resilio.cache.semantic.guarantee import Audit, Guarantee

__all__ = ["CANDIDATES", "SemanticCache"]

logger = logging.getLogger("resilio")

CANDIDATES: Final = 4
"""So many of the nearest are offered to the guards."""
OVERHEAD: Final = 900
"""Bytes an entry is taken to need beside question, answer and vector: an allowance, on the large side."""
PARTITION: Final = 12_000
"""Bytes a partition takes beside its entries: an index, with its lock, its queues and its first rows. Measured."""
VECTOR_COPIES: Final = 2
"""The vector stands in the index and, for a graph, in its links and the copy it is rebuilt from."""
WAITING: Final = 1000
"""Answers that may wait for their place in an index; while so many do, further ones are not kept."""
AUDITS_AT_END: Final = 5.0
"""Seconds that audits under way have when the cache closes; what they find wrong would be served again otherwise."""
SWEEP: Final = 200
"""At most so many entries are swept out at one time."""
ROUNDS: Final = 4
"""A search is made anew so often because what it found had gone; each round has taken some of that away."""
BATCH: Final = 32
"""Loaded entries that are embedded anew in one go; what callers ask meanwhile stands behind no more than that."""
AT_A_TIME: Final = 500
"""Loaded entries that are entered into the books before others have their turn on the loop: about 2 ms."""
SPARE_ENDS: Final = 1000
"""Ends of entries that went before their time may be so many more than there are entries."""
PREPARED: Final = 1000
"""Stored questions that are kept taken apart, for guards to look at again: about 5 kB each."""
LONG: Final = 300
"""Characters: taking a longer question apart takes a millisecond or more, so others have their turn in between, and
what is that long is not kept taken apart."""


class SemanticCache:
    """The cache of one engine.

    Args:
        settings: Times, limits and who is trusted.
        encoder: Makes vectors; closed with this cache.
        threshold: Cosine similarity from which an entry may be served.
        strict: Guards are strict.
        make_index: Makes the index of a partition.
        clock: Monotonic seconds.
        rng: For the jitter of times.
        executor: For what blocks.
        guarantee: Finds the thresholds, in guaranteed mode.
        first_number: Entries are numbered from here on; higher than those of any process before where they are saved.
    """

    def __init__(
        self,
        settings: SemanticCacheSettings,
        encoder: Encoder,
        *,
        threshold: float,
        strict: bool,
        make_index: Callable[[], VectorIndex],
        clock: Callable[[], float],
        rng: random.Random,
        first_number: int = 0,
        guarantee: Guarantee | None = None,
        executor: Executor,
    ) -> None:
        self.settings = settings
        self.encoder = encoder
        self.threshold = threshold
        self.strict = strict
        self.guarantee = guarantee
        self._executor = executor
        self._make_index = make_index
        self._clock = clock
        self._rng = rng
        self._partitions: OrderedDict[bytes, _Partition] = OrderedDict()
        """The least recently used first; so the entries."""
        self._entries: OrderedDict[int, NearEntry] = OrderedDict()
        self._ends: list[tuple[float, int]] = []
        """A heap of (kept_until, number)."""
        self._waiting: deque[NearEntry] = deque()
        self._loaded: deque[NearEntry] = deque()
        """Of those that were saved, the ones without a vector: they have their turn when nobody else waits."""
        self._prepared: OrderedDict[int, Prepared] = OrderedDict()
        """By number, the least recently compared first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._audits: set[asyncio.Task[None]] = set()
        """Those of the tasks that compare answers."""
        self._worker: asyncio.Task[None] | None = None
        self._number = first_number
        self._bytes = 0
        self._hits = self._misses = self._stale = self._guarded = 0
        self._stored = self._evictions = self._expirations = self._failures = 0
        self._last_failure: str | None = None
        self._saved_usd = 0.0
        self._closing = False
        self._changed: set[bytes] | None = None
        """Partitions that are not as they were when they were saved last; None: nobody saves any."""
        self._purges: list[tuple[Purge, float]] | None = None
        """Purges since loading began, with their instants: they hold for what is still to come. None: all is loaded."""
        self._when_purged: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<SemanticCache of {len(self._entries)} entries in {len(self._partitions)} partitions>"

    def __len__(self) -> int:
        return len(self._entries)

    # --- searching -----------------------------------------------------------------------------

    async def find(
        self,
        place: Place,
        *,
        until: float,
        floor: float | None = None,
        max_age: float | None = None,
        stale: bool = False,
    ) -> Found:
        """The nearest entry that may stand for this question.

        Args:
            place: Where to look.
            until: The instant from which on nothing is waited for; what is at hand by then is still found.
            floor: Similarity from which one counts; None: the threshold.
            max_age: Seconds: an older one is not wanted.
            stale: One past its time is wanted too, if it is kept for that.
        """
        if self._closing or place.question.partition not in self._partitions:
            return NOTHING
        try:
            async with asyncio.timeout_at(min(until, self._clock() + self.settings.timeout)):
                return await self._search(place, self.threshold if floor is None else floor, max_age, stale=stale)
        except TimeoutError:
            self._failed(f"no result within {self.settings.timeout:g} s")
        except Exception as exc:
            self._failed(f"{type(exc).__name__}: {exc}", exc)
        return NOTHING

    async def _search(self, place: Place, floor: float, max_age: float | None, *, stale: bool) -> Found:
        text = place.question.text
        if (same := self._same(place, max_age, stale=stale)) is not None:
            return Found(same, 1.0)
        vector = self.encoder.vector_nowait(text)
        if vector is None:
            vector = await self.encoder.vector(text)
        await self._wait_for_place_of(self._partitions.get(place.question.partition))
        if not self.encoder.embedder.fits(text):
            return NOTHING  # two texts that are cut may differ in what was cut off
        self._sweep(self._clock())
        rounds = ROUNDS
        while True:
            partition = self._partitions.get(place.question.partition)
            if partition is None:
                return NOTHING
            near = partition.index.search_nowait(vector, CANDIDATES)
            if near is None:
                near = await partition.index.search(vector, CANDIDATES)
            # What has gone meanwhile leaves its place to others: look again.
            rounds -= 1
            if not self._drop_dead(partition, [label for label, _ in near]) or not rounds:
                return await self._choose(partition, near, text, floor, max_age, stale=stale)

    async def _wait_for_place_of(self, partition: _Partition | None) -> None:
        """What was stored before a question came is found by it, even if it has no place in the index yet.

        Only the newest there is now is waited for, or a partition with many misses would never be searched.
        """
        newest = None if partition is None else partition.newest
        if newest is None:
            return
        if newest.placed is None:
            newest.placed = asyncio.get_running_loop().create_future()
        await asyncio.shield(newest.placed)

    def _same(self, place: Place, max_age: float | None, *, stale: bool) -> NearEntry | None:
        """The entry of the very same words, which needs no vector and no guard."""
        entry = self._partitions[place.question.partition].by_text.get(place.question.text)
        return entry if entry is not None and self._young(entry, max_age, stale=stale) else None

    def _young(self, entry: NearEntry, max_age: float | None, *, stale: bool) -> bool:
        now = self._clock()
        if max_age is not None and now - entry.stored_at >= max_age:
            return False
        return now < (entry.kept_until if stale else entry.expires_at)

    def _drop_dead(self, partition: _Partition, labels: Iterable[int]) -> bool:
        now, dropped = self._clock(), False
        for label in labels:
            entry = partition.entries.get(label)
            if entry is not None and entry.kept_until <= now:
                self._remove(entry)
                self._expirations += 1
                dropped = True
        return dropped

    async def _choose(
        self,
        partition: _Partition,
        near: Sequence[tuple[int, float]],
        text: str,
        floor: float,
        max_age: float | None,
        *,
        stale: bool,
    ) -> Found:
        """The first of the candidates that is near enough, young enough, and passes the guards."""
        from resilio.cache import guards  # its word lists are read by who has a semantic cache

        asked: Prepared | None = None
        passed_over: list[str] = []
        for label, similarity in near:
            if similarity < floor:
                break
            if asked is None:
                asked = guards.prepare(text)
            if len(text) > LONG:
                await asyncio.sleep(0)
            # From here to the end no await: an entry that has gone by now is not in there.
            entry = partition.entries.get(label)
            if entry is None or not self._young(entry, max_age, stale=stale):
                continue
            why = guards.check(asked, self._taken_apart(entry), strict=self.strict)
            if why is None:
                return Found(entry, similarity, tuple(passed_over))
            self._guarded += 1
            passed_over.append(f"{entry.id} at {similarity:.3f}: {why}")
        return Found(None, near[0][1] if near else -1.0, tuple(passed_over))

    def _taken_apart(self, entry: NearEntry) -> Prepared:
        from resilio.cache import guards

        prepared = self._prepared.pop(entry.number, None) or guards.prepare(entry.text)
        if len(entry.text) <= LONG:
            self._prepared[entry.number] = prepared
            if len(self._prepared) > PREPARED:
                self._prepared.popitem(last=False)
        return prepared

    def served(self, entry: NearEntry, *, stale: bool = False) -> None:
        """Count an entry that was served."""
        if stale:
            self._stale += 1
        else:
            self._hits += 1
        self._saved_usd += entry.recording.cost_usd or 0.0
        if entry.number in self._entries:
            self._entries.move_to_end(entry.number)
            self._partitions.move_to_end(entry.partition)

    def missed(self) -> None:
        """Count a question that was asked for."""
        self._misses += 1

    def _failed(self, why: str, exc: BaseException | None = None) -> None:
        self._failures += 1
        if self._last_failure is None:  # the first is told; the others are counted
            logger.warning("semantic cache: %s; the call goes on without it", why, exc_info=exc)
        self._last_failure = why

    # --- storing -------------------------------------------------------------------------------

    def keep(self, place: Place, recording: Recording, ttl: float | None = None) -> NearEntry | None:
        """Keep an answer; it is found from a moment later on. One to the same question gives way to it.

        Args:
            place: Where.
            recording: The answer.
            ttl: Seconds; None: as configured.

        Returns:
            None: it is not kept, because it is no whole text, too long or too large, or the caller may not store here,
            or too many wait for a place already.
        """
        settings, text = self.settings, place.question.text
        tokens = len(text.encode("utf-8", "replace")) // 4 + recording.usage.output_tokens
        size = recording.size + len(text) + OVERHEAD + VECTOR_COPIES * 4 * self.encoder.embedder.dimension
        if self._closing or not place.may_store or recording.tool_calls or recording.finish_reason != "stop":
            return None
        if tokens > settings.max_tokens or PARTITION + size > settings.max_bytes:
            return None
        if len(self._waiting) >= WAITING:
            self._failed(f"{WAITING} answers wait for their place in an index")
            return None
        now = self._clock()
        self._sweep(now)
        partition = self._enter(place.question.partition)
        if (old := partition.by_text.get(text)) is not None:
            self._remove(old, keep_partition=True)
        lasts = (settings.ttl if ttl is None else ttl) * (1 - settings.ttl_jitter * self._rng.random())
        self._number += 1
        entry = NearEntry(
            self._number, place.question.partition, text, place.owner, recording,
            stored_at=now, expires_at=now + lasts, kept_until=now + lasts + settings.stale_for, size=size,
        )  # fmt: skip
        self._admit(entry)
        self._make_room()
        self._stored += 1
        self._note_change(entry.partition)
        self._waiting.append(entry)
        partition.newest = entry
        self._see_to_places()
        return entry

    def _see_to_places(self) -> None:
        if self._worker is None and (self._waiting or self._loaded):
            self._worker = self._start(self._work())

    def _admit(self, entry: NearEntry) -> None:
        """Enter an entry into the books; its vector may be in the index of its partition, or comes later."""
        partition = self._enter(entry.partition)
        self._number = max(self._number, entry.number)
        self._entries[entry.number] = entry
        partition.entries[entry.number] = entry
        partition.by_text[entry.text] = entry
        self._bytes += entry.size
        heappush(self._ends, (entry.kept_until, entry.number))
        if len(self._ends) > 2 * len(self._entries) + SPARE_ENDS:
            self._ends = [(each.kept_until, each.number) for each in self._entries.values()]
            heapify(self._ends)

    def _note_change(self, digest: bytes) -> None:
        if self._changed is not None:
            self._changed.add(digest)

    def _enter(self, digest: bytes, index: VectorIndex | None = None) -> _Partition:
        partition = self._partitions.get(digest)
        if partition is None:
            # Not `or`: an index without entries is false.
            partition = self._partitions[digest] = _Partition(self._make_index() if index is None else index)
            self._bytes += PARTITION
        else:
            self._partitions.move_to_end(digest)
        return partition

    async def _work(self) -> None:
        """Give what waits its place, partition by partition, as many at a time as there are."""
        try:
            while self._waiting or self._loaded:
                await asyncio.sleep(0)  # what comes in one turn of the loop goes in as one batch
                groups: dict[bytes, list[NearEntry]] = {}
                while self._waiting:
                    entry = self._waiting.popleft()
                    groups.setdefault(entry.partition, []).append(entry)
                if self._closing:
                    self._loaded.clear()
                if not groups:
                    for _ in range(min(BATCH, len(self._loaded))):
                        entry = self._loaded.popleft()
                        groups.setdefault(entry.partition, []).append(entry)
                for digest, group in groups.items():
                    try:
                        await self._index(digest, [entry for entry in group if entry.number in self._entries])
                    finally:
                        self._placed(digest, group)
        finally:
            self._worker = None

    def _placed(self, digest: bytes, group: list[NearEntry]) -> None:
        """They have their places, or never get any: whoever waits for one of them goes on."""
        partition = self._partitions.get(digest)
        if partition is not None and partition.newest is group[-1]:
            partition.newest = None
        for entry in group:
            if entry.placed is not None and not entry.placed.done():
                entry.placed.set_result(None)

    async def _index(self, digest: bytes, group: list[NearEntry]) -> None:
        try:
            group, vectors = await self._vectors(group)
            partition = self._partitions.get(digest)
            if partition is None or not group:
                return
            await partition.index.add([entry.number for entry in group], vectors)
            self._note_change(digest)
        except Exception as exc:
            self._not_stored(exc)
            for entry in group:
                self._remove(entry)
            return
        for entry in group:
            if entry.number in partition.entries:
                entry.indexed = True
            else:  # it has gone meanwhile
                partition.index.remove(entry.number)

    async def _vectors(self, group: list[NearEntry]) -> tuple[list[NearEntry], list[Vector]]:
        """The entries that have vectors, with them. One that cannot be embedded, or not whole, is no entry."""
        # Asked for together, or each would be a batch of its own.
        found = await asyncio.gather(*(self.encoder.vector(entry.text) for entry in group), return_exceptions=True)
        good: list[NearEntry] = []
        vectors: list[Vector] = []
        for entry, vector in zip(group, found, strict=True):
            if isinstance(vector, BaseException):
                self._not_stored(vector)
                self._remove(entry)
            elif not self.encoder.embedder.fits(entry.text):
                self._remove(entry)
            else:
                good.append(entry)
                vectors.append(vector)
        return good, vectors

    def _not_stored(self, exc: BaseException) -> None:
        if not self._closing:
            self._failed(f"could not store: {type(exc).__name__}: {exc}", exc)

    def audit(
        self, audit: Audit, place: Place, fresh: str | None, recording: Recording | None, ttl: float | None = None
    ) -> None:
        """Compare a fresh answer with what would have been served, off the request's path, and keep what is right.

        Args:
            audit: What was found before the model was asked.
            place: Of the request.
            fresh: What the model said; None: nothing that a kept answer could agree with.
            recording: The same, to be kept; None: it may not be.
            ttl: As for `keep`.
        """
        if self._closing:
            return
        if len(self._audits) >= WAITING:
            self._failed(f"{WAITING} audits are under way")
            return
        task = self._start(self._audit(audit, place, fresh, recording, ttl))
        self._audits.add(task)
        task.add_done_callback(self._audits.discard)

    async def _audit(
        self, audit: Audit, place: Place, fresh: str | None, recording: Recording | None, ttl: float | None
    ) -> None:
        if self.guarantee is None:  # another configuration holds by now
            if recording is not None:
                self.keep(place, recording, ttl)
            return
        threshold = self.guarantee.threshold(audit.namespace)
        try:
            agrees = await self.guarantee.decide(audit, place.question.text, fresh)
        except Exception as exc:
            self._failed(f"an audit failed: {type(exc).__name__}: {exc}", exc)
            return
        if audit.entry is not None and not agrees:
            was_served = threshold is not None and audit.similarity >= threshold
            # Who may not store may not empty a shared namespace by asking around it, before anything is served.
            if place.may_store or was_served:
                self.remove(audit.entry)
            if was_served and self._when_purged is not None:
                self._when_purged()  # a crash must not bring it back
        # One that agrees with its nearest entry would only stand beside it.
        if recording is not None and (audit.entry is None or not agrees):
            self.keep(place, recording, ttl)

    # --- removing ------------------------------------------------------------------------------

    def remove(self, entry: NearEntry) -> None:
        """Take one entry out, say because an audit found it wrong."""
        if entry.number in self._entries:
            self._remove(entry)

    def purge(self, wanted: Purge) -> int:
        """Take out every entry that is wanted out; returns how many there were."""
        now = self._clock()
        doomed = [each for each in self._entries.values() if wanted.takes(each.owner, now - each.stored_at)]
        for entry in doomed:
            self._remove(entry)
        if self._purges is not None:
            self._purges.append((wanted, now))
        if self._when_purged is not None:
            self._when_purged()
        return len(doomed)

    def _remove(self, entry: NearEntry, *, keep_partition: bool = False) -> None:
        if self._entries.pop(entry.number, None) is None:
            return
        partition = self._partitions[entry.partition]
        del partition.entries[entry.number]
        if partition.by_text.get(entry.text) is entry:
            del partition.by_text[entry.text]
        self._prepared.pop(entry.number, None)
        self._bytes -= entry.size
        self._note_change(entry.partition)
        if not partition.entries and not keep_partition:
            self._close(self._partitions.pop(entry.partition))
        elif entry.indexed:
            partition.index.remove(entry.number)

    def _sweep(self, now: float) -> None:
        for _ in range(SWEEP):
            if not self._ends or self._ends[0][0] > now:
                return
            entry = self._entries.get(heappop(self._ends)[1])
            if entry is not None:
                self._remove(entry)
                self._expirations += 1

    def _make_room(self) -> None:
        settings = self.settings
        while self._entries and (len(self._entries) > settings.max_entries or self._bytes > settings.max_bytes):
            self._evict(next(iter(self._entries.values())))
        while len(self._partitions) > settings.max_partitions:
            self._evict_partition(next(iter(self._partitions)))

    def _evict(self, entry: NearEntry) -> None:
        self._remove(entry)
        self._evictions += 1

    def _evict_partition(self, digest: bytes) -> None:
        """Let a partition go as a whole: its index goes with it, so no entry has to leave that first."""
        partition = self._partitions.pop(digest)
        for entry in partition.entries.values():
            del self._entries[entry.number]
            self._prepared.pop(entry.number, None)
            self._bytes -= entry.size
        self._evictions += len(partition.entries)
        partition.entries.clear()
        partition.by_text.clear()
        self._note_change(digest)
        self._close(partition)

    def _close(self, partition: _Partition) -> None:
        self._bytes -= PARTITION
        self._start(partition.index.aclose())

    def warm_up(self, *, model: bool) -> None:
        """Read the guards' word lists in a thread and load the `model`, so that no question waits for either."""
        self._start(self._warm_up(model=model))

    async def _warm_up(self, *, model: bool) -> None:
        try:
            await asyncio.wrap_future(self._executor.submit(_read_words))
            if model:
                await self.encoder.vector("Hello")
        except Exception as exc:
            if not self._closing:
                self._failed(f"the embedder could not be loaded: {type(exc).__name__}: {exc}", exc)

    # --- what outlives the process: see `disk` ------------------------------------------------------

    def attach(self, when_purged: Callable[[], None]) -> None:
        """Somebody loads what was saved, calls `all_loaded`, and saves from then on what has `changed`.

        Args:
            when_purged: Called at each purge: what is purged should not outlive the process for long.
        """
        self._changed, self._purges, self._when_purged = set(), [], when_purged

    def all_loaded(self, *, saves: bool) -> None:
        """Nothing more is taken in; and nothing is going to be saved either, unless it `saves`."""
        self._purges = None
        if not saves:
            self._changed = self._when_purged = None

    def changed(self) -> tuple[bytes, ...]:
        """The partitions that have changed since this was asked last."""
        if not self._changed:
            return ()
        changed, self._changed = tuple(self._changed), set()
        return changed

    def changed_again(self, digest: bytes) -> None:
        """A partition could not be saved."""
        self._note_change(digest)

    def partition(self, digest: bytes) -> tuple[Sequence[NearEntry], VectorIndex] | None:
        """All there is of a partition; None: it is gone."""
        found = self._partitions.get(digest)
        return None if found is None else (tuple(found.entries.values()), found.index)

    async def take_in(self, digest: bytes, entries: Sequence[NearEntry], index: VectorIndex | None) -> None:
        """Take in a partition that was saved, some entries at a time. What is here by now is newer, and stays.

        Args:
            digest: Of the partition.
            entries: What was saved of it.
            index: Its vectors; None: questions are embedded anew. It is closed here if it is of no use.
        """
        if index is not None and (digest in self._partitions or self._closing):
            await index.aclose()
            index = None
        if index is not None:
            self._enter(digest, index)
        for start in range(0, len(entries), AT_A_TIME):
            if start:
                await asyncio.sleep(0)
            self._take_in(digest, entries[start : start + AT_A_TIME], index)
            self._make_room()
        if index is not None:
            await self._drop_unnamed(digest, index)
        partition = self._partitions.get(digest)
        if index is None or partition is None or len(partition.entries) < len(entries):
            self._note_change(digest)  # else its files say what there is

    def _take_in(self, digest: bytes, entries: Sequence[NearEntry], index: VectorIndex | None) -> None:
        now = self._clock()
        for entry in entries:
            partition = self._partitions.get(digest)
            if entry.kept_until <= now or entry.number in self._entries or self._is_purged(entry):
                continue
            if partition is not None and entry.text in partition.by_text:
                continue
            # Whether it still is this one: it may have been evicted, and another have come since.
            entry.indexed = partition is not None and partition.index is index and entry.number in partition.index
            self._admit(entry)
            if not entry.indexed:
                self._loaded.append(entry)
        self._see_to_places()

    def _is_purged(self, entry: NearEntry) -> bool:
        return any(wanted.takes(entry.owner, at - entry.stored_at) for wanted, at in self._purges or ())

    async def _drop_unnamed(self, digest: bytes, index: VectorIndex) -> None:
        """Take out of an index what is no entry, and the partition with it if nothing is left."""
        for count, label in enumerate(index.labels(), 1):
            if not count % AT_A_TIME:
                await asyncio.sleep(0)
            partition = self._partitions.get(digest)
            if partition is None or partition.index is not index:
                return
            if label not in partition.entries:
                index.remove(label)
        partition = self._partitions.get(digest)
        if partition is not None and not partition.entries:
            self._close(self._partitions.pop(digest))

    # --- life ----------------------------------------------------------------------------------

    def configure(self, settings: SemanticCacheSettings, *, threshold: float, strict: bool) -> None:
        """Go by other settings from now on; what is kept keeps its time."""
        self.settings, self.threshold, self.strict = settings, threshold, strict
        self._make_room()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, name="resilio semantic cache")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(self) -> None:
        """Wait until all that is kept has its place in an index."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def audited(self) -> None:
        """Wait for audits under way, though not for ever: call it before what is left is saved for the last time."""
        if self._audits:
            await asyncio.wait(set(self._audits), timeout=AUDITS_AT_END)

    async def aclose(self) -> None:
        """Stop, and let go of threads and memory. What waits for a place is not kept."""
        self._closing = True
        for task in self._audits:
            task.cancel()  # a judge may take its time
        await self.encoder.aclose()  # first: storing may wait for an embedder that does not answer
        await self.settled()
        partitions = list(self._partitions.values())
        self._partitions.clear()
        self._entries.clear()
        self._prepared.clear()
        self._bytes = 0
        for partition in partitions:
            await partition.index.aclose()

    def statistics(self) -> SemanticStatistics:
        """A snapshot."""
        return SemanticStatistics(
            entries=len(self._entries), partitions=len(self._partitions), bytes=self._bytes, hits=self._hits,
            misses=self._misses, stale=self._stale, guarded=self._guarded, stored=self._stored,
            evictions=self._evictions, expirations=self._expirations, failures=self._failures,
            last_failure=self._last_failure, saved_usd=self._saved_usd, embedder=self.encoder.embedder.id,
            threshold=self.threshold,
            bounds={} if self.guarantee is None else self.guarantee.statistics(),
        )  # fmt: skip


def _read_words() -> None:
    """In a thread, once a process: 50 ms that the event loop would have to wait for."""
    from resilio.cache import guards, wording

    one, other = guards.prepare("Which houses are enabled?"), guards.prepare("Which horses were disabling?")
    guards.check(one, other, strict=True)
    for _, guard in (*guards.GUARDS, *guards.STRICT_GUARDS):
        guard(one, other)
    wording.bound_by("Hello")


class _Partition:
    """Entries that may be compared with each other."""

    __slots__ = ("by_text", "entries", "index", "newest")

    def __init__(self, index: VectorIndex) -> None:
        self.index = index
        self.entries: dict[int, NearEntry] = {}
        self.by_text: dict[str, NearEntry] = {}
        self.newest: NearEntry | None = None
        """The last that was stored, while it has no place in the index."""
