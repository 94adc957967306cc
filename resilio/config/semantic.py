"""Checks of `[cache.semantic]`: thresholds somebody has measured, an embedder there is, principals that can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilio.config.problems import Path, Problems, listed, shown
from resilio.config.settings import (
    CALIBRATED_EMBEDDERS,
    EMBEDDER_NAMES,
    UNCALIBRATED_THRESHOLD,
    SemanticCacheSettings,
)

__all__ = ["EMBEDDER_ROUTE", "check_semantic"]

EMBEDDER_ROUTE: Final = "route:"
_PRINCIPALS: Final = ("user", "key", "organisation", "feature")
_AT: Final[Path] = ("cache", "semantic")


def check_semantic(problems: Problems, settings: SemanticCacheSettings | None, routes: Mapping[str, Any]) -> None:
    """Check what the table means beyond its fields.

    Args:
        problems: Where to note what is wrong.
        settings: The table; None: there is none.
        routes: All routes of the document, by name.
    """
    if settings is None or problems.touch(_AT):
        return
    kind, colon, route = settings.embedder.partition(":")
    if colon and kind == "route":
        if route not in routes:
            problems.add((*_AT, "embedder"), f"no route is called {shown(route)}{listed(route, routes)}")
        if settings.embedder_dimension is None:
            problems.add(
                (*_AT, "embedder_dimension"), "must be set: how many numbers a vector of this route's model has"
            )
    elif settings.embedder not in EMBEDDER_NAMES:
        text = f'is {shown(settings.embedder)}{listed(settings.embedder, EMBEDDER_NAMES)}, or "route:NAME"'
        problems.add((*_AT, "embedder"), text)
    measured = settings.embedder in CALIBRATED_EMBEDDERS or settings.calibration is not None
    if not measured and settings.max_wrong is None:  # guaranteed mode measures by itself
        _check_uncalibrated(problems, settings)
    if settings.judge is not None and settings.max_wrong is None:
        problems.add((*_AT, "judge"), "is asked by audits alone, and there are none; set max_wrong too")
    if settings.judge is not None and settings.judge not in routes:
        problems.add((*_AT, "judge"), f"no route is called {shown(settings.judge)}{listed(settings.judge, routes)}")
    if settings.max_wrong is not None and settings.threshold is not None:
        problems.add((*_AT, "threshold"), "has no say where max_wrong is set: audits find the threshold; leave one out")
    for index, principal in enumerate(settings.trusted):
        kind, _, name = principal.partition(":")
        if principal != "program" and (kind not in _PRINCIPALS or not name):
            expected = ", ".join(f'"{each}:NAME"' for each in _PRINCIPALS)
            problems.add((*_AT, "trusted", index), f'is {shown(principal)}; expected "program", {expected}')
    for name, namespace in settings.namespaces.items():
        if namespace.shared and not settings.trusted:
            text = "could never hold anything: trusted principals alone store there, and trusted is empty"
            problems.add((*_AT, "namespaces", name, "shared"), text)


def _check_uncalibrated(problems: Problems, settings: SemanticCacheSettings) -> None:
    lowest = UNCALIBRATED_THRESHOLD
    measure = "run `resilio calibrate --write FILE` with it and name the file in calibration"
    advice = f"nobody has measured embedder {shown(settings.embedder)}: {measure}"
    if settings.threshold is None and settings.profile != "safety":
        problems.add((*_AT, "profile"), f'is {shown(settings.profile)}; {advice}, or write profile = "safety"')
    elif settings.threshold is not None and settings.threshold < lowest:
        problems.add((*_AT, "threshold"), f"is {settings.threshold:g}; {advice}, or write {lowest:g} or more")
