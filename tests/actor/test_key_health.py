"""Keys beside each other: which serves, which rests, which is set aside, and how each comes back."""

import random
from dataclasses import replace

import pytest
from actor_world import SMALL, one
from hypothesis import given
from hypothesis import strategies as st

from resilio.actor import Lease, Outcome, Why
from resilio.actor.keys import give, nothing_new, restore
from resilio.config import KeySettings
from resilio.config.secrets import Source
from resilio.errors import ErrorClass
from resilio.events import KeyRenewed, KeyRestored, KeySetAside
from resilio.models import Demand, HeldBy
from resilio.statemachines.breaker import BreakerState

BAD, BROKE = ErrorClass.UNAUTHORISED, ErrorClass.OUT_OF_CREDIT


def keys(*tables):
    return [KeySettings(**{"key": f"sk-{at}", **table}) for at, table in enumerate(tables)]


def from_file(p, index=0, *, asked=True):
    """As if a keeper looked after this key: refusals ask its file."""
    key = p.record.keys[index]
    key.settings = replace(key.settings, source=Source("file", "/key"))
    p.record.renew = lambda its: asked and its.renewable
    return key


def refuse(p, lease, error=BAD, **what):
    p.settle(lease, Outcome.IGNORED, error, **what)


def told(p, kind):
    return [event for event in p.events if isinstance(event, kind)]


# --- which serves ------------------------------------------------------------------------------


def test_a_keys_own_limit_takes_the_place_of_the_models():
    p = one(
        {"m": {"tokens_per_minute": 600, "requests_per_minute": 50}, "n": {}},
        keys=keys({"tokens_per_minute": 6000}, {}),
    )
    assert (p.level(), p.level(key=1)) == (6000, 600)
    assert (p.level("requests"), p.level("requests", key=1)) == (50, 50)
    assert p.level(group="n") == 6000
    assert "tokens" not in p.record.keys[1].limiters["n"].statistics(p.now).dimensions


def test_the_key_with_the_largest_share_left_serves_so_that_all_run_dry_together():
    p = one({"m": {}}, keys=keys({"requests_per_minute": 10}, {"requests_per_minute": 30}))
    served = [p.lease().key.index for _ in range(40)]
    assert (served.count(0), served.count(1)) == (10, 30)
    for ended in (8, 20, 32):
        assert abs(served[:ended].count(0) - ended / 4) <= 1
    assert p.refusal().why == Why.RATE_LIMITED


def test_keys_without_limits_take_turns_and_the_busy_one_waits_for_its_own():
    p = one(keys=3)
    held = [p.lease() for _ in range(3)]
    assert [lease.key.index for lease in held] == [0, 1, 2]
    p.settle(held[1])
    assert p.lease().key.index == 1
    for lease in held[::2]:
        p.settle(lease)
    assert [p.lease().key.index for _ in range(2)] == [0, 2]


HELD = Demand(1, 1, HeldBy("p/m", 1))


def test_the_key_that_holds_the_prompt_serves_while_it_has_room_and_never_beyond():
    p = one({"m": {}}, keys=keys({"requests_per_minute": 30}, {"requests_per_minute": 5}))
    assert p.lease(demand=HELD).record.name == HELD.held.target
    served = [p.lease(demand=HELD).key.index for _ in range(6)]
    assert served == [1] * 4 + [0] * 2, "one had been taken; then another key has room"
    assert [p.lease().key.index for _ in range(3)] == [0] * 3, "others go by what is left"


def test_the_key_that_holds_the_prompt_is_passed_over_while_it_is_set_aside_or_rests():
    p = one(keys=2)
    refuse(p, p.lease(demand=HELD))
    assert [p.lease(demand=HELD).key.index for _ in range(3)] == [0] * 3
    p = one(keys=2)
    p.settle(p.lease(demand=HELD), Outcome.IGNORED, ErrorClass.THROTTLED, retry_after=20.0)
    assert p.lease(demand=HELD).key.index == 0
    p.clock.now += 21
    assert p.lease(demand=HELD).key.index == 1


@pytest.mark.parametrize("held", [HeldBy("p/m", 7), HeldBy("p/other", 1), HeldBy("q/m", 1)], ids=str)
def test_a_prompt_that_no_key_of_the_target_holds_changes_nothing(held):
    p = one(keys=3)
    assert [p.lease(demand=Demand(1, 1, held)).key.index for _ in range(3)] == [0, 1, 2]


def test_while_prompts_are_held_a_key_that_was_set_aside_is_still_tried():
    p = one(keys=2)
    refuse(p, p.lease())
    p.clock.now += 61
    assert p.lease(demand=HELD).key.index == 0


@pytest.mark.parametrize("hint", [20.0, None])
def test_a_throttled_key_does_not_hold_the_others_back(hint):
    # Also when the provider speaks of the whole organisation: whose the other keys are, it does not say.
    p = one(keys=2)
    refuse(p, p.lease(), ErrorClass.THROTTLED, retry_after=hint)
    assert p.resting(0) > 0
    assert {p.lease().key.index for _ in range(20)} == {1}
    p.later(31)
    assert {p.lease().key.index for _ in range(20)} == {0}, "it has idled while the other has twenty in flight"


def test_a_hint_of_no_time_at_all_is_none():
    p = one(keys=1)
    refuse(p, p.lease(), ErrorClass.THROTTLED, retry_after=0.0)
    assert 1 <= p.resting() <= 2


# --- aside, tried, back ------------------------------------------------------------------------


@pytest.mark.parametrize(("why", "first"), [(BAD, 60), (BROKE, 300)])
def test_a_key_set_aside_is_tried_by_one_request_after_a_rest_that_doubles(why, first):
    p = one(keys=2)
    refuse(p, p.lease(), why)
    rest = first
    for _ in range(9):
        p.later(rest - 1)
        assert p.lease().key.index == 1
        p.later(1)
        trial = p.lease()
        assert (trial.key.index, trial.trial) == (0, True)
        assert {p.lease().key.index for _ in range(5)} == {1}, "one at a time"
        refuse(p, trial, why)
        rest = min(3600, rest * 2)
    assert [event.why for event in told(p, KeySetAside)] == [str(why)]
    assert p.record.breaker.state is BreakerState.CLOSED


def test_a_trial_that_works_brings_the_key_back_and_its_rests_begin_anew():
    p = one(keys=2)
    for _ in range(3):
        refuse(p, p.lease())
        p.later(240)
    p.settle(p.lease())
    assert told(p, KeyRestored) == [KeyRestored("p", 0, "works", p.now)]
    assert p.record.keys[0].aside is None
    refuse(p, p.lease())
    assert p.record.keys[1].aside_until == p.now + 60


def test_the_first_content_of_a_stream_is_enough_of_a_trial():
    p = one(keys=2)
    refuse(p, p.lease())
    p.later(60)
    trial = p.lease()
    trial.first_token(p.now, 0.1)
    assert p.record.keys[0].aside is None


def test_a_rest_that_the_provider_names_is_kept_to():
    p = one(keys=2)
    refuse(p, p.lease(), BROKE, retry_after=86_400.0)
    p.later(86_399)
    assert {p.lease().key.index for _ in range(5)} == {1}
    p.later(1)
    assert p.lease().trial


def test_a_rest_of_no_time_that_a_provider_names_does_not_make_every_request_a_trial():
    p = one(keys=2)
    refuse(p, p.lease(), BROKE, retry_after=0.001)
    p.later(4.9)
    assert {p.lease().key.index for _ in range(5)} == {1}
    p.later(0.1)
    assert p.lease().trial


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(Outcome.FAILURE, ErrorClass.SERVER_ERROR), (Outcome.CANCELLED, None), (Outcome.IGNORED, ErrorClass.CALLER)],
)
def test_a_trial_that_says_nothing_of_the_key_is_followed_by_another_soon(outcome, error):
    p = one(keys=2)
    refuse(p, p.lease())
    p.later(60)
    p.settle(p.lease(), outcome, error)
    assert p.record.keys[0].aside == "unauthorised"
    assert not p.lease().trial
    p.later(5)
    assert p.lease().trial


def test_a_key_is_put_back_by_hand_and_its_circuit_with_it():
    p = one(keys=2)
    for _ in range(2):
        refuse(p, p.lease(), BROKE)
    assert p.record.breaker.state is BreakerState.OPEN
    restore(p.record, p.record.keys[1], p.now, "by_hand")
    assert p.record.breaker.state is BreakerState.CLOSED
    assert {p.lease().key.index for _ in range(5)} == {1}
    assert told(p, KeyRestored) == [KeyRestored("p", 1, "by_hand", p.now)]


def test_a_circuit_that_failures_opened_stays_open_when_a_key_comes_back():
    p = one(keys=2)
    refuse(p, p.lease())
    p.fail(ErrorClass.CONNECT, times=5)
    restore(p.record, p.record.keys[0], p.now, "by_hand")
    assert p.record.breaker.state is BreakerState.OPEN


# --- another secret ----------------------------------------------------------------------------


def test_a_refusal_counts_only_when_the_file_has_no_other_secret():
    p = one()
    key = from_file(p)
    refuse(p, p.lease())
    assert told(p, KeySetAside) == []
    assert p.refusal().why == Why.RENEWING
    assert p.record.breaker.state is BreakerState.CLOSED
    p.later(1)
    nothing_new(p.record, key, p.now)
    assert told(p, KeySetAside) == [KeySetAside("p", 0, "unauthorised", p.now)]
    assert p.record.breaker.state is BreakerState.OPEN
    assert p.refusal().why == Why.NO_KEY


def test_a_new_secret_is_used_at_once_and_keeps_the_limits():
    p = one({"m": {"tokens_per_minute": 600}})
    key = from_file(p)
    old = p.lease(demand=Demand(400, 0))
    refuse(p, old)
    give(p.record, key, "sk-new", p.now)
    assert p.level() == pytest.approx(200)
    assert p.lease().secret == "sk-new"
    assert (told(p, KeySetAside), told(p, KeyRestored)) == ([], []), "it never counted as set aside"
    assert told(p, KeyRenewed) == [KeyRenewed("p", 0, p.now)]


def test_what_the_old_secret_still_meets_says_nothing_of_the_new_one():
    p = one()
    key = from_file(p)
    lost, late, later = (p.lease() for _ in range(3))
    refuse(p, lost)
    refuse(p, late)
    give(p.record, key, "sk-new", p.now)
    refuse(p, later)
    assert key.aside is None
    assert p.record.breaker.state is BreakerState.CLOSED
    p.settle(p.lease())
    p.record.renew = lambda key: False
    refuse(p, p.lease())
    assert key.aside == "unauthorised", "the new one is refused in its own right"


def test_a_throttled_key_goes_on_resting_with_its_new_secret():
    p = one()
    key = from_file(p)
    refuse(p, p.lease(), ErrorClass.THROTTLED, retry_after=20.0)
    give(p.record, key, "sk-new", p.now)
    assert p.resting() == 20.0


def test_a_key_that_may_come_back_in_a_moment_does_not_leave_the_provider_without_any():
    p = one(keys=2)
    first = from_file(p)
    a, b = p.lease(), p.lease()
    refuse(p, a)
    refuse(p, b, BROKE)
    assert p.record.breaker.state is BreakerState.CLOSED
    give(p.record, first, "sk-new", p.now)
    assert p.lease().key is first


def test_a_key_that_was_aside_before_is_not_tried_while_its_file_is_asked():
    p = one(keys=2)
    key = from_file(p, asked=False)
    refuse(p, p.lease())
    p.later(60)
    p.settle(p.lease())
    assert key.aside is None
    p.record.renew = lambda its: True
    p.settle(p.lease())
    refuse(p, p.lease())
    assert key.renewing
    assert {p.lease().key.index for _ in range(5)} == {1}


def test_a_refused_trial_is_no_reason_to_make_anybody_wait():
    p = one(keys=2)
    key = from_file(p, asked=False)
    refuse(p, p.lease())
    p.later(60)
    p.record.renew = lambda its: True
    refuse(p, p.lease())
    assert (key.aside, key.renewing) == ("unauthorised", False)
    give(p.record, key, "sk-new", p.now)
    assert key.aside is None


# --- any schedule ------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "ask", "ask", "settle", "refuse", "broke", "throttle", "cancel", "renew", "none", "hand"]
        ),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.5, 5.0, 60.0, 400.0]),
    ),
    max_size=80,
)


@given(steps, st.booleans())
def test_no_key_is_used_while_it_is_aside_and_none_is_forgotten(schedule, files):
    p = one({"m": {"requests_per_minute": 60}}, keys=3)
    if files:
        for index in range(3):
            from_file(p, index)
    out: list[Lease] = []
    for what, number, seconds in schedule:
        p.later(seconds)
        if what == "ask":
            aside = {key.index for key in p.record.keys if key.aside is not None}
            due = {key.index for key in p.record.keys if key.aside and p.now >= key.aside_until and key.trial is None}
            got = p.ask()
            if isinstance(got, Lease):
                out.append(got)
                used = got.key.index
                assert used not in aside or used in due or aside == {0, 1, 2}
                assert got.trial == (used in aside)
                assert not got.key.renewing
                assert got.secret == got.key.secret
        elif what in ("renew", "none", "hand"):
            key = p.record.keys[number % 3]
            if what == "renew":
                give(p.record, key, f"sk-{key.index}-{p.now}", p.now)
            elif what == "none":
                nothing_new(p.record, key, p.now)
            else:
                restore(p.record, key, p.now, "by_hand")
            assert not key.renewing
        elif out:
            lease = out.pop(number % len(out))
            error = {"refuse": BAD, "broke": BROKE, "throttle": ErrorClass.THROTTLED}.get(what)
            outcome = {"settle": Outcome.SUCCESS, "cancel": Outcome.CANCELLED}.get(what, Outcome.IGNORED)
            p.settle(lease, outcome, error, retry_after=2.0 if what == "throttle" else None)
        for key in p.record.keys:
            assert key.in_flight == sum(lease.key is key for lease in out)
            assert key.trial is None or key.trial in out
    for lease in out:
        p.settle(lease, Outcome.CANCELLED)
    assert all(key.in_flight == 0 and key.trial is None for key in p.record.keys)
    # Whatever happened: once nothing is refused any more, every key serves again within the longest rest.
    for key in p.record.keys:
        nothing_new(p.record, key, p.now)
    for _ in range(40):
        p.later(120)
        for _ in range(6):
            got = p.ask()
            if isinstance(got, Lease):
                p.settle(got)
    assert [key.aside for key in p.record.keys] == [None] * 3
    p.later(120)
    served = {p.lease().key.index for _ in range(9)}
    assert served == {0, 1, 2}


def test_a_key_beside_full_ones_never_starves():
    rng = random.Random(7)
    p = one({"m": {"tokens_per_minute": 3000}}, keys=keys(*({"name": f"k{n}"} for n in range(4))))
    last, out = dict.fromkeys(range(4), p.now), []
    for _ in range(3000):
        p.later(rng.expovariate(10))
        if out and rng.random() < 0.5:
            p.settle(out.pop(rng.randrange(len(out))))
        got = p.ask(demand=Demand(rng.randint(1, 40), rng.randint(1, 40)))
        if isinstance(got, Lease):
            out.append(got)
            last[got.key.index] = p.now
        for key in p.record.keys:
            if key.limiters["m"].wait(p.now, SMALL):
                last[key.index] = p.now  # it has no room
        assert min(last.values()) > p.now - 15
