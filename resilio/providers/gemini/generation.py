"""`generationConfig`: limits, sampling, the form of the answer, and how much is thought about it.

The rule that keeps it simple: each field is taken where it makes sense, and is a loss where it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from resilio.models import Loss
from resilio.providers.gemini import models
from resilio.providers.tools import asked_format, output_limit

__all__ = ["GENERATION", "generation_config"]

_OWN: Final[Mapping[str, str]] = {
    "thinking_config": "thinkingConfig",
    "thinkingConfig": "thinkingConfig",
    "response_modalities": "responseModalities",
    "responseModalities": "responseModalities",
    "media_resolution": "mediaResolution",
    "mediaResolution": "mediaResolution",
    "speech_config": "speechConfig",
    "speechConfig": "speechConfig",
    "image_config": "imageConfig",
    "imageConfig": "imageConfig",
}
"""Gemini's own fields, by both spellings."""
_NUMBERS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
GENERATION: Final = frozenset({
    *_OWN, *_NUMBERS, "generation_config", "generationConfig", "logprobs", "max_completion_tokens", "max_tokens", "n",
    "reasoning_effort", "response_format", "seed", "stop", "top_logprobs",
})  # fmt: skip
"""Fields of a request that are taken here."""

_MOST_STOPS: Final = 5
_MOST_CANDIDATES: Final = 8
_MOST_LOGPROBS: Final = 20
_INT32: Final = range(-(2**31), 2**31)


def generation_config(
    wire: Mapping[str, Any], model: str, max_tokens: int | None, losses: list[Loss], *, has_tools: bool
) -> dict[str, Any]:
    """All of it, perhaps nothing; what has no form goes to `losses`."""
    config: dict[str, Any] = {}
    for name in ("generation_config", "generationConfig"):
        own = wire.get(name)
        if isinstance(own, Mapping):
            config.update(own)
        elif own is not None:
            losses.append(Loss(name, "it is not an object"))
    config.update((field, wire[name]) for name, field in _OWN.items() if wire.get(name) is not None)
    limit = output_limit(wire)
    if (limit := max_tokens if limit is None else limit) is not None:
        config["maxOutputTokens"] = limit
    for name, field in _NUMBERS.items():
        _add_number(config, wire, name, field, losses)
    _add_counts(config, wire, losses)
    _add_logprobs(config, wire, losses)
    _add_stop(config, wire, losses)
    _add_form(config, wire, model, losses, has_tools=has_tools)
    _add_thinking(config, wire, model, losses)
    return config


def _add_number(config: dict[str, Any], wire: Mapping[str, Any], name: str, field: str, losses: list[Loss]) -> None:
    value = wire.get(name)
    if value is None or (value == 0 and name.endswith("_penalty")):
        return
    if type(value) in (int, float):
        config[field] = value
    else:
        losses.append(Loss(name, "it is not a number"))


def _add_counts(config: dict[str, Any], wire: Mapping[str, Any], losses: list[Loss]) -> None:
    seed, n = wire.get("seed"), wire.get("n")
    if type(seed) is int and seed in _INT32:
        config["seed"] = seed
    elif seed is not None:
        losses.append(Loss("seed", "a seed is a whole number of 32 bits"))
    if type(n) is int and 1 <= n <= _MOST_CANDIDATES:
        if n > 1:
            config["candidateCount"] = n
    elif n is not None:
        losses.append(Loss("n", f"1 to {_MOST_CANDIDATES} answers a request"))


def _add_logprobs(config: dict[str, Any], wire: Mapping[str, Any], losses: list[Loss]) -> None:
    """`top_logprobs` means nothing without `logprobs`, here as at OpenAI."""
    asked, top = wire.get("logprobs"), wire.get("top_logprobs")
    if asked is True:
        config["responseLogprobs"] = True
        if type(top) is int and 0 < top <= _MOST_LOGPROBS:
            config["logprobs"] = top
        elif top:
            losses.append(Loss("top_logprobs", f"0 to {_MOST_LOGPROBS} of them"))
    else:
        losses += [Loss(name, "logprobs is true, or there are none") for name in ("logprobs", "top_logprobs")
                   if wire.get(name)]  # fmt: skip


def _add_stop(config: dict[str, Any], wire: Mapping[str, Any], losses: list[Loss]) -> None:
    stop = wire.get("stop")
    given = [stop] if isinstance(stop, str) else () if stop is None else stop
    if not isinstance(given, Sequence) or not all(isinstance(each, str) for each in given):
        losses.append(Loss("stop", "it is neither text nor a list of texts"))
        return
    kept: list[str] = []
    for index, each in enumerate(given):
        if not each.strip():
            losses.append(Loss(f"stop[{index}]", "it is blank"))
        elif len(kept) == _MOST_STOPS:
            losses.append(Loss(f"stop[{index}]", f"at most {_MOST_STOPS} are looked for"))
        else:
            kept.append(each)
    if kept:
        config["stopSequences"] = kept


def _add_form(
    config: dict[str, Any], wire: Mapping[str, Any], model: str, losses: list[Loss], *, has_tools: bool
) -> None:
    asked, given = asked_format(wire), wire.get("response_format")
    if given is not None and (asked is None or asked.kind != given.get("type")):
        losses.append(Loss("response_format", "there is no such form"))
        return
    if asked is None or asked.kind == "text":
        return
    if has_tools and not models.takes_form_with_tools(model):
        losses.append(Loss("response_format", f"{model} cannot be held to a form while it has tools"))
        return
    config["responseMimeType"] = "application/json"
    if asked.kind == "json_schema" and asked.schema:
        config["responseJsonSchema"] = dict(asked.schema)
    elif asked.kind == "json_schema":
        losses.append(Loss("response_format", "it holds no schema, so any JSON will do"))


def _add_thinking(config: dict[str, Any], wire: Mapping[str, Any], model: str, losses: list[Loss]) -> None:
    """The caller's effort, unless they say in Gemini's own words how to think."""
    effort = wire.get("reasoning_effort")
    if effort is None or "thinkingConfig" in config or "thinking_config" in config:
        return
    found, why = models.thinking(effort if isinstance(effort, str) else repr(effort)[:80], model)
    if found is not None:
        config["thinkingConfig"] = found
    if why is not None:
        losses.append(Loss("reasoning_effort", why))
