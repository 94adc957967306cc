"""The whole engine over a durable ledger: what budgets spend outlives the client, its death and a full disk."""

import asyncio

import pytest
from ledgers import opened
from world import world

from resilio import BudgetExceeded, LedgerUnavailable
from resilio.store.audit import audit, entries
from resilio.testing import Script
from resilio.testing.latency import Fixed

OK = Script(answer="fine " * 60, first_token=Fixed(0.1))
DAY = {"per": "user", "window": "day", "limit_tokens": 1000}
ROUTE = {"max_output_tokens": 100}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


def over(ledger):
    return world(a=OK, route=ROUTE, budgets=[DAY], ledger=ledger)


async def ask_until_refused(w):
    replies = []
    try:
        while len(replies) < 1000:
            replies.append(await w.llm.complete("chat", "hi", user="alice"))
    except BudgetExceeded:
        pass
    return replies


async def test_a_budget_that_is_used_up_stays_so_after_a_restart(path):
    async with over(await opened(path)) as w:
        replies = await ask_until_refused(w)
    assert len(replies) > 5
    async with over(await opened(path)) as w:  # has learned nothing yet of how far estimates are off: one may fit
        replies_after = await ask_until_refused(w)
    assert len(replies_after) <= 1
    used = sum(reply.usage.total_tokens for reply in replies + replies_after)
    assert used <= 1000
    assert sum(entry.amount for entry in entries(path)) == used
    found = audit(path)
    assert (found.clean, found.processes) == (True, 0)


async def test_calls_under_way_when_the_process_dies_are_charged(path):
    ledger = await opened(path)
    async with over(ledger) as w:
        first = await w.llm.complete("chat", "hi", user="alice")
        await asyncio.sleep(0.1)
        calls = [asyncio.ensure_future(w.llm.complete("chat", "hi", user="alice")) for _ in range(3)]
        await asyncio.sleep(0.05)  # sent, and not answered
        ledger.abandon()
        await asyncio.gather(*calls, return_exceptions=True)
    other = await opened(path)
    await other.aclose()
    found = entries(path)
    assert [(entry.kind, entry.amount) for entry in found[:1]] == [("settled", first.usage.total_tokens)]
    [presumed] = [entry.amount for entry in found if entry.kind == "presumed"]
    assert 3 * 100 < presumed <= 3 * 140
    assert len(found) == 2


async def test_on_a_full_disk_nothing_new_is_spent_and_what_was_is_written_later(path):
    ledger = await opened(path)
    connection = ledger._books._connection
    async with over(ledger) as w:
        under_way = asyncio.ensure_future(w.llm.complete("chat", "hi", user="alice"))
        await asyncio.sleep(0.05)
        connection.execute("PRAGMA query_only = ON")  # refuses as a disk does
        reply = await under_way
        await asyncio.sleep(1.0)
        with pytest.raises(LedgerUnavailable):
            await w.llm.complete("chat", "hi", user="alice")
        connection.execute("PRAGMA query_only = OFF")
        await asyncio.sleep(10.0)
        again = await w.llm.complete("chat", "hi", user="alice")
    spent = [entry.amount for entry in entries(path)]
    assert spent == [reply.usage.total_tokens, again.usage.total_tokens]
    assert audit(path).clean
