"""Other settings for a provider that runs: what they do not touch keeps its state.

Synchronous, so no request ever meets half of it. Whatever is in flight holds its lease, and a lease holds the
model, key and limiter it was given: those taken away here settle as they would have, and are then forgotten.
What is new comes from a record freshly made of the new settings, so what could fail has not.
"""

from __future__ import annotations

from typing import Final

from resilio.actor.record import Key, ModelRecord, ProviderRecord, limits_by_group

__all__ = ["REMOVED", "reconfigure"]

REMOVED: Final = "removed"
"""Why a key is set aside that the configuration has no more."""


def reconfigure(record: ProviderRecord, fresh: ProviderRecord, now: float) -> None:
    """Go by other settings from now on.

    Breakers, latencies and the retry budget stay; keys are told apart by their secret, models by name,
    limits by key and model group. A model, key or group that comes back after it had gone begins afresh.

    Args:
        record: The provider as it runs.
        fresh: The same, made of the new settings and never run; what `record` lacks is taken out of it.
        now: Monotonic seconds.
    """
    settings = fresh.settings
    if record.settings.breaker != settings.breaker:
        record.breaker.reconfigure(settings.breaker)
        for model in record.models.values():
            model.breaker.reconfigure(settings.breaker)
    if record.settings.retry_budget != settings.retry_budget:
        record.retry_budget.reconfigure(settings.retry_budget, now)
    record.models = {name: _model(record.models.get(name), model) for name, model in fresh.models.items()}
    record.keys = _keys(record, fresh, now)
    for model in record.models.values():
        model.keys = tuple((key, key.limiters[model.group]) for key in record.keys)
    record.settings = settings
    record.wake.set()  # there may be room now for those who wait


def _model(known: ModelRecord | None, fresh: ModelRecord) -> ModelRecord:
    if known is None:
        return fresh
    known.settings, known.group = fresh.settings, fresh.group
    return known


def _keys(record: ProviderRecord, fresh: ProviderRecord, now: float) -> list[Key]:
    limits = limits_by_group(fresh.models.values())
    known = {key.secret: key for key in record.keys}
    keys = []
    for new in fresh.keys:
        key = known.pop(new.secret, None)
        if key is None:
            keys.append(new)
            continue
        key.index = new.index
        for group in set(key.limiters) - set(limits):
            key.throttles.pop(group, None)
        limiters = {group: key.limiters.get(group, limiter) for group, limiter in new.limiters.items()}
        for group, limiter in limiters.items():
            limiter.reconfigure(limits[group], now)
        key.limiters = limiters
        keys.append(key)
    for gone in known.values():
        # Requests sent with it may still fail; nobody is to be told that a key which is no more was set aside.
        gone.aside, gone.aside_at = REMOVED, now
    return keys
