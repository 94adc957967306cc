"""A provider's prompt cache: which beginnings of prompts it has read, until when, and what a request reads and writes.

Anthropic's goes by the breakpoints in a request: each writes what stands before it, and reads what an earlier request
wrote at the same place or at most 20 blocks before. Automatic caches, as OpenAI's, keep every prompt in units of 128
tokens from 1,024 on. Only hashes are kept. Pure but for its own memory: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from resilio.providers.anthropic.models import cache_minimum
from resilio.testing.dialects.base import Dialect, prompt_text
from resilio.testing.dialects.breakpoints import breakpoints, listed, read_order

__all__ = ["Cached", "PromptCache", "prompt_tokens"]

LOOK_BACK: Final = 20
UNIT: Final = 128
AUTOMATIC_MINIMUM: Final = 1024
AUTOMATIC_LIFETIME: Final = 300.0
"""Seconds of idleness; OpenAI says 5 to 10 minutes."""
TIDY_AT: Final = 50_000
"""Prefixes; when there are so many, and twice as many as were left the last time, those that are over are dropped."""
_LIFETIMES: Final = {"5m": 300.0, "1h": 3600.0}
_TOLD: Final = ("name", "description", "parameters")
"""What the model reads of a tool."""
_BEFORE_MESSAGES: Final = ("tool_choice", "thinking")
"""What changes how messages are read, so that another value finds none of them."""


class Cached(NamedTuple):
    """Tokens of one prompt; what is left of it was neither read nor written."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class _Entry(NamedTuple):
    lifetime: float
    until: float


class PromptCache:
    """What one provider remembers."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._tidy_at = TIDY_AT

    def __repr__(self) -> str:
        return f"<PromptCache of {len(self._entries)} prefixes>"

    def by_breakpoints(self, body: Mapping[str, Any], dialect: Dialect, now: float) -> Cached:
        """Answer a request of Anthropic's dialect.

        Args:
            body: As it came.
            dialect: Counts its tokens.
            now: Monotonic seconds.
        """
        marks = breakpoints(body)
        if not marks:
            return Cached()
        self._tidy(now)
        hashes = list(_hashes(body))
        minimum = cache_minimum(str(body["model"]))
        sizes = {at: _tokens_up_to(body, at, dialect) for at, _ in marks}
        marks = [(at, ttl) for at, ttl in marks if sizes[at] >= minimum]
        found = max((hit for at, _ in marks if (hit := self._look(hashes, at, now)) is not None), default=None)
        read = 0 if found is None else _tokens_up_to(body, found, dialect)
        if found is not None:
            lifetime = self._entries[hashes[found]].lifetime
            self._entries[hashes[found]] = _Entry(lifetime, now + lifetime)
        written, done = {"5m": 0, "1h": 0}, read
        for at, ttl in marks:
            if sizes[at] > done:
                written[ttl] += sizes[at] - done
                done = sizes[at]
            known = self._entries.get(hashes[at])
            lifetime = _LIFETIMES[ttl] if known is None or known.until <= now else known.lifetime
            self._entries[hashes[at]] = _Entry(lifetime, now + lifetime)
        return Cached(read, written["5m"], written["1h"])

    def _tidy(self, now: float) -> None:
        """Forget what is over, now and then: a simulated provider may run for days."""
        if len(self._entries) >= self._tidy_at:
            self._entries = {name: entry for name, entry in self._entries.items() if entry.until > now}
            self._tidy_at = max(TIDY_AT, 2 * len(self._entries))

    def _look(self, hashes: list[bytes], at: int, now: float) -> int | None:
        """The last block up to `at` whose prefix is there, among those that are looked at."""
        for place in range(at, max(-1, at - LOOK_BACK), -1):
            entry = self._entries.get(hashes[place])
            if entry is not None and entry.until > now:
                return place
        return None

    def automatic(self, asked: Mapping[str, Any], now: float) -> Cached:
        """Answer a request, in OpenAI's shape, that was long enough to be remembered without a word."""
        text = _prompt_bytes(asked)
        units = len(text) // 4 // UNIT
        if units * UNIT < AUTOMATIC_MINIMUM:
            return Cached()
        self._tidy(now)
        running, read, going = blake2b(str(asked["model"]).encode(), digest_size=16), 0, True
        for unit in range(units):
            running.update(text[unit * UNIT * 4 : (unit + 1) * UNIT * 4])
            name = running.digest()
            entry = self._entries.get(name)
            going = going and entry is not None and entry.until > now
            read += UNIT if going else 0
            self._entries[name] = _Entry(AUTOMATIC_LIFETIME, now + AUTOMATIC_LIFETIME)
        return Cached(read if read >= AUTOMATIC_MINIMUM else 0)


def prompt_tokens(asked: Mapping[str, Any]) -> int:
    """Tokens of a prompt in OpenAI's shape: messages, tools and calls, at 4 bytes each."""
    return max(1, len(_prompt_bytes(asked)) // 4)


def _prompt_bytes(asked: Mapping[str, Any]) -> bytes:
    functions = [each.get("function") or each for each in asked.get("tools") or ()]
    parts = [orjson.dumps([each.get(name) for name in _TOLD]) for each in functions]
    for message in asked["messages"]:
        parts.append(prompt_text([message]).encode())
        parts += [orjson.dumps(call.get("function")) for call in message.get("tool_calls") or ()]
    return b"\n".join(parts)


def _hashes(body: Mapping[str, Any]) -> Iterator[bytes]:
    """The hash of everything up to each block; breakpoints are no part of it."""
    running, began = blake2b(str(body["model"]).encode(), digest_size=16), False
    for where, block in read_order(body):
        if not began and where not in ("tools", "system"):
            began = True
            running.update(orjson.dumps([body.get(name) for name in _BEFORE_MESSAGES]))
        running.update(orjson.dumps([where, {name: its for name, its in block.items() if name != "cache_control"}]))
        yield running.digest()


def _tokens_up_to(body: Mapping[str, Any], last: int, dialect: Dialect) -> int:
    """Tokens of the prompt as if it ended with this block."""
    left = last + 1
    cut: dict[str, Any] = {"model": body["model"], "messages": []}
    for name in ("tools", "system"):
        kept = listed(body.get(name) or [])[:left]
        left -= len(kept)
        if kept:
            cut[name] = kept
    for message in body["messages"]:
        content = listed(message["content"])[:left]
        left -= len(content)
        if content:
            cut["messages"].append({**message, "content": content})
    return len(_prompt_bytes(dialect.neutral(cut))) // 4
