"""Identical requests share one try, and nobody is worse off for it: not by a cancellation, not by a failure."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.cache import SingleFlight
from resilio.testing.loop import run
from resilio.testing.schedule import cancel_everywhere, shuffled

KEY = b"k" * 20


class Failed(Exception):
    """A try that came to nothing."""


class Origin:
    """What is asked: each try takes a second; the listed ones fail."""

    def __init__(self, *failing, takes=1.0):
        self.tries = self.at_once = self.most_at_once = 0
        self.failing = failing
        self.takes = takes

    async def ask(self):
        self.tries += 1
        number = self.tries
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        if number in self.failing:
            raise Failed(number)
        return f"answer {number}"


async def call(flights, origin, patience=1000.0):
    """One caller, as dispatch does it."""
    seat = flights.board(KEY)
    try:
        if not seat.leads:
            got = await seat.wait(asyncio.get_running_loop().time() + patience)
            if got is not None:
                return got
        got = await origin.ask()
    except BaseException as exc:
        seat.leave(failed=isinstance(exc, Exception))
        raise
    seat.land(got)
    return got


async def all_of(tasks):
    return await asyncio.gather(*tasks, return_exceptions=True)


def callers(flights, origin, count, **options):
    return [asyncio.create_task(call(flights, origin, **options)) for _ in range(count)]


async def test_two_hundred_share_one_try():
    flights, origin = SingleFlight(), Origin()
    assert set(await all_of(callers(flights, origin, 200))) == {"answer 1"}
    assert (origin.tries, len(flights)) == (1, 0)


async def test_different_requests_do_not_wait_for_each_other():
    flights = SingleFlight()
    assert flights.board(b"a").leads
    assert flights.board(b"b").leads
    assert len(flights) == 2


async def test_a_cancelled_leader_hands_over_and_one_more_is_tried():
    flights, origin = SingleFlight(), Origin()
    tasks = callers(flights, origin, 200)
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    results = await all_of(tasks)
    assert isinstance(results[0], asyncio.CancelledError)
    assert set(results[1:]) == {"answer 2"}
    assert (origin.tries, len(flights)) == (2, 0)


async def test_who_takes_over_and_is_cancelled_hands_on():
    flights, origin = SingleFlight(), Origin()
    tasks = callers(flights, origin, 5)
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    tasks[1].cancel()  # at once: before it woke to its turn
    await asyncio.sleep(0.5)
    tasks[2].cancel()
    results = await all_of(tasks)
    assert results[3:] == ["answer 3", "answer 3"]
    assert (origin.tries, len(flights)) == (3, 0)


async def test_a_waiter_that_is_cancelled_disturbs_nobody():
    flights, origin = SingleFlight(), Origin()
    tasks = callers(flights, origin, 4)
    await asyncio.sleep(0.5)
    tasks[2].cancel()
    results = await all_of(tasks)
    assert [results[0], results[1], results[3]] == ["answer 1"] * 3
    assert (origin.tries, len(flights)) == (1, 0)


async def test_a_failed_leader_fails_for_itself_alone():
    flights, origin = SingleFlight(), Origin(1)
    results = await all_of(callers(flights, origin, 200))
    assert isinstance(results[0], Failed)
    assert set(results[1:]) <= {"answer 2", "answer 3"}
    assert (origin.tries, len(flights)) == (3, 0)


async def test_when_every_try_fails_each_has_its_own_error_and_all_is_over_in_a_few_rounds():
    flights, origin = SingleFlight(), Origin(*range(1, 201))
    began = asyncio.get_running_loop().time()
    results = await all_of(callers(flights, origin, 200))
    assert sorted(error.args[0] for error in results) == list(range(1, 201))
    assert asyncio.get_running_loop().time() - began == pytest.approx(8.0), "1 + 2 + 4 + ... + 73"
    assert len(flights) == 0


async def test_one_success_among_those_who_try_in_its_place_serves_all_who_still_wait():
    flights, origin = SingleFlight(), Origin(1, 2)
    results = await all_of(callers(flights, origin, 50))
    assert [type(result) for result in results[:2]] == [Failed, Failed]
    # The second failed just before the third succeeded, so two more had begun.
    assert results[2:5] == ["answer 3", "answer 4", "answer 5"]
    assert set(results[5:]) == {"answer 3"}
    assert origin.tries == 5


async def test_who_has_waited_long_enough_tries_itself_and_serves_the_others():
    flights, slow = SingleFlight(), Origin(takes=100.0)
    leader = asyncio.create_task(call(flights, slow))
    await asyncio.sleep(0)
    quick = Origin(takes=1.0)
    hasty, patient = callers(flights, quick, 1, patience=5.0)[0], callers(flights, quick, 1)[0]
    began = asyncio.get_running_loop().time()
    assert await hasty == await patient == "answer 1"
    assert asyncio.get_running_loop().time() - began == pytest.approx(6.0)
    assert await leader == "answer 1"
    assert (slow.tries, quick.tries, len(flights)) == (1, 1, 0)


async def test_a_late_leader_does_not_close_a_later_flight():
    flights = SingleFlight()
    first, other = flights.board(KEY), flights.board(KEY)
    waiting = asyncio.create_task(other.wait(asyncio.get_running_loop().time() + 1))
    assert await waiting is None
    other.land("x")
    later = flights.board(KEY)
    assert later.leads
    first.land("y")
    first.leave(failed=True)
    assert len(flights) == 1
    later.leave(failed=False)
    assert len(flights) == 0


async def test_leaving_twice_frees_nobody_twice():
    flights = SingleFlight()
    leader = flights.board(KEY)
    waits = [asyncio.create_task(flights.board(KEY).wait(1e9)) for _ in range(5)]
    await asyncio.sleep(0)
    leader.leave(failed=True)
    leader.leave(failed=True)
    leader.land("too late")
    await asyncio.sleep(0)
    assert [task.done() for task in waits] == [True, True, False, False, False]
    for task in waits:
        task.cancel()


def test_cancelled_anywhere_nobody_else_is_lost_and_nothing_stays():
    @asynccontextmanager
    async def scenario():
        flights, origin = SingleFlight(), Origin(1)
        others = callers(flights, origin, 3)
        await asyncio.sleep(0)
        yield lambda: call(flights, origin)
        results = await all_of(others)
        assert isinstance(results[0], Failed)
        assert all(str(result).startswith("answer") for result in results[1:])
        assert (len(flights), origin.at_once) == (0, 0)

    assert cancel_everywhere(scenario, allowed=(Failed,)) >= 1


def test_a_leader_cancelled_anywhere_leaves_one_more_try_at_most():
    @asynccontextmanager
    async def scenario():
        flights, origin = SingleFlight(), Origin()

        async def late():
            await asyncio.sleep(0.25)
            return await call(flights, origin)

        waiting = [asyncio.create_task(late()) for _ in range(20)]
        yield lambda: call(flights, origin)
        results = await all_of(waiting)
        assert all(str(result).startswith("answer") for result in results)
        assert origin.tries <= 2
        assert (len(flights), origin.at_once) == (0, 0)

    assert cancel_everywhere(scenario) >= 1


def test_in_any_order_of_tasks_one_try_serves_all():
    async def main():
        flights, origin = SingleFlight(), Origin()
        results = await all_of(callers(flights, origin, 30))
        return set(results), origin.tries, len(flights)

    assert all(result == ({"answer 1"}, 1, 0) for result in shuffled(main))


CALLERS = st.tuples(st.integers(0, 30), st.none() | st.integers(0, 40), st.integers(1, 30))


@given(st.lists(CALLERS, min_size=1, max_size=25), st.sets(st.integers(1, 25)))
def test_whoever_comes_and_goes_when_each_ends_with_an_answer_or_its_own_error(plan, failing):
    """Of each caller, in tenths of seconds: when it comes, when it is cancelled, how long it waits for others."""

    async def main():
        flights, origin = SingleFlight(), Origin(*failing)

        async def caller(comes, cancelled, patience):
            await asyncio.sleep(comes / 10)
            began = asyncio.get_running_loop().time()
            task = asyncio.create_task(call(flights, origin, patience=patience / 10 + 0.01))
            if cancelled is not None:
                asyncio.get_running_loop().call_later(cancelled / 10 + 0.003, task.cancel)
            (result,) = await all_of([task])
            took = asyncio.get_running_loop().time() - began
            assert took <= patience / 10 + 1.02
            return cancelled, result

        ends = await asyncio.gather(*(caller(*one) for one in plan))
        errors = [result.args[0] for _, result in ends if isinstance(result, Failed)]
        assert len(errors) == len(set(errors)), "each error is its owner's alone"
        for cancelled, result in ends:
            assert isinstance(result, str | Failed) or (
                cancelled is not None and isinstance(result, asyncio.CancelledError)
            )
        assert (len(flights), origin.at_once) == (0, 0)

    run(main())
