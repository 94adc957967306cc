"""Connections of one network: a session of aiohttp, its hooks, its certificates and its proxy.

What aiohttp leaves unsaid is told to the exchange here: whether a request went out on a kept-alive connection
or a new one, and whether it had to wait for either. Meaning of exceptions: `resilio.transport.advice`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from resilio.config import NetworkSettings
from resilio.config.network import proxy_complaint
from resilio.errors import ErrorClass, TransportError
from resilio.transport import Exchange
from resilio.transport.certificates import Certificates

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

__all__ = ["Pool", "Target", "current"]

logger = logging.getLogger("resilio")

current: ContextVar[Exchange] = ContextVar("resilio_exchange")
"""The exchange of the running task: connectors are called without a word about the request's origin."""

Target = tuple[URL, URL | None, Mapping[str, str] | None]
"""A URL, its proxy, and the header that proxy wants."""

_FAMILIES: Final[Mapping[str, socket.AddressFamily]] = {
    "any": socket.AF_UNSPEC,
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
}


class _Hooks(aiohttp.BaseConnector):
    """Tells the exchange where its connection comes from: no aiohttp exception says it.

    A trace configuration would tell too, at several times the cost of each call.
    """

    def _get(self, key: ConnectionKey, traces: list[Trace]) -> Coroutine[Any, Any, Connection | None]:
        exchange = current.get()
        pooled = super()._get(key, traces)
        # Not `async`: the common case hands on the coroutine as it is and costs no further one.
        return self._told(exchange, pooled) if exchange.fresh or exchange.queued else pooled

    async def _told(self, exchange: Exchange, pooled: Coroutine[Any, Any, Connection | None]) -> Connection | None:
        if exchange.fresh:
            pooled.close()
            return None
        connection = await pooled
        if connection is not None:  # what it queued for
            exchange.reusing()
        return connection

    async def _wait_for_available_connection(self, key: ConnectionKey, traces: list[Trace]) -> None:
        current.get().queueing()
        with self._close_is_no_cancellation():
            await super()._wait_for_available_connection(key, traces)

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> ResponseHandler:
        exchange = current.get()
        exchange.connecting()
        with self._close_is_no_cancellation():
            protocol = await super()._create_connection(req, traces, timeout)
        exchange.connected()
        return protocol

    @contextmanager
    def _close_is_no_cancellation(self) -> Iterator[None]:
        """To those who wait for a connection, aiohttp's closing looks like their own task being cancelled."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.closed or task is None or task.cancelling():
                raise
            raise aiohttp.ClientConnectionError("the transport was closed") from None

    async def close_in_use(self) -> None:
        """End the connections in use, so that those who read from them are told.

        Closing the connector alone would leave whoever reads a body waiting for ever: it forgets the body
        before it ends the connection.
        """
        for protocol in list(self._acquired):
            if protocol.transport is not None:
                protocol.transport.abort()
        await asyncio.sleep(0)  # a turn of the loop, in which the ends are noticed


class _TcpConnector(_Hooks, aiohttp.TCPConnector):
    pass


class _UnixConnector(_Hooks, aiohttp.UnixConnector):
    pass


class Pool:
    """All connections made with equal settings. Needs a running loop, and is closed on it.

    Args:
        network: The settings.
        provider: Who opens it, for the log.
        resolver: Looks names up in place of this machine's resolver; not closed here.

    Attributes:
        targets: URLs asked so far, parsed, each with its proxy.

    Raises:
        TransportError: A certificate that was there when the configuration was checked is no longer.
    """

    __slots__ = ("_certificates", "_connector", "_loop", "network", "session", "targets")

    def __init__(self, network: NetworkSettings, provider: str, resolver: AbstractResolver | None = None) -> None:
        self.network = network
        self.targets: dict[str, Target] = {}
        self._loop = asyncio.get_running_loop()
        own = not network.verify or network.ca_file is not None or network.client_cert is not None
        self._certificates = Certificates(network, self._loop.time()) if own else None
        if not network.verify:
            logger.warning(
                "TLS certificates of provider %r are NOT verified (network.verify = false): anybody on the way can"
                " read its keys and answers, and change them; set network.ca_file to its CA instead",
                provider,
            )
        self._connector = _connector(network, resolver)
        self.session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            # No Accept-Encoding: unpacking a few kilobytes costs more than sending them.
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        )

    @property
    def tls(self) -> ssl.SSLContext | bool:
        """What aiohttp takes as `ssl`; True: its own context, with this machine's CAs."""
        certificates = self._certificates
        return True if certificates is None else certificates.fresh(self._loop.time())

    async def aclose(self) -> None:
        """Close every connection; requests under way end in an error."""
        await self._connector.close_in_use()
        await self.session.close()

    def target(self, url: str) -> Target:
        """Parse a URL not asked before and find the proxy for it.

        Raises:
            TransportError: It is none, or the environment names a proxy that will not do.
        """
        try:
            parsed = URL(url, encoded=True)
        except ValueError as exc:
            raise TransportError(f"{url!r} is not a URL: check base_url", ErrorClass.CONNECT) from exc
        proxy = self.network.proxy
        found = _from_environment(parsed) if proxy == "environment" else proxy
        # Never thrown away: a model is one URL, and a configuration has a handful.
        made = self.targets[url] = parsed, *_proxy(found)
        return made


def _connector(network: NetworkSettings, resolver: AbstractResolver | None) -> _Hooks:
    shared: dict[str, Any] = {"limit": network.max_connections or 0}
    if network.keepalive_timeout:
        shared["keepalive_timeout"] = network.keepalive_timeout
    else:
        shared["force_close"] = True
    if network.unix_socket is not None:
        return _UnixConnector(network.unix_socket, **shared)
    if network.dns_ttl:
        shared["ttl_dns_cache"] = network.dns_ttl
    else:
        shared["use_dns_cache"] = False
    return _TcpConnector(family=_FAMILIES[network.family], resolver=resolver, **shared)


def _proxy(url: str | None) -> tuple[URL | None, Mapping[str, str] | None]:
    if url is None:
        return None, None
    proxy = URL(url)
    if proxy.user is None and proxy.password is None:
        return proxy, None
    # Taken out of the URL, which aiohttp's exceptions, and so tracebacks, show.
    basic = aiohttp.encode_basic_auth(proxy.user or "", proxy.password or "", "utf-8")
    return proxy.with_user(None), {"Proxy-Authorization": basic}


def _from_environment(url: URL) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a URL.

    Read here and not by aiohttp's `trust_env`, which also reads ~/.netrc, in a thread, at every request.
    """
    proxy = getproxies_environment().get(url.scheme)
    if not proxy or any(proxy_bypass(name) for name in (url.host or "", url.authority)):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    complaint = proxy_complaint(proxy)
    if complaint is not None:
        name = f"{url.scheme.upper()}_PROXY"
        raise TransportError(f"cannot connect: environment variable {name} {complaint}", ErrorClass.CONNECT)
    return proxy
