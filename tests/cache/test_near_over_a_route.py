"""The semantic cache with vectors of an endpoint: embedded over a route, in nobody's scope, never of two models."""

import asyncio

from world import world

from resilio.events import CallSettled
from resilio.testing import Script, faults
from resilio.testing.latency import Fixed

SEMANTIC = {"embedder": "route:embed", "embedder_dimension": 64, "profile": "safety", "ttl": 1000}
NEAR = {"semantic": SEMANTIC}
ROUTES = {"chat": {"targets": ["a/m"]}, "embed": {"targets": ["vectors/m"]}}
GOOD = Script(answer="fine", first_token=Fixed(0.1))


def embedding(w):
    return [event for event in w.events if isinstance(event, CallSettled) and event.route == "embed"]


async def settled(w):
    await w.llm._dispatcher.cached.near.cache.settled()


async def test_a_question_is_embedded_over_the_route_and_its_answer_found_again():
    async with world(a=GOOD, vectors=GOOD, cache=NEAR, routes=ROUTES) as w:
        await w.llm.complete("chat", "How do plants make sugar?")
        await settled(w)
        again = await w.llm.complete("chat", "How do plants make sugar?")
        assert again.cached.kind == "near"
        assert (w.calls("a"), w.calls("vectors")) == (1, 1)
        w.assert_idle()


async def test_embedding_belongs_to_no_callers_scope():
    price = {"a": {"models": {"m": {"price": {"input": 1, "output": 1}, "max_output_tokens": 10}}}}
    async with world(a=GOOD, vectors=GOOD, cache=NEAR, routes=ROUTES, only=price) as w:
        with w.llm.scope(user="alice", max_cost_usd=1.0):  # the endpoint has no price, so it could not pay from this
            await w.llm.complete("chat", "How do plants make sugar?")
        await settled(w)
        (event,) = embedding(w)
        assert event.final == "complete"
        assert (event.identity.user, event.identity.feature) == (None, "semantic cache")


async def test_an_endpoint_that_is_down_costs_an_answer_from_the_cache_and_never_a_call():
    down = Script().with_rule(faults.Error("server_is_overloaded"))
    async with world(a=GOOD, vectors=down, cache=NEAR, routes=ROUTES) as w:
        for _ in range(2):
            assert (await w.llm.complete("chat", "How do plants make sugar?")).text == "fine"
            await settled(w)
        assert w.calls("a") == 2
        w.assert_idle()


async def test_another_model_behind_the_route_is_another_cache():
    async with world(a=GOOD, vectors=GOOD, cache=NEAR, routes=ROUTES) as w:
        await w.llm.complete("chat", "How do plants make sugar?")
        await settled(w)
        before = w.llm._dispatcher.cached.near.cache
        config = w.config
        config["provider"][1]["models"]["m"] = {"embedding_space": "another"}
        await w.llm.reload(config)
        again = await w.llm.complete("chat", "How do plants make sugar?")
        await settled(w)
        assert again.cached is None
        assert w.llm._dispatcher.cached.near.cache is not before
        assert before.encoder.embedder.id == "m-64"
        assert w.llm._dispatcher.cached.near.cache.encoder.embedder.id == "another-64"


async def test_vectors_of_another_length_are_another_cache():
    async with world(a=GOOD, vectors=GOOD, cache=NEAR, routes=ROUTES) as w:
        await w.llm.complete("chat", "How do plants make sugar?")
        await settled(w)
        await w.llm.reload({**w.config, "cache": {"semantic": {**SEMANTIC, "embedder_dimension": 32}}})
        w.llm.status()
        assert w.llm._dispatcher.cached.near.cache.encoder.embedder.dimension == 32


async def test_many_questions_at_once_share_requests_for_vectors():
    async with world(a=GOOD, vectors=GOOD, cache=NEAR, routes=ROUTES) as w:
        questions = [f"What is the meaning of word {word}?" for word in "abcdefghij"]
        await asyncio.gather(*(w.llm.complete("chat", question) for question in questions))
        await settled(w)
        assert w.calls("vectors") <= 2
        w.assert_idle()
