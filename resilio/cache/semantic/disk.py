"""Lets a `SemanticCache` outlive its process: loads what was saved, saves what has changed, in turns and at the end.

What goes wrong here costs entries and never a call: it is logged, and the cache goes on in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from resilio.cache.index import IndexUnusable, VectorIndex
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
    """

    def __init__(
        self, cache: SemanticCache, executor: Executor, *, wall: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._cache = cache
        self._executor = executor
        self._wall = wall
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._bounds: Mapping[str, Any] = {}
        """What was saved of them last."""

    def start(self) -> None:
        """Load, then save every `save_interval` seconds, until `aclose`."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="resilio semantic cache on disk")

    async def aclose(self) -> None:
        """Save what has changed, and let the folder go. Call it before the cache is closed."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        settings, embedder = self._cache.settings, self._cache.encoder.embedder.id
        try:
            folder = await self._in_thread(Folder, settings.path, embedder)
        except BlockingIOError:
            logger.warning("semantic cache: another process uses %s; entries of this one are not saved", settings.path)
            return
        except OSError as exc:
            logger.warning("semantic cache: %s cannot be used, entries are not saved: %s", settings.path, exc)
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
        try:
            async with asyncio.timeout(self._cache.settings.save_interval):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    async def _load(self, folder: Folder) -> None:
        shift = self._wall() - self._clock()
        saved = await self._in_thread(lambda: list(folder.read(wall_minus_now=shift)))
        for partition in saved:
            await self._take_in(partition)
        if (guarantee := self._cache.guarantee) is not None:
            guarantee.restore(await self._in_thread(folder.read_bounds))
        await self._cache.settled()

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
        """Save the partitions that have changed, the vectors first: without them a question is only embedded anew."""
        for digest in self._cache.changed():
            try:
                await self._save_partition(folder, digest)
            except Exception as exc:
                logger.warning("semantic cache: a partition could not be saved: %s: %s", type(exc).__name__, exc)
            else:
                continue
            self._cache.changed_again(digest)
        if (guarantee := self._cache.guarantee) is not None and (state := guarantee.to_dict()) != self._bounds:
            await self._in_thread(folder.write_bounds, state)
            self._bounds = state

    async def _save_partition(self, folder: Folder, digest: bytes) -> None:
        found = self._cache.partition(digest)
        if found is None:
            await self._in_thread(folder.forget, digest)
            return
        entries, index = found
        await index.save(folder.vectors(digest))
        shift = self._wall() - self._clock()
        await self._in_thread(lambda: folder.write(digest, entries, wall_minus_now=shift))

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.wrap_future(self._executor.submit(work, *args))
