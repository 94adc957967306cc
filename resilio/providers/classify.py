"""From an error body to one exception: reads every shape of error, then asks the tables of its dialect.

Left out: headers that tell of limits, and what to do next (`resilio.errors.ERROR_RULES`). The rule that keeps
it simple: all shapes are first reduced to one `_Fault`, and after that only the tables know who answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from resilio.errors import (
    ErrorClass,
    InvalidRequest,
    KeyRejected,
    MalformedResponse,
    ProviderError,
    ProviderRefused,
    ProviderThrottled,
    ProviderUnavailable,
    RequestUnsuitable,
)
from resilio.providers.headers import OPENAI, Form, read_limits
from resilio.providers.reading import as_text
from resilio.retry import parse_duration, retry_after

__all__ = [
    "EXCEPTIONS",
    "OTHER_STATUSES",
    "Faults",
    "Wording",
    "error_in_answer",
    "error_of_response",
    "excerpt",
    "is_error",
    "load_object",
    "malformed",
    "refused_answer",
    "wording",
]

EXCEPTIONS: Final[Mapping[ErrorClass, type[ProviderError]]] = {
    ErrorClass.THROTTLED: ProviderThrottled,
    ErrorClass.OVERLOADED: ProviderUnavailable,
    ErrorClass.SERVER_ERROR: ProviderUnavailable,
    ErrorClass.OUT_OF_CREDIT: KeyRejected,
    ErrorClass.UNAUTHORISED: KeyRejected,
    ErrorClass.TOO_LONG: RequestUnsuitable,
    ErrorClass.UNSUPPORTED: RequestUnsuitable,
    ErrorClass.REFUSED: ProviderRefused,
    ErrorClass.CALLER: InvalidRequest,
    ErrorClass.MALFORMED: MalformedResponse,
    ErrorClass.TRUNCATED: MalformedResponse,
}

_DEEPEST: Final = 5
"""Errors inside errors are read so deep; none that means anything goes deeper than two."""
_LONGEST: Final = 300
"""Characters of the provider's own words in a message."""
_READ: Final = 4000
"""Characters of them that are looked at."""

_SECRET: Final = re.compile(
    r"\b(?:sk|gsk|rk|xai|pplx|nvapi|hf|csk|r8|fw|eyJ\w+)[-_.][\w*.~+/=\-]{4,}|\bAIza[\w*\-]{6,}"
    r"|(?i:\bbearer)\s+[\w*.~+/=\-]{6,}|(?i:(?<=api key: )|(?<=api key provided: ))\S+"
)
_TITLE: Final = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]*>")
_SPACE: Final = re.compile(r"\s+")
_TRY_AGAIN: Final = re.compile(
    r"(?:try again in|retry (?:after|in))\s+([0-9][0-9.hms]*)(?:\s*(milliseconds?|minutes?))?",
    re.IGNORECASE,
)


def excerpt(text: str) -> str:
    """Foreign text made fit for a message: a page's title, one line, no keys, at most 300 characters."""
    text = text[:_READ]
    if "<" in text:
        title = _TITLE.search(text)
        text = title[1] if title else _TAG.sub(" ", text)
    text = _SECRET.sub("[key]", _SPACE.sub(" ", text).strip())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def malformed(
    who: str, status: int | None, what: str, error_class: ErrorClass = ErrorClass.MALFORMED
) -> MalformedResponse:
    """The error of an answer that is none; `what` ends the sentence "<who> answered ..."."""
    return MalformedResponse(f"{who} answered {what}", error_class, status=status)


class Wording(NamedTuple):
    """Words that change a class: `pattern` found in the message of an error so far held to be in `among`."""

    name: str
    pattern: re.Pattern[str]
    among: frozenset[ErrorClass]
    becomes: ErrorClass
    seen_at: str


def wording(name: str, pattern: str, among: set[ErrorClass], becomes: ErrorClass, seen_at: str) -> Wording:
    """A row for `Faults.wordings`; the pattern is matched without regard to case."""
    return Wording(name, re.compile(pattern, re.IGNORECASE), frozenset(among), becomes, seen_at)


OTHER_STATUSES: Final[Mapping[int, ErrorClass]] = {
    # 2xx: an error inside an answer that names no cause. 3xx: not followed, the base URL is wrong.
    2: ErrorClass.SERVER_ERROR,
    3: ErrorClass.MALFORMED,
    4: ErrorClass.CALLER,
    5: ErrorClass.SERVER_ERROR,
}
"""By the hundreds of any status that a dialect does not list."""


class Faults(NamedTuple):
    """What a dialect means by an error. A code outranks a type, a type a status; wordings come last, in order."""

    codes: Mapping[str, ErrorClass]
    """By code and what stands in for it, in lower case."""
    types: Mapping[str, ErrorClass]
    """By `error.type`, in lower case."""
    statuses: Mapping[int, ErrorClass]
    wordings: tuple[Wording, ...]
    """The first that fits decides."""
    limits: tuple[Form, ...] = OPENAI
    """Headers that tell of its limits."""


def load_object(faults: Faults, who: str, status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The JSON object a 2xx response holds.

    Raises:
        MalformedResponse: There is none: HTML, broken JSON, a list.
        ProviderError: It is an error object, classified as if it had come with its own status.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        kind_of_body = headers.get("content-type") or "no content type"
        text = excerpt(body[:2000].decode("utf-8", "replace")) or "nothing"
        raise malformed(
            who, status, f"{status} with a body that is not JSON ({len(body)} bytes, {kind_of_body}): {text}"
        ) from exc
    if is_error(parsed):
        raise error_in_answer(faults, who, status, parsed)
    if not isinstance(parsed, dict):
        raise malformed(who, status, f"{status} with JSON that is not an object")
    return parsed


def is_error(parsed: Any) -> bool:
    """Whether a parsed body or event is an error object of any shape."""
    if isinstance(parsed, list):  # Google wraps some errors in an array
        parsed = parsed[0] if parsed else None
    return isinstance(parsed, dict) and bool(parsed.get("error") or parsed.get("object") == "error")


def refused_answer(who: str, status: int) -> ProviderRefused:
    """The error of an answer of which a content filter left nothing."""
    return ProviderRefused(
        f"{who} answered {status}, and its content filter left nothing of the answer",
        ErrorClass.REFUSED,
        status=status,
        code="content_filter",
    )


@dataclass(slots=True)
class _Fault:
    """What an error body says, whatever its shape."""

    codes: list[str] = field(default_factory=list)
    """Most telling first."""
    type: str = ""
    status: int | None = None
    message: str = ""
    retry_delay: float | None = None


def error_of_response(
    faults: Faults, who: str, status: int, headers: Mapping[str, str], body: bytes, wall_now: float
) -> ProviderError:
    """Classify a whole error response; HTML and other non-JSON goes by its status and words."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = body[:_READ].decode("utf-8", "replace")
    fault = _read(parsed)
    error_class = _classify(faults, fault, status)
    hint = retry_after(headers, wall_now)
    if hint is None:
        hint = _hint(fault)
    if hint is None and error_class is ErrorClass.THROTTLED:
        # Many send no Retry-After but say which limit is used up and when it is back.
        resets = [
            limit.reset_after
            for limit in read_limits(headers, wall_now, faults.limits)
            if limit.reset_after is not None and limit.remaining is not None and limit.remaining < 1
        ]
        hint = max(resets, default=None)
    return _exception(who, fault, status, error_class, hint)


def error_in_answer(faults: Faults, who: str, status: int, body: Any) -> ProviderError:
    """Classify an error object found in a 2xx answer, or in one event of its stream.

    Headers are not asked: they were sent when all was still well.
    """
    fault = _read(body)
    return _exception(who, fault, status, _classify(faults, fault, status), _hint(fault))


def _read(parsed: Any) -> _Fault:
    if isinstance(parsed, list) and parsed:  # Google wraps some errors in an array
        parsed = parsed[0]
    if not isinstance(parsed, Mapping):
        return _Fault(message=parsed if isinstance(parsed, str) else _as_json(parsed))
    fault = _Fault()
    error = parsed.get("error")
    if isinstance(error, Mapping):
        _read_object(fault, error)
    else:
        _read_object(fault, parsed)
        if isinstance(error, str) and error:  # {"error": "text"}: Ollama's own surface, TGI
            fault.message = error
            fault.type = fault.type or as_text(parsed.get("error_type"))
    return fault


def _read_object(fault: _Fault, error: Mapping[str, Any], depth: int = 0) -> None:
    message = error.get("message") or error.get("detail") or ""
    if isinstance(message, list):  # FastAPI's validation errors
        fault.codes += [as_text(item.get("type")) for item in message[:1] if isinstance(item, Mapping)]
        message = _as_json(message)
    elif isinstance(message, Mapping) and depth < _DEEPEST:
        _read_object(fault, message, depth + 1)
        message = fault.message
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("raw"), str):
        message = f"{as_text(message)}: {metadata['raw']}"  # OpenRouter: what the server behind it said
    fault.message = as_text(message)
    if error.get("type"):
        fault.type = as_text(error["type"])
    fault.codes += _codes(error)
    for name in ("code", "status_code", "status", "raw_status_code"):
        number = _status_number(error.get(name))
        if number is not None and fault.status is None:
            fault.status = number
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and isinstance(detail.get("retryDelay"), str):
            fault.retry_delay = parse_duration(detail["retryDelay"])


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    """Codes an error object carries, most telling first; numbers that are HTTP statuses are none."""
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping):  # OpenRouter
        yield from (as_text(metadata[name]) for name in ("limit_source", "error_type") if metadata.get(name))
    details = error.get("details")
    if isinstance(details, list):
        yield from _google_reasons(details)
    code = error.get("code")
    if code is not None and code != "" and _status_number(code) is None:
        yield as_text(code)
    if isinstance(error.get("status"), str) and _status_number(error["status"]) is None:
        yield str(error["status"])
    if isinstance(details, Mapping) and details.get("error_code"):  # Anthropic
        yield as_text(details["error_code"])
    inner = error.get("innererror") or error.get("inner_error")  # Azure
    if isinstance(inner, Mapping) and inner.get("code"):
        yield as_text(inner["code"])


def _google_reasons(details: list[Any]) -> Iterator[str]:
    """Google's: ``QUOTA_PER_DAY`` where a daily quota is used up, and the `reason` of each ErrorInfo."""
    told = [detail for detail in details if isinstance(detail, Mapping)]
    if any("PerDay" in name for detail in told for name in _google_quotas(detail)):
        yield "QUOTA_PER_DAY"
    yield from (detail["reason"] for detail in told if isinstance(detail.get("reason"), str))


def _google_quotas(detail: Mapping[str, Any]) -> Iterator[str]:
    """Names of the quotas that a QuotaFailure or an ErrorInfo says are used up."""
    violations, metadata = detail.get("violations"), detail.get("metadata")
    for violation in violations if isinstance(violations, list) else ():
        if isinstance(violation, Mapping):
            yield as_text(violation.get("quotaId"))
    if isinstance(metadata, Mapping):
        yield as_text(metadata.get("quota_limit"))


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # it reads deeper than it writes
        return "JSON nested too deep to be told"


def _status_number(value: object) -> int | None:
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    return value if type(value) is int and 400 <= value < 600 else None


def _classify(faults: Faults, fault: _Fault, status: int) -> ErrorClass:
    """By code, then type, then status; last, a known wording may correct the class."""
    found = next((faults.codes[name] for code in fault.codes if (name := code.lower()) in faults.codes), None)
    if found is None:
        found = faults.types.get(fault.type.lower())
    if found is None:
        if status < 400 and fault.status is not None:
            status = fault.status
        found = faults.statuses.get(status) or OTHER_STATUSES.get(status // 100, ErrorClass.SERVER_ERROR)
    text = fault.message[:_READ]
    for row in faults.wordings:
        if found in row.among and row.pattern.search(text):
            return row.becomes
    return found


def _hint(fault: _Fault) -> float | None:
    """Seconds to wait, as the body itself says: Google's RetryInfo, or OpenAI's, Groq's, Azure's sentence."""
    if fault.retry_delay is not None:
        return fault.retry_delay
    found = _TRY_AGAIN.search(fault.message[:_READ])
    if found is None:
        return None
    seconds = parse_duration(found[1].rstrip("."))
    if seconds is None or found[2] is None:
        return seconds
    return seconds * 60 if found[2].lower().startswith("min") else seconds / 1000


def _exception(who: str, fault: _Fault, status: int, error_class: ErrorClass, hint: float | None) -> ProviderError:
    code = next(iter(fault.codes), None) or fault.type or None
    code = None if code is None else excerpt(code)[:64]
    named = f"{status} {code}" if code else str(status)
    return EXCEPTIONS[error_class](
        f"{who} answered {named}: {excerpt(fault.message) or 'without a word'}",
        error_class,
        status=status,
        code=code,
        retry_after=hint,
    )
