"""An index while something is in a thread: nobody is let in too early, nothing is lost, and cancelling harms nobody.

The executor holds every job until the test lets it end, so each order is tried on purpose and on virtual time.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest
from executors import InlineExecutor, SteppedExecutor
from index_world import SMALL, add, assert_found, index, nearest, settled, vector, vectors

from resilio.cache.index import IndexClosed
from resilio.testing.schedule import cancel_everywhere


async def idle():
    """Wait until nothing can run: virtual time passes only then."""
    await asyncio.sleep(0.001)


async def finished(executor):
    """Let everything that is in a thread, or comes into one, end."""
    await idle()
    while executor.jobs:
        executor.step()
        await idle()


async def with_graph(entries=60, **settings):
    executor = SteppedExecutor()
    idx = index(executor, **settings)
    await add(idx, range(entries))
    await finished(executor)
    assert idx.statistics().mode == "graph"
    return executor, idx


def start(coroutine):
    return asyncio.get_running_loop().create_task(coroutine)


async def test_rows_move_into_the_graph_only_when_no_search_is_in_it():
    executor, idx = await with_graph()
    search = start(idx.search(vector(1)))
    await idle()
    await add(idx, range(100, 110))
    await idle()
    assert executor.names == ["_search_all"]
    executor.step()
    await idle()
    assert_found(await search, nearest(vector(1), range(60), 4))
    assert executor.names == ["_change"]
    other = start(idx.search(vector(105)))
    await idle()
    assert executor.names == ["_change"], "and no search is let in beside that"
    executor.step()
    await idle()
    assert executor.names == ["_search_all"]
    await finished(executor)
    assert (await other)[0][0] == 105


async def test_searches_run_beside_each_other_but_not_more_than_allowed():
    executor, idx = await with_graph()
    searches = [start(idx.search(vector(1)))]
    await idle()
    searches += [start(idx.search(vector(number))) for number in range(20)]
    await idle()
    assert executor.names == ["_search_all"] * SMALL["readers"]
    now = idx.statistics()
    assert (now.readers, now.waiting) == (2, 12)  # one alone, eight together
    executor.step()
    await idle()
    assert executor.names == ["_search_all"] * SMALL["readers"]
    await finished(executor)
    for search, number in zip(searches[1:], range(20), strict=True):
        assert (await search)[0][0] == number
    assert idx.statistics().readers == 0


@pytest.mark.parametrize("times", [1, 2])
async def test_a_search_cancelled_in_a_thread_keeps_the_writer_out_until_the_thread_has_ended(times):
    executor, idx = await with_graph()
    search = start(idx.search(vector(1)))
    await idle()
    for _ in range(times):
        search.cancel()
        await idle()
    assert search.cancelled()
    await add(idx, range(100, 110))
    await idle()
    assert executor.names == ["_search_all"]
    executor.step()
    await idle()
    assert executor.names == ["_change"]
    await finished(executor)
    assert idx.statistics().rows == 0


async def test_searches_that_were_cancelled_before_their_turn_are_not_made():
    executor, idx = await with_graph(readers=1)
    first = start(idx.search(vector(1)))
    await idle()
    others = [start(idx.search(vector(number))) for number in range(5)]
    await idle()
    for each in others:
        each.cancel()
    executor.step()
    await idle()
    assert not executor.jobs
    assert (await first)[0][0] == 1


async def test_cancelling_the_index_s_own_tasks_does_not_let_go_of_the_lock_before_the_thread_has_ended():
    executor, idx = await with_graph()
    search = start(idx.search(vector(1)))
    await idle()
    reader = next(iter(idx._readers.tasks))
    for _ in range(3):  # as a loop does with all tasks when it is told to end
        reader.cancel()
        await idle()
    await add(idx, range(100, 110))
    await idle()
    assert executor.names == ["_search_all"]
    assert not reader.done()
    executor.step()
    await idle()
    assert reader.cancelled()
    assert search.cancelled()
    assert executor.names == ["_change"]
    idx._keeper.task.cancel()
    other = start(idx.search(vector(105)))
    await idle()
    assert executor.names == ["_change"]
    await finished(executor)
    assert (await other)[0][0] == 105, "a row that moved and was not let go is found once"
    assert len({label for label, _ in await other}) == 4
    await idx.aclose()


async def test_those_who_wait_behind_a_cancelled_reader_get_another():
    executor, idx = await with_graph(readers=1)
    first = start(idx.search(vector(1)))
    await idle()
    second = start(idx.search(vector(2)))
    await idle()
    next(iter(idx._readers.tasks)).cancel()
    await finished(executor)
    assert first.cancelled()
    assert (await second)[0][0] == 2


async def test_a_save_whose_task_is_cancelled_is_made_by_the_next(tmp_path):
    executor, idx = await with_graph()
    save = start(idx.save(tmp_path / "index"))
    await idle()
    idx._keeper.task.cancel()
    await finished(executor)
    await save
    assert (tmp_path / "index").exists()


# --- while something is made anew -----------------------------------------------------------------------


async def test_what_comes_and_goes_while_a_graph_is_built_is_found_and_not_found():
    executor = SteppedExecutor()
    idx = index(executor)
    await add(idx, range(75))
    await idle()
    assert executor.names == ["_copy"], "the first 64 are being copied"
    idx.remove(3), idx.remove(70)
    await add(idx, [1000, 1001, 1002])
    executor.step()
    await idle()
    idx.remove(4), idx.remove(71), idx.remove(1001)
    left = set(range(75)).difference([3, 70, 4, 71]) | {1000, 1002}
    await finished(executor)
    now = idx.statistics()
    assert (now.mode, now.entries, now.rows) == ("graph", 73, 2)
    for number in (3, 4, 70, 71, 1000, 1001, 1002):
        search = start(idx.search(vector(number)))
        await finished(executor)
        assert_found(await search, nearest(vector(number), left, 4))


async def test_rows_that_pile_up_while_a_graph_is_built_anew_are_in_both():
    executor, idx = await with_graph(entries=200)
    for number in range(80):
        idx.remove(number)
    await idle()
    while executor.names != ["_copy"]:
        executor.step()
        await idle()
    built = idx.statistics().graphs
    await add(idx, range(1000, 1030))
    executor.step()
    await idle()
    assert executor.names == ["_change"], "more rows than the limit: into the old graph meanwhile"
    idx.remove(1001)  # while it moves
    await finished(executor)
    assert idx.statistics().graphs == built + 1
    assert idx.statistics().dead <= 1
    left = {*range(80, 200), *range(1000, 1030)}.difference([1001])
    for number in left:
        search = start(idx.search(vector(number)))
        await finished(executor)
        assert_found(await search, nearest(vector(number), left, 4))


async def test_an_index_that_shrinks_while_its_first_graph_is_built_gives_it_up():
    executor = SteppedExecutor()
    idx = index(executor)
    await add(idx, range(30))
    await idle()
    for number in range(25):
        idx.remove(number)
    await finished(executor)
    now = idx.statistics()
    assert (now.mode, now.growing, now.graphs) == ("exact", False, 0)
    assert_found(idx.search_nowait(vector(27)), nearest(vector(27), range(25, 30), 4))


async def test_what_comes_and_goes_while_a_graph_is_given_up_is_found_and_not_found():
    executor, idx = await with_graph()
    for number in range(52):
        idx.remove(number)
    await idle()
    while executor.names != ["vectors_of"]:
        executor.step()
        await idle()
    idx.remove(55)
    await add(idx, [1000])
    await finished(executor)
    assert idx.statistics().mode == "exact"
    assert_found(idx.search_nowait(vector(55), 9), nearest(vector(55), {52, 53, 54, 56, 57, 58, 59, 1000}, 9))


async def test_an_entry_removed_while_a_search_looks_is_not_returned_and_the_next_takes_its_place():
    executor, idx = await with_graph()
    search = start(idx.search(vector(1), 3))
    await idle()
    executor.step()
    idx.remove(1)  # the thread has ended, the search has not
    await finished(executor)
    assert_found(await search, nearest(vector(1), set(range(60)) - {1}, 3))


async def test_a_label_that_comes_back_while_a_search_looks_is_not_taken_for_what_it_was():
    executor, idx = await with_graph()
    search = start(idx.search(vector(1), 1))
    await idle()
    executor.step()
    idx.remove(1)
    await idx.add([1], vectors([777]))
    await finished(executor)
    (label, similarity) = (await search)[0]
    assert similarity < 0.99, (label, similarity)


# --- too much, and failure ------------------------------------------------------------------------------


async def test_adding_waits_while_far_too_much_is_outside_the_graph_and_adds_nothing_when_cancelled():
    executor = SteppedExecutor()
    idx = index(executor)
    await add(idx, range(81))
    first, second = start(add(idx, range(100, 110))), start(add(idx, range(200, 210)))
    await idle()
    assert len(idx) == 81
    first.cancel()
    await finished(executor)
    await second
    assert first.cancelled()
    assert len(idx) == 91
    assert 100 not in idx


async def test_a_step_that_fails_is_told_undoes_nothing_and_is_tried_again():
    executor, idx = await with_graph()
    await add(idx, range(100, 110))
    idx.remove(5)
    await idle()
    executor.fail(MemoryError("no room for a graph"))
    await idle()
    assert idx.statistics().failure == "MemoryError('no room for a graph')"
    assert idx.statistics().rows == 10
    search = start(idx.search(vector(105)))
    await finished(executor)
    assert_found(await search, nearest(vector(105), {*range(60), *range(100, 110)} - {5}, 4))
    await add(idx, [110])
    await finished(executor)
    now = idx.statistics()
    assert (now.failure, now.rows) == (None, 0)


async def test_marks_that_failed_are_still_due():
    executor, idx = await with_graph(exact_limit=60, entries=70)
    for number in range(5):
        idx.remove(number)
    await idle()
    executor.fail(RuntimeError("once"))
    await idle()
    assert len(idx._contents.unmarked) == 5
    idx.remove(6)
    await finished(executor)
    assert idx._contents.graph.marked == 6


async def test_who_waits_for_room_hears_of_the_failure_that_takes_it_away():
    executor = SteppedExecutor()
    idx = index(executor)
    await add(idx, range(81))
    more = start(add(idx, range(100, 110)))
    await idle()
    executor.fail(MemoryError("no room for a graph"))
    with pytest.raises(MemoryError, match="no room for a graph"):
        await more
    assert len(idx) == 81


async def test_a_search_that_fails_fails_for_those_it_was_made_for_alone():
    executor, idx = await with_graph()
    search = start(idx.search(vector(1)))
    await idle()
    executor.fail(MemoryError("no room for a result"))
    with pytest.raises(MemoryError, match="no room for a result"):
        await search
    search = start(idx.search(vector(1)))
    await finished(executor)
    assert (await search)[0][0] == 1


async def test_closing_waits_for_what_is_in_a_thread_and_refuses_the_rest(tmp_path):
    executor, idx = await with_graph(readers=1)
    looking = start(idx.search(vector(1)))
    await idle()
    waiting = start(idx.search(vector(2)))
    await add(idx, range(100, 110))
    save = start(idx.save(tmp_path / "index"))
    await idle()
    closing = start(idx.aclose())
    await idle()
    assert not closing.done()
    with pytest.raises(IndexClosed, match="before this search began"):
        await waiting
    with pytest.raises(IndexClosed, match="before this was done"):
        await save
    closing.cancel()
    again = start(idx.aclose())
    await finished(executor)
    assert (await looking)[0][0] == 1
    await again
    assert closing.cancelled()
    assert not idx._readers.tasks
    assert idx._keeper.task is None


# --- cancelled at every await ---------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["search", "add", "save", "aclose"])
def test_a_call_cancelled_anywhere_leaves_the_index_whole(act, tmp_path):
    @asynccontextmanager
    async def scenario():
        idx = index(InlineExecutor())
        await add(idx, range(100))
        await settled(idx)
        await add(idx, range(100, 103))

        async def call():
            if act == "search":
                assert_found(await idx.search(vector(7)), nearest(vector(7), range(103), 4))
            elif act == "add":
                await add(idx, range(200, 281))
                await add(idx, range(300, 310))
            elif act == "save":
                await idx.save(tmp_path / "index")
            else:
                await idx.aclose()

        yield call
        if act == "aclose":
            await idx.aclose()
            assert not idx._readers.tasks
            return
        await settled(idx)
        there = [*range(103)]
        if act == "add":
            there += range(200, 281) if 200 in idx else []
            there += range(300, 310) if 300 in idx else []
        assert len(idx) == len(there), "all of a batch or none"
        for number in there[::10]:
            assert_found(await idx.search(vector(number)), nearest(vector(number), there, 4))
        await idx.save(tmp_path / "index")
        await idx.aclose()

    assert cancel_everywhere(scenario) >= (0 if act == "aclose" else 1)
