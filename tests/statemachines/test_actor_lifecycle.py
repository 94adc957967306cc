"""Life cycle of an actor: restarts and their limit, draining, and what no order of calls can break."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilio.statemachines import IllegalEvent
from resilio.statemachines.actor import ActorLifecycle, ActorState

STARTING, RUNNING, DRAINING, RESTARTING, FAILED, STOPPED = ActorState


def running(**limits):
    life = ActorLifecycle(**limits)
    life.started(0.0)
    return life


def test_a_crashed_actor_is_brought_back_in_a_new_generation():
    life = running()
    assert life.crashed(1.0, "ValueError: x")
    assert life.state is RESTARTING
    life.restarted(1.2)
    assert (life.state, life.generation) == (RUNNING, 1)
    assert life.drain_changes() == [
        (STARTING, RUNNING, 0, 0.0, None),
        (RUNNING, RESTARTING, 0, 1.0, "ValueError: x"),
        (RESTARTING, RUNNING, 1, 1.2, None),
    ]
    assert life.drain_changes() == []
    assert repr(life) == "<ActorLifecycle running, generation 1>"


def test_the_sixth_crash_in_half_a_minute_is_the_last():
    life = running()
    for second in range(5):
        assert life.crashed(float(second), "boom")
        life.restarted(float(second))
    assert not life.crashed(29.0, "boom")
    assert life.state is FAILED
    assert life.generation == 5


def test_crashes_spread_over_a_longer_time_are_forgiven():
    life = running()
    for count in range(50):
        assert life.crashed(count * 7.0, "boom")
        life.restarted(count * 7.0)
    assert life.generation == 50


def test_the_limit_of_restarts_is_an_argument():
    assert not running(max_restarts=0).crashed(1.0, "boom")
    life = running(max_restarts=1, restart_window=10.0)
    assert life.crashed(1.0, "boom")
    life.restarted(1.0)
    assert not life.crashed(11.0, "boom")


def test_an_actor_asked_to_drain_twice_drains_once():
    life = running()
    assert life.drain(1.0)
    assert not life.drain(2.0)
    life.drained(3.0)
    assert not life.drain(4.0)
    assert life.state is STOPPED
    assert [change.dest for change in life.changes] == [RUNNING, DRAINING, STOPPED]


def test_an_actor_asked_to_drain_between_crash_and_restart_comes_back_only_to_drain():
    life = running()
    life.crashed(1.0, "boom")
    life.drain(1.1)
    life.restarted(1.2)
    assert (life.state, life.generation) == (DRAINING, 1)
    life.drained(1.3)
    assert life.state is STOPPED


def test_a_crash_while_draining_ends_it():
    life = running()
    life.drain(1.0)
    assert not life.crashed(2.0, "boom")
    assert life.state is STOPPED


def test_a_failed_actor_has_nothing_to_drain():
    life = running(max_restarts=0)
    life.crashed(1.0, "boom")
    life.drain(2.0)
    assert life.state is STOPPED


def test_an_actor_that_cannot_be_restarted_is_given_up_with_the_reason():
    life = running()
    life.crashed(1.0, "boom")
    life.give_up(2.0, "no more files")
    assert life.state is FAILED
    assert life.changes[-1].error == "no more files"


@pytest.mark.parametrize("method", ["started", "restarted", "drained", "stop"])
def test_a_stopped_actor_is_not_moved_any_more(method):
    life = running()
    life.stop(1.0)
    with pytest.raises(IllegalEvent):
        getattr(life, method)(2.0)
    assert life.state is STOPPED
    assert len(life.changes) == 2


def test_a_drain_is_undone_while_it_lasts_and_after_it():
    life = running()
    assert not life.resume(0.5)
    life.drain(1.0)
    assert life.resume(2.0)
    assert life.state is RUNNING
    life.drain(3.0)
    life.drained(4.0)
    assert life.resume(5.0)
    assert life.state is STARTING, "its task has ended: it needs a new one"
    assert not life.resume(6.0)
    life.started(7.0)
    assert (life.state, life.generation) == (RUNNING, 0)


def test_a_failed_actor_is_brought_back_by_hand_and_its_crashes_still_count():
    life = running(max_restarts=0)
    life.crashed(1.0, "boom")
    assert life.resume(2.0)
    life.started(2.0)
    assert not life.crashed(3.0, "boom")


def test_drained_and_resumed_between_crash_and_restart_it_comes_up_running():
    life = running()
    life.crashed(1.0, "boom")
    life.drain(1.1)
    assert life.resume(1.2)
    life.restarted(1.3)
    assert (life.state, life.generation) == (RUNNING, 1)


class AnyOrderOfCalls(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.life = ActorLifecycle(max_restarts=2, restart_window=10.0)
        self.restarts = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 10.0, 11.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(method=st.sampled_from(["started", "restarted", "drained", "drain", "resume"]))
    def call(self, method):
        before, changes = self.life.state, len(self.life.changes)
        try:
            getattr(self.life, method)(self.now)
        except IllegalEvent:
            assert (self.life.state, len(self.life.changes)) == (before, changes)
        else:
            if method == "restarted":
                self.restarts.append(self.now)

    @precondition(lambda self: self.life.state in (STARTING, RUNNING, DRAINING))
    @rule()
    def crash(self):
        draining = self.life.state is DRAINING
        recent = [at for at in self.restarts if self.now - at <= 10.0]
        assert self.life.crashed(self.now, "boom") is (len(recent) < 2 and not draining)

    @invariant()
    def the_generation_counts_restarts_and_changes_form_a_chain(self):
        life = self.life
        assert life.generation == len(self.restarts)
        states = [STARTING, *(change.dest for change in life.changes)]
        assert [change.source for change in life.changes] == states[:-1]
        assert states[-1] is life.state


TestAnyOrderOfCalls = AnyOrderOfCalls.TestCase
