"""What Anthropic means by an error: tables from its words to an `ErrorClass`.

Sources: the API's page of errors (November 2026) and the official SDK's list of `error.details.error_code`. The type
says most; ``invalid_request_error`` says so little that the status and the words decide, so it is missing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.errors import ErrorClass as Cls
from resilio.providers.classify import Faults, wording
from resilio.providers.headers import ANTHROPIC

__all__ = ["CODES", "FAULTS", "STATUSES", "STOPS", "TYPES", "WORDINGS"]

CODES: Final[Mapping[str, Cls]] = {
    # 429 or 400 without a hint: no wait within the month helps.
    "enforced_spend_limit_reached": Cls.OUT_OF_CREDIT,
    "contract_spend_limit_reached": Cls.OUT_OF_CREDIT,
    "linked_organization_spend_limit_reached": Cls.OUT_OF_CREDIT,
    "linked_organization_billing_unavailable": Cls.OUT_OF_CREDIT,
    "ramp_limit_exceeded": Cls.THROTTLED,
    "organization_on_hold": Cls.UNAUTHORISED,
    "api_key_scope_missing": Cls.UNAUTHORISED,
    "unsupported_region": Cls.UNSUPPORTED,
    "organization_not_enrolled_in_beta": Cls.UNSUPPORTED,
    "image_dimensions_too_large": Cls.UNSUPPORTED,
    "request_body_too_large_after_decoding": Cls.TOO_LONG,
    "request_body_timeout": Cls.SERVER_ERROR,
    "authorization_check_unavailable": Cls.SERVER_ERROR,
}
"""By `error.details.error_code`, in lower case."""

TYPES: Final[Mapping[str, Cls]] = {
    "rate_limit_error": Cls.THROTTLED,
    "overloaded_error": Cls.OVERLOADED,
    "timeout_error": Cls.OVERLOADED,
    "api_error": Cls.SERVER_ERROR,
    "conflict_error": Cls.SERVER_ERROR,
    "authentication_error": Cls.UNAUTHORISED,
    "permission_error": Cls.UNAUTHORISED,
    "billing_error": Cls.OUT_OF_CREDIT,
    "not_found_error": Cls.UNSUPPORTED,
    "request_too_large": Cls.TOO_LONG,
}
"""By `error.type`, in lower case."""

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
    422: Cls.CALLER,
    429: Cls.THROTTLED,
    499: Cls.SERVER_ERROR,
    500: Cls.SERVER_ERROR,
    502: Cls.SERVER_ERROR,
    503: Cls.OVERLOADED,
    504: Cls.OVERLOADED,
    520: Cls.SERVER_ERROR,
    522: Cls.OVERLOADED,
    524: Cls.OVERLOADED,
    529: Cls.OVERLOADED,
}
"""By HTTP status, where the body says nothing: pages of proxies."""

WORDINGS: Final = (
    wording(
        "the context is full",
        r"prompt is too long|exceeds? (?:the )?context (?:limit|window)|exceed context limit|input is too long",
        {Cls.CALLER},
        Cls.TOO_LONG,
        "400 invalid_request_error",
    ),
    wording(
        "no money",
        r"credit balance is too low|reached your specified .{0,40}usage limits",
        {Cls.CALLER, Cls.THROTTLED, Cls.UNAUTHORISED},
        Cls.OUT_OF_CREDIT,
        "400 invalid_request_error",
    ),
    wording(
        "a closed account",
        r"organization has been disabled|account (?:is|has been) (?:disabled|suspended)",
        {Cls.CALLER},
        Cls.UNAUTHORISED,
        "400 invalid_request_error",
    ),
    wording(
        "moderated",
        r"content filtering policy|usage polic",
        {Cls.CALLER, Cls.SERVER_ERROR},
        Cls.REFUSED,
        "400 invalid_request_error, before any of the answer",
    ),
    wording(
        "another account's thinking",
        r"invalid .{0,3}signature.{0,3} in .{0,3}thinking|thinking.{0,90}cannot be modified",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "400: another target may take the conversation without it",
    ),
    wording(
        "a feature it lacks",
        r"(?:not|n't) support|unsupported|extra inputs are not permitted|cannot both be specified|not available"
        r"|deprecated for this model"
        r"|maximum allowed number of output tokens|unexpected value.{0,20}anthropic-beta",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "400 invalid_request_error: of this model, or of this API version",
    ),
    wording(
        "no room",
        r"overloaded|no healthy upstream",
        {Cls.SERVER_ERROR},
        Cls.OVERLOADED,
        "500 and 502, older ones and of proxies",
    ),
    wording(
        "a firewall's page",
        r"cloudflare|just a moment\.\.\.|attention required",
        {Cls.UNAUTHORISED},
        Cls.SERVER_ERROR,
        "403 in HTML: it says nothing about the key",
    ),
)
"""Tried in order; the first that fits decides."""

FAULTS: Final = Faults(CODES, TYPES, STATUSES, WORDINGS, ANTHROPIC)

STOPS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",  # the server's own tools want another turn; `raw` says so
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""A `stop_reason` as OpenAI's finish reason; one that is not here is handed through."""
