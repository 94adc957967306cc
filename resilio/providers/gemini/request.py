"""What is sent: a request of OpenAI's shape as one of `generateContent`, and what of it has no form there.

`translate` finds both at once, so that what is told as lost and what is left out are the same by construction. Fields
of Gemini's own (`safetySettings`, `cachedContent`, `thinkingConfig`, ...) go out as they came, in either spelling. The
rule that keeps it simple: each field of the caller's is either taken by one of the functions below or in `generation`,
or a hint that changes no answer, or a loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from resilio.models import Loss, Request
from resilio.providers.conversation import ANTHROPIC_FIELDS, foreign_losses
from resilio.providers.demand import KEPT_THERE, bound
from resilio.providers.gemini import models
from resilio.providers.gemini.contents import read_conversation
from resilio.providers.gemini.generation import GENERATION, generation_config
from resilio.providers.gemini.media import Place
from resilio.providers.tools import NO_FUNCTION, Choice, Function, choice, tools, unread

__all__ = ["endpoint", "request_headers", "translate"]

_OWN: Final[Mapping[str, str]] = {
    "safety_settings": "safetySettings",
    "safetySettings": "safetySettings",
    "cached_content": "cachedContent",
    "cachedContent": "cachedContent",
    "labels": "labels",
}
"""Gemini's own fields, by both spellings."""
_OWN_TOOLS: Final = frozenset({
    "googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "codeExecution",
    "code_execution", "urlContext", "url_context", "googleMaps", "google_maps", "fileSearch", "file_search",
    "computerUse", "computer_use", "retrieval", "enterpriseWebSearch", "enterprise_web_search",
})  # fmt: skip
_HINTS: Final = frozenset({
    ANTHROPIC_FIELDS, "metadata", "prediction",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "store", "stream", "stream_options", "user",
})  # fmt: skip
"""Change no answer, so they are left out without a word."""
_TAKEN: Final = frozenset({
    "function_call", "functions", "messages", "model", "parallel_tool_calls", "service_tier", "tool_choice", "tools",
})  # fmt: skip
_SAYS_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = {"logit_bias": ({},), "modalities": (["text"], ("text",))}
"""Values that ask for what is done anyway."""
_SERVICE_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_VERSIONED: Final = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?(?:/|$)")


def translate(
    request: Request, model: str, max_tokens: int | None, *, vertex: bool
) -> tuple[dict[str, Any], tuple[Loss, ...]]:
    """The body to send, and what of the request is not in it.

    Args:
        request: OpenAI-shaped.
        model: Google's name of the model.
        max_tokens: Where the caller set no limit of their own; None: none is sent.
        vertex: It goes to Vertex AI, which fetches URLs for every model.
    """
    wire = request.wire
    place = Place(vertex or models.fetches_urls(model), models.sees_in_results(model))
    talk = read_conversation(request.messages, place, signed=models.checks_signatures(model))
    losses = talk.losses
    body: dict[str, Any] = {"contents": talk.contents}
    if talk.system:
        body["systemInstruction"] = {"parts": talk.system}
    body.update((field, wire[name]) for name, field in _OWN.items() if wire.get(name) is not None)
    _add_tools(body, wire, model, losses)
    if config := generation_config(wire, model, max_tokens, losses, has_tools="tools" in body):
        body["generationConfig"] = config
    _add_tier(body, wire, losses)
    losses.extend(unread(wire))
    losses.extend(_unknown(wire))
    losses.extend(foreign_losses(wire))
    return body, tuple(losses)


def _unknown(wire: Mapping[str, Any]) -> list[Loss]:
    """Fields nothing here takes."""
    known = (_TAKEN, _HINTS, _OWN, GENERATION, KEPT_THERE)
    return [
        *bound(wire),
        *(
            Loss(name, "there is no such field")
            for name, value in wire.items()
            if value is not None
            and not any(name in names for names in known)
            and value not in _SAYS_NOTHING.get(name, ())
        ),
    ]


def _add_tools(body: dict[str, Any], wire: Mapping[str, Any], model: str, losses: list[Loss]) -> None:
    """Functions, Google's own tools, and the choice among them."""
    chosen = choice(wire)
    if wire.get("tool_choice") is not None and chosen is None:
        losses.append(Loss("tool_choice", "it says nothing that is known"))
    functions, own, strict = [], [], False
    for tool in tools(wire):
        if isinstance(tool, Function):
            if chosen is None or chosen.allowed is None or tool.name in chosen.allowed:
                functions.append(_function(tool))
                strict = strict or tool.strict
        elif isinstance(tool.raw, Mapping) and tool.raw and _OWN_TOOLS.issuperset(tool.raw):
            own.append(dict(tool.raw))
        else:
            losses.append(Loss(tool.path, "only functions can be called", needed=True))
    if chosen is not None and (chosen.mode == "none" or chosen.allowed is not None):
        own = []  # it would be used whatever is said of functions
    if functions or own:
        body["tools"] = [*([{"functionDeclarations": functions}] if functions else ()), *own]
    if not functions:
        if chosen is not None and chosen.mode in ("required", "named"):
            losses.append(Loss(chosen.path, NO_FUNCTION))
        return
    if strict and (chosen is None or chosen.mode == "auto") and not models.validates(model):
        losses.append(Loss("tools", f"{model} holds calls to their schema only where one is required"))
        strict = False
    if (config := _calling(chosen, [its["name"] for its in functions], strict=strict)) is not None:
        body["toolConfig"] = {"functionCallingConfig": config}
    if wire.get("parallel_tool_calls") is False and (chosen is None or chosen.mode != "none"):
        losses.append(Loss("parallel_tool_calls", "it may call several functions at once"))


def _function(tool: Function) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "parametersJsonSchema": dict(tool.parameters)}
    return {**made, "description": tool.description} if tool.description else made


def _calling(chosen: Choice | None, names: Sequence[str], *, strict: bool) -> dict[str, Any] | None:
    """`functionCallingConfig`; None where there is nothing to say. A forced call is held to its schema anyway."""
    if chosen is None:
        return {"mode": "VALIDATED"} if strict else None
    mode = "VALIDATED" if strict and chosen.mode == "auto" else _MODES[chosen.mode]
    if chosen.mode == "named":
        return {"mode": mode, "allowedFunctionNames": [chosen.name]}
    if chosen.mode == "required" and chosen.allowed:
        return {"mode": mode, "allowedFunctionNames": sorted(names)}
    return {"mode": mode}


def _add_tier(body: dict[str, Any], wire: Mapping[str, Any], losses: list[Loss]) -> None:
    tier = wire.get("service_tier")
    if tier is None or tier == "auto":
        return
    found = _SERVICE_TIERS.get(str(tier))
    if found is None:
        losses.append(Loss("service_tier", f"there is no tier {tier!r}"))
    else:
        body["serviceTier"] = found


# --- where to ----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def endpoint(base_url: str, model: str, *, stream: bool) -> str:
    """The URL to post to: ``v1beta`` unless a version stands in `base_url`; a query in it stays.

    `model` may bear the name of its collection (``tunedModels/x``); without one it is of ``models``.
    """
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not _VERSIONED.search(path):
        path += "/v1beta"
    named = model if "/" in model else f"models/{model}"
    path += f"/{quote(named, safe='/:@')}:{'streamGenerateContent' if stream else 'generateContent'}"
    query = "&".join(filter(None, (parts.query, "alt=sse" if stream else "")))
    return urlunsplit(parts._replace(path=path, query=query))


@lru_cache(maxsize=1024)
def request_headers(key: str | None, extra: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The same for every request with one key, so built once and shared, read-only. A provider's own `headers` win."""
    given = {name.lower() for name, _ in extra}
    found = {} if "content-type" in given else {"Content-Type": "application/json"}
    if key is not None and not given & {"authorization", "x-goog-api-key"}:
        found["x-goog-api-key"] = key
    found.update(extra)
    return MappingProxyType(found)
