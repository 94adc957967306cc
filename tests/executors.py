"""Executors for virtual time, which runs no threads."""

from concurrent.futures import Executor, Future


class InlineExecutor(Executor):
    """Does the work at once, in the caller's thread."""

    def __init__(self):
        self.closed = False

    def submit(self, work, /, *args, **kwargs):
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        _do(future, work, args, kwargs)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.closed = True


class SteppedExecutor(Executor):
    """Does the work when the test says: what is in a thread stays there until `step`."""

    def __init__(self):
        self.jobs = []

    def submit(self, work, /, *args, **kwargs):
        future = Future()
        self.jobs.append((future, work, args, kwargs))
        return future

    @property
    def names(self):
        """What is in a thread now."""
        return [work.__name__ for _, work, _, _ in self.jobs]

    def step(self, name=None):
        """Let the oldest job (of this name) end."""
        index = 0 if name is None else self.names.index(name)
        future, work, args, kwargs = self.jobs.pop(index)
        future.set_running_or_notify_cancel()
        _do(future, work, args, kwargs)

    def drop(self):
        """Do none of it, as an executor that is shut down in a hurry."""
        while self.jobs:
            future = self.jobs.pop()[0]
            future.cancel()
            future.set_running_or_notify_cancel()

    def fail(self, error):
        """Let the oldest job end badly, having done nothing."""
        self.jobs.pop(0)[0].set_exception(error)


def _do(future, work, args, kwargs):
    try:
        future.set_result(work(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)
