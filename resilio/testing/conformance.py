"""What every provider codec must hold, whatever its wire format: run `check_codec` on yours.

The checks know no format. They need real answers as `Sample`s (recordings, or a `SimulatedProvider`'s) and then do
to them what networks do: split, cut, garble. Findings are `AssertionError`s that name the sample and the byte.
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from resilio.config import TargetSettings
from resilio.errors import ErrorClass, MalformedResponse, ProviderError
from resilio.models import Answer, Request
from resilio.providers.base import Codec
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script

__all__ = ["Sample", "check_codec", "simulated_samples"]

T = TypeVar("T")
_WALL: Final = 1_800_000_000.0
_ODD: Final = ("", "-1", "nan", "1e999", "0", "soon", "9" * 400, "1h1h", "2026-99-99T00:00:00Z", "\x00", "٣")
"""Header values seen in the wild, or feared."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One response as it came over the wire."""

    name: str
    body: bytes
    text: str
    """What it says, read by eye: the text of the first choice."""
    stream: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def check_codec(
    codec: Codec,
    samples: Iterable[Sample],
    requests: Sequence[Request] = (),
    *,
    seed: int = 0,
    every: int = 1,
) -> None:
    """Hold a codec to its protocol.

    Args:
        codec: The codec.
        samples: Whole, successful answers, streamed and not.
        requests: Requests it must be able to write.
        seed: For random splits and garbling.
        every: Try each n-th byte only, for long recordings.

    Raises:
        AssertionError: A rule was broken.
    """
    rng = random.Random(seed)
    for sample in samples:
        if sample.stream:
            _check_stream(codec, sample, rng, every)
        else:
            _check_unary(codec, sample, rng, every)
        _check_errors(codec, sample, every)
        _check_headers(codec, sample)
    for request in requests:
        for stream in (False, True):
            _check_request(codec, request, stream=stream)


_CHAT: Final = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
_CONTENTS: Final = {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}
_VERSION: Final = {"anthropic-version": "2023-06-01"}
_ASKED: Final[Mapping[str, Callable[[bool], tuple[str, Mapping[str, Any], Mapping[str, str]]]]] = {
    "openai": lambda stream: (
        "/v1/chat/completions",
        {**_CHAT, "stream": stream, "stream_options": {"include_usage": True}},
        {},
    ),
    "anthropic": lambda stream: ("/v1/messages", {**_CHAT, "stream": stream, "max_tokens": 100}, _VERSION),
    "gemini": lambda stream: (
        f"/v1beta/models/m:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}",
        _CONTENTS,
        {},
    ),
    "responses": lambda stream: ("/v1/responses", {"model": "m", "input": "?", "stream": stream}, {}),
}
"""By dialect: where to ask for a chat, streamed or not, and what that takes."""


def simulated_samples(
    texts: Sequence[str] = ("Hello there, world.", "naïve 你好 🙂\nline"), dialect: str = "openai"
) -> list[Sample]:
    """Answers of the simulated provider, streamed and not; `dialect` is openai, anthropic, gemini or responses."""
    samples = []
    for text in texts:
        simulated = SimulatedProvider(Script(answer=text), clock=lambda: 0.0, wall_clock=lambda: _WALL)
        for stream in (False, True):
            path, asked, headers = _ASKED[dialect](stream)
            _, reaction = simulated.react("POST", path, headers, json.dumps(asked).encode())
            body = b"".join(data for _, data in reaction.pieces)
            name = f"{text!r}, {'streamed' if stream else 'whole'}"
            samples.append(Sample(name, body, text, stream, 200, reaction.headers))
    return samples


def _require(condition: object, sample: Sample, what: str) -> None:
    if not condition:
        raise AssertionError(f"{sample.name}: {what}")


def _read(codec: Codec, sample: Sample, parts: Iterable[bytes]) -> tuple[str, bool, Answer, ProviderError | None]:
    """Text handed out, whether it counts as complete, the answer so far, and the error it ended with."""
    decoder = codec.stream_decoder(sample.status, sample.headers)
    handed: list[str] = []
    error = None
    try:
        for part in parts:
            handed += [chunk.text for chunk in decoder.feed(part) if chunk.index == 0]
        handed += [chunk.text for chunk in decoder.finish() if chunk.index == 0]
    except ProviderError as raised:
        error = raised
    return "".join(handed), decoder.complete, decoder.answer(), error


def _check_stream(codec: Codec, sample: Sample, rng: random.Random, every: int) -> None:
    body = sample.body
    text, complete, answer, error = _read(codec, sample, [body])
    _require(error is None, sample, f"a whole stream ended with {error!r}")
    _require(complete, sample, "a whole stream is not complete")
    _require(text == answer.text == sample.text, sample, f"reads {text!r}, and as an answer {answer.text!r}")

    def same(parts: Iterable[bytes], how: str) -> None:
        found = _read(codec, sample, parts)
        _require(found == (text, True, answer, None), sample, f"{how}, it reads {found!r}")

    same((body[i : i + 1] for i in range(len(body))), "byte by byte")
    for at in range(1, len(body), every):
        same((body[:at], body[at:]), f"split at byte {at}")
    for _ in range(20):
        cuts = sorted(rng.sample(range(1, len(body)), min(6, len(body) - 1)))
        same((body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)), f"split at {cuts}")
    for at in range(0, len(body), every):
        _check_cut_stream(codec, sample, at)
    for at in range(0, len(body), every):
        garbled = [_garbled(body, at, rng)]
        _survives(sample, f"garbled at byte {at}", functools.partial(_read, codec, sample, garbled))


def _check_cut_stream(codec: Codec, sample: Sample, at: int) -> None:
    """A cut stream is never taken for a whole one, and nothing is invented."""
    text, complete, answer, error = _read(codec, sample, [sample.body[:at]])
    where = f"cut at byte {at}"
    _require(sample.text.startswith(text), sample, f"{where}, it hands out {text!r}")
    if complete:
        whole = text == answer.text == sample.text and error is None
        _require(whole, sample, f"{where}, it calls {answer.text!r} complete ({error!r})")
        return
    told = isinstance(error, MalformedResponse)
    _require(told, sample, f"{where}, the end is not reported as malformed or truncated but as {error!r}")
    if text and error is not None:
        _require(error.error_class is ErrorClass.TRUNCATED, sample, f"{where}, it is called {error.error_class}")


def _check_unary(codec: Codec, sample: Sample, rng: random.Random, every: int) -> None:
    body = sample.body
    answer = codec.decode(sample.status, sample.headers, body)
    _require(answer.text == sample.text, sample, f"reads {answer.text!r}")
    _require(answer.finish_reason, sample, "has no finish reason")
    for at in range(0, len(body.rstrip()), every):
        decode = functools.partial(codec.decode, sample.status, sample.headers)
        half = _survives(sample, f"cut at byte {at}", functools.partial(decode, body[:at]))
        _require(half is None, sample, f"cut at byte {at}, it reads as {half!r}")
        _survives(sample, f"garbled at byte {at}", functools.partial(decode, _garbled(body, at, rng)))


def _garbled(body: bytes, at: int, rng: random.Random) -> bytes:
    return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]


def _survives(sample: Sample, where: str, attempt: Callable[[], T]) -> T | None:
    """What comes out, None for an error of the provider; no other error may."""
    try:
        return attempt()
    except ProviderError:
        return None
    except Exception as error:
        raise AssertionError(f"{sample.name}: {where}, {error!r} escapes") from error


def _check_errors(codec: Codec, sample: Sample, every: int) -> None:
    """Any body under any error status is classified; none raises."""
    bodies = [b"", b"null", b"[]", b"<html>", b'{"error":null}', b'{"error":"text"}', b"\xff", sample.body]
    bodies += [sample.body[:at] for at in range(1, min(len(sample.body), 200), every)]
    for status in (400, 401, 402, 404, 408, 409, 413, 422, 429, 498, 500, 502, 503, 504, 529, 599):
        for body in bodies:
            where = f"as body {body[:40]!r} of status {status}"
            classify = functools.partial(codec.error, status, sample.headers, body, wall_now=_WALL)
            found = _survives(sample, where, classify)
            _require(found is not None, sample, f"{where}, an error is raised and not returned")
            hint = None if found is None else found.retry_after
            _require(hint is None or 0 <= hint < float("inf"), sample, f"{where}, retry_after is {hint}")


def _check_headers(codec: Codec, sample: Sample) -> None:
    """No header value, however odd, does more than be ignored."""
    names = {*sample.headers, "retry-after", "retry-after-ms", "x-ratelimit-reset-requests", "x-ratelimit-limit-tokens"}
    for name in sorted(names):
        for value in _ODD:
            headers = {**sample.headers, name: value}
            try:
                hint = codec.error(429, headers, sample.body, wall_now=_WALL).retry_after
                readings = codec.limits(headers, wall_now=_WALL)
            except Exception as error:
                raise AssertionError(f"{sample.name}: header {name} = {value!r} raises {error!r}") from error
            numbers = [hint, *(n for r in readings for n in (r.limit, r.remaining, r.reset_after))]
            fine = all(number is None or 0 <= number < float("inf") for number in numbers)
            _require(fine, sample, f"header {name} = {value!r} reads as {numbers}")


def _check_request(codec: Codec, request: Request, *, stream: bool) -> None:
    """Written twice the same, for this base, with the key in a header and nowhere else."""
    target = TargetSettings(provider="provider", model="a-model")
    before = copy.deepcopy(request)
    base, key = "http://127.0.0.1:9/v1", "sk-secret-of-the-caller"

    def write() -> tuple[str, dict[str, str], bytes]:
        made = codec.encode(
            request, target, base_url=base, key=key, headers={"x-mine": "1"}, stream=stream, max_output_tokens=77
        )
        return made.url, dict(made.headers), made.body

    url, headers, body = write()
    problems = {
        "is written differently the second time": (url, headers, body) != write(),
        "is changed by being written": request != before,
        "goes to another host": not url.startswith(base),
        "shows the key in URL or body": key in url or key.encode() in body,
        "does not send the key": not any(key in value for value in headers.values()),
        "drops the provider's own headers": headers.get("x-mine") != "1",
        "has a line break in a header": any(c in name + value for name, value in headers.items() for c in "\r\n"),
        "is not JSON": not _is_json(body),
        "does not name the model": b"a-model" not in body and "a-model" not in url,
        "has a negative estimate": codec.estimate_tokens(request) < 0,
        "needs something unhashable": not isinstance(codec.needs(request), frozenset),
    }
    broken = [problem for problem, found in problems.items() if found]
    if broken:
        raise AssertionError(f"request {request!r} {'; it '.join(broken)}")


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
