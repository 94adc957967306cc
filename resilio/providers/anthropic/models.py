"""What is known of Anthropic's models and API versions where it changes how a request is written.

Sources: the API's pages on versions, extended thinking and structured outputs (November 2026). Names are matched by
their beginnings, so that a dated or a cloud's name of a model is its model; an unknown name counts as new.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["answers_by_tool", "takes_sampling", "thinks", "thinks_on_budget"]

_NO_THINKING: Final = re.compile(r"claude-(?:2|instant|3-(?:opus|sonnet|haiku|5-))")
_BY_TOOL: Final = re.compile(r"claude-(?:2|instant|3|(?:opus|sonnet)-4-(?:[01](?!\d)|20)|4-)")
_BUDGET: Final = re.compile(_BY_TOOL.pattern + r"|claude-(?:opus|sonnet|haiku)-4-5")

NO_SAMPLING_FROM: Final = "2026-10-21"
"""From this version on `temperature`, `top_p` and `top_k` are rejected, even at their default values."""


def takes_sampling(version: str) -> bool:
    """Whether this API version knows sampling parameters; versions are dates."""
    return version < NO_SAMPLING_FROM


def answers_by_tool(model: str) -> bool:
    """Whether an answer in a JSON schema has to be asked for as a tool's call: models before structured outputs."""
    return _BY_TOOL.search(model) is not None


def thinks(model: str) -> bool:
    """Whether it can think at all."""
    return _NO_THINKING.search(model) is None


def thinks_on_budget(model: str) -> bool:
    """Whether thinking is measured in tokens (``enabled``), and not left to it (``adaptive``, with an effort)."""
    return _BUDGET.search(model) is not None
