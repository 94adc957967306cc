"""What can be wrong with rules: names that do not resolve, and rules that earlier ones leave nothing to.

Reads settings alone; which rule applies to a call is asked in `resilio.rules`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from resilio.config.problems import Path, Problems, listed, shown
from resilio.config.settings import Condition, RuleSettings

__all__ = ["check_rules", "shadows"]


def check_rules(
    problems: Problems,
    rules: Sequence[RuleSettings | None],
    route_names: Mapping[str, Any],
) -> None:
    """Check that every name in every rule resolves and that every rule can apply to some call.

    Args:
        problems: Where to note what is wrong.
        rules: In order; None for one that could not be read.
        route_names: All routes of the document, readable or not.
    """
    names: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if rule is None:
            continue
        path: Path = ("rule", index)
        if rule.use and rule.use not in route_names:
            problems.add((*path, "use"), f"no route is called {shown(rule.use)}{listed(rule.use, route_names)}")
        for place, name in enumerate(rule.routes):
            if name not in route_names:
                text = f"no route is called {shown(name)}{listed(name, route_names)}"
                problems.add((*path, "routes", place), text)
        low, high = rule.when.min_input_tokens, rule.when.max_input_tokens
        if low is not None and high is not None and low > high:
            text = f"is {low}, but max_input_tokens is {high}: no prompt is that long and that short"
            problems.add((*path, "when", "min_input_tokens"), text)
        if rule.name and rule.name in names:
            problems.add((*path, "name"), f"{shown(rule.name)} is the name of an earlier rule too")
        names.setdefault(rule.name, index)
    whole = [rule for rule in rules if rule is not None]
    if len(whole) < len(rules) or any(problems.touch(("rule", index)) for index in range(len(rules))):
        return  # what shadows what would be guesswork
    for index in range(len(whole)):
        if earlier := shadows(whole, index, list(route_names)):
            said = " and ".join(f"rule {whole[each].name or each + 1}" for each in earlier)
            take = "takes" if len(earlier) == 1 else "take"
            text = f"never applies: {said} above {take} every call it could; put it above, or leave it out"
            problems.add(("rule", index), text)


def shadows(rules: Sequence[RuleSettings], index: int, routes: Sequence[str]) -> list[int]:
    """The earlier rules that together take every call the one at `index` could apply to; empty if some are left.

    Exact: conditions but for the size ask for equality, so for any set of earlier rules there is a call that meets
    just those of their conditions which the later rule implies. What decides is whether the sizes those
    cover leave a gap.

    Args:
        rules: All of them, in order.
        index: The rule in question.
        routes: Names of all routes: what a rule that names none applies to.
    """
    rule = rules[index]
    taken: set[int] = set()
    for route in rule.routes or routes:
        broader = [
            earlier
            for earlier in range(index)
            if (not rules[earlier].routes or route in rules[earlier].routes)
            and _asks_no_more(rules[earlier].when, rule.when)
        ]
        covering = _covering(rules, broader, *_sizes(rule.when))
        if not covering:
            return []
        taken |= covering
    return sorted(taken)


def _asks_no_more(earlier: Condition, later: Condition) -> bool:
    """Whether every call that meets `later` meets `earlier` too, its size aside."""
    single = ("user", "organisation", "feature")
    return all(getattr(earlier, name) in (None, getattr(later, name)) for name in single) and (
        earlier.tags.items() <= later.tags.items()
    )


def _sizes(when: Condition) -> tuple[float, float]:
    """The first and the last number of tokens; a prompt has at least one."""
    return when.min_input_tokens or 1, math.inf if when.max_input_tokens is None else when.max_input_tokens


def _covering(rules: Sequence[RuleSettings], broader: Sequence[int], first: float, last: float) -> set[int]:
    """Those of `broader` that together cover all sizes from `first` to `last`; none if they leave a gap."""
    used = set()
    for start, end, each in sorted((*_sizes(rules[each].when), each) for each in broader):
        if start > first:
            return set()
        if end >= first:
            used.add(each)
            if end >= last:
                return used
            first = end + 1
    return set()
