"""Prompt caching of one call: who is told to cache, which target holds the conversation, and what came of it.

The rule that keeps it simple: a call that caches nowhere costs one comparison. One that does is given the name of its
turn, once, and everything else goes by that name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from resilio.affinity import Hold
from resilio.config import TargetSettings
from resilio.config.settings import PromptCacheMode, PromptCacheTtl
from resilio.events import ConversationMoved
from resilio.models import HeldBy, PromptCacheUse, Usage
from resilio.prices import cost_usd, rewritten_usd, saved_usd
from resilio.providers.prefix import Turn, kept_tokens, lifetime, turn_of
from resilio.routes import Held, RouteTarget
from resilio.statemachines.actor import ActorState
from resilio.statemachines.breaker import BreakerState

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Attempt
    from resilio.dispatch.call import Call, Plan

__all__ = ["cache_use", "keep", "order_of", "settings_of"]

_HEALTHY: Final = (BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY)


def settings_of(plan: Plan, target: RouteTarget) -> TargetSettings:
    """The target's settings with what holds of prompt caching for this call.

    A call that says ``off`` is obeyed; a target's own setting, which tells of its server, goes before what the call
    or the route wants.
    """
    route, asked, own = plan.route.settings, plan.call.prompt_cache, target.settings
    mode = "off" if asked == "off" else own.prompt_cache or asked or route.prompt_cache
    if mode == "off":
        return own if own.prompt_cache != "auto" else _with(own, "off", None)
    return _with(own, mode, own.prompt_cache_ttl or route.prompt_cache_ttl)


@lru_cache(maxsize=1024)
def _with(settings: TargetSettings, mode: PromptCacheMode, ttl: PromptCacheTtl | None) -> TargetSettings:
    return replace(settings, prompt_cache=mode, prompt_cache_ttl=ttl)


def _turn(plan: Plan) -> Turn | None:
    """The turn that the call is of its conversation; None: it is none, or is cached nowhere."""
    call = plan.call
    if call.prompt_cache == "off" or not (plan.route.caches or call.prompt_cache == "auto"):
        return None
    return None if call.request.inputs is not None else turn_of(call.request)


def order_of(plan: Plan) -> Iterable[RouteTarget]:
    """The order of the route's targets for this call, with the one that holds its conversation where it belongs.

    Wherever in it that stands: when its turn comes, the key goes first that has read the conversation.
    """
    engine, held = plan.call.engine, None
    turn = _turn(plan)
    if turn is not None and turn.before:
        hold = plan.hold = engine.affinity.of(turn.before, now := engine.clock())
        if hold is not None:
            held = _held(plan, hold, now)
            plan.demand = plan.demand._replace(held=HeldBy(hold.target, hold.key))
    return plan.route.order(engine.clock, engine.rng, held)


def _held(plan: Plan, hold: Hold, now: float) -> Held | None:
    target = next((each for each in plan.left if each.name == hold.target), None)
    if target is None or settings_of(plan, target).prompt_cache != "auto" or not _is_fit(plan, target, now):
        return None
    return Held(target, lambda other: _is_cheaper(plan, target, hold, other))


def _is_fit(plan: Plan, target: RouteTarget, now: float) -> bool:
    """In full health, with a key that has room: a prefix is no reason to ask anybody else."""
    provider, record = target.provider, target.record
    for breaker in (provider.breaker, record.breaker):
        breaker.tick(now)
        if breaker.state not in _HEALTHY:
            return False
    return provider.lifecycle.state is ActorState.RUNNING and provider.actor.has_spare_key(now, record, plan.demand)


def _is_cheaper(plan: Plan, target: RouteTarget, hold: Hold, other: RouteTarget) -> bool:
    """Whether this call is expected to cost less where its prompt is held than where it is not; no, if unknown."""
    stay, go = _expected(plan, target, hold.tokens), _expected(plan, other, 0)
    return stay is not None and go is not None and stay < go


def _expected(plan: Plan, target: RouteTarget, held: int) -> float | None:
    """US dollars of this call at a target that holds so much of its prompt, and writes the rest if it caches."""
    size, length, settings = plan.demand.input_tokens, plan.demand.output_tokens, settings_of(plan, target)
    read = min(held, size)
    written = size - read if settings.prompt_cache == "auto" else 0
    hour = written if settings.prompt_cache_ttl == "1h" else 0
    return cost_usd(target.model.price, Usage(size, length, read, written - hour, hour), plan.call.tier(target))


def keep(attempt: Attempt, usage: Usage) -> None:
    """The target has read this prompt: it holds the conversation from now on. Tells where one has moved."""
    plan, call, target = attempt.plan, attempt.call, attempt.target
    call.moved = None  # told of an attempt before, and of that alone
    turn = _turn(plan)
    if turn is None:
        return
    settings = settings_of(plan, target)
    tokens = kept_tokens(target.codec.kind, usage)
    if settings.prompt_cache != "auto" or not tokens:
        return
    now = call.engine.clock()
    until = now + lifetime(target.codec.kind, settings.model, usage, settings.prompt_cache_ttl)
    before = call.engine.affinity.note(
        turn.own, Hold(target.name, tokens, until, attempt.lease.key.index), plan.hold, now
    )
    if before is None:
        return
    anew = max(0, min(before.tokens, usage.input_tokens) - usage.cache_read_tokens)
    cost = rewritten_usd(target.model.price, usage, anew, call.tier(target))
    call.moved = (target.name, before.target, anew, cost)
    if call.engine.listeners:
        call.engine.emit(
            ConversationMoved(call.request.id, call.request.route, before.target, target.name, anew, cost, now)
        )


def cache_use(call: Call, target: RouteTarget, usage: Usage) -> PromptCacheUse | None:
    """What the target's cache did for an attempt that used this; None: nothing."""
    read, written = usage.cache_read_tokens, usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    moved = call.moved if call.moved is not None and call.moved[0] == target.name else None
    if not (read or written or moved):
        return None
    saved = saved_usd(target.model.price, usage, call.tier(target)) if read or written else 0.0
    if moved is None:
        return PromptCacheUse(read, written, saved)
    _, source, tokens, cost = moved
    return PromptCacheUse(read, written, saved, source, tokens, cost)
