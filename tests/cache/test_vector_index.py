"""What an index promises, on virtual time: found at once, never found again, few or many."""

import numpy as np
import pytest
from anyio import wait_all_tasks_blocked
from executors import InlineExecutor, SteppedExecutor
from index_world import DIMENSION, add, assert_found, index, nearest, settled, vector, vectors

from resilio.cache.index import IndexClosed, VectorIndex


async def test_a_few_entries_are_searched_exactly_and_without_waiting():
    idx = index()
    await add(idx, range(20))
    assert_found(idx.search_nowait(vector(7), 4), nearest(vector(7), range(20), 4))
    assert idx.search_nowait(vector(7), 4) == await idx.search(vector(7), 4)
    assert idx.statistics().mode == "exact"
    assert len(idx) == 20
    assert 7 in idx
    assert 20 not in idx


async def test_an_empty_index_finds_nothing():
    idx = index()
    assert idx.search_nowait(vector(1)) == []
    assert await idx.search(vector(1)) == []


async def test_more_neighbours_than_entries_are_all_entries():
    idx = index()
    await add(idx, range(3))
    assert_found(idx.search_nowait(vector(0), 50), nearest(vector(0), range(3), 3))


async def test_many_neighbours_come_in_order_too():
    idx = index(exact_limit=500)
    await add(idx, range(300))
    assert_found(idx.search_nowait(vector(5), 40), nearest(vector(5), range(300), 40))


async def test_many_entries_are_searched_through_a_graph_and_nothing_is_lost_on_the_way():
    idx = index()
    for start in range(0, 200, 10):
        await add(idx, range(start, start + 10))
        assert_found(await idx.search(vector(start), 4), nearest(vector(start), range(start + 10), 4))
    assert idx.search_nowait(vector(1)) is None
    await settled(idx)
    now = idx.statistics()
    assert (now.mode, now.growing, now.entries) == ("graph", False, 200)
    assert now.nodes + now.rows == 200
    assert now.nodes > 190
    for number in range(200):
        assert_found(await idx.search(vector(number), 4), nearest(vector(number), range(200), 4))
    await idx.aclose()


async def test_a_removed_entry_is_never_found_again_be_it_row_or_node():
    idx = index(absorb_at=60)
    await add(idx, range(100))
    await settled(idx)
    await add(idx, range(100, 130))  # beside the graph
    assert idx.statistics().rows == 30
    left = set(range(130))
    for number in (*range(0, 50, 3), *range(100, 130, 3)):
        assert idx.remove(number)
        left.discard(number)
        assert_found(await idx.search(vector(number), 4), nearest(vector(number), left, 4))
    assert not idx.remove(0)
    await settled(idx)
    assert len(idx) == len(left)


async def test_a_label_that_was_removed_may_come_back_with_another_vector():
    idx = index()
    await add(idx, range(60))
    await settled(idx)
    idx.remove(7)
    await idx.add([7], vectors([1007]))
    found = await idx.search(vector(1007), 1)
    assert found[0][0] == 7
    assert found[0][1] == pytest.approx(1.0, abs=1e-5)
    assert 7 not in [label for label, near in await idx.search(vector(7), 1) if near > 0.99]


async def test_tombstones_near_the_query_do_not_hide_what_lives():
    idx = index(absorb_at=1000, exact_limit=150)
    await add(idx, range(400))
    await settled(idx)
    query = vector(3)
    dead = [label for label, _ in nearest(query, range(400), 100)]
    for label in dead:
        idx.remove(label)
    assert idx.statistics().dead == 100, "hnswlib has been told nothing yet, so it returns them"
    assert idx._contents.graph.marked == 0
    left = set(range(400)).difference(dead)
    assert_found(await idx.search(query, 4), nearest(query, left, 4))


async def test_a_graph_with_many_tombstones_is_built_anew_without_them():
    idx = index()
    await add(idx, range(100))
    await settled(idx)
    built = idx.statistics().graphs
    for number in range(28):
        idx.remove(number)
        await settled(idx)
    assert idx.statistics().graphs == built
    for number in range(28, 40):
        idx.remove(number)
        await settled(idx)
    now = idx.statistics()
    assert now.graphs == built + 1
    assert now.nodes < 80
    for number in range(40, 100):
        assert_found(await idx.search(vector(number), 4), nearest(vector(number), range(40, 100), 4))


async def test_rows_do_not_move_into_a_graph_that_is_mostly_dead():
    idx = index()
    await add(idx, range(60))
    await settled(idx)
    before = idx.statistics()
    for number in range(48):
        idx.remove(number)
    await add(idx, range(100, 140))
    await settled(idx)
    now = idx.statistics()
    assert (now.graphs - before.graphs, now.absorbed, now.dead) == (1, before.absorbed, 0)
    for number in (*range(48, 60), *range(100, 140)):
        assert (await idx.search(vector(number), 1))[0][0] == number, "a new node among tombstones is linked to nothing"


async def test_an_index_that_shrinks_far_below_the_limit_is_exact_again():
    idx = index()
    await add(idx, range(60))
    await settled(idx)
    for number in range(49):
        idx.remove(number)
        await settled(idx)
    assert idx.statistics().mode == "graph", "not at once: it may grow again"
    idx.remove(49), idx.remove(50)
    await settled(idx)
    now = idx.statistics()
    assert (now.mode, now.nodes, now.rows) == ("exact", 0, 9)
    assert_found(idx.search_nowait(vector(55), 4), nearest(vector(55), range(51, 60), 4))


async def test_an_index_that_loses_everything_is_as_new():
    idx = index()
    await add(idx, range(60))
    await settled(idx)
    for number in range(60):
        idx.remove(number)
    await settled(idx)
    assert len(idx) == 0
    assert idx.search_nowait(vector(1)) == []
    await add(idx, range(60))
    await settled(idx)
    assert_found(await idx.search(vector(9), 3), nearest(vector(9), range(60), 3))


async def test_equal_vectors_are_all_found():
    idx = index()
    await add(idx, range(40))
    await idx.add(range(1000, 1010), np.repeat(vectors([500]), 10, axis=0))
    await settled(idx)
    found = await idx.search(vector(500), 10)
    assert {label for label, _ in found} == set(range(1000, 1010))
    assert all(near == pytest.approx(1.0, abs=1e-5) and near <= 1.0 for _, near in found)


async def test_similarities_stay_between_minus_one_and_one():
    idx = index()
    many = [*range(60)]
    await add(idx, many)
    await idx.add([100], -vectors([5]))
    for size in ("rows", "graph"):
        found = dict(await idx.search(vector(5), 61))
        assert found[5] <= 1.0, size
        assert found[100] >= -1.0, size
        await settled(idx)


# --- refused at the door -----------------------------------------------------------------------------


def with_one(value, at=0):
    found = vector(1).copy()
    found[at] = value
    return found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (with_one(np.nan, 3), "is not finite: dimension 3"),
        (with_one(np.inf), "is not finite: dimension 0"),
        (vector(1) * 2, "has length 2, not 1"),
        (np.zeros(DIMENSION, np.float32), "has length 0, not 1"),
        (vector(1, 9), r"has shape \(8,\) here, not \(9,\)"),
        (vectors([1]), r"has shape \(8,\) here, not \(1, 8\)"),
        (with_one(3e38), "has length 3e\\+38, not 1"),
        ([1e300] * DIMENSION, "is not finite: dimension 0"),
    ],
)
async def test_a_query_that_is_no_vector_of_unit_length_is_refused(query, said):
    idx = index()
    await add(idx, range(3))
    with pytest.raises(ValueError, match=said):
        idx.search_nowait(query)
    with pytest.raises(ValueError, match=said):
        await idx.search(query)


@pytest.mark.parametrize(
    ("labels", "batch", "error", "said"),
    [
        ([1, 2], np.stack([vector(1), with_one(np.nan)]), ValueError, "vector 1 of 2 is not finite"),
        ([1, 2], np.stack([vector(1) / 2, vector(2)]), ValueError, "vector 0 of 2 has length 0.5"),
        ([1], vectors([1, 2]), ValueError, r"shape \(1, 8\), not \(2, 8\)"),
        ([1], vector(1), ValueError, r"shape \(1, 8\), not \(8,\)"),
        ([1, 1], vectors([1, 2]), ValueError, "label 1 comes twice"),
        ([0], vectors([1]), ValueError, "label 0 is in the index already"),
        ([2**63], vectors([1]), ValueError, "does not fit into 64 bits"),
        (["a"], vectors([1]), TypeError, "a label is a whole number, not 'a'"),
        ([True], vectors([1]), TypeError, "not True"),
        ([1.0], vectors([1]), TypeError, "not 1.0"),
    ],
)
async def test_a_batch_with_one_fault_is_refused_whole(labels, batch, error, said):
    idx = index()
    await add(idx, [0])
    with pytest.raises(error, match=said):
        await idx.add(labels, batch)
    assert len(idx) == 1
    assert len(idx.search_nowait(vector(0), 10)) == 1


async def test_no_neighbours_are_not_searched_for():
    idx = index()
    with pytest.raises(ValueError, match="at least one neighbour"):
        idx.search_nowait(vector(1), 0)
    with pytest.raises(ValueError, match="at least one neighbour"):
        await idx.search(vector(1), -1)


@pytest.mark.parametrize("name", ["dimension", "exact_limit", "absorb_at", "readers"])
def test_a_setting_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is at least 1, not 0"):
        VectorIndex(**{"dimension": 8, "embedder_id": "e", "executor": InlineExecutor(), name: 0})


async def test_other_number_types_are_taken_as_what_they_are():
    idx = index()
    await idx.add(np.arange(3), vectors(range(3)).astype(np.float64))
    found = idx.search_nowait(vector(1).tolist(), 1)
    assert found[0][0] == 1
    assert isinstance(found[0][0], int)


# --- the end -------------------------------------------------------------------------------------------


async def test_a_closed_index_refuses_everything_and_may_be_closed_again(tmp_path):
    idx = index()
    await add(idx, range(60))
    await idx.aclose()
    await idx.aclose()
    for call in (idx.search(vector(1)), idx.add([1], vectors([1])), idx.save(tmp_path / "index")):
        with pytest.raises(IndexClosed, match="the index of 'test' is closed"):
            await call
    with pytest.raises(IndexClosed):
        idx.search_nowait(vector(1))
    with pytest.raises(IndexClosed):
        idx.remove(1)
    assert repr(idx) == "<VectorIndex of 'test', 60 entries of 8 dimensions, closed>"


async def test_its_repr_tells_what_it_is_and_does():
    executor = SteppedExecutor()
    idx = index(executor)
    await add(idx, range(3))
    assert repr(idx) == "<VectorIndex of 'test', 3 entries of 8 dimensions, exact>"
    await add(idx, range(3, 40))
    await wait_all_tasks_blocked()
    assert repr(idx).endswith("exact, growing a graph>")
    executor.step("_copy")
    await settled(idx)
    assert repr(idx).endswith("40 entries of 8 dimensions, graph>")


async def test_a_shut_down_executor_is_told_and_entries_stay_where_they_were():
    executor = InlineExecutor()
    idx = index(executor, exact_limit=2)
    await add(idx, range(3))
    await settled(idx)
    executor.shutdown()
    with pytest.raises(IndexClosed, match="takes no more work"):
        await idx.search(vector(1))
    await add(idx, range(3, 9))
    await settled(idx)
    assert "takes no more work" in idx.statistics().failure
    assert len(idx) == 9
    await idx.aclose()
