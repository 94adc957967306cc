"""A file that is watched: what changes is loaded, what is half written or wrong is not."""

import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from resilio import Client
from resilio.control import FileWatch
from resilio.events import ConfigApplied, ConfigRefused
from resilio.testing.transport import ScriptedTransport


def text(name="a", more=""):
    return f"""\
[[provider]]
name = "{name}"
kind = "openai"
base_url = "http://{name}.test/v1"
models.m = {{}}
{more}
[route.chat]
targets = ["{name}/m"]
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "resilio.toml"
    path.write_text(text())
    return path


@asynccontextmanager
async def watching(path, **options):
    events = []
    llm = Client.from_file(path, transport=ScriptedTransport({}), listeners=[events.append], **options)
    async with llm:
        yield llm, lambda kind: [event for event in events if isinstance(event, kind)]


async def test_a_changed_file_is_loaded_when_it_has_stood_still_for_a_look(path):
    async with watching(path, watch=True) as (llm, told):
        await asyncio.sleep(10.5)
        path.write_text(text("b"))
        await asyncio.sleep(1)
        assert list(llm.status().providers) == ["a"]
        await asyncio.sleep(1)
        assert list(llm.status().providers) == ["b"]
        (applied,) = told(ConfigApplied)
        assert applied.source == str(path)
        assert applied.added == ("provider.b",)


async def test_half_of_a_file_is_not_taken_for_a_whole_one(path):
    async with watching(path, watch=True) as (llm, told):
        whole = text("b", 'max_concurrency = 5\nkeys = ["k"]')
        for size in range(60, len(whole), 20):  # someone types: every look finds it longer
            path.write_text(whole[:size])
            await asyncio.sleep(1)
        path.write_text(whole)
        await asyncio.sleep(3)
        assert told(ConfigRefused) == []
        assert len(told(ConfigApplied)) == 1
        assert llm.config.providers[0].max_concurrency == 5


async def test_a_wrong_file_is_refused_once_and_mended_is_loaded(path, caplog):
    async with watching(path, watch=True) as (llm, told):
        path.write_text(text("b", "max_concurrency = 0"))
        await asyncio.sleep(20)
        (refused,) = told(ConfigRefused)
        assert "max_concurrency" in refused.problems[0]
        assert "the old configuration holds on" in caplog.text
        assert list(llm.status().providers) == ["a"]
        path.write_text(text("b"))
        await asyncio.sleep(3)
        assert list(llm.status().providers) == ["b"]


async def test_a_file_that_goes_away_for_good_is_told_once_and_the_old_one_holds_on(path, caplog):
    async with watching(path, watch=True) as (llm, told):
        path.unlink()
        await asyncio.sleep(20)
        (refused,) = told(ConfigRefused)
        assert refused.problems == ("there is no such file",)
        path.write_text(text("b"))
        await asyncio.sleep(3)
        assert list(llm.status().providers) == ["b"]


async def test_a_file_that_is_replaced_counts_and_one_that_is_only_touched_does_not(path):
    async with watching(path, watch=True) as (llm, told):
        os.utime(path, (1, 1))
        await asyncio.sleep(5)
        assert told(ConfigApplied) == []
        new = path.with_suffix(".new")
        new.write_text(text("b"))
        os.utime(new, (1, 1))
        new.replace(path)
        await asyncio.sleep(3)
        assert list(llm.status().providers) == ["b"]


async def test_the_interval_is_a_setting(path):
    path.write_text(text(more="") + "[control]\nwatch_interval = 10\n")
    async with watching(path, watch=True) as (llm, told):
        path.write_text(text("b"))
        await asyncio.sleep(19)
        assert told(ConfigApplied) == []
        await asyncio.sleep(2)
        assert list(llm.status().providers) == ["b"]


async def test_watching_can_begin_later_and_turn_to_another_file(path, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(text("c"))
    async with watching(path) as (llm, told):
        path.write_text(text("b"))
        await asyncio.sleep(5)
        assert told(ConfigApplied) == []
        llm.watch()
        tasks = asyncio.all_tasks()
        llm.watch(other)
        assert asyncio.all_tasks() == tasks
        path.write_text(text("d"))
        await asyncio.sleep(5)
        assert told(ConfigApplied) == []
        other.write_text(text("e"))
        await asyncio.sleep(3)
        assert list(llm.status().providers) == ["e"]


async def test_what_changed_between_reading_and_opening_is_not_missed(path):
    llm = Client.from_file(path, watch=True, transport=ScriptedTransport({}))
    path.write_text(text("b"))
    async with llm:
        await asyncio.sleep(3)
        assert list(llm.status().providers) == ["b"]


async def test_closing_ends_the_watch(path):
    before = asyncio.all_tasks()
    async with watching(path, watch=True):
        assert "resilio watch" in {task.get_name() for task in asyncio.all_tasks()}
    assert asyncio.all_tasks() == before


async def test_reload_reads_the_file_again_without_a_watch(path):
    async with watching(path) as (llm, _):
        path.write_text(text("b"))
        applied = await llm.reload()
        assert (applied.added, applied.source) == (("provider.b",), str(path))


async def test_changed_control_settings_say_that_they_wait(path, caplog):
    async with watching(path) as (llm, _):
        path.write_text(text() + '[control]\nsocket = "/tmp/x.sock"\n')
        assert (await llm.reload()).changed == ("control",)
        assert "read only when the client opens" in caplog.text


def test_a_look_at_a_file_that_was_never_there_finds_it_when_it_comes(tmp_path):
    watch = FileWatch(tmp_path / "later")
    assert [watch.look(), watch.look()] == [False, False]
    (tmp_path / "later").write_text("x")
    assert [watch.look(), watch.look(), watch.look()] == [False, True, False]
