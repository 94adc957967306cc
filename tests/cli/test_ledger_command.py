import json
import sqlite3

import pytest

from resilio.cli import main
from resilio.store import Account, Entry
from resilio.store.sqlite import SqliteLedger
from resilio.testing import InlineExecutor, run

ALICE = Account("user/day/tokens", "alice", "2027-01-15")


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.db"

    async def fill():
        its = await SqliteLedger.open(path, executor=InlineExecutor())
        await its.settle([Entry(ALICE, "settled", 30, "req-1", 1.8e9), Entry(ALICE, "corrected", -2, "req-1", 1e300)])
        await its.aclose()

    run(fill())
    return path


def tamper(path):
    with sqlite3.connect(path) as other:
        other.execute("UPDATE account SET spent = 7")
    other.close()


def test_a_sound_ledger_passes_its_audit(ledger, capsys):
    assert main(["ledger", "audit", str(ledger)]) == 0
    assert capsys.readouterr().out == f"{ledger} is sound: 2 entries of 1 accounts, 0 processes\n"
    assert main(["ledger", "audit", str(ledger), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clean"] is True


def test_a_balance_that_differs_fails_the_audit_and_repair_mends_it(ledger, capsys):
    tamper(ledger)
    assert main(["ledger", "audit", str(ledger)]) == 1
    said = capsys.readouterr()
    assert "user/day/tokens alice 2027-01-15: balance 7, its entries add up to 28" in said.out
    assert f"resilio ledger repair {ledger}" in said.err
    assert main(["ledger", "audit", str(ledger), "--json"]) == 1
    [difference] = json.loads(capsys.readouterr().out)["differences"]
    assert difference == {**ALICE._asdict(), "balance": 7, "entries": 28}
    assert main(["ledger", "repair", str(ledger)]) == 0
    assert f"{ledger} is new, with 2 entries; the damaged one is kept as {ledger}.corrupt-" in capsys.readouterr().out
    assert main(["ledger", "audit", str(ledger)]) == 0


def test_what_a_repair_could_not_read_is_told(ledger, capsys):
    ledger.write_bytes(b"\xff" * 100 + ledger.read_bytes()[100:])
    assert main(["ledger", "audit", str(ledger)]) == 1
    assert "damaged" in capsys.readouterr().err
    assert main(["ledger", "repair", str(ledger), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["entries"], told["unreadable"], told["claims_lost"], told["corrected"]) == (2, 0, False, [])


def test_accounts_and_entries_are_shown(ledger, capsys):
    assert main(["ledger", "show", str(ledger)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [*ALICE, "28", "0"]
    assert main(["ledger", "show", str(ledger), "--entries", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["2027-01-15", "08:00:00Z", *ALICE, "settled", "30", "req-1"]
    assert lines[2].split()[0] == "1e+300"  # a time no calendar has
    assert main(["ledger", "show", str(ledger), "--entity", "bob", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accounts"] == []
    assert main(["ledger", "show", str(ledger), "--entries", "1", "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["entries"]
    assert (entry["kind"], entry["amount"], entry["account"]["entity"]) == ("corrected", -2, "alice")


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    for action in ("audit", "repair", "show"):
        assert main(["ledger", action, str(tmp_path / "none.db")]) == 1
        assert "there is no such file" in capsys.readouterr().err
