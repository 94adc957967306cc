"""OpenAI-shaped messages as Gemini's: system text apart, turns of user and model that alternate, results by name.

What has no form there is put down as a `Loss` and left out. The rule that keeps it simple: one pass, one turn at a
time, and neighbours of one role become one turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resilio.models import Loss, Message
from resilio.providers.conversation import Call, Odd, Part, Text, Turn, alike, arguments_object, walk
from resilio.providers.gemini.media import Place, media_part

__all__ = ["SENTINEL", "Conversation", "read_conversation", "signature_of"]

SENTINEL: Final = "skip_thought_signature_validator"
"""What stands in for the signature of a call that another provider made; documented by Google for just that."""

_STAND_IN: Final = "."
"""The user's turn before a conversation that the assistant begins, and beside a system message alone."""


class Conversation:
    """The whole of it, as it is sent."""

    __slots__ = ("contents", "losses", "system")

    def __init__(self) -> None:
        self.system: list[dict[str, Any]] = []
        self.contents: list[dict[str, Any]] = []
        self.losses: list[Loss] = []

    def add(self, role: str, parts: Iterable[dict[str, Any]]) -> None:
        """Put parts at the end of the last turn if it is this role's, else into a new one."""
        added = list(parts)
        if not added:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += added
        else:
            self.contents.append({"role": role, "parts": added})


def read_conversation(messages: Sequence[Message], place: Place, *, signed: bool) -> Conversation:
    """Translate all messages.

    Args:
        messages: OpenAI-shaped.
        place: What is sent where: pictures and files depend on it.
        signed: Calls without a signature are refused there, so one that has none gets the `SENTINEL`.
    """
    made = Conversation()
    for turn in walk(messages):
        if turn.raw.get("name") and turn.role != "tool":
            made.losses.append(Loss(f"{turn.path}.name", "names of speakers are not known"))
        if turn.role == "system":
            made.system += _texts(turn, made.losses, "a system message holds text alone")
        elif turn.role == "user":
            made.add("user", _parts(turn.parts, place, made.losses))
        elif turn.role == "tool":
            made.add("user", _result(turn, place, made.losses))
        else:
            made.add("model", _assistant(turn, made.losses, signed=signed))
    if made.contents[0]["role"] == "model" if made.contents else made.system:
        made.contents.insert(0, {"role": "user", "parts": [{"text": _STAND_IN}]})
    for content in made.contents:
        if content["role"] == "user":
            content["parts"].sort(key=lambda part: "functionResponse" not in part)
    return made


def signature_of(raw: Mapping[str, Any]) -> str:
    """The signature a tool call bears in Google's own convention for OpenAI's dialect; empty without one."""
    extra = raw.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    found = google.get("thought_signature") if isinstance(google, Mapping) else None
    return found if isinstance(found, str) else ""


def _texts(turn: Turn, losses: list[Loss], only: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for part in turn.parts:
        if not isinstance(part, Text):
            losses.append(Loss(part.path, part.why if isinstance(part, Odd) else only, needed=True))
        elif part.text:
            made.append({"text": part.text})
    return made


def _assistant(turn: Turn, losses: list[Loss], *, signed: bool) -> list[dict[str, Any]]:
    """What the model said: the very parts that came, where the caller kept them, else made from the message."""
    parts = _kept(turn)
    if parts is None:
        parts = _texts(turn, losses, "the assistant's turns hold text alone") + [_call(call) for call in turn.calls]
    first = next((part for part in parts if "functionCall" in part), None)
    if signed and first is not None and not first.get("thoughtSignature"):
        first["thoughtSignature"] = SENTINEL
    return parts


def _call(call: Call) -> dict[str, Any]:
    part: dict[str, Any] = {
        "functionCall": {"id": call.id, "name": call.name, "args": arguments_object(call.arguments)}
    }
    if signature := signature_of(call.raw):
        part["thoughtSignature"] = signature
    return part


def _kept(turn: Turn) -> list[dict[str, Any]] | None:
    """The parts of `gemini_content`, if they hold the very words and calls of the message; ids as in the message."""
    given = turn.raw.get("gemini_content")
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        return None
    if not all(isinstance(each, Mapping) for each in given):
        return None
    parts = [dict(each) for each in given]
    calling = [part for part in parts if isinstance(part.get("functionCall"), Mapping)]
    theirs = [(part["functionCall"].get("name"), part["functionCall"].get("args") or {}) for part in calling]
    if not alike(theirs, [(call.name, arguments_object(call.arguments)) for call in turn.calls]):
        return None
    words = "".join(
        part["text"] for part in parts if isinstance(part.get("text"), str) and part.get("thought") is not True
    )
    if not turn.says(words):
        return None
    for part, call in zip(calling, turn.calls, strict=True):
        part["functionCall"] = {**part["functionCall"], "id": call.id}
    return parts


def _result(turn: Turn, place: Place, losses: list[Loss]) -> list[dict[str, Any]]:
    """What a function gave back, as an object; its pictures in it or, for older models, behind it."""
    parts, name = _parts(turn.parts, place, losses), turn.call_name
    if not name:
        if turn.call_id:
            losses.append(Loss(turn.path, "the call it answers is not in the conversation", needed=True))
        return []
    text = "".join(part["text"] for part in parts if "text" in part)
    others = [part for part in parts if "text" not in part]
    word = "error" if turn.raw.get("is_error") else "result"
    response: dict[str, Any] = {"id": turn.call_id, "name": name, "response": {word: text}}
    if others and place.in_results:
        response["parts"] = others
        others = []
    return [{"functionResponse": response}, *others]


def _parts(given: Iterable[Part], place: Place, losses: list[Loss]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for part in given:
        if isinstance(part, Text):
            if part.text:
                made.append({"text": part.text})
            continue
        found = media_part(part, place)
        if isinstance(found, Loss) and not found.needed:
            losses.append(found)
            found = media_part(part, place._replace(details=False))
        if isinstance(found, Loss):
            losses.append(found)
        else:
            made.append(found)
    return made
