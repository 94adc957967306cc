"""A block of a limit: what one process holds of one account, and what of it is in use.

Pure arithmetic on whole units. The rule that keeps it true: what is reserved never passes what is free, so only a
call that uses more than it reserved can carry an account past its limit, by just that difference.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Block"]

A = TypeVar("A")
"""How the ledger calls an account."""


class Block(Generic[A]):
    """What this process has claimed of one account.

    Attributes:
        account: Which.
        claimed: Units this process holds in the ledger.
        reserved: Of these, set aside for calls under way.
        pending: Of these, spent by calls that are over, and not yet durable.
        returning: Of these, on their way back to the ledger; nobody may reserve them any more.
        spent: Units that calls reserved here have used, all told.
        overrun: By how much they used more than they had reserved.
    """

    __slots__ = ("account", "claimed", "overrun", "pending", "reserved", "returning", "spent")

    def __init__(self, account: A) -> None:
        self.account = account
        self.claimed = self.reserved = self.pending = self.returning = self.spent = self.overrun = 0

    @property
    def free(self) -> int:
        """Units that can be reserved now; below 0 after a call that used more than it had reserved."""
        return self.claimed - self.reserved - self.pending - self.returning

    @property
    def in_use(self) -> int:
        """Units that must be paid for should this process die now."""
        return self.reserved + self.pending

    @property
    def idle(self) -> bool:
        """Nothing is in use or on its way."""
        return not (self.reserved or self.pending or self.returning)

    def grant(self, units: int) -> None:
        """The ledger has granted more."""
        self.claimed += units

    def reserve(self, units: int) -> None:
        """Set units aside.

        Raises:
            ValueError: More than are free.
        """
        if units > max(0, self.free):  # what costs nothing may be had even then
            raise ValueError(f"{units} units were to be reserved and {self.free} are free: claim more first")
        self.reserved += units

    def settle(self, reserved: int, used: int) -> None:
        """Turn a reservation into spending, exactly once; `used` 0: it goes back whole.

        Raises:
            ValueError: More than all that is reserved: settled twice.
        """
        if reserved > self.reserved or used < 0:
            raise ValueError(f"{reserved} units were to be settled to {used} and {self.reserved} are reserved")
        self.reserved -= reserved
        self.pending += used
        self.spent += used
        self.overrun += max(0, used - reserved)

    def written(self, units: int) -> None:
        """So many of the pending units are durable: the ledger has taken them out of the claim."""
        self.pending -= units
        self.claimed = max(0, self.claimed - units)
        # A call that used more than it had reserved has used up what was on its way back, too.
        self.returning = min(self.returning, self.claimed)

    def take_back(self, keep: int = 0) -> int:
        """Set what is free, but for `keep` of it, on its way back to the ledger; returns how many units."""
        units = max(0, self.free - keep)
        self.returning += units
        return units

    def returned(self, units: int) -> None:
        """They are back."""
        self.returning -= units
        self.claimed -= units

    def __repr__(self) -> str:
        return f"<Block of {self.account}: {self.claimed} claimed, {self.in_use} in use>"
