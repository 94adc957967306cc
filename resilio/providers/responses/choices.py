"""Log probabilities of a response, as the one choice of OpenAI's chat completions in which callers look for them.

The rule that keeps it simple: tokens go as they came, whole or in an event, and what is no token is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["openai_choices"]


def openai_choices(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The choice of a whole response or of one event; none without log probabilities."""
    parts = [raw] if raw.get("type") == "response.output_text.delta" else _parts(raw)
    content = [token for part in parts for token in _listed(part.get("logprobs"))]
    return [{"index": 0, "logprobs": {"content": content, "refusal": None}}] if content else []


def _parts(raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for item in _listed(raw.get("output")):
        if item.get("type") == "message":
            yield from _listed(item.get("content"))


def _listed(given: Any) -> list[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
