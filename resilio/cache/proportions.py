"""How sure counts make one of a share: bounds that hold with a stated confidence, from `math` alone.

Two kinds. *Fixed*: the number of trials was settled beforehand, as with a labelled set (Clopper and Pearson, "The Use
of Confidence or Fiducial Limits Illustrated in the Case of the Binomial", Biometrika 1934). *Anytime*: one looks after
every trial and acts on what one sees, as with live traffic; there a fixed bound is wrong far more often than it says,
and a mixture likelihood ratio takes its place (Robbins, "Statistical Methods Related to the Law of the Iterated
Logarithm", 1970; a martingale, so by Ville's inequality it ever passes 1/eta with probability eta at most).

Pure. All bounds are one-sided: two of them, each with confidence 0.95, make an interval of 0.90. The rule: nothing
here knows what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

__all__ = [
    "anytime_above",
    "anytime_below",
    "anytime_lower",
    "anytime_needed",
    "anytime_upper",
    "beta_cdf",
    "beta_quantile",
    "clean_needed",
    "fixed_lower",
    "fixed_upper",
]

_A: Final = 0.5
_B: Final = 0.5
"""Of the mixture: Jeffreys' prior, spread over all shares and dense near 0 and 1, where the true ones are."""
_HALVINGS: Final = 64
"""Of an interval in [0, 1]: past what a float can tell apart."""
_TINY: Final = 1e-300


# --- fixed: Clopper and Pearson ------------------------------------------------------------------


def fixed_upper(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The largest share that is compatible with so few hits: 1 without trials.

    Args:
        hits: How often it happened, 0 to `trials`.
        trials: How often it could have; settled without regard to the hits.
        confidence: Probability, above 0 and below 1, with which the true share is not above the bound.
    """
    _check(hits, trials, 1 - confidence)
    return 1.0 if hits == trials else beta_quantile(confidence, hits + 1, trials - hits)


def fixed_lower(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The smallest share that is compatible with so many hits; arguments as for `fixed_upper`."""
    _check(hits, trials, 1 - confidence)
    return 0.0 if hits == 0 else beta_quantile(1 - confidence, hits, trials - hits + 1)


def clean_needed(share: float, confidence: float = 0.95) -> int:
    """How many trials without one hit it takes for `fixed_upper` to come down to `share`: 59 for 0.05, 149 for 0.02."""
    _check(0, 0, 1 - confidence)
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, not {share!r}")
    guess = max(1, math.ceil(math.log(1 - confidence) / math.log1p(-share)))
    # The quotient may be off by a rounding: what counts is what the bound itself says.
    while guess > 1 and fixed_upper(0, guess - 1, confidence) <= share:
        guess -= 1
    while fixed_upper(0, guess, confidence) > share:
        guess += 1
    return guess


# --- anytime: mixtures and Ville -------------------------------------------------------------------


def anytime_upper(hits: int, trials: int, eta: float = 0.05) -> float:
    """The largest share q that the evidence does not refute: 1 without trials.

    It is the largest q with ``log B(a + k, b + n - k) - log B(a, b) - k log q - (n - k) log(1 - q) <= log(1 / eta)``
    for k hits in n trials and a = b = 1/2.

    Args:
        hits: How often it happened so far.
        trials: How often it could have, so far.
        eta: Probability, above 0 and below 1, that the bound is *ever* below the true share, at whichever of all n
            one looks.
    """
    _check(hits, trials, eta)
    if hits == trials:
        return 1.0
    limit = math.log(1 / eta)
    return _turning(lambda q: _evidence(q, hits, trials) > limit, hits / trials, 1.0)[1]


def anytime_lower(hits: int, trials: int, eta: float = 0.05) -> float:
    """The smallest share that the evidence does not refute; arguments as for `anytime_upper`."""
    _check(hits, trials, eta)
    if hits == 0:
        return 0.0
    limit = math.log(1 / eta)
    return _turning(lambda q: _evidence(q, hits, trials) <= limit, 0.0, hits / trials)[0]


def anytime_below(share: float, hits: int, trials: int, eta: float = 0.05) -> bool:
    """Whether `anytime_upper` is at most `share`, a share between 0 and 1; worked out in a microsecond."""
    return hits <= share * trials and _evidence(share, hits, trials) >= math.log(1 / eta)


def anytime_above(share: float, hits: int, trials: int, eta: float = 0.05) -> bool:
    """Whether `anytime_lower` is at least `share`, a share between 0 and 1; worked out in a microsecond."""
    return hits >= share * trials and _evidence(share, hits, trials) >= math.log(1 / eta)


def anytime_needed(share: float, hits: int = 0, eta: float = 0.05) -> int:
    """How many trials with so many hits it takes for `anytime_upper` to come down to `share`."""
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, not {share!r}")
    most = hits + 1
    while not anytime_below(share, hits, most, eta):
        most *= 2
    least = most // 2
    while most - least > 1:  # the bound falls with every trial that is no hit
        middle = (least + most) // 2
        if anytime_below(share, hits, middle, eta):
            most = middle
        else:
            least = middle
    return most


def _evidence(q: float, hits: int, trials: int) -> float:
    """Logarithm of how much better the mixture explains the counts than a share of q does. Convex in q."""
    return (
        _log_beta(_A + hits, _B + trials - hits)
        - _log_beta(_A, _B)
        - (hits * math.log(q) if hits else 0.0)
        - (trials - hits) * math.log1p(-q)
    )


# --- the beta distribution -------------------------------------------------------------------------


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x with `beta_cdf` (x, a, b) = probability."""
    return _turning(lambda x: beta_cdf(x, a, b) >= probability, 0.0, 1.0)[1]


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a and b above 0."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    scale = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b))
    # The fraction converges fast on the near side of the mean; on the other one, I_x(a, b) = 1 - I_(1-x)(b, a).
    if x < (a + 1) / (a + b + 2):
        return scale * _fraction(x, a, b) / a
    return 1.0 - scale * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function (NIST DLMF 8.17.22), by Lentz's method."""
    c, d = 1.0, 1.0 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value, step, m = d, 0.0, 0
    while abs(step - 1) > 1e-15 and m < 100_000:
        m += 1
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            step = c * d
            value *= step
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _turning(past: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Where `past` becomes true between low and high: two neighbours, the first before it and the second after it."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if past(middle):
            high = middle
        else:
            low = middle
    return low, high


def _check(hits: int, trials: int, eta: float) -> None:
    if not 0 <= hits <= trials:
        raise ValueError(f"hits must be 0 to the {trials} trials, not {hits}")
    if not 0 < eta < 1:
        raise ValueError(f"the probability of being wrong must be between 0 and 1, not {eta}")
