"""Errors in the shapes Anthropic really sends: one case at least for each row of the tables."""

import orjson
import pytest
from anthropic_wire import CODEC, JSON
from hypothesis import given
from hypothesis import strategies as st

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
from resilio.models import LimitReading
from resilio.providers.anthropic.faults import CODES, STATUSES, TYPES, WORDINGS
from resilio.providers.classify import OTHER_STATUSES

NOW = 1_795_430_000.0

THROTTLED = (ErrorClass.THROTTLED, ProviderThrottled)
OVERLOADED = (ErrorClass.OVERLOADED, ProviderUnavailable)
SERVER = (ErrorClass.SERVER_ERROR, ProviderUnavailable)
NO_CREDIT = (ErrorClass.OUT_OF_CREDIT, KeyRejected)
BAD_KEY = (ErrorClass.UNAUTHORISED, KeyRejected)
TOO_LONG = (ErrorClass.TOO_LONG, RequestUnsuitable)
UNSUPPORTED = (ErrorClass.UNSUPPORTED, RequestUnsuitable)
REFUSED = (ErrorClass.REFUSED, ProviderRefused)
CALLER = (ErrorClass.CALLER, InvalidRequest)
MALFORMED = (ErrorClass.MALFORMED, MalformedResponse)


def body(type_, message="It did not work.", code=None):
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": type_, "message": message, **details}, "request_id": "req_011C"}


def classify(status, given, headers=JSON):
    data = given if isinstance(given, bytes) else orjson.dumps(given)
    return CODEC.error(status, headers, data, wall_now=NOW)


BY_TYPE = {
    "rate_limit_error": (
        429,
        "This request would exceed your organization's rate limit of 50 requests per minute.",
        THROTTLED,
    ),
    "overloaded_error": (529, "Overloaded", OVERLOADED),
    "timeout_error": (504, "The request timed out.", OVERLOADED),
    "api_error": (500, "Internal server error", SERVER),
    "conflict_error": (409, "The resource was changed by another request.", SERVER),
    "authentication_error": (401, "invalid x-api-key", BAD_KEY),
    "permission_error": (403, "Your API key does not have permission to use the specified resource.", BAD_KEY),
    "billing_error": (402, "Your organization has no payment method.", NO_CREDIT),
    "not_found_error": (404, "model: claude-9", UNSUPPORTED),
    "request_too_large": (413, "Request exceeds the maximum size", TOO_LONG),
}


@pytest.mark.parametrize("name", TYPES)
def test_each_type(name):
    status, message, (error_class, kind) = BY_TYPE[name]
    error = classify(status, body(name, message))
    assert (error.error_class, type(error), error.status, error.code) == (error_class, kind, status, name)
    assert str(error) == f"anthropic answered {status} {name}: {message}"


BY_CODE = {
    "enforced_spend_limit_reached": (429, "rate_limit_error", NO_CREDIT),
    "contract_spend_limit_reached": (429, "rate_limit_error", NO_CREDIT),
    "linked_organization_spend_limit_reached": (400, "invalid_request_error", NO_CREDIT),
    "linked_organization_billing_unavailable": (403, "permission_error", NO_CREDIT),
    "ramp_limit_exceeded": (429, "rate_limit_error", THROTTLED),
    "organization_on_hold": (403, "permission_error", BAD_KEY),
    "api_key_scope_missing": (403, "permission_error", BAD_KEY),
    "unsupported_region": (403, "permission_error", UNSUPPORTED),
    "organization_not_enrolled_in_beta": (403, "permission_error", UNSUPPORTED),
    "image_dimensions_too_large": (400, "invalid_request_error", UNSUPPORTED),
    "request_body_too_large_after_decoding": (413, "request_too_large", TOO_LONG),
    "request_body_timeout": (408, "invalid_request_error", SERVER),
    "authorization_check_unavailable": (503, "api_error", SERVER),
}


@pytest.mark.parametrize("code", CODES)
def test_each_code_outranks_type_and_status(code):
    status, type_, (error_class, kind) = BY_CODE[code]
    error = classify(status, body(type_, code=code))
    assert (error.error_class, type(error), error.code) == (error_class, kind, code)


PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
BY_STATUS = {
    302: (PAGE.format("302 Found"), MALFORMED),
    400: (PAGE.format("400 Bad Request"), CALLER),
    401: (PAGE.format("401 Authorization Required"), BAD_KEY),
    402: ("Payment Required", NO_CREDIT),
    403: (PAGE.format("403 Forbidden"), BAD_KEY),
    404: (PAGE.format("404 Not Found"), UNSUPPORTED),
    405: (PAGE.format("405 Not Allowed"), UNSUPPORTED),
    408: (PAGE.format("408 Request Time-out"), SERVER),
    409: ("Conflict", SERVER),
    413: (PAGE.format("413 Request Entity Too Large"), TOO_LONG),
    418: ("I'm a teapot", CALLER),
    422: ('{"detail":"Unprocessable Entity"}', CALLER),
    429: (PAGE.format("429 Too Many Requests"), THROTTLED),
    499: ("Client Closed Request", SERVER),
    500: (PAGE.format("500 Internal Server Error"), SERVER),
    502: (PAGE.format("502 Bad Gateway"), SERVER),
    503: ("upstream connect error or disconnect/reset before headers. reset reason: overflow", OVERLOADED),
    504: (PAGE.format("504 Gateway Time-out"), OVERLOADED),
    520: (PAGE.format("520: Web server is returning an unknown error"), SERVER),
    522: ("error code: 522", OVERLOADED),
    524: ("error code: 524", OVERLOADED),
    529: ("Site is overloaded", OVERLOADED),
    599: ("", SERVER),
}


@pytest.mark.parametrize("status", BY_STATUS)
def test_each_status_where_the_body_says_nothing(status):
    said, (error_class, kind) = BY_STATUS[status]
    for data in (said.encode(), b"", b"{}", orjson.dumps(body("brand_new_error"))):
        error = classify(status, data)
        assert (error.error_class, type(error), error.status) == (error_class, kind, status)


BY_WORDING = {
    "the context is full": [
        (400, "prompt is too long: 210000 tokens > 200000 maximum", TOO_LONG),
        (400, "input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000", TOO_LONG),
    ],
    "no money": [
        (400, "Your credit balance is too low to access the Anthropic API.", NO_CREDIT),
        (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01.", NO_CREDIT),
    ],
    "a closed account": [(400, "This organization has been disabled.", BAD_KEY)],
    "moderated": [(400, "Output blocked by content filtering policy", REFUSED)],
    "another account's thinking": [
        (400, "messages.1.content.0: Invalid `signature` in `thinking` block", UNSUPPORTED),
        (400, "`thinking` blocks in the latest assistant message cannot be modified.", UNSUPPORTED),
    ],
    "a feature it lacks": [
        (400, "temperature: Extra inputs are not permitted", UNSUPPORTED),
        (400, "This model does not support assistant message prefill.", UNSUPPORTED),
        (400, "`temperature` and `top_p` cannot both be specified for this model.", UNSUPPORTED),
        (400, "`temperature` is deprecated for this model.", UNSUPPORTED),
        (400, "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens", UNSUPPORTED),
    ],
    "no room": [(500, "The upstream is overloaded.", OVERLOADED)],
    "a firewall's page": [(403, "Attention Required! | Cloudflare", SERVER)],
}  # fmt: skip


@pytest.mark.parametrize("name", [row.name for row in WORDINGS])
def test_each_wording(name):
    for status, message, (error_class, kind) in BY_WORDING[name]:
        if status == 403:
            error = classify(status, f"<html><title>{message}</title></html>".encode(), {"content-type": "text/html"})
        else:
            error = classify(status, body("invalid_request_error" if status == 400 else "some_error", message))
        assert (error.error_class, type(error)) == (error_class, kind), message


def test_every_row_of_the_tables_has_a_case_and_every_case_a_row():
    assert (set(BY_CODE), set(BY_TYPE)) == (set(CODES), set(TYPES))
    assert set(BY_WORDING) == {row.name for row in WORDINGS}
    assert set(STATUSES) < set(BY_STATUS)
    others = {status // 100 for status in BY_STATUS.keys() - STATUSES.keys()}
    assert others == set(OTHER_STATUSES) - {2}, "an error inside an answer has tests of its own"


@pytest.mark.parametrize(
    "message",
    [
        "messages: at least one message is required",
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        "tools.0.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ],
)
def test_other_faults_of_the_request_are_the_callers(message):
    assert (classify(400, body("invalid_request_error", message)).error_class, InvalidRequest) == CALLER


class TestHints:
    def test_retry_after(self):
        assert classify(429, body("rate_limit_error"), {**JSON, "retry-after": "53"}).retry_after == 53

    def test_without_one_the_reset_of_what_is_used_up(self):
        headers = {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-11-23T10:33:32Z",
            "anthropic-ratelimit-tokens-limit": "40000",
            "anthropic-ratelimit-tokens-remaining": "39000",
            "anthropic-ratelimit-tokens-reset": "2026-11-23T10:34:00Z",
        }
        assert classify(429, body("rate_limit_error"), headers).retry_after == 12
        assert CODEC.limits(headers, wall_now=NOW) == (
            LimitReading("requests", 50, 0, 12.0),
            LimitReading("tokens", 40000, 39000, 40.0),
        )

    def test_a_spending_limit_has_none(self):
        assert classify(429, body("rate_limit_error", code="enforced_spend_limit_reached")).retry_after is None

    def test_a_hint_on_an_answer_is_no_limit(self):
        assert CODEC.limits({"retry-after": "59"}, wall_now=NOW) == ()


def test_keys_are_never_repeated():
    assert "sk-ant" not in str(classify(401, body("authentication_error", "bad key sk-ant-api03-abcdef_123")))


@given(st.integers(300, 599), st.binary(max_size=60) | st.builds(orjson.dumps, st.dictionaries(st.text(), st.text())))
def test_any_body_is_classified(status, data):
    assert isinstance(classify(status, data), ProviderError)
