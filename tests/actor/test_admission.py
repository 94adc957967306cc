"""The fast lane: who is admitted at once, who is refused, and what a refusal says."""

import asyncio

import pytest
from actor_world import SMALL, many, one

from resilio.actor import Lease, Outcome, Why
from resilio.errors import ErrorClass
from resilio.events import BreakerChanged, KeySetAside
from resilio.models import Demand
from resilio.statemachines.breaker import BreakerState
from resilio.supervisor import NoLease

DOWN = ErrorClass.SERVER_ERROR


# --- slots and limits ------------------------------------------------------------------------


def test_a_lease_takes_a_slot_and_settling_frees_it():
    p = one(max_concurrency=1)
    lease = p.lease()
    assert (p.record.in_flight, p.model().in_flight) == (1, 1)
    assert p.refusal().why == Why.BUSY
    p.settle(lease)
    assert (p.record.in_flight, p.model().in_flight) == (0, 0)
    assert isinstance(p.ask(), Lease)


def test_a_busy_provider_says_how_many_are_in_flight():
    p = one(max_concurrency=3)
    for _ in range(3):
        p.lease()
    assert (p.refusal().why, p.refusal().count) == (Why.BUSY, 3)
    assert p.refusal().waitable


def test_a_spent_limit_says_when_there_is_room_and_takes_no_slot():
    p = one({"m": {"tokens_per_minute": 600}})
    p.lease(demand=Demand(600, 0))
    refusal = p.refusal(demand=Demand(50, 50))
    assert (refusal.why, p.record.in_flight) == (Why.RATE_LIMITED, 1)
    assert refusal.retry_in == pytest.approx(10.0, abs=1e-3)


def test_a_request_larger_than_the_whole_limit_is_told_so_and_not_to_wait():
    p = one({"m": {"tokens_per_minute": 600}})
    refusal = p.refusal(demand=Demand(601, 0))
    assert (refusal.why, refusal.retry_in, refusal.waitable) == (Why.TOO_LARGE, None, False)


def test_models_of_one_group_share_the_smallest_limit_and_other_groups_are_untouched():
    p = one(
        {
            "a": {"group": "g", "tokens_per_minute": 100},
            "b": {"group": "g", "tokens_per_minute": 900},
            "c": {"tokens_per_minute": 100},
        }
    )
    p.lease("b", Demand(100, 0))
    assert p.refusal("a").why == Why.RATE_LIMITED
    assert isinstance(p.ask("c", Demand(100, 0)), Lease)


def test_an_actor_that_does_not_run_says_what_it_does_instead():
    p = one()
    p.record.lifecycle.drain(p.now)
    assert (p.refusal().why, p.refusal().detail, p.refusal().waitable) == (Why.STOPPED, "draining", False)


def test_an_actor_about_to_come_back_is_worth_waiting_for():
    p = one()
    p.record.lifecycle.crashed(p.now, "a bug")
    assert (p.refusal().why, p.refusal().detail, p.refusal().waitable) == (Why.RESTARTING, "restarting", True)


# --- circuits --------------------------------------------------------------------------------


def half_open(p):
    """Trip model "m" and wait the break out."""
    p.fail(DOWN, 5)
    p.later(30)


def test_at_the_instant_the_break_ends_one_of_200_callers_gets_the_probe_and_the_rest_are_refused():
    p = one(max_concurrency=500)
    half_open(p)
    answers = [p.ask() for _ in range(200)]
    leases = [each for each in answers if isinstance(each, Lease)]
    assert len(leases) == 1
    assert leases[0].probe
    assert {each.why for each in answers if not isinstance(each, Lease)} == {Why.TARGET_OPEN}
    assert not any(each.waitable for each in answers if not isinstance(each, Lease))


async def test_with_a_second_target_the_199_others_get_a_lease_there_at_once():
    async with many({"name": "a", "max_concurrency": 500}, {"name": "b", "max_concurrency": 500}) as w:
        w.trip("a/m")
        await asyncio.sleep(30)
        got = [w.acquire() for _ in range(200)]
        assert [(target.name, lease.probe) for target, lease in got[:2]] == [("a/m", True), ("b/m", False)]
        assert {target.name for target, _ in got[1:]} == {"b/m"}
        for _, lease in got:
            lease.settle(w.now, Outcome.CANCELLED)
        w.assert_idle()


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.REJECTED])
def test_a_probe_that_ends_without_evidence_frees_its_place(outcome):
    p = one()
    half_open(p)
    probe = p.lease()
    assert p.refusal().why == Why.TARGET_OPEN
    probe.settle(p.now, outcome)
    assert p.lease().probe


def test_a_success_from_before_the_break_is_stale_and_moves_nothing():
    p = one()
    before = p.lease()
    p.fail(DOWN, 5)
    assert p.settle(before) is True
    assert p.model().breaker.state is BreakerState.OPEN
    p.later(30)
    late = one()
    old = late.lease()
    half_open(late)
    late.lease()
    assert late.settle(old) is True
    assert late.model().breaker.state is BreakerState.HALF_OPEN
    assert late.refusal().why == Why.TARGET_OPEN


def test_three_successful_probes_begin_the_ramp_and_each_is_a_real_request():
    p = one()
    half_open(p)
    for _ in range(3):
        p.settle(p.lease())
    assert p.model().breaker.state is BreakerState.RAMPING


def ramping(p):
    half_open(p)
    for _ in range(3):
        p.settle(p.lease())


def test_a_ramping_target_takes_its_share_and_whoever_insists():
    p = one(breaker={"ramp_start": 0.25})
    ramping(p)
    answers = [p.ask() for _ in range(100)]
    taken = [each for each in answers if isinstance(each, Lease)]
    assert len(taken) == 25
    assert {each.why for each in answers if not isinstance(each, Lease)} == {Why.RAMPING}
    assert isinstance(p.ask(insist=True), Lease)


async def test_a_ramping_target_is_preferred_in_its_share_only_but_takes_all_when_nothing_else_is_left():
    async with many({"name": "a", "max_concurrency": 500}, {"name": "b", "max_concurrency": 45}) as w:
        w.trip("a/m")
        await asyncio.sleep(30)
        for _ in range(3):
            w.done(w.lease("a/m"))
        assert w.model("a/m").breaker.state is BreakerState.RAMPING
        first = [w.acquire()[0].name for _ in range(50)]
        assert first.count("a/m") == 5, "a tenth, as the ramp begins"
        assert {w.acquire()[0].name for _ in range(50)} == {"a/m"}, "b is full, and a still takes them"


def test_an_open_circuit_is_told_rather_than_a_queue_that_leads_to_it():
    p = one({"m": {}, "n": {}}, max_concurrency=1)
    p.fail(DOWN, 5)
    p.lease("n")
    refusal = p.refusal("m")
    assert (refusal.why, refusal.waitable, refusal.retry_in) == (Why.TARGET_OPEN, False, 30.0)


@pytest.mark.parametrize("fault", [ErrorClass.SERVER_ERROR, ErrorClass.CONNECT])
def test_a_refusal_by_the_limits_frees_the_places_of_both_circuits_probes(fault):
    p = one({"m": {"tokens_per_minute": 6000}})
    p.fail(fault, 5)
    p.later(30)
    assert p.refusal(demand=Demand(7000, 0)).why == Why.TOO_LARGE
    assert p.lease().probe


def test_a_refusal_by_the_target_frees_the_providers_probe():
    p = one({"m": {}, "n": {}})
    p.fail(ErrorClass.CONNECT, 5, "n")
    p.later(20)
    p.model("m").breaker.force_open(p.now)
    p.later(10)
    assert p.refusal("m").why == Why.TARGET_OPEN
    assert p.lease("n").probe


def test_every_change_of_a_circuit_by_an_admission_reaches_listeners():
    p = one()
    half_open(p)
    p.lease()
    assert [(e.name, e.source, e.dest) for e in p.events if isinstance(e, BreakerChanged)] == [
        ("p/m", "closed", "open"),
        ("p/m", "open", "half_open"),
    ]


# --- early probes ----------------------------------------------------------------------------


async def test_an_early_probe_goes_out_only_when_all_targets_are_open():
    async with many({"name": "a"}, {"name": "b"}) as w:
        w.trip("a/m")
        await asyncio.sleep(5)
        target, lease = w.acquire()
        assert (target.name, lease.probe) == ("b/m", False)
        w.trip("b/m")
        target, lease = w.acquire()
        assert (target.name, lease.probe) == ("a/m", True)
        with pytest.raises(NoLease):  # one out is enough
            w.acquire()


async def test_no_early_probe_before_a_retry_after():
    async with many() as w:
        w.trip("p/m", retry_after=25.0)
        for pause, left in ((5, 25), (19.9, 5.1)):
            await asyncio.sleep(pause)
            with pytest.raises(NoLease) as refused:
                w.acquire()
            assert refused.value.retry_after == pytest.approx(left)
        await asyncio.sleep(0.2)
        assert w.acquire()[1].probe


def test_an_early_probe_of_a_provider_is_not_lost_to_the_ramp_of_its_model():
    p = one(breaker={"ramp_start": 0.01})
    ramping(p)
    for lease in [p.lease(insist=True) for _ in range(5)]:
        p.settle(lease, Outcome.FAILURE, ErrorClass.CONNECT)
    p.later(5)
    assert p.refusal().why == Why.PROVIDER_OPEN
    assert p.lease(early=True).probe


# --- keys ------------------------------------------------------------------------------------


def test_a_throttled_key_rests_and_the_next_is_used():
    p = one(keys=2)
    p.ignore(ErrorClass.THROTTLED, retry_after=20.0)
    assert (p.resting(0), p.resting(1)) == (20.0, 0.0)
    assert p.lease().key.index == 1
    p.later(20.1)
    assert p.lease().key.index == 0


def test_a_throttled_key_rests_in_that_model_group_only():
    p = one({"m": {}, "n": {}})
    p.ignore(ErrorClass.THROTTLED, retry_after=20.0)
    assert p.refusal("m").why == Why.RATE_LIMITED
    assert isinstance(p.ask("n"), Lease)


def test_a_key_with_room_is_used_before_anybody_waits():
    p = one({"m": {"tokens_per_minute": 100}}, keys=2)
    assert [p.lease(demand=Demand(100, 0)).key.index for _ in range(2)] == [0, 1]
    assert p.refusal(demand=Demand(50, 0)).retry_in == pytest.approx(30.0, abs=1e-3)
    assert p.actor.has_spare_key(p.now, p.model(), SMALL) is False


@pytest.mark.parametrize("fault", [ErrorClass.UNAUTHORISED, ErrorClass.OUT_OF_CREDIT])
def test_a_refused_key_is_set_aside_alone(fault):
    p = one(keys=2)
    p.ignore(fault)
    assert [key.aside for key in p.record.keys] == [str(fault), None]
    assert [e for e in p.events if isinstance(e, KeySetAside)] == [KeySetAside("p", 0, str(fault), p.now)]
    assert p.record.breaker.state is BreakerState.CLOSED
    assert p.actor.has_spare_key(p.now, p.model(), SMALL)
    assert {p.lease().key.index for _ in range(10)} == {1}


def test_the_last_key_gone_opens_the_provider_and_the_refusal_says_it_is_the_keys():
    p = one(keys=2)
    p.ignore(ErrorClass.UNAUTHORISED)
    p.ignore(ErrorClass.OUT_OF_CREDIT)
    assert p.record.breaker.state is BreakerState.OPEN
    assert p.model().breaker.state is BreakerState.CLOSED
    refusal = p.refusal()
    assert (refusal.why, refusal.detail, refusal.retry_in) == (Why.NO_KEY, "unauthorised", 30.0)
    assert refusal.probeable
    assert not refusal.waitable


def test_probes_try_the_keys_that_are_set_aside_in_turn():
    p = one(keys=2, breaker={"max_break_duration": 30.0, "break_duration": 30.0})
    p.ignore(ErrorClass.UNAUTHORISED)
    p.later(1)
    p.ignore(ErrorClass.UNAUTHORISED)
    tried = []
    for _ in range(4):
        p.later(30)
        probe = p.lease()
        assert probe.probe
        tried.append(probe.key.index)
        p.settle(probe, Outcome.IGNORED, ErrorClass.UNAUTHORISED)
        assert p.record.breaker.state is BreakerState.OPEN, "one refused probe is enough"
    assert tried == [0, 1, 0, 1]


def test_a_corrected_key_comes_back_through_probes_and_alone():
    p = one(keys=2)
    for _ in range(2):
        p.later(1)
        p.ignore(ErrorClass.UNAUTHORISED)
    p.later(30)
    for _ in range(3):
        p.settle(p.lease())
    assert p.record.breaker.state is BreakerState.RAMPING
    assert [key.aside for key in p.record.keys] == [None, "unauthorised"]
    p.later(30)
    p.settle(p.lease(), Outcome.IGNORED, ErrorClass.UNAUTHORISED)  # the other has rested, and is still refused
    assert {p.lease().key.index for _ in range(5)} == {0}
    assert p.record.breaker.state is BreakerState.CLOSED


def test_an_early_probe_with_a_bad_key_leaves_the_break_as_it_was():
    p = one()
    p.ignore(ErrorClass.UNAUTHORISED)
    p.later(10)
    probe = p.lease(early=True)
    p.settle(probe, Outcome.IGNORED, ErrorClass.UNAUTHORISED)
    assert p.record.breaker.wait(p.now) == 20.0


def test_a_success_sent_before_the_key_was_set_aside_does_not_bring_it_back():
    p = one(keys=2)
    before, _, refused = (p.lease() for _ in range(3))
    assert before.key is refused.key is p.record.keys[0]
    p.later(1)
    p.settle(refused, Outcome.IGNORED, ErrorClass.UNAUTHORISED)
    p.later(1)
    p.settle(before)
    assert p.record.keys[0].aside == "unauthorised"


def test_a_refusal_sent_before_the_key_was_corrected_does_not_set_it_aside_again():
    p = one()
    before = p.lease()
    p.later(1)
    p.ignore(ErrorClass.UNAUTHORISED)
    p.later(30)
    p.settle(p.lease())
    assert p.record.keys[0].aside is None
    p.later(1)
    assert p.settle(before, Outcome.IGNORED, ErrorClass.UNAUTHORISED) is True
    assert p.record.keys[0].aside is None
    assert p.record.breaker.state is BreakerState.HALF_OPEN


def test_a_late_refusal_of_a_key_does_not_end_the_probing_that_has_begun():
    p = one()
    first, late = p.lease(), p.lease()
    p.settle(first, Outcome.IGNORED, ErrorClass.UNAUTHORISED)
    p.later(30)
    probe = p.lease()
    p.later(1)
    assert p.settle(late, Outcome.IGNORED, ErrorClass.UNAUTHORISED) is True
    assert p.record.breaker.state is BreakerState.HALF_OPEN
    p.settle(probe)
    assert p.record.keys[0].aside is None


def test_closing_the_circuit_by_hand_gives_the_keys_another_chance():
    p = one()
    p.ignore(ErrorClass.UNAUTHORISED)
    p.later(1)
    p.record.breaker.reset(p.now)
    p.settle(p.lease())
    assert p.record.keys[0].aside is None


def test_a_key_that_is_set_aside_still_keeps_its_limits():
    p = one({"m": {"tokens_per_minute": 100}})
    p.ignore(ErrorClass.UNAUTHORISED)
    p.record.breaker.reset(p.now)
    p.lease(demand=Demand(80, 0))
    assert p.refusal(demand=Demand(80, 0)).why == Why.RATE_LIMITED
