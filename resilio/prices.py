"""What a call costs, in US dollars.

Not here: where prices come from (`resilio.catalogue`, and the price files of `resilio.config`). Pure arithmetic
on `resilio.config.Price` (US dollars for a million tokens) and `resilio.models.Usage` (input includes cached
parts, output includes reasoning). The rule that keeps it honest: an unknown price gives None, never 0, so that
nobody adds it up as free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from resilio.config import Price, Rates, ServicePrice
from resilio.models import Usage

__all__ = ["cost_usd", "rates_of", "rewritten_usd", "saved_usd", "service_tier", "worst_cost_usd"]

_MILLION: Final = 1_000_000

FAST: Final = "speed_fast"
"""Tier of a request with Anthropic's ``speed: "fast"``, which nobody gets unasked."""

_UNASKED: Final = ("default", "priority", "fast")
"""Tiers a provider may bill though the request named none: an OpenAI project can be set to them."""


def service_tier(wire: Mapping[str, Any]) -> str | None:
    """The service tier that a request's wire fields ask for; None: whatever the provider's account is set to."""
    if not wire:
        return None
    if wire.get("speed") == "fast":
        return FAST
    asked = wire.get("service_tier")
    return asked if isinstance(asked, str) and asked != "auto" else None


def rates_of(price: Price, input_tokens: int, tier: str | None = None) -> Rates:
    """The rates of a call with a prompt of so many tokens, at a service tier.

    A tier without a price of its own costs as the standard one: the cheaper ones are then overstated. The whole
    of a long prompt is billed at the rates of the highest threshold it passes.
    """
    chosen: ServicePrice = price if tier is None or not price.service else price.service.get(tier, price)
    found: Rates = chosen
    passed = 0
    for step in chosen.long_prompts:
        if passed < step.above < input_tokens:
            found, passed = step, step.above
    return found


def _write_1h(rates: Rates) -> float:
    """An hour in the cache that has no price is taken for five minutes in it, or for plain input."""
    if rates.cache_write_1h is not None:
        return rates.cache_write_1h
    return rates.input if rates.cache_write_5m is None else rates.cache_write_5m


def cost_usd(price: Price | None, usage: Usage, tier: str | None = None) -> float | None:
    """Cost of a call that used `usage`.

    Reasoning is billed as output, of which it is a part, or apart where it has a price. Input that was neither read
    from nor written to a cache is what the cached parts leave of it, and at least 0, should reported parts exceed
    the whole. A cached part without a price costs as plain input; that is cautious for reads, as every provider
    sells them cheaper.

    Args:
        price: None: unknown.
        usage: What was used; the tier it names goes before `tier`.
        tier: The service tier that was asked for.

    Returns:
        US dollars; None when the price is unknown.
    """
    if price is None:
        return None
    rates: Rates = price
    if price.service or price.long_prompts:
        rates = rates_of(price, usage.input_tokens, usage.service_tier or tier)
    output = usage.output_tokens * rates.output
    if rates.reasoning is not None and usage.reasoning_tokens:
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        output += reasoning * (rates.reasoning - rates.output)
    read, write_5m, write_1h = (
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
    )
    if not (read or write_5m or write_1h):
        return (usage.input_tokens * rates.input + output) / _MILLION
    uncached = max(0, usage.input_tokens - read - write_5m - write_1h)
    return (
        uncached * rates.input
        + read * (rates.input if rates.cache_read is None else rates.cache_read)
        + write_5m * (rates.input if rates.cache_write_5m is None else rates.cache_write_5m)
        + write_1h * _write_1h(rates)
        + output
    ) / _MILLION


def saved_usd(price: Price | None, usage: Usage, tier: str | None = None) -> float | None:
    """What the provider's prompt cache saved of a call: its cost as plain input, less what it did cost.

    Below 0 where more was paid for writing than was saved by reading. None when the price is unknown.
    """
    cost = cost_usd(price, usage, tier)
    if cost is None:
        return None
    plain = cost_usd(price, replace(usage, cache_read_tokens=0, cache_write_5m_tokens=0, cache_write_1h_tokens=0), tier)
    return None if plain is None else plain - cost


def rewritten_usd(price: Price | None, usage: Usage, tokens: int, tier: str | None = None) -> float | None:
    """What a call cost more because so many tokens of its prompt had to be read anew, and not from a cache.

    Args:
        price: None: unknown.
        usage: What was used, with those tokens written to a cache (the 5-minute one first) or as plain input.
        tokens: How many.
        tier: The service tier that was asked for.

    Returns:
        US dollars; None when the price is unknown.
    """
    left = min(tokens, max(0, usage.input_tokens - usage.cache_read_tokens))
    five = min(left, usage.cache_write_5m_tokens)
    hour = min(left - five, usage.cache_write_1h_tokens)
    warm = replace(
        usage,
        cache_read_tokens=usage.cache_read_tokens + left,
        cache_write_5m_tokens=usage.cache_write_5m_tokens - five,
        cache_write_1h_tokens=usage.cache_write_1h_tokens - hour,
    )
    cold_cost, warm_cost = cost_usd(price, usage, tier), cost_usd(price, warm, tier)
    return None if cold_cost is None or warm_cost is None else cold_cost - warm_cost


def worst_cost_usd(price: Price | None, input_tokens: int, output_tokens: int, tier: str | None = None) -> float | None:
    """The most a call of this size can cost: all input and all output at the dearest rates it may meet.

    This is what a hard limit reserves before sending, when nobody knows yet what the provider will find in its
    cache or write to it, which side of a threshold the prompt falls on, and what it bills: a tier that was asked
    for, or the standard one in its place; where none was asked for, any that an account can be set to.

    Args:
        price: None: unknown.
        input_tokens: The most the prompt may have.
        output_tokens: The most the answer may have, reasoning included.
        tier: The service tier that is asked for.

    Returns:
        US dollars; None when the price is unknown.
    """
    if price is None:
        return None
    dearest_input = dearest_output = 0.0
    for rates in _possible(price, input_tokens, tier):
        dearest_input = max(
            dearest_input,
            rates.input,
            rates.cache_read or 0.0,
            rates.cache_write_5m or 0.0,
            rates.cache_write_1h or 0.0,
        )
        dearest_output = max(dearest_output, rates.output, rates.reasoning or 0.0)
    return (input_tokens * dearest_input + output_tokens * dearest_output) / _MILLION


def _possible(price: Price, input_tokens: int, tier: str | None) -> Iterator[Rates]:
    """Every rate that a prompt of at most so many tokens may be billed at."""
    tiers: list[ServicePrice] = [price]
    if price.service:
        names = _UNASKED if tier is None else (tier, "default")
        tiers += [price.service[name] for name in names if name in price.service]
    for each in tiers:
        yield each
        yield from (step for step in each.long_prompts if step.above < input_tokens)
