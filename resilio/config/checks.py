"""Relations between settings that no single bound can say: rows of `AT_MOST` and names that resolve.

A configuration that passes here has no clock that never fires, no circuit that can never close and
no rung that is never reached. Nothing is corrected: a contradiction is the author's to resolve, and
the message says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from resilio.config.implied import unknown_provider
from resilio.config.nesting import circles, leaves
from resilio.config.problems import Path, Problems, listed, number, shown
from resilio.config.reader import Reader
from resilio.config.settings import (
    BreakerSettings,
    Clocks,
    ModelSettings,
    NestedRoute,
    ProviderSettings,
    RetryBudgetSettings,
    RetrySettings,
    RouteSettings,
    TargetSettings,
)

__all__ = ["check_cache_rungs", "check_descents", "check_routes", "check_table"]


@dataclass(frozen=True, slots=True)
class _AtMost:
    """In tables of `table`, `small` may not be above `large`, for then `consequence`.

    `explicit`: only where `small` was written down. A built-in clock longer than the total somebody
    chose is harmless and no mistake of theirs; the same clock written by hand is one.
    """

    table: type[Any]
    small: str
    large: str
    consequence: str
    explicit: bool = False


AT_MOST: Final = (
    _AtMost(BreakerSettings, "probe_successes", "max_probes", "the circuit could never close"),
    _AtMost(BreakerSettings, "probes_at_once", "max_probes", "no break has that many probes"),
    _AtMost(BreakerSettings, "break_duration", "max_break_duration", "the first would pass the longest"),
    _AtMost(BreakerSettings, "minimum_calls", "window_calls", "the window never holds enough for a rate"),
    _AtMost(RetrySettings, "base", "cap", "the first backoff would pass the longest"),
    _AtMost(RetryBudgetSettings, "initial", "maximum", "more would be in hand than can be saved up"),
    _AtMost(ModelSettings, "max_output_tokens", "context_window", "input and output share the window"),
    _AtMost(Clocks, "connect", "total", "this clock could never fire", explicit=True),
    _AtMost(Clocks, "first_token", "total", "this clock could never fire", explicit=True),
    _AtMost(Clocks, "idle", "total", "this clock could never fire", explicit=True),
)
_RATES: Final = ("failure_rate", "slow_rate")


def check_table(reader: Reader, made: object, path: Path) -> None:
    """Check one table just read against the rows of `AT_MOST`."""
    for rule in AT_MOST:
        if type(made) is rule.table:
            _check_order(reader, rule, made, path)
    if isinstance(made, BreakerSettings):
        for name in _RATES:
            where = (*path, name)
            if where in reader.written and getattr(made, name) == 0 and not reader.problems.touch(where):
                text = "is 0, which every window reaches: the circuit would open without a failure"
                reader.problems.add(where, f"{text}; expected more than 0")


def _check_order(reader: Reader, rule: _AtMost, made: object, path: Path) -> None:
    small, large = getattr(made, rule.small), getattr(made, rule.large)
    at_small, at_large = (*path, rule.small), (*path, rule.large)
    if small is None or large is None or small <= large:
        return
    if reader.problems.touch(at_small) or reader.problems.touch(at_large):
        return
    if rule.explicit and not _written(reader, at_small):
        return
    origin = "" if at_large in reader.written else " here, though not written"
    if at_small in reader.written or at_large not in reader.written:
        text = f"is {number(small)}, but {rule.large} is {number(large)}{origin}: {rule.consequence}"
        reader.problems.add(at_small, f"{text}; expected at most {number(large)}")
    else:
        unwritten = f"but {rule.small} is {number(small)} here, though not written"
        text = f"is {number(large)}, {unwritten}: {rule.consequence}"
        reader.problems.add(at_large, f"{text}; set {rule.small} too, to at most {number(large)}")


def _written(reader: Reader, path: Path) -> bool:
    """Whether a setting stands in the document: in its own table or in the `[defaults]` it comes from."""
    return path in reader.written or ("defaults", *path[-2:]) in reader.written


def check_routes(
    problems: Problems,
    routes: Mapping[str, RouteSettings],
    route_names: Mapping[str, Any],
    providers: Mapping[str, ProviderSettings | None],
) -> None:
    """Check that every name in every route resolves and that every rung can be reached.

    Args:
        problems: Where to note what is wrong.
        routes: The routes that could be read.
        route_names: All routes of the document, readable or not: those that could not are not unknown.
        providers: All providers of the document by name; None for one that could not be read.
    """
    for route in routes.values():
        path: Path = ("route", route.name)
        _check_targets(problems, route, providers, path)
        _check_nested(problems, route, routes, route_names, providers)
        _check_ladder(problems, route, routes, route_names, path)
    _check_circles(problems, routes)


def _check_targets(
    problems: Problems, route: RouteSettings, providers: Mapping[str, ProviderSettings | None], path: Path
) -> None:
    seen: dict[str, int] = {}
    for index, target in enumerate(route.targets):
        where = (*path, "targets", index)
        if isinstance(target, NestedRoute):
            continue
        if not (target.provider and target.model):
            continue  # could not be read, which has been noted
        if target.name in seen:
            problems.add(where, f"{shown(target.name)} is already targets[{seen[target.name]}]")
            continue
        seen[target.name] = index
        if target.provider not in providers:
            text = f"no provider is called {shown(target.provider)}{unknown_provider(target.provider, providers)}"
            problems.add(where, text)
            continue
        provider = providers[target.provider]
        if provider is not None:
            _check_model(problems, route, target, provider, where)
        total = route.clocks.total
        if target.first_token is not None and target.first_token > total:
            text = f"is {number(target.first_token)}, but clocks.total of the route is {number(total)}"
            problems.add((*where, "first_token"), f"{text}: this clock could never fire")


def _check_nested(
    problems: Problems,
    route: RouteSettings,
    routes: Mapping[str, RouteSettings],
    route_names: Mapping[str, Any],
    providers: Mapping[str, ProviderSettings | None],
) -> None:
    """Names of nested routes, what the route asks of their targets, and weights that leave nobody to prefer."""
    path: Path = ("route", route.name)
    seen: dict[str, int] = {}
    for index, each in enumerate(route.targets):
        where = (*path, "targets", index)
        if not isinstance(each, NestedRoute):
            continue
        if each.route not in route_names:
            problems.add(where, f"no route is called {shown(each.route)}{listed(each.route, route_names)}")
        elif each.route == route.name:
            problems.add(where, "a route cannot be nested in itself")
        elif each.route in seen:
            problems.add(where, f"route {shown(each.route)} is already targets[{seen[each.route]}]")
        seen.setdefault(each.route, index)
    for leaf in leaves(routes, route.name):
        provider = providers.get(leaf.target.provider) if leaf.through else None
        model = None if provider is None else provider.models.get(leaf.target.model)
        if model is not None and not problems.touch((*path, "max_output_tokens")):
            _check_output(problems, route, leaf.target, model, path)
    weighs = route.strategy in ("weighted", "least_loaded")
    if weighs and route.targets and not any(each.weight for each in route.targets):
        text = f"every weight is 0: strategy {route.strategy} would have nobody to prefer"
        problems.add((*path, "targets"), text)


def _check_model(
    problems: Problems, route: RouteSettings, target: TargetSettings, provider: ProviderSettings, where: Path
) -> None:
    model = provider.models.get(target.model)
    if model is None:
        named = f"provider {shown(provider.name)} lists no model {shown(target.model)}"
        add = f"; add models.{shown(target.model)} = {{}} to it" if not provider.models else ""
        problems.add(where, named + (add or listed(target.model, provider.models)))
        return
    _check_output(problems, route, target, model, where[:2])


def _check_output(
    problems: Problems, route: RouteSettings, target: TargetSettings, model: ModelSettings, path: Path
) -> None:
    most, wanted = model.max_output_tokens, route.max_output_tokens
    if most is not None and wanted is not None and wanted > most:
        text = f"is {wanted}, but {target.name} writes at most {most}; expected at most {most}"
        problems.add((*path, "max_output_tokens"), text)


def _check_ladder(
    problems: Problems,
    route: RouteSettings,
    routes: Mapping[str, RouteSettings],
    route_names: Mapping[str, Any],
    path: Path,
) -> None:
    asked = {leaf.target.name for leaf in leaves(routes, route.name)}
    seen: set[tuple[str, str | None]] = set()
    for index, rung in enumerate(route.ladder):
        where = (*path, "ladder", index)
        step = (rung.kind, rung.argument)
        if not rung.kind:
            continue  # could not be read, which has been noted
        if index == 0 and rung.kind != "full":
            problems.add(where, 'the first rung must be "full": the route\'s own targets')
        if step in seen:
            problems.add(where, "stands in this ladder already: the second time it could only fail again")
        elif rung.route is not None and rung.route not in route_names:
            problems.add(where, f"no route is called {shown(rung.route)}{listed(rung.route, route_names)}")
        elif rung.route == route.name:
            problems.add(where, "a route cannot be its own simpler route: its targets have just been tried")
        elif rung.route is not None and rung.route in routes:
            further = {leaf.target.name for leaf in leaves(routes, rung.route)}
            unread = problems.touch(("route", rung.route, "targets"))
            if further <= asked and not unread:
                text = f"every target of route {shown(rung.route)} has already been tried on the rungs above"
                problems.add(where, f"{text}, so this rung could only repeat them; leave it out or give it another")
            asked |= further
        seen.add(step)


def check_cache_rungs(problems: Problems, routes: Mapping[str, RouteSettings], caches: Any) -> None:
    """Check that a rung `cache` has a cache to look into; `caches`: the `CacheSettings`, where they could be read."""
    for route in routes.values():
        path: Path = ("route", route.name, "ladder")
        for index, rung in enumerate(route.ladder):
            if rung.kind != "cache":
                continue
            if route.cache == "skip":
                text = 'could never answer: nothing of this route is kept while its cache is "skip"'
                problems.add((*path, index), text)
            elif not problems.touch(("cache",)) and (
                caches is None or (caches.exact is None and caches.semantic is None)
            ):
                problems.add((*path, index), "could never answer: there is no cache; add [cache.exact]")


def check_descents(problems: Problems, routes: Mapping[str, RouteSettings], budgets: Sequence[object]) -> None:
    """Check that each level of a descent can be reached and leaves something of the ladder that is there."""
    for route in routes.values():
        descent, path = route.descent, ("route", route.name, "descent")
        if descent is None or problems.touch(path):
            continue
        if not budgets and not problems.touch(("budget",)):
            problems.add(path, "has nothing to go by: there is no [[budget]]")
        kinds = {rung.kind for rung in route.ladder}
        if descent.economy is not None and "simpler" not in kinds:
            text = "leaves nothing to answer: the ladder has no simpler rung"
            problems.add((*path, "economy"), f'{text}; add {{ simpler = "route" }} to it, or leave economy out')
        levels = ("economy", "cache_only", "shedding")
        named = [(name, share) for name in levels if (share := getattr(descent, name)) is not None]
        if not named:
            problems.add(path, f"leaves nothing out; set {', '.join(levels)} or some of them")
        for (lower, small), (higher, large) in pairwise(named):
            if small >= large:
                text = f"is {number(large)}, but {lower} is {number(small)}, so that {lower} is never reached"
                problems.add((*path, higher), f"{text}; expected more than {number(small)}")


def _check_circles(problems: Problems, routes: Mapping[str, RouteSettings]) -> None:
    """Refuse routes that lead back to where they came from, as simpler routes or as nested ones."""
    simpler = {
        name: [
            (index, rung.route)
            for index, rung in enumerate(route.ladder)
            if rung.route is not None and rung.route in routes
        ]
        for name, route in routes.items()
    }
    nested = {
        name: [
            (index, each.route)
            for index, each in enumerate(route.targets)
            if isinstance(each, NestedRoute) and each.route in routes
        ]
        for name, route in routes.items()
    }
    for kind, field, edges in (("simpler", "ladder", simpler), ("nested", "targets", nested)):
        for name, index, circle in circles(edges):
            problems.add(("route", name, field, index), f"{kind} routes go round in a circle: {circle}")
