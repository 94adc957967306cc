"""What each class of error allows: next target, one retry, next key, a wait, or the end."""

import asyncio
import random

import pytest
from world import world

from resilio import (
    Exhausted,
    InvalidRequest,
    ProviderRefused,
    RequestRejected,
    UnknownRoute,
    Unsupported,
)
from resilio.events import AttemptEnded, CallSettled, KeySetAside
from resilio.testing.faults import (
    EmptyChoices,
    Error,
    Giant,
    Html,
    Refusal,
    Refused,
    Reset,
    Stale,
    TruncatedJson,
)
from resilio.testing.script import Script

OK = Script(answer="fine")


async def test_a_plain_call_is_answered_once_and_says_everything():
    async with world(a=OK, b=OK) as w:
        reply = await w.llm.complete("chat", "hi", user="alice", tags={"team": "x"})
        assert (reply.text, reply.target, reply.level, reply.complete) == ("fine", "a/m", "full", True)
        assert reply.usage.output_tokens > 0
        assert reply.cost_usd is None
        assert len(reply.attempts) == 1
        assert reply.attempts[0].outcome == "success"
        assert (w.calls("a"), w.calls("b")) == (1, 0)
        settled = [event for event in w.events if isinstance(event, CallSettled)]
        assert [(event.final, event.identity.user, event.tags) for event in settled] == [
            ("complete", "alice", {"team": "x"})
        ]
        w.assert_idle()


async def test_a_price_makes_a_cost():
    async with world(a=OK, model={"price": {"input": 2.0, "output": 8.0}}) as w:
        reply = await w.llm.complete("chat", "hi")
        expected = (reply.usage.input_tokens * 2 + reply.usage.output_tokens * 8) / 1e6
        assert reply.cost_usd == pytest.approx(expected)


async def test_a_client_error_is_sent_once_and_to_nobody_else():
    async with world(a=Script.of(Error("invalid_value")), b=OK) as w:
        with pytest.raises(InvalidRequest) as caught:
            await w.llm.complete("chat", "hi")
        assert (w.calls("a"), w.calls("b")) == (1, 0)
        assert len(caught.value.attempts) == 1
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0


async def test_a_refusal_is_not_dodged_by_asking_another():
    async with world(a=Script.of(Refusal("prompt")), b=OK) as w:
        with pytest.raises(ProviderRefused):
            await w.llm.complete("chat", "hi")
        assert w.calls("b") == 0
        assert [event.final for event in w.events if isinstance(event, CallSettled)] == ["refused"]


async def test_a_server_error_is_retried_once_on_the_same_target_after_a_pause():
    async with world(a=Script(answer="fine").first(1, Error(status=500)), b=OK) as w:
        reply = await w.llm.complete("chat", "hi")
        assert [each.target for each in reply.attempts] == ["a/m", "a/m"]
        assert 0 < reply.attempts[1].waited <= 0.5
        assert (w.calls("a"), w.calls("b")) == (2, 0)


async def test_a_second_server_error_moves_on():
    async with world(a=Script.of(Error(status=500)), b=OK) as w:
        reply = await w.llm.complete("chat", "hi")
        assert [each.target for each in reply.attempts] == ["a/m", "a/m", "b/m"]


async def test_an_empty_retry_budget_moves_on_without_a_retry():
    no_repeats = {"retry_budget": {"ratio": 0, "per_second": 0, "initial": 0}}
    async with world(a=Script.of(Error(status=500)), b=OK, provider=no_repeats) as w:
        reply = await w.llm.complete("chat", "hi")
        assert [each.target for each in reply.attempts] == ["a/m", "b/m"]


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        (Error(status=503), "overloaded"),
        (Error(status=529), "overloaded"),
        (Reset(), "disconnected"),
        (Refused(), "connect"),
        (Html(), "malformed"),
        (EmptyChoices(), "malformed"),
        (TruncatedJson(), "malformed"),
        (Giant(20_000_000), "malformed"),
    ],
)
async def test_faults_of_a_target_move_on_at_once(fault, error_class):
    async with world(a=Script.of(fault), b=OK) as w:
        began = w.now
        reply = await w.llm.complete("chat", "hi")
        assert reply.text == "fine"
        assert [each.target for each in reply.attempts] == ["a/m", "b/m"]
        assert reply.attempts[0].error_class == error_class
        assert w.now - began < 0.1
        w.assert_idle()


async def test_when_everything_fails_the_error_lists_every_attempt():
    async with world(a=Script.of(Error(status=503)), b=Script.of(Reset()), c=Script.of(Html())) as w:
        with pytest.raises(Exhausted) as caught:
            await w.llm.complete("chat", "hi")
        assert [each.target for each in caught.value.attempts] == ["a/m", "b/m", "c/m"]
        for name in ("a/m", "b/m", "c/m"):
            assert name in str(caught.value)
        w.assert_idle()


async def test_at_most_three_attempts_are_made_by_default():
    down = Script.of(Error(status=503))
    async with world(a=down, b=down, c=down, d=OK) as w:
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi")
        assert w.calls("d") == 0


async def test_a_stale_kept_alive_connection_is_replayed_once_at_once_and_costs_nothing():
    settings = {"retry_budget": {"ratio": 0, "per_second": 0, "initial": 0}}
    async with world(a=Script(answer="fine").first(1, Stale()), b=OK, provider=settings) as w:
        began = w.now
        reply = await w.llm.complete("chat", "hi")
        assert w.now - began < 0.1
        assert [(each.target, each.outcome, each.replay) for each in reply.attempts] == [
            ("a/m", "ignored", False),
            ("a/m", "success", True),
        ]
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0


async def test_a_connection_that_dies_again_after_the_replay_counts_and_moves_on():
    async with world(a=Script().sequence(Stale(), Reset()), b=OK) as w:
        reply = await w.llm.complete("chat", "hi")
        assert [(each.target, each.outcome) for each in reply.attempts] == [
            ("a/m", "ignored"),
            ("a/m", "failure"),
            ("b/m", "success"),
        ]
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 1


# --- throttling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "form", "seconds"),
    [(1, "seconds", 1.0), (0.3, "seconds", 0.3), (2, "date", 2.0), (0.3, "ms", 0.3)],
)
async def test_a_short_hint_is_honoured_when_there_is_nobody_else(hint, form, seconds):
    throttled = Error("rate_limit_exceeded", retry_after=hint, retry_after_as=form)
    settings = {"retry": {"same_target_wait": 2.5}}
    async with world(a=Script(answer="fine").first(1, throttled), route=settings) as w:
        reply = await w.llm.complete("chat", "hi")
        assert reply.text == "fine"
        first, second = w.providers["a"].log
        assert seconds <= second.at - first.at <= seconds + 0.6


async def test_a_hint_of_61_seconds_moves_on_and_the_target_is_left_alone_for_so_long():
    throttled = Error("rate_limit_exceeded", retry_after=61)
    async with world(a=Script(answer="from a").first(1, throttled), b=Script(answer="from b")) as w:
        assert (await w.llm.complete("chat", "hi")).text == "from b"
        began = w.providers["a"].log[0].at
        await asyncio.sleep(began + 60.9 - w.now)
        assert (await w.llm.complete("chat", "hi")).text == "from b"
        assert w.calls("a") == 1
        await asyncio.sleep(0.2)
        assert (await w.llm.complete("chat", "hi")).text == "from a"


async def test_a_hint_beyond_the_deadline_ends_at_once_with_the_hint():
    throttled = Error("rate_limit_exceeded", retry_after=61)
    async with world(a=Script.of(throttled)) as w:
        began = w.now
        with pytest.raises(Exhausted) as caught:
            await w.llm.complete("chat", "hi", deadline=30)
        assert w.now - began < 0.1
        assert caught.value.retry_after == pytest.approx(61, abs=0.1)
        assert w.calls("a") == 1
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0


async def test_a_short_hint_beyond_the_deadline_is_not_waited_for():
    throttled = Error("rate_limit_exceeded", retry_after=1)
    async with world(a=Script.of(throttled)) as w:
        began = w.now
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi", deadline=0.5)
        assert w.now - began < 0.1


async def test_without_a_hint_the_same_target_is_not_asked_again_at_once():
    async with world(a=Script.of(Error("rate_limit_exceeded")), b=OK) as w:
        for _ in range(5):
            assert (await w.llm.complete("chat", "hi")).text == "fine"
        assert w.calls("a") == 1


async def test_a_throttled_key_rests_alone_and_the_next_key_answers():
    keys = {"keys": ["sk-one", "sk-two"]}
    script = Script(answer="fine").with_rule(Error("rate_limit_exceeded", retry_after=30), key="sk-one")
    async with world(a=script, b=OK, provider=keys) as w:
        reply = await w.llm.complete("chat", "hi")
        assert [(each.target, each.key) for each in reply.attempts] == [("a/m", 0), ("a/m", 1)]
        again = await w.llm.complete("chat", "hi")
        assert [(each.target, each.key) for each in again.attempts] == [("a/m", 1)]


async def test_a_rest_of_absurd_length_can_be_ended_by_hand():
    async with world(a=Script(answer="fine").with_rule(Error("rate_limit_exceeded", retry_after=86_400))) as w:
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", "hi")
        w.providers["a"].script = OK
        with pytest.raises(RequestRejected):
            await w.llm.complete("chat", "hi")
        w.llm.provider("a").restore_key(0)
        assert (await w.llm.complete("chat", "hi")).text == "fine"


@pytest.mark.parametrize("code", ["invalid_api_key", "insufficient_quota"])
async def test_a_bad_key_is_set_aside_alone(code):
    keys = {"keys": ["sk-bad", "sk-good"]}
    async with world(a=Script(answer="fine").with_rule(Error(code), key="sk-bad"), provider=keys) as w:
        for _ in range(3):
            assert (await w.llm.complete("chat", "hi")).text == "fine"
        assert w.calls("a") == 4
        aside = [event for event in w.events if isinstance(event, KeySetAside)]
        assert [(event.provider, event.key) for event in aside] == [("a", 0)]
        assert "sk-bad" not in repr(w.events)


@pytest.mark.parametrize("code", ["invalid_api_key", "insufficient_quota"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_refused_keys_cost_a_call_none_of_its_attempts(code, streamed):
    script = Script(answer="fine")
    for at in range(4):
        script = script.with_rule(Error(code), key=f"sk-{at}")
    keys = {"keys": [f"sk-{at}" for at in range(5)]}
    async with world(a=script, provider=keys, route={"retry": {"max_attempts": 1}}) as w:
        if streamed:
            async with w.llm.stream("chat", "hi") as stream:
                assert "".join([chunk.text async for chunk in stream]) == "fine"
        else:
            assert (await w.llm.complete("chat", "hi")).text == "fine"
        assert w.calls("a") == 5
        w.assert_idle()


async def test_two_hundred_callers_who_meet_refused_keys_at_once_all_get_their_answer():
    script = Script(answer="fine")
    for at in range(3):
        script = script.with_rule(Error("invalid_api_key"), key=f"sk-{at}")
    keys = {"keys": [f"sk-{at}" for at in range(4)], "max_concurrency": 1000}
    async with world(a=script, provider=keys, route={"retry": {"max_attempts": 1}}) as w:
        replies = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(200)))
        assert {reply.text for reply in replies} == {"fine"}
        assert len([event for event in w.events if isinstance(event, KeySetAside)]) == 3
        assert w.llm.status().providers["a"].breaker.state == "closed"
        w.assert_idle()


async def test_the_last_key_gone_opens_the_provider_and_a_paid_key_comes_back():
    async with world(a=Script.of(Error("insufficient_quota")), b=OK) as w:
        for _ in range(5):
            assert (await w.llm.complete("chat", "hi")).target == "b/m"
        assert w.calls("a") == 1
        assert w.llm.status().providers["a"].breaker.state == "open"
        w.providers["a"].script = Script(answer="paid")
        await asyncio.sleep(31)
        for _ in range(5):
            await w.llm.complete("chat", "hi")
            await asyncio.sleep(10)
        assert w.llm.status().providers["a"].keys[0].set_aside is None
        assert (await w.llm.complete("chat", "hi")).text == "paid"


# --- never sent -----------------------------------------------------------------------------------


async def test_an_unknown_route_is_refused_with_the_nearest_name():
    async with world(a=OK) as w:
        with pytest.raises(UnknownRoute, match="did you mean 'chat'"):
            await w.llm.complete("chta", "hi")


@pytest.mark.parametrize("messages", [[], [1], [{"content": "x"}], None, 7, {"role": "user"}])
async def test_what_is_no_request_is_refused_before_sending(messages):
    async with world(a=OK) as w:
        with pytest.raises(RequestRejected, match="messages"):
            await w.llm.complete("chat", messages)
        assert w.calls("a") == 0


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.test/a.png"}}]}]


@pytest.mark.parametrize(
    ("messages", "wire", "named"),
    [("hi", {"tools": [TOOL]}, "tools"), (IMAGE, {}, "images"), ("word " * 20_000, {}, "context window")],
)
async def test_a_request_no_target_can_serve_fails_before_sending_and_names_what_is_lacking(messages, wire, named):
    able = {"capabilities": ["streaming"], "context_window": 8192}
    async with world(a=OK, model=able) as w:
        with pytest.raises(Unsupported, match=named):
            await w.llm.complete("chat", messages, **wire)
        assert w.calls("a") == 0


async def test_a_request_goes_to_the_target_that_can_serve_it():
    plain = {"models": {"m": {"capabilities": ["streaming"]}}}
    async with world(a=OK, b=OK, only={"a": plain}) as w:
        reply = await w.llm.complete("chat", IMAGE)
        assert reply.target == "b/m"
        assert w.calls("a") == 0


async def test_a_context_too_long_goes_to_a_larger_one_and_counts_for_nobody():
    async with world(
        a=Script.of(Error("context_length_exceeded")),
        b=OK,
        c=Script(answer="large"),
        only={
            "a": {"models": {"m": {"context_window": 8192}}},
            "b": {"models": {"m": {"context_window": 8192}}},
        },
    ) as w:
        reply = await w.llm.complete("chat", "hi")
        assert reply.text == "large"
        assert (w.calls("a"), w.calls("b")) == (1, 0)
        assert w.llm.status().providers["a"].targets["a/m"].breaker.failures == 0


# --- the books ------------------------------------------------------------------------------------


async def test_every_attempt_makes_one_event_and_every_call_one_record():
    rng = random.Random(7)
    faults = [Error(status=500), Error(status=503), Reset(), Error("rate_limit_exceeded", retry_after=0.2), Html()]
    script = Script(answer="fine")
    for fault in faults:
        script = script.probability(0.15, fault)
    async with world(a=script, b=script, c=script) as w:
        ended = 0
        for _ in range(200):
            try:
                reply = await w.llm.complete("chat", "hi", deadline=rng.uniform(1, 30))
                ended += len(reply.attempts)
            except Exhausted as exc:
                ended += len(exc.attempts)
        assert len([e for e in w.events if isinstance(e, AttemptEnded)]) == ended
        assert len([e for e in w.events if isinstance(e, CallSettled)]) == 200
        assert sum(w.calls(name) for name in "abc") == ended
        w.assert_idle()
