"""A calibration on file: thresholds that were measured for one embedder, with the evidence, as TOML.

    embedder = "text-embedding-3-small"

    [profiles.default]
    threshold = 0.83
    strict = false
    max_wrong = 0.02
    ...

`resilio calibrate --write` makes it, a configuration names it, people may read it. The rule: a file that is about
another embedder, or whose figures do not bear it out, is refused as a whole.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from resilio.cache.calibration.measure import Recommendation
from resilio.cache.embedding.base import Profile
from resilio.cache.proportions import fixed_upper
from resilio.errors import ConfigError

__all__ = ["Calibrated", "Calibration", "load_calibration", "save_calibration"]

SAFETY: Final = Profile(0.97, strict=True)
"""What every embedder has, measured or not."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One threshold and what it stands on."""

    threshold: float
    strict: bool
    max_wrong: float
    """Wrong ones among hits, at most; proven with `confidence` on pairs like those of `pairs`."""
    confidence: float
    hits: int
    wrong: int
    pairs: str
    """The set it was measured on."""

    @classmethod
    def of(cls, found: Recommendation, pairs: str, *, strict: bool) -> Calibrated:
        """Of a threshold that was found."""
        if found.threshold is None:
            raise ValueError(f"no threshold was found: {found.outcome}")
        row = found.row
        return cls(found.threshold, strict, found.max_wrong, found.confidence, row.hits, row.wrong, pairs)

    @property
    def bound(self) -> float:
        """Upper bound of wrong ones among hits."""
        return fixed_upper(self.wrong, self.hits, self.confidence)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything measured for one embedder."""

    embedder: str
    """Its id."""
    measured: Mapping[str, Calibrated] = field(default_factory=dict)
    """By name of the profile."""

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """In the form an embedder has them; ``safety`` among them."""
        found = {name: Profile(each.threshold, each.strict) for name, each in self.measured.items()}
        return MappingProxyType({"safety": SAFETY} | found)

    @property
    def lowest(self) -> float:
        """The lowest threshold that it bears out."""
        return min(profile.threshold for profile in self.profiles.values())


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write the file.

    Raises:
        ConfigError: It cannot be written.
    """
    lines = [
        "# Written by `resilio calibrate`. Thresholds of similarity for one embedder, and what each was proven with:",
        "# of `hits` pairs of questions at or above it, `wrong` did not have the same answer.",
        f"embedder = {_quoted(calibration.embedder)}",
    ]
    for name, each in calibration.measured.items():
        lines.append(f"\n[profiles.{_quoted(name)}]")
        lines += [f"{key} = {_quoted(value)}" for key, value in asdict(each).items()]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as exc:
        raise ConfigError([f"cannot be written: {exc.strerror}"], str(path)) from exc


def load_calibration(path: Path) -> Calibration:
    """Read the file.

    Raises:
        ConfigError: It cannot be read, or says what cannot be.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigError([f"is not TOML: {exc}"], str(path)) from exc
    embedder, profiles = table.get("embedder"), table.get("profiles")
    if not isinstance(embedder, str) or not isinstance(profiles, dict) or not profiles:
        raise ConfigError(["is no calibration: write one with `resilio calibrate --write`"], str(path))
    measured, problems = {}, []
    for name, values in profiles.items():
        try:
            measured[name] = _calibrated(values)
        except ValueError as exc:
            problems.append(f"profiles.{name}: {exc}")
    if problems:
        raise ConfigError(problems, str(path))
    return Calibration(embedder, measured)


def _calibrated(values: Any) -> Calibrated:
    names = [each.name for each in fields(Calibrated)]
    if not isinstance(values, dict) or sorted(values) != sorted(names):
        raise ValueError(f"expected {', '.join(names)}")
    for name in ("threshold", "max_wrong", "confidence"):
        value = values[name]
        if not isinstance(value, float) or not 0 < value < 1:
            raise ValueError(f"{name} is {value!r:.40}; expected a number between 0 and 1")
    for name in ("hits", "wrong"):
        if not isinstance(values[name], int) or isinstance(values[name], bool):
            raise ValueError(f"{name} is {values[name]!r:.40}; expected a whole number")
    if not isinstance(values["strict"], bool) or not isinstance(values["pairs"], str):
        raise ValueError("strict must be true or false, and pairs a text")
    found = Calibrated(**values)
    if not 0 <= found.wrong <= found.hits or found.bound > found.max_wrong:
        raise ValueError(
            f"{found.wrong} wrong of {found.hits} hits do not prove max_wrong = {found.max_wrong:g}; measure again"
        )
    return found


def _quoted(value: Any) -> str:
    """A TOML value: JSON has the same strings, numbers and truth values, but for these."""
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
