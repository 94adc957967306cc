"""Life cycle of a provider's actor: its task starts, crashes, is brought back or given up, drains, stops.

Pure: callers pass `now` in monotonic seconds, and whoever runs the task acts on the state. The record
outlives the task, so a restarted actor finds its breakers and limits as they were.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final, NamedTuple

from resilio.statemachines.table import Row, Table

__all__ = ["ACTOR", "ActorChange", "ActorLifecycle", "ActorState"]


class ActorState(StrEnum):
    """Where the actor is; only a running one admits requests."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    """Takes nothing new and waits for what is in flight."""
    RESTARTING = "restarting"
    """Crashed, and about to come back."""
    FAILED = "failed"
    """Crashed too often; the other providers go on serving."""
    STOPPED = "stopped"


_S = ActorState

ACTOR: Final = Table(
    "actor",
    "The task of one provider: restarted when it crashes, unless too often; drained before it stops.",
    initial=_S.STARTING,
    rows=(
        Row("started", _S.STARTING, _S.RUNNING),
        Row("crash", (_S.STARTING, _S.RUNNING), _S.RESTARTING, "restarts_left"),
        Row("crash", (_S.STARTING, _S.RUNNING), _S.FAILED),
        # Calls run in their callers' tasks and settle without the actor: nothing is left to bring back.
        Row("crash", _S.DRAINING, _S.STOPPED),
        # Running already: asked to drain and then resumed by hand, both between a crash and its restart.
        Row("restarted", (_S.RESTARTING, _S.RUNNING), _S.RUNNING, None, "begin_generation"),
        # Asked to drain between a crash and its restart: the new task comes up only to drain.
        Row("restarted", _S.DRAINING, _S.DRAINING, None, "begin_generation"),
        Row("give_up", _S.RESTARTING, _S.FAILED),
        Row("drain", (_S.STARTING, _S.RUNNING, _S.RESTARTING), _S.DRAINING),
        Row("drain", _S.FAILED, _S.STOPPED),
        Row("drained", _S.DRAINING, _S.STOPPED),
        # By hand: the end of a drain is undone, and so is giving up. While it still drains the task goes on.
        Row("resume", _S.DRAINING, _S.RUNNING),
        Row("resume", (_S.FAILED, _S.STOPPED), _S.STARTING),
        Row("stop", (_S.STARTING, _S.RUNNING, _S.DRAINING, _S.RESTARTING, _S.FAILED), _S.STOPPED),
    ),
)


class ActorChange(NamedTuple):
    """One change of state, in the order of the fields of `resilio.events.ActorChanged`."""

    source: ActorState
    dest: ActorState
    generation: int
    at: float
    error: str | None


class ActorLifecycle:
    """The state of one actor.

    Args:
        max_restarts: A crash after this many restarts within `restart_window` is the last.
        restart_window: Seconds.

    Attributes:
        state: Where the actor is.
        generation: Grows by one with each restart.
        changes: What happened since `drain_changes()` was last called.
    """

    __slots__ = ("_restarts", "changes", "generation", "max_restarts", "restart_window", "state")

    def __init__(self, *, max_restarts: int = 5, restart_window: float = 30.0) -> None:
        self.state = ActorState.STARTING
        self.generation = 0
        self.changes: list[ActorChange] = []
        self.max_restarts = max_restarts
        self.restart_window = restart_window
        self._restarts: deque[float] = deque(maxlen=max_restarts)
        ACTOR.bind(self)

    def started(self, now: float) -> None:
        """The task runs for the first time."""
        self._fire("started", now)

    def crashed(self, now: float, error: str) -> bool:
        """The task ended by an exception. True: bring it back and call `restarted`; False: leave it."""
        self._fire("crash", now, error)
        return self.state is ActorState.RESTARTING

    def restarted(self, now: float) -> None:
        """A new task took over."""
        self._fire("restarted", now)

    def give_up(self, now: float, error: str) -> None:
        """The restart itself cannot be done."""
        self._fire("give_up", now, error)

    def drain(self, now: float) -> bool:
        """Take nothing new. False when it drains or has stopped already: asking twice is no mistake."""
        if self.state is ActorState.DRAINING or self.state is ActorState.STOPPED:
            return False
        self._fire("drain", now)
        return True

    def resume(self, now: float) -> bool:
        """Take requests again. False when it does, or is about to. In state starting it needs a new task."""
        if self.state not in (ActorState.DRAINING, ActorState.FAILED, ActorState.STOPPED):
            return False
        self._fire("resume", now)
        return True

    def drained(self, now: float) -> None:
        """Nothing is in flight any more."""
        self._fire("drained", now)

    def stop(self, now: float) -> None:
        """The task was ended, whatever was in flight."""
        self._fire("stop", now)

    def drain_changes(self) -> list[ActorChange]:
        """The changes since the last call, oldest first."""
        changes, self.changes = self.changes, []
        return changes

    def _fire(self, event: str, now: float, error: str | None = None) -> None:
        source = self.state
        ACTOR.fire(self, event, now)
        self.changes.append(ActorChange(source, self.state, self.generation, now, error))

    def _restarts_left(self, now: float) -> bool:
        if not self.max_restarts:
            return False
        # Only the last `max_restarts` are kept: either there were fewer, or the oldest must be long ago.
        restarts = self._restarts
        return len(restarts) < self.max_restarts or now - restarts[0] > self.restart_window

    def _begin_generation(self, now: float) -> None:
        self.generation += 1
        self._restarts.append(now)

    def __repr__(self) -> str:
        return f"<ActorLifecycle {self.state}, generation {self.generation}>"
