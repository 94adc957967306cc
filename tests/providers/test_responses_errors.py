"""Errors in the shapes the Responses API really sends: one case at least for each row of its own table."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses.response_error import ResponseError
from responses_wire import CODEC, JSON, SSE, ended, failed, started, stream

from resilio.errors import (
    ErrorClass,
    InvalidRequest,
    KeyRejected,
    ProviderError,
    ProviderRefused,
    ProviderThrottled,
    ProviderUnavailable,
    RequestUnsuitable,
)
from resilio.models import LimitReading
from resilio.providers.docs import page
from resilio.providers.openai.faults import CODES as OPENAI
from resilio.providers.responses.faults import CODES, REASONS

NOW = 1_795_430_000.0

SERVER = (ErrorClass.SERVER_ERROR, ProviderUnavailable)
UNSUPPORTED = (ErrorClass.UNSUPPORTED, RequestUnsuitable)
REFUSED = (ErrorClass.REFUSED, ProviderRefused)
CALLER = (ErrorClass.CALLER, InvalidRequest)


def body(code, message, type_="invalid_request_error", param=None):
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def classify(status, given, headers=JSON):
    data = given if isinstance(given, bytes) else orjson.dumps(given)
    return CODEC.error(status, headers, data, wall_now=NOW)


BY_CODE = {
    "invalid_prompt": (400, "Invalid prompt: it holds no text.", CALLER),
    "bio_policy": (400, "This request was blocked by our biology safeguards.", REFUSED),
    "misalignment_policy_violation": (400, "The model's next action was stopped.", REFUSED),
    "image_content_policy_violation": (400, "Your input image may contain content that is not allowed.", REFUSED),
    "vector_store_timeout": (500, "The vector store did not answer in time.", SERVER),
    "data_residency_mismatch": (400, "This project's data must stay in the EU.", UNSUPPORTED),
    "invalid_image": (400, "The image data you provided does not represent a valid image.", CALLER),
    "invalid_image_format": (400, "You uploaded an image that is none.", CALLER),
    "invalid_base64_image": (400, "Invalid base64 image_url.", CALLER),
    "invalid_image_url": (400, "The URL is malformed.", CALLER),
    "invalid_image_mode": (400, "The image's mode is invalid.", CALLER),
    "image_parse_error": (400, "The image could not be parsed.", CALLER),
    "empty_image_file": (400, "The image file is empty.", CALLER),
    "image_too_large": (400, "The image has too many pixels.", UNSUPPORTED),
    "image_too_small": (400, "The image has too few pixels.", UNSUPPORTED),
    "image_file_too_large": (400, "The image file is larger than 50 MB.", UNSUPPORTED),
    "unsupported_image_media_type": (400, "The type image/tiff is not known.", UNSUPPORTED),
    "failed_to_download_image": (400, "Error while downloading https://a.test/x.jpg.", UNSUPPORTED),
    "image_file_not_found": (400, "No such file: file-1.", UNSUPPORTED),
    "previous_response_not_found": (400, "Previous response with id 'resp_1' not found.", UNSUPPORTED),
    "invalid_encrypted_content": (
        400,
        "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content organization_id did not"
        " match the target organization.",
        UNSUPPORTED,
    ),
    "integer_below_min_value": (
        400,
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 5 instead.",
        UNSUPPORTED,
    ),
}


def test_every_row_of_the_table_has_a_case_and_every_case_a_row():
    assert set(BY_CODE) == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_each_code_with_a_status(code):
    status, message, (error_class, kind) = BY_CODE[code]
    error = classify(status, body(code, message))
    assert (error.error_class, type(error), error.code) == (error_class, kind, code)
    assert str(error) == f"gpt answered {status} {code}: {message}"


def raised_by(*events):
    decoder = CODEC.stream_decoder(200, SSE)
    with pytest.raises(ProviderError) as caught:
        decoder.feed(stream(started(), *events))
        decoder.feed(b"")
    return caught.value


@pytest.mark.parametrize("code", CODES)
def test_each_code_inside_a_stream_and_in_a_response_that_failed(code):
    _, message, (error_class, kind) = BY_CODE[code]
    whole = failed(code, message)
    flat = {"type": "error", "code": code, "message": message, "param": None}
    found = [raised_by(ended(whole)), raised_by(flat)]
    with pytest.raises(ProviderError) as caught:
        CODEC.decode(200, JSON, orjson.dumps(whole))
    for error in (*found, caught.value):
        assert (error.error_class, type(error), error.code) == (error_class, kind, code)


def test_every_code_the_sdk_knows_of_a_failed_response_is_known():
    (codes,) = [its.annotation.__args__ for name, its in ResponseError.model_fields.items() if name == "code"]
    assert set(codes) <= CODES.keys() | OPENAI.keys()


def test_a_flagged_prompt_is_refused_though_it_is_called_invalid():
    message = (
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a"
        " different prompt."
    )
    assert classify(400, body("invalid_prompt", message)).error_class is ErrorClass.REFUSED


@pytest.mark.parametrize(
    ("status", "given", "error_class", "kind"),
    [
        (429, body("rate_limit_exceeded", "Rate limit reached", "tokens"), ErrorClass.THROTTLED, ProviderThrottled),
        (429, body("insufficient_quota", "x", "insufficient_quota"), ErrorClass.OUT_OF_CREDIT, KeyRejected),
        (503, body("server_is_overloaded", "x"), ErrorClass.OVERLOADED, ProviderUnavailable),
        (401, body("invalid_api_key", "Incorrect API key provided: sk-abc***"), ErrorClass.UNAUTHORISED, KeyRejected),
        (400, body("context_length_exceeded", "x"), ErrorClass.TOO_LONG, RequestUnsuitable),
        (
            400,
            body(None, "Encrypted content is not supported with this model.", param="include"),
            ErrorClass.UNSUPPORTED,
            RequestUnsuitable,
        ),
        (
            404,
            body(None, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
            ErrorClass.UNSUPPORTED,
            RequestUnsuitable,
        ),
        (400, body(None, "No tool output found for function call call_1.", param="input"), *CALLER),
        (502, b"<html><title>Bad gateway</title></html>", *SERVER),
    ],
)
def test_what_all_of_openais_surfaces_share_is_read_as_there(status, given, error_class, kind):
    error = classify(status, given)
    assert (error.error_class, type(error)) == (error_class, kind)
    assert "sk-abc" not in str(error)


def test_limits_are_openais():
    headers = {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m12s",
    }
    assert CODEC.limits(headers, wall_now=NOW) == (LimitReading("requests", 50, 0, 72.0),)
    assert classify(429, body("rate_limit_exceeded", "x"), {**JSON, **headers}).retry_after == 72.0


def test_its_codes_are_on_the_page_of_errors():
    _, section = page().split("## The Responses API")
    assert all(f"| `{code}` | `{found}` |" in section for code, found in CODES.items())
    assert set(REASONS.values()) == {"length", "content_filter"}


@given(st.integers(300, 599), st.binary(max_size=60) | st.builds(orjson.dumps, st.dictionaries(st.text(), st.text())))
def test_any_body_is_classified(status, data):
    assert isinstance(classify(status, data), ProviderError)
