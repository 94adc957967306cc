"""`complete_many`: bounded, results as they come, one failure loses none of the others."""

import asyncio

import pytest
from world import world

from resilio import CompletionRequest, InvalidRequest
from resilio.testing.faults import Error
from resilio.testing.latency import Fixed, Uniform
from resilio.testing.script import Script


def questions(n):
    return [CompletionRequest("chat", f"question {i}") for i in range(n)]


async def test_every_request_is_answered_and_results_come_as_they_are_ready():
    async with world(a=Script(first_token=Uniform(0.1, 2.0))) as w:
        done = [each async for each in w.llm.complete_many(questions(100), max_concurrency=100)]
        assert sorted(each.index for each in done) == list(range(100))
        assert [each.index for each in done] != list(range(100)), "not in the order they were asked"
        assert all(each.reply.text == f"question {each.index}" for each in done)
        w.assert_idle()


async def test_no_more_than_max_concurrency_are_in_flight_and_the_source_is_read_as_needed():
    taken = 0

    def source():
        nonlocal taken
        for each in questions(50):
            taken += 1
            yield each

    async with world(a=Script(first_token=Fixed(1.0))) as w:
        began, seen = w.now, 0
        async for _ in w.llm.complete_many(source(), max_concurrency=10):
            seen += 1
            assert w.providers["a"].in_flight <= 10
            assert taken <= seen + 10
        assert w.now - began == pytest.approx(5.0, abs=0.2)


async def test_one_failure_does_not_lose_the_others():
    script = Script(answer="fine").first(1, Error("invalid_value"))
    async with world(a=script) as w:
        done = [each async for each in w.llm.complete_many(questions(10), max_concurrency=1)]
        failed = [each for each in done if each.error is not None]
        assert [each.index for each in failed] == [0]
        assert isinstance(failed[0].error, InvalidRequest)
        assert all(each.reply is not None for each in done[1:])


async def test_leaving_the_loop_early_cancels_what_is_in_flight():
    async with world(a=Script(first_token=Uniform(0.1, 5.0))) as w:
        many = w.llm.complete_many(questions(100), max_concurrency=20)
        async for _ in many:
            break
        await many.aclose()
        w.assert_idle()
        assert w.calls("a") <= 21


async def test_a_dropped_iterator_is_cleaned_up_by_closing_the_client():
    before = asyncio.all_tasks()
    async with world(a=Script(first_token=Uniform(0.1, 5.0))) as w:
        many = w.llm.complete_many(questions(100), max_concurrency=20)
        await anext(many)
    assert asyncio.all_tasks() == before
    await many.aclose()


@pytest.mark.parametrize("concurrency", [0, -1])
async def test_a_concurrency_under_one_is_refused(concurrency):
    async with world(a=Script()) as w:
        with pytest.raises(ValueError, match="max_concurrency"):
            await anext(w.llm.complete_many(questions(1), max_concurrency=concurrency))
