"""An executor without threads, for code on virtual time: what is submitted runs at once, where it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

__all__ = ["InlineExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs work in the caller's own thread.

    Await its futures by `asyncio.wrap_future`; `loop.run_in_executor` is refused by a virtual loop whatever runs it.
    """

    def __init__(self) -> None:
        self.ran = 0
        """How many pieces of work there were."""
        self._down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it; the future is done.

        Raises:
            RuntimeError: It was shut down.
        """
        if self._down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.ran += 1
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # as a thread would: it belongs to who awaits the future
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work."""
        self._down = True
