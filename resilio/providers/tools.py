"""Tools, the choice among them, and the form of the answer, as callers of OpenAI's dialect write them: read once.

The older names (`functions`, `function_call`) are read like the newer ones. What only OpenAI has (custom tools, with
a grammar in place of a schema) is given as it came, for a dialect to say that it has no form for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from resilio.models import Loss

__all__ = [
    "NO_FUNCTION",
    "Choice",
    "Format",
    "Function",
    "Other",
    "asked_format",
    "choice",
    "output_limit",
    "tools",
    "unread",
]

NO_FUNCTION: Final = "there is no function to call"
"""Why a call that is demanded cannot be: none of those that were named was given."""


class Function(NamedTuple):
    """A function the model may call."""

    path: str
    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of an object; always with a ``type``."""
    strict: bool
    raw: Mapping[str, Any]
    """The table it stood in, for hints such as ``cache_control``."""


class Other(NamedTuple):
    """A tool that is no function: perhaps one of the target's own."""

    path: str
    type: str
    raw: Any


class Choice(NamedTuple):
    """Which tools the model may or must call."""

    path: str
    mode: Literal["auto", "none", "required", "named"]
    name: str = ""
    allowed: frozenset[str] | None = None
    """Only these, where the caller has narrowed them down; None: any."""


class Format(NamedTuple):
    """The form of the answer that was asked for."""

    kind: Literal["text", "json_object", "json_schema"]
    schema: Mapping[str, Any]
    name: str = ""


def tools(wire: Mapping[str, Any]) -> list[Function | Other]:
    """The tools of a request, in order."""
    found: list[Function | Other] = []
    given, where = wire.get("tools"), "tools"
    if not given and wire.get("functions"):
        where = "functions"
        given = [{"type": "function", "function": each} for each in _listed(wire["functions"])]
    for index, tool in enumerate(_listed(given)):
        path = f"{where}[{index}]"
        inner = tool.get("function") if isinstance(tool, Mapping) else None
        if isinstance(inner, Mapping) and inner.get("name"):
            found.append(_function(path, inner, tool))
        else:
            found.append(Other(path, str(tool.get("type") or "") if isinstance(tool, Mapping) else "", tool))
    return found


def _function(path: str, inner: Mapping[str, Any], tool: Mapping[str, Any]) -> Function:
    schema = inner.get("parameters")
    schema = dict(schema) if isinstance(schema, Mapping) else {"properties": {}}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    strict = inner.get("strict") is True
    return Function(path, str(inner["name"]), str(inner.get("description") or ""), schema, strict, tool)


def choice(wire: Mapping[str, Any]) -> Choice | None:
    """What was said of the choice of tools; None: nothing, or nothing that can be understood."""
    path, given = "tool_choice", wire.get("tool_choice")
    if given is None and wire.get("function_call") is not None:
        path, given = "function_call", wire["function_call"]
    if isinstance(given, str):
        modes = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
        return Choice(path, modes[given]) if given in modes else None  # type: ignore[arg-type]  # one of the four
    if not isinstance(given, Mapping):
        return None
    if given.get("type") == "allowed_tools":
        inner = given.get("allowed_tools")
        inner = inner if isinstance(inner, Mapping) else given
        names = frozenset(name for each in _listed(inner.get("tools")) if (name := _name(each)))
        return Choice(path, "required" if inner.get("mode") == "required" else "auto", allowed=names)
    name = _name(given)
    return Choice(path, "named", name) if name else None


def _name(given: Any) -> str:
    """The function that ``{"type": "function", "function": {"name": ...}}`` or a shorter form names."""
    if not isinstance(given, Mapping):
        return ""
    inner = given.get("function")
    found = inner.get("name") if isinstance(inner, Mapping) else given.get("name")
    return found if isinstance(found, str) else ""


def asked_format(wire: Mapping[str, Any]) -> Format | None:
    """The form of the answer; None: nothing was said of it."""
    given = wire.get("response_format")
    if not isinstance(given, Mapping):
        return None
    kind = given.get("type")
    if kind == "json_schema":
        inner = given.get("json_schema")
        inner = inner if isinstance(inner, Mapping) else {}
        schema = inner.get("schema")
        return Format("json_schema", schema if isinstance(schema, Mapping) else {}, str(inner.get("name") or ""))
    return Format("json_object", {}) if kind == "json_object" else Format("text", {})


def output_limit(wire: Mapping[str, Any]) -> int | None:
    """The caller's own limit on the length of the answer, in tokens."""
    for name in ("max_completion_tokens", "max_tokens"):
        if type(wire.get(name)) is int:
            limit: int = wire[name]
            return limit
    return None


def unread(wire: Mapping[str, Any]) -> list[Loss]:
    """What stands in the fields read here and has no meaning, so that nothing came of it."""
    losses = [
        Loss(name, "it is not a whole number")
        for name in ("max_completion_tokens", "max_tokens")
        if wire.get(name) is not None and type(wire[name]) is not int
    ]
    if wire.get("parallel_tool_calls") not in (None, True, False):
        losses.append(Loss("parallel_tool_calls", "it is neither true nor false"))
    for name in ("tools", "functions"):
        if (given := wire.get(name)) and given is not _listed(given):
            losses.append(Loss(name, "it is not a list", needed=True))
        elif given and name == "functions" and wire.get("tools"):
            losses.append(Loss(name, "there are tools in its place", needed=True))
    for tool in tools(wire):
        if isinstance(tool, Function):
            inner = tool.raw["function"].get("parameters")
            if inner is not None and not isinstance(inner, Mapping):
                losses.append(Loss(f"{tool.path}.function.parameters", "it is not an object", needed=True))
    if wire.get("tool_choice") is None and wire.get("function_call") is not None and choice(wire) is None:
        losses.append(Loss("function_call", "it says nothing that is known"))
    return losses


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else ()
