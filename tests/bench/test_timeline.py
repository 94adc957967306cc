"""Bins over time, and the spans in which breakers were not closed."""

from hypothesis import given
from hypothesis import strategies as st

from resilio.bench.samples import Samples
from resilio.bench.timeline import Band, Bin, Change, bands, bins
from resilio.errors import ResilioError
from resilio.models import Level, Reply, Usage

REPLY = Reply(
    text="", finish_reason="stop", target="a/m", level=Level.FULL, complete=True, usage=Usage(), request_id="",
    latency=0.0,
)  # fmt: skip


def filled(*calls):
    """Calls as (due, latency); a latency of None is a failure."""
    samples = Samples()
    for due, latency in calls:
        if latency is None:
            samples.error(due, due, due, ResilioError("no"))
        else:
            samples.reply(due, due, due + latency, REPLY)
    return samples


def test_calls_fall_into_the_bin_in_which_they_were_due_however_long_they_took():
    found = bins(filled((0.0, 25.0), (9.5, 1.0), (10.0, 2.0)))
    assert found == [Bin(0.0, 2, 1.0, 1.0, 25.0, 25.0), Bin(10.0, 1, 1.0, 2.0, 2.0, 2.0)]


def test_a_bin_without_an_answer_has_no_latency_and_one_without_a_call_is_not_there():
    found = bins(filled((5.0, None), (35.0, 1.0), (36.0, None)))
    assert [(each.start, each.calls, each.availability, each.p50) for each in found] == [
        (0.0, 1, 0.0, None),
        (30.0, 2, 0.5, 1.0),
    ]


@given(st.lists(st.tuples(st.floats(0, 1000), st.one_of(st.none(), st.floats(0, 100))), max_size=100))
def test_no_call_is_lost_between_the_bins(calls):
    found = bins(filled(*calls))
    assert sum(each.calls for each in found) == len(calls)
    answered = sum(latency is not None for _, latency in calls)
    assert round(sum(each.calls * each.availability for each in found)) == answered


def test_an_outage_is_a_row_of_bands_that_touch():
    moves = [
        Change(10.0, "a/m", "closed", "open", 30.0),
        Change(40.0, "a/m", "open", "half_open", None),
        Change(41.0, "a/m", "half_open", "ramping", None),
        Change(71.0, "a/m", "ramping", "closed", None),
    ]
    assert bands(moves, 100.0) == [
        Band("a/m", "open", 10.0, 40.0),
        Band("a/m", "half_open", 40.0, 41.0),
        Band("a/m", "ramping", 41.0, 71.0),
    ]


def test_what_still_goes_on_at_the_end_is_cut_off_there():
    assert bands([Change(10.0, "a", "closed", "open", 30.0)], 25.0) == [Band("a", "open", 10.0, 25.0)]


def test_breakers_do_not_end_each_others_bands():
    moves = [
        Change(10.0, "a", "closed", "open", 30.0),
        Change(12.0, "b", "closed", "open", 30.0),
        Change(20.0, "b", "open", "closed", None),
        Change(40.0, "a", "open", "closed", None),
    ]
    assert bands(moves, 50.0) == [Band("a", "open", 10.0, 40.0), Band("b", "open", 12.0, 20.0)]
