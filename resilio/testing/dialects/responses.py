"""The simulated provider's side of OpenAI's Responses API: responses, events and errors as bytes.

Shapes follow OpenAI's API reference and its SDK's types (November 2026). It is as strict as the real server where a
careless client is found out: fields of chat completions, nested tools, parts of the wrong type, results without calls,
and reasoning that comes back without the encrypted form it was given in. It stores nothing: no response can be found
again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from resilio.testing.dialects.base import ByPath, Objection, Said
from resilio.testing.dialects.openai import error_body
from resilio.testing.faults import ERRORS

__all__ = ["Response", "Responses", "encrypted"]

_ENCRYPTED: Final = "reasoning.encrypted_content"
_MOVED: Final = {
    "messages": "input", "response_format": "text.format", "reasoning_effort": "reasoning.effort",
    "max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens", "verbosity": "text.verbosity",
}  # fmt: skip
_FIELDS: Final = frozenset({
    "access_programs", "background", "background_options", "context_management", "conversation", "image", "include",
    "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options",
    "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_RESULTS: Final = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def encrypted(thought: str) -> str:
    """The encrypted form this server gives a thought, and wants back with it."""
    return f"gAAAA{hashlib.blake2b(thought.encode(), digest_size=12).hexdigest()}"


_Event = tuple[str, dict[str, Any]]
"""Its name, and its fields but for the number."""
_Events = tuple[list[_Event], list[_Event], list[_Event]]
"""Of one item: what begins it, its fragments, and what ends it."""


class Response(Said):
    """One answer, whole or as events."""

    def body(self) -> bytes:
        return orjson.dumps(self._response(self._items(), self._status))

    def chunks(self, *, include_usage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Each fragment is one frame, with the events before it that end one item and begin the next joined on.

        So faults that count pieces count the same here as in every dialect.
        """
        self._number = 0
        started = self._response([], "in_progress")
        opening = self._event("response.created", response=started)
        opening += self._event("response.in_progress", response=started)
        content: list[bytes] = []
        joined: list[_Event] = []
        for index, item in enumerate(self._items()):
            opened, deltas, closed = self._streamed(index, item)
            joined += opened
            for delta in deltas:
                content.append(self._frame([*joined, delta]))
                joined = []
            joined += closed
        status = self._status
        joined.append((f"response.{status}", {"response": self._response(self._items(), status)}))
        return [opening], content, [self._frame(joined)] if self.n else []

    def _frame(self, events: Sequence[_Event]) -> bytes:
        return b"".join(self._event(name, **fields) for name, fields in events)

    def _event(self, kind: str, **its: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **its}
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(body))

    @property
    def _status(self) -> str:
        if not self.n:
            return "in_progress"
        return "incomplete" if self.finish_reason in _REASONS else "completed"

    def _items(self) -> list[dict[str, Any]]:
        return list(self._made()) if self.n else []

    def _made(self) -> Iterator[dict[str, Any]]:
        own = self.id.removeprefix("resp_")
        if self.reasoning:
            item = {"id": f"rs_{own}", "type": "reasoning", "summary": self._summary()}
            if _ENCRYPTED in (self.asked.get("include") or ()):
                item["encrypted_content"] = encrypted(self.reasoning)
            yield item
        if self.pieces or not self.tool_calls:
            part = {"type": "output_text", "text": "".join(self.pieces), "annotations": [], "logprobs": []}
            if self.refusal:
                part = {"type": "refusal", "refusal": "".join(self.pieces)}
            yield {
                "id": f"msg_{own}", "type": "message", "role": "assistant", "status": "completed", "content": [part]
            }  # fmt: skip
        for number, call in enumerate(self.tool_calls):
            custom = "custom" in call
            inner = call["custom"] if custom else call["function"]
            kind = "custom_tool_call" if custom else "function_call"
            written = inner["input"] if custom else inner["arguments"]
            yield {
                "id": f"{'ctc' if custom else 'fc'}_{own}{number}", "type": kind, "call_id": call["id"],
                "name": inner["name"], _CALLS[kind]: written, "status": "completed",
            }  # fmt: skip

    def _summary(self) -> list[dict[str, str]]:
        """Shown only to who asked for it."""
        asked = self.asked.get("reasoning")
        if not isinstance(asked, Mapping) or not asked.get("summary"):
            return []
        return [{"type": "summary_text", "text": self.reasoning}]

    def _streamed(self, index: int, item: Mapping[str, Any]) -> _Events:
        kind, where = item["type"], {"output_index": index}
        its = {"item_id": item["id"], **where}
        if kind == "message":
            begun: dict[str, Any] = {**item, "content": [], "status": "in_progress"}
            opened, deltas, closed = self._text(its, item["content"][0])
        elif kind == "reasoning":
            begun = {**item, "summary": []}
            opened, deltas, closed = self._thought(its, item["summary"])
        else:
            begun = {**item, _CALLS[kind]: "", "status": "in_progress"}
            opened, deltas, closed = self._call(its, kind, item[_CALLS[kind]])
        opened.insert(0, ("response.output_item.added", {**where, "item": begun}))
        closed.append(("response.output_item.done", {**where, "item": item}))
        return opened, deltas, closed

    def _text(self, its: Mapping[str, Any], part: Mapping[str, Any]) -> _Events:
        refused = part["type"] == "refusal"
        field, event = ("refusal", "refusal") if refused else ("text", "output_text")
        its = {**its, "content_index": 0}
        more: dict[str, Any] = {} if refused else {"logprobs": []}
        opened = [("response.content_part.added", {**its, "part": {**part, field: ""}})]
        deltas = [(f"response.{event}.delta", {**its, "delta": piece, **more}) for piece in self.pieces]
        closed = [
            (f"response.{event}.done", {**its, field: part[field], **more}),
            ("response.content_part.done", {**its, "part": part}),
        ]
        return opened, deltas, closed

    def _thought(self, its: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]) -> _Events:
        if not summary:
            return [], [], []
        (part,) = summary
        its = {**its, "summary_index": 0}
        opened = [("response.reasoning_summary_part.added", {**its, "part": {**part, "text": ""}})]
        deltas = [("response.reasoning_summary_text.delta", {**its, "delta": part["text"]})]
        closed = [
            ("response.reasoning_summary_text.done", {**its, "text": part["text"]}),
            ("response.reasoning_summary_part.done", {**its, "part": part}),
        ]
        return opened, deltas, closed

    def _call(self, its: Mapping[str, Any], kind: str, written: str) -> _Events:
        name = "response.function_call_arguments" if kind == "function_call" else "response.custom_tool_call_input"
        parts = [written[at : at + 8] for at in range(0, len(written), 8)]
        # An empty first fragment, so that a call is as many frames here as in chat completions.
        deltas = [(f"{name}.delta", {**its, "delta": part}) for part in ["", *parts]]
        return [], deltas, [(f"{name}.done", {**its, _CALLS[kind]: written})]

    def _usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        cached = self.usage["prompt_tokens_details"]["cached_tokens"]
        return {
            "input_tokens": self.usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": sum(self.cache_written)},
            "output_tokens": self.usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.usage["total_tokens"],
        }

    def _response(self, output: list[dict[str, Any]], status: str) -> dict[str, Any]:
        ended = status in ("completed", "incomplete")
        reason = _REASONS.get(self.finish_reason or "") if status == "incomplete" else None
        asked = {name: self.asked.get(name) for name in ("instructions", "max_output_tokens", "user")}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": self.asked.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "service_tier": self.service_tier if ended else "auto",
            "store": self.asked.get("store") is not False,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": self._usage() if ended else None,
            "metadata": self.asked.get("metadata") or {},
            **asked,
        }


class Responses(ByPath):
    """Implements `resilio.testing.dialects.base.Dialect`."""

    path = "/responses"
    said = Response
    last: Final = b""

    def headers(self, number: int) -> dict[str, str]:
        return {"x-request-id": f"req_{number:08d}", "openai-processing-ms": "1", "openai-version": "2020-10-01"}

    def identity(self, bits: int) -> str:
        return f"resp_{bits:016x}"

    def error(self, code: str | None, message: str | None = None, param: str | None = None) -> tuple[int, bytes]:
        shape = ERRORS.get(code or "")
        return shape.status if shape else 400, error_body(code, message, param)

    def frame(self, data: bytes, *, error: bool = False) -> bytes:
        if error:  # inside a stream its fields stand side by side
            inner = orjson.loads(data)["error"]
            told = {name: inner.get(name) for name in ("code", "message", "param")}
            data = orjson.dumps({"type": "error", "sequence_number": 0, **told})
        return b"event: %s\ndata: %s\n\n" % (b"error" if error else b"response.output_text.delta", data)

    def wants_usage(self, body: Mapping[str, Any]) -> bool:
        return True

    def objection(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Objection | None:
        return _field_objection(body) or _input_objection(body)

    def neutral(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Messages, tools and limits; what has no twin is told as it came."""
        messages: list[dict[str, Any]] = []
        if body.get("instructions"):
            messages.append({"role": "system", "content": body["instructions"]})
        for item in _items_of(body):
            _add_neutral(item, messages)
        made: dict[str, Any] = {**body, "messages": messages}
        if body.get("tools"):
            made["tools"] = [
                {"type": tool["type"], tool["type"]: {name: its for name, its in tool.items() if name != "type"}}
                if tool.get("type") in ("function", "custom")
                else tool
                for tool in body["tools"]
            ]
        if body.get("max_output_tokens") is not None:
            made["max_completion_tokens"] = body["max_output_tokens"]
        return made


def _items_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = body.get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())


def _add_neutral(item: Mapping[str, Any], messages: list[dict[str, Any]]) -> None:
    """One item; what the assistant says and calls in a row is one message."""
    kind = item.get("type") or "message"
    if kind in _RESULTS:
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item.get("output") or ""})
        return
    if kind == "message" and item["role"] != "assistant":
        messages.append({"role": item["role"], "content": item["content"]})
        return
    if kind not in ("message", *_CALLS):
        return
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    last = messages[-1]
    if kind == "message":
        last["content"] = item["content"]
    elif kind == "custom_tool_call":
        inner = {"name": item["name"], "input": item["input"]}
        last.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "custom", "custom": inner})
    else:
        inner = {"name": item["name"], "arguments": item["arguments"]}
        last.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": inner})


# --- what is refused ---------------------------------------------------------------------------


def _field_objection(body: Mapping[str, Any]) -> Objection | None:
    for name in body:
        if name in _MOVED:
            why = (
                f"Unsupported parameter: '{name}'. In the Responses API, this parameter has moved to '{_MOVED[name]}'."
            )
            return Objection("unsupported_parameter", why, name)
        if name not in _FIELDS:
            return Objection("unknown_parameter", f"Unknown parameter: '{name}'.", name)
    if body.get("previous_response_id"):
        why = f"Previous response with id '{body['previous_response_id']}' not found."
        return Objection("previous_response_not_found", why, "previous_response_id")
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") in ("function", "custom") and not tool.get("name"):
            why = f"Missing required parameter: 'tools[{index}].name'."
            return Objection("missing_required_parameter", why, f"tools[{index}].name")
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") == "function" and not choice.get("name"):
        why = "Missing required parameter: 'tool_choice.name'."
        return Objection("missing_required_parameter", why, "tool_choice.name")
    return None


def _input_objection(body: Mapping[str, Any]) -> Objection | None:
    given = body.get("input")
    if not given:
        return Objection("missing_required_parameter", "Missing required parameter: 'input'.", "input")
    if not isinstance(given, str) and not (isinstance(given, list) and all(isinstance(one, Mapping) for one in given)):
        return Objection("invalid_type", "Invalid type for 'input': expected a string or an array of objects.", "input")
    items = _items_of(body)
    for index, item in enumerate(items):
        kind = item.get("type") or "message"
        found = None
        if kind == "message":
            found = _content_objection(item, f"input[{index}]")
        elif kind == "reasoning":
            found = _reasoning_objection(body, items, index)
        elif kind not in _CALLS and kind not in _RESULTS:
            found = Objection("invalid_value", f"Invalid value: '{kind}'.", f"input[{index}].type")
        if found is not None:
            return found
    return _calls_objection(items)


def _content_objection(item: Mapping[str, Any], path: str) -> Objection | None:
    role, content = item.get("role"), item.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        return Objection("invalid_value", f"Invalid value: '{role}'.", f"{path}.role")
    if isinstance(content, str):
        return None
    allowed = ("output_text", "refusal") if role == "assistant" else ("input_text", "input_image", "input_file")
    for number, part in enumerate(content or ()):
        if part.get("type") not in allowed:
            supported = ", ".join(f"'{one}'" for one in allowed)
            why = f"Invalid value: '{part.get('type')}'. Supported values are: {supported}."
            return Objection("invalid_value", why, f"{path}.content[{number}]")
    return None


def _reasoning_objection(body: Mapping[str, Any], items: Sequence[Mapping[str, Any]], index: int) -> Objection | None:
    item = items[index]
    sealed = item.get("encrypted_content")
    if not sealed:
        why = f"Item with id '{item.get('id')}' not found."
        if body.get("store") is False:
            why += " Items are not persisted when `store` is set to false."
        return Objection(None, why, "input")
    if not str(sealed).startswith("gAAAA") or any(
        sealed != encrypted(part["text"]) for part in item.get("summary") or ()
    ):
        why = f"The encrypted content for item {item.get('id')} could not be verified."
        return Objection("invalid_encrypted_content", why)
    following = items[index + 1] if index + 1 < len(items) else {"role": "user"}
    kind = following.get("type") or "message"
    if kind not in ("message", "reasoning", *_CALLS) or following.get("role") == "user":
        why = f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."
        return Objection(None, why, "input")
    return None


def _calls_objection(items: Sequence[Mapping[str, Any]]) -> Objection | None:
    made: dict[str, str] = {}
    for item in items:
        kind = item.get("type")
        if kind in _CALLS:
            made[item["call_id"]] = str(kind)
        elif kind in _RESULTS and made.pop(item.get("call_id") or "", None) != _RESULTS[kind]:
            why = f"No tool call found for function call output with call_id {item.get('call_id')}."
            return Objection(None, why, "input")
    if made:
        return Objection(None, f"No tool output found for function call {next(iter(made))}.", "input")
    return None
