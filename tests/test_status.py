"""The snapshot: what it shows, that it is frozen, and that taking it moves nothing but what time has moved."""

import asyncio
from dataclasses import FrozenInstanceError

import pytest
from actor_world import many, settled

from resilio.actor import Outcome
from resilio.errors import ErrorClass
from resilio.events import BreakerChanged
from resilio.models import Demand, Usage
from resilio.status import status_of

TWO = (
    {"name": "a", "keys": ["sk-secret-0", "sk-secret-1"], "models": {"m": {"tokens_per_minute": 600}, "n": {}}},
    {"name": "b", "max_concurrency": 1},
)


async def test_a_fresh_engine_is_all_closed_and_empty():
    async with many(*TWO) as w:
        status = status_of(w.supervisor)
        assert list(status.providers) == ["a", "b"]
        assert status.routes == {"r": ("a/m", "a/n", "b/m")}
        for provider in status.providers.values():
            assert (provider.state, provider.generation, provider.in_flight, provider.waiting) == ("running", 0, 0, 0)
            assert provider.breaker.state == "closed"
            for target in provider.targets.values():
                assert (target.breaker.state, target.in_flight) == ("closed", 0)
                assert (target.median_latency, target.p95_first_token) == (None, None)


async def test_it_shows_what_is_in_flight_waiting_and_left():
    async with many(*TWO) as w:
        held = w.lease("b/m")
        w.lease("a/m", Demand(100, 0))
        waiting = w.waiting("b/m")
        await settled()
        status = status_of(w.supervisor)
        assert (status.providers["b"].in_flight, status.providers["b"].waiting) == (1, 1)
        assert status.providers["b"].max_concurrency == 1
        assert status.providers["a"].targets["a/m"].in_flight == 1
        first, second = status.providers["a"].keys
        assert first.limits["m"].dimensions["tokens"].level == pytest.approx(500)
        assert second.limits["m"].dimensions["tokens"].level == pytest.approx(600)
        w.done(held)
        await waiting


async def test_it_tells_which_key_is_set_aside_and_never_the_key():
    async with many(*TWO) as w:
        lease = w.lease("a/m")
        lease.sent = True
        lease.settle(w.now, Outcome.IGNORED, error_class=ErrorClass.UNAUTHORISED)
        status = status_of(w.supervisor)
        assert [(key.index, key.set_aside) for key in status.providers["a"].keys] == [(0, "unauthorised"), (1, None)]
        assert "sk-secret" not in repr(status)
        assert "sk-secret" not in repr(w.provider("a").keys)


async def test_latencies_are_those_of_answers():
    async with many(*TWO) as w:
        for seconds in (1, 2, 3, 4, 5):
            lease = w.lease("a/m")
            await asyncio.sleep(seconds / 2)
            lease.first_token(w.now, seconds / 2)
            await asyncio.sleep(seconds / 2)
            w.done(lease, usage=Usage(10, 10))
        target = status_of(w.supervisor).providers["a"].targets["a/m"]
        assert target.median_latency == pytest.approx(3)
        assert target.p95_first_token == pytest.approx(2.5)


async def test_a_break_that_is_over_is_shown_as_over_and_still_told_to_listeners_once():
    async with many(*TWO) as w:
        w.trip("a/m")
        assert status_of(w.supervisor).providers["a"].targets["a/m"].breaker.reopens_in == 30
        await asyncio.sleep(10)
        assert status_of(w.supervisor).providers["a"].targets["a/m"].breaker.reopens_in == 20
        seen = []
        asyncio.get_running_loop().call_at(
            w.now + 20 - 1e-10, lambda: seen.append(status_of(w.supervisor).providers["a"].targets["a/m"].breaker)
        )
        await asyncio.sleep(21)
        assert status_of(w.supervisor).providers["a"].targets["a/m"].breaker.state == "half_open"
        assert [e.dest for e in w.events if isinstance(e, BreakerChanged)] == ["open", "half_open"]
        assert len(seen) == 1


async def test_looking_changes_nothing():
    async with many(*TWO) as w:
        w.trip("a/m")
        w.lease("b/m")
        assert status_of(w.supervisor) == status_of(w.supervisor)


async def test_a_snapshot_is_frozen_and_stays_as_it_was():
    async with many(*TWO) as w:
        before = status_of(w.supervisor)
        w.lease("b/m")
        assert before.providers["b"].in_flight == 0
        with pytest.raises(FrozenInstanceError):
            before.providers["b"].in_flight = 3


async def test_a_restarted_and_a_closed_provider_say_so():
    async with many(*TWO) as w:
        w.crash("b")
        await settled()
        assert status_of(w.supervisor).providers["b"].state == "restarting"
        await asyncio.sleep(1)
        assert (status_of(w.supervisor).providers["b"].state, status_of(w.supervisor).providers["b"].generation) == (
            "running",
            1,
        )
        await w.supervisor.aclose(0.0)
        assert {provider.state for provider in status_of(w.supervisor).providers.values()} == {"stopped"}
