"""Where a call meets the exact cache: look up, wait for an identical call under way, or go on and fill.

Which requests are the same, and what is kept for how long, stands in `resilio.cache`. Without a `[cache.exact]` nothing
here runs but one comparison. A hit asks no actor, starts no task and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from resilio.cache import (
    BACKENDS,
    Backend,
    CachedReply,
    CacheStatistics,
    Entry,
    Key,
    Seat,
    SingleFlight,
    Tape,
    exact_key,
    fingerprints,
    keepable,
    record,
)
from resilio.dispatch.call import Call
from resilio.dispatch.stream import GoOn, Stream
from resilio.ladder import NotCached
from resilio.models import CacheHit, Chunk, Level, Reply
from resilio.snapshot import Snapshot
from resilio.supervisor import RouteRecord

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Engine
    from resilio.dispatch.leg import Leg

__all__ = ["Cached", "RecordedStream", "ReplayedStream", "Slot"]

RESERVE: Final = 2
"""Who waits for an identical call keeps so many times its target's usual latency for a try of its own."""


class Slot:
    """The place of one call in the cache: what to look up, and what to fill."""

    __slots__ = ("call", "key", "seat", "snapshot", "store", "void")

    def __init__(self, call: Call, key: Key, store: Backend, snapshot: Snapshot[RouteRecord]) -> None:
        self.call = call
        self.key = key
        self.store = store
        self.snapshot = snapshot
        """The configuration the key was made under."""
        self.seat: Seat[Entry] | None = None
        self.void = False
        """Another configuration answers by now, so what it says belongs under another key."""

    def fill(self, reply: Reply, tape: Tape | None = None) -> None:
        """The call is over: keep its answer, if it may be kept, and hand it to all who wait for it."""
        if self.void:
            return
        call = self.call
        wire = call.request.wire
        limit = self.snapshot.config.routes[call.request.route].max_output_tokens
        limited = (wire.get("max_completion_tokens") or wire.get("max_tokens") or limit) is not None
        recording = record(reply, tape) if keepable(reply, limited=limited) else None
        if recording is None:
            self.leave(failed=True)
            return
        entry = self.store.put(self.key.digest, recording, call.engine.clock(), call.cache.ttl)
        if self.seat is not None:
            self.seat.land(entry)

    def leave(self, *, failed: bool) -> None:
        """The call is over without an answer for others; see `Seat.leave`."""
        if self.seat is not None:
            self.seat.leave(failed=failed)


class Cached:
    """The exact cache of one engine, and the flights of calls under way.

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

    @property
    def flights(self) -> int:
        """How many different requests are under way that others could wait for."""
        return len(self._flights)

    def statistics(self) -> Mapping[str, CacheStatistics]:
        """By name of the section; empty where there is no cache."""
        self._look_at(self._engine.supervisor.succession.current)
        return {} if self._store is None else {"exact": self._store.statistics()}

    def slot(self, call: Call, *, stream: bool) -> Slot | None:
        """The place of this call; None for one that is not cached."""
        control = call.cache
        snapshot = self._engine.supervisor.succession.current
        if snapshot is not self._snapshot:
            self._look_at(snapshot)
        if self._store is None or control.mode == "skip":
            return None
        request = call.request
        fingerprint = self._fingerprints.get(request.route)
        if fingerprint is None:
            return None
        key = exact_key(
            request,
            fingerprint,
            namespace=(self._namespace, control.namespace),
            bucket=control.bucket(self._engine.rng),
            stream=stream,
        )
        return None if key is None else Slot(call, key, self._store, snapshot)

    def _look_at(self, snapshot: Snapshot[RouteRecord]) -> None:
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        settings = snapshot.config.cache.exact
        if settings is None:
            self._store = None
            return
        self._namespace = settings.namespace
        self._fingerprints = fingerprints(snapshot.config)
        if self._store is None or self._backend != settings.backend:
            self._backend = settings.backend
            self._store = BACKENDS[settings.backend](settings, self._engine.rng)
        else:
            self._store.configure(settings)

    # --- the two kinds of call -------------------------------------------------------------------

    async def complete(self, call: Call, slot: Slot, ask: Callable[[Call], Awaitable[Reply]]) -> Reply:
        """A whole answer: from the cache, from an identical call under way, or asked for and kept."""
        entry = self._look_up(slot)
        if entry is None and (entry := await self._board(slot)) is None:
            try:
                reply = await ask(call)
            except BaseException as exc:
                slot.leave(failed=isinstance(exc, Exception))
                raise
            slot.fill(reply)
            return reply
        return call.hit(_reply(call, entry, "exact", Level.CACHED))

    async def open_stream(self, call: Call, slot: Slot, ask: Callable[[Call, Slot], Awaitable[Stream]]) -> Stream:
        """A stream, likewise. What is asked for is kept when the caller has read it to its end."""
        entry = self._look_up(slot)
        if entry is None and (entry := await self._board(slot)) is None:
            try:
                return await ask(call, slot)
            except BaseException as exc:
                slot.leave(failed=isinstance(exc, Exception))
                raise
        return ReplayedStream(call, entry, "exact", call.hit)

    def _look_up(self, slot: Slot) -> Entry | None:
        control = slot.call.cache
        if control.mode == "refresh":
            return None
        return slot.store.get(slot.key.digest, self._engine.clock(), control.ttl)

    async def _board(self, slot: Slot) -> Entry | None:
        """Wait for an identical call under way; None: there is none, or it is this call's turn to try.

        Who wants a new answer (``cache = "refresh"``) neither waits nor is waited for.
        """
        call = slot.call
        if call.cache.mode == "refresh":
            return None
        seat = slot.seat = self._flights.board(slot.key.digest)
        if seat.leads:
            return None
        try:
            entry = await seat.wait(self._patience(call))
        except BaseException as exc:
            seat.leave(failed=False)
            call.fail(exc)
            raise
        if entry is not None:
            slot.store.share(entry)
        elif self._engine.supervisor.succession.current is not slot.snapshot:
            seat.leave(failed=False)
            slot.void = True
        return entry

    def _patience(self, call: Call) -> float:
        """The instant until which a call waits for another: later it might have no time for a try of its own."""
        left = call.until - self._engine.clock()
        route = self._engine.supervisor.routes.get(call.request.route)
        targets = () if route is None else route.targets
        usual = [median for each in targets if (median := each.record.latencies.median) is not None]
        return call.until - (min(left / 2, RESERVE * max(usual)) if usual else left / 2)

    # --- the rung of the ladder ------------------------------------------------------------------

    def last_reply(self, call: Call) -> Reply:
        """What the rung `cache` answers with, to a call for a whole answer.

        Raises:
            NotCached: There is nothing that may still be served.
        """
        entry, kind = self._last(call, stream=False)
        return _reply(call, entry, kind, call.level)

    def last_stream(self, call: Call) -> Stream:
        """Likewise, to a call for a stream."""
        entry, kind = self._last(call, stream=True)
        return ReplayedStream(call, entry, kind, call.succeed)

    def _last(self, call: Call, *, stream: bool) -> tuple[Entry, Literal["exact", "stale"]]:
        slot = self.slot(call, stream=stream)
        if slot is None:
            raise NotCached("this call does not use the cache")
        now, ttl = self._engine.clock(), call.cache.ttl
        entry = slot.store.get_stale(slot.key.digest, now, ttl)
        if entry is None:
            raise NotCached("no answer is kept that may still be served")
        fresh = now < entry.expires_at and (ttl is None or now - entry.stored_at < ttl)
        return entry, "exact" if fresh else "stale"


def _reply(call: Call, entry: Entry, kind: Literal["exact", "stale"], level: Level) -> Reply:
    """The reply to this call that an entry makes."""
    recording, request, now = entry.recording, call.request, call.engine.clock()
    latency = now - call.started
    raw: Any = recording.raw  # JSON; `CachedReply` reads it when asked
    return CachedReply(
        text=recording.text,
        finish_reason=recording.finish_reason,
        target=recording.target,
        level=level,
        complete=True,
        usage=recording.usage,
        request_id=request.id,
        latency=latency,
        first_token=latency,
        cost_usd=0.0,
        tool_calls=recording.tool_calls,
        reasoning=recording.reasoning,
        attempts=tuple(call.attempts),
        reasons=tuple(call.reasons),
        route=request.route,
        asked_route=request.asked_route or request.route,
        rule=request.rule,
        raw=raw,
        cached=CacheHit(kind, now - entry.stored_at, entry.id, recording.cost_usd),
    )


# --- streams -----------------------------------------------------------------------------------


class RecordedStream(Stream):
    """A stream that is taken down as it is read, and kept when it was read to its end."""

    def __init__(self, call: Call, leg: Leg, go_on: GoOn, slot: Slot) -> None:
        super().__init__(call, leg, go_on)
        self._slot = slot
        self._tape: Tape | None = Tape(raw=not slot.key.plain)

    async def __anext__(self) -> Chunk:
        chunk = await super().__anext__()
        if self._tape is not None:
            self._tape.add(chunk)
        return chunk

    def _complete(self) -> None:
        super()._complete()
        if self._tape is None and not self._slot.key.plain:
            self._slot.leave(failed=True)  # the rest of it was not handed out, so nobody took it down
        else:
            self._slot.fill(self.reply, self._tape)

    def _settle(self, *, complete: bool, broken: str) -> None:
        super()._settle(complete=complete, broken=broken)
        self._slot.leave(failed=broken != "left")

    def leave(self) -> None:
        if self._reply is None:
            self._tape = None  # the answer may be whole; what was handed out of it is not
        super().leave()


class ReplayedStream(Stream):
    """A stream out of the cache: the chunks of the recorded one, at once.

    It has no leg and waits for nothing, so all that touches one is replaced here.
    """

    def __init__(
        self, call: Call, entry: Entry, kind: Literal["exact", "stale"], settle: Callable[[Reply], Reply]
    ) -> None:
        self._call = call
        self._entry = entry
        self._kind = kind
        self._settle_call = settle
        """How the call settles."""
        self._chunks: Iterator[Chunk] = entry.recording.chunks()
        self._reply: Reply | None = None
        call.first_token = call.engine.clock() - call.started

    @property
    def target(self) -> str:
        """The target whose answer it was."""
        return self._entry.recording.target

    async def __anext__(self) -> Chunk:
        for chunk in self._chunks:
            return chunk
        self.leave()
        raise StopAsyncIteration

    def leave(self) -> None:
        """The caller goes away. The answer is whole, however much of it was read."""
        if self._reply is None:
            self._chunks = iter(())
            self._reply = self._settle_call(_reply(self._call, self._entry, self._kind, Level.CACHED))
