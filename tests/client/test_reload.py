"""Another configuration while requests are in flight: nothing is lost, and what is wrong changes nothing."""

import asyncio
import contextlib
import random
from collections import Counter
from contextvars import copy_context
from dataclasses import replace

import pytest
from world import world

from resilio import Client, CompletionRequest, ConfigError, Exhausted, ResilioError, UnknownRoute
from resilio.actor import Outcome
from resilio.actor.reconfigure import REMOVED
from resilio.config import Config, RouteSettings, TargetSettings, load_config
from resilio.events import ActorChanged, BreakerChanged, ConfigApplied, ConfigRefused, KeySetAside
from resilio.models import Demand
from resilio.testing.faults import Error, Refused
from resilio.testing.latency import Fixed
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

SLOW = Script(answer="fine", first_token=Fixed(5.0))
QUICK = Script(answer="fine", first_token=Fixed(0.1))


def provider(name="a", **settings):
    return {
        "name": name, "kind": "openai", "base_url": f"http://{name}.test/v1", "keys": ["sk-test"],
        "models": {"m": {}}, **settings,
    }  # fmt: skip


def config(*providers, **sections):
    targets = [f"{each['name']}/{model}" for each in providers for model in each["models"]]
    return {"provider": list(providers), "route": {"chat": {"targets": targets}}, **sections}


def record(w, name="a"):
    return w.llm.engine.supervisor.providers[name]


def told(w, kind):
    return [event for event in w.events if isinstance(event, kind)]


async def turn(seconds=0.01):
    await asyncio.sleep(seconds)


# --- what is kept ------------------------------------------------------------------------------


async def test_a_provider_that_stays_keeps_its_state_whatever_else_changes():
    async with world(a=QUICK, b=QUICK) as w:
        await w.llm.complete("chat", "hi")
        kept, model = record(w), record(w).models["m"]
        model.breaker.force_open(w.now)
        kept.keys[0].aside = "out_of_credit"
        level = kept.retry_budget.balance(w.now)
        applied = await w.llm.reload(config(provider("a", max_concurrency=3, queue={"max_wait": 5}), provider("c")))
        assert (applied.added, applied.removed, applied.changed) == (
            ("provider.c",), ("provider.b",), ("provider.a", "route.chat"),
        )  # fmt: skip
        assert record(w) is kept
        assert kept.models["m"] is model
        assert model.breaker.state == "forced_open"
        assert kept.keys[0].aside == "out_of_credit"
        assert kept.retry_budget.balance(w.now) == level
        assert len(model.latencies) == 1
        assert (kept.settings.max_concurrency, kept.settings.queue.max_wait) == (3, 5)
        assert told(w, ConfigApplied) == [applied]
        assert w.llm.config.routes["chat"].targets[1].name == "c/m"


async def test_the_same_configuration_again_changes_nothing():
    async with world(a=QUICK) as w:
        before = record(w)
        applied = await w.llm.reload(w.llm.config)
        assert (applied.added, applied.removed, applied.changed) == ((), (), ())
        assert record(w) is before


async def test_a_limit_that_changes_keeps_what_was_used_of_it():
    metered = {"m": {"tokens_per_minute": 600}}
    async with world(a=QUICK, model=metered["m"]) as w:
        limiter = record(w).keys[0].limiters["m"]
        assert limiter.reserve(w.now, Demand(500, 0)) == 0.0
        await w.llm.reload(config(provider("a", models={"m": {"tokens_per_minute": 1200}})))
        (now,) = [limiter.statistics(w.now).dimensions["tokens"]]
        assert record(w).keys[0].limiters["m"] is limiter
        assert (now.level, now.limit, now.rate) == (pytest.approx(100), 1200, 20)
        await w.llm.reload(config(provider("a", models={"m": {"tokens_per_minute": 60}})))
        assert limiter.statistics(w.now).dimensions["tokens"].level == pytest.approx(60)
        await w.llm.reload(config(provider("a")))
        assert limiter.statistics(w.now).dimensions == {}


async def test_more_slots_serve_those_who_wait_at_once_and_fewer_only_later_ones():
    async with world(a=SLOW, provider={"max_concurrency": 1}) as w:
        calls = [asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(3)]
        await turn()
        assert (record(w).in_flight, len(record(w).waiters)) == (1, 2)
        await w.llm.reload(config(provider("a", max_concurrency=3)))
        await turn()
        assert (record(w).in_flight, len(record(w).waiters)) == (3, 0)
        await w.llm.reload(config(provider("a", max_concurrency=1)))
        assert {(await call).text for call in calls} == {"fine"}
        w.assert_idle()


async def test_other_breaker_settings_leave_an_open_circuit_open_and_count_from_then_on():
    async with world(a=QUICK) as w:
        breaker = record(w).models["m"].breaker
        breaker.trip_now(w.now)
        await w.llm.reload(config(provider("a", breaker={"consecutive_failures": 1, "break_duration": 7})))
        assert (breaker.state, breaker.wait(w.now)) == ("open", pytest.approx(30))
        breaker.reset(w.now)
        breaker.record(breaker.current, w.now, ok=False)
        assert (breaker.state, breaker.wait(w.now)) == ("open", pytest.approx(7))


async def test_keys_are_told_apart_by_their_secret():
    async with world(a=QUICK, provider={"keys": ["sk-1", "sk-2"]}) as w:
        first, second = record(w).keys
        second.aside, second.aside_at = "unauthorised", w.now
        lease = record(w).actor.admit(w.now, record(w).models["m"], Demand(1, 1))
        assert lease.key is first
        await w.llm.reload(config(provider("a", keys=["sk-2", "sk-3"])))
        assert [(key.secret, key.index, key.aside) for key in record(w).keys] == [
            ("sk-2", 0, "unauthorised"), ("sk-3", 1, None),
        ]  # fmt: skip
        assert record(w).keys[0] is second
        assert first.aside == REMOVED
        lease.sent = True
        lease.settle(w.now, Outcome.IGNORED, error_class="unauthorised")
        assert told(w, KeySetAside) == [], "a key that is no more is nobody's worry"
        assert record(w).breaker.state == "closed"


async def test_another_key_in_the_place_of_the_last_one_is_asked_with_at_once():
    refused = Script(answer="fine").with_rule(Error("invalid_api_key"), key="sk-old")
    async with world(a=refused, provider={"keys": ["sk-old"]}) as w:
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi")
        assert record(w).breaker.state == "open"
        await w.llm.reload(config(provider("a", keys=["sk-new"])))
        assert record(w).breaker.state == "closed"
        assert (await w.llm.complete("chat", "hi")).text == "fine"
        assert told(w, BreakerChanged)[-1].dest == "closed"


async def test_another_key_does_not_close_a_circuit_that_failures_opened():
    async with world(a=Script.of(Refused()), provider={"keys": ["sk-old"]}) as w:
        while record(w).breaker.state == "closed":
            with pytest.raises(ResilioError):
                await w.llm.complete("chat", "hi")
        await w.llm.reload(config(provider("a", keys=["sk-new"])))
        assert record(w).breaker.state == "open"


async def test_to_take_out_the_last_key_that_works_opens_the_circuit():
    refused = Script(answer="fine").with_rule(Error("invalid_api_key"), key="sk-bad")
    async with world(a=refused, provider={"keys": ["sk-bad", "sk-good"]}) as w:
        assert (await w.llm.complete("chat", "hi")).text == "fine"
        await w.llm.reload(config(provider("a", keys=["sk-bad"])))
        assert record(w).breaker.state == "open"
        await w.llm.reload(config(provider("a", keys=["sk-bad", "sk-good"])))
        assert (await w.llm.complete("chat", "hi")).text == "fine"


async def test_a_route_keeps_what_it_learned_of_its_answers():
    async with world(a=QUICK) as w:
        learned = w.llm.engine.supervisor.routes["chat"].output_lengths
        await w.llm.reload(config(provider("a"), provider("b")))
        assert w.llm.engine.supervisor.routes["chat"].output_lengths is learned


async def test_a_strategy_keeps_its_turn_while_it_orders_the_same_targets():
    turns = {"route": {"chat": {"targets": ["a/m", "b/m"], "strategy": "round_robin"}}}
    two = [provider("a"), provider("b")]
    async with world(a=QUICK, b=QUICK, route={"strategy": "round_robin"}) as w:
        targets = []
        for deadline in (30, 40, 50, 60):
            targets.append((await w.llm.complete("chat", "hi")).target)
            turns["route"]["chat"]["deadline"] = deadline
            await w.llm.reload({"provider": two, **turns})
        assert targets in (["a/m", "b/m"] * 2, ["b/m", "a/m"] * 2)


# --- what begins afresh and what goes --------------------------------------------------------------


@pytest.mark.parametrize("change", [{"base_url": "http://elsewhere.test/v1"}, {"network": {"unix_socket": "/run/x"}}])
async def test_another_place_is_another_provider(change):
    async with world(a=QUICK) as w:
        old = record(w)
        old.breaker.trip_now(w.now)
        applied = await w.llm.reload(config(provider("a", **change)))
        assert (applied.added, applied.removed) == (("provider.a",), ("provider.a",))
        assert record(w) is not old
        assert record(w).breaker.state == "closed"
        await turn()
        assert old.lifecycle.state == "stopped"


async def test_a_provider_that_goes_finishes_what_it_has_and_reload_does_not_wait_for_it():
    async with world(a=SLOW, b=QUICK) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        old, began = record(w), w.now
        await w.llm.reload(config(provider("b")))
        assert w.now == began
        assert [each.breaker.name for each in w.llm.status().leaving] == ["a"]
        assert (await w.llm.complete("chat", "hi")).target == "b/m"
        assert (await call).target == "a/m"
        await turn()
        assert (old.lifecycle.state, w.llm.status().leaving) == ("stopped", ())
        assert [event.dest for event in told(w, ActorChanged) if event.provider == "a"] == [
            "running", "draining", "stopped",
        ]  # fmt: skip
        w.assert_idle()


async def test_who_waits_in_the_queue_of_a_provider_that_goes_is_served():
    async with world(a=SLOW, b=QUICK, provider={"max_concurrency": 1}, route={"targets": ["a/m"]}) as w:
        calls = [asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(3)]
        await turn()
        await w.llm.reload(config(provider("b")))
        assert [(await call).target for call in calls] == ["a/m"] * 3
        w.assert_idle()


async def test_a_call_between_two_attempts_still_finds_the_targets_it_began_with():
    async with world(a=Script(answer="fine").first(1, Error("server_error")), b=QUICK, route={"targets": ["a/m"]}) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        while not record(w).models["m"].breaker.statistics(w.now).failures:
            await turn(0.001)
        await w.llm.reload(config(provider("b")))
        assert (await call).target == "a/m"


async def test_a_rung_below_is_still_there_for_a_call_that_began_above_it():
    two = {"chat": {"targets": ["a/m"], "ladder": ["full", {"simpler": "small"}]}, "small": {"targets": ["b/m"]}}
    failing = Script.of(Error("server_is_overloaded"), first_token=Fixed(1.0))
    async with world(a=failing, b=QUICK) as w:
        await w.llm.reload({"provider": [provider("a"), provider("b")], "route": two})
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        await w.llm.reload(config(provider("c")))
        assert (await call).target == "b/m"


async def test_a_stream_goes_on_through_a_reload_and_holds_its_provider_to_its_end():
    async with world(a=Script(answer="one two three four", tokens_per_second=2), b=QUICK) as w:
        async with w.llm.stream("chat", "hi") as stream:
            await anext(stream)
            old = record(w)
            await w.llm.reload(config(provider("b")))
            await turn()
            assert old.lifecycle.state == "running"
            async for _ in stream:
                pass
        assert stream.reply.text == "one two three four"
        await turn()
        assert old.lifecycle.state == "stopped"


async def test_removed_and_added_again_it_begins_afresh_while_the_old_one_still_works():
    async with world(a=SLOW, b=QUICK) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        old = record(w)
        await w.llm.reload(config(provider("b")))
        await w.llm.reload(config(provider("a")))
        assert record(w) is not old
        assert (await w.llm.complete("chat", "hi")).target == "a/m"
        assert old.in_flight == 0
        assert (await call).target == "a/m"
        await turn()
        assert (old.lifecycle.state, record(w).lifecycle.state) == ("stopped", "running")


async def test_a_model_that_goes_lets_its_calls_finish_at_their_price():
    priced = {"m": {"price": {"input": 1.0, "output": 1.0}}, "n": {}}
    async with world(a=SLOW, provider={"models": priced}) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        gone = record(w).models["m"]
        await w.llm.reload(config(provider("a", models={"n": {}})))
        assert list(record(w).models) == ["n"]
        reply = await call
        assert (reply.target, gone.in_flight) == ("a/m", 0)
        assert reply.cost_usd > 0
        w.assert_idle()


class Server:
    """Stands in for a local model's server."""

    closed = False

    async def aclose(self):
        await asyncio.sleep(1)
        self.closed = True


async def test_a_local_model_that_goes_ends_its_server_after_its_last_call():
    local = {"name": "l", "kind": "local"}
    async with world(a=QUICK) as w:
        await w.llm.reload({"provider": [provider("a"), local], "route": {"chat": {"targets": ["a/m"]}}})
        supervisor = w.llm.engine.supervisor
        server = supervisor._locals["l"] = Server()
        same = {**local, "queue": {"max_wait": 3}}
        await w.llm.reload({"provider": [provider("a"), same], "route": {"chat": {"targets": ["a/m"]}}})
        assert supervisor._locals == {"l": server}
        await w.llm.reload(config(provider("a")))
        assert not server.closed
        await turn(1.1)
        assert server.closed
        assert (supervisor._locals, w.llm.status().leaving) == ({}, ())


async def test_closing_ends_a_provider_that_is_still_leaving():
    before = asyncio.all_tasks()
    async with world(a=SLOW, b=QUICK) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        old = record(w)
        await w.llm.reload(config(provider("b")))
    assert (await call).text == "fine", "closing waits for calls in flight, whichever provider they are at"
    assert old.lifecycle.state == "stopped"
    assert asyncio.all_tasks() == before


async def test_a_call_that_outlives_the_client_harms_nothing_when_it_ends():
    async with world(a=Script(answer="fine", first_token=Fixed(50.0)), defaults={"drain_timeout": 1.0}) as w:
        call = asyncio.create_task(w.llm.complete("chat", "hi"))
        await turn()
        await w.llm.reload(config(provider("b"), defaults={"drain_timeout": 1.0}))
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()


async def test_an_actor_that_a_reload_starts_is_not_in_the_scope_of_who_reloads():
    async with world(a=QUICK) as w:
        with w.llm.scope(user="operator"):
            await w.llm.reload(config(provider("a"), provider("b")))
            contexts = [copy_context()]
        record(w, "b").actor.post(lambda now: contexts.append(copy_context()))
        await turn()
        users = [{each.identity.user for each in context.values() if hasattr(each, "identity")} for context in contexts]
        assert users == [{"operator"}, set()]


# --- what is refused ---------------------------------------------------------------------------


async def test_a_wrong_configuration_is_refused_whole_with_every_reason():
    async with world(a=QUICK) as w:
        before, status = w.llm.config, w.llm.status()
        with pytest.raises(ConfigError) as caught:
            await w.llm.reload(config(provider("a", max_concurrency=0), provider("b", breakr={})))
        assert len(caught.value.problems) == 2
        assert (w.llm.config, w.llm.status()) == (before, status)
        (refused,) = told(w, ConfigRefused)
        assert (refused.problems, refused.source) == (caught.value.problems, "configuration")
        assert told(w, ConfigApplied) == []
        assert (await w.llm.complete("chat", "hi")).text == "fine"


@pytest.mark.parametrize(
    "target", [TargetSettings(provider="nobody", model="m"), TargetSettings(provider="a", model="nothing")]
)
async def test_a_config_made_by_hand_that_cannot_run_changes_nothing_either(target):
    async with world(a=QUICK) as w:
        before, kept = w.llm.config, record(w).settings
        sound = load_config(config(provider("a", max_concurrency=2), provider("b")))
        unsound = Config(providers=sound.providers, routes={"chat": RouteSettings(name="chat", targets=(target,))})
        with pytest.raises(ConfigError, match="cannot run: KeyError"):
            await w.llm.reload(unsound)
        assert w.llm.config is before
        assert record(w).settings is kept
        assert len(told(w, ConfigRefused)) == 1


async def test_without_a_file_there_is_nothing_to_read_again():
    async with world(a=QUICK) as w:
        with pytest.raises(ConfigError, match="was not read from a file"):
            await w.llm.reload()
        with pytest.raises(ValueError, match="say which to watch"):
            w.llm.watch()


async def test_a_stream_entered_after_its_route_has_gone_says_so():
    async with world(a=QUICK) as w:
        opening = w.llm.stream("chat", "hi")
        await w.llm.reload({"provider": [provider("a")], "route": {"talk": {"targets": ["a/m"]}}})
        with pytest.raises(UnknownRoute, match="there are talk"):
            await opening.__aenter__()
        with pytest.raises(UnknownRoute):
            await w.llm.complete("chat", "hi")
        w.assert_idle()


async def test_before_it_opens_a_client_only_takes_the_new_one():
    llm = Client(config(provider("a")), transport=ScriptedTransport({}))
    await llm.reload(config(provider("b")))
    assert [each.name for each in llm.config.providers] == ["b"]
    async with llm:
        assert list(llm.status().providers) == ["b"]


# --- many reloads under load -------------------------------------------------------------------


NAMES = ("a", "b", "c", "d")


def random_config(rng):
    """Sound: `a` is always there and always asked, the others come, go, move and change."""
    names = ["a", *rng.sample(NAMES[1:], rng.randint(0, 3))]
    tables = []
    for name in names:
        place = rng.choice([name, name, name, f"{name}2"]) if name != "a" else "a"
        models = {"m": {"requests_per_minute": rng.choice([6_000, 60_000]), "tokens_per_minute": 6e6}}
        if name == "a":
            models |= {"marked": {"tokens_per_minute": 600}, "spare": {}}
        elif rng.random() < 0.3:
            models["n"] = {"group": rng.choice(["m", "n"])}
        tables.append(
            provider(
                name,
                base_url=f"http://{place}.test/v1",
                keys=["sk-test", *rng.sample(["sk-1", "sk-2", "sk-3"], rng.randint(0, 2))],
                models=models,
                max_concurrency=rng.randint(2, 6),
                breaker={"consecutive_failures": rng.randint(2, 6), "break_duration": rng.choice([1, 5])},
                retry_budget={"ratio": rng.choice([0.1, 0.2])},
            )
        )
    targets = [f"{name}/m" for name in rng.sample(names, len(names))]
    routes = {"chat": {"targets": targets[:2] if "a/m" in targets[:2] else [targets[0], "a/m"]}}
    if rng.random() < 0.5:
        routes["chat"] |= {"strategy": "least_loaded", "deadline": 50}
    routes["small"] = {"targets": ["a/spare"]}
    if rng.random() < 0.5:
        routes["chat"]["ladder"] = ["full", {"simpler": "small"}]
    return {"provider": tables, "route": routes}


def spoil(rng, table):
    """Make it wrong; gives the word that every complaint about it must have."""
    match rng.randrange(5):
        case 0:
            table["route"]["chat"]["targets"].append("nobody/m")
            return "nobody"
        case 1:
            table["provider"][0]["max_concurrency"] = 0
            return "max_concurrency"
        case 2:
            table["provider"][-1]["base_url"] = "ftp://x"
            return "base_url"
        case 3:
            table["provider"][0]["breaker"] |= {"max_probes": 1, "probe_successes": 2}
            return "probe"
        case _:
            table["rout"] = {}
            return "rout"


@contextlib.asynccontextmanager
async def busy(w, callers, answers):
    """Callers that ask one question after the other, half of them for streams, until the end of the block."""
    stop = asyncio.Event()

    async def call(number):
        while not stop.is_set():
            allowed = {target.name for target in w.llm.config.routes["chat"].targets} | {"a/spare"}
            if number % 2:
                reply = await w.llm.complete("chat", "hi")
            else:
                async with w.llm.stream("chat", "hi") as stream:
                    assert "".join([chunk.text async for chunk in stream]) == "all is well"
                reply = stream.reply
            answers[reply.text, reply.complete] += 1
            assert reply.target in allowed, "a call goes where its own configuration says"

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(call(number))
        yield
        stop.set()


@pytest.mark.parametrize("reloads", [200, pytest.param(1000, marks=pytest.mark.soak)])
async def test_of_many_reloads_under_load_no_request_and_no_state_is_lost(reloads):
    rng, answers, before = random.Random(reloads), Counter(), asyncio.all_tasks()
    well = Script(answer="all is well", first_token=Fixed(0.05), tokens_per_second=60)
    fails = replace(well, first_token=Fixed(0.03)).probability(0.3, Error("server_is_overloaded"))
    scripts = {"a": well, "b": well, "c": well, "d": fails, "b2": well, "c2": well, "d2": fails}
    async with world(**scripts, only={"a": {"models": {"m": {}, "marked": {"tokens_per_minute": 600}}}}) as w:
        kept, seen, refusals = record(w), set(w.llm.engine.supervisor.providers.values()), 0
        kept.models["marked"].breaker.force_open(w.now)
        kept.keys[0].limiters["marked"].reserve(w.now, Demand(600, 0))
        drained_at = w.now
        async with busy(w, 8, answers):
            for number in range(reloads):
                await asyncio.sleep(rng.choice([0.0, 0.01, 0.05, 0.1]))
                table = random_config(rng)
                if number % 2:
                    word, held = spoil(rng, table), (w.llm.config, w.llm.engine.supervisor.providers)
                    with pytest.raises(ConfigError, match=word):
                        await w.llm.reload(table)
                    assert (w.llm.config, w.llm.engine.supervisor.providers) == held
                    refusals += 1
                    assert told(w, ConfigRefused)[-1].problems
                else:
                    await w.llm.reload(table)
                    assert w.llm.config == load_config(table)
                seen.update(w.llm.engine.supervisor.providers.values())
        assert set(answers) == {("all is well", True)}
        assert answers.total() > reloads
        assert (len(told(w, ConfigRefused)), len(told(w, ConfigApplied))) == (refusals, reloads - refusals)
        # State: what was set at the start is as it was, but for what time alone does.
        assert record(w) is kept
        assert kept.models["marked"].breaker.state == "forced_open"
        level = kept.keys[0].limiters["marked"].statistics(w.now).dimensions["tokens"].level
        assert level == pytest.approx(min(600, 10 * (w.now - drained_at)), abs=1e-3)
        # Accounts: leases, tasks and actors.
        await turn(1.0)
        w.assert_idle()
        current = set(w.llm.engine.supervisor.providers.values())
        assert len(seen) > len(scripts), "some have come back afresh"
        for each in seen - current:
            assert (each.lifecycle.state, each.in_flight, each.waiters) == ("stopped", 0, []), each
        assert w.llm.status().leaving == ()
        names = sorted(task.get_name() for task in asyncio.all_tasks() - before)
        assert names == sorted(["resilio supervisor", *(f"resilio actor {each.name}" for each in current)])
    assert asyncio.all_tasks() == before


async def test_many_requests_at_once_and_a_reload_in_the_middle_lose_none():
    async with world(a=SLOW, b=QUICK, provider={"max_concurrency": 8}) as w:
        requests = [CompletionRequest("chat", "hi") for _ in range(40)]
        reloaded = asyncio.get_running_loop().call_later(
            7.0, lambda: asyncio.ensure_future(w.llm.reload(config(provider("b"))))
        )
        done = [each async for each in w.llm.complete_many(requests, max_concurrency=20)]
        assert reloaded.when() < w.now
        assert {each.reply.text for each in done} == {"fine"}
        w.assert_idle()


async def test_two_providers_of_a_name_share_nothing():
    old, new = SimulatedProvider(SLOW), SimulatedProvider(QUICK)
    transport = ScriptedTransport({"http://old.test/v1": old, "http://new.test/v1": new})
    async with Client(config(provider("a", base_url="http://old.test/v1")), transport=transport) as llm:
        call = asyncio.create_task(llm.complete("chat", "hi"))
        await turn()
        await llm.reload(config(provider("a", base_url="http://new.test/v1")))
        await llm.complete("chat", "hi")
        await call
        assert (old.count(), new.count()) == (1, 1)
