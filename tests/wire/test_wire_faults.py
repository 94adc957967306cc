"""Errors as bodies and headers: each kind in both dialects, and what our own codecs make of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoken import CODECS, JSON, reply

from resilio import errors
from resilio.errors import (
    BudgetExceeded,
    CheckDenied,
    CircuitOpen,
    DeadlineExceeded,
    ErrorClass,
    Exhausted,
    InvalidRequest,
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
from resilio.models import AttemptRecord, CheckRecord, Usage
from resilio.wire import DIALECTS, fault_of, fault_of_part

OPENAI, ANTHROPIC = DIALECTS["openai"], DIALECTS["anthropic"]


def attempt(error_class):
    return AttemptRecord("openai/m", 0, 0.0, 0.0, 1.0, "failure", error_class, "it failed")


def exhausted(*classes, retry_after=None):
    return Exhausted("chat", [attempt(its) for its in classes], retry_after=retry_after)


def broken(cause):
    made = StreamBroken("stream broken", "Hel", Usage())
    made.__cause__ = cause
    return made


broken_off = broken(None)


def denied(action):
    return CheckDenied(CheckRecord("no-secrets", "before", action, "it found one"))


def of(error_class, **more):
    return ProviderError("it failed", error_class, **more)


ROWS = [
    # error                                      OpenAI, its code                Anthropic, its type
    (MalformedRequest("no"),                     400, "invalid_value",           400, "invalid_request_error"),
    (Unencodable("seed", "NaN"),                 400, "invalid_value",           400, "invalid_request_error"),
    (UnknownRoute("chap", ["chat"]),             404, "model_not_found",         404, "not_found_error"),
    (Unsupported("chat", {"a/b": "images"}),     400, "unsupported_parameter",   400, "invalid_request_error"),
    (BudgetExceeded("day", 5.0, 0.0, 1.0),       429, "insufficient_quota",      402, "billing_error"),
    (of(ErrorClass.BUDGET),                      429, "insufficient_quota",      402, "billing_error"),
    (RateLimited("a", "queue", 3.0),             429, "rate_limit_exceeded",     429, "rate_limit_error"),
    (ServiceReduced("chat", "shedding", "b", "u", 0.9, 60.0),
                                                 429, "rate_limit_exceeded",     429, "rate_limit_error"),
    (CircuitOpen("a", 3.0),                      503, "server_is_overloaded",    529, "overloaded_error"),
    (MailboxFull("a", 9),                        503, "server_is_overloaded",    529, "overloaded_error"),
    (ProviderStopped("a", "draining"),           503, "server_is_overloaded",    529, "overloaded_error"),
    (LedgerUnavailable("l.db", "disk full"),     503, "server_is_overloaded",    529, "overloaded_error"),
    (DeadlineExceeded(5.0),                      504, "timeout",                 504, "timeout_error"),
    (denied("denied"),                           400, "content_filter",          400, "invalid_request_error"),
    (denied("timed_out"),                        500, "internal_error",          500, "api_error"),
    (of(ErrorClass.TOO_LONG),                    400, "context_length_exceeded", 400, "invalid_request_error"),
    (of(ErrorClass.UNSUPPORTED),                 400, "unsupported_parameter",   400, "invalid_request_error"),
    (of(ErrorClass.REFUSED),                     400, "content_filter",          400, "invalid_request_error"),
    (of(ErrorClass.THROTTLED),                   429, "rate_limit_exceeded",     429, "rate_limit_error"),
    (of(ErrorClass.OVERLOADED, status=529),      503, "server_is_overloaded",    529, "overloaded_error"),
    (of(ErrorClass.SERVER_ERROR),                502, "server_error",            502, "api_error"),
    (of(ErrorClass.OUT_OF_CREDIT),               402, "insufficient_quota",      402, "billing_error"),
    (of(ErrorClass.UNAUTHORISED, status=401),    502, "server_error",            502, "api_error"),
    (of(ErrorClass.CALLER),                      400, "invalid_value",           400, "invalid_request_error"),
    (InvalidRequest("no", ErrorClass.CALLER, status=413),
                                                 413, "invalid_value",           413, "invalid_request_error"),
    (InvalidRequest("no", ErrorClass.CALLER, status=401),
                                                 400, "invalid_value",           400, "invalid_request_error"),
    (TransportError("no", ErrorClass.CONNECT),   502, "server_error",            502, "api_error"),
    (TransportError("no", ErrorClass.IDLE),      504, "timeout",                 504, "timeout_error"),
    (exhausted(),                                503, "server_is_overloaded",    529, "overloaded_error"),
    (exhausted("server_error", "throttled"),     503, "server_is_overloaded",    529, "overloaded_error"),
    (exhausted("throttled", "throttled"),        429, "rate_limit_exceeded",     429, "rate_limit_error"),
    (exhausted("too_long", None),                400, "context_length_exceeded", 400, "invalid_request_error"),
    (broken(of(ErrorClass.OVERLOADED)),          503, "server_is_overloaded",    529, "overloaded_error"),
    (broken(None),                               502, "server_error",            502, "api_error"),
    (ValueError("secret"),                       500, "internal_error",          500, "api_error"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "code", "own", "kind"), ROWS, ids=lambda value: repr(value)[:40])
def test_an_error_has_its_status_and_code_in_either_dialect(error, status, code, own, kind):
    got = OPENAI.error(error, request_id="a1-7")
    body = json.loads(got.body)["error"]
    assert (got.status, body["code"], body["param"]) == (status, code, None)
    assert (got.headers["content-type"], got.headers["x-request-id"]) == ("application/json", "a1-7")
    got = ANTHROPIC.error(error, request_id="a1-7")
    whole = json.loads(got.body)
    assert (got.status, whole["type"], whole["error"]["type"]) == (own, "error", kind)
    assert (whole["request_id"], got.headers["request-id"]) == ("a1-7", "a1-7")
    if isinstance(error, ResilioError):
        assert str(error) in body["message"]
        assert str(error) in whole["error"]["message"]
    else:
        assert "secret" not in body["message"] + whole["error"]["message"]


def test_every_class_of_error_and_every_type_is_told_as_something_definite():
    for error_class in ErrorClass:
        assert fault_of(of(error_class)).row.code != "internal_error"
    told = {type(row[0]) for row in ROWS}
    theirs = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RequestRejected) and kind is not errors.RequestRejected
    }
    assert theirs <= told


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("error_class", "becomes"),
    [
        (ErrorClass.THROTTLED, ErrorClass.THROTTLED),
        (ErrorClass.OVERLOADED, ErrorClass.OVERLOADED),
        (ErrorClass.SERVER_ERROR, ErrorClass.SERVER_ERROR),
        (ErrorClass.TOO_LONG, ErrorClass.TOO_LONG),
        (ErrorClass.OUT_OF_CREDIT, ErrorClass.OUT_OF_CREDIT),
        (ErrorClass.BUDGET, ErrorClass.OUT_OF_CREDIT),
        # A key of ours that was rejected is not the caller's key.
        (ErrorClass.UNAUTHORISED, ErrorClass.SERVER_ERROR),
    ],
)
def test_a_resilio_behind_a_resilio_understands_it(dialect, error_class, becomes):
    got = DIALECTS[dialect].error(of(error_class, retry_after=7.0))
    read = CODECS[dialect].error(got.status, {**JSON, **got.headers}, got.body, wall_now=0.0)
    assert (read.error_class, read.retry_after) == (becomes, 7.0)


@pytest.mark.parametrize("broken", [*ErrorClass, "denied", "deadline", "left", "brand new", None])
def test_a_part_of_an_answer_is_told_as_the_error_that_cut_it_off(broken):
    told = fault_of_part(reply("Hel", "", complete=False, broken=broken and str(broken)))
    same = {
        "denied": denied("denied"), "deadline": DeadlineExceeded(5.0), "left": broken_off, "brand new": broken_off,
        None: broken_off,
    }  # fmt: skip
    error = of(broken) if isinstance(broken, ErrorClass) else same[broken]
    assert told.row == fault_of(error).row
    assert (told.should_retry, told.retry_after) == (False, None)
    assert "3 characters" in told.message


def test_what_was_tried_already_is_not_to_be_tried_again():
    headers = fault_of(exhausted("throttled", retry_after=2.5)).headers()
    assert headers == {
        "x-should-retry": "false", "retry-after": "3", "retry-after-ms": "2500", "x-resilio-retry-after": "2.500",
    }  # fmt: skip
    assert fault_of(exhausted("server_error", "throttled")).headers() == {"x-should-retry": "false"}
    assert fault_of(exhausted()).headers() == {}
    assert fault_of(of(ErrorClass.CALLER)).headers() == {"x-should-retry": "false"}


def test_shed_load_leaves_retrying_to_the_client():
    assert fault_of(MailboxFull("a", 9)).headers() == {}
    headers = fault_of(CircuitOpen("a", 0.02)).headers()
    assert headers == {"retry-after": "1", "retry-after-ms": "20", "x-resilio-retry-after": "0.020"}


def test_nobody_is_made_to_sleep_for_an_hour():
    headers = fault_of(RateLimited("a", "tokens a day", 3600.0)).headers()
    assert headers == {"x-should-retry": "false", "x-resilio-retry-after": "3600.000"}


@given(st.floats(), st.sampled_from([RateLimited("a", "queue", 1.0), of(ErrorClass.THROTTLED), exhausted()]))
def test_hints_are_sound_whatever_the_error_says(wait, error):
    error.retry_after = wait
    headers = fault_of(error).headers()
    if "retry-after" in headers:
        assert 0 <= int(headers["retry-after"]) <= 120
        assert 0 <= int(headers["retry-after-ms"]) <= 120_000
        assert int(headers["retry-after-ms"]) / 1000 >= wait
    elif wait > 120:
        assert headers["x-should-retry"] == "false"
