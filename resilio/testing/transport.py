"""Simulated providers in process: the `Transport` protocol without a socket.

Latencies are `asyncio.sleep`, so virtual time makes them free. What a real connection would show is shown:
kept-alive connections are reused, a client that hangs up is noticed, a server goes on writing while the
reader dawdles. Left out is what only bytes on a wire can prove (parsing HTTP): `SimulatedServer` has that.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlsplit

from multidict import CIMultiDict

from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.testing.provider import SimulatedProvider
from resilio.testing.reaction import Connect, Ending, Outcome, Reaction, SeenRequest
from resilio.transport import Exchange, Response

__all__ = ["ScriptedTransport"]


class ScriptedTransport:
    """Sends requests to simulated providers, found by the beginning of the URL.

    Args:
        providers: By base URL, as a configuration has it: ``{"http://a.test/v1": provider}``.
        shatter: Hand out bytes in pieces of random size instead of one frame at a time.
        seed: For the sizes.

    Attributes:
        refuse_connections: Base URLs whose connections are refused from now on; change it at will.
        open_responses: Responses not yet closed: a leak, if it stays above zero.
    """

    def __init__(self, providers: Mapping[str, SimulatedProvider], *, shatter: bool = False, seed: int = 0) -> None:
        # Longest first, so that of two bases where one begins the other the more precise one is found.
        self._bases = sorted(
            ((base.rstrip("/"), provider) for base, provider in providers.items()), key=lambda item: -len(item[0])
        )
        self._routes: dict[str, tuple[str, str, SimulatedProvider]] = {}
        self._rng = random.Random(seed) if shatter else None
        self._idle: dict[str, int] = {}
        self.refuse_connections: set[str] = set()
        self.open_responses = 0

    async def send(self, request: HttpRequest, exchange: Exchange) -> Response:
        """See `Transport.send`."""
        base, path, provider = self._routes.get(request.url) or self._find(request.url)
        await asyncio.sleep(0)  # a connection takes a turn of the loop, and can be cancelled
        if base in self.refuse_connections:
            exchange.connecting()
            raise _refused(base)
        seen, reaction = provider.react(request.method, path, request.headers, request.body, fresh=exchange.fresh)
        try:
            await self._connect(base, reaction, exchange)
            if reaction.head_delay > 0:
                await asyncio.sleep(reaction.head_delay)
            if reaction.status is None:
                await self._no_head(base, reaction.ending, exchange)
        except TransportError:
            unconnected = reaction.connect in (Connect.REFUSED, Connect.HANGS)
            provider.settle(seen, Outcome.NOT_CONNECTED if unconnected else Outcome.BROKEN)
            raise
        except BaseException:
            unconnected = reaction.connect is Connect.HANGS
            provider.settle(seen, Outcome.NOT_CONNECTED if unconnected else Outcome.CLIENT_GONE)
            raise
        return _ScriptedResponse(self, base, provider, seen, reaction, self._rng)

    async def aclose(self) -> None:
        """Forget the idle connections."""
        self._idle.clear()

    def release(self, base: str) -> None:
        """Keep a connection that served its request to the end."""
        self._idle[base] = self._idle.get(base, 0) + 1

    def _find(self, url: str) -> tuple[str, str, SimulatedProvider]:
        for base, provider in self._bases:
            if url.startswith(base) and url[len(base) : len(base) + 1] in ("", "/", "?"):
                parts = urlsplit(url)
                found = (base, f"{parts.path}?{parts.query}" if parts.query else parts.path, provider)
                self._routes[url] = found
                return found
        raise TransportError(f"no simulated provider at {url!r}", ErrorClass.CONNECT)

    async def _connect(self, base: str, reaction: Reaction, exchange: Exchange) -> None:
        idle = self._idle.get(base, 0)
        refused, hangs = reaction.connect is Connect.REFUSED, reaction.connect is Connect.HANGS
        if reaction.connect is Connect.STALE or (idle and not (exchange.fresh or refused or hangs)):
            self._idle[base] = max(0, idle - 1)
            exchange.reusing()
            return
        exchange.connecting()
        if refused:
            raise _refused(base)
        if hangs:
            await _for_ever()
        exchange.connected()

    async def _no_head(self, base: str, ending: Ending, exchange: Exchange) -> NoReturn:
        await asyncio.sleep(0)
        if ending is Ending.NEVER:
            await _for_ever()
        what = "was reset" if ending is Ending.RESET else "was closed"
        raise TransportError(
            f"the connection to {base} {what} before an answer", ErrorClass.DISCONNECTED, reused=exchange.reused
        )


class _ScriptedResponse:
    """Plays a reaction's body on its own schedule, however slowly it is read."""

    __slots__ = (
        "_base", "_buffer", "_closed", "_due", "_ended", "_next", "_provider", "_reaction", "_rng", "_seen",
        "_transport", "headers", "status",
    )  # fmt: skip

    def __init__(
        self,
        transport: ScriptedTransport,
        base: str,
        provider: SimulatedProvider,
        seen: SeenRequest,
        reaction: Reaction,
        rng: random.Random | None,
    ) -> None:
        assert reaction.status is not None
        self.status = reaction.status
        self.headers: Mapping[str, str] = CIMultiDict(reaction.headers)
        self._transport, self._base, self._provider = transport, base, provider
        self._seen, self._reaction, self._rng = seen, reaction, rng
        self._next = 0
        self._due = asyncio.get_running_loop().time()
        self._buffer = bytearray()
        self._ended = self._closed = False
        transport.open_responses += 1

    async def read(self, limit: int) -> bytes:
        whole = bytearray()
        while part := await self.read_some():
            whole += part
            if len(whole) > limit:
                self.close()
                raise TransportError(f"the answer is longer than {limit} bytes", ErrorClass.MALFORMED, answered=True)
        return bytes(whole)

    async def read_some(self) -> bytes:
        if self._closed:
            raise TransportError("the response was closed", ErrorClass.TRUNCATED, answered=True)
        return await (self._frame() if self._rng is None else self._shard(self._rng))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._transport.open_responses -= 1
        if self._ended:
            return
        rest = sum(delay for delay, _ in self._reaction.pieces[self._next :])
        all_sent = self._due + rest <= asyncio.get_running_loop().time()
        if self._reaction.ending is Ending.CLEAN and all_sent:
            self._provider.settle(self._seen)
            if self._next == len(self._reaction.pieces) and not self._buffer:
                self._transport.release(self._base)
        else:
            self._provider.settle(self._seen, Outcome.CLIENT_GONE)

    async def _frame(self) -> bytes:
        """The next piece, when it is due."""
        pieces = self._reaction.pieces
        if self._next == len(pieces):
            return await self._end()
        delay, data = pieces[self._next]
        wait = self._due + delay - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0, wait))
        self._due += delay
        self._next += 1
        return data or await self._frame()

    async def _shard(self, rng: random.Random) -> bytes:
        """Everything due by now, cut somewhere."""
        if not self._buffer:
            if not (first := await self._frame()):
                return first
            self._buffer += first
        else:
            await asyncio.sleep(0)
        pieces, now = self._reaction.pieces, asyncio.get_running_loop().time()
        while self._next < len(pieces) and self._due + pieces[self._next][0] <= now:
            self._due += pieces[self._next][0]
            self._buffer += pieces[self._next][1]
            self._next += 1
        size = min(len(self._buffer), rng.choice((1, 3, 17, 200, 1460, 65_536)))
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _end(self) -> bytes:
        ending = self._reaction.ending
        if ending is Ending.NEVER:
            await _for_ever()
        if not self._ended:
            self._ended = True
            self._provider.settle(self._seen, None if ending is Ending.CLEAN else Outcome.BROKEN)
            if ending is Ending.CLEAN:
                self._transport.release(self._base)
        if ending is not Ending.CLEAN:
            raise TransportError(
                "the connection ended before the answer was whole", ErrorClass.TRUNCATED, answered=True
            )
        return b""


def _refused(base: str) -> TransportError:
    return TransportError(f"cannot connect to {base}: connection refused", ErrorClass.CONNECT)


async def _for_ever() -> NoReturn:
    """Wait for nothing, on a future of this loop: only cancellation ends it."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves this future")
