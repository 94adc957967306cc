# ruff: noqa: E501  a row of a markdown table is one line
"""The page `docs/state-machines.md`, written from the tables the machines run on.

`render` is pure text; only `main` touches a file. Nothing on the page about a machine is written by hand
but its one sentence, so the page cannot disagree with the code: a test fails while it is stale.

    python -m resilio.statemachines.docs            write the page
    python -m resilio.statemachines.docs --check    exit with 1 if it is stale
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from resilio.config.settings import BreakerSettings, Setting
from resilio.statemachines import TABLES
from resilio.statemachines.table import Table

__all__ = ["EXAMPLE", "main", "page", "render", "settings_table"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "state-machines.md"

EXAMPLE: Final = """\
import random

from resilio.config.settings import BreakerSettings
from resilio.statemachines.breaker import Breaker

breaker = Breaker("openai/gpt-4o", BreakerSettings(), rng=random.Random(), now=0.0)

for second in range(5):  # five failures in a row
    permit = breaker.acquire(now=float(second))
    breaker.record(permit, now=float(second), ok=False)
print(breaker.state, breaker.acquire(now=5.0), breaker.wait(now=5.0))  # open None 29.0

probe = breaker.acquire(now=34.0)  # the break of 30 s is over: one real call may try
print(breaker.state, breaker.acquire(now=34.0))  # half_open None
breaker.record(probe, now=35.0, ok=True)  # the first of three successes

for change in breaker.drain_changes():
    print(change.event, change.source, change.dest, change.at)
# trip closed open 4.0
# probe open half_open 34.0
"""

_HEAD: Final = """\
<!-- Written by `python -m resilio.statemachines.docs` from the tables in the code. Do not edit. -->

# State machines

Whatever in resilio has states is a table of rows: event, source, destination, guard, action. The machine that
runs, the diagram below and the exhaustive test come from the same rows. An event without a row in the
current state raises `IllegalEvent`. Where several rows share event and source, the first whose guard holds is
taken; if none does, nothing happens.

Nothing here waits, reads a clock or draws a random number: time and randomness are arguments, and a
transition is atomic because nothing in it awaits.

## Example

```python
"""

_EVENTS: Final = """\
## Events

Each change of state reaches listeners as one record, in order, after the fact:

| machine | record | carries |
|---|---|---|
| breaker | `BreakerChanged` | name, source, dest, event, the instant it was due, and for a break its length |
| budget | `BudgetChanged` | budget, entity, unit, source, dest, event, limit, what is spent, the window and when it ends |
| actor | `ActorChanged` | provider, source, dest, generation, instant, and the error of a crash |
| request | `CallSettled` | the decision record of the call; the steps in between are not reported |
"""

_PITFALLS: Final = """\
## Pitfalls

**A textbook breaker** (five failures, 30 s, one probe, one success) is a matter of settings:

```toml
breaker = { consecutive_failures = 5, failure_rate = 1.0, slow_rate = 1.0, slow_first_token = 3600, break_duration = 30, max_break_duration = 30, probe_successes = 1, max_probes = 1, ramp_duration = 0, early_probes = false }
```

| don't | do | because |
|---|---|---|
| keep a permit for a second call | acquire one for each call, hand it back exactly once | a probe's second outcome is stale, and any other is counted twice |
| record a cancelled call as a failure | `release` it | it says nothing about the provider, and a probe's place must be freed |
| record what follows a probe's first chunk with the probe's permit | use `breaker.current` | the probe is decided; its permit is spent |
| treat False from `record` as an error | report the outcome as stale | a call that began before the circuit changed says nothing about now |
| poll `acquire` on an open circuit | wait for `wait(now)` seconds, or call `tick` at `next_change_at()` | the answer will not change before then |
| read `share` as a quota | pass `insist=True` when no other target will take the call | a ramp is a preference |
"""


def settings_table(settings: type[Any]) -> str:
    """A markdown table of a settings class: name, default, unit and meaning of each field."""
    hints = get_type_hints(settings, include_extras=True)
    lines = ["| setting | default | unit | meaning |", "|---|---|---|---|"]
    for field in fields(settings):
        meaning = next(each for each in hints[field.name].__metadata__ if isinstance(each, Setting))
        default = "required" if field.default is MISSING else f"`{_toml(field.default)}`"
        lines.append(f"| `{field.name}` | {default} | {meaning.unit} | {meaning.doc} |")
    return "\n".join(lines)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def render(fmt: Literal["table", "mermaid"], names: Iterable[str] | None = None) -> str:
    """Machines as text: markdown tables or mermaid diagrams.

    Args:
        fmt: Which of the two.
        names: Machines to show, in this order; None: all.

    Raises:
        KeyError: No machine has that name; the message lists those there are.
    """
    texts = []
    for name in TABLES if names is None else names:
        if name not in TABLES:
            raise KeyError(f"no state machine {name!r}; there are {', '.join(TABLES)}")
        table = TABLES[name]
        texts.append(table.mermaid() if fmt == "mermaid" else f"{name}: {table.doc}\n\n{table.markdown()}")
    return "\n\n".join(texts)


def _section(table: Table[Any]) -> str:
    return f"### {table.name.capitalize()}\n\n{table.doc}\n\n{table.markdown()}\n\n```mermaid\n{table.mermaid()}\n```\n"


def page() -> str:
    """The whole of `docs/state-machines.md`."""
    return "\n".join(
        [
            f"{_HEAD}{EXAMPLE}```\n",
            f"## Defaults\n\nOf every circuit breaker, by `breaker` of a provider or of `[defaults]`:\n\n"
            f"{settings_table(BreakerSettings)}\n",
            _EVENTS,
            "## Diagrams\n\nA guard is in brackets. Arrows between the same two states are drawn as one.\n",
            *(_section(table) for table in TABLES.values()),
            _PITFALLS,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilio.statemachines.docs")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    parser.add_argument("--path", type=Path, default=PAGE, help="the page (default: docs/ of this source tree)")
    options = parser.parse_args(arguments)
    text = page()
    if not options.check:
        options.path.write_text(text, encoding="utf-8")
        return 0
    if options.path.exists() and options.path.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{options.path} is stale: run python -m resilio.statemachines.docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
