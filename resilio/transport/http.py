"""The transport on aiohttp: a pool of connections per network, kept alive, exceptions translated.

Left out: how connections are made (`resilio.transport.pool`) and what an exception means
(`resilio.transport.advice`). The rule that keeps it simple: whatever aiohttp raises leaves here translated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.transport import Exchange, Response
from resilio.transport.advice import cut, forget_headers, no_proxy_credentials, redirected, too_large, translate
from resilio.transport.pool import Pool, current

__all__ = ["AiohttpTransport"]

_REFUSED: Final = frozenset((301, 302, 303, 307, 308, 407))
"""Statuses that no provider's answer has: redirects, and a proxy that wants credentials."""


class _AiohttpResponse:
    """A response of aiohttp, with its exceptions translated."""

    __slots__ = ("_reply", "headers", "status")

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply
        self.status = reply.status
        self.headers: Mapping[str, str] = reply.headers

    async def read(self, limit: int) -> bytes:
        reply = self._reply
        length = reply.content_length
        if length is not None and length > limit:
            raise too_large(limit, f"it announces {length} bytes")
        try:
            if length is not None and "Content-Encoding" not in reply.headers:
                return await reply.read()
            # Neither an absent length nor a compressed one bounds what arrives, so count it.
            parts = bytearray()
            while part := await reply.content.readany():
                parts += part
                if len(parts) > limit:
                    raise too_large(limit, f"{len(parts)} bytes and more have come")
            return bytes(parts)
        except (aiohttp.ClientError, OSError) as exc:
            forget_headers(exc)
            raise cut(exc) from exc

    async def read_some(self) -> bytes:
        try:
            return await self._reply.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            forget_headers(exc)
            raise cut(exc) from exc

    def close(self) -> None:
        self._reply.close()


class AiohttpTransport:
    """Sends to all providers; those with equal network settings share connections.

    Connections are limited only where `max_connections` says so: each provider's own concurrency limit is
    there already, and a pool that queues in silence would make clocks lie. Waiting for a connection counts as
    connecting. Pools are opened by their first request, on the running loop.

    Args:
        resolver: Looks names up in place of this machine's resolver; it is the caller's to close.
    """

    def __init__(self, *, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver
        self._pools: dict[object, Pool] = {}
        """By settings; where connections are limited, by settings and provider."""
        self._of_provider: dict[str, tuple[object, Pool]] = {}
        """The settings object a provider last came with, and its pool: found without comparing settings."""
        self._closed = False

    def _pool(self, exchange: Exchange) -> Pool:
        """The pool of an exchange whose provider, or whose settings, were not met before."""
        if self._closed:
            raise TransportError("cannot connect: the transport is closed", ErrorClass.CONNECT)
        network, provider = exchange.network, exchange.provider
        # A limit is one provider's own: whom it shares settings with must not use it up.
        key: object = network if network.max_connections is None else (network, provider)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(network, provider, self._resolver)
        self._of_provider[provider] = network, pool
        return pool

    async def send(self, request: HttpRequest, exchange: Exchange) -> Response:
        """See `Transport.send`."""
        known = self._of_provider.get(exchange.provider)
        pool = known[1] if known is not None and known[0] is exchange.network else self._pool(exchange)
        url, proxy, credentials = pool.targets.get(request.url) or pool.target(request.url)
        headers = request.headers
        if credentials is not None and url.scheme == "http":  # no tunnel: the request itself is the proxy's
            headers = {**headers, **credentials}
        exchange.reusing()  # until a new connection proves to be needed
        current.set(exchange)
        try:
            reply = await pool.session.request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                proxy=proxy,
                proxy_headers=credentials,
                ssl=pool.tls,
            )
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            forget_headers(exc)
            raise translate(exc, url, proxy, exchange, pool.network) from exc
        if reply.status in _REFUSED:
            reply.close()
            if reply.status == 407:
                raise no_proxy_credentials(url, proxy, pool.network)
            raise redirected(reply.status, url, reply.headers.get("Location", ""))
        return _AiohttpResponse(reply)

    async def aclose(self) -> None:
        """Close every connection, those in use too; harmless when none was opened. Nothing is sent after it."""
        self._closed = True
        pools, self._pools = list(self._pools.values()), {}
        self._of_provider.clear()
        for pool in pools:
            await pool.aclose()
