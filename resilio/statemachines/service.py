"""How much service a route still gives one entity, by how much of its budget is spent.

Pure: callers say the share that is spent. It decides nothing by itself; the ladder passes over rungs that a level does
not allow. Every level can follow every other, since a budget may be spent at one stroke, and a new window
gives everything back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from resilio.config import DescentSettings
from resilio.statemachines.table import Row, Table

__all__ = ["ALLOWED", "ReducedService", "SERVICE_LEVEL", "ServiceChange", "ServiceFlow", "ServiceLevel"]


class ServiceLevel(StrEnum):
    """What a route still does."""

    FULL = "full"
    ECONOMY = "economy"
    """Simpler models alone are asked."""
    CACHE_ONLY = "cache_only"
    """Nobody is asked: what is kept or prepared is all there is."""
    SHEDDING = "shedding"
    """Prepared answers, or a refusal."""


_L = ServiceLevel
_ANY: Final = tuple(ServiceLevel)

ALLOWED: Final = {
    _L.FULL: frozenset({"full", "cache", "simpler", "static"}),
    _L.ECONOMY: frozenset({"cache", "simpler", "static"}),
    _L.CACHE_ONLY: frozenset({"cache", "static"}),
    _L.SHEDDING: frozenset({"static"}),
}
"""Kinds of rungs that each level allows."""

SERVICE_LEVEL: Final = Table(
    "service level",
    "What a route still does for one entity, as its budget is spent.",
    initial=_L.FULL,
    rows=(
        Row("observe", _ANY, _L.SHEDDING, "past_shedding"),
        Row("observe", _ANY, _L.CACHE_ONLY, "past_cache_only"),
        Row("observe", _ANY, _L.ECONOMY, "past_economy"),
        Row("observe", _ANY, _L.FULL),
    ),
)


@dataclass(frozen=True, slots=True)
class ReducedService:
    """A route that gives one entity less than everything."""

    route: str
    budget: str
    entity: str
    level: ServiceLevel
    share: float
    """Of the budget's limit that was spent when it was looked at last."""


class ServiceChange(NamedTuple):
    """One change of level."""

    source: ServiceLevel
    dest: ServiceLevel
    share: float


class ServiceFlow:
    """The level of one route for one entity.

    Args:
        settings: Shares from which each level holds.

    Attributes:
        state: The level.
        share: What was observed last.
    """

    __slots__ = ("settings", "share", "state")

    def __init__(self, settings: DescentSettings) -> None:
        self.settings = settings
        self.state = ServiceLevel.FULL
        self.share = 0.0
        SERVICE_LEVEL.bind(self)

    def observe(self, share: float, now: float) -> ServiceChange | None:
        """So much of the budget is spent.

        Args:
            share: Of the limit, 0 to 1, or above where it was passed.
            now: Monotonic seconds.

        Returns:
            The change; None: the level is as before.
        """
        self.share = share
        source = self.state
        SERVICE_LEVEL.fire(self, "observe", now)
        return None if self.state is source else ServiceChange(source, self.state, share)

    def _past(self, limit: float | None) -> bool:
        return limit is not None and self.share >= limit

    def _past_shedding(self, now: float) -> bool:
        return self._past(self.settings.shedding)

    def _past_cache_only(self, now: float) -> bool:
        return self._past(self.settings.cache_only)

    def _past_economy(self, now: float) -> bool:
        return self._past(self.settings.economy)

    def __repr__(self) -> str:
        return f"<ServiceFlow {self.state} at {self.share:.3f}>"
