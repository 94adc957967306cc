"""What a token cost, read back from what calls cost.

The log knows the tokens of a call and its cost, not which part of it was for the prompt. Where a price is so much a
token, cost is linear in tokens, and least squares over the calls of a period give the rates back: exactly, if prices
held still. Rates are then scaled so that they account for the period's cost to the cent, whatever they were fitted to.
Pure arithmetic on sums; the calls themselves are not needed.

The rule that keeps it honest: what cannot be told from the calls (all of one shape, or two sizes that always go
together) is taken from the other period, from both together, or, last, assumed, and `told` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from resilio.store.totals import Moments, Totals

__all__ = ["ASSUMED_RATIO", "Rates", "rates_of"]

ASSUMED_RATIO: Final = 4.0
"""Output over input price where calls do not tell: most chat models are sold at 4 or 5."""
_DEPENDENT: Final = 1e-9
"""A column of which less than this share is not explained by the others adds nothing but noise."""
_FITS: Final = 1e-6
"""Both periods together are believed only where one price explains all but this share of the squared cost."""
_INPUT: Final = 1
INFINITE: Final = float("inf")


class Rates(NamedTuple):
    """US dollars a token, on average over a period: what was read from a provider's cache makes `input` lower."""

    input: float
    output: float
    told: bool = True
    """By the calls; else the ratio of the two is an assumption."""


def rates_of(before: tuple[Totals, Moments], after: tuple[Totals, Moments]) -> tuple[Rates | None, Rates | None]:
    """Rates of one model in each of two periods; None where no call had a known cost and tokens."""
    ratios = [_ratio(*before), _ratio(*after)]
    if ratios == [None, None]:
        both = before[0].plus(after[0]), before[1].plus(after[1])
        ratios = [_ratio(*both, must_fit=True)] * 2
    own, other = ratios
    return _scaled(before[0], own if own is not None else other), _scaled(after[0], other if other is not None else own)


def _scaled(totals: Totals, ratio: float | None) -> Rates | None:
    """Rates in this ratio of output to input that add up to the cost; an infinite one: only output costs."""
    if not totals.input_tokens and not totals.output_tokens:
        return None
    if ratio == INFINITE and totals.output_tokens:
        return Rates(0.0, totals.cost_usd / totals.output_tokens)
    told = ratio is not None and ratio != INFINITE and (ratio > 0 or totals.input_tokens > 0)
    used = ratio if told and ratio is not None else ASSUMED_RATIO
    rate = totals.cost_usd / (totals.input_tokens + used * totals.output_tokens)
    return Rates(rate, used * rate, told or not totals.cost_usd)


def _ratio(totals: Totals, moments: Moments, *, must_fit: bool = False) -> float | None:
    """What a token of output cost, in those of input; None: these calls do not tell."""
    if not totals.cost_usd > 0 or not totals.input_tokens or not totals.output_tokens:
        return None
    rates = _fitted(moments)
    if rates is None or (must_fit and _residual(moments, rates) > _FITS * moments.cost_squared):
        return None
    sizes = (totals.output_tokens, totals.input_tokens, totals.cache_read_tokens, totals.cache_write_tokens)
    output, *parts = (rate * size for rate, size in zip(rates, sizes, strict=True))
    prompt = sum(parts)
    slack = 1e-6 * totals.cost_usd
    if output < -slack or prompt < -slack or max(output, prompt) <= 0:
        return None
    if prompt <= slack:
        return INFINITE
    return max(0.0, output) / totals.output_tokens / (prompt / totals.input_tokens)


def _fitted(moments: Moments) -> tuple[float, ...] | None:
    """Least squares of cost on the four sizes; sizes that add nothing get a rate of 0. None: no prompt, or no answer.

    Gaussian elimination on the normal equations, columns scaled to unit length, in the order output, input, read,
    write: of two that always go together the later one is left out, and the earlier has the effect of both.
    """
    matrix = _square(moments.products)
    scales = [matrix[at][at] ** 0.5 for at in range(4)]
    rows = [
        [matrix[i][j] / scales[i] / scales[j] if scales[i] and scales[j] else 0.0 for j in range(4)]
        + [moments.with_cost[i] / scales[i] if scales[i] else 0.0]
        for i in range(4)
    ]
    used: list[int] = []
    for at in range(4):
        if rows[at][at] <= _DEPENDENT:
            if at <= _INPUT:
                return None
            continue
        used.append(at)
        for below in range(at + 1, 4):
            factor = rows[below][at] / rows[at][at]
            rows[below] = [mine - factor * its for mine, its in zip(rows[below], rows[at], strict=True)]
    found = [0.0] * 4
    for at in reversed(used):
        rest = sum(rows[at][later] * found[later] for later in used if later > at)
        found[at] = (rows[at][4] - rest) / rows[at][at]
    return tuple(value / scale if scale else 0.0 for value, scale in zip(found, scales, strict=True))


def _residual(moments: Moments, rates: Sequence[float]) -> float:
    matrix = _square(moments.products)
    fitted = sum(rates[i] * rates[j] * matrix[i][j] for i in range(4) for j in range(4))
    return moments.cost_squared - 2 * sum(map(float.__mul__, rates, moments.with_cost)) + fitted


def _square(products: Sequence[float]) -> list[list[float]]:
    values = iter(products)
    matrix = [[0.0] * 4 for _ in range(4)]
    for i in range(4):
        for j in range(i, 4):
            matrix[i][j] = matrix[j][i] = next(values)
    return matrix
