"""Tables: what they refuse to be, and that each machine of the package runs exactly as its table says."""

import subprocess
import sys
from enum import StrEnum

import pytest

from resilio.statemachines import TABLES, IllegalEvent, Row, Stepper, Table, TableError


class Door(StrEnum):
    OPEN = "open"
    SHUT = "shut"
    GONE = "gone"


OPEN, SHUT, GONE = Door
ROWS = (
    Row("shut", OPEN, SHUT),
    Row("open", SHUT, OPEN, "unlocked", "creak"),
    Row("remove", (OPEN, SHUT), GONE),
)


def door_table(rows=ROWS, finals=(GONE,)):
    return Table("door", "A door.", initial=OPEN, rows=rows, finals=finals)


class DoorModel:
    __slots__ = ("creaks", "state", "unlocked")

    def __init__(self, unlocked=True):
        self.creaks = []
        self.unlocked = unlocked

    def _unlocked(self, now):
        return self.unlocked

    def _creak(self, now):
        self.creaks.append((now, self.state))


def agreeable(table, yes, only=None):
    """A model with every guard and action the table names: guards answer `yes`, actions do nothing.

    `only`: the one guard that does.
    """
    methods = {
        f"_{row.guard}": (lambda self, now, good=only in (None, row.guard): yes and good)
        for row in table.rows
        if row.guard
    }
    methods |= {f"_{row.action}": lambda self, now: None for row in table.rows if row.action}
    return type("Agreeable", (), methods)()


# --- every machine of the package ------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_every_pair_of_state_and_event_is_a_row_or_raises(name):
    table = TABLES[name]
    legal = {(source, row.event) for source, row in table.arrows()}
    for yes in (True, False):
        model = agreeable(table, yes)
        table.bind(model)
        for state in table.states:
            for event in (*table.events, "no_such_event"):
                model.state = state
                if (state, event) not in legal:
                    with pytest.raises(IllegalEvent, match=f"{table.name}: no event '{event}' in state '{state}'"):
                        table.fire(model, event, 0.0)
                    assert model.state is state
                    continue
                rows = [row for source, row in table.arrows() if source is state and row.event == event]
                taken = next((row for row in rows if yes or row.guard is None), None)
                assert table.fire(model, event, 0.0) is (taken is not None)
                assert model.state is (state if taken is None else taken.dest)


@pytest.mark.parametrize("name", TABLES)
def test_breadth_first_search_over_events_reaches_every_state_and_finals_have_no_exit(name):
    table = TABLES[name]
    guards = {row.guard for row in table.rows if row.guard}
    models = [*(agreeable(table, yes) for yes in (True, False)), *(agreeable(table, True, only) for only in guards)]
    for model in models:
        table.bind(model)
    seen, frontier = {table.initial}, [table.initial]
    while frontier:
        state = frontier.pop(0)
        exits = 0
        for event in table.events:
            for model in models:
                model.state = state
                try:
                    exits += table.fire(model, event, 0.0)
                except IllegalEvent:
                    continue
                if model.state not in seen:
                    seen.add(model.state)
                    frontier.append(model.state)
        assert (exits == 0) is (state in table.finals)
    assert seen == set(table.states) == table.reachable()


@pytest.mark.parametrize("name", TABLES)
def test_diagram_and_table_show_every_row(name):
    table = TABLES[name]
    diagram, listing = table.mermaid(), table.markdown()
    assert diagram.startswith(f"stateDiagram-v2\n    [*] --> {table.initial}\n")
    assert listing.count("\n") == len(table.rows) + 1
    for source, row in table.arrows():
        arrows = [
            line for line in diagram.splitlines()
            if line.startswith((f"    {source} --> {row.dest}:", f"    any --> {row.dest}:"))
        ]  # fmt: skip
        assert any(row.event in line for line in arrows), (source, row)
        assert f"| {row.event} |" in listing


# --- what a table refuses to be --------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "finals", "problem"),
    [
        ((*ROWS, Row("shut", OPEN, GONE)), (GONE,), "row 'shut' from open comes after one that always wins"),
        ((*ROWS, Row("open", SHUT, GONE, "unlocked")), (GONE,), "row 'open' from shut comes after one"),
        (ROWS[:2], (GONE,), "state gone cannot be reached"),
        (ROWS, (), "state gone has no exit and is not final"),
        ((*ROWS, Row("restore", GONE, OPEN)), (GONE,), "final state gone has an exit"),
    ],
)
def test_a_table_that_contradicts_itself_cannot_be_made(rows, finals, problem):
    with pytest.raises(TableError, match=problem):
        door_table(rows, finals)


def test_a_guarded_row_may_come_before_an_unguarded_one():
    table = door_table((*ROWS, Row("open", SHUT, SHUT)))
    model = DoorModel(unlocked=False)
    table.bind(model)
    table.fire(model, "shut", 1.0)
    assert table.fire(model, "open", 2.0)
    assert model.state is SHUT
    assert model.creaks == []


def test_a_model_that_lacks_a_guard_or_an_action_cannot_be_bound():
    class Lockless:
        state = None

        def _creak(self, now):
            raise AssertionError

    with pytest.raises(TableError, match="Lockless has no method _unlocked"):
        door_table().bind(Lockless())


def test_a_table_with_guards_or_actions_cannot_be_compiled():
    with pytest.raises(TableError, match="row 'open' has a guard or an action"):
        door_table().compile()


# --- how it runs -----------------------------------------------------------------------------


def test_a_guard_that_declines_is_told_apart_from_an_illegal_event():
    table, model = door_table(), DoorModel(unlocked=False)
    table.bind(model)
    assert table.fire(model, "shut", 1.0) is True
    assert table.fire(model, "open", 2.0) is False
    with pytest.raises(IllegalEvent) as caught:
        table.fire(model, "shut", 3.0)
    assert (caught.value.machine, caught.value.state, caught.value.event) == ("door", "shut", "shut")
    assert model.state is SHUT


def test_an_action_sees_the_new_state_and_what_came_with_the_event():
    table, model = door_table(), DoorModel()
    table.bind(model)
    table.fire(model, "shut", 1.0)
    table.fire(model, "open", 2.5)
    assert model.creaks == [(2.5, OPEN)]


def test_an_error_of_an_action_is_not_taken_for_an_illegal_event():
    class Rusty(DoorModel):
        def _creak(self, now):
            raise ZeroDivisionError

    table, model = door_table(), Rusty()
    table.bind(model)
    table.fire(model, "shut", 1.0)
    with pytest.raises(ZeroDivisionError):
        table.fire(model, "open", 2.0)


def test_a_diagram_labels_arrows_with_their_guards_and_marks_start_and_end():
    assert door_table().mermaid().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> open",
        "    open --> shut: shut",
        "    shut --> open: open [unlocked]",
        "    open --> gone: remove",
        "    shut --> gone: remove",
        "    gone --> [*]",
    ]
    assert repr(door_table()) == "<Table door: 3 states, 3 rows>"


def test_models_share_one_machine_and_the_machine_keeps_none_of_them():
    table = door_table()
    first, second = DoorModel(), DoorModel()
    table.bind(first)
    table.bind(second)
    table.fire(first, "shut", 1.0)
    assert (first.state, second.state) == (SHUT, OPEN)
    assert table.machine() is table.machine()
    assert table.machine().models == []


def test_a_stepper_moves_along_the_rows_and_stays_put_on_an_illegal_event():
    table = door_table((ROWS[0], Row("open", SHUT, OPEN), ROWS[2]))

    class Steps(Stepper[Door], table=table):
        __slots__ = ()

    steps = Steps()
    steps.step("shut")
    with pytest.raises(IllegalEvent, match="door: no event 'shut' in state 'shut'"):
        steps.step("shut")
    assert steps.state is SHUT
    assert not steps.settled
    steps.step("remove")
    assert steps.settled
    assert not hasattr(steps, "__dict__")
    assert repr(steps) == "<Steps gone>"


def test_importing_the_machines_does_not_import_transitions():
    code = (
        "import sys, resilio.statemachines.breaker, resilio.statemachines.docs; sys.exit('transitions' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
