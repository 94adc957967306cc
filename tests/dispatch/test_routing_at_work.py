"""Strategies, nested routes and rules over a whole engine: what the provider sees, and what the reply says of it."""

import asyncio
from collections import Counter

import pytest
from world import world

from resilio import Client, DeadlineExceeded, Exhausted
from resilio.errors import ConfigError
from resilio.events import CallSettled
from resilio.testing.faults import Error, Refused
from resilio.testing.latency import Fixed
from resilio.testing.script import Rule, Script

OK = Script(answer="fine")
NEVER_TRIPS = {"breaker": {"consecutive_failures": 10_000, "failure_rate": 1.0, "minimum_calls": 50}}
MANY_RETRIES = {"retry_budget": {"initial": 100, "maximum": 1_000, "per_second": 100, "ratio": 1.0}}


def weighing(**weights):
    return [{"target": f"{name}/m", "weight": weight} for name, weight in weights.items()]


async def first_targets(w, calls, route="chat", **how):
    return Counter([(await w.llm.complete(route, "hi", **how)).attempts[0].target for _ in range(calls)])


def every_other_fails(status):
    return Script(rules=(Rule((Error(status=status),), probability=0.5),), answer="fine")


@pytest.mark.parametrize("status", [500, 503])
async def test_retries_and_moves_to_other_targets_do_not_skew_the_shares(status):
    """500 is tried again on the same target, 503 moves on: neither is a call of its own."""
    shaky = every_other_fails(status)
    async with world(
        a=shaky, b=shaky, c=OK, provider={**NEVER_TRIPS, **MANY_RETRIES},
        route={"targets": weighing(a=5, b=3, c=2), "strategy": "weighted", "retry": {"max_attempts": 5}},
    ) as w:  # fmt: skip
        assert await first_targets(w, 200) == {"a/m": 100, "b/m": 60, "c/m": 40}
        assert sum(w.calls(name) for name in "abc") > 250, "nothing was tried again"
        w.assert_idle()


async def test_shares_hold_while_calls_run_side_by_side():
    slow = Script(answer="fine", first_token=Fixed(1.0))
    async with world(a=slow, b=slow, route={"targets": weighing(a=3, b=1), "strategy": "weighted"}) as w:
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(40)))
        assert Counter(reply.target for reply in replies) == {"a/m": 30, "b/m": 10}


async def test_round_robin_takes_turns_whatever_fails():
    async with world(
        a=OK, b=Script.of(Error(status=503)), c=OK, provider=NEVER_TRIPS, route={"strategy": "round_robin"}
    ) as w:
        assert await first_targets(w, 30) == {"a/m": 10, "b/m": 10, "c/m": 10}
        assert (w.calls("a"), w.calls("c")) == (10, 20), "the one after it stands in"


async def test_a_target_of_weight_0_is_only_asked_when_the_others_fail():
    async with world(a=Script(answer="fine").first(1, Refused()), b=OK, route={
        "targets": weighing(a=1, b=0), "strategy": "weighted",
    }) as w:  # fmt: skip
        assert [(await w.llm.complete("chat", "hi")).target for _ in range(3)] == ["b/m", "a/m", "a/m"]


async def test_the_cheapest_is_asked_first():
    dear, cheap = ({"models": {"m": {"price": {"input": price, "output": price}}}} for price in (3, 1))
    async with world(a=OK, b=OK, c=OK, only={"a": dear, "b": cheap}, route={"strategy": "cheapest"}) as w:
        assert (await w.llm.complete("chat", "hi")).target == "b/m"


async def test_least_loaded_looks_at_the_load_of_the_moment():
    slow = Script(answer="fine", first_token=Fixed(5.0))
    async with world(a=slow, b=slow, route={"strategy": "least_loaded"}) as w:
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(20)))
        assert Counter(reply.target for reply in replies) == {"a/m": 10, "b/m": 10}


# --- strategies of one's own -------------------------------------------------------------------


async def test_what_a_strategy_leaves_out_is_not_asked_even_when_all_else_fails():
    async with world(a=OK, b=Script.of(Refused()), route={"strategy": "own_strategies:only_the_second"}) as w:
        with pytest.raises(Exhausted, match="a/m: left out by the strategy"):
            await w.llm.complete("chat", "hi")
        assert w.calls("a") == 0
        w.assert_idle()


async def test_a_crashing_strategy_costs_no_call():
    async with world(a=OK, b=OK, route={"strategy": "own_strategies:crashing"}) as w:
        assert (await w.llm.complete("chat", "hi")).target == "a/m"


async def test_a_strategy_that_is_not_there_stops_the_client_from_opening():
    config = {
        "provider": [{"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}],
        "route": {"chat": {"targets": ["a/m"], "strategy": "own_strategies:nobody"}},
    }
    with pytest.raises(ConfigError, match=r"route\.chat\.strategy: 'own_strategies:nobody' is not there"):
        await Client(config).__aenter__()


# --- nested routes and rules -------------------------------------------------------------------


async def test_a_nested_route_answers_in_its_place_and_keeps_its_own_turns():
    routes = {
        "chat": {"targets": ["a/m", {"route": "small"}]},
        "small": {"targets": ["b/m", "c/m"], "strategy": "round_robin"},
    }
    async with world(a=Script.of(Error(status=503)), b=OK, c=OK, routes=routes) as w:
        replies = [await w.llm.complete("chat", "hi") for _ in range(4)]
        assert [reply.target for reply in replies] == ["b/m", "c/m", "b/m", "c/m"]
        assert [each.target for each in replies[0].attempts] == ["a/m", "b/m"]
        assert {reply.route for reply in replies} == {"chat"}


async def test_the_outer_route_decides_attempts_and_the_output_limit():
    routes = {
        "chat": {"targets": [{"route": "small"}], "retry": {"max_attempts": 2}, "max_output_tokens": 77},
        "small": {"targets": ["a/m", "b/m", "c/m"], "retry": {"max_attempts": 3}, "max_output_tokens": 11},
    }
    down = Script.of(Error(status=503))
    async with world(a=down, b=down, c=OK, routes=routes) as w:
        with pytest.raises(Exhausted) as caught:
            await w.llm.complete("chat", "hi")
        assert [each.target for each in caught.value.attempts] == ["a/m", "b/m"]
        assert [seen.body["max_tokens"] for seen in w.providers["a"].log] == [77]
        assert (await w.llm.complete("small", "hi")).target == "c/m"
        assert [seen.body["max_tokens"] for seen in w.providers["a"].log] == [77, 11]


RULED = {
    "chat": {"targets": ["a/m"], "deadline": 30},
    "small": {"targets": ["b/m"], "deadline": 7},
    "large": {"targets": ["c/m"]},
}
FREE = {"name": "free", "routes": ["chat"], "when": {"tags": {"tier": "free"}}, "use": "small"}
LONG = {"when": {"min_input_tokens": 100}, "use": "large"}


async def test_a_rule_sends_a_call_elsewhere_and_reply_and_record_say_so():
    async with world(a=OK, b=OK, c=OK, routes=RULED, rules=[FREE, LONG]) as w:
        reply = await w.llm.complete("chat", "hi", tags={"tier": "free"})
        assert (reply.target, reply.route, reply.asked_route, reply.rule) == ("b/m", "small", "chat", "free")
        (settled,) = (event for event in w.events if isinstance(event, CallSettled))
        assert (settled.route, settled.asked_route, settled.rule) == ("small", "chat", "free")
        plain = await w.llm.complete("chat", "hi")
        assert (plain.target, plain.route, plain.asked_route, plain.rule) == ("a/m", "chat", "chat", None)


async def test_the_first_rule_wins_and_what_it_chose_is_not_looked_at_again():
    async with world(a=OK, b=OK, c=OK, routes=RULED, rules=[FREE, LONG]) as w:
        text = "word " * 200
        assert (await w.llm.complete("chat", text, tags={"tier": "free"})).rule == "free"
        reply = await w.llm.complete("chat", text)
        assert (reply.route, reply.rule) == ("large", "2")


async def test_rules_hold_for_streams_and_see_what_a_scope_says():
    async with world(a=OK, b=OK, c=OK, routes=RULED, rules=[FREE]) as w:
        with w.llm.scope(tags={"tier": "free"}):
            async with w.llm.stream("chat", "hi") as stream:
                async for _ in stream:
                    pass
        assert (stream.reply.target, stream.reply.asked_route) == ("b/m", "chat")


async def test_the_deadline_is_that_of_the_route_the_rule_chose():
    slow = Script(answer="fine", first_token=Fixed(50.0))
    async with world(a=slow, b=slow, c=slow, routes=RULED, rules=[FREE]) as w:
        began = w.now
        with pytest.raises(DeadlineExceeded):
            await w.llm.complete("chat", "hi", tags={"tier": "free"})
        assert w.now - began == pytest.approx(7.0, abs=0.1)
