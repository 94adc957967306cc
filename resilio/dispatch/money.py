"""What an attempt may cost, and what it did: the one place where requests become amounts.

The most is what a hard limit reserves before sending: the estimated prompt and by how much it may exceed the estimate,
and the longest answer the request allows. Never a guess at the usual length: that is for rate limits. What cannot be
known is said to be unknown, with what to set, and a budget that counts it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from resilio.budget import Need, units_of
from resilio.config import Price
from resilio.models import Usage
from resilio.prices import cost_usd, worst_cost_usd
from resilio.routes import RouteTarget

if TYPE_CHECKING:
    from resilio.dispatch.call import Call, Plan

__all__ = ["answer_bound", "need_of", "used_of", "widest"]

_FREE: Final = Price(input=0.0, output=0.0)
_LIMITS: Final = ("max_completion_tokens", "max_tokens")


def need_of(call: Call, plan: Plan, target: RouteTarget) -> Need:
    """The most the plan's next attempt can use on this target."""
    wire = call.request.wire
    embeds = call.request.inputs is not None  # vectors are no tokens
    bound = 0 if embeds else answer_bound(wire, plan.route.settings.max_output_tokens)
    if bound is None:
        most, choices = target.model.max_output_tokens, _choices(wire)
        bound = None if most is None or choices is None else most * choices
    if bound is None:
        return Need(None, None, "set max_tokens or the route's max_output_tokens")
    carried = plan.carried if plan.carried and plan.way_on(target) == "prefill" else ""
    prompt = plan.most_input_tokens(target, carried)
    worst = worst_cost_usd(_price(target), prompt, bound, call.tier(target))
    if worst is None:
        return Need(prompt + bound, None, f"set a price for {target.name}")
    return Need(prompt + bound, units_of("usd", worst))


def used_of(call: Call, target: RouteTarget, usage: Usage) -> Need:
    """What an attempt on this target has used."""
    cost = cost_usd(_price(target), usage, call.tier(target))
    return Need(usage.total_tokens, None if cost is None else units_of("usd", cost))


def widest(needs: Iterable[Need]) -> Need:
    """The most of each; unknown where one of them is."""
    tokens: int | None = 0
    usd: int | None = 0
    advice = ""
    for need in needs:
        tokens = None if tokens is None or need.tokens is None else max(tokens, need.tokens)
        usd = None if usd is None or need.usd is None else max(usd, need.usd)
        advice = advice or need.advice
    return Need(tokens, usd, advice)


def answer_bound(wire: Mapping[str, Any], max_output_tokens: int | None) -> int | None:
    """The most tokens an answer can have, over all its choices; None: nothing that is sent upstream limits it.

    Where the caller sets both names the larger counts, as servers differ in which they heed. What is not a whole
    number above 0 limits nothing: -1 means no limit to some servers.
    """
    given = [wire[name] for name in _LIMITS if wire.get(name) is not None]
    choices = _choices(wire)
    if choices is None or not all(_counts(each) for each in given):
        return None
    bound = max(given) if given else max_output_tokens
    return None if bound is None else bound * choices


def _choices(wire: Mapping[str, Any]) -> int | None:
    number = wire.get("n")
    if number is None:
        return 1
    return number if _counts(number) else None


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _price(target: RouteTarget) -> Price | None:
    """Of a model on this machine without one: it costs nothing. Of any other it is unknown, never nothing."""
    price = target.model.price
    return _FREE if price is None and target.provider.settings.kind == "local" else price
