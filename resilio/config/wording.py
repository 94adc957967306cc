"""The words of `explain`: settings and figures to lines of text. No judgement is made here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from resilio.config.problems import number
from resilio.config.settings import BreakerSettings, Condition, Rates

if TYPE_CHECKING:
    from resilio.config.explain import ProviderExplanation, RouteExplanation, RuleExplanation

__all__ = ["breaker_lines", "condition_words", "price_words", "provider_lines", "route_lines", "rule_line", "seconds"]

_STRATEGIES: Final[Mapping[str, str]] = {
    "priority": "in this order, the first that can take the call",
    "weighted": "shared out by weight, then the heaviest of the others first",
    "round_robin": "each in turn",
    "least_loaded": "the least loaded first",
    "cheapest": "the cheapest first",
}


def route_lines(route: RouteExplanation) -> Iterator[str]:
    """A route as `resilio check` prints it."""
    yield f"route {route.name}: an answer or an error within {seconds(route.deadline)}"
    own = f"in the order of {route.strategy}, which is imported at start"
    yield f"  targets, {_STRATEGIES.get(route.strategy, own)}:"
    for place, target in enumerate(route.targets, 1):
        lacks = f"; cannot do {', '.join(target.lacks)}" if target.lacks else ""
        clock = f"first token of a stream within {seconds(target.first_token)} (set by the {target.first_token_from})"
        if target.first_token_at_worst is not None and target.share_of_deadline is not None:
            share = _percent(target.share_of_deadline)
            clock += f", at worst {seconds(target.first_token_at_worst)}, {share} of the deadline"
        through = "".join(f" (route {name})" for name in target.through)
        first = ""
        if target.share is not None and 0 < target.share < 1:
            first = f"asked first by {_percent(target.share)} of the calls; "
        yield f"    {place}. {target.name}{through}: {first}{clock}{lacks}"
        if target.price is not None:
            yield f"       {target.price} (from {target.price_source})"
    if route.nobody_can:
        yield f"  no target can serve calls that need {', '.join(route.nobody_can)}: they are refused unsent"
    clocks = ", ".join(
        f"{name} {seconds(clock)}" for name, clock in route.clocks.items() if name != "first_token" and clock
    )
    yield f"  clocks of each attempt: {clocks}"
    late = route.longest_unbounded > route.deadline
    cut = f", cut by the deadline to {seconds(route.deadline)}" if late else ""
    more = f" and {route.attempts_below} on rungs below" if route.attempts_below else ""
    yield (
        f"  at worst {_count(route.max_attempts, 'attempt')} on {_count(route.targets_tried, 'target')}{more}, with"
        f" {seconds(route.longest_waits)} of waiting between them: {seconds(route.longest_unbounded)}{cut}"
    )
    limit = "none" if route.max_output_tokens is None else f"{route.max_output_tokens} tokens"
    yield f"  output limit where the caller sets none: {limit}"
    if route.prompt_cache != "off":
        kept = {"5m": "5 min", "1h": "1 h"}[route.prompt_cache]
        yield f"  prompts are marked for providers' caches ({kept}); a conversation stays where its prefix is held"
    for step, rung in enumerate(route.ladder, 1):
        yield f"  rung {step}, {rung}"
    for check in route.checks:
        yield f"  check {check}"
    for note in route.notes:
        yield f"  note: {note}"


def rule_line(rule: RuleExplanation) -> str:
    """A rule as `resilio check` prints it."""
    calls = "calls of any route" if rule.every_route else f"calls of {' or '.join(rule.routes)}"
    met = f" {' and '.join(rule.when)}" if rule.when else ""
    stay = all(name == rule.use for name in rule.routes) and not rule.every_route
    return f"  rule {rule.name}: {calls}{met} {'stay with' if stay else 'go to'} route {rule.use}"


def condition_words(when: Condition) -> Iterator[str]:
    """What a rule asks, each to follow the words *calls of a route*."""
    yield from (f'tagged {name} = "{value}"' for name, value in when.tags.items())
    if when.user is not None:
        yield f'by user "{when.user}"'
    if when.organisation is not None:
        yield f'for organisation "{when.organisation}"'
    if when.feature is not None:
        yield f'of feature "{when.feature}"'
    if when.min_input_tokens is not None:
        yield f"with at least {when.min_input_tokens} input tokens"
    if when.max_input_tokens is not None:
        yield f"with at most {when.max_input_tokens} input tokens"


def price_words(rates: Rates) -> str:
    """Rates in one line, with what more there is to a price; US dollars for a million tokens."""
    names = (("cache_read", "cached"), ("cache_write_5m", "written 5 min"), ("cache_write_1h", "written 1 h"))
    found = [f"in {number(rates.input)}", f"out {number(rates.output)}"]
    found += [f"{words} {number(rate)}" for name, words in names if (rate := getattr(rates, name)) is not None]
    if rates.reasoning is not None:
        found.append(f"reasoning {number(rates.reasoning)}")
    return ", ".join(found)


def provider_lines(provider: ProviderExplanation) -> Iterator[str]:
    """A provider as `resilio check` prints it."""
    where = f" at {provider.base_url}" if provider.base_url else " on this machine"
    yield f"provider {provider.name}: {provider.kind}{where}, {_count(provider.keys, 'key')}"
    yield f"  used by {', '.join(provider.used_by) or 'no route'}"
    queue = f"up to {provider.max_waiting} callers wait for a place, at most {seconds(provider.max_wait)}"
    yield f"  {_count(provider.max_concurrency, 'request')} at a time; {queue}"
    for name, limits in provider.models.items():
        yield f"  model {name}: {', '.join(limits) or 'limits learned from its answers'}"
    for key, limits in provider.key_limits.items():
        yield f"  key {key}: {', '.join(limits)}, for each model"
    for line in provider.breaker:
        yield f"  circuit {line}"


def seconds(duration: float) -> str:
    """A duration with its unit, to the millisecond."""
    return f"{number(round(duration, 3))} s"


def _percent(share: float) -> str:
    return f"{number(round(share * 100, 1))} %"


def _count(amount: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{amount} {what}{'' if amount == 1 else plural}"


def breaker_lines(breaker: BreakerSettings) -> Iterator[str]:
    """What a breaker does, one sentence a phase, each to follow the words *the circuit*."""
    window = f"the last {breaker.window_calls} outcomes or {seconds(breaker.window_duration)}"
    yield (
        f"opens after {_count(breaker.consecutive_failures, 'failure')} in a row; or when, of at least"
        f" {breaker.minimum_calls} in {window}, {_percent(breaker.failure_rate)} failed or"
        f" {_percent(breaker.slow_rate)} were slow (first token after {seconds(breaker.slow_first_token)})"
    )
    yield (
        f"stays open {seconds(breaker.break_duration)}, longer each time it trips again, at most"
        f" {seconds(breaker.max_break_duration)} or as long as the provider says"
    )
    early = ", and one early if nothing else is left" if breaker.early_probes else ""
    yield (
        f"then sends {_count(breaker.probes_at_once, 'probe')} at a time{early};"
        f" {_count(breaker.probe_successes, 'success')} of at most {breaker.max_probes} close it"
    )
    if breaker.ramp_duration:
        start, rise = _percent(breaker.ramp_start), seconds(breaker.ramp_duration)
        yield f"closes into a ramp: preferred for {start} of the calls, rising to 100 % in {rise}"
