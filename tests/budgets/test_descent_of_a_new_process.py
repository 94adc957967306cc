"""Budget-driven descent in a process that has just begun: it goes by what was spent before it, and by others."""

import asyncio

import pytest
from shared_ledger import Book, SharedLedger
from world import world

from resilio.events import CallSettled
from resilio.models import Level
from resilio.testing.script import Script

CHAT = {"targets": ["a/m"], "max_output_tokens": 10, "descent": {"economy": 0.5},
        "ladder": ["full", {"simpler": "small"}]}  # fmt: skip
SMALL = {"targets": ["b/m"], "max_output_tokens": 10}
BUDGET = {"per": "user", "window": "day", "limit_tokens": 400}


def begun(ledger):
    return world(a=Script(answer="large"), b=Script(answer="small"), routes={"chat": CHAT, "small": SMALL},
                 budgets=[BUDGET], ledger=ledger)  # fmt: skip


async def test_a_process_that_begins_goes_by_what_was_spent_before_it():
    book = Book()
    async with begun(SharedLedger(book)) as w:
        for number in range(200):
            if (await w.llm.complete("chat", f"Question {number}", user="ann")).level is Level.SIMPLER:
                break
        assert number > 1
    async with begun(SharedLedger(book)) as w:
        assert (await w.llm.complete("chat", "First", user="ann")).level is Level.SIMPLER
    async with begun(SharedLedger(book)) as w, w.llm.stream("chat", "First", user="ann") as stream:
        assert "".join([chunk.text async for chunk in stream]) == "small"


async def test_who_gives_up_while_the_ledger_is_asked_leaves_nothing_behind():
    async with begun(SharedLedger(Book(), turns=1000)) as w:
        asking = asyncio.create_task(w.llm.complete("chat", "First", user="ann"))
        for _ in range(10):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [each.final for each in w.events if isinstance(each, CallSettled)] == ["cancelled"]
        w.assert_idle()
