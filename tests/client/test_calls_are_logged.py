"""From calls of an engine, over the log that its configuration turns on, to the report."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from resilio import Client
from resilio.cli import main
from resilio.errors import BudgetExceeded, LedgerUnavailable, ResilioError
from resilio.store.totals import Totals, reading
from resilio.testing import InlineExecutor, Script, ScriptedTransport, SimulatedProvider, faults, wall_clock

PRICE = {"input": 2.0, "output": 8.0}


def config(log, **provider):
    return {
        "provider": [{
            "name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["sk-test"],
            "models": {"m": {"price": PRICE}, "mystery": {}}, **provider,
        }],
        "route": {"chat": {"targets": ["a/m"]}, "odd": {"targets": ["a/mystery"]}},
        "prices": {"source": "none"},
        "cache": {"exact": {}},
        "log": log,
    }  # fmt: skip


def client(log, script=None, **more):
    transport = ScriptedTransport({"http://a.test/v1": SimulatedProvider(script or Script(answer="yes"))})
    return Client(
        config(log, **more), transport=transport, executor=InlineExecutor(), wall=wall_clock(asyncio.get_running_loop())
    )  # fmt: skip


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM request").fetchone()[0]


async def test_what_calls_cost_is_in_the_report(tmp_path, capsys):
    path = tmp_path / "requests.db"
    async with client({"path": str(path)}) as llm:
        now = datetime.fromtimestamp(llm._wall(), UTC)
        with llm.scope(user="ann", tags={"team": "red"}):
            first = await llm.complete("chat", "a question")
            again = await llm.complete("chat", "a question")
            async with llm.stream("chat", "another question") as stream:
                async for _ in stream:
                    pass
        unpriced = await llm.complete("odd", "what does it cost?", user="bob")
    assert again.cached is not None
    assert main(["report", str(path), "--since", f"{now:%Y-%m-%d}", "--until", f"{now:%Y-%m-%d}", "--by", "user",
                 "--by", "tag:team", "--by", "level", "--by", "route", "--json"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    now = found["now"]
    assert (now["calls"], now["hits"], now["priced"], now["unpriced"]) == (4, 1, 2, 1)
    assert now["cost_usd"] == pytest.approx(first.cost_usd + stream.reply.cost_usd)
    assert now["saved_usd"] == pytest.approx(first.cost_usd)
    assert now["input_tokens"] == first.usage.input_tokens + stream.reply.usage.input_tokens
    assert now["unpriced_input"] == unpriced.usage.input_tokens
    by = {dimension: {row["name"]: row["now"] for row in found["by"][dimension]} for dimension in found["by"]}
    assert {name: its["calls"] for name, its in by["user"].items()} == {"ann": 3, "bob": 1}
    assert {name: its["calls"] for name, its in by["tag:team"].items()} == {"red": 3, None: 1}
    assert {name: its["calls"] for name, its in by["level"].items()} == {"full": 3, "cached": 1}
    assert by["route"]["odd"]["cost_usd"] == 0.0
    assert by["route"]["odd"]["unpriced"] == 1


async def test_calls_that_fail_or_are_cancelled_are_in_the_report_as_not_answered(tmp_path):
    path = tmp_path / "requests.db"
    silent = Script().with_rule(faults.Silence())
    async with client({"path": str(path)}, silent) as llm:
        with pytest.raises(ResilioError):
            await llm.complete("chat", "hi", deadline=5)
        task = asyncio.get_running_loop().create_task(llm.complete("chat", "hello"))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with llm.scope(max_cost_usd=1e-9), pytest.raises(BudgetExceeded):
            await llm.complete("chat", "too dear", max_tokens=10)
    with reading(path) as log:
        found = log.by("route", 0, 1e12)
    assert found == {"chat": Totals(unanswered=3, unanswered_sent=2)}


async def test_without_the_setting_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with client({}) as llm:
        await llm.complete("chat", "hi")
    assert [*tmp_path.iterdir()] == []


async def test_a_client_that_is_opened_again_goes_on_in_the_same_log(tmp_path):
    path = tmp_path / "requests.db"
    llm = client({"path": str(path)})
    for number in (1, 2):
        async with llm:
            await llm.complete("chat", f"question {number}")
        assert rows(path) == number


async def test_rows_older_than_keep_are_deleted_and_those_kept_forever_are_not(tmp_path):
    path = tmp_path / "requests.db"
    for keep, left in (("forever", 1), ("forever", 2), (3 * 3600, 3), (3600, 1)):
        async with client({"path": str(path), "keep": keep}) as llm:
            await llm.complete("chat", "hi")
        assert rows(path) == left
        await asyncio.sleep(1.2 * 3600)


async def test_a_log_that_cannot_be_opened_ends_the_opening_and_leaves_nothing_running(tmp_path):
    llm = client({"path": str(tmp_path / "no" / "folder.db")})
    tasks = asyncio.all_tasks()
    with pytest.raises(LedgerUnavailable, match="is its folder there"):
        await llm.__aenter__()
    assert asyncio.all_tasks() == tasks
    with pytest.raises(RuntimeError):
        llm.status()


async def test_a_reload_that_changes_the_log_says_that_it_waits(tmp_path, caplog):
    async with client({"path": str(tmp_path / "a.db")}) as llm:
        await llm.reload(config({"path": str(tmp_path / "b.db")}))
        await llm.complete("chat", "hi")
    assert "[log] has changed; it is read only when the client opens" in caplog.text
    assert rows(tmp_path / "a.db") == 1
    assert not (tmp_path / "b.db").exists()
