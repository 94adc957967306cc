import asyncio
import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from ledgers import Later
from world import world

from resilio.errors import LedgerUnavailable
from resilio.events import CallSettled, KeySetAside
from resilio.models import AttemptRecord, CacheHit, Identity, Level, PromptCacheUse, Usage
from resilio.store import files
from resilio.store.requests import COLUMNS, REQUESTS, RequestLog, RequestLogStatistics, row_of
from resilio.testing import InlineExecutor, Script, run

NOW = 1_800_000_000.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "requests.db"


async def opened(path, **options):
    return await RequestLog.open(path, **{"executor": InlineExecutor(), "wall": lambda: NOW, **options})


def settled(request_id="r1", **changes):
    given = {
        "request_id": request_id, "route": "small", "asked_route": "chat", "final": "complete", "level": Level.FULL,
        "identity": Identity("alice", "acme", "search", "s1", {"team": "blue"}, key="ci"), "target": "openai/gpt/4o",
        "attempts": (AttemptRecord("openai/gpt/4o", 0, 0.0, 0.0, 1.0, "success"),) * 2, "reasons": (),
        "usage": Usage(100, 50, 20, 3, 4, 10), "cost_usd": 0.25, "latency": 1.5, "first_token": 0.5, "error": None,
        "at": 1000.0, "at_unix": NOW, "tags": {"team": "blue"},
    }  # fmt: skip
    return CallSettled(**given | changes)


def rows_of(path):
    with sqlite3.connect(path) as reader:
        reader.row_factory = sqlite3.Row
        rows = [dict(row) for row in reader.execute(f"SELECT {', '.join(COLUMNS)} FROM request ORDER BY id")]
    reader.close()
    return rows


async def test_a_call_becomes_a_row_of_everything_reports_need(path):
    log = await opened(path)
    log(settled())
    log(settled("r2", cached=CacheHit("exact", 3.0, "e", 0.25), cost_usd=0.0, level=Level.CACHED, target=None, tags={}))
    log(KeySetAside("openai", 0, "broke", 1.0))
    await log.aclose()
    first, second = rows_of(path)
    assert first == {
        "at": NOW, "request_id": "r1", "route": "small", "asked_route": "chat", "target": "openai/gpt/4o",
        "model": "gpt/4o", "level": "full", "final": "complete", "user": "alice", "organisation": "acme",
        "feature": "search", "session": "s1", "key": "ci", "tags": '{"team": "blue"}', "input_tokens": 100,
        "output_tokens": 50, "cache_read_tokens": 20, "cache_write_tokens": 7, "reasoning_tokens": 10,
        "cost_usd": 0.25, "saved_usd": None, "cached": None, "latency": 1.5, "first_token": 0.5, "attempts": 2,
        "error": None, "prompt_saved_usd": 0.0, "moved_from": None, "rewritten_tokens": 0, "rewritten_usd": 0.0,
    }  # fmt: skip
    assert (second["cached"], second["saved_usd"], second["model"], json.loads(second["tags"])) == (
        "exact",
        0.25,
        None,
        {},
    )


async def test_rows_are_written_soon_without_being_asked_for(path):
    log = await opened(path)
    for number in range(5):
        log(settled(f"r{number}"))
    assert rows_of(path) == []
    await asyncio.sleep(0.05)
    assert len(rows_of(path)) == 5
    log(settled("later"))
    await asyncio.sleep(0.05)
    assert log.statistics() == RequestLogStatistics(written=6, dropped=0, queued=0)
    await log.aclose()


async def test_calls_of_a_client_are_logged_with_the_time_of_the_wall_clock(path):
    async with world(a=Script(answer="yes")) as w:
        log = await opened(path)
        w.llm._listeners.append(log)
        await w.llm.complete("chat", "Is it?", user="alice")
        await log.aclose()
    [row] = rows_of(path)
    assert (row["user"], row["target"], row["model"], row["final"]) == ("alice", "a/m", "m", "complete")
    assert NOW <= row["at"] < NOW + 60
    assert row["output_tokens"] > 0


async def test_more_than_the_queue_holds_is_dropped_and_counted(path):
    later = Later()
    later.at_once = True
    log = await opened(path, executor=later, max_queued=10)
    later.at_once = False  # the disk stands still
    for number in range(25):
        log(settled(f"r{number}"))
    statistics = log.statistics()
    assert (statistics.queued, statistics.dropped) == (10, 15)
    later.at_once = True
    await log.aclose()
    assert [row["request_id"] for row in rows_of(path)] == [f"r{number}" for number in range(10)]


async def test_rows_past_their_age_are_deleted(path):
    log = await opened(path, keep=100.0)
    for age in (500.0, 101.0, 99.0, 0.0):
        log(settled(f"{age:g} s old", at_unix=NOW - age))
    await log.aclose()
    assert [row["request_id"] for row in rows_of(path)] == ["99 s old", "0 s old"]
    log = await opened(path, keep=None)
    log(settled("old", at_unix=1.0))
    await log.aclose()
    assert len(rows_of(path)) == 3


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": Usage(10**30)},
        {"latency": math.nan},
        {"identity": Identity(user="\ud800")},
        {"error": "\udfff", "tags": {"\ud800": object()}},
    ],
)
async def test_a_row_that_cannot_be_written_takes_no_other_with_it(path, odd, caplog):
    log = await opened(path)
    log(settled("before"))
    log(settled("odd", **odd))
    log(settled("after"))
    await log.aclose()
    written = [row["request_id"] for row in rows_of(path)]
    assert [its for its in written if its != "odd"] == ["before", "after"]
    assert log.statistics().dropped == 3 - len(written)


async def test_a_full_disk_keeps_rows_until_there_is_room(path, caplog):
    log = await opened(path)
    pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
    log._connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(500):
        log(settled(f"r{number}"))
    await asyncio.sleep(0.05)
    assert log.statistics().queued == 500
    assert caplog.text.count("the disk is full") == 1
    log._connection.execute("PRAGMA max_page_count = 100000")
    await asyncio.sleep(1.1)
    assert len(rows_of(path)) == 500
    await log.aclose()
    assert caplog.text.count("the disk is full") == 1


async def test_a_damaged_log_is_set_aside_and_a_new_one_begun(path, caplog):
    path.write_bytes(b"no log at all" * 500)
    log = await opened(path)
    log(settled())
    await log.aclose()
    assert len(rows_of(path)) == 1
    [aside] = path.parent.glob("requests.db.corrupt-*")
    assert aside.read_bytes() == b"no log at all" * 500
    assert "is set aside" in caplog.text
    again = await opened(path)
    await again.aclose()


async def test_a_newer_log_is_refused_and_left_alone(path):
    await (await opened(path)).aclose()
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {REQUESTS.version + 1}")
    other.close()
    with pytest.raises(LedgerUnavailable, match="newer resilio"):
        await opened(path)


async def test_a_closed_log_drops_what_comes(path):
    log = await opened(path)
    await log.aclose()
    await log.aclose()
    log(settled())
    assert log.statistics().dropped == 1
    assert rows_of(path) == []


async def test_two_processes_write_to_one_log(path):
    first, second = await opened(path), await opened(path)
    for number in range(20):
        (first if number % 2 else second)(settled(f"r{number}"))
        await asyncio.sleep(0.03)
    await first.aclose()
    await second.aclose()
    assert {row["request_id"] for row in rows_of(path)} == {f"r{number}" for number in range(20)}


@pytest.mark.real_loop
async def test_a_log_with_a_thread_of_its_own_writes_everything(path):
    log = await RequestLog.open(path)
    for number in range(3000):
        log(settled(f"r{number}"))
    await log.flush()
    log(settled("last"))
    await log.aclose()
    assert [row["request_id"] for row in rows_of(path)] == [*(f"r{number}" for number in range(3000)), "last"]


def test_a_loop_that_ended_without_closing_it_loses_no_row_that_was_queued_to_the_thread(path):
    async def main():
        log = await opened(path)
        log(settled())
        await asyncio.sleep(0.03)
        return log

    log = run(main())
    log._connection.close()
    assert len(rows_of(path)) == 1


async def test_a_log_from_before_prompt_caches_were_told_is_brought_up_to_date(path):
    older = replace(REQUESTS, steps=REQUESTS.steps[:1])
    names = COLUMNS[: COLUMNS.index("prompt_saved_usd")]
    with closing(files.opened(path, older, check=False)) as connection:
        marks = ", ".join("?" * len(names))
        row = row_of(settled("old"))[: len(names)]
        connection.execute(f"INSERT INTO request ({', '.join(names)}) VALUES ({marks})", row)
    log = await opened(path)
    log(settled("new", prompt_cache=PromptCacheUse(20, 7, None, "a/m", 20, 0.5)))
    await log.aclose()
    old, new = rows_of(path)
    told = ("prompt_saved_usd", "moved_from", "rewritten_tokens", "rewritten_usd")
    assert [old[name] for name in told] == [0.0, None, 0, 0.0]
    assert [new[name] for name in told] == [None, "a/m", 20, 0.5]
    assert (old["request_id"], new["request_id"]) == ("old", "new")
