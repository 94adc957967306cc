"""Calls through the semantic cache: who is served by meaning, what is never stored, and that no call fails for it."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from world import world

from resilio.errors import ConfigError, Exhausted
from resilio.events import CallSettled
from resilio.models import Level
from resilio.testing.faults import Cut, Error, Refusal
from resilio.testing.latency import Fixed
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.script import Script

# To the hashing embedder, which knows words and nothing of their order, these are one question.
ASKED = "Please explain how plants turn the light of the sun into sugar"
REWORDED = "Please, explain: how plants turn the light of the sun into sugar?"
UNLIKE = "Name three colours"

SEMANTIC = {"embedder": "hashing", "profile": "safety", "ttl": 100, "ttl_jitter": 0, "stale_for": 50}
NEAR = {"semantic": SEMANTIC}
PRICED = {"price": {"input": 1000.0, "output": 1000.0}}


def with_(**more):
    return {"semantic": {**SEMANTIC, **more}}


def numbered():
    """A provider whose answers can be told apart."""
    count = 0

    def answer(body):
        nonlocal count
        count += 1
        return f"answer {count}"

    return Script(answer=answer, first_token=Fixed(1.0))


async def settled(w):
    """All that is kept has its place."""
    await w.llm._dispatcher.cached.near.cache.settled()


async def ask(w, text, **how):
    reply = await w.llm.complete("chat", text, **how)
    await settled(w)
    return reply


# --- a hit -------------------------------------------------------------------------------------


async def test_a_question_in_other_words_is_answered_from_the_cache_and_says_so():
    async with world(a=numbered(), cache=NEAR, model=PRICED) as w:
        first = await ask(w, ASKED)
        await asyncio.sleep(7)
        began = w.now
        second = await ask(w, REWORDED)
        assert w.now == began
        assert w.calls("a") == 1
        assert (second.text, second.level, second.cost_usd, second.attempts) == (first.text, Level.CACHED, 0.0, ())
        hit = second.cached
        assert (hit.kind, hit.age, hit.saved_usd, hit.passed_over) == ("near", 7.0, first.cost_usd, ())
        assert hit.similarity == pytest.approx(1.0)
        assert (await ask(w, UNLIKE)).text == "answer 2"
        event = [each for each in w.events if isinstance(each, CallSettled)][1]
        assert (event.cached, event.usage.total_tokens, event.final) == (hit, 0, "complete")
        stats = w.llm.status().caches["semantic"]
        assert (stats.entries, stats.hits, stats.misses, stats.stored, stats.partitions) == (2, 1, 2, 2, 1)
        assert stats.saved_usd == first.cost_usd
        w.assert_idle()


async def test_a_stream_is_answered_by_meaning_and_replayed_chunk_by_chunk():
    async with world(a=numbered(), cache=NEAR) as w:
        async with w.llm.stream("chat", ASKED) as stream:
            first = [chunk.text async for chunk in stream]
        await settled(w)
        async with w.llm.stream("chat", REWORDED) as stream:
            assert [chunk.text async for chunk in stream] == first
        assert (stream.reply.cached.kind, stream.reply.complete, w.calls("a")) == ("near", True, 1)
        assert (await ask(w, REWORDED)).text == "".join(first), "whole answers and streams share entries"


async def test_a_stream_that_is_left_is_not_stored():
    async with world(a=numbered(), cache=NEAR) as w:
        async with w.llm.stream("chat", ASKED) as stream:
            async for _ in stream:
                break
        await settled(w)
        await ask(w, REWORDED)
        assert w.calls("a") == 2


async def test_with_both_caches_the_exact_one_answers_what_is_the_same():
    async with world(a=numbered(), cache={**NEAR, "exact": {"ttl": 100}}) as w:
        await ask(w, ASKED)
        assert (await ask(w, ASKED)).cached.kind == "exact"
        assert (await ask(w, REWORDED)).cached.kind == "near"
        assert w.calls("a") == 1


async def test_the_caller_may_look_anew_or_not_at_all():
    async with world(a=numbered(), cache=NEAR) as w:
        await ask(w, ASKED)
        assert (await ask(w, REWORDED, cache="skip")).text == "answer 2"
        assert (await ask(w, REWORDED)).text == "answer 1"
        assert (await ask(w, REWORDED, cache="refresh")).text == "answer 3"
        assert (await ask(w, REWORDED)).text == "answer 3", "the same words are nearer than others"
        await asyncio.sleep(10)
        assert (await ask(w, ASKED, cache_ttl=10)).text == "answer 4", "what is kept is too old for this caller"
        assert (await ask(w, REWORDED, cache_ttl=5)).text == "answer 4"


async def test_a_route_that_skips_the_cache_has_no_part_in_it():
    async with world(a=numbered(), cache=NEAR, route={"cache": "skip"}) as w:
        await ask(w, ASKED)
        await ask(w, REWORDED)
        assert (w.calls("a"), w.llm.status().caches["semantic"].entries) == (2, 0)


async def test_guards_keep_apart_what_looks_alike_and_tell_trusted_callers_why():
    async with world(a=numbered(), cache=NEAR) as w:
        await ask(w, "Please give me directions for the train from Berlin to Munich")
        await ask(w, "Please give me directions for the train from Munich to Berlin")
        assert w.calls("a") == 2
        assert w.llm.status().caches["semantic"].guarded == 1
        hit = (await ask(w, "Please, give me directions for the train from Berlin to Munich!")).cached
        assert hit.kind == "near"


# --- what is kept apart ------------------------------------------------------------------------


async def test_what_one_user_stored_is_never_served_to_another():
    async with world(a=numbered(), cache=NEAR) as w:
        await ask(w, ASKED, user="mallory")
        for identity in ({"user": "ann"}, {}, {"user": "mallory", "organisation": "acme"}, {"organisation": "mallory"}):
            assert (await ask(w, REWORDED, **identity)).cached is None
        assert (await ask(w, REWORDED, user="mallory")).cached.kind == "near"


async def test_a_shared_namespace_serves_all_and_is_written_by_trusted_principals_alone():
    shared = with_(namespaces={"faq": {"shared": True}}, trusted=["user:editor"])
    async with world(a=numbered(), cache=shared) as w:
        faq = {"cache_namespace": "faq"}
        assert (await ask(w, ASKED, user="mallory", **faq)).text == "answer 1"
        assert (await ask(w, REWORDED, user="mallory", **faq)).text == "answer 2", "not even to herself"
        assert (await ask(w, ASKED, **faq)).text == "answer 3"
        assert (await ask(w, ASKED, user="editor", **faq)).text == "answer 4"
        for user in ("ann", "mallory", None):
            reply = await ask(w, REWORDED, user=user, **faq)
            assert (reply.text, reply.cached.similarity, reply.cached.passed_over) == ("answer 4", None, ())
        assert (await ask(w, REWORDED, user="editor", **faq)).cached.similarity == pytest.approx(1.0)
        assert (await ask(w, REWORDED, user="ann")).cached is None, "outside the namespace nothing is shared"
        assert (await ask(w, REWORDED, user="ann", organisation="acme", **faq)).cached is None, "nor between tenants"


async def test_another_history_is_another_question():
    async with world(a=numbered(), cache=NEAR) as w:

        def talk(answer, last):
            return [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer},
                    {"role": "user", "content": last}]  # fmt: skip

        await ask(w, talk("Hello.", ASKED))
        assert (await ask(w, talk("Hello!", REWORDED))).cached is None
        assert (await ask(w, REWORDED)).cached is None
        assert (await ask(w, talk("Hello.", REWORDED))).cached.kind == "near"


# --- what is never stored ----------------------------------------------------------------------


TOOL = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("script", "wire"),
    [
        (numbered(), {"max_tokens": 1}),
        (Script.of(Refusal()), {}),
        (Script.of(Refusal("refusal")), {}),
        (Script(answer=lambda body: TOOL), {}),
        (Script(answer=""), {}),
    ],
    ids=["cut", "filtered", "refused", "tool call", "empty"],
)
async def test_what_is_not_a_whole_plain_answer_is_not_stored(script, wire):
    async with world(a=script, cache=NEAR) as w:
        for _ in range(2):
            await asyncio.gather(ask(w, ASKED, **wire), return_exceptions=True)
        assert (w.calls("a"), w.llm.status().caches["semantic"].entries) == (2, 0)


async def test_a_partial_answer_is_not_stored():
    broken = Script.of(Cut(after=2, clean=True))
    async with world(a=broken, cache=NEAR, route={"on_break": "partial"}) as w:
        async with w.llm.stream("chat", ASKED) as stream:
            async for _ in stream:
                pass
        await settled(w)
        assert not stream.reply.complete
        assert w.llm.status().caches["semantic"].entries == 0


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("What is the weather like on the plants in Kew Gardens?", {}),
        ("Please explain where my plants are", {}),
        (ASKED, {"temperature": 0.7}),
        (ASKED, {"cache_answers": 3}),
    ],
)
async def test_what_would_not_hold_later_or_for_others_is_not_stored(text, how):
    async with world(a=numbered(), cache=NEAR) as w:
        await ask(w, text, **how)
        assert w.llm.status().caches["semantic"].entries == 0


async def test_what_is_longer_than_allowed_is_not_stored():
    async with world(a=Script(answer="word " * 30), cache=with_(max_tokens=40)) as w:
        await ask(w, "Name plants")
        assert w.llm.status().caches["semantic"].entries == 1
        await ask(w, "Name more plants, " + "and then some " * 8)
        assert w.llm.status().caches["semantic"].entries == 1


# --- time, and the ladder ----------------------------------------------------------------------


async def test_an_answer_is_served_for_its_time_and_past_it_when_nobody_else_answers():
    async with world(a=numbered(), cache=NEAR, route={"ladder": ["full", "cache"]}) as w:
        await ask(w, ASKED)
        await asyncio.sleep(99.5)
        assert (await ask(w, REWORDED)).text == "answer 1"
        w.providers["a"].script = Script.of(Error(status=503))
        await asyncio.sleep(0.6)
        reply = await ask(w, REWORDED)
        assert (reply.text, reply.cached.kind, reply.level) == ("answer 1", "stale", Level.CACHED)
        assert reply.reasons[0].startswith("full: ")
        await asyncio.sleep(60)
        with pytest.raises(Exhausted):
            await ask(w, REWORDED)
        stats = w.llm.status().caches["semantic"]
        assert (stats.entries, stats.expirations, stats.stale) == (0, 1, 1)


async def test_entries_are_purged_by_owner_tag_namespace_and_age():
    async with world(a=numbered(), cache={**NEAR, "exact": {}}) as w:
        await ask(w, ASKED, organisation="acme", user="ann", tags={"team": "web"})
        await asyncio.sleep(10)
        await ask(w, ASKED, organisation="acme", user="bob")
        await ask(w, ASKED, organisation="umbrella", cache_namespace="v2")
        await ask(w, ASKED)
        purge = w.llm.purge_cache
        assert purge(user="carl") == 0
        assert purge(tags={"team": "web"}) == 2, "the exact entry and the near one"
        assert (await ask(w, REWORDED, organisation="acme", user="ann")).cached is None
        assert purge(older_than=5.0) == 0
        assert purge(namespace="v2") == 2
        assert purge(tenant="default", namespace="") == 2
        assert purge(tenant="acme") == 2, "bob was served ann's exact answer, so there was none of his own"
        assert purge() == 0
        assert w.llm.status().caches["semantic"].entries == w.llm.status().caches["exact"].entries == 0


# --- nothing of it may cost a call -------------------------------------------------------------


class Faulty:
    """An embedder that fails, or never answers."""

    id, dimension = "faulty", 4

    def __init__(self, fault):
        self.fault = fault

    async def embed(self, texts):
        if self.fault is None:
            await asyncio.sleep(1e9)
        raise self.fault

    def fits(self, text):
        return True

    async def aclose(self):
        pass


@pytest.mark.parametrize("fault", [RuntimeError("no"), None], ids=["fails", "hangs"])
async def test_an_embedder_that_does_not_answer_costs_a_bounded_time_and_no_call(fault):
    async with world(a=numbered(), cache=with_(timeout=0.5)) as w:
        await ask(w, ASKED)
        cache = w.llm._dispatcher.cached.near.cache
        cache.encoder.embedder.embed = Faulty(fault).embed
        began = w.now
        reply = await w.llm.complete("chat", REWORDED)
        assert reply.text == "answer 2"
        assert w.now - began == pytest.approx(1.0 if fault else 1.5)
        stats = w.llm.status().caches["semantic"]
        assert stats.failures >= 1
        assert stats.last_failure


async def test_a_look_up_leaves_a_call_the_time_to_be_answered():
    async with world(a=numbered(), cache=with_(timeout=5.0)) as w:
        await ask(w, ASKED)
        w.llm._dispatcher.cached.near.cache.encoder.embedder.embed = Faulty(None).embed
        began = w.now
        reply = await w.llm.complete("chat", REWORDED, deadline=3.0)
        assert (reply.text, reply.complete) == ("answer 2", True)
        assert w.now - began == pytest.approx(2.5), "half of it, and then the model's second"


async def test_a_configuration_that_the_cache_cannot_go_by_after_all_fails_no_call(caplog, monkeypatch):
    async with world(a=numbered(), cache=NEAR) as w:
        await ask(w, ASKED)
        near, given = w.llm._dispatcher.cached.near, []

        def configure(settings, configure=near.configure):
            given.append(settings)
            if settings is not None:
                raise ConfigError(["a file has gone since it was checked"])
            configure(settings)

        monkeypatch.setattr(near, "configure", configure)
        await w.llm.reload({**w.config, "cache": with_(ttl=50)})
        assert (await w.llm.complete("chat", REWORDED)).text == "answer 2"
        assert (await w.llm.complete("chat", REWORDED)).text == "answer 3"
        assert (near.cache, len(given)) == (None, 2)
        assert "off until the next configuration" in caplog.text


def test_a_call_that_is_cancelled_anywhere_leaves_nothing_behind():
    @asynccontextmanager
    async def scenario():
        async with world(a=numbered(), cache={**NEAR, "exact": {}}) as w:
            await ask(w, UNLIKE)

            async def call():
                return await w.llm.complete("chat", ASKED)

            yield call
            await settled(w)
            assert w.llm._dispatcher.cached.flights == 0
            w.assert_idle()
            assert (await ask(w, REWORDED)).text

    assert cancel_everywhere(scenario) >= 2


async def test_a_question_that_cannot_be_embedded_whole_costs_no_other_its_place():
    async with world(a=numbered(), cache=NEAR) as w:
        await ask(w, UNLIKE)
        embedder = w.llm._dispatcher.cached.near.cache.encoder.embedder
        embedder.fits = lambda text: len(text) < 100
        await asyncio.gather(*(w.llm.complete("chat", text) for text in (ASKED, ASKED * 3)))
        await settled(w)
        assert w.llm.status().caches["semantic"].entries == 2
        assert (await ask(w, REWORDED)).cached.kind == "near"
        assert (await ask(w, REWORDED * 3)).cached is None
