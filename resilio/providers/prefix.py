"""What providers' prompt caches go by, whichever dialect: the beginning of a conversation, and how long it is kept.

A provider that has read the beginning of a prompt before sells it cheaper the next time, if it is the same to the byte.
So a conversation has a name here, made of its beginning and never showing any of it, and each of its turns has one;
tools, which stand before everything else, have one order; and every kind of provider has a lifetime. Placing marks is a
dialect's own business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson

from resilio.models import Request, Usage
from resilio.providers.encoding import plain

__all__ = [
    "AUTOMATIC_MINIMUM", "Turn", "conversation_key", "help_the_cache", "kept_tokens", "lifetime", "limited",
    "stable_tools", "turn_of",
]  # fmt: skip

AUTOMATIC_MINIMUM: Final = 1024
"""Tokens: what a provider that caches of its own accord keeps at least. OpenAI's guide on prompt caching, November
2026; Gemini keeps from 2,048 or 4,096 by model, and a conversation that is held a little early costs nothing."""

_LIFETIMES: Final[Mapping[str, float]] = {"5m": 300.0, "1h": 3600.0}
_LONGER: Final = re.compile(r"gpt-(?:5\.(?:[6-9]|\d\d)|[6-9]|\d\d)")
"""Models of OpenAI's that keep a prefix for 30 minutes; older ones for 5 to 10 minutes of idleness (same guide)."""
_HEAD: Final = ("tools", "functions", "system")
_EARLIER: Final = 4
"""Turns before that are looked for; the last one is it, but where callers put in turns of their own."""
_IN_ORDER: Final = "properties"
"""The one table whose order a model may go by: it tends to write arguments in the order of its schema."""


def conversation_key(request: Request) -> bytes | None:
    """A name for the conversation this request is a turn of: 16 bytes that tell nothing of what it says.

    It is a hash of what stays as turns are added: tools, system messages, everything up to the first message of the
    user's, and the session where the caller names one. None: it has no such beginning, or holds what JSON cannot.
    Worked out once a request.
    """
    known: Mapping[Any, Any] = request.translations
    if "conversation" not in known:
        request.translations["conversation"] = _conversation_key(request)
    found: bytes | None = request.translations["conversation"]
    return found


def _conversation_key(request: Request) -> bytes | None:
    messages: Sequence[Any] = request.messages
    first = _first(messages)
    if first is None:
        return None
    head: dict[str, Any] = {name: _bare(request.wire[name]) for name in _HEAD if request.wire.get(name)}
    if _are_tools(head.get("tools")):
        head["tools"] = sorted(head["tools"], key=_name)
    head["messages"] = [_told(each) for each in messages[: first + 1]]
    head["session"] = request.identity.session
    try:
        return blake2b(_canonical(head), digest_size=16, person=b"conversation").digest()
    except TypeError:
        return None


def _first(messages: Sequence[Any]) -> int | None:
    """Where the first message of the user's stands."""
    return next((at for at, each in enumerate(messages) if _role(each) == "user"), None)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


class Turn(NamedTuple):
    """Names of what a request may find in a cache, and of what it leaves there: 16 bytes that tell nothing."""

    own: bytes
    """Of all it says, up to where the model is to go on."""
    before: tuple[bytes, ...]
    """Of what it continues, the likeliest first; empty for the first turn of a conversation."""


def turn_of(request: Request) -> Turn | None:
    """Which turn of which conversation this is. Worked out once a request.

    The next request repeats this one and adds an answer: so what this one continues is what it says before one of the
    assistant's messages. Conversations that begin alike part where they differ, and examples that stand in front of
    every question make no conversation of them all. A session that the caller names is one conversation, whatever is
    said in it after its beginning. None: it has no beginning, or holds what JSON cannot.
    """
    known: Mapping[Any, Any] = request.translations
    if "turn" not in known:
        request.translations["turn"] = _turn_of(request)
    found: Turn | None = request.translations["turn"]
    return found


def _turn_of(request: Request) -> Turn | None:
    key, first = conversation_key(request), _first(request.messages)
    if key is None or first is None:
        return None
    if request.identity.session is not None:
        return Turn(key, (key,))
    later: Sequence[Any] = request.messages[first + 1 :]
    end = len(later)
    while end and _role(later[end - 1]) == "assistant":  # an answer that is begun
        end -= 1
    if not end:
        return Turn(key, ())
    hashed, names = blake2b(key, digest_size=16, person=b"turn"), list[bytes]()
    for said, message in enumerate(later[:end]):
        if _role(message) == "assistant":
            names.append(hashed.digest() if said else key)
        try:
            hashed.update(_canonical(_told(message)) + b"\n")
        except TypeError:
            return None
    own = hashed.digest()
    return Turn(own, (own, *names[: -_EARLIER - 1 : -1]))


def _told(message: Any) -> Any:
    """What is said in a message, whichever way it is put: from turn to turn callers move marks and drop reasoning."""
    if not isinstance(message, Mapping):
        return message
    content = _bare(message.get("content"))
    if isinstance(content, list) and len(content) == 1:
        (only,) = content
        content = only["text"] if isinstance(only, Mapping) and set(only) == {"type", "text"} else content
    return [message.get("role"), content or None, message.get("tool_calls") or None, message.get("tool_call_id")]


def _bare(value: Any) -> Any:
    """Without marks for a cache: another list each where there may be some."""
    if isinstance(value, Mapping):
        inner = value.get("content")
        kept = {name: its for name, its in value.items() if name != "cache_control"}
        return {**kept, "content": _bare(inner)} if isinstance(inner, list | tuple) else kept
    return [_bare(each) for each in value] if isinstance(value, list | tuple) else value


def _canonical(value: Any) -> bytes:
    """Sorted: the same with its keys in another order is the same.

    Raises:
        TypeError: JSON cannot hold it.
    """
    return orjson.dumps(value, plain, orjson.OPT_SORT_KEYS)


def stable_tools(tools: Any) -> Any:
    """Tools in one order, by their names, with the keys of their tables in one order: another list each, none changed.

    Callers put their tools together anew for each turn, out of several servers or out of a set: in another order they
    are another beginning of the prompt, and nothing that follows is found in a cache. What a schema calls `properties`
    keeps its order, for models write arguments in it. A list in which the caller has marked a place stays as it is.
    """
    if not _are_tools(tools) or any(_marked(its) for its in tools):
        return tools
    return sorted((_sorted(its) for its in tools), key=_name)


def _are_tools(tools: Any) -> bool:
    return isinstance(tools, list | tuple) and all(isinstance(its, Mapping) for its in tools)


def _marked(tool: Mapping[str, Any]) -> bool:
    inner = tool.get("function")
    return "cache_control" in tool or (isinstance(inner, Mapping) and "cache_control" in inner)


def _name(tool: Mapping[str, Any]) -> str:
    inner = tool.get("function") or tool.get("custom")
    name = inner.get("name") if isinstance(inner, Mapping) else tool.get("name")
    return str(name or tool.get("type") or "")


def _sorted(value: Any, *, keep: bool = False) -> Any:
    if isinstance(value, Mapping):
        names: Sequence[Any] = list(value) if keep else sorted(value, key=str)
        return {name: _sorted(value[name], keep=name == _IN_ORDER and not keep) for name in names}
    if isinstance(value, list | tuple):
        return [_sorted(each) for each in value]
    return value


def help_the_cache(body: dict[str, Any], request: Request, base_url: str) -> None:
    """Put into the body of one of OpenAI's dialects what makes its prompt easier to find again.

    Servers of these dialects cache of their own accord what begins alike. OpenAI's own finds it sooner by a key; others
    may refuse a field that only it knows.
    """
    if body.get("tools"):
        body["tools"] = stable_tools(body["tools"])
    if _is_openai(base_url) and body.get("prompt_cache_key") is None:
        key = conversation_key(request)
        if key is not None:
            body["prompt_cache_key"] = key.hex()


def _is_openai(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def limited(kind: str, usage: Usage) -> Usage:
    """What of a usage counts towards rate limits: Anthropic's input limits leave out what was read from the cache.

    So it is said of most of its models, by those who use them; its own page was not at hand.
    """
    read = usage.cache_read_tokens
    return replace(usage, input_tokens=max(0, usage.input_tokens - read)) if read and kind == "anthropic" else usage


def kept_tokens(kind: str, usage: Usage) -> int:
    """Tokens of this prompt that its provider holds now, as far as can be known; 0: no conversation is worth holding.

    Anthropic tells. Who caches of its own accord keeps the whole prompt, in units, where it is long enough.
    """
    told = usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    if kind == "anthropic":
        return told
    return max(told, usage.input_tokens if usage.input_tokens >= AUTOMATIC_MINIMUM else 0)


def lifetime(kind: str, model: str, usage: Usage, ttl: str | None) -> float:
    """Seconds for which what was read or written now will be found again; each time it is read they begin anew.

    Args:
        kind: Of the provider.
        model: Its name.
        usage: Of the request that has just been answered: what was written for an hour by the caller's own marks.
        ttl: What was asked for: ``5m`` or ``1h``.
    """
    if kind == "anthropic":
        return _LIFETIMES["1h"] if usage.cache_write_1h_tokens else _LIFETIMES[ttl or "5m"]
    return 1800.0 if _LONGER.search(model) else 300.0
