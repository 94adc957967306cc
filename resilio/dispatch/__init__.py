"""One request's whole path, top to bottom: read this file first.

    received -> (ladder: rung by rung) -> targets that can serve it -> what it may spend -> lease -> one HTTP
    attempt under its clocks -> settle -> answer, or the next step its error's class allows -> settled

`Dispatcher.complete`, `Dispatcher.open_stream` and `Dispatcher.embed` differ only in what one attempt is: a whole
answer, an upstream stream up to its first content (a `Leg`), or vectors for a batch of texts. Everything that
decides where a request goes next stands here; how bytes travel stands in `attempt.py` and `leg.py`, two attempts
side by side in `hedge.py`, how texts are batched in `embedding.py`, what a route checks in `checked.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

from resilio import ladder
from resilio.actor import Lease, Outcome
from resilio.budget import Unit
from resilio.config import RungSettings
from resilio.dispatch.attempt import Attempt, Embedded, Engine
from resilio.dispatch.cached import Cached, RecordedStream, Slot
from resilio.dispatch.call import Call, Plan
from resilio.dispatch.checked import Checked
from resilio.dispatch.embedding import EMBEDS, embed_all, embedding_targets, longest_of, one_space
from resilio.dispatch.guard import Guard
from resilio.dispatch.hedge import Failure, Try, once, race
from resilio.dispatch.leg import Leg, forget_frames
from resilio.dispatch.money import widest
from resilio.dispatch.service import ServiceLevels
from resilio.dispatch.static import Statics
from resilio.dispatch.stream import Stream
from resilio.errors import (
    ERROR_RULES,
    BudgetExceeded,
    ErrorClass,
    LedgerUnavailable,
    ProviderError,
    Then,
    TransportError,
    UnknownRoute,
    Unsupported,
)
from resilio.models import EmbeddingReply, Reply
from resilio.retry import backoff
from resilio.spending import Reservation
from resilio.statemachines.request import RequestState
from resilio.supervisor import NoLease, RouteRecord, RouteTarget
from resilio.tokens import prompt_size

__all__ = ["Dispatcher", "Engine", "Stream"]

T = TypeVar("T")

CHARACTERS_PER_TOKEN: Final = 4
"""The usual estimate for English; what is held back is a matter of taste, not of money."""


class Dispatcher:
    """Drives calls through the engine. Stateless itself: one for all concurrent calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.cached = Cached(engine)
        self.checked = Checked(engine)
        self._statics = Statics(engine)
        self.levels = ServiceLevels(engine)

    async def aclose(self) -> None:
        """The client closes: let go of caches and embedders."""
        try:
            await self.cached.aclose()
        finally:
            await self._statics.aclose()

    async def complete(self, call: Call) -> Reply:
        """One whole answer, a partial one that says so, or the precise error that ends the call."""
        await self.checked.before(call)
        slot = await self._slot(call, stream=False)
        return await (self._complete(call) if slot is None else self.cached.complete(call, slot, self._complete))

    async def open_stream(self, call: Call) -> Stream:
        """A stream that has its first content; whatever failed before it left no trace but its attempts."""
        await self.checked.before(call)
        slot = await self._slot(call, stream=True)
        return await (self._open(call) if slot is None else self.cached.open_stream(call, slot, self._open))

    async def embed(self, call: Call) -> EmbeddingReply:
        """A vector for each text of the request, in batches that its targets take, or the precise error."""
        return await embed_all(call, self._embed)

    async def _embed(self, call: Call) -> Embedded:
        """One batch. There is no ladder below it: no cache and no simpler model has vectors of this space."""
        try:
            route = call.enter().get(call.request.route)
            if route is None:  # a reload has taken it away since the batch before
                raise UnknownRoute(call.request.route, ())
            call.flow.step("miss")
            call.flow.step("reserve")
            got = await self._run(call, self._plan(call, route), Attempt.embed, hold_back=0)
        except BaseException as exc:
            call.fail(exc)
            raise
        call.succeed(got.reply)
        return got

    async def _slot(self, call: Call, *, stream: bool) -> Slot | None:
        """Where the call may look before anybody is asked; None: nowhere."""
        route = self._engine.supervisor.routes.get(call.request.route)
        if route is not None and route.settings.descent is not None:
            try:
                call.serving = await self.levels.of(call, route.settings)
            except BaseException as exc:  # cancelled while the ledger was asked
                call.fail(exc)
                raise
            if call.serving is not None and not call.serving.allows("cache"):
                return None
        return self.cached.slot(call, stream=stream)

    async def _complete(self, call: Call) -> Reply:
        try:
            reply = await self._descend(call, self._answer, self.cached.last_reply, self._statics.reply)
        except BaseException as exc:
            call.fail(exc)
            raise
        return call.succeed(call.billed(reply))

    async def _open(self, call: Call, slot: Slot | None = None) -> Stream:
        try:
            leg = await self._descend(call, self._first_leg, self.cached.last_stream, self._statics.stream)
        except BaseException as exc:
            call.fail(exc)
            raise
        if isinstance(leg, Stream):
            if slot is not None:
                slot.leave(failed=True)
            return leg
        call.first_token = self._engine.clock() - call.started
        call.flow.step("content")
        checks = self.checked.of(call)
        guard = None if checks is None else Guard(self.checked, call, checks)
        if slot is None:
            return Stream(call, leg, self._go_on, guard)
        return RecordedStream(call, leg, self._go_on, guard, slot)

    # --- rungs -------------------------------------------------------------------------------

    async def _descend(
        self,
        call: Call,
        ask: Callable[[Call, RouteRecord], Awaitable[T]],
        cached: Callable[[Call], Awaitable[T]],
        static: Callable[[Call, RungSettings], Awaitable[T]],
    ) -> T:
        """Rung by rung, from the full answer down."""
        routes = call.enter()
        route = routes.get(call.request.route)
        if route is None:  # a stream entered only now, after a reload has taken its route away
            raise UnknownRoute(call.request.route, routes)
        call.flow.step("miss")
        call.flow.step("reserve")

        async def try_route(name: str) -> T:
            if call.unfit is not None and name == route.settings.name:
                unfit, call.unfit = call.unfit, None
                try:
                    raise unfit
                finally:
                    del unfit
            return await ask(call, routes[name])

        ways = ladder.Ways(try_route, lambda: cached(call), lambda rung: static(call, rung))
        return await ladder.descend(route.settings, ways, call)

    # --- one route: what is asked of it ----------------------------------------------------------

    async def _answer(self, call: Call, route: RouteRecord) -> Reply:
        """A whole answer that the checks of the call's route let pass."""
        plan, checks = self._plan(call, route), self.checked.of(call)
        if checks is None:
            return await self._whole(plan)
        return await self.checked.answer(call, checks, plan, self._whole, lambda: self._plan(call, route))

    async def _whole(self, plan: Plan) -> Reply:
        """A whole answer; a stream it is collected from is kept back until its end, so it can start over anywhere."""
        call = plan.call
        begin: Try[Reply | Leg] = Attempt.ask if plan.route.settings.upstream_stream == "as_asked" else Attempt.whole
        got = await self._run(call, plan, begin, hold_back=math.inf)
        if isinstance(got, Reply):
            # A hedge that lost ended after this reply was made.
            return got if len(got.attempts) == len(call.attempts) else replace(got, attempts=tuple(call.attempts))
        call.first_token = got.first_token_at - call.started
        if got.broken is None:
            answer, usage = got.finish()
            return call.reply(answer, got.attempt.target, complete=True, usage=usage)
        answer = got.answer()  # the total clock fired or its budget has nothing left: what there is, marked
        reply = call.reply(answer, got.attempt.target, complete=False, usage=got.usage(answer))
        return replace(reply, broken=got.broken.error_class.value)

    async def _first_leg(self, call: Call, route: RouteRecord) -> Leg | Stream:
        return await self._run(
            call, self._plan(call, route), Attempt.open_leg, hold_back=route.settings.hold_back_tokens
        )

    async def _go_on(self, leg: Leg, exc: ProviderError | TransportError, before: str) -> Leg:
        """Another target's leg that goes on where this one broke off; see `Stream`."""
        call, plan = leg.attempt.call, leg.attempt.plan
        if call.flow.state is RequestState.STREAMING:
            call.flow.step("resume")
        plan.drop(leg.attempt.target, exc)
        plan.carry(before)
        call.later_targets = 0  # no rung further down goes on with a stream, so no time is kept for one
        following = await self._run(call, plan, lambda attempt: attempt.open_leg(before), hold_back=0)
        call.flow.step("content")
        return following

    # --- lease, attempt, and what an error allows next -----------------------------------------------

    async def _run(self, call: Call, plan: Plan, begin: Try[T], *, hold_back: float) -> T:
        """Attempt after attempt until one succeeds, or nothing is left."""
        while True:
            attempt = await self._begin(call, plan)
            hedged = plan.route.settings.hedge is not None
            got = await (race(attempt, begin, self._hedge) if hedged else once(attempt, begin))
            if isinstance(got, Leg) and hold_back:
                attempt = got.attempt
                got = await self._hold_back(got, hold_back)
            if not isinstance(got, Failure):
                plan.last = None  # an error knows by its traceback the plan that knows it
                return got
            try:
                await self._failed(call, plan, got)
            finally:
                del got  # an error raised from here would keep itself alive by this frame

    async def _begin(self, call: Call, plan: Plan) -> Attempt:
        """Budgets first, then capacity: who waits for a provider holds what it may spend, not the other way round."""
        held = await self._reserve(call, plan)
        try:
            target, lease = await self._lease(call, plan)
        except BaseException:
            if held is not None:
                held.release()
            raise
        if held is not None and len(plan.needs) > 1:
            held.narrow(plan.need(target))
        plan.began(target)
        return Attempt(self._engine, call, plan, target, lease, held)

    async def _reserve(self, call: Call, plan: Plan) -> Reservation | None:
        """Set aside the most an attempt on any of the targets left can use; those too dear are left out.

        Returns:
            None: no budget and no cap applies, or there is nothing to ask.

        Raises:
            BudgetExceeded: No target fits, and nothing else was wrong with any.
            Exhausted: Likewise, but something was.
            LedgerUnavailable: Nothing may be spent.
            DeadlineExceeded: The ledger did not answer in time.
        """
        spending = self._engine.spending
        holdings = spending.touched(call.request.identity) if spending.budgets else ()
        if not (holdings or call.caps):
            return None
        others = bool(plan.reasons)
        targets = plan.payable()
        while targets:
            needs = [plan.need(target) for target in targets]
            most = needs[0] if len(needs) == 1 else widest(needs)
            try:
                return await spending.reserve(call.request.id, holdings, call.caps, most, call.until)
            except TimeoutError:
                raise plan.deadline_exceeded() from None
            except BudgetExceeded as exc:
                unit: Unit = "tokens" if exc.unit == "tokens" else "usd"
                for target, need in zip(targets, needs, strict=True):
                    if need.of(unit) == most.of(unit):
                        plan.unaffordable(target, exc)
                targets = plan.payable()
                if not targets:
                    if call.attempts or others:
                        raise plan.exhausted() from exc
                    raise
        return None

    async def _hold_back(self, leg: Leg, tokens: float) -> Any:
        """Read on until so many tokens are in hand: until then a break costs nothing but time."""
        try:
            while leg.held < tokens * CHARACTERS_PER_TOKEN and await leg.read():
                pass
        except (ProviderError, TransportError) as exc:
            forget_frames(exc)
            if exc.error_class not in (ErrorClass.TOTAL, ErrorClass.BUDGET):
                return Failure(leg.attempt, exc)
        except BaseException as exc:  # the caller is gone, or a bug of ours: nobody else knows of this leg
            leg.abort(exc)
            raise
        return leg

    def _hedge(self, first: Attempt) -> Attempt | None:
        """A second attempt beside one that is silent, where budgets and targets allow one."""
        call, plan, now = first.call, first.plan, self._engine.clock()
        others = [target for target in plan.candidates() if target is not first.target]
        if not others or now >= call.until:
            return None
        hedges = plan.route.hedge_budget
        if not hedges.take(now):
            return None
        try:
            target, lease = self._engine.supervisor.acquire_nowait(
                plan.order, plan.demand, among=others, priority=call.priority, insist=False
            )
        except NoLease:
            hedges.give_back()
            return None
        held = self._reserve_hedge(plan, target)
        if held is False or not target.provider.retry_budget.take(now):
            hedges.give_back()
            lease.settle(now, Outcome.REJECTED)
            if held:
                held.release()
            return None
        plan.began(target)
        return Attempt(self._engine, call, plan, target, lease, held or None)

    def _reserve_hedge(self, plan: Plan, target: RouteTarget) -> Reservation | Literal[False] | None:
        """As `_reserve`, for one target and without waiting: False where that does not do, as a hedge is a luxury."""
        call, spending = plan.call, self._engine.spending
        holdings = spending.touched(call.request.identity) if spending.budgets else ()
        if not (holdings or call.caps):
            return None
        try:
            got = spending.reserve_nowait(call.request.id, holdings, call.caps, plan.need(target))
        except (BudgetExceeded, LedgerUnavailable):
            return False
        return got if isinstance(got, Reservation) else False

    def _plan(self, call: Call, route: RouteRecord) -> Plan:
        """The targets that can serve the request at all, and what to reserve for it.

        Raises:
            Unsupported: None can; nothing was sent.
        """
        inputs = call.request.inputs
        size = longest = prompt_size(call.request)
        if inputs is None:
            needs = route.targets[0].codec.needs(call.request)
        else:  # a context window has to hold each text, not all of them
            needs, longest = EMBEDS, longest_of(inputs)
        able: list[RouteTarget] = []
        lacking: dict[str, str] = {}
        for target in route.targets:
            lack = target.lacks(needs, longest)
            if lack is None and inputs is None:
                lack = call.cannot_honour(target, route.settings)
            if lack is None:
                able.append(target)
            else:
                lacking[target.name] = lack
        if not able:
            raise Unsupported(route.settings.name, lacking)
        if inputs is not None:  # also of those whose window is too small today: tomorrow's texts are shorter
            one_space(route, embedding_targets(route))
        return Plan(call, route, able, size, [f"{name}: {what}" for name, what in lacking.items()])

    async def _lease(self, call: Call, plan: Plan) -> tuple[RouteTarget, Lease]:
        """Capacity on the best target that may still be tried.

        Raises:
            DeadlineExceeded: There is no time for another attempt.
            Exhausted: There is nothing left to ask, or no attempt left to ask with.
            RequestRejected: The only target refused, and nothing was ever sent.
        """
        engine = self._engine
        while True:
            now = engine.clock()
            if now >= call.until:
                raise plan.deadline_exceeded()
            candidates = plan.candidates()
            if not candidates:
                if await self._wait_for_rested(call, plan):
                    continue
                raise plan.exhausted()
            try:
                try:
                    got = engine.supervisor.acquire_nowait(
                        plan.order, plan.demand, among=candidates, priority=call.priority
                    )
                except NoLease as refused:
                    call.waiting()
                    got = await engine.supervisor.wait_for_lease(
                        refused,
                        plan.demand,
                        among=candidates,
                        until=plan.useful_until(now),
                        priority=call.priority,
                    )
            except NoLease as refused:
                plan.refused(refused)
                continue
            call.flow.step("attempt")
            return got

    async def _wait_for_rested(self, call: Call, plan: Plan) -> bool:
        """Nothing else is left: a throttled target may be asked again if its hint is short."""
        engine = self._engine
        now = engine.clock()
        target, until = plan.soonest_rested()
        if target is None or until - now >= plan.retry.same_target_wait or until >= call.until:
            return False
        if not plan.attempts_left or not target.provider.retry_budget.take(now):
            return False
        call.waiting()
        await asyncio.sleep(until - now)
        plan.restore(target)
        return True

    async def _failed(self, call: Call, plan: Plan, failure: Failure) -> None:
        """Decide what the class of an error allows; returns to try on, raises to stop."""
        engine, target, exc = self._engine, failure.attempt.target, failure.error
        if failure.prefill_refused:
            plan.without_prefill(target, exc)
            return
        now, actor = engine.clock(), target.provider.actor
        rule = ERROR_RULES[exc.error_class].then
        if rule is Then.NEXT_KEY:  # which is set aside now, so no call can meet it again and again
            plan.unbegin()
        match rule:
            case Then.STOP:
                exc.attempts = tuple(call.attempts)
                try:
                    raise exc
                finally:
                    del exc, failure
            case Then.RETRY_ONCE if plan.may_retry(target):
                pause = backoff(plan.retry, len(plan.retried), engine.rng)
                if now + pause < call.until and target.provider.retry_budget.take(now):
                    plan.pin(target)
                    call.waiting()
                    await asyncio.sleep(pause)
                    return
                plan.drop(target, exc)
            case Then.REST | Then.NEXT_KEY if actor.has_spare_key(now, target.record, plan.demand):
                plan.note(exc)  # another key of the same target is fit: it stays where it is in the order
            case Then.NEXT_KEY if actor.renewing:
                plan.note(exc)  # its key may have another secret in a moment; who has no other target waits for that
            case Then.REST:
                plan.rest(target, exc, now)
            case _:
                plan.drop(target, exc)
