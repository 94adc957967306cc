"""Where a call meets the caches: look up, wait for an identical call under way, or go on and fill.

First the exact cache, then an identical call under way, then the semantic cache: each is dearer than the one before.
Which requests are the same, and what is kept for how long, stands in `resilio.cache`. Without a section `[cache]`
nothing here runs but two comparisons. An exact hit asks no actor, starts no task and waits for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from resilio.cache import BACKENDS, Backend, CacheStatistics, Entry, Purge, SingleFlight, exact_key, fingerprints
from resilio.cache.semantic import NOTHING, Found, Place, SemanticStatistics, place_of
from resilio.config import Config
from resilio.config.settings import RUNG_LABELS
from resilio.dispatch.cached.near import Near
from resilio.dispatch.cached.replay import Hit, RecordedStream, ReplayedStream, reply_of
from resilio.dispatch.cached.slot import Slot
from resilio.dispatch.call import Call
from resilio.dispatch.stream import Stream
from resilio.errors import ConfigError, EmbedderUnavailable
from resilio.ladder import NotCached
from resilio.models import Reply
from resilio.snapshot import Snapshot
from resilio.supervisor import RouteRecord

if TYPE_CHECKING:
    from resilio.cache.semantic.store import SemanticCache
    from resilio.dispatch.attempt import Engine

__all__ = ["Cached", "RecordedStream", "ReplayedStream", "Slot"]

logger = logging.getLogger("resilio")

RESERVE: Final = 2
"""Who waits for an identical call keeps so many times its target's usual latency for a try of its own."""


class Cached:
    """The caches of one engine, and the flights of calls under way.

    The configuration is looked at when a call meets a snapshot that is not the last one seen: limits then change, and
    what is kept stays, for keys tell what of a configuration an answer depends on.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._snapshot: Snapshot[RouteRecord] | None = None
        self._store: Backend | None = None
        self._backend = self._namespace = ""
        self._fingerprints: Mapping[str, str] = {}
        self._flights: SingleFlight[Entry] = SingleFlight()
        self.near = Near(engine)

    @property
    def flights(self) -> int:
        """How many different requests are under way that others could wait for."""
        return len(self._flights)

    def statistics(self) -> Mapping[str, CacheStatistics | SemanticStatistics]:
        """By name of the section; empty where there is no cache."""
        self._look_at(self._engine.supervisor.succession.current)
        found: dict[str, CacheStatistics | SemanticStatistics] = {}
        if self._store is not None:
            found["exact"] = self._store.statistics()
        if self.near.cache is not None:
            found["semantic"] = self.near.cache.statistics()
        return found

    def slot(self, call: Call, *, stream: bool) -> Slot | None:
        """The place of this call; None for one that is not cached."""
        control = call.cache
        snapshot = self._engine.supervisor.succession.current
        if snapshot is not self._snapshot:
            self._look_at(snapshot)
        if (self._store is None and self.near.cache is None) or control.mode == "skip":
            return None
        request = call.request
        fingerprint = self._fingerprints.get(request.route)
        if fingerprint is None:
            return None
        slot: Slot | None = None
        if self._store is not None:
            key = exact_key(
                request,
                fingerprint,
                namespace=(self._namespace, control.namespace),
                bucket=control.bucket(self._engine.rng),
                stream=stream,
            )
            if key is not None:
                slot = Slot(call, snapshot, plain=key.plain)
                slot.key, slot.store = key, self._store
        if self.near.cache is not None:
            settings = self.near.cache.settings
            place = place_of(request, fingerprint, control, settings, stream=stream)
            if place is not None:
                slot = slot or Slot(call, snapshot, plain=place.question.plain)
                slot.place, slot.near = place, self.near.cache
        return slot

    def prepare(self) -> None:
        """The client opens: make what the configuration asks for, so that what is missing is told now.

        Raises:
            ConfigError: The semantic cache's threshold was never measured for its embedder.
            EmbedderUnavailable: The embedder cannot be had on this machine.
        """
        self._look_at(self._engine.supervisor.succession.current, opening=True)

    def check(self, config: Config) -> None:
        """See that the caches could go by another configuration.

        Raises:
            ConfigError: They could not; says why.
        """
        self.near.check(config.cache.semantic)

    async def aclose(self) -> None:
        """The client closes."""
        await self.near.aclose()

    def purge(self, wanted: Purge) -> int:
        """Take answers out of both caches; see `Client.purge_cache`."""
        gone = 0 if self._store is None else self._store.purge(wanted, self._engine.clock())
        return gone + (0 if self.near.cache is None else self.near.cache.purge(wanted))

    def _look_at(self, snapshot: Snapshot[RouteRecord], *, opening: bool = False) -> None:
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        self._fingerprints = {}
        caches = snapshot.config.cache
        if caches.exact is not None or caches.semantic is not None:
            self._fingerprints = fingerprints(snapshot.config)
        try:
            self.near.configure(caches.semantic)
        except (ConfigError, EmbedderUnavailable, OSError) as exc:
            if opening:
                raise
            # It had been checked; a file has gone since, say. The next call must not fail for it.
            logger.warning("semantic cache: off until the next configuration: %s", exc)
            self.near.configure(None)
        settings = caches.exact
        if settings is None:
            self._store = None
            return
        self._namespace = settings.namespace
        if self._store is None or self._backend != settings.backend:
            self._backend = settings.backend
            self._store = BACKENDS[settings.backend](settings, self._engine.rng)
        else:
            self._store.configure(settings)

    # --- the two kinds of call -------------------------------------------------------------------

    async def complete(self, call: Call, slot: Slot, ask: Callable[[Call], Awaitable[Reply]]) -> Reply:
        """A whole answer: from a cache, from an identical call under way, or asked for and kept."""
        hit = self._look_up(slot) or await self._find(slot)
        if hit is not None:
            return call.hit(reply_of(call, hit, RUNG_LABELS["cache"]))
        self._see_whose_answer(slot)
        try:
            reply = await ask(call)
        except BaseException as exc:
            slot.leave(failed=isinstance(exc, Exception))
            raise
        slot.fill(reply)
        return reply

    async def open_stream(self, call: Call, slot: Slot, ask: Callable[[Call, Slot], Awaitable[Stream]]) -> Stream:
        """A stream, likewise. What is asked for is kept when the caller has read it to its end."""
        hit = self._look_up(slot) or await self._find(slot)
        if hit is not None:
            return ReplayedStream(call, hit, call.hit, RUNG_LABELS["cache"])
        self._see_whose_answer(slot)
        try:
            return await ask(call, slot)
        except BaseException as exc:
            slot.leave(failed=isinstance(exc, Exception))
            raise

    def _see_whose_answer(self, slot: Slot) -> None:
        """Another configuration may have come while the call waited: its answer, and its checks, have another key."""
        if self._engine.supervisor.succession.current is not slot.snapshot:
            slot.leave(failed=False)
            slot.void = True

    def _look_up(self, slot: Slot) -> Hit | None:
        """The answer to the very same request."""
        control = slot.call.cache
        if control.mode == "refresh" or slot.store is None or slot.key is None:
            return None
        entry = slot.store.get(slot.key.digest, self._engine.clock(), control.ttl)
        return None if entry is None else Hit(entry, "exact")

    async def _find(self, slot: Slot) -> Hit | None:
        """What may wait: an identical call under way, then a question that means the same.

        Who wants a new answer (``cache = "refresh"``) does neither, and is not waited for.
        """
        call = slot.call
        if call.cache.mode == "refresh":
            return None
        try:
            if (entry := await self._board(slot)) is not None:
                return Hit(entry, "exact")
            return await self._find_near(slot)
        except BaseException as exc:
            slot.leave(failed=False)
            call.fail(exc)
            raise

    async def _board(self, slot: Slot) -> Entry | None:
        """Wait for an identical call under way; None: there is none, or it is this call's turn to try."""
        if slot.key is None or slot.store is None:
            return None
        seat = slot.seat = self._flights.board(slot.key.digest)
        if seat.leads:
            return None
        entry = await seat.wait(self._patience(slot.call))
        if entry is not None:
            slot.store.share(entry)
        else:
            self._see_whose_answer(slot)
        return entry

    async def _find_near(self, slot: Slot) -> Hit | None:
        place, near = slot.place, slot.near
        if place is None or near is None or slot.void:
            return None
        until, ttl, namespace = self._patience(slot.call), slot.call.cache.ttl, place.owner.namespace
        guarantee, floor = near.guarantee, None
        if guarantee is not None:
            # The coin first: a sample chosen by what was found would be none.
            if guarantee.toss(namespace):
                found = await near.find(place, until=until, floor=guarantee.floor, max_age=ttl)
                slot.audit = guarantee.opened(namespace, found)
                near.missed()
                return None
            floor = guarantee.threshold(namespace)
        found = await near.find(place, until=until, floor=floor, max_age=ttl)
        if found.entry is None:
            near.missed()
            return None
        near.served(found.entry)
        slot.leave(failed=False)  # those who wait look for themselves
        return _near_hit(found, "near", told=place.trusted)

    def _patience(self, call: Call) -> float:
        """The instant until which a call waits for a cache: later it might have no time for a try of its own."""
        left = call.until - self._engine.clock()
        route = self._engine.supervisor.routes.get(call.request.route)
        targets = () if route is None else route.targets
        usual = [median for each in targets if (median := each.record.latencies.median) is not None]
        return call.until - (min(left / 2, RESERVE * max(usual)) if usual else left / 2)

    # --- the rung of the ladder ------------------------------------------------------------------

    async def last_reply(self, call: Call) -> Reply:
        """What the rung `cache` answers with, to a call for a whole answer.

        Raises:
            NotCached: There is nothing that may still be served.
        """
        return reply_of(call, await self._last(call, stream=False), call.label)

    async def last_stream(self, call: Call) -> Stream:
        """Likewise, to a call for a stream."""
        return ReplayedStream(call, await self._last(call, stream=True), call.succeed, call.label)

    async def _last(self, call: Call, *, stream: bool) -> Hit:
        slot = self.slot(call, stream=stream)
        if slot is None:
            raise NotCached("this call does not use the cache")
        now, ttl = self._engine.clock(), call.cache.ttl
        if slot.store is not None and slot.key is not None:
            entry = slot.store.get_stale(slot.key.digest, now, ttl)
            if entry is not None:
                fresh = now < entry.expires_at and (ttl is None or now - entry.stored_at < ttl)
                return Hit(entry, "exact" if fresh else "stale")
        if slot.near is not None and slot.place is not None:
            found = await _find_stale(slot.near, slot.place, call)
            if (near := found.entry) is not None:
                fresh = now < near.expires_at
                slot.near.served(near, stale=not fresh)
                return _near_hit(found, "near" if fresh else "stale", told=slot.place.trusted)
        raise NotCached("no answer is kept that may still be served")


async def _find_stale(near: SemanticCache, place: Place, call: Call) -> Found:
    floor = None
    if near.guarantee is not None and (floor := near.guarantee.threshold(place.owner.namespace)) is None:
        return NOTHING  # nothing is near enough yet, as far as anybody knows
    return await near.find(place, until=call.until, floor=floor, max_age=call.cache.ttl, stale=True)


def _near_hit(found: Found, kind: Literal["near", "stale"], *, told: bool) -> Hit:
    assert found.entry is not None, "asked for a hit"
    if not told:
        return Hit(found.entry, kind)
    return Hit(found.entry, kind, found.similarity, found.passed_over)
