"""Other settings for a provider that runs: what they do not touch keeps its state.

Synchronous, so no request ever meets half of it. Whatever is in flight holds its lease, and a lease holds the
model, key and limiter it was given: those taken away here settle as they would have, and are then forgotten.
What is new comes from a record freshly made of the new settings, so what could fail has not.
"""

from __future__ import annotations

from resilio.actor.keys import REMOVED, Key, any_left, give, key_found
from resilio.actor.record import ModelRecord, ProviderRecord, limits_by_group

__all__ = ["REMOVED", "reconfigure"]


def reconfigure(record: ProviderRecord, fresh: ProviderRecord, now: float) -> None:
    """Go by other settings from now on.

    Breakers, latencies and the retry budget stay; models are told apart by name, limits by key and model group. A
    key is the same where its secret is, or its name, or where it is read from, and then keeps its limits; another
    secret for it is what may cure it, so it is used again. What comes back after it had gone begins afresh.

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
    if any(key.aside is None for key in record.keys):
        key_found(record, now)
    elif not any_left(record):  # those that worked were taken out
        record.keyless = record.breaker.trip_now(now) or record.keyless
    record.flush_changes()
    record.settings = settings
    record.wake.set()  # there may be room now for those who wait


def _model(known: ModelRecord | None, fresh: ModelRecord) -> ModelRecord:
    if known is None:
        return fresh
    known.settings, known.group = fresh.settings, fresh.group
    return known


def _keys(record: ProviderRecord, fresh: ProviderRecord, now: float) -> list[Key]:
    known = _matched(record.keys, fresh.keys)
    keys = []
    for new in fresh.keys:
        key = known.get(new)
        if key is None:
            keys.append(new)
            continue
        limits = limits_by_group(fresh.models.values(), new.settings)
        before, key.settings, key.index = key.settings, new.settings, new.index
        for group in set(key.limiters) - set(limits):
            key.throttles.pop(group, None)
        limiters = {group: key.limiters.get(group, limiter) for group, limiter in new.limiters.items()}
        for group, limiter in limiters.items():
            limiter.reconfigure(limits[group], now)
        key.limiters = limiters
        keys.append(key)
        # What was read when the old configuration was is no news: the key may have been renewed since.
        read_anew = before is None or new.settings is None or before.key != new.settings.key
        if read_anew and new.secret is not None and new.secret != key.secret:
            give(record, key, new.secret, now)
    for gone in set(record.keys) - set(known.values()):
        # Requests sent with it may still fail; nobody is to be told that a key which is no more was set aside.
        gone.aside, gone.aside_at, gone.renewing = REMOVED, now, False
    return keys


def _matched(old: list[Key], new: list[Key]) -> dict[Key, Key]:
    """The key there is for each that comes, by the surest sign first: each is taken once."""
    found: dict[Key, Key] = {}
    for sign in (_secret, _as_read, _name, _source):
        left = {sign(key): key for key in old if key not in found.values()}
        left.pop(None, None)
        for key in new:
            if key not in found and (twin := left.pop(sign(key), None)) is not None:
                found[key] = twin
    return found


def _secret(key: Key) -> object:
    return (key.secret,) if key.secret != "" else None  # to have no key is to have the same one


def _as_read(key: Key) -> object:
    return None if key.settings is None else key.settings.key or None


def _name(key: Key) -> object:
    return key.name or None


def _source(key: Key) -> object:
    return None if key.settings is None else key.settings.source
