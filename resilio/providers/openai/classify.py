"""From an error body to one exception: reads every shape of error, then asks the tables of `faults`.

Left out: headers that tell of limits, and what to do next (`resilio.errors.ERROR_RULES`). The rule that keeps
it simple: all shapes are first reduced to one `_Fault`, and nothing after that knows who answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
from resilio.providers.headers import read_limits
from resilio.providers.openai.faults import CODES, OTHER_STATUSES, STATUSES, TYPES, WORDINGS
from resilio.retry import parse_duration, retry_after

__all__ = ["EXCEPTIONS", "as_text", "error_in_answer", "error_of_response", "excerpt", "malformed"]

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
    r"\b(?:sk|gsk|rk|xai|pplx|nvapi|hf|csk|r8|fw|eyJ\w+)[-_.][\w*.\-]{4,}|\bAIza[\w*\-]{6,}"
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


def as_text(value: Any) -> str:
    """What stands where the dialect has a text: itself, a number as text, else nothing.

    Never `str()` of a list or an object: one that is nested a thousand deep would end in a RecursionError.
    """
    return value if isinstance(value, str) else "" if isinstance(value, list | dict | None) else str(value)


def malformed(
    who: str, status: int | None, what: str, error_class: ErrorClass = ErrorClass.MALFORMED
) -> MalformedResponse:
    """The error of an answer that is none; `what` ends the sentence "<who> answered ..."."""
    return MalformedResponse(f"{who} answered {what}", error_class, status=status)


@dataclass(slots=True)
class _Fault:
    """What an error body says, whatever its shape."""

    codes: list[str] = field(default_factory=list)
    """Most telling first."""
    type: str = ""
    status: int | None = None
    message: str = ""
    retry_delay: float | None = None


def error_of_response(who: str, status: int, headers: Mapping[str, str], body: bytes, wall_now: float) -> ProviderError:
    """Classify a whole error response; HTML and other non-JSON goes by its status and words."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = body[:_READ].decode("utf-8", "replace")
    fault = _read(parsed)
    error_class = _classify(fault, status)
    hint = retry_after(headers, wall_now)
    if hint is None:
        hint = _hint(fault)
    if hint is None and error_class is ErrorClass.THROTTLED:
        # Many send no Retry-After but say which limit is used up and when it is back.
        resets = [
            limit.reset_after
            for limit in read_limits(headers, wall_now)
            if limit.reset_after is not None and limit.remaining is not None and limit.remaining < 1
        ]
        hint = max(resets, default=None)
    return _exception(who, fault, status, error_class, hint)


def error_in_answer(who: str, status: int, body: Any) -> ProviderError:
    """Classify an error object found in a 2xx answer, or in one event of its stream.

    Headers are not asked: they were sent when all was still well.
    """
    fault = _read(body)
    return _exception(who, fault, status, _classify(fault, status), _hint(fault))


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
    code = error.get("code")
    if code is not None and code != "" and _status_number(code) is None:
        yield as_text(code)
    if isinstance(error.get("status"), str) and _status_number(error["status"]) is None:
        yield str(error["status"])
    inner = error.get("innererror") or error.get("inner_error")  # Azure
    if isinstance(inner, Mapping) and inner.get("code"):
        yield as_text(inner["code"])


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # it reads deeper than it writes
        return "JSON nested too deep to be told"


def _status_number(value: object) -> int | None:
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    return value if type(value) is int and 400 <= value < 600 else None


def _classify(fault: _Fault, status: int) -> ErrorClass:
    """By code, then type, then status; last, a known wording may correct the class."""
    found = next((CODES[name] for code in fault.codes if (name := code.lower()) in CODES), None)
    if found is None:
        found = TYPES.get(fault.type.lower())
    if found is None:
        if status < 400 and fault.status is not None:
            status = fault.status
        found = STATUSES.get(status) or OTHER_STATUSES.get(status // 100, ErrorClass.SERVER_ERROR)
    text = fault.message[:_READ]
    for wording in WORDINGS:
        if found in wording.among and wording.pattern.search(text):
            return wording.becomes
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
