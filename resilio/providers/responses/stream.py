"""What is read from a streamed response: events to chunks, and items as they grow.

A stream is whole when ``response.completed`` or ``response.incomplete`` has come, and never without: there is no
``[DONE]``, and a clean end proves nothing. Text that comes again whole (``...done``, a finished item, the response at
the end) adds what its fragments lacked, for some servers send no fragments; what was handed out already is never taken
back. The rule that keeps it simple: every event is one object, taken whole or refused whole, and one of an unknown type
says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilio.errors import ErrorClass, MalformedResponse
from resilio.models import Answer, Chunk, ToolCallDelta
from resilio.providers.classify import error_in_answer, refused_answer
from resilio.providers.reading import as_text
from resilio.providers.responses.answer import (
    answer_of,
    check_ended,
    decode_answer,
    failed,
    finish_of,
    is_empty,
    written,
)
from resilio.providers.responses.faults import FAULTS
from resilio.providers.responses.items import CALLS
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.stream import EventStream

__all__ = ["ResponsesStreamDecoder"]

_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_ITEMS: Final = frozenset({"response.output_item.added", "response.output_item.done"})
_STATES: Final = frozenset({"response.created", "response.in_progress", "response.queued"})
_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "response.output_text.delta": ("output_text", "content_index"),
    "response.refusal.delta": ("refusal", "content_index"),
    "response.reasoning_summary_text.delta": ("summary_text", "summary_index"),
    "response.reasoning_text.delta": ("reasoning_text", "content_index"),
    "response.function_call_arguments.delta": ("written", ""),
    "response.custom_tool_call_input.delta": ("written", ""),
}
"""A fragment: of what, and which field tells its place in its item."""
_WHOLES: Final[Mapping[str, tuple[str, str, str]]] = {
    "response.output_text.done": ("output_text", "content_index", "text"),
    "response.refusal.done": ("refusal", "content_index", "refusal"),
    "response.reasoning_summary_text.done": ("summary_text", "summary_index", "text"),
    "response.reasoning_text.done": ("reasoning_text", "content_index", "text"),
    "response.function_call_arguments.done": ("written", "", "arguments"),
    "response.custom_tool_call_input.done": ("written", "", "input"),
}
"""All of it at once: of what, its place, and the field it stands in."""
_IMPLIED: Final[Mapping[str, str]] = {
    "output_text": "message", "refusal": "message", "summary_text": "reasoning", "reasoning_text": "reasoning",
}  # fmt: skip
"""The type of an item whose fragments come without its beginning."""


class _Item:
    """One item of the output as it grows; fragments are kept in lists and joined once."""

    __slots__ = ("call", "pieces", "start")

    def __init__(self, start: Mapping[str, Any], call: int | None) -> None:
        self.start = start
        """As it came last."""
        self.call = call
        """Its number among the caller's tool calls; None: it is none."""
        self.pieces: dict[tuple[str, int], list[str]] = {}

    def whole(self) -> dict[str, Any]:
        """As it would stand in a response that was not streamed."""
        made = dict(self.start)
        if self.call is not None:
            field = "input" if made.get("type") == "custom_tool_call" else "arguments"
            made[field] = "".join(self.pieces.get(("written", 0), ()))
            return made
        for field, kinds in (("content", ("output_text", "refusal", "reasoning_text")), ("summary", ("summary_text",))):
            grown = {place: kind for kind, place in sorted(self.pieces) if kind in kinds}
            given = made.get(field)
            parts = dict(enumerate(given)) if isinstance(given, list) else {}
            for place, kind in grown.items():
                name = "refusal" if kind == "refusal" else "text"
                parts[place] = {**parts.get(place, {"type": kind}), name: "".join(self.pieces[kind, place])}
            if parts:
                made[field] = [parts[place] for place in sorted(parts)]
        return made


class ResponsesStreamDecoder(EventStream):
    """Reads one streamed response; see `resilio.providers.base.StreamDecoder` for the contract.

    Every event gives at least one chunk, even one that says nothing, so whoever passes `raw` on misses nothing.
    """

    __slots__ = ("_calls", "_ended", "_items", "_response", "_thought")

    faults = FAULTS

    def __init__(
        self, who: str, status: int, headers: Mapping[str, str], max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(who, status, headers, max_event_bytes)
        self._response: Mapping[str, Any] = {}
        """As it came last."""
        self._items: dict[int, _Item] = {}
        self._calls = 0
        self._ended = False
        self._thought: tuple[int, str, int] | None = None
        """The piece of reasoning that was added to last."""

    @property
    def complete(self) -> bool:
        """The response came whole at its end, and nothing went wrong."""
        return self._ended and self._error is None

    def answer(self) -> Answer:
        """Everything so far; `finish_reason` is empty while the response has not ended.

        `raw` is what the same server would have sent without streaming, as far as it came.
        """
        output = [self._items[place].whole() for place in sorted(self._items)]
        return answer_of(self._who, {**self._response, "output": output}, output, ended=self._ended)

    # --- what the dialect says -------------------------------------------------------------------

    def _ends(self, body: dict[str, Any]) -> bool:
        return body.get("type") in _ENDS

    def _unfinished(self) -> MalformedResponse:
        if not self._response and not self._items:
            return self._malformed("with a stream that ended before any of the response", ErrorClass.TRUNCATED)
        return self._malformed("with a stream that ended before the response was complete", ErrorClass.TRUNCATED)

    def _take_whole(self, body: bytes, chunks: list[Chunk]) -> None:
        """A server that ignored `stream`: its one response becomes the event at the end."""
        response = decode_answer(self._who, self._status, self._headers, body).raw
        self._take({"type": f"response.{response['status']}", "response": response}, chunks)

    def _take(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        first = len(chunks)
        try:
            self._take_kind(as_text(body.get("type")), body, chunks)
        except (AttributeError, KeyError, TypeError) as exc:
            # A number where an object should be, text where a list should: not worth a check a field.
            raise self._malformed(f"with an event of another shape ({exc!r})") from exc
        if len(chunks) == first:
            chunks.append(Chunk(raw=body))
        else:
            chunks[first] = chunks[first]._replace(raw=body)  # of several, the first

    def _take_kind(self, kind: str, body: dict[str, Any], chunks: list[Chunk]) -> None:
        if kind in _DELTAS:
            what, where = _DELTAS[kind]
            self._grow(body["output_index"], what, body.get(where, 0), _string(body["delta"]), chunks)
        elif kind in _WHOLES:
            what, where, field = _WHOLES[kind]
            self._catch_up(body["output_index"], what, body.get(where, 0), body[field], chunks)
        elif kind in _ITEMS:
            if body.get("item") is not None:
                self._take_item(body["output_index"], body["item"], chunks)
        elif kind in _STATES:
            self._take_state(body["response"])
        elif kind in _ENDS:
            response = body["response"]
            self._end({**response, "status": response.get("status") or kind.removeprefix("response.")}, chunks)
        elif kind == "response.failed":
            self._take_state(body["response"])
            raise failed(self._who, self._status, body["response"])
        elif kind == "error":  # without the name of the event, which tells it elsewhere
            raise error_in_answer(FAULTS, self._who, self._status, body)

    # --- events ----------------------------------------------------------------------------------

    def _take_state(self, response: Mapping[str, Any]) -> None:
        known, given = self._response.get("id"), response.get("id")
        if self._items and known and given and known != given:
            raise self._malformed("and began a second response in the middle of the first")
        self._response = {**self._response, **response}

    def _item(self, index: Any, start: Mapping[str, Any]) -> tuple[_Item, bool]:
        """The item at this place, and whether it is new."""
        if type(index) is not int:
            raise TypeError("a place that is no number")
        item = self._items.get(index)
        if item is not None:
            return item, False
        call = None
        if start.get("type") in CALLS:
            if not as_text(start.get("name")):
                raise self._malformed("with a tool call that names no tool")
            call, self._calls = self._calls, self._calls + 1
        item = self._items[index] = _Item(start, call)
        return item, True

    def _take_item(self, index: Any, start: Any, chunks: list[Chunk]) -> None:
        """An item at its beginning, or whole at its end."""
        if not isinstance(start, dict):
            raise TypeError("an item that is no object")
        _check_parts(start)
        item, new = self._item(index, start)
        if item.start.get("type") != start.get("type"):
            raise self._malformed("and put another item into the place of one that had begun")
        if new and item.call is not None:
            given = as_text(start.get("call_id")) or as_text(start.get("id"))
            call = ToolCallDelta(item.call, given, as_text(start.get("name")))
            chunks.append(Chunk(tool_calls=(call,)))
        if item.call is not None:
            self._catch_up(index, "written", 0, written(start), chunks)
        elif start.get("type") in ("message", "reasoning"):
            for place, part in [*enumerate(start.get("content") or ()), *enumerate(start.get("summary") or ())]:
                if (what := part.get("type")) in _IMPLIED:
                    field = "refusal" if what == "refusal" else "text"
                    self._catch_up(index, what, place, as_text(part.get(field)), chunks)
        item.start = start

    def _grow(self, index: Any, what: str, place: Any, piece: str, chunks: list[Chunk]) -> None:
        """Add to an item."""
        item = self._items.get(index)
        if item is None:
            item, _ = self._item(index, {"type": _IMPLIED[what]})
        if type(place) is not int or (what == "written") is (item.call is None):
            raise TypeError(f"{what} of {as_text(item.start.get('type'))} at {as_text(place)}")
        if not piece:
            return
        item.pieces.setdefault((what, place), []).append(piece)
        if what == "output_text":
            chunks.append(Chunk(piece))
        elif what == "refusal":
            chunks.append(Chunk(refusal=piece))
        elif item.call is not None:
            chunks.append(Chunk(tool_calls=(ToolCallDelta(item.call, arguments=piece),)))
        else:
            gap = "\n\n" if self._thought not in (None, (index, what, place)) else ""
            self._thought = (index, what, place)
            chunks.append(Chunk(reasoning=gap + piece))

    def _catch_up(self, index: Any, what: str, place: Any, text: Any, chunks: list[Chunk]) -> None:
        """Add what of the whole its fragments lacked."""
        item = self._items.get(index)
        had = "".join(item.pieces.get((what, place), ())) if item is not None else ""
        if _string(text).startswith(had):
            self._grow(index, what, place, text[len(had) :], chunks)

    def _end(self, response: Mapping[str, Any], chunks: list[Chunk]) -> None:
        """The response at its end, with its usage and perhaps with all of its items."""
        self._take_state(response)
        check_ended(self._who, self._status, response)
        output = response.get("output") or ()
        places = sorted(self._items)
        kinds = [self._items[place].start.get("type") for place in places]
        if kinds == [start.get("type") for start in output][: len(kinds)]:  # else they are in another order
            after = places[-1] + 1 if places else 0  # what came without any event of its own
            places += range(after, after + len(output) - len(places))
            for place, start in zip(places, output, strict=True):
                self._take_item(place, start, chunks)
        if is_empty(response, self._items):
            raise self._malformed("with a response without any output")
        self._ended = self.done = True
        answer = self.answer()
        finish = finish_of(response, answer.tool_calls)
        chunks.append(Chunk(finish_reason=finish, usage=answer.usage))
        if finish == "content_filter" and not (answer.text or answer.tool_calls or answer.refusal):
            raise refused_answer(self._who, self._status)


def _check_parts(item: Mapping[str, Any]) -> None:
    """Refuse an item whose parts are none before it is kept, for `answer` reads it whatever comes after it."""
    for name in ("content", "summary"):
        parts = item.get(name) or ()
        if parts and not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
            raise TypeError(f"{name} that is no list of objects")


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{type(value).__name__} in place of text")
    return value
