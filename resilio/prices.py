"""What a call costs, in US dollars.

Not here: where prices come from. Pure arithmetic on `resilio.config.Price` (US dollars for a million
tokens) and `resilio.models.Usage` (input includes cached parts, output includes reasoning). The rule that
keeps it honest: an unknown price gives None, never 0, so that nobody adds it up as free.
"""

from __future__ import annotations

from typing import Final

from resilio.config import Price
from resilio.models import Usage

__all__ = ["cost_usd", "worst_cost_usd"]

_MILLION: Final = 1_000_000


def _or_input(price: float | None, plain: Price) -> float:
    """A cache price that is not given is that of plain input.

    For reads that is cautious, as every provider sells them cheaper. Writes may cost more (1.25x for 5
    minutes and 2x for an hour at Anthropic): give their prices wherever the provider charges extra.
    """
    return plain.input if price is None else price


def cost_usd(price: Price | None, usage: Usage) -> float | None:
    """Cost of a call that used `usage`.

    Reasoning is billed as output, of which it is a part. Input that was neither read from nor written to
    a cache is what the cached parts leave of it, and at least 0, should reported parts exceed the whole.

    Returns:
        US dollars; None when the price is unknown.
    """
    if price is None:
        return None
    read, write_5m, write_1h = (
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
    )
    if not (read or write_5m or write_1h):
        return (usage.input_tokens * price.input + usage.output_tokens * price.output) / _MILLION
    uncached = max(0, usage.input_tokens - read - write_5m - write_1h)
    return (
        uncached * price.input
        + read * _or_input(price.cache_read, price)
        + write_5m * _or_input(price.cache_write_5m, price)
        + write_1h * _or_input(price.cache_write_1h, price)
        + usage.output_tokens * price.output
    ) / _MILLION


def worst_cost_usd(price: Price | None, input_tokens: int, output_tokens: int) -> float | None:
    """The most a call of this size can cost: all of its input at the dearest of the input prices.

    This is what a hard limit reserves before sending, when nobody knows yet what the provider will
    find in its cache or write to it.

    Returns:
        US dollars; None when the price is unknown.
    """
    if price is None:
        return None
    dearest = max(
        price.input,
        _or_input(price.cache_read, price),
        _or_input(price.cache_write_5m, price),
        _or_input(price.cache_write_1h, price),
    )
    return (input_tokens * dearest + output_tokens * price.output) / _MILLION
