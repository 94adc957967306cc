"""Nested routes, followed through a configuration: what stands where, and where it leads in a circle.

Pure questions about settings, asked by the checks, which refuse, and by `explain`, which tells. Names that do
not resolve and circles are passed over, so that a configuration with one mistake can be told all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from resilio.config.settings import NestedRoute, RouteSettings, TargetSettings

__all__ = ["Leaf", "circles", "first_shares", "leaves"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A target as a call of a route gets to it: the target, its place, and the nested routes on the way."""

    target: TargetSettings
    branch: int
    """Index in `targets` of the route itself."""
    through: tuple[str, ...] = ()


def leaves(routes: Mapping[str, RouteSettings], name: str) -> list[Leaf]:
    """All targets of a route in the configured order: each model once, at the first of its places."""
    found: dict[str, Leaf] = {}
    visited: set[str] = {name}
    pending: list[tuple[TargetSettings | NestedRoute, int, tuple[str, ...]]] = []
    pending += [(each, index, ()) for index, each in enumerate(routes[name].targets)][::-1]
    while pending:
        each, branch, through = pending.pop()
        if isinstance(each, TargetSettings):
            if each.provider:
                found.setdefault(each.name, Leaf(each, branch, through))
        elif each.route in routes and each.route not in visited:
            visited.add(each.route)
            path = (*through, each.route)
            pending += [(below, branch, path) for below in reversed(routes[each.route].targets)]
    return list(found.values())


def first_shares(routes: Mapping[str, RouteSettings], name: str) -> dict[str, float] | None:
    """By target, the share of the route's calls that ask it first; None where that is not known beforehand."""
    route = routes[name]
    count = len(route.targets)
    if route.strategy == "weighted":
        total = sum(each.weight for each in route.targets)
        own = [each.weight / total for each in route.targets]
    elif route.strategy == "round_robin":
        own = [1 / count] * count
    elif route.strategy == "priority" or count == 1:
        own = [1.0] + [0.0] * (count - 1)
    else:
        return None
    found: dict[str, float] = {}
    for each, share in zip(route.targets, own, strict=True):
        below = first_shares(routes, each.route) if isinstance(each, NestedRoute) and share else {}
        if below is None:
            return None
        for target, part in below.items() if isinstance(each, NestedRoute) else [(each.name, 1.0)]:
            found[target] = found.get(target, 0.0) + share * part
    return found


def circles(edges: Mapping[str, Sequence[tuple[int, str]]]) -> Iterator[tuple[str, int, str]]:
    """Names that lead back to where they came from; each circle once, those of one name not at all.

    Args:
        edges: From each name to the names it leads to, each with its index in the configuration.

    Yields:
        The name whose edge closes the circle, that edge's index, and the circle in words.
    """
    done: set[str] = set()
    for start in edges:
        trail = [] if start in done else [start]
        pending = [iter(edges[name]) for name in trail]
        while trail:
            for index, onward in pending[-1]:
                if onward in trail and onward != trail[-1]:
                    yield trail[-1], index, " -> ".join([*trail[trail.index(onward) :], onward])
                elif onward not in trail and onward not in done:
                    trail.append(onward)
                    pending.append(iter(edges[onward]))
                    break
            else:
                done.add(trail.pop())
                pending.pop()
