"""The semantic cache of one engine, as the configuration wants it: made, reconfigured, replaced and closed.

What of it can be known before the first call is checked when the client opens: a missing package, a route for embedding
that is not there, a threshold nobody has measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resilio.config.settings import UNCALIBRATED_THRESHOLD, SemanticCacheSettings
from resilio.dispatch.embedding import AT_ONCE, spaces
from resilio.errors import ConfigError, EmbedderUnavailable
from resilio.events import CacheThresholdChanged

if TYPE_CHECKING:
    from concurrent.futures import Executor, ThreadPoolExecutor

    from resilio.cache.agreement import Agreement
    from resilio.cache.bound import Change
    from resilio.cache.embedding import Embedder, Profile
    from resilio.cache.semantic.disk import Disk
    from resilio.cache.semantic.guarantee import Guarantee
    from resilio.cache.semantic.store import SemanticCache
    from resilio.dispatch.attempt import Engine

__all__ = ["Near"]

Embed = Callable[[str, Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Embeds texts over a route of this name."""

ROUTE: Final = "route:"
THREADS: Final = 2
"""For searches in large indexes and for files; embedders have threads of their own."""
NUMBERS_A_MILLISECOND: Final = 1024
"""Entries that could be stored in one without their numbers running ahead of the clock."""


class Near:
    """Owns the `SemanticCache`, or none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.cache: SemanticCache | None = None
        self._made_for: tuple[str, int | None, str] | None = None
        """Embedder, for a route the space of its vectors, dimension and path: with others it is another cache."""
        self._closing: set[asyncio.Task[None]] = set()
        self._disk: Disk | None = None
        self._own_threads: ThreadPoolExecutor | None = None
        self.embed: Embed | None = None
        """How texts are embedded at a provider; the client gives it, as the next."""
        self.ask: Callable[[str, str], Awaitable[str]] | None = None
        """How a route is asked a prompt."""

    def configure(self, settings: SemanticCacheSettings | None) -> None:
        """Go by these settings from now on.

        Raises:
            ConfigError: The embedder has no such threshold.
            EmbedderUnavailable: It cannot be had on this machine.
        """
        made_for = None
        if settings is not None:
            made_for = (self._model(settings), settings.embedder_dimension, settings.path)
        if made_for != self._made_for:
            if self.cache is not None:
                self._retire(self.cache)
            self.cache, self._made_for = None, made_for
        if settings is None:
            return
        if self.cache is None:
            self.cache = self._make(settings)
            return
        profile = _profile(settings, self.cache.encoder.embedder)
        learned = self.cache.guarantee
        self.cache.configure(settings, threshold=profile.threshold, strict=profile.strict)
        self.cache.guarantee = self._guarantee(settings, self.cache.encoder.embedder)
        if learned is not None and self.cache.guarantee is not None:
            self.cache.guarantee.restore(learned.to_dict())

    def check(self, settings: SemanticCacheSettings | None) -> None:
        """See that `configure` could go by these settings.

        Raises:
            ConfigError: It could not; says why.
        """
        if settings is None:
            return
        try:
            embedder = self._embedder(settings)
        except EmbedderUnavailable as exc:
            raise ConfigError([f"cache.semantic.embedder: {exc}"]) from exc
        _profile(settings, embedder)

    def _embedder(self, settings: SemanticCacheSettings) -> Embedder:
        from resilio.cache.embedding import EMBEDDERS, Means

        if not settings.embedder.startswith(ROUTE):
            return EMBEDDERS[settings.embedder](Means(self._engine.executor))
        route = settings.embedder.removeprefix(ROUTE)

        async def call(texts: Sequence[str]) -> Sequence[Sequence[float]]:
            assert self.embed is not None, "the client sets it before any call"
            return await self.embed(route, texts)

        dimension = settings.embedder_dimension or 0
        return EMBEDDERS["provider"](Means(self._engine.executor, call, self._model(settings), dimension))

    def _model(self, settings: SemanticCacheSettings) -> str:
        """What makes the vectors: for a route not its name, behind which the model may be changed."""
        if not settings.embedder.startswith(ROUTE):
            return settings.embedder
        route = self._engine.supervisor.routes.get(settings.embedder.removeprefix(ROUTE))
        return settings.embedder if route is None else "+".join(sorted(spaces(route)))

    def _make(self, settings: SemanticCacheSettings) -> SemanticCache:
        from resilio.cache.embedding.encoder import Encoder
        from resilio.cache.index import VectorIndex
        from resilio.cache.semantic.store import SemanticCache

        engine, executor = self._engine, self._threads()
        embedder = self._embedder(settings)
        profile = _profile(settings, embedder)
        cache = SemanticCache(
            settings,
            Encoder(embedder, max_batches=AT_ONCE if settings.embedder.startswith(ROUTE) else 1),
            threshold=profile.threshold,
            strict=profile.strict,
            make_index=lambda: VectorIndex(embedder.dimension, embedder.id, executor=executor),
            executor=executor,
            clock=engine.clock,
            rng=engine.rng,
            # Higher than those of any process before, by whose numbers saved vectors go.
            first_number=int(engine.wall() * 1000) * NUMBERS_A_MILLISECOND,
        )
        cache.guarantee = self._guarantee(settings, embedder)
        cache.warm_up(model=not settings.embedder.startswith(ROUTE))
        if settings.path:
            from resilio.cache.semantic.disk import Disk

            self._disk = Disk(cache, executor, wall=engine.wall, clock=engine.clock, after=self._closing)
            self._disk.start()
        return cache

    def _guarantee(self, settings: SemanticCacheSettings, embedder: Embedder) -> Guarantee | None:
        if settings.max_wrong is None:
            return None
        from resilio.cache.agreement import AnswersAgree, judged_by
        from resilio.cache.bound import Terms
        from resilio.cache.semantic.guarantee import Guarantee

        engine, judge = self._engine, settings.judge
        words = AnswersAgree(embedder)
        agree: Agreement = words
        how = words.basis
        if judge is not None:

            async def ask(prompt: str) -> str:
                assert self.ask is not None, "the client sets it before any call"
                return await self.ask(judge, prompt)

            agree, how = judged_by(ask, words), f"answers agree as route {judge} judges"

        def changed(namespace: str, change: Change) -> None:
            engine.emit(CacheThresholdChanged(namespace, *change, engine.clock()))

        guards = "strict guards" if _profile(settings, embedder).strict else "guards"
        return Guarantee(
            Terms(max_wrong=settings.max_wrong, confidence=settings.confidence, audit=settings.audit),
            agree,
            basis=f"{embedder.id}, {guards}, {how}",
            clock=engine.clock,
            rng=engine.rng,
            changed=changed,
        )

    def _threads(self) -> Executor:
        if self._engine.executor is not None:
            return self._engine.executor
        if self._own_threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._own_threads = ThreadPoolExecutor(THREADS, "resilio-semantic")
        return self._own_threads

    def _retire(self, cache: SemanticCache) -> None:
        disk, self._disk = self._disk, None

        async def close() -> None:
            if disk is not None:
                await cache.audited()
                await disk.aclose()
            await cache.aclose()

        task = asyncio.get_running_loop().create_task(close(), name="resilio semantic cache closes")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Save what is to be saved, and let go of threads."""
        if self.cache is not None:
            self._retire(self.cache)
            self.cache = self._made_for = None
        while self._closing:
            await asyncio.wait(set(self._closing))
        if self._own_threads is not None:
            self._own_threads.shutdown(wait=False)  # all that was handed to it has ended
            self._own_threads = None


def _profile(settings: SemanticCacheSettings, embedder: Embedder) -> Profile:
    """The threshold that holds: as written, else the profile's, as it was measured for this embedder."""
    from resilio.cache.embedding import Profile

    profiles = embedder.profiles
    if settings.calibration is not None:
        from resilio.cache.calibration import load_calibration

        measured = load_calibration(Path(settings.calibration))
        if measured.embedder != embedder.id:
            about = f"is about embedder {measured.embedder!r}, not {embedder.id!r}"
            raise ConfigError([f"cache.semantic.calibration: {settings.calibration} {about}"])
        profiles = {**profiles, **measured.profiles}
        if settings.threshold is not None and settings.threshold < measured.lowest:
            lowest = f"the lowest that {settings.calibration} bears out is {measured.lowest:g}"
            raise ConfigError([f"cache.semantic.threshold: is {settings.threshold:g}; {lowest}"])
    named = profiles.get(settings.profile)
    if settings.threshold is not None:
        return Profile(settings.threshold, strict=settings.profile == "safety" if named is None else named.strict)
    if named is None and settings.max_wrong is not None:  # audits find the threshold
        return Profile(UNCALIBRATED_THRESHOLD, strict=settings.profile == "safety")
    if named is None:
        known = ", ".join(profiles)
        text = f"{settings.profile!r} was never measured for embedder {embedder.id!r}, which has {known}"
        advice = "calibrate it (`resilio calibrate --write`) or use one of these"
        raise ConfigError([f"cache.semantic.profile: {text}; {advice}"])
    return named
