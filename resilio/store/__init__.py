"""Durable state behind small protocols: what was spent, and what was asked.

`base` holds the protocols; an engine is a row of `STORES`.
"""

from __future__ import annotations

from resilio.store.base import Account, Claimed, Entry, Ledger

__all__ = ["Account", "Claimed", "Entry", "Ledger"]
