"""What ``"package.module:name"`` in a configuration names: looked up in one place, its errors worded once."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["NotFound", "imported"]


class NotFound(Exception):
    """It cannot be had; says why, and what is there instead."""


def imported(reference: str) -> Any:
    """Import what a reference names.

    Args:
        reference: A module, a colon, and a name in it; both may have dots.

    Raises:
        NotFound: The module cannot be imported, or has no such name.
    """
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as exc:  # a module may fail in any way
        raise NotFound(f"cannot import {module_name!r}: {type(exc).__name__}: {exc}") from exc
    for part in path.split("."):
        if not hasattr(found, part):
            inside = getattr(found, "__dict__", {})
            public = ", ".join(each for each, its in inside.items() if callable(its) and not each.startswith("_"))
            raise NotFound(f"{reference!r} is not there; what can be called in it: {public or 'nothing'}")
        found = getattr(found, part)
    return found
