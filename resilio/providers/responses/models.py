"""What is known of models behind the Responses API where it changes how a request is written.

Source: OpenAI's pages on reasoning and on keeping it without a store (November 2026). An unknown name counts as new.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["reasons"]

_NO_REASONING: Final = re.compile(r"(?:^|[/:])(?:gpt-[34]|chatgpt-|gpt-5(?:[.]\d+)?-chat)|-chat-latest$")


def reasons(model: str) -> bool:
    """Whether it reasons, and so can be asked for its reasoning in encrypted form; others answer that with a 400."""
    return _NO_REASONING.search(model) is None
