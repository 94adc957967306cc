"""What a simulated provider does: how it answers when well, and which fault strikes when.

A `Script` is a value: build it in Python, or read it from TOML. Rules are tried in order and the first that
applies strikes; none applies = a healthy answer. Counting requests and drawing numbers is left to the
provider that plays the script, so one script can serve many and every run with the same seed is the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal

from resilio.config.problems import Path, Problems, listed, shown
from resilio.config.reader import Reader
from resilio.config.settings import Setting
from resilio.testing.faults import FAULTS, Fault
from resilio.testing.latency import Distribution, Fixed, Latency, LogNormal, Mixture, Uniform

__all__ = ["AnswerMaker", "Flapping", "Outage", "Rule", "Script"]

AnswerMaker = Callable[[Mapping[str, Any]], "str | Mapping[str, Any]"]
"""From a request's body, in OpenAI's shape whatever the dialect, to a text or to an assistant message, which may have
``tool_calls`` and ``reasoning_content``."""


@dataclass(frozen=True, slots=True)
class Flapping:
    """Up for `up` seconds, then down for `down`, for ever, from the provider's first request on."""

    up: Annotated[float, Setting("seconds answered well", "s", above=0)]
    down: Annotated[float, Setting("seconds of faults", "s", above=0)]
    start: Literal["up", "down"] = "up"

    def is_down(self, elapsed: float) -> bool:
        """Whether it is down `elapsed` seconds after the first request."""
        shifted = elapsed + (self.up if self.start == "down" else 0.0)
        return shifted % (self.up + self.down) >= self.up


@dataclass(frozen=True, slots=True)
class Outage:
    """One window of time, counted from the provider's first request; `end` itself is outside of it."""

    start: Annotated[float, Setting("when it begins", "s", minimum=0)]
    end: Annotated[float | None, Setting("when it is over; None: never", "s", above=0)] = None

    def covers(self, elapsed: float) -> bool:
        """Whether it is going on `elapsed` seconds after the first request."""
        return self.start <= elapsed and (self.end is None or elapsed < self.end)


@dataclass(frozen=True, slots=True)
class Rule:
    """These faults, together, for a request that meets every condition given."""

    faults: tuple[Fault, ...] = ()
    """None at all: the request is answered well, and later rules are not asked."""
    model: str | None = None
    key: str | None = None
    stream: bool | None = None
    skip: Annotated[int, Setting("requests left alone", minimum=0)] = 0
    """Leave the first so many requests that meet the other conditions alone."""
    first: Annotated[int | None, Setting("requests struck", minimum=0)] = None
    """Strike at most so many requests."""
    probability: Annotated[float, Setting("share of requests struck", minimum=0, maximum=1)] = 1.0
    flapping: Flapping | None = None
    outage: Outage | None = None
    """Strike in this window of time alone."""


@dataclass(frozen=True, slots=True)
class Script:
    """How requests are answered. All methods return a new script."""

    rules: tuple[Rule, ...] = ()
    answer: str | AnswerMaker | None = None
    """A text, or a function of the request; None: the last user message is echoed."""
    first_token: Latency = field(default_factory=Fixed)
    """Seconds until the first token."""
    tokens_per_second: Annotated[float | None, Setting("speed of the answer", above=0)] = None
    """None: no time passes between tokens."""
    head: Literal["early", "with_first_token"] = "early"
    """When the head of a streamed response comes: real servers do either."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every answer, errors included."""
    automatic_cache: bool = False
    """Remember prompts of OpenAI's dialect as OpenAI does, and say in the usage what was found. (Anthropic's dialect
    always goes by the breakpoints of a request.)"""

    @classmethod
    def of(cls, *faults: Fault, **healthy: Any) -> Script:
        """Every request meets these faults. `healthy` are fields of the script."""
        return cls(rules=(Rule(faults),), **healthy)

    def with_rule(self, *faults: Fault, **conditions: Any) -> Script:
        """Add a rule after the others; `conditions` are the fields of `Rule`."""
        return replace(self, rules=(*self.rules, Rule(faults, **conditions)))

    def first(self, n: int, *faults: Fault) -> Script:
        """The next `n` requests not taken by an earlier rule meet these faults (none: are answered well)."""
        return self.with_rule(*faults, first=n)

    def then(self, following: Script | Fault) -> Script:
        """What no rule so far takes goes on to another script's rules, or always meets this fault."""
        rules = following.rules if isinstance(following, Script) else (Rule((following,)),)
        return replace(self, rules=self.rules + rules)

    def sequence(self, *steps: Fault | None) -> Script:
        """One request a step, in order: a fault, or None for a healthy answer."""
        rules = tuple(Rule(() if step is None else (step,), first=1) for step in steps)
        return replace(self, rules=self.rules + rules)

    def for_model(self, model: str, *faults: Fault) -> Script:
        """Requests for this model meet these faults: the model name chooses the fault."""
        return self.with_rule(*faults, model=model)

    def probability(self, probability: float, *faults: Fault) -> Script:
        """This share of requests meets these faults."""
        return self.with_rule(*faults, probability=probability)

    def flapping(self, up: float, down: float, *faults: Fault, start: Literal["up", "down"] = "up") -> Script:
        """Well for `up` seconds, then these faults for `down` seconds, and so on."""
        return self.with_rule(*faults, flapping=Flapping(up, down, start))

    def outage(self, start: float, end: float | None, *faults: Fault) -> Script:
        """These faults from second `start` until just before second `end` (None: for ever)."""
        return self.with_rule(*faults, outage=Outage(start, end))

    def choose(
        self,
        model: str,
        key: str | None,
        *,
        stream: bool,
        elapsed: float,
        rng: random.Random,
        counts: dict[int, int],
    ) -> tuple[Fault, ...]:
        """The faults that strike one request.

        Args:
            model: As the request names it.
            key: The bearer token, if any.
            stream: Whether a stream was asked for.
            elapsed: Seconds since the provider's first request.
            rng: Drawn from once for each rule with a probability that is asked.
            counts: By rule, how many requests met its conditions; kept by the caller, changed here.
        """
        for number, rule in enumerate(self.rules):
            if rule.model is not None and rule.model != model:
                continue
            if rule.key is not None and rule.key != key:
                continue
            if rule.stream is not None and rule.stream != stream:
                continue
            if rule.flapping is not None and not rule.flapping.is_down(elapsed):
                continue
            if rule.outage is not None and not rule.outage.covers(elapsed):
                continue
            if rule.probability < 1.0 and rng.random() >= rule.probability:
                continue
            if rule.skip or rule.first is not None:
                met = counts[number] = counts.get(number, 0) + 1
                if met <= rule.skip or (rule.first is not None and met > rule.skip + rule.first):
                    continue
            return rule.faults
        return ()

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], *, source: str = "script") -> Script:
        """Read a script from what a TOML file holds.

        Raises:
            ConfigError: Anything unknown, misspelt, out of bounds or of the wrong type; every problem is listed.
        """
        problems = Problems()
        script = _script(Reader(problems, {}, lambda reader, made, path: None), table)
        problems.raise_if_any(source)
        assert script is not None  # it is None only where a problem was noted
        return script


_DISTRIBUTIONS: Final[Mapping[str, type[Distribution]]] = {
    "fixed": Fixed,
    "uniform": Uniform,
    "lognormal": LogNormal,
}
_CONDITIONS: Final = ("model", "key", "stream", "skip", "first", "probability", "flapping", "outage")


def _script(reader: Reader, table: Mapping[str, Any]) -> Script | None:
    rest = dict(table)
    rules = _tables(reader, rest.pop("rule", []), ("rule",))
    made = tuple(_rule(reader, rule, ("rule", number)) for number, rule in enumerate(rules))
    latency = _latency(reader, rest.pop("first_token", 0.0))
    return reader.table(Script, rest, (), fixed={"rules": made, "first_token": latency})


def _tables(reader: Reader, value: Any, path: Path) -> Sequence[Mapping[str, Any]]:
    """An array of tables, or one table alone."""
    tables = value if isinstance(value, list) else [value]
    if all(isinstance(table, Mapping) for table in tables):
        return tables
    reader.problems.add(path, "must be an array of tables")
    return ()


def _rule(reader: Reader, table: Mapping[str, Any], path: Path) -> Rule:
    """One `[[rule]]`: conditions, and `fault` with its own fields or `faults`, a list of tables."""
    conditions = {name: table[name] for name in _CONDITIONS if name in table}
    rest = {name: value for name, value in table.items() if name not in _CONDITIONS}
    several = rest.pop("faults", None)
    if several is None:
        faults = _fault(reader, rest, path)
    else:
        for name in rest:
            reader.problems.add((*path, name), "does not go beside `faults`: write it into one of them")
        tables = enumerate(_tables(reader, several, (*path, "faults")))
        faults = tuple(fault for i, one in tables for fault in _fault(reader, one, (*path, "faults", i)))
    rule = reader.table(Rule, conditions, path, fixed={"faults": faults}) or Rule()
    if rule.outage is not None and rule.outage.end is not None and rule.outage.end <= rule.outage.start:
        reader.problems.add((*path, "outage", "end"), f"is {rule.outage.end:g}; it must come after start")
    return rule


def _fault(reader: Reader, table: Mapping[str, Any], path: Path) -> tuple[Fault, ...]:
    rest = dict(table)
    name = rest.pop("fault", None)
    if name == "none" and not rest:
        return ()
    if not isinstance(name, str) or name not in FAULTS:
        word = name if isinstance(name, str) else ""
        reader.problems.add((*path, "fault"), f"is {shown(name)}{listed(word, ('none', *FAULTS))}")
        return ()
    fault = reader.table(FAULTS[name], rest, path)
    return () if fault is None else (fault,)


def _latency(reader: Reader, value: Any) -> Latency:
    """Seconds; a table such as ``{lognormal = {median = 0.4}}``; or a list of such tables with a `weight`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = {"fixed": value}
    parts: list[tuple[float, Distribution]] = []
    for number, table in enumerate(_tables(reader, value, ("first_token",))):
        path: Path = ("first_token", number)
        rest = dict(table)
        weight = reader.table(_Weight, {"weight": rest.pop("weight", 1.0)}, path)
        name = next(iter(rest), "")
        if len(rest) != 1 or name not in _DISTRIBUTIONS:
            reader.problems.add(path, f"must hold exactly one of {', '.join(_DISTRIBUTIONS)}, and a weight")
            continue
        fields = rest[name] if isinstance(rest[name], Mapping) else {"seconds": rest[name]}
        part = reader.table(_DISTRIBUTIONS[name], fields, (*path, name))
        if part is not None and weight is not None:
            parts.append((weight.weight, part))
    return Mixture(tuple(parts)) if len(parts) > 1 else parts[0][1] if parts else Fixed()


@dataclass(frozen=True, slots=True)
class _Weight:
    weight: Annotated[float, Setting("how often, against the others", above=0)]
