"""Simulated providers behind a real socket: HTTP as it is on the wire, connection faults included.

For clients that are not ours: SDKs, other gateways, our own transport. Everything runs in the caller's loop
and is reached by IP literal, so it works on virtual time. It adds nothing to what the provider decides.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import orjson
from aiohttp import web

from resilio.testing.provider import SimulatedProvider
from resilio.testing.reaction import Ending, Outcome, Reaction

__all__ = ["SimulatedServer", "serve"]

# SO_LINGER on, with no time to linger: closing sends RST instead of FIN.
_LINGER: Final = struct.pack("ii", 1, 0)


class SimulatedServer:
    """Serves simulated providers; open it with ``async with``.

    Args:
        providers: One provider, or several by name. A single one is at ``/v1``, the others at ``/<name>/v1``.
        host: An IP literal to listen on.
        port: 0: a free one.

    Attributes:
        reset_unread: Names of providers (a single one is called "") whose requests are reset with their body
            unread from now on; they do not reach the log.
    """

    def __init__(
        self,
        providers: SimulatedProvider | Mapping[str, SimulatedProvider],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.providers = {"": providers} if isinstance(providers, SimulatedProvider) else dict(providers)
        self.reset_unread: set[str] = set()
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._answering: set[asyncio.Task[Any]] = set()
        self._served: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._closing = False

    @property
    def urls(self) -> dict[str, str]:
        """Base URL of each provider, up to and including /v1."""
        root = f"http://{self._host}:{self._port}"
        return {name: f"{root}/{name}/v1" if name else f"{root}/v1" for name in self.providers}

    @property
    def url(self) -> str:
        """Base URL of the only provider."""
        (url,) = self.urls.values()
        return url

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client that hangs up cancels its handler: that is how it is noticed at once.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for task in self._answering:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        name = "" if "" in self.providers else request.path.split("/")[1]
        provider = self.providers.get(name)
        if provider is None:
            raise web.HTTPNotFound(text=f"no simulated provider {name!r}; there are {', '.join(self.providers)}")
        if request.path.endswith("/log") and request.method == "GET":
            return web.Response(body=_log(provider), content_type="application/json")
        if name in self.reset_unread:
            _reset(request)
            return web.Response()
        assert request.transport is not None
        fresh = request.transport not in self._served
        self._served.add(request.transport)
        body = await request.read()
        seen, reaction = provider.react(request.method, request.path_qs, request.headers, body, fresh=fresh)
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            response = await self._play(request, reaction)
        except (asyncio.CancelledError, ConnectionError):
            provider.settle(seen, Outcome.BROKEN if self._closing else Outcome.CLIENT_GONE)
            raise
        finally:
            self._answering.discard(task)
            provider.settle(seen, None if reaction.ending is Ending.CLEAN else Outcome.BROKEN)
        return response

    async def _play(self, request: web.Request, reaction: Reaction) -> web.StreamResponse:
        """Do as the reaction says; returns only where the connection may go on."""
        response = web.StreamResponse(status=reaction.status or 200, headers=reaction.headers)
        if reaction.head_delay:
            await asyncio.sleep(reaction.head_delay)
        if reaction.status is not None:
            whole = sum(len(data) for _, data in reaction.pieces)
            if reaction.stream:
                response.enable_chunked_encoding()
            else:
                # A body that is cut was announced longer than it turns out to be.
                response.content_length = whole if reaction.ending is Ending.CLEAN else whole + 1
            await response.prepare(request)
            for delay, data in reaction.pieces:
                if delay:
                    await asyncio.sleep(delay)
                await response.write(data)
        if reaction.ending is Ending.NEVER:
            await asyncio.get_running_loop().create_future()
        if reaction.ending is Ending.RESET:
            _reset(request)
        elif reaction.ending is Ending.CUT:
            _cut(request)
        else:
            await response.write_eof()
        return response


def _reset(request: web.Request) -> None:
    """End the connection with RST: what was not read yet, and what is under way, is lost."""
    if (transport := request.transport) is not None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        transport.abort()


def _cut(request: web.Request) -> None:
    """End the connection with FIN, after what was written."""
    if (transport := request.transport) is not None:
        transport.close()


def _log(provider: SimulatedProvider) -> bytes:
    """The log for another process to read, without what is secret or long."""
    return orjson.dumps(
        [
            {
                "at": seen.at,
                "ended_at": seen.ended_at,
                "path": seen.path,
                "model": seen.model,
                "stream": seen.stream,
                "faults": [type(fault).__name__ for fault in seen.faults],
                "status": seen.status,
                "outcome": seen.outcome,
            }
            for seen in provider.log
        ]
    )


async def serve(
    providers: SimulatedProvider | Mapping[str, SimulatedProvider],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[SimulatedServer], None] = lambda server: None,
) -> None:
    """Serve until cancelled.

    Args:
        providers: As for `SimulatedServer`.
        host: An IP literal to listen on.
        port: 0: a free one.
        ready: Called once the URLs are known.
    """
    async with SimulatedServer(providers, host=host, port=port) as server:
        ready(server)
        await asyncio.get_running_loop().create_future()
