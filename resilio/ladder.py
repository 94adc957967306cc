"""The degradation ladder: what each rung does when the ones above it did not answer.

A rung is a row of `LADDER`. It gets the route's settings for it and a callable that tries a route; it
returns what that returns. Which errors let a call step down stands in `descend`, once for all rungs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from resilio.config import RouteSettings, RungSettings
from resilio.errors import Exhausted, RequestRejected, ResilioError, Unencodable
from resilio.models import Level

__all__ = ["LADDER", "Descent", "Rung", "descend"]

T = TypeVar("T")
TryRoute = Callable[[str], Awaitable[T]]


class Descent(Protocol):
    """What the ladder notes on a call as it goes down."""

    level: Level
    """The level of the rung that is being tried."""
    reasons: list[str]
    """Why each higher rung did not answer."""

    def step_down(self) -> None:
        """The call leaves a rung for the next."""
        ...


class _Runs(Protocol):
    def __call__(self, route: RouteSettings, rung: RungSettings, try_route: TryRoute[T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Rung:
    """One kind of rung: what it does, and the level it answers at."""

    run: _Runs
    level: Level


def _full(route: RouteSettings, rung: RungSettings, try_route: TryRoute[T], /) -> Awaitable[T]:
    """The route's own targets."""
    return try_route(route.name)


def _simpler(route: RouteSettings, rung: RungSettings, try_route: TryRoute[T], /) -> Awaitable[T]:
    """Another route, with simpler models."""
    assert rung.argument is not None, "the loader refuses a simpler rung without a route"
    return try_route(rung.argument)


LADDER: Final[dict[str, Rung]] = {
    "full": Rung(_full, Level.FULL),
    "simpler": Rung(_simpler, Level.SIMPLER),
}


async def descend(route: RouteSettings, try_route: TryRoute[T], call: Descent) -> T:
    """Try the rungs in order; the first that answers decides the level.

    A rung gives way when nothing in it was left to try, or when this process refused to send. It does
    not give way to a refusal by a model or a caller's own fault (asking another would dodge it), nor to
    the deadline, after which nobody is owed anything but the error.
    """
    last: ResilioError | None = None
    for rung in route.ladder:
        if last is not None:
            call.step_down()
        kind = LADDER[rung.kind]
        call.level = kind.level
        try:
            return await kind.run(route, rung, try_route)
        except Unencodable:
            raise
        except (Exhausted, RequestRejected) as exc:
            last = exc
            label = rung.kind if rung.argument is None else f"{rung.kind} ({rung.argument})"
            call.reasons.append(f"{label}: {str(exc).splitlines()[0]}")
    assert last is not None, "a ladder has at least one rung"
    raise last
