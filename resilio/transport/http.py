"""The transport on aiohttp: one session, connections kept alive, exceptions translated."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.transport import Exchange, Response

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

__all__ = ["AiohttpTransport"]


_exchange: ContextVar[Exchange] = ContextVar("resilio_exchange")


class _Connector(aiohttp.TCPConnector):
    """Tells the exchange when a new connection has to be opened: no aiohttp exception says whether one was.

    A trace configuration would tell too, at several times the cost of each call.
    """

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> ResponseHandler:
        exchange = _exchange.get()
        exchange.connecting()
        protocol = await super()._create_connection(req, traces, timeout)
        exchange.connected()
        return protocol


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
            raise _too_large(limit, f"it announces {length} bytes")
        try:
            if length is not None and "Content-Encoding" not in reply.headers:
                return await reply.read()
            # Neither an absent length nor a compressed one bounds what arrives, so count it.
            parts = bytearray()
            while part := await reply.content.readany():
                parts += part
                if len(parts) > limit:
                    raise _too_large(limit, f"{len(parts)} bytes and more have come")
            return bytes(parts)
        except (aiohttp.ClientError, OSError) as exc:
            raise _cut(exc) from exc

    async def read_some(self) -> bytes:
        try:
            return await self._reply.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise _cut(exc) from exc

    def close(self) -> None:
        self._reply.close()


def _too_large(limit: int, what: str) -> TransportError:
    return TransportError(
        f"the answer is longer than max_body_bytes = {limit}: {what}", ErrorClass.MALFORMED, answered=True
    )


def _cut(exc: BaseException) -> TransportError:
    if isinstance(exc, aiohttp.ClientPayloadError) and "encoding" in str(exc).lower() and "length" not in str(exc):
        return TransportError(f"the answer cannot be decompressed: {exc}", ErrorClass.MALFORMED, answered=True)
    return TransportError(
        f"the connection ended before the answer was whole ({_name(exc)})",
        ErrorClass.TRUNCATED,
        answered=True,
    )


def _name(exc: BaseException) -> str:
    text = str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _translate(exc: BaseException, url: str, exchange: Exchange) -> TransportError:
    """The one place where aiohttp's exceptions become ours."""
    host = URL(url).authority
    if isinstance(exc, aiohttp.InvalidURL):
        return TransportError(f"{url!r} is not a URL: check base_url", ErrorClass.CONNECT)
    if not exchange.sent:
        return TransportError(f"cannot connect to {host} ({_name(exc)}): {_advice(exc)}", ErrorClass.CONNECT)
    if isinstance(exc, aiohttp.ClientResponseError | ValueError):
        return TransportError(f"{host} did not answer in HTTP ({_name(exc)})", ErrorClass.MALFORMED, answered=True)
    kind = "a kept-alive" if exchange.reused else "the"
    return TransportError(
        f"{host} closed {kind} connection before answering ({_name(exc)})",
        ErrorClass.DISCONNECTED,
        reused=exchange.reused,
    )


def _advice(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "the name does not resolve; check the host in base_url and this machine's DNS"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "TLS failed; check https or http in base_url, the certificate and this machine's CA store"
    return "nothing accepts connections there; check host and port in base_url, and that the server runs"


class AiohttpTransport:
    """One aiohttp session for all providers.

    Connections are not limited here: each provider's own concurrency limit is, and a pool that
    queues in silence would make clocks lie. Opened at the first request, on the running loop.
    """

    def __init__(self, *, keepalive: float = 15.0, dns_ttl: int = 60) -> None:
        """Prepare; nothing is opened yet.

        Args:
            keepalive: Seconds an idle connection is kept for reuse.
            dns_ttl: Seconds a resolved name is remembered.
        """
        self._keepalive, self._dns_ttl = keepalive, dns_ttl
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        """For replays that must not meet another dead connection of the pool: it keeps none alive."""
        self._urls: dict[str, URL] = {}

    def _open(self, *, fresh: bool) -> aiohttp.ClientSession:
        keepalive: dict[str, Any] = {"force_close": True} if fresh else {"keepalive_timeout": self._keepalive}
        return aiohttp.ClientSession(
            connector=_Connector(limit=0, ttl_dns_cache=self._dns_ttl, **keepalive),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            # No Accept-Encoding: unpacking a few kilobytes costs more than sending them.
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
        )

    def _session_for(self, exchange: Exchange) -> aiohttp.ClientSession:
        if exchange.fresh:
            if self._fresh is None:
                self._fresh = self._open(fresh=True)
            return self._fresh
        if self._session is None:
            self._session = self._open(fresh=False)
        return self._session

    async def send(self, request: HttpRequest, exchange: Exchange) -> Response:
        """See `Transport.send`."""
        session = self._session_for(exchange)
        url = self._urls.get(request.url)
        if url is None:
            url = self._urls[request.url] = _parse(request.url)
        exchange.reusing()  # until a new connection proves to be needed
        _exchange.set(exchange)
        try:
            reply = await session.request(
                request.method, url, data=request.body, headers=request.headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _translate(exc, request.url, exchange) from exc
        return _AiohttpResponse(reply)

    async def aclose(self) -> None:
        """Close every connection; harmless when none was opened."""
        sessions = [session for session in (self._session, self._fresh) if session is not None]
        self._session = self._fresh = None
        for session in sessions:
            await session.close()


def _parse(url: str) -> URL:
    try:
        return URL(url, encoded=True)
    except ValueError as exc:
        raise TransportError(f"{url!r} is not a URL: check base_url", ErrorClass.CONNECT) from exc
