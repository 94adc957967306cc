"""What can be wrong with the checks of a route: kinds, patterns, schemas, functions, and actions that make no sense.

Reads settings alone; what a check does to a text stands in `resilio.checks`. A function of one's own is imported here,
so that a name that leads nowhere is told with its line; nothing of it is called.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

from resilio.config.importing import NotFound, imported
from resilio.config.json_schema import MissingPackage, compile_schema
from resilio.config.patterns import compile_pattern, compile_words, widths
from resilio.config.problems import Path, Problems, shown
from resilio.config.reader import Reader
from resilio.config.settings import CheckSettings, RouteSettings

__all__ = ["check_route_checks", "is_async"]

_KINDS: Final = "regex, banned_words, min_characters or max_characters, json_schema, function"
_REFERENCE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_OF_FUNCTIONS: Final = ("timeout", "max_cost_usd", "on_error")


def check_route_checks(reader: Reader, route: RouteSettings, path: Path) -> None:
    """Check the checks of one route.

    Args:
        reader: What the document was read with.
        route: The route they belong to.
        path: Where it stands.
    """
    names: dict[str, int] = {}
    for index, check in enumerate(route.checks):
        where: Path = (*path, "checks", index)
        if not reader.problems.touch(where):  # else a kind may seem to be missing that could only not be read
            _check_kind(reader, check, where)
        if not reader.problems.touch(where):
            _check_action(reader, route, check, where)
        if not reader.problems.touch(where):
            _check_window(reader, check, where)
        if check.name in names:
            reader.problems.add((*where, "name"), f"{shown(check.name)} is already checks[{names[check.name]}]")
        names.setdefault(check.name, index)


def _check_kind(reader: Reader, check: CheckSettings, path: Path) -> None:
    problems, kinds = reader.problems, check.kinds
    if (*path, "banned_words") in reader.written and not check.banned_words:
        problems.add((*path, "banned_words"), "is empty; expected at least one word")
        return
    if len(kinds) != 1:
        what = f"is of {len(kinds)} kinds ({', '.join(kinds)})" if kinds else "does not say what it looks for"
        problems.add(path, f"{what}; expected exactly one of {_KINDS}")
        return
    low, high = check.min_characters, check.max_characters
    if low is not None and high is not None and low > high:
        problems.add((*path, "min_characters"), f"is {low}, but max_characters is {high}: no text is both")
    if check.regex is not None:
        try:
            compile_pattern(check.regex)
        except ValueError as exc:
            problems.add((*path, "regex"), str(exc))
    if check.json_schema is not None:
        _check_schema(problems, check, path)
    if check.function is not None:
        _check_function(problems, check.function, (*path, "function"))


def _check_schema(problems: Problems, check: CheckSettings, path: Path) -> None:
    assert check.json_schema is not None, "its caller has looked"
    document = check.json_schema.document
    try:
        compile_schema(True if document is None else document)
    except (ValueError, MissingPackage) as exc:
        problems.add((*path, "json_schema"), str(exc))
    if check.stage == "before":
        problems.add((*path, "stage"), 'is "before", but a schema is what an answer is held against; write "after"')


def _check_function(problems: Problems, reference: str, path: Path) -> None:
    if not _REFERENCE.fullmatch(reference):
        problems.add(path, f'is {shown(reference)}; expected "package.module:name"')
        return
    try:
        found = imported(reference)
    except NotFound as exc:
        problems.add(path, str(exc))
        return
    if not is_async(found):
        problems.add(path, f"{shown(reference)} is not an async function: write `async def`")


def is_async(found: Any) -> bool:
    """Whether what a check names can be awaited when called."""
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004


def _check_action(reader: Reader, route: RouteSettings, check: CheckSettings, path: Path) -> None:
    problems, then, kind = reader.problems, check.then, check.kinds[0]
    if then == "redact" and kind in ("length", "json_schema"):
        problems.add((*path, "then"), f'is "redact", but {kind} finds nothing that could be taken out')
    if then == "redact" and kind == "function":
        text = 'is "redact", but only the function knows the new text: it returns Verdict("redact", text=...)'
        problems.add((*path, "then"), text)
    if then == "retry" and check.stage == "before":
        problems.add((*path, "then"), 'is "retry", but before sending there is no answer to ask for again')
    if then == "escalate" and len(route.ladder) == 1:
        text = 'is "escalate", but the ladder of the route has no other rung; give it one, or write "deny"'
        problems.add((*path, "then"), text)
    if kind != "function":
        for name in _OF_FUNCTIONS:
            if (*path, name) in reader.written:
                problems.add((*path, name), "has a meaning for function alone: nothing else waits, costs or fails")
    if (*path, "replacement") in reader.written and not check.redacts_text:
        problems.add((*path, "replacement"), 'has a meaning for regex and banned_words with then = "redact" alone')


def _check_window(reader: Reader, check: CheckSettings, path: Path) -> None:
    problems, kind = reader.problems, check.kinds[0]
    if check.stage == "before":
        for name in ("stream", "window"):
            if (*path, name) in reader.written:
                problems.add((*path, name), 'has a meaning for stage "after" alone: a request is no stream')
        return
    if (*path, "window") in reader.written and not check.in_window:
        problems.add((*path, "window"), 'has a meaning for stream = "window" alone')
    if not check.in_window:
        return
    if kind not in ("regex", "banned_words") and not (kind == "length" and check.min_characters is None):
        kinds = "regex, banned_words and max_characters"
        problems.add((*path, "stream"), f'is "window", which only {kinds} can look through; write "end"')
        return
    if kind == "length":
        return
    pattern = compile_words(check.banned_words) if check.regex is None else compile_pattern(check.regex)
    shortest, longest = widths(pattern)
    if max(shortest, longest or 0) > check.window:
        text = f"is {check.window}, but a match can have {max(shortest, longest or 0)} characters"
        problems.add((*path, "window"), f"{text}; it would slip through")
