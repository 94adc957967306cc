"""Single flight: of identical requests that miss at the same time one is sent, and the others wait for its answer.

No task is made: the first works in its caller's own task, the others wait on a future. What keeps anybody from being
worse off for it:

- a leader that is cancelled hands over to one who waits;
- a leader that fails has failed for itself alone: two who wait try in its place, and so on, twice as many each time;
- nobody waits longer than leaves time for a try of their own.

So each ends with the answer or with its own error. The name and the idea: Go's `golang.org/x/sync/singleflight`.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

__all__ = ["Seat", "SingleFlight"]

T = TypeVar("T")

FREED: int = 2
"""How many try in the place of one that failed."""


class SingleFlight(Generic[T]):
    """The flights under way, by key. What they bring may be anything but None."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def board(self, key: bytes) -> Seat[T]:
        """Take part: leading where nobody does yet, else waiting. On every way out call `land` or `leave`."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(self._flights, key)
            flight.leading = 1
            return Seat(flight, leads=True)
        return Seat(flight, leads=False)


class _Flight(Generic[T]):
    __slots__ = ("_flights", "_key", "leading", "waiting")

    def __init__(self, flights: dict[bytes, _Flight[T]], key: bytes) -> None:
        self._flights = flights
        self._key = key
        self.leading = 0
        """Seats that try now, those told to and not yet awake included."""
        self.waiting: dict[Seat[T], asyncio.Future[T | None]] = {}
        """In the order they came."""

    def free(self, most: int) -> None:
        """Let so many of those who wait try; close the flight when nobody is left."""
        while self.waiting and most > 0:
            seat = next(iter(self.waiting))
            most -= seat.take_over()
        if not self.leading and not self.waiting:
            self.close()

    def close(self) -> None:
        if self._flights.get(self._key) is self:
            del self._flights[self._key]


class Seat(Generic[T]):
    """One caller's part in a flight."""

    __slots__ = ("_flight", "leads", "left")

    def __init__(self, flight: _Flight[T], *, leads: bool) -> None:
        self._flight = flight
        self.leads = leads
        """This caller is to try itself."""
        self.left = False

    async def wait(self, until: float) -> T | None:
        """Wait for somebody else's answer.

        Args:
            until: The instant, by the loop's clock, from which this caller rather tries itself.

        Returns:
            The answer; None: this seat leads now, try.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T | None] = loop.create_future()
        self._flight.waiting[self] = future
        timer = loop.call_at(until, self.take_over)
        try:
            return await future
        finally:
            timer.cancel()

    def take_over(self) -> bool:
        """Lead from now on; False where this seat no longer waits."""
        future = self._flight.waiting.pop(self, None)
        if future is None or future.done():  # cancelled this very moment: its own clean-up follows
            return False
        self.leads = True
        self._flight.leading += 1
        future.set_result(None)
        return True

    def land(self, value: T) -> None:
        """This seat has the answer: everybody who waits gets it."""
        if self.left:
            return
        self.left = True
        flight = self._flight
        flight.leading -= 1
        waiting = list(flight.waiting.values())
        flight.waiting.clear()
        flight.close()
        for future in waiting:
            if not future.done():
                future.set_result(value)

    def leave(self, *, failed: bool) -> None:
        """This seat has no answer for the others. Harmless after `land` or another `leave`.

        Args:
            failed: It tried in vain; else it was cancelled, or never tried.
        """
        if self.left:
            return
        self.left = True
        flight = self._flight
        flight.waiting.pop(self, None)
        if self.leads:
            flight.leading -= 1
        if failed:
            flight.free(FREED)
        else:
            flight.free(0 if flight.leading else 1)
