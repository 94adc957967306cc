"""The control socket: a Unix socket only its owner can open, one line in and one line out on each connection.

Lines, answers, connections and time are bounded, and what a peer does wrong ends its connection and nothing
else. A socket another process serves is never taken away from it; one that nobody serves is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from typing import Final

import orjson

from resilio.control.commands import Controlled, answer
from resilio.errors import ControlError

__all__ = ["MAX_LINE", "ControlServer"]

MAX_LINE: Final = 64 * 1024
"""Bytes of a command: hundreds of times of what any needs."""
MAX_CONNECTIONS: Final = 16
"""At one time; one more is told so and hung up on."""
TIMEOUT: Final = 10.0
"""Seconds for a whole exchange."""
_SHORTLY: Final = 0.2
"""Seconds a connection over that number may take to say what it wanted."""
_BACKLOG: Final = 32
_TURNS: Final = 40
_TURN: Final = 0.05
"""Seconds; so often and so long another process that makes its socket in the same folder is waited for."""


class ControlServer:
    """Answers commands for an engine.

    Args:
        path: Of the socket; its folder must exist.
        engine: What the commands are for.
        timeout: Seconds for a whole exchange.
    """

    def __init__(self, path: str | os.PathLike[str], engine: Controlled, *, timeout: float = TIMEOUT) -> None:
        self.path = os.fspath(path)
        self._engine = engine
        self._timeout = timeout
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            ControlError: Another process serves this socket, the path is something else, or cannot be used.
        """
        listening = await self._bound()
        found = os.stat(self.path)
        self._inode = (found.st_dev, found.st_ino)
        self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=MAX_LINE)

    async def _bound(self) -> socket.socket:
        for _ in range(_TURNS):
            try:
                return _bind(self.path)
            except BlockingIOError:
                await asyncio.sleep(_TURN)
        raise ControlError(f"cannot serve the control socket {self.path!r}: its folder stays locked by another process")

    async def aclose(self) -> None:
        """Hang up on everybody and remove the socket, if it is still this one."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._exchanges:
            task.cancel()
        with contextlib.suppress(OSError):
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == self._inode:
                os.unlink(self.path)
        if self._exchanges:
            await asyncio.wait(self._exchanges)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._exchange(reader, writer), name="resilio control exchange")
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(await self._answer(reader) + b"\n")
                await writer.drain()
            writer.close()
        except (OSError, TimeoutError):
            pass  # the peer went away, or was too slow: nobody is left to tell
        finally:
            if not writer.is_closing():
                writer.transport.abort()  # `close` would wait for a peer that reads nothing

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        if len(self._exchanges) > MAX_CONNECTIONS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SHORTLY):
                    await _swallow(reader)
            return _refusal(f"{MAX_CONNECTIONS} others are connected; try again")
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            await _swallow(reader)
            return _refusal(f"the line is longer than {MAX_LINE} bytes")
        except asyncio.IncompleteReadError as exc:
            line = exc.partial  # the peer said all it had to say, without an end of line
        return await answer(self._engine, line)


async def _swallow(reader: asyncio.StreamReader) -> None:
    """Read on for a bit: a socket closed with bytes unread loses the peer the answer."""
    left = 16 * MAX_LINE
    while left > 0 and (some := await reader.read(MAX_LINE)):
        left -= len(some)
        if some.endswith(b"\n"):
            return


def _refusal(why: str) -> bytes:
    return orjson.dumps({"ok": False, "error": why, "problems": ()})


# --- the socket's file -------------------------------------------------------------------------


def _bind(path: str) -> socket.socket:
    """A listening socket at this path, which only its owner may open.

    Raises:
        ControlError: Somebody else's, or not to be had.
        BlockingIOError: Another process makes one in the same folder right now.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ControlError("this system has no Unix sockets, so there is no control socket")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _only_one(path):
            _make_room(path)
            listening.bind(path)
            # Nobody can connect before `listen`, so there is no moment in which others could.
            os.chmod(path, 0o600)
            listening.listen(_BACKLOG)
    except BlockingIOError:
        listening.close()
        raise
    except OSError as exc:
        listening.close()
        why = exc.strerror or str(exc)
        raise ControlError(f"cannot serve the control socket {path!r}: {why}") from exc
    except BaseException:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def _only_one(path: str) -> Iterator[None]:
    """Inside, no other process makes a control socket in this folder: two might replace the same stale one."""
    import fcntl  # not there on Windows, where `_bind` has said so

    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(folder)


def _make_room(path: str) -> None:
    """Remove a socket that nobody serves any more; anything else stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ControlError(f"{path!r} is there and not a socket; remove it, or name another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # a server too busy to accept is alive all the same
        refused = probe.connect_ex(path)
    if refused == errno.ECONNREFUSED:
        os.unlink(path)
    elif refused != errno.ENOENT:
        raise ControlError(f"another process serves the control socket {path!r}; name another path")
