"""What a ledger offers to the budgets above it: claims, entries, balances. Every call is atomic by itself.

A limit is shared by processes through *claims*: a process takes a block of what is left of a limit in one transaction,
and then reserves and settles inside its block without asking anybody. So the sum of all claims and all spending of the
windows that count never passes the limit, and nothing here waits on the path of a call that its block can pay.

Amounts are whole units: tokens, or 1e-12 US dollars (sums of floats drift). Instants are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = ["Account", "Claimed", "Entry", "Ledger"]

EntryKind = Literal["settled", "presumed", "corrected"]
"""``settled``: what a call used; ``presumed``: what a crash left open, charged as if it had been used; ``corrected``: a
difference to an earlier entry, perhaps negative."""


class Account(NamedTuple):
    """One budget of one entity in one window: what spending is written under."""

    budget: str
    """Name of the budget, which fixes its unit: ``user/day/tokens``."""
    entity: str
    """Whose it is: ``alice``."""
    window: str
    """Which window, as the budget names it: ``2026-11-24``; of a sliding one, the slot."""


class Entry(NamedTuple):
    """One line of the ledger. Lines are only ever added."""

    account: Account
    kind: EntryKind
    amount: int
    request_id: str
    at: float


class Claimed(NamedTuple):
    """The answer to a claim."""

    granted: int
    """Units that are this process's now, on top of what it has; 0: refused."""
    left: int
    """Units of the limit that nobody has claimed or spent, after this claim."""


class Ledger(Protocol):
    """What one process sees of the ledger. One event loop uses it."""

    async def claim(self, account: Account, wanted: int, *, least: int, limit: int, counted: Sequence[str]) -> Claimed:
        """Take up to `wanted` units of what is left, or nothing if fewer than `least` are.

        Left is `limit` less everything spent and everything claimed, by any process, under the account's budget and
        entity in the windows `counted` (the account's own among them; a sliding window counts several).

        Cancelled, it claims nothing: what was granted meanwhile goes back.

        Raises:
            LedgerUnavailable: It cannot be written (full disk, corrupt, closed). Nothing was claimed.
            ValueError: `least` is not from 1 to `wanted`, or the account's own window is not `counted`.
        """
        ...

    async def give_back(self, account: Account, amount: int) -> None:
        """Return units of this process's claim that were never used. They are free at once for everybody.

        Cancelled, it counts as done.

        Raises:
            LedgerUnavailable: As for `claim`; the claim then stays with this process.
            ValueError: The claim is not so large.
        """
        ...

    async def settle(self, entries: Sequence[Entry]) -> None:
        """Append entries, all or none; they are durable when this returns, in the order given.

        Each takes its amount out of this process's claim on its account; what exceeds the claim is spent all the same.

        Await it directly, and say with `hold` what is still in use before anything else is awaited, even if the
        number is the same: it is the pair of the two that a crash between them cannot count twice. Cancelled, it
        counts as done: the ledger has taken the entries over and writes them, so they are not to be given again.

        Raises:
            LedgerUnavailable: They were not written. The caller keeps them and tries again.
            ValueError: An amount is not a whole number, or beyond 2**60: no such line can be written, ever.
        """
        ...

    def hold(self, account: Account, units: int) -> None:
        """Say how many units of the claim are in use now: reserved by calls under way, or spent and not yet durable.

        Synchronous and cheap (no system call): it is said before a request is sent. Should this process die, whoever
        opens the ledger next charges so many units as `presumed` and frees the rest of the claim; where a ledger cannot
        tell (power was lost), it charges the whole claim. Of a closed ledger it does nothing.

        Raises:
            LedgerUnavailable: Nothing was claimed of this account, and there is no room to say what is in use of it.
        """
        ...

    async def spent(self, budget: str, windows: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
        """Units spent by each entity in the windows that count for it: ``{"alice": ("2026-11-24",)}``."""
        ...

    async def aclose(self) -> None:
        """Write what is queued, charge what is in use as after a crash, free the rest of the claims, and close."""
        ...
