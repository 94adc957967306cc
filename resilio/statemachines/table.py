"""State machines as tables: rows in, and out come the `transitions` machine, a stepper, the diagram.

A row says: on this event, from this state, to that one, if this guard holds, doing this action. The
guard or action called ``x`` is the model's method ``_x``; both receive what was passed with the event.
Guards only read; actions run once the new state is set and touch only the machine's own fields.

Two ways to run a table. `Table.fire` goes through one `transitions` machine shared by all models of the
table (about 6 us a step), for what lives long and changes rarely. A `Stepper` looks the next state
up in a compiled dictionary (under 0.1 us), for what lives as briefly as one request.

The rule that keeps it simple: an event the table does not have in this state raises `IllegalEvent`, always.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from transitions import Machine

__all__ = ["IllegalEvent", "Row", "Stepper", "Table", "TableError"]

S = TypeVar("S", bound=StrEnum)


class IllegalEvent(RuntimeError):
    """The table has no row for this event in this state: a bug in the caller."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        self.machine, self.state, self.event = machine, state, event
        super().__init__(f"{machine}: no event {event!r} in state '{state}'")


class TableError(ValueError):
    """A table contradicts itself; the message lists every problem."""


class Row(NamedTuple, Generic[S]):
    """One row. `source` may be several states; `guard` and `action` name methods of the model."""

    event: str
    source: S | tuple[S, ...]
    dest: S
    guard: str | None = None
    action: str | None = None

    @property
    def sources(self) -> tuple[S, ...]:
        # Not isinstance: every StrEnum member is a sequence of characters, none is a tuple.
        return self.source if isinstance(self.source, tuple) else (self.source,)


class Model(Protocol):
    """What a table can drive: anything with a `state` to set."""

    state: Any


class Table(Generic[S]):
    """Rows of one machine, checked when they are written down.

    Args:
        name: As errors and the documentation call it.
        doc: What the machine is, in one sentence.
        initial: State of a new model. Its enumeration is the set of all states.
        rows: Where several rows share event and source, the first whose guard holds is taken.
        finals: States that are meant to have no exit.

    Raises:
        TableError: See `problems`.
    """

    __slots__ = (
        "_checked",
        "_machine",
        "_machine_error",
        "doc",
        "finals",
        "initial",
        "name",
        "rows",
        "states",
    )

    def __init__(self, name: str, doc: str, *, initial: S, rows: Sequence[Row[S]], finals: Sequence[S] = ()) -> None:
        self.name = name
        self.doc = doc
        self.initial = initial
        self.rows = tuple(rows)
        self.finals = frozenset(finals)
        self.states: tuple[S, ...] = tuple(type(initial))
        self._machine: Machine | None = None
        self._machine_error: type[Exception] = RuntimeError
        self._checked: set[type] = set()
        if found := self.problems():
            raise TableError(f"table {name!r}: " + "; ".join(found))

    # --- the table as data -------------------------------------------------------------------

    @property
    def events(self) -> tuple[str, ...]:
        """Every event, in order of first mention."""
        return tuple(dict.fromkeys(row.event for row in self.rows))

    def arrows(self) -> Iterator[tuple[S, Row[S]]]:
        """Each row once for each of its sources."""
        for row in self.rows:
            for source in row.sources:
                yield source, row

    def reachable(self) -> frozenset[S]:
        """States that some sequence of events leads to, guards taken to hold."""
        seen, frontier = {self.initial}, [self.initial]
        while frontier:
            state = frontier.pop()
            for source, row in self.arrows():
                if source is state and row.dest not in seen:
                    seen.add(row.dest)
                    frontier.append(row.dest)
        return frozenset(seen)

    def problems(self, model: type | None = None) -> list[str]:
        """What is wrong with the table: rows never taken, states never reached, ends nobody meant.

        Args:
            model: Also check that this class has every guard and action.
        """
        found = list(self._hidden_rows())
        reachable = self.reachable()
        found += [f"state {state} cannot be reached" for state in self.states if state not in reachable]
        exits = {source for source, _ in self.arrows()}
        found += [f"state {s} has no exit and is not final" for s in self.states if s not in exits | self.finals]
        found += [f"final state {state} has an exit" for state in self.states if state in exits & self.finals]
        if model is not None:
            named = dict.fromkeys(name for row in self.rows for name in (row.guard, row.action) if name)
            found += [f"{model.__name__} has no method _{name}" for name in named if not hasattr(model, f"_{name}")]
        return found

    def _hidden_rows(self) -> Iterator[str]:
        seen: dict[tuple[S, str], list[str | None]] = {}
        for source, row in self.arrows():
            guards = seen.setdefault((source, row.event), [])
            if None in guards or row.guard in guards:
                yield f"row {row.event!r} from {source} comes after one that always wins over it"
            guards.append(row.guard)

    # --- the table as a machine --------------------------------------------------------------

    def machine(self) -> Machine:
        """The synchronous `transitions` machine of these rows, built at the first call and shared.

        `transitions` is imported here: it costs 13 to 30 ms, which `import resilio` need not pay.
        """
        if self._machine is None:
            from transitions import Machine, MachineError

            self._machine_error = MachineError
            self._machine = Machine(
                model=None,
                states=list(self.states),
                initial=self.initial,
                transitions=[
                    {
                        "trigger": row.event,
                        "source": list(row.sources),
                        "dest": row.dest,
                        "conditions": row.guard and f"_{row.guard}",
                        "after": row.action and f"_{row.action}",
                    }
                    for row in self.rows
                ],
                auto_transitions=False,
                name=self.name,
            )
        return self._machine

    def bind(self, model: Model) -> None:
        """Put `model` into the initial state, once its class is known to have every guard and action.

        `Machine.add_model` is not used: the machine would keep every model it ever saw alive, hang some
        twenty callables on each, and forbid `__slots__`. The events of a machine take any model.

        Raises:
            TableError: The class lacks a guard or an action.
        """
        cls = type(model)
        if cls not in self._checked:
            if found := self.problems(cls):
                raise TableError(f"table {self.name!r}: " + "; ".join(found))
            self._checked.add(cls)
        self.machine().set_state(self.initial, model)

    def fire(self, model: Model, event: str, *args: object) -> bool:
        """Trigger `event` on a bound model; `args` go to guards and action.

        Returns:
            Whether a transition happened. False: the event is legal here and every guard declined.

        Raises:
            IllegalEvent: No row has this event in the model's state.
        """
        trigger = self.machine().events.get(event)
        if trigger is None:
            raise IllegalEvent(self.name, model.state, event)
        try:
            return trigger.trigger(model, *args)
        except self._machine_error as exc:
            raise IllegalEvent(self.name, model.state, event) from exc

    def compile(self) -> dict[S, dict[str, S]]:
        """Next state by state and event, for tables without guards and actions.

        Raises:
            TableError: A row has a guard or an action, which a dictionary cannot run.
        """
        moves: dict[S, dict[str, S]] = {state: {} for state in self.states}
        for source, row in self.arrows():
            if row.guard or row.action:
                raise TableError(f"table {self.name!r}: row {row.event!r} has a guard or an action")
            moves[source][row.event] = row.dest
        return moves

    # --- the table as text -------------------------------------------------------------------

    def mermaid(self) -> str:
        """A mermaid state diagram.

        Arrows between the same two states are drawn as one, and a row that leaves every state as one from
        a node "any state": drawn out, those would hide all others.
        """
        labels: dict[tuple[str, S], list[str]] = {}
        for row in self.rows:
            label = f"{row.event} [{row.guard}]" if row.guard else row.event
            for source in ("any",) if self._is_any(row) else row.sources:
                labels.setdefault((source, row.dest), []).append(label)
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial}"]
        if any(source == "any" for source, _ in labels):
            lines.append('    state "any state" as any')
        lines += [f"    {source} --> {dest}: {', '.join(names)}" for (source, dest), names in labels.items()]
        lines += [f"    {state} --> [*]" for state in self.states if state in self.finals]
        return "\n".join(lines)

    def markdown(self) -> str:
        """The rows as a markdown table."""
        lines = ["| event | from | to | guard | action |", "|---|---|---|---|---|"]
        for row in self.rows:
            source = "any" if self._is_any(row) else ", ".join(row.sources)
            cells = (row.event, source, row.dest, row.guard or "", row.action or "")
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _is_any(self, row: Row[S]) -> bool:
        return len(row.sources) > 2 and set(row.sources) == set(self.states) - self.finals

    def __repr__(self) -> str:
        return f"<Table {self.name}: {len(self.states)} states, {len(self.rows)} rows>"


class Stepper(Generic[S]):
    """A machine of one compiled table; subclass it as ``class Flow(Stepper[State], table=TABLE)``."""

    __slots__ = ("state",)

    table: ClassVar[Table[Any]]
    _initial: ClassVar[Any]
    _moves: ClassVar[Mapping[Any, Mapping[str, Any]]]

    state: S

    def __init_subclass__(cls, *, table: Table[S], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.table = table
        cls._initial = table.initial
        cls._moves = table.compile()

    def __init__(self) -> None:
        self.state = self._initial

    def step(self, event: str) -> None:
        """Move along the row of `event`.

        Raises:
            IllegalEvent: There is none in this state; the state stays.
        """
        try:
            self.state = self._moves[self.state][event]
        except KeyError:
            raise IllegalEvent(self.table.name, self.state, event) from None

    @property
    def settled(self) -> bool:
        """Whether a final state is reached."""
        return self.state in self.table.finals

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state}>"
