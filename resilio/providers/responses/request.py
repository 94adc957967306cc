"""What is sent: a request of OpenAI's chat shape as one of `POST /responses`, and what of it has no form there.

`translate` finds both at once, so that what is told as lost and what is left out are the same by construction. Unless
the caller says otherwise nothing is stored at the server, and reasoning is asked for in its encrypted form, so that
every request holds its whole conversation and can go to any target. Fields of the Responses API's own go out as they
came. The rule that keeps it simple: each field is taken by one of the functions below, or a hint that changes no
answer, or a loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from resilio.models import Loss, Request
from resilio.providers.conversation import ANTHROPIC_FIELDS, foreign_losses
from resilio.providers.responses.items import Conversation, read_conversation
from resilio.providers.responses.models import reasons
from resilio.providers.tools import Function, Other, choice, output_limit, tools, unread

__all__ = ["translate"]

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

_AS_THEY_CAME: Final = frozenset({
    "access_programs", "background", "background_options", "context_management", "conversation", "image",
    "instructions", "max_tool_calls", "metadata", "moderation", "parallel_tool_calls", "previous_response_id", "prompt",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier",
    "temperature", "top_p", "truncation", "user",
})  # fmt: skip
_TAKEN: Final = frozenset({
    "function_call", "functions", "include", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens",
    "messages", "model", "reasoning", "reasoning_effort", "response_format", "store", "text", "tool_choice", "tools",
    "top_logprobs", "verbosity",
})  # fmt: skip
_HINTS: Final = frozenset({ANTHROPIC_FIELDS, "prediction", "stream", "stream_options"})
"""Change no answer, so they are left out without a word; see `stream_options`, of which a part is sent."""
_SAYS_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"], ("text",)),
    "stop": ([], ()),
}
"""Values that ask for what is done anyway."""
_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "include": (Sequence, "a list"),
    "logprobs": (bool, "true or false"),
    "max_output_tokens": (int, "a whole number"),
    "reasoning": (Mapping, "an object"),
    "reasoning_effort": (str, "text"),
    "store": (bool, "true or false"),
    "text": (Mapping, "an object"),
    "top_logprobs": (int, "a whole number"),
    "verbosity": (str, "text"),
}
"""Fields that are sent only if they are what they should be."""
_DATED: Final = re.compile(r"_20\d{6}$")
"""How the types of Anthropic's tools end."""


def translate(request: Request, model: str, who: str, limit: int | None) -> tuple[dict[str, Any], tuple[Loss, ...]]:
    """The body to send, without `stream`, and what of the request is not in it.

    Args:
        request: OpenAI-shaped.
        model: The server's name of the model.
        who: The provider's name, for what only it can read.
        limit: Tokens of the answer, where the caller set no limit of their own; None: the server's.
    """
    wire = request.wire
    listed = tools(wire)
    store = wire["store"] if isinstance(wire.get("store"), bool) else False
    custom = frozenset(name for tool in listed if isinstance(tool, Other) and (name := _custom_name(tool.raw)))
    talk = read_conversation(request.messages, who, custom, stored=store)
    body: dict[str, Any] = {"model": model, "input": talk.items, "store": store}
    body.update((name, wire[name]) for name in sorted(_AS_THEY_CAME) if wire.get(name) is not None)
    own = wire.get("max_output_tokens")
    limits = (own if type(own) is int else None, output_limit(wire), limit)
    if (most := next((each for each in limits if each is not None), None)) is not None:
        body["max_output_tokens"] = most
    _add_tools(body, wire, listed, talk)
    _add_reasoning(body, wire)
    _add_text(body, wire, talk.losses)
    _add_include(body, wire, model)
    talk.losses.extend(unread(wire))
    talk.losses.extend(_unread(wire))
    talk.losses.extend(_unknown(wire))
    return body, tuple(talk.losses)


def _unread(wire: Mapping[str, Any]) -> list[Loss]:
    """Fields of which a value of another type is not sent."""
    return [
        Loss(name, f"it is not {what}")
        for name, (kind, what) in _TYPES.items()
        if (value := wire.get(name)) is not None and not _is(value, kind)
    ]


def _is(value: Any, kind: type) -> bool:
    if kind is int:
        return type(value) is int
    return isinstance(value, kind) and not (kind is Sequence and isinstance(value, str))


def _unknown(wire: Mapping[str, Any]) -> list[Loss]:
    """Fields nothing here takes."""
    losses = [*foreign_losses(wire)]
    for name, value in wire.items():
        known = name in _TAKEN or name in _AS_THEY_CAME or name in _HINTS
        if value is None or known or value in _SAYS_NOTHING.get(name, ()):
            continue
        losses.append(Loss(name, "one answer a request" if name == "n" else "there is no such field"))
    return losses


def _add_reasoning(body: dict[str, Any], wire: Mapping[str, Any]) -> None:
    own = wire.get("reasoning")
    made = dict(own) if isinstance(own, Mapping) else {}
    if isinstance(wire.get("reasoning_effort"), str):
        made.setdefault("effort", wire["reasoning_effort"])
    if made:
        body["reasoning"] = made


def _add_text(body: dict[str, Any], wire: Mapping[str, Any], losses: list[Loss]) -> None:
    """The form of the answer, and how many words are made of it."""
    own = wire.get("text")
    made = dict(own) if isinstance(own, Mapping) else {}
    given = wire.get("response_format")
    if isinstance(given, Mapping) and "format" not in made:
        kind = given.get("type")
        if kind == "json_schema":
            made["format"] = form = _schema(given.get("json_schema"))
            if not form["schema"]:
                losses.append(Loss("response_format", "it holds no schema, so any JSON will do"))
        elif kind in ("json_object", "text"):
            made["format"] = {"type": kind}
        else:
            losses.append(Loss("response_format", f"there is no form {kind!r}"))
    elif given is not None and not isinstance(given, Mapping):
        losses.append(Loss("response_format", "it is not an object"))
    if isinstance(wire.get("verbosity"), str):
        made.setdefault("verbosity", wire["verbosity"])
    if made:
        body["text"] = made


def _schema(given: Any) -> dict[str, Any]:
    inner = given if isinstance(given, Mapping) else {}
    schema = inner.get("schema")
    made: dict[str, Any] = {
        "type": "json_schema",
        "name": str(inner.get("name") or "answer"),
        "schema": dict(schema) if isinstance(schema, Mapping) else {},
    }
    made.update((name, inner[name]) for name in ("description", "strict") if inner.get(name) is not None)
    return made


def _add_include(body: dict[str, Any], wire: Mapping[str, Any], model: str) -> None:
    """Encrypted reasoning, unless the server stores it or the caller lists their own; log probabilities when asked."""
    own = wire.get("include")
    if isinstance(own, Sequence) and not isinstance(own, str):
        include = list(own)
    else:
        include = [] if body["store"] or not reasons(model) else [ENCRYPTED]
    top = wire.get("top_logprobs")
    if wire.get("logprobs") is True and LOGPROBS not in include:
        include.append(LOGPROBS)
    if type(top) is int and (top > 0 or wire.get("logprobs") is True):
        body["top_logprobs"] = top
    if include:
        body["include"] = include


# --- tools -------------------------------------------------------------------------------------


def _add_tools(
    body: dict[str, Any], wire: Mapping[str, Any], listed: Sequence[Function | Other], talk: Conversation
) -> None:
    made = []
    for tool in listed:
        if isinstance(tool, Function):
            made.append(_function(tool))
        elif not isinstance(tool.raw, Mapping) or not tool.type:
            talk.losses.append(Loss(tool.path, "it is no tool", needed=True))
        elif _DATED.search(tool.type):
            talk.losses.append(Loss(tool.path, f"{tool.type} is another provider's", needed=True))
        else:
            made.append(_flat(tool.raw))
    if made:
        body["tools"] = made
    chosen = _choice(wire)
    if chosen is not None:
        body["tool_choice"] = chosen
    elif wire.get("tool_choice") is not None:
        talk.losses.append(Loss("tool_choice", "it says nothing that is known"))


def _function(tool: Function) -> dict[str, Any]:
    """Flat, and always with `strict`, which is true there unless it is said to be false."""
    parameters = dict(tool.parameters)
    if tool.strict and not parameters.get("properties"):
        parameters = {"additionalProperties": False, "required": [], **parameters}
    made = {"type": "function", "name": tool.name, "parameters": parameters, "strict": tool.strict}
    if tool.description:
        made["description"] = tool.description
    return made


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """A tool, or a mention of one, without the level that chat completions put its fields into."""
    kind = str(given.get("type"))
    inner = given.get(kind)
    if not isinstance(inner, Mapping):
        return dict(given)
    made = {"type": kind, **inner}
    form = made.get("format")
    if kind == "custom" and isinstance(form, Mapping) and isinstance(form.get("grammar"), Mapping):
        made["format"] = {"type": "grammar", **form["grammar"]}
    return made


def _custom_name(given: Any) -> str:
    if not isinstance(given, Mapping) or given.get("type") != "custom":
        return ""
    name = _flat(given).get("name")
    return name if isinstance(name, str) else ""


def _choice(wire: Mapping[str, Any]) -> Any:
    """What was said of the choice of tools; None: nothing, or nothing that can be understood."""
    given, chosen = wire.get("tool_choice"), choice(wire)
    if chosen is not None and chosen.allowed is None:
        named = {"type": "function", "name": chosen.name}
        if chosen.mode != "named":
            return chosen.mode
        return _flat(given) if isinstance(given, Mapping) and given.get("type") in ("custom", "mcp") else named
    if not isinstance(given, Mapping):
        return None
    kind = given.get("type")
    if kind == "allowed_tools" and chosen is not None:
        inner = given.get("allowed_tools")
        listed = (inner if isinstance(inner, Mapping) else given).get("tools")
        mentions = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
        allowed = [_flat(one) for one in mentions if isinstance(one, Mapping)]
        return {"type": "allowed_tools", "mode": chosen.mode, "tools": allowed}
    if kind in ("any", "auto", "none"):  # as Anthropic says it
        return "required" if kind == "any" else kind
    return _flat(given) if isinstance(kind, str) and kind not in ("function", "tool") else None
