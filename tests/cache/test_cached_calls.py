"""Calls through the cache: who is served from it, who waits for whom, and what is never kept."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from world import world

from resilio.config import load_config
from resilio.errors import DeadlineExceeded, Exhausted, MalformedRequest, ProviderRefused, ResilioError
from resilio.events import AttemptEnded, CallSettled
from resilio.models import Level
from resilio.testing.faults import Error, Refusal, Silence, UsageReport
from resilio.testing.latency import Fixed
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.script import Script

EXACT = {"exact": {"ttl": 100, "ttl_jitter": 0, "stale_for": 50}}
PRICED = {"price": {"input": 1000.0, "output": 1000.0}}
TEXT = "one two three four"
SECOND = Script(answer=TEXT, first_token=Fixed(1.0))


def settled(w):
    return [event for event in w.events if isinstance(event, CallSettled)]


def numbered():
    """A provider whose answers can be told apart."""
    count = 0

    def answer(body):
        nonlocal count
        count += 1
        return f"answer {count}"

    return Script(answer=answer, first_token=Fixed(1.0))


async def texts(calls):
    return [each if isinstance(each, BaseException) else each.text
            for each in await asyncio.gather(*calls, return_exceptions=True)]  # fmt: skip


# --- a hit -------------------------------------------------------------------------------------


async def test_the_second_of_two_equal_calls_is_served_from_the_cache_and_says_so():
    async with world(a=SECOND, cache=EXACT, model=PRICED) as w:
        first = await w.llm.complete("chat", "hi", temperature=0.5, user="ann")
        await asyncio.sleep(7)
        began = w.now
        second = await w.llm.complete("chat", "hi", temperature=0.5, user="bob")
        assert w.now == began
        assert w.calls("a") == 1
        assert (first.cached, first.level) == (None, Level.FULL)
        assert (second.text, second.finish_reason, second.usage) == (first.text, "stop", first.usage)
        assert (second.level, second.target, second.cost_usd, second.attempts) == (Level.CACHED, "a/m", 0.0, ())
        assert (second.cached.kind, second.cached.age, second.cached.saved_usd) == ("exact", 7.0, first.cost_usd)
        assert second.request_id != first.request_id
        third = await w.llm.complete("chat", "hi", temperature=0.5)
        assert third.cached.entry == second.cached.entry
        w.assert_idle()


async def test_a_hit_disturbs_no_actor_and_starts_no_task():
    async with world(a=SECOND, cache=EXACT) as w:
        await w.llm.complete("chat", "hi")
        status, tasks, attempts = w.llm.status().providers, asyncio.all_tasks(), len(w.events)
        await w.llm.complete("chat", "hi")
        assert w.llm.status().providers == status
        assert asyncio.all_tasks() == tasks
        (event,) = w.events[attempts:]
        assert isinstance(event, CallSettled)
        assert (event.final, event.level, event.target, event.cost_usd) == ("complete", Level.CACHED, "a/m", 0.0)
        assert event.usage.total_tokens == 0
        assert event.cached.kind == "exact"


async def test_a_hit_is_served_while_the_provider_is_down():
    async with world(a=SECOND.then(Error(status=503)), cache=EXACT) as w:
        w.providers["a"].script = SECOND
        await w.llm.complete("chat", "hi")
        w.providers["a"].script = Script.of(Error(status=503))
        assert (await w.llm.complete("chat", "hi")).text == TEXT
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "something else")


async def test_what_a_caller_does_to_its_reply_spoils_nobody_elses():
    async with world(a=SECOND, cache=EXACT) as w:
        first = await w.llm.complete("chat", "hi")
        first.raw["choices"].clear()
        second = await w.llm.complete("chat", "hi")
        assert second.raw["choices"][0]["message"]["content"] == TEXT
        second.raw["choices"].clear()
        assert second.raw["choices"] == [], "one's own copy is one's own"
        third = await w.llm.complete("chat", "hi")
        assert third.raw["choices"][0]["message"]["content"] == TEXT


async def test_an_answer_is_asked_for_anew_when_its_time_is_over():
    async with world(a=numbered(), cache=EXACT) as w:
        assert (await w.llm.complete("chat", "hi")).text == "answer 1"
        await asyncio.sleep(99.9)
        assert (await w.llm.complete("chat", "hi")).text == "answer 1"
        await asyncio.sleep(0.1)
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"


async def test_without_a_section_nothing_is_cached():
    async with world(a=SECOND) as w:
        await w.llm.complete("chat", "hi")
        await w.llm.complete("chat", "hi")
        assert w.calls("a") == 2
        assert w.llm.status().caches == {}


async def test_a_route_that_skips_the_cache_has_no_part_in_it():
    async with world(a=SECOND, cache=EXACT, route={"cache": "skip"}) as w:
        await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(3)))
        await w.llm.complete("chat", "hi", cache="refresh")
        assert w.calls("a") == 4


async def test_the_statistics_tell_hits_misses_and_money():
    async with world(a=SECOND, cache=EXACT, model=PRICED) as w:
        first = await w.llm.complete("chat", "hi")
        for _ in range(3):
            await w.llm.complete("chat", "hi")
        found = w.llm.status().caches["exact"]
        assert (found.hits, found.misses, found.entries) == (3, 1, 1)
        assert found.saved_usd == pytest.approx(3 * first.cost_usd)
        assert found.bytes > 0


# --- what a call may say -----------------------------------------------------------------------


async def test_refresh_asks_and_the_answer_takes_the_place_of_the_old_one():
    async with world(a=numbered(), cache=EXACT) as w:
        await w.llm.complete("chat", "hi")
        assert (await w.llm.complete("chat", "hi", cache="refresh")).text == "answer 2"
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"


async def test_skip_neither_looks_nor_keeps():
    async with world(a=numbered(), cache=EXACT) as w:
        assert (await w.llm.complete("chat", "hi", cache="skip")).text == "answer 1"
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"
        assert (await w.llm.complete("chat", "hi", cache="skip")).text == "answer 3"
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"


async def test_a_ttl_of_its_own_holds_for_one_call():
    async with world(a=numbered(), cache=EXACT) as w:
        await w.llm.complete("chat", "hi", cache_ttl=10)
        await asyncio.sleep(10)
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"
        await asyncio.sleep(10)
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"
        assert (await w.llm.complete("chat", "hi", cache_ttl=10)).text == "answer 3"


async def test_namespaces_and_tenants_are_apart():
    async with world(a=numbered(), cache=EXACT) as w:
        for options in ({}, {"cache_namespace": "tests"}, {"organisation": "acme"}, {"organisation": "other"}):
            first = await w.llm.complete("chat", "hi", **options)
            again = await w.llm.complete("chat", "hi", **options)
            assert first.cached is None
            assert again.text == first.text
        assert w.calls("a") == 4


async def test_several_answers_are_kept_and_a_seed_tells_which():
    async with world(a=numbered(), cache=EXACT) as w:
        replies = [await w.llm.complete("chat", "hi", cache_answers=3) for _ in range(60)]
        assert w.calls("a") == 3
        assert {reply.text for reply in replies} == {"answer 1", "answer 2", "answer 3"}
        for seed in ("ann", "bob", 7):
            same = {(await w.llm.complete("chat", "hi", cache_answers=3, cache_seed=seed)).text for _ in range(9)}
            assert len(same) == 1
        assert w.calls("a") == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"cache": "yes"}, {"cache_ttl": 0}, {"cache_ttl": float("nan")}, {"cache_ttl": "1"}, {"cache_answers": 0},
        {"cache_answers": True}, {"cache_namespace": 3}, {"cache_seed": 1.5},
    ],
)  # fmt: skip
async def test_nonsense_is_refused_by_name(wrong):
    async with world(a=SECOND, cache=EXACT) as w:
        with pytest.raises(MalformedRequest, match=next(iter(wrong))):
            await w.llm.complete("chat", "hi", **wrong)


# --- what is never kept ------------------------------------------------------------------------


async def test_errors_are_not_kept():
    async with world(a=SECOND.first(3, Error(status=503)), cache=EXACT, route={"retry": {"max_attempts": 1}}) as w:
        for _ in range(3):
            with pytest.raises(Exhausted):
                await w.llm.complete("chat", "hi")
        assert (await w.llm.complete("chat", "hi")).cached is None


@pytest.mark.parametrize("how", ["content_filter", "refusal"])
async def test_a_filtered_or_refused_answer_is_not_kept(how):
    async with world(a=SECOND.with_rule(Refusal(how)), cache=EXACT) as w:
        for _ in range(2):
            assert (await w.llm.complete("chat", "hi")).cached is None
        assert w.llm.status().caches["exact"].stored == 0


async def test_an_empty_answer_is_not_kept():
    async with world(a=Script(answer="").with_rule(UsageReport()), cache=EXACT) as w:
        for _ in range(2):
            assert (await w.llm.complete("chat", "hi")).cached is None


async def test_an_answer_of_a_lower_rung_is_not_kept():
    route = {"targets": ["a/m"], "ladder": ["full", {"simpler": "small"}], "retry": {"max_attempts": 1}}
    scripts = {"a": Script.of(Error(status=503)), "b": SECOND}
    async with world(**scripts, cache=EXACT, route=route, routes={"small": {"targets": ["b/m"]}}) as w:
        for _ in range(2):
            reply = await w.llm.complete("chat", "hi")
            assert (reply.level, reply.cached) == (Level.SIMPLER, None)
        assert w.llm.status().caches["exact"].stored == 0


async def test_a_partial_answer_is_not_kept():
    route = {"upstream_stream": "auto", "clocks": {"total": 2, "idle": 2, "first_token": 1, "connect": 1}}
    async with world(a=Script(answer=TEXT, tokens_per_second=1), cache=EXACT, route=route) as w:
        for _ in range(2):
            reply = await w.llm.complete("chat", "hi")
            assert (reply.complete, reply.cached) == (False, None)


async def test_an_answer_cut_at_a_limit_is_kept_where_the_limit_was_asked_for():
    async with world(a=SECOND, cache=EXACT) as w:
        for _ in range(2):
            reply = await w.llm.complete("chat", "hi", max_tokens=2)
        assert (reply.finish_reason, reply.cached.kind) == ("length", "exact")
        assert (await w.llm.complete("chat", "hi", max_tokens=3)).cached is None


async def test_an_answer_cut_at_a_limit_of_the_route_is_kept_and_the_limit_is_part_of_the_key():
    async with world(a=SECOND, cache=EXACT, route={"max_output_tokens": 2}) as w:
        for _ in range(2):
            reply = await w.llm.complete("chat", "hi")
        assert (reply.finish_reason, reply.cached.kind) == ("length", "exact")


async def test_several_choices_are_not_cached():
    async with world(a=SECOND, cache=EXACT) as w:
        for _ in range(2):
            assert (await w.llm.complete("chat", "hi", n=2)).cached is None


# --- single flight -----------------------------------------------------------------------------


async def test_two_hundred_identical_calls_at_once_are_one_upstream_call():
    async with world(a=numbered(), cache=EXACT, model=PRICED) as w:
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(200)))
        assert w.calls("a") == 1
        assert {reply.text for reply in replies} == {"answer 1"}
        assert sum(reply.cached is None for reply in replies) == 1
        assert {(reply.cached.kind, reply.cached.age, reply.cost_usd) for reply in replies if reply.cached} == {
            ("exact", 0.0, 0.0)
        }
        assert w.llm.status().caches["exact"].shared == 199
        w.assert_idle()


async def test_with_the_leader_cancelled_it_is_one_more():
    async with world(a=numbered(), cache=EXACT) as w:
        tasks = [asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(200)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        results = await texts(tasks)
        assert isinstance(results[0], asyncio.CancelledError)
        assert set(results[1:]) == {"answer 2"}
        assert w.calls("a") == 2
        w.assert_idle()


@pytest.mark.parametrize("turns", range(6))
async def test_who_takes_over_and_is_cancelled_at_once_hands_on(turns):
    """So many turns of the loop after the leader: before it is told to try, before it woke, after."""
    async with world(a=numbered(), cache=EXACT) as w:
        tasks = [asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(5)]
        await asyncio.sleep(0.5)
        tasks.pop(0).cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks.pop(0).cancel()
        assert set(await texts(tasks)) <= {"answer 2", "answer 3"}
        assert w.llm._dispatcher.cached.flights == 0
        assert sorted(event.final for event in settled(w)) == ["cancelled"] * 2 + ["complete"] * 3
        w.assert_idle()


async def test_with_the_leader_failing_each_gets_an_answer_or_its_own_error():
    script = numbered().first(1, Error(status=503))
    async with world(a=script, cache=EXACT, route={"retry": {"max_attempts": 1}}) as w:
        results = await texts(w.llm.complete("chat", "hi") for _ in range(200))
        assert sum(isinstance(result, Exhausted) for result in results) == 1
        assert all(result.startswith("answer") for result in results if isinstance(result, str))
        assert w.calls("a") <= 3
        w.assert_idle()


async def test_with_the_provider_down_each_has_an_error_of_its_own_with_its_own_attempts():
    async with world(a=Script.of(Error(status=503)), cache=EXACT, route={"retry": {"max_attempts": 1}}) as w:
        results = await texts(w.llm.complete("chat", "hi") for _ in range(50))
        assert all(isinstance(result, ResilioError) for result in results)
        assert len({id(result) for result in results}) == 50
        assert len(settled(w)) == 50
        w.assert_idle()


async def test_who_waits_keeps_time_for_a_try_of_its_own():
    """The leader hangs for as long as its own deadline lets it; the others have less time, and use it."""
    script = SECOND.first(1, Silence())
    async with world(a=script, cache=EXACT, route={"clocks": {"total": 50, "first_token": 40}}) as w:
        leader = asyncio.create_task(w.llm.complete("chat", "hi", deadline=50))
        await asyncio.sleep(0)
        began = w.now
        reply = await w.llm.complete("chat", "hi", deadline=8)
        assert (reply.text, reply.cached, w.now - began) == (TEXT, None, 5.0), "half its time, and the answer"
        leader.cancel()
        await asyncio.wait([leader])
        w.assert_idle()


async def test_a_waiters_deadline_is_its_own():
    async with world(a=Script.of(Silence()), cache=EXACT, route={"clocks": {"total": 50, "first_token": 40}}) as w:
        leader = asyncio.create_task(w.llm.complete("chat", "hi", deadline=30))
        await asyncio.sleep(0)
        began = w.now
        with pytest.raises((DeadlineExceeded, Exhausted)) as caught:
            await w.llm.complete("chat", "hi", deadline=6)
        assert w.now - began == pytest.approx(6.0)
        assert len(caught.value.attempts) == 1
        leader.cancel()
        await asyncio.wait([leader])


async def test_a_refusal_of_the_first_is_not_the_answer_to_the_others():
    script = SECOND.with_rule(Refusal("prompt"), first=1)
    async with world(a=script, cache=EXACT) as w:
        results = await texts(w.llm.complete("chat", "hi") for _ in range(5))
        assert isinstance(results[0], ProviderRefused)
        assert results[1:] == [TEXT] * 4


async def test_who_refreshes_waits_for_nobody_and_nobody_waits_for_it():
    async with world(a=numbered(), cache=EXACT) as w:
        calls = [w.llm.complete("chat", "hi", cache=mode) for mode in ("use", "refresh", "refresh", "use")]
        replies = await asyncio.gather(*calls)
        assert w.calls("a") == 3
        assert [reply.cached is None for reply in replies] == [True, True, True, False]


async def test_calls_of_other_tenants_never_wait_for_each_other():
    async with world(a=numbered(), cache=EXACT) as w:
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi", organisation=str(n)) for n in range(5)))
        assert w.calls("a") == 5
        assert len({reply.text for reply in replies}) == 5


def test_a_call_cancelled_anywhere_takes_nothing_with_it():
    @asynccontextmanager
    async def scenario():
        async with world(a=numbered(), cache=EXACT) as w:
            others = []

            async def act():
                return await w.llm.complete("chat", "hi")

            async def late():
                await asyncio.sleep(0.5)
                return await w.llm.complete("chat", "hi")

            others = [asyncio.create_task(late()) for _ in range(3)]
            yield act
            for other in others:
                assert (await other).text in ("answer 1", "answer 2")
            assert w.calls("a") <= 2
            assert w.llm._dispatcher.cached.flights == 0
            assert len(settled(w)) == 4
            w.assert_idle()

    assert cancel_everywhere(scenario) >= 2


def test_a_waiter_cancelled_anywhere_takes_nothing_with_it():
    @asynccontextmanager
    async def scenario():
        async with world(a=numbered(), cache=EXACT) as w:
            leader = asyncio.create_task(w.llm.complete("chat", "hi"))
            await asyncio.sleep(0)
            yield lambda: w.llm.complete("chat", "hi")
            assert (await leader).text == "answer 1"
            assert w.calls("a") == 1
            assert w.llm._dispatcher.cached.flights == 0
            assert len(settled(w)) == 2
            w.assert_idle()

    assert cancel_everywhere(scenario) >= 1


# --- other configurations ------------------------------------------------------------------------


def changed(cache=EXACT, **route):
    """The configuration of these worlds with another route or cache."""
    provider = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["sk-test"], "models": {"m": {}}}
    return load_config({"provider": [provider], "route": {"chat": {"targets": ["a/m"], **route}}, "cache": cache})


async def test_a_reload_keeps_what_still_answers_the_same_and_leaves_the_rest_unused():
    async with world(a=numbered(), cache=EXACT) as w:
        await w.llm.complete("chat", "hi")
        await w.llm.reload(changed(deadline=30))
        assert (await w.llm.complete("chat", "hi")).text == "answer 1"
        await w.llm.reload(changed(max_output_tokens=50))
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"
        await w.llm.reload(changed())
        assert (await w.llm.complete("chat", "hi")).text == "answer 1"


async def test_who_takes_over_after_a_reload_does_not_fill_the_old_configurations_entry():
    async with world(a=numbered(), cache=EXACT) as w:
        leader, follower = (asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(2))
        await asyncio.sleep(0.5)
        await w.llm.reload(changed(max_output_tokens=50))
        leader.cancel()
        assert (await follower).text == "answer 2"
        await w.llm.reload(changed())
        assert (await w.llm.complete("chat", "hi")).cached is None


async def test_a_reload_without_the_section_turns_it_off():
    async with world(a=numbered(), cache=EXACT) as w:
        await w.llm.complete("chat", "hi")
        await w.llm.reload(changed(cache={}))
        assert (await w.llm.complete("chat", "hi")).cached is None
        assert w.llm.status().caches == {}


async def test_only_what_was_asked_upstream_is_an_attempt():
    async with world(a=numbered(), cache=EXACT) as w:
        await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(10)))
        await w.llm.complete("chat", "hi")
        assert sum(isinstance(event, AttemptEnded) for event in w.events) == 1
        assert [event.final for event in settled(w)] == ["complete"] * 11


async def test_an_answer_of_another_configuration_than_it_was_looked_up_under_is_not_kept(monkeypatch):
    async with world(a=numbered(), cache=EXACT) as w:
        cached = w.llm._dispatcher.cached
        look = cached._find_near

        async def slow(slot):
            await w.llm.reload(changed(max_output_tokens=50))  # as while a question is embedded
            return await look(slot)

        with monkeypatch.context() as patched:
            patched.setattr(cached, "_find_near", slow)
            assert (await w.llm.complete("chat", "hi")).text == "answer 1"
        await w.llm.reload(changed())
        assert (await w.llm.complete("chat", "hi")).text == "answer 2"
        assert cached.flights == 0
