"""Where Anthropic's prompt cache is told to remember: breakpoints on the long stable beginnings of a request.

The prompt is read in the order tools, system, messages. A breakpoint writes everything up to it; a later request whose
breakpoint stands at the same place, or at most 20 blocks after it, reads it. An agent's next request repeats this one
and adds an answer and a turn, so what is marked here is, in this order of importance and four at most:

1. the end of the user's latest turn, once the conversation is known to go on: what the next turn reads;
2. the end of the system prompt (of the tools, where there is none): what other conversations read;
3. the end of the user's turn before, where more blocks than the server looks back lie between: there the request
   before has written, so it is read whatever lies between;
4. the end of the tools, which other system prompts may share;
5. the end of the user's first turn, which may bear a document, and branches of the conversation share.

The caller's own breakpoints stay, count and win. Below the model's minimum a breakpoint does nothing, so none is put
there. Source: Anthropic's page on prompt caching (November 2026). Pure; what it is given is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from resilio.providers.prefix import stable_tools

__all__ = ["MOST", "with_breakpoints"]

MOST: Final = 4
"""Breakpoints in a request; a fifth is a 400."""
LOOK_BACK: Final = 20
"""Blocks, the one with the breakpoint included, among which the server looks for the end of a prefix it has."""
_MARKABLE: Final = frozenset({"text", "image", "document", "search_result", "tool_result", "tool_use"})
_PICTURE: Final = 6000
"""Bytes that a picture or a document counts as, whatever its size: about what they cost, at 4 bytes a token."""

Block = Mapping[str, Any]


class _Place(NamedTuple):
    """A block: in the tools (-2), the system prompt (-1) or a message, and its number there. Sorts as it is read."""

    section: int
    number: int


_TOOLS: Final = -2
_SYSTEM: Final = -1


def with_breakpoints(body: Mapping[str, Any], *, minimum: int, ttl: str, session: bool = False) -> dict[str, Any]:
    """The body with its tools in one order and with breakpoints; a new one, sharing what has none.

    Args:
        body: As translated.
        minimum: Tokens of the shortest prefix that the model caches, counted at 4 bytes each.
        ttl: ``5m`` or ``1h``, of our breakpoints; beside the caller's own they follow those, as an hour may not come
            after five minutes.
        session: The caller has named one, so that this turn is not the only one.
    """
    made = dict(body)
    if made.get("tools"):
        made["tools"] = stable_tools(made["tools"])
    blocks = dict(_blocks(made))
    theirs = list(_theirs(made, blocks))
    automatic = body.get("cache_control") is not None
    free = MOST - len(theirs)
    enough = _first_enough(blocks, minimum) if free > 0 else None
    if enough is None:
        return made
    wanted = _wanted(made["messages"], blocks, session=session, automatic=automatic)
    ours = [place for place in wanted if place >= enough and _ttl(blocks[place]) is None]
    _mark(made, {place: _allowed_ttl(place, ttl, theirs) for place in ours[:free]})
    return made


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[_Place, Block]]:
    """Every block, in the order in which it is read."""
    for section, blocks in ((_TOOLS, body.get("tools")), (_SYSTEM, _system(body))):
        for number, block in enumerate(blocks or ()):
            if isinstance(block, Mapping):
                yield _Place(section, number), block
    for section, message in enumerate(body["messages"]):
        for number, block in enumerate(message["content"]):
            yield _Place(section, number), block


def _system(body: Mapping[str, Any]) -> list[Any]:
    system = body.get("system")
    return [{"type": "text", "text": system}] if isinstance(system, str) else list(system or ())


def _ttl(block: Block) -> str | None:
    """The lifetime of the breakpoint on a block; None: it has none."""
    mark = block.get("cache_control")
    if mark is None:
        return None
    return str(mark.get("ttl") or "5m") if isinstance(mark, Mapping) else "5m"


def _theirs(body: Mapping[str, Any], blocks: Mapping[_Place, Block]) -> Iterator[tuple[_Place, str]]:
    """The caller's own breakpoints and their lifetimes: on blocks, in them, and the one for the whole request.

    That one stands at the end of the last block.
    """
    for place, block in blocks.items():
        for each in (block, *_inner(block)):
            if (ttl := _ttl(each)) is not None:
                yield place, ttl
    if (ttl := _ttl(body)) is not None:
        yield _Place(len(body["messages"]), 0), ttl


def _inner(block: Block) -> Iterator[Block]:
    """Blocks in a block: results of tools have some, and documents that are made of them."""
    source = block.get("source")
    for holder in (block, source):
        within = holder.get("content") if isinstance(holder, Mapping) else None
        if isinstance(within, list):
            yield from (each for each in within if isinstance(each, Mapping))


def _first_enough(blocks: dict[_Place, Block], minimum: int) -> _Place | None:
    """The first block at whose end the prompt is long enough."""
    left = minimum * 4
    for place, block in blocks.items():
        left -= _bytes(block)
        if left <= 0:
            return place
    return None


def _bytes(value: Any) -> int:
    """About as many bytes as the model reads of it."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        if value.get("type") in ("image", "document"):
            source = value.get("source")
            text = source.get("data") if isinstance(source, Mapping) and source.get("type") == "text" else None
            return _PICTURE if text is None else _bytes(text)
        return sum(len(str(name)) + _bytes(each) for name, each in value.items() if name != "cache_control")
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return 4


def _wanted(
    messages: list[Mapping[str, Any]], blocks: dict[_Place, Block], *, session: bool, automatic: bool
) -> list[_Place]:
    """Where breakpoints are of use, the most useful first."""
    ends = _turns(messages)
    system, tools = _last(blocks, _SYSTEM), _last(blocks, _TOOLS)
    latest = ends[-1] if ends else None
    goes_on = session or tools is not None or len(ends) > 1
    found: list[_Place | None] = [
        latest if goes_on and not automatic else None,
        system or tools,
        ends[-2] if len(ends) > 1 and _between(blocks, ends[-2], ends[-1]) >= LOOK_BACK else None,
        tools,
        ends[0] if len(ends) > 1 else None,
    ]
    return list(dict.fromkeys(place for place in found if place is not None))


def _turns(messages: list[Mapping[str, Any]]) -> list[_Place]:
    """The ends of the user's turns; of a conversation only those, for the next request ends with one as well."""
    found = []
    for section, message in enumerate(messages):
        if message["role"] == "user":
            markable = [
                number
                for number, block in enumerate(message["content"])
                if block.get("type") in _MARKABLE and not _is_blank(block)
            ]
            if markable:
                found.append(_Place(section, markable[-1]))
    return found


def _last(blocks: dict[_Place, Block], section: int) -> _Place | None:
    """The last block there that may bear a breakpoint: a tool that is loaded when it is asked for may not."""
    return next(
        (
            at
            for at in reversed(blocks)
            if at.section == section and blocks[at].get("defer_loading") is not True and not _is_blank(blocks[at])
        ),
        None,
    )


def _is_blank(block: Block) -> bool:
    """Text of nothing: a breakpoint on it is a 400."""
    return block.get("type") == "text" and not str(block.get("text") or "").strip()


def _between(blocks: dict[_Place, Block], one: _Place, other: _Place) -> int:
    """Blocks after one place, up to another and with it."""
    return sum(one < place <= other for place in blocks)


def _allowed_ttl(place: _Place, ttl: str, theirs: Sequence[tuple[_Place, str]]) -> str:
    """An hour may not come after five minutes; what stands in a block comes before its end."""
    if any(other > place and its == "1h" for other, its in theirs):
        return "1h"
    return "5m" if any(other <= place and its == "5m" for other, its in theirs) else ttl


def _mark(body: dict[str, Any], places: Mapping[_Place, str]) -> None:
    """Put breakpoints there, on copies."""
    messages = list(body["messages"])
    for (section, number), ttl in places.items():
        mark = {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}
        if section < 0:
            name, listed = ("tools", body["tools"]) if section == _TOOLS else ("system", _system(body))
            body[name] = _replaced(listed, number, mark)
        else:
            content = _replaced(messages[section]["content"], number, mark)
            messages[section] = {**messages[section], "content": content}
    body["messages"] = messages


def _replaced(blocks: list[Any], number: int, mark: Mapping[str, str]) -> list[Any]:
    return [{**block, "cache_control": mark} if at == number else block for at, block in enumerate(blocks)]
