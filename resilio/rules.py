"""Which rule, if any, sends a call to another route.

Pure and small: rules stand in the configuration in order, and the first that applies decides. A route chosen
by a rule is not looked at again, so rules cannot chase each other. The prompt is measured at most once,
and only where a rule that applies but for the size asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resilio.config import Condition, RuleSettings
from resilio.models import Identity

__all__ = ["first_match"]


def first_match(
    rules: Iterable[RuleSettings], route: str, identity: Identity, input_tokens: Callable[[], int]
) -> RuleSettings | None:
    """The first rule that applies to a call.

    Args:
        rules: In order.
        route: What the caller asked for.
        identity: Who asks.
        input_tokens: Estimates the prompt; called at most once.

    Returns:
        The rule, or None: then the route asked for serves.
    """
    tokens: int | None = None
    for rule in rules:
        if rule.routes and route not in rule.routes:
            continue
        when = rule.when
        if not _asked_by(when, identity):
            continue
        low, high = when.min_input_tokens, when.max_input_tokens
        if low is not None or high is not None:
            if tokens is None:
                tokens = input_tokens()
            if (low is not None and tokens < low) or (high is not None and tokens > high):
                continue
        return rule
    return None


def _asked_by(when: Condition, identity: Identity) -> bool:
    """Whether whoever asks meets a condition, the size aside."""
    if (
        (when.user is not None and when.user != identity.user)
        or (when.organisation is not None and when.organisation != identity.organisation)
        or (when.feature is not None and when.feature != identity.feature)
    ):
        return False
    return not when.tags or all(identity.tags.get(name) == value for name, value in when.tags.items())
