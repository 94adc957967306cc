"""A change of cost, split into its causes.

The cost of a period is a product of factors, summed over models m:

    cost = calls x (1 - hit rate) x sum over m of  share_m x known_m x (prompt_m x input_m + answer_m x output_m)

`calls` are those that were answered, `share` is a model's part of those our cache did not answer, `known` the part of
its calls whose cost is known, `prompt` and `answer` are tokens a call, `input` and `output` US dollars a token, on
average. Each factor has a value before and one after, and there are n! orders in which to put the new ones in the place
of the old. A cause's amount is what its factor changes, averaged over all orders: its Shapley value (L. S. Shapley, "A
value for n-person games", 1953; A. F. Shorrocks, "Decomposition procedures for distributional analysis", Journal of
Economic Inequality 11, 2013, 99-126). It is the only rule by which the amounts add up to the change with nothing left
over, a factor that did not change gets 0, factors that do the same get the same, and amounts of models add up; and
exchanging the two periods turns every sign.

One part of the cost stands beside the product: what prefixes cost that were written again because a conversation moved
to another target (see `resilio.dispatch.prompt_cache`). It is taken out before the rest is split, and is a cause of its
own, so that a provider's outage does not read as a higher price.

A factor that has no value in a period, as the length of prompts of a model nobody called, has that of the other
period: so a model that appears or vanishes is a change of mix, and a period without calls differs in volume.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from resilio.report.rates import Rates, rates_of
from resilio.store.totals import Moments, Totals

__all__ = ["CAUSES", "REWRITTEN", "Cause", "Change", "ModelUse", "Side", "change_of", "decompose"]

VOLUME, HIT_RATE, MIX, PROMPTS, ANSWERS, PRICE, KNOWN = (
    "volume", "cache-hit rate", "model mix", "longer prompts", "longer answers", "price", "known prices",
)  # fmt: skip
CAUSES: Final = (VOLUME, HIT_RATE, MIX, PROMPTS, ANSWERS, PRICE, KNOWN)
"""In the order of `Factors`. The last is no cause of spending: it is what became known of it, or unknown."""

REWRITTEN: Final = "prefixes written again"
"""The cause that is no factor."""


class Factors(NamedTuple):
    """Those of one model in one period; the first two are the same for all models."""

    calls: float
    missed: float
    """1 - hit rate."""
    share: float
    prompt: float
    answer: float
    rates: Rates
    known: float

    @property
    def cost(self) -> float:
        """Of the period, in US dollars."""
        a_call = self.prompt * self.rates.input + self.answer * self.rates.output
        return self.calls * self.missed * self.share * self.known * a_call


class ModelUse(NamedTuple):
    """What was used of one model in one period."""

    totals: Totals = Totals()
    moments: Moments = Moments()


@dataclass(frozen=True, slots=True)
class Side:
    """One period, all models together: the figures that causes are told by."""

    calls: int
    hit_rate: float
    prompt: float
    """Tokens a call. Models weigh the same in both periods, as they do for `answer`, so that mix does not show here."""
    answer: float
    known: float
    """Share of the model's calls whose cost is known."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause, and how much of the change it is, in US dollars; negative: it made it cheaper."""

    name: str
    amount: float
    models: Mapping[str | None, float]
    """Its parts; they add up to it. Of a change of mix they are large and of both signs."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of known cost between two periods. `causes` come largest first, whatever their sign."""

    before: float
    after: float
    causes: Sequence[Cause]
    sides: tuple[Side, Side]
    models: Mapping[str | None, tuple[Factors, Factors]] = field(default_factory=dict)
    """What each model's part is made of, before and after."""

    @property
    def amount(self) -> float:
        """US dollars."""
        return self.after - self.before

    @property
    def foremost(self) -> Cause | None:
        """The largest cause in the direction of the change; None: nothing has changed."""
        return next((cause for cause in self.causes if cause.amount * self.amount > 0), None)


def change_of(before: Mapping[str | None, ModelUse], after: Mapping[str | None, ModelUse]) -> Change:
    """Split the change of known cost from one period to the next.

    Args:
        before: What was used of each model; calls that no model answered are under None.
        after: Likewise, in the period that is asked about.
    """
    models = sorted({*before, *after}, key=lambda name: (name is None, name))
    factors = _factors(models, _steady(before), _steady(after))
    parts = {name: decompose(*factors[name]) for name in models}
    causes = []
    for at, cause in enumerate(CAUSES):
        amounts = {name: parts[name][at] for name in models if parts[name][at]}
        causes.append(Cause(cause, math.fsum(amounts.values()), amounts))
    amounts = {name: amount for name in models if (amount := _rewritten(after, name) - _rewritten(before, name))}
    causes.append(Cause(REWRITTEN, math.fsum(amounts.values()), amounts))
    causes = [cause for cause in causes if cause.name not in (KNOWN, REWRITTEN) or cause.amount]
    causes.sort(key=lambda cause: -abs(cause.amount))  # of equals, the order of CAUSES
    costs = [math.fsum(use.totals.cost_usd for use in uses.values()) for uses in (before, after)]
    return Change(costs[0], costs[1], causes, _sides(factors, before, after), factors)


def _rewritten(uses: Mapping[str | None, ModelUse], name: str | None) -> float:
    return uses[name].totals.rewritten_usd if name in uses else 0.0


def _steady(uses: Mapping[str | None, ModelUse]) -> Mapping[str | None, ModelUse]:
    """As if no conversation had moved."""
    return {
        name: use._replace(totals=use.totals._replace(cost_usd=use.totals.cost_usd - use.totals.rewritten_usd))
        if use.totals.rewritten_usd
        else use
        for name, use in uses.items()
    }


def decompose(before: Factors, after: Factors) -> tuple[float, ...]:
    """Shapley values of the seven factors of one model, in US dollars; they add up to `after.cost - before.cost`."""
    values = [
        Factors(*(pair[mask >> at & 1] for at, pair in enumerate(zip(before, after, strict=True)))).cost  # type: ignore[arg-type]
        for mask in range(1 << len(CAUSES))
    ]
    return tuple(
        math.fsum(
            _WEIGHTS[mask.bit_count()] * (values[mask | 1 << at] - values[mask])
            for mask in range(1 << len(CAUSES))
            if not mask >> at & 1
        )
        for at in range(len(CAUSES))
    )


_WEIGHTS: Final = [1 / (len(CAUSES) * math.comb(len(CAUSES) - 1, size)) for size in range(len(CAUSES))]
"""Of coalitions by size: the share of orders in which exactly they come before."""


# --- from sums to factors ------------------------------------------------------------------------


class _Period(NamedTuple):
    calls: int
    hits: int

    @property
    def upstream(self) -> int:
        return self.calls - self.hits


def _period(uses: Iterable[ModelUse]) -> _Period:
    totals = [use.totals for use in uses]
    return _Period(sum(its.answered for its in totals), sum(its.hits for its in totals))


def _factors(
    models: Sequence[str | None], before: Mapping[str | None, ModelUse], after: Mapping[str | None, ModelUse]
) -> dict[str | None, tuple[Factors, Factors]]:
    periods = [_period(before.values()), _period(after.values())]
    missed = _both(*(its.upstream / its.calls if its.calls else None for its in periods))
    found = {}
    for name in models:
        uses = [uses.get(name, ModelUse()) for uses in (before, after)]
        shares = _both(
            *(
                (use.totals.priced + use.totals.unpriced) / its.upstream if its.upstream else None
                for use, its in zip(uses, periods, strict=True)
            )
        )
        rates = _rates(uses)
        prompts = _both(*(_a_call(use.totals, "input") for use in uses))
        answers = _both(*(_a_call(use.totals, "output") for use in uses))
        known = _both(*(_known(use.totals) for use in uses))
        one, two = (
            Factors(periods[at].calls, missed[at], shares[at], prompts[at], answers[at], rates[at], known[at])
            for at in (0, 1)
        )
        found[name] = (one, two)
    return found


def _both(before: float | None, after: float | None) -> tuple[float, float]:
    """What has no value in one period has that of the other."""
    return (
        before if before is not None else after or 0.0,
        after if after is not None else before or 0.0,
    )  # fmt: skip


def _known(totals: Totals) -> float | None:
    answered = totals.priced + totals.unpriced
    return totals.priced / answered if answered else None


def _a_call(totals: Totals, what: str) -> float | None:
    """Tokens a call of those that are priced; where none is, of those that are not."""
    if totals.priced:
        if _by_the_call(totals):
            return 1.0 if what == "input" else 0.0
        return (totals.input_tokens if what == "input" else totals.output_tokens) / totals.priced
    if totals.unpriced:
        return (totals.unpriced_input if what == "input" else totals.unpriced_output) / totals.unpriced
    return None


def _by_the_call(totals: Totals) -> bool:
    """It cost something and used no tokens: as if each call were one token long."""
    return bool(totals.cost_usd) and not totals.input_tokens and not totals.output_tokens


def _rates(uses: Sequence[ModelUse]) -> tuple[Rates, Rates]:
    found = list(rates_of((uses[0].totals, uses[0].moments), (uses[1].totals, uses[1].moments)))
    for at, use in enumerate(uses):
        if _by_the_call(use.totals):
            found[at] = Rates(use.totals.cost_usd / use.totals.priced, 0.0)
    one, two = found
    return one or two or Rates(0.0, 0.0), two or one or Rates(0.0, 0.0)


def _sides(
    factors: Mapping[str | None, tuple[Factors, Factors]],
    before: Mapping[str | None, ModelUse],
    after: Mapping[str | None, ModelUse],
) -> tuple[Side, Side]:
    weights = {name: (one.share + two.share) / 2 for name, (one, two) in factors.items() if name is not None}
    whole = math.fsum(weights.values()) or 1.0
    sides = []
    for at, uses in enumerate((before, after)):
        period = _period(uses.values())
        upstream = [factors[name][at] for name in weights]
        shares = math.fsum(its.share for its in upstream)
        sides.append(
            Side(
                period.calls,
                period.hits / period.calls if period.calls else 0.0,
                math.fsum(weight * factors[name][at].prompt for name, weight in weights.items()) / whole,
                math.fsum(weight * factors[name][at].answer for name, weight in weights.items()) / whole,
                math.fsum(its.share * its.known for its in upstream) / shares if shares else 1.0,
            )
        )
    return sides[0], sides[1]
