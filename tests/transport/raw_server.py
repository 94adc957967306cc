"""Servers that play bytes, well formed or not, and note what clients do to them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager

from aiohttp.abc import AbstractResolver

from resilio.config import NetworkSettings
from resilio.errors import TransportError
from resilio.models import HttpRequest
from resilio.transport import DIRECT, Exchange
from resilio.transport.http import AiohttpTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LINGER = struct.pack("ii", 1, 0)

Play = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One connection as the server sees it."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer

    async def request(self) -> bytes | None:
        """Head and body of the next request; None when the client has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        length = next((line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b"0")
        whole = head + await self.reader.readexactly(int(length))
        self.server.requests.append(whole)
        return whole

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def closed_by_client(self) -> None:
        """Wait until the client has hung up, however."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.writer.transport.abort()


class RawServer:
    """Runs `play` for each connection; the connection ends when it returns."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.connections = 0
        self.open = 0
        self.requests: list[bytes] = []
        self.hung_up = asyncio.Event()
        """Set whenever a connection has ended."""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self.play(Connection(self, reader, writer))
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.open -= 1
            self.hung_up.set()

    async def until_closed(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self.hung_up.clear()
            await self.hung_up.wait()


@asynccontextmanager
async def raw_server(
    play: Play, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, path: str | None = None
):
    server = RawServer(play)
    if path is not None:
        listening = await asyncio.start_unix_server(server.serve, path)
        server.url = "http://models.test/v1"
    else:
        listening = await asyncio.start_server(server.serve, host, 0, ssl=tls)
        port = listening.sockets[0].getsockname()[1]
        literal = f"[{host}]" if ":" in host else host
        server.url = f"{'https' if tls else 'http'}://{literal}:{port}/v1"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


@contextmanager
def refusing():
    """The URL of a port that is taken, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def answering(data: bytes = OK) -> Play:
    """Answer every request with the same bytes, for as long as the client keeps the connection."""

    async def play(connection: Connection) -> None:
        while await connection.request() is not None:
            await connection.send(data)

    return play


def once(data: bytes) -> Play:
    """Answer one request and hang up."""

    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)

    return play


async def settled() -> None:
    """Let everything happen that needs no further cause: virtual time moves only when nothing else can."""
    await asyncio.sleep(1)


async def hold(connection: Connection) -> None:
    """Read a request and never answer."""
    await connection.request()
    await connection.closed_by_client()


@asynccontextmanager
async def transport(resolver: AbstractResolver | None = None):
    made = AiohttpTransport(resolver=resolver)
    try:
        yield made
    finally:
        await made.aclose()


async def ask(
    transport: AiohttpTransport,
    url: str,
    *,
    network: NetworkSettings = DIRECT,
    limit: int = 1 << 20,
    exchange: Exchange | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    """The body of a whole answer."""
    exchange = exchange if exchange is not None else Exchange(network=network, provider="test")
    response = await transport.send(HttpRequest(url, headers or {}, b'{"model": "m"}'), exchange)
    try:
        return await response.read(limit)
    finally:
        response.close()


async def failure(transport: AiohttpTransport, url: str, **options) -> TransportError:
    """The error a request ends in."""
    try:
        body = await ask(transport, url, **options)
    except TransportError as exc:
        return exc
    raise AssertionError(f"answered {body!r}")


class Names(AbstractResolver):
    """A resolver for tests: names to addresses, and a count of what was asked."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", "."): address for name, address in names.items()}
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET):
        self.asked.append((host, family))
        if host not in self.names:
            raise OSError(None, f"no such name: {host}")
        address = self.names[host]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [{"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


class Proxy:
    """A forward proxy: CONNECT for https, the absolute form for http. `play` is for `raw_server`.

    Args:
        credentials: What the Proxy-Authorization header has to say; else 407.
        status: Answer every CONNECT with this instead.
    """

    def __init__(self, *, credentials: bytes = b"", status: bytes = b"") -> None:
        self.credentials, self.status = credentials, status
        self.asked: list[bytes] = []
        """First lines of requests."""

    async def play(self, connection: Connection) -> None:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n")[0]
        self.asked.append(line)
        if self.credentials and b"Proxy-Authorization: " + self.credentials + b"\r\n" not in head:
            await connection.send(
                b'HTTP/1.1 407 Nope\r\nProxy-Authenticate: Basic realm="p"\r\nContent-Length: 0\r\n\r\n'
            )
            return
        method, target, _ = line.split(b" ")
        if method == b"CONNECT" and self.status:
            await connection.send(b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 0\r\n\r\n")
            return
        authority = target if method == b"CONNECT" else target.split(b"/")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(b":")[2]))
        if method == b"CONNECT":
            await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            writer.write(head)
        await asyncio.gather(_pump(connection.reader, writer), _pump(reader, connection.writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
