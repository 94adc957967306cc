"""The wall's upstreams: simulated providers that play one row at a time, in process, on a socket or far away.

`prepare` sets them to a row and forgets what was; `calls` is what reached them since. Over HTTP both are
``POST /_reset?row=W01`` and ``GET /_log``, so a gateway under test and the wall need not share a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol

import orjson
from aiohttp import ClientSession, web

from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.server import SimulatedServer
from resilio.testing.wall.beyond import BEYOND, row_of
from resilio.testing.wall.evidence import UpstreamCall, calls_of
from resilio.testing.wall.rows import PACE, ROWS, UPSTREAMS, Row, script_of

__all__ = ["LocalUpstreams", "RemoteUpstreams", "Upstreams", "WallServer"]

LOG_PATH: Final = "/_log"
RESET_PATH: Final = "/_reset"


class Upstreams(Protocol):
    """Where the providers are played."""

    async def prepare(self, row: Row) -> None:
        """Play this row from now on; earlier calls are forgotten."""
        ...

    async def calls(self) -> list[UpstreamCall]:
        """What reached them since, oldest first."""
        ...

    def leaks(self) -> Sequence[str]:
        """Calls they still answer, where that can be known."""
        ...


class LocalUpstreams:
    """Simulated providers of this process. The clock is the running loop's.

    Args:
        scale: Every time of the rows is multiplied by it.
        seed: Of everything drawn.
    """

    def __init__(self, *, scale: float = 1.0, seed: int = 1) -> None:
        self.scale = scale
        self._began = 0.0
        self._rows = (*ROWS, *BEYOND)
        self.providers = {
            name: SimulatedProvider(self._all_rows(name), seed=seed + place) for place, name in enumerate(UPSTREAMS)
        }

    def _all_rows(self, name: str) -> Script:
        """Every row at once, for a client that is tried by hand before any row was chosen."""
        scripts = [script_of(row, name, self.scale) for row in self._rows]
        return Script(
            tuple(rule for script in scripts for rule in script.rules),
            answer=scripts[0].answer,
            first_token=scripts[0].first_token,
            tokens_per_second=PACE / self.scale,
        )

    def set_to(self, row: Row) -> None:
        """Play this row from now on."""
        self._began = asyncio.get_running_loop().time()
        for name, provider in self.providers.items():
            provider.script = script_of(row, name, self.scale)
            provider.log.clear()

    def seen(self) -> list[UpstreamCall]:
        """See `Upstreams.calls`."""
        found = [
            call
            for name, provider in self.providers.items()
            for call in calls_of(name, provider.log, self._began, self.scale)
        ]
        return sorted(found, key=lambda call: call.at)

    async def prepare(self, row: Row) -> None:
        """See `Upstreams.prepare`."""
        self.set_to(row)

    async def calls(self) -> list[UpstreamCall]:
        """See `Upstreams.calls`."""
        return self.seen()

    def leaks(self) -> Sequence[str]:
        """See `Upstreams.leaks`."""
        return [f"{name} answers {its.in_flight} calls" for name, its in self.providers.items() if its.in_flight]


class WallServer(SimulatedServer):
    """The upstreams on a socket, at ``/primary/v1`` and so on, with their log and reset for other processes."""

    def __init__(self, upstreams: LocalUpstreams, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(upstreams.providers, host=host, port=port)
        self._upstreams = upstreams

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == LOG_PATH and request.method == "GET":
            return _json([asdict(call) for call in self._upstreams.seen()])
        if request.path == RESET_PATH and request.method == "POST":
            return self._reset(request.query.get("row", ""))
        return await super()._handle(request)

    def _reset(self, name: str) -> web.Response:
        try:
            row = row_of(name)
        except KeyError:
            return _json({"error": f"no row {name!r}; there are {', '.join(row.id for row in ROWS)}"}, status=404)
        self._upstreams.set_to(row)
        return _json({"row": row.id, "model": row.model, "scale": self._upstreams.scale})


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


class RemoteUpstreams:
    """The upstreams of a `WallServer` in another process.

    Args:
        session: To reach it with.
        url: Its root, without a path.
    """

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")

    async def prepare(self, row: Row) -> None:
        """See `Upstreams.prepare`."""
        async with self._session.post(f"{self._url}{RESET_PATH}", params={"row": row.id}) as response:
            response.raise_for_status()

    async def calls(self) -> list[UpstreamCall]:
        """See `Upstreams.calls`."""
        async with self._session.get(f"{self._url}{LOG_PATH}") as response:
            response.raise_for_status()
            return [UpstreamCall(**{**call, "faults": tuple(call["faults"])}) for call in await response.json()]

    def leaks(self) -> Sequence[str]:
        """Not known from afar; the log shows calls that never ended."""
        return ()
