"""`LocalServer`: starts the local model's server in a process of its own, and sees that it ends.

Single flight: however many callers want the server, one start runs, in a task of the `LocalServer` that
outlives a cancelled caller. A server that died is started anew by the next `start()`. It leaves out requests
and retries: it says where the server is, no more. The rule: a child is born with a watcher, which reads what
it says and waits for its end, so there is never a zombie; who gives up waiting for a child kills it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from resilio.errors import LocalModelUnavailable
from resilio.local.install import DEFAULT_MODEL, INSTALL_COMMAND, LocalStatus, known_model, status
from resilio.local.server import KEY_VARIABLE

__all__ = ["LocalServer"]

SERVER_FILE: Final = Path(__file__).with_name("server.py")
KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Windows has no gentler and no harder way than the one."""
TAIL_BYTES: Final = 4096
HEALTH_INTERVAL: Final = 0.05
HEALTH_REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class LocalServer:
    """A local model, running when somebody needs it.

    Belongs to one event loop. Close it with `aclose()` or use it as an async context manager.

    Args:
        model: A row of `resilio.local.MODELS`.
        threads: Threads that compute. On a machine with few or shared cores one is fastest.
        context: Tokens one request may use, prompt and answer together.
        parallel: Requests computed at one time; more of them wait inside the server.
        embeddings: Serve embeddings (mean pooling) of texts of up to 512 tokens.
        api_key: Callers must send it as a bearer token; None asks for none.
        start_timeout: Seconds in which a start must succeed.
        stop_timeout: Seconds a server gets to end by itself before it is killed.
        check: Says whether server and weights are there.

    Raises:
        ConfigError: There is no such model.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        threads: int = 1,
        context: int = 4096,
        parallel: int = 2,
        embeddings: bool = False,
        api_key: str | None = None,
        start_timeout: float = 60.0,
        stop_timeout: float = 5.0,
        check: Callable[[str], LocalStatus] = status,
    ) -> None:
        self.model = known_model(model)
        self.starts = 0
        """How many processes were started so far."""
        self._options = [
            *("--alias", model, "--threads", str(threads)),
            *("--context", str(context), "--parallel", str(parallel)),
            *(["--embeddings"] if embeddings else []),
        ]
        self._api_key = api_key
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._check = check
        self._child: _Child | None = None
        self._starting: asyncio.Task[str] | None = None
        self._closed = False

    @property
    def alive(self) -> bool:
        """The server's process is there, ready or still loading."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while there is none."""
        return self._child.process.pid if self._child is not None and self._child.alive else None

    @property
    def base_url(self) -> str | None:
        """Where the server is, up to and including `/v1`; None while it is not ready."""
        return self._child.base_url if self._child is not None and self._child.alive else None

    async def start(self) -> str:
        """See that the server runs.

        Cheap when it does. Cancelling a caller does not cancel the start for the others.

        Returns:
            Its base URL, up to and including `/v1`.

        Raises:
            LocalModelUnavailable: Something is missing, the server ended or was not ready in time, or this
                `LocalServer` is closed. The next call tries again.
        """
        if self._closed:
            raise LocalModelUnavailable(self.model.name, "it was closed")
        if (url := self.base_url) is not None:
            return url
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start(), name=f"start local model {self.model.name}")
            self._starting.add_done_callback(_looked_at)
        return await asyncio.shield(self._starting)

    async def aclose(self) -> None:
        """Stop the server and wait for its end; no start is possible afterwards.

        Cancelled while it waits, it kills the server at once.
        """
        self._closed = True
        if self._child is not None:
            await self._child.stop(self._stop_timeout)
        if self._starting is not None:
            # It has just lost its child or will see `_closed`.
            await asyncio.wait([self._starting])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if self._closed:
            state = "closed"
        elif self.alive:
            state = f"{self.base_url or 'starting'}, pid {self.pid}"
        elif self._child is not None:
            state = self._child.ending
        else:
            state = "not started"
        return f"<LocalServer {self.model.name}: {state}>"

    async def _start(self) -> str:
        if self._child is not None:
            await asyncio.shield(self._child.exited)  # it crashed: its pipes close before there are new ones
        found = self._check(self.model.name)
        if found.problem is not None:
            raise LocalModelUnavailable(self.model.name, found.problem, remedy=INSTALL_COMMAND)
        child = self._child = _Child(await self._spawn(str(found.weights)))
        self.starts += 1
        try:
            async with asyncio.timeout(self._start_timeout):
                return await self._ready(child)
        except TimeoutError:
            raise self._failure(f"it was not ready within {self._start_timeout:g} s", child) from None
        finally:
            if child.base_url is None:
                await child.stop(0)

    async def _spawn(self, weights: str) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                # -P: the child's own folder is no place to import from.
                *(sys.executable, "-P", str(SERVER_FILE), weights, *self._options),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={**os.environ, KEY_VARIABLE: self._api_key or ""},
                # Ctrl-C reaches all of the terminal's process group, but answers in progress may still drain.
                start_new_session=True,
            )
        except OSError as exc:
            raise self._failure(f"its process could not be started: {exc}") from exc

    async def _ready(self, child: _Child) -> str:
        if not self._closed and (line := await child.read_line()):
            address = self._address(child, line)
            while child.alive and not self._closed:
                if await _healthy(address):
                    child.base_url = f"{address}/v1"
                    return child.base_url
                await asyncio.sleep(HEALTH_INTERVAL)
        if self._closed:
            raise self._failure("it was closed while it started", child)
        await asyncio.shield(child.exited)
        raise self._failure(f"{child.ending} before it was ready", child)

    def _address(self, child: _Child, line: bytes) -> str:
        try:
            return str(json.loads(line)["address"])
        except (ValueError, LookupError, TypeError):
            raise self._failure(f"it said {line[:80]!r} instead of its address", child) from None

    def _failure(self, why: str, child: _Child | None = None) -> LocalModelUnavailable:
        return LocalModelUnavailable(self.model.name, why, output="" if child is None else child.tail)


def _looked_at(starting: asyncio.Task[str]) -> None:
    """Its error is for those who wait for the start; where all of them have left, asyncio is not to complain of it."""
    if not starting.cancelled():
        starting.exception()


class _Child:
    """A server process with the task that reads its errors and waits for its end."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.base_url: str | None = None
        self._tail = b""
        self.exited = asyncio.create_task(self._watch(), name=f"watch local model, pid {process.pid}")

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    @property
    def tail(self) -> str:
        """The last it wrote to standard error."""
        return self._tail.decode(errors="replace").strip()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"its server was killed by signal {-code}"
        return f"its server ended with status {code}"

    async def read_line(self) -> bytes:
        """The next line of standard output; b"" when it ended."""
        assert self.process.stdout is not None
        return await self.process.stdout.readline()

    async def stop(self, grace: float) -> None:
        """End it, by force after `grace` seconds or when cancelled; stopping what has ended does nothing."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await asyncio.shield(self.exited)
        except TimeoutError:
            self._signal(KILL)
            await asyncio.shield(self.exited)
        except asyncio.CancelledError:
            self._signal(KILL)
            raise

    def _signal(self, number: int) -> None:
        # Not `Process.terminate()`: it polls first, and so may reap a child that has just died before asyncio's
        # own watcher does, which then warns and reports status 255 (seen with CPython 3.11).
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def _watch(self) -> None:
        assert self.process.stderr is not None
        assert self.process.stdin is not None
        while some := await self.process.stderr.read(TAIL_BYTES):
            self._tail = (self._tail + some)[-TAIL_BYTES:]
        await self.process.wait()
        self.process.stdin.close()


async def _healthy(address: str) -> bool:
    """Whether the server answers `/health` with 200; it says 503 while it loads."""
    url = urlsplit(address)
    try:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
    except OSError:
        return False
    try:
        writer.write(HEALTH_REQUEST)
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
