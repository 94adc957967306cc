"""`ProviderControl`: one provider in an operator's hands.

Synchronous: each method changes state between two awaits, so no call meets half of it, and is told to
listeners as every other change of a circuit or an actor is. What was done by hand holds until it is undone by
hand: it outlives a crash of the actor and a reload that keeps the provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resilio.actor import ProviderRecord
from resilio.actor.keys import restore
from resilio.errors import ControlError, UnknownProvider
from resilio.statemachines.breaker import Breaker
from resilio.supervisor import Supervisor

__all__ = ["ProviderControl"]


class ProviderControl:
    """A provider by name, whichever has it when a method is called.

    Args:
        supervisor: Of the running engine.
        name: As configured.

    Raises:
        UnknownProvider: There is none of that name; so does every method once a reload has removed it.
    """

    __slots__ = ("_supervisor", "name")

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self.name = name
        self._record()

    # --- circuits ----------------------------------------------------------------------------

    def open(self, model: str | None = None) -> None:
        """Send it nothing until told otherwise; requests go to other targets. What is in flight finishes.

        Args:
            model: Only to this model. None: to the whole provider, by its own circuit alone.

        Raises:
            UnknownProvider: There is no such model.
        """
        record = self._record()
        self._set(record, Breaker.force_open, (record.breaker,) if model is None else self._circuits(record, model))

    def close(self, model: str | None = None) -> None:
        """Close circuits, however they were opened, and forget their breaks: back to normal.

        Args:
            model: Only that of this model. None: that of the provider and those of all its models.

        Raises:
            UnknownProvider: There is no such model.
        """
        record = self._record()
        self._set(record, Breaker.reset, self._circuits(record, model))

    def disable(self, model: str | None = None) -> None:
        """Let everything through and count nothing until told otherwise. As for `close`."""
        record = self._record()
        self._set(record, Breaker.disable, self._circuits(record, model))

    def metrics_only(self, model: str | None = None) -> None:
        """Let everything through and count it, but never open, until told otherwise. As for `close`."""
        record = self._record()
        self._set(record, Breaker.watch, self._circuits(record, model))

    # --- admission ---------------------------------------------------------------------------

    def drain(self) -> None:
        """Take nothing new and let what is in flight finish; then the actor stops. Twice is as once."""
        self._supervisor.drain(self._record())

    def resume(self) -> None:
        """Take requests again, after `drain` or after the actor had crashed too often."""
        self._supervisor.resume(self._record())

    # --- keys ----------------------------------------------------------------------------------

    def restore_key(self, key: int | str) -> None:
        """Use a key again at once that was set aside or rests, as if it had been put right; a refusal counts anew.

        Args:
            key: Its index or its name.

        Raises:
            ControlError: There is no such key.
        """
        record = self._record()
        found = next((each for each in record.keys if key in (each.index, each.name)), None)
        if found is None or key == "":
            names = ", ".join(f"{each.index} ({each.name})" if each.name else str(each.index) for each in record.keys)
            raise ControlError(f"{self.name!r} has no key {str(key)[:40]!r}; there are {names}")
        found.throttles.clear()
        for limiter in found.limiters.values():
            limiter.wake()
        restore(record, found, record.clock(), "by_hand")
        record.wake.set()  # somebody may wait for it

    # --- inside ------------------------------------------------------------------------------

    def _record(self) -> ProviderRecord:
        record = self._supervisor.providers.get(self.name)
        if record is None:
            raise UnknownProvider(self.name, self._supervisor.providers)
        return record

    def _circuits(self, record: ProviderRecord, model: str | None) -> Iterable[Breaker]:
        if model is None:
            return (record.breaker, *(each.breaker for each in record.models.values()))
        if model not in record.models:
            raise UnknownProvider(model, record.models, self.name)
        return (record.models[model].breaker,)

    def _set(self, record: ProviderRecord, act: Callable[[Breaker, float], None], circuits: Iterable[Breaker]) -> None:
        now = record.clock()
        for circuit in circuits:
            act(circuit, now)
        record.flush_changes()

    def __repr__(self) -> str:
        return f"<ProviderControl of {self._supervisor.providers.get(self.name)!r}>"
