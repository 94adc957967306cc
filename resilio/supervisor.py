"""The supervisor starts, watches, restarts and drains the actors, and leases capacity across them.

One task, its own, holds the task group all actors run in; `start` and `aclose` only talk to that task,
so that a client may be opened in one task and closed in another. What a provider's actor must not lose
stands in its `ProviderRecord`, which the supervisor keeps for as long as it lives.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from resilio.actor import Lease, ModelRecord, ProviderActor, ProviderRecord, Refusal, Why
from resilio.config import Config, ModelSettings, ProviderSettings, RouteSettings, TargetSettings
from resilio.errors import (
    CircuitOpen,
    ErrorClass,
    KeyRejected,
    MailboxFull,
    ProviderStopped,
    RateLimited,
    ResilioError,
)
from resilio.events import Listener
from resilio.models import Capability, Demand
from resilio.providers import REGISTRY, Codec
from resilio.quantiles import RecentQuantiles
from resilio.routing import STRATEGIES, Strategy, TargetView

if TYPE_CHECKING:
    from resilio.local import LocalServer

__all__ = ["NoLease", "RouteRecord", "RouteTarget", "Supervisor"]

logger = logging.getLogger("resilio")

RESTART_JITTER = 0.5
"""Seconds: a crashed actor comes back after U(0, this), so that many do not come back in step."""


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, on the hot path
class RouteTarget:
    """One target of one route: what is set for it there, and the state it shares with other routes."""

    settings: TargetSettings
    provider: ProviderRecord
    record: ModelRecord
    codec: Codec
    local: LocalServer | None = None
    """The server to start before the first request, for a model on this machine."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def model(self) -> ModelSettings:
        return self.record.settings

    def lacks(self, needs: frozenset[Capability], input_tokens: int) -> str | None:
        """What this target lacks to serve a request, or None when it can."""
        model = self.model
        if missing := needs - model.capabilities:
            return "cannot do " + ", ".join(sorted(missing))
        if model.context_window is not None and input_tokens > model.context_window:
            return f"its context window of {model.context_window} tokens is under the ~{input_tokens} of the prompt"
        return None


@dataclass(slots=True)
class RouteRecord:
    """A route as it runs: its targets resolved, its strategy with its own state, what it has learned."""

    settings: RouteSettings
    targets: tuple[RouteTarget, ...]
    strategy: Strategy
    output_lengths: RecentQuantiles
    """Tokens of recent answers: how many to reserve for the next."""


class NoLease(Exception):
    """No target admits this request now; `refusals` says why, target by target. Internal to dispatch."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(refusals)
        self.refusals = tuple(refusals)

    def __str__(self) -> str:
        return "; ".join(str(error) for error in self.errors())

    @property
    def retry_after(self) -> float | None:
        """Seconds until the first of them makes sense to ask again, where any says."""
        return min((each.retry_in for each in self.refusals if each.retry_in is not None), default=None)

    def errors(self) -> list[ResilioError]:
        """Each refusal as the exception a caller may meet."""
        return [_error_of(refusal) for refusal in self.refusals]


def _error_of(refusal: Refusal) -> ResilioError:
    name, retry_in, waited = refusal.target, refusal.retry_in, refusal.waited
    provider = name.partition("/")[0]
    match refusal.why:
        case Why.PROVIDER_OPEN:
            return CircuitOpen(provider, retry_in)
        case Why.TARGET_OPEN | Why.RAMPING:
            return CircuitOpen(name, retry_in)
        case Why.NO_KEY:
            hint = "" if retry_in is None else f"; one is tried again in {retry_in:.1f} s"
            return KeyRejected(
                f"every key of {provider!r} is set aside ({refusal.detail}): check its keys{hint}",
                ErrorClass(refusal.detail),
                retry_after=retry_in,
            )
        case Why.QUEUE_FULL:
            return MailboxFull(provider, refusal.count)
        case Why.STOPPED | Why.RESTARTING:
            return ProviderStopped(provider, refusal.detail)
        case Why.TOO_LARGE:
            return RateLimited(name, "rate limit (the request alone is larger than all of it)", None, waited)
        case Why.BUSY:
            return RateLimited(name, f"max_concurrency ({refusal.count} in flight)", retry_in, waited)
        case Why.QUEUE_AHEAD:
            return RateLimited(name, f"queue ({refusal.count} ahead)", retry_in, waited)
        case _:
            return RateLimited(name, "rate limit", retry_in, waited)


class Supervisor:
    """Owns every provider's record, runs its actor, and leases capacity to dispatch."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        listeners: list[Listener],
        codecs: Mapping[str, Codec] = REGISTRY,
    ) -> None:
        self._config = config
        self.clock = clock
        self._rng = rng
        self._listeners = listeners
        self._codecs = codecs
        self._locals: dict[str, LocalServer] = {}
        self.providers = {settings.name: self._record(settings) for settings in config.providers}
        self.routes = {name: self._route(settings) for name, settings in config.routes.items()}
        self._root: asyncio.Task[None] | None = None

    def _record(self, settings: ProviderSettings) -> ProviderRecord:
        if settings.kind == "local":
            from resilio.local import LocalServer  # only who has a local model pays for its import

            self._locals[settings.name] = LocalServer(next(iter(settings.models)), parallel=settings.max_concurrency)
        record = ProviderRecord(
            settings,
            clock=self.clock,
            rng=self._rng,
            listeners=self._listeners,
            keys=settings.keys or (None,),
        )
        record.actor = ProviderActor(record)
        return record

    def _route(self, settings: RouteSettings) -> RouteRecord:
        targets = []
        for its in settings.targets:
            provider = self.providers[its.provider]
            codec = self._codecs[provider.settings.kind]
            local = self._locals.get(its.provider)
            targets.append(RouteTarget(its, provider, provider.models[its.model], codec, local))
        return RouteRecord(settings, tuple(targets), STRATEGIES[settings.strategy](), RecentQuantiles())

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start every actor; returns once all of them run.

        Raises:
            IllegalEvent: It was started before: actors that have stopped do not run again.
        """
        for record in self.providers.values():
            record.lifecycle.started(self.clock())
        ready = asyncio.Event()
        self._root = asyncio.create_task(self._run(ready), name="resilio supervisor")
        await ready.wait()

    async def _run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for record in self.providers.values():
                group.create_task(self._keep_running(record), name=f"resilio actor {record.name}")
            ready.set()

    async def _keep_running(self, record: ProviderRecord) -> None:
        """Run one actor; bring it back when it crashes, until it has crashed too often."""
        lifecycle = record.lifecycle
        try:
            while True:
                try:
                    await record.actor.run()
                    lifecycle.drained(self.clock())
                    break
                except Exception as exc:  # whatever it was: the other providers go on serving
                    logger.exception("actor of %r crashed", record.name)
                    if not lifecycle.crashed(self.clock(), f"{type(exc).__name__}: {exc}"):
                        break
                record.flush_changes(wake=False)
                await asyncio.sleep(self._rng.uniform(0.0, RESTART_JITTER))
                record.actor = ProviderActor(record)
                lifecycle.restarted(self.clock())
        except asyncio.CancelledError:
            lifecycle.stop(self.clock())
            raise
        finally:
            record.actor.refuse_waiters()
            record.flush_changes(wake=False)

    async def aclose(self, drain_timeout: float) -> None:
        """Drain every actor, then stop what is left. Waiters are told at once; nothing new is admitted.

        Args:
            drain_timeout: Seconds that requests in flight may still take.
        """
        root, self._root = self._root, None
        if root is None:
            return
        for record in self.providers.values():
            record.lifecycle.drain(self.clock())
            record.actor.refuse_waiters()
            record.flush_changes()
        try:
            await asyncio.wait((root,), timeout=drain_timeout)
            if not root.done() and (left := sum(record.in_flight for record in self.providers.values())):
                logger.warning("%d requests in flight %g s after closing began; stopping anyway", left, drain_timeout)
        finally:
            root.cancel()
            # Shielded: a cancelled caller must not leave tasks or a local model behind. Bounded: actors end
            # at once when cancelled, and a local server is killed after its grace.
            with anyio.CancelScope(shield=True):
                ends = await asyncio.gather(
                    root, *(server.aclose() for server in self._locals.values()), return_exceptions=True
                )
            for end in ends:
                if isinstance(end, Exception):  # a bug; closing goes on all the same
                    logger.error("something did not close cleanly", exc_info=end)

    # --- leases ------------------------------------------------------------------------------

    def acquire_nowait(
        self, route: RouteRecord, demand: Demand, *, among: Collection[RouteTarget], priority: int = 0
    ) -> tuple[RouteTarget, Lease]:
        """Lease the first target, in the strategy's order, that admits the request at once.

        Args:
            route: The route, for its strategy.
            demand: What the request takes from rate limits.
            among: The targets that may still be tried, of those the route has.
            priority: Place in queues.

        Raises:
            NoLease: Every target refused.
        """
        now = self.clock()
        targets = route.targets
        ordered: list[RouteTarget] = []
        refusals: list[Refusal] = []
        for index in route.strategy(lambda: _views(targets, now), len(targets), self._rng):
            target = targets[index]
            if target not in among:
                continue
            got = target.provider.actor.admit(now, target.record, demand, priority=priority)
            if isinstance(got, Lease):
                return target, got
            ordered.append(target)
            refusals.append(got)
        return self._insist(now, ordered, refusals, demand, priority)

    def _insist(
        self,
        now: float,
        ordered: Sequence[RouteTarget],
        refusals: list[Refusal],
        demand: Demand,
        priority: int,
    ) -> tuple[RouteTarget, Lease]:
        """Second thoughts: a ramping target is better than none, and so is an early probe of an open one."""
        for position, refusal in enumerate(refusals):
            if refusal.why == Why.RAMPING:
                target = ordered[position]
                got = target.provider.actor.admit(now, target.record, demand, priority=priority, insist=True)
                if isinstance(got, Lease):
                    return target, got
                refusals[position] = got
        if refusals and all(refusal.probeable for refusal in refusals):
            soonest = min(
                range(len(refusals)),
                key=lambda each: math.inf if (wait := refusals[each].retry_in) is None else wait,
            )
            target = ordered[soonest]
            got = target.provider.actor.admit(now, target.record, demand, priority=priority, early=True)
            if isinstance(got, Lease):
                return target, got
        raise NoLease(refusals)

    async def wait_for_lease(
        self,
        refused: NoLease,
        demand: Demand,
        *,
        among: Collection[RouteTarget],
        until: float,
        priority: int = 0,
    ) -> tuple[RouteTarget, Lease]:
        """Wait in the queue of the target that will have room soonest; then, if there is time left, of the next.

        Args:
            refused: What `acquire_nowait` raised.
            demand: What the request takes from rate limits.
            among: The targets that may still be tried.
            until: Monotonic instant after which a lease is of no use.
            priority: Place in the queue.

        Raises:
            NoLease: No queue is worth joining, or none that is moved in time.
        """
        refusals = list(refused.refusals)
        by_wait = sorted(refusals, key=lambda each: 0.0 if each.retry_in is None else each.retry_in)
        for refusal in by_wait:
            if not refusal.waitable:
                continue
            target = next(each for each in among if each.name == refusal.target)
            answer = await target.provider.actor.wait_admit(target.record, demand, until=until, priority=priority)
            if isinstance(answer, Lease):
                return target, answer
            refusals[refusals.index(refusal)] = answer
            if self.clock() >= until:
                break
        raise NoLease(refusals) from refused


def _views(targets: Sequence[RouteTarget], now: float) -> list[TargetView]:
    return [target.record.view(now) for target in targets]
