"""An asyncio event loop on virtual time: an hour of waiting costs nothing and nothing ever sleeps.

`time()` stands still while anything can run and jumps to the next timer when nothing can. It works with
anyio, and with an aiohttp client and server over loopback sockets inside the loop (IP literals only).
It leaves out threads and subprocesses, which live in real time: using one raises instead of racing.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

__all__ = ["Deadlock", "NotVirtual", "VirtualTimeLoop", "run", "wall_clock"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A time that is not zero, so that code which takes "0 seconds" for "not set" is found out.
START: Final = 1000.0
WALL_START: Final = 1_800_000_000.0
"""What `wall_clock` shows when a loop starts: 15 January 2027, 08:00 UTC."""

# Bytes written to a loopback socket are readable at once on Linux, busy or not; a kernel that hands them to a
# thread of its own gets the processor by our sleeping, so naps outlast it however loaded the machine is.
GRACE: Final = (0.0, 0.0002, 0.0005, 0.002)
"""Real seconds that sockets get, round by round, before time jumps past them."""


class NotVirtual(RuntimeError):
    """Something that lives in real time (a thread, a name look-up) was asked of a virtual loop."""


class Deadlock(RuntimeError):
    """No callback is ready, no timer is set and no socket has data: nothing can ever wake the loop."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where asyncio would block in `select`, it lets the loop's time jump."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        # One registration is the loop's own wake-up pipe, which only threads and signals write to.
        for nap in GRACE if len(self.get_map()) > 1 else GRACE[:1]:
            if ready := super().select(nap):
                return ready
        self.loop.jump(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop. Use it as a `loop_factory`, or through `run`."""

    _scheduled: list[asyncio.TimerHandle]
    _thread_id: int | None

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now = START
        super().__init__(selector)

    def time(self) -> float:
        """Virtual monotonic seconds; the first instant is 1000.0."""
        return self._now

    def jump(self, timeout: float | None) -> None:
        """Move on to the next timer, which is due in `timeout` seconds.

        Raises:
            Deadlock: There is no timer.
        """
        if timeout is None:
            stuck = "".join(f"\n  {_where(task)}" for task in sorted(asyncio.all_tasks(self), key=str))
            raise Deadlock(f"nothing can wake this loop: no timer, no data on any socket. Waiting:{stuck or ' none'}")
        # The timer's own instant, not now + timeout: the sum may round to just before it. asyncio caps its
        # timeout at a day, so a later timer is reached in steps.
        self._now = max(self._now, min(self._scheduled[0].when(), self._now + timeout + 1e-6))

    # The signatures are wider than their parents': every way of calling them ends in the same error.
    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        name = getattr(func, "__qualname__", repr(func))
        hint = "; use an IP literal for the host" if "getaddrinfo" in name else ""
        raise NotVirtual(f"virtual time runs no threads, but {name}{args} was sent to one{hint}")

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._thread_id not in (None, threading.get_ident()):
            raise NotVirtual(f"virtual time runs no threads, but {threading.current_thread().name} calls back")
        return super().call_soon_threadsafe(callback, *args, context=context)


def _where(task: asyncio.Task[Any]) -> str:
    """The task's name and the line it waits at."""
    frames = task.get_stack()
    line = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "not started"
    return f"{task.get_name()} ({task.get_coro()!r}) at {line}"


def run(main: Coroutine[Any, Any, T], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] = VirtualTimeLoop) -> T:
    """Run a coroutine on a virtual loop of its own, as `asyncio.run` does on a real one."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


def wall_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """A Unix clock (seconds) that keeps step with the loop's time; of a loop in real time, the real one."""
    if isinstance(loop, VirtualTimeLoop):
        return lambda: WALL_START + (loop.time() - START)
    return time.time
