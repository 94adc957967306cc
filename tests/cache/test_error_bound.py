"""Guaranteed mode: the threshold follows the audits, keeps its promise, and is dropped when the traffic changes."""

import json
import math
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilio.cache.bound import EVERY, GRID, NOTHING_NEAR, WINDOW, Change, ErrorBound, Terms
from resilio.cache.proportions import anytime_lower, anytime_upper

SOAK = os.environ.get("RESILIO_SOAK") == "1"

FIVE = Terms(max_wrong=0.05)


def fed(bound, audits, similarity=0.95, *, agree=True, now=0.0):
    """Changes in the course of so many equal audits."""
    found = (bound.audited(similarity, agree, now) for _ in range(audits))
    return [change for change in found if change is not None]


def test_nothing_is_served_and_everything_audited_until_there_is_evidence(rng):
    bound = ErrorBound(FIVE, 0.0)
    assert bound.threshold is None
    assert all(bound.toss(rng) for _ in range(1000))


def test_the_first_look_after_enough_clean_audits_opens(rng):
    bound = ErrorBound(FIVE, 0.0)
    assert fed(bound, 124) == []  # 116 would do, and it looks after each 25
    assert fed(bound, 1, now=7.0) == [Change(None, 0.6, 1, "evidence")]
    assert bound.statistics().changed_at == 7.0
    tossed = sum(bound.toss(rng) for _ in range(10_000))
    assert 900 < tossed < 1100


def test_the_threshold_stays_above_where_the_wrong_answers_are():
    bound = ErrorBound(FIVE, 0.0)
    for number in range(1000):
        similarity = (0.97, 0.82, 0.7)[number % 3]
        bound.audited(similarity, similarity > 0.9 or number % 4 > 0, 0.0)
    # At 0.82 a quarter of a third disagrees: 8 % of requests. At 0.83 and above, none do.
    assert bound.threshold == 0.83
    found = bound.statistics()
    assert found.bound == pytest.approx(anytime_upper(0, 1000))
    assert (found.wrong_per_request, found.wrong_per_hit) == (0, 0)
    assert found.hit_rate == pytest.approx(0.9 * 334 / 1000)


def test_wrong_answers_per_hit_and_per_request_are_different_figures():
    bound = ErrorBound(FIVE, 0.0)
    for number in range(2000):
        near = number % 10 == 0
        bound.audited(0.9 if near else NOTHING_NEAR, not (near and number % 100 == 0), 0.0)
    found = bound.statistics()
    assert (found.threshold, found.audits, found.disagreements) == (0.6, 2000, 20)
    assert found.wrong_per_request == pytest.approx(0.01)
    assert found.wrong_per_hit == pytest.approx(0.1)
    assert found.wrong_per_request < found.bound <= found.max_wrong


def test_an_audit_without_an_entry_counts_for_the_number_alone():
    bound = ErrorBound(FIVE, 0.0)
    fed(bound, 125, NOTHING_NEAR, agree=False)
    found = bound.statistics()
    assert (found.audits, found.disagreements, found.threshold) == (125, 0, 0.6)
    assert found.wrong_per_hit is None


def test_what_is_below_the_grid_is_nothing_and_what_is_above_it_the_strictest():
    bound = ErrorBound(FIVE, 0.0)
    fed(bound, 10, 0.599, agree=False)
    assert bound.statistics().disagreements == 0
    fed(bound, 10, 1.0000001, agree=False)
    assert bound.statistics().disagreements == 10


def test_evidence_against_it_tightens_the_threshold_without_a_new_epoch():
    bound = ErrorBound(FIVE, 0.0)
    assert fed(bound, 500, 0.98)[-1].after == 0.6
    changes = []
    for number in range(300):
        if change := bound.audited(0.7, number % 12 > 0, 1.0):
            changes.append(change)
    assert changes == [Change(0.6, 0.71, 1, "evidence")]


def test_a_drift_drops_the_threshold_and_begins_an_epoch_that_opens_again():
    bound = ErrorBound(FIVE, 0.0)
    fed(bound, 5000)
    assert bound.threshold == 0.6
    changes, audits = [], 0
    while not changes:
        audits += 1
        changes = fed(bound, 1, agree=audits % 4 > 0, now=9.0)
    # A quarter of them is wrong: seen long before the counts of all audits say so.
    assert changes == [Change(0.6, None, 2, "drift")]
    assert audits < WINDOW
    assert anytime_upper(audits // 4, 5000 + audits) < FIVE.max_wrong
    assert bound.toss(random.Random(1))
    found = bound.statistics()
    assert (found.epoch, found.audits, found.audits_ever, found.bound) == (2, 0, 5000 + audits, None)
    assert fed(bound, 125)[-1] == Change(None, 0.6, 2, "evidence")


def test_a_short_window_of_clean_audits_is_no_drift():
    bound = ErrorBound(Terms(max_wrong=0.005), 0.0)
    changes = fed(bound, 10_000)
    assert [change.why for change in changes] == ["evidence"]
    assert anytime_upper(0, WINDOW) > 0.005 > anytime_lower(0, WINDOW)


def test_an_audit_whose_coin_fell_in_an_earlier_epoch_is_left_out():
    bound = ErrorBound(FIVE, 0.0)
    fed(bound, 5000)
    epoch = bound.epoch
    fed(bound, 400, agree=False)
    assert bound.epoch > epoch
    before = bound.statistics()
    assert bound.audited(0.95, agree=False, now=0.0, epoch=epoch) is None
    assert bound.statistics() == before
    bound.audited(0.95, agree=False, now=0.0, epoch=bound.epoch)
    assert bound.statistics().audits == before.audits + 1


# --- the promise ---------------------------------------------------------------------------------


def test_the_share_of_runs_that_ever_serve_more_wrong_than_promised_is_as_stated(rng):
    """Traffic whose risk at each threshold is known: the threshold in force must not be one whose risk is too high."""
    runs, audits = (200, 8_000) if SOAK else (60, 4000)
    broken = opened = 0
    for _ in range(runs):
        bound, worst = ErrorBound(FIVE, 0.0), 0.0
        for _ in range(audits):
            similarity = rng.uniform(0.4, 1.0)
            # Certainly right at 1.0; the further below, the more often wrong.
            bound.audited(similarity, rng.random() > 2 * (1 - similarity), 0.0)
            if bound.threshold is not None:
                worst = max(worst, risk(bound.threshold))
        broken += worst > FIVE.max_wrong
        opened += bound.threshold is not None
    assert broken <= 0.05 * runs
    assert opened == runs


def risk(threshold):
    """P(s >= t and wrong), with s uniform in 0.4 to 1 and P(wrong | s) = 2 (1 - s)."""
    return (1 - threshold) ** 2 / 0.6


# --- across restarts -----------------------------------------------------------------------------


def test_a_state_goes_through_json_and_goes_on_as_if_nothing_had_happened(rng):
    one = ErrorBound(FIVE, 0.0, basis="minilm")
    for _ in range(3000):
        one.audited(rng.uniform(0.5, 1.0), rng.random() > 0.04, 0.0)
    other = ErrorBound.from_dict(json.loads(json.dumps(one.to_dict())), FIVE, 0.0, basis="minilm")
    assert other.to_dict() == one.to_dict()
    for _ in range(2000):
        similarity, agree = rng.uniform(0.5, 1.0), rng.random() > 0.2
        assert other.audited(similarity, agree, 5.0) == one.audited(similarity, agree, 5.0)
    assert other.statistics() == one.statistics()
    assert one.epoch > 1


def test_what_was_counted_while_a_state_was_loaded_is_added_to_it():
    before, meanwhile = ErrorBound(FIVE, 0.0), ErrorBound(FIVE, 0.0)
    fed(before, 110)
    fed(meanwhile, 20)
    fed(meanwhile, 1, agree=False)
    assert before.go_on_with(meanwhile, 1.0)
    found = before.statistics()
    assert (found.audits, found.disagreements) == (131, 1)
    assert before.threshold == 0.6, "opened by the look after 125"
    fed(meanwhile, WINDOW)
    assert not before.go_on_with(meanwhile, 1.0), "not all of it is remembered one by one"
    assert before.statistics() == found


def test_the_counts_hold_under_stricter_terms_and_the_threshold_follows():
    bound = ErrorBound(FIVE, 0.0)
    fed(bound, 200)
    assert bound.threshold == 0.6
    assert ErrorBound.from_dict(bound.to_dict(), Terms(max_wrong=0.01), 0.0).threshold is None
    assert ErrorBound.from_dict(bound.to_dict(), Terms(max_wrong=0.04), 0.0).threshold == 0.6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version"),
        ({"grid": [0.9]}, "version"),
        ({"basis": "another"}, "is about 'another'"),
        ({"epoch": None}, "epoch"),
        ({"audits": True}, "audits"),
        ({"audits": 3}, "cannot be"),
        ({"near": [1] * 39}, "near"),
        ({"wrong": [2, 1] + [3] * 38}, "cannot be"),
        ({"wrong": [100] * 40}, "more disagreements"),
        ({"recent": [[0.9, False]] * 401}, "recent"),
        ({"recent": [["0.9", False]]}, "recent"),
    ],
)
def test_a_state_that_was_damaged_or_is_about_something_else_is_refused(change, said):
    bound = ErrorBound(FIVE, 0.0, basis="minilm")
    fed(bound, 100, 0.9)
    with pytest.raises(ValueError, match=said):
        ErrorBound.from_dict(bound.to_dict() | change, FIVE, 0.0, basis="minilm")


# --- nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [{"max_wrong": 0.0}, {"max_wrong": 0.5}, {"confidence": 1.0}, {"confidence": 0.4}, {"audit": 0.0},
     {"audit": 1.1}, {"max_wrong": math.nan}],
)  # fmt: skip
def test_terms_that_make_no_sense_are_refused(terms):
    with pytest.raises(ValueError, match=f"{next(iter(terms))} must be"):
        Terms(**terms)


def test_everything_may_be_audited():
    assert Terms(audit=1.0).audit == 1.0


def test_a_similarity_that_is_no_number_is_refused():
    bound = ErrorBound(FIVE, 0.0)
    with pytest.raises(ValueError, match="NaN"):
        bound.audited(math.nan, agree=True, now=0.0)
    assert bound.statistics().audits == 0


# --- any course of events ------------------------------------------------------------------------


class AgainstAListOfAudits(RuleBasedStateMachine):
    """A model that remembers every audit and works everything out from the list."""

    @initialize(max_wrong=st.sampled_from([0.02, 0.05, 0.2]))
    def begin(self, max_wrong):
        self.bound = ErrorBound(Terms(max_wrong=max_wrong), 0.0)
        self.max_wrong = max_wrong
        self.audits = []
        self.threshold = None
        self.epoch = 1

    @rule(
        similarity=st.one_of(st.just(NOTHING_NEAR), st.floats(0.55, 1.05), st.sampled_from(GRID)),
        agree=st.sampled_from([True, True, True, False]),
        times=st.integers(1, 120),
    )
    def audit(self, similarity, agree, times):
        for _ in range(times):
            self.audits.append((similarity, agree))
            before = self.threshold
            if len(self.audits) % EVERY == 0:
                self.look()
            change = self.bound.audited(similarity, agree, 0.0)
            assert (change is not None) == (before != self.threshold)

    def look(self):
        recent = self.audits[-WINDOW:]
        if self.threshold is not None and anytime_lower(*self.counted(recent, self.threshold)) > self.max_wrong:
            self.audits, self.threshold = [], None
            self.epoch += 1
            return
        self.threshold = self.proven()

    def proven(self):
        found = None
        for threshold in GRID:
            if not self.audits or anytime_upper(*self.counted(self.audits, threshold)) > self.max_wrong:
                break
            found = threshold
        return found

    @staticmethod
    def counted(audits, threshold):
        return sum(similarity >= threshold and not agree for similarity, agree in audits), len(audits)

    @rule()
    def restart(self):
        self.bound = ErrorBound.from_dict(json.loads(json.dumps(self.bound.to_dict())), self.bound.terms, 0.0)
        # A restart is a look at the counts too, though not for drift.
        self.threshold = self.proven()

    @invariant()
    def they_agree(self):
        if hasattr(self, "bound"):
            found = self.bound.statistics()
            assert (found.threshold, found.epoch, found.audits) == (self.threshold, self.epoch, len(self.audits))
            if len(self.audits) % EVERY == 0:  # between two looks, further disagreements may have passed it
                assert found.bound is None or found.bound <= self.max_wrong


TestAgainstAListOfAudits = AgainstAListOfAudits.TestCase
TestAgainstAListOfAudits.settings = settings(max_examples=100 if SOAK else 15, stateful_step_count=20)


@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.booleans()), max_size=200))
def test_counts_never_fall_with_a_looser_threshold(audits):
    bound = ErrorBound(FIVE, 0.0)
    for similarity, agree in audits:
        bound.audited(similarity, agree, 0.0)
    saved = bound.to_dict()
    for name in ("near", "wrong"):
        assert saved[name] == sorted(saved[name])
