"""A saved index: taken up as it was, built anew where its graph is in doubt, else refused with the reason."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from executors import InlineExecutor
from index_world import DIMENSION, SMALL, add, assert_found, index, nearest, settled, vector

from resilio.cache.index import IndexUnusable, VectorIndex, saving

SOAK = os.environ.get("RESILIO_SOAK") == "1"
KILLS = 50 if SOAK else 5
SAVER = Path(__file__).with_name("index_saver.py")


async def load(path, *, dimension=DIMENSION, embedder_id="test", **settings):
    return await VectorIndex.load(path, dimension, embedder_id, executor=InlineExecutor(), **{**SMALL, **settings})


async def saved(path, entries, removed=(), fresh=()):
    """An index with `entries`, of which some were removed, and then some more beside the graph; saved."""
    idx = index()
    await add(idx, entries)
    await settled(idx)
    for number in removed:
        idx.remove(number)
    await add(idx, fresh) if fresh else None
    await idx.save(path)
    await idx.aclose()
    return {*entries, *fresh}.difference(removed)


async def assert_holds(idx, numbers):
    assert len(idx) == len(numbers)
    for number in numbers:
        assert_found(await idx.search(vector(number)), nearest(vector(number), numbers, 4))


@pytest.mark.parametrize(
    ("entries", "removed", "fresh", "mode"),
    [
        (range(0), (), (), "exact"),
        (range(12), (), (), "exact"),
        (range(12), (3, 4), (), "exact"),
        (range(60), (), (), "graph"),
        (range(60), range(0, 60, 7), (), "graph"),
        (range(60), (3, 101), (100, 101, 102), "graph"),
        (range(60), (3, 4, 5), (100, 101, 102), "graph"),
        (range(-30, 30), (), (2**63 - 1, -(2**63)), "graph"),
    ],
)
async def test_an_index_comes_back_as_it_was(tmp_path, entries, removed, fresh, mode):
    there = await saved(tmp_path / "index", entries, [n for n in removed if n in entries], fresh)
    idx = await load(tmp_path / "index")
    assert idx.rebuilt_because is None
    now = idx.statistics()
    assert (now.mode, now.growing) == (mode, False)
    await assert_holds(idx, there)
    for number in list(there)[::5]:
        idx.remove(number)
        there.remove(number)
    await add(idx, range(1000, 1060))
    await settled(idx)
    await assert_holds(idx, there | set(range(1000, 1060)))


async def test_what_was_removed_and_not_yet_marked_stays_away_after_loading(tmp_path):
    there = await saved(tmp_path / "index", range(60), removed=(1, 2, 3))
    idx = await load(tmp_path / "index")
    assert idx._contents.graph.marked == 3
    assert_found(await idx.search(vector(1)), nearest(vector(1), there, 4))


async def test_a_graph_that_was_loaded_searches_as_widely_as_one_that_was_built(tmp_path):
    await saved(tmp_path / "index", range(60))
    idx = await load(tmp_path / "index")
    assert idx._contents.graph._index.ef == 64


async def test_saving_again_leaves_one_file_and_one_graph(tmp_path):
    idx = index()
    await add(idx, range(60))
    await settled(idx)
    for number in range(60, 100, 10):
        await add(idx, range(number, number + 10))
        await settled(idx)
        await idx.save(tmp_path / "index")
        names = sorted(path.name for path in tmp_path.iterdir())
        assert len(names) == 2
        assert names[1].startswith("index.graph-")
    for number in range(95):
        idx.remove(number)
    await settled(idx)
    await idx.save(str(tmp_path / "index"))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert idx.statistics().saved == 5


# --- in doubt --------------------------------------------------------------------------------------------


def the_graph(folder):
    return next(folder.glob("index.graph-*"))


def damaged(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "damaged", "cut", "longer"])
async def test_a_graph_in_doubt_is_built_anew_from_the_vectors(tmp_path, how):
    there = await saved(tmp_path / "index", range(60), removed=(5,), fresh=(100,))
    graph = the_graph(tmp_path)
    if how == "missing":
        graph.unlink()
        reason = "there is no index.graph-"
    elif how == "damaged":
        damaged(graph, 500)
        reason = "the checksum of index.graph-.* is wrong"
    elif how == "cut":
        graph.write_bytes(graph.read_bytes()[:-1])
        reason = r"has \d+ bytes and should have \d+"
    else:
        graph.write_bytes(graph.read_bytes() + b"x")
        reason = r"has \d+ bytes and should have \d+"
    idx = await load(tmp_path / "index")
    assert idx.statistics().mode == "exact"
    assert re.search(reason, idx.rebuilt_because), idx.rebuilt_because
    await assert_holds(idx, there)
    await settled(idx)
    assert idx.statistics().mode == "graph"
    await assert_holds(idx, there)


async def test_a_graph_of_other_entries_is_not_taken_even_with_the_right_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_checksum", lambda file: "0" * 64)
    (tmp_path / "other").mkdir()
    idx = index()
    await add(idx, [499])
    idx.remove(499)  # so that its tickets are one higher
    await add(idx, range(500, 560))
    await settled(idx)
    await idx.save(tmp_path / "other" / "index")
    there = await saved(tmp_path / "index", range(60))
    the_graph(tmp_path).write_bytes(the_graph(tmp_path / "other").read_bytes())
    idx = await load(tmp_path / "index")
    assert idx.rebuilt_because == f"index.graph-{'0' * 16} is the graph of other entries"
    await assert_holds(idx, there)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"embedder_id": "other"}, "its vectors are of embedder 'test', not 'other'"),
        ({"dimension": 9}, "its vectors have 8 dimensions, not 9"),
    ],
)
async def test_an_index_of_other_vectors_is_refused(tmp_path, settings, reason):
    await saved(tmp_path / "index", range(60))
    with pytest.raises(IndexUnusable, match=reason) as caught:
        await load(tmp_path / "index", **settings)
    assert caught.value.path == tmp_path / "index"


async def test_an_index_that_is_not_there_is_said_to_be_not_there(tmp_path):
    with pytest.raises(IndexUnusable, match="there is no such file"):
        await load(tmp_path / "index")
    with pytest.raises(IndexUnusable, match="it cannot be read \\(Is a directory\\)"):
        await load(tmp_path)


async def test_any_byte_that_changed_is_noticed(tmp_path):
    path = tmp_path / "index"
    await saved(path, range(3))
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged(path, at)
        with pytest.raises(IndexUnusable):
            saving.read(path, DIMENSION, "test")
        path.write_bytes(whole)
    await assert_holds(await load(path), range(3))


async def test_any_byte_that_is_missing_or_too_much_is_noticed(tmp_path):
    path = tmp_path / "index"
    await saved(path, range(3))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(IndexUnusable, match=r"not the file of an index|cut off|has \d+ bytes and should have \d+"):
            saving.read(path, DIMENSION, "test")
    path.write_bytes(whole + b"x")
    with pytest.raises(IndexUnusable, match="bytes and should have"):
        saving.read(path, DIMENSION, "test")


async def test_a_file_of_a_later_format_is_refused_by_its_number(tmp_path):
    path = tmp_path / "index"
    await saved(path, range(10))
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(IndexUnusable, match="it has format 2, and this version of resilio reads format 1"):
        await load(path)


# --- trouble while saving --------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("at", [1, 2])
async def test_a_save_that_fails_says_so_and_leaves_what_was_there(tmp_path, monkeypatch, broken, at):
    there = await saved(tmp_path / "index", range(60))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    idx = await load(tmp_path / "index")
    await add(idx, range(100, 130))
    await settled(idx)
    calls = []
    real = getattr(os, broken)

    def fails(*args):
        calls.append(args)
        if len(calls) == at:
            raise OSError(28, "No space left on device")
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fails)
        with pytest.raises(OSError, match="No space left"):
            await idx.save(tmp_path / "index")
    assert before.items() <= {path.name: path.read_bytes() for path in tmp_path.iterdir()}.items()
    assert not list(tmp_path.glob("*.tmp"))
    await assert_holds(await load(tmp_path / "index"), there)
    await idx.save(tmp_path / "index")
    assert idx.statistics().failure is None
    await assert_holds(await load(tmp_path / "index"), there | set(range(100, 130)))


async def test_a_folder_that_is_not_there_is_an_error_and_no_failure_of_the_index(tmp_path):
    idx = index()
    await add(idx, range(60))
    await settled(idx)
    with pytest.raises(OSError, match="nowhere"):
        await idx.save(tmp_path / "nowhere" / "index")
    assert idx.statistics().failure is None
    await idx.save(tmp_path / "index")


def killed_saver(path, choose, *, by_itself):
    """Let a process save until it is killed; returns how many entries it said were saved."""
    step = choose.randrange(14, 45) if by_itself else 0
    command = [sys.executable, SAVER, path, str(step)]
    confirmed = saves = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as saver:
        for line in saver.stdout:
            what, *number = line.split()
            if what == "saved":
                confirmed = int(*number)
            saves += what == "saving"
            if not by_itself and saves >= 2 and choose.random() < 0.5:
                saver.kill()
        assert saver.wait() == -signal.SIGKILL
    return confirmed


@pytest.mark.real_loop
@pytest.mark.parametrize("number", range(KILLS))
async def test_a_process_killed_while_it_saves_leaves_an_index_that_opens(tmp_path, number):
    """It is killed before its nth step on a file, or at any moment from outside."""
    path = tmp_path / "index"
    confirmed = killed_saver(path, random.Random(number), by_itself=number % 2 == 0)
    assert confirmed
    idx = await load(path, exact_limit=100)
    there = len(idx)
    assert there >= confirmed, "what was said to be saved is there"
    for label in range(there):
        assert label in idx
        if label % 7 == 0:
            [(found, similarity)] = await idx.search(vector(label), 1)
            assert (found, similarity) == (label, pytest.approx(1.0, abs=1e-5))
    await add(idx, range(there, there + 10))
    await idx.save(path)
    left = {each.name.split("-")[0] for each in tmp_path.iterdir()}
    assert left <= {"index", "index.graph"}, "what the dead process left behind is gone"
    await idx.aclose()
