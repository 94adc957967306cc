"""The place of one call in the caches: what to look up, and what to fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilio.cache import Backend, Entry, Key, Owner, Seat, Tape, answered, keepable, record, tenant
from resilio.cache.semantic import Place
from resilio.dispatch.call import Call
from resilio.models import Reply
from resilio.snapshot import Snapshot
from resilio.supervisor import RouteRecord

if TYPE_CHECKING:
    from resilio.cache.semantic.guarantee import Audit
    from resilio.cache.semantic.store import SemanticCache

__all__ = ["Slot"]


class Slot:
    """Made for a call that uses a cache: the exact one, the semantic one or both."""

    __slots__ = ("audit", "call", "key", "near", "place", "plain", "seat", "snapshot", "store", "void")

    def __init__(self, call: Call, snapshot: Snapshot[RouteRecord], *, plain: bool) -> None:
        self.call = call
        self.snapshot = snapshot
        """The configuration its keys were made under."""
        self.plain = plain
        """As `resilio.cache.Key.plain`."""
        self.key: Key | None = None
        self.store: Backend | None = None
        """The exact cache; it is there where `key` is."""
        self.place: Place | None = None
        self.near: SemanticCache | None = None
        """The semantic cache; it is there where `place` is."""
        self.audit: Audit | None = None
        """In guaranteed mode: this call is asked of the model in any case, and its answer compared."""
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
        if self.near is not None and self.place is not None:
            if self.audit is not None:
                # A refusal is not kept, and yet shows that what is kept would have been wrong: each answer counts.
                if answered(reply):
                    fresh = None if reply.refusal or reply.tool_calls else reply.text
                    self.near.audit(self.audit, self.place, fresh, recording, call.cache.ttl)
            elif recording is not None:
                self.near.keep(self.place, recording, call.cache.ttl)
        if recording is None:
            self.leave(failed=True)
            return
        if self.store is not None and self.key is not None:
            identity = call.request.identity
            owner = Owner(tenant(identity), identity.user, call.cache.namespace, identity.tags)
            entry = self.store.put(self.key.digest, recording, call.engine.clock(), call.cache.ttl, owner)
            if self.seat is not None:
                self.seat.land(entry)

    def leave(self, *, failed: bool) -> None:
        """The call is over without an answer for others; see `Seat.leave`."""
        if self.seat is not None:
            self.seat.leave(failed=failed)
