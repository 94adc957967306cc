"""Configurations as they run, one after the other: which one a call began under, and what may go when.

A `Snapshot` is what calls see of a configuration: its providers and routes. A new configuration is a new
snapshot put in the place of the old one, between two awaits; a call that began under the old one keeps it to
its end. So a provider that the new one lacks is needed until the last of those calls is over, and only then is
it let go. This module keeps that count and compares configurations; starting and draining are the supervisor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Generic, NamedTuple, TypeVar

from resilio.actor import ProviderRecord
from resilio.config import Config, ProviderSettings

__all__ = ["Difference", "Snapshot", "Succession", "difference", "same_provider"]

R = TypeVar("R")
"""A route as it runs."""


class Snapshot(Generic[R]):
    """One configuration as it runs. Nothing in it is ever put in another's place but the count of calls."""

    __slots__ = ("calls", "config", "providers", "routes")

    def __init__(self, config: Config, providers: Mapping[str, ProviderRecord], routes: Mapping[str, R]) -> None:
        self.config = config
        self.providers = providers
        self.routes = routes
        self.calls = 0
        """Calls that began under it and are not over."""

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self.providers)} providers and {len(self.routes)} routes, {self.calls} calls>"


class Succession(Generic[R]):
    """The current snapshot, and the older ones that calls still need.

    Args:
        first: The snapshot to begin with.
        let_go: Called once with each provider that neither the current snapshot nor any call needs any more.
    """

    def __init__(self, first: Snapshot[R], let_go: Callable[[ProviderRecord], None]) -> None:
        self.current = first
        self._let_go = let_go
        self._older: list[Snapshot[R]] = []
        self.leaving: list[ProviderRecord] = []
        """Providers the current snapshot lacks and a call may still need."""

    def enter(self) -> Snapshot[R]:
        """A call begins: what it gets is its view of the world until it hands it back to `leave`."""
        snapshot = self.current
        snapshot.calls += 1
        return snapshot

    def leave(self, snapshot: Snapshot[R]) -> None:
        """A call that had entered is over."""
        snapshot.calls -= 1
        if not snapshot.calls and snapshot is not self.current:
            self._older.remove(snapshot)
            self._sweep()

    def replace(self, snapshot: Snapshot[R]) -> None:
        """Calls that begin from now on see this one."""
        old, self.current = self.current, snapshot
        if old.calls:
            self._older.append(old)
        kept = set(snapshot.providers.values())
        self.leaving += [record for record in old.providers.values() if record not in kept]
        self._sweep()

    def _sweep(self) -> None:
        needed = {record for snapshot in self._older for record in snapshot.providers.values()}
        free = [record for record in self.leaving if record not in needed]
        self.leaving = [record for record in self.leaving if record in needed]
        for record in free:
            self._let_go(record)


def same_provider(old: ProviderSettings, new: ProviderSettings) -> bool:
    """Whether what is known of the one holds for the other.

    Breakers, latencies and limits describe a server at an address: with another address or wire format nothing
    that was learned is true any more. A local provider is its server's process, and so what that was started with.
    """
    where = [(its.name, its.kind, its.base_url, its.network.unix_socket) for its in (old, new)]
    if where[0] != where[1]:
        return False
    return old.kind != "local" or (next(iter(old.models), None), old.max_concurrency) == (
        next(iter(new.models), None), new.max_concurrency,
    )  # fmt: skip


class Difference(NamedTuple):
    """What one configuration has that another has not, as in `ConfigApplied`."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def difference(old: Config, new: Config) -> Difference:
    """Compare two configurations, table by table."""
    added, removed, changed = [], [], []
    before = {f"provider.{its.name}": its for its in old.providers}
    after = {f"provider.{its.name}": its for its in new.providers}
    for name in _names(before, after):
        was, now = before.get(name), after.get(name)
        if was is None or now is None or not same_provider(was, now):
            added += [name] if now is not None else []
            removed += [name] if was is not None else []
        elif was != now:
            changed.append(name)
    for name in _names(old.routes, new.routes):
        if name not in old.routes:
            added.append(f"route.{name}")
        elif name not in new.routes:
            removed.append(f"route.{name}")
        elif old.routes[name] != new.routes[name]:
            changed.append(f"route.{name}")
    others = (each.name for each in fields(Config) if each.name not in ("providers", "routes"))
    changed += [name for name in others if getattr(old, name) != getattr(new, name)]
    return Difference(tuple(added), tuple(removed), tuple(changed))


def _names(*mappings: Iterable[str]) -> dict[str, None]:
    """All names, each once, in order."""
    return dict.fromkeys(name for mapping in mappings for name in mapping)
