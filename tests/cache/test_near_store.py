"""The store of the semantic cache by itself: what it holds adds up, what has gone stays gone, and bounds hold."""

import asyncio
import random

import pytest
from answers import recording
from executors import InlineExecutor

from resilio.cache.embedding import Encoder
from resilio.cache.embedding.hashing import HashingEmbedder
from resilio.cache.guards import words
from resilio.cache.index import VectorIndex
from resilio.cache.keys import Question
from resilio.cache.owner import Owner, Purge
from resilio.cache.semantic import NOTHING, Place
from resilio.cache.semantic import store as store_module
from resilio.cache.semantic.entry import NearEntry
from resilio.cache.semantic.store import PARTITION, PREPARED, ROUNDS, SPARE_ENDS, SemanticCache
from resilio.config.settings import SemanticCacheSettings

TENANTS = ("acme", "umbrella", "initech")


def cache(*, dimension=32, make_index=None, **settings):
    executor = InlineExecutor()
    loop = asyncio.get_running_loop()
    return SemanticCache(
        SemanticCacheSettings(**{"ttl": 100.0, "ttl_jitter": 0.0, "stale_for": 0.0, **settings}),
        Encoder(HashingEmbedder(dimension)),
        threshold=0.97,
        strict=False,
        make_index=make_index or (lambda: VectorIndex(dimension, "test", executor=executor, exact_limit=30)),
        clock=loop.time,
        rng=random.Random(1),
        executor=executor,
    )


def place(text, tenant="acme"):
    owner = Owner(("organisation", tenant), None, "", {})
    return Place(Question(text, tenant.ljust(20).encode(), True), owner, True, True)


async def find(it, text, tenant="acme", **how):
    return await it.find(place(text, tenant), until=asyncio.get_running_loop().time() + 60, **how)


def assert_adds_up(it):
    """Books, partitions and indexes say the same."""
    entries = it._entries
    assert it._bytes == sum(entry.size for entry in entries.values()) + PARTITION * len(it._partitions)
    assert sum(len(each.entries) for each in it._partitions.values()) == len(entries)
    for digest, partition in it._partitions.items():
        assert partition.entries, "a partition without entries is none"
        for number, entry in partition.entries.items():
            assert entries[number] is entry
            assert entry.partition == digest
            assert entry.indexed == (number in partition.index)
            assert partition.by_text[entry.text] is entry
        assert len(partition.by_text) == len(partition.entries)
        assert set(partition.index.labels()) <= partition.entries.keys()
    assert it._prepared.keys() <= entries.keys()
    assert len(it._ends) <= 2 * len(entries) + SPARE_ENDS + 1


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_in_whatever_order_the_books_add_up_and_nothing_wrong_is_served(seed):
    choose = random.Random(seed)
    it = cache(max_entries=60, max_partitions=2, max_bytes=120_000)
    now = asyncio.get_running_loop().time
    stored, purged = {}, {}
    running = set()
    for _ in range(400):
        tenant = choose.choice(TENANTS)
        text = f"What is the meaning of word {choose.randrange(40)}" + "!" * choose.randrange(2)
        act = choose.choice(("keep", "keep", "keep", "find", "find", "purge", "wait", "turn", "cancel"))
        if act == "keep":
            entry = it.keep(place(text, tenant), recording(text))
            stored[entry.number] = (tenant, now(), entry)
        elif act == "purge" and choose.random() < 0.3:
            it.purge(Purge(tenant=tenant))
            purged[tenant] = now()
        elif act == "wait":
            await asyncio.sleep(choose.choice((0, 5, 40)))
        elif act == "turn":
            await asyncio.sleep(0)
        elif act in ("find", "cancel"):
            looking = asyncio.create_task(find(it, text, tenant))
            running.add(looking)
            looking.add_done_callback(running.discard)
            for _ in range(choose.randrange(4)):
                await asyncio.sleep(0)
            if act == "cancel":
                looking.cancel()
                await asyncio.sleep(0)
                looking.cancel()
                continue
            began = now()
            found = await looking
            if found.entry is not None:
                whose, at, _ = stored[found.entry.number]
                assert whose == tenant, "another's answer"
                assert began - at < 100, "past its time"
                assert found.entry.number in it._entries, "gone"
                assert purged.get(tenant, -1) <= at, "purged"
    await it.settled()
    assert_adds_up(it)
    it.purge(Purge())
    assert (len(it), it._bytes, len(it._partitions)) == (0, 0, 0)
    await it.aclose()
    assert not running


async def test_an_evicted_partition_goes_as_a_whole_and_is_counted():
    it = cache(max_partitions=1)
    for number in range(5):
        it.keep(place(f"word {number}"), recording("a"))
    await it.settled()
    it.keep(place("another", "umbrella"), recording("b"))
    await it.settled()
    assert_adds_up(it)
    stats = it.statistics()
    assert (stats.entries, stats.partitions, stats.evictions) == (1, 1, 5)
    assert (await find(it, "word 1")) == NOTHING
    await it.aclose()


# --- bounds ------------------------------------------------------------------------------------


async def test_what_is_replaced_over_and_over_leaves_nothing_behind():
    it = cache(ttl=1e6)
    for number in range(4 * SPARE_ENDS):
        it.keep(place("the same question"), recording(f"{number}"))
        if not number % 500:
            await it.settled()
    await it.settled()
    assert_adds_up(it)
    await it.aclose()


async def test_nothing_is_noted_for_a_disk_that_is_not_there():
    it = cache(max_partitions=2)
    for number in range(100):
        it.keep(place("question", f"tenant {number}"), recording("a"))
        await it.settled()
    assert it._changed is None
    assert it.changed() == ()
    await it.aclose()


async def test_questions_are_kept_taken_apart_only_so_many_at_a_time_and_no_long_ones(monkeypatch):
    monkeypatch.setattr(store_module, "PREPARED", 5)
    assert PREPARED > 5
    it = cache()
    texts = [f"the meaning of word {number}" for number in range(20)] + ["a long question " * 30]
    for text in texts:
        it.keep(place(text), recording("a"))
    await it.settled()
    for text in texts:
        assert (await find(it, text + "?")).entry is not None
    assert 1 <= len(it._prepared) <= 5
    assert_adds_up(it)
    await it.aclose()


async def test_a_partition_full_of_what_has_expired_is_not_emptied_within_one_look_up(monkeypatch):
    it = cache(ttl=10.0)
    for number in range(20):
        for wording in range(20):
            it.keep(place(f"{number} the question" + "!" * wording), recording("a"))
    await it.settled()
    await asyncio.sleep(11)
    monkeypatch.setattr(store_module, "SWEEP", 0)
    searches = []
    for partition in it._partitions.values():
        nearest = partition.index.search_nowait
        monkeypatch.setattr(
            partition.index, "search_nowait", lambda *asked, n=nearest: searches.append(1) or n(*asked), raising=False
        )
    assert (await find(it, "3 the question?")).entry is None
    assert len(searches) <= ROUNDS
    await it.aclose()


async def test_each_look_up_sweeps_out_some_of_what_has_expired():
    it = cache(ttl=10.0)
    for number in range(20):
        it.keep(place(f"word {number}", "umbrella"), recording("a"))
    await asyncio.sleep(20)
    it.keep(place("question"), recording("a"))
    for number in range(20):
        it.keep(place(f"word {number}", "umbrella"), recording("a"))
    await it.settled()
    await asyncio.sleep(5)
    assert (await find(it, "question!")).entry is not None
    assert it.statistics().expirations == 20
    await it.aclose()


async def test_word_lists_are_read_in_a_thread_before_a_question_needs_them():
    words._known_words.cache_clear()
    words.lists.cache_clear()
    it = cache()
    it.warm_up(model=False)
    await it.settled()
    assert it.encoder.statistics().embedded == 0, "an endpoint is not asked for nothing"
    for read in (words.lists, words._known_words):
        assert read.cache_info().currsize == 1
    await it.aclose()


# --- after the end ------------------------------------------------------------------------------


async def test_a_cache_that_was_closed_keeps_finds_and_audits_nothing_and_starts_no_task():
    it = cache()
    it.keep(place("question"), recording("a"))
    await it.settled()
    await it.aclose()
    assert it.keep(place("another"), recording("a")) is None
    assert await find(it, "question") == NOTHING
    it.audit(None, place("question"), "a", recording("a"))
    assert (len(it), it.statistics().bytes, it.purge(Purge())) == (0, 0, 0)
    assert not it._tasks


# --- what was saved -------------------------------------------------------------------------------


def saved(number, text, tenant="acme", age=0.0):
    now = asyncio.get_running_loop().time()
    where = place(text, tenant)
    return NearEntry(
        number, where.question.partition, text, where.owner, recording(text),
        stored_at=now - age, expires_at=now - age + 100, kept_until=now - age + 100, size=1000,
    )  # fmt: skip


async def test_what_was_loaded_without_vectors_lets_look_ups_and_new_answers_go_first():
    it = cache()
    it.attach(lambda: None)
    digest = place("x").question.partition
    await it.take_in(digest, [saved(number, f"word {number}") for number in range(300)], None)
    it.all_loaded(saves=True)
    assert it._partitions[digest].newest is None, "nobody waits for all of it"
    it.keep(place("a new question"), recording("new"))
    assert (await find(it, "a new question!")).entry.recording.text == "new"
    assert any(not entry.indexed for entry in it._entries.values()), "the others are not all in yet"
    await it.settled()
    assert_adds_up(it)
    assert all(entry.indexed for entry in it._entries.values())
    await it.aclose()


async def test_many_loaded_entries_let_others_have_their_turn():
    it = cache(max_entries=10_000)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    entries = [saved(number, f"word {number}") for number in range(3 * store_module.AT_A_TIME)]
    await it.take_in(place("x").question.partition, entries, None)
    assert turns >= 2
    assert len(it) == len(entries)
    beside.cancel()
    await it.aclose()


async def test_a_purge_while_entries_are_loaded_holds_for_those_still_to_come():
    it = cache()
    it.attach(lambda: None)
    await asyncio.sleep(50)
    it.purge(Purge(tenant="acme"))
    it.purge(Purge(older_than=30.0))
    for number, (tenant, age) in enumerate([("acme", 1.0), ("umbrella", 40.0), ("umbrella", 20.0)]):
        entry = saved(number, f"word {number}", tenant, age)
        await it.take_in(entry.partition, [entry], None)
    it.all_loaded(saves=True)
    assert [entry.number for entry in it._entries.values()] == [2]
    assert place("x").question.partition in it.changed(), "so that its file goes"
    await it.settled()
    await it.aclose()


async def test_a_loaded_index_is_used_as_it_is_and_makes_nothing_to_be_saved():
    executor = InlineExecutor()
    it = cache()
    it.attach(lambda: None)
    entries = [saved(number, f"word {number}") for number in range(5)]
    index = VectorIndex(32, "test", executor=executor)
    await index.add(range(5), await HashingEmbedder(32).embed([entry.text for entry in entries]))
    await it.take_in(entries[0].partition, entries, index)
    assert it._partitions[entries[0].partition].index is index
    assert (it.changed(), it._worker) == ((), None)
    assert_adds_up(it)
    await it.aclose()


async def test_labels_that_are_no_entries_leave_a_loaded_index():
    executor = InlineExecutor()
    it = cache()
    it.attach(lambda: None)
    index = VectorIndex(32, "test", executor=executor)
    await index.add(range(5), await HashingEmbedder(32).embed([f"word {number}" for number in range(5)]))
    await it.take_in(place("x").question.partition, [saved(2, "word 2")], index)
    assert index.labels() == (2,)
    assert_adds_up(it)
    await it.aclose()
