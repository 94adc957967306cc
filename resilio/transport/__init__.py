"""Bytes out, bytes in, no meaning: the seam between dispatch and the network.

`resilio.transport.http` has the real one, on aiohttp (apart, because importing aiohttp costs more than all
the rest of resilio); `resilio.testing` has one that needs no sockets. Whatever a transport raises is a
`TransportError`. No clock runs in it: the caller's scope bounds the whole exchange, and
`Exchange.on_connected` tells it when to change clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from resilio.config import NetworkSettings
from resilio.models import HttpRequest

__all__ = ["DIRECT", "Exchange", "Response", "Transport"]

DIRECT: Final = NetworkSettings()
"""No proxy, this machine's CAs, no limit."""


@dataclass(slots=True)
class Exchange:
    """What the two sides of one HTTP exchange tell each other while it runs.

    The caller may set the callbacks, `fresh`, and whose connection it is. The transport calls `reusing`, or
    `connecting` and then `connected`, before it sends; `queueing` comes before either where a limit is reached.
    """

    on_connecting: Callable[[], None] | None = None
    """No idle connection is at hand and one is waited for or opened: the connect clock runs from here."""
    on_connected: Callable[[], None] | None = None
    """A new connection is open: the connect clock stops. Neither is called for a reused connection."""
    fresh: bool = False
    """A kept-alive connection will not do: open a new one."""
    sent: bool = False
    """A connection is in hand: from here on the provider may have seen the request."""
    reused: bool = False
    """That connection had served another request before."""
    network: NetworkSettings = DIRECT
    """How to connect. One object for all exchanges of a provider: transports compare it by identity first."""
    provider: str = ""
    """Name of the provider: connections are limited for each, and messages name it."""
    queued: bool = False
    """All `max_connections` are in use and one must come free."""

    def reusing(self) -> None:
        """Say that a kept-alive connection is taken (for transports)."""
        if self.queued:  # the one waited for: the connect clock has been running and stops
            self.connected()
        self.sent = self.reused = True

    def queueing(self) -> None:
        """Say that a connection has to come free first (for transports)."""
        self.connecting()
        self.queued = True

    def connecting(self) -> None:
        """Say that a new connection is being opened (for transports)."""
        self.sent = self.reused = False
        if self.queued:  # its turn has come, on the clock that runs already
            self.queued = False
        elif self.on_connecting is not None:
            self.on_connecting()

    def connected(self) -> None:
        """Say that the new connection is open and the request is about to be sent (for transports)."""
        self.sent, self.queued = True, False
        if self.on_connected is not None:
            self.on_connected()


class Response(Protocol):
    """A response whose head has arrived. Close it on every exit; closing twice is harmless."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            TransportError: `truncated` when the connection ended early, `malformed` past `limit` bytes.
        """
        ...

    async def read_some(self) -> bytes:
        """Whatever arrives next, b"" at a clean end; a cut raises `TransportError` (truncated)."""
        ...

    def close(self) -> None:
        """Release the connection: kept alive if the body was read to its end, closed otherwise."""
        ...


class Transport(Protocol):
    """Sends requests to one or more providers."""

    async def send(self, request: HttpRequest, exchange: Exchange) -> Response:
        """Send and wait for the response's head.

        Raises:
            TransportError: `connect` when the request cannot have been processed; `disconnected` when the
                connection ended before a response head (`reused` tells whether it was a kept-alive one);
                `malformed` when what came back is not HTTP.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
