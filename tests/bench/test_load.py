"""Loads: what is sent when, and what is kept of it."""

import asyncio
import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.bench.load import Load, drive
from resilio.bench.report import Percentiles, level_report, nearest_rank
from resilio.bench.samples import PARTIAL, Samples
from resilio.errors import DeadlineExceeded, ResilioError
from resilio.models import AttemptRecord, Level, Reply, Usage
from resilio.testing.loop import run


def reply(target="east/m", *, first_token=None, complete=True, cost=None, attempts=1):
    return Reply(
        text="", finish_reason="stop", target=target, level=Level.FULL, complete=complete, usage=Usage(),
        request_id="", latency=0.0, first_token=first_token, cost_usd=cost,
        attempts=tuple(attempt(failed=number < attempts - 1) for number in range(attempts)),
    )  # fmt: skip


def attempt(*, failed):
    return AttemptRecord("east/m", 0, 0.0, 0.0, 0.0, "failure" if failed else "success",
                         "overloaded" if failed else None, "503" if failed else None)  # fmt: skip


class Server:
    """Answers after so many seconds, one call after the other or all at once; notes when calls came."""

    def __init__(self, *seconds, one_at_a_time=False):
        self.seconds = seconds or (0.0,)
        self.came = []
        self.busy = self.most_busy = 0
        self.lock = asyncio.Lock() if one_at_a_time else None

    async def __call__(self, number):
        self.came.append(asyncio.get_running_loop().time() - 1000.0)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            if self.lock is None:
                await self._answer(number)
            else:
                async with self.lock:
                    await self._answer(number)
        finally:
            self.busy -= 1
        return reply()

    async def _answer(self, number):
        await asyncio.sleep(self.seconds[number % len(self.seconds)])


async def test_a_closed_loop_keeps_so_many_callers_busy_and_no_more():
    server = Server(1.0)
    samples = await drive(server, Load(concurrency=4, requests=20), random.Random(1))
    assert server.most_busy == 4
    assert len(samples) == 20
    assert samples.ended == 5.0


async def test_a_closed_loop_with_fewer_requests_than_callers_sends_just_those():
    server = Server(1.0)
    await drive(server, Load(concurrency=64, requests=3), random.Random(1))
    assert server.came == [0.0, 0.0, 0.0]


async def test_no_call_begins_after_the_seconds_are_over_and_those_under_way_are_waited_for():
    server = Server(4.0)
    samples = await drive(server, Load(concurrency=1, seconds=10.0), random.Random(1))
    assert server.came == [0.0, 4.0, 8.0]
    assert samples.ended == 12.0


async def test_whichever_bound_comes_first_ends_the_run():
    by_count = await drive(Server(1.0), Load(concurrency=1, requests=3, seconds=100.0), random.Random(1))
    by_time = await drive(Server(1.0), Load(concurrency=1, requests=300, seconds=5.0), random.Random(1))
    assert (len(by_count), len(by_time)) == (3, 5)


async def test_a_caller_of_a_closed_loop_can_be_held_back():
    server = Server(0.0)
    await drive(server, Load(concurrency=1, seconds=0.009, at_least=0.002), random.Random(1))
    assert server.came == pytest.approx([0.0, 0.002, 0.004, 0.006, 0.008])


async def test_constant_arrivals_come_like_a_metronome_whatever_the_answers_do():
    server = Server(100.0)
    await drive(server, Load(rate=2.0, arrivals="constant", requests=5), random.Random(1))
    assert server.came == [0.0, 0.5, 1.0, 1.5, 2.0]


async def test_poisson_arrivals_have_the_rate_and_the_spread_of_chance():
    server = Server(0.0)
    await drive(server, Load(rate=50.0, seconds=200.0), random.Random(1))
    gaps = [after - before for before, after in itertools.pairwise(server.came)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.05)  # as of an exponential distribution
    assert max(server.came) < 200.0


def test_the_same_seed_gives_the_same_arrivals():
    def came(seed):
        server = Server()
        run(drive(server, Load(rate=5.0, requests=50), random.Random(seed)))
        return server.came

    assert came(1) == came(1) != came(2)


async def test_in_an_open_loop_a_stall_shows_in_every_call_that_was_due_during_it():
    # One answer takes 10 s, all others none; the server takes one call at a time: whoever comes meanwhile waits.
    server = Server(10.0, *[0.0] * 99, one_at_a_time=True)
    samples = await drive(server, Load(rate=10.0, arrivals="constant", requests=100), random.Random(1))
    assert max(samples.latency) == 10.0
    assert sorted(samples.latency)[50] == pytest.approx(5.1)


async def test_in_a_closed_loop_the_same_stall_is_seen_by_one_call_alone():
    server = Server(10.0, *[0.0] * 99, one_at_a_time=True)
    samples = await drive(server, Load(concurrency=1, requests=100), random.Random(1))
    assert sorted(samples.latency)[-2:] == [0.0, 10.0]


async def test_latency_counts_from_the_instant_at_which_a_call_was_due_not_from_its_sending():
    late = []

    async def clogged(number):
        loop = asyncio.get_running_loop()
        if not late:  # the loop is held up, as by something that computes, and the generator with it
            late.append(number)
            loop._now += 3.0
        return reply(first_token=0.5)

    samples = await drive(clogged, Load(rate=1.0, arrivals="constant", requests=4), random.Random(1))
    # Calls due at 0, 1, 2 and 3 s: the first holds the loop up for 3 s and ends then; two are sent late.
    assert list(samples.latency) == [3.0, 2.0, 1.0, 0.0]
    assert list(samples.lag) == [0.0, 2.0, 1.0, 0.0]
    assert list(samples.first_token) == [0.5, 2.5, 1.5, 0.5]


async def test_progress_goes_up_to_the_end():
    shown = []
    await drive(Server(1.0), Load(concurrency=2, requests=10), random.Random(1), on_progress=shown.append)
    assert shown == sorted(shown)
    assert shown[-1] == 1.0


async def test_errors_are_kept_by_their_type_with_what_was_sent_for_them():
    async def fails(number):
        error = DeadlineExceeded(1.0, [attempt(failed=True), attempt(failed=True)])
        raise error if number % 2 else ResilioError("no")

    samples = await drive(fails, Load(concurrency=1, requests=5), random.Random(1))
    report = level_report(samples, Load(concurrency=1, requests=5), streamed=True)
    assert report.errors == {"ResilioError": 3, "DeadlineExceeded": 2}
    assert (report.answered, report.availability, report.latency, report.first_token) == (0, 0.0, None, None)
    assert (report.upstream, report.amplification) == (4, 0.8)
    assert report.attempt_errors == {"overloaded": 4}


async def test_a_bug_in_the_engine_is_not_taken_for_an_answer_that_failed():
    async def buggy(number):
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        await drive(buggy, Load(concurrency=1, requests=5), random.Random(1))
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(
    "wrong", [{}, {"concurrency": 1}, {"rate": 1.0}, {"concurrency": 1, "rate": 1.0, "requests": 1}]
)
def test_a_load_without_a_level_or_without_an_end_is_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        Load(**wrong)


# --- figures -----------------------------------------------------------------------------------


def test_a_partial_answer_is_no_answer_but_counts_as_sent():
    samples = Samples()
    samples.reply(0.0, 0.0, 1.0, reply(complete=False, attempts=3))
    report = level_report(samples, Load(concurrency=1, requests=1), streamed=False)
    assert (report.answered, report.errors, report.upstream) == (0, {PARTIAL: 1}, 3)
    assert report.attempt_errors == {"overloaded": 2}


def test_costs_are_summed_where_they_are_known():
    samples = Samples()
    samples.reply(0.0, 0.0, 1.0, reply())
    assert level_report(samples, Load(concurrency=1, requests=1), streamed=False).cost_usd is None
    samples.reply(0.0, 0.0, 1.0, reply(cost=0.25))
    samples.reply(0.0, 0.0, 1.0, reply(cost=0.5))
    assert level_report(samples, Load(concurrency=1, requests=1), streamed=False).cost_usd == 0.75


def test_a_first_token_is_reported_of_streams_alone():
    samples = Samples()
    samples.reply(0.0, 0.0, 1.0, reply(first_token=0.25))
    load = Load(concurrency=1, requests=1)
    assert level_report(samples, load, streamed=True).first_token.p50 == 0.25
    assert level_report(samples, load, streamed=False).first_token is None


def test_percentiles_are_by_nearest_rank():
    found = Percentiles.of(range(1, 101))
    assert (found.p50, found.p95, found.p99, found.max, found.mean) == (50, 95, 99, 100, 50.5)
    assert Percentiles.of([]) is None
    assert Percentiles.of([7.0]).p99 == 7.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_the_nearest_rank_is_the_smallest_value_that_a_share_does_not_exceed(values, share):
    ordered = sorted(values)
    found = nearest_rank(ordered, share)
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6
    assert sum(value < found for value in ordered) < share * len(ordered)
