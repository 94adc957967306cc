"""OpenAI-shaped messages as items of a response's input: messages, calls and their results side by side.

Places and roles stay as they are. What has no form there is put down as a `Loss` and left out. The rule that keeps it
simple: one turn at a time, and a turn of the assistant's is either the very items that came or made from its message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resilio.models import Loss, Message
from resilio.providers.conversation import Call, Media, Native, Odd, Part, Text, Turn, alike, arguments_object, walk

__all__ = ["CALLS", "KEPT", "Conversation", "read_conversation"]

Item = dict[str, Any]

KEPT: Final = "responses_output"
"""The field of an assistant's message that holds the items as they came: ``{"provider": name, "items": [...]}``."""
CALLS: Final = ("function_call", "custom_tool_call")
"""Items that are calls of the caller's tools."""
_OWN_PARTS: Final = frozenset({"input_image", "input_file"})
_HINTS: Final = ("prompt_cache_breakpoint",)
_LONGEST_ID: Final = 64
"""Characters of a call's id; a longer one is refused."""


class Conversation:
    """The whole of it, as it is sent."""

    __slots__ = ("custom", "custom_ids", "items", "losses", "stored", "who")

    def __init__(self, who: str, custom: frozenset[str], *, stored: bool) -> None:
        self.items: list[Item] = []
        self.losses: list[Loss] = []
        self.who = who
        self.custom = custom
        """Names of tools that take any text."""
        self.custom_ids: set[str] = set()
        """Calls of those, whose results are items of another type."""
        self.stored = stored
        """Whether the server keeps responses, so that reasoning may be told by its id alone."""


def read_conversation(
    messages: Sequence[Message], who: str, custom: frozenset[str] = frozenset(), *, stored: bool = False
) -> Conversation:
    """Translate all messages.

    Args:
        messages: OpenAI-shaped.
        who: The provider that is asked: reasoning that another encrypted cannot be read there.
        custom: Names of tools that take any text in place of arguments.
        stored: The server keeps what it answers.
    """
    made = Conversation(who, custom, stored=stored)
    for turn in walk(messages):
        if turn.raw.get("name") and turn.role != "tool":
            made.losses.append(Loss(f"{turn.path}.name", "names of speakers are not known"))
        if turn.role == "assistant":
            made.items += _assistant(turn, made)
        elif turn.role == "tool":
            made.items.append(_result(turn, made))
        else:
            made.items += _said(turn, made.losses)
    return made


def _said(turn: Turn, losses: list[Loss]) -> list[Item]:
    """What the user, the system or the developer said."""
    role = "user" if turn.role == "user" else turn.raw["role"]
    content = _content(turn.parts, losses)
    return [{"role": role, "content": content}] if content is not None else []


def _assistant(turn: Turn, made: Conversation) -> list[Item]:
    kept = _kept(turn, made)
    if kept is None:
        kept = _made(turn, made)
    made.custom_ids.update(item["call_id"] for item in kept if item.get("type") == "custom_tool_call")
    return kept


def _kept(turn: Turn, made: Conversation) -> list[Item] | None:
    """The very items that came, if this server can read them and the message still has the same words and calls."""
    given = turn.raw.get(KEPT)
    items = given.get("items") if isinstance(given, Mapping) and given.get("provider") == made.who else None
    if not isinstance(items, Sequence) or isinstance(items, str) or not all(isinstance(one, Mapping) for one in items):
        return None
    calls = [item for item in items if item.get("type") in CALLS]
    if len(calls) != len(turn.calls) or not all(map(_same, calls, turn.calls)) or not turn.says(_words(items)):
        return None
    if not made.stored and any(one.get("type") == "reasoning" and not one.get("encrypted_content") for one in items):
        return None  # a name of something nobody kept
    return [
        {name: _id(value) if name == "call_id" else value for name, value in item.items() if name != "created_by"}
        for item in items
    ]


def _same(item: Mapping[str, Any], call: Call) -> bool:
    """Whether the message's call is still the one that came."""
    if (item.get("call_id"), item.get("name")) != (call.id, call.name):
        return False
    if item["type"] == "custom_tool_call":
        inner = call.raw.get("custom")
        return item.get("input") == (inner.get("input") if isinstance(inner, Mapping) else call.arguments)
    written = item.get("arguments")
    return isinstance(written, str) and alike(arguments_object(written), arguments_object(call.arguments))


def _words(items: Iterable[Mapping[str, Any]]) -> str:
    """The text of the messages among items, without refusals."""
    parts = [part for item in items if item.get("type") == "message" for part in _listed(item.get("content"))]
    return "".join(str(part.get("text")) for part in parts if part.get("type") == "output_text")


def _listed(given: Any) -> list[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list | tuple) else []


def _made(turn: Turn, made: Conversation) -> list[Item]:
    words = []
    for part in turn.parts:
        if isinstance(part, Text):
            words.append(part.text)
        else:
            why = part.why if isinstance(part, Odd) else "the assistant's turns hold text alone"
            made.losses.append(Loss(part.path, why, needed=True))
    text = "".join(words)
    items: list[Item] = [{"role": "assistant", "content": text}] if text else []
    return items + [_call(call, made.custom) for call in turn.calls]


def _call(call: Call, custom: frozenset[str]) -> Item:
    inner = call.raw.get("custom")
    if isinstance(inner, Mapping) and isinstance(inner.get("input"), str):
        return {"type": "custom_tool_call", "call_id": _id(call.id), "name": call.name, "input": inner["input"]}
    if call.name in custom:
        return {"type": "custom_tool_call", "call_id": _id(call.id), "name": call.name, "input": call.arguments}
    arguments = call.arguments if call.arguments.strip() else "{}"
    return {"type": "function_call", "call_id": _id(call.id), "name": call.name, "arguments": arguments}


def _result(turn: Turn, made: Conversation) -> Item:
    call_id = _id(turn.call_id)
    kind = "custom_tool_call_output" if call_id in made.custom_ids else "function_call_output"
    return {"type": kind, "call_id": call_id, "output": _content(turn.parts, made.losses) or ""}


def _id(given: Any) -> str:
    """Ids of other providers may be longer than is taken here; the same id always becomes the same."""
    text = str(given)
    if len(text) <= _LONGEST_ID:
        return text
    return f"call_{hashlib.blake2b(text.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"


# --- parts -------------------------------------------------------------------------------------


def _content(parts: Iterable[Part], losses: list[Loss]) -> str | list[Item] | None:
    """Text where there is one without any hint, else parts; None without any."""
    made: list[Item] = []
    for part in parts:
        if isinstance(part, Text):
            made.append({"type": "input_text", "text": part.text, **_hints(part.raw)})
        elif isinstance(part, Odd):
            losses.append(Loss(part.path, part.why, needed=True))
        elif isinstance(part, Native):
            if part.type in _OWN_PARTS:
                made.append(dict(part.raw))
            else:
                losses.append(Loss(part.path, f"there is no part of type {part.type!r}", needed=True))
        elif (item := _media(part, losses)) is not None:
            made.append(item)
    if len(made) == 1 and made[0].keys() == {"type", "text"}:
        text: str = made[0]["text"]
        return text
    return made or None


def _hints(raw: Mapping[str, Any]) -> Item:
    return {name: raw[name] for name in _HINTS if raw.get(name) is not None}


def _media(part: Media, losses: list[Loss]) -> Item | None:
    if part.kind == "audio":
        losses.append(Loss(part.path, "its messages hold no sound", needed=True))
        return None
    link = part.url or (f"data:{part.media_type};base64,{part.data}" if part.data else "")
    if part.kind == "image" or part.media_type.startswith("image/"):
        inner = part.raw.get("image_url")
        detail = inner.get("detail") if isinstance(inner, Mapping) else None
        return {"type": "input_image", "image_url": link, "detail": detail or "auto", **_hints(part.raw)}
    item: Item = {"type": "input_file", **_hints(part.raw)}
    if part.file_id:
        if part.file_id.startswith("file_"):
            losses.append(Loss(part.path, f"file {part.file_id!r} is kept at another provider", needed=True))
            return None
        return {**item, "file_id": part.file_id}
    if part.url:
        return {**item, "file_url": part.url, **({"filename": part.name} if part.name else {})}
    name = part.name or f"file.{part.media_type.rpartition('/')[2] or 'bin'}"
    return {**item, "filename": name, "file_data": link}
