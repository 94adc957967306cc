"""Reads the JSON of LiteLLM's price list (`model_prices_and_context_window.json`) into entries of a price file.

That list has dollars for one token under flat names, with what sets a rate apart in the name's end: a threshold
(`_above_200k_tokens`), a service tier (`_batches`, `_flex`, `_priority`). What has no place in a price here
(pictures, sounds, seconds, searches) is left out, and a model billed by nothing else has no entry's price. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

__all__ = ["entries_of"]

_RATES: Final = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
}
_TIERS: Final = {"batch": "_batches", "flex": "_flex", "priority": "_priority"}
_ABOVE: Final = re.compile(r"^(?:input|output)_cost_per_token_above_(\d+)k_tokens$")
_LACKS: Final = {
    "tools": "supports_function_calling",
    "images": "supports_vision",
    "json_schema": "supports_response_schema",
    "audio": "supports_audio_input",
    "files": "supports_pdf_input",
    "streaming": "supports_native_streaming",
}
_SAMPLE: Final = "sample_spec"
"""An entry that explains the others."""


def entries_of(document: Any) -> dict[str, dict[str, Any]]:
    """All models of the list, by the names it gives them; each a table as `PriceEntry` is written.

    Raises:
        ValueError: It is no such list.
    """
    if not isinstance(document, Mapping) or not all(isinstance(each, Mapping) for each in document.values()):
        raise ValueError("is JSON but no price list of LiteLLM: expected an object of one object a model")
    entries = {name: _entry(raw) for name, raw in document.items() if name != _SAMPLE}
    if not any(entries.values()):
        raise ValueError("is JSON but no price list of LiteLLM: no model in it has a price or a window")
    return entries


def _entry(raw: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if (price := _price(raw)) is not None:
        entry["price"] = price
    if (window := _count(raw.get("max_input_tokens")) or _count(raw.get("max_tokens"))) is not None:
        entry["context_window"] = window
        most = _count(raw.get("max_output_tokens"))
        if most is not None and most <= window:
            entry["max_output_tokens"] = most
    # Only a plain no counts: the list leaves most of what it does not know out.
    if lacks := [ours for ours, theirs in _LACKS.items() if raw.get(theirs) is False]:
        entry["lacks"] = lacks
    return entry


def _price(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """None where not both directions have a price by the token: half a price would make the other half free."""
    standard = _rates(raw, "")
    if raw.get("input_cost_per_request") or not _whole(standard):
        return None
    price: dict[str, Any] = dict(standard)
    steps = sorted({int(found[1]) for name in raw if (found := _ABOVE.match(name))})
    above = [{"above": step * 1000, **standard, **_rates(raw, f"_above_{step}k_tokens")} for step in steps]
    if above:
        price["long_prompts"] = above
    for tier, end in _TIERS.items():
        own = _rates(raw, end)
        if own:
            price.setdefault("service", {})[tier] = {**standard, **own}
    return price


def _whole(rates: Mapping[str, float]) -> bool:
    return "input" in rates and "output" in rates


def _rates(raw: Mapping[str, Any], end: str) -> dict[str, float]:
    found = {}
    for ours, theirs in _RATES.items():
        value = raw.get(theirs + end)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            found[ours] = float(Decimal(repr(value)) * 1_000_000)  # 2.5e-06 is 2.5, not 2.4999999999999996
    return found


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():  # some are
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return None
    return int(value)
