"""How many tokens a prompt has, before it is sent: an estimate that learns each model's way of counting.

It starts at four UTF-8 bytes a token, and fits a line through what providers report: so many tokens a byte, and
so many more whatever the length (chat templates, and what providers put before the tools). Text is what it learns
from; pictures, sounds and files count by constants. Pure. The rule that keeps it honest: an error is measured on
prompts the estimate had not seen, and a budget goes by the largest of the recent ones.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from resilio.models import Request

__all__ = ["UNLEARNED_ERROR", "PromptSize", "TokenEstimator", "TokenEstimatorStatistics", "prompt_size", "text_bytes"]

BYTES_A_TOKEN: Final = 4
"""About right for English; code has fewer, and no common tokeniser has many more."""

UNLEARNED_ERROR: Final = 0.5
"""How far a prompt's tokens may exceed bytes / 4 before anything is learned: English, code, most European languages."""

_TEMPLATE: Final = 32
"""Tokens that any prompt may have beyond its text, whatever its length: what chat templates put around messages."""

_TOOLS_TEMPLATE: Final = 1500
"""The same before tools, where nothing is learned: Anthropic's instructions take up to 600, Groq's models 500 and
Cohere's 1400, as recorded in 2025 and 2026."""

_OVERSTATED: Final = 0.25
"""By how much bytes / 4 may exceed the tokens there are, before anything is learned."""

_LEAST_ERROR: Final = 0.05
"""However well the recent ones went, the next prompt may be of another kind."""

_MEMORY: Final = 64
_FIRST: Final = 4
"""Reports before there is a line at all."""
_ENOUGH: Final = 16
"""Errors measured before a small one is believed."""
_REDRAW: Final = 32
"""Reports that pass, once there are enough, until the line is drawn anew: a twentieth of a millisecond."""
_OUTLIER: Final = 4.0
"""A report that is so many times off what the line says is taken for a provider's mistake (or for one of ours about
what was counted): it moves no error. Should it be right after all, the line follows within a few more of them."""

_IMAGE_TOKENS: Final = 765
"""An image of 1024 x 1024 in detail: 85 tokens and 4 tiles of 170 (OpenAI's vision guide)."""
_SMALL_IMAGE_TOKENS: Final = 85
_AUDIO_BYTES_A_TOKEN: Final = 2000
"""Base64 of 1600 bytes: a tenth of a second, which is one token, at 128 kbit/s."""
_FILE_BYTES_A_TOKEN: Final = 100
"""Rough: base64 of a PDF page of 75 kB, for the 1000 tokens of its text and picture."""
_FILE_BY_ID_TOKENS: Final = 1000


class PromptSize(NamedTuple):
    """What there is to estimate from: nothing in it depends on the model."""

    text_bytes: int
    """UTF-8 bytes of the messages' text, and of the JSON of tools and answer format."""
    other_tokens: int = 0
    """Tokens of parts that are not text, by constants."""
    tools: bool = False
    """Providers put instructions of their own before tools: such prompts have a line of their own."""

    @property
    def tokens(self) -> int:
        """At four bytes a token; at least 1."""
        return -(-self.text_bytes // BYTES_A_TOKEN) + self.other_tokens or 1


def prompt_size(request: Request) -> PromptSize:
    """Measure a request, a microsecond for a few messages. Nonsense counts as nothing: `encode` refuses it."""
    if request.inputs is not None:
        return PromptSize(sum(map(text_bytes, request.inputs)))
    size = others = 0
    messages: Sequence[object] = request.messages
    for message in messages:
        if type(message) is not dict and not isinstance(message, Mapping):
            continue
        for name, value in message.items():
            if isinstance(value, str):
                size += text_bytes(value)
            elif name == "content" and isinstance(value, Sequence):
                for part in value:
                    text, tokens = _part_size(part)
                    size += text
                    others += tokens
            elif value:
                size += _json_size(value)
    wire = request.wire
    if not wire:
        return PromptSize(size, others)
    tools = False
    for name in ("tools", "functions", "response_format"):
        value = wire.get(name)
        if value:
            size += _json_size(value)
            tools = tools or name != "response_format"
    return PromptSize(size, others, tools)


def text_bytes(text: str) -> int:
    """Its length in UTF-8; half a surrogate pair, which is no character, counts as one byte."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _part_size(part: Any) -> tuple[int, int]:
    """Bytes of text and tokens of anything else."""
    if not isinstance(part, Mapping):
        return _json_size(part), 0
    kind = part.get("type")
    inner = part.get(kind) if isinstance(kind, str) else None
    if kind == "text":
        return len(str(inner).encode("utf-8", "replace")), 0
    if isinstance(inner, Mapping):
        if kind == "image_url":
            return 0, _SMALL_IMAGE_TOKENS if inner.get("detail") == "low" else _IMAGE_TOKENS
        if kind == "input_audio":
            return 0, len(str(inner.get("data", ""))) // _AUDIO_BYTES_A_TOKEN + 1
        if kind == "file":
            data = inner.get("file_data")
            return 0, len(str(data)) // _FILE_BYTES_A_TOKEN + 1 if data else _FILE_BY_ID_TOKENS
    return _json_size(part), 0


def _json_size(value: Any) -> int:
    try:
        return len(orjson.dumps(value, default=str))
    except TypeError:  # `encode` refuses it, with the reason; here it only must not fail
        return 0


class TokenEstimatorStatistics(NamedTuple):
    """What is learned of prompts without and with tools: `bytes_a_token` and `overhead` tokens, or None."""

    samples: int
    bytes_a_token: float | None
    overhead: float | None
    error: float
    """Share by which a prompt may have more tokens than estimated: what budgets reserve on top."""


def _median(values: list[float]) -> float:
    """The upper one of two: `statistics.median` would cost its import, and that is dear."""
    return sorted(values)[len(values) // 2]


class _Line:
    """tokens = overhead + slope x bytes, through the last reports, whatever a few of them say.

    The incomplete method of Theil (1950): the slope is the median over pairs of points half the range apart, the
    overhead the median of what is left. Half of the pairs may be nonsense before it is. Where all prompts are about
    as long, or the line would start below 0, it goes through the origin: there is one figure to learn then.
    """

    __slots__ = ("_errors", "_fresh", "_points", "_worst", "learned", "overhead", "slope")

    def __init__(self) -> None:
        self._points: deque[tuple[int, int]] = deque(maxlen=_MEMORY)
        self._errors: deque[float] = deque(maxlen=_MEMORY)
        """Of each report that came when there was a line: tokens / what the line had said."""
        self._fresh = 0
        self._worst = (1.0, 1.0)
        """The least and the largest of them."""
        self.learned = False
        self.slope = 1 / BYTES_A_TOKEN
        self.overhead = 0.0

    def __len__(self) -> int:
        return len(self._points)

    def tokens(self, text_bytes: int) -> float:
        return self.overhead + self.slope * text_bytes

    @property
    def measured(self) -> bool:
        """Whether enough errors are known to go by the largest of them."""
        return len(self._errors) >= _ENOUGH

    @property
    def above(self) -> float:
        """Share by which a prompt may have more tokens than the line says."""
        return max(self._worst[1] - 1, _LEAST_ERROR if self.measured else UNLEARNED_ERROR)

    @property
    def below(self) -> float:
        """Share by which it may have fewer."""
        return max(1 - self._worst[0], _LEAST_ERROR if self.measured else _OVERSTATED)

    def add(self, text_bytes: int, tokens: int) -> None:
        points = self._points
        if self.learned:
            factor = tokens / max(1.0, self.tokens(text_bytes))
            if 1 / _OUTLIER <= factor <= _OUTLIER:
                self._errors.append(factor)
                least, most = self._worst
                if not least <= factor <= most:  # told at once; forgotten when the line is drawn anew
                    self._worst = min(least, factor), max(most, factor)
        points.append((text_bytes, tokens))
        self._fresh += 1
        count = len(points)
        if _FIRST <= count <= _ENOUGH or self._fresh >= _REDRAW:
            self._fit()

    def _fit(self) -> None:
        self._fresh, self.learned = 0, True
        self._worst = min(self._errors, default=1.0), max(self._errors, default=1.0)
        points = sorted(self._points)
        half = len(points) // 2
        slopes = [
            (high[1] - low[1]) / (high[0] - low[0])
            for low, high in zip(points, points[-half:], strict=False)
            if high[0] > low[0] * 1.5
        ]
        if len(slopes) >= _FIRST // 2:
            slope = _median(slopes)
            overhead = _median([tokens - slope * size for size, tokens in points])
            if slope > 0 and overhead >= 0:
                self.slope, self.overhead = slope, overhead
                return
        self.slope, self.overhead = _median([tokens / size for size, tokens in points]), 0.0


class TokenEstimator:
    """Estimates prompts of one target, and learns from what it reports. Belongs to the target's record."""

    __slots__ = ("_plain", "_tools")

    def __init__(self) -> None:
        self._plain = _Line()
        self._tools = _Line()

    def __repr__(self) -> str:
        return f"<TokenEstimator {self.statistics()}>"

    def estimate(self, size: PromptSize) -> int:
        """Tokens of a prompt, at least 1: what to expect."""
        line = self._tools if size.tools else self._plain
        if not line.learned:
            return size.tokens
        return max(1, math.ceil(line.tokens(size.text_bytes)) + size.other_tokens)

    def at_most(self, size: PromptSize) -> int:
        """The same, cautiously: what a hard budget reserves. Above `estimate` by the measured error.

        Until that is measured on enough prompts, the unlearned bound holds too: half as much again as four bytes a
        token, and what is known to stand around messages and before tools.
        """
        line = self._tools if size.tools else self._plain
        others = size.other_tokens * (1 + UNLEARNED_ERROR) + _TEMPLATE
        text = line.tokens(size.text_bytes) * (1 + line.above) if line.learned else 0.0
        if not line.measured:
            start = size.text_bytes / BYTES_A_TOKEN * (1 + UNLEARNED_ERROR) + (_TOOLS_TEMPLATE if size.tools else 0)
            text = max(text, start)
        return math.ceil(text + others)

    def at_least(self, size: PromptSize) -> int:
        """The same, the other way: a prompt is refused as too long only if it must be."""
        line = self._tools if size.tools else self._plain
        if not line.learned:
            return int(size.tokens / (1 + _OVERSTATED))
        return int(line.tokens(size.text_bytes) * (1 - line.below) + size.other_tokens / (1 + UNLEARNED_ERROR))

    def learn(self, size: PromptSize, input_tokens: int) -> None:
        """Take in what a provider reported of a prompt, its cached parts included.

        Prompts with parts that are not text teach nothing: nobody says which tokens were theirs. Nor does a report
        of no tokens, or one of more tokens than the text has bytes and a provider's own instructions can explain.
        """
        if size.other_tokens or size.text_bytes <= 0 or not 0 < input_tokens <= size.text_bytes + 2000:
            return
        (self._tools if size.tools else self._plain).add(size.text_bytes, input_tokens)

    def statistics(self) -> tuple[TokenEstimatorStatistics, TokenEstimatorStatistics]:
        """What is learned: of prompts without tools, and of those with."""
        plain, tools = (
            TokenEstimatorStatistics(
                len(line),
                1 / line.slope if line.learned else None,
                line.overhead if line.learned else None,
                line.above,
            )
            for line in (self._plain, self._tools)
        )
        return plain, tools
