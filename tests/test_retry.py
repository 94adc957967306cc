"""Backoff, what servers ask for, and the budget of repeats."""

import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilio.config import RetryBudgetSettings, RetrySettings
from resilio.retry import MAX_HINT, RetryBudget, backoff, parse_duration, parse_instant, retry_after

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()

# --- backoff ---------------------------------------------------------------------------------


class Always(random.Random):
    """Draws the same number every time."""

    def __init__(self, number):
        super().__init__(0)
        self.number = number

    def random(self):
        return self.number


def test_the_ceiling_doubles_up_to_the_cap():
    almost_one = Always(1 - 2**-53)
    waits = [backoff(RetrySettings(), n, almost_one) for n in range(7)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 8, 8])


def test_the_jitter_is_full_down_to_nothing():
    assert backoff(RetrySettings(), 3, Always(0.0)) == 0.0
    assert backoff(RetrySettings(), 3, Always(0.25)) == 1.0


@given(
    base=st.floats(1e-300, 1e300),
    cap=st.floats(1e-3, 1e6),
    n=st.integers(0, 10**30),
    seed=st.integers(0, 1_000),
)
def test_no_number_of_repeats_overflows_or_passes_the_cap(base, cap, n, seed):
    assert 0 <= backoff(RetrySettings(base=base, cap=cap), n, random.Random(seed)) <= cap


def test_the_waits_are_spread_evenly_and_not_piled_up_at_the_cap(rng):
    waits = [backoff(RetrySettings(), 20, rng) for _ in range(4_000)]
    quarters = [sum(1 for wait in waits if 2 * q <= wait < 2 * q + 2) for q in range(4)]
    assert quarters == pytest.approx([1_000] * 4, rel=0.15)


# --- durations and instants ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("7", 7), ("500", 500), ("2.5", 2.5), (".5", 0.5), ("3.", 3), (" 12 ", 12), ("+4", 4),
        ("1e-05", 1e-5), ("0s", 0), ("12ms", 0.012), ("120ms", 0.12), ("34.4s", 34.4), (".5s", 0.5),
        ("6m0s", 360), ("20m52.666s", 1252.666), ("1m26.4s", 86.4), ("10.332999999s", 10.332999999),
        ("1h2m3s", 3723), ("1h15m30.918273645s", 4530.918273645), ("250us", 250e-6),
        ("250\u00b5s", 250e-6), ("250\u03bcs", 250e-6), ("40ns", 40e-9),
    ],
)  # fmt: skip
def test_durations_as_providers_write_them(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "-0", "-5s", "+-1", "nan", "inf", "-inf", "1_0", "1,5", "soon", "s", "1 s", "1d", "5S",
     "1m-3s", "\u0661\u0662", "0x10", "1.2.3", "1e", "1e999", "1700000000", "2026-11-23T12:00:00Z",
     "9" * 65, "1s" * 33],
)  # fmt: skip
def test_what_is_no_duration_is_unknown(text):
    assert parse_duration(text) is None


def test_a_duration_is_cut_to_a_month():
    assert parse_duration("5000000") == MAX_HINT == 31 * 24 * 3600
    assert parse_duration("99999h") == MAX_HINT


@given(st.floats(0, MAX_HINT))
def test_every_number_of_seconds_up_to_a_month_reads_back_as_itself(seconds):
    assert parse_duration(repr(seconds)) == seconds


@given(hours=st.integers(0, 700), minutes=st.integers(0, 59), millis=st.integers(0, 59_999))
def test_every_go_duration_reads_back_as_its_sum(hours, minutes, millis):
    text = f"{hours}h{minutes}m{millis / 1000}s"
    assert parse_duration(text) == pytest.approx(hours * 3600 + minutes * 60 + millis / 1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23T12:00:30Z", 30),
        ("2026-11-23t12:00:30.250z", 30.25),
        ("2026-11-23T14:00:30+02:00", 30),
        ("2026-11-23 12:01:00-00:00", 60),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Monday, 23-Nov-26 12:00:30 GMT", 30),
        ("Mon Nov 23 12:00:30 2026", 30),
        (str(int(NOON) + 30), 30),
        (f"{NOON + 30.5}", 30.5),
        (str(int(NOON + 30) * 1000), 30),
        ("2025-11-23T13:21:04Z", 0),
        ("2029-01-01T00:00:00Z", MAX_HINT),
    ],
)
def test_instants_as_providers_write_them(text, seconds):
    assert parse_instant(text, NOON) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "7", "12ms", "-1", "soon", "2026-11-23", "2026-11-23T12:00:30", "2026-13-23T12:00:00Z", "12:00:30",
     "2026-11-23T12:00:00+99:00", "Mon, 99 Nov 2026 12:00:30 GMT", "nan", "1e999", "Z" * 100],
)  # fmt: skip
def test_what_is_no_instant_is_unknown(text):
    assert parse_instant(text, NOON) is None


@given(st.integers(0, 30 * 86_400))
def test_every_second_of_a_month_reads_back_from_its_http_date(seconds):
    moment = datetime.fromtimestamp(NOON + seconds, UTC)
    assert parse_instant(format_datetime(moment, usegmt=True), NOON) == seconds
    assert parse_instant(moment.isoformat(), NOON) == seconds


words = ("GMT", "Mon", "Nov", "2026", "99999999999", "nan", "1e308", "us")
pieces = st.sampled_from(words) | st.sampled_from("019.-+:, TZemsh")


@given(st.text(max_size=70) | st.lists(pieces, max_size=12).map("".join))
def test_no_text_whatever_raises_or_leaves_the_range(text):
    for seconds in (
        parse_duration(text),
        parse_instant(text, NOON),
        retry_after({"retry-after": text, "retry-after-ms": text, "date": text}, NOON),
    ):
        assert seconds is None or 0 <= seconds <= MAX_HINT


# --- Retry-After -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "34.4s"}, 34.4),
        ({"retry-after": "99999999"}, MAX_HINT),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "1500", "x-ms-retry-after-ms": "9", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "-1", "x-ms-retry-after-ms": "9", "retry-after": "2"}, 0.009),
        ({"retry-after-ms": "junk", "retry-after": "2"}, 2),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "2026-11-23T12:00:05Z"}, 5),
    ],
)
def test_what_a_server_asks_for(headers, seconds):
    assert retry_after(headers, NOON) == (None if seconds is None else pytest.approx(seconds))


def test_a_date_is_measured_by_the_clock_of_the_server_that_sent_it():
    headers = {"date": "Mon, 23 Nov 2026 17:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 17:00:08 GMT"}
    assert retry_after(headers, NOON) == 8


def test_a_date_header_that_makes_no_sense_leaves_our_own_clock():
    headers = {"date": "yesterday", "retry-after": "Mon, 23 Nov 2026 12:00:08 GMT"}
    assert retry_after(headers, NOON) == 8


# --- the budget of repeats -------------------------------------------------------------------


def test_a_new_budget_has_its_initial_repeats_and_no_more():
    budget = RetryBudget(RetryBudgetSettings(per_second=0), now=0)
    assert [budget.take(0) for _ in range(11)] == [True] * 10 + [False]


def test_five_calls_earn_one_repeat():
    budget = RetryBudget(RetryBudgetSettings(initial=0, per_second=0), now=0)
    for _ in range(4):
        budget.record_call(0)
    assert not budget.take(0)
    budget.record_call(0)
    assert budget.take(0)
    assert not budget.take(0)


def test_binary_fractions_do_not_cheat_ten_tenths_of_a_repeat():
    budget = RetryBudget(RetryBudgetSettings(initial=0, per_second=0, ratio=0.1), now=0)
    for _ in range(10):
        budget.record_call(0)
    assert budget.take(0)


def test_seconds_earn_repeats_where_there_are_few_calls():
    budget = RetryBudget(RetryBudgetSettings(initial=0), now=100)
    assert not budget.take(100.9)
    assert budget.take(101)
    assert not budget.take(50)


def test_no_more_than_the_maximum_is_saved_up():
    budget = RetryBudget(RetryBudgetSettings(maximum=3), now=0)
    assert budget.balance(0) == 3
    for _ in range(1_000):
        budget.record_call(0)
    assert budget.balance(1e6) == 3


def test_statistics_and_repr_tell_how_it_stands():
    budget = RetryBudget(RetryBudgetSettings(initial=1, per_second=0), now=0)
    budget.record_call(0)
    budget.take(0)
    budget.take(0)
    seen = budget.statistics(0)
    assert (seen.balance, seen.calls, seen.taken, seen.refused) == (pytest.approx(0.2), 1, 1, 1)
    assert repr(budget) == "<RetryBudget 0.20 of 100 at 0.000 s>"


class AnyOrder(RuleBasedStateMachine):
    """Against a list of all calls and repeats, summed up anew from the beginning each time."""

    @initialize(
        ratio=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
        per_second=st.sampled_from([0.0, 0.25, 1.0]),
        initial=st.sampled_from([0.0, 2.0, 10.0]),
        maximum=st.sampled_from([0.5, 3.0, 100.0]),
    )
    def begin(self, ratio, per_second, initial, maximum):
        self.settings = RetryBudgetSettings(ratio=ratio, per_second=per_second, initial=initial, maximum=maximum)
        self.now = 50.0
        self.budget = RetryBudget(self.settings, self.now)
        self.events = []

    def naive(self):
        settings = self.settings
        balance, at = min(settings.initial, settings.maximum), 50.0
        for when, change in [*self.events, (self.now, 0)]:
            balance = min(settings.maximum, balance + (when - at) * settings.per_second)
            balance = min(settings.maximum, balance + change)
            at = when
        return balance

    @rule(quarters=st.integers(1, 40))
    def time_passes(self, quarters):
        self.now += quarters / 4

    @rule(count=st.integers(1, 8))
    def calls(self, count):
        for _ in range(count):
            self.budget.record_call(self.now)
            self.events.append((self.now, self.settings.ratio))

    @rule()
    def take(self):
        taken = self.budget.take(self.now)
        assert taken == (self.naive() >= 1 - 1e-6)
        if taken:
            self.events.append((self.now, -1))

    @rule()  # not an invariant: looking works out what calls and time earned, which must also wait
    def look(self):
        assert self.budget.balance(self.now) == pytest.approx(self.naive(), abs=1e-9)
        assert self.budget.statistics(self.now).taken == sum(1 for _, change in self.events if change == -1)

    @invariant()
    def repeats_never_pass_what_was_earned(self):
        taken = sum(1 for _, change in self.events if change == -1)
        calls = len(self.events) - taken
        settings = self.settings
        earned = settings.initial + settings.ratio * calls + settings.per_second * (self.now - 50.0)
        assert taken <= earned + 1e-6


TestAnyOrder = AnyOrder.TestCase


def test_a_retry_budget_under_other_settings_keeps_its_balance_up_to_the_new_maximum():
    budget = RetryBudget(RetryBudgetSettings(initial=10, per_second=0, ratio=0.2), 0.0)
    budget.reconfigure(RetryBudgetSettings(initial=50, per_second=1, ratio=1.0, maximum=12), 5.0)
    assert budget.balance(5.0) == 10
    assert budget.balance(6.0) == 11
    budget.record_call(6.0)
    assert budget.balance(6.0) == 12
    budget.reconfigure(RetryBudgetSettings(maximum=3), 6.0)
    assert budget.balance(6.0) == 3
