"""One request's whole path, top to bottom: read this file first.

    received -> (ladder: rung by rung) -> targets that can serve it -> lease -> one HTTP attempt under
    its clocks -> settle -> answer, or the next step its error's class allows -> settled

`Dispatcher.complete` and `Dispatcher.open_stream` differ only in what one attempt is: a whole answer
(`attempt.ask`) or a stream up to its first content (`attempt.open_stream`). Everything that decides
where a request goes next stands here; how bytes travel stands in `attempt.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from resilio import ladder
from resilio.actor import Lease
from resilio.dispatch.attempt import Attempt, Engine
from resilio.dispatch.call import Call, Plan
from resilio.dispatch.stream import Stream
from resilio.errors import ERROR_RULES, BudgetExceeded, ProviderError, Then, TransportError, Unsupported
from resilio.models import Reply
from resilio.retry import backoff
from resilio.supervisor import NoLease, RouteRecord, RouteTarget

__all__ = ["Dispatcher", "Engine", "Stream"]

T = TypeVar("T")
Try = Callable[[Attempt], Awaitable[T]]
"""One attempt: sends one request on a lease, settles it, and returns what it got."""


class Dispatcher:
    """Drives calls through the engine. Stateless itself: one for all concurrent calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def complete(self, call: Call) -> Reply:
        """One whole answer, or the precise error that ends the call."""
        try:
            reply = await self._descend(call, Attempt.ask)
        except BaseException as exc:
            call.fail(exc)
            raise
        return call.succeed(reply)

    async def open_stream(self, call: Call) -> Stream:
        """A stream that has its first content; whatever failed before it left no trace but its attempts."""
        try:
            return await self._descend(call, Attempt.open_stream)
        except BaseException as exc:
            call.fail(exc)
            raise

    # --- rungs -------------------------------------------------------------------------------

    async def _descend(self, call: Call, attempt: Try[T]) -> T:
        """Rung by rung, from the full answer down."""
        route = self._engine.supervisor.routes[call.request.route]
        call.flow.step("miss")
        call.flow.step("reserve")

        async def try_route(name: str) -> T:
            return await self._try_route(call, self._engine.supervisor.routes[name], attempt)

        return await ladder.descend(route.settings, try_route, call)

    # --- one route: lease, attempt, and what an error allows next --------------------------------

    async def _try_route(self, call: Call, route: RouteRecord, attempt: Try[T]) -> T:
        plan = self._plan(call, route)
        while True:
            target, lease = await self._lease(call, plan)
            plan.began(target)
            try:
                return await attempt(Attempt(self._engine, call, plan, target, lease))
            except BudgetExceeded as exc:  # this target may cost more than is left; a cheaper one may not
                plan.unsent(target, exc)
            except (ProviderError, TransportError) as exc:
                await self._after(call, plan, target, exc)

    def _plan(self, call: Call, route: RouteRecord) -> Plan:
        """The targets that can serve the request at all, and what to reserve for it.

        Raises:
            Unsupported: None can; nothing was sent.
        """
        first = route.targets[0].codec
        needs = first.needs(call.request)
        input_tokens = first.estimate_tokens(call.request)
        able: list[RouteTarget] = []
        lacking: dict[str, str] = {}
        for target in route.targets:
            if (lack := target.lacks(needs, input_tokens)) is None:
                able.append(target)
            else:
                lacking[target.name] = lack
        if not able:
            raise Unsupported(route.settings.name, lacking)
        return Plan(call, route, able, input_tokens, [f"{name}: {what}" for name, what in lacking.items()])

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
                        plan.route, plan.demand, among=candidates, priority=call.priority
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

    async def _after(self, call: Call, plan: Plan, target: RouteTarget, exc: ProviderError | TransportError) -> None:
        """Decide what the class of an error allows; returns to try on, raises to stop."""
        engine = self._engine
        now = engine.clock()
        match ERROR_RULES[exc.error_class].then:
            case Then.STOP:
                exc.attempts = tuple(call.attempts)
                raise exc
            case Then.RETRY_ONCE if plan.may_retry(target):
                pause = backoff(plan.retry, len(plan.retried), engine.rng)
                if now + pause < call.until and target.provider.retry_budget.take(now):
                    plan.pin(target)
                    call.waiting()
                    await asyncio.sleep(pause)
                    return
                plan.drop(target, exc)
            case Then.REST | Then.NEXT_KEY if target.provider.actor.has_spare_key(now, target.record, plan.demand):
                plan.note(exc)  # another key of the same target is fit: it stays where it is in the order
            case Then.REST:
                plan.rest(target, exc, now)
            case _:
                plan.drop(target, exc)
