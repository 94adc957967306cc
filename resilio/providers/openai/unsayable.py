"""What a request may hold in the form of another dialect that no server of OpenAI's has one for.

Callers of Anthropic's dialect send such things, and `resilio.wire` leaves them as they are for targets that read them.
Sent on they are a 400, which would look like the caller's fault and end the call; told before, the next target that can
is asked. The rule that keeps it simple: only what is surely another dialect's; what is merely unknown goes out as it
came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from resilio.models import Loss, Request

__all__ = ["unsayable"]

_PARTS: Final = frozenset({"document", "image", "search_result", "container_upload"})
"""Anthropic's own kinds of blocks."""
_DATED: Final = re.compile(r".+_\d{8}")
"""A type of Anthropic's own tools: with the date of its version."""
_KEY: Final = "openai: unsayable"


def unsayable(request: Request) -> tuple[Loss, ...]:
    """All of it is needed: nothing of it can be left out of what was asked. Looked for once a request."""
    found: tuple[Loss, ...] | None = request.translations.get(_KEY)
    if found is None:
        found = request.translations[_KEY] = (*_parts(request.messages), *_tools(request.wire.get("tools")))
    return found


def _parts(messages: Sequence[Any]) -> Iterator[Loss]:
    for number, message in enumerate(messages):
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(content, list | tuple):
            continue
        for place, part in enumerate(content):
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind in ("text", "image_url"):
                continue
            path = f"messages[{number}].content[{place}]"
            if kind == "file" and _has_url(part.get("file")):
                yield Loss(path, "a document is sent as its bytes there, not by its URL", needed=True)
            elif isinstance(kind, str) and kind in _PARTS:
                yield Loss(path, f"{kind} is a kind of block of Anthropic's", needed=True)


def _has_url(file: Any) -> bool:
    return (
        isinstance(file, Mapping) and bool(file.get("file_url")) and not (file.get("file_data") or file.get("file_id"))
    )


def _tools(tools: Any) -> Iterator[Loss]:
    for number, tool in enumerate(tools if isinstance(tools, list | tuple) else ()):
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if isinstance(kind, str) and _DATED.fullmatch(kind):
            yield Loss(f"tools[{number}]", f"{kind} is a tool of Anthropic's own", needed=True)
