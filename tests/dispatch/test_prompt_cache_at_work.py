"""Prompt caching through the whole engine: an agent's conversation, its cost, and where it goes when a target ails."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest
from world import QUIET, world

from resilio import MalformedRequest
from resilio.config import Price
from resilio.events import CallSettled, ConversationMoved
from resilio.prices import cost_usd
from resilio.report.export import as_dict
from resilio.report.periods import Period
from resilio.report.summary import collect, make_report
from resilio.report.wording import evidence
from resilio.store.requests import RequestLog
from resilio.store.totals import Moves, reading
from resilio.testing import InlineExecutor, Script, faults
from resilio.testing.agent import agent_run, agent_script
from resilio.testing.latency import Fixed
from resilio.testing.schedule import cancel_everywhere

pytestmark = pytest.mark.anyio

RATES = {"input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write_5m": 3.75, "cache_write_1h": 6.0}
CLAUDE = {"kind": "anthropic", "models": {"m": {"price": RATES}}, "breaker": {**QUIET, "ramp_duration": 0}}
GPT = {"kind": "openai", "models": {"m": {"price": {"input": 2.0, "output": 8.0, "cache_read": 0.5}}}}
AUTO = {"prompt_cache": "auto"}
DOWN = faults.Error("server_is_overloaded")


def claudes(*names, route=None, **scripts):
    """Anthropic-speaking targets that play an agent's model."""
    found = {name: agent_script() for name in names} | scripts
    return world(only=dict.fromkeys(found, CLAUDE), route={**AUTO, **(route or {})}, **found)


def input_usd(replies):
    return sum(reply.cost_usd - reply.usage.output_tokens * RATES["output"] / 1e6 for reply in replies)


# --- what it costs ---------------------------------------------------------------------------------


async def test_the_input_of_twenty_turns_costs_what_the_price_list_predicts():
    async with claudes("a") as it:
        cached = await agent_run(it.llm, "chat", system_tokens=2000)
        plain = await agent_run(it.llm, "chat", system_tokens=2000, prompt_cache="off")
        it.assert_idle()
    sizes = [reply.usage.input_tokens for reply in plain]
    assert [reply.usage.input_tokens for reply in cached] == sizes
    assert sizes[0] > 2000
    assert sizes == sorted(sizes)
    expected_plain = sum(sizes) * RATES["input"]
    # The first turn writes everything; each that follows reads the turn before and writes what was added.
    expected_cached = sizes[0] * RATES["cache_write_5m"] + sum(
        before * RATES["cache_read"] + (now - before) * RATES["cache_write_5m"] for before, now in pairwise(sizes)
    )
    measured, predicted = input_usd(plain) / input_usd(cached), expected_plain / expected_cached
    assert measured == pytest.approx(predicted, rel=0.01)
    assert measured > 4
    saved = sum(reply.prompt_cache.saved_usd for reply in cached)
    assert saved == pytest.approx((expected_plain - expected_cached) / 1e6, rel=0.01)
    assert cached[0].prompt_cache.saved_usd < 0, "the first turn only writes"
    assert all(reply.prompt_cache is None for reply in plain)


async def test_what_anthropic_reads_from_its_cache_does_not_use_up_its_input_limit():
    limited = {**CLAUDE, "models": {"m": {"price": RATES, "input_tokens_per_minute": 20_000}}}
    async with world(only={"a": limited}, route=AUTO, a=agent_script()) as it:
        began = it.now
        replies = await agent_run(it.llm, "chat", turns=20)
        assert sum(reply.usage.input_tokens for reply in replies) > 80_000
        assert it.now == began, "it waited for room that its provider had"
        ((_, limiter),) = it.llm.engine.supervisor.providers["a"].models["m"].keys
        used = sum(reply.usage.input_tokens - reply.usage.cache_read_tokens for reply in replies)
        assert limiter.statistics(it.now).dimensions["input_tokens"].level == pytest.approx(20_000 - used)


async def test_an_hour_is_written_at_its_own_price_and_read_after_a_long_pause():
    async with claudes("a", route={"prompt_cache_ttl": "1h"}) as it:
        (first,) = await agent_run(it.llm, "chat", turns=1)
        await asyncio.sleep(3000)
        (again,) = await agent_run(it.llm, "chat", turns=1)
    assert first.usage.cache_write_1h_tokens == first.usage.input_tokens == again.usage.cache_read_tokens
    assert first.cost_usd == pytest.approx(cost_usd(Price(**RATES), first.usage))
    assert input_usd([first]) == pytest.approx(first.usage.input_tokens * 6.0 / 1e6)


async def test_streams_cache_and_tell_like_whole_answers():
    async with claudes("a", a=Script(answer="word " * 30)) as it:
        messages = [{"role": "system", "content": "s" * 8000}, {"role": "user", "content": "Hello"}]
        for expected in ("written_tokens", "read_tokens"):
            async with it.llm.stream("chat", messages, session="s1") as stream:
                async for _ in stream:
                    pass
            assert getattr(stream.reply.prompt_cache, expected) == stream.reply.usage.input_tokens > 2000


async def test_every_setting_can_turn_it_off_and_a_call_has_the_last_word():
    targets = [{"target": "a/m", "prompt_cache": "off"}]
    async with claudes("a", route={"targets": targets}) as it:
        (reply,) = await agent_run(it.llm, "chat", turns=1, prompt_cache="auto")
        assert reply.prompt_cache is None, "the target's own setting tells of its server"
    targets = [{"target": "a/m", "prompt_cache": "auto", "prompt_cache_ttl": "1h"}]
    async with claudes("a", route={"targets": targets, "prompt_cache": "off"}) as it:
        (reply,) = await agent_run(it.llm, "chat", turns=1)
        assert reply.usage.cache_write_1h_tokens
        (reply,) = await agent_run(it.llm, "chat", turns=1, prompt_cache="off")
        assert reply.prompt_cache is None
        with pytest.raises(MalformedRequest, match="prompt_cache must be"):
            await it.llm.complete("chat", "x", prompt_cache="on")


async def test_budgets_settle_with_what_caching_made_of_the_cost():
    budgets = [{"per": "user", "window": "day", "limit_usd": 10}]
    async with world(
        only={"a": CLAUDE}, route={**AUTO, "max_output_tokens": 500}, budgets=budgets, a=agent_script()
    ) as it:
        replies = await agent_run(it.llm, "chat", turns=5, user="ann")
        (budget,) = await it.llm.usage(user="ann")
        assert budget.spent == pytest.approx(sum(reply.cost_usd for reply in replies), rel=1e-4)
        assert budget.reserved == 0


# --- where it goes -----------------------------------------------------------------------------------


SHARING = ["round_robin", "weighted", "least_loaded", "own_strategies:backwards"]


@pytest.mark.parametrize("strategy", [*SHARING, "priority", "cheapest"])
async def test_a_conversation_stays_with_the_target_that_holds_it(strategy):
    async with claudes("a", "b", "c", route={"strategy": strategy}) as it:
        replies = await agent_run(it.llm, "chat", turns=8)
        assert len({reply.target for reply in replies}) == 1
        assert all(reply.prompt_cache.read_tokens for reply in replies[1:])
        assert it.llm.status().conversations.held == 8, "each turn may be gone on from"


@pytest.mark.parametrize("strategy", ["round_robin", "weighted"])
async def test_new_conversations_are_shared_out_whatever_the_turns_of_old_ones_do(strategy):
    async with claudes("a", "b", route={"strategy": strategy}) as it:
        firsts = []
        for number in range(6):
            replies = await agent_run(it.llm, "chat", turns=1 + number % 2, session=f"s{number}")
            firsts.append(replies[0].target)
        assert firsts == ["a/m", "b/m"] * 3


async def test_without_caching_every_turn_is_shared_out():
    async with claudes("a", "b", route={"strategy": "round_robin"}) as it:
        replies = await agent_run(it.llm, "chat", turns=4, prompt_cache="off")
        assert [reply.target for reply in replies] == ["a/m", "b/m"] * 2
        assert it.llm.status().conversations.held == 0


async def test_short_conversations_are_not_held():
    async with claudes("a", "b", route={"strategy": "round_robin"}, a=Script(), b=Script()) as it:
        targets = [(await it.llm.complete("chat", "Hi", session="s")).target for _ in range(4)]
        assert targets == ["a/m", "b/m"] * 2


@pytest.mark.parametrize("strategy", [*SHARING, "priority", "cheapest"])
async def test_it_yields_to_health_at_once_moves_and_is_cached_there(strategy):
    async with claudes("a", "b", route={"strategy": strategy}) as it:
        (first,) = await agent_run(it.llm, "chat", turns=1, session="s")
        home = first.target.partition("/")[0]
        other = "b" if home == "a" else "a"
        it.providers[home].script = agent_script().with_rule(DOWN)
        replies = await agent_run(it.llm, "chat", turns=6, session="s")
        assert {reply.target for reply in replies} == {f"{other}/m"}
        if strategy in SHARING:
            assert it.calls(home) == 2, "it fails once, then the conversation is held by the other"
        moved = replies[0].prompt_cache
        assert (moved.moved_from, moved.rewritten_tokens) == (f"{home}/m", first.usage.input_tokens)
        assert moved.rewritten_usd == pytest.approx(first.usage.input_tokens * (3.75 - 0.3) / 1e6)
        assert all(reply.prompt_cache.read_tokens for reply in replies[1:])
        assert all(reply.prompt_cache.moved_from is None for reply in replies[1:])
        (event,) = [event for event in it.events if isinstance(event, ConversationMoved)]
        assert (event.source, event.target, event.tokens) == (f"{home}/m", f"{other}/m", first.usage.input_tokens)
        assert it.llm.status().conversations.moves == 1
        it.assert_idle()


@pytest.mark.parametrize("ail", ["open", "disabled", "rate limit", "key"])
async def test_a_target_that_is_not_fit_is_not_asked_again_for_the_sake_of_its_cache(ail):
    async with claudes("a", "b", route={"strategy": "round_robin"}) as it:
        (first,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert first.target == "a/m"
        record = it.llm.engine.supervisor.providers["a"]
        if ail == "open":
            record.models["m"].breaker.force_open(it.now)
        elif ail == "disabled":
            it.llm.provider("a").drain()
        elif ail == "rate limit":
            for _, limiter in record.models["m"].keys:
                limiter.rest(it.now + 60.0)
        else:
            record.keys[0].aside = "unauthorised"
        (second,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert second.target == "b/m"
        assert it.calls("a") == 1, "nobody asked it again"


async def test_a_better_target_takes_its_conversations_back_when_it_is_well_again():
    async with claudes("a", "b") as it:
        it.providers["a"].script = agent_script().first(1, DOWN)
        (first,) = await agent_run(it.llm, "chat", turns=1, session="s")
        (second,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert (first.target, second.target) == ("b/m", "a/m"), "the order of the route is a ranking"
        assert second.prompt_cache.moved_from == "b/m"


async def test_while_a_better_target_ramps_up_conversations_stay_where_they_are():
    settings = {**CLAUDE, "breaker": {**QUIET, "consecutive_failures": 1, "probe_successes": 1, "ramp_start": 1.0}}
    async with world(only=dict.fromkeys("ab", settings), route=AUTO, a=agent_script(), b=agent_script()) as it:
        it.providers["a"].script = agent_script().first(1, DOWN)
        assert [r.target for r in await agent_run(it.llm, "chat", turns=2, session="old")] == ["b/m"] * 2
        await asyncio.sleep(40)
        assert [r.target for r in await agent_run(it.llm, "chat", turns=1, session="probe")] == ["a/m"]
        assert it.llm.status().providers["a"].targets["a/m"].breaker.state == "ramping"
        assert [r.target for r in await agent_run(it.llm, "chat", turns=2, session="old")] == ["b/m"] * 2
        assert [r.target for r in await agent_run(it.llm, "chat", turns=1, session="new")] == ["a/m"]
        await asyncio.sleep(31)
        assert [r.target for r in await agent_run(it.llm, "chat", turns=2, session="old")] == ["a/m"] * 2


async def test_the_cheapest_target_takes_a_conversation_back_only_where_that_is_cheaper():
    async def went_back(second, ttl="5m", first="auto"):
        """A conversation at b, at its price, while a, the cheapest, was down for a call."""
        prices = {"a": {**RATES}, "b": second}
        only = {name: {**CLAUDE, "models": {"m": {"price": price}}} for name, price in prices.items()}
        targets = [{"target": "a/m", "prompt_cache": first}, "b/m"]
        route = {**AUTO, "strategy": "cheapest", "prompt_cache_ttl": ttl, "targets": targets}
        async with world(only=only, route=route, a=agent_script().first(1, DOWN), b=agent_script()) as it:
            replies = await agent_run(it.llm, "chat", turns=3)
            assert replies[0].target == "b/m"
            return replies[-1].target == "a/m"

    assert not await went_back({**RATES, "input": 4.0, "cache_read": 0.4, "cache_write_5m": 5.0})
    assert await went_back({**RATES, "input": 40.0, "cache_read": 40.0, "cache_write_5m": 50.0})
    assert await went_back({"input": 40.0, "output": 150.0})
    between = {**RATES, "input": 4.5, "cache_read": 4.0, "cache_write_5m": 5.0, "cache_write_1h": 8.0}
    assert await went_back(between)
    assert not await went_back(between, ttl="1h"), "to write all of it for an hour costs more there"
    nearly = {**RATES, "input": 4.5, "cache_read": 3.1, "cache_write_5m": 5.0}
    assert not await went_back(nearly)
    assert await went_back(nearly, first="off"), "there nothing is written"


async def test_a_fallback_of_weight_0_does_not_keep_what_it_was_lent():
    targets = [{"target": "a/m", "weight": 1}, {"target": "b/m", "weight": 0}]
    async with claudes("a", "b", route={"strategy": "weighted", "targets": targets}) as it:
        it.providers["a"].script = agent_script().first(1, DOWN)
        replies = await agent_run(it.llm, "chat", turns=3)
        assert [reply.target for reply in replies] == ["b/m", "a/m", "a/m"]


async def test_a_strategy_of_ones_own_may_say_that_it_ranks():
    route = {"strategy": "own_strategies:best_first", "targets": ["a/m", "b/m"]}
    async with claudes("a", "b", route=route) as it:
        it.providers["a"].script = agent_script().first(1, DOWN)
        replies = await agent_run(it.llm, "chat", turns=3)
        assert [reply.target for reply in replies] == ["b/m", "a/m", "a/m"]


async def test_inside_a_nested_route_a_conversation_stays_too():
    routes = {
        "chat": {"targets": [{"route": "pair"}, "c/m"], **AUTO},
        "pair": {"targets": ["a/m", "b/m"], "strategy": "round_robin"},
    }
    async with world(only=dict.fromkeys("abc", CLAUDE), routes=routes, **dict.fromkeys("abc", agent_script())) as it:
        for number in range(4):
            replies = await agent_run(it.llm, "chat", turns=3, session=f"s{number}")
            assert {reply.target for reply in replies} == {f"{'ab'[number % 2]}/m"}


async def test_a_hold_ends_with_the_providers_own():
    async with claudes("a", "b", route={"strategy": "round_robin"}) as it:
        for pause, target in ((0, "a/m"), (299, "a/m"), (299, "a/m"), (301, "b/m")):
            await asyncio.sleep(pause)
            (reply,) = await agent_run(it.llm, "chat", turns=1, session="s")
            assert reply.target == target


async def test_where_a_provider_caches_of_its_own_accord_conversations_stay_as_well():
    scripts = {name: agent_script(automatic_cache=True) for name in "ab"}
    async with world(only=dict.fromkeys("ab", GPT), route={**AUTO, "strategy": "round_robin"}, **scripts) as it:
        replies = await agent_run(it.llm, "chat", turns=6, session="s")
        assert {reply.target for reply in replies} == {"a/m"}
        assert all(reply.usage.cache_read_tokens >= 1024 for reply in replies[1:])
        assert all("prompt_cache_key" not in seen.body for seen in it.providers["a"].log), "not OpenAI's own host"
        it.providers["a"].script = agent_script().with_rule(DOWN)
        (reply,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert reply.prompt_cache.moved_from == "a/m"
        assert reply.prompt_cache.rewritten_tokens == reply.usage.input_tokens
        assert reply.prompt_cache.rewritten_usd == pytest.approx(reply.usage.input_tokens * 1.5 / 1e6)


async def test_a_stream_that_is_left_has_been_read_and_is_held():
    answer = Script(answer="word " * 50, tokens_per_second=10)
    async with claudes("a", "b", route={"strategy": "round_robin"}, a=answer, b=answer) as it:
        messages = [{"role": "system", "content": "s" * 8000}, {"role": "user", "content": "Hello"}]
        for _ in range(3):
            async with it.llm.stream("chat", messages, session="s1") as stream:
                await anext(stream)
        assert (it.calls("a"), it.calls("b")) == (3, 0)
        it.assert_idle()


BEGUN = [{"role": "system", "content": "s" * 8000}, {"role": "user", "content": "Hello"}]


def numbered():
    """Says at each call something that was not said before."""
    numbers = count()
    return Script(answer=lambda body: f"answer {next(numbers)}")


@pytest.mark.parametrize("strategy", ["round_robin", "weighted"])
async def test_first_turns_that_are_all_the_same_are_shared_out_and_each_stays_where_it_was(strategy):
    async with claudes("a", "b", route={"strategy": strategy}, a=numbered(), b=numbered()) as it:
        firsts = [await it.llm.complete("chat", BEGUN) for _ in range(6)]
        assert [reply.target for reply in firsts] == ["a/m", "b/m"] * 3
        assert it.llm.status().conversations.moves == 0, "nobody has moved: they are six, and have just begun"
        talks = [[*BEGUN, reply.message(), {"role": "user", "content": "Go on"}] for reply in firsts[:2]]
        seconds = [await it.llm.complete("chat", talk) for talk in talks]
        for talk, before in zip(talks, seconds, strict=True):
            talk += [before.message(), {"role": "user", "content": "And then?"}]
        thirds = [await it.llm.complete("chat", talk) for talk in talks]
        assert [reply.target for reply in thirds] == [reply.target for reply in seconds]


@pytest.mark.parametrize("strategy", ["round_robin", "weighted"])
async def test_questions_with_the_same_examples_in_front_are_shared_out(strategy):
    examples = [*BEGUN, {"role": "assistant", "content": "4"}]
    async with claudes("a", "b", route={"strategy": strategy}, a=numbered(), b=numbered()) as it:
        asked = [
            await it.llm.complete("chat", [*examples, {"role": "user", "content": f"{number}+1?"}])
            for number in range(6)
        ]
        assert [reply.target for reply in asked] == ["a/m", "b/m"] * 3


async def test_a_conversation_whose_caller_moves_a_mark_on_stays_where_it_is():
    mark = {"cache_control": {"type": "ephemeral"}}
    async with claudes("a", "b", route={"strategy": "round_robin"}, a=numbered(), b=numbered()) as it:
        talk, targets = [BEGUN[0]], []
        for text in ("Hello", "Go on", "And then?", "More"):
            now = {"role": "user", "content": [{"type": "text", "text": text, **mark}]}
            reply = await it.llm.complete("chat", [*talk, now])
            talk += [{"role": "user", "content": text}, {"role": "assistant", "content": reply.text}]
            targets.append(reply.target)
        assert targets == ["a/m"] * 4


async def test_a_turn_that_is_said_again_or_otherwise_goes_where_it_is_held():
    async with claudes("a", "b", route={"strategy": "round_robin"}, a=numbered(), b=numbered()) as it:
        first = await it.llm.complete("chat", BEGUN)
        talk = [*BEGUN, first.message()]
        for text in ("Go on", "Go on", "No, go back"):
            reply = await it.llm.complete("chat", [*talk, {"role": "user", "content": text}])
            assert reply.target == "a/m"
            assert reply.prompt_cache.read_tokens


async def test_a_conversation_stays_with_the_key_that_has_read_it_and_moves_on_with_another():
    async with world(only={"a": {**CLAUDE, "keys": ["sk-one", "sk-two", "sk-three"]}}, route=AUTO, a=numbered()) as it:

        async def talk(turns):
            """A new conversation; the keys that its turns went out with."""
            messages, keys = list(BEGUN), []
            for _ in range(turns):
                reply = await it.llm.complete("chat", messages)
                messages += [reply.message(), {"role": "user", "content": "Go on"}]
                keys.append(reply.attempts[-1].key)
            return keys

        assert [await talk(4) for _ in range(3)] == [[0] * 4, [1] * 4, [2] * 4], "conversations are shared out"
        record = it.llm.engine.supervisor.providers["a"]
        messages = [*BEGUN, {"role": "assistant", "content": "x"}, {"role": "user", "content": "Go on"}]
        first = (await it.llm.complete("chat", messages, session="s")).attempts[-1].key
        for _, limiter in (record.models["m"].keys[first],):
            limiter.rest(it.now + 60.0)
        later = [(await it.llm.complete("chat", messages, session="s")).attempts[-1].key for _ in range(3)]
        assert first not in later
        assert len(set(later)) == 1, "it is held by the other now"


async def test_a_target_without_a_free_slot_does_not_hold_anybody_up():
    slow = Script(answer="word", first_token=Fixed(50))
    only = {"a": {**CLAUDE, "max_concurrency": 1}, "b": CLAUDE}
    async with world(only=only, route={**AUTO, "strategy": "round_robin"}, a=agent_script(), b=agent_script()) as it:
        await agent_run(it.llm, "chat", turns=1, session="s")
        it.providers["a"].script = slow
        busy = asyncio.create_task(it.llm.complete("chat", "Hi", deadline=100))
        await asyncio.sleep(1)
        if not it.providers["a"].in_flight:  # it was b's turn
            busy = asyncio.gather(busy, it.llm.complete("chat", "Hi", deadline=100))
            await asyncio.sleep(1)
        assert it.providers["a"].in_flight == 1
        began = it.now
        (reply,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert reply.target == "b/m"
        assert it.now == began
        await busy


async def test_a_reload_without_the_target_that_holds_it_moves_the_conversation():
    async with claudes("a", "b", route={"strategy": "round_robin"}) as it:
        (first,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert first.target == "a/m"
        await it.llm.reload({**it.config, "route": {"chat": {**it.config["route"]["chat"], "targets": ["b/m"]}}})
        (second,) = await agent_run(it.llm, "chat", turns=1, session="s")
        assert second.target == "b/m"
        assert second.prompt_cache.moved_from == "a/m"


async def test_a_move_is_told_once_though_its_answer_had_to_be_asked_for_again():
    left = ["fine", "bad", "good"]
    answers = Script(answer=lambda body: left.pop(0))
    check = {"name": "it", "stage": "after", "regex": "bad", "then": "retry"}
    async with claudes("a", "b", a=answers, b=answers, route={"checks": [check]}) as it:
        first = await it.llm.complete("chat", BEGUN, session="s")
        it.providers["a"].script = Script().with_rule(DOWN)
        second = await it.llm.complete("chat", BEGUN, session="s")
        assert (first.target, second.target, second.text) == ("a/m", "b/m", "good")
        assert second.prompt_cache.rewritten_tokens == first.usage.input_tokens
        assert it.llm.status().conversations.moves == 1


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_hedge_that_comes_in_at_the_same_moment_is_no_move(streamed):
    route = {"strategy": "round_robin", "hedge": 1.0, "hedge_share": 1.0, "upstream_stream": "auto"}
    async with claudes("a", "b", route=route, a=numbered(), b=numbered()) as it:
        assert (await it.llm.complete("chat", BEGUN, session="s")).target == "a/m"
        it.providers["a"].script = replace(numbered(), first_token=Fixed(5.0))
        it.providers["b"].script = replace(numbered(), first_token=Fixed(4.0))
        if streamed:
            async with it.llm.stream("chat", BEGUN, session="s") as stream:
                async for _ in stream:
                    pass
            reply = stream.reply
        else:
            reply = await it.llm.complete("chat", BEGUN, session="s")
        assert (it.calls("a"), it.calls("b")) == (2, 1), "it has hedged"
        moves = [(event.source, event.target) for event in it.events if isinstance(event, ConversationMoved)]
        assert moves in ([], [("a/m", "b/m")]), "nobody moves back from where it has only just been asked"
        assert (reply.target == "b/m") <= bool(moves)
        it.assert_idle()


async def test_many_conversations_at_once_each_stay_where_they_began():
    async with claudes("a", "b", "c", route={"strategy": "round_robin"}) as it:
        runs = await asyncio.gather(*(agent_run(it.llm, "chat", turns=4, session=f"s{n}") for n in range(12)))
        homes = [{reply.target for reply in run} for run in runs]
        assert all(len(home) == 1 for home in homes)
        assert sorted(target for home in homes for target in home) == ["a/m"] * 4 + ["b/m"] * 4 + ["c/m"] * 4
        it.assert_idle()


async def test_no_text_of_a_conversation_is_remembered():
    async with claudes("a") as it:
        await agent_run(it.llm, "chat", turns=2, session="secret-session")
        affinity = it.llm.engine.affinity
        told = repr([getattr(affinity, name) for name in affinity.__slots__])
        assert "secret" not in told
        assert "house" not in told


# --- what is told --------------------------------------------------------------------------------------


async def test_a_target_that_fails_in_mid_conversation_costs_one_prefix_and_the_report_says_so(tmp_path):
    path = tmp_path / "requests.db"
    log = await RequestLog.open(path, executor=InlineExecutor(), wall=lambda: 1_800_000_000.0)
    async with claudes("a", "b") as it:
        it.llm._listeners.append(log)
        it.providers["a"].script = agent_script().with_rule(DOWN, skip=10)
        replies = await agent_run(it.llm, "chat", turns=20)
        settled = [event for event in it.events if isinstance(event, CallSettled)]
        assert [event.prompt_cache for event in settled] == [reply.prompt_cache for reply in replies]
    await log.aclose()
    assert [reply.target for reply in replies] == ["a/m"] * 10 + ["b/m"] * 10
    sizes = [reply.usage.input_tokens for reply in replies]
    assert replies[10].prompt_cache.read_tokens == 0
    assert [reply.prompt_cache.read_tokens for reply in replies[11:]] == sizes[10:-1], "it goes on being cached there"
    report = report_of(path, settled[0].at_unix)
    totals, again = report.totals[1], sizes[9] * (3.75 - 0.3) / 1e6
    assert (totals.moves, totals.rewritten_tokens) == (1, sizes[9])
    assert totals.rewritten_usd == pytest.approx(again)
    assert totals.prompt_saved_usd == pytest.approx(sum(reply.prompt_cache.saved_usd for reply in replies))
    assert report.moves == {("a/m", "b/m"): (Moves(), Moves(1, sizes[9], totals.rewritten_usd))}
    cause = next(cause for cause in report.change.causes if cause.name == "prefixes written again")
    assert cause.amount == pytest.approx(again)
    assert cause.models == {"m": cause.amount}
    assert evidence(cause, report) == "prefix written again after a move from a/m to b/m: 0 -> 1 times"
    assert sum(each.amount for each in report.change.causes) == pytest.approx(report.change.amount)
    assert as_dict(report)["moves"][0]["what"] == "prefix written again after a move from a/m to b/m"


def report_of(path, at_unix):
    """On the day of that instant, against the day before."""
    day = datetime.fromtimestamp(at_unix, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    periods = [Period(day + timedelta(days=n), day + timedelta(days=n + 1)) for n in (-1, 0)]
    with reading(path) as its:
        return make_report(*collect(its, periods, ("target",)), its.span())


def test_a_turn_that_is_cancelled_anywhere_leaves_a_conversation_that_can_go_on():
    @asynccontextmanager
    async def scene():
        async with claudes("a", "b", route={"strategy": "round_robin"}) as it:
            await agent_run(it.llm, "chat", turns=1, session="s")
            it.providers["a"].script = agent_script().with_rule(DOWN)
            yield lambda: agent_run(it.llm, "chat", turns=1, session="s")
            it.assert_idle()
            held = it.llm.status().conversations
            assert (held.held, held.moves) in {(1, 0), (1, 1)}
            (reply,) = await agent_run(it.llm, "chat", turns=1, session="s")
            assert reply.target == "b/m"

    assert cancel_everywhere(scene) >= 4
