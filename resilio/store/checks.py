"""What may be asked of a ledger, whichever it is. Refused here, nonsense never meets what others queued beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from resilio.store.base import Account, Entry

__all__ = ["check_claim", "check_entries", "check_units"]

MOST: Final = 2**60
"""Of one amount. Eight of them still fit a balance: in 1e-12 US dollars that is a million each."""


def check_units(amount: Any, what: str) -> None:
    """A whole number of at least 0.

    Raises:
        ValueError: It is not.
    """
    if type(amount) is not int or not 0 <= amount <= MOST:
        raise ValueError(f"{what} must be a whole number from 0 to 2**60, not {amount!r:.80}")


def check_claim(account: Account, wanted: int, least: int, limit: int, counted: Sequence[str]) -> None:
    """What `Ledger.claim` asks of its arguments.

    Raises:
        ValueError: See there.
    """
    for amount, what in ((wanted, "wanted"), (least, "least"), (limit, "limit")):
        check_units(amount, what)
    if not 1 <= least <= wanted:
        raise ValueError(f"least must be from 1 to wanted ({wanted}), not {least}")
    if account.window not in counted:
        raise ValueError(f"window {account.window!r} must be among those counted, not {counted!r:.80}")


def check_entries(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What `Ledger.settle` asks of its entries.

    Raises:
        ValueError: See there.
    """
    lines = tuple(entries)
    for line in lines:
        if type(line.amount) is not int or abs(line.amount) > MOST:
            raise ValueError(f"amount must be a whole number within 2**60, not {line.amount!r:.80}")
        if line.kind not in ("settled", "presumed", "corrected"):
            raise ValueError(f"kind must be settled, presumed or corrected, not {line.kind!r:.80}")
        if not math.isfinite(line.at):
            raise ValueError(f"at must be Unix seconds, not {line.at!r}")
        if not all(isinstance(text, str) for text in (*line.account, line.request_id)):
            raise ValueError(f"{line!r:.200} holds a name that is not text")
    return lines
