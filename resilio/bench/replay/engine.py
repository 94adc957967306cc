"""Plays a log through a whole configuration: the engine itself, its caches as they are configured, on virtual time.

Providers are simulated; each answers as the log says it did, after as long. So everything that decides about a hit is
the live thing: partitions, wording that keeps a question out, temperature, namespaces, guards, index, guaranteed mode.
The rule: the log is the only source of answers, so an answer that is not its own can be told.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from resilio.bench.replay.log import Logged
from resilio.bench.replay.run import Kind, Plan, Run, Served
from resilio.bench.scenario import as_simulated
from resilio.cache.bound import NOTHING_NEAR, Change
from resilio.client import Client
from resilio.config import Config
from resilio.errors import ConfigError, ResilioError
from resilio.events import CacheThresholdChanged, Event
from resilio.models import Reply
from resilio.testing import loop as virtual
from resilio.testing.executor import InlineExecutor
from resilio.testing.latency import Fixed
from resilio.testing.provider import SimulatedProvider
from resilio.testing.reaction import Reaction, SeenRequest
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

__all__ = ["play_configuration"]

STEP: Final = 64
"""Requests between two reports of progress."""


def play_configuration(
    config: Config,
    log: Sequence[Logged],
    route: str,
    *,
    namespace: str | None = None,
    shared: bool = False,
    seed: int = 0,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Run:
    """Play a log; on a virtual loop of its own.

    Args:
        config: Its route is called; its providers are not.
        log: In order of time.
        route: Its name.
        namespace: Of the caches, as calls would name it.
        shared: Calls name no user, so that all of a tenant share answers.
        seed: Of everything drawn at random.
        on_progress: Called with the share that is done.

    Returns:
        A row for each request. What was audited is told among misses: a caller cannot see it either.

    Raises:
        ConfigError: The caches cannot be opened, or their vectors come from a provider.
    """
    semantic = config.cache.semantic
    if semantic is not None and semantic.embedder.startswith("route:"):
        raise ConfigError([f"cache.semantic.embedder: {semantic.embedder!r} cannot be played: providers are simulated"])
    return virtual.run(_Played(config, log, route, namespace, shared=shared, seed=seed).play(on_progress))


class _Played:
    """One log under way."""

    def __init__(
        self, config: Config, log: Sequence[Logged], route: str, namespace: str | None, *, shared: bool, seed: int
    ) -> None:
        self._config = as_simulated(config)
        self._log = log
        self._route = route
        self._namespace = namespace
        self._shared = shared
        self._seed = seed
        self._provider = _Recorded()
        self._numbers: dict[str, int] = {}
        """Of intents."""
        self._changes: list[tuple[int, Change]] = []
        self._asked = 0

    async def play(self, on_progress: Callable[[float], None]) -> Run:
        """Call the engine when the log says so, and wait for all answers."""
        loop = asyncio.get_running_loop()
        transport = ScriptedTransport(dict.fromkeys((each.base_url for each in self._config.providers), self._provider))
        rows: list[asyncio.Task[Served]] = []
        async with Client(
            self._config, transport=transport, rng=random.Random(self._seed), wall=virtual.wall_clock(loop),
            executor=InlineExecutor(), listeners=[self._hear],
        ) as llm:  # fmt: skip
            began = loop.time() - self._log[0].at
            for number, request in enumerate(self._log):
                await asyncio.sleep(began + request.at - loop.time())
                self._asked = number
                rows.append(loop.create_task(self._call(llm, request)))
                if number % STEP == 0:
                    on_progress(number / len(self._log))
            served = [await row for row in rows]
            semantic: Any = llm.status().caches.get("semantic")
        bounds = {} if semantic is None else semantic.bounds
        return Run(Plan("as configured"), served, self._changes, bounds.get(self._namespace or ""))

    async def _call(self, llm: Client, request: Logged) -> Served:
        answer = self._answer(request)
        self._provider.expect(request, answer)
        messages: list[dict[str, Any]] = [{"role": "user", "content": request.text}]
        if request.history:  # which messages they were the log does not keep, only whether they were the same
            messages.insert(0, {"role": "system", "content": request.history})
        began = time.perf_counter()
        try:
            reply = await llm.complete(
                self._route, messages, organisation=request.tenant or None, cache_namespace=self._namespace,
                user=None if self._shared else request.user or None,
            )  # fmt: skip
        except ResilioError:
            return Served(Kind.FAILED, NOTHING_NEAR, wrong=False, latency=0.0, cost_usd=0.0)
        return _served(reply, request, answer, time.perf_counter() - began)

    def _answer(self, request: Logged) -> str:
        """What the model says: short, and the same for the same intent alone."""
        if request.intent is None:
            return request.answer
        return f"answer {self._numbers.setdefault(request.intent, len(self._numbers))}"

    def _hear(self, event: Event) -> None:
        if isinstance(event, CacheThresholdChanged):
            why: Any = event.why
            self._changes.append((self._asked, Change(event.before, event.after, event.epoch, why)))


def _served(reply: Reply, request: Logged, answer: str, took: float) -> Served:
    wrong = reply.text != answer
    hit = reply.cached
    if hit is None:
        return Served(Kind.MISS, NOTHING_NEAR, wrong, reply.latency, request.cost_usd)
    if hit.similarity is not None or hit.kind == "near":
        # Nothing else runs while a vector is made and searched, so real time is this request's own.
        return Served(Kind.NEAR, hit.similarity or NOTHING_NEAR, wrong, took, 0.0)
    return Served(Kind.SHARED if reply.latency else Kind.EXACT, 1.0, wrong, reply.latency, 0.0)


class _Recorded(SimulatedProvider):
    """Answers each question as the log has it."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[tuple[str, str], tuple[str, float]] = {}

    def expect(self, request: Logged, answer: str) -> None:
        """From now on this question has this answer, after as long."""
        self._answers[request.history, request.text] = answer, request.latency

    def react(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, fresh: bool = True
    ) -> tuple[SeenRequest, Reaction]:
        """See `SimulatedProvider.react`."""
        messages = orjson.loads(body)["messages"]
        earlier = messages[0]["content"] if len(messages) > 1 else ""
        answer, latency = self._answers[earlier, messages[-1]["content"]]
        self._script = Script(answer=answer, first_token=Fixed(latency))
        reacted = super().react(method, path, headers, body, fresh=fresh)
        self.log.clear()
        return reacted
