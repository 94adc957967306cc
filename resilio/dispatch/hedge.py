"""Two attempts side by side: when the first is silent for long, a second target is asked, and the faster one answers.

The loser is cancelled *and* awaited, so that its lease is settled and its connection closed before the call goes on.
Source of the idea: Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013. Without a hedge set, no task is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from resilio.dispatch.attempt import Attempt
from resilio.dispatch.leg import Leg, forget_frames
from resilio.errors import (
    ERROR_RULES,
    ErrorClass,
    InvalidRequest,
    ProviderError,
    RequestUnsuitable,
    Then,
    TransportError,
)
from resilio.models import Capability

__all__ = ["Failure", "Try", "once", "race"]

T = TypeVar("T")
Try = Callable[[Attempt], Awaitable[T]]
"""One attempt: sends one request on a lease, settles it, and returns what it got."""

CLEAN_UP: Final = 5.0
"""Seconds a cancelled loser may take to close its connection; it does nothing else, so this is never reached."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that ended in an error about which dispatch decides."""

    attempt: Attempt
    error: ProviderError | TransportError

    @property
    def prefill_refused(self) -> bool:
        """The target would not continue a message of the assistant's; it may still answer anew."""
        return self.attempt.how == "prefill" and isinstance(self.error, InvalidRequest | RequestUnsuitable)


async def race(first: Attempt, begin: Try[T], second: Callable[[Attempt], Attempt | None]) -> T | Failure:
    """Run an attempt, and a second one beside it when it is silent for longer than the route allows.

    Args:
        first: The attempt to begin with.
        begin: What an attempt does.
        second: Makes the other attempt when the time has come, or None.

    Returns:
        The first success; else the failure of the last one running. What failed before it the plan knows of.
    """
    plan = first.plan
    wait = plan.hedge_after(first.target, streamed=_streams(first, begin))
    if wait is None:
        return await once(first, begin)
    if plan.used == 1:  # a share of calls: what the same call tries again is none
        plan.route.hedge_budget.record_call(first.started)
    running = {_start(first, begin): first}
    got: T | Failure | None = None
    try:
        await asyncio.wait(running, timeout=wait)
        if not any(task.done() for task in running) and (other := second(first)) is not None:
            running[_start(other, begin)] = other
        got = await _decided(running)
    finally:
        try:
            await _call_off(running)
        except BaseException as exc:  # the caller went away meanwhile: nobody else knows of the winner
            if isinstance(got, Leg):
                got.abort(exc)
            raise
    return got


async def _decided(running: dict[asyncio.Task[T | Failure], Attempt]) -> T | Failure:
    """Wait for what ends the race, and take it out of what is running."""
    while True:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in running if task.done()]
        ended.sort(key=lambda task: isinstance(task.result(), Failure))  # an answer beats an error of that moment
        for task in ended:
            got = task.result()
            del running[task]
            if not isinstance(got, Failure) or not running or _stops(got):
                return got
            _set_aside(got)


async def once(attempt: Attempt, begin: Try[T]) -> T | Failure:
    """Run one attempt alone: the usual case."""
    try:
        return await begin(attempt)
    except (ProviderError, TransportError) as exc:
        forget_frames(exc)
        return Failure(attempt, exc)


def _streams(attempt: Attempt, begin: Try[T]) -> bool:
    """Whether its first content tells how fast the target is; else only the whole answer does."""
    if begin is Attempt.whole:
        return Capability.STREAMING in attempt.target.model.capabilities
    return begin is not Attempt.ask and begin is not Attempt.embed


def _start(attempt: Attempt, begin: Try[T]) -> asyncio.Task[T | Failure]:
    """Run an attempt beside its caller, who waits for its end whatever happens."""

    def ended(task: asyncio.Task[T | Failure]) -> None:
        if task.cancelled() and attempt.lease.settled is None:
            attempt.never_sent()

    task = asyncio.create_task(once(attempt, begin), name=f"resilio attempt {attempt.target.name}")
    task.add_done_callback(ended)
    return task


def _stops(failure: Failure) -> bool:
    """Whether this error would end the call: then nobody else's answer is wanted."""
    error = failure.error
    if failure.prefill_refused:
        return False
    return ERROR_RULES[error.error_class].then is Then.STOP


def _set_aside(failure: Failure) -> None:
    """One of two failed and the other goes on: note what it means for this target, and wait for nothing."""
    attempt, error = failure.attempt, failure.error
    plan, target = attempt.plan, attempt.target
    if failure.prefill_refused:
        plan.without_prefill(target, error)
    elif error.error_class is ErrorClass.THROTTLED:
        plan.rest(target, error, attempt.engine.clock())
    else:
        plan.drop(target, error)


async def _call_off(running: dict[asyncio.Task[T | Failure], Attempt]) -> None:
    """Cancel the losers and wait for their end.

    Raises:
        CancelledError: The caller was cancelled meanwhile; told only when the losers have ended, which takes them
            one more turn of the loop.
    """
    if not running:
        return
    import anyio  # only who hedges pays for it

    for task in running:
        task.cancel()
    gone: asyncio.CancelledError | None = None
    loop = asyncio.get_running_loop()
    until = loop.time() + CLEAN_UP
    with anyio.CancelScope(shield=True):
        while (left := [task for task in running if not task.done()]) and loop.time() < until:
            try:
                await asyncio.wait(left, timeout=until - loop.time())
            except asyncio.CancelledError as exc:  # a native one passes the shield
                gone = exc
    for task in running:
        if task.done() and not task.cancelled() and task.exception() is None:
            late = task.result()  # it came in at the same moment as the winner
            if isinstance(late, Leg):
                late.abort(asyncio.CancelledError("another target was faster"))
    if gone is not None:
        raise gone
