"""One entity's part in one budget, as this process sees it: its limit, its window, its blocks, its state.

Pure. A holding outlives its windows: when one ends it begins the next with an empty block, and keeps the old one until
the calls that reserved in it are over. What is spent stays in the window in which it was reserved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from resilio.budget.block import Block
from resilio.budget.units import Unit, units_of
from resilio.budget.windows import Window, window_of
from resilio.config import BudgetSettings
from resilio.models import Identity
from resilio.statemachines.budget import BudgetFlow

__all__ = ["EVERYBODY", "Budget", "Holding", "budgets_of", "entity_of"]

A = TypeVar("A")

EVERYBODY: Final = "*"
"""The one entity of a budget over the whole program."""

SHARE: Final = 8
"""A claim takes an eighth of what is left, so that a few claims serve many calls and the other processes keep most."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in one unit; settings that set two make two of them."""

    name: str
    """As the settings call it: ``user/day``."""
    account: str
    """As the ledger does: ``user/day/tokens``."""
    per: str
    unit: Unit
    window: Window
    limit: int
    """Units for each entity."""
    limits: Mapping[str, int]
    """Units for entities that have a limit of their own."""
    only: frozenset[str]
    """The entities it is for; none: for all."""
    soft: float
    stop_streams: bool
    settings: BudgetSettings = field(repr=False)

    def limit_of(self, entity: str) -> int:
        return self.limits.get(entity, self.limit)

    def soft_of(self, limit: int) -> int:
        """Units from which the soft limit is exceeded."""
        return math.ceil(limit * self.soft)


def budgets_of(settings: Iterable[BudgetSettings]) -> tuple[Budget, ...]:
    """The budgets these settings describe, in their order."""
    found = []
    for its in settings:
        window = window_of(its)
        kinds: tuple[tuple[Unit, float | None, Mapping[str, float]], ...] = (
            ("tokens", its.limit_tokens, its.limit_tokens_for),
            ("usd", its.limit_usd, its.limit_usd_for),
        )
        for unit, limit, limits in kinds:
            if limit is None:
                continue
            own = {entity: _limit(unit, each) for entity, each in limits.items()}
            found.append(
                Budget(
                    its.title, f"{its.title}/{unit}", its.per, unit, window, _limit(unit, limit), own,
                    frozenset(its.only), its.soft, its.stop_streams, its,
                )
            )  # fmt: skip
    return tuple(found)


def _limit(unit: Unit, amount: float) -> int:
    """Rounded to the nearest unit: nobody meant a fraction of one."""
    return units_of(unit, amount)


def entity_of(per: str, identity: Identity) -> str | None:
    """Whose budget a call draws on; None: nobody's, as it does not say."""
    if per == "all":
        return EVERYBODY
    value: object = identity.tags.get(per[4:]) if per.startswith("tag:") else getattr(identity, per)
    if value is None:
        return None
    name = value if isinstance(value, str) else str(value)  # callers without a type checker pass numbers
    # Half a character pair is text to Python and to no ledger.
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


class Holding(Generic[A]):
    """See the module.

    Args:
        budget: Which.
        entity: Whose.
        account: Makes the ledger's name of an account of budget, entity and window.
        wall: Unix seconds.

    Attributes:
        limit: Units, whoever set it.
        by_hand: It was set while running; another configuration leaves it.
        flow: Its state; `flow.spent` is what is known to be spent in the window, by anybody.
        left: Units nobody had claimed or spent when the ledger was last asked.
        used_at: Monotonic instant of the last reservation.
    """

    __slots__ = (
        "_account", "asked", "block", "blocks", "budget", "by_hand", "due", "entity", "flow", "gone", "left", "limit",
        "refused", "refused_until", "span", "used_at", "wanted",
    )  # fmt: skip

    def __init__(self, budget: Budget, entity: str, account: Callable[[str, str, str], A], wall: float) -> None:
        self.budget = budget
        self.entity = entity
        self.limit = budget.limit_of(entity)
        self.by_hand = False
        self.flow = BudgetFlow(self.limit, budget.soft_of(self.limit))
        self.left = self.limit
        self.asked = False
        """The ledger has said what is spent in this window, by others and before we began."""
        self.used_at = -math.inf
        self.wanted = 0
        """Units that callers wait for."""
        self.refused = 0
        self.refused_until = -math.inf
        """Until this monotonic instant nobody asks again for so many units or more."""
        self.gone = False
        """Another configuration has no such budget; calls that reserved in it may still be under way."""
        self.due = math.inf
        """The monotonic instant at which somebody looks whether it still needs all it has claimed."""
        self._account = account
        self.span = budget.window.at(wall)
        self.block: Block[A] = Block(account(budget.account, entity, self.span.name))
        self.blocks: dict[str, Block[A]] = {self.span.name: self.block}
        """By name of their window, the current one among them."""

    def roll(self, now: float, wall: float) -> bool:
        """Go on to the window this instant lies in; True if it is another than before.

        A clock that was put back goes back to the earlier window of a calendar, with what was spent in it. A sliding
        window stays where it was, until the clock has caught up.
        """
        span, window = self.span, self.budget.window
        if wall < span.end and (wall >= span.start or window.slides):
            return False
        self.span = window.at(wall)
        # Of a sliding window most still counts, and what others have spent of it the ledger has yet to say: going by
        # our own part until then would tell the soft limit anew with each part.
        slid = window.slides and span.name in self.span.counted
        return self._begin(now, self.flow.spent if slid else None)

    def rebudget(self, now: float, wall: float, budget: Budget) -> bool:
        """Another configuration: the budget keeps its name and may have another window and limit. As for `roll`."""
        self.budget = budget
        self.span = budget.window.at(wall)
        limit = self.limit if self.by_hand else budget.limit_of(self.entity)
        self.set_limit(now, limit)
        return self._begin(now)

    def _begin(self, now: float, spent: int | None = None) -> bool:
        if self.blocks.get(self.span.name) is self.block:  # only its bounds were found anew
            return False
        block = self.blocks.get(self.span.name)
        if block is None:
            block = Block(self._account(self.budget.account, self.entity, self.span.name))
            self.blocks[self.span.name] = block
        self.block = block
        self.left = self.limit
        self.refused_until = -math.inf
        self.asked = spent is not None and self.asked
        self.flow.reset(now, self.spent_here() if spent is None else spent)
        return True

    def spent_here(self) -> int:
        """Units that calls of this process have used in what counts now, as far as its blocks still tell."""
        blocks = self.blocks
        if not self.budget.window.slides:
            return self.block.spent
        return sum(blocks[name].spent for name in self.span.counted if name in blocks)

    def pending_here(self) -> int:
        """Of these, those that are not durable yet."""
        return sum(self.blocks[name].pending for name in self.span.counted if name in self.blocks)

    def reserved_here(self) -> int:
        """Units that calls under way may still use, of what counts now."""
        return sum(self.blocks[name].reserved for name in self.span.counted if name in self.blocks)

    def to_claim(self) -> int:
        """How many units to ask the ledger for: near the limit what callers wait for, and no more."""
        return max(self.wanted - self.block.free, self.left // SHARE)

    def surplus(self) -> int:
        """Units that stay free for others when this block is put in order: an eighth of what is left is its due."""
        return max(0, self.left) // SHARE

    def resets_in(self, wall: float) -> float:
        """Seconds until something of what is spent counts no more."""
        window = self.budget.window
        if window.slides:
            spent = [name for name in self.span.counted if name in self.blocks and self.blocks[name].spent]
            if spent and self.flow.spent <= self.spent_here():  # nobody else's is older
                place = self.span.counted.index(spent[0]) - len(self.span.counted) // 2
                width = self.span.end - self.span.start
                return max(0.0, window.leaves(self.span) + place * width - wall)
        return max(0.0, self.span.end - wall)

    def spend(self, now: float, block: Block[A], used: int) -> None:
        """A call that had reserved in this block used so many units."""
        if block is self.block or any(self.blocks.get(name) is block for name in self.span.counted):
            self.flow.spend(now, self.flow.spent + used)

    def known(self, now: float, durable: int) -> None:
        """The ledger says how much of what counts now is spent and durable, by anybody."""
        self.asked = True
        spent = durable + self.pending_here()
        if spent < self.flow.spent and self.budget.window.slides:
            self.flow.reset(now, spent)
        else:
            self.flow.spend(now, spent)

    def set_limit(self, now: float, limit: int) -> None:
        """Another limit holds from now on. What is free was granted under the old one: the caller gives it back."""
        self.left += limit - self.limit
        self.limit = limit
        self.refused_until = -math.inf
        self.flow.set_limit(now, limit, self.budget.soft_of(limit))

    def forget(self) -> None:
        """Drop blocks of windows that are over, once nothing of them is left to do."""
        counted = self.span.counted
        for name in [name for name in self.blocks if name not in counted]:
            block = self.blocks[name]
            if block.idle and block.claimed <= 0:
                del self.blocks[name]

    @property
    def idle(self) -> bool:
        """Nothing is claimed, wanted or in use: it could be forgotten."""
        return not self.wanted and all(block.idle and block.claimed <= 0 for block in self.blocks.values())

    def __repr__(self) -> str:
        return f"<Holding of {self.entity!r} in {self.budget.account}: {self.flow.state}, {self.block!r}>"
