"""Which days a report is about, and which it holds them against."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.report.periods import Period, PeriodError, days_of, period_before, period_of

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 17, 30, tzinfo=BERLIN)


def told(period):
    return f"{period.start:%m-%d %H:%M}", f"{period.end:%m-%d %H:%M}"


def both(now=NOW, **asked):
    period = period_of(now, **asked)
    return told(period), told(period_before(period))


def test_without_anything_it_is_the_last_thirty_days_against_the_same_hours_of_the_thirty_before():
    assert both() == (("10-26 00:00", "11-24 17:30"), ("09-26 00:00", "10-25 17:30"))


def test_one_day_is_today_against_as_much_of_yesterday():
    assert both(days=1) == (("11-24 00:00", "11-24 17:30"), ("11-23 00:00", "11-23 17:30"))


def test_a_month_is_held_against_the_one_before_however_long_both_are():
    assert both(month="2026-03") == (("03-01 00:00", "04-01 00:00"), ("02-01 00:00", "03-01 00:00"))
    assert both(month="2026-01")[1] == ("12-01 00:00", "01-01 00:00")


def test_what_has_passed_of_a_month_is_held_against_as_much_of_the_one_before():
    assert both(month="2026-11") == (("11-01 00:00", "11-24 17:30"), ("10-01 00:00", "10-24 17:30"))
    late = datetime(2026, 3, 30, 12, tzinfo=BERLIN)
    assert both(late, month="2026-03")[1] == ("02-01 00:00", "03-01 00:00")
    first = datetime(2026, 3, 1, 12, tzinfo=BERLIN)
    assert both(first, month="2026-03") == (("03-01 00:00", "03-01 12:00"), ("02-01 00:00", "02-01 12:00"))


def test_the_last_day_that_is_named_is_included_and_the_same_number_of_days_stand_before():
    assert both(since="2026-11-01", until="2026-11-15") == (
        ("11-01 00:00", "11-16 00:00"), ("10-17 00:00", "11-01 00:00"),
    )  # fmt: skip


def test_an_instant_is_an_instant_and_may_be_written_in_another_zone():
    period = period_of(NOW, since="2026-11-24T08:00", until="2026-11-24T09:00Z")
    assert told(period) == ("11-24 08:00", "11-24 10:00")
    assert told(period_before(period)) == ("11-23 08:00", "11-23 10:00")


def test_periods_are_named_as_a_person_would():
    assert period_of(NOW, month="2026-10").name == "2026-10"
    assert period_of(NOW, month="2026-11").name == "2026-11, up to 2026-11-24 17:30"
    assert period_of(NOW, since="2026-11-01", until="2026-11-15").name == "2026-11-01 to 2026-11-15"
    assert period_of(NOW, days=2).name == "2026-11-23 00:00 to 2026-11-24 17:30"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"days": 3, "month": "2026-01"}, "use one of them"),
        ({"month": "2026-01", "until": "2026-02-01"}, "use one of them"),
        ({"until": "2026-02-01"}, "--until needs --since"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "is empty"),
        ({"since": "2027-01-01"}, "is empty"),
        ({"month": "2026-12"}, "has not begun"),
        ({"month": "2026-13"}, "a month is written as"),
        ({"month": "November"}, "a month is written as"),
        ({"since": "yesterday"}, "a day is written as"),
        ({"since": "2026-02-30"}, "a day is written as"),
        ({"since": "0001-01-01"}, "no period before|a day is written as"),
    ],
)
def test_what_is_no_period_is_refused_with_what_to_write(asked, why):
    with pytest.raises(PeriodError, match=why):
        period_before(period_of(NOW, **asked))


def test_days_are_those_of_the_zone_and_one_in_autumn_has_25_hours():
    days = [*days_of(period_of(NOW, since="2026-10-24", until="2026-10-26"))]
    assert [(str(day.date), (day.end - day.start) / 3600) for day in days] == [
        ("2026-10-24", 24.0), ("2026-10-25", 25.0), ("2026-10-26", 24.0),
    ]  # fmt: skip


@given(
    st.floats(datetime(2020, 1, 1, tzinfo=UTC).timestamp(), datetime(2030, 1, 1, tzinfo=UTC).timestamp()),
    st.timedeltas(timedelta(minutes=1), timedelta(days=70)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_days_are_without_gaps_and_the_period_before_ends_before_this_one_does(start, length, zone):
    start = datetime.fromtimestamp(start, ZoneInfo(zone))
    period = Period(start, start + length)
    days = [*days_of(period)]
    if period.start.timestamp() < period.end.timestamp():
        assert (days[0].start, days[-1].end) == (period.start.timestamp(), period.end.timestamp())
    assert all(one.end == two.start and one.date < two.date for one, two in pairwise(days))
    before = period_before(period)
    assert before.end <= period.start or before.end < period.end
    assert before.end - before.start == period.end - period.start
