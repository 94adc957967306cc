"""OpenAI-shaped messages as a walk of turns and parts, for dialects that shape a conversation in another way.

The walk knows every form in which callers write text, pictures, documents, tool calls and their results, and gives each
in one neutral form with the place where it stood. It judges nothing: what has no meaning here becomes an `Odd` part,
and what a dialect can say of a part is the dialect's business. The caller's mappings are read, never changed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from resilio.errors import Unencodable
from resilio.models import Loss, Message
from resilio.providers.encoding import dumps

__all__ = [
    "ANTHROPIC_FIELDS",
    "FOREIGN",
    "GIVEN_BACK",
    "HINTS",
    "Call",
    "Media",
    "Native",
    "Odd",
    "Part",
    "Text",
    "Turn",
    "alike",
    "arguments_object",
    "foreign_losses",
    "parse_data_url",
    "walk",
    "without_foreign",
    "without_hints",
]

Role = Literal["system", "user", "assistant", "tool"]

ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
GIVEN_BACK: Final = "reasoning_given_back"
"""Reasoning that its server (DeepSeek) wants back with the tool calls it led to."""

FOREIGN: Final = frozenset({
    "anthropic_content", "gemini_content", "is_error", "responses_output", "thinking_blocks", GIVEN_BACK,
})  # fmt: skip
"""Fields of a message that only one dialect reads; all others leave them out without a word."""
HINTS: Final = frozenset({"cache_control", "citations", "context"})
"""Fields of a part, a tool's result or a tool that change no answer where they are not known."""
ANTHROPIC_FIELDS: Final = "anthropic_fields"
"""A field of a request that holds fields which Anthropic alone has, as its own callers wrote them: its targets are sent
those in place of what they were translated to."""
_TRANSLATED: Final = frozenset({"cache_control", "diagnostics", "metadata", "output_config", "thinking"})
"""Of those, the ones that are hints, or stand in the request in OpenAI's form too."""


class Text(NamedTuple):
    """Text; `raw` is the part it stood in, for hints such as ``cache_control``."""

    path: str
    text: str
    raw: Mapping[str, Any]


class Media(NamedTuple):
    """A picture, a document or a recording: exactly one of `url`, `data` and `file_id` is set."""

    path: str
    kind: Literal["image", "document", "audio"]
    media_type: str
    """As far as it is told; empty for what a URL points to."""
    url: str
    data: str
    """Base64."""
    file_id: str
    name: str
    raw: Mapping[str, Any]


class Native(NamedTuple):
    """A part of a type that OpenAI's dialect does not have: perhaps the target's own."""

    path: str
    type: str
    raw: Mapping[str, Any]


class Odd(NamedTuple):
    """What has no meaning in any dialect, and why."""

    path: str
    why: str


Part = Text | Media | Native | Odd


class Call(NamedTuple):
    """A tool call of the assistant's. `id` is never empty: where the caller gave none, one is made up."""

    path: str
    id: str
    name: str
    arguments: str
    """JSON text as the model wrote it, perhaps invalid; see `arguments_object`."""
    raw: Mapping[str, Any]


@dataclass(slots=True)
class Turn:
    """One message."""

    path: str
    role: Role
    raw: Mapping[str, Any]
    parts: list[Part] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    """Of the assistant."""
    call_id: str = ""
    """Of a tool: the call it answers; found by name or order where the caller gave none."""
    call_name: str = ""
    """Of a tool: the name of that call, where it is known."""

    def says(self, words: str) -> bool:
        """Whether the message still has these words, blanks around them and a refusal aside, and else nothing.

        What a provider wants back goes as it came only then: the caller's own changes count for more.
        """
        refusal = f"{self.path}.refusal"
        texts = [part for part in self.parts if isinstance(part, Text)]
        said = "".join(part.text for part in texts if part.path != refusal)
        return len(texts) == len(self.parts) and said.strip() == words.strip()


def walk(messages: Sequence[Message]) -> Iterator[Turn]:
    """The turns of a conversation, in order, one a message."""
    given: Any = messages
    open_calls: list[Call] = []
    """Calls not answered yet, oldest first."""
    names: dict[str, str] = {}
    for index, message in enumerate(given):
        path = f"messages[{index}]"
        role = ROLES.get(str(message.get("role"))) if isinstance(message, Mapping) else None
        if role is None:
            raw = message if isinstance(message, Mapping) else {}
            why = f"role {raw.get('role')!r} is none" if raw else "it is not an object"
            yield Turn(path, "user", raw, [Odd(path, why)])
            continue
        turn = Turn(path, role, message, list(_parts(message.get("content"), f"{path}.content")))
        if role == "assistant":
            if refusal := message.get("refusal"):
                turn.parts.append(Text(f"{path}.refusal", str(refusal), {}))
            turn.parts += _spoken(message, path)
            turn.calls = list(_calls(message, index, turn.parts))
            open_calls += turn.calls
            names.update((call.id, call.name) for call in turn.calls)
        elif role == "tool":
            _pair(turn, open_calls, names)
        if role != "assistant" and (message.get("tool_calls") or message.get("function_call")):
            turn.parts.append(Odd(f"{path}.tool_calls", "only the assistant calls tools"))
        yield turn


def without_foreign(messages: Sequence[Message], *, signatures: bool = False) -> Sequence[Message]:
    """The same messages without what only another dialect reads; the very same object where there is nothing.

    `signatures`: Google's on tool calls (``extra_content``) are kept.
    """
    given: Sequence[Any] = messages
    if not any(_has_foreign(its, signatures) for its in given):
        return messages
    return [_native(its, signatures) if _has_foreign(its, signatures) else its for its in given]


def _has_foreign(message: Any, signatures: bool) -> bool:
    if not isinstance(message, Mapping):
        return False
    if not FOREIGN.isdisjoint(message):
        return True
    calls = message.get("tool_calls")
    if signatures or not isinstance(calls, Sequence):
        return False
    return any(isinstance(call, Mapping) and "extra_content" in call for call in calls)


def _native(message: Mapping[str, Any], signatures: bool) -> dict[str, Any]:
    made = {name: value for name, value in message.items() if name not in FOREIGN}
    calls = made.get("tool_calls")
    if not signatures and isinstance(calls, Sequence):
        made["tool_calls"] = [
            {name: value for name, value in call.items() if name != "extra_content"}
            if isinstance(call, Mapping)
            else call
            for call in calls
        ]
    return made


def without_hints(given: Any) -> Any:
    """Messages or tools without the hints of Anthropic's dialect; the very same object where there are none.

    Many servers of OpenAI's dialect read them (OpenRouter), and most pass over them; OpenAI's own is strict.
    """
    if isinstance(given, Mapping):
        content = given.get("content")
        inner = without_hints(content)
        if HINTS.isdisjoint(given) and inner is content:
            return given
        kept = {name: value for name, value in given.items() if name not in HINTS}
        return kept if inner is content else {**kept, "content": inner}
    if not isinstance(given, list | tuple):
        return given
    made = [without_hints(each) for each in given]
    return given if all(new is old for new, old in zip(made, given, strict=True)) else made


def foreign_losses(wire: Mapping[str, Any]) -> tuple[Loss, ...]:
    """What a request of a caller of Anthropic's dialect loses at a target of any other."""
    own = wire.get(ANTHROPIC_FIELDS)
    if not isinstance(own, Mapping):
        return ()
    return tuple(
        Loss(f"{ANTHROPIC_FIELDS}.{name}", "Anthropic alone has it", needed=name in ("container", "mcp_servers"))
        for name in own
        if name not in _TRANSLATED
    )


def _pair(turn: Turn, open_calls: list[Call], names: Mapping[str, str]) -> None:
    """Find the call that a result answers."""
    given, name = turn.raw.get("tool_call_id"), turn.raw.get("name")
    if given:
        found = next((call for call in open_calls if call.id == given), None)
        turn.call_id = str(given)
    else:
        found = next((call for call in open_calls if name in (None, call.name)), None)
        turn.call_id = found.id if found else ""
    if found is not None:
        open_calls.remove(found)
    # Some servers give all calls of a turn one id: then the order says which is which.
    turn.call_name = found.name if found is not None else names.get(turn.call_id) or str(name or "")
    if not turn.call_id:
        turn.parts.append(Odd(turn.path, "it answers no tool call"))


def _spoken(message: Mapping[str, Any], path: str) -> Iterator[Part]:
    """What a model of OpenAI's said aloud, where nothing is written beside it."""
    audio = message.get("audio")
    if not audio or message.get("content"):
        return
    words = audio.get("transcript") if isinstance(audio, Mapping) else None
    if isinstance(words, str) and words:
        yield Text(f"{path}.audio.transcript", words, {})
    else:
        yield Odd(f"{path}.audio", "only its provider knows what was said there")


def _calls(message: Mapping[str, Any], index: int, parts: list[Part]) -> Iterator[Call]:
    given = message.get("tool_calls")
    path = f"messages[{index}].tool_calls"
    if not given and message.get("function_call"):
        path, given = f"messages[{index}].function_call", [{"function": message["function_call"]}]
    if not isinstance(given, Sequence) or isinstance(given, str):
        if given:
            parts.append(Odd(path, "it is not a list"))
        return
    for number, call in enumerate(given):
        where = f"{path}[{number}]"
        function = (call.get("function") or call.get("custom")) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not function.get("name"):
            parts.append(Odd(where, "it names no tool"))
            continue
        arguments = function.get("arguments")
        if arguments is None and (written := function.get("input")) is not None:  # a custom tool takes any text
            arguments = {"input": written}
        if not isinstance(arguments, str):
            try:
                arguments = dumps(arguments or {}).decode()
            except Unencodable as exc:
                parts.append(Odd(where, str(exc)))
                continue
        yield Call(where, str(call.get("id") or f"call_{index}_{number}"), str(function["name"]), arguments, call)


def arguments_object(arguments: str) -> Mapping[str, Any]:
    """Arguments as the object other dialects want; what a model wrote that is none becomes ``{"_raw": text}``."""
    if not arguments.strip():
        return {}
    try:
        found = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"_raw": arguments}
    return found if isinstance(found, dict) else {"_raw": arguments}


def alike(one: object, other: object) -> bool:
    """Whether two pieces of JSON are the same; of those nested too deep to be compared, none is."""
    try:
        return one == other
    except RecursionError:
        return False


# --- parts -------------------------------------------------------------------------------------


def _parts(content: Any, path: str) -> Iterator[Part]:
    if content is None:
        return
    if isinstance(content, str):
        yield Text(path, content, {})
    elif isinstance(content, Sequence) and not isinstance(content, bytes):
        for number, part in enumerate(content):
            yield _part(part, f"{path}[{number}]")
    else:
        yield Odd(path, f"{type(content).__name__} is neither text nor parts")


def _part(part: Any, path: str) -> Part:
    if isinstance(part, str):
        return Text(path, part, {})
    if not isinstance(part, Mapping):
        return Odd(path, "it is not an object")
    kind = part.get("type")
    inner = part.get(kind) if isinstance(kind, str) else None
    if kind in ("text", "refusal", "input_text", "output_text"):
        text = part.get("refusal") if kind == "refusal" else part.get("text")
        return Text(path, text, part) if isinstance(text, str) else Odd(path, "its text is not a string")
    if kind == "image_url":
        url = inner.get("url") if isinstance(inner, Mapping) else inner
        return _linked(path, "image", url, "", part)
    if kind == "file" and isinstance(inner, Mapping):
        return _file(path, inner, part)
    if kind == "input_audio" and isinstance(inner, Mapping):
        sound = f"audio/{inner.get('format') or 'wav'}"
        return Media(path, "audio", sound, "", str(inner.get("data") or ""), "", "", part)
    return Native(path, str(kind), part) if kind else Odd(path, "it has no type")


def _file(path: str, inner: Mapping[str, Any], part: Mapping[str, Any]) -> Part:
    name = str(inner.get("filename") or "")
    data, link = inner.get("file_data"), inner.get("file_url")
    if data or link:
        return _linked(path, "document", data or link, name, part)
    if file_id := inner.get("file_id"):
        return Media(path, "document", "", "", "", str(file_id), name, part)
    return Odd(path, "it holds no file")


def _linked(path: str, kind: Literal["image", "document"], url: Any, name: str, part: Mapping[str, Any]) -> Part:
    """What a URL points to, or holds itself."""
    if not isinstance(url, str) or not url:
        return Odd(path, "it has no URL")
    if url.startswith(("http://", "https://")):
        return Media(path, kind, "", url, "", "", name, part)
    if url[:5].lower() == "data:":
        found = parse_data_url(url)
        return Media(path, kind, found[0], "", found[1], "", name, part) if found else Odd(path, "a broken data: URL")
    if kind == "document" and _is_base64(url):  # bare, as some callers send a PDF
        return Media(path, kind, "application/pdf", "", url, "", name, part)
    return Odd(path, "neither http(s): nor data:")


def parse_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a ``data:`` URL (RFC 2397); None where it is none.

    What is percent-encoded comes out as base64 too.
    """
    head, comma, data = url[5:].partition(",")
    if not comma:
        return None
    kind, *parameters = head.split(";")
    media_type = kind.strip().lower() or "text/plain"
    if any(one.strip().lower() == "base64" for one in parameters):
        return (media_type, data.strip()) if _is_base64(data.strip()) else None
    return media_type, base64.b64encode(unquote_to_bytes(data)).decode()


def _is_base64(text: str) -> bool:
    """Whether it looks like base64: the beginning is decoded, the length compared; pictures are large."""
    if len(text) % 4:
        return False
    try:
        base64.b64decode(text[:400], validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(text)
