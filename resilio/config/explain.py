"""Says in plain words, with the numbers, what a configuration will do: for `resilio check`.

Works on a checked `Config`, so nothing here refuses. What is allowed but surprising (a clock that
the deadline cuts short, a target no call gets to) becomes a note. The words are made from the same
settings the engine runs on; secrets are counted, never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from resilio.config.kinds import kind_at
from resilio.config.nesting import first_shares, leaves
from resilio.config.problems import number
from resilio.config.settings import (
    ALL_CAPABILITIES,
    REASONING_FIRST_TOKEN,
    STATIC_THRESHOLDS,
    Config,
    KeySettings,
    ModelSettings,
    Price,
    ProviderSettings,
    RetrySettings,
    RouteSettings,
    RuleSettings,
    TargetSettings,
)
from resilio.config.wording import (
    breaker_lines,
    condition_words,
    price_words,
    provider_lines,
    route_lines,
    rule_line,
    seconds,
)
from resilio.models import Capability

__all__ = ["Explanation", "ProviderExplanation", "RouteExplanation", "RuleExplanation", "TargetExplanation", "explain"]


@dataclass(frozen=True, slots=True)
class TargetExplanation:
    """One target of a route. Durations in seconds.

    Attributes:
        first_token: Its first-token clock as set.
        first_token_at_worst: What of it is left when every target before it ran into its own; None
            for a target that no call gets to.
        share_of_deadline: `first_token_at_worst` as a share of the deadline, 0 to 1.
        lacks: Capabilities it does not have.
        price: In words; None: unknown, and so is what its calls cost.
        through: The nested routes on the way to it, outermost first.
        share: Of all calls of the route, those that ask it first, 0 to 1, while every target is well;
            None where load, price or a strategy of one's own decides.
    """

    name: str
    first_token: float
    first_token_from: str
    first_token_at_worst: float | None
    share_of_deadline: float | None
    context_window: int | None
    lacks: tuple[str, ...]
    price: str | None
    price_source: str | None
    through: tuple[str, ...]
    share: float | None


@dataclass(frozen=True, slots=True)
class RouteExplanation:
    """What a call of one route meets. Durations in seconds.

    Attributes:
        max_attempts: On its own targets; `attempts_below` are those of the rungs further down.
        longest_waits: Upper bound of all backoff and hinted waits together, the deadline aside.
        longest_unbounded: Longest a call could take were there no deadline: why the deadline matters.
        prompt_cache: ``off``, or how long marked prefixes of prompts are kept: ``5m`` or ``1h``.
        nobody_can: Capabilities that no target has; a call that needs one is refused unsent.
    """

    name: str
    strategy: str
    deadline: float
    targets: tuple[TargetExplanation, ...]
    max_attempts: int
    attempts_below: int
    targets_tried: int
    longest_waits: float
    longest_unbounded: float
    clocks: Mapping[str, float]
    max_output_tokens: int | None
    prompt_cache: str
    ladder: tuple[str, ...]
    checks: tuple[str, ...]
    nobody_can: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProviderExplanation:
    """One provider: `breaker` in words, `used_by` the routes that name it."""

    name: str
    kind: str
    base_url: str
    keys: int
    key_limits: Mapping[str, tuple[str, ...]]
    """Of keys that have limits of their own, by name, else by number."""
    models: Mapping[str, tuple[str, ...]]
    max_concurrency: int
    max_waiting: int
    max_wait: float
    breaker: tuple[str, ...]
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """Which calls a rule takes, and to where. `routes` are all of them where the rule names none."""

    name: str
    routes: tuple[str, ...]
    every_route: bool
    when: tuple[str, ...]
    use: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A whole configuration, explained; print it, or hand `as_dict()` to a JSON writer."""

    providers: tuple[ProviderExplanation, ...]
    routes: tuple[RouteExplanation, ...]
    rules: tuple[RuleExplanation, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        found = [line for route in self.routes for line in (*route_lines(route), "")]
        if self.rules:
            found += ["rules, the first that applies decides:", *map(rule_line, self.rules), ""]
        found += [line for provider in self.providers for line in (*provider_lines(provider), "")]
        return [*found, *(f"note: {note}" for note in self.notes)] if self.notes else found[:-1]

    def as_text(self) -> str:
        return "\n".join(self.lines())

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def explain(config: Config, unpriced: Mapping[str, str] | None = None, hint: str = "") -> Explanation:
    """Explain a configuration that `load_config` has checked.

    Args:
        config: With the prices that were found elsewhere filled in, where somebody has looked.
        unpriced: By target, why none was found.
        hint: What would find more.
    """
    providers = {provider.name: provider for provider in config.providers}
    used: dict[str, list[str]] = {name: [] for name in providers}
    for route in config.routes.values():
        for name in dict.fromkeys(leaf.target.provider for leaf in leaves(config.routes, route.name)):
            used[name].append(route.name)
    return Explanation(
        providers=tuple(_provider(provider, tuple(used[provider.name])) for provider in config.providers),
        routes=tuple(_route(route, config, providers, unpriced or {}) for route in config.routes.values()),
        rules=tuple(_rule(rule, config) for rule in config.rules),
        notes=(*_notes(config, used), *([hint] if hint else [])),
    )


def _notes(config: Config, used: Mapping[str, list[str]]) -> Iterator[str]:
    if not config.routes:
        yield "there is no route, so nothing can be asked; add [route.NAME]"
    for name, routes in used.items():
        if not routes:
            yield f"provider {name} is used by no route"
    for provider in config.providers:
        own = kind_at(provider.base_url) if provider.kind == "openai" else None
        if own is not None:
            at = f"provider {provider.name} is at the address of {own.title}"
            yield f'{at}; kind = "{own.name}" knows what is different there'


def _rule(rule: RuleSettings, config: Config) -> RuleExplanation:
    return RuleExplanation(
        name=rule.name,
        routes=rule.routes or tuple(config.routes),
        every_route=not rule.routes,
        when=tuple(condition_words(rule.when)),
        use=rule.use,
    )


# --- one route -------------------------------------------------------------------------------


def _route(
    route: RouteSettings, config: Config, providers: Mapping[str, ProviderSettings], unpriced: Mapping[str, str]
) -> RouteExplanation:
    deadline = config.defaults.deadline if route.deadline is None else route.deadline
    own = [leaf.target for leaf in leaves(config.routes, route.name)]
    models = {target.name: providers[target.provider].models[target.model] for target in own}
    targets = _targets(route, config.routes, models, deadline)
    nobody = [cap.value for cap in Capability if all(cap.value in target.lacks for target in targets)]
    below = [config.routes[rung.route] for rung in route.ladder if rung.route is not None]
    waits = sum(_longest_waits(each.retry) for each in (route, *below))
    explained = RouteExplanation(
        name=route.name,
        strategy=route.strategy,
        deadline=deadline,
        targets=targets,
        max_attempts=route.retry.max_attempts,
        attempts_below=sum(each.retry.max_attempts for each in below),
        targets_tried=_tried(route, len(own)),
        longest_waits=waits,
        longest_unbounded=waits + sum(each.retry.max_attempts * each.clocks.total for each in (route, *below)),
        clocks={name: clock for name, clock in asdict(route.clocks).items() if clock is not None},
        max_output_tokens=route.max_output_tokens,
        prompt_cache=route.prompt_cache_ttl if route.prompt_cache == "auto" else "off",
        ladder=tuple(_ladder(route, config)),
        checks=tuple(_checks(route)),
        nobody_can=tuple(nobody),
        notes=(),
    )
    notes = (
        *_clock_notes(explained),
        *_weight_notes(route),
        *_target_notes(route, own, models, providers),
        *_price_notes(route, models, unpriced),
    )
    return RouteExplanation(**{name: getattr(explained, name) for name in explained.__slots__[:-1]}, notes=notes)


def _tried(route: RouteSettings, targets: int) -> int:
    return min(targets, route.retry.max_targets, route.retry.max_attempts)


def _targets(
    route: RouteSettings, routes: Mapping[str, RouteSettings], models: Mapping[str, ModelSettings], deadline: float
) -> tuple[TargetExplanation, ...]:
    """Each target with the first-token clock it gets when all before it stayed silent to the end of theirs.

    A clock is the lesser of what is set and an equal share of the time left: one share for each target
    still to try, and one for each rung below.
    """
    found, left, tried = [], deadline, _tried(route, len(models))
    below = sum(rung.asks for rung in route.ladder) - 1  # the others take no time
    shares = first_shares(routes, route.name)
    for index, leaf in enumerate(leaves(routes, route.name)):
        target = leaf.target
        model = models[target.name]
        clock, origin = _first_token(route, target, model)
        worst = min(clock, route.clocks.total, left / (tried - index + below)) if index < tried else None
        left -= worst or 0.0
        found.append(
            TargetExplanation(
                name=target.name,
                first_token=clock,
                first_token_from=origin,
                first_token_at_worst=worst,
                share_of_deadline=None if worst is None else worst / deadline,
                context_window=model.context_window,
                lacks=tuple(cap.value for cap in Capability if cap in ALL_CAPABILITIES - model.capabilities),
                price=None if model.price is None else _price(model.price),
                price_source=None if model.price is None else model.price.source,
                through=leaf.through,
                share=None if shares is None else shares.get(target.name, 0.0),
            )
        )
    return tuple(found)


def _first_token(route: RouteSettings, target: TargetSettings, model: ModelSettings) -> tuple[float, str]:
    if target.first_token is not None:
        return target.first_token, "target"
    if model.first_token is not None:
        return model.first_token, "model"
    if model.reasoning:
        return REASONING_FIRST_TOKEN, "reasoning model"
    return route.clocks.first_token, "route"


def _longest_waits(retry: RetrySettings) -> float:
    """Between attempts lies a backoff, below min(cap, base * 2^n), or a hinted wait that is short enough."""
    waits = (min(retry.cap, retry.base * 2.0 ** min(n, 60)) for n in range(min(retry.max_attempts - 1, 64)))
    further = max(retry.max_attempts - 65, 0) * max(retry.cap, retry.same_target_wait)
    return sum(max(wait, retry.same_target_wait) for wait in waits) + further


def _checks(route: RouteSettings) -> Iterator[str]:
    for check in route.checks:
        looks_at = "what is asked" if check.stage == "before" else "the answer"
        streams = ", of a stream while it flows" if check.in_window else ""
        kind = f"{check.kinds[0]} {check.function}" if check.function else check.kinds[0]
        then = "then as it says" if check.function and check.then == "deny" else f"then {check.then}"
        yield f"{check.name}: {kind} of {looks_at}{streams}, {then}"


def _ladder(route: RouteSettings, config: Config) -> Iterator[str]:
    for rung in route.ladder:
        if rung.route is not None:
            names = ", ".join(leaf.target.name for leaf in leaves(config.routes, rung.route))
            yield f"simpler: the targets of route {rung.route} ({names})"
        elif rung.faq is not None:
            threshold = STATIC_THRESHOLDS[rung.match] if rung.threshold is None else rung.threshold
            fit = f"whose question fits by {rung.match} from {threshold:g}"
            yield f"static: one of {len(rung.faq.answers)} prepared answers of {rung.argument}, {fit}"
        elif rung.kind == "cache":
            exact = config.cache.exact
            past = f", up to {seconds(exact.stale_for)} past its time" if exact and exact.stale_for else ""
            yield f"cache: a kept answer to the same request{past}, marked as such"
        else:
            yield "full: the targets of this route"
    yield "error: a precise error that lists every attempt"


def _clock_notes(route: RouteExplanation) -> Iterator[str]:
    total = route.clocks["total"]
    for target in route.targets:
        said = f"the first-token clock of {target.name}, {seconds(target.first_token)},"
        if target.first_token > route.deadline:
            yield f"{said} is longer than the deadline of {seconds(route.deadline)} and never fires"
        elif target.first_token > total:
            yield f"{said} is longer than clocks.total, {seconds(total)}, and never fires"
        elif target.first_token_at_worst is not None and target.first_token_at_worst < target.first_token:
            cut = seconds(target.first_token_at_worst)
            yield f"{said} may be cut to {cut}: the targets after it get their share of the deadline"
    if total > route.deadline:
        deadline = seconds(route.deadline)
        yield f"clocks.total, {seconds(total)}, is longer than the deadline, {deadline}, and never fires"
    for name in ("connect", "idle"):
        clock = route.clocks[name]
        if clock > min(total, route.deadline):
            yield f"clocks.{name}, {seconds(clock)}, is longer than an attempt may take and never fires"


def _weight_notes(route: RouteSettings) -> Iterator[str]:
    if route.strategy in ("priority", "round_robin", "cheapest"):
        for each in route.targets:
            if each.weight != 1:
                yield f"the weight of {each.name} is not read: strategy {route.strategy} knows none"


def _target_notes(
    route: RouteSettings,
    own: list[TargetSettings],
    models: Mapping[str, ModelSettings],
    providers: Mapping[str, ProviderSettings],
) -> Iterator[str]:
    tried = _tried(route, len(own))
    if tried < len(own):
        others = "the others serve when earlier ones are skipped"
        yield f"a call tries {tried} of {len(own)} targets; {others}"
    if len({target.provider for target in own}) == 1 and len(route.ladder) == 1:
        yield f"everything depends on provider {own[0].provider}: when it is down, calls fail"
    for target in own:
        model, wanted = models[target.name], route.max_output_tokens
        if wanted is not None and model.context_window is not None and wanted >= model.context_window:
            window = f"its window holds {model.context_window} tokens, and max_output_tokens asks for {wanted}"
            yield f"{target.name} serves only callers who set a lower max_tokens: {window}"
        slow, (clock, _) = (
            providers[target.provider].breaker.slow_first_token,
            _first_token(route, target, model),
        )
        if slow >= clock:
            later = f"slow_first_token, {seconds(slow)}, is not below its first-token clock, {seconds(clock)}"
            yield f"{target.name} is never counted as slow: {later}"


def _price(price: Price) -> str:
    more = [f"dearer over {number(step.above)} tokens" for step in price.long_prompts[:1]]
    more += [f"apart for {', '.join(price.service)}"] if price.service else []
    return "; ".join([f"USD for 1M tokens: {price_words(price)}", *more])


def _price_notes(
    route: RouteSettings, models: Mapping[str, ModelSettings], unpriced: Mapping[str, str]
) -> Iterator[str]:
    unknown = [name for name, model in models.items() if model.price is None]
    if unknown:
        last = ", so strategy cheapest takes them last" if route.strategy == "cheapest" else ""
        yield f"no price is known for {', '.join(unknown)}{last}"
    for reason in dict.fromkeys(unpriced[name] for name in unknown if name in unpriced):
        names = ", ".join(name for name in unknown if unpriced.get(name) == reason)
        yield f"the price of {names}: {reason}"


# --- one provider ----------------------------------------------------------------------------


def _provider(provider: ProviderSettings, used_by: tuple[str, ...]) -> ProviderExplanation:
    return ProviderExplanation(
        name=provider.name,
        kind=provider.kind,
        base_url=provider.base_url,
        keys=len(provider.keys),
        key_limits={
            key.name or str(index): limits for index, key in enumerate(provider.keys) if (limits := tuple(_limits(key)))
        },
        models={name: tuple(_limits(model)) for name, model in provider.models.items()},
        max_concurrency=provider.max_concurrency,
        max_waiting=provider.queue.max_waiting,
        max_wait=provider.queue.max_wait,
        breaker=tuple(breaker_lines(provider.breaker)),
        used_by=used_by,
    )


def _limits(model: ModelSettings | KeySettings) -> Iterator[str]:
    for name in ("requests", "tokens", "input_tokens", "output_tokens"):
        rate = getattr(model, f"{name}_per_minute")
        if rate is not None:
            yield f"{number(rate)} {name.replace('_', ' ')} a minute"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
