"""What can be wrong with budgets: an entity nobody has, no limit, an unknown time zone, money without prices.

Reads settings alone; what may be spent is asked in `resilio.budget`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from resilio.config.nesting import leaves
from resilio.config.problems import Path, Problems, listed, nearest, shown
from resilio.config.reader import Reader
from resilio.config.settings import BudgetSettings, Config, ProviderSettings, RouteSettings

__all__ = ["check_budget", "check_budgets", "unpriced_budgets"]

PER: Final = ("user", "organisation", "feature", "key", "all")


def check_budget(reader: Reader, budget: BudgetSettings, path: Path) -> None:
    """Check one budget that was just read."""
    problems = reader.problems
    if not problems.touch((*path, "per")):
        _check_per(problems, budget, path)
    limits = {"limit_tokens": budget.limit_tokens, "limit_usd": budget.limit_usd}
    if all(limit is None for limit in limits.values()) and not any(problems.touch((*path, name)) for name in limits):
        problems.add(path, "has no limit; set limit_tokens, limit_usd or both")
    for name, limit in limits.items():
        own: Mapping[str, Any] = getattr(budget, f"{name}_for")
        if own and limit is None and not problems.touch((*path, name)):
            text = f"needs {name}: what holds for everybody else; write {name} = ... beside it"
            problems.add((*path, f"{name}_for"), text)
        for entity in own:
            if budget.only and entity not in budget.only:
                text = f"{shown(entity)} is not among only, so this limit would hold for nobody"
                problems.add((*path, f"{name}_for", entity), text)
    if budget.per == "all":
        for name in ("only", "limit_tokens_for", "limit_usd_for"):
            if getattr(budget, name):
                problems.add((*path, name), 'has no meaning for per = "all", which is one budget for everybody')
    _check_zone(reader, budget, path)


def _check_per(problems: Problems, budget: BudgetSettings, path: Path) -> None:
    per, where = budget.per, (*path, "per")
    if per in PER:
        return
    head, colon, tag = per.partition(":")
    if head == "tag" and tag.strip() and tag == tag.strip():
        return
    if per == "tag" or (head == "tag" and colon):
        problems.add(where, f'is {shown(per)}, which names no tag; write per = "tag:NAME", as in "tag:team"')
        return
    problems.add(where, f"is {shown(per)}{listed(per, (*PER, 'tag:NAME'))}")


def _check_zone(reader: Reader, budget: BudgetSettings, path: Path) -> None:
    where, zone = (*path, "time_zone"), budget.time_zone
    if where not in reader.written or reader.problems.touch(where) or reader.problems.touch((*path, "window")):
        return
    if budget.kind == "sliding" or not isinstance(budget.window, str):
        what = "a sliding window" if budget.kind == "sliding" else "a window of so many seconds"
        reader.problems.add(where, f"has no meaning for {what}, which follows no calendar; leave it out")
        return
    if zone == "UTC":
        return
    from zoneinfo import ZoneInfo, available_timezones  # only who names one pays for reading the database

    try:
        ZoneInfo(zone)
    except (OSError, ValueError):  # also ZoneInfoNotFoundError, which is a KeyError of its own kind
        pass
    except LookupError:
        pass
    else:
        return
    known = available_timezones()
    near = nearest(zone, sorted(known))
    hint = f"; did you mean {shown(near)}?" if near else '; expected a name such as "Europe/Berlin" or "UTC"'
    if not known:
        hint = '; this machine has no time zone database: install the package "tzdata"'
    reader.problems.add(where, f"no time zone is called {shown(zone)}{hint}")


def check_budgets(
    problems: Problems,
    budgets: Sequence[BudgetSettings | None],
    routes: Mapping[str, RouteSettings],
    providers: Mapping[str, ProviderSettings | None],
    *,
    looked_up: bool,
) -> None:
    """Check budgets together, and against what can be asked under them.

    Args:
        problems: Where to note what is wrong.
        budgets: In order; None for one that could not be read.
        routes: The routes that could be read.
        providers: All providers of the document by name; None for one that could not be read.
        looked_up: Prices that are not written may be found when the client opens; `unpriced_budgets` tells then.
    """
    seen: dict[str, int] = {}
    for index, budget in enumerate(budgets):
        if budget is None:
            continue
        path: Path = ("budget", index)
        if budget.title in seen and not (problems.touch((*path, "per")) or problems.touch((*path, "window"))):
            if budget.name:
                problems.add((*path, "name"), f"{shown(budget.name)} is the name of an earlier budget too")
            else:
                text = f"is called {shown(budget.title)}, as an earlier one is; give it a name of its own: name = ..."
                problems.add(path, text)
        seen.setdefault(budget.title, index)
        if budget.limit_usd is not None and not looked_up and (text := _lacking(routes, providers)):
            problems.add((*path, "limit_usd"), text)


def unpriced_budgets(config: Config) -> list[str]:
    """What is wrong with budgets in US dollars once every price that can be found was: one line each."""
    text = _lacking(config.routes, {provider.name: provider for provider in config.providers})
    return [f"budget.{its.title}.limit_usd: {text}" for its in config.budgets if text and its.limit_usd is not None]


def _lacking(routes: Mapping[str, RouteSettings], providers: Mapping[str, ProviderSettings | None]) -> str:
    """Why a limit in US dollars cannot be kept; empty: every price is known."""
    unpriced = sorted(set(_unpriced(routes, providers)))
    if not unpriced:
        return ""
    names = ", ".join(unpriced[:3]) + (f" and {len(unpriced) - 3} more" if len(unpriced) > 3 else "")
    give = "give the model price = { input = ..., output = ... }"
    return f"cannot be kept for {names}, whose price is not known; {give}, or limit tokens"


def _unpriced(routes: Mapping[str, RouteSettings], providers: Mapping[str, ProviderSettings | None]) -> Iterator[str]:
    """Targets that cost nobody knows what. A model on this machine costs nothing."""
    for name in routes:
        for leaf in leaves(routes, name):
            provider = providers.get(leaf.target.provider)
            model = None if provider is None else provider.models.get(leaf.target.model)
            if provider is not None and model is not None and model.price is None and provider.kind != "local":
                yield leaf.target.name
