"""Providers opened, closed, drained and resumed by hand."""

import asyncio

import pytest
from actor_world import settled
from world import world

from resilio import CircuitOpen, ProviderStopped
from resilio.errors import UnknownProvider
from resilio.events import ActorChanged, BreakerChanged
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

QUICK = Script(answer="fine", first_token=Fixed(0.1))
SLOW = Script(answer="fine", first_token=Fixed(5.0))
TWO = {"models": {"m": {}, "n": {}}}


def states(w, name="a"):
    its = w.llm.status().providers[name]
    return [str(its.breaker.state), *(str(target.breaker.state) for target in its.targets.values())]


def record(w, name="a"):
    return w.llm.engine.supervisor.providers[name]


async def turn():
    await asyncio.sleep(0.01)


async def test_an_opened_provider_is_passed_over_until_it_is_closed():
    async with world(a=QUICK, b=QUICK) as w:
        w.llm.provider("a").open()
        await asyncio.sleep(1000)
        assert (await w.llm.complete("chat", "hi")).target == "b/m"
        w.llm.provider("a").close()
        assert (await w.llm.complete("chat", "hi")).target == "a/m"
        moves = [(event.name, event.dest) for event in w.events if isinstance(event, BreakerChanged)]
        assert moves[0] == ("a", "forced_open")
        assert set(moves[1:]) == {("a", "closed"), ("a/m", "closed")}


async def test_the_only_provider_opened_by_hand_says_so():
    async with world(a=QUICK) as w:
        w.llm.provider("a").open()
        with pytest.raises(CircuitOpen, match="it was opened by hand"):
            await w.llm.complete("chat", "hi")


async def test_one_model_is_opened_alone():
    async with world(a=QUICK, provider=TWO, route={"targets": ["a/m", "a/n"]}) as w:
        w.llm.provider("a").open(model="m")
        assert states(w) == ["closed", "forced_open", "closed"]
        assert (await w.llm.complete("chat", "hi")).target == "a/n"
        w.llm.provider("a").close(model="m")
        assert states(w) == ["closed"] * 3


@pytest.mark.parametrize(("method", "state"), [("disable", "disabled"), ("metrics_only", "metrics_only")])
async def test_what_is_done_to_a_provider_is_done_to_its_models_and_undone_by_close(method, state):
    async with world(a=QUICK, provider=TWO) as w:
        getattr(w.llm.provider("a"), method)()
        assert states(w) == [state] * 3
        for _ in range(20):
            circuit = record(w).models["m"].breaker
            circuit.record(circuit.current, w.now, ok=False)
        assert states(w) == [state] * 3
        w.llm.provider("a").close()
        assert states(w) == ["closed"] * 3


async def test_what_was_set_by_hand_outlives_a_crash_and_a_reload(caplog):
    async with world(a=QUICK, b=QUICK) as w:
        w.llm.provider("a").open()

        def crash(now):
            raise ZeroDivisionError

        record(w).actor.post(crash)
        await asyncio.sleep(1)
        await w.llm.reload(w.llm.config)
        assert record(w).lifecycle.generation == 1
        assert states(w)[0] == "forced_open"


async def test_a_drained_provider_finishes_what_it_has_takes_nothing_new_and_comes_back():
    async with world(a=SLOW, b=QUICK) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        hand = w.llm.provider("a")
        hand.drain()
        hand.drain()
        assert (await w.llm.complete("chat", "hi")).target == "b/m"
        assert w.llm.status().providers["a"].state == "draining"
        assert (await call).target == "a/m"
        await turn()
        assert w.llm.status().providers["a"].state == "stopped"
        hand.resume()
        assert (await w.llm.complete("chat", "hi")).target == "a/m"
        moves = [(event.source, event.dest) for event in w.events if isinstance(event, ActorChanged)]
        assert moves[-4:] == [
            ("running", "draining"), ("draining", "stopped"), ("stopped", "starting"), ("starting", "running"),
        ]  # fmt: skip
        w.assert_idle()


async def test_resumed_while_it_still_drains_it_goes_on_with_the_same_task():
    async with world(a=SLOW) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        tasks = asyncio.all_tasks()
        w.llm.provider("a").drain()
        w.llm.provider("a").resume()
        w.llm.provider("a").resume()
        await turn()
        assert asyncio.all_tasks() == tasks
        assert [(await each).text for each in (call, asyncio.create_task(w.llm.complete("chat", "hi")))] == ["fine"] * 2


async def test_who_waits_in_the_queue_of_a_drained_provider_goes_to_the_next_queue():
    async with world(a=SLOW, b=SLOW, provider={"max_concurrency": 1}) as w:
        calls = [asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(3)]
        await turn()
        assert len(record(w).waiters) == 1
        w.llm.provider("a").drain()
        assert [(await call).target for call in calls] == ["a/m", "b/m", "b/m"]
        w.assert_idle()


async def test_a_drained_provider_alone_says_that_it_is_stopped():
    async with world(a=QUICK) as w:
        w.llm.provider("a").drain()
        await turn()
        with pytest.raises(ProviderStopped, match="provider 'a' is stopped"):
            await w.llm.complete("chat", "hi")


async def test_drained_by_hand_it_stays_drained_through_a_reload():
    async with world(a=QUICK, b=QUICK) as w:
        w.llm.provider("a").drain()
        await turn()
        await w.llm.reload(w.llm.config)
        assert w.llm.status().providers["a"].state == "stopped"
        assert (await w.llm.complete("chat", "hi")).target == "b/m"


async def test_a_provider_drained_by_hand_can_be_removed_and_the_client_closed():
    before = asyncio.all_tasks()
    async with world(a=QUICK, b=QUICK) as w:
        w.llm.provider("a").drain()
        await turn()
        table = {
            "name": "b",
            "kind": "openai",
            "base_url": "http://b.test/v1",
            "keys": ["sk-test"],
            "models": {"m": {}},
        }
        await w.llm.reload({"provider": [table], "route": {"chat": {"targets": ["b/m"]}}})
        await turn()
        assert w.llm.status().leaving == ()
        w.llm.provider("b").drain()
    assert asyncio.all_tasks() == before


async def test_an_actor_that_crashed_too_often_is_brought_back(caplog):
    async with world(a=QUICK) as w:

        def crash(now):
            raise ZeroDivisionError

        while record(w).lifecycle.state != "failed":
            record(w).actor.post(crash)
            await asyncio.sleep(1)
        w.llm.provider("a").resume()
        assert (await w.llm.complete("chat", "hi")).target == "a/m"


async def test_drained_and_resumed_between_a_crash_and_the_restart_it_runs(caplog):
    async with world(a=SLOW) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()

        def crash(now):
            raise ZeroDivisionError

        record(w).actor.post(crash)
        await settled()
        assert record(w).lifecycle.state == "restarting"
        w.llm.provider("a").drain()
        w.llm.provider("a").resume()
        assert w.llm.status().providers["a"].state == "running"
        await asyncio.sleep(1)
        assert (record(w).lifecycle.state, record(w).lifecycle.generation) == ("running", 1)
        assert (await call).text == "fine"


async def test_an_unknown_name_is_told_with_the_nearest():
    async with world(openai=QUICK) as w:
        with pytest.raises(UnknownProvider, match="no provider 'openia'; did you mean 'openai'"):
            w.llm.provider("openia")
        with pytest.raises(UnknownProvider, match="'openai' has no model 'x'; there are m"):
            w.llm.provider("openai").open(model="x")


async def test_a_handle_follows_its_name_through_reloads():
    async with world(a=QUICK) as w:
        hand = w.llm.provider("a")
        table = {"name": "a", "kind": "openai", "base_url": "http://new.test/v1", "models": {"m": {}}}
        await w.llm.reload({"provider": [table], "route": {"chat": {"targets": ["a/m"]}}})
        hand.open()
        assert states(w)[0] == "forced_open"
        await w.llm.reload({"provider": [{**table, "name": "c"}], "route": {"chat": {"targets": ["c/m"]}}})
        with pytest.raises(UnknownProvider, match="there are c"):
            hand.close()


async def test_a_closed_client_controls_nothing():
    async with world(a=QUICK) as w:
        hand = w.llm.provider("a")
    with pytest.raises(RuntimeError, match="closed"):
        hand.resume()
    with pytest.raises(RuntimeError, match="not open"):
        w.llm.provider("a")
