"""Routes as they run: targets resolved to their state, strategies with theirs, nested routes in their places.

A `RouteRecord` answers one question: in which order does this call try which targets? What those targets
then say is the supervisor's business. The rule that keeps it simple: a strategy is asked once for a call, and
that of a nested route only when the call gets to its place; so each of them counts the calls it really orders.
"""

from __future__ import annotations

import logging
import operator
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from resilio.actor import ModelRecord, ProviderRecord
from resilio.checks import Checks
from resilio.config import ModelSettings, NestedRoute, RetryBudgetSettings, RouteSettings, TargetSettings
from resilio.config.importing import NotFound, imported
from resilio.errors import ConfigError
from resilio.models import Capability
from resilio.providers import Codec, EmbeddingCodec
from resilio.quantiles import RecentQuantiles
from resilio.retry import RetryBudget
from resilio.routing import (
    STRATEGIES,
    WEIGHING,
    Holding,
    Strategy,
    TargetView,
    as_configured,
    holding_of,
    view_of_group,
)
from resilio.statemachines.breaker import BreakerState
from resilio.tokens import PromptSize

if TYPE_CHECKING:
    from resilio.local import LocalServer

__all__ = ["Held", "RouteRecord", "RouteTarget", "build_routes"]

logger = logging.getLogger("resilio")


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, on the hot path
class RouteTarget:
    """One target of one route: what is set for it there, and the state it shares with other routes."""

    settings: TargetSettings
    provider: ProviderRecord
    record: ModelRecord
    codec: Codec
    model: ModelSettings
    """The model's settings when the route was made: a call keeps its prices and capabilities to its end."""
    local: LocalServer | None = None
    """The server to start before the first request, for a model on this machine."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def embedding_space(self) -> str:
        """What its vectors may be compared with: those of the same space."""
        return self.model.embedding_space or self.settings.model

    def lacks(self, needs: frozenset[Capability], size: PromptSize) -> str | None:
        """What this target lacks to serve a request, or None when it can."""
        model = self.model
        if missing := needs - model.capabilities:
            return "cannot do " + ", ".join(sorted(missing))
        if Capability.EMBEDDINGS in needs and not isinstance(self.codec, EmbeddingCodec):
            return f"cannot do embeddings: providers of kind {self.codec.kind} have none"
        window = model.context_window
        if window is not None and self.record.tokens.at_least(size) > window:
            tokens = self.record.tokens.estimate(size)
            return f"its context window of {window} tokens is under the ~{tokens} of the prompt"
        return None


class Held(NamedTuple):
    """That a target holds the conversation in its prompt cache, and is fit to go on with it."""

    target: RouteTarget
    is_cheaper: Callable[[RouteTarget], bool]
    """Whether this call costs less there than on another target, which has to read all of the prompt anew."""


class RouteRecord:
    """A route as it runs, with all that is learned of it.

    Attributes:
        settings: As configured.
        branches: Its targets and nested routes, as configured. A nested route is the very record that
            serves calls of its own name, so its strategy's state is shared.
        targets: Every target a call may get to, as configured, nested ones in their place; each model once,
            with the settings of the first place it stands in.
        strategy: Orders the branches; its state is this route's.
        caches: Whether any of its targets may be told to cache prompts.
        checks: What its requests and answers have to pass; None: nothing.
        output_lengths: Tokens of recent answers: how many to reserve for the next.
        hedge_budget: How many of its calls may be hedged: earned by calls.
    """

    __slots__ = (
        "_branch_of", "_by_model", "_holding", "_plain", "branches", "caches", "checks", "hedge_budget",
        "output_lengths", "settings", "strategy", "targets",
    )  # fmt: skip

    def __init__(
        self, settings: RouteSettings, branches: Sequence[RouteTarget | RouteRecord], strategy: Strategy, now: float
    ) -> None:
        self.settings = settings
        self.branches = tuple(branches)
        self.strategy = strategy
        self.output_lengths = RecentQuantiles()
        self.checks = Checks.of(settings)
        hedges = RetryBudgetSettings(ratio=settings.hedge_share, per_second=0, initial=1, maximum=10)
        self.hedge_budget = RetryBudget(hedges, now)
        self._by_model: dict[ModelRecord, RouteTarget] = {}
        self._branch_of: dict[ModelRecord, int] = {}
        for index, branch in enumerate(self.branches):
            for target in (branch,) if isinstance(branch, RouteTarget) else branch.targets:
                self._by_model.setdefault(target.record, target)
                self._branch_of.setdefault(target.record, index)
        self.targets: tuple[RouteTarget, ...] = tuple(self._by_model.values())
        self._plain = self.targets == self.branches
        """Nothing is nested: indices of branches are indices of targets."""
        self._holding = holding_of(settings.strategy, strategy)
        self.caches = settings.prompt_cache == "auto" or any(
            target.settings.prompt_cache == "auto" for target in self.targets
        )

    def __repr__(self) -> str:
        return f"<RouteRecord {self.settings.name}: {', '.join(target.name for target in self.targets)}>"

    def inherit(self, old: RouteRecord, now: float) -> None:
        """Take over what a route of this name has learned under another configuration.

        Its strategy's state holds as long as it orders the same branches; a calls' share of hedges as set now.
        """
        self.output_lengths = old.output_lengths
        if self.checks is not None and old.checks is not None:
            self.checks = self.checks.inherit(old.checks)
        if self.settings.hedge_share == old.settings.hedge_share:
            self.hedge_budget = old.hedge_budget
        if (self.settings.strategy, self.settings.targets) == (old.settings.strategy, old.settings.targets):
            self.strategy = old.strategy

    def order(self, clock: Callable[[], float], rng: random.Random, held: Held | None = None) -> Iterable[RouteTarget]:
        """The targets in the order in which one call tries them; call it once for each call.

        Args:
            clock: Monotonic seconds; read only by strategies that look at the load.
            rng: For strategies that draw.
            held: Who holds the conversation; what that is worth is for each strategy on the way there to say.

        Returns:
            May be read any number of times, and is the same each time. Each target comes at most once. Where
            routes are nested it is decided step by step, as it is read.
        """
        if held is not None or not self._plain:
            return _Order(self, clock, rng, held)
        indices = self._ask(clock, rng)
        if indices is as_configured(len(self.targets)):
            return self.targets
        return [self.targets[index] for index in indices]

    def _ask(self, clock: Callable[[], float], rng: random.Random) -> Sequence[int]:
        return self.strategy(lambda: self._views(clock()), len(self.branches), rng)

    def _views(self, now: float) -> list[TargetView]:
        views = []
        for branch, its in zip(self.branches, self.settings.targets, strict=True):
            if isinstance(branch, RouteTarget):
                views.append(branch.record.view(now, its.weight))
            else:
                group = [target.record.view(now) for target in branch.targets]
                views.append(view_of_group(branch.settings.name, group, its.weight))
        return views

    def walk(self, clock: Callable[[], float], rng: random.Random, held: Held | None = None) -> Iterator[RouteTarget]:
        """As `order`, to be read once: a strategy is asked when the one before has nothing left."""
        found: set[ModelRecord] = set()
        for target in self.descend(clock, rng, {self}, held):
            if target.record not in found:
                found.add(target.record)
                yield self._by_model[target.record]

    def descend(
        self, clock: Callable[[], float], rng: random.Random, visited: set[RouteRecord], held: Held | None = None
    ) -> Iterator[RouteTarget]:
        """All targets below, a route that stands in several places only in the first: asked twice, its
        strategy would count one call as two.
        """
        for index in self._ask(clock, rng) if held is None else self._ask_with(held, clock, rng):
            branch = self.branches[index]
            if isinstance(branch, RouteTarget):
                yield branch
            elif branch not in visited:
                visited.add(branch)
                yield from branch.descend(clock, rng, visited, held)

    # --- conversations that are held -----------------------------------------------------------

    def _ask_with(self, held: Held, clock: Callable[[], float], rng: random.Random) -> Iterator[int]:
        """Indices of branches, for a conversation that one of them holds.

        A strategy that shares out is not asked for it while it can stay: it shares out conversations, not turns.
        """
        at = self._branch_of.get(held.target.record)
        if at is not None and self._holding is Holding.EQUALS and self._is_equal(at):
            yield at
            yield from (index for index in self._ask(clock, rng) if index != at)
            return
        order = self._ask(clock, rng)
        if at is None or at not in order or self._holding is Holding.EQUALS:
            yield from order
            return
        better = order[: list(order).index(at)]
        behind = [index for index in better if self._waits_for(index, held, clock)]
        yield from (index for index in better if index not in behind)
        yield at
        yield from behind
        yield from order[len(better) + 1 :]

    def _is_equal(self, index: int) -> bool:
        """Whether the strategy means this branch to have a share of the calls."""
        return self.settings.strategy not in WEIGHING or self.settings.targets[index].weight > 0

    def _waits_for(self, index: int, held: Held, clock: Callable[[], float]) -> bool:
        """Whether a branch that is ranked before the one with the conversation lets it stay there.

        While it comes back to health it does, so that the conversation does not go to and fro; a probe, which it needs
        to come back at all, it gets. Of a nested route nobody knows which target it would be.
        """
        branch = self.branches[index]
        if not isinstance(branch, RouteTarget):
            return False
        if self._holding is Holding.COSTS:
            return held.is_cheaper(branch)
        breakers, now = (branch.provider.breaker, branch.record.breaker), clock()
        for breaker in breakers:
            breaker.tick(now)  # a ramp may be over since anybody looked
        return any(breaker.state is BreakerState.RAMPING for breaker in breakers)


class _Order:
    """A walk that can be read again: what was drawn stays drawn."""

    __slots__ = ("_drawn", "_walk")

    def __init__(
        self, route: RouteRecord, clock: Callable[[], float], rng: random.Random, held: Held | None = None
    ) -> None:
        self._drawn: list[RouteTarget] = []
        self._walk = route.walk(clock, rng, held)

    def __iter__(self) -> Iterator[RouteTarget]:
        place = 0
        while True:
            if place == len(self._drawn):
                target = next(self._walk, None)
                if target is None:
                    return
                self._drawn.append(target)
            yield self._drawn[place]
            place += 1


# --- building ----------------------------------------------------------------------------------


def build_routes(
    routes: Mapping[str, RouteSettings], resolve: Callable[[TargetSettings], RouteTarget], now: float
) -> dict[str, RouteRecord]:
    """All routes of a checked configuration, in its order; each is built once, however often it is nested.

    Args:
        routes: By name; nested names resolve and form no circle, which the loader has seen to.
        resolve: From a target's settings to the target with its state.
        now: Monotonic seconds.

    Raises:
        ConfigError: A strategy or a check of one's own cannot be imported or called.
    """
    built: dict[str, RouteRecord] = {}

    def build(name: str) -> RouteRecord:
        if name not in built:
            settings = routes[name]
            branches = [build(its.route) if isinstance(its, NestedRoute) else resolve(its) for its in settings.targets]
            built[name] = RouteRecord(settings, branches, _strategy(settings), now)
        return built[name]

    return {name: build(name) for name in routes}


def _strategy(route: RouteSettings) -> Strategy:
    make = STRATEGIES.get(route.strategy)
    return _imported(route) if make is None else make()


def _imported(route: RouteSettings) -> Strategy:
    """The strategy that ``package.module:name`` names.

    Raises:
        ConfigError: With what is wrong, and what stands in the module instead.
    """
    where, name = f"route.{route.name}.strategy", route.strategy
    try:
        found = imported(name)
    except NotFound as exc:
        raise ConfigError([f"{where}: {exc}"]) from exc
    if isinstance(found, type):
        try:
            found = found()
        except Exception as exc:
            raise ConfigError([f"{where}: {name!r} cannot be made: {type(exc).__name__}: {exc}"]) from exc
    if not callable(found):
        raise ConfigError([f"{where}: {name!r} is {type(found).__name__}, not a function (views, count, rng)"])
    return _Checked(name, found)


class _Checked:
    """Stands between a strategy somebody else wrote and every call: nonsense costs the order, never the call."""

    __slots__ = ("_name", "_strategy", "_told", "ranks")

    def __init__(self, name: str, strategy: Callable[..., Iterable[Any]]) -> None:
        self._name = name
        self._strategy = strategy
        self._told = False
        self.ranks = getattr(strategy, "ranks", False)

    def __call__(self, views: Callable[[], Sequence[TargetView]], count: int, rng: random.Random) -> Sequence[int]:
        """What the strategy says, if it is some of the indices, each once; else the order of the configuration."""
        try:
            order = tuple(map(operator.index, self._strategy(views, count, rng)))
        except Exception as exc:  # a bug in it must not fail a call
            self._complain("failed", exc)
            return as_configured(count)
        if order and len(set(order)) == len(order) and min(order) >= 0 and max(order) < count:
            return order
        self._complain(f"gave {order!r:.80}, which is not some of 0 to {count - 1}, each once", None)
        return as_configured(count)

    def _complain(self, what: str, exc: Exception | None) -> None:
        if not self._told:
            self._told = True
            text = "strategy %r %s; its route keeps to the configured order when it does (told once)"
            logger.error(text, self._name, what, exc_info=exc)
