"""The store: every answer within its time and its limits, and what goes first when room is needed."""

import random

import pytest
from answers import recording
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilio.cache import ExactCache
from resilio.config import ExactCacheSettings

A, B, C = b"a" * 20, b"b" * 20, b"c" * 20


def cache(**changes):
    settings = {"ttl": 100.0, "ttl_jitter": 0.0, "stale_for": 50.0, **changes}
    return ExactCache(ExactCacheSettings(**settings), random.Random(1))


def text(entry):
    return None if entry is None else entry.recording.text


# --- time --------------------------------------------------------------------------------------


def test_an_answer_is_served_until_its_ttl_is_over_and_not_at_that_instant():
    store = cache()
    store.put(A, recording("x"), 1000.0)
    assert text(store.get(A, 1099.999)) == "x"
    assert store.get(A, 1100.0) is None


def test_a_stale_answer_is_served_until_its_limit_and_not_at_that_instant():
    store = cache()
    store.put(A, recording("x"), 1000.0)
    assert text(store.get_stale(A, 1100.0)) == "x"
    assert text(store.get_stale(A, 1149.999)) == "x"
    assert store.get_stale(A, 1150.0) is None


def test_jitter_only_shortens_and_not_beyond_its_share():
    store = cache(ttl_jitter=0.2)
    lasts = [store.put(bytes([n]) * 20, recording(), 1000.0).expires_at - 1000.0 for n in range(200)]
    assert 80.0 <= min(lasts) < 83.0
    assert 97.0 < max(lasts) <= 100.0


def test_a_ttl_of_the_call_holds_for_what_it_stores_and_for_what_it_takes():
    store = cache()
    store.put(A, recording("x"), 1000.0, ttl=10.0)
    assert text(store.get(A, 1009.0)) == "x"
    assert store.get(A, 1010.0) is None
    store.put(A, recording("y"), 1000.0)
    assert text(store.get(A, 1009.0, max_age=10.0)) == "y"
    assert store.get(A, 1010.0, max_age=10.0) is None
    assert text(store.get(A, 1010.0)) == "y"


def test_who_wants_nothing_old_gets_nothing_staler_than_that_allows():
    store = cache()
    store.put(A, recording("x"), 1000.0)
    assert text(store.get_stale(A, 1059.0, max_age=10.0)) == "x"
    assert store.get_stale(A, 1060.0, max_age=10.0) is None


def test_a_shorter_stale_time_of_a_new_configuration_holds_at_once_and_a_longer_one_does_not_raise_the_dead():
    store = cache()
    store.put(A, recording("x"), 1000.0)
    store.configure(ExactCacheSettings(ttl=100, ttl_jitter=0, stale_for=5))
    assert store.get_stale(A, 1105.0) is None
    store.configure(ExactCacheSettings(ttl=100, ttl_jitter=0, stale_for=500))
    assert store.get_stale(A, 1150.0) is None


def test_what_is_over_is_swept_out_of_memory_some_at_a_time():
    store = cache(max_entries=5000)
    for number in range(500):
        store.put(number.to_bytes(20, "big"), recording(), 1000.0)
    assert store.statistics().entries == 500
    seen = []
    for number in range(4):
        store.put(bytes([number + 100]) * 20, recording(), 1170.0)
        seen.append(store.statistics().expirations)
    assert seen == [200, 400, 500, 500]
    assert store.statistics().bytes == 4 * recording().size


def test_an_entry_that_was_refreshed_is_not_swept_out_with_the_old_one():
    store = cache()
    store.put(A, recording("old"), 1000.0)
    store.put(A, recording("new"), 1090.0)
    store.put(B, recording(), 1185.0)
    assert text(store.get(A, 1185.0)) == "new"
    assert store.statistics().expirations == 0


# --- limits and value --------------------------------------------------------------------------


def test_the_cheapest_goes_first():
    store = cache(max_entries=2)
    store.put(A, recording("a", cost_usd=0.03), 1000.0)
    store.put(B, recording("b", cost_usd=0.01), 1000.0)
    store.put(C, recording("c", cost_usd=0.02), 1000.0)
    assert [store.get(key, 1001.0) is not None for key in (A, B, C)] == [True, False, True]


def test_of_two_of_one_price_the_larger_goes_first():
    store = cache(max_entries=2)
    store.put(A, recording("a"), 1000.0)
    store.put(B, recording("b" * 50_000), 1000.0)
    store.put(C, recording("c"), 1000.0)
    assert store.get(B, 1001.0) is None


def test_what_was_not_asked_for_goes_in_the_end_whatever_it_cost():
    store = cache(max_entries=2)
    store.put(A, recording("dear", cost_usd=0.05), 1000.0)
    for number in range(20):
        store.put(bytes([number]) * 20, recording("cheap", cost_usd=0.01), 1000.0)
        if A not in store._entries:
            break
    assert 3 < number < 10


def test_what_is_asked_for_again_and_again_stays():
    store = cache(max_entries=2)
    store.put(A, recording(cost_usd=0.01), 1000.0)
    for number in range(200):
        assert store.get(A, 1000.0) is not None
        store.put(bytes([number]) * 20, recording(cost_usd=0.01), 1000.0)


def test_an_answer_of_unknown_price_is_worth_its_tokens():
    store = cache(max_entries=1)
    assert store.put(A, recording(cost_usd=None), 1000.0).density > 0


def test_one_too_large_for_all_of_it_is_given_back_and_not_kept():
    store = cache(max_bytes=3000)
    store.put(A, recording("a"), 1000.0)
    assert text(store.put(B, recording("b" * 9000), 1000.0)) == "b" * 9000
    assert store.get(B, 1000.0) is None
    assert text(store.get(A, 1000.0)) == "a"


def test_an_answer_too_large_takes_the_place_of_none_but_its_own_older_one():
    store = cache(max_bytes=3000)
    store.put(A, recording("old"), 1000.0)
    store.put(A, recording("b" * 9000), 1000.0)
    assert store.get(A, 1000.0) is None
    assert store.statistics().bytes == 0


def test_lower_limits_hold_at_once():
    store = cache()
    for number in range(10):
        store.put(bytes([number]) * 20, recording(), 1000.0)
    store.configure(ExactCacheSettings(max_entries=3))
    assert store.statistics().entries == 3
    store.configure(ExactCacheSettings(max_bytes=2 * recording().size))
    assert (store.statistics().entries, store.statistics().evictions) == (2, 8)


PUTS = st.tuples(st.integers(0, 30), st.integers(1, 40), st.integers(0, 3000), st.integers(0, 3))


@given(st.lists(PUTS, max_size=120))
@settings(max_examples=60)
def test_what_goes_is_never_worth_more_than_anything_that_stays(puts):
    store = cache(max_entries=8)
    for number, cents, length, hits in puts:
        key = bytes([number]) * 20
        before = {each: entry.priority for each, entry in store._entries.items() if each != key}
        store.put(key, recording("x" * length, cost_usd=cents / 100), 1000.0)
        gone = [priority for each, priority in before.items() if each not in store._entries]
        stay = [priority for each, priority in before.items() if each in store._entries]
        assert not gone or not stay or max(gone) <= min(stay)
        for _ in range(hits):
            store.get(key, 1000.0)


def test_among_a_thousand_that_were_hit_the_one_hit_least_goes():
    store = cache(max_entries=1000)
    for number in range(1000):
        store.put(number.to_bytes(20, "big"), recording(cost_usd=0.01), 1000.0)
    for number in range(1000):
        for _ in range(1 if number == 17 else 5):
            store.get(number.to_bytes(20, "big"), 1000.0)
    store.put(A, recording(), 1000.0)
    assert store.statistics().evictions == 1
    assert (17).to_bytes(20, "big") not in store._entries


def test_sharing_an_answer_that_was_refreshed_meanwhile_does_not_bring_the_old_one_back():
    store = cache(max_entries=1)
    old, new = store.put(A, recording("old"), 1000.0), store.put(A, recording("new"), 1000.0)
    store.share(old)
    assert store.get(A, 1000.0) is new
    store.put(B, recording(cost_usd=9.0), 1000.0)
    assert (store.statistics().entries, text(store.get(B, 1000.0))) == (1, "hello")


def test_an_answer_that_went_while_somebody_waited_for_it_can_still_be_shared():
    store = cache(max_entries=1)
    entry = store.put(A, recording(), 1000.0)
    store.put(B, recording(), 1000.0)
    store.share(entry)
    assert store.statistics().shared == 1
    assert store.statistics().entries == 1
    assert store.get(A, 1000.0) is None


# --- figures -----------------------------------------------------------------------------------


def test_statistics_count_what_happened():
    store = cache(max_entries=2)
    store.get(A, 1000.0)
    entry = store.put(A, recording(cost_usd=0.5), 1000.0)
    store.get(A, 1001.0)
    store.share(entry)
    store.get_stale(A, 1002.0)
    store.get_stale(A, 1120.0)
    store.put(B, recording(cost_usd=None), 1120.0)
    store.get(B, 1120.0)
    found = store.statistics()
    assert (found.entries, found.bytes) == (2, recording(cost_usd=0.5).size * 2)
    assert (found.hits, found.misses, found.shared, found.stale, found.stored) == (3, 1, 1, 1, 2)
    assert found.saved_usd == pytest.approx(2.0)


def test_the_id_tells_one_recorded_answer_from_the_next_of_the_same_request():
    store = cache()
    first, second = store.put(A, recording(), 1000.0), store.put(A, recording(), 1000.0)
    assert first.id != second.id
    assert store.get(A, 1000.0).id == second.id
    assert "a/m" in repr(second)


# --- any course of events ------------------------------------------------------------------------


class AnyCourse(RuleBasedStateMachine):
    """Against a dictionary that knows nothing but times: within wide limits the store does the same, within narrow
    ones it serves a part of it."""

    keys = st.integers(0, 12).map(lambda number: bytes([number]) * 20)

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = cache(stale_for=20.0), cache(stale_for=20.0, max_entries=5, max_bytes=20_000)
        self.model = {}
        self.now = 1000.0
        self.number = 0

    @rule(key=keys, length=st.integers(0, 9000), ttl=st.none() | st.floats(1, 60), cents=st.none() | st.integers(0, 9))
    def put(self, key, length, ttl, cents):
        self.number += 1
        one = recording(f"{self.number} " + "x" * length, cost_usd=cents)
        for store in (self.wide, self.narrow):
            store.put(key, one, self.now, ttl)
        self.model[key] = (one.text, self.now, self.now + (ttl or 100.0))

    @rule(key=keys, max_age=st.none() | st.floats(0.1, 100))
    def get(self, key, max_age):
        wanted, stored, until = self.model.get(key, (None, 0, 0))
        if max_age is not None and self.now - stored >= max_age:
            wanted = None
        expected = wanted if self.now < until else None
        assert text(self.wide.get(key, self.now, max_age)) == expected
        assert text(self.narrow.get(key, self.now, max_age)) in (expected, None)

    @rule(key=keys)
    def get_stale(self, key):
        wanted, _, until = self.model.get(key, (None, 0, 0))
        expected = wanted if self.now < until + 20.0 else None
        assert text(self.wide.get_stale(key, self.now)) == expected
        assert text(self.narrow.get_stale(key, self.now)) in (expected, None)

    @rule(seconds=st.floats(0, 70))
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.number > 3)
    @rule(entries=st.integers(1, 5))
    def limit(self, entries):
        self.narrow.configure(ExactCacheSettings(
            ttl=100, ttl_jitter=0, stale_for=20, max_entries=entries, max_bytes=20_000))  # fmt: skip

    @invariant()
    def books_balance(self):
        for store in (self.wide, self.narrow):
            held = list(store._entries.values())
            assert store.statistics().bytes == sum(entry.recording.size for entry in held)
            assert store.statistics().entries == len(held)
            queued = [key for queue in store._queues.values() for key in queue]
            assert sorted(queued) == sorted(store._entries)
            assert all(store._queues.values()), "no empty queue is kept"
            for queue in store._queues.values():
                priorities = [entry.priority for entry in queue.values()]
                assert priorities == sorted(priorities)
        assert self.narrow.statistics().entries <= self.narrow._settings.max_entries
        assert self.narrow.statistics().bytes <= 20_000


TestAnyCourse = AnyCourse.TestCase
