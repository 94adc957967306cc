"""What Google means by an error, and by a reason to finish: tables from its words to an `ErrorClass`.

Sources: the Gemini API's pages of errors and billing, `google.rpc.Code` and the reasons of `google.rpc.ErrorInfo`
(November 2026). The reason in the details says most, then what kind of quota is used up, then `error.status`;
``INVALID_ARGUMENT`` and ``FAILED_PRECONDITION`` say so little that the status and the words decide, so they are
missing here. Google sends no header that tells of a limit: the wait stands in `RetryInfo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.errors import ErrorClass as Cls
from resilio.providers.classify import Faults, wording

__all__ = ["CODES", "FAULTS", "FINISHES", "STATUSES", "STOPS", "TYPES", "WORDINGS"]

CODES: Final[Mapping[str, Cls]] = {
    # `details[].reason` of an ErrorInfo
    "api_key_invalid": Cls.UNAUTHORISED,
    "api_key_expired": Cls.UNAUTHORISED,
    "api_key_service_blocked": Cls.UNAUTHORISED,
    "api_key_ip_address_blocked": Cls.UNAUTHORISED,
    "api_key_http_referrer_blocked": Cls.UNAUTHORISED,
    "access_token_expired": Cls.UNAUTHORISED,
    "access_token_type_unsupported": Cls.UNAUTHORISED,
    "consumer_suspended": Cls.UNAUTHORISED,
    "consumer_invalid": Cls.UNAUTHORISED,
    "service_disabled": Cls.UNAUTHORISED,
    "billing_disabled": Cls.OUT_OF_CREDIT,
    "rate_limit_exceeded": Cls.THROTTLED,
    # a QuotaFailure whose `quotaId` says so: no wait within the day helps
    "quota_per_day": Cls.OUT_OF_CREDIT,
    # `error.status`
    "resource_exhausted": Cls.THROTTLED,
    "unavailable": Cls.OVERLOADED,
    "deadline_exceeded": Cls.OVERLOADED,
    "internal": Cls.SERVER_ERROR,
    "unknown": Cls.SERVER_ERROR,
    "aborted": Cls.SERVER_ERROR,
    "cancelled": Cls.SERVER_ERROR,
    "unauthenticated": Cls.UNAUTHORISED,
    "permission_denied": Cls.UNAUTHORISED,
    "not_found": Cls.UNSUPPORTED,
    "unimplemented": Cls.UNSUPPORTED,
}
"""By reason, kind of quota and `error.status`, in lower case."""

TYPES: Final[Mapping[str, Cls]] = {}
"""Google's errors have none."""

STATUSES: Final[Mapping[int, Cls]] = {
    400: Cls.CALLER,
    401: Cls.UNAUTHORISED,
    402: Cls.OUT_OF_CREDIT,
    403: Cls.UNAUTHORISED,
    404: Cls.UNSUPPORTED,
    405: Cls.UNSUPPORTED,
    408: Cls.SERVER_ERROR,
    409: Cls.SERVER_ERROR,
    413: Cls.TOO_LONG,
    429: Cls.THROTTLED,
    499: Cls.SERVER_ERROR,
    500: Cls.SERVER_ERROR,
    501: Cls.UNSUPPORTED,
    502: Cls.SERVER_ERROR,
    503: Cls.OVERLOADED,
    504: Cls.OVERLOADED,
}
"""By HTTP status, where the body says nothing: pages of proxies."""

WORDINGS: Final = (
    wording(
        "the context is full",
        r"input token count.{0,60}exceeds|exceeds the maximum number of tokens|request payload size exceeds",
        {Cls.CALLER, Cls.SERVER_ERROR},
        Cls.TOO_LONG,
        "400 INVALID_ARGUMENT",
    ),
    wording(
        "bad key",
        r"api[ _-]?key.{0,40}(?:invalid|not valid|expired|not found|leaked)",
        {Cls.CALLER},
        Cls.UNAUTHORISED,
        "400 INVALID_ARGUMENT without a reason",
    ),
    wording(
        "no money",
        r"credits? (?:are|is) depleted|enable billing|monthly spend(?:ing)? (?:cap|limit)|exceeded.{0,20}spend",
        {Cls.CALLER, Cls.THROTTLED, Cls.UNAUTHORISED},
        Cls.OUT_OF_CREDIT,
        "429 RESOURCE_EXHAUSTED, 400 FAILED_PRECONDITION",
    ),
    wording(
        "another model's thought",
        r"thought[ _]?signature",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "400 INVALID_ARGUMENT: another target may take the conversation without it",
    ),
    wording(
        "kept at another project",
        r"permission to access the (?:file|cached ?content)|cached ?content not found",
        {Cls.CALLER, Cls.UNAUTHORISED},
        Cls.UNSUPPORTED,
        "403 PERMISSION_DENIED: the caller named a file or a cache that is not this key's, or is gone",
    ),
    wording(
        "a feature it lacks",
        r"(?:not|n't) support|unsupported|is not enabled|not available|location is not supported|unknown name",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "400 INVALID_ARGUMENT or FAILED_PRECONDITION: of this model, this API version, or this country",
    ),
    wording(
        "a URL it cannot fetch",
        r"(?:cannot|unable to|failed to) (?:fetch|retrieve)",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "400 INVALID_ARGUMENT: another target may reach it",
    ),
    wording(
        "moderated",
        r"prohibited use|usage polic|content polic|blocked by safety",
        {Cls.CALLER},
        Cls.REFUSED,
        "400 INVALID_ARGUMENT",
    ),
    wording(
        "no room",
        r"overloaded|no healthy upstream",
        {Cls.SERVER_ERROR},
        Cls.OVERLOADED,
        "500 and 502, older ones and of proxies",
    ),
)
"""Tried in order; the first that fits decides."""

FAULTS: Final = Faults(CODES, TYPES, STATUSES, WORDINGS, ())

STOPS: Final[Mapping[str, str]] = {
    "STOP": "stop",  # also where it called functions
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",  # the limit of one request; `raw` has the token to go on with
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""A `finishReason` as OpenAI's finish reason; one that is in neither table is handed through."""

FINISHES: Final[Mapping[str, Cls]] = {
    # The model failed, and may not the next time.
    "MALFORMED_FUNCTION_CALL": Cls.SERVER_ERROR,
    "MALFORMED_RESPONSE": Cls.SERVER_ERROR,
    "UNEXPECTED_TOOL_CALL": Cls.SERVER_ERROR,
    "TOO_MANY_TOOL_CALLS": Cls.SERVER_ERROR,
    "OTHER": Cls.SERVER_ERROR,
    "NO_IMAGE": Cls.SERVER_ERROR,
    "IMAGE_OTHER": Cls.SERVER_ERROR,
    # Another target may do better with the same.
    "MISSING_THOUGHT_SIGNATURE": Cls.UNSUPPORTED,
    "LANGUAGE": Cls.UNSUPPORTED,
    "PUP_LIMITED_DISABLED": Cls.UNAUTHORISED,
}
"""A `finishReason` that means the answer failed."""
