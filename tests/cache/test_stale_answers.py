"""Stale-if-error: the rung `cache` serves what is past its time, says how old it is, and stops at the limit."""

import asyncio

import pytest
from world import world

from resilio.config import RUNG_KINDS, RouteSettings, RungSettings, load_config
from resilio.config.explain import explain
from resilio.errors import CircuitOpen, DeadlineExceeded, Exhausted, InvalidRequest
from resilio.events import CallSettled
from resilio.ladder import NotCached, NotStatic, Ways, descend
from resilio.models import Level
from resilio.testing.faults import Error, Silence
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

EXACT = {"exact": {"ttl": 100, "ttl_jitter": 0, "stale_for": 50}}
ROUTE = {"ladder": ["full", "cache"], "retry": {"max_attempts": 1}}
TEXT = "one two three four"
WELL = Script(answer=TEXT, first_token=Fixed(1.0), tokens_per_second=10)
DOWN = Script.of(Error(status=503))


async def warmed(w, **options):
    """Fill the cache, and take the provider down; returns the instant of the answer."""
    await w.llm.complete("chat", "hi", **options)
    w.providers["a"].script = DOWN
    return w.now


async def until(w, instant):
    await asyncio.sleep(instant - w.now)


async def test_with_the_provider_down_a_stale_answer_is_served_and_says_how_old_it_is():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        born = await warmed(w)
        await until(w, born + 120)
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.level, reply.complete, reply.cost_usd) == (TEXT, Level.CACHED, True, 0.0)
        assert (reply.cached.kind, reply.cached.age) == ("stale", pytest.approx(120.0, abs=0.01))
        assert len(reply.attempts) == 1
        assert reply.reasons[0].startswith("full: ")
        event = [event for event in w.events if isinstance(event, CallSettled)][-1]
        assert (event.final, event.level, event.cached.kind) == ("complete", Level.CACHED, "stale")
        assert w.llm.status().caches["exact"].stale == 1
        w.assert_idle()


async def test_it_is_served_just_before_its_limit_and_not_at_it():
    async with world(a=WELL, cache=EXACT, route=ROUTE, provider={"breaker": {"consecutive_failures": 1}}) as w:
        born = await warmed(w)
        await until(w, born + 149.5)
        assert (await w.llm.complete("chat", "hi")).cached.kind == "stale"
        await until(w, born + 149.999)
        assert (await w.llm.complete("chat", "hi")).cached.kind == "stale"
        await until(w, born + 150)
        with pytest.raises(CircuitOpen):
            await w.llm.complete("chat", "hi")
        event = [event for event in w.events if isinstance(event, CallSettled)][-1]
        assert event.reasons[-1] == "cache: no answer is kept that may still be served"


async def test_without_the_rung_an_error_stays_an_error():
    async with world(a=WELL, cache=EXACT, route={"retry": {"max_attempts": 1}}) as w:
        await until(w, await warmed(w) + 120)
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi")


async def test_a_stale_answer_is_not_stored_as_a_new_one():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        born = await warmed(w)
        for age in (110, 130):
            await until(w, born + age)
            assert (await w.llm.complete("chat", "hi")).cached.age == pytest.approx(age, abs=0.01)
        assert w.llm.status().caches["exact"].stored == 1


async def test_who_asked_for_a_fresh_answer_gets_the_kept_one_when_there_is_no_other():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        await warmed(w)
        reply = await w.llm.complete("chat", "hi", cache="refresh")
        assert (reply.text, reply.cached.kind) == (TEXT, "exact")


async def test_who_skips_the_cache_gets_nothing_of_it():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        await warmed(w)
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi", cache="skip")


async def test_an_answer_older_than_the_call_allows_is_marked_stale_and_has_the_calls_own_limit():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        born = await warmed(w)
        await until(w, born + 40)
        assert (await w.llm.complete("chat", "hi")).cached.kind == "exact"
        assert (await w.llm.complete("chat", "hi", cache_ttl=10)).cached.kind == "stale"
        await until(w, born + 60)
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi", cache_ttl=10)


async def test_a_provider_that_hangs_until_the_deadline_is_one_that_is_down():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        await until(w, await warmed(w) + 110)
        w.providers["a"].script = Script.of(Silence())
        began = w.now
        reply = await w.llm.complete("chat", "hi", deadline=5)
        assert (reply.text, reply.cached.kind) == (TEXT, "stale")
        assert w.now - began == pytest.approx(5.0)
        with pytest.raises((DeadlineExceeded, Exhausted)):
            await w.llm.complete("chat", "never asked before", deadline=5)
        w.assert_idle()


async def test_the_callers_own_fault_is_not_papered_over():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        await until(w, await warmed(w) + 110)
        w.providers["a"].script = Script.of(Error(status=400))
        with pytest.raises(InvalidRequest):
            await w.llm.complete("chat", "hi")


async def test_no_time_is_kept_for_a_look_into_the_cache():
    """The first-token clock of the only target is the whole deadline, as without the rung."""
    async with world(a=Script.of(Silence()), cache=EXACT, route=ROUTE) as w:
        began = w.now
        with pytest.raises((DeadlineExceeded, Exhausted)):
            await w.llm.complete("chat", "hi", deadline=8)
        assert w.now - began == pytest.approx(8.0)


async def test_a_simpler_route_below_is_asked_when_nothing_is_kept():
    route = {"targets": ["a/m"], "retry": {"max_attempts": 1}, "ladder": ["full", "cache", {"simpler": "small"}]}
    scripts = {"a": WELL, "b": Script(answer="simple")}
    async with world(**scripts, cache=EXACT, route=route, routes={"small": {"targets": ["b/m"]}}) as w:
        await until(w, await warmed(w) + 110)
        assert (await w.llm.complete("chat", "hi")).level is Level.CACHED
        reply = await w.llm.complete("chat", "something else")
        assert (reply.level, reply.text, reply.cached) == (Level.SIMPLER, "simple", None)
        assert [reason.split(":")[0] for reason in reply.reasons] == ["full", "cache"]


async def test_a_stale_stream_is_a_stream():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        async with w.llm.stream("chat", "hi") as stream:
            original = [chunk._replace(raw=None) async for chunk in stream]
        born = w.now
        w.providers["a"].script = DOWN
        await until(w, born + 110)
        async with w.llm.stream("chat", "hi") as stream:
            chunks = [chunk async for chunk in stream]
        assert chunks == original
        assert (stream.reply.cached.kind, stream.reply.level) == ("stale", Level.CACHED)
        assert stream.reply.cached.age == pytest.approx(110.0, abs=0.01)
        assert len(stream.reply.attempts) == 1
        assert [event.final for event in w.events if isinstance(event, CallSettled)] == ["complete"] * 2
        await until(w, born + 150)
        with pytest.raises(Exhausted):
            async with w.llm.stream("chat", "hi"):
                pass
        w.assert_idle()


async def test_many_callers_of_a_provider_that_is_down_are_all_served():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        await until(w, await warmed(w) + 110)
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(100)))
        assert {(reply.text, reply.cached.kind) for reply in replies} == {(TEXT, "stale")}
        w.assert_idle()


async def test_many_streams_of_a_provider_that_is_down_are_all_served():
    async with world(a=WELL, cache=EXACT, route=ROUTE) as w:
        await until(w, await warmed(w) + 110)

        async def read():
            async with w.llm.stream("chat", "hi") as stream:
                return "".join([chunk.text async for chunk in stream])

        assert set(await asyncio.gather(*(read() for _ in range(20)))) == {TEXT}
        assert w.llm._dispatcher.cached.flights == 0


class Noted:
    """What a ladder notes on a call."""

    def __init__(self):
        self.level, self.reasons, self.steps = Level.FULL, [], []
        self.label, self.serving = "", None

    def step_down(self, *, asks):
        self.steps.append(asks)


async def test_after_the_deadline_only_what_takes_no_time_is_tried():
    rungs = tuple(RungSettings(kind=kind, argument="r" if kind == "simpler" else None) for kind in RUNG_KINDS)
    tried = []

    async def too_late(name):
        tried.append(name)
        raise DeadlineExceeded(5.0)

    async def kept():
        return "kept"

    async def no_static(rung):
        raise NotStatic("none fits")

    async def nothing():
        raise NotCached("nothing")

    order = [rungs[0], rungs[2], rungs[1]]
    call, route = Noted(), RouteSettings(name="chat", targets=(), ladder=tuple(order))
    assert [rung.kind for rung in order] == ["full", "simpler", "cache"]
    assert await descend(route, Ways(too_late, kept, no_static), call) == "kept"
    assert (tried, call.level, call.steps) == (["chat"], Level.CACHED, [False])
    assert [reason.split(":")[0] for reason in call.reasons] == ["full", "simpler (r)"], "each one passed over"
    with pytest.raises(DeadlineExceeded):
        await descend(route, Ways(too_late, nothing, no_static), Noted())


def test_the_ladder_is_explained():
    provider = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["k"], "models": {"m": {}}}
    config = load_config({"provider": [provider], "route": {"chat": {"targets": ["a/m"], **ROUTE}}, "cache": EXACT})
    route = explain(config).routes[0]
    assert route.ladder[1] == "cache: a kept answer to the same request, up to 50 s past its time, marked as such"
    assert route.attempts_below == 0


async def test_a_cached_answer_has_the_label_its_rung_declares_though_nothing_was_sent():
    route = {**ROUTE, "ladder": ["full", {"cache": True, "label": "as of an earlier day"}]}
    async with world(a=WELL, cache=EXACT, route=route, provider={"breaker": {"consecutive_failures": 1}}) as w:
        born = await warmed(w)
        await until(w, born + 120)
        for attempts in (1, 0):  # the second finds the circuit open
            reply = await w.llm.complete("chat", "hi")
            assert (len(reply.attempts), reply.label) == (attempts, "as of an earlier day")
        async with w.llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == TEXT
        assert stream.reply.label == "as of an earlier day"
