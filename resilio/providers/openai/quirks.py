"""A request as a server takes it that speaks OpenAI's dialect with a difference, and what it loses on the way.

The differences are the rows of `resilio.config.kinds`; here stands what each of them does. Messages and fields are
copied where they change and nowhere else, so a request without anything odd stays the very same object. The rule that
keeps it simple: what is told as lost and what is left out are found in one pass, and cannot differ.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from resilio.config.kinds import Do, Quirk
from resilio.models import Loss, Message, Request
from resilio.providers.conversation import GIVEN_BACK, walk, without_hints
from resilio.providers.tools import NO_FUNCTION, Function, choice, tools

__all__ = ["Quirks", "call_id"]

_CALL_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_OF_FIELDS: Final = frozenset({Do.RENAME, Do.LACK, Do.HINT, Do.SAY, Do.FORCE, Do.SCHEMA})


def call_id(given: str) -> str:
    """An id of nine letters and digits: itself where it is one, else always the same one in its place."""
    if _CALL_ID.fullmatch(given):
        return given
    number = int.from_bytes(hashlib.blake2b(given.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    made = ""
    for _ in range(9):
        number, place = divmod(number, len(_LETTERS))
        made += _LETTERS[place]
    return made


class Quirks:
    """The differences of one server, sorted by what they are about.

    Attributes:
        usage_option: Whether a stream may be asked for usage (`stream_options`).
        gives_back: Whether reasoning has to come back with the calls it led to.
        gives_details_back: Whether it has to as `reasoning_details`, signed.
    """

    def __init__(self, rows: Iterable[Quirk]) -> None:
        self._fields: dict[str, list[Quirk]] = {}
        self._parts: dict[str, Quirk] = {}
        self._messages: dict[str, Quirk] = {}
        self._tools: dict[str, Quirk] = {}
        self._roles: dict[str, str] = {}
        self._renamed: dict[str, str] = {}
        self._once: dict[Do, Quirk] = {}
        for row in rows:
            match row.do:
                case Do.PART:
                    self._parts[row.field] = row
                case Do.MESSAGE:
                    self._messages[row.field] = row
                case Do.MESSAGE_RENAME:
                    self._renamed[row.field] = row.to
                case Do.ROLE:
                    self._roles[row.field] = row.to
                case Do.TOOL:
                    self._tools[row.field] = row
                case its if its in _OF_FIELDS:
                    self._fields.setdefault(row.field, []).append(row)
                case its:
                    self._once[its] = row
        self.usage_option: Final = not any(row.do is Do.HINT for row in self._fields.get("stream_options", ()))
        self.gives_back: Final = Do.GIVE_BACK in self._once
        self.gives_details_back: Final = Do.DETAILS in self._once

    def adapted(self, request: Request) -> tuple[Request, tuple[Loss, ...]]:
        """The request to write, perhaps `request` itself, and what of it is lost."""
        losses: list[Loss] = []
        wire, messages = request.wire, request.messages
        if Do.FUNCTIONS in self._once:
            wire, messages = _modern(wire, messages)
        wire = self._wire(self._narrowed(wire, losses), messages, losses)
        messages = self._conversation(messages, losses)
        if wire is request.wire and messages is request.messages:
            return request, tuple(losses)
        return Request(request.route, messages, wire, inputs=request.inputs), tuple(losses)

    # --- fields ------------------------------------------------------------------------------

    def _wire(self, wire: Mapping[str, Any], messages: Sequence[Message], losses: list[Loss]) -> Mapping[str, Any]:
        made: dict[str, Any] = {}
        same = True
        for name, value in wire.items():
            if value is None and Do.NULLS in self._once:
                same = False
                continue
            if name == "tools" and Do.MARKS in self._once:
                value = without_hints(value)
                same = same and value is wire[name]
            rows = self._fields.get(name)
            if rows is None:
                made[name] = value
                continue
            kept = True
            for row in rows:
                kept, value = self._field(row, value, wire, messages, losses)
                if not kept:
                    break
            renamed = next((row.to for row in rows if row.do is Do.RENAME), name)
            if kept and not (renamed != name and wire.get(renamed) is not None):
                made[renamed] = value
            same = same and kept and renamed == name and value is wire[name]
        if (off := self._once.get(Do.OFF)) is not None and wire.get(off.field) in off.keeps:
            del made[off.field]
            made.setdefault(off.to, {"type": "disabled"})
            same = False
        if (calm := self._once.get(Do.CALM)) is not None and calm.to not in made and _forces(wire):
            if made.pop("reasoning_effort", None) is not None:
                losses.append(Loss("reasoning_effort", calm.why))
            made[calm.to] = {"type": "disabled"}
            same = False
        for index, tool in enumerate(_listed(wire.get("tools"))):
            if isinstance(tool, Mapping) and (odd := self._tools.get(str(tool.get("type")))) is not None:
                losses.append(Loss(f"tools[{index}]", odd.why, needed=True))
        return wire if same else made

    def _field(
        self, row: Quirk, value: Any, wire: Mapping[str, Any], messages: Sequence[Message], losses: list[Loss]
    ) -> tuple[bool, Any]:
        """Whether the field is kept, and what it then holds."""
        match row.do:
            case Do.HINT:
                return False, value
            case Do.LACK if value is None or value in row.keeps:
                return False, value
            case Do.LACK:
                losses.append(Loss(row.field, row.why))
                return False, value
            case Do.SAY if value in row.keeps:
                return True, row.to
            case Do.FORCE if isinstance(value, Mapping):
                losses.append(Loss(row.field, row.why))
                return False, value
            case Do.SCHEMA if isinstance(value, Mapping) and value.get("type") == "json_schema":
                losses.append(Loss(row.field, row.why))
                # Without the word such servers refuse the mode, or write blanks until the limit.
                return "json" in _text_of(messages).lower(), {"type": "json_object"}
            case Do.RENAME if value is None:
                return False, value
            case _:
                return True, value

    def _narrowed(self, wire: Mapping[str, Any], losses: list[Loss]) -> Mapping[str, Any]:
        """A choice among some tools, as those tools alone."""
        given = wire.get("tool_choice")
        if Do.NARROW not in self._once or not isinstance(given, Mapping) or given.get("type") != "allowed_tools":
            return wire
        chosen = choice(wire)
        allowed = chosen.allowed if chosen is not None and chosen.allowed is not None else frozenset()
        kept = [its.raw for its in tools(wire) if isinstance(its, Function) and its.name in allowed]
        made = {**wire, "tools": kept, "tool_choice": chosen.mode if chosen is not None else "auto"}
        if not kept:
            del made["tools"], made["tool_choice"]
            if chosen is not None and chosen.mode == "required":
                losses.append(Loss(chosen.path, NO_FUNCTION))
        return made

    # --- messages ----------------------------------------------------------------------------

    def _conversation(self, messages: Sequence[Message], losses: list[Loss]) -> Sequence[Message]:
        if Do.MARKS in self._once:
            messages = without_hints(messages)
        made = [self._message(message, f"messages[{index}]", losses) for index, message in enumerate(messages)]
        if Do.ORDER in self._once:
            made = _in_order(made)
        if Do.PREFIX in self._once and made and _role(made[-1]) == "assistant" and not made[-1].get("tool_calls"):
            made[-1] = {**made[-1], "prefix": True}
        same = len(made) == len(messages) and all(new is old for new, old in zip(made, messages, strict=True))
        return messages if same else made

    def _message(self, message: Any, path: str, losses: list[Loss]) -> Any:
        if not isinstance(message, Mapping):
            return message
        new: dict[str, Any] = {}
        role = message.get("role")
        if isinstance(role, str) and role in self._roles:
            new["role"] = self._roles[role]
        content = message.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str | bytes):
            parts = [self._part(part, f"{path}.content[{index}]", losses) for index, part in enumerate(content)]
            if Do.FLAT in self._once and parts and (texts := _all_text(parts)) is not None:
                new["content"] = "\n\n".join(texts)
            elif any(a is not b for a, b in zip(parts, content, strict=True)):
                new["content"] = parts
        if Do.CALL_IDS in self._once:
            new.update(_with_call_ids(message))
        if self.gives_back and role == "assistant" and message.get("tool_calls"):
            thought = message.get("reasoning_content")
            kept = message.get(GIVEN_BACK)
            new["reasoning_content"] = (kept if isinstance(kept, str) else "") if thought is None else thought
        if self.gives_details_back and message.get("reasoning_details") is None:
            details = message.get(GIVEN_BACK)
            if details and not isinstance(details, str):
                new["reasoning_details"] = details
        left_out = [name for name in message if name in self._messages and not (name == "name" and role == "tool")]
        if "refusal" in message and Do.REFUSAL in self._once:
            left_out.append("refusal")
            if message["refusal"] and not content:
                new["content"] = message["refusal"]
        losses += [
            Loss(f"{path}.{name}", row.why)
            for name in left_out
            if (row := self._messages.get(name)) is not None and row.why and message[name] is not None
        ]
        if Do.NULLS in self._once:
            left_out += [name for name, value in message.items() if value is None and name != "content"]
        renamed = [name for name in message if name in self._renamed]
        if not (new or left_out or renamed):
            return message
        whole = {name: value for name, value in message.items() if name not in left_out and name not in renamed}
        return {**whole, **{self._renamed[name]: message[name] for name in renamed}, **new}

    def _part(self, part: Any, path: str, losses: list[Loss]) -> Any:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(kind, str):
            return part
        if kind == "refusal" and Do.REFUSAL in self._once:
            return {"type": "text", "text": str(part.get("refusal") or "")}
        if (row := self._parts.get(kind)) is not None:
            losses.append(Loss(path, row.why, needed=True))
        elif kind == "image_url" and (row := self._once.get(Do.LINK)) is not None:
            inner = part.get("image_url")
            url = inner.get("url") if isinstance(inner, Mapping) else inner
            if isinstance(url, str) and url[:5].lower() != "data:":
                losses.append(Loss(path, row.why, needed=True))
        elif kind == "input_audio" and Do.AUDIO in self._once and isinstance(part.get("input_audio"), Mapping):
            return {**part, "input_audio": part["input_audio"].get("data")}
        return part


def _forces(wire: Mapping[str, Any]) -> bool:
    """Whether the model has to call a tool."""
    chosen = choice(wire) if wire.get("tools") else None
    return chosen is not None and chosen.mode in ("required", "named")


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


def _in_order(messages: list[Any]) -> list[Any]:
    """System messages that come late at the beginning, and a word of the assistant's between result and user."""
    begun = next((at for at, its in enumerate(messages) if _role(its) in ("assistant", "tool")), len(messages))
    late = [its for its in messages[begun:] if _role(its) == "system"]
    early = next((at for at, its in enumerate(messages[:begun]) if _role(its) != "system"), begun)
    made = [*messages[:early], *late, *messages[early:begun]]
    for message in messages[begun:]:
        if _role(message) == "system":
            continue
        if _role(message) == "user" and made and _role(made[-1]) == "tool":
            made.append({"role": "assistant", "content": "."})
        made.append(message)
    return made


def _all_text(parts: Sequence[Any]) -> list[str] | None:
    """The texts of parts that are nothing else; None: one of them is."""
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    return found if len(found) == len(parts) else None


def _with_call_ids(message: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of a message that hold ids of calls, with ids of nine letters and digits."""
    answered = message.get("tool_call_id")
    if isinstance(answered, str) and (its := call_id(answered)) != answered:
        yield "tool_call_id", its
    calls = message.get("tool_calls")
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        return
    made = [
        {**call, "id": call_id(call["id"])} if isinstance(call, Mapping) and isinstance(call.get("id"), str) else call
        for call in calls
    ]
    if made != list(calls):
        yield "tool_calls", made


def _modern(wire: Mapping[str, Any], messages: Sequence[Message]) -> tuple[Mapping[str, Any], Sequence[Message]]:
    """The older `functions`, `function_call` and messages of role `function`, as tools; else the same objects."""
    if wire.get("functions") and not wire.get("tools"):
        chosen = choice(wire)
        made = {name: value for name, value in wire.items() if name not in ("functions", "function_call")}
        made["tools"] = [each.raw for each in tools(wire)]
        if chosen is not None:
            named = {"type": "function", "function": {"name": chosen.name}}
            made["tool_choice"] = named if chosen.mode == "named" else chosen.mode
        wire = made
    given: Sequence[Any] = messages
    if not any(isinstance(its, Mapping) and ("function_call" in its or its.get("role") == "function") for its in given):
        return wire, messages
    new: list[Message] = []
    for turn in walk(messages):
        raw = turn.raw
        if raw.get("role") == "function":
            new.append({"role": "tool", "tool_call_id": turn.call_id, "content": raw.get("content")})
        elif raw.get("function_call") and turn.calls:
            calls = [
                {"id": its.id, "type": "function", "function": {"name": its.name, "arguments": its.arguments}}
                for its in turn.calls
            ]
            new.append({**{name: raw[name] for name in raw if name != "function_call"}, "tool_calls": calls})
        else:
            new.append(raw)
    return wire, new


def _text_of(messages: Sequence[Message]) -> str:
    """All text of the messages, run together."""
    found: list[str] = []
    given: Sequence[Any] = messages
    for message in given:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, str):
            found.append(content)
        parts = (part.get("text") for part in _listed(content) if isinstance(part, Mapping))
        found.extend(text for text in parts if isinstance(text, str))
    return "\n".join(found)


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else ()
