"""A transport that answers every request with the bytes it is given, and bytes that no provider should send."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson
from hypothesis import strategies as st
from multidict import CIMultiDict

from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.transport import Exchange, Response

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = {
    "id": "a", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "good day"}}],
}  # fmt: skip
STREAM = [
    {"id": "a", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "a", "model": "m", "choices": [{"index": 0, "delta": {"content": "good "}}]},
    {"id": "a", "model": "m", "choices": [{"index": 0, "delta": {"content": "day"}}]},
    {"id": "a", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "a", "model": "m", "choices": [], "usage": USAGE},
]


@dataclass
class Canned:
    """One response: its head, its body in pieces, and whether the connection ends before the body does."""

    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]
    cut: bool = False


@dataclass
class CannedTransport:
    """Plays one response again and again, and counts those that were not closed."""

    canned: Canned
    sent: int = 0
    open_responses: int = 0
    taken: int = 0
    """Bytes of bodies that were handed out."""

    async def send(self, request: HttpRequest, exchange: Exchange) -> Response:
        exchange.connecting()
        await asyncio.sleep(0)
        exchange.connected()
        self.sent += 1
        self.open_responses += 1
        return _Response(self, self.canned.status, CIMultiDict(self.canned.headers), iter(self.canned.pieces))

    async def aclose(self) -> None:
        """Nothing to close."""


@dataclass
class _Response:
    transport: CannedTransport
    status: int
    headers: Mapping[str, str]
    pieces: Iterable[bytes]
    closed: bool = field(default=False)

    async def read(self, limit: int) -> bytes:
        whole = b""
        while part := await self.read_some():
            whole += part
            if len(whole) > limit:
                raise TransportError(f"the answer is longer than {limit} bytes", ErrorClass.MALFORMED, answered=True)
        return whole

    async def read_some(self) -> bytes:
        await asyncio.sleep(0)
        for piece in self.pieces:
            if piece:
                self.transport.taken += len(piece)
                return piece
        if self.transport.canned.cut:
            raise TransportError("the connection ended", ErrorClass.TRUNCATED, answered=True)
        return b""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.transport.open_responses -= 1


# --- bytes -------------------------------------------------------------------------------------

NAMES = [
    "choices", "message", "delta", "content", "text", "index", "finish_reason", "tool_calls", "function", "name",
    "arguments", "id", "type", "refusal", "reasoning", "reasoning_content", "usage", "prompt_tokens",
    "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens", "error", "code", "status", "detail",
    "details", "metadata", "raw", "innererror", "retryDelay", "audio", "transcript", "model",
]  # fmt: skip
WORDS = ["", "stop", "length", "content_filter", "error", "rate_limit_exceeded", "context_length_exceeded", "429", "x"]

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(WORDS)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)


def _in_place(value: object, other: object, path: list[int]) -> object:
    """`value` with something inside it replaced; the path chooses which part."""
    if not path or not isinstance(value, dict | list) or not value:
        return other
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    chosen = keys[path[0] % len(keys)]
    changed = {**value} if isinstance(value, dict) else [*value]
    changed[chosen] = _in_place(value[chosen], other, path[1:])
    return changed


PATHS = st.lists(st.integers(0, 9), max_size=5)
ANSWERS = st.builds(_in_place, st.just(ANSWER), VALUES, PATHS)
EVENTS = st.builds(_in_place, st.sampled_from(STREAM), VALUES, PATHS)


@st.composite
def deep(draw: st.DrawFn) -> bytes:
    """JSON nested deeper than a careless reader can follow."""
    depth = draw(st.sampled_from([100, 300, 1000, 5000]))
    name = draw(st.sampled_from(NAMES))
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"%s":' % name.encode(), b"}")]))
    nested = opening * depth + b"1" + closing * depth
    around = draw(st.sampled_from(AROUND))
    return around.replace(b"%s", nested)


AROUND = [
    b"%s",
    b'{"error":%s}',
    b'{"error":{"message":%s,"code":%s,"type":%s}}',
    b'{"detail":[%s]}',
    b'{"id":%s,"choices":[{"index":0,"finish_reason":"stop","message":%s,"delta":%s}]}',
    b'{"choices":[{"index":0,"finish_reason":"stop","delta":{"refusal":%s},"message":{"content":"x","refusal":%s}}]}',
]
JSON = (VALUES | ANSWERS | EVENTS).map(orjson.dumps)


EVENT_LINES = st.builds(
    lambda field_name, data, end: field_name + data + end,
    st.sampled_from([b"data: ", b"data:", b"event: error\ndata: ", b": ", b"event: ", b""]),
    JSON | deep() | st.just(b"[DONE]") | st.binary(max_size=20),
    st.sampled_from([b"\n\n", b"\n\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b""]),
)
GOOD_STREAM = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in STREAM) + b"data: [DONE]\n\n"


def _spliced(body: bytes, at: int, length: int, put: bytes) -> bytes:
    at %= len(body) + 1
    return body[:at] + put + body[at + length :]


DAMAGED = st.builds(
    _spliced, st.sampled_from([orjson.dumps(ANSWER), GOOD_STREAM]), st.integers(0, 900), st.integers(0, 40),
    st.binary(max_size=12),
)  # fmt: skip
HTML = st.just(b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>...</body></html>")
FILLERS = st.sampled_from([b"x", b" ", b"[", b"data: 1\n\n", b":\n", b"\n", b"data: x"])
LARGE = st.builds(lambda filler, times: filler * times, FILLERS, st.integers(5_000, 20_000))
EVENT_STREAMS = st.lists(EVENT_LINES, max_size=6).map(b"".join)
BODIES = st.one_of(
    JSON, ANSWERS.map(orjson.dumps), EVENT_STREAMS, DAMAGED, deep(), st.binary(max_size=200), HTML, LARGE
)

ODD = st.sampled_from(["", "0", "-1", "1e999", "nan", "3", "0.3", "1m2s", "Tue, 99 Foo 2026", "\x00", "9" * 400, "é"])
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "retry-after", "retry-after-ms", "date", "x-ratelimit-limit-requests",
         "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-remaining-tokens",
         "x-ratelimit-reset-tokens", "content-encoding", "content-length"]
    ),
    ODD | st.sampled_from(["text/event-stream", "application/json", "text/html; charset=utf-8"]),
    max_size=4,
)  # fmt: skip
STATUSES = st.sampled_from([200] * 12 + [201, 204, 299]) | st.sampled_from(
    [304, 400, 401, 402, 403, 404, 408, 413, 422, 429, 451, 500, 502, 503, 504, 529, 599]
)


@st.composite
def responses(draw: st.DrawFn) -> Canned:
    """Any response at all."""
    body = draw(BODIES)
    cuts = sorted(at % (len(body) + 1) for at in draw(st.lists(st.integers(0, 500), max_size=4)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    return Canned(draw(STATUSES), draw(HEADERS), pieces, cut=draw(st.sampled_from([False] * 5 + [True])))
