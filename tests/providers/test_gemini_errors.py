"""Errors in the shapes Google really sends: one case at least for each row of the tables."""

import orjson
import pytest
from gemini_wire import CODEC, JSON
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
from resilio.providers.classify import OTHER_STATUSES
from resilio.providers.gemini.faults import CODES, STATUSES, TYPES, WORDINGS

NOW = 1_795_430_000.0
RPC = "type.googleapis.com/google.rpc."

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


def body(status, name, message="It did not work.", *details):
    error = {"code": status, "message": message, "status": name}
    return {"error": {**error, "details": list(details)} if details else error}


def info(reason, **more):
    metadata = {"service": "generativelanguage.googleapis.com", **more}
    return {"@type": f"{RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def quota(period, value="15"):
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"GenerateRequestsPer{period}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
        "quotaValue": value,
    }
    return {"@type": f"{RPC}QuotaFailure", "violations": [violation]}


def wait(delay):
    return {"@type": f"{RPC}RetryInfo", "retryDelay": delay}


HELP = {"@type": f"{RPC}Help", "links": [{"description": "Learn more", "url": "https://ai.google.dev/"}]}
TOO_FAST = "You exceeded your current quota, please check your plan and billing details."


def classify(status, given, headers=JSON):
    data = given if isinstance(given, bytes) else orjson.dumps(given)
    return CODEC.error(status, headers, data, wall_now=NOW)


BY_CODE = {
    "api_key_invalid": (400, "INVALID_ARGUMENT", BAD_KEY),
    "api_key_expired": (400, "INVALID_ARGUMENT", BAD_KEY),
    "api_key_service_blocked": (403, "PERMISSION_DENIED", BAD_KEY),
    "api_key_ip_address_blocked": (403, "PERMISSION_DENIED", BAD_KEY),
    "api_key_http_referrer_blocked": (403, "PERMISSION_DENIED", BAD_KEY),
    "access_token_expired": (401, "UNAUTHENTICATED", BAD_KEY),
    "access_token_type_unsupported": (401, "UNAUTHENTICATED", BAD_KEY),
    "consumer_suspended": (403, "PERMISSION_DENIED", BAD_KEY),
    "consumer_invalid": (403, "PERMISSION_DENIED", BAD_KEY),
    "service_disabled": (403, "PERMISSION_DENIED", BAD_KEY),
    "billing_disabled": (403, "PERMISSION_DENIED", NO_CREDIT),
    "rate_limit_exceeded": (429, "RESOURCE_EXHAUSTED", THROTTLED),
    "quota_per_day": (429, "RESOURCE_EXHAUSTED", NO_CREDIT),
    "resource_exhausted": (429, "RESOURCE_EXHAUSTED", THROTTLED),
    "unavailable": (503, "UNAVAILABLE", OVERLOADED),
    "deadline_exceeded": (504, "DEADLINE_EXCEEDED", OVERLOADED),
    "internal": (500, "INTERNAL", SERVER),
    "unknown": (500, "UNKNOWN", SERVER),
    "aborted": (409, "ABORTED", SERVER),
    "cancelled": (499, "CANCELLED", SERVER),
    "unauthenticated": (401, "UNAUTHENTICATED", BAD_KEY),
    "permission_denied": (403, "PERMISSION_DENIED", BAD_KEY),
    "not_found": (404, "NOT_FOUND", UNSUPPORTED),
    "unimplemented": (501, "UNIMPLEMENTED", UNSUPPORTED),
}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_each_code_outranks_the_status(code, wrapped):
    status, name, (error_class, kind) = BY_CODE[code]
    details = []
    if code == "quota_per_day":
        details = [quota("Day"), HELP, wait("34.4s")]
    elif code.upper() != name:
        details = [info(code.upper()), {"@type": f"{RPC}LocalizedMessage", "locale": "en-US", "message": "x"}]
    whole = body(status, name, "It did not work.", *details)
    error = classify(418, [whole] if wrapped else whole)
    assert (error.error_class, type(error), error.code) == (error_class, kind, code.upper())
    assert str(error) == f"gemini answered 418 {code.upper()}: It did not work."


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
    429: (PAGE.format("429 Too Many Requests"), THROTTLED),
    499: ("Client Closed Request", SERVER),
    500: (PAGE.format("500 Internal Server Error"), SERVER),
    501: (PAGE.format("501 Not Implemented"), UNSUPPORTED),
    502: (PAGE.format("502 Bad Gateway"), SERVER),
    503: ("upstream connect error or disconnect/reset before headers. reset reason: overflow", OVERLOADED),
    504: (PAGE.format("504 Gateway Time-out"), OVERLOADED),
    599: ("", SERVER),
}


@pytest.mark.parametrize("status", BY_STATUS)
def test_each_status_where_the_body_says_nothing(status):
    said, (error_class, kind) = BY_STATUS[status]
    for data in (said.encode(), b"", b"{}", orjson.dumps(body(status, "BRAND_NEW"))):
        error = classify(status, data)
        assert (error.error_class, type(error), error.status) == (error_class, kind, status)


BY_WORDING = {
    "the context is full": [
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", TOO_LONG),
        (400, "Request payload size exceeds the limit: 20971520 bytes.", TOO_LONG),
        (500, "The input token count exceeds the maximum number of tokens allowed.", TOO_LONG),
    ],
    "bad key": [
        (400, "API key not valid. Please pass a valid API key.", BAD_KEY),
        (400, "API key expired. Please renew the API key.", BAD_KEY),
    ],
    "no money": [
        (429, "Your prepayment credits are depleted. Please go to AI Studio to manage your billing.", NO_CREDIT),
        (400, "The free tier is not available in your country. Please enable billing.", NO_CREDIT),
        (429, "Your project has exceeded its monthly spending cap.", NO_CREDIT),
    ],
    "another model's thought": [
        (400, "Function call is missing a thought_signature in functionCall parts.", UNSUPPORTED),
        (400, "Corrupted thought signature.", UNSUPPORTED),
        (400, "Thought signature is not valid.", UNSUPPORTED),
    ],
    "kept at another project": [
        (403, "You do not have permission to access the File abc123 or it may not exist.", UNSUPPORTED),
        (403, "CachedContent not found (or permission denied)", UNSUPPORTED),
    ],
    "a feature it lacks": [
        (400, "Penalty is not enabled for this model", UNSUPPORTED),
        (400, "Function calling with a response mime type: 'application/json' is unsupported", UNSUPPORTED),
        (400, "User location is not supported for the API use.", UNSUPPORTED),
        (400, "Unsupported MIME type: image/gif", UNSUPPORTED),
        (400, 'Invalid JSON payload received. Unknown name "parametersJsonSchema": Cannot find field.', UNSUPPORTED),
    ],
    "a URL it cannot fetch": [(400, "Cannot fetch content from the provided URL.", UNSUPPORTED)],
    "moderated": [(400, "The prompt violates the Prohibited Use policy.", REFUSED)],
    "no room": [(500, "The model is overloaded. Please try again later.", OVERLOADED)],
}  # fmt: skip


@pytest.mark.parametrize("name", [row.name for row in WORDINGS])
def test_each_wording(name):
    names = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
    for status, message, (error_class, kind) in BY_WORDING[name]:
        error = classify(status, body(status, names[status], message))
        assert (error.error_class, type(error)) == (error_class, kind), message


def test_every_row_of_the_tables_has_a_case_and_every_case_a_row():
    assert (set(BY_CODE), {}) == (set(CODES), TYPES)
    assert set(BY_WORDING) == {row.name for row in WORDINGS}
    assert set(STATUSES) < set(BY_STATUS)
    others = {status // 100 for status in BY_STATUS.keys() - STATUSES.keys()}
    assert others == set(OTHER_STATUSES) - {2}, "an error inside an answer has tests of its own"


@pytest.mark.parametrize(
    "message",
    [
        "* GenerateContentRequest.contents: contents is not specified",
        "Please ensure that the number of function response parts is equal to the number of function call parts of the "
        "function call turn.",
        "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"warm\"",
    ],
)
def test_other_faults_of_the_request_are_the_callers(message):
    error = classify(400, body(400, "INVALID_ARGUMENT", message))
    assert (error.error_class, type(error)) == CALLER


class TestHints:
    def test_the_wait_stands_in_the_details(self):
        error = classify(429, body(429, "RESOURCE_EXHAUSTED", TOO_FAST, quota("Minute"), HELP, wait("34.4s")))
        assert (error.error_class, error.retry_after) == (ErrorClass.THROTTLED, 34.4)

    def test_or_in_the_words(self):
        message = f"{TOO_FAST} Please retry in 12.5s."
        assert classify(429, body(429, "RESOURCE_EXHAUSTED", message)).retry_after == 12.5

    def test_or_nowhere(self):
        assert classify(429, body(429, "RESOURCE_EXHAUSTED")).retry_after is None

    def test_a_quota_of_the_day_outranks_one_of_the_minute(self):
        error = classify(429, body(429, "RESOURCE_EXHAUSTED", TOO_FAST, quota("Minute"), quota("Day", "250")))
        assert (error.error_class, error.code) == (ErrorClass.OUT_OF_CREDIT, "QUOTA_PER_DAY")

    @pytest.mark.parametrize("day", [quota("Day"), info("RATE_LIMIT_EXCEEDED", quota_limit="GenerateRequestsPerDay")])
    def test_a_quota_of_the_day_outranks_the_rate_it_is_told_of_as(self, day):
        error = classify(429, body(429, "RESOURCE_EXHAUSTED", TOO_FAST, info("RATE_LIMIT_EXCEEDED"), day))
        assert (error.error_class, error.code) == (ErrorClass.OUT_OF_CREDIT, "QUOTA_PER_DAY")

    def test_headers_tell_of_no_limit(self):
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}
        assert CODEC.limits(headers, wall_now=NOW) == ()
        assert classify(429, body(429, "RESOURCE_EXHAUSTED"), headers).retry_after is None


@pytest.mark.parametrize("details", [7, "x", [7], [{"violations": 7}], [{"violations": [7]}], [{"reason": 7}], {}])
def test_odd_details_say_nothing(details):
    error = classify(429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}})
    assert error.error_class is ErrorClass.THROTTLED


def test_keys_are_never_repeated():
    assert "AIza" not in str(classify(400, body(400, "INVALID_ARGUMENT", "bad key AIzaSyA-abcdef_123")))


@given(st.integers(300, 599), st.binary(max_size=60) | st.builds(orjson.dumps, st.dictionaries(st.text(), st.text())))
def test_any_body_is_classified(status, data):
    assert isinstance(classify(status, data), ProviderError)
