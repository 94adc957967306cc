"""resilio itself before the wall, on virtual time: in process, or over loopback sockets.

Each row gets a fresh client, so that no breaker remembers the row before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, get_args, get_type_hints

from resilio.client import Client
from resilio.config.settings import BreakerSettings, RetrySettings
from resilio.errors import ProviderRefused, ResilioError, StreamBroken
from resilio.models import AttemptRecord, Capability, Reply
from resilio.testing.loop import wall_clock
from resilio.testing.transport import ScriptedTransport
from resilio.testing.wall.evidence import DEADLINE, FIRST_TOKEN, IDLE, Ask, Ended, Mode, Seen, Tried
from resilio.testing.wall.rows import PRICES, Row
from resilio.testing.wall.runner import Result, run_row
from resilio.testing.wall.texts import QUESTION
from resilio.testing.wall.upstreams import LocalUpstreams, WallServer

__all__ = ["LibraryClient", "configuration", "run_library_row"]

NO_KINDS: Final[Mapping[str, str]] = {}
_CONTEXT: Final = {"primary": 8_192, "fallback": 131_072, "spare": 131_072}


def configuration(
    row: Row, mode: Mode, urls: Mapping[str, str], *, scale: float = 1.0, kinds: Mapping[str, str] = NO_KINDS
) -> dict[str, Any]:
    """What a service would write for the wall: defaults, but for two clocks and what happens to a broken stream.

    Args:
        row: Says which targets there are and which keys.
        mode: Says what the route does with `complete` and with a break.
        urls: Base URL of each upstream.
        scale: Every clock is multiplied by it.
        kinds: Dialects of upstreams that do not speak OpenAI's.
    """

    def provider(name: str) -> dict[str, Any]:
        price = dict(zip(("input", "output"), PRICES[name], strict=True))
        model = {"context_window": _CONTEXT[name], "price": price, "capabilities": [str(each) for each in Capability]}
        keys = row.keys if name == "primary" else ("sk-wall",)
        return {
            "name": name,
            "kind": kinds.get(name, "openai"),
            "base_url": urls[name],
            "keys": list(keys),
            "models": {row.model: model},
        }

    route = {
        "targets": [f"{name}/{row.model}" for name in row.targets],
        "deadline": DEADLINE * scale,
        "clocks": {"first_token": FIRST_TOKEN * scale, "idle": IDLE * scale},
        "upstream_stream": "auto",
        "on_break": "continue" if mode is Mode.CONTINUE else "error",
    }
    defaults: dict[str, Any] = {}
    if scale != 1.0:
        defaults = {"breaker": _scaled(BreakerSettings(), scale), "retry": _scaled(RetrySettings(), scale)}
    return {
        "defaults": defaults,
        "provider": [provider(name) for name in row.targets],
        "route": {row.model: route},
    }


def _scaled(settings: BreakerSettings | RetrySettings, scale: float) -> dict[str, float]:
    """Every duration among these defaults, multiplied."""
    units = {
        name: getattr(get_args(hint)[1], "unit", "")
        for name, hint in get_type_hints(type(settings), include_extras=True).items()
    }
    return {name: getattr(settings, name) * scale for name, unit in units.items() if unit == "s"}


class LibraryClient:
    """A `Client` as its callers use it."""

    def __init__(self, llm: Client, transport: ScriptedTransport | None = None) -> None:
        self._llm, self._transport = llm, transport

    async def ask(self, ask: Ask) -> Seen:
        """See `WallClient.ask`."""
        parts: list[str] = []
        try:
            if not ask.mode.stream:
                return _seen(await self._llm.complete(ask.model, QUESTION))
            async with self._llm.stream(ask.model, QUESTION) as stream:
                async for chunk in stream:
                    parts.append(chunk.text or chunk.refusal)
                    if ask.pause:
                        await asyncio.sleep(ask.pause)
                return _seen(stream.reply, parts)
        except ProviderRefused as exc:
            return Seen(Ended.REFUSED, error=str(exc), attempts=_tried(exc.attempts))
        except ResilioError as exc:
            carried = exc.text if isinstance(exc, StreamBroken) else None
            return Seen(
                Ended.ERROR, "".join(parts), _line(exc), carried, chunks=len(parts), attempts=_tried(exc.attempts)
            )

    def leaks(self) -> Sequence[str]:
        """Slots, places in queues, probes and responses that nobody holds any more but that did not come back."""
        found = []
        now = asyncio.get_running_loop().time()
        for name, record in self._llm.engine.supervisor.providers.items():
            held = {
                "slots": record.in_flight + sum(target.in_flight for target in record.models.values()),
                "waiters": len(record.waiters),
                "probes": record.breaker.statistics(now).probes_out
                + sum(target.breaker.statistics(now).probes_out for target in record.models.values()),
            }
            found += [f"{count} {what} of {name}" for what, count in held.items() if count]
        if self._transport is not None and self._transport.open_responses:
            found.append(f"{self._transport.open_responses} responses left open")
        return found


def _seen(reply: Reply, parts: Sequence[str] | None = None) -> Seen:
    refused = reply.finish_reason == "content_filter" or bool(reply.refusal)
    text = reply.text if parts is None else "".join(parts)
    if parts is not None and not refused and text != reply.text:
        return Seen(Ended.CRASHED, text, f"chunks and reply differ: {text[-40:]!r}, {reply.text[-40:]!r}")
    ended = Ended.REFUSED if refused else Ended.COMPLETE if reply.complete else Ended.PARTIAL
    return Seen(
        ended,
        text,
        chunks=len(parts or ()),
        target=reply.target,
        input_tokens=reply.usage.input_tokens,
        output_tokens=reply.usage.output_tokens,
        cost_usd=reply.cost_usd,
        attempts=_tried(reply.attempts),
    )


def _tried(attempts: Sequence[AttemptRecord]) -> tuple[Tried, ...]:
    return tuple(Tried(attempt.target, attempt.error_class) for attempt in attempts)


def _line(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".replace("\n", " ")[:300]


@asynccontextmanager
async def _opened(
    row: Row, mode: Mode, upstreams: LocalUpstreams, seed: int, *, sockets: bool, kinds: Mapping[str, str]
) -> AsyncIterator[LibraryClient]:
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {"rng": random.Random(seed), "wall": wall_clock(asyncio.get_running_loop())}
        transport = None
        if sockets:
            urls = (await stack.enter_async_context(WallServer(upstreams))).urls
        else:
            urls = {name: f"http://{name}.test/v1" for name in upstreams.providers}
            by_url = {urls[name]: provider for name, provider in upstreams.providers.items()}
            options["transport"] = transport = ScriptedTransport(by_url, seed=seed)
        llm = await stack.enter_async_context(Client(configuration(row, mode, urls, kinds=kinds), **options))
        yield LibraryClient(llm, transport)


async def run_library_row(
    row: Row, mode: Mode, *, seed: int = 1, sockets: bool = False, kinds: Mapping[str, str] = NO_KINDS
) -> Result:
    """One row in one mode; the running loop should be a `VirtualTimeLoop`.

    Args:
        row: The row.
        mode: How to ask.
        seed: Of latencies, jitter and load balancing.
        sockets: Over loopback sockets and aiohttp, instead of in process.
        kinds: Dialects of upstreams that do not speak OpenAI's, by name (primary, fallback, spare).
    """
    upstreams = LocalUpstreams(seed=seed)
    async with _opened(row, mode, upstreams, seed, sockets=sockets, kinds=kinds) as client:
        return await run_row(client, upstreams, row, mode)
