"""Budget-driven descent: a route gives less as a budget is spent, before there is nothing left to give.

Of all the budgets a call touches the one that is spent furthest decides; of several that leave as little, the one that
resets last, or its hint would send the caller back too soon. Levels below full have a machine each, by
route and entity; who is served in full has none, so that a million users cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from resilio.config import RouteSettings
from resilio.dispatch.call import Call
from resilio.errors import ServiceReduced
from resilio.events import ServiceLevelChanged
from resilio.statemachines.service import ALLOWED, ReducedService, ServiceFlow, ServiceLevel

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Engine
    from resilio.spending import Purse

__all__ = ["ServiceLevels", "Serving"]


LEDGER: Final = 1.0
"""Seconds for which a call waits to hear what its entity has spent; then it goes by what is known here."""


class Serving(NamedTuple):
    """What one call may still have."""

    level: ServiceLevel
    route: str
    budget: str
    entity: str
    share: float
    resets_in: float

    def allows(self, kind: str) -> bool:
        """Whether a rung of this kind is tried."""
        return kind in ALLOWED[self.level]

    def error(self) -> ServiceReduced:
        """What ends a call that no rung answers."""
        return ServiceReduced(self.route, self.level, self.budget, self.entity, self.share, self.resets_in)


_ORDER = tuple(ServiceLevel)


def _strictness(serving: Serving) -> tuple[int, float]:
    return _ORDER.index(serving.level), serving.resets_in


class ServiceLevels:
    """The levels of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._flows: dict[tuple[str, str, str], ServiceFlow] = {}
        """Of those below full, by route, account and entity."""

    async def of(self, call: Call, route: RouteSettings) -> Serving | None:
        """What this call may have of a route; None: everything.

        An entity that is new here may have spent all it has elsewhere, or before it was forgotten: the ledger is asked.
        """
        spending = self._engine.spending
        if route.descent is None or not spending.budgets:
            return None
        await spending.know(call.request.identity, min(call.until, self._engine.clock() + LEDGER))
        found: Serving | None = None
        for purse in spending.current(call.request.identity):
            flow = self._observed(route, purse)
            if flow is None:
                continue
            resets_in = purse.resets_in(self._engine.wall())
            budget = purse.budget.name
            serving = Serving(flow.state, route.name, budget, purse.entity, flow.share, resets_in)
            if found is None or _strictness(serving) > _strictness(found):
                found = serving
        return found

    def _observed(self, route: RouteSettings, purse: Purse) -> ServiceFlow | None:
        assert route.descent is not None, "looked at by the only caller"
        now = self._engine.clock()
        key = (route.name, purse.budget.account, purse.entity)
        share = purse.flow.spent / purse.limit if purse.limit else 1.0
        flow = self._flows.get(key) or ServiceFlow(route.descent)
        flow.settings = route.descent
        change = flow.observe(share, now)
        if change is not None:
            event = ServiceLevelChanged(
                route.name, purse.budget.name, purse.entity, change.source, change.dest, share, now
            )
            self._engine.emit(event)
        if flow.state is ServiceLevel.FULL:
            self._flows.pop(key, None)
            return None
        self._flows[key] = flow
        return flow

    def reduced(self) -> tuple[ReducedService, ...]:
        """Every route that gave somebody less than everything when they asked last."""
        self._forget()
        return tuple(
            ReducedService(route, budget, entity, flow.state, flow.share)
            for (route, budget, entity), flow in self._flows.items()
        )

    def _forget(self) -> None:
        """Drop what a reload has ended: routes that descend no more, budgets that are gone."""
        routes, accounts = self._engine.supervisor.routes, {its.account for its in self._engine.spending.budgets}
        for key in list(self._flows):
            route = routes.get(key[0])
            if route is None or route.settings.descent is None or key[1] not in accounts:
                del self._flows[key]
