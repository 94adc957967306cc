"""The request log: one row for each call that is over, for reports on what was asked and what it cost.

A listener: it turns `CallSettled` into a row, queues it and returns, so that no call waits for a disk. Rows are written
every 20 ms off the loop, without a sync each: power loss may take the last moments, as no budget stands on them. The
queue is bounded, and what does not fit is dropped and counted. Rows past their age are deleted now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from resilio.events import CallSettled, Event
from resilio.models import PromptCacheUse
from resilio.store.files import Layout, opened, unavailable

__all__ = ["COLUMNS", "REQUESTS", "RequestLog", "RequestLogStatistics"]

logger = logging.getLogger("resilio")

COLUMNS: Final = (
    "at", "request_id", "route", "asked_route", "target", "model", "level", "final", "user", "organisation", "feature",
    "session", "key", "tags", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "reasoning_tokens", "cost_usd", "saved_usd", "cached", "latency", "first_token", "attempts", "error",
    "prompt_saved_usd", "moved_from", "rewritten_tokens", "rewritten_usd",
)  # fmt: skip
"""Of the table `request`. `at` in Unix seconds; `tags` a JSON object; `cost_usd` and `saved_usd` null: not known;
`cached` the kind of hit, or null; `latency` and `first_token` in seconds; `attempts` how many. `prompt_saved_usd`: what
the provider's prompt cache saved; `moved_from`: the target that still held the conversation when `target` answered, or
null; `rewritten_tokens` and `rewritten_usd`: what was read anew because of that, and what it cost more (null: not
known)."""

REQUESTS: Final = Layout(
    what="request log",
    application_id=0x52534C32,
    synchronous="NORMAL",
    steps=(
        """
        CREATE TABLE request (
            id INTEGER PRIMARY KEY, at REAL NOT NULL, request_id TEXT NOT NULL, route TEXT NOT NULL,
            asked_route TEXT NOT NULL, target TEXT, model TEXT, level TEXT NOT NULL, final TEXT NOT NULL, user TEXT,
            organisation TEXT, feature TEXT, session TEXT, key TEXT, tags TEXT NOT NULL, input_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
            reasoning_tokens INTEGER NOT NULL, cost_usd REAL, saved_usd REAL, cached TEXT, latency REAL NOT NULL,
            first_token REAL, attempts INTEGER NOT NULL, error TEXT);
        CREATE INDEX request_at ON request (at);
        """,
        """
        ALTER TABLE request ADD COLUMN prompt_saved_usd REAL DEFAULT 0;
        ALTER TABLE request ADD COLUMN moved_from TEXT;
        ALTER TABLE request ADD COLUMN rewritten_tokens INTEGER DEFAULT 0;
        ALTER TABLE request ADD COLUMN rewritten_usd REAL DEFAULT 0;
        """,
    ),
)

_OF_A_ROW: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)
"""What says that a value is at fault, and not the file."""
_INSERT: Final = f"INSERT INTO request ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_NOTHING: Final = PromptCacheUse()
FLUSH_EVERY: Final = 0.02
"""Seconds."""
RETRY_AFTER: Final = 1.0
"""Seconds to leave a disk alone that did not take the rows."""
BATCH: Final = 1000
TIDY_EVERY: Final = 60.0
"""Seconds between two looks for rows past their age; each deletes at most a batch a time."""


@dataclass(frozen=True, slots=True)
class RequestLogStatistics:
    """Since it was opened: rows written, rows dropped, rows queued now."""

    written: int
    dropped: int
    queued: int


class RequestLog:
    """See the module; open one with `open`, and pass it to a client among its `listeners`. For one event loop."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, executor: Executor, *, own_executor: bool, keep: float | None,
        max_queued: int, wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self.path = path
        self._connection = connection
        self._executor = executor
        self._own_executor = own_executor
        self._keep = keep
        self._max_queued = max_queued
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Any, ...]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writing = threading.Lock()
        self._tidied_at = -TIDY_EVERY
        self._written = self._dropped = self._refused = 0
        self._failing = self._closed = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        keep: float | None = 90 * 86400.0,
        max_queued: int = 10_000,
        executor: Executor | None = None,
        wall: Callable[[], float] = time.time,
    ) -> Self:
        """Open the log, or make it. A damaged one is set aside, and a new one begun: no budget stands on it.

        Args:
            path: The file; not the ledger's.
            keep: Seconds after which rows are deleted; None: never.
            max_queued: Rows that may wait for the disk.
            executor: Where the file is used; default: a thread of its own.
            wall: Unix seconds.

        Raises:
            LedgerUnavailable: It cannot be used.
        """
        runs = executor or ThreadPoolExecutor(1, thread_name_prefix="resilio-requests")
        opening = runs.submit(_open, Path(path))
        try:
            connection = await asyncio.wrap_future(opening)
        except BaseException:
            opening.add_done_callback(lambda its: None if its.cancelled() or its.exception() else its.result().close())
            if executor is None:
                runs.shutdown(wait=False)
            raise
        return cls(
            Path(path), connection, runs, own_executor=executor is None, keep=keep, max_queued=max_queued, wall=wall
        )

    def __call__(self, event: Event, /) -> None:
        """Queue the row of a call that is over; other events are none of its business."""
        if not isinstance(event, CallSettled):
            return
        if self._closed or len(self._queue) >= self._max_queued:
            self._dropped += 1
            return
        self._queue.append(row_of(event))
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_EVERY, self._start)

    def statistics(self) -> RequestLogStatistics:
        """Rows written, dropped and queued."""
        return RequestLogStatistics(self._written, self._dropped + self._refused, len(self._queue))

    async def flush(self) -> None:
        """Write what is queued now, as far as the disk takes it."""
        await asyncio.wrap_future(self._executor.submit(self._write))

    async def aclose(self) -> None:
        """Write what is queued, and close."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self.flush()
        finally:
            if self._queue:
                logger.warning("request log %s: %d rows are lost", self.path, len(self._queue))
            await asyncio.wrap_future(self._executor.submit(self._connection.close))
            if self._own_executor:
                self._executor.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"<RequestLog {str(self.path)!r}: {self.statistics()}>"

    # --- inside ------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._closed:
            self._executor.submit(self._write_and_go_on)

    def _write_and_go_on(self) -> None:
        self._write()
        with contextlib.suppress(RuntimeError):  # the loop is closed; nobody adds rows any more
            self._loop.call_soon_threadsafe(self._rest)

    def _rest(self) -> None:
        self._timer = None
        if self._queue and not self._closed:
            self._timer = self._loop.call_later(RETRY_AFTER if self._failing else FLUSH_EVERY, self._start)

    def _write(self) -> None:
        """In the thread: write what is queued; what the disk does not take stays queued."""
        with self._writing:
            try:
                while self._queue:
                    rows = [self._queue[place] for place in range(min(BATCH, len(self._queue)))]
                    self._insert(rows)
                    for _ in rows:  # the loop only ever adds at the other end
                        self._queue.popleft()
                self._tidy()
                self._failing = False
            except sqlite3.Error as exc:
                if not self._failing:
                    logger.warning("%s", unavailable(self.path, exc))
                self._failing = True

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            with self._connection as connection:  # commits, or takes everything back
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, rows)
        except _OF_A_ROW:
            if len(rows) == 1:
                logger.warning("request log %s: this row cannot be written: %.500r", self.path, rows[0], exc_info=True)
                self._refused += 1
                return
            for row in rows:
                self._insert([row])
            return
        self._written += len(rows)

    def _tidy(self) -> None:
        now = time.monotonic()
        if self._keep is None or now - self._tidied_at < TIDY_EVERY:
            return
        delete = "DELETE FROM request WHERE id IN (SELECT id FROM request WHERE at < ? ORDER BY at LIMIT ?)"
        if self._connection.execute(delete, (self._wall() - self._keep, BATCH)).rowcount < BATCH:
            self._tidied_at = now  # else there are more: at the next rows


def row_of(event: CallSettled) -> tuple[Any, ...]:
    """The row of a call, in the order of `COLUMNS`."""
    identity, usage, cached, target = event.identity, event.usage, event.cached, event.target
    prompt = event.prompt_cache or _NOTHING
    return (
        event.at_unix, event.request_id, event.route, event.asked_route or event.route, target,
        None if target is None else target.partition("/")[2] or target, str(event.level), event.final,
        _text(identity.user), _text(identity.organisation), _text(identity.feature), _text(identity.session),
        _text(identity.key), _tags(event.tags), usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        usage.cache_write_5m_tokens + usage.cache_write_1h_tokens, usage.reasoning_tokens, event.cost_usd,
        None if cached is None else cached.saved_usd, None if cached is None else cached.kind, event.latency,
        event.first_token, len(event.attempts), _text(event.error), prompt.saved_usd, prompt.moved_from,
        prompt.rewritten_tokens, prompt.rewritten_usd,
    )  # fmt: skip


def _text(value: Any) -> str | None:
    """Text that SQLite takes: half a surrogate pair becomes a question mark."""
    return None if value is None else str(value).encode(errors="replace").decode()


def _tags(tags: Any) -> str:
    import json

    return json.dumps(dict(tags), default=str) if tags else "{}"


def _open(path: Path) -> sqlite3.Connection:
    """In the thread."""
    return opened(path, REQUESTS, check=False, anew=True)
