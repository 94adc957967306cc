"""An answer as it is kept: immutable, compact, and replayed whole or as the stream it was.

What could be spoilt by whoever gets it (`raw`, chunks) is kept as JSON and read anew for each reader; all else is
immutable and shared. The rule that keeps it honest: what is not a whole, full, unfiltered answer of the route is not
recorded at all; `keepable` says so in one place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from resilio.models import Chunk, Level, Reply, ToolCall, ToolCallDelta, Usage

__all__ = ["CachedReply", "Recording", "Tape", "answered", "keepable", "record"]

OVERHEAD: Final = 640
"""Bytes an entry takes beside its contents: index, queue of eviction, objects. Measured by `benchmarks/cache.py`."""

_WHOLE: Final = frozenset({"stop", "tool_calls", "function_call"})
"""Finish reasons of an answer that ended of itself."""


class Recording(NamedTuple):
    """One whole answer. Shared by all who are served from it, so nothing in it can be changed."""

    text: str
    finish_reason: str
    target: str
    usage: Usage
    tool_calls: tuple[ToolCall, ...]
    reasoning: str
    cost_usd: float | None
    raw: bytes
    """JSON of `Reply.raw`."""
    tape: bytes | None
    """JSON of its chunks, where it was a stream; see `Tape`."""
    size: int
    """Bytes it takes in memory, its share of the cache's own structures included."""
    warnings: tuple[str, ...] = ()
    extras: bytes = b""
    """JSON of `Reply.extras`; empty when there are none."""

    def chunks(self) -> Iterator[Chunk]:
        """The chunks of the stream it was; those of a stream it might have been, where it was none."""
        if self.tape is None:
            return self._made_up()
        return map(_chunk, orjson.loads(self.tape))

    def _made_up(self) -> Iterator[Chunk]:
        if self.reasoning:
            yield Chunk(reasoning=self.reasoning)
        if self.text:
            yield Chunk(self.text)
        for index, call in enumerate(self.tool_calls):
            yield Chunk(tool_calls=(ToolCallDelta(index, call.id or None, call.name, call.arguments),))
        yield Chunk(finish_reason=self.finish_reason, usage=None if self.usage.estimated else self.usage)


def answered(reply: Reply) -> bool:
    """Whether this is what a model of the route itself said, to the end, whether or not it may be served again."""
    return reply.complete and reply.level is Level.FULL and reply.cached is None


def keepable(reply: Reply, *, limited: bool) -> bool:
    """Whether an answer may be served again.

    Not a part, not one pieced together from two authors, none of a lower rung or of the cache itself, none that was
    filtered or refused, none with nothing in it, and none that a check of its route changed, sent back or could not
    look at: each may be better the next time.

    Args:
        reply: The answer.
        limited: The caller or the route set a limit on its length. An answer cut at that limit
            (``finish_reason = "length"``) is what the same request, whose limit is part of the key, gets again; one
            that was cut without any is not kept.
    """
    return (
        answered(reply)
        and not reply.refusal
        and not reply.seams
        and all(check.action == "allowed" for check in reply.checks if check.stage == "after")
        and (reply.finish_reason in _WHOLE or (limited and reply.finish_reason == "length"))
        and bool(reply.text or reply.tool_calls)
    )


def record(reply: Reply, tape: Tape | None = None) -> Recording | None:
    """Record an answer; None where its `raw` has no form in JSON."""
    try:
        raw = _fitted(orjson.dumps(reply.raw))
        extras = b"" if reply.extras is None else _fitted(orjson.dumps(reply.extras))
        reel = None if tape is None else _fitted(tape.dumps())
    except TypeError:
        return None
    size = OVERHEAD + sum(map(sys.getsizeof, (reply.text, reply.reasoning, reply.target, raw, extras)))
    size += 0 if reel is None else sys.getsizeof(reel)
    size += sum(80 + sum(map(sys.getsizeof, (call.id, call.name, call.arguments))) for call in reply.tool_calls)
    return Recording(
        reply.text, reply.finish_reason, sys.intern(reply.target), reply.usage, reply.tool_calls, reply.reasoning,
        reply.cost_usd, raw, reel, size, reply.warnings, extras,
    )  # fmt: skip


def _fitted(data: bytes) -> bytes:
    """A copy: orjson returns the buffer it wrote into, 64 kB long for a few bytes (measured with orjson 3.13)."""
    return bytes(memoryview(data))


# --- streams -----------------------------------------------------------------------------------

_TEXT_ONLY: Final = tuple(Chunk())[1:7]


class Tape:
    """Takes down the chunks of a stream as they are handed out.

    A chunk of plain text, which most are, becomes a string; any other a list of its fields.

    Args:
        raw: Keep each chunk's `raw` too, for requests that may have asked for what stands there alone.
    """

    __slots__ = ("_items", "_raw")

    def __init__(self, *, raw: bool) -> None:
        self._items: list[Any] = []
        self._raw = raw

    def add(self, chunk: Chunk) -> None:
        """Take one chunk down; what the caller does to it later changes nothing."""
        if not self._raw and chunk[1:7] == _TEXT_ONLY:
            self._items.append(chunk.text)
            return
        usage = chunk.usage
        self._items.append((
            chunk.text, chunk.reasoning, chunk.refusal,
            [(tool.index, tool.id, tool.name, tool.arguments) for tool in chunk.tool_calls],
            chunk.finish_reason, None if usage is None else _numbers(usage), chunk.index,
            orjson.Fragment(orjson.dumps(chunk.raw)) if self._raw else None,
        ))  # fmt: skip

    def dumps(self) -> bytes:
        """All of it, as `Recording.tape` keeps it."""
        return orjson.dumps(self._items)


def _numbers(usage: Usage) -> tuple[int | str | None, ...]:
    return (
        usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens, usage.reasoning_tokens, usage.estimated, usage.service_tier,
    )  # fmt: skip


def _chunk(item: Any) -> Chunk:
    if type(item) is str:
        return Chunk(item)
    text, reasoning, refusal, tools, finish, usage, index, raw = item
    deltas = tuple(ToolCallDelta(*tool) for tool in tools)
    return Chunk(text, reasoning, refusal, deltas, finish, None if usage is None else Usage(*usage), index, raw)


# --- whole answers -----------------------------------------------------------------------------


class CachedReply(Reply):
    """A reply whose `raw` is read from its JSON when somebody looks at it: most never do, and each has their own."""

    __slots__ = ("_raw",)
    _raw: Any

    @property
    def raw(self) -> Mapping[str, Any]:
        if type(self._raw) is bytes:
            object.__setattr__(self, "_raw", orjson.loads(self._raw))
        found: Mapping[str, Any] = self._raw
        return found

    @raw.setter
    def raw(self, given: Mapping[str, Any] | bytes) -> None:
        """Called by the constructor alone: the class is frozen."""
        object.__setattr__(self, "_raw", given)
