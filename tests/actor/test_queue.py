"""The mailbox lane: who waits, in which order they are served, and what those are told who are not."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest
from actor_world import SMALL, many, settled

from resilio.actor import Lease, Outcome, Refusal, Why
from resilio.errors import ErrorClass
from resilio.events import BreakerChanged
from resilio.models import Demand, LimitReading, Usage
from resilio.testing import cancel_everywhere, shuffled

ONE_SLOT = {"max_concurrency": 1, "models": {"m": {}, "n": {}}}
TEN_A_SECOND = {"models": {"m": {"tokens_per_minute": 600}, "n": {}}}


def order_of(tasks, finished):
    """Have each task note its name when it is served, and give its slot back."""

    def note(name):
        def noted(task):
            finished.append(name)
            if isinstance(lease := task.result(), Lease):
                lease.settle(lease.provider.clock(), Outcome.CANCELLED)

        return noted

    for name, task in tasks.items():
        task.add_done_callback(note(name))


# --- order -----------------------------------------------------------------------------------


async def test_waiters_are_served_first_come_first_served():
    async with many(ONE_SLOT) as w:
        held, served = w.lease(), []
        tasks = {}
        for name in range(5):
            tasks[name] = w.waiting()
            await settled()
        order_of(tasks, served)
        w.done(held)
        await asyncio.wait(tasks.values())
        assert served == [0, 1, 2, 3, 4]
        await settled()
        w.assert_idle()


async def test_a_higher_priority_is_served_first_and_equals_in_their_order():
    async with many(ONE_SLOT) as w:
        held, served, tasks = w.lease(), [], {}
        for name, priority in (("low", 0), ("high", 2), ("middle", 1), ("high too", 2), ("low too", 0)):
            tasks[name] = w.waiting(priority=priority)
            await settled()
        order_of(tasks, served)
        w.done(held)
        await asyncio.wait(tasks.values())
        assert served == ["high", "high too", "middle", "low", "low too"]


async def test_nobody_who_comes_later_passes_a_waiter_but_a_higher_priority():
    async with many(ONE_SLOT) as w:
        held = w.lease()
        first = w.waiting(priority=1)
        await settled()
        w.done(held)  # the slot is free, and the actor has not had its turn
        assert w.ask(priority=1).why == Why.QUEUE_AHEAD
        assert w.ask("p/n", priority=0).why == Why.QUEUE_AHEAD, "whoever waits for a slot blocks all models"
        passed = w.lease(priority=2)
        await settled()
        assert not first.done()
        w.done(passed)
        assert isinstance(await first, Lease)


async def test_a_waiter_is_not_passed_even_before_the_actor_has_seen_it():
    async with many(ONE_SLOT) as w:
        held = w.lease()
        first = asyncio.ensure_future(w.wait())
        await asyncio.sleep(0)  # it stands in the queue now; the actor wakes one turn later
        assert len(w.provider().waiters) == 1
        w.done(held)
        assert w.ask("p/n").why == Why.QUEUE_AHEAD
        assert isinstance(await first, Lease)


async def test_a_large_request_at_the_head_keeps_its_place_though_small_ones_would_fit():
    async with many(TEN_A_SECOND) as w:
        w.lease(demand=Demand(500, 0))
        large = w.waiting(demand=Demand(300, 0))
        await settled()
        began = w.now
        small = w.waiting(demand=Demand(10, 0))
        await settled()
        assert w.ask(demand=Demand(1, 0)).why == Why.QUEUE_AHEAD, "nor does the fast lane"
        assert not small.done()
        assert isinstance(await large, Lease)
        assert w.now - began == pytest.approx(20.0, abs=1e-3)
        assert isinstance(await small, Lease)
        assert w.now - began == pytest.approx(21.0, abs=1e-3)


async def test_a_group_that_waits_for_tokens_does_not_hold_up_another():
    async with many(TEN_A_SECOND) as w:
        w.lease(demand=Demand(600, 0))
        waiting = w.waiting(demand=Demand(100, 0))
        await settled()
        assert isinstance(w.ask("p/n"), Lease)
        assert isinstance(await w.wait("p/n"), Lease)
        assert not waiting.done()
        await waiting


async def test_a_queue_that_waits_for_a_slot_holds_up_everybody():
    async with many({**TEN_A_SECOND, "max_concurrency": 2}) as w:
        first, _ = w.lease(demand=Demand(600, 0)), w.lease("p/n")
        blocked = w.waiting(demand=Demand(50, 0))
        other = w.waiting("p/n")
        await settled()
        w.done(first, usage=Usage(600, 0))
        assert w.ask("p/n").why == Why.QUEUE_AHEAD
        assert isinstance(await other, Lease), "the head waits for tokens, so the slot goes to the next model"
        assert not blocked.done()
        w.done(await other)
        await blocked


# --- when a place in the queue is of no use ----------------------------------------------------


async def test_a_full_queue_refuses_and_says_how_many_wait():
    async with many({**ONE_SLOT, "queue": {"max_waiting": 2}}) as w:
        held = w.lease()
        tasks = [w.waiting(), w.waiting()]
        await settled()
        began = w.now
        refusal = await w.wait()
        assert (refusal.why, refusal.count, w.now) == (Why.QUEUE_FULL, 2, began)
        w.done(held)
        w.done(await tasks[0])
        await tasks[1]


async def test_who_cannot_have_the_tokens_in_time_is_told_at_once():
    async with many(TEN_A_SECOND) as w:
        w.lease(demand=Demand(600, 0))
        began = w.now
        refusal = await w.wait(demand=Demand(100, 0), seconds=9.9)
        assert (refusal.why, w.now) == (Why.RATE_LIMITED, began)
        assert refusal.retry_in == pytest.approx(10.0, abs=1e-3)
        assert isinstance(await w.wait(demand=Demand(100, 0), seconds=10.1), Lease)


async def test_the_tokens_of_those_ahead_count_but_not_of_those_behind_or_of_other_models():
    async with many({"models": {"m": {"tokens_per_minute": 600}, "n": {"tokens_per_minute": 600}}}) as w:
        w.lease(demand=Demand(600, 0))
        w.lease("p/n", Demand(600, 0))
        tasks = [
            w.waiting(demand=Demand(100, 0)),
            w.waiting("p/n", Demand(300, 0)),
            w.waiting(demand=Demand(200, 0), priority=-1),
        ]
        await settled()
        began = w.now
        refusal = await w.wait(demand=Demand(100, 0), seconds=19.9)
        assert (refusal.why, w.now) == (Why.RATE_LIMITED, began)
        assert refusal.retry_in == pytest.approx(20.0, abs=1e-3)
        assert isinstance(await w.wait(demand=Demand(100, 0), seconds=20.1), Lease)
        assert w.now - began == pytest.approx(20.0, abs=1e-3)
        await asyncio.wait(tasks)


async def test_with_two_keys_only_the_own_wait_is_certain():
    async with many({**TEN_A_SECOND, "keys": ["sk-0", "sk-1"]}) as w:
        for _ in range(2):
            w.lease(demand=Demand(600, 0))
        tasks = [w.waiting(demand=Demand(100, 0)) for _ in range(2)]
        await settled()
        began = w.now
        lease = await w.wait(demand=Demand(100, 0), seconds=21)
        assert isinstance(lease, Lease)
        assert w.now - began == pytest.approx(20, abs=1e-3)
        assert all(isinstance(task.result(), Lease) for task in tasks)


async def test_what_fits_no_limit_never_waits():
    async with many(TEN_A_SECOND) as w:
        w.lease(demand=Demand(600, 0))
        ahead = w.waiting(demand=Demand(10, 0))
        await settled()
        assert w.ask(demand=Demand(700, 0)).why == Why.TOO_LARGE
        assert (await w.wait(demand=Demand(700, 0))).why == Why.TOO_LARGE
        await ahead


async def test_nobody_waits_longer_than_the_queue_allows():
    async with many({**ONE_SLOT, "queue": {"max_wait": 3}}) as w:
        w.lease()
        began = w.now
        assert (await w.wait(seconds=60)).waited == w.now - began == 3.0


async def test_nobody_queues_at_a_circuit_that_is_open_or_an_actor_that_has_stopped():
    async with many(ONE_SLOT) as w:
        w.trip()
        assert (await w.wait()).why == Why.TARGET_OPEN
        w.provider().lifecycle.drain(w.now)
        assert (await w.wait("p/n")).why == Why.STOPPED


# --- what waiting in vain says -----------------------------------------------------------------


async def test_who_waited_in_vain_for_a_slot_is_told_for_what_and_how_long():
    async with many(ONE_SLOT) as w:
        w.lease()
        refusal = await w.wait(seconds=5)
        assert refusal == Refusal("p/m", Why.BUSY, count=1, waited=5.0)


async def test_who_waited_in_vain_behind_others_is_told_how_many():
    async with many({**TEN_A_SECOND, "keys": ["sk-0", "sk-1"]}) as w:
        for _ in range(2):
            w.lease(demand=Demand(600, 0))
        ahead = w.waiting(demand=Demand(500, 0))
        await settled()
        refusal = await w.wait(demand=Demand(100, 0), seconds=20)
        assert (refusal.why, refusal.count, refusal.waited) == (Why.QUEUE_AHEAD, 1, 20.0)
        await ahead


async def test_a_limit_lowered_meanwhile_is_told_as_it_is_when_the_time_is_over():
    async with many(TEN_A_SECOND) as w:
        held = w.lease(demand=Demand(600, 0))
        waiting = w.waiting(demand=Demand(100, 0), seconds=12)
        await settled()
        held.learn(w.now, [LimitReading("tokens", limit=300, remaining=0)])
        refusal = await waiting
        assert (refusal.why, refusal.waited) == (Why.RATE_LIMITED, 12.0)
        assert refusal.retry_in == pytest.approx(8.0, abs=1e-3)


async def test_a_waiter_that_no_longer_fits_the_limit_at_all_is_told_when_its_turn_comes():
    async with many(TEN_A_SECOND) as w:
        held = w.lease(demand=Demand(600, 0))
        waiting = w.waiting(demand=Demand(100, 0))
        await settled()
        held.learn(w.now, [LimitReading("tokens", limit=50, remaining=0)])
        w.done(held)
        refusal = await waiting
        assert (refusal.why, refusal.waited) == (Why.TOO_LARGE, 0.0)


async def test_when_a_circuit_opens_all_who_wait_for_it_are_told_at_once_although_no_slot_is_free():
    async with many({"models": {"m": {}, "n": {}}, "max_concurrency": 6}) as w:
        failing = [w.lease() for _ in range(5)]
        w.lease("p/n")
        waiting = [w.waiting("p/n", priority=1), *(w.waiting() for _ in range(20))]
        await settled()
        hogs = []
        for lease in failing:
            lease.sent = True
            lease.settle(w.now, Outcome.FAILURE, error_class=ErrorClass.SERVER_ERROR)
            hogs.append(w.lease("p/n", priority=5))  # no slot stays free for the queue
        began = w.now
        await settled()
        assert [task.done() for task in waiting] == [False] + [True] * 20
        assert {task.result().why for task in waiting[1:]} == {Why.TARGET_OPEN}
        assert w.now == began
        w.done(hogs[0])
        assert isinstance(await waiting[0], Lease)


async def test_a_circuit_opening_is_told_to_those_behind_a_head_that_waits_for_tokens():
    both = {"m": {"group": "g", "tokens_per_minute": 600}, "n": {"group": "g"}}
    async with many({"models": both}) as w:
        leases = [w.lease("p/n", Demand(120, 0)) for _ in range(5)]
        head = w.waiting("p/m", Demand(100, 0))
        behind = w.waiting("p/n", Demand(100, 0))
        await settled()
        for lease in leases:
            lease.sent = True
            lease.settle(w.now, Outcome.FAILURE, error_class=ErrorClass.SERVER_ERROR)
        assert (await behind).why == Why.TARGET_OPEN
        assert not head.done()
        await head


# --- time and timers ---------------------------------------------------------------------------


async def test_a_waiter_is_served_at_the_instant_the_tokens_are_there():
    async with many(TEN_A_SECOND) as w:
        w.lease(demand=Demand(600, 0))
        began = w.now
        assert isinstance(await w.wait(demand=Demand(123, 0)), Lease)
        assert w.now - began == pytest.approx(12.3, abs=1e-3)


async def test_tokens_that_are_given_back_serve_a_waiter_sooner():
    async with many(TEN_A_SECOND) as w:
        held = w.lease(demand=Demand(100, 500))
        waiting = w.waiting(demand=Demand(200, 0))
        await asyncio.sleep(2)
        w.done(held, usage=Usage(100, 50))
        began = w.now
        assert isinstance(await waiting, Lease)
        assert w.now == began


async def test_a_waiter_for_a_throttled_key_is_served_when_the_pause_is_over():
    async with many() as w:
        lease = w.lease()
        lease.sent = True
        lease.settle(w.now, Outcome.IGNORED, error_class=ErrorClass.THROTTLED, retry_after=7.0)
        began = w.now
        assert isinstance(await w.wait(), Lease)
        assert w.now - began == pytest.approx(7.0, abs=1e-3)


async def test_a_break_ends_and_a_ramp_is_completed_at_their_instants_without_any_call():
    async with many() as w:
        began = w.now
        w.trip()
        await asyncio.sleep(40)
        for _ in range(3):
            w.done(w.lease())
        await asyncio.sleep(100)
        assert [(e.dest, e.at - began) for e in w.events if isinstance(e, BreakerChanged)] == [
            ("open", 0), ("half_open", 30), ("ramping", 40), ("closed", 70),
        ]  # fmt: skip


async def test_a_message_runs_with_the_time_and_one_posted_by_a_message_too():
    async with many() as w:
        seen = []
        actor = w.provider().actor

        def first(now):
            seen.append(("first", now))
            actor.post(lambda now: seen.append(("second", now)))

        await asyncio.sleep(5)
        actor.post(first)
        await settled()
        assert seen == [("first", w.now), ("second", w.now)]


async def test_forcing_a_circuit_open_by_message_refuses_those_who_wait():
    async with many(ONE_SLOT) as w:
        held = w.lease()
        waiting = w.waiting()
        await settled()
        w.provider().actor.post(w.model().breaker.force_open)
        refusal = await waiting
        assert (refusal.why, refusal.retry_in) == (Why.TARGET_OPEN, None)
        w.done(held)


async def test_a_message_posted_by_a_listener_is_not_slept_through():
    async with many() as w:
        seen = []

        def listener(event):
            if isinstance(event, BreakerChanged):
                w.provider().actor.post(lambda now: seen.append(event.dest))

        w.provider().listeners.append(listener)
        w.trip()
        await asyncio.sleep(31)
        assert seen == ["open", "half_open"]


# --- leaving -----------------------------------------------------------------------------------


def level(w):
    return w.provider().keys[0].limiters["m"].statistics(w.now).dimensions["tokens"].level


def leaves(how, w, scope):
    """A caller that waits and is stopped in one of three ways: from outside, by a scope, by its own clock of 5 s."""

    async def call():
        if how == "native":
            return await w.wait(demand=Demand(500, 0))
        if how == "timeout":
            async with asyncio.timeout_at(w.now + 5):
                return await w.wait(demand=Demand(500, 0))
        with scope:
            return await w.wait(demand=Demand(500, 0))

    return asyncio.get_running_loop().create_task(call())


@pytest.mark.parametrize("how", ["native", "scope", "timeout"])
@pytest.mark.parametrize("when", ["before", "at", "after"])
async def test_a_caller_who_leaves_before_at_or_after_the_grant_takes_nothing_along(how, when):
    async with many({**TEN_A_SECOND, "max_concurrency": 1}) as w:
        held, scope, loop = w.lease("p/n"), anyio.CancelScope(), asyncio.get_running_loop()
        task = leaves(how, w, scope)
        await settled()
        ends = w.now + 5

        def grant():
            w.done(held)
            w.provider().actor._grant(w.now)  # as the actor's turn would, before the caller's
            assert w.provider().in_flight == (when != "before")

        def leave():
            if how == "scope":
                scope.cancel()
            elif how == "native":
                task.cancel()

        # Timers this close fire in one turn of the loop, in this order: the caller cannot run in between.
        if when == "at":
            loop.call_at(ends - 1e-10, grant)
            loop.call_at(ends, leave)
        else:
            loop.call_at(ends - 1, grant if when == "after" else leave)
            loop.call_at(ends + 1, leave if when == "after" else grant)
        await asyncio.wait([task])
        lease = None if task.cancelled() or task.exception() else task.result()
        # A scope leaves alone who is about to run anyway, and stops it at its next await.
        assert (lease is not None) == (when == "after" or (when == "at" and how == "scope"))
        if lease is not None:  # it was served before it was told to go: the lease is its own affair
            lease.settle(w.now, Outcome.REJECTED)
        await asyncio.sleep(3)
        w.assert_idle()
        assert level(w) == pytest.approx(600)


async def test_who_is_granted_in_the_very_moment_its_time_is_over_gets_the_lease():
    async with many(ONE_SLOT) as w:
        held = w.lease()
        task = w.waiting(seconds=5)
        await settled()
        ends = w.now + 5

        def free():
            w.done(held)
            w.provider().actor._grant(w.now)

        asyncio.get_running_loop().call_at(ends - 1e-10, free)
        lease = await task
        assert isinstance(lease, Lease)
        assert w.now == pytest.approx(ends)
        w.done(lease)
        w.assert_idle()


async def test_a_listener_that_cancels_the_caller_it_is_told_of_leaks_no_lease():
    async with many() as w:
        actor, record, target = w.provider().actor, w.provider(), w.model()

        def listener(event):
            if isinstance(event, BreakerChanged) and event.dest == "half_open":
                task.cancel()

        record.listeners.append(listener)
        held = [w.lease() for _ in range(record.settings.max_concurrency)]
        task = w.waiting()
        await settled()
        target.breaker.trip_now(w.now - 30)  # by now the break is over, and the actor has not noticed yet
        for lease in held:
            lease.settle(w.now, Outcome.CANCELLED)
        actor._grant(w.now)
        await asyncio.wait([task])
        assert task.cancelled()
        await settled()
        w.assert_idle()


async def test_the_place_of_who_leaves_is_taken_by_the_next():
    async with many(TEN_A_SECOND) as w:
        w.lease(demand=Demand(600, 0))
        large = w.waiting(demand=Demand(500, 0))
        await settled()
        small = w.waiting(demand=Demand(10, 0), seconds=55)
        await asyncio.sleep(3)
        large.cancel()
        began = w.now
        assert isinstance(await small, Lease)
        assert w.now == began


def test_cancelled_at_any_point_a_waiter_leaves_nothing_behind_and_the_next_is_served():
    @asynccontextmanager
    async def scenario():
        async with many({**TEN_A_SECOND, "max_concurrency": 1}) as w:
            held = w.lease("p/n")

            async def call():
                asyncio.get_running_loop().call_later(1, w.done, held)
                lease = await w.wait(demand=Demand(500, 0))
                try:
                    await asyncio.sleep(2)
                finally:
                    lease.settle(w.now, Outcome.CANCELLED)

            yield call
            await asyncio.sleep(2)
            w.assert_idle()
            assert level(w) == pytest.approx(600)
            assert isinstance(await w.wait("p/n"), Lease)

    assert cancel_everywhere(scenario) >= 2


def test_in_every_order_of_tasks_those_of_equal_priority_keep_theirs():
    async def main():
        async with many(ONE_SLOT) as w:
            held, served, tasks = w.lease(), [], {}
            for name in range(6):
                tasks[name] = w.waiting(priority=name % 2)
                await settled()
            order_of(tasks, served)
            w.done(held)
            await asyncio.wait(tasks.values())
            await settled()
            w.assert_idle()
            return served

    assert all(served == [1, 3, 5, 0, 2, 4] for served in shuffled(main))


async def test_a_waiter_in_one_queue_is_no_matter_to_another_provider():
    async with many({"name": "a", **ONE_SLOT}, {"name": "b", **ONE_SLOT}) as w:
        held = w.lease("a/m")
        waiting = w.waiting("a/m")
        await settled()
        assert isinstance(w.ask("b/m", SMALL), Lease)
        w.done(held)
        await waiting
