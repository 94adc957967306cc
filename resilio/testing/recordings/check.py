"""What is asked of one exchange, and of a folder of them. Every difference becomes a line; none is hidden."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from resilio.config.kinds import KINDS
from resilio.errors import ErrorClass, MalformedResponse, ProviderError
from resilio.models import Answer
from resilio.providers import REGISTRY
from resilio.testing.recordings.exchange import Exchange, load
from resilio.testing.recordings.formats import FORMATS, Format, reading_of

__all__ = ["Finding", "Summary", "check", "check_folder"]

_WALL: Final = 1_800_000_000.0
_SPLITS: Final = 25
"""Random ways to cut each stream into pieces."""
_ENDINGS: Final = 200
"""Bytes at which it is tried what a stream that ends there is taken for; completeness is asked at every byte."""


@dataclass(slots=True)
class Finding:
    """What became of one exchange."""

    name: str
    format: str
    kind: str
    """whole, stream, or error."""
    outcome: str = ""
    """equal: as the SDK reads it. refused: neither takes it for an answer. classified: an error, with its class.
    ours alone: the SDK cannot read it. differs: see `differences`."""
    differences: list[str] = field(default_factory=list)
    note: str = ""
    """Why the SDK cannot read it."""


@dataclass(slots=True)
class Summary:
    """A folder."""

    findings: list[Finding] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    """Files of formats there is no row for."""

    @property
    def differences(self) -> int:
        return sum(len(finding.differences) for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        counts = Counter((finding.format, finding.kind, finding.outcome) for finding in self.findings)
        return {
            "exchanges": len(self.findings),
            "passed_over": len(self.passed_over),
            "counts": [
                {"format": name, "kind": kind, "outcome": outcome, "count": count}
                for (name, kind, outcome), count in sorted(counts.items())
            ],
            "differences": [
                {"name": finding.name, "what": line} for finding in self.findings for line in finding.differences
            ],
            "notes": [{"name": finding.name, "what": finding.note} for finding in self.findings if finding.note],
        }


def check_folder(folder: Path, formats: Iterable[Format] = FORMATS, *, seed: int = 0) -> Summary:
    """Check every ``.json`` file in a folder, in order of their names."""
    rows = tuple(formats)
    summary = Summary()
    for path in sorted(folder.glob("*.json")):
        try:
            exchange = load(path)
        except ValueError:
            exchange = None
        row = next((row for row in rows if row.matches(exchange)), None) if exchange is not None else None
        if exchange is None or row is None:
            summary.passed_over.append(path.name)
        else:
            summary.findings.append(check(exchange, with_own_codec(exchange, row), seed=seed))
    return summary


def with_own_codec(exchange: Exchange, row: Format) -> Format:
    """The row with the codec of the very server that answered, where its URL is recorded and it has one.

    A format's own codec reads whatever speaks it; that of a kind may read more (reasoning that has to come back).
    """
    url = urlsplit(exchange.url)
    labels = (url.hostname or "").split(".")
    kinds = [kind for kind in KINDS.values() if kind.format == KINDS[row.codec.kind].format and kind.name in REGISTRY]
    at = next((kind for kind in kinds if kind.url and urlsplit(kind.url).netloc == url.netloc), None)
    at = at or next((kind for kind in kinds if kind.name in labels), None)
    return row if at is None else row._replace(codec=REGISTRY[at.name])


def check(exchange: Exchange, row: Format, *, seed: int = 0) -> Finding:
    """Check one exchange."""
    kind = "error" if exchange.status >= 400 else "stream" if exchange.stream else "whole"
    finding = Finding(exchange.name, row.name, kind)
    if kind == "error":
        error = row.codec.error(exchange.status, exchange.headers, exchange.body, wall_now=_WALL)
        finding.outcome = f"classified {error.error_class}"
        return finding
    ours, refused = _read(exchange, row)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic's, about shapes the SDK's types do not foresee
            theirs = row.read(exchange)
    except Exception as exc:  # an SDK may fail in any way
        finding.note = f"the SDK: {type(exc).__name__}: {exc}"
        finding.outcome = "refused" if refused is not None else "ours alone"
        return finding
    if refused is not None:
        finding.differences.append(f"we refuse it ({refused}); the SDK reads {theirs!r}")
    elif (mine := reading_of(ours)) != theirs:
        pairs = zip(mine._fields, mine, theirs, strict=True)
        finding.differences += [f"{name}: {a!r}, the SDK reads {b!r}" for name, a, b in pairs if a != b]
    elif exchange.stream:
        rng = random.Random(seed)
        finding.differences += [*_byte_by_byte(exchange, row, ours), *_endings(exchange, row, rng)]
        finding.differences += _splits(exchange, row, ours, rng)
    finding.outcome = "differs" if finding.differences else "equal"
    return finding


def _read(exchange: Exchange, row: Format, parts: Iterable[bytes] | None = None) -> tuple[Answer, ProviderError | None]:
    """What our codec reads, and the error it ends with, if it does."""
    if not exchange.stream:
        try:
            return row.codec.decode(exchange.status, exchange.headers, exchange.body), None
        except ProviderError as error:
            return Answer("", ""), error
    decoder = row.codec.stream_decoder(exchange.status, exchange.headers)
    try:
        for part in [exchange.body] if parts is None else parts:
            decoder.feed(part)
        decoder.finish()
    except ProviderError as error:
        return decoder.answer(), error
    return decoder.answer(), None


def _terminal(exchange: Exchange, row: Format) -> tuple[int, int]:
    """First and last byte of the event that ends the stream: the last that may, and no later than the JSON in it."""
    start = end = at = 0
    for line in exchange.body.splitlines(keepends=True):
        if line.startswith(b"data:"):
            parsed = _json_of(line)
            if isinstance(parsed, dict) and row.ends(parsed):
                start, end = at, at + len(line)
        at += len(line)
    return start, end


def _json_of(line: bytes) -> Any:
    """The JSON of a line of data; None where it is none."""
    try:
        return orjson.loads(line[5:])
    except orjson.JSONDecodeError:
        return None


def _byte_by_byte(exchange: Exchange, row: Format, whole: Answer) -> Iterator[str]:
    """Fed one byte at a time: incomplete at each of them until the terminal event, and the same in the end."""
    start, end = _terminal(exchange, row)
    decoder = row.codec.stream_decoder(exchange.status, exchange.headers)
    for at in range(len(exchange.body)):
        decoder.feed(exchange.body[at : at + 1])
        if decoder.complete and at < start:
            yield f"complete at byte {at}, though the terminal event begins at byte {start}"
            return
    decoder.finish()
    if not end:
        yield "complete without a terminal event"
    if decoder.answer() != whole:
        yield "another answer byte by byte"


def _endings(exchange: Exchange, row: Format, rng: random.Random) -> Iterator[str]:
    """A stream that ends before its terminal event is never taken for a whole one."""
    start, _ = _terminal(exchange, row)
    for at in sorted({0, start, *(rng.randrange(start + 1) for _ in range(_ENDINGS))}):
        _, error = _read(exchange, row, [exchange.body[:at]])
        if not isinstance(error, MalformedResponse):
            yield f"cut at byte {at}, its end is read as {error!r}"
        elif at == start and error.error_class is not ErrorClass.TRUNCATED:
            yield f"cut at byte {at}, it is called {error.error_class}"


def _splits(exchange: Exchange, row: Format, whole: Answer, rng: random.Random) -> Iterator[str]:
    body = exchange.body
    for _ in range(_SPLITS):
        cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(1, 12)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        if _read(exchange, row, parts) != (whole, None):
            yield f"another answer when cut at {cuts}"
