"""Answers out of a cache, whole and as streams, and streams that are taken down on their way to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from resilio.cache import CachedReply, Recording, Tape
from resilio.dispatch.call import Call
from resilio.dispatch.stream import GoOn, Stream
from resilio.models import CacheHit, CacheKind, Chunk, Level, Reply

if TYPE_CHECKING:
    from resilio.dispatch.cached.slot import Slot
    from resilio.dispatch.guard import Guard
    from resilio.dispatch.leg import Leg

__all__ = ["Hit", "RecordedStream", "ReplayedStream", "Served", "reply_of"]


class Served(Protocol):
    """An entry of a cache."""

    recording: Recording
    stored_at: float

    @property
    def id(self) -> str: ...


class Hit(NamedTuple):
    """An entry that is to be served, and what the caller is told of it."""

    entry: Served
    kind: CacheKind
    similarity: float | None = None
    """Of its question to the caller's; None: it is the same, or the caller may not know."""
    passed_over: tuple[str, ...] = ()


def reply_of(call: Call, hit: Hit, label: str) -> Reply:
    """The reply to this call that a hit makes; `label` says what it is worth."""
    recording, request, now = hit.entry.recording, call.request, call.engine.clock()
    latency = now - call.started
    raw: Any = recording.raw  # JSON; `CachedReply` reads it when asked
    return CachedReply(
        text=recording.text,
        finish_reason=recording.finish_reason,
        target=recording.target,
        level=Level.CACHED,
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
        label=label,
        cached=CacheHit(
            hit.kind, now - hit.entry.stored_at, hit.entry.id, recording.cost_usd, hit.similarity, hit.passed_over
        ),
        warnings=recording.warnings,
        extras=orjson.loads(recording.extras) if recording.extras else None,  # each reader has their own
        checks=tuple(call.checks),
    )


class RecordedStream(Stream):
    """A stream that is taken down as it is read, and kept when it was read to its end."""

    def __init__(self, call: Call, leg: Leg, go_on: GoOn, guard: Guard | None, slot: Slot) -> None:
        super().__init__(call, leg, go_on, guard)
        self._slot = slot
        self._tape: Tape | None = Tape(raw=not slot.plain)

    async def __anext__(self) -> Chunk:
        chunk = await super().__anext__()
        if self._tape is not None:
            self._tape.add(chunk)
        return chunk

    def _complete(self) -> None:
        super()._complete()
        if self._tape is None and not self._slot.plain:
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

    def __init__(self, call: Call, hit: Hit, settle: Callable[[Reply], Reply], label: str) -> None:
        self._call = call
        self._hit = hit
        self._label = label
        self._settle_call = settle
        """How the call settles."""
        self._chunks: Iterator[Chunk] = hit.entry.recording.chunks()
        self._reply: Reply | None = None
        call.first_token = call.engine.clock() - call.started

    @property
    def target(self) -> str:
        """The target whose answer it was."""
        return self._hit.entry.recording.target

    async def __anext__(self) -> Chunk:
        for chunk in self._chunks:
            return chunk
        self.leave()
        raise StopAsyncIteration

    def leave(self) -> None:
        """The caller goes away. The answer is whole, however much of it was read."""
        if self._reply is None:
            self._chunks = iter(())
            self._reply = self._settle_call(reply_of(self._call, self._hit, self._label))
