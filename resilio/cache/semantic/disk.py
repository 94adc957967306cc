"""Lets a `SemanticCache` outlive its process: loads what was saved, saves what has changed, in turns and at the end.

What goes wrong here costs entries and never a call: it is logged, and the cache goes on in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from resilio.cache.index import IndexClosed, IndexUnusable, VectorIndex
from resilio.cache.semantic.entry import NearEntry
from resilio.cache.semantic.saving import Folder, SavedPartition
from resilio.cache.semantic.store import SemanticCache

__all__ = ["Disk"]

logger = logging.getLogger("resilio")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Disk:
    """The folder of one cache.

    Args:
        cache: What is loaded into and saved.
        executor: Where files are read and written.
        wall: Unix clock.
        clock: Monotonic seconds.
        after: Tasks to wait for first: of a cache that gives way to this one, and may have the same folder.
    """

    def __init__(
        self,
        cache: SemanticCache,
        executor: Executor,
        *,
        wall: Callable[[], float],
        clock: Callable[[], float],
        after: Collection[asyncio.Task[None]] = (),
    ) -> None:
        self._cache = cache
        self._executor = executor
        self._wall = wall
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._after = set(after)
        self._stopping = False
        self._wake = asyncio.Event()
        """Something is to be saved now: it was purged, or the cache closes."""
        self._bounds: Mapping[str, Any] = {}
        """What was saved of them last."""

    def start(self) -> None:
        """Load, then save every `save_interval` seconds and after each purge, until `aclose`."""
        self._cache.attach(self._wake.set)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="resilio semantic cache on disk")

    async def aclose(self) -> None:
        """Save what has changed, and let the folder go. Call it before the cache is closed."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        if self._after:
            await asyncio.wait(self._after)
            self._after.clear()
        settings, embedder = self._cache.settings, self._cache.encoder.embedder.id
        folder: Folder | None = None
        try:
            folder = await self._in_thread(Folder, settings.path, embedder)
        except BlockingIOError:
            logger.warning("semantic cache: another process uses %s; entries of this one are not saved", settings.path)
        except OSError as exc:
            logger.warning("semantic cache: %s cannot be used, entries are not saved: %s", settings.path, exc)
        if folder is None:
            self._cache.all_loaded(saves=False)
            return
        try:
            try:
                await self._load(folder)
                while not await self._told_to_stop():
                    await self._save(folder)
            finally:
                await self._save(folder)
        finally:
            folder.close()

    async def _told_to_stop(self) -> bool:
        """Wait until the next saving; True as soon as `aclose` was called. Nothing is ever cancelled half-way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._cache.settings.save_interval):
                await self._wake.wait()
        self._wake.clear()
        return self._stopping

    async def _load(self, folder: Folder) -> None:
        shift = self._wall() - self._clock()
        try:
            # The bounds first: until they are there, each request is audited.
            if self._cache.guarantee is not None:
                bounds = await self._in_thread(folder.read_bounds)
                if (guarantee := self._cache.guarantee) is not None:
                    guarantee.restore(bounds)
            saved = await self._in_thread(lambda: list(folder.read(wall_minus_now=shift)))
            for partition in saved:
                await self._take_in(partition)
        except Exception as exc:
            logger.warning("semantic cache: not all could be loaded: %s: %s", type(exc).__name__, exc)
        finally:
            self._cache.all_loaded(saves=True)

    async def _take_in(self, saved: SavedPartition) -> None:
        embedder = self._cache.encoder.embedder
        try:
            index = await VectorIndex.load(saved.vectors, embedder.dimension, embedder.id, executor=self._executor)
        except IndexUnusable as exc:
            logger.info("semantic cache: %s; questions are embedded anew", exc)
            index = None
        if index is not None and index.rebuilt_because is not None:
            logger.info("semantic cache: a graph is built anew: %s", index.rebuilt_because)
        await self._cache.take_in(saved.partition, saved.entries, index)

    async def _save(self, folder: Folder) -> None:
        """Bring the folder up to date: first what is gone goes, then what has changed is written."""
        changed = self._cache.changed()
        gone = [digest for digest in changed if self._cache.partition(digest) is None]
        try:
            await self._in_thread(folder.forget, gone)
            if (guarantee := self._cache.guarantee) is not None and (state := guarantee.to_dict()) != self._bounds:
                await self._in_thread(folder.write_bounds, state)
                self._bounds = state
        except OSError as exc:
            logger.warning("semantic cache: not all could be saved: %s", exc)
            for digest in gone:
                self._cache.changed_again(digest)
        for digest in changed:
            try:
                if (found := self._cache.partition(digest)) is not None:
                    await self._save_partition(folder, digest, *found)
            except IndexClosed:  # evicted this very moment; the next time it is gone
                self._cache.changed_again(digest)
            except Exception as exc:
                logger.warning("semantic cache: a partition could not be saved: %s: %s", type(exc).__name__, exc)
                self._cache.changed_again(digest)

    async def _save_partition(
        self, folder: Folder, digest: bytes, entries: Sequence[NearEntry], index: VectorIndex
    ) -> None:
        # The vectors first: an answer without one is embedded anew.
        await index.save(folder.vectors(digest))
        shift = self._wall() - self._clock()
        await self._in_thread(lambda: folder.write(digest, entries, wall_minus_now=shift))

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.wrap_future(self._executor.submit(work, *args))
