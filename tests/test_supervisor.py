"""The supervisor: crashes and restarts, closing, and leases across providers."""

import asyncio
import random

import anyio
import pytest
from actor_world import SMALL, many, settled

from resilio.actor import Outcome, Refusal, Why
from resilio.config import load_config
from resilio.errors import (
    CircuitOpen,
    ErrorClass,
    KeyRejected,
    MailboxFull,
    ProviderStopped,
    RateLimited,
    ResilioError,
)
from resilio.events import ActorChanged
from resilio.models import Demand
from resilio.statemachines.breaker import BreakerState
from resilio.statemachines.table import IllegalEvent
from resilio.supervisor import NoLease, Supervisor

ONE_SLOT = {"max_concurrency": 1}
TWO = ({"name": "a"}, {"name": "b"})


def moves(w, provider="p"):
    return [(e.source, e.dest) for e in w.events if isinstance(e, ActorChanged) and e.provider == provider]


# --- crashes -----------------------------------------------------------------------------------


async def test_a_crash_restarts_the_actor_and_says_why(caplog):
    async with many() as w:
        w.crash(message="a bug in a message")
        await asyncio.sleep(1)
        assert moves(w) == [("starting", "running"), ("running", "restarting"), ("restarting", "running")]
        (crash,) = [e for e in w.events if isinstance(e, ActorChanged) and e.error]
        assert crash.error == "ZeroDivisionError: a bug in a message"
        assert w.provider().lifecycle.generation == 1
        assert "actor of 'p' crashed" in caplog.text


async def test_a_crash_leaves_an_open_circuit_open_and_its_break_runs_on(caplog):
    async with many() as w:
        w.trip()
        await asyncio.sleep(10)
        w.crash()
        await asyncio.sleep(1)
        assert w.model().breaker.state is BreakerState.OPEN
        assert w.ask().retry_in == pytest.approx(19)
        await asyncio.sleep(19.1)
        assert w.model().breaker.state is BreakerState.HALF_OPEN, "the new task runs its timers"


async def test_waiters_keep_their_places_through_a_crash_and_are_served_after_it(caplog):
    async with many(ONE_SLOT) as w:
        held, order = w.lease(), []
        tasks = [w.waiting(priority=priority) for priority in (0, 1, 0)]
        for name, task in zip("bac", tasks, strict=True):
            task.add_done_callback(lambda task, name=name: (order.append(name), w.done(task.result())))
        await settled()
        w.crash()
        await settled()
        w.done(held)
        await settled()
        assert not any(task.done() for task in tasks), "nobody grants while the actor is down"
        await asyncio.sleep(0.6)
        assert order == ["a", "b", "c"]


async def test_who_comes_while_the_actor_is_down_waits_for_it(caplog):
    async with many() as w:
        w.crash()
        await settled()
        with pytest.raises(NoLease) as refused:
            w.acquire()
        target, lease = await w.supervisor.wait_for_lease(refused.value, SMALL, among=w.route.targets, until=w.now + 10)
        assert target.name == "p/m"
        w.done(lease)


async def test_nobody_waits_for_a_restart_only_to_find_the_circuit_open(caplog):
    async with many() as w:
        w.trip()
        w.crash()
        await settled()
        refusal = await w.wait()
        assert (refusal.why, refusal.waited) == (Why.TARGET_OPEN, 0.0)


async def test_who_waits_for_a_restart_in_vain_is_told_of_the_restart(caplog):
    async with many() as w:
        w.crash()
        await settled()
        refusal = await w.wait(seconds=0.001)
        assert (refusal.why, refusal.detail) == (Why.RESTARTING, "restarting")


async def test_requests_in_flight_settle_while_the_actor_is_down(caplog):
    async with many() as w:
        lease = w.lease()
        w.crash()
        await settled()
        w.done(lease)
        w.assert_idle()


async def crash_until_failed(w, name):
    for _ in range(6):
        w.crash(name)
        await asyncio.sleep(1)


async def test_five_restarts_in_thirty_seconds_are_the_last_and_the_other_providers_go_on(caplog):
    async with many({"name": "a", **ONE_SLOT}, {"name": "b"}) as w:
        w.lease("a/m")
        waiting = w.waiting("a/m")
        await settled()
        await crash_until_failed(w, "a")
        assert w.provider("a").lifecycle.state == "failed"
        assert w.provider("a").lifecycle.generation == 5
        refusal = await waiting
        assert (refusal.why, refusal.detail, refusal.waitable) == (Why.STOPPED, "failed", False)
        assert refusal.waited < 10, "told when it failed, not when its time was over"
        assert (await w.wait("a/m")).waited == 0, "nor does anybody wait for it now"
        assert str(NoLease([w.ask("a/m")])) == "provider 'a' is failed"
        assert w.acquire()[0].name == "b/m"
        w.trip("b/m")
        await asyncio.sleep(30.1)
        assert w.model("b/m").breaker.state is BreakerState.HALF_OPEN, "b's actor still runs"


async def test_crashes_far_apart_are_forgiven(caplog):
    async with many() as w:
        for _ in range(20):
            w.crash()
            await asyncio.sleep(7)
        assert w.provider().lifecycle.state == "running"
        assert w.provider().lifecycle.generation == 20


async def test_a_message_that_crashed_the_actor_is_not_tried_again_and_those_behind_it_are(caplog):
    async with many() as w:
        seen = []
        w.crash()
        w.provider().actor.post(seen.append)
        await asyncio.sleep(1)
        assert len(seen) == 1
        assert w.provider().lifecycle.generation == 1


# --- start and close ---------------------------------------------------------------------------


def bare(**provider):
    table = {"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "keys": ["k"], "models": {"m": {}}}
    config = load_config({"provider": [{**table, **provider}], "route": {"r": {"targets": ["p/m"]}}})
    return Supervisor(config, clock=asyncio.get_running_loop().time, rng=random.Random(1), listeners=[])


async def test_before_the_start_nothing_is_admitted():
    supervisor = bare()
    record = supervisor.providers["p"]
    refusal = record.actor.admit(1000.0, record.models["m"], SMALL)
    assert (refusal.why, refusal.detail) == (Why.STOPPED, "starting")
    await supervisor.aclose(1.0)


async def test_starting_twice_or_after_closing_raises_and_does_not_hang():
    supervisor = bare()
    await supervisor.start()
    with pytest.raises(IllegalEvent):
        await supervisor.start()
    await supervisor.aclose(1.0)
    with pytest.raises(IllegalEvent):
        await supervisor.start()


async def test_closing_leaves_no_task_and_may_be_done_twice_and_from_another_task():
    before = asyncio.all_tasks()
    supervisor = bare()
    await asyncio.create_task(supervisor.start())
    assert len(asyncio.all_tasks()) == len(before) + 2
    await asyncio.create_task(supervisor.aclose(5.0))
    await supervisor.aclose(5.0)
    assert asyncio.all_tasks() == before
    assert supervisor.providers["p"].lifecycle.state == "stopped"


async def test_closing_with_nothing_in_flight_takes_no_time_and_warns_of_nothing(caplog):
    for drain_timeout in (0.0, 10.0):
        async with many(*TWO) as w:
            began = w.now
            await w.supervisor.aclose(drain_timeout)
            assert w.now == began
            assert {record.lifecycle.state for record in w.supervisor.providers.values()} == {"stopped"}
    assert not caplog.records


async def test_closing_admits_nothing_new_lets_the_rest_finish_and_ends_with_the_last_of_them():
    async with many({**ONE_SLOT, "models": {"m": {}, "n": {}}}) as w:
        held = w.lease()
        waiting = w.waiting()
        await settled()
        began = w.now
        closing = asyncio.create_task(w.supervisor.aclose(60.0))
        await settled()
        refusal = await waiting
        assert (refusal.why, refusal.detail) == (Why.STOPPED, "draining")
        assert w.ask("p/n").why == Why.STOPPED
        assert (await w.wait("p/n")).why == Why.STOPPED
        await asyncio.sleep(3)
        assert not closing.done()
        w.done(held)
        await closing
        assert w.now - began == 3, "not when the time for draining was over"
        assert moves(w)[1:] == [("running", "draining"), ("draining", "stopped")]


async def test_closing_is_bounded_and_says_how_many_it_left(caplog):
    async with many() as w:
        leases = [w.lease() for _ in range(3)]
        began, before = w.now, asyncio.all_tasks()
        await w.supervisor.aclose(4.0)
        assert w.now - began == 4
        assert "3 requests in flight 4 s after closing began" in caplog.text
        assert moves(w)[-1] == ("draining", "stopped")
        assert len(asyncio.all_tasks()) == len(before) - 2
        for lease in leases:
            w.done(lease, Outcome.CANCELLED)
        w.assert_idle()


@pytest.mark.parametrize("how", ["native", "scope"])
async def test_closing_that_is_cancelled_still_leaves_no_task(how):
    async with many() as w:
        lease, before, scope = w.lease(), asyncio.all_tasks(), anyio.CancelScope()

        async def close():
            with scope:
                await w.supervisor.aclose(60.0)

        task = asyncio.create_task(close())
        await asyncio.sleep(1)
        task.cancel() if how == "native" else scope.cancel()
        await asyncio.wait([task])
        assert len(asyncio.all_tasks()) == len(before) - 2
        w.done(lease)


class SlowToClose:
    """Stands in for a local model's server, which needs a moment to end."""

    closed = False

    async def aclose(self):
        await asyncio.sleep(2)
        self.closed = True


async def test_closing_that_is_cancelled_still_lets_a_local_model_end():
    async with many() as w:
        server = w.supervisor._locals["local"] = SlowToClose()
        with anyio.move_on_after(1):
            w.lease()
            await w.supervisor.aclose(60.0)
        assert server.closed


async def test_an_actor_that_is_down_when_closing_begins_comes_up_only_to_drain(caplog):
    async with many() as w:
        lease = w.lease()
        w.crash()
        await settled()
        closing = asyncio.create_task(w.supervisor.aclose(60.0))
        await asyncio.sleep(2)
        assert not closing.done()
        w.done(lease)
        await closing
        assert [dest for _, dest in moves(w)] == ["running", "restarting", "draining", "draining", "stopped"]


async def test_a_crash_while_draining_ends_the_actor_and_requests_in_flight_still_settle(caplog):
    async with many() as w:
        lease = w.lease()
        closing = asyncio.create_task(w.supervisor.aclose(60.0))
        await settled()
        w.crash()
        await closing
        assert moves(w)[-1] == ("draining", "stopped")
        w.done(lease)
        w.assert_idle()


async def test_a_failed_provider_does_not_hold_up_closing(caplog):
    async with many(*TWO) as w:
        await crash_until_failed(w, "a")
        began = w.now
        await w.supervisor.aclose(60.0)
        assert w.now == began
        assert {record.lifecycle.state for record in w.supervisor.providers.values()} == {"stopped"}


# --- leases across targets ---------------------------------------------------------------------


async def test_the_first_target_that_admits_is_taken_in_the_configured_order():
    async with many({"name": "a", **ONE_SLOT}, {"name": "b", **ONE_SLOT}) as w:
        assert [w.acquire()[0].name for _ in range(2)] == ["a/m", "b/m"]
        with pytest.raises(NoLease) as refused:
            w.acquire()
        assert [(each.target, each.why) for each in refused.value.refusals] == [("a/m", Why.BUSY), ("b/m", Why.BUSY)]


async def test_only_the_targets_that_are_left_are_asked():
    async with many(*TWO) as w:
        b = w.route.targets[1]
        target, _ = w.supervisor.acquire_nowait(w.route.targets, SMALL, among=[b])
        assert target is b
        assert w.provider("a").in_flight == 0
        with pytest.raises(NoLease) as refused:
            w.supervisor.acquire_nowait(w.route.targets, SMALL, among=[])
        assert refused.value.refusals == ()
        assert refused.value.retry_after is None


async def wait(w, demand=SMALL, seconds=60.0, **how):
    """What dispatch does: ask, and wait if nobody admits."""
    try:
        return w.acquire(demand, **how)
    except NoLease as refused:
        return await w.supervisor.wait_for_lease(refused, demand, among=w.route.targets, until=w.now + seconds, **how)


LIMITED = {"models": {"m": {"tokens_per_minute": 600}}}


async def test_the_queue_that_will_have_room_first_is_joined():
    async with many({"name": "a", **LIMITED}, {"name": "b", **LIMITED}) as w:
        w.lease("a/m", Demand(600, 0))
        w.lease("b/m", Demand(580, 0))
        target, lease = await wait(w, Demand(30, 0))
        assert target.name == "b/m"
        w.done(lease)


async def test_when_the_best_queue_is_full_the_next_is_joined():
    full = {"max_waiting": 0}
    async with many({"name": "a", **ONE_SLOT, "queue": full}, {"name": "b", **ONE_SLOT}) as w:
        _, held = w.lease("a/m"), w.lease("b/m")
        waiting = asyncio.create_task(wait(w))
        await settled()
        w.done(held)
        target, _ = await waiting
        assert target.name == "b/m"


async def test_when_the_circuit_opens_under_those_who_wait_they_go_to_the_next_queue():
    async with many({"name": "a", "max_concurrency": 5}, {"name": "b", **ONE_SLOT}) as w:
        failing, held = [w.lease("a/m") for _ in range(5)], w.lease("b/m")
        waiting = asyncio.create_task(wait(w))
        await settled()
        assert len(w.provider("a").waiters) == 1
        for lease in failing:
            lease.sent = True
            lease.settle(w.now, Outcome.FAILURE, error_class=ErrorClass.SERVER_ERROR)
            w.lease("a/m", priority=1) if w.model("a/m").breaker.state == "closed" else None
        await settled()
        w.done(held)
        target, _ = await waiting
        assert target.name == "b/m"


async def test_with_no_queue_worth_joining_the_refusals_are_told_at_once():
    async with many(*TWO) as w:
        w.trip("a/m")
        w.trip("b/m")
        began = w.now
        with pytest.raises(NoLease) as refused:
            await wait(w)
        assert w.now == began
        assert [each.why for each in refused.value.refusals] == [Why.TARGET_OPEN] * 2
        assert refused.value.retry_after == 30


async def test_waiting_in_vain_is_over_when_it_said_and_lists_what_each_target_lacked():
    async with many({"name": "a", **ONE_SLOT}, {"name": "b"}) as w:
        w.lease("a/m")
        w.trip("b/m")
        began = w.now
        with pytest.raises(NoLease) as refused:
            await wait(w, seconds=5)
        assert w.now - began == 5
        assert str(refused.value) == (
            "max_concurrency (1 in flight) of 'a/m' has no room after 5.0 s in the queue; "
            "circuit for 'b/m' is open; next probe in 30.0 s"
        )


# --- what refusals say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "error", "text"),
    [
        (Refusal("p/m", Why.PROVIDER_OPEN, 4.0), CircuitOpen, "circuit for 'p' is open; next probe in 4.0 s"),
        (Refusal("p/m", Why.TARGET_OPEN, None), CircuitOpen, "circuit for 'p/m' is open; it was opened by hand"),
        (Refusal("p/m", Why.RAMPING), CircuitOpen, "circuit for 'p/m' is open"),
        (Refusal("p/m", Why.QUEUE_FULL, count=12), MailboxFull, "queue of 'p' is full: 12 callers wait already"),
        (Refusal("p/m", Why.STOPPED, detail="failed"), ProviderStopped, "provider 'p' is failed"),
        (Refusal("p/m", Why.RESTARTING, detail="restarting"), ProviderStopped, "provider 'p' is restarting"),
        (
            Refusal("p/m", Why.NO_KEY, 9.0, detail="out_of_credit"),
            KeyRejected,
            "every key of 'p' is set aside (out_of_credit): check its keys; one is tried again in 9.0 s",
        ),
        (Refusal("p/m", Why.TOO_LARGE), RateLimited, "the request alone is larger than all of it"),
        (
            Refusal("p/m", Why.BUSY, count=64, waited=2.5),
            RateLimited,
            "max_concurrency (64 in flight) of 'p/m' has no room after 2.5 s in the queue",
        ),
        (
            Refusal("p/m", Why.QUEUE_AHEAD, 2.0, count=3),
            RateLimited,
            "queue (3 ahead) of 'p/m' has no room; room in 2.0 s",
        ),
        (Refusal("p/m", Why.RATE_LIMITED, 1.5), RateLimited, "rate limit of 'p/m' has no room; room in 1.5 s"),
    ],
)
def test_each_refusal_is_an_error_with_its_numbers(refusal, error, text):
    (got,) = NoLease([refusal]).errors()
    assert type(got) is error
    assert text in str(got)
    assert isinstance(got, ResilioError)
    assert got.retry_after == refusal.retry_in
