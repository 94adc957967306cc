"""What a request asks of a model, whichever dialect it will be put into: capabilities, and a count of tokens.

Both read the OpenAI shape that callers speak and never fail: what is wrong with a message
`encode` says, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from resilio.models import Capability, Loss, Request
from resilio.tokens import prompt_size

__all__ = ["KEPT_THERE", "bound", "estimate_tokens", "needs"]

_PART_NEEDS: Final = {
    "image_url": Capability.IMAGES,
    "input_audio": Capability.AUDIO,
    "file": Capability.FILES,
}


KEPT_THERE: Final = frozenset({"background", "conversation", "previous_response_id", "prompt"})
"""Fields by which a caller of the Responses API speaks of what its server keeps: turns, an answer to come, a template.
No other dialect can honour them, and without them the request would be another one."""


def bound(wire: Mapping[str, object]) -> tuple[Loss, ...]:
    """What binds a request to a server of the Responses API, for all other dialects to tell; empty for most."""
    if KEPT_THERE.isdisjoint(wire):
        return ()
    names = [name for name in wire if name in KEPT_THERE and wire[name] not in (None, False)]
    return tuple(Loss(name, "it speaks of what a server of the Responses API keeps", needed=True) for name in names)


def needs(request: Request) -> frozenset[Capability]:
    """What the request needs beyond plain text."""
    wire = request.wire
    found: set[Capability] | None = None
    if wire.get("tools") or wire.get("functions"):
        found = {Capability.TOOLS}
    answer_format = wire.get("response_format")
    if isinstance(answer_format, Mapping) and answer_format.get("type") == "json_schema":
        found = {Capability.JSON_SCHEMA, *(found or ())}
    messages: Sequence[object] = request.messages
    for message in messages:
        if type(message) is not dict and not isinstance(message, Mapping):
            continue
        content = message.get("content")
        if content is None or isinstance(content, str) or not isinstance(content, Sequence):
            continue
        for part in content:
            need = _PART_NEEDS.get(str(part.get("type"))) if isinstance(part, Mapping) else None
            if need is not None:
                found = {need, *(found or ())}
    return _NOTHING if found is None else frozenset(found)


_NOTHING: Final[frozenset[Capability]] = frozenset()


def estimate_tokens(request: Request) -> int:
    """Tokens of the prompt for a model of which nothing is learned yet, at least 1: see `resilio.tokens`."""
    return prompt_size(request).tokens
