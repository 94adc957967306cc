import re

import pytest
from ledgers import opened

from resilio.store import STORES, MemoryLedger, open_ledger
from resilio.store.audit import audit
from resilio.store.sqlite import SqliteLedger
from resilio.testing import InlineExecutor, check_store


async def test_the_ledger_in_memory_conforms():
    async def open_one():
        return MemoryLedger()

    await check_store(open_one, shared=False)


async def test_the_durable_ledger_conforms(tmp_path):
    path = tmp_path / "ledger.db"
    await check_store(lambda: opened(path), crash=SqliteLedger.abandon)
    assert audit(path).clean


@pytest.mark.real_loop
async def test_the_durable_ledger_conforms_with_threads(tmp_path):
    await check_store(lambda: SqliteLedger.open(tmp_path / "ledger.db"), crash=SqliteLedger.abandon)


async def test_every_row_of_the_registry_opens_a_ledger(tmp_path):
    for name, open_one in STORES.items():
        ledger = await open_one(tmp_path / name, executor=InlineExecutor(), wall=lambda: 5.0)
        assert await ledger.spent("b", {"e": ("w",)}) == {"e": 0}
        await ledger.aclose()


async def test_a_program_without_a_ledger_file_gets_one_in_memory(tmp_path):
    assert isinstance(await open_ledger(), MemoryLedger)
    durable = await open_ledger(tmp_path / "ledger.db", executor=InlineExecutor())
    assert isinstance(durable, SqliteLedger)
    await durable.aclose()


class GrantsTooMuch(MemoryLedger):
    async def claim(self, account, wanted, *, least, limit, counted):
        return await super().claim(account, wanted, least=least, limit=limit + 10, counted=counted)


class ForgetsWhatExceedsTheClaim(MemoryLedger):
    async def settle(self, entries):
        for entry in entries:
            claimed = self._balance(entry.account).claimed
            await super().settle([entry._replace(amount=min(entry.amount, claimed))])


class WritesTheGoodOnes(MemoryLedger):
    async def settle(self, entries):
        for entry in entries:
            await super().settle([entry])


class GoesOnClosed(MemoryLedger):
    async def aclose(self):
        pass


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        (GrantsTooMuch, "60 of 100 free units"),
        (ForgetsWhatExceedsTheClaim, "what exceeds the claim is spent all the same"),
        (WritesTheGoodOnes, "of entries that were refused none may count"),
        (GoesOnClosed, "a closed ledger must raise"),
    ],
)
async def test_a_ledger_that_breaks_a_promise_is_found_out(wrong, finding):
    async def open_one():
        return wrong()

    with pytest.raises(AssertionError, match=re.escape(finding)):
        await check_store(open_one, shared=False)


async def test_a_ledger_that_forgets_what_was_in_use_is_found_out(tmp_path):
    class SaysNothing(SqliteLedger):
        def hold(self, account, units):
            pass

    async def open_one():
        return await SaysNothing.open(tmp_path / "ledger.db", executor=InlineExecutor())

    with pytest.raises(AssertionError, match="what is in use at the end is charged"):
        await check_store(open_one, crash=SqliteLedger.abandon)
