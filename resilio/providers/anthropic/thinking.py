"""`reasoning_effort` as Anthropic's thinking: a budget of tokens for older models, an effort for newer ones.

Thinking excludes a forced call, a prefilled answer and, on a budget, rounds of tools that began without it (as those do
that another provider began); each then costs the effort. A `thinking` of the caller's own is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilio.models import Loss
from resilio.providers.anthropic.messages import Conversation
from resilio.providers.anthropic.models import thinks, thinks_on_budget

__all__ = ["BUDGETS", "add_thinking"]

SMALLEST: Final = 1024
"""Tokens; a smaller budget is refused."""
BUDGETS: Final[Mapping[str, int]] = {
    "minimal": SMALLEST,
    "low": SMALLEST,
    "medium": 4096,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 65_536,
}
"""Tokens for each effort; at most half of `max_tokens`, which thinking and answer share."""
_EFFORTS: Final = {"minimal": "low"}
"""Efforts by another name there."""


def add_thinking(
    body: dict[str, Any], wire: Mapping[str, Any], model: str, talk: Conversation, *, forced: bool
) -> None:
    """Put the caller's effort into `body`, or its loss into `talk`."""
    given = wire.get("reasoning_effort")
    if given is None or "thinking" in body:
        return
    effort = str(given)
    budget = min(BUDGETS.get(effort, 0), body["max_tokens"] // 2)
    on_budget = thinks_on_budget(model)
    if effort == "none":
        if not on_budget:  # the older ones think only when told to
            body["thinking"] = {"type": "disabled"}
    elif effort not in BUDGETS:
        talk.losses.append(Loss("reasoning_effort", f"there is no effort {effort!r}"))
    elif why := _why_not(model, talk, budget if on_budget else None, forced=forced):
        talk.losses.append(Loss("reasoning_effort", why))
    elif on_budget:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": _EFFORTS.get(effort, effort), **body.get("output_config", {})}


def _why_not(model: str, talk: Conversation, budget: int | None, *, forced: bool) -> str | None:
    if not thinks(model):
        return f"{model} does not think"
    if forced:
        return "a call that is forced excludes thinking"
    if talk.prefilled:
        return "an answer that is begun already excludes thinking"
    if budget is None:
        return None
    if budget < SMALLEST:
        return f"max_tokens leaves no room to think; it takes {2 * SMALLEST}"
    if not talk.thought:
        return "these rounds of tools began without thinking"
    return None
