"""From an error of resilio's to what a client is told: one table, in the words of both dialects.

`fault_of` looks at the type of the error first, then at the class that a provider's answer was given; `fault_of_part`
at what cut an answer off. Sources: the error references of both APIs and the retry rules of their SDKs (November
2026). Those retry by status unless told; so an error behind which there are attempts says ``x-should-retry: false``,
or their retries would multiply ours. One by which load is shed leaves it to them, and says when. The rule that keeps
it simple: the caller's own faults are 4xx; what is wrong between resilio and a provider, a rejected key included, is
5xx, for the caller's key is not that one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from resilio.errors import (
    AnswerUnfit,
    BudgetExceeded,
    CheckDenied,
    CircuitOpen,
    DeadlineExceeded,
    ErrorClass,
    Exhausted,
    LedgerUnavailable,
    MailboxFull,
    MalformedRequest,
    ProviderError,
    ProviderStopped,
    RateLimited,
    ResilioError,
    ServiceReduced,
    StreamBroken,
    TransportError,
    Unencodable,
    UnknownRoute,
    Unsupported,
)
from resilio.models import Reply
from resilio.wire.story import RETRY_AFTER

__all__ = ["CLASSES", "FAULTS", "LONGEST_WAIT", "TYPES", "Fault", "Row", "fault_of", "fault_of_part"]

LONGEST_WAIT: Final = 120.0
"""Seconds. The OpenAI SDK does not retry after a longer one, and Anthropic's sleeps through any: so a longer one is no
`retry-after`, and both are told not to retry."""
_FOREVER: Final = 1e9
"""Seconds; as much as is ever said of a wait."""
_SAYABLE: Final = frozenset({400, 404, 405, 408, 409, 413, 415, 422})
"""Statuses of a provider that say something of the request, and are passed on."""


class Row(NamedTuple):
    """One kind of error, in both dialects."""

    status: int
    type: str
    """OpenAI's `error.type`."""
    code: str
    """OpenAI's `error.code`."""
    anthropic_type: str
    """Anthropic's `error.type`."""
    anthropic_status: int
    sheds: bool = False
    """Load is turned away: the very same request may be served soon."""
    words: str = ""
    """What Anthropic's clients look for at the beginning of the message, where the type does not say it."""


def _row(
    status: int, kind: str, code: str, anthropic: str, own: int | None = None, *, sheds: bool = False, words: str = ""
) -> Row:
    return Row(status, kind, code, anthropic, own or status, sheds, words)


FAULTS: Final[Mapping[str, Row]] = {
    # kind           status, then OpenAI's type and code, then Anthropic's type and, where it differs, status
    "invalid":       _row(400, "invalid_request_error", "invalid_value", "invalid_request_error"),
    "unknown route": _row(404, "invalid_request_error", "model_not_found", "not_found_error"),
    "unsupported":   _row(400, "invalid_request_error", "unsupported_parameter", "invalid_request_error"),
    "too long":      _row(400, "invalid_request_error", "context_length_exceeded", "invalid_request_error",
                          words="prompt is too long: "),
    "refused":       _row(400, "invalid_request_error", "content_filter", "invalid_request_error"),
    "over budget":   _row(429, "insufficient_quota", "insufficient_quota", "billing_error", 402),
    "out of credit": _row(402, "insufficient_quota", "insufficient_quota", "billing_error"),
    "throttled":     _row(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
    "shed":          _row(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", sheds=True),
    "overloaded":    _row(503, "service_unavailable_error", "server_is_overloaded", "overloaded_error", 529),
    "unavailable":   _row(503, "service_unavailable_error", "server_is_overloaded", "overloaded_error", 529,
                          sheds=True),
    "failed":        _row(502, "server_error", "server_error", "api_error"),
    "timed out":     _row(504, "server_error", "timeout", "timeout_error"),
    "internal":      _row(500, "server_error", "internal_error", "api_error"),
}  # fmt: skip
"""By kind."""

CLASSES: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.CONNECT: "failed",
    ErrorClass.FIRST_TOKEN: "timed out",
    ErrorClass.IDLE: "timed out",
    ErrorClass.TOTAL: "timed out",
    ErrorClass.DISCONNECTED: "failed",
    ErrorClass.TRUNCATED: "failed",
    ErrorClass.MALFORMED: "failed",
    ErrorClass.OVERLOADED: "overloaded",
    ErrorClass.SERVER_ERROR: "failed",
    ErrorClass.THROTTLED: "throttled",
    ErrorClass.OUT_OF_CREDIT: "out of credit",
    ErrorClass.UNAUTHORISED: "failed",
    ErrorClass.TOO_LONG: "too long",
    ErrorClass.UNSUPPORTED: "unsupported",
    ErrorClass.REFUSED: "refused",
    ErrorClass.BUDGET: "over budget",
    ErrorClass.CALLER: "invalid",
}
"""The kind of an error that a provider's answer, or its lack, was put into."""

TYPES: Final[tuple[tuple[type[ResilioError], str], ...]] = (
    (AnswerUnfit, "failed"),
    (UnknownRoute, "unknown route"),
    (MalformedRequest, "invalid"),
    (Unencodable, "invalid"),
    (Unsupported, "unsupported"),
    (BudgetExceeded, "over budget"),
    (RateLimited, "shed"),
    (ServiceReduced, "shed"),
    (CircuitOpen, "unavailable"),
    (MailboxFull, "unavailable"),
    (ProviderStopped, "unavailable"),
    (LedgerUnavailable, "unavailable"),
    (DeadlineExceeded, "timed out"),
)
"""The kind of an error by its type; the first that fits."""

_PARTS: Final = {"denied": "refused", "deadline": "timed out"}
"""The kind of what cuts an answer off and is no class of a provider's errors."""
_CLASSES: Final = frozenset(its.value for its in ErrorClass)


class Fault(NamedTuple):
    """What a client is told of one error."""

    row: Row
    status: int
    """For clients of OpenAI's dialect."""
    anthropic_status: int
    message: str
    retry_after: float | None
    """Seconds."""
    should_retry: bool | None
    """None: the client may decide by the status."""

    def headers(self) -> dict[str, str]:
        """What tells the SDKs whether to retry, and when."""
        found = {}
        wait = self.retry_after
        if self.should_retry is not None:
            found["x-should-retry"] = "true" if self.should_retry else "false"
        if wait is not None:
            found[RETRY_AFTER] = f"{wait:.3f}"
            if wait <= LONGEST_WAIT:
                found["retry-after"] = str(math.ceil(wait))
                found["retry-after-ms"] = str(math.ceil(wait * 1000))
        return found


def fault_of(error: BaseException) -> Fault:
    """What to tell a client of this error."""
    kind = _kind(error)
    row = FAULTS[kind]
    status, own = row.status, row.anthropic_status
    if kind == "invalid" and isinstance(error, ProviderError) and error.status in _SAYABLE:
        status = own = error.status
    wait = getattr(error, "retry_after", None) if isinstance(error, ResilioError) else None
    wait = None if wait is None or not wait >= 0 else min(float(wait), _FOREVER)
    message = str(error) if isinstance(error, ResilioError) else "the gateway failed; its log says how"
    # Nothing was tried, so nothing would be multiplied; but a client that cannot wait so long need not try.
    leave_it = row.sheds and not (isinstance(error, ResilioError) and error.attempts)
    should_retry = None if leave_it and (wait is None or wait <= LONGEST_WAIT) else False
    return Fault(row, status, own, message, wait, should_retry)


def fault_of_part(reply: Reply) -> Fault:
    """What to tell a client of a stream that ended before its answer was whole, where the route calls that no error."""
    broken = reply.broken or ""
    kind = _PARTS.get(broken) or (CLASSES[ErrorClass(broken)] if broken in _CLASSES else "failed")
    row = FAULTS[kind]
    message = f"the answer broke off after {len(reply.text)} characters: {broken or 'it is not complete'}"
    return Fault(row, row.status, row.anthropic_status, message, retry_after=None, should_retry=False)


def _kind(error: BaseException) -> str:
    if isinstance(error, StreamBroken) and isinstance(error.__cause__, ResilioError):
        return _kind(error.__cause__)
    if isinstance(error, ProviderError | TransportError):
        return CLASSES[error.error_class]
    if isinstance(error, Exhausted):
        return _exhausted(error)
    for kind, name in TYPES:
        if isinstance(error, kind):
            return name
    if isinstance(error, CheckDenied):
        return "internal" if error.record.action in ("failed", "timed_out") else "refused"
    return "failed" if isinstance(error, StreamBroken) else "internal"


def _exhausted(error: Exhausted) -> str:
    """What all attempts had in common says more than that nobody is left."""
    classes = {attempt.error_class for attempt in error.attempts if attempt.error_class}
    return CLASSES[ErrorClass(classes.pop())] if len(classes) == 1 else "unavailable"
