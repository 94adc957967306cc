"""Guaranteed mode through the engine: who is audited, what is served, and what an audit does to entries."""

import asyncio
import contextlib

import pytest
from test_near_calls import ASKED, REWORDED, SEMANTIC, ask, numbered, with_
from world import world

from resilio.cache.semantic import Found
from resilio.config import load_config
from resilio.errors import ConfigError, Exhausted, ResilioError
from resilio.events import CacheThresholdChanged
from resilio.testing.faults import Error, Refusal
from resilio.testing.script import Script

SAME = Script(answer="Plants do it with chlorophyll")


def guaranteed(**more):
    """Few audits prove a loose promise: 43 at 10 % and 80 % confidence."""
    return with_(**{"max_wrong": 0.1, "confidence": 0.8, "audit": 0.2, "ttl": 1e6, **more})


def bound(w, namespace=""):
    return w.llm.status().caches["semantic"].bounds[namespace]


def wordings():
    """The question in one wording after another: to the embedder all the same, to the exact cache none."""
    number = 0
    while True:
        number += 1
        yield ASKED + "!" * number


async def ask_until_open(w, words, most=200, **how):
    for count in range(1, most):
        await ask(w, next(words), **how)
        if bound(w, how.get("cache_namespace", "")).threshold is not None:
            return count
    raise AssertionError("no threshold was ever found")


async def test_nothing_is_served_until_audits_have_proven_a_threshold():
    async with world(a=SAME, cache=guaranteed()) as w:
        words = wordings()
        asked = await ask_until_open(w, words)
        assert w.calls("a") == asked, "each was asked of the model"
        assert asked % 25 == 0
        stats = bound(w)
        assert (stats.audits, stats.disagreements, stats.epoch) == (asked, 0, 1)
        assert stats.bound <= 0.1
        (event,) = [each for each in w.events if isinstance(each, CacheThresholdChanged)]
        assert (event.before, event.after, event.why, event.namespace) == (None, stats.threshold, "evidence", "")
        for _ in range(100):
            await ask(w, next(words))
        audited = bound(w).audits - asked
        assert w.calls("a") == asked + audited, "from then on only audited requests are sent"
        assert 5 <= audited <= 40


async def test_an_answer_that_agrees_is_not_stored_again():
    async with world(a=SAME, cache=guaranteed()) as w:
        await ask_until_open(w, wordings())
        assert w.llm.status().caches["semantic"].entries == 1


async def test_an_entry_whose_answer_disagrees_goes_and_the_fresh_one_takes_its_place():
    async with world(a=numbered(), cache=guaranteed()) as w:
        words = wordings()
        for number in range(1, 6):
            assert (await ask(w, next(words))).text == f"answer {number}"
            (entry,) = w.llm._dispatcher.cached.near.cache._entries.values()
            assert entry.recording.text == f"answer {number}"
        assert bound(w).disagreements == 4
        for _ in range(300):
            assert (await ask(w, next(words))).cached is None, "never proven, never served"


async def test_who_may_not_store_removes_only_what_would_have_been_served():
    shared = guaranteed(audit=1.0, trusted=["feature:seeding"], namespaces={"faq": {"shared": True}})
    async with world(a=SAME, cache=shared) as w:
        how = {"cache_namespace": "faq"}
        await ask(w, ASKED, feature="seeding", **how)
        w.providers["a"].script = Script(answer="Nobody knows")
        await ask(w, REWORDED, user="ann", **how)
        assert bound(w, "faq").disagreements == 1, "it counts"
        assert w.llm.status().caches["semantic"].entries == 1, "nothing is served yet, and nothing goes"
        w.providers["a"].script = SAME
        await ask_until_open(w, wordings(), user="ann", **how)
        w.providers["a"].script = Script(answer="Nobody knows")
        await ask(w, REWORDED, user="ann", **how)
        assert w.llm.status().caches["semantic"].entries == 0


async def test_drift_is_noticed_and_a_new_epoch_begins():
    async with world(a=SAME, cache=guaranteed(audit=1.0)) as w:
        words = wordings()
        await ask_until_open(w, words)
        w.providers["a"].script = numbered()
        for _ in range(200):
            await ask(w, next(words))
            if bound(w).epoch == 2:
                break
        else:
            raise AssertionError("the drift was never noticed")
        assert bound(w).threshold is None
        change = [each for each in w.events if isinstance(each, CacheThresholdChanged)][-1]
        assert (change.after, change.why, change.epoch) == (None, "drift", 2)


async def test_a_stream_is_audited_when_it_was_read_to_its_end():
    async with world(a=numbered(), cache=guaranteed(audit=1.0)) as w:
        await ask(w, ASKED)
        async with w.llm.stream("chat", REWORDED) as left:
            async for _ in left:
                break
        await w.llm._dispatcher.cached.near.cache.settled()
        assert bound(w).audits == 1, "there is no whole answer to compare"
        await ask(w, ASKED, cache="refresh")
        assert bound(w).audits == 1, "who wants a new answer comes to no cache"
        async with w.llm.stream("chat", REWORDED) as stream:
            assert "".join([chunk.text async for chunk in stream]).startswith("answer")
        await w.llm._dispatcher.cached.near.cache.settled()
        assert bound(w).audits == 2


async def test_who_waits_for_an_audited_call_is_no_audit_of_its_own():
    async with world(a=numbered(), cache={**guaranteed(audit=1.0), "exact": {}}) as w:
        await ask(w, ASKED)
        replies = await asyncio.gather(*(w.llm.complete("chat", REWORDED) for _ in range(5)))
        await w.llm._dispatcher.cached.near.cache.settled()
        assert {reply.text for reply in replies} == {"answer 2"}
        assert (bound(w).audits, bound(w).disagreements) == (2, 1)


async def test_namespaces_have_bounds_of_their_own():
    async with world(a=SAME, cache=guaranteed()) as w:
        await ask_until_open(w, wordings(), cache_namespace="open")
        await ask(w, ASKED, cache_namespace="closed")
        assert bound(w, "open").threshold is not None
        assert bound(w, "closed").threshold is None
        assert (await ask(w, REWORDED, cache_namespace="closed")).cached is None


async def test_a_failed_call_and_a_failed_comparison_count_for_nothing():
    async with world(a=SAME, cache=guaranteed()) as w:
        await ask(w, ASKED)
        assert bound(w).audits == 1
        w.providers["a"].script = Script.of(Error(status=503))
        with pytest.raises(Exhausted):
            await ask(w, REWORDED)
        assert bound(w).audits == 1
        w.providers["a"].script = SAME
        cache = w.llm._dispatcher.cached.near.cache

        async def broken(question, kept, fresh):
            raise RuntimeError("no judge today")

        cache.guarantee._agree = broken
        assert (await ask(w, REWORDED)).text
        assert (bound(w).audits, cache.statistics().failures) == (1, 1)


@pytest.mark.parametrize("how", ["refusal", "content_filter"])
async def test_an_answer_that_may_not_be_kept_is_compared_all_the_same(how):
    async with world(a=SAME, cache=guaranteed(audit=1.0)) as w:
        await ask(w, ASKED)
        w.providers["a"].script = Script.of(Refusal(how))
        with contextlib.suppress(ResilioError):
            assert (await ask(w, REWORDED)).cached is None
        assert (bound(w).audits, bound(w).disagreements) == (2, 1), "else what models refuse would never be counted"
        assert w.llm.status().caches["semantic"].entries == 0, "it disagreed, and the fresh one is not kept"


async def test_an_audit_under_way_when_the_mode_is_turned_off_keeps_its_answer():
    async with world(a=numbered(), cache=guaranteed(audit=1.0)) as w:
        await ask(w, ASKED)
        asking = asyncio.create_task(w.llm.complete("chat", REWORDED))
        await asyncio.sleep(0.5)
        await w.llm.reload({**_document(w), "cache": with_(ttl=1e6)})
        assert w.llm.status().caches["semantic"].bounds == {}
        assert (await asking).text == "answer 2"
        await w.llm._dispatcher.cached.near.cache.settled()
        assert (await ask(w, REWORDED)).text == "answer 2", "kept like any other"


async def test_a_judge_decides_whether_answers_agree_and_is_not_cached():
    judged = []

    def answer(body):
        text = body["messages"][-1]["content"]
        if "<question>" not in text:
            return f"answer {len(judged)}"
        judged.append(text)
        return "SAME"

    routes = {"judge": {"targets": ["a/m"]}}
    async with world(a=Script(answer=answer), cache=guaranteed(judge="judge"), routes=routes) as w:
        await ask(w, ASKED)
        await ask(w, REWORDED)
        await ask(w, REWORDED + "?")
        assert len(judged) == 2
        assert all("answer 0" in text and "light of the sun" in text for text in judged)
        assert bound(w).disagreements == 0


async def test_an_audit_is_counted_though_its_judge_fails():
    def answer(body):
        return "answer" if "<question>" not in body["messages"][-1]["content"] else ""

    routes = {"judge": {"targets": ["b/m"]}}
    judge = Script.of(Refusal("prompt"))
    async with world(a=Script(answer=answer), b=judge, cache=guaranteed(judge="judge"), routes=routes) as w:
        await ask(w, ASKED)
        await ask(w, REWORDED)
        assert w.calls("b") > 0
        assert (bound(w).audits, bound(w).disagreements) == (2, 0)


async def test_with_the_provider_down_only_what_is_proven_is_served():
    async with world(a=SAME, cache=guaranteed(), route={"ladder": ["full", "cache"]}) as w:
        await ask(w, ASKED)
        w.providers["a"].script = Script.of(Error(status=503))
        with pytest.raises(Exhausted):
            await ask(w, REWORDED)
        w.providers["a"].script = SAME
        await asyncio.sleep(3600)
        await ask_until_open(w, wordings())
        w.providers["a"].script = Script.of(Error(status=503))
        for _ in range(20):
            assert (await ask(w, REWORDED)).cached.kind == "near"


async def test_what_was_learned_outlives_the_process_and_a_reload_of_other_terms(tmp_path):
    settings = guaranteed(path=str(tmp_path))
    async with world(a=SAME, cache=settings) as w:
        await ask_until_open(w, wordings())
        audits = bound(w).audits
    async with world(a=SAME, cache=settings) as w:
        for _ in range(20):
            await asyncio.sleep(0)
        assert (bound(w).audits, bound(w).threshold is None) == (audits, False)
        strict = {"semantic": {**settings["semantic"], "max_wrong": 0.001}}
        await w.llm.reload(load_config({**_document(w), "cache": strict}))
        assert w.llm.status().caches["semantic"].bounds[""].threshold is None, "too little evidence for that"
        assert bound(w).audits == audits


async def test_what_was_saved_is_not_lost_to_requests_that_come_while_it_is_loaded(tmp_path):
    settings = guaranteed(path=str(tmp_path))
    async with world(a=SAME, cache=settings) as w:
        await ask_until_open(w, wordings())
        audits = bound(w).audits
    async with world(a=SAME, cache=settings) as w:
        guarantee = w.llm._dispatcher.cached.near.cache.guarantee
        audit = guarantee.opened("", Found(None, -1.0))
        assert await guarantee.decide(audit, ASKED, "answer"), "over before the file was read"
        for _ in range(20):
            await asyncio.sleep(0)
        assert (bound(w).audits, bound(w).threshold is None) == (audits + 1, False)


async def test_what_an_audit_finds_wrong_while_the_client_closes_does_not_come_back_from_disk(tmp_path):
    settings = guaranteed(path=str(tmp_path))
    async with world(a=numbered(), cache=settings) as w:
        await ask(w, ASKED)
        await asyncio.sleep(61)

        async def slow(question, kept, fresh):
            await asyncio.sleep(1)
            return False

        w.llm._dispatcher.cached.near.cache.guarantee._agree = slow
        await w.llm.complete("chat", REWORDED)
    async with world(a=numbered(), cache=settings) as w:
        for _ in range(20):
            await asyncio.sleep(0)
        kept = w.llm._dispatcher.cached.near.cache._entries.values()
        assert [entry.text for entry in kept] != [], "something was loaded"
        assert ASKED not in {entry.text for entry in kept}
        assert (bound(w).audits, bound(w).disagreements) == (2, 1)


async def test_what_was_served_and_is_found_wrong_leaves_the_disk_at_once(tmp_path):
    async with world(a=SAME, cache=guaranteed(path=str(tmp_path), audit=1.0)) as w:
        words = wordings()
        await ask_until_open(w, words)
        await asyncio.sleep(61)
        (saved,) = tmp_path.glob("*.answers")
        assert "chlorophyll" in saved.read_text()
        w.providers["a"].script = Script(answer="Moss does it too")
        began = w.now
        await w.llm.complete("chat", next(words))
        for _ in range(20):
            await asyncio.sleep(0)
        assert w.now - began < 60, "not yet time for the next saving"
        assert "chlorophyll" not in saved.read_text()


@pytest.mark.parametrize("saved", [False, True])
async def test_a_comparison_that_never_ends_holds_up_no_closing(tmp_path, saved):
    async with world(a=numbered(), cache=guaranteed(**({"path": str(tmp_path)} if saved else {}))) as w:
        await ask(w, ASKED)
        cache, started = w.llm._dispatcher.cached.near.cache, asyncio.Event()

        async def never(question, kept, fresh):
            started.set()
            await asyncio.Event().wait()

        cache.guarantee._agree = never
        await w.llm.complete("chat", REWORDED)
        await started.wait()
        began = w.now
    assert w.now - began <= 6
    assert not cache._tasks
    assert not cache._audits


async def test_an_audit_under_way_when_other_guards_come_into_force_is_not_counted():
    async with world(a=numbered(), cache=guaranteed(profile="default")) as w:
        await ask(w, ASKED)
        asking = asyncio.create_task(w.llm.complete("chat", REWORDED))
        await asyncio.sleep(0.5)
        await w.llm.reload({**_document(w), "cache": guaranteed()})
        assert w.llm.status().caches["semantic"].bounds == {}, "the other guards hold from now on"
        assert (await asking).cached is None
        await w.llm._dispatcher.cached.near.cache.settled()
        assert bound(w).audits == 0
        await ask(w, REWORDED + "?")
        assert (bound(w).audits, bound(w).epoch) == (1, 1)


def _document(w):
    provider = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["sk-test"], "models": {"m": {}}}
    return {"provider": [provider], "route": {"chat": {"targets": ["a/m"]}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"max_wrong": 0.02, "threshold": 0.98}, "audits find the threshold"),
        ({"judge": "chat"}, "set max_wrong too"),
        ({"max_wrong": 0.02, "judge": "nobody"}, "no route is called .nobody"),
        ({"max_wrong": 0}, "more than 0"),
        ({"max_wrong": float("nan")}, "finite"),
        ({"max_wrong": 0.02, "audit": 0}, "more than 0"),
    ],
)
def test_terms_that_make_no_sense_are_refused(more, said):
    provider = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}
    with pytest.raises(ConfigError, match=said):
        load_config({
            "provider": [provider], "route": {"chat": {"targets": ["a/m"]}},
            "cache": {"semantic": {**SEMANTIC, **more}},
        })  # fmt: skip
