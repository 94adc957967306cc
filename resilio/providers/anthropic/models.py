"""What is known of Anthropic's models and API versions where it changes how a request is written.

Sources: the API's pages on versions, extended thinking, structured outputs and prompt caching. Names are matched by
their beginnings, so that a dated or a cloud's name of a model is its model; an unknown name counts as new.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "answers_by_tool",
    "cache_minimum",
    "samples",
    "samples_by_one",
    "takes_sampling",
    "thinks",
    "thinks_on_budget",
]

_NO_THINKING: Final = re.compile(r"claude-(?:2|instant|3-(?:opus|sonnet|haiku|5-))")
_BY_TOOL: Final = re.compile(r"claude-(?:2|instant|3|(?:opus|sonnet)-4-(?:[01](?!\d)|20)|4-)")
_BUDGET: Final = re.compile(_BY_TOOL.pattern + r"|claude-(?:opus|sonnet|haiku)-4-5")
_NO_SAMPLING: Final = re.compile(r"(?:opus|sonnet|haiku)-(?:4-[789]|[5-9])")
_ONE_SAMPLER: Final = re.compile(r"(?:opus-4-[156]|sonnet-4-[56]|haiku-4-5)(?!\d)")

_MINIMA: Final = (
    (re.compile(r"(?:opus|fable|mythos)-5"), 512),
    (re.compile(r"opus-4-7|claude-3-haiku|haiku-3|3-5-haiku"), 2048),
    (re.compile(r"opus-4-[56]|haiku-4-5|mythos"), 4096),
)
"""By the page on prompt caching and the release notes of Opus 5 and Fable 5. Opus 4.7 was listed with 4,096 at first.
Taken to be as the models before them, for nothing was found that says: Opus 5.5 and the later Fables. Clouds may keep
longer ones only (Bedrock says 1,024 for Fable 5)."""
CACHE_MINIMUM: Final = 1024
"""Tokens, of every other model: Opus 4.8, 4.1, 4 and 3, Sonnets up to 5; and of those of which nothing is known, as of
Sonnet 5.5 and Haiku 5.5, and whose names say nothing. Taken for too short, a prefix is only marked in vain."""

NO_SAMPLING_FROM: Final = "2026-10-21"
"""From this version on `temperature`, `top_p` and `top_k` are rejected, even at their default values."""


def takes_sampling(version: str) -> bool:
    """Whether this API version knows sampling parameters; versions are dates."""
    return version < NO_SAMPLING_FROM


def samples(model: str) -> bool:
    """Whether it takes sampling parameters: from Opus 4.7 on no model does, at values other than the defaults."""
    return _NO_SAMPLING.search(model) is None


def samples_by_one(model: str) -> bool:
    """Whether it takes only one of `temperature` and `top_p`: models from Opus 4.1 on."""
    return _ONE_SAMPLER.search(model) is not None


def answers_by_tool(model: str) -> bool:
    """Whether an answer in a JSON schema has to be asked for as a tool's call: models before structured outputs."""
    return _BY_TOOL.search(model) is not None


def thinks(model: str) -> bool:
    """Whether it can think at all."""
    return _NO_THINKING.search(model) is None


def thinks_on_budget(model: str) -> bool:
    """Whether thinking is measured in tokens (``enabled``), and not left to it (``adaptive``, with an effort)."""
    return _BUDGET.search(model) is not None


def cache_minimum(model: str) -> int:
    """Tokens of the shortest prefix that is cached; a breakpoint on a shorter one does nothing, without a word."""
    return next((tokens for names, tokens in _MINIMA if names.search(model)), CACHE_MINIMUM)
