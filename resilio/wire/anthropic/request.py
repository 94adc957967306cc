"""A request of Anthropic's Messages API as one of OpenAI's shape, so that any route can serve it.

What both dialects have is translated; what Anthropic alone has is kept where only its own targets read it: blocks of
an assistant's turn in `anthropic_content` of the message, fields of the request in `anthropic_fields`. So a target of
Anthropic's dialect is sent what the caller wrote. The rule that keeps it simple: nothing is judged here but the shape;
whether a target can serve it is the codecs' to say.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from resilio.errors import MalformedRequest
from resilio.providers.conversation import ANTHROPIC_FIELDS

__all__ = ["MessagesCall", "NotMessages", "read_messages"]

_SAME: Final = frozenset({"temperature", "top_p", "top_k"})
"""Fields of the same name and meaning."""
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS: Final = ((16_384, "high"), (4096, "medium"), (0, "low"))
"""From how many tokens of thinking on it is which effort."""
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_TOOL_FIELDS: Final = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_HINTS: Final = ("cache_control", "citations", "context")


class NotMessages(MalformedRequest):
    """The body is no request of the Messages API.

    Attributes:
        path: Where, for example ``messages.0.content``.
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{path}: {why}")


class MessagesCall(NamedTuple):
    """What was asked: the arguments of `Client.complete` or `Client.stream`."""

    model: str
    messages: list[dict[str, Any]]
    wire: dict[str, Any]
    stream: bool


def read_messages(body: Any) -> MessagesCall:
    """Read the JSON of a request of `POST /v1/messages`.

    Raises:
        NotMessages: It is none.
    """
    if not isinstance(body, Mapping):
        raise NotMessages("body", "it is not an object")
    model, given = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise NotMessages("model", "Field required")
    if type(body.get("max_tokens")) is not int or body["max_tokens"] < 1:
        raise NotMessages("max_tokens", "it is not a number above 0")
    if not isinstance(given, list) or not given:
        raise NotMessages("messages", "at least one message is required")
    messages = list(_system(body.get("system")))
    for index, message in enumerate(given):
        messages += _message(message, f"messages.{index}")
    return MessagesCall(model, messages, _wire(body), body.get("stream") is True)


# --- messages ----------------------------------------------------------------------------------


def _system(given: Any) -> Iterator[dict[str, Any]]:
    if isinstance(given, list):
        yield {"role": "system", "content": [_part(its, f"system.{n}") for n, its in enumerate(given)]}
    elif isinstance(given, str):
        yield {"role": "system", "content": given}
    elif given is not None:
        raise NotMessages("system", "it is neither text nor a list of blocks")


def _message(message: Any, path: str) -> Iterator[dict[str, Any]]:
    """One turn; results of tools are messages of their own, before the rest of it."""
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in ("user", "assistant", "system"):
        raise NotMessages(f"{path}.role", "it is none of user, assistant and system")
    content = message.get("content")
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    if not isinstance(content, list):
        raise NotMessages(f"{path}.content", "it is neither text nor a list of blocks")
    for number, block in enumerate(content):
        if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
            raise NotMessages(f"{path}.content.{number}", "it is no block with a type")
    if role == "assistant":
        yield _assistant(content, path)
        return
    parts = []
    for number, block in enumerate(content):
        if block["type"] == "tool_result":
            yield _result(block, f"{path}.content.{number}")
        else:
            parts.append(_part(block, f"{path}.content.{number}"))
    if parts:
        yield {"role": role, "content": parts}


def _assistant(blocks: list[Mapping[str, Any]], path: str) -> dict[str, Any]:
    texts = [{"type": "text", "text": block.get("text")} for block in blocks if block["type"] == "text"]
    calls = [_call(block, path) for block in blocks if block["type"] == "tool_use"]
    made: dict[str, Any] = {"role": "assistant", "content": texts or None}
    if len(texts) == 1:
        made["content"] = texts[0]["text"]
    if calls:
        made["tool_calls"] = calls
    # A thought without a signature came from a provider that signs none: Anthropic would refuse it.
    kept = [block for block in blocks if block["type"] not in _THOUGHTS or block.get("signature") or block.get("data")]
    if any(not _is_plain(block) for block in kept):
        made["anthropic_content"] = [dict(block) for block in kept]
    return made


def _is_plain(block: Mapping[str, Any]) -> bool:
    """Whether OpenAI's shape holds all of a block of the assistant's."""
    names = {name for name, value in block.items() if value is not None}
    return names <= ({"type", "text"} if block["type"] == "text" else {"type", "id", "name", "input"}) and (
        block["type"] in ("text", "tool_use")
    )


def _call(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    name, given = block.get("name"), block.get("input")
    if not isinstance(name, str) or not name or not isinstance(block.get("id"), str):
        raise NotMessages(path, "a tool_use has no id or no name")
    if isinstance(given, Mapping) and given.keys() == {"_raw"} and isinstance(given["_raw"], str):
        arguments = given["_raw"]  # what a model wrote that is no object, on its way back
    else:
        try:
            arguments = orjson.dumps({} if given is None else given).decode()
        except TypeError as exc:
            raise NotMessages(path, f"the input of a tool_use: {exc}") from exc
    return {"id": block["id"], "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(block.get("tool_use_id"), str):
        raise NotMessages(f"{path}.tool_use_id", "Field required")
    content = block.get("content")
    if isinstance(content, list):
        content = [_part(its, f"{path}.content.{number}") for number, its in enumerate(content)]
    elif not isinstance(content, str | None):
        raise NotMessages(f"{path}.content", "it is neither text nor a list of blocks")
    made: dict[str, Any] = {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content or ""}
    made.update((name, block[name]) for name in ("is_error", "cache_control") if block.get(name) is not None)
    return made


# --- parts -------------------------------------------------------------------------------------


def _part(block: Any, path: str) -> dict[str, Any]:
    """A block of a user's turn, of the system's text or of a result; what OpenAI has no part for stays as it is."""
    if not isinstance(block, Mapping):
        raise NotMessages(path, "it is no block")
    source = block.get("source")
    source = source if isinstance(source, Mapping) else {}
    hints = {name: block[name] for name in _HINTS if block.get(name) is not None}
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": block.get("text"), **hints}
    if kind == "image" and (url := _url_of(source, "")):
        return {"type": "image_url", "image_url": {"url": url}, **hints}
    if kind == "document" and (file := _file(block, source)):
        return {"type": "file", "file": file, **hints}
    return dict(block)


def _file(block: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """A document as OpenAI's file, which needs a name; empty where it has no such form."""
    title = block.get("title")
    name = {"filename": title} if isinstance(title, str) and title else {}
    if source.get("type") == "file" and isinstance(source.get("file_id"), str):
        return {"file_id": source["file_id"], **name}
    if source.get("type") == "url" and isinstance(source.get("url"), str):
        return {"file_url": source["url"], **name}
    if source.get("type") == "text" and isinstance(source.get("data"), str):
        data = base64.b64encode(source["data"].encode()).decode()
        return {"file_data": f"data:text/plain;base64,{data}", "filename": title or "document.txt"}
    data = _url_of(source, "application/pdf")
    return {"file_data": data, "filename": title or "document.pdf"} if data else {}


def _url_of(source: Mapping[str, Any], media_type: str) -> str:
    """A link, or a ``data:`` URL; empty for what is kept in Anthropic's own store."""
    if source.get("type") == "url" and isinstance(source.get("url"), str):
        return str(source["url"])
    if source.get("type") == "base64" and isinstance(source.get("data"), str):
        return f"data:{source.get('media_type') or media_type};base64,{source['data']}"
    return ""


# --- fields ------------------------------------------------------------------------------------


def _wire(body: Mapping[str, Any]) -> dict[str, Any]:
    wire: dict[str, Any] = {"max_completion_tokens": body["max_tokens"]}
    own: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in ("model", "messages", "max_tokens", "system", "stream"):
            continue
        if name in _SAME:
            wire[name] = value
        elif name == "stop_sequences":
            wire["stop"] = value
        elif name == "tools":
            wire["tools"] = [_tool(tool, f"tools.{number}") for number, tool in enumerate(_listed(value, "tools"))]
        elif name == "tool_choice":
            wire.update(_choice(value))
        elif name == "metadata" and isinstance(value, Mapping) and set(value) <= {"user_id"}:
            wire.update({"user": value["user_id"]} if value.get("user_id") else {})
        elif name == "service_tier" and isinstance(value, str) and value in _TIERS:
            wire[name] = _TIERS[value]
        else:
            own[name] = value
    _add_format(wire, own)
    if (effort := _effort(own)) is not None:
        wire["reasoning_effort"] = effort
    if own:
        wire[ANTHROPIC_FIELDS] = own
    return wire


def _listed(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotMessages(path, "it is not a list")
    return value


def _tool(tool: Any, path: str) -> dict[str, Any]:
    """A function where it is one that OpenAI's shape holds; Anthropic's own tools stay as they are."""
    if not isinstance(tool, Mapping):
        raise NotMessages(path, "it is not an object")
    names = {name for name, value in tool.items() if value is not None}
    if tool.get("type") not in (None, "custom") or not names <= _TOOL_FIELDS or "name" not in names:
        return dict(tool)
    function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
    function.update((name, tool[name]) for name in ("description", "strict") if name in names)
    hints = {"cache_control": tool["cache_control"]} if "cache_control" in names else {}
    return {"type": "function", "function": function, **hints}


def _choice(given: Any) -> dict[str, Any]:
    kind = str(given.get("type")) if isinstance(given, Mapping) else ""
    if kind == "tool" and isinstance(given.get("name"), str):
        made: dict[str, Any] = {"tool_choice": {"type": "function", "function": {"name": given["name"]}}}
    elif kind in _CHOICES:
        made = {"tool_choice": _CHOICES[kind]}
    else:
        raise NotMessages("tool_choice", "its type is none of auto, any, tool and none")
    if given.get("disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False
    return made


def _add_format(wire: dict[str, Any], own: dict[str, Any]) -> None:
    """`output_config.format` is OpenAI's `response_format`; what else stands beside it stays Anthropic's."""
    config = own.get("output_config")
    if not isinstance(config, Mapping):
        return
    asked = config.get("format")
    if not isinstance(asked, Mapping) or asked.get("type") != "json_schema":
        return
    schema = {"name": "answer", "schema": asked.get("schema") or {}, "strict": True}
    wire["response_format"] = {"type": "json_schema", "json_schema": schema}
    rest = {name: value for name, value in config.items() if name != "format"}
    if rest:
        own["output_config"] = rest
    else:
        del own["output_config"]


def _effort(own: Mapping[str, Any]) -> str | None:
    """What other targets are told of thinking: an effort."""
    config, thinking = own.get("output_config"), own.get("thinking")
    effort = config.get("effort") if isinstance(config, Mapping) else None
    if isinstance(effort, str):
        return "xhigh" if effort == "max" else effort
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if type(budget) is not int:
        return None
    return next(name for least, name in _EFFORTS if budget >= least)
