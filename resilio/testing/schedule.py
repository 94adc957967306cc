"""Tries the schedules that hardly ever happen: cancellation at every await, and tasks in another order.

Everything runs on virtual loops of its own, so call these from ordinary (not async) tests. Only the order and the
end of tasks are tried; callbacks that are not tasks keep their order, because asyncio promises it to libraries.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar

import anyio

from resilio.testing.loop import VirtualTimeLoop, run

__all__ = ["How", "Scenario", "ShufflingLoop", "cancel_everywhere", "shuffled"]

T = TypeVar("T")
Act = Callable[[], Coroutine[Any, Any, Any]]
How = Literal["task", "scope"]
Scenario = Callable[[], AbstractAsyncContextManager[Act]]
"""Makes a fresh world, yields the call to be cancelled, and checks after the yield that all is back."""


class ShufflingLoop(VirtualTimeLoop):
    """A virtual loop that takes the tasks that could run next in a random order, the same for each seed."""

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._rng = random.Random(seed)

    def _process_events(self, event_list: Any) -> None:
        # Called once a turn, between looking for events and running what is ready.
        super()._process_events(event_list)  # type: ignore[misc]  # a private hook typeshed does not know
        # No task may overtake a plain callback: asyncio's sockets count on a future's own callbacks being run
        # before the task that awaits it. So tasks change places only with neighbours that are tasks too.
        if len(self._ready) > 1:
            order: list[asyncio.Handle] = []
            for are_steps, run_of in itertools.groupby(self._ready, _is_task_step):
                handles = list(run_of)
                if are_steps:
                    self._rng.shuffle(handles)
                order += handles
            self._ready.clear()
            self._ready.extend(order)


def _is_task_step(handle: asyncio.Handle) -> bool:
    callback = getattr(handle, "_callback", None)
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def shuffled(main: Callable[[], Coroutine[Any, Any, T]], seeds: Iterable[int] = range(20)) -> list[T]:
    """Run a scenario once for each seed, with its tasks in another order each time.

    Args:
        main: Makes the coroutine; called anew for each seed.
        seeds: One schedule each.

    Returns:
        What it returned, seed by seed.

    Raises:
        AssertionError: It failed; names the seed, the failure is its cause.
    """
    results = []
    for seed in seeds:
        try:
            results.append(run(main(), loop_factory=functools.partial(ShufflingLoop, seed)))
        except Exception as error:
            raise AssertionError(f"with the schedule of seed {seed}: {error!r}") from error
    return results


def cancel_everywhere(
    scenario: Scenario,
    *,
    how: Sequence[How] = ("task", "scope"),
    times: Sequence[int] = (1, 2),
    allowed: tuple[type[Exception], ...] = (),
) -> int:
    """Cancel a call at each point where it can be cancelled, and check each time that everything came back.

    The call runs in a task of its own. It is first run undisturbed to count how often it suspends; then once more
    for each of these points, for each way and number of cancellations. The second cancellation comes at the next
    suspension, that is: while the first one is being cleaned up. No task may outlive the call.

    Args:
        scenario: An async context manager function: sets up, yields the call, checks what is left.
        how: `task`: `Task.cancel()`, as asyncio and most frameworks do; `scope`: an anyio cancel scope, whose
            second cancellation is a native one.
        times: How often to cancel.
        allowed: Errors the cancelled call may raise instead; anything else but cancellation is a failure.

    Returns:
        The number of suspension points.

    Raises:
        AssertionError: What went wrong, where and how the call had been cancelled; the failure is its cause.
    """
    undisturbed = _Run(scenario, "task", at=0, times=0, allowed=())
    run(undisturbed.go())
    total = undisturbed.suspensions
    for way in how:
        for count in times:
            for at in range(1, total + 1):
                trial = _Run(scenario, way, at, count, allowed)
                try:
                    run(trial.go())
                except Exception as error:
                    twice = "" if count == 1 else f" {count} times"
                    raise AssertionError(
                        f"cancelled by {way}{twice} at suspension {at} of {total} ({trial.where}): {error!r}"
                    ) from error
    return total


class _Run:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, how: How, at: int, times: int, allowed: tuple[type[Exception], ...]) -> None:
        self._scenario, self._how, self._allowed = scenario, how, allowed
        self._cancel_at = range(at, at + times)
        self._task: asyncio.Task[Any] | None = None
        self._scope: anyio.CancelScope | None = None
        self.suspensions = 0
        self.where = "not reached"

    async def go(self) -> None:
        async with self._scenario() as act:
            before = asyncio.all_tasks()
            self._task = asyncio.get_running_loop().create_task(self._act(act))
            await asyncio.wait([self._task])
            self._judge(self._task)
            await _gone(before)

    def _judge(self, task: asyncio.Task[Any]) -> None:
        cancelled = self.suspensions >= self._cancel_at.start and len(self._cancel_at) > 0
        error = None if task.cancelled() else task.exception()
        if error is not None and not (cancelled and isinstance(error, self._allowed)):
            raise error
        # A scope may rightly come too late: inside a shield after which nothing is awaited any more.
        if cancelled and error is None and self._scope is None and not task.cancelled():
            raise AssertionError("the cancellation was swallowed: the call went on and returned")

    async def _act(self, act: Act) -> None:
        if self._how == "task":
            await self._counted(act())
        else:
            with anyio.CancelScope() as self._scope:
                await self._counted(act())

    @types.coroutine
    def _counted(self, act: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Drive the call, seeing each suspension as it goes by."""
        step: Callable[[], Any] = functools.partial(act.send, None)
        while True:
            try:
                waiting_for = step()
            except StopIteration as done:
                return done.value
            self._suspended(act)
            try:
                value = yield waiting_for
            except BaseException as error:
                step = functools.partial(act.throw, error)
            else:
                step = functools.partial(act.send, value)

    def _suspended(self, act: Coroutine[Any, Any, Any]) -> None:
        self.suspensions += 1
        if self.suspensions not in self._cancel_at:
            return
        if self.suspensions == self._cancel_at.start:
            self.where = _innermost(act)
            if self._scope is not None:
                self._scope.cancel()
                return
        assert self._task is not None
        # The task is still inside its step, so this reaches exactly what it is about to wait for.
        self._task.cancel()


def _innermost(waiting: Any) -> str:
    """The line of the await, innermost frame first written in Python."""
    where = "?"
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            where = f"{frame.f_code.co_qualname} at {frame.f_code.co_filename}:{frame.f_lineno}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return where


async def _gone(before: set[asyncio.Task[Any]]) -> None:
    """Let tasks that were told to end do so; those that stay are leaked."""
    for _ in range(20):
        left = asyncio.all_tasks() - before
        if not left:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"tasks outlived the call: {sorted(task.get_name() for task in left)}")
