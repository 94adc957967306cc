"""Windows: midnight is midnight there, clocks that change make short and long days, and no name comes twice."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilio.budget import SlidingWindow, window_of
from resilio.budget.windows import SLOTS
from resilio.config import BudgetSettings

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia",
    "America/Sao_Paulo", "Asia/Beirut", "Africa/Casablanca",
)  # fmt: skip
SPANS = ("hour", "day", "month", 7.5, 3600, 1e6)


def window(span, kind="calendar", zone="UTC"):
    return window_of(BudgetSettings(per="user", window=span, kind=kind, time_zone=zone, limit_tokens=1))


def at(zone, *when, fold=0):
    return datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp()


# 1995 to 2040
INSTANTS = st.floats(788_918_400, 2_208_988_800) | st.integers(788_918_400, 2_208_988_800).map(float)


@given(st.sampled_from(SPANS), st.sampled_from(ZONES), INSTANTS)
def test_every_instant_lies_in_its_span_and_so_does_every_other_of_that_span(span, zone, wall):
    cut = window(span, zone=zone)
    found = cut.at(wall)
    assert found.start <= wall < found.end
    assert found.counted == (found.name,)
    for inside in (found.start, (found.start + found.end) / 2, found.end - 0.001):
        assert cut.at(inside) == found
    assert cut.at(found.end).name != found.name
    assert cut.at(found.end).start == found.end


@given(st.sampled_from(("hour", "day", "month")), st.sampled_from(ZONES), INSTANTS)
def test_windows_follow_one_another_and_no_name_comes_again(span, zone, wall):
    cut, names = window(span, zone=zone), []
    for _ in range(30):
        found = cut.at(wall)
        names.append(found.name)
        wall = found.end
    assert len(set(names)) == 30


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), 23), ("Europe/Berlin", (2026, 10, 25), 25),
        ("Europe/Berlin", (2026, 7, 1), 24),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5), ("Australia/Lord_Howe", (2026, 10, 4), 23.5),
        ("Asia/Beirut", (2022, 3, 27), 23),  # the clock goes from midnight to one
        ("America/Havana", (2026, 11, 1), 25),  # midnight comes twice
    ],
)  # fmt: skip
def test_a_day_is_as_long_as_the_clocks_make_it(zone, day, hours):
    found = window("day", zone=zone).at(at(zone, *day, 12))
    assert (found.name, found.end - found.start) == ("{}-{:02}-{:02}".format(*day), hours * 3600)


def test_a_month_ends_where_the_next_begins_also_in_december():
    zone = "America/New_York"
    found = window("month", zone=zone).at(at(zone, 2026, 12, 31, 23, 59, 59))
    assert (found.name, found.start, found.end) == ("2026-12", at(zone, 2026, 12, 1), at(zone, 2027, 1, 1))


def test_of_an_hour_that_comes_twice_each_is_a_window():
    zone = "Europe/Berlin"
    first, second = (window("hour", zone=zone).at(at(zone, 2026, 10, 25, 2, 30, fold=fold)) for fold in (0, 1))
    assert (first.name, second.name) == ("2026-10-25T02+0200", "2026-10-25T02+0100")
    assert first.end == second.start
    assert second.end - first.start == 7200


def test_an_hour_in_a_zone_of_half_hours_begins_when_its_clock_says_so():
    found = window("hour", zone="Asia/Kolkata").at(at("Asia/Kolkata", 2026, 11, 24, 10, 15))
    assert found.start == at("Asia/Kolkata", 2026, 11, 24, 10)
    assert found.start % 3600 == 1800


def test_an_hour_that_is_cut_by_a_change_of_half_an_hour_is_two_windows():
    zone = "Australia/Lord_Howe"  # at 2:00 the clock goes back to 1:30
    whole = window("hour", zone=zone).at(at(zone, 2026, 4, 5, 1, 45, fold=0))
    half = window("hour", zone=zone).at(at(zone, 2026, 4, 5, 1, 45, fold=1))
    assert (whole.end - whole.start, half.end - half.start) == (3600, 1800)
    assert whole.end == half.start


def test_a_day_that_a_country_skipped_is_no_window():
    zone = "Pacific/Apia"  # it went over the date line: there was no 30 December 2011
    found = window("day", zone=zone).at(at(zone, 2011, 12, 29, 12))
    assert found.name == "2011-12-29"
    assert window("day", zone=zone).at(found.end).name == "2011-12-31"


@given(st.floats(1, 1e7), INSTANTS)
@example(1.1, 1000000001.0)
def test_what_counts_in_a_sliding_window_reaches_back_over_all_of_it_and_no_more_than_one_part_further(seconds, wall):
    cut = SlidingWindow(seconds)
    found = cut.at(wall)
    assert found.name == found.counted[SLOTS]
    oldest = cut.at(math.nextafter(wall - seconds, math.inf))  # the difference is rounded, perhaps down
    assert oldest.name in found.counted
    assert cut.at(wall - seconds * (1 + 2.5 / SLOTS)).name not in found.counted
    assert cut.leaves(oldest) >= oldest.end + seconds
    assert cut.at(wall + seconds * 0.9).name in found.counted, "a clock that was ahead has spent there"


@given(st.floats(60, 1e7), INSTANTS)
def test_a_part_counts_until_it_leaves_and_not_after(seconds, wall):
    cut = SlidingWindow(seconds)
    span = cut.at(wall)
    width = span.end - span.start
    leaves = cut.leaves(span)
    assert span.name in cut.at(leaves - width / 2).counted
    assert span.name not in cut.at(leaves + width / 2).counted


def test_lengths_of_sliding_windows_that_have_a_name():
    for span, seconds in (("hour", 3600), ("day", 86_400), ("month", 31 * 86_400)):
        found = window(span, kind="sliding").at(1e9)
        assert (found.end - found.start) * SLOTS == pytest.approx(seconds)
