"""The degradation ladder: what each rung does when the ones above it did not answer.

A rung is a row of `LADDER`. It gets the route's settings for it and a callable that tries a route; it
returns what that returns. Which errors let a call step down stands in `descend`, once for all rungs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from resilio.config import RouteSettings, RungSettings
from resilio.config.settings import RUNG_LABELS
from resilio.errors import AnswerUnfit, DeadlineExceeded, Exhausted, RequestRejected, ResilioError, Unencodable
from resilio.models import Level

__all__ = ["LADDER", "Descent", "NotCached", "NotHere", "NotStatic", "Rung", "Serving", "Ways", "descend"]

T = TypeVar("T")


class NotHere(Exception):
    """A rung that asks nobody has nothing to serve. It never reaches a caller: the error of the rungs above does."""


class NotCached(NotHere):
    """The cache has none."""


class NotStatic(NotHere):
    """No prepared answer fits."""


class Ways(NamedTuple, Generic[T]):
    """What rungs can call upon; dispatch gives it."""

    try_route: Callable[[str], Awaitable[T]]
    """Ask the targets of a route."""
    cached: Callable[[], Awaitable[T]]
    """The cached answer to this request or to one that means the same, past its time or not; raises `NotCached`."""
    static: Callable[[RungSettings], Awaitable[T]]
    """The prepared answer of this rung that fits; raises `NotStatic`."""


class Serving(Protocol):
    """What is left of a ladder."""

    def allows(self, kind: str) -> bool:
        """Whether a rung of this kind is tried."""
        ...

    def error(self) -> ResilioError:
        """What ends a call that no rung answers."""
        ...


class Descent(Protocol):
    """What the ladder notes on a call as it goes down."""

    level: Level
    """The level of the rung that is being tried."""
    label: str
    """What its reply says of its quality."""
    serving: Serving | None
    """What a budget that is nearly spent leaves of the ladder; None: all of it."""
    reasons: list[str]
    """Why each higher rung did not answer."""

    def step_down(self, *, asks: bool) -> None:
        """The call leaves a rung for the next, which asks targets or does not."""
        ...


class _Runs(Protocol):
    def __call__(self, route: RouteSettings, rung: RungSettings, ways: Ways[T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Rung:
    """One kind of rung: what it does, and the level it answers at."""

    run: _Runs
    level: Level
    at_once: bool = False
    """It takes no time, and so is open to a call whose deadline has come."""


def _full(route: RouteSettings, rung: RungSettings, ways: Ways[T], /) -> Awaitable[T]:
    """The route's own targets."""
    return ways.try_route(route.name)


async def _cache(route: RouteSettings, rung: RungSettings, ways: Ways[T], /) -> T:
    """An answer that was given to the same request before (stale-if-error, as in RFC 5861)."""
    return await ways.cached()


def _simpler(route: RouteSettings, rung: RungSettings, ways: Ways[T], /) -> Awaitable[T]:
    """Another route, with simpler models."""
    assert rung.argument is not None, "the loader refuses a simpler rung without a route"
    return ways.try_route(rung.argument)


async def _static(route: RouteSettings, rung: RungSettings, ways: Ways[T], /) -> T:
    """An answer that was written beforehand."""
    return await ways.static(rung)


LADDER: Final[dict[str, Rung]] = {
    "full": Rung(_full, Level.FULL),
    "cache": Rung(_cache, Level.CACHED, at_once=True),
    "simpler": Rung(_simpler, Level.SIMPLER),
    "static": Rung(_static, Level.STATIC, at_once=True),
}


async def descend(route: RouteSettings, ways: Ways[T], call: Descent) -> T:
    """Try the rungs in order; the first that answers decides the level.

    A rung gives way when nothing in it was left to try, when this process refused to send, or when a check does not
    take its answer and says to escalate. It does not give way to a refusal by a model or by a check, or to a caller's
    own fault (asking another would dodge it). After the deadline nobody is owed anything but the error, and what can
    be had at once.
    """
    last: ResilioError | None = None
    for rung in route.ladder:
        kind = LADDER[rung.kind]
        if call.serving is not None and not call.serving.allows(rung.kind):
            call.reasons.append(f"{rung.name}: {call.serving.error()}")
            last = last or call.serving.error()
            continue
        if isinstance(last, DeadlineExceeded) and not kind.at_once:
            call.reasons.append(f"{rung.name}: there was no time left to ask")
            continue
        if last is not None:
            call.step_down(asks=not kind.at_once)
        call.level = kind.level
        call.label = rung.label or RUNG_LABELS[rung.kind]
        try:
            return await kind.run(route, rung, ways)
        except Unencodable:
            raise
        except NotHere as exc:
            call.reasons.append(f"{rung.name}: {exc}")
        except (Exhausted, RequestRejected, DeadlineExceeded, AnswerUnfit) as exc:
            last = exc
            call.reasons.append(f"{rung.name}: {str(exc).splitlines()[0]}")
    assert last is not None, "a ladder begins with a rung that asks"
    try:
        raise last
    finally:
        del last  # else the error would keep itself, and all of the call, alive by this frame
