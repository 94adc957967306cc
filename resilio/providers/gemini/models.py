"""What is known of Gemini models where it changes how a request is written.

Sources: Google's pages on thinking, structured outputs and file inputs, and its table of reasoning efforts for clients
of OpenAI's dialect (November 2026). Names are matched by the number in them; a name without one counts as new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "EFFORTS",
    "checks_signatures",
    "fetches_urls",
    "sees_in_results",
    "takes_form_with_tools",
    "thinking",
    "validates",
]

_NUMBER: Final = re.compile(r"gemini-(\d+(?:\.\d+)?)")
_MINIMAL: Final = re.compile(r"gemini-3(?:\.[0-6])?-flash")
"""Models with a level below LOW."""
_NEWEST: Final = 99.0

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
BUDGETS: Final[Mapping[str, int]] = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
"""Tokens for each effort of models 2.5; above them a model's most."""
_MOST: Final = (24_576, 32_768)
"""Tokens that Flash and Pro of 2.5 may think at most."""
_LEAST_OF_PRO: Final = 128


def _generation(model: str) -> float:
    found = _NUMBER.search(model)
    return float(found[1]) if found else _NEWEST


def checks_signatures(model: str) -> bool:
    """Whether a call that is sent back without the signature of its thought is refused."""
    return _generation(model) >= 3


def sees_in_results(model: str) -> bool:
    """Whether a function's result may hold pictures."""
    return _generation(model) >= 3


def takes_form_with_tools(model: str) -> bool:
    """Whether an answer may be held to JSON while there are functions to call."""
    return _generation(model) >= 3


def validates(model: str) -> bool:
    """Whether calls can be held to their schema while none is forced."""
    return _generation(model) >= 2.5


def fetches_urls(model: str) -> bool:
    """Whether the Gemini API fetches what a URL of the web points to for it."""
    return _generation(model) >= 2.5


def thinking(effort: str, model: str) -> tuple[dict[str, Any] | None, str | None]:
    """`thinkingConfig` for an effort, and where that is less or more than was asked for, why.

    Models from 3 on have levels, those of 2.5 a budget in tokens, older ones do not think.
    """
    generation = _generation(model)
    if effort not in EFFORTS:
        return None, f"there is no effort {effort!r}"
    if generation < 2.5:
        return None, None if effort == "none" else f"{model} does not think"
    if generation < 3:
        return _budget(effort, pro="pro" in model)
    least = "MINIMAL" if _MINIMAL.search(model) else "LOW"
    if effort == "none":
        return {"thinkingLevel": least}, None if least == "MINIMAL" else f"{model} always thinks"
    level, why = effort.upper(), None
    if effort == "minimal":
        level = least
    elif effort == "medium" and "gemini-3-pro" in model:
        level = "HIGH"
    elif effort in ("xhigh", "max"):
        level, why = ("HIGH", "no more than high, and sent as that") if generation < 4 else ("XHIGH", None)
    return {"thinkingLevel": level, "includeThoughts": True}, why


def _budget(effort: str, *, pro: bool) -> tuple[dict[str, Any], str | None]:
    if effort == "none":
        return {"thinkingBudget": _LEAST_OF_PRO if pro else 0}, "it always thinks" if pro else None
    return {"thinkingBudget": BUDGETS.get(effort, _MOST[pro]), "includeThoughts": True}, None
