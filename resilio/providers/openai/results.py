"""Pictures and files in the results of tools, which OpenAI's own servers take in messages of the user's alone.

Other dialects have a place for them, so conversations come with such results; a 400 would end them. They follow the
results of their round, in order, in one message. The rule that keeps it simple: text stays where it stood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from resilio.models import Message

__all__ = ["media_behind_results"]

_MEDIA: Final = frozenset({"image_url", "file", "input_audio"})


def media_behind_results(messages: Sequence[Message]) -> Sequence[Message]:
    """The same messages with media behind the results they came in; the very same object where there are none.

    A result of nothing else keeps an empty text, for every call has to have one.
    """
    given: Sequence[Any] = messages
    if not any(_media(its) for its in given):
        return messages
    made: list[Any] = []
    behind: list[Any] = []
    for message in given:
        if behind and not _is_result(message):
            made.append({"role": "user", "content": behind})
            behind = []
        found = _media(message)
        behind += found
        if found:
            left = [part for part in message["content"] if not any(part is one for one in found)]
            message = {**message, "content": left or ""}
        made.append(message)
    if behind:
        made.append({"role": "user", "content": behind})
    return made


def _is_result(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("tool", "function")


def _media(message: Any) -> list[Any]:
    """Parts of a tool's result that are no text."""
    content = message.get("content") if _is_result(message) else None
    if not isinstance(content, Sequence) or isinstance(content, str):
        return []
    return [part for part in content if isinstance(part, Mapping) and part.get("type") in _MEDIA]
