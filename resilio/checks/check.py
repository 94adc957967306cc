"""One check made ready from its settings, and all those of a route.

A check of texts says what it found in words that do not quote it: a denied secret has no business in an error message.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilio.checks.verdict import CheckInput
from resilio.checks.window import Sieve
from resilio.config import RouteSettings
from resilio.config.settings import CheckSettings
from resilio.errors import ConfigError
from resilio.models import CheckRecord, Request

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["Check", "CheckStatistics", "Checks"]


@dataclass(frozen=True, slots=True)
class CheckStatistics:
    """How often a check led to what, since the client opened or the check was changed."""

    allowed: int = 0
    denied: int = 0
    redacted: int = 0
    retried: int = 0
    escalated: int = 0
    failed: int = 0
    timed_out: int = 0


class Check:
    """One check of a route.

    Attributes:
        settings: As configured.
        pattern: What may not be found, for regex and banned_words.
        function: The user's own, for function.
    """

    __slots__ = ("_counts", "_validator", "function", "pattern", "settings")

    def __init__(self, settings: CheckSettings) -> None:
        """Make it ready; all of this has been done once before, when the configuration was read.

        Raises:
            NotFound, MissingPackage, ValueError: What it needs is not there any more.
        """
        from resilio.config.importing import imported
        from resilio.config.json_schema import compile_schema
        from resilio.config.patterns import compile_pattern, compile_words

        self.settings = settings
        self.pattern: re.Pattern[str] | None = None
        self.function: Callable[[CheckInput], Awaitable[Any]] | None = None
        self._validator: Validator | None = None
        self._counts: dict[str, int] = {}
        if settings.regex is not None:
            self.pattern = compile_pattern(settings.regex)
        elif settings.banned_words:
            self.pattern = compile_words(settings.banned_words)
        elif settings.function is not None:
            self.function = imported(settings.function)
        elif settings.json_schema is not None and settings.json_schema.document is not None:
            self._validator = compile_schema(settings.json_schema.document)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def repairs(self) -> bool:
        """Whether a model that is told what was wrong with its answer can mend it; else it is asked anew."""
        return self.pattern is None and self.function is None

    def count(self, record: CheckRecord) -> None:
        """Note what it led to."""
        self._counts[record.action] = self._counts.get(record.action, 0) + 1

    def statistics(self) -> CheckStatistics:
        return CheckStatistics(**self._counts)

    # --- looking ---------------------------------------------------------------------------------

    def find(self, text: str) -> str | None:
        """Where its pattern is found; None: nowhere."""
        assert self.pattern is not None, "only patterns are searched for"
        match = self.pattern.search(text)
        return None if match is None else self.found_at(match.start())

    def found_at(self, at: int) -> str:
        """The reason of a match that begins at this character, from 0."""
        what = "a banned word" if self.settings.regex is None else "what its regex looks for"
        return f"{what} stands at character {at + 1}"

    def redacted(self, text: str) -> tuple[str, int]:
        """The text without what is found in it, and how many places there were."""
        assert self.pattern is not None, "only patterns are redacted"
        return self.pattern.subn(lambda _: self.settings.replacement, text)

    def sieve(self) -> Sieve:
        """A new stream's look through its window."""
        assert self.pattern is not None, "only patterns are looked for in a window"
        replacement = self.settings.replacement if self.settings.then == "redact" else None
        return Sieve(self.pattern, self.settings.window, replacement)

    def measure(self, length: int) -> str | None:
        """What is wrong with a text of so many characters."""
        low, high = self.settings.min_characters, self.settings.max_characters
        if low is not None and length < low:
            return f"it has {length} characters; at least {low} are wanted"
        if high is not None and length > high:
            return f"it has {length} characters; at most {high} are wanted"
        return None

    def schema(self, request: Request) -> Validator | None:
        """The schema an answer to this request is held against; None: the request asks for none.

        Raises:
            ValueError: What the request gives as one is none.
        """
        if self._validator is not None:
            return self._validator
        from resilio.config.json_schema import compile_schema

        wanted: Any = request.wire.get("response_format")
        kind = wanted.get("type") if isinstance(wanted, Mapping) else None
        if kind == "json_object":
            return compile_schema({"type": "object"})
        if kind != "json_schema":
            return None
        inner = wanted.get("json_schema")
        return compile_schema(inner.get("schema", True) if isinstance(inner, Mapping) else inner)

    def validate(self, request: Request, text: str) -> str | None:
        """What keeps the text from being what the schema says."""
        from resilio.config.json_schema import complaint

        validator = self.schema(request)
        return None if validator is None else complaint(validator, text)


class Checks:
    """All checks of one route, in order, by when they run."""

    __slots__ = ("after", "at_end", "before", "in_window")

    def __init__(self, every: list[Check]) -> None:
        self.before = tuple(its for its in every if its.settings.stage == "before")
        self.after = tuple(its for its in every if its.settings.stage == "after")
        self.in_window = tuple(its for its in self.after if its.settings.in_window)
        """Those that look at a stream while it flows."""
        self.at_end = tuple(its for its in self.after if not its.settings.in_window)

    @classmethod
    def of(cls, route: RouteSettings) -> Checks | None:
        """The checks of a route; None where it has none.

        Raises:
            ConfigError: One cannot be made ready.
        """
        if not route.checks:
            return None  # and nothing of the reader of configurations is imported
        from resilio.config.importing import NotFound
        from resilio.config.json_schema import MissingPackage

        every = []
        for settings in route.checks:
            try:
                every.append(Check(settings))
            except (NotFound, MissingPackage, ValueError) as exc:
                raise ConfigError([f"route.{route.name}.checks: {settings.name!r} {exc}"]) from exc
        return cls(every)

    def inherit(self, old: Checks) -> Checks:
        """These, where they are as before with all they have counted."""
        known = {its.name: its for its in (*old.before, *old.after)}
        every = [*self.before, *self.after]
        kept = [was if (was := known.get(its.name)) and was.settings == its.settings else its for its in every]
        return Checks(kept)

    def statistics(self) -> dict[str, CheckStatistics]:
        """By name."""
        return {its.name: its.statistics() for its in (*self.before, *self.after)}
