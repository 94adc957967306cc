"""The traps of hnswlib, each closed; and the door to the threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from executors import SteppedExecutor
from index_world import DIMENSION, add, index, vector, vectors

from resilio.cache.index import IndexClosed
from resilio.cache.index.graph import EF, SMALLEST, Graph


def graph(count):
    found = Graph(DIMENSION)
    found.add(np.arange(count), vectors(range(count)))
    return found


def test_a_batch_beyond_its_room_is_refused_whole():
    full = graph(SMALLEST - 2)
    with pytest.raises(ValueError, match=f"3 more nodes do not fit: {SMALLEST - 2} of {SMALLEST} are taken"):
        full.add(np.arange(1000, 1003), vectors(range(1000, 1003)))
    assert full.count == SMALLEST - 2
    full.make_room(3)
    full.add(np.arange(1000, 1003), vectors(range(1000, 1003)))
    assert full.search(vector(1002), 1, range(2000))[0].ticket == 1002


def test_more_than_can_be_reached_is_not_an_error_but_fewer():
    assert 5 <= len(graph(10)._nearest(vector(1), 50)) <= 10
    assert graph(10)._nearest(vector(1), 0) == []


def test_vectors_come_out_bit_for_bit_as_they_went_in():
    assert np.array_equal(graph(20).vectors_of(np.array([7, 3])), vectors([7, 3]))
    assert graph(3).vectors_of(np.array([], np.int64)).shape == (0, DIMENSION)


def test_reading_the_wrong_file_is_an_error(tmp_path):
    (tmp_path / "graph").write_bytes(b"not a graph at all")
    with pytest.raises(RuntimeError):
        Graph(DIMENSION, file=tmp_path / "graph")


def test_it_never_takes_more_threads_than_the_one_it_is_called_in(tmp_path):
    built = graph(10)
    built.save(tmp_path / "graph")
    loaded = Graph(DIMENSION, file=tmp_path / "graph")
    assert [each._index.num_threads for each in (built, loaded)] == [1, 1], "hnswlib takes all processors"
    assert [each._index.ef for each in (built, loaded)] == [EF, EF], "loading puts it to 10"


def test_marks_that_are_refused_stay_in_the_list():
    marked = graph(10)
    tickets = [5, 99, 3, 4]
    with pytest.raises(RuntimeError):
        marked.mark(tickets)
    assert tickets == [5, 99]
    assert marked.marked == 2


def test_its_repr_says_how_full_it_is():
    assert repr(graph(10)) == f"<Graph of 10 nodes, 0 marked as removed, room for {SMALLEST}>"
    assert repr(index()._contents.flat) == "<Flat of 0 live rows of 0, room for 4>"


async def test_work_that_an_executor_drops_is_told_to_whoever_waits():
    executor = SteppedExecutor()
    idx = index(executor, exact_limit=1)
    await add(idx, range(3))
    await asyncio.sleep(0.001)
    executor.step()
    await asyncio.sleep(0.001)
    search = asyncio.get_running_loop().create_task(idx.search(vector(1)))
    await asyncio.sleep(0.001)
    executor.drop()
    with pytest.raises(IndexClosed, match="was shut down before this was done"):
        await search
    await idx.aclose()


@pytest.mark.real_loop
async def test_real_threads_find_what_inline_work_finds():
    with ThreadPoolExecutor(3) as executor:
        idx = index(executor)
        await add(idx, range(60))
        found = await asyncio.gather(*(idx.search(vector(number), 1) for number in range(60)))
        assert [label for [(label, _)] in found] == list(range(60))
        await idx.aclose()
