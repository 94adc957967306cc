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
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from resilio.actor import Lease, ProviderActor, ProviderRecord, Refusal, Why
from resilio.actor.reconfigure import reconfigure
from resilio.actor.renewal import KeyKeeper
from resilio.config import Config, ProviderSettings, TargetSettings
from resilio.errors import (
    CircuitOpen,
    ConfigError,
    ErrorClass,
    KeyRejected,
    MailboxFull,
    ProviderStopped,
    RateLimited,
    ResilioError,
)
from resilio.events import Listener
from resilio.models import Demand
from resilio.providers import REGISTRY, Codec
from resilio.routes import RouteRecord, RouteTarget, build_routes
from resilio.snapshot import Difference, Snapshot, Succession, difference, same_provider
from resilio.statemachines.actor import ActorState

if TYPE_CHECKING:
    from resilio.local import LocalServer

__all__ = ["NoLease", "RouteRecord", "RouteTarget", "Supervisor"]

logger = logging.getLogger("resilio")

RESTART_JITTER = 0.5
"""Seconds: a crashed actor comes back after U(0, this), so that many do not come back in step."""


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
        case Why.RENEWING:
            return KeyRejected(
                f"the keys of {provider!r} were refused, and no others came from their files and commands in time",
                ErrorClass.UNAUTHORISED,
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


class _Built(NamedTuple):
    """A configuration made ready to run; nothing of it runs yet."""

    providers: dict[str, ProviderRecord]
    """Those that run already and stay, and new ones."""
    servers: dict[str, LocalServer]
    routes: dict[str, RouteRecord]
    fresh: dict[str, ProviderRecord]
    """Every provider made anew, also those that stay: what their new settings look like."""


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
        executor: Executor | None = None,
    ) -> None:
        self._config = config
        self.clock = clock
        self._rng = rng
        self._listeners = listeners
        self._codecs = codecs
        self._locals: dict[str, LocalServer] = {}
        self.providers: Mapping[str, ProviderRecord] = {}
        self.routes: Mapping[str, RouteRecord] = {}
        self.providers, self._locals, self.routes, _ = self._build(config)
        self.succession = Succession(Snapshot(config, self.providers, self.routes), self._let_go)
        self._root: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()
        self._keeper = KeyKeeper(self._spawn, executor)
        self._actors: dict[ProviderRecord, asyncio.Task[None]] = {}
        self._leaving: dict[ProviderRecord, LocalServer | None] = {}
        """Providers the configuration has no more, until they have drained, with their local servers."""
        self._context = copy_context()
        """Of whoever opened the client: an actor started by a reload must not live in the scope of that call."""

    def _build(self, config: Config) -> _Built:
        """All that a configuration needs to run, over what runs already. Whatever can fail fails here.

        Raises:
            ConfigError: It cannot run.
        """
        fresh, providers, servers = {}, {}, {}
        for settings in config.providers:
            name, known = settings.name, self.providers.get(settings.name)
            fresh[name] = providers[name] = self._record(settings)
            if known is not None and same_provider(known.settings, settings):
                providers[name] = known
                if (server := self._locals.get(name)) is not None:
                    servers[name] = server
            elif settings.kind == "local":
                from resilio.local import LocalServer  # only who has a local model pays for its import

                servers[name] = LocalServer(next(iter(settings.models)), parallel=settings.max_concurrency)

        def resolve(its: TargetSettings) -> RouteTarget:
            provider, new = providers[its.provider], fresh[its.provider].models[its.model]
            record = provider.models.get(its.model, new)
            own = fresh[its.provider].settings
            codec = self._codecs[own.kind].for_provider(own)
            return RouteTarget(its, provider, record, codec, new.settings, servers.get(its.provider))

        return _Built(providers, servers, build_routes(config.routes, resolve, self.clock()), fresh)

    def _record(self, settings: ProviderSettings) -> ProviderRecord:
        record = ProviderRecord(
            settings,
            clock=self.clock,
            rng=self._rng,
            listeners=self._listeners,
            keys=settings.keys or (None,),
        )
        record.actor = ProviderActor(record)
        return record

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
        async with asyncio.TaskGroup() as self._group:
            for record in self.providers.values():
                self._launch(record)
            self._follow_keys()
            ready.set()
            await self._closing.wait()  # a reload may start more of them, even when all there were have failed

    def _launch(self, record: ProviderRecord) -> None:
        """Start an actor's task, in the group that `_run` holds open until closing begins."""
        task = self._spawn(self._keep_running(record), f"resilio actor {record.name}")
        self._actors[record] = task
        task.add_done_callback(lambda task: self._ended(record, task))

    def _ended(self, record: ProviderRecord, task: asyncio.Task[None]) -> None:
        if self._actors.get(record) is task:  # not when it has been resumed since
            del self._actors[record]

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        assert self._group is not None, "only a running supervisor has tasks"
        return self._group.create_task(coroutine, name=name, context=self._context.copy())

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
        self._closing.set()
        self._keeper.stop()
        records = [*self.providers.values(), *self._leaving]
        for record in records:
            self.drain(record)
        try:
            await asyncio.wait((root,), timeout=drain_timeout)
            if not root.done() and (left := sum(record.in_flight for record in records)):
                logger.warning("%d requests in flight %g s after closing began; stopping anyway", left, drain_timeout)
        finally:
            root.cancel()
            # Shielded: a cancelled caller must not leave tasks or a local model behind. Bounded: actors end
            # at once when cancelled, and a local server is killed after its grace.
            with anyio.CancelScope(shield=True):
                servers = [*self._locals.values(), *filter(None, self._leaving.values())]
                ends = await asyncio.gather(root, *(server.aclose() for server in servers), return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception):  # a bug; closing goes on all the same
                    logger.error("something did not close cleanly", exc_info=end)

    @property
    def leaving(self) -> Collection[ProviderRecord]:
        """Providers the configuration has no more, until the calls that use them are over and they have drained."""
        return self._leaving.keys()

    def drain(self, record: ProviderRecord) -> None:
        """Admit nothing new: those who wait are told at once, and the actor ends with the last in flight."""
        record.lifecycle.drain(self.clock())
        record.actor.refuse_waiters()
        record.flush_changes()

    def resume(self, record: ProviderRecord) -> None:
        """Undo `drain`; brings back a provider that crashed too often, too.

        Raises:
            RuntimeError: The supervisor does not run.
        """
        if self._root is None:
            raise RuntimeError("this Client is closed; nothing can be resumed")
        if not record.lifecycle.resume(self.clock()):
            return
        if record.lifecycle.state is ActorState.STARTING:
            record.actor = ProviderActor(record)
            record.lifecycle.started(self.clock())
            self._launch(record)
        record.flush_changes()

    # --- another configuration -----------------------------------------------------------------

    def reconfigure(self, config: Config) -> Difference:
        """Put another configuration in the place of this one: whole and at once, or not at all.

        Synchronous, so no call sees half of it. Calls in flight keep the providers and routes they began with. A
        provider whose name, kind and place stay keeps its state; a new one starts; one that is gone drains
        when the last call that may need it is over.

        Raises:
            ConfigError: It cannot run; nothing has changed.
        """
        try:
            built = self._build(config)
        except (LookupError, ValueError) as exc:  # of a `Config` made by hand, which no loader has checked
            raise ConfigError([f"cannot run: {type(exc).__name__}: {exc}"]) from exc
        now, old, found = self.clock(), self.providers, difference(self._config, config)
        for name, record in old.items():
            if built.providers.get(name) is not record:
                self._leaving[record] = self._locals.get(name)
            elif record.settings != built.fresh[name].settings:
                reconfigure(record, built.fresh[name], now)
        for name, route in built.routes.items():
            if (known := self.routes.get(name)) is not None:
                route.inherit(known, now)
        self._config = config
        self.providers, self._locals, self.routes, _ = built
        for record in built.providers.values():
            if record.lifecycle.state is ActorState.STARTING:
                record.lifecycle.started(now)
                self._launch(record)
                record.flush_changes()
        self._follow_keys()
        self.succession.replace(Snapshot(config, self.providers, self.routes))
        return found

    def _let_go(self, record: ProviderRecord) -> None:
        """No call needs this provider any more: it drains, and its local server ends after it."""
        if self._root is not None:  # else closing has drained it
            self.drain(record)
            self._spawn(self._see_off(record), f"resilio end of {record.name}")

    async def _see_off(self, record: ProviderRecord) -> None:
        try:
            if (actor := self._actors.get(record)) is not None:
                await asyncio.wait((actor,))
            if (server := self._leaving[record]) is not None:
                await server.aclose()
        except Exception:  # a bug; the other providers go on serving
            logger.exception("provider %r did not end cleanly", record.name)
        finally:
            del self._leaving[record]
            self._follow_keys()

    def _follow_keys(self) -> None:
        """Have the keys of all providers that calls may use read again when it is time."""
        if self._root is not None and not self._closing.is_set():
            self._keeper.follow((*self.providers.values(), *self._leaving))

    # --- leases ------------------------------------------------------------------------------

    def acquire_nowait(
        self,
        order: Iterable[RouteTarget],
        demand: Demand,
        *,
        among: Collection[RouteTarget],
        priority: int = 0,
        insist: bool = True,
    ) -> tuple[RouteTarget, Lease]:
        """Lease the first target in the order of this call that admits the request at once.

        Args:
            order: What `RouteRecord.order` said for this call.
            demand: What the request takes from rate limits.
            among: The targets that may still be tried.
            priority: Place in queues.
            insist: When all refuse, ask a ramping target all the same, and an open one for an early probe. Not for
                hedges: those are a luxury.

        Raises:
            NoLease: Every target refused.
        """
        now = self.clock()
        ordered: list[RouteTarget] = []
        refusals: list[Refusal] = []
        for target in order:
            if target not in among:
                continue
            got = target.provider.actor.admit(now, target.record, demand, priority=priority)
            if isinstance(got, Lease):
                return target, got
            ordered.append(target)
            refusals.append(got)
            if len(ordered) == len(among):  # what is not read of the order is not decided: see `RouteRecord`
                break
        if not insist:
            raise NoLease(refusals)
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
        if not any(refusal.waitable for refusal in refused.refusals):
            raise refused
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
