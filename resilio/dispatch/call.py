"""What one call knows while it runs: `Call` for its whole way, `Plan` for its way through one route.

Neither sends anything. A call owns the deadline (an instant), the list of attempts and the reply; a plan
owns which targets are left, which of them were retried, throttled or given up, and why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from resilio.budget import Need, SpendCap
from resilio.cache import USE, CacheControl
from resilio.config.settings import REASONING_FIRST_TOKEN, RUNG_LABELS, PromptCacheMode, RouteSettings
from resilio.dispatch.money import need_of
from resilio.dispatch.prompt_cache import cache_use, order_of
from resilio.errors import (
    AnswerUnfit,
    BudgetExceeded,
    CheckDenied,
    DeadlineExceeded,
    ErrorClass,
    Exhausted,
    ProviderError,
    ProviderRefused,
    RequestRejected,
    ResilioError,
    TransportError,
)
from resilio.events import CallSettled
from resilio.models import (
    Answer,
    AttemptRecord,
    Capability,
    CheckRecord,
    Demand,
    Level,
    PromptCacheUse,
    Reply,
    Request,
    Usage,
    uses_together,
)
from resilio.prices import cost_usd, service_tier
from resilio.snapshot import Snapshot
from resilio.statemachines.request import RequestFlow, RequestState
from resilio.supervisor import NoLease, RouteRecord, RouteTarget
from resilio.tokens import PromptSize

if TYPE_CHECKING:
    from resilio.affinity import Hold
    from resilio.dispatch.attempt import Engine
    from resilio.ladder import Serving

__all__ = ["Call", "Plan"]

logger = logging.getLogger("resilio")

UNKNOWN_OUTPUT = 256
"""Output tokens to reserve on rate limits when the caller set no limit and the route has no history."""


class Call:
    """One caller's call, from `received` to `settled`."""

    __slots__ = (
        "attempts", "cache", "caps", "checks", "deadline", "engine", "first_token", "flow", "idle_since", "label",
        "later_targets", "level", "moved", "priority", "prompt_cache", "reasons", "request", "serving", "snapshot",
        "spent", "started", "unfit", "until", "warnings", "winner",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        request: Request,
        *,
        deadline: float,
        until: float,
        priority: int = 0,
        caps: Sequence[SpendCap] = (),
        later_targets: int = 0,
        cache: CacheControl = USE,
        prompt_cache: PromptCacheMode | None = None,
    ) -> None:
        """Fix the deadline and start the books.

        Args:
            engine: The shared engine.
            request: The normalised request.
            deadline: Seconds the caller gave, for messages.
            until: The same as a monotonic instant; an outer scope may have made it sooner.
            priority: Place in queues; higher goes first.
            caps: Spending caps that every attempt draws on, all of them.
            later_targets: How many more targets rungs further down may want to try: time is kept for them.
            cache: How it uses the cache.
            prompt_cache: Whether providers are to cache its prompt; None: as the route says.
        """
        self.engine = engine
        self.request = request
        self.deadline = deadline
        self.started = engine.clock()
        self.until = until
        self.priority = priority
        self.caps = caps
        self.later_targets = later_targets
        self.cache = cache
        self.prompt_cache = prompt_cache
        self.moved: tuple[str, str, int, float | None] | None = None
        """The target to which its conversation has moved, where from, the tokens read anew, and what they cost more."""
        self.attempts: list[AttemptRecord] = []
        self.reasons: list[str] = []
        self.checks: list[CheckRecord] = []
        """What checks have done to it so far."""
        self.unfit: AnswerUnfit | None = None
        """A check does not want the next rung that asks to be asked."""
        self.spent: list[tuple[float | None, Usage, PromptCacheUse | None]] = []
        """Cost and usage of whole answers that checks did not take, and what prompt caches did for them."""
        self.level = Level.FULL
        self.label = RUNG_LABELS["full"]
        self.serving: Serving | None = None
        self.flow = RequestFlow()
        self.first_token: float | None = None
        self.warnings: dict[str, tuple[str, ...]] | None = None
        """By target, what it is to be asked without; None: nothing by none, as for most calls."""
        self.idle_since = self.started
        """When this call last had nothing under way at a provider: what an attempt waited counts from here."""
        self.winner: RouteTarget | None = None
        self.snapshot: Snapshot[RouteRecord] | None = None
        """The configuration it began under and goes by, whatever is loaded meanwhile; None before and after."""

    def part(self, inputs: Sequence[str], number: int) -> Call:
        """A call for some of the texts to embed: the same caller, deadline and caps, books of its own."""
        return Call(
            self.engine,
            replace(self.request, inputs=inputs, id=f"{self.request.id}.{number}"),
            deadline=self.deadline,
            until=self.until,
            priority=self.priority,
            caps=self.caps,
            cache=self.cache,
            prompt_cache=self.prompt_cache,
        )

    def waiting(self) -> None:
        """The call waits: in a queue, or between two attempts."""
        if self.flow.state is not RequestState.WAITING:
            self.flow.step("wait")

    def step_down(self, *, asks: bool) -> None:
        """See `resilio.ladder.Descent`."""
        if self.flow.state is not RequestState.DEGRADING:
            self.flow.step("exhaust")
        self.later_targets = max(0, self.later_targets - asks)

    def cannot_honour(self, target: RouteTarget, route: RouteSettings) -> str | None:
        """Why this target is not to be asked: what of the request it has no form for; None when it may be.

        Args:
            target: A target that can serve the request otherwise.
            route: The route it is asked for.
        """
        policy, limit = route.on_unsupported, asked_limit(self.request) or route.max_output_tokens
        losses = target.codec.unsupported(self.request, target.settings, max_output_tokens=limit)
        if not losses:
            return None
        fatal = losses if policy == "error" else [loss for loss in losses if loss.needed]
        if fatal:
            return "cannot honour " + ", ".join(map(str, fatal))
        if policy == "warn":
            self.warnings = self.warnings or {}
            self.warnings[target.name] = tuple(f"{target.name} was asked without {loss}" for loss in losses)
        return None

    def warned(self, target: RouteTarget) -> tuple[str, ...]:
        """What this target is asked without, where the route wants to be told."""
        return () if self.warnings is None else self.warnings.get(target.name, ())

    def usage_or_estimate(self, usage: Usage | None, plan: Plan, answer: Answer) -> Usage:
        """The provider's figures, or our own count, marked as such."""
        if usage is not None:
            return usage
        written = len(answer.text.encode()) + len(answer.reasoning.encode())
        written += sum(len(tool.arguments) for tool in answer.tool_calls)
        return Usage(plan.demand.input_tokens, written // 4 + 1, estimated=True)

    def cost(self, target: RouteTarget, usage: Usage) -> float | None:
        """US dollars of one attempt on this target; None: its price is not known."""
        return cost_usd(target.model.price, usage, self.tier(target))

    def tier(self, target: RouteTarget) -> str | None:
        """The service tier this call asks of this target, or the one its model is set to."""
        return service_tier(self.request.wire) or target.model.service_tier

    def reply(self, answer: Answer, target: RouteTarget, *, complete: bool, usage: Usage) -> Reply:
        """The reply for this answer, as of now."""
        self.winner = target
        latency = self.engine.clock() - self.started
        return Reply(
            text=answer.text,
            finish_reason=answer.finish_reason,
            target=target.name,
            level=self.level,
            complete=complete,
            usage=usage,
            request_id=self.request.id,
            latency=latency,
            first_token=latency if self.first_token is None else self.first_token,
            cost_usd=self.cost(target, usage),
            tool_calls=answer.tool_calls,
            reasoning=answer.reasoning,
            refusal=answer.refusal,
            attempts=tuple(self.attempts),
            reasons=tuple(self.reasons),
            route=self.request.route,
            asked_route=self.request.asked_route or self.request.route,
            rule=self.request.rule,
            raw=answer.raw,
            label=self.label,
            warnings=self.warned(target),
            extras=answer.extras,
            checks=tuple(self.checks),
            prompt_cache=cache_use(self, target, usage),
        )

    def billed(self, reply: Reply) -> Reply:
        """The reply with what the answers cost that checks did not take, whichever rung it is of."""
        if not self.spent:
            return reply
        usage, cost = self._spent()
        whole = None if cost is None or reply.cost_usd is None else cost + reply.cost_usd
        uses = uses_together(*(use for _, _, use in self.spent), reply.prompt_cache)
        return replace(reply, usage=usage + reply.usage, cost_usd=whole, prompt_cache=uses)

    def _spent(self) -> tuple[Usage, float | None]:
        usage = sum((used for _, used, _ in self.spent), Usage())
        known = [cost for cost, _, _ in self.spent if cost is not None]
        return usage, math.fsum(known) if len(known) == len(self.spent) else None

    def enter(self) -> Mapping[str, RouteRecord]:
        """The call begins: the routes it goes by until it settles."""
        self.snapshot = self.engine.supervisor.succession.enter()
        return self.snapshot.routes

    def _leave(self) -> None:
        if self.snapshot is not None:
            self.engine.supervisor.succession.leave(self.snapshot)
            self.snapshot = None

    def succeed(self, reply: Reply) -> Reply:
        """Settle with an answer, whole or partial."""
        self._leave()
        self.flow.step("answer" if reply.complete else "cut")
        self._emit(self.flow.state, reply=reply)
        return reply

    def hit(self, reply: Reply) -> Reply:
        """Settle with an answer from the cache, before anybody was asked."""
        self.level, self.label = reply.level, reply.label
        self.flow.step("hit")
        self._emit(self.flow.state, reply=reply)
        return reply

    def fail(self, exc: BaseException, reply: Reply | None = None) -> None:
        """Settle without one: what the caller gets is this exception.

        Args:
            exc: The error, or what cancelled the call.
            reply: What had come by then, for the books.
        """
        self._leave()
        if isinstance(exc, ProviderRefused | CheckDenied) or isinstance(exc.__cause__, CheckDenied):
            final = "refuse"
        elif isinstance(exc, Exception):
            final = "fail"
        else:
            final = "cancel"
        self.level = Level.ERROR
        if isinstance(exc, ResilioError) and not exc.attempts:
            exc.attempts = tuple(self.attempts)
        self.flow.step(final)
        self._emit(self.flow.state, reply=reply, exc=exc)

    def _bill(self, reply: Reply | None) -> tuple[Usage, float | None]:
        """Tokens and US dollars for the books: what a cached answer used was used when it was given first."""
        if reply is not None and reply.cached is None:
            return reply.usage, reply.cost_usd
        usage, cost = self._spent()
        return usage, cost if reply is not None or self.spent else None

    def _emit(self, final: str, *, reply: Reply | None = None, exc: BaseException | None = None) -> None:
        if not self.engine.listeners:
            return
        now = self.engine.clock()
        usage, cost = self._bill(reply)
        event = CallSettled(
            request_id=self.request.id,
            route=self.request.route,
            identity=self.request.identity,
            final=str(final),
            level=self.level,
            target=reply.target if reply is not None else self.winner.name if self.winner is not None else None,
            attempts=tuple(self.attempts),
            reasons=tuple(self.reasons),
            usage=usage,
            cost_usd=cost,
            latency=now - self.started,
            first_token=self.first_token,
            error=None if exc is None else (str(exc).splitlines() or [type(exc).__name__])[0],
            at=now,
            tags=self.request.identity.tags,
            asked_route=self.request.asked_route or self.request.route,
            rule=self.request.rule,
            cached=reply.cached if reply is not None else None,
            at_unix=self.engine.wall(),
            checks=tuple(self.checks),
            prompt_cache=reply.prompt_cache if reply is not None and reply.cached is None else None,
        )
        self.engine.emit(event)


class Window(NamedTuple):
    """How long one phase of an attempt may take: the clock's name, its seconds, the instant it fires."""

    clock: str
    seconds: float
    until: float
    shortened: bool
    """The caller's deadline, not the setting, decided: then its firing may say nothing about the provider."""


class Plan:
    """A call's way through one route."""

    __slots__ = (
        "_no_prefill",
        "_pinned",
        "_rested",
        "call",
        "carried",
        "demand",
        "hold",
        "input_tokens",
        "last",
        "left",
        "max_output_tokens",
        "needs",
        "order",
        "reasons",
        "retried",
        "retry",
        "route",
        "size",
        "tried",
        "used",
    )  # fmt: skip

    def __init__(
        self, call: Call, route: RouteRecord, able: list[RouteTarget], size: PromptSize, reasons: list[str]
    ) -> None:
        self.call = call
        self.route = route
        self.retry = route.settings.retry
        self.left = able
        self.used = 0
        """Attempts begun in this route; an immediate replay is not one."""
        self.tried: dict[str, RouteTarget] = {}
        self.retried: set[str] = set()
        self.reasons = reasons
        """Why targets were not asked, and what ended those that were, one line each."""
        self.last: ResilioError | None = None
        self._pinned: RouteTarget | None = None
        self._no_prefill: set[str] = set()
        self._rested: dict[str, tuple[RouteTarget, float]] = {}
        self.size = size
        self.input_tokens = able[0].record.tokens.estimate(size)
        """What to expect of the prompt, as the first target counts."""
        self.carried = ""
        """The text that was handed out already, which a target is given on top to go on with."""
        self.needs: dict[str, Need] = {}
        """What an attempt can use at most, by target, once somebody asked."""
        embeds = call.request.inputs is not None
        self.max_output_tokens = 0 if embeds else asked_limit(call.request) or route.settings.max_output_tokens
        self.demand = Demand(self.input_tokens, self._expected_output())
        self.hold: Hold | None = None
        """Who held its conversation in a prompt cache when it began."""
        self.order = order_of(self)
        """Decided once: asked again for every attempt, a strategy that counts would count retries as calls."""

    def follow(self, before: Plan) -> None:
        """Go on where another plan of this call ended whose answer was not taken: with the attempts it has left."""
        self.used, self.tried, self.retried = before.used, before.tried, before.retried
        self.reasons += before.reasons
        self.left = [target for target in self.left if target in before.left]
        self._rested = before._rested

    def _expected_output(self) -> int:
        learned = self.route.output_lengths.p95
        limit = self.max_output_tokens
        if learned is None:
            return limit if limit is not None else UNKNOWN_OUTPUT
        return int(learned) if limit is None else min(int(learned), limit)

    def most_input_tokens(self, target: RouteTarget, prefill: str = "") -> int:
        """The cautious estimate of the prompt on one target, with what is prefilled: what a hard limit reserves."""
        size = self.size
        if prefill:
            size = size._replace(text_bytes=size.text_bytes + len(prefill.encode("utf-8", "replace")))
        return target.record.tokens.at_most(size)

    def need(self, target: RouteTarget) -> Need:
        """The most an attempt on this target can use: what budgets reserve. The same for all attempts of the plan."""
        need = self.needs.get(target.name)
        if need is None:
            need = self.needs[target.name] = need_of(self.call, self, target)
        return need

    def carry(self, text: str) -> None:
        """Targets from now on go on with this text, which makes their prompts longer."""
        self.carried = text
        self.needs.clear()

    # --- what is left ------------------------------------------------------------------------

    @property
    def attempts_left(self) -> bool:
        return self.used < self.retry.max_attempts

    def candidates(self) -> Sequence[RouteTarget]:
        """The targets the next attempt may go to; empty when nothing is left."""
        if not self.attempts_left:
            return ()
        if self._pinned is not None:
            return (self._pinned,)
        if len(self.tried) >= self.retry.max_targets:
            return [target for target in self.left if target.name in self.tried]
        return self.left

    def began(self, target: RouteTarget) -> None:
        """An attempt on this target begins."""
        self.used += 1
        self._pinned = None
        if target.name not in self.tried:
            self.tried[target.name] = target
            for warning in self.call.warned(target):
                logger.warning("%s", warning)
            target.provider.retry_budget.record_call(self.call.engine.clock())

    def unbegin(self) -> None:
        """An attempt that only found out about a key costs the call none of its own."""
        self.used -= 1

    def others(self, target: RouteTarget) -> int:
        """How many more targets may still be asked after this one, here and on rungs below."""
        more = min(len(self.left) - 1, self.retry.max_attempts - self.used, self.retry.max_targets - len(self.tried))
        return max(0, more) + self.call.later_targets

    def may_retry(self, target: RouteTarget) -> bool:
        return self.attempts_left and target.name not in self.retried

    def pin(self, target: RouteTarget) -> None:
        """The next attempt goes to this target again, once."""
        self.retried.add(target.name)
        self._pinned = target

    def note(self, exc: ResilioError) -> None:
        self.last = exc

    def drop(self, target: RouteTarget, exc: ResilioError) -> None:
        """This target is not asked again for this call, nor is any that is known to be no better."""
        self.last = exc
        self.left = [other for other in self.left if other is not target]
        if isinstance(exc, ProviderError) and exc.error_class is ErrorClass.TOO_LONG:
            window = target.model.context_window
            self.left = [
                other
                for other in self.left
                if window is None or other.model.context_window is None or other.model.context_window > window
            ]

    def payable(self) -> list[RouteTarget]:
        """The targets an attempt may still go to, those that rest among them."""
        if not self.attempts_left:
            return []
        return [*self.left, *(target for target, _ in self._rested.values())]

    def unaffordable(self, target: RouteTarget, exc: BudgetExceeded) -> None:
        """A budget has no room for what this target may cost; a cheaper one may fit."""
        self.last = exc
        self.reasons.append(f"{target.name}: {exc}")
        self.left = [other for other in self.left if other is not target]
        self._rested.pop(target.name, None)
        if self._pinned is target:
            self._pinned = None

    def rest(self, target: RouteTarget, exc: ProviderError | TransportError, now: float) -> None:
        """A throttled target steps aside until its hint; asked again only when nothing else is left."""
        self.drop(target, exc)
        usable = [limiter.wait(now, self.demand) for key, limiter in target.record.keys if key.aside is None]
        wait = min(usable, default=math.inf)
        self._rested[target.name] = (target, now + wait)

    def soonest_rested(self) -> tuple[RouteTarget | None, float]:
        """The throttled target that may be asked first, and the instant from which it may."""
        return min(self._rested.values(), key=lambda each: each[1], default=(None, 0.0))

    def restore(self, target: RouteTarget) -> None:
        """A rested target may be asked again."""
        del self._rested[target.name]
        self.left = [target]

    def refused(self, refused: NoLease) -> None:
        """No candidate admits the request: none of them is asked again."""
        candidates = self.candidates()
        asked = {refusal.target for refusal in refused.refusals}
        self._pinned = None
        self.left = [target for target in self.left if target not in candidates]
        errors = refused.errors()
        self.reasons += [str(error) for error in errors]
        self.reasons += [f"{each.name}: left out by the strategy" for each in candidates if each.name not in asked]
        if errors:
            self.last = min(errors, key=lambda error: math.inf if error.retry_after is None else error.retry_after)

    # --- going on, and asking two ------------------------------------------------------------------

    def way_on(self, target: RouteTarget) -> str:
        """How this target can go on where a stream broke off."""
        can = Capability.PREFILL in target.model.capabilities and target.name not in self._no_prefill
        return "prefill" if can else "restart"

    def without_prefill(self, target: RouteTarget, exc: ResilioError) -> None:
        """It would not continue a message of the assistant's after all: it may answer anew instead.

        Another that continues one goes first: two models hardly ever begin with the very same text.
        """
        self.last = exc
        self._no_prefill.add(target.name)
        if self.attempts_left and len(self.tried) < self.retry.max_targets:
            others = [other for other in self.left if other is not target and self.way_on(other) == "prefill"]
            self._pinned = next((other for other in self.order if other in others), target)
        else:
            self._pinned = target

    def hedge_after(self, target: RouteTarget, *, streamed: bool) -> float | None:
        """Seconds of silence after which a second target is asked too; None: not for this attempt."""
        setting = self.route.settings.hedge
        if setting is None or not any(other is not target for other in self.candidates()):
            return None
        if setting == "p95":
            return (target.record.first_tokens if streamed else target.record.latencies).p95
        return setting

    # --- time --------------------------------------------------------------------------------

    def useful_until(self, now: float) -> float:
        """The latest instant at which a lease is worth having: what is left after it can hold an answer."""
        usual = min((its for each in self.left if (its := each.record.latencies.median) is not None), default=0.0)
        return self.call.until - min(usual, (self.call.until - now) / 2)

    def headers_window(self, now: float, inside: Window) -> Window:
        setting = self.route.settings.clocks.headers
        if setting is None or now + setting >= inside.until:
            return inside
        return Window("headers", setting, now + setting, shortened=False)

    def connect_window(self, now: float, inside: Window) -> Window:
        setting = self.route.settings.clocks.connect
        until = min(now + setting, inside.until)
        # Cut short by another setting it is as good as one set so: only the deadline takes a clock's word.
        return Window("connect", until - now, until, until < now + setting and inside.shortened)

    def answer_window(self, now: float, target: RouteTarget) -> Window:
        """For a unary attempt: the time left less a reserve for the next target.

        The reserve is that target's 95th percentile of latency (half of all answers would not come within the
        median), or a third of the time where it has no history; never more than half, or a slow spare would
        starve the first choice.
        """
        left = self.call.until - now
        share = left
        if self.others(target):
            usual = next(
                (its for each in self.left if each is not target and (its := each.record.latencies.p95)),
                left / 3,
            )
            share = left - min(usual, left / 2)
        return _window("total", self.route.settings.clocks.total, share, now)

    def first_token_window(self, now: float, target: RouteTarget) -> Window:
        """For a streamed attempt: the setting, or an equal share of the time left for each target left."""
        share = (self.call.until - now) / (1 + self.others(target))
        return _window("first_token", self.first_token_setting(target), share, now)

    def first_token_setting(self, target: RouteTarget) -> float:
        setting = target.settings.first_token or target.model.first_token
        if setting is None:
            setting = REASONING_FIRST_TOKEN if target.model.reasoning else self.route.settings.clocks.first_token
        return setting

    # --- how it ends -------------------------------------------------------------------------

    def deadline_exceeded(self) -> DeadlineExceeded:
        error = DeadlineExceeded(self.call.deadline, self.call.attempts, self.reasons)
        error.__cause__, self.last = self.last, None
        return error

    def exhausted(self) -> ResilioError:
        """The error when nothing is left; the refusal itself when there was only one and nothing was sent."""
        last = self.last
        self.last = None  # an error knows by its traceback the plan that knows it
        if not self.call.attempts and len(self.reasons) == 1 and isinstance(last, RequestRejected):
            return last
        hints = [retry for retry in (self._rested_in(), getattr(last, "retry_after", None)) if retry is not None]
        error = Exhausted(self.route.settings.name, self.call.attempts, self.reasons, min(hints, default=None))
        error.__cause__ = last
        return error

    def _rested_in(self) -> float | None:
        target, until = self.soonest_rested()
        return None if target is None else max(0.0, until - self.call.engine.clock())


def _window(clock: str, setting: float, share: float, now: float) -> Window:
    seconds = min(setting, share)
    return Window(clock, seconds, now + seconds, share < setting)


def asked_limit(request: Request) -> int | None:
    """The caller's own limit on the answer, in tokens."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = request.wire.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None
