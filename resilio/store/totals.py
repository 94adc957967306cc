"""Sums over the request log: calls, tokens and dollars, by model, user, feature, tag or anything else it holds.

Only reads, and may run beside programs that write: all of it sees the log of one moment. The database adds up; what
comes back is one row a group. Nothing here knows a calendar or what a change means: spans are Unix seconds, from the
first inclusive to the second exclusive. The rule that keeps sums honest: a cost that is not known is counted apart,
with its tokens, and never added as 0.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from resilio.errors import LedgerUnavailable, ResilioError
from resilio.store.files import connect, unavailable
from resilio.store.requests import REQUESTS

__all__ = ["DIMENSIONS", "TAG", "LogUnreadable", "Moments", "Moves", "RequestTotals", "Totals", "reading"]

DIMENSIONS: Final = (
    "model", "target", "route", "asked_route", "level", "final", "user", "organisation", "feature", "session", "key",
    "cached",
)  # fmt: skip
"""Columns that calls can be grouped by; and ``tag:NAME``."""
TAG: Final = "tag:"

_HIT, _PRICED, _UNPRICED, _UNANSWERED = range(4)
_CLASS: Final = f"""
CASE WHEN cached IS NOT NULL AND cost_usd = 0 THEN {_HIT}
     WHEN cost_usd IS NOT NULL THEN {_PRICED}
     WHEN final IN ('complete', 'partial') OR input_tokens > 0 OR output_tokens > 0 THEN {_UNPRICED}
     ELSE {_UNANSWERED} END"""
_SUMS: Final = """
count(*), total(cost_usd), total(input_tokens), total(output_tokens), total(cache_read_tokens),
total(cache_write_tokens), total(reasoning_tokens), total(saved_usd), count(saved_usd), total(attempts > 0),
total(prompt_saved_usd), count(moved_from), total(rewritten_tokens), total(rewritten_usd)"""
_COUNTED: Final = 15
"""Columns of a group: its class, a count and these sums."""
_VARIABLES: Final = ("output_tokens", "input_tokens", "cache_read_tokens", "cache_write_tokens")
_PAIRS: Final = tuple((left, right) for left in range(4) for right in range(left, 4))
_MOMENTS: Final = ", ".join(
    [f"total(1.0 * {_VARIABLES[left]} * {_VARIABLES[right]})" for left, right in _PAIRS]
    + [f"total(cost_usd * {name})" for name in _VARIABLES]
    + ["total(cost_usd * cost_usd)"]
)
_STEPS: Final = 20_000
"""Of SQLite's machine between two looks whether somebody wants it to stop: well under a tenth of a second."""


class LogUnreadable(ResilioError):
    """The request log cannot be read, and why."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"request log {path!r} cannot be read: {why}")


class Totals(NamedTuple):
    """Sums over a group of calls. Every call is one of four: a hit, priced, unpriced or unanswered."""

    hits: int = 0
    """Answered by our cache, for nothing; a hit for which a model was paid in vain before is priced."""
    saved_usd: float = 0.0
    """What the answers that hits repeat had cost, as far as that is known."""
    saved_unknown: int = 0
    """Hits of which it is not."""
    priced: int = 0
    """Answered, at a cost that is known."""
    cost_usd: float = 0.0
    """Of those that are priced; so are the tokens that follow."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    unpriced: int = 0
    """Answered, at a cost nobody knows."""
    unpriced_input: int = 0
    unpriced_output: int = 0
    unanswered: int = 0
    """Failed, refused or cancelled, with no usage known."""
    unanswered_sent: int = 0
    """Of these, how many had gone out to a provider: it may have billed them."""
    prompt_saved_usd: float = 0.0
    """What providers' prompt caches saved of `cost_usd`, writing set against reading."""
    moves: int = 0
    """Calls that went on with a conversation at another target than held it."""
    rewritten_tokens: int = 0
    """Tokens of prompts that were read anew because of that."""
    rewritten_usd: float = 0.0
    """What they cost more than from a cache; part of `cost_usd`."""

    @property
    def calls(self) -> int:
        """All of them."""
        return self.hits + self.priced + self.unpriced + self.unanswered

    @property
    def answered(self) -> int:
        """By a model, our cache or a static answer."""
        return self.hits + self.priced + self.unpriced

    @property
    def all_input(self) -> int:
        """Input tokens whatever is known of their cost."""
        return self.input_tokens + self.unpriced_input

    @property
    def all_output(self) -> int:
        """Output tokens whatever is known of their cost."""
        return self.output_tokens + self.unpriced_output

    def plus(self, other: Totals) -> Totals:
        """The sums over both groups."""
        return Totals._make(mine + its for mine, its in zip(self, other, strict=True))


class Moments(NamedTuple):
    """Sums of products over priced calls, of which a fit of cost to tokens is made.

    Attributes:
        products: Of two of output, input, cache read and cache write tokens (in this order): the upper triangle of
            the symmetric 4 x 4 matrix, row by row.
        with_cost: Of each of the four and the cost.
        cost_squared: Of the cost and itself.
    """

    products: tuple[float, ...] = (0.0,) * len(_PAIRS)
    with_cost: tuple[float, ...] = (0.0,) * 4
    cost_squared: float = 0.0

    def plus(self, other: Moments) -> Moments:
        """The sums over both groups."""
        return Moments(
            tuple(map(sum, zip(self.products, other.products, strict=True))),
            tuple(map(sum, zip(self.with_cost, other.with_cost, strict=True))),
            self.cost_squared + other.cost_squared,
        )


class Moves(NamedTuple):
    """Conversations that went from one target to another, and what it took to read their beginnings anew there."""

    times: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    """More than from a cache, as far as it is known."""

    def plus(self, other: Moves) -> Moves:
        """Both together."""
        return Moves(self.times + other.times, self.tokens + other.tokens, self.cost_usd + other.cost_usd)


class RequestTotals:
    """A request log open for reading; see `reading`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def span(self) -> tuple[float, float] | None:
        """When the first and the last call ended; None: there is none."""
        first, last = self._connection.execute("SELECT min(at), max(at) FROM request").fetchone()
        return None if first is None else (first, last)

    def by(self, dimension: str, start: float, end: float) -> dict[str | None, Totals]:
        """Totals of the calls that ended in a span, by what they have in this dimension; None: they have nothing.

        Raises:
            ValueError: There is no such dimension.
        """
        found: dict[str | None, Totals] = {}
        for name, *row in self._grouped(dimension, start, end, ""):
            found[name] = found.get(name, Totals()).plus(_totals(row))
        return found

    def by_model(self, start: float, end: float) -> dict[str | None, tuple[Totals, Moments]]:
        """As `by`, for models, with what it takes to tell what each charged for a token."""
        found: dict[str | None, tuple[Totals, Moments]] = {}
        for name, *row in self._grouped("model", start, end, f", {_MOMENTS}"):
            totals, moments = found.get(name, (Totals(), Moments()))
            if row[0] == _PRICED:
                *sums, squared = row[-len(_PAIRS) - 5 :]
                moments = moments.plus(Moments(tuple(sums[: len(_PAIRS)]), tuple(sums[len(_PAIRS) :]), squared))
            found[name] = (totals.plus(_totals(row)), moments)
        return found

    def moves(self, start: float, end: float) -> dict[tuple[str, str], Moves]:
        """Moves of conversations in a span, by the target that held them and the one that went on."""
        sql = (
            "SELECT moved_from, target, count(*), total(rewritten_tokens), total(rewritten_usd) FROM request "
            "WHERE at >= ?1 AND at < ?2 AND moved_from IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return {
            (source, target): Moves(count, int(tokens), cost)
            for source, target, count, tokens, cost in self._connection.execute(sql, (start, end))
        }

    def _grouped(self, dimension: str, start: float, end: float, more: str) -> Iterator[Sequence[Any]]:
        if dimension.startswith(TAG):
            # By key, not by a path in JSON, which not every name can be written in.
            group = "(SELECT value FROM json_each(tags) WHERE key = ?3)"
        elif dimension in DIMENSIONS:
            group = f'"{dimension}"'
        else:
            raise ValueError(f"calls have no {dimension!r}; there are {', '.join(DIMENSIONS)} and tag:NAME")
        sql = (
            f"SELECT {group}, {_CLASS}, {_SUMS}{more} FROM request "  # noqa: S608
            "WHERE at >= ?1 AND at < ?2 GROUP BY 1, 2 ORDER BY 1, 2"
        )
        parameters = (start, end, dimension.removeprefix(TAG)) if dimension.startswith(TAG) else (start, end)
        yield from self._connection.execute(sql, parameters)


def _totals(row: Sequence[Any]) -> Totals:
    kind, count, cost, *sums = row[:_COUNTED]
    into, out, read, write, reasoning, saved, saved_known, sent, prompt_saved, moves, anew, anew_usd = (
        each if each % 1 else int(each) for each in sums
    )
    if kind == _HIT:
        return Totals(hits=count, saved_usd=float(saved), saved_unknown=count - saved_known)
    if kind == _PRICED:
        return Totals(
            priced=count, cost_usd=cost, input_tokens=into, output_tokens=out, cache_read_tokens=read,
            cache_write_tokens=write, reasoning_tokens=reasoning, prompt_saved_usd=float(prompt_saved), moves=moves,
            rewritten_tokens=anew, rewritten_usd=float(anew_usd),
        )  # fmt: skip
    if kind == _UNPRICED:
        return Totals(
            unpriced=count, unpriced_input=into, unpriced_output=out, moves=moves, rewritten_tokens=anew
        )  # fmt: skip
    return Totals(unanswered=count, unanswered_sent=sent)


@contextmanager
def reading(path: Path) -> Iterator[RequestTotals]:
    """Open a log to read it as it is now. Ctrl-C ends a long sum within a moment.

    Raises:
        LogUnreadable: There is no such file, or it is not a request log, or it is damaged.
    """
    try:
        if not path.is_file():
            raise LogUnreadable(str(path), "there is no such file")
        with closing(connect(path, REQUESTS, mode="ro")) as connection:
            _welcome(connection, path)
            connection.set_progress_handler(_look, _STEPS)
            connection.execute("BEGIN")  # one moment for all of it
            yield RequestTotals(connection)
    except (OSError, sqlite3.Error) as exc:
        if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None  # nothing else interrupts it
        known = unavailable(path, exc)
        raise LogUnreadable(str(path), known.why if isinstance(known, LedgerUnavailable) else str(exc)) from exc


def _look() -> int:
    """Go on. While SQLite works Python runs signal handlers here alone; what one raises makes SQLite stop."""
    return 0


def _welcome(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != REQUESTS.application_id:
        raise LogUnreadable(str(path), f"it is not a {REQUESTS.what}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != REQUESTS.version:
        newer = version > REQUESTS.version
        remedy = "update resilio" if newer else "open it once with a client, which brings it up to date"
        raise LogUnreadable(str(path), f"it has version {version}, this resilio reads {REQUESTS.version}; {remedy}")
