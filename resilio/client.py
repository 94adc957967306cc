"""The public face: one `await` between a program and every provider it uses.

A `Client` opens the engine, turns what the caller wrote into a `Request`, and hands it to dispatch. It
decides nothing: what happens to a request stands in `resilio.dispatch`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from resilio import config as configuration
from resilio.actor.renewal import first_secrets
from resilio.budget import SpendCap, Unit
from resilio.cache import USE, CacheControl, CacheMode, Purge, cache_control
from resilio.catalogue import Priced, priced
from resilio.config import Config
from resilio.config.settings import PromptCacheMode
from resilio.control import FileWatch, ProviderControl
from resilio.dispatch import Dispatcher, Engine, Stream
from resilio.dispatch.call import Call
from resilio.dispatch.embedding import checked_texts
from resilio.errors import ConfigError, MalformedRequest, ResilioError, UnknownRoute
from resilio.events import ConfigApplied, ConfigRefused, Event, Listener, tell
from resilio.models import EmbeddingReply, Identity, Message, Reply, Request
from resilio.rules import first_match
from resilio.snapshot import Difference, difference
from resilio.spending import BudgetUsage, Spending
from resilio.status import Status, status_of
from resilio.store import Ledger, open_ledger
from resilio.supervisor import Supervisor
from resilio.transport import Transport

if TYPE_CHECKING:
    from resilio.cache.embedding import Embedder
    from resilio.control.server import ControlServer
    from resilio.store.requests import RequestLog

__all__ = ["Client", "CompletionRequest", "Done", "StreamContext"]

logger = logging.getLogger("resilio")

MIN_PRICE_WAIT = 1.0
MAX_PRICE_WAIT = 3600.0
"""Seconds between two looks at the wall clock while a change of a price is awaited."""

CACHE_FEATURE: Final = "semantic cache"
"""What reports and rules know the embeddings of questions by: one batch holds those of many callers."""

JUDGE_FEATURE: Final = "resilio-judge"
"""What they know the audits of the semantic cache by."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One call for `Client.complete_many`: the arguments of `Client.complete`."""

    route: str
    messages: str | Sequence[Message]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments by name: user, deadline, temperature, ..."""


@dataclass(frozen=True, slots=True)
class Done:
    """How one of many calls ended: `reply` or `error`, never both."""

    index: int
    """Position of the request in what was passed in."""
    request: CompletionRequest
    reply: Reply | None = None
    error: ResilioError | None = None


@dataclass(frozen=True, slots=True)
class _Scope:
    """What `Client.scope` sets for every call inside it."""

    identity: Identity = field(default_factory=Identity)
    until: float | None = None
    priority: int | None = None
    caps: tuple[SpendCap, ...] = ()


_NO_SCOPE = _Scope()
_scope: ContextVar[_Scope] = ContextVar("resilio_scope", default=_NO_SCOPE)


class Client:
    """Opens the engine with `async with`; then any number of calls may run at once.

    Args:
        config: A checked `Config`, or the dict form of the TOML.
        listeners: Called with every event; see `resilio.events`.
        transport: For tests; the default is aiohttp, with a pool for each kind of network settings.
        rng: For reproducible runs: jitter and load balancing draw from it.
        wall: Unix clock, for hints that providers give as dates.
        control_socket: Unix socket on which `resilio ctl` reaches this client; default as configured, or none.
        executor: For tests on virtual time: where blocking work (embedding, searching, files) runs. Default: threads.
        ledger: Where spending is written down; default as configured by `ledger.path`. The client closes it.

    Raises:
        ConfigError: `config` is a dict and wrong.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any],
        *,
        listeners: Iterable[Listener] = (),
        transport: Transport | None = None,
        rng: random.Random | None = None,
        wall: Callable[[], float] = time.time,
        control_socket: str | os.PathLike[str] | None = None,
        executor: Executor | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._config = config if isinstance(config, Config) else configuration.load_config(config)
        self._priced = Priced(self._config)
        self._path: str | os.PathLike[str] | None = None
        self._watch: FileWatch | None = None
        self._control_socket = control_socket
        self._control: ControlServer | None = None
        self._ledger = ledger
        self._log: RequestLog | None = None
        self._listeners = list(listeners)
        self._transport = transport
        self._rng = rng if rng is not None else random.Random()
        self._wall = wall
        self._executor = executor
        self._engine: Engine | None = None
        self._dispatcher: Dispatcher | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pricing: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        """Held while a configuration's commands are asked for keys, lest an older one overtake a newer."""
        self._ids = itertools.count(1)
        self._prefix = f"req-{os.getpid():x}-{self._rng.getrandbits(32):08x}"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, watch: bool = False, **options: Any) -> Self:
        """Read `resilio.toml`; `options` are the constructor's.

        Args:
            path: The file; `reload()` reads it again.
            watch: Load it again whenever it changes; see `watch`.
            **options: As for the constructor.

        Raises:
            ConfigError: It is wrong; every problem is listed with its path and line.
        """
        seen = FileWatch(path)  # before it is read: a change meanwhile is not missed
        client = cls(configuration.load_config(path), **options)
        client._path = path
        client._watch = seen if watch else None
        return client

    @classmethod
    def of(cls, *models: str, **options: Any) -> Self:
        """A client from names of models alone, first choice first: one route, ``chat``, and no file.

        ``Client.of("anthropic/claude-sonnet-4-5", "gpt-4.1")`` asks Claude and, where that fails, GPT. What stands
        before the first "/" is a kind of provider (``resilio providers`` lists them), without one it is OpenAI's; keys
        are read from the variables they are kept in by convention, as `ANTHROPIC_API_KEY`.

        Args:
            *models: At least one.
            **options: As for the constructor.

        Raises:
            ConfigError: A prefix is unknown, or its key is not set; the message says which.
        """
        return cls({"route": {"chat": {"targets": list(models)}}}, **options)

    async def __aenter__(self) -> Self:
        if self._engine is not None:
            raise RuntimeError("this Client is open already; open it once and share it between tasks")
        loop = asyncio.get_running_loop()
        self._config = await first_secrets(self._config, None, self._executor)
        self._price(self._config)
        ledger, self._ledger = self._ledger, None
        if ledger is None:
            if self._config.budgets and not self._config.ledger.path:
                logger.warning(
                    "budgets are kept in memory and begin anew with every start; name a file in [ledger] path"
                )
            ledger = await open_ledger(self._config.ledger.path or None, executor=self._executor, wall=self._wall)
        supervisor = Supervisor(
            self._priced.config, clock=loop.time, rng=self._rng, listeners=self._listeners, executor=self._executor
        )
        self._engine = Engine(
            supervisor,
            self._transport if self._transport is not None else _aiohttp_transport(),
            loop.time,
            self._wall,
            self._rng,
            Spending(
                self.config.budgets, ledger, clock=loop.time, wall=self._wall, emit=partial(tell, self._listeners)
            ),
            self._listeners,
            self._tasks,
            self._executor,
        )
        self._dispatcher = Dispatcher(self._engine)
        self._dispatcher.cached.near.ask = self._judge
        self._dispatcher.checked.ask, self._dispatcher.checked.scope = self.complete, self.scope
        await supervisor.start()
        self._engine.spending.start()
        try:
            self._dispatcher.cached.near.embed = self._embed_for_cache
            self._dispatcher.cached.prepare()
            await self._start_log()
            await self._start_control()
            self._follow_prices()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine, dispatcher = self._engine, self._dispatcher
        self._engine = self._dispatcher = self._pricing = None
        if engine is None or dispatcher is None:
            return
        control, self._control = self._control, None
        try:
            try:
                if control is not None:
                    await control.aclose()
                await _cancel(self._tasks)
            finally:
                try:
                    await engine.supervisor.aclose(self.config.defaults.drain_timeout)
                finally:
                    await engine.spending.aclose()
        finally:
            try:
                await dispatcher.aclose()
            finally:
                try:
                    await self._stop_log()
                finally:
                    await engine.transport.aclose()

    # --- calls -------------------------------------------------------------------------------

    async def complete(
        self,
        route: str,
        messages: str | Sequence[Message],
        *,
        user: str | None = None,
        organisation: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        deadline: float | None = None,
        priority: int | None = None,
        cache: CacheMode = "use",
        cache_ttl: float | None = None,
        cache_namespace: str | None = None,
        cache_answers: int = 1,
        cache_seed: str | int | None = None,
        prompt_cache: PromptCacheMode | None = None,
        **wire: Any,
    ) -> Reply:
        """Ask, and get a whole answer or a precise error before the deadline.

        Args:
            route: Name of a route of the configuration.
            messages: A question, or OpenAI-shaped messages.
            user: Who asks; as the following, for reports and limits, not sent to providers.
            organisation: The user's organisation.
            feature: The part of your program that asks.
            session: A conversation or agent run.
            tags: Anything else to report by.
            deadline: Seconds from now by which there is an answer or an error; default as configured.
            priority: Place in queues: higher goes first.
            cache: With a cache configured: ``use`` it, ``refresh`` what it has, or ``skip`` it.
            cache_ttl: Seconds: an older answer is not wanted, and this one is kept for so long.
            cache_namespace: Entries of different namespaces are apart.
            cache_answers: Keep so many different answers to this request, and give one of them.
            cache_seed: Which of them: calls with the same seed get the same one; without, one at random.
            prompt_cache: ``auto`` or ``off``: whether the provider is to cache the prompt; default as the route says.
            **wire: Sent to the provider as they are: temperature, tools, max_tokens, ...

        Raises:
            Exhausted: Every target and rung was tried or refused; `attempts` lists what was sent.
            DeadlineExceeded: The time was over first.
            RequestRejected: Nothing was sent, and why.
            CheckDenied: A check of the route did not let the request or the answer pass.
            ProviderError: The request itself is at fault (`InvalidRequest`) or was refused (`ProviderRefused`).
        """
        dispatcher = self._open()
        control = cache_control(cache, cache_ttl, cache_namespace, cache_answers, cache_seed)
        call = self._call(
            route, messages, user, organisation, feature, session, tags, deadline, priority, wire, control,
            prompt_cache=_checked_mode(prompt_cache),
        )  # fmt: skip
        return await dispatcher.complete(call)

    def stream(
        self,
        route: str,
        messages: str | Sequence[Message],
        *,
        user: str | None = None,
        organisation: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        deadline: float | None = None,
        priority: int | None = None,
        cache: CacheMode = "use",
        cache_ttl: float | None = None,
        cache_namespace: str | None = None,
        cache_answers: int = 1,
        cache_seed: str | int | None = None,
        prompt_cache: PromptCacheMode | None = None,
        **wire: Any,
    ) -> StreamContext:
        """Ask for a stream: ``async with llm.stream(...) as stream: async for chunk in stream: ...``

        Entering waits for the first content: until then failures move on to other targets unseen. A stream
        that ends without its finish reason raises `StreamBroken` with the text so far. Arguments as for
        `complete`; `stream.reply` is there once the stream is over.
        """
        dispatcher = self._open()
        control = cache_control(cache, cache_ttl, cache_namespace, cache_answers, cache_seed)
        call = self._call(
            route, messages, user, organisation, feature, session, tags, deadline, priority, wire, control,
            prompt_cache=_checked_mode(prompt_cache),
        )  # fmt: skip
        return StreamContext(dispatcher, call)

    async def embed(
        self,
        route: str,
        texts: str | Sequence[str],
        *,
        user: str | None = None,
        organisation: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        deadline: float | None = None,
        priority: int | None = None,
        **wire: Any,
    ) -> EmbeddingReply:
        """Turn texts into vectors, under the same protections as any call.

        Texts go out in batches that every target of the route takes, several at a time, all within the deadline. A
        batch moves on to another target only if its vectors can be compared: same model, or same `embedding_space`.

        Args:
            route: Name of a route; all of its targets that can embed must make vectors of one space.
            texts: One text or many, none of them empty. No texts are no call.
            user: As for `complete`; so for the following.
            organisation: The user's organisation.
            feature: The part of your program that asks.
            session: A conversation or agent run.
            tags: Anything else to report by.
            deadline: Seconds from now by which all vectors are there.
            priority: Place in queues.
            **wire: Sent to the provider as they are: dimensions, ...

        Returns:
            A sequence of vectors in the order of the texts, with usage, cost and attempts of all batches.

        Raises:
            MalformedRequest: `texts` is not one or many texts, or one is empty. Nothing was sent.
            Unsupported: No target can embed, or the targets would mix vectors that cannot be compared.
            ResilioError: As for `complete`, for the first batch that failed; the others are cancelled.
        """
        dispatcher = self._open()
        inputs = checked_texts(texts)
        call = self._call(
            route, (), user, organisation, feature, session, tags, deadline, priority, wire, USE, inputs=inputs
        )
        return await dispatcher.embed(call)

    async def _embed_for_cache(self, route: str, texts: Sequence[str]) -> EmbeddingReply:
        """Embed questions of many callers at once: in the scope of none of them, and at the cost of none."""
        token = _scope.set(_NO_SCOPE)
        try:
            return await self.embed(route, texts, feature=CACHE_FEATURE)
        finally:
            _scope.reset(token)

    async def complete_many(
        self, requests: Iterable[CompletionRequest], *, max_concurrency: int = 64
    ) -> AsyncGenerator[Done, None]:
        """Answer many requests, some at a time, and hand out each result as it comes.

        A request that fails is a `Done` with its error and loses none of the others. Requests are taken from
        the iterable only when there is room for them. Leaving the loop early cancels what is in flight.

        Args:
            requests: May be a generator; it is advanced as capacity allows.
            max_concurrency: How many calls may be in flight at one time.

        Raises:
            ValueError: max_concurrency is under 1.
        """
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {max_concurrency}")
        pending: set[asyncio.Task[Done]] = set()
        numbered = iter(enumerate(requests))
        try:
            while True:
                for index, request in itertools.islice(numbered, max_concurrency - len(pending)):
                    task = asyncio.create_task(self._one(index, request))
                    # Held by the client too: closing it ends them even if this generator was dropped.
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    pending.add(task)
                if not pending:
                    return
                finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    yield task.result()
        finally:
            await _cancel(pending)

    async def _one(self, index: int, request: CompletionRequest) -> Done:
        try:
            reply = await self.complete(request.route, request.messages, **request.options)
        except ResilioError as exc:
            return Done(index, request, error=exc)
        return Done(index, request, reply=reply)

    @contextmanager
    def scope(
        self,
        *,
        user: str | None = None,
        organisation: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        max_cost_usd: float | None = None,
        deadline: float | None = None,
        priority: int | None = None,
    ) -> Iterator[None]:
        """Set what holds for every call inside, also in tasks started inside: a whole agent run.

        Scopes nest: what an inner one leaves out comes from the outer one; the sooner deadline wins, and what is
        spent inside counts against the caps of all of them.

        Args:
            user: As for `complete`, which overrides it; so for the following.
            organisation: The user's organisation.
            feature: The part of your program that asks.
            session: A conversation or agent run.
            tags: Added to those of outer scopes.
            max_cost_usd: All calls inside together never cost more. Each attempt reserves the most it can
                cost, so targets need a price, and an answer a limit (`max_tokens` or `max_output_tokens`).
            deadline: Seconds from now by which all of it must be done.
            priority: Place in queues.
        """
        outer = _scope.get()
        until = outer.until
        if deadline is not None:
            ends = asyncio.get_running_loop().time() + _checked_seconds(deadline)
            until = ends if until is None else min(until, ends)
        inner = _Scope(
            _identity(outer.identity, user, organisation, feature, session, tags),
            until,
            outer.priority if priority is None else priority,
            outer.caps if max_cost_usd is None else (*outer.caps, SpendCap(max_cost_usd)),
        )
        token = _scope.set(inner)
        try:
            yield
        finally:
            _scope.reset(token)

    def status(self) -> Status:
        """A frozen snapshot: providers, targets, breakers, limits, queues, caches.

        Raises:
            RuntimeError: The client is not open.
        """
        engine = self.engine
        dispatcher = self._open()
        caches, reduced = dispatcher.cached.statistics(), dispatcher.levels.reduced()
        held = engine.affinity.statistics()
        return status_of(engine.supervisor, caches, self._priced.unknown, engine.spending.status(), reduced, held)

    @property
    def embedder(self) -> Embedder | None:
        """What the semantic cache compares questions by, for whoever measures it; None: there is no such cache.

        Raises:
            RuntimeError: The client is not open.
        """
        near = self._open().cached.near.cache
        return None if near is None else near.encoder.embedder

    def purge_cache(
        self,
        *,
        tenant: str | None = None,
        user: str | None = None,
        namespace: str | None = None,
        tags: Mapping[str, str] | None = None,
        older_than: float | None = None,
    ) -> int:
        """Take answers out of the caches: those of which everything that is given holds; with nothing given, all.

        Args:
            tenant: Name of the organisation or API key they were asked for; ``default``: neither was named.
            user: The user who had asked.
            namespace: The `cache_namespace` of the call; ``""``: none.
            tags: The call had each of these tags, with this value.
            older_than: Stored so many seconds ago, or longer.

        Returns:
            How many there were.

        Raises:
            RuntimeError: The client is not open.
        """
        return self._open().cached.purge(Purge(tenant, user, namespace, tags or {}, older_than))

    # --- budgets -------------------------------------------------------------------------------

    async def usage(
        self,
        *,
        user: str | None = None,
        organisation: str | None = None,
        feature: str | None = None,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[BudgetUsage, ...]:
        """What is spent, reserved and left of every budget that a call of these entities would draw on.

        Entities that are not given come from the scope. Budgets over all calls are always among them.

        Raises:
            LedgerUnavailable: The ledger cannot be read.
        """
        engine = self.engine
        identity = _identity(_scope.get().identity, user, organisation, feature, None, tags)
        return await engine.spending.usage(identity if key is None else replace(identity, key=key))

    async def remaining(self, **entities: Any) -> dict[str, float]:
        """What is left of each of these budgets: ``{"user/day/tokens": 81_250}``. Arguments as for `usage`."""
        return {f"{its.budget}/{its.unit}": its.left for its in await self.usage(**entities)}

    def set_limit(
        self,
        budget: str,
        limit: float | None,
        *,
        entity: str | None = None,
        unit: Unit | None = None,
    ) -> None:
        """Set a limit while running; it holds from the next request on, and through reloads, in this process.

        What calls under way have reserved stays reserved. Other processes on the same ledger must be told too.

        Args:
            budget: Its name: ``user/day`` unless it was given another.
            limit: In tokens or US dollars. None: as configured again.
            entity: Whose. None: of all entities that have none of their own set this way.
            unit: Needed where the budget limits both.

        Raises:
            UnknownBudget: There is none of that name, or none in that unit.
            ValueError: The limit is negative, NaN or infinite, or `unit` is needed.
        """
        self.engine.spending.set_limit(budget, limit, unit=unit, entity=entity)

    # --- operation -----------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration that holds now."""
        return self._config

    async def reload(self, config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None) -> ConfigApplied:
        """Put another configuration in the place of this one: at once and whole, or not at all.

        Calls in flight finish under the one they began with. Providers that stay keep their circuits, limits and
        keys; new ones start; those that are gone drain in their own time, for which this does not wait.

        Args:
            config: As for the constructor, or the path of a file. None: the file of `from_file`, read again.

        Returns:
            What changed; the same goes to listeners.

        Raises:
            ConfigError: It is wrong, and the old one holds on unchanged. Listeners are told `ConfigRefused`.
        """
        async with self._reloading:
            applied = await self._reload(config)
        await asyncio.sleep(0)  # new actors take their first turn
        return applied

    async def _reload(self, config: Config | Mapping[str, Any] | str | os.PathLike[str] | None) -> ConfigApplied:
        now = asyncio.get_running_loop().time()
        wanted = self._path if config is None else config
        source = os.fspath(wanted) if isinstance(wanted, str | os.PathLike) else "configuration"
        try:
            if wanted is None:
                raise ConfigError(["this client was not read from a file; say what to load"])
            new = wanted if isinstance(wanted, Config) else configuration.load_config(wanted)
            if self._engine is not None:
                new = await first_secrets(new, self._config, self._executor)
            engine = self._engine
            if self._dispatcher is not None:
                self._dispatcher.cached.check(new)
            found = difference(self._config, new) if engine is None else self._reprice(engine, new)
        except ConfigError as exc:
            logger.warning("refused, the old configuration holds on: %s", exc)
            self._tell(ConfigRefused(source, exc.problems, now))
            raise
        self._config = new
        if engine is not None:
            engine.spending.reconfigure(new.budgets)
        if self._engine is not None:
            self._follow_prices()
        applied = ConfigApplied(*found, now, source)
        logger.info("%s applied: added %s, removed %s, changed %s", source, *found)
        for section in ("control", "ledger", "log"):
            if self._engine is not None and section in found.changed:
                logger.warning("[%s] has changed; it is read only when the client opens", section)
        self._tell(applied)
        return applied

    def watch(self, path: str | os.PathLike[str] | None = None) -> None:
        """Look at a file every `control.watch_interval` seconds and load it when it has changed.

        A change counts once the file has stood still for one interval. A wrong one is refused, with a
        `ConfigRefused` and a line in the log, and the old configuration holds on. Only one file is watched.

        Args:
            path: None: the file of `from_file`.

        Raises:
            ValueError: No path, and this client was not read from a file.
        """
        path = self._path if path is None else path
        if path is None:
            raise ValueError("this client was not read from a file; say which to watch")
        running, self._path, self._watch = self._watch is not None, path, FileWatch(path)
        if self._engine is not None and not running:
            self._start_watching()

    # --- prices --------------------------------------------------------------------------------

    def _price(self, config: Config) -> None:
        """Look up what the configuration leaves to look up; the only moment anything imports the package.

        Raises:
            ConfigError: A budget in US dollars is on a target whose price nobody knows.
        """
        found = priced(config, datetime.fromtimestamp(self._wall(), UTC))
        if found.config.budgets:
            from resilio.config.budgets import unpriced_budgets  # the reader of configurations comes with it

            if problems := unpriced_budgets(found.config):
                raise ConfigError(problems)
        before, self._priced = self._priced, found
        if self._priced.hint and self._priced.hint != before.hint:
            logger.info("the cost of %s is not known; %s", ", ".join(self._priced.unknown), self._priced.hint)

    def _reprice(self, engine: Engine, config: Config) -> Difference:
        """Run on this configuration, at the prices of now."""
        before = self._priced
        self._price(config)
        try:
            found = engine.supervisor.reconfigure(self._priced.config)
        except BaseException:
            self._priced = before
            raise
        return found

    def _follow_prices(self) -> None:
        """Have a task that waits for the next change of a price, where one is known to come."""
        if self._pricing is not None:
            self._pricing.cancel()
            self._pricing = None
        if self._priced.changes_at is not None:
            self._pricing = asyncio.get_running_loop().create_task(self._keep_priced(), name="resilio prices")
            self._tasks.add(self._pricing)
            self._pricing.add_done_callback(self._tasks.discard)

    async def _keep_priced(self) -> None:
        while (changes_at := self._priced.changes_at) is not None:
            left = changes_at.timestamp() - self._wall()
            # Wall clocks are set now and then, so no sleep is trusted for longer than a while.
            await asyncio.sleep(min(max(left, MIN_PRICE_WAIT), MAX_PRICE_WAIT))
            if self._wall() >= changes_at.timestamp() and self._engine is not None:
                try:
                    self._reprice(self._engine, self._config)
                except Exception:  # a bug; calls go on at the old prices until the next configuration
                    logger.exception("could not look prices up")
                    return

    def provider(self, name: str) -> ProviderControl:
        """One provider, to open, close, disable, drain or resume it by hand.

        Raises:
            RuntimeError: The client is not open.
            UnknownProvider: There is none of that name.
        """
        return ProviderControl(self.engine.supervisor, name)

    async def _start_log(self) -> None:
        settings = self._config.log
        if settings.path:
            from resilio.store.requests import RequestLog  # it imports sqlite3

            keep = None if settings.keep == "forever" else settings.keep
            self._log = await RequestLog.open(
                settings.path, keep=keep, max_queued=settings.max_queued, executor=self._executor, wall=self._wall
            )
            self._listeners.append(self._log)

    async def _stop_log(self) -> None:
        """Last, when no call can settle any more."""
        log, self._log = self._log, None
        if log is not None:
            self._listeners.remove(log)
            await log.aclose()

    async def _start_control(self) -> None:
        if self._watch is not None:
            self._start_watching()
        path = self._control_socket or self._config.control.socket
        if path:
            from resilio.control.server import ControlServer  # only who has a socket pays for it

            server = ControlServer(path, self)
            await server.start()
            self._control = server

    def _start_watching(self) -> None:
        task = asyncio.get_running_loop().create_task(self._keep_watching(), name="resilio watch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_watching(self) -> None:
        while (watch := self._watch) is not None:
            await asyncio.sleep(self._config.control.watch_interval)
            try:
                if watch.look() and watch is self._watch:
                    await self.reload(watch.path)
            except ConfigError:
                pass  # told by `reload`
            except Exception:  # a bug; the next change may be met better
                logger.exception("could not load %s", watch.path)

    def _tell(self, event: Event) -> None:
        if self._engine is not None:
            self._engine.emit(event)

    @property
    def engine(self) -> Engine:
        """The running engine, for tools that look inside; programs do not need it.

        Raises:
            RuntimeError: The client is not open.
        """
        self._open()
        assert self._engine is not None, "_open checks it"
        return self._engine

    async def _judge(self, route: str, prompt: str) -> str:
        """Ask a route whether two answers agree, for audits of the semantic cache.

        In the scope of nobody and at nobody's cost: the call that is audited has its answer, and its scope may be over.
        """
        token = _scope.set(_NO_SCOPE)
        try:
            return (await self.complete(route, prompt, feature=JUDGE_FEATURE, cache="skip")).text
        finally:
            _scope.reset(token)

    # --- inside ------------------------------------------------------------------------------

    def _open(self) -> Dispatcher:
        if self._dispatcher is None:
            raise RuntimeError("this Client is not open: use `async with Client(...) as llm`")
        return self._dispatcher

    def _call(
        self,
        route: str,
        messages: str | Sequence[Message],
        user: str | None,
        organisation: str | None,
        feature: str | None,
        session: str | None,
        tags: Mapping[str, str] | None,
        deadline: float | None,
        priority: int | None,
        wire: Mapping[str, Any],
        cache: CacheControl,
        inputs: Sequence[str] | None = None,
        prompt_cache: PromptCacheMode | None = None,
    ) -> Call:
        """Normalise what the caller wrote: fix the deadline as an instant, attach who asks."""
        engine = self._engine
        assert engine is not None, "_open was called before"
        if route not in self.config.routes:
            raise UnknownRoute(route, self.config.routes)
        scope = _scope.get()
        identity = _identity(scope.identity, user, organisation, feature, session, tags)
        request = Request(
            route,
            _messages(messages) if inputs is None else (),
            wire,
            identity,
            f"{self._prefix}-{next(self._ids)}",
            inputs=inputs,
        )
        if self.config.rules:
            request = self._ruled(engine, request)
        settings = self.config.routes[request.route]
        seconds = settings.deadline or self.config.defaults.deadline
        if deadline is not None:
            seconds = _checked_seconds(deadline)
        now = engine.clock()
        until = now + seconds
        if scope.until is not None and scope.until < until:
            until, seconds = scope.until, max(0.0, scope.until - now)
        return Call(
            engine,
            request,
            deadline=seconds,
            until=until,
            priority=priority if priority is not None else scope.priority or 0,
            caps=scope.caps,
            later_targets=0 if inputs is not None else sum(rung.asks for rung in settings.ladder) - 1,
            cache=cache,
            prompt_cache=prompt_cache,
        )

    def _ruled(self, engine: Engine, request: Request) -> Request:
        """The request on the route that the first rule that applies sends it to, if any does."""
        codec = engine.supervisor.routes[request.route].targets[0].codec
        rule = first_match(self.config.rules, request.route, request.identity, lambda: codec.estimate_tokens(request))
        if rule is None:
            return request
        return replace(request, route=rule.use, asked_route=request.route, rule=rule.name)


class StreamContext:
    """What `Client.stream` returns: entering opens the stream, leaving closes it, however that happens."""

    def __init__(self, dispatcher: Dispatcher, call: Call) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self._stream: Stream | None = None

    @property
    def request_id(self) -> str:
        """The call's own: known before it is entered, so that an error on the way in can be told with it."""
        return self._call.request.id

    async def __aenter__(self) -> Stream:
        if self._stream is not None:
            raise RuntimeError("a stream can be entered once; ask for another")
        self._stream = await self._dispatcher.open_stream(self._call)
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.leave()


def _aiohttp_transport() -> Transport:
    from resilio.transport.http import AiohttpTransport  # importing aiohttp costs more than all of resilio

    return AiohttpTransport()


def _identity(
    outer: Identity,
    user: str | None,
    organisation: str | None,
    feature: str | None,
    session: str | None,
    tags: Mapping[str, str] | None,
) -> Identity:
    if user is None and organisation is None and feature is None and session is None and not tags:
        return outer
    return Identity(
        user if user is not None else outer.user,
        organisation if organisation is not None else outer.organisation,
        feature if feature is not None else outer.feature,
        session if session is not None else outer.session,
        {**outer.tags, **tags} if tags else outer.tags,
    )


def _messages(messages: str | Sequence[Message]) -> Sequence[Message]:
    if isinstance(messages, str):
        return ({"role": "user", "content": messages},)
    given: Any = messages  # callers without a type checker pass anything
    if not isinstance(given, Sequence) or not given:
        raise MalformedRequest("messages must be a string or a non-empty list of messages")
    for position, message in enumerate(given):
        if not isinstance(message, Mapping) or "role" not in message:
            raise MalformedRequest(f'messages[{position}] must be a dict with a "role", not {message!r:.80}')
    return given


def _checked_mode(mode: Any) -> PromptCacheMode | None:
    if mode in (None, "auto", "off"):
        checked: PromptCacheMode | None = mode
        return checked
    raise MalformedRequest(f"prompt_cache must be 'auto' or 'off', not {mode!r:.80}")


def _checked_seconds(deadline: float) -> float:
    if not deadline > 0:  # also refuses NaN
        raise MalformedRequest(f"deadline must be seconds above 0, not {deadline!r}")
    return deadline


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for them to end; they are ours, and a cancelled call ends at once."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
