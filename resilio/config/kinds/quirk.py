"""One difference of a server from OpenAI's own: what it is about, what is done about it, and where it is known from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Do", "Quirk"]


class Do(StrEnum):
    """What is done about a field that a server does not take as it came."""

    RENAME = "rename"
    """A wire field goes by the name `to`."""
    LACK = "lack"
    """A wire field has no form there: a loss. With `keeps`, only other values than those are."""
    HINT = "hint"
    """A wire field that changes no answer is left out without a word."""
    SAY = "say"
    """The value `keeps` of a wire field is said as `to`."""
    OFF = "off"
    """The value `keeps` of a wire field is said by the field `to`, as ``{"type": "disabled"}``."""
    CALM = "calm"
    """A call that is forced excludes thinking, which the field `to` turns off; an effort asked for is a loss."""
    FORCE = "force"
    """A choice of one tool by name is not honoured: a loss."""
    SCHEMA = "schema"
    """A schema for the answer has no form there: a loss, weakened to JSON of any shape."""
    ROLE = "role"
    """Messages of the role `field` are sent as those of `to`."""
    PART = "part"
    """Parts of this type have no form there: a loss that is never left out."""
    LINK = "link"
    """Pictures behind a URL are not fetched: a loss that is never left out."""
    MESSAGE = "message"
    """A field of messages is left out; a loss where `why` says so."""
    MESSAGE_RENAME = "message rename"
    """A field of messages goes by the name `to`."""
    CALL_IDS = "call ids"
    """Ids of tool calls have nine letters and digits: others are replaced, the same in call and result."""
    GIVE_BACK = "give back"
    """The reasoning before a tool call has to come back with it; a call made elsewhere gets an empty one."""
    FUNCTIONS = "functions"
    """The older `functions` and `function_call` are written as tools."""
    NARROW = "narrow"
    """Of a choice among `allowed_tools`, only those are sent."""
    TOOL = "tool"
    """Tools of the type `field` have no form there: a loss that is never left out."""
    REFUSAL = "refusal"
    """A refusal of the assistant's is said as content, where there is none."""
    FLAT = "flat"
    """Text in parts is sent as one text."""
    ORDER = "order"
    """Late system messages stand at the beginning, and something of the assistant's between a result and the user."""
    PREFIX = "prefix"
    """A last message of the assistant's is marked as the beginning of the answer."""
    AUDIO = "audio"
    """A recording is sent as bare base64."""
    MARKS = "marks"
    """Hints of Anthropic's dialect on parts, results and tools are left out."""
    NULLS = "nulls"
    """Fields that are null are left out, but for the content of messages."""
    DETAILS = "details"
    """Reasoning in signed parts comes back with the tool calls it led to."""
    READ = "read"
    """Nothing is sent differently; what comes back is, and is read."""


@dataclass(frozen=True, slots=True)
class Quirk:
    """One difference from OpenAI's own server."""

    do: Do
    field: str
    to: str = ""
    why: str = ""
    """Of a loss, what the caller is told; of what is read, what it means."""
    keeps: tuple[object, ...] = ()
    source: str = ""
    """The page or thread it is known from."""

    def __str__(self) -> str:
        match self.do:
            case Do.RENAME:
                return f"{self.field} is sent as {self.to}"
            case Do.SAY:
                return f"{self.field} {self.keeps[0]!r} is sent as {self.to!r}"
            case Do.HINT:
                return f"{self.field} is left out: it changes no answer"
            case Do.ROLE:
                return f"messages of role {self.field} are sent as {self.to}"
            case Do.MESSAGE_RENAME:
                return f"{self.field} of messages is sent as {self.to}"
            case Do.PART | Do.TOOL:
                what = "tools" if self.do is Do.TOOL else "parts"
                return f"{what} of type {self.field}: {self.why}"
            case Do.MESSAGE:
                return f"{self.field} of messages is left out{f': {self.why}' if self.why else ''}"
            case _:
                return f"{self.field}: {self.why}"
