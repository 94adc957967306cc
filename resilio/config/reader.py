"""Reads tables into the frozen dataclasses of `settings`, driven by their annotations alone.

A setting added to `settings.py` is parsed, bounded, inherited and spell-checked without a change
here. What a table means beyond its own fields (names that must resolve, rungs, keys) is the
loader's. The rule that keeps this simple: reading never raises for what is in the document; it notes
the problem and carries on with the default, so that one run finds everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from resilio.config.aliases import ALIASES
from resilio.config.problems import Path, Problems, in_seconds, listed, nearest, number, shown, unit_suffix
from resilio.config.settings import Setting

__all__ = ["BAD", "Field", "Reader", "Special", "fields_of"]

T = TypeVar("T")


class _Bad(Enum):
    BAD = "bad"


BAD: Final = _Bad.BAD
"""Stands for a value that could not be read; its problem has been noted."""

Special = Callable[[Any, Path], Any]
"""Reads a type that may be written in more than one way: value and path to an instance or `BAD`."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a settings class as its annotation describes it."""

    name: str
    type: Any
    setting: Setting
    required: bool
    default: Any
    secret: bool

    @property
    def duration(self) -> bool:
        return self.setting.unit == "s"


def fields_of(cls: Any) -> Mapping[str, Field]:
    """The fields of a settings class by name; type hints are resolved once, on first use."""
    return _fields_of(cls)


@cache
def _fields_of(cls: Any) -> Mapping[str, Field]:
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for item in fields(cls):
        kind, setting = hints[item.name], Setting("")
        if get_origin(kind) is Annotated:
            kind, *extras = get_args(kind)
            setting = next((extra for extra in extras if isinstance(extra, Setting)), setting)
        required = item.default is MISSING and item.default_factory is MISSING
        default = item.default if item.default_factory is MISSING else item.default_factory()
        # What is kept out of `repr` is a secret, and is kept out of messages too.
        found[item.name] = Field(item.name, kind, setting, required, default, not item.repr)
    return found


class Reader:
    """Turns plain tables into settings and notes what is wrong with them.

    Attributes:
        written: Paths of all settings the document spells out, to tell them from defaults.
    """

    def __init__(
        self,
        problems: Problems,
        special: Mapping[type[Any], Special],
        check: Callable[[Reader, object, Path], None],
    ) -> None:
        self.problems = problems
        self.written: set[Path] = set()
        self._special = special
        self._check = check

    def table(
        self,
        cls: type[T],
        raw: Any,
        path: Path,
        fallbacks: Mapping[str, Any] | None = None,
        fixed: Mapping[str, Any] | None = None,
        stand_ins: Mapping[str, Any] | None = None,
    ) -> T | None:
        """Read one table.

        Args:
            cls: The settings class to build.
            raw: What stands in the document.
            path: Where it stands.
            fallbacks: Values to use, in place of the class's defaults, for fields not written; a
                nested table that is written falls back to them key by key.
            fixed: Fields that come from elsewhere (a route's name is its table's) and may not be written.

            stand_ins: Values for mandatory fields that are missing or wrong, so that what stands around
                them can still be checked; the problem is noted all the same.

        Returns:
            The settings; None, with a problem noted, where there is no table or a mandatory field is
            missing or wrong and has no stand-in.
        """
        fallbacks, fixed, stand_ins = fallbacks or {}, fixed or {}, stand_ins or {}
        if not isinstance(raw, Mapping):
            self.problems.add(path, f"is {_a(raw)}; expected a table")
            return None
        specs = fields_of(cls)
        for key in raw:
            if not isinstance(key, str):
                self.problems.add(path, f"key {shown(key)} is not a string")
            elif key in fixed:
                self.problems.add((*path, key), f"is given by the name of the table, {shown(fixed[key])}; leave it out")
            elif key not in specs:
                self._unknown(specs, key, raw[key], path, fixed)
        values, whole = dict(fixed), True
        for name, spec in specs.items():
            if name in fixed:
                continue
            value = self._field(spec, raw, (*path, name), fallbacks)
            if value is BAD and spec.required:
                value = stand_ins.get(name, BAD)
                whole = whole and value is not BAD
            if value is not BAD and value is not MISSING:
                values[name] = value
        if not whole:
            return None
        made = cls(**values)
        self._check(self, made, path)
        return made

    def value(self, kind: Any, raw: Any, path: Path, spec: Field, fallback: Any = None) -> Any:
        """Read one value of the annotated type `kind`; `BAD`, with a problem noted, if it is none."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            if raw is None and NoneType in arguments:
                return None
            # A number or one of a few words: a string is meant to be one of the words.
            members = [one for one in arguments if one is not NoneType]
            words = [one for one in members if str(get_origin(one)) == str(Literal)]
            chosen = words if words and isinstance(raw, str) else [one for one in members if one not in words] or words
            return self.value(chosen[0], raw, path, spec, fallback)
        if kind in self._special:
            return self._special[kind](raw, path)
        if is_dataclass(kind) and isinstance(kind, type):
            own = {} if fallback is None else {name: getattr(fallback, name) for name in fields_of(kind)}
            made = self.table(kind, raw, path, own)
            return BAD if made is None else made
        if origin in (tuple, frozenset):
            return self._sequence(origin, arguments[0], raw, path, spec)
        if origin is Literal:
            return self._choice(arguments, raw, path)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(arguments[1], raw, path, spec, fallback)
        if isinstance(kind, type) and issubclass(kind, Enum):
            chosen = self._choice([member.value for member in kind], raw, path)
            return BAD if chosen is BAD else kind(chosen)
        return self._plain(kind, raw, path, spec)

    def _field(self, spec: Field, raw: Mapping[Any, Any], path: Path, fallbacks: Mapping[str, Any]) -> Any:
        """One field: as written, else as inherited, else `MISSING` for the class's own default."""
        if spec.name in raw:
            self.written.add(path)
            return self.value(spec.type, raw[spec.name], path, spec, fallbacks.get(spec.name))
        if spec.name in fallbacks:
            return fallbacks[spec.name]
        if spec.required:
            self.problems.add(path, f"is missing ({spec.setting.doc})")
            return BAD
        return MISSING

    def _sequence(self, origin: Any, kind: Any, raw: Any, path: Path, spec: Field) -> Any:
        if isinstance(raw, str | Mapping) or not isinstance(raw, Sequence | set | frozenset):
            got = "a single value" if isinstance(raw, str) else _a(raw)
            self.problems.add(path, f"is {got}; expected an array: {spec.name} = [...]")
            return BAD
        values = [self.value(kind, item, (*path, index), spec) for index, item in enumerate(raw)]
        return BAD if any(value is BAD for value in values) else origin(values)

    def _mapping(self, kind: Any, raw: Any, path: Path, spec: Field, fallback: Any) -> Any:
        if not isinstance(raw, Mapping):
            self.problems.add(path, f"is {_a(raw)}; expected a table")
            return BAD
        values = {}
        for key, item in raw.items():
            if not isinstance(key, str) or not key.strip():
                self.problems.add(path, f"key {shown(key)} is not a name")
                continue
            own = fallback.get(key) if isinstance(fallback, Mapping) else None
            value = self.value(kind, item, (*path, key), spec, own)
            if value is not BAD:
                values[key] = value
        return values

    def _choice(self, options: Sequence[Any], raw: Any, path: Path) -> Any:
        if raw in options and isinstance(raw, str):
            return raw
        self.problems.add(path, f"is {shown(raw)}{listed(raw if isinstance(raw, str) else '', options)}")
        return BAD

    def _plain(self, kind: Any, raw: Any, path: Path, spec: Field) -> Any:
        if kind is str:
            return self._text(raw, path, spec)
        if kind is bool:
            if isinstance(raw, bool):
                return raw
            self.problems.add(path, f"is {_a(raw, spec)}; expected true or false")
            return BAD
        if kind in (int, float):
            return self._number(kind, raw, path, spec)
        raise TypeError(f"{spec.name}: no way to read {kind!r}")

    def _text(self, raw: Any, path: Path, spec: Field) -> Any:
        if not isinstance(raw, str):
            self.problems.add(path, f"is {_a(raw, spec)}; expected a string")
        elif raw != spec.default and not raw.strip():
            self.problems.add(path, "is empty")
        elif raw != raw.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in raw):
            self.problems.add(path, "has spaces around it or control characters in it")
        else:
            return raw
        return BAD

    def _number(self, kind: type[int] | type[float], raw: Any, path: Path, spec: Field) -> Any:
        whole = kind is int
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            self.problems.add(path, f"is {_a(raw, spec)}; {_instead(raw, spec, whole)}")
            return BAD
        try:
            value = float(raw)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self.problems.add(path, f"is {shown(raw)}; expected a finite number")
            return BAD
        if whole and isinstance(raw, float):
            hint = f": write {int(raw)}" if value.is_integer() else ""
            self.problems.add(path, f"is {raw!r}; expected a whole number{hint}")
            return BAD
        complaint = _out_of_bounds(value, spec.setting)
        if complaint:
            self.problems.add(path, f"is {shown(raw)}; expected {complaint}")
            return BAD
        return int(raw) if whole else value

    def _unknown(self, specs: Mapping[str, Field], key: str, raw: Any, path: Path, fixed: Mapping[str, Any]) -> None:
        """Note an unknown key with the most helpful spelling there is."""
        where = (*path, key)
        split = unit_suffix(key)
        known = None if split is None else _resolve(specs, split[0], durations=True)
        if split is not None and known is not None:
            plain = not isinstance(raw, bool) and isinstance(raw, int | float) and abs(raw) < 1e12
            figure = number(round(raw * split[1], 9)) if plain else "..."
            self.problems.add(where, f"unknown key; durations are plain seconds: write {known} = {figure}")
            return
        close = _resolve(specs, key)
        names = [name for name in specs if name not in fixed]
        hint = f"; did you mean {close}?" if close else f"; expected one of {', '.join(names)}"
        if not close and isinstance(raw, Mapping) and isinstance(path[-1], str):
            # `models.gpt-4.1 = {}`: without quotes, TOML reads the dot as a step down.
            hint = f"; if {shown(f'{path[-1]}.{key}')} is one name, put it in quotes as here" + hint
        self.problems.add(where, f"unknown key{hint}")


def _resolve(specs: Mapping[str, Field], word: str, *, durations: bool = False) -> str | None:
    """The setting meant by `word`: an own one, a nested one (``clocks.total``), an alias, or a near one."""
    own = {name: name for name, spec in specs.items() if spec.duration or not durations}
    nested = {
        inner.name: f"{name}.{inner.name}"
        for name, spec in specs.items()
        if is_dataclass(spec.type) and isinstance(spec.type, type)
        for inner in fields_of(spec.type).values()
        if inner.duration or not durations
    }
    spelled = {**nested, **own}
    for name in (word.lower(), *ALIASES.get(word.lower(), ())):
        if name in spelled:
            return spelled[name]
    close = nearest(word, own) or nearest(word, nested, cutoff=0.8)
    return None if close is None else spelled[close]


def _instead(raw: Any, spec: Field, whole: bool) -> str:
    """What to write where a number was expected: a figure, if one can be made out in a string."""
    wanted = "a whole number" if whole else "a number"
    if not isinstance(raw, str):
        return f"expected {wanted}"
    if spec.duration:
        seconds = in_seconds(raw)
        figure = "" if seconds is None else f": write {spec.name} = {number(seconds)}"
        return f"durations are plain seconds{figure}"
    figure = raw.strip()
    plain = figure.replace("_", "").replace(".", "", 0 if whole else 1).isdecimal() and figure.isascii()
    return f"expected {wanted}" + (f": write {spec.name} = {figure}, without quotes" if plain else "")


def _out_of_bounds(value: float, setting: Setting) -> str:
    """What is allowed, in words, if `value` is outside; else an empty string."""
    low = setting.minimum is not None and value < setting.minimum
    under = setting.above is not None and value <= setting.above
    high = setting.maximum is not None and value > setting.maximum
    if not (low or under or high):
        return ""
    bounds = []
    if setting.minimum is not None:
        bounds.append(f"at least {number(setting.minimum)}")
    if setting.above is not None:
        bounds.append(f"more than {number(setting.above)}")
    if setting.maximum is not None:
        bounds.append(f"at most {number(setting.maximum)}")
    unit = f" ({setting.unit})" if setting.unit and setting.unit not in ("count", "share") else ""
    return " and ".join(bounds) + unit


def _a(raw: Any, spec: Field | None = None) -> str:
    """A wrong value with its type; of a secret setting the type alone."""
    names: dict[type[Any], str] = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    name = names.get(type(raw))
    if name is None:
        return shown(raw)
    return name if spec is None or spec.secret else f"{name} ({shown(raw)})"
