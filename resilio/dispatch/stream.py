"""A stream in the caller's hands: chunks in order, from one leg after another, never a silent half answer.

It ends in one of four ways: complete (a finish reason was seen), partial (marked so, where the route says
``on_break = "partial"`` or ``"continue"`` and nothing was left to go on with), broken (`StreamBroken`, with the text so
far; also where a check of the route denies the rest) or left early by the caller. No scope is open while the caller's
code runs, and no clock counts its time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from resilio.dispatch.leg import Leg, forget_frames
from resilio.dispatch.prompt_cache import cache_use
from resilio.errors import (
    ERROR_RULES,
    CheckDenied,
    DeadlineExceeded,
    ErrorClass,
    ProviderError,
    ResilioError,
    StreamBroken,
    Then,
    TransportError,
)
from resilio.models import Answer, Chunk, PromptCacheUse, Reply, Seam, Usage, uses_together

if TYPE_CHECKING:
    from resilio.dispatch.call import Call
    from resilio.dispatch.guard import Guard

__all__ = ["Stream"]

GoOn = Callable[["Leg", "ProviderError | TransportError", str], Awaitable["Leg"]]
"""From a leg that broke, its error and the text handed out: a leg of another target that goes on from there."""


class Stream:
    """An open stream: iterate over its chunks; `reply` is there once it is over."""

    def __init__(self, call: Call, leg: Leg, go_on: GoOn, guard: Guard | None = None) -> None:
        self._call = call
        self._leg = leg
        self._go_on = go_on
        self._guard = guard
        """Stands between the leg and the caller where the route has checks of answers."""
        self._finished: tuple[Answer, Usage] | None = None
        """What the leg held, once it was settled for checks to look at."""
        self._parts: list[str] = []
        """Text handed out, whichever leg it came from."""
        self._thoughts: list[str] = []
        """Likewise, of its reasoning."""
        self._others: list[Chunk] = []
        """Chunks handed out with anything but text and reasoning of the first choice."""
        self._seams: list[Seam] = []
        self._spent: list[tuple[float | None, Usage, PromptCacheUse | None]] = []
        """Cost and usage of legs that broke after their first content, and what prompt caches did for them."""
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """The whole story: complete or not, text, usage, attempts, seams.

        Raises:
            RuntimeError: The stream is not over yet.
        """
        if self._reply is None:
            raise RuntimeError("stream.reply is there once the stream is over; iterate to its end first")
        return self._reply

    @property
    def request_id(self) -> str:
        """The call's own, from the beginning: as in its `reply`, its events and the request log."""
        return self._call.request.id

    @property
    def target(self) -> str:
        """The target that answers now."""
        return self._leg.attempt.target.name

    # --- iteration -----------------------------------------------------------------------------

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Chunk:
        while not (ready := self._ready()):
            if self._reply is not None:
                raise StopAsyncIteration
            try:
                if await self._leg.read():
                    continue
            except (ProviderError, TransportError) as exc:
                if await self._mend(exc):
                    continue
                raise StopAsyncIteration from None
            if not self._leg.ready:
                await self._finish()
        chunk = ready.popleft()
        if chunk.tool_calls or chunk.refusal or chunk.index:
            self._others.append(chunk)
        if chunk.index == 0:
            if chunk.text:
                self._parts.append(chunk.text)
            if chunk.reasoning:
                self._thoughts.append(chunk.reasoning)
        return chunk

    def _ready(self) -> deque[Chunk]:
        """What may be handed out now."""
        guard = self._guard
        if guard is None:
            return self._leg.ready
        try:
            guard.take(self._leg.ready)
        except CheckDenied as denied:
            raise self._denied(denied) from denied
        return guard.ready

    async def _finish(self) -> None:
        """The answer is whole: it is complete once checks have let its end pass and all of it is handed out.

        Raises:
            StreamBroken: They did not.
        """
        guard = self._guard
        if guard is not None and not guard.ended:
            if self._finished is None:
                self._finished = self._leg.finish()
            await self._pass(guard, *self._finished, complete=True, broken=None)
        else:
            self._complete()

    async def _pass(self, guard: Guard, answer: Answer, usage: Usage, *, complete: bool, broken: str | None) -> None:
        try:
            if complete:
                guard.flush()
            await guard.end(self._story(answer, usage, complete=complete, broken=broken))
        except (CheckDenied, DeadlineExceeded) as denied:
            raise self._denied(denied) from denied

    def _denied(self, denied: CheckDenied | DeadlineExceeded) -> StreamBroken:
        """A check did not let the rest pass, or not in time: settle what was used, and end it."""
        leg = self._leg
        if leg.complete:
            self._finished = self._finished or leg.finish()
        else:
            leg.abort(denied)
        leg.ready.clear()
        if self._guard is not None:
            self._guard.ready.clear()
        self._settle(complete=False, broken="denied" if isinstance(denied, CheckDenied) else "deadline")
        return self._broken(denied)

    async def _mend(self, exc: ProviderError | TransportError) -> bool:
        """What follows a break: True to go on with another leg; False to end, marked as partial.

        Raises:
            StreamBroken: The route says so, or there is nothing left to go on with.
        """
        leg = self._leg
        forget_frames(exc)
        policy = leg.attempt.plan.route.settings.on_break
        in_time = exc.error_class is not ErrorClass.TOTAL
        if policy == "continue" and in_time and self._may_go_on(exc):
            before = "".join(self._parts if self._guard is None else self._guard.originals)
            usage = leg.usage(leg.answer())
            use = cache_use(self._call, leg.attempt.target, usage)
            try:
                self._leg = await self._go_on(leg, exc, before)
            except ResilioError as nothing_left:
                exc.add_note(f"nobody could go on: {str(nothing_left).splitlines()[0]}")
            else:
                self._spent.append((self._call.cost(leg.attempt.target, usage), usage, use))
                self._seams.append(
                    Seam(
                        len(before), leg.attempt.target.name, self.target, self._leg.attempt.how, exc.error_class.value
                    )
                )
                return True
        broken = str(exc.error_class.value)
        is_error = policy == "error" or (policy == "continue" and in_time)
        if self._guard is not None and not is_error:
            answer = leg.answer()
            await self._pass(self._guard, answer, leg.usage(answer), complete=False, broken=broken)
            self._guard.ready.clear()  # what was held back is no part of it
        self._settle(complete=False, broken=broken)
        if is_error:
            raise self._broken(exc) from exc
        self._call.succeed(self.reply)
        return False

    def _may_go_on(self, exc: ProviderError | TransportError) -> bool:
        """Whether another target may take it up: only text of one choice, and no verdict that asking on would dodge."""
        one = self._call.request.wire.get("n") in (None, 1)
        others = self._others or (self._guard is not None and self._guard.holds_tools)
        return one and not others and ERROR_RULES[exc.error_class].then is not Then.STOP

    def _broken(self, exc: ResilioError) -> StreamBroken:
        reply = self.reply
        notes = "".join(f" ({note})" for note in getattr(exc, "__notes__", ()))
        message = f"stream broken after {len(reply.text)} characters: {exc}{notes}"
        error = StreamBroken(message, reply.text, reply.usage, self._others)
        error.attempts = reply.attempts
        error.__cause__ = exc
        self._call.fail(error, reply)
        return error

    # --- the ends ------------------------------------------------------------------------------

    def _complete(self) -> None:
        answer, usage = self._finished or self._leg.finish()
        self._reply = self._call.succeed(self._story(answer, usage, complete=True, broken=None))

    def _settle(self, *, complete: bool, broken: str) -> None:
        answer = self._leg.answer()
        self._reply = self._story(answer, self._leg.usage(answer), complete=complete, broken=broken)

    def _story(self, answer: Answer, usage: Usage, *, complete: bool, broken: str | None) -> Reply:
        """The reply over all legs: the text is what was handed out; usage and cost are those of every leg."""
        if self._seams:
            answer = replace(answer, text="".join(self._parts), reasoning="".join(self._thoughts))
        if self._guard is not None:
            text, reasoning = "".join(self._parts), "".join(self._thoughts)
            answer = self._guard.shown(answer, whole=complete, text=text, reasoning=reasoning)
        reply = self._call.reply(answer, self._leg.attempt.target, complete=complete, usage=usage)
        if not (self._spent or self._seams or broken):
            return reply
        cost, uses = reply.cost_usd, reply.prompt_cache
        for spent, used, use in self._spent:
            usage, uses = usage + used, uses_together(use, uses)
            cost = None if cost is None or spent is None else cost + spent
        return replace(reply, usage=usage, cost_usd=cost, broken=broken, seams=tuple(self._seams), prompt_cache=uses)

    def leave(self) -> None:
        """The caller goes away: close upstream and settle what was used. Harmless once the stream is over."""
        if self._reply is not None:
            return
        self._leg.ready.clear()
        unchecked = self._guard is not None and not self._guard.ended
        if self._leg.complete and not unchecked:
            self._complete()
            return
        gone = asyncio.CancelledError("the caller left the stream early")
        if self._leg.complete:
            self._finished = self._finished or self._leg.finish()
        self._leg.abort(gone)
        self._settle(complete=False, broken="left")
        self._call.fail(gone, self._reply)

    def __repr__(self) -> str:
        return f"<Stream from {self.target}, {'over' if self._reply is not None else 'open'}>"
