"""Two attempts side by side: when the first is silent for long, a second target is asked, and the faster one answers.

The loser is cancelled *and* awaited, so that its lease is settled and its connection closed before the call goes on.
Source of the idea: Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013. Without a hedge set, no task is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from resilio.actor import Outcome
from resilio.dispatch.attempt import Attempt
from resilio.dispatch.leg import Leg
from resilio.errors import ERROR_RULES, BudgetExceeded, ProviderError, Then, TransportError

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
    error: ProviderError | TransportError | BudgetExceeded


async def race(first: Attempt, begin: Try[T], second: Callable[[Attempt], Attempt | None]) -> T | Failure:
    """Run an attempt, and a second one beside it when it is silent for longer than the route allows.

    Args:
        first: The attempt to begin with.
        begin: What an attempt does.
        second: Makes the other attempt when the time has come, or None.

    Returns:
        The first success; else the failure of the last one running. What failed before it was dropped from the plan.
    """
    plan = first.plan
    wait = plan.hedge_after(first.target, streamed=begin is not Attempt.ask)
    if wait is None:
        return await once(first, begin)
    plan.route.hedge_budget.record_call(first.started)
    running = {_start(first, begin): first}
    try:
        await asyncio.wait(running, timeout=wait)
        if not any(task.done() for task in running) and (other := second(first)) is not None:
            running[_start(other, begin)] = other
        while True:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                got = task.result()
                del running[task]
                if not isinstance(got, Failure) or not running or _stops(got):
                    return got
                plan.drop(got.attempt.target, got.error)
    finally:
        await _call_off(running)


async def once(attempt: Attempt, begin: Try[T]) -> T | Failure:
    """Run one attempt alone: the usual case."""
    try:
        return await begin(attempt)
    except (ProviderError, TransportError, BudgetExceeded) as exc:
        return Failure(attempt, exc)


def _start(attempt: Attempt, begin: Try[T]) -> asyncio.Task[T | Failure]:
    task = asyncio.create_task(once(attempt, begin), name=f"resilio attempt {attempt.target.name}")
    tasks = attempt.engine.tasks
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _stops(failure: Failure) -> bool:
    """Whether this error would end the call: then nobody else's answer is wanted."""
    error = failure.error
    return not isinstance(error, BudgetExceeded) and ERROR_RULES[error.error_class].then is Then.STOP


async def _call_off(running: dict[asyncio.Task[T | Failure], Attempt]) -> None:
    """Cancel the losers and wait for their end; settle what never came to do it itself."""
    if not running:
        return
    import anyio  # only who hedges pays for it

    for task in running:
        task.cancel()
    try:
        with anyio.move_on_after(CLEAN_UP, shield=True):
            await asyncio.wait(running)
    finally:
        for task, attempt in running.items():
            if task.done() and not task.cancelled() and task.exception() is None:
                late = task.result()  # it came in at the same moment as the winner
                if isinstance(late, Leg):
                    late.abort(asyncio.CancelledError("another target was faster"))
            if attempt.lease.settled is None and task.done():
                # Cancelled before its first step: its own clean-up never ran.
                attempt.lease.settle(attempt.engine.clock(), Outcome.REJECTED)
