"""Where a request of Anthropic's dialect bears `cache_control`, and in which order its blocks are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["breakpoints", "listed", "read_order"]


def breakpoints(body: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Of a request of Anthropic's dialect: the number of each block that bears one, as they are read, and its ttl."""
    marks = [(at, _ttl(block)) for at, (_, block) in enumerate(read_order(body))]
    found = [(at, ttl) for at, ttl in marks if ttl is not None]
    top = body.get("cache_control")
    if isinstance(top, Mapping) and marks and marks[-1][1] is None:
        found.append((len(marks) - 1, str(top.get("ttl") or "5m")))
    return found


def _ttl(block: Mapping[str, Any]) -> str | None:
    mark = block.get("cache_control")
    return str(mark.get("ttl") or "5m") if isinstance(mark, Mapping) else None


def read_order(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every block with what it stands in, in the order in which the model reads them."""
    parts = [("tools", body.get("tools") or ()), ("system", listed(body.get("system") or ()))]
    parts += [(f"{at} {its['role']}", listed(its["content"])) for at, its in enumerate(body["messages"])]
    for where, blocks in parts:
        yield from ((where, block) for block in blocks if isinstance(block, Mapping))


def listed(content: Any) -> Any:
    """Content as blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
