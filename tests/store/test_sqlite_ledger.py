"""The durable ledger, alone and among others: what it promises when calls are cancelled, processes die, disks fill."""

import asyncio
import errno
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from ledgers import ALICE, Later, claimed, die, opened, run_with, spending, spent_by

from resilio.errors import LedgerUnavailable
from resilio.store.audit import audit, entries
from resilio.store.books import LEDGER
from resilio.store.files import in_use
from resilio.store.held import TakenOver
from resilio.store.sqlite import SqliteLedger, boot_id
from resilio.testing import run


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


def held_files(path):
    return sorted(path.with_name("ledger.db-held").iterdir())


# --- settling ------------------------------------------------------------------------------------


async def test_what_is_acknowledged_is_in_the_file(path):
    ledger = await opened(path)
    await ledger.settle([spending(3, "a"), spending(4, "b")])
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT request, amount FROM entry").fetchall() == [("a", 3), ("b", 4)]
    other.close()
    await ledger.aclose()


@pytest.mark.real_loop
async def test_callers_who_settle_at_once_share_commits(path):
    async with asyncio.timeout(60):
        ledger = await SqliteLedger.open(path)
        await asyncio.gather(*(ledger.settle([spending(1, f"r{number}")]) for number in range(500)))
        assert ledger.batches <= 200  # the first alone, the rest 50 at a time as they come
        assert await spent_by(ledger) == 500
        await ledger.aclose()
    assert [entry.request_id for entry in entries(path)] == [f"r{number}" for number in range(500)]


async def test_entries_cannot_be_changed_or_deleted(path):
    ledger = await opened(path)
    await ledger.settle([spending(3)])
    await ledger.aclose()
    with sqlite3.connect(path) as other:
        for statement in ("UPDATE entry SET amount = 1", "DELETE FROM entry"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                other.execute(statement)
    other.close()


async def test_a_clock_that_jumps_back_moves_no_entry_and_no_balance(path):
    ledger = await opened(path)
    for at in (1000.0, 10.0, 500.0, -7.0):
        await ledger.settle([spending(1, f"at{at}", at=at)])
    assert await spent_by(ledger) == 4
    await ledger.aclose()
    assert [entry.at for entry in entries(path)] == [1000.0, 10.0, 500.0, -7.0]
    assert audit(path).clean


async def test_an_entry_too_large_for_the_balance_fails_alone(path):
    ledger = await opened(path)
    results = await asyncio.gather(
        *(ledger.settle([spending(2**60, f"r{number}")]) for number in range(9)), return_exceptions=True
    )
    refused = [its for its in results if its is not None]
    assert len(refused) == 2
    assert all(isinstance(its, sqlite3.IntegrityError) for its in refused)
    assert await spent_by(ledger) == 7 * 2**60
    await ledger.aclose()
    assert audit(path).clean


@pytest.mark.parametrize("name", ["\ud800", "", "a\x00b", "Zoë 你好 🙂", "x" * 5000, "'; DROP TABLE entry; --"])
async def test_any_name_is_a_name(path, name):
    account = ALICE._replace(entity=name)
    ledger = await opened(path)
    await claimed(ledger, 10, account=account)
    ledger.hold(account, 4)
    await ledger.settle([spending(3, name, account)])
    ledger.hold(account, 1)
    ledger.abandon()
    other = await opened(path)
    assert await spent_by(other, account) == 4
    assert await spent_by(other) == 0
    await other.aclose()
    assert audit(path).clean


# --- cancellation --------------------------------------------------------------------------------


async def opened_later(path):
    later = Later()
    return await run_with(later, opened(path, executor=later)), later


@pytest.mark.parametrize("before_it_is_written", [True, False])
@pytest.mark.parametrize("natively", [True, False])
async def test_a_cancelled_settlement_is_written_once_and_charged_once(path, before_it_is_written, natively):
    ledger, later = await opened_later(path)
    await run_with(later, claimed(ledger, 100))
    ledger.hold(ALICE, 30)
    scope = anyio.CancelScope()

    async def call():
        with scope:
            await ledger.settle([spending(30, "cancelled")])

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    if not before_it_is_written:
        later.step()
    if natively:
        task.cancel()
        task.cancel()
    else:
        scope.cancel()
    await asyncio.wait([task])
    ledger.hold(ALICE, 0)  # the ledger has taken it over
    later.step()
    await asyncio.sleep(0)
    await run_with(later, ledger.aclose())
    assert [(entry.kind, entry.amount) for entry in entries(path)] == [("settled", 30)]


async def test_a_settlement_cancelled_before_a_crash_is_charged_as_presumed(path):
    ledger, later = await opened_later(path)
    await run_with(later, claimed(ledger, 100))
    ledger.hold(ALICE, 30)
    task = asyncio.ensure_future(ledger.settle([spending(30, "cancelled")]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    ledger.hold(ALICE, 0)
    die(ledger, later)  # the thread never came to it
    other = await opened(path)
    assert await spent_by(other) == 30
    await other.aclose()


async def test_a_cancelled_claim_leaves_nothing_claimed(path):
    ledger, later = await opened_later(path)
    for step_first in (False, True):
        task = asyncio.ensure_future(claimed(ledger, 100, limit=100))
        await asyncio.sleep(0)
        if step_first:
            later.step()
            await asyncio.sleep(0)  # granted, and the caller has not gone on yet
        task.cancel()
        await asyncio.wait([task])
        for _ in range(4):
            later.step()
            await asyncio.sleep(0)
        if not task.cancelled():
            await run_with(later, ledger.give_back(ALICE, 100))
        assert await run_with(later, claimed(ledger, 100, limit=100)) == (100, 0)
        await run_with(later, ledger.give_back(ALICE, 100))
    await run_with(later, ledger.aclose())


# --- death ---------------------------------------------------------------------------------------


async def test_a_crash_between_the_commit_and_the_caller_counts_nothing_twice(path):
    ledger, later = await opened_later(path)
    await run_with(later, claimed(ledger, 100))
    ledger.hold(ALICE, 50)  # 30 of a call that is over, 20 of one under way
    settling = asyncio.ensure_future(ledger.settle([spending(30)]))
    await asyncio.sleep(0)
    later.step()  # durable; nobody on the loop has heard of it
    die(ledger, later)
    settling.cancel()
    other = await opened(path)
    found = [(entry.kind, entry.amount) for entry in entries(path)]
    assert found == [("settled", 30), ("presumed", 20)]
    assert await claimed(other, 1000, limit=1000) == (950, 0)
    await other.aclose()


async def test_a_crash_before_the_commit_charges_what_was_about_to_be_written(path):
    ledger, later = await opened_later(path)
    await run_with(later, claimed(ledger, 100))
    ledger.hold(ALICE, 50)
    settling = asyncio.ensure_future(ledger.settle([spending(30)]))
    await asyncio.sleep(0)
    die(ledger, later)
    settling.cancel()
    other = await opened(path)
    assert [(entry.kind, entry.amount) for entry in entries(path)] == [("presumed", 50)]
    await other.aclose()


async def test_a_living_process_keeps_its_claim_and_what_it_holds(path):
    first, second = await opened(path), await opened(path)
    await claimed(first, 60, limit=100)
    first.hold(ALICE, 10)
    assert await claimed(second, 100, limit=100) == (40, 0)
    assert await claimed(second, 100, limit=100) == (0, 0)
    await first.aclose()
    assert await claimed(second, 100, limit=100) == (50, 0)
    await second.aclose()
    assert held_files(path) == []


async def test_after_a_restart_of_the_machine_the_whole_claim_is_charged(path):
    ledger = await opened(path, boot="before")
    await claimed(ledger, 60)
    ledger.hold(ALICE, 10)
    ledger.abandon()
    other = await opened(path, boot="after")
    assert await spent_by(other) == 60
    await other.aclose()


async def test_where_the_system_does_not_tell_its_starts_the_whole_claim_is_charged(path):
    ledger = await opened(path, boot="")
    await claimed(ledger, 60)
    ledger.abandon()
    other = await opened(path, boot="")
    assert await spent_by(other) == 60
    await other.aclose()


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "other", "garbled"])
async def test_a_held_file_that_cannot_be_read_charges_the_whole_claim(path, harm):
    ledger = await opened(path)
    await claimed(ledger, 60)
    ledger.hold(ALICE, 10)
    await ledger.settle([spending(4)])
    ledger.hold(ALICE, 6)
    ledger.abandon()
    [file] = held_files(path)
    data = bytearray(file.read_bytes())
    if harm == "missing":
        file.unlink()
    elif harm == "garbled":
        data[40] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes({"empty": b"", "cut": bytes(data[:-5]), "other": b"x" * len(data)}[harm])
    other = await opened(path)
    assert await spent_by(other) == 60
    assert held_files(path) == [file.with_name(other._held.path.name)]
    await other.aclose()
    assert audit(path).clean


async def test_two_who_come_after_a_crash_charge_it_once(path):
    ledger = await opened(path)
    await claimed(ledger, 60)
    ledger.hold(ALICE, 10)
    ledger.abandon()
    first, second = await opened(path), await opened(path)
    assert await spent_by(first) == await spent_by(second) == 10
    await first.aclose()
    await second.aclose()


async def test_a_claim_now_and_then_looks_for_the_dead_though_it_is_granted(path):
    survivor, victim = await opened(path), await opened(path)
    await claimed(victim, 60)
    victim.hold(ALICE, 10)
    victim.abandon()
    await claimed(survivor, 1)
    assert await spent_by(survivor) == 0
    await asyncio.sleep(61)
    await claimed(survivor, 1)
    assert await spent_by(survivor) == 10
    await survivor.aclose()


async def test_what_is_held_of_an_account_nobody_claimed_is_charged_too(path):
    ledger = await opened(path)
    ledger.hold(ALICE, 7)
    await asyncio.sleep(0)
    ledger.hold(ALICE, 9)
    ledger.abandon()
    other = await opened(path)
    assert await spent_by(other) == 9
    await other.aclose()


async def test_a_process_whose_held_file_was_removed_may_not_claim_any_more(path):
    ledger, other = await opened(path), await opened(path)
    await claimed(ledger, 60, limit=100)
    ledger._held.path.unlink()
    assert await claimed(other, 100, limit=100) == (40, 0)
    assert await claimed(other, 100, limit=100) == (0, 0)  # takes it for dead and charges its claim
    with pytest.raises(LedgerUnavailable, match="taken for dead"):
        await claimed(ledger, 1, limit=1000)
    await ledger.settle([spending(5)])  # what was used is spent all the same
    assert await spent_by(other) == 65
    await ledger.aclose()
    await other.aclose()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EACCES])
async def test_a_process_of_which_nobody_can_tell_whether_it_lives_keeps_its_claims(path, monkeypatch, error):
    ledger, other = await opened(path), await opened(path)
    await claimed(ledger, 60, limit=100)

    def refused(path):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(TakenOver, "if_dead", refused)
    assert await claimed(other, 100, limit=100) == (40, 0)
    assert await claimed(other, 100, limit=100) == (0, 0)
    monkeypatch.undo()
    assert await claimed(ledger, 1, limit=1000) == (1, 899)  # it was not taken for dead
    await ledger.settle([spending(5)])
    assert await spent_by(other) == 5
    await ledger.aclose()
    await other.aclose()


async def test_many_accounts_that_came_and_went_leave_nothing_behind(path, monkeypatch):
    monkeypatch.setattr("resilio.store.sqlite.SWEEP_AT", 50)
    ledger = await opened(path)
    for number in range(400):
        account = ALICE._replace(entity=f"user{number}")
        await claimed(ledger, 10, account=account)
        ledger.hold(account, 4)
        await ledger.settle([spending(4, account=account)])
        ledger.hold(account, 0)
        await ledger.give_back(account, 6)
    assert len(ledger._own) <= 50
    ledger._sweep()
    assert ledger._own == {}
    await asyncio.sleep(0)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM claim").fetchone() == (0,)
    other.close()
    # Claimed again, what is in use counts from the beginning.
    account = ALICE._replace(entity="user7")
    await claimed(ledger, 10, account=account)
    ledger.hold(account, 3)
    ledger.abandon()
    after = await opened(path)
    assert await spent_by(after, account) == 4 + 3
    await after.aclose()


async def test_more_accounts_than_the_held_file_began_with_are_all_charged(path):
    ledger = await opened(path)
    many = [ALICE._replace(entity=f"user{number}") for number in range(2500)]
    for account in many:
        await claimed(ledger, 10, account=account)
        ledger.hold(account, 3)
    ledger.abandon()
    other = await opened(path)
    found = await other.spent(ALICE.budget, {account.entity: (ALICE.window,) for account in many})
    assert set(found.values()) == {3}
    await other.aclose()


# --- files that cannot be used -------------------------------------------------------------------


async def damaged(path, how):
    ledger = await opened(path)
    for number in range(300):
        await ledger.settle([spending(1, f"r{number}")])
    await ledger.aclose()
    data = bytearray(path.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "head":
        data[:100] = b"\x07" * 100
    elif how == "noise":
        data = bytearray(os.urandom(len(data)))
    elif how == "page":
        data[-4096:] = b"\xff" * 4096
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("how", ["empty", "head", "noise", "page"])
async def test_a_damaged_ledger_is_set_aside_unchanged_and_never_silently_replaced(path, how):
    data = await damaged(path, how)
    with pytest.raises(LedgerUnavailable, match=r"damaged.*set aside.*resilio ledger repair"):
        await opened(path)
    assert not path.exists()
    [aside] = [its for its in path.parent.iterdir() if ".corrupt-" in its.name and its.is_file()]
    assert aside.read_bytes() == data
    with pytest.raises(LedgerUnavailable, match=r"set aside.*nothing stands in its place.*resilio ledger repair"):
        await opened(path)  # or what was spent would be forgotten by a restart


async def test_a_damaged_ledger_in_use_stays_where_it_is(path):
    living = await opened(path)
    path.write_bytes(b"\x07" * 100 + path.read_bytes()[100:])
    with pytest.raises(LedgerUnavailable, match="another process still uses it"):
        await opened(path)
    assert path.exists()
    living.abandon()


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EMFILE])
async def test_a_held_file_that_cannot_be_opened_hides_no_living_process(path, monkeypatch, error):
    living, closing = await opened(path), await opened(path)
    if_dead = TakenOver.if_dead

    def refused(file):
        if file == closing._held.path:
            raise OSError(error, os.strerror(error))  # ENOENT: it was closed since the folder was read
        return if_dead(file)

    with monkeypatch.context() as patched:
        patched.setattr(TakenOver, "if_dead", refused)
        patched.setattr(Path, "iterdir", lambda folder: iter([closing._held.path, living._held.path]))
        assert in_use(path)
    await living.aclose()
    await closing.aclose()
    assert not in_use(path)


async def test_a_ledger_found_damaged_while_it_is_used_refuses_everything(path):
    await damaged(path, "page")
    ledger = await opened(path, check=False)
    with pytest.raises(LedgerUnavailable, match="damaged"):
        for number in range(300):
            await ledger.settle([spending(1, account=ALICE._replace(entity=f"e{number}"))])
    for call in (spent_by(ledger), claimed(ledger, 1), ledger.settle([spending(1)])):
        with pytest.raises(LedgerUnavailable, match=r"damaged.*resilio ledger repair"):
            await call
    ledger.abandon()


async def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(path):
    await (await opened(path)).aclose()
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {LEDGER.version + 1}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match=r"newer resilio.*update resilio"):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_refused_and_left_alone(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE precious (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="another program"):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LedgerUnavailable, match="is its folder there"):
        await opened(tmp_path / "nowhere" / "ledger.db")


async def test_an_opening_that_was_cancelled_leaves_no_process_behind(path):
    later = Later()
    task = asyncio.ensure_future(opened(path, executor=later))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    later.step()
    assert not path.exists() or audit(path).processes == 0


# --- a full disk ---------------------------------------------------------------------------------


def fill(ledger, room=0):
    connection = ledger._books._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + room}")


def make_room(ledger):
    ledger._books._connection.execute("PRAGMA max_page_count = 1000000")


async def test_a_full_disk_refuses_and_what_the_caller_kept_is_written_once_there_is_room(path):
    ledger = await opened(path)
    await claimed(ledger, 500)
    fill(ledger)
    acknowledged, kept = 0, []
    for number in range(300):
        ledger.hold(ALICE, 1 + len(kept))
        try:
            await ledger.settle([spending(1, f"{number:0100}")])
            acknowledged += 1
        except LedgerUnavailable:
            kept.append(spending(1, f"{number:0100}"))
        ledger.hold(ALICE, len(kept))
    assert kept
    with pytest.raises(LedgerUnavailable, match="the disk is full"):
        for number in range(1000):
            await claimed(ledger, 1, limit=10**6, account=ALICE._replace(entity=f"{number:0100}"))
    make_room(ledger)
    await ledger.settle(kept)
    ledger.hold(ALICE, 0)
    assert await spent_by(ledger) == 300
    await ledger.aclose()
    assert sorted(entry.request_id for entry in entries(path)) == [f"{number:0100}" for number in range(300)]
    assert audit(path).clean


async def test_what_a_cancelled_call_left_behind_is_written_once_there_is_room(path):
    ledger, later = await opened_later(path)
    fill(ledger)
    tasks = [asyncio.ensure_future(ledger.settle([spending(1, f"{number:0200}")])) for number in range(100)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    later.step()
    await asyncio.sleep(0)
    assert ledger._writer.kept
    make_room(ledger)
    await run_with(later, ledger.settle([spending(1, "last")]))
    assert not ledger._writer.kept
    assert await run_with(later, spent_by(ledger)) == 101
    await run_with(later, ledger.aclose())
    assert len({entry.request_id for entry in entries(path)}) == 101


async def test_closing_on_a_full_disk_leaves_what_is_in_use_to_the_next(path, caplog):
    ledger = await opened(path)
    await claimed(ledger, 500)
    ledger.hold(ALICE, 40)
    ledger._books._connection.execute("PRAGMA query_only = ON")  # refuses like a disk that went read-only
    await ledger.aclose()
    assert "stays claimed until the ledger is opened again" in caplog.text
    other = await opened(path)
    assert await spent_by(other) == 40
    await other.aclose()


LIMITED = """
import asyncio, resource, sys
from resilio.errors import LedgerUnavailable
from resilio.store import Account, Entry
from resilio.store.sqlite import SqliteLedger

async def main(path):
    ledger = await SqliteLedger.open(path)
    account, kept, acknowledged = Account("b", "e", "w"), [], []
    await ledger.claim(account, 10_000, least=1, limit=10_000, counted=("w",))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for number in range(400):
        entry = Entry(account, "settled", 1, f"{number:01000}", 1.0)
        try:
            await ledger.settle([entry])
            acknowledged.append(entry)
        except LedgerUnavailable:
            kept.append(entry)
    assert kept and acknowledged, (len(kept), len(acknowledged))
    refused = 0
    for number in range(200):
        try:
            await ledger.claim(account._replace(entity=f"{number:01000}"), 1, least=1, limit=20_000, counted=("w",))
        except LedgerUnavailable:
            refused += 1
    assert refused
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await ledger.settle(kept)
    await ledger.aclose()
    print(len(kept))

asyncio.run(main(sys.argv[1]))
"""


def test_a_file_that_cannot_grow_loses_nothing(path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    ended = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 50
    assert sorted(entry.request_id for entry in entries(path)) == [f"{number:01000}" for number in range(400)]
    assert audit(path).clean


def test_a_held_file_that_cannot_grow_refuses_the_claim_and_kills_nobody(path):
    code = (
        LIMITED[: LIMITED.index("async def main")]
        + """
async def main(path):
    ledger = await SqliteLedger.open(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (33_000, resource.RLIM_INFINITY))
    refused = 0
    for number in range(1100):
        account = Account("b", str(number), "w")
        try:
            ledger.hold(account, 1)
        except LedgerUnavailable:
            refused += 1
    print(refused)
    ledger.abandon()

asyncio.run(main(sys.argv[1]))
"""
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) == 1100 - 1023


# --- Ctrl-C --------------------------------------------------------------------------------------

INTERRUPTED = """
import asyncio, os, signal, sys
from resilio.store import Account, Entry
from resilio.store.sqlite import SqliteLedger

async def main(path):
    ledger = await SqliteLedger.open(path)
    account = Account("b", "e", "w")
    await ledger.claim(account, 1000, least=1, limit=1000, counted=("w",))
    ledger.hold(account, 300)
    tasks = [asyncio.ensure_future(ledger.settle([Entry(account, "settled", 1, f"r{n}", 1.0)])) for n in range(200)]
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.gather(*tasks)
    await asyncio.sleep(60)

try:
    asyncio.run(main(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_without_closing_loses_nothing_that_was_settled(path):
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED, path], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n", "")
    run(take_over(path))
    found = entries(path)
    assert sorted(entry.request_id for entry in found if entry.kind == "settled") == sorted(f"r{n}" for n in range(200))
    assert [entry.amount for entry in found if entry.kind == "presumed"] == [100]
    assert audit(path).clean


async def take_over(path):
    ledger = await opened(path, boot=boot_id())
    await ledger.aclose()
