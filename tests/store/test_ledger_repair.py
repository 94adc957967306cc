import os
import random
import sqlite3

import pytest
from ledgers import ALICE, claimed, opened, spending, spent_by

from resilio.errors import LedgerUnavailable
from resilio.store import Entry, sqlite
from resilio.store import audit as audit_module
from resilio.store.audit import Difference, audit, entries, repair, standings
from resilio.store.files import set_aside
from resilio.store.held import HeldFile

BOB = ALICE._replace(entity="bob")
ENTRIES = 600


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


async def fill(path):
    ledger = await opened(path)
    for number in range(ENTRIES):
        await ledger.settle([spending(1 + number % 3, f"r{number}", BOB if number % 2 else ALICE)])
    await ledger.aclose()


def tamper(path, statement):
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER IF EXISTS entries_stay")
        other.execute("DROP TRIGGER IF EXISTS entries_stay_as_they_are")
        other.execute(statement)
    other.close()


async def test_an_audit_proves_balances_and_changes_nothing(path):
    await fill(path)
    before = path.read_bytes()
    found = audit(path)
    assert found.clean
    assert (found.entries, found.accounts, found.processes) == (ENTRIES, 2, 0)
    assert path.read_bytes() == before


async def test_an_audit_may_run_while_the_ledger_is_used(path):
    ledger = await opened(path)
    for number in range(20):
        await ledger.settle([spending(1, f"r{number}")])
        assert (audit(path).entries, audit(path).processes) == (number + 1, 1)
    await ledger.aclose()


@pytest.mark.parametrize(
    ("statement", "balance", "proved"),
    [
        ("UPDATE account SET spent = spent - 5 WHERE entity = 'alice'", 595, 600),
        ("DELETE FROM entry WHERE id = 1", 600, 599),
        ("UPDATE entry SET amount = amount + 7 WHERE id = 1", 600, 607),
        ("INSERT INTO entry (account, kind, amount, request, at) VALUES (1, 0, 9, 'x', 1.0)", 600, 609),
    ],
)
async def test_an_audit_reports_every_balance_that_its_entries_do_not_prove(path, statement, balance, proved):
    await fill(path)
    tamper(path, statement)
    assert audit(path).differences == (Difference(ALICE, balance, proved),)


async def test_entries_of_an_account_that_is_gone_are_reported(path):
    await fill(path)
    tamper(path, "DELETE FROM account WHERE entity = 'bob'")
    [difference] = audit(path).differences
    assert (difference.account.entity, difference.balance) == ("account 2", 0)


async def test_an_audit_names_damage(path):
    await fill(path)
    data = bytearray(path.read_bytes())
    data[-4096:] = os.urandom(4096)
    path.write_bytes(data)
    found = audit(path)
    assert not found.clean
    assert found.damage


def test_what_is_not_a_ledger_is_not_audited(path):
    with pytest.raises(LedgerUnavailable, match="no such file"):
        audit(path)
    path.write_text("no ledger, but a file of some length " * 40)
    with pytest.raises(LedgerUnavailable, match="damaged"):
        audit(path)


# --- repair --------------------------------------------------------------------------------------


async def test_balances_that_differ_are_taken_from_the_entries(path):
    await fill(path)
    tamper(path, "UPDATE account SET spent = 5")
    done = repair(path)
    assert (done.entries, done.unreadable, done.corrected) == (ENTRIES, 0, [])
    assert audit(path).clean
    ledger = await opened(path)
    assert (await spent_by(ledger), await spent_by(ledger, BOB)) == (600, 600)
    await ledger.aclose()


@pytest.mark.parametrize("harm", ["first page", "head"])
async def test_a_ledger_without_its_beginning_loses_nothing(path, harm):
    await fill(path)
    before = entries(path)
    data = bytearray(path.read_bytes())
    size = 4096 if harm == "first page" else 100
    data[:size] = os.urandom(size)
    path.write_bytes(data)
    with pytest.raises(LedgerUnavailable, match="set aside"):
        await opened(path)
    done = repair(path)
    assert (done.entries, done.unreadable) == (ENTRIES, 0)
    assert entries(path) == before
    assert audit(path).clean
    assert set_aside(path).read_bytes() == data  # kept as it was


async def test_what_lost_entries_had_spent_is_not_forgotten(path):
    await fill(path)
    with sqlite3.connect(path) as reader:
        [(root,)] = reader.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry'")
    reader.close()
    data = bytearray(path.read_bytes())
    pages = [
        at
        for at in range(0, len(data), 4096)
        if data[at] == 13 and at // 4096 + 1 != root and b"r300" in data[at : at + 4096]
    ]
    for at in pages:
        data[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    done = repair(path)
    assert 0 < done.unreadable < ENTRIES
    assert done.entries + done.unreadable == ENTRIES
    assert {its.account for its in done.corrected} == {ALICE, BOB}
    ledger = await opened(path)
    assert (await spent_by(ledger), await spent_by(ledger, BOB)) == (600, 600)
    await ledger.aclose()
    assert audit(path).clean
    assert [entry.request_id for entry in entries(path, last=2)] == ["repair", "repair"]
    again = repair(path)
    assert (again.unreadable, again.corrected) == (0, [])


async def test_claims_of_the_dead_are_carried_over_with_what_was_in_use(path):
    await fill(path)
    ledger = await opened(path)
    await claimed(ledger, 100, limit=10_000)
    ledger.hold(ALICE, 30)
    ledger.abandon()
    data = bytearray(path.read_bytes())
    data[:100] = bytes(100)
    path.write_bytes(data)
    done = repair(path)
    assert (done.claims, done.claims_lost) == (1, False)
    other = await opened(path)
    assert await spent_by(other) == 630
    await other.aclose()


async def test_a_ledger_in_use_is_not_repaired(path):
    ledger = await opened(path)
    with pytest.raises(LedgerUnavailable, match="still uses it"):
        repair(path)
    await ledger.settle([spending(1)])
    await ledger.aclose()
    assert audit(path).clean


async def test_a_ledger_is_not_repaired_while_somebody_opens_it(path, monkeypatch):
    await fill(path)
    create = HeldFile.create
    tried = []

    def halfway(folder):
        with pytest.raises(LedgerUnavailable, match="another process opens or repairs it"):
            repair(path)
        tried.append(folder)
        return create(folder)

    with monkeypatch.context() as patched:
        patched.setattr(HeldFile, "create", halfway)
        ledger = await opened(path)
    assert tried
    await ledger.aclose()
    assert audit(path).entries == ENTRIES


async def test_a_ledger_is_neither_opened_nor_repaired_again_while_it_is_repaired(path, monkeypatch):
    await fill(path)
    carry_over = audit_module._carry_over
    refused = []

    def halfway(*args):
        for use in (lambda: sqlite._open(path, "boot", lambda: 5.0, True), lambda: repair(path)):
            with pytest.raises(LedgerUnavailable, match=r"another process .*repairs it"):
                use()
            refused.append(use)
        carry_over(*args)

    with monkeypatch.context() as patched:
        patched.setattr("resilio.store.files.BUSY_TIMEOUT", 0.0)
        patched.setattr(audit_module, "_carry_over", halfway)
        repair(path)
    assert len(refused) == 2
    assert audit(path).entries == ENTRIES


def test_without_any_file_there_is_nothing_to_repair(path):
    with pytest.raises(LedgerUnavailable, match="none that was set aside"):
        repair(path)


async def test_repaired_twice_every_damaged_one_is_kept(path):
    await fill(path)
    repair(path)
    repair(path)
    assert len([its for its in path.parent.iterdir() if ".corrupt-" in its.name and its.is_file()]) == 2
    assert audit(path).entries == ENTRIES


@pytest.mark.parametrize("seed", range(12))
async def test_random_damage_is_found_or_harmless_and_repair_always_gives_a_sound_ledger(path, seed):
    await fill(path)
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 5, 50))):
        at = rng.randrange(len(data))
        length = rng.choice((1, 8, 200))
        data[at : at + length] = rng.randbytes(len(data[at : at + length]))
    path.write_bytes(data)
    repair(path)
    assert audit(path).clean
    ledger = await opened(path)
    await ledger.settle([spending(1, "after")])
    await ledger.aclose()
    assert entries(path, last=1) == [spending(1, "after")]


# --- looking into one ----------------------------------------------------------------------------


async def test_accounts_are_shown_with_what_is_spent_and_claimed(path):
    ledger = await opened(path)
    await claimed(ledger, 100)
    await ledger.settle([spending(30), spending(50, account=BOB), Entry(BOB, "corrected", -5, "x", 2.0)])
    assert [tuple(its) for its in standings(path)] == [(BOB, 45, 0), (ALICE, 30, 70)]
    assert [its.account for its in standings(path, entity="alice")] == [ALICE]
    assert standings(path, budget="none") == []
    assert [its.amount for its in entries(path, entity="bob")] == [50, -5]
    assert [its.amount for its in entries(path, last=1)] == [-5]
    await ledger.aclose()
