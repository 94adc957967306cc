"""The outcomes a breaker looks back on: the last so many, and none older than so long.

Only counting, in constant time and memory bounded by `window_calls`; acting on it is the breaker's.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from resilio.config.settings import BreakerSettings

__all__ = ["OutcomeWindow"]

_FAILED: Final = 1
_SLOW: Final = 2


class OutcomeWindow:
    """Sliding window over outcomes, with running sums.

    Args:
        settings: Size of the window, and the limits of `is_too_much`.

    Attributes:
        failures: Failed outcomes in the window.
        slow: Slow ones, failed or not.
        consecutive: Failures since the last success, however old they are.
    """

    __slots__ = ("_kinds", "_settings", "_times", "consecutive", "failures", "slow")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._times: deque[float] = deque()
        self._kinds: deque[int] = deque()
        self.failures = self.slow = self.consecutive = 0

    def __len__(self) -> int:
        return len(self._times)

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Take in one outcome. The hot path: one call of each request ends here."""
        times, settings = self._times, self._settings
        if times and (len(times) >= settings.window_calls or now - times[0] > settings.window_duration):
            self._drop(now, settings.window_calls - 1)
        times.append(now)
        kind = 0
        if failed:
            self.failures += 1
            self.consecutive += 1
            kind = _FAILED
        else:
            self.consecutive = 0
        if slow:
            self.slow += 1
            kind |= _SLOW
        self._kinds.append(kind)

    def is_too_much(self) -> bool:
        """Whether failures in a row, or the rate of failures or slow outcomes, call for a break."""
        failures, slow = self.failures, self.slow
        if not failures and not slow:
            return False
        settings = self._settings
        if self.consecutive >= settings.consecutive_failures:
            return True
        calls = len(self._times)
        if calls < settings.minimum_calls:
            return False
        # Not rate * calls: 0.1 * 30 is above 3 in binary floating point, while 3 / 30 is 0.1. And a rate of
        # 0 still takes a failure, or a success would open the circuit.
        return (failures > 0 and failures / calls >= settings.failure_rate) or (
            slow > 0 and slow / calls >= settings.slow_rate
        )

    def reconfigure(self, settings: BreakerSettings) -> None:
        """Another size and other limits; what no longer fits goes with the next outcome."""
        self._settings = settings

    def expire(self, now: float) -> None:
        """Drop what is too old by now."""
        self._drop(now, self._settings.window_calls)

    def clear(self) -> None:
        """Forget everything."""
        self._times.clear()
        self._kinds.clear()
        self.failures = self.slow = self.consecutive = 0

    def _drop(self, now: float, room: int) -> None:
        times, kinds, duration = self._times, self._kinds, self._settings.window_duration
        while times and (len(times) > room or now - times[0] > duration):
            times.popleft()
            kind = kinds.popleft()
            self.failures -= kind & _FAILED
            self.slow -= kind >> 1
