"""Ledgers here are not synced to the disk: only power loss could tell, and the suite is three times as fast."""

import dataclasses

import pytest

from resilio.store import sqlite


@pytest.fixture(autouse=True)
def _without_syncs(monkeypatch):
    monkeypatch.setattr(sqlite, "LEDGER", dataclasses.replace(sqlite.LEDGER, synchronous="OFF"))
