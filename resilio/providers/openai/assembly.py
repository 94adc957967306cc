"""The answer that grows while a stream is read: text, tool calls and finish reason of each choice.

Left out: bytes, events, errors. The rule that keeps it simple: fragments are kept in lists and joined once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilio.models import ToolCall, ToolCallDelta
from resilio.providers.openai.answer import read_arguments, read_extra
from resilio.providers.reading import as_text

__all__ = ["StreamedChoice", "assembled"]


class _Tool:
    __slots__ = ("arguments", "extra", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.extra: Mapping[str, Any] | None = None


class StreamedChoice:
    """What has come of one choice."""

    __slots__ = ("_moved", "finish", "reasoning", "refusal", "text", "tools")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tools: dict[int, _Tool] = {}
        self.finish = ""
        self._moved: dict[int, int] = {}

    @property
    def answered(self) -> bool:
        return bool(self.text or self.tools or self.refusal)

    def take_tool(self, raw: dict[str, Any]) -> ToolCallDelta:
        """Add a fragment of a tool call; returns it with id and name only where they are news.

        Most servers number the calls. Some number none, or all of them 0 (Google's compatible endpoint):
        there a new id begins a new call, and what has no id belongs to the last.
        """
        function = raw.get("function") or raw.get("custom") or {}
        arguments = read_arguments(function)
        given_id, given_name = as_text(raw.get("id")), as_text(function.get("name"))
        index = raw.get("index")
        if type(index) is not int:
            last = max(self.tools, default=-1)
            index = last + 1 if given_id or given_name or last < 0 else last
        place = self._moved.get(index, index)
        tool = self.tools.get(place)
        if tool is not None and given_id and tool.id and given_id != tool.id:
            place = self._moved[index] = max(self.tools) + 1
            tool = None
        if tool is None:
            tool = self.tools[place] = _Tool()
        new_id = given_id if given_id and not tool.id else None
        new_name = given_name if given_name and not tool.name else None
        tool.id = tool.id or given_id
        tool.name = tool.name or given_name
        tool.extra = tool.extra or read_extra(raw)
        if arguments:
            tool.arguments.append(arguments)
        return ToolCallDelta(place, new_id, new_name, arguments)

    def tool_calls(self) -> tuple[ToolCall, ...]:
        tools = (self.tools[index] for index in sorted(self.tools))
        return tuple(ToolCall(tool.id, tool.name, "".join(tool.arguments), tool.extra) for tool in tools)


def as_streamed(choice: Mapping[str, Any], finish_reason: str) -> dict[str, Any]:
    """A choice of a whole answer in the shape of a chunk's; `finish_reason` stands in for a missing one."""
    delta = dict(choice.get("message") or {})
    if delta.get("tool_calls"):
        delta["tool_calls"] = [{**call, "index": place} for place, call in enumerate(delta["tool_calls"])]
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "finish_reason": choice.get("finish_reason") or finish_reason, "delta": delta}


def assembled(
    meta: Mapping[str, Any], streamed: Mapping[int, StreamedChoice], usage: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the same server would have sent without streaming, as far as it came.

    `meta` is an object of the stream that names id and model; `usage` is the provider's own.
    """
    choices = []
    for index, choice in sorted(streamed.items()):
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.text) or None}
        message["refusal"] = "".join(choice.refusal) or None
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        if choice.tools:
            message["tool_calls"] = [call.as_sent() for call in choice.tool_calls()]
        choices.append({"index": index, "message": message, "finish_reason": choice.finish or None})
    body = {**meta, "object": "chat.completion", "choices": choices}
    body.pop("obfuscation", None)  # padding of one chunk, of no meaning
    body.pop("usage", None)
    return body if usage is None else {**body, "usage": usage}
