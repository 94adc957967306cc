"""What is known of models behind the Responses API where it changes how a request is written.

Source: OpenAI's pages on reasoning and on keeping it without a store (November 2026). An unknown name counts as new.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["reasons"]

_NO_REASONING: Final = re.compile(
    r"(?<![a-z0-9])(?:gpt-?[34]|chatgpt-|gpt-?5(?:[.]\d+)?-chat|deepseek|llama|mistral|phi-)|-chat-latest$",
    re.IGNORECASE,
)
"""Anywhere in the name: Azure's deployments bear any, often with the model's in it."""


def reasons(model: str) -> bool:
    """Whether it may reason in encrypted form, and so be asked for that; others answer with a 400."""
    return _NO_REASONING.search(model) is None
