"""State machines as tables; see `table` for how they run and `docs` for how they are shown.

Pure: time and randomness are arguments. `TABLES` holds every machine of the package; a machine that is
listed here is drawn in the documentation and searched by the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilio.statemachines.actor import ACTOR
from resilio.statemachines.breaker import BREAKER
from resilio.statemachines.budget import BUDGET
from resilio.statemachines.request import REQUEST
from resilio.statemachines.service import SERVICE_LEVEL
from resilio.statemachines.stream import STREAM
from resilio.statemachines.table import IllegalEvent, Row, Stepper, Table, TableError

__all__ = ["TABLES", "IllegalEvent", "Row", "Stepper", "Table", "TableError"]

TABLES: Final[Mapping[str, Table[Any]]] = {
    table.name: table for table in (BREAKER, ACTOR, REQUEST, STREAM, BUDGET, SERVICE_LEVEL)
}
"""Every machine, by its name."""
