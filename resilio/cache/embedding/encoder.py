"""One vector for one text, as cheaply as many callers at once allow.

While a batch is being embedded, what is asked meanwhile waits and forms the next; a text asked twice is embedded
once, whether the first asking is over (it is remembered) or not (it is shared). A lone query waits for nobody: its
batch begins with the next turn of the loop. Left out: what vectors are compared with.

The rule: embedding runs in tasks of the encoder's own and each caller waits on a future of its own, so a caller who is
cancelled, however often, takes nothing from another; and state changes only between awaits.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from resilio.errors import (
    EmbedderUnavailable,
    InvalidRequest,
    MalformedRequest,
    RequestUnsuitable,
    Unencodable,
    Unsupported,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resilio.cache.embedding.base import Embedder, Vectors

    Vector: TypeAlias = NDArray[np.float32]

__all__ = ["Encoder", "EncoderStatistics"]

ENTRY_BYTES: Final = 150
"""What an entry of the memory takes beside its text and numbers: array, dict slot, objects. Measured."""
TEXT_AT_FAULT: Final = (InvalidRequest, RequestUnsuitable, MalformedRequest, Unencodable, Unsupported)
"""Errors that one text brings upon its whole batch, whether an endpoint refuses it or nothing was sent."""


@dataclass(frozen=True, slots=True)
class EncoderStatistics:
    """What an encoder has done since it was made, and holds now."""

    embedded: int
    """Texts sent to the embedder."""
    batches: int
    remembered: int
    """Asked and found in memory."""
    shared: int
    """Asked while the same text was on its way."""
    entries: int
    bytes: int
    """Memory of the entries, estimated."""
    waiting: int
    """Texts that no batch has taken yet."""


class Encoder:
    """Batches, shares and remembers the work of one embedder, which it closes at its end.

    Belongs to one event loop. Vectors it returns are read-only and shared.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_batch: int = 32,
        max_batches: int = 1,
        max_entries: int = 10_000,
        max_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        """Make one.

        Args:
            embedder: Does the work.
            max_batch: Texts in one batch.
            max_batches: Batches on their way at one time: 1 for one thread, more for an endpoint.
            max_entries: Texts remembered; the one longest unused goes first.
            max_bytes: Memory they may take, all told. 0 remembers nothing.
        """
        if max_batch < 1 or max_batches < 1:
            raise ValueError(f"max_batch and max_batches must be at least 1, not {max_batch} and {max_batches}")
        self.embedder: Final = embedder
        self._max_batch, self._max_batches = max_batch, max_batches
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._memory: dict[str, Vector] = {}  # the longest unused first
        self._bytes = 0
        self._waiting: dict[str, set[asyncio.Future[Vector]]] = {}
        """Texts no batch has taken, in the order they came, and who waits for each."""
        self._under_way: dict[str, set[asyncio.Future[Vector]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rising = False
        """A task was made that has not taken its first batch yet."""
        self._closed = False
        self._embedded = self._batches = self._remembered = self._shared = 0

    def __repr__(self) -> str:
        return f"<Encoder {self.embedder.id}: {len(self._memory)} remembered, {len(self._waiting)} waiting>"

    def vector_nowait(self, text: str) -> Vector | None:
        """The vector of a text that is remembered, else None; never starts anything."""
        vector = self._memory.pop(text, None)
        if vector is not None:
            self._memory[text] = vector
            self._remembered += 1
        return vector

    async def vector(self, text: str) -> Vector:
        """The vector of a text: float32, shape (dimension,), unit length, read-only.

        Raises:
            EmbedderUnavailable: The embedder cannot work here, or broke its promise.
            RuntimeError: `aclose` was called.
            Exception: Whatever else the embedder raised for the batch this text was in.
        """
        found = self.vector_nowait(text)
        if found is not None:
            return found
        if self._closed:
            raise self._closed_error()
        mine: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        waiters = self._under_way.get(text)
        if waiters is None:  # an empty set is one that everybody has left, and still on its way
            waiters = self._waiting.get(text)
        if waiters is not None:
            self._shared += 1
        else:
            waiters = self._waiting[text] = set()
            self._wake()
        waiters.add(mine)
        try:
            return await mine
        finally:
            waiters.discard(mine)
            if not waiters and self._waiting.get(text) is waiters:  # nobody wants it any more
                del self._waiting[text]

    def statistics(self) -> EncoderStatistics:
        """Counters so far and what is held now."""
        return EncoderStatistics(
            self._embedded,
            self._batches,
            self._remembered,
            self._shared,
            len(self._memory),
            self._bytes,
            len(self._waiting),
        )

    async def aclose(self) -> None:
        """End what is on its way, tell those who wait, close the embedder; may be called twice."""
        self._closed = True
        for waiters in (*self._waiting.values(), *self._under_way.values()):
            _fail(waiters, self._closed_error())
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            await self.embedder.aclose()

    # --- batches -------------------------------------------------------------------------------

    def _wake(self) -> None:
        """See to it that somebody takes what waits."""
        if self._rising or len(self._tasks) >= self._max_batches:
            return
        self._rising = True
        task = asyncio.get_running_loop().create_task(self._work(), name=f"resilio encoder {self.embedder.id}")
        self._tasks.add(task)

    async def _work(self) -> None:
        """Batch after batch, until nothing waits."""
        self._rising = False
        batch: list[str] = []
        try:
            while batch := self._take():
                if self._waiting:
                    self._wake()
                await self._embed(batch)
        finally:
            # Not by a callback: what comes before it ran would see a worker that takes nothing any more.
            self._tasks.discard(asyncio.current_task())
            for text in batch:  # there are some only where this task was cancelled
                for waiter in self._under_way.pop(text, ()):
                    waiter.cancel()

    def _take(self) -> list[str]:
        batch = list(islice(self._waiting, self._max_batch))
        for text in batch:
            self._under_way[text] = self._waiting.pop(text)
        return batch

    async def _embed(self, batch: Sequence[str]) -> None:
        """Embed, and hand out what came of it; never raises but when cancelled."""
        self._batches += 1
        self._embedded += len(batch)
        try:
            vectors = self._checked(await self.embedder.embed(batch), len(batch))
        except TEXT_AT_FAULT as error:
            if len(batch) == 1:
                _fail(self._under_way.pop(batch[0]), error)
                return
        except Exception as error:
            for text in batch:
                _fail(self._under_way.pop(text), error)
            return
        else:
            for text, row in zip(batch, vectors, strict=True):
                self._deliver(text, row)
            return
        # One text is at fault, and its neighbours are other people's: halve until it stands alone.
        await self._embed(batch[: len(batch) // 2])
        await self._embed(batch[len(batch) // 2 :])

    def _deliver(self, text: str, row: Vector) -> None:
        vector = row.copy()  # a row would keep its whole batch alive
        vector.flags.writeable = False
        self._remember(text, vector)
        for waiter in self._under_way.pop(text):
            if not waiter.done():
                waiter.set_result(vector)

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        import numpy as np

        due = (count, self.embedder.dimension)
        if vectors.shape != due or not np.isfinite(vectors).all():
            what = f"shape {vectors.shape}, not {due}" if vectors.shape != due else "numbers that are not finite"
            raise EmbedderUnavailable(self.embedder.id, f"it gave vectors of {what}")
        return vectors

    # --- memory --------------------------------------------------------------------------------

    def _remember(self, text: str, vector: Vector) -> None:
        size = _size(text, vector)
        if size > self._max_bytes or self._max_entries < 1:
            return
        self._memory[text] = vector
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._memory) > self._max_entries:
            oldest = next(iter(self._memory))
            self._bytes -= _size(oldest, self._memory.pop(oldest))

    def _closed_error(self) -> RuntimeError:
        return RuntimeError(f"the encoder of {self.embedder.id} is closed")


def _size(text: str, vector: Vector) -> int:
    return sys.getsizeof(text) + vector.nbytes + ENTRY_BYTES


def _fail(waiters: Iterable[asyncio.Future[Vector]], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
