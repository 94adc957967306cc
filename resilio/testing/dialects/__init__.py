"""The wire formats a simulated provider speaks; the path of a request decides which.

To add one: a module like `anthropic`, and a row in `DIALECTS`.
"""

from __future__ import annotations

from typing import Final

from resilio.testing.dialects.anthropic import Anthropic
from resilio.testing.dialects.azure import Azure
from resilio.testing.dialects.base import Dialect
from resilio.testing.dialects.gemini import Gemini, GeminiArray
from resilio.testing.dialects.openai import OpenAI
from resilio.testing.dialects.responses import Responses

__all__ = ["DIALECTS", "PLAIN", "Dialect", "dialect_of"]

PLAIN: Final[Dialect] = OpenAI()
DIALECTS: Final[tuple[Dialect, ...]] = (Azure(), PLAIN, Anthropic(), GeminiArray(), Gemini(), Responses())


def dialect_of(path: str) -> Dialect:
    """The dialect whose chat endpoint this is, perhaps with a query; OpenAI's for all other paths."""
    return next((dialect for dialect in DIALECTS if dialect.speaks(path)), PLAIN)
