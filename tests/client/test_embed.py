"""`Client.embed`: a vector for each text, in order, under the same protections as any call."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import world

from resilio import (
    BudgetExceeded,
    Client,
    DeadlineExceeded,
    Exhausted,
    InvalidRequest,
    MalformedRequest,
    UnknownRoute,
    Unsupported,
)
from resilio.cache.embedding.provider import ProviderEmbedder
from resilio.dispatch.embedding import batches
from resilio.events import CallSettled
from resilio.testing import Fixed, Script, SimulatedProvider, SimulatedServer, check_embedder, faults
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.vectors import _vector

GOOD = Script()
PRICE = {"input": 2.0, "output": 8.0}


def failing(fault, times=None):
    return Script().with_rule(fault, first=times)


def right(texts, reply):
    return list(reply) == [pytest.approx(_vector(text, 64), abs=1e-6) for text in texts]


async def test_each_text_gets_its_vector_with_the_books_of_it():
    async with world(main=GOOD, model={"price": PRICE}) as w:
        reply = await w.llm.embed("chat", ["one text", "another"], user="alice")
        assert right(["one text", "another"], reply)
        assert (len(reply), reply.dimension, reply[1]) == (2, 64, reply.vectors[1])
        assert (reply.target, reply.space, reply.route) == ("main/m", "m", "chat")
        assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated) == (3, 0, False)
        assert reply.cost_usd == pytest.approx(3 * 2.0 / 1e6)
        assert [record.outcome for record in reply.attempts] == ["success"]
        assert reply.array().dtype == np.float32
        assert reply.array().shape == (2, 64)
        (settled,) = [event for event in w.events if isinstance(event, CallSettled)]
        assert (settled.final, settled.identity.user, settled.usage.input_tokens) == ("complete", "alice", 3)
        w.assert_idle()


async def test_one_string_is_one_text():
    async with world(main=GOOD) as w:
        assert right(["one"], await w.llm.embed("chat", "one"))


async def test_no_texts_are_no_call():
    async with world(main=GOOD) as w:
        reply = await w.llm.embed("chat", [])
        assert (len(reply), reply.dimension, reply.target, reply.attempts, reply.cost_usd) == (0, 0, "", (), 0)
        assert reply.array().shape == (0, 0)
        assert w.calls("main") == 0
        with pytest.raises(UnknownRoute):
            await w.llm.embed("chatt", [])


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["a", ""], r"texts\[1\] is empty"),
        ("", r"texts\[0\] is empty"),
        (["a", 1], r"texts\[1\] must be a string, not 1"),
        (None, "string or a list"),
        (b"ab", "string or a list"),
        ({"a"}, "string or a list"),
    ],
)
async def test_what_is_no_text_is_refused_before_anything_is_sent(texts, why):
    async with world(main=GOOD) as w:
        with pytest.raises(MalformedRequest, match=why):
            await w.llm.embed("chat", texts)
        assert w.calls("main") == 0


async def test_many_texts_go_out_in_batches_and_come_back_in_order():
    async with world(main=GOOD, model={"max_embedding_inputs": 3, "price": PRICE}) as w:
        texts = [f"text {n}" for n in range(10)]
        reply = await w.llm.embed("chat", texts, dimensions=16)
        assert list(reply) == [pytest.approx(_vector(text, 16), abs=1e-6) for text in texts]
        assert sorted(len(seen.body["input"]) for seen in w.providers["main"].log) == [1, 3, 3, 3]
        assert reply.usage.input_tokens == 10
        assert reply.cost_usd == pytest.approx(10 * 2.0 / 1e6)
        assert len(reply.attempts) == len(reply.request_ids) == len(set(reply.request_ids)) == 4
        assert sum(isinstance(event, CallSettled) for event in w.events) == 4
        w.assert_idle()


async def test_a_batch_keeps_the_token_limit_of_every_target_of_its_route():
    only = {"spare": {"models": {"m": {"max_embedding_tokens": 100}}}}
    async with world(main=GOOD, spare=GOOD, only=only) as w:
        await w.llm.embed("chat", ["x" * 100] * 4 + ["y" * 500, "z"])
        sizes = [[len(text) for text in seen.body["input"]] for seen in w.providers["main"].log]
        assert sizes == [[100, 100], [100, 100], [500], [1]]


async def test_a_batch_is_never_larger_than_a_minutes_tokens():
    async with world(main=GOOD, model={"tokens_per_minute": 1000}) as w:
        assert len(await w.llm.embed("chat", ["x" * 1000] * 5, deadline=200)) == 5
        assert w.calls("main") == 3


@given(st.lists(st.text(min_size=1, max_size=20), max_size=40), st.integers(1, 9), st.integers(1, 60))
def test_batches_hold_all_texts_in_order_within_both_limits(texts, max_inputs, max_tokens):
    cut = list(batches(texts, max_inputs, max_tokens))
    assert [text for batch in cut for text in batch] == texts
    assert all(0 < len(batch) <= max_inputs for batch in cut)
    for batch in cut:
        tokens = sum(-(-len(text.encode()) // 2) for text in batch)
        assert tokens <= max_tokens or len(batch) == 1


# --- the same protections -------------------------------------------------------------------------


async def test_a_broken_target_is_passed_by():
    async with world(main=failing(faults.Error("server_is_overloaded")), spare=GOOD) as w:
        reply = await w.llm.embed("chat", ["a", "b"])
        assert right(["a", "b"], reply)
        assert reply.target == "spare/m"
        assert [record.error_class for record in reply.attempts] == ["overloaded", None]
        w.assert_idle()


@pytest.mark.parametrize("fault", [
    faults.BadVectors("missing"), faults.BadVectors("twin"), faults.BadVectors("ragged"), faults.BadVectors("nan"),
    faults.TruncatedJson(), faults.Malformed(), faults.Html(), faults.Cut(), faults.Cut(clean=False),
    faults.ErrorFrame(code="server_is_overloaded"), faults.Reset(), faults.Refused(),
])  # fmt: skip
async def test_what_is_no_set_of_vectors_counts_against_the_target_and_another_is_asked(fault):
    async with world(main=failing(fault), spare=GOOD) as w:
        reply = await w.llm.embed("chat", ["a", "b", "c"])
        assert right("abc", reply)
        assert reply.attempts[0].outcome == "failure"
        assert reply.attempts[-1].target == "spare/m"
        w.assert_idle()


async def test_vectors_in_another_order_are_put_right():
    async with world(main=failing(faults.BadVectors("shuffled"))) as w:
        assert right("abc", await w.llm.embed("chat", ["a", "b", "c"]))


async def test_a_silent_target_is_left_for_another_within_the_deadline():
    async with world(main=failing(faults.Silence()), spare=GOOD) as w:
        began = w.now
        reply = await w.llm.embed("chat", "a", deadline=9)
        assert reply.target == "spare/m"
        assert w.now - began < 9
        with pytest.raises(DeadlineExceeded):
            w.providers["spare"].script = failing(faults.Silence())
            await w.llm.embed("chat", "a", deadline=3)
        w.assert_idle()


async def test_a_throttled_target_rests_and_the_call_waits_if_it_may():
    throttled = faults.Error("rate_limit_exceeded", retry_after=1.0)
    async with world(main=failing(throttled, times=1)) as w:
        began = w.now
        reply = await w.llm.embed("chat", ["a"])
        assert [record.error_class for record in reply.attempts] == ["throttled", None]
        assert w.now - began >= 1
        w.assert_idle()


async def test_failures_open_the_breaker_of_the_target():
    broken = failing(faults.Error("server_is_overloaded"))
    once = {"retry": {"max_attempts": 1}}
    async with world(main=broken, provider={"breaker": {"consecutive_failures": 3}}, route=once) as w:
        for _ in range(5):
            with pytest.raises(Exception, match="main"):
                await w.llm.embed("chat", "a")
        assert w.calls("main") == 3


async def test_a_fault_of_the_callers_stops_at_once():
    async with world(main=failing(faults.Error("invalid_value")), spare=GOOD) as w:
        with pytest.raises(InvalidRequest):
            await w.llm.embed("chat", "a")
        assert w.calls("spare") == 0
        w.assert_idle()


async def test_a_batch_that_fails_ends_the_others():
    slow = Script(first_token=Fixed(50)).first(1, faults.Error("invalid_value"))
    async with world(main=slow, model={"max_embedding_inputs": 1}) as w:
        began = w.now
        with pytest.raises(InvalidRequest) as caught:
            await w.llm.embed("chat", list("abcdefgh"))
        assert w.now - began < 1
        assert len(caught.value.attempts) == 1
        assert w.calls("main") <= 4
        w.assert_idle()


async def test_a_ladder_does_not_apply_to_vectors():
    simpler = {"ladder": ["full", {"simpler": "small"}], "targets": ["main/m"]}
    routes = {"chat": simpler, "small": {"targets": ["spare/m"]}}
    async with world(main=failing(faults.Error("server_error")), spare=GOOD, routes=routes) as w:
        with pytest.raises(Exhausted):
            await w.llm.embed("chat", "a")
        assert w.calls("spare") == 0


async def test_a_silent_target_is_hedged():
    slow = Script(first_token=Fixed(30))
    async with world(main=slow, spare=GOOD, route={"hedge": 2.0, "hedge_share": 1.0}) as w:
        reply = await w.llm.embed("chat", ["a"])
        assert (reply.target, reply.latency) == ("spare/m", pytest.approx(2, abs=0.1))
        w.assert_idle()


async def test_a_spending_cap_holds_for_vectors_which_have_no_output():
    async with world(main=GOOD, model={"price": PRICE}) as w:
        with w.llm.scope(max_cost_usd=0.0001):
            assert len(await w.llm.embed("chat", ["word " * 8])) == 1
            with pytest.raises(BudgetExceeded):
                await w.llm.embed("chat", ["word " * 80])


async def test_usage_that_is_not_reported_is_estimated_and_says_so():
    async with world(main=failing(faults.UsageReport(missing=True))) as w:
        usage = (await w.llm.embed("chat", ["word " * 8])).usage
        assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (10, 0, True)


async def test_the_length_of_answers_is_not_learned_from_vectors():
    async with world(main=GOOD) as w:
        await w.llm.embed("chat", ["a"])
        assert w.llm.engine.supervisor.routes["chat"].output_lengths.p95 is None


async def test_vectors_may_be_larger_than_any_answer():
    async with world(main=GOOD, provider={"max_body_bytes": 10_000}) as w:
        assert len(await w.llm.embed("chat", [f"{n}" for n in range(50)])) == 50
    async with world(main=failing(faults.Giant(size=2_000_000)), provider={"max_body_bytes": 10_000}) as w:
        with pytest.raises(Exhausted, match="10"):
            await w.llm.embed("chat", ["a"])


# --- spaces ------------------------------------------------------------------------------------


def two_models(**spaces):
    """Settings of providers with one model each, called like themselves."""
    named = {name: {} if space is None else {"embedding_space": space} for name, space in spaces.items()}
    return {name: {"models": {name: model}} for name, model in named.items()}


async def test_models_whose_vectors_cannot_be_compared_are_never_mixed():
    routes = {"chat": {"targets": ["a/a", "b/b"]}}
    async with world(a=GOOD, b=GOOD, only=two_models(a=None, b=None), routes=routes) as w:
        with pytest.raises(Unsupported, match=r"a/a: makes vectors of the space 'a'; b/b: .*'b'.*same embedding_space"):
            await w.llm.embed("chat", "x")
        assert w.calls("a") == w.calls("b") == 0


async def test_a_window_that_is_too_small_today_does_not_let_spaces_mix_tomorrow():
    only = two_models(a=None, b=None)
    only["a"]["models"]["a"]["context_window"] = 10
    async with world(a=GOOD, b=GOOD, only=only, routes={"chat": {"targets": ["a/a", "b/b"]}}) as w:
        with pytest.raises(Unsupported, match="space"):
            await w.llm.embed("chat", "x" * 1000)


async def test_models_of_different_names_may_share_a_space():
    routes = {"chat": {"targets": ["a/a", "b/b"]}}
    broken = failing(faults.Error("server_error"))
    async with world(a=broken, b=GOOD, only=two_models(a="same", b="same"), routes=routes) as w:
        reply = await w.llm.embed("chat", "x")
        assert (reply.target, reply.space) == ("b/b", "same")


async def test_a_target_that_cannot_embed_is_left_out_and_takes_no_part_in_the_space():
    only = two_models(a=None, b=None)
    only["a"]["models"]["a"]["capabilities"] = ["tools"]
    async with world(a=GOOD, b=GOOD, only=only, routes={"chat": {"targets": ["a/a", "b/b"]}}) as w:
        assert (await w.llm.embed("chat", "x")).target == "b/b"
    async with world(main=GOOD, model={"capabilities": ["tools"]}) as w:
        with pytest.raises(Unsupported, match="cannot do embeddings"):
            await w.llm.embed("chat", "x")


async def test_a_window_has_to_hold_each_text_and_not_all_of_them():
    async with world(main=GOOD, model={"context_window": 100}) as w:
        assert len(await w.llm.embed("chat", ["x" * 300] * 10)) == 10
        with pytest.raises(Unsupported, match="context window of 100"):
            await w.llm.embed("chat", ["x" * 600])


async def test_a_rule_may_send_texts_elsewhere():
    rules = [{"use": "small", "when": {"max_input_tokens": 10}}]
    routes = {"small": {"targets": ["spare/m"]}, "chat": {"targets": ["main/m"]}}
    async with world(main=GOOD, spare=GOOD, routes=routes, rules=rules) as w:
        assert (await w.llm.embed("chat", "x")).target == "spare/m"
        assert (await w.llm.embed("chat", "x" * 100)).target == "main/m"


# --- cancellation --------------------------------------------------------------------------------


STUMBLING = Script(first_token=Fixed(0.5)).first(2, faults.Error("server_error"))


@asynccontextmanager
async def one_batch():
    async with world(main=STUMBLING, spare=Script(first_token=Fixed(0.3))) as w:

        async def act():
            assert right("ab", await w.llm.embed("chat", ["a", "b"], deadline=30))

        yield act
        w.assert_idle()
        assert right("xyz", await w.llm.embed("chat", list("xyz")))


def test_cancelled_at_any_await_it_gives_everything_back():
    assert cancel_everywhere(one_batch) >= 3


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("after", [0, 0.2, 0.5, 0.7, 1.1, 1.5])
async def test_cancelled_at_any_time_its_batches_end_with_it(after, times):
    async with world(main=STUMBLING, model={"max_embedding_inputs": 1}) as w:
        began = w.now
        embedding = asyncio.create_task(w.llm.embed("chat", list("abcdefghijkl"), deadline=30))
        await asyncio.sleep(after)
        for _ in range(times):
            embedding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await embedding
        w.assert_idle()
        assert right("xyz", await w.llm.embed("chat", list("xyz")))
        await asyncio.sleep(10)
        late = [seen.body["input"][0] for seen in w.providers["main"].log if seen.at - began > after]
        assert set(late) <= set("xyz"), "a batch went on after its call was cancelled"


async def test_a_scope_of_the_callers_ends_it_and_all_its_batches():
    async with world(main=Script(first_token=Fixed(5)), model={"max_embedding_inputs": 1}) as w:
        with anyio.move_on_after(1) as scope:
            await w.llm.embed("chat", list("abcdef"))
        assert scope.cancelled_caught
        await asyncio.sleep(0)
        w.assert_idle()


async def test_a_client_that_is_not_open_says_so():
    with pytest.raises(RuntimeError, match="not open"):
        await Client({"provider": [], "route": {}}).embed("chat", "a")


async def test_an_embedder_of_a_cache_may_be_a_route():
    async with world(main=GOOD) as w:

        async def call(texts):
            return await w.llm.embed("chat", [text or " " for text in texts])

        embedder = ProviderEmbedder(call, "m", 64)
        await check_embedder(embedder, ["one text", "another", "", "naïve 你好 🙂"])
        w.assert_idle()


@pytest.mark.real_loop
async def test_over_sockets_the_vectors_are_the_same():
    async with SimulatedServer(SimulatedProvider()) as server:
        provider = {"name": "p", "kind": "openai", "base_url": server.url, "keys": ["k"], "models": {"e": {}}}
        async with Client({"provider": [provider], "route": {"embed": {"targets": ["p/e"]}}}) as llm:
            plain = await llm.embed("embed", ["a", "b"])
            packed = await llm.embed("embed", ["a", "b"], encoding_format="base64")
    assert right("ab", plain)
    assert right("ab", packed)
