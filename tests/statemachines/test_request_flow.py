"""Life of a request: the paths dispatch takes, and that both ways to run the table agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.statemachines import IllegalEvent
from resilio.statemachines.request import REQUEST, RequestFlow, RequestState
from resilio.statemachines.stream import STREAM, StreamFlow

COMMITTED = ["miss", "reserve", "attempt", "content"]


class Model:
    __slots__ = ("state",)


FLOWS = [(REQUEST, RequestFlow), (STREAM, StreamFlow)]


@pytest.mark.parametrize(("table", "stepper"), FLOWS)
@given(data=st.data())
def test_the_compiled_stepper_and_the_machine_agree_on_every_sequence_of_events(table, stepper, data):
    flow, model = stepper(), Model()
    table.bind(model)
    for event in data.draw(st.lists(st.sampled_from([*table.events, "no_such_event"]), max_size=40)):
        try:
            table.fire(model, event)
        except IllegalEvent:
            with pytest.raises(IllegalEvent):
                flow.step(event)
        else:
            flow.step(event)
        assert flow.state is model.state
        assert flow.settled is (model.state in table.finals)


@pytest.mark.parametrize(("table", "stepper"), FLOWS)
def test_the_compiled_stepper_and_the_machine_agree_in_every_state_on_every_event(table, stepper):
    flow, model = stepper(), Model()
    for state in table.states:
        for event in table.events:
            flow.state = model.state = state
            outcomes = []
            for fire in (flow.step, lambda event: table.fire(model, event)):
                try:
                    fire(event)
                    outcomes.append("moved")
                except IllegalEvent:
                    outcomes.append("illegal")
            assert outcomes[0] == outcomes[1]
            assert flow.state is model.state


@pytest.mark.parametrize(
    ("events", "final"),
    [
        (["hit"], "complete"),
        (["miss", "reserve", "attempt", "answer"], "complete"),
        ([*COMMITTED, "answer"], "complete"),
        ([*COMMITTED, "cut"], "partial"),
        ([*COMMITTED, "resume", "attempt", "content", "answer"], "complete"),
        ([*COMMITTED, "resume", "wait", "cut"], "partial"),
        (["miss", "reserve", "attempt", "wait", "attempt", "attempt", "exhaust", "answer"], "complete"),
        (["miss", "reserve", "wait", "exhaust", "attempt", "exhaust", "fail"], "failed"),
        (["miss", "over_budget", "answer"], "complete"),
        (["miss", "reserve", "attempt", "refuse"], "refused"),
        (["miss", "reserve", "attempt", "cut"], "partial"),
        (["fail"], "failed"),
        (["miss", "reserve", "wait", "cancel"], "cancelled"),
    ],
)
def test_the_paths_of_one_request_end_where_the_design_says(events, final):
    flow = RequestFlow()
    for event in events:
        assert not flow.settled
        flow.step(event)
    assert flow.settled
    assert flow.state == final


@pytest.mark.parametrize("event", ["exhaust", "wait", "attempt", "content"])
def test_after_content_was_handed_out_no_other_target_may_start_over(event):
    flow = RequestFlow()
    for step in COMMITTED:
        flow.step(step)
    with pytest.raises(IllegalEvent):
        flow.step(event)


def test_a_caller_can_cancel_wherever_the_request_is():
    for state in RequestState:
        flow = RequestFlow()
        flow.state = state
        if state in REQUEST.finals:
            with pytest.raises(IllegalEvent):
                flow.step("cancel")
        else:
            flow.step("cancel")
            assert flow.state is RequestState.CANCELLED
