"""What each kind of provider can be asked for, found by asking its codec.

A feature is a request that has it: where the codec says that nothing of it is lost, the kind supports it. So a table of
support can never disagree with what a route will do. What a request cannot show (embeddings, how prompts are cached)
is asked of the codec's type and of the kind's row. The rule that keeps it simple: nothing here knows a kind by name.
`docs` writes the same tables into the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from resilio.config import LOCAL_MODELS, ModelSettings, ProviderSettings, TargetSettings
from resilio.config.kinds import KINDS, Do, Kind, Quirk
from resilio.models import Loss, Message, Request
from resilio.providers import REGISTRY
from resilio.providers.base import Codec, EmbeddingCodec

__all__ = ["FEATURES", "Feature", "Support", "differences", "known", "support"]

_PNG: Final = "data:image/png;base64,iVBORw0KGgo="
_PDF: Final = "data:application/pdf;base64,JVBERi0xLjcK"
_SCHEMA: Final = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_TOOL: Final = {"type": "function", "function": {"name": "look_up", "parameters": _SCHEMA}}


class Probe(NamedTuple):
    """One request: a part of a message beside plain text, or further wire fields."""

    label: str
    """Which part of the feature it is, where there are several."""
    wire: Mapping[str, Any] = {}
    part: Mapping[str, Any] | None = None


class Feature(NamedTuple):
    """Something a request may ask for."""

    name: str
    probes: tuple[Probe, ...]
    """Each a part of it; all of them are the whole."""


class Support(NamedTuple):
    """What of a feature a kind supports."""

    word: str
    """``yes``, ``no``, or the parts of it there are."""
    why: tuple[str, ...] = ()
    """Of each part that lacks: what the codec says is lost."""


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


FEATURES: Final = (
    Feature("tools", (
        Probe("free", {"tools": [_TOOL]}),
        Probe("required", {"tools": [_TOOL], "tool_choice": "required"}),
        Probe("named", {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "look_up"}}}),
        Probe("one at a time", {"tools": [_TOOL], "parallel_tool_calls": False}),
    )),
    Feature("images", (Probe("base64", part=_image(_PNG)), Probe("URL", part=_image("https://example.org/a.png")))),
    Feature("documents", (Probe("", part={"type": "file", "file": {"filename": "a.pdf", "file_data": _PDF}}),)),
    Feature("audio", (Probe("", part={"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),)),
    Feature("JSON schema", (
        Probe("", {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}}),
    )),
    Feature("n", (Probe("", {"n": 2}),)),
    Feature("logprobs", (Probe("", {"logprobs": True, "top_logprobs": 2}),)),
    Feature("seed", (Probe("", {"seed": 7}),)),
    Feature("sampling", (
        Probe("temperature", {"temperature": 0.5}), Probe("top_p beside it", {"temperature": 0.5, "top_p": 0.9}),
    )),
    Feature("penalties", (Probe("", {"frequency_penalty": 0.5, "presence_penalty": 0.5}),)),
    Feature("stop", (Probe("", {"stop": ["END"]}),)),
    Feature("reasoning", (Probe("", {"reasoning_effort": "high", "max_tokens": 16_384}),)),
)  # fmt: skip
"""In the order in which they are shown."""


def known() -> tuple[Kind, ...]:
    """The kinds that can be asked, in order."""
    return tuple(kind for kind in KINDS.values() if kind.name in REGISTRY)


def support(kind: Kind, version: str = "") -> dict[str, Support]:
    """What of each feature this kind supports, in this version of its API; embeddings and prompt caching at the end."""
    codec = REGISTRY[kind.name].for_provider(
        ProviderSettings(
            name=kind.name, kind=kind.name, base_url=kind.url, version=version or kind.version,
            models={kind.example: ModelSettings()},
        )
    )  # fmt: skip
    found = {feature.name: _of(codec, kind, feature) for feature in FEATURES}
    found["embeddings"] = Support("yes" if isinstance(codec, EmbeddingCodec) and kind.embeddings else "no")
    found["prompt caching"] = Support(kind.caching or "no")
    return found


def differences(kind: Kind) -> Iterator[tuple[str, str]]:
    """What is done differently for this kind, and the page it is known from; alike ones together."""

    def alike(quirk: Quirk) -> tuple[Any, ...]:
        joined = quirk.do in (Do.LACK, Do.HINT, Do.PART)
        return (quirk.do, "" if joined else quirk.field, quirk.why, quirk.source, "" if joined else quirk.keeps)

    for _, group in groupby(kind.quirks, alike):
        rows = list(group)
        first, names = rows[0], ", ".join(row.field for row in rows)
        match first.do:
            case Do.LACK:
                text = f"{names}: lost, {first.why}"
            case Do.HINT:
                text = f"{names}: left out, no answer changes"
            case Do.PART:
                text = f"parts {names}: never left out, {first.why}"
            case _:
                text = str(first)
        yield text, first.source


def _of(codec: Codec, kind: Kind, feature: Feature) -> Support:
    asked = [(probe, _losses(codec, kind, probe)) for probe in feature.probes]
    there = [probe for probe, losses in asked if not losses]
    why = [f"{f'{probe.label}: ' if probe.label else ''}{_worded(losses)}" for probe, losses in asked if losses]
    if len(there) == len(asked):
        return Support("yes")
    return Support(", ".join(probe.label for probe in there) or "no", tuple(why))


def _losses(codec: Codec, kind: Kind, probe: Probe) -> tuple[Loss, ...]:
    content: Any = "Hello" if probe.part is None else [{"type": "text", "text": "Hello"}, probe.part]
    messages: list[Message] = [{"role": "user", "content": content}]
    target = TargetSettings(provider=kind.name, model=kind.example)
    request = Request("probe", messages, probe.wire)
    model = LOCAL_MODELS.get(kind.example, ModelSettings())
    if beyond := codec.needs(request) - model.capabilities:
        return tuple(Loss("", f"the model has no {need.value}") for need in sorted(beyond))
    return codec.unsupported(request, target, max_output_tokens=None)


def _worded(losses: tuple[Loss, ...]) -> str:
    return ", ".join(dict.fromkeys(loss.why for loss in losses))
