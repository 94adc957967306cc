"""What is sent: a request of OpenAI's shape as one of `POST /v1/messages`, and what of it has no form there.

`translate` finds both at once, so that what is told as lost and what is left out are the same by construction. Fields
of Anthropic's own (`thinking`, `cache_control`, `speed`, ...) go out as they came. The rule that keeps it simple: each
field of the caller's is either taken by one of the functions below, or a hint that changes no answer, or a loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from resilio.models import Loss, Request
from resilio.providers.anthropic.messages import Conversation, read_conversation
from resilio.providers.anthropic.models import answers_by_tool, samples, samples_by_one, takes_sampling
from resilio.providers.anthropic.thinking import add_thinking
from resilio.providers.conversation import ANTHROPIC_FIELDS
from resilio.providers.demand import KEPT_THERE, bound
from resilio.providers.tools import NO_FUNCTION, Function, asked_format, choice, output_limit, tools, unread

__all__ = ["ANSWER_TOOL", "DEFAULT_MAX_TOKENS", "default_limit", "endpoint", "request_headers", "translate"]

ANSWER_TOOL: Final = "resilio_answer"
"""The tool that a model without structured outputs is made to call; its input is the answer's text."""

DEFAULT_MAX_TOKENS: Final = 4096
"""`max_tokens` is mandatory there: what is sent when neither caller, route nor model says. Every model can write it."""

_OWN: Final = frozenset({
    "cache_control", "container", "context_management", "diagnostics", "inference_geo", "mcp_servers", "output_config",
    "speed", "stop_sequences", "thinking", "user_profile_id",
})  # fmt: skip
"""Anthropic's own fields, handed through."""
_HINTS: Final = frozenset({
    "metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "store", "stream", "stream_options",
})  # fmt: skip
"""Change no answer, so they are left out without a word."""
_TAKEN: Final = frozenset({
    "function_call", "functions", "max_completion_tokens", "max_tokens", "messages", "model", "parallel_tool_calls",
    "reasoning_effort", "response_format", "service_tier", "stop", "system", "temperature", "tool_choice", "tools",
    "top_k", "top_p", "user",
})  # fmt: skip
_TRANSLATED: Final = frozenset({ANTHROPIC_FIELDS, "reasoning_effort"})
"""Not read where a caller's own fields say the same better."""
_SAYS_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"], ("text",)),
}
"""Values that ask for what is done anyway."""
_SERVICE_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def translate(request: Request, model: str, version: str, max_tokens: int) -> tuple[dict[str, Any], tuple[Loss, ...]]:
    """The body to send, without `stream`, and what of the request is not in it.

    Args:
        request: OpenAI-shaped.
        model: Anthropic's name of the model.
        version: Of the API.
        max_tokens: Where the caller set no limit of their own.
    """
    wire = _own_words(request.wire)
    talk = read_conversation(request.messages)
    limit = output_limit(wire)
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens if limit is None else limit}
    if (system := _system(wire, talk)) is not None:
        body["system"] = system
    body.update((name, wire[name]) for name in sorted(_OWN) if wire.get(name) is not None)
    forced = _add_tools(body, wire, model, talk.losses)
    body["messages"] = talk.messages
    _add_stop(body, wire, talk.losses)
    _add_user(body, wire)
    if wire.get("service_tier") is not None:
        tier = _SERVICE_TIERS.get(str(wire["service_tier"]))
        if tier is None:
            talk.losses.append(Loss("service_tier", f"there is no tier {wire['service_tier']!r}"))
        else:
            body["service_tier"] = tier
    _refuse_documents(talk, version)
    add_thinking(body, wire, model, talk, forced=forced)
    _add_sampling(body, wire, model, version, talk.losses)
    talk.losses.extend(_unknown(wire))
    talk.losses.extend(unread(wire))
    return body, tuple(talk.losses)


def _refuse_documents(talk: Conversation, version: str) -> None:
    """The newer version answers 400 to what the older one let stand in the assistant's turns."""
    blocks = (block for turn in talk.messages if turn["role"] == "assistant" for block in turn["content"])
    if not takes_sampling(version) and any(block["type"] == "document" for block in blocks):
        why = f"version {version} of the API takes no document in the assistant's turns"
        talk.losses.append(Loss("messages", why, needed=True))


def default_limit(wire: Mapping[str, Any]) -> int:
    """`max_tokens` where nobody says: with room for an answer beside the thinking that the caller has asked for."""
    thinking = wire.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return DEFAULT_MAX_TOKENS + (budget if type(budget) is int and budget > 0 else 0)


def _own_words(wire: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields, those of a caller of this very dialect as they were written."""
    own = wire.get(ANTHROPIC_FIELDS)
    if not isinstance(own, Mapping):
        return wire
    return {**{name: value for name, value in wire.items() if name not in _TRANSLATED}, **own}


def _unknown(wire: Mapping[str, Any]) -> list[Loss]:
    """Fields nothing here takes."""
    losses = [*bound(wire)]
    for name, value in wire.items():
        if value is None or name in _TAKEN or name in _OWN or name in _HINTS or value in _SAYS_NOTHING.get(name, ()):
            continue
        if name in KEPT_THERE:
            continue
        losses.append(Loss(name, "one answer a request" if name == "n" else "there is no such field"))
    return losses


def _system(wire: Mapping[str, Any], talk: Conversation) -> Any:
    """The caller's own field first, then the messages'."""
    own, found = wire.get("system"), talk.system_field()
    if own is not None and not isinstance(own, str | list):
        talk.losses.append(Loss("system", "it is neither text nor a list of blocks"))
        own = None
    if own is None or found is None:
        return found if own is None else own
    if isinstance(own, str) and isinstance(found, str):
        return f"{own}\n\n{found}"
    return [*([{"type": "text", "text": own}] if isinstance(own, str) else own), *talk.system]


def _add_tools(body: dict[str, Any], wire: Mapping[str, Any], model: str, losses: list[Loss]) -> bool:
    """Tools, the choice among them, and the form of the answer; returns whether a call is forced."""
    chosen = choice(wire)
    given = wire.get("tool_choice")
    own = given if isinstance(given, Mapping) and given.get("type") in ("any", "tool", "auto", "none") else None
    if given is not None and chosen is None and own is None:
        losses.append(Loss("tool_choice", "it says nothing that is known"))
    made = []
    for tool in tools(wire):
        if isinstance(tool, Function):
            if chosen is None or chosen.allowed is None or tool.name in chosen.allowed:
                made.append(_function(tool))
        elif isinstance(tool.raw, Mapping) and tool.raw.get("name") and tool.type != "custom":
            made.append(dict(tool.raw))  # Anthropic's own: web search, or a tool in its own form
        else:
            losses.append(Loss(tool.path, "only functions can be called", needed=True))
    picked: dict[str, Any] | None = dict(own) if own else None
    if picked is None and chosen is not None:
        types = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
        picked = {"type": types[chosen.mode], **({"name": chosen.name} if chosen.mode == "named" else {})}
    answer = _answer_tool(body, wire, model, losses)
    if answer is not None:
        picked = (
            {"type": "any"} if made and (picked or {}).get("type") != "none" else {"type": "tool", "name": ANSWER_TOOL}
        )
        made.append(answer)
    if not made:
        if chosen is not None and chosen.mode in ("required", "named"):
            losses.append(Loss(chosen.path, NO_FUNCTION))
        return False
    body["tools"] = made
    if wire.get("parallel_tool_calls") is False and (picked is None or picked["type"] != "none"):
        picked = {**(picked or {"type": "auto"}), "disable_parallel_tool_use": True}
    if picked is not None:
        body["tool_choice"] = picked
    return picked is not None and picked["type"] in ("any", "tool")


def _function(tool: Function) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
    if not tool.description:
        del made["description"]
    if tool.strict:
        made["strict"] = True
    if tool.raw.get("cache_control") is not None:
        made["cache_control"] = tool.raw["cache_control"]
    return made


def _answer_tool(
    body: dict[str, Any], wire: Mapping[str, Any], model: str, losses: list[Loss]
) -> dict[str, Any] | None:
    """The form of the answer: a field where the model has structured outputs, else a tool it has to call."""
    asked, given = asked_format(wire), wire.get("response_format")
    if given is not None and (asked is None or asked.kind != given.get("type")):
        losses.append(Loss("response_format", "there is no such form"))
        return None
    if asked is None or asked.kind == "text":
        return None
    if asked.kind == "json_schema" and not asked.schema:
        losses.append(Loss("response_format", "it holds no schema"))
        return None
    if asked.kind == "json_object":
        losses.append(Loss("response_format", "JSON without a schema cannot be asked for"))
        return None
    if not answers_by_tool(model):
        answer_format = {"type": "json_schema", "schema": dict(asked.schema)}
        body["output_config"] = {**body.get("output_config", {}), "format": answer_format}
        return None
    schema = {"type": "object", **asked.schema}
    if schema["type"] != "object":
        losses.append(Loss("response_format", f"{model} can only be held to a schema of an object"))
        return None
    return {"name": ANSWER_TOOL, "description": "Gives the answer, in the form asked for.", "input_schema": schema}


def _add_stop(body: dict[str, Any], wire: Mapping[str, Any], losses: list[Loss]) -> None:
    stop = wire.get("stop")
    given = [stop] if isinstance(stop, str) else () if stop is None else stop
    if not isinstance(given, Sequence) or not all(isinstance(each, str) for each in given):
        losses.append(Loss("stop", "it is neither text nor a list of texts"))
        return
    losses += [Loss(f"stop[{index}]", "it is blank") for index, each in enumerate(given) if not each.strip()]
    if kept := [each for each in given if each.strip()]:
        body["stop_sequences"] = [*body.get("stop_sequences", ()), *kept]


def _add_user(body: dict[str, Any], wire: Mapping[str, Any]) -> None:
    metadata = wire.get("metadata")
    own = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    user = own or wire.get("safety_identifier") or wire.get("user")
    if user:
        body["metadata"] = {"user_id": str(user)}


def _add_sampling(body: dict[str, Any], wire: Mapping[str, Any], model: str, version: str, losses: list[Loss]) -> None:
    """Temperature and its like, as far as version and model take them; at 1 they ask for what is done anyway."""
    thinking = isinstance(body.get("thinking"), Mapping) and body["thinking"].get("type") in ("enabled", "adaptive")
    one = samples_by_one(model) and wire.get("temperature") is not None and wire.get("top_p") is not None
    unsaid = "temperature" if one and wire["temperature"] == 1 else "top_p" if one else ""
    for name in ("temperature", "top_p", "top_k"):
        value = wire.get(name)
        if value is None:
            continue
        if not takes_sampling(version):
            why = f"version {version} of the API has no sampling parameters"
        elif not samples(model):
            why = f"{model} takes no sampling parameters"
        elif thinking:
            why = "a model that thinks samples as it likes"
        elif name == unsaid:
            why = f"{model} takes one of temperature and top_p"
        else:
            body[name] = value
            if name == "temperature" and isinstance(value, int | float) and value > 1:
                losses.append(Loss(name, "at most 1, and sent as 1"))
                body[name] = 1
            continue
        if value != 1 or name == "top_k":
            losses.append(Loss(name, why))


# --- where to ----------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def endpoint(base_url: str) -> str:
    """The URL to post to, whether `base_url` ends in ``/v1`` or not; a query in it stays at the end."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path + ("/messages" if path.endswith("/v1") else "/v1/messages")))


@lru_cache(maxsize=1024)
def request_headers(key: str | None, version: str, extra: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The same for every request with one key, so built once and shared, read-only. A provider's own `headers` win."""
    given = {name.lower() for name, _ in extra}
    found = {} if "content-type" in given else {"Content-Type": "application/json"}
    if "anthropic-version" not in given:
        found["anthropic-version"] = version
    if key is not None and not given & {"authorization", "x-api-key"}:
        found["x-api-key"] = key
    found.update(extra)
    return MappingProxyType(found)
