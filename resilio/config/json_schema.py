"""JSON schemas: compiled once, and answers held against them.

`jsonschema_rs` does the work: it compiles in a tenth of a millisecond, its regular expressions cannot hang, and it has
no dependencies. It is imported when the first schema is met. Schemas may come from callers, so no reference is ever
followed to a file or a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["HINT", "MissingPackage", "compile_schema", "complaint"]

HINT: Final = "pip install 'resilio-llm[checks]'"
_LONGEST: Final = 300
"""Characters of one complaint: it may quote what a model wrote."""
_SHOWN: Final = 3
"""So many complaints tell a model what to mend; more would drown it."""


class MissingPackage(ImportError):
    """What validates schemas is not installed."""

    def __init__(self) -> None:
        super().__init__(f"needs the package jsonschema-rs; run: {HINT}")


def compile_schema(schema: Any) -> Validator:
    """A validator for this schema; the last few are kept.

    Raises:
        ValueError: It is no JSON schema, or it refers to something outside itself.
        MissingPackage: Nothing here can read schemas.
    """
    if not isinstance(schema, Mapping | bool):
        raise ValueError(f"is no JSON schema: {type(schema).__name__} where an object is expected")
    try:
        return _compiled(orjson.dumps(schema, default=_plain))
    except TypeError as exc:
        raise ValueError(f"is no JSON schema: {exc}") from None


@lru_cache(maxsize=256)
def _compiled(data: bytes) -> Validator:
    try:
        import jsonschema_rs
    except ImportError as exc:
        raise MissingPackage from exc
    try:
        return jsonschema_rs.validator_for(orjson.loads(data), retriever=_nothing_from_outside)
    except ValueError as exc:
        raise ValueError(f"is no JSON schema: {getattr(exc, 'message', exc)}"[:_LONGEST]) from None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _nothing_from_outside(uri: str) -> Any:
    raise ValueError("a schema may refer to its own parts alone")


def complaint(validator: Validator, text: str) -> str | None:
    """What keeps a text from being JSON of this schema; None: nothing does."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        return f"it is not JSON: {exc}"[:_LONGEST]
    found = []
    for error in validator.iter_errors(value):
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        found.append(f"{'$' + where}: {error.message}"[:_LONGEST])
        if len(found) == _SHOWN:
            break
    return "; ".join(found) or None
