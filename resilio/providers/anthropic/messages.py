"""OpenAI-shaped messages as Anthropic's: system text apart, turns that alternate, results before anything else.

What has no form there is put down as a `Loss` and left out. The rule that keeps it simple: one pass, one turn at a
time, and neighbours of one role become one turn.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resilio.models import Loss, Message
from resilio.providers.conversation import Media, Native, Odd, Part, Text, Turn, alike, arguments_object, walk

__all__ = ["Conversation", "read_conversation"]

Block = dict[str, Any]

_NOT_IN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_OWN_BLOCKS: Final = frozenset({"image", "document", "search_result", "container_upload", "mid_conv_system"})
"""Types of Anthropic's own parts that a user's turn may hold; they go out as they came."""
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_HINTS: Final = ("cache_control", "citations", "title", "context")
_STAND_IN: Final = "."
"""The user's turn before a conversation that the assistant begins, or that is a system prompt alone: there has to be
one, and it may not be empty."""


class Conversation:
    """The whole of it, as it is sent."""

    __slots__ = ("losses", "messages", "system")

    def __init__(self) -> None:
        self.system: list[Block] = []
        self.messages: list[dict[str, Any]] = []
        self.losses: list[Loss] = []

    @property
    def prefilled(self) -> bool:
        """Whether the last turn is the assistant's, to be continued."""
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"

    @property
    def thought(self) -> bool:
        """Whether the rounds of tools going on now began with thinking, or there are none."""
        for message in reversed(self.messages):
            blocks = message["content"]
            if message["role"] == "assistant":
                if not any(block["type"] == "tool_use" for block in blocks):
                    return True
                return blocks[0]["type"] in _THOUGHTS
            if not any(block["type"] == "tool_result" for block in blocks):
                return True
        return True

    def system_field(self) -> str | list[Block] | None:
        """One text, or blocks where one of them bears a hint; None without any."""
        if not self.system:
            return None
        if all(len(block) == 2 for block in self.system):
            return "\n\n".join(block["text"] for block in self.system)
        return self.system

    def add(self, role: str, blocks: Iterable[Block]) -> None:
        """Put blocks at the end of the last turn if it is this role's, else into a new one."""
        added = list(blocks)
        if not added:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += added
        else:
            self.messages.append({"role": role, "content": added})


def read_conversation(messages: Sequence[Message]) -> Conversation:
    """Translate all messages."""
    made = Conversation()
    for turn in walk(messages):
        if turn.raw.get("name") and turn.role != "tool":
            made.losses.append(Loss(f"{turn.path}.name", "names of speakers are not known"))
        if turn.role == "system":
            made.system += _system(turn, made.losses)
        elif turn.role == "user":
            made.add("user", _blocks(turn.parts, made.losses))
        elif turn.role == "tool":
            made.add("user", [_result(turn, made.losses)])
        else:
            made.add("assistant", _assistant(turn, made.losses))
    _put_in_order(made)
    return made


def _put_in_order(made: Conversation) -> None:
    """The user begins; results of tools come first in their turn; a last turn to continue has no blank at its end."""
    begins = made.messages[0]["role"] if made.messages else "assistant" if made.system else ""
    if begins == "assistant":
        made.messages.insert(0, {"role": "user", "content": [{"type": "text", "text": _STAND_IN}]})
    for message in made.messages:
        if message["role"] == "user":
            message["content"].sort(key=lambda block: block["type"] != "tool_result")
    if made.prefilled:
        last = made.messages[-1]["content"][-1]
        if last["type"] == "text":
            made.messages[-1]["content"][-1] = {**last, "text": last["text"].rstrip()}


def _system(turn: Turn, losses: list[Loss]) -> list[Block]:
    blocks = []
    for part in turn.parts:
        if isinstance(part, Text):
            blocks += _text(part)
        else:
            losses.append(Loss(part.path, "a system message holds text alone", needed=True))
    return blocks


def _assistant(turn: Turn, losses: list[Loss]) -> list[Block]:
    """What the assistant said: the very blocks that came, where the message still says the same, else made from it."""
    calls: list[Block] = [
        {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": arguments_object(call.arguments)}
        for call in turn.calls
    ]
    kept = _mappings(turn.raw.get("anthropic_content"))
    if kept and _unchanged(turn, kept, calls):
        return [block for block in kept if block.get("type") != "text" or str(block.get("text")).strip()]
    thoughts = _mappings(turn.raw.get("thinking_blocks")) or kept
    blocks = [
        block
        for block in thoughts
        if block.get("type") in _THOUGHTS and (block.get("signature") or block.get("data"))
    ]  # fmt: skip
    for part in turn.parts:
        if isinstance(part, Text):
            blocks += _text(part)
        else:
            why = part.why if isinstance(part, Odd) else "the assistant's turns hold text alone"
            losses.append(Loss(part.path, why, needed=True))
    return blocks + calls


def _unchanged(turn: Turn, kept: Sequence[Block], calls: Sequence[Block]) -> bool:
    """Whether the message still has the words and calls of these blocks: the caller's own changes count for more."""
    used = [block for block in kept if block.get("type") == "tool_use"]
    theirs, ours = (
        [(block.get("id"), block.get("name"), block.get("input")) for block in each] for each in (used, calls)
    )
    words = "".join(str(block.get("text")) for block in kept if block.get("type") == "text")
    return alike(theirs, ours) and turn.says(words)


def _mappings(given: Any) -> list[Block]:
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    return [dict(each) for each in given if isinstance(each, Mapping)] if listed else []


def _result(turn: Turn, losses: list[Loss]) -> Block:
    """What a tool gave back; `is_error` and `cache_control` of the message are kept."""
    block: Block = {"type": "tool_result", "tool_use_id": _id(turn.call_id)}
    content = _blocks(turn.parts, losses)
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        block["content"] = content[0]["text"]
    elif content:
        block["content"] = content
    block.update((name, turn.raw[name]) for name in ("is_error", "cache_control") if turn.raw.get(name) is not None)
    return block


def _id(given: str) -> str:
    """Ids of other providers may hold characters that are refused here; the same id always becomes the same."""
    return _NOT_IN_ID.sub("_", given)


# --- parts -------------------------------------------------------------------------------------


def _blocks(parts: Iterable[Part], losses: list[Loss]) -> list[Block]:
    blocks: list[Block] = []
    for part in parts:
        if isinstance(part, Text):
            blocks += _text(part)
        elif isinstance(part, Odd):
            losses.append(Loss(part.path, part.why, needed=True))
        elif isinstance(part, Native):
            if part.type in _OWN_BLOCKS:
                blocks.append(dict(part.raw))
            else:
                losses.append(Loss(part.path, f"there is no part of type {part.type!r}", needed=True))
        elif (block := _media(part, losses)) is not None:
            blocks.append(block)
    return blocks


def _text(part: Text) -> list[Block]:
    """A block of text; none for blank text, which is refused."""
    if not part.text.strip():
        return []
    return [{"type": "text", "text": part.text, **_hints(part.raw, ("cache_control",))}]


def _hints(raw: Mapping[str, Any], names: Sequence[str] = _HINTS) -> dict[str, Any]:
    return {name: raw[name] for name in names if raw.get(name) is not None}


def _media(part: Media, losses: list[Loss]) -> Block | None:
    if part.kind == "audio":
        losses.append(Loss(part.path, "it cannot hear", needed=True))
        return None
    if part.kind == "image":
        return _image(part, losses)
    block: Block = {"type": "document", "source": None, **({"title": part.name} if part.name else {})}
    if part.url:
        block["source"] = {"type": "url", "url": part.url}
    elif part.file_id:
        if not part.file_id.startswith("file_"):
            losses.append(Loss(part.path, f"file {part.file_id!r} is kept at another provider", needed=True))
            return None
        block["source"] = {"type": "file", "file_id": part.file_id}
    elif part.media_type == "application/pdf":
        block["source"] = {"type": "base64", "media_type": part.media_type, "data": part.data}
    elif part.media_type in _IMAGES:
        return _image(part, losses)
    elif part.media_type.startswith("text/") or part.media_type == "application/json":
        text = base64.b64decode(part.data).decode("utf-8", "replace")
        block["source"] = {"type": "text", "media_type": "text/plain", "data": text}
    else:
        losses.append(Loss(part.path, f"documents of type {part.media_type} are not read", needed=True))
        return None
    return {**block, **_hints(part.raw)}


def _image(part: Media, losses: list[Loss]) -> Block | None:
    inner = part.raw.get("image_url")
    if isinstance(inner, Mapping) and inner.get("detail") == "low":
        losses.append(Loss(f"{part.path}.image_url.detail", "pictures are always seen in full detail"))
    source = {"type": "url", "url": part.url}
    if part.data:
        if part.media_type not in _IMAGES:
            losses.append(Loss(part.path, f"pictures of type {part.media_type} are not seen", needed=True))
            return None
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    return {"type": "image", "source": source, **_hints(part.raw, ("cache_control",))}
