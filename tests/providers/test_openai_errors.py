"""Errors in the shapes servers really send: one case at least for each row of the tables, and the message they give."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_wire import CODEC, JSON, completion

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
from resilio.providers.classify import EXCEPTIONS, OTHER_STATUSES
from resilio.providers.openai.faults import CODES, FINISHES, STATUSES, TYPES, WORDINGS

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


def openai(code, message="It did not work.", type_="invalid_request_error"):
    """The shape of OpenAI, Groq, DeepSeek, llama.cpp and most others."""
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


def flat(code, message, type_):
    """Mistral's shape, and older vLLM's."""
    return {"object": "error", "message": message, "type": type_, "param": None, "code": code}


def azure(code, inner=None):
    error = {"code": code, "message": "The request was not served.", "param": "prompt", "status": 400}
    return {"error": error | ({"innererror": {"code": inner, "content_filter_result": {}}} if inner else {})}


def openrouter(status, message="Provider returned error", **metadata):
    return {"error": {"code": status, "message": message, "metadata": metadata}, "user_id": "user_1"}


def google(status, name, message="It did not work.", **detail):
    """What Google's OpenAI-compatible endpoint sends: an array around it."""
    return [{"error": {"code": status, "message": message, "status": name, "details": [detail] if detail else []}}]


# code -> (status, body, what it means). Where one server's code is another's type, each has its own row.
BY_CODE = {
    "permissiondenied": (
        403,
        {"error": {"code": "PermissionDenied", "message": ("The principal lacks the required data action")}},
        BAD_KEY,
    ),
    "invalidapiversionparameter": (
        400,
        {
            "error": {
                "code": "InvalidApiVersionParameter",
                "message": ("The api-version '2023-01-01' is invalid. The supported versions are '2024-10-21'."),
            }
        },
        UNSUPPORTED,
    ),
    "unknown_model": (
        400,
        {"error": {"code": "unknown_model", "message": "Unknown model: gpt-9", "details": None}},
        UNSUPPORTED,
    ),
    "model_permission_blocked_org": (
        403,
        openai(
            "model_permission_blocked_org",
            ("The model `x` is blocked at the organization level. Please have the org admin enable this model."),
            "permissions_error",
        ),
        UNSUPPORTED,
    ),
    "model_permission_blocked_project": (
        403,
        openai(
            "model_permission_blocked_project", ("The model `x` is blocked at the project level."), "permissions_error"
        ),
        UNSUPPORTED,
    ),
    "rate_limit_exceeded": (429, openai("rate_limit_exceeded", type_="requests"), THROTTLED),
    "slow_down": (429, openai("slow_down", type_="requests"), THROTTLED),
    "insufficient_quota": (429, openai("insufficient_quota", type_="insufficient_quota"), NO_CREDIT),
    "credit_balance_exhausted": (429, openai("credit_balance_exhausted", type_="insufficient_quota"), NO_CREDIT),
    "organization_spend_limit_exceeded": (429, openai("organization_spend_limit_exceeded"), NO_CREDIT),
    "project_spend_limit_exceeded": (429, openai("project_spend_limit_exceeded"), NO_CREDIT),
    "organization_usage_limit_exceeded": (429, openai("organization_usage_limit_exceeded"), NO_CREDIT),
    "billing_hard_limit_reached": (400, openai("billing_hard_limit_reached"), NO_CREDIT),
    "billing_not_active": (429, openai("billing_not_active"), NO_CREDIT),
    "invalid_api_key": (401, openai("invalid_api_key", "Incorrect API key provided: sk-pr***9x."), BAD_KEY),
    "account_deactivated": (401, openai("account_deactivated"), BAD_KEY),
    "invalid_organization": (401, openai("invalid_organization"), BAD_KEY),
    "mismatched_organization": (401, openai("mismatched_organization"), BAD_KEY),
    "insufficient_permissions": (403, openai("insufficient_permissions"), BAD_KEY),
    "server_is_overloaded": (503, openai("server_is_overloaded", type_="service_unavailable_error"), OVERLOADED),
    "server_error": (500, openai("server_error", type_="server_error"), SERVER),
    "internal_error": (500, openai("internal_error", type_=None), SERVER),
    "context_length_exceeded": (400, openai("context_length_exceeded"), TOO_LONG),
    "string_above_max_length": (400, openai("string_above_max_length"), TOO_LONG),
    "unsupported_value": (400, openai("unsupported_value"), UNSUPPORTED),
    "unsupported_parameter": (400, openai("unsupported_parameter"), UNSUPPORTED),
    "unknown_parameter": (400, openai("unknown_parameter"), UNSUPPORTED),
    "model_not_found": (400, openai("model_not_found"), UNSUPPORTED),
    "unsupported_country_region_territory": (403, openai("unsupported_country_region_territory"), UNSUPPORTED),
    "content_policy_violation": (400, openai("content_policy_violation"), REFUSED),
    "moderation_blocked": (400, openai("moderation_blocked", type_="image_generation_user_error"), REFUSED),
    "content_filter": (400, azure("content_filter", "ResponsibleAIPolicyViolation"), REFUSED),
    "responsibleaipolicyviolation": (400, azure(None, "ResponsibleAIPolicyViolation"), REFUSED),
    "deploymentnotfound": (404, azure("DeploymentNotFound"), UNSUPPORTED),
    "operationnotsupported": (400, azure("OperationNotSupported"), UNSUPPORTED),
    "ratelimitreached": (429, azure("RateLimitReached"), THROTTLED),
    "nocapacity": (429, azure("NoCapacity"), OVERLOADED),
    "tool_use_failed": (400, openai("tool_use_failed", "parameters did not match schema"), MALFORMED),
    "json_validate_failed": (400, openai("json_validate_failed", "Failed to generate JSON."), MALFORMED),
    "model_decommissioned": (400, openai("model_decommissioned"), UNSUPPORTED),
    "model_terms_required": (400, openai("model_terms_required"), UNSUPPORTED),
    "blocked_api_access": (400, openai("blocked_api_access"), NO_CREDIT),
    "organization_restricted": (400, openai("organization_restricted"), BAD_KEY),
    "capacity_exceeded": (498, openai("capacity_exceeded", type_="over_capacity"), THROTTLED),
    "1300": (429, flat("1300", "Rate limit exceeded", "rate_limited") | {"raw_status_code": 429}, THROTTLED),
    "1500": (400, flat("1500", "Invalid model: mistral-huge", "invalid_model"), UNSUPPORTED),
    "extra_forbidden": (
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
        UNSUPPORTED,
    ),
    "openrouter_in_flight_budget": (402, openrouter(402, limit_source="openrouter_in_flight_budget"), THROTTLED),
    "openrouter_credits": (402, openrouter(402, limit_source="openrouter_credits"), NO_CREDIT),
    "openrouter_key_limit": (402, openrouter(402, limit_source="openrouter_key_limit"), NO_CREDIT),
    "openrouter_guardrail_budget": (403, openrouter(403, limit_source="openrouter_guardrail_budget"), NO_CREDIT),
    "openrouter_workspace_budget": (403, openrouter(403, limit_source="openrouter_workspace_budget"), NO_CREDIT),
    "payment_required": (402, openrouter(402, error_type="payment_required"), NO_CREDIT),
    "provider_overloaded": (503, openrouter(503, error_type="provider_overloaded"), OVERLOADED),
    "provider_unavailable": (502, openrouter(502, error_type="provider_unavailable"), OVERLOADED),
    "token_limit_exceeded": (400, openrouter(400, error_type="token_limit_exceeded"), TOO_LONG),
    "string_too_long": (400, openrouter(400, error_type="string_too_long"), TOO_LONG),
    "resource_exhausted": (429, google(429, "RESOURCE_EXHAUSTED"), THROTTLED),
    "unavailable": (503, google(503, "UNAVAILABLE"), OVERLOADED),
    "deadline_exceeded": (504, google(504, "DEADLINE_EXCEEDED"), OVERLOADED),
    "internal": (500, google(500, "INTERNAL"), SERVER),
    "unauthenticated": (401, google(401, "UNAUTHENTICATED"), BAD_KEY),
    "permission_denied": (403, google(403, "PERMISSION_DENIED"), BAD_KEY),
    "not_found": (404, google(404, "NOT_FOUND"), UNSUPPORTED),
    "data_inspection_failed": (400, openai("data_inspection_failed"), REFUSED),
    "throttling": (429, openai("Throttling"), THROTTLED),
    "arrearage": (400, openai("Arrearage"), NO_CREDIT),
    "throttlingexception": (429, openai("ThrottlingException", type_=None), THROTTLED),
    "servicequotaexceededexception": (400, openai("ServiceQuotaExceededException", type_=None), THROTTLED),
    "modelnotreadyexception": (429, openai("ModelNotReadyException", type_=None), THROTTLED),
    "modelerrorexception": (424, openai("ModelErrorException", type_=None), SERVER),
    "accessdeniedexception": (403, openai("AccessDeniedException", type_=None), BAD_KEY),
}

# type -> the same; the codes are none, or numbers that only repeat the status
BY_TYPE = {
    "insufficient_quota": (429, openai(None, type_="insufficient_quota"), NO_CREDIT),
    "requests": (429, openai(None, type_="requests"), THROTTLED),
    "tokens": (429, openai(None, type_="tokens"), THROTTLED),
    "rate_limit_error": (429, {"type": "error", **openai(None, type_="rate_limit_error")}, THROTTLED),
    "rate_limited": (429, flat(None, "Rate limit exceeded", "rate_limited"), THROTTLED),
    "service_tier_capacity_exceeded": (
        429,
        flat("3505", "Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded"),
        THROTTLED,
    ),
    "service_unavailable_error": (500, openai(None, type_="service_unavailable_error"), OVERLOADED),
    "overloaded_error": (529, {"type": "error", **openai(None, "Overloaded", "overloaded_error")}, OVERLOADED),
    "engine_overloaded_error": (429, openai(None, type_="engine_overloaded_error"), OVERLOADED),
    "overloaded": (429, {"error": "Model is overloaded", "error_type": "overloaded"}, OVERLOADED),
    "unreachable_backend": (500, flat("1100", "Internal server error", "unreachable_backend"), OVERLOADED),
    "unavailable_error": (503, openai(503, "Loading model", "unavailable_error"), OVERLOADED),
    "timeout_error": (504, openai(None, type_="timeout_error"), OVERLOADED),
    "server_error": (500, openai(500, "'messages' is required", "server_error"), SERVER),
    "api_error": (500, openai(None, type_="api_error"), SERVER),
    "internal_server_error": (500, flat("1000", "Internal server error", "internal_server_error"), SERVER),
    "internalservererror": (500, flat(500, "EngineCore encountered an issue", "InternalServerError"), SERVER),
    "authentication_error": (401, openai(401, "Invalid API Key", "authentication_error"), BAD_KEY),
    "permission_error": (403, openai(None, type_="permission_error"), BAD_KEY),
    "billing_error": (402, openai(None, type_="billing_error"), NO_CREDIT),
    "exceeded_current_quota_error": (429, openai(None, type_="exceeded_current_quota_error"), NO_CREDIT),
    "exceed_context_size_error": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (1407 tokens) exceeds the available context size (256 tokens)",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 1407,
                "n_ctx": 256,
            }
        },
        TOO_LONG,
    ),
    "request_too_large": (413, openai(None, type_="request_too_large"), TOO_LONG),
    "invalid_model": (400, flat(None, "Invalid model: x", "invalid_model"), UNSUPPORTED),
    "not_supported_error": (
        501,
        openai(501, "No embeddings here", "not_supported_error"),
        UNSUPPORTED,
    ),
    "not_found_error": (
        404,
        openai(None, 'model "qwen9" not found', "not_found_error"),
        UNSUPPORTED,
    ),
    "notfounderror": (404, flat(404, "The model `x` does not exist.", "NotFoundError"), UNSUPPORTED),
}

HTML = "<html><head><title>{}</title></head><body><center>nginx</center></body></html>"

# wording -> the same; neither code nor type tells
BY_WORDING = {
    "the context is full": [
        (400, flat("3051", "Prompt contains 40000 tokens, too large", "invalid_request_error"), TOO_LONG),
        (400, flat(400, "This model's maximum context length is 8192 tokens.", "BadRequestError"), TOO_LONG),
        (400, openai(400, "However, the model's context length is only 1024 tokens", "BadRequestError"), TOO_LONG),
        (400, openai(None, "prefill 744 tokens exceed n_ctx_per_seq"), TOO_LONG),
        (400, {"error": "Trying to keep the first 9 tokens when context the overflows."}, TOO_LONG),
        (502, openrouter(502, raw='{"message":"prompt is too long: 210000 tokens > 200000 maximum"}'), TOO_LONG),
        (400, openai("invalid_request_error", "Please reduce the length of the messages or completion."), TOO_LONG),
    ],
    "larger than a whole minute's limit": [
        (
            413,
            openai(
                "rate_limit_exceeded",
                "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000, please"
                " reduce your message size and try again.",
                "tokens",
            ),
            TOO_LONG,
        ),
        (
            429,
            openai(
                "rate_limit_exceeded",
                "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 15000. The input or"
                " output tokens must be reduced in order to run successfully.",
                "tokens",
            ),
            TOO_LONG,
        ),
    ],
    "no such model": [
        (400, openai("invalid_request_error", "Model Not Exist"), UNSUPPORTED),
        (400, {"error": "model 'qwen9' not found"}, UNSUPPORTED),
        (400, openai(None, "The model `x` does not exist or you do not have access to it."), UNSUPPORTED),
    ],
    "bad key": [
        (400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), BAD_KEY),
        (
            400,
            {"code": "invalid argument", "error": "Incorrect API key provided: xa***9x."},
            BAD_KEY,
        ),
    ],
    "no money": [
        (429, openai("1113", "Insufficient balance or no resource package. Please recharge.", None), NO_CREDIT),
        (400, openai(None, "Your credit balance is too low to access the API."), NO_CREDIT),
    ],
    "money in flight": [
        (402, openrouter(402, "Your in-flight requests already use the whole spending budget"), THROTTLED),
    ],
    "more than the balance buys": [
        (
            402,
            openrouter(
                402,
                "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but"
                " can only afford 30104.",
                limit_source="openrouter_credits",
            ),
            TOO_LONG,
        ),
        (402, openrouter(402, "You requested up to 16 tokens, but can only afford 0."), NO_CREDIT),
    ],
    "moderated": [
        (403, openrouter(403, 'openai/gpt-5 requires moderation. Your input was flagged for "harassment".'), REFUSED),
        (400, openai(None, "The response was filtered due to the content management policy."), REFUSED),
        (400, openai("invalid_prompt", "Your prompt was flagged as potentially violating our usage policy."), REFUSED),
    ],
    "a feature it lacks": [
        (400, flat(400, "Tool calling is not supported for this model", "BadRequestError"), UNSUPPORTED),
        (
            400,
            openai(
                None, "Failed to deserialize the JSON body: messages[0]: unknown variant `image_url`, expected `text`"
            ),
            UNSUPPORTED,
        ),
        # Mistral's code 3051 is of any argument: a prompt too long has it too.
        (
            400,
            flat("3051", "reasoning_effort='medium' is not supported for this model.", "invalid_request_invalid_args"),
            UNSUPPORTED,
        ),
        (
            400,
            flat("3051", "Reasoning prompt mode is not enabled for this model", "invalid_request_invalid_args"),
            UNSUPPORTED,
        ),
        (
            422,
            {"message": {"detail": [{"type": "x", "msg": "Extra inputs are not permitted"}]}},
            UNSUPPORTED,
        ),
        (400, openai(None, "Unrecognized request argument supplied: reasoning_effort"), UNSUPPORTED),
        (400, openai(None, "`reasoning_effort` must be one of `none` or `default`"), UNSUPPORTED),
        (
            400,
            openai(
                None,
                "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property"
                " 'reasoning_content' is unsupported)]",
            ),
            UNSUPPORTED,
        ),
        (400, openai(None, "registry.ollama.ai/library/gemma:2b does not support tools"), UNSUPPORTED),
    ],
    "started without it": [
        (500, openai(500, "tools param requires --jinja flag", "server_error"), UNSUPPORTED),
        (
            500,
            openai(
                500,
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
                "server_error",
            ),
            UNSUPPORTED,
        ),
        (
            400,
            flat(
                400,
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
                "BadRequestError",
            ),
            UNSUPPORTED,
        ),
        (400, flat(400, "x/y is not a multimodal model", "BadRequestError"), UNSUPPORTED),
        (400, flat(400, "Conversation roles must alternate user/assistant/user/...", "BadRequestError"), UNSUPPORTED),
    ],
    "reasoning that did not come back": [
        (
            400,
            openai(
                "invalid_request_error",
                "The `reasoning_content` in the thinking mode must be passed back to the API.",
            ),
            UNSUPPORTED,
        ),
    ],
    "no room": [
        (500, openai(None, "The engine is currently overloaded, please try again later", None), OVERLOADED),
        (500, {"detail": "no healthy upstream"}, OVERLOADED),
        (
            500,
            openai(None, "model requires more system memory (5.6 GiB) than is available (3.1 GiB)", "api_error"),
            OVERLOADED,
        ),
    ],
    "a firewall's page": [(403, HTML.format("Attention Required! | Cloudflare"), SERVER)],
}

# Errors named in documents and threads whose code and type say nothing, or less than the status.
BY_STATUS = [
    (400, openai(None, "'messages' is a required property"), CALLER),
    (401, {"message": "Unauthorized", "request_id": "a1"}, BAD_KEY),
    (402, openai("invalid_request_error", "Insufficient Balance", "unknown_error"), NO_CREDIT),
    (403, {"detail": "Forbidden"}, BAD_KEY),
    (404, {"error": {"message": "No endpoints found that support tool use", "code": 404}}, UNSUPPORTED),
    (404, {"error": {"code": "404", "message": "Resource not found"}}, UNSUPPORTED),  # Azure: a wrong path
    (401, {"statusCode": 401, "message": "Unauthorized. Access token is missing, invalid or expired."}, BAD_KEY),
    (429, {"error": {"code": "429", "message": "Requests have exceeded call rate limit."}}, THROTTLED),  # Azure
    (503, openai(None, "server busy, please try again. maximum pending requests exceeded", "api_error"), OVERLOADED),
    (503, openai(503, "Service is too busy. We advise users to temporarily switch."), OVERLOADED),  # DeepSeek
    (405, {"detail": "Method Not Allowed"}, UNSUPPORTED),
    (408, openrouter(408, "Timed out"), SERVER),
    (409, "", SERVER),
    (410, "", UNSUPPORTED),
    (413, HTML.format("413 Request Entity Too Large"), TOO_LONG),
    (415, "", UNSUPPORTED),
    (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}]}, CALLER),
    (424, "", SERVER),
    (425, "", SERVER),
    (429, HTML.format("429 Too Many Requests"), THROTTLED),
    (429, openrouter(429, raw="temporarily rate-limited upstream", provider_name="Google"), THROTTLED),
    (451, "", UNSUPPORTED),
    (498, "", THROTTLED),
    (499, openai(None, "Request cancelled"), SERVER),
    (500, "Internal Server Error", SERVER),
    (501, "", UNSUPPORTED),
    (502, HTML.format("502 Bad Gateway"), SERVER),
    (503, "upstream connect error or disconnect/reset before headers", OVERLOADED),
    (504, HTML.format("504 Gateway Time-out"), OVERLOADED),
    (520, HTML.format("520: Web server is returning an unknown error"), SERVER),
    (521, "error code: 521", OVERLOADED),
    (522, "error code: 522", OVERLOADED),
    (523, "error code: 523", OVERLOADED),
    (524, "error code: 524", OVERLOADED),
    (529, openrouter(529), OVERLOADED),
    (530, "error code: 1033", OVERLOADED),
    (302, HTML.format("302 Found"), MALFORMED),
    (418, {"error": "teapot"}, CALLER),
    (599, "", SERVER),
]

ROWS = [
    *(pytest.param(*case, id=f"code {name}") for name, case in BY_CODE.items()),
    *(pytest.param(*case, id=f"type {name}") for name, case in BY_TYPE.items()),
    *(pytest.param(*case, id=f"wording {name}") for name, cases in BY_WORDING.items() for case in cases),
    *(pytest.param(*case, id=f"status {case[0]}") for case in BY_STATUS),
]


def error(status, body, headers=JSON, now=NOW):
    data = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return CODEC.error(status, headers, data, wall_now=now)


@pytest.mark.parametrize(("status", "body", "expected"), ROWS)
def test_each_error_gets_its_class_and_exception(status, body, expected):
    found = error(status, body)
    assert (found.error_class, type(found)) == expected
    assert found.status == status


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(body, expected, id=name)
        for name, (_, body, expected) in (BY_CODE | BY_TYPE).items()
        if isinstance(body, list) or "error" in body or body.get("object") == "error"
    ],
)
def test_an_error_known_by_code_or_type_means_the_same_inside_a_200(body, expected):
    with pytest.raises(ProviderError) as caught:
        CODEC.decode(200, JSON, orjson.dumps(body))
    assert (caught.value.error_class, type(caught.value)) == expected


class TestTheTablesAreWhole:
    def test_every_code_has_a_case(self):
        assert set(BY_CODE) == set(CODES)

    def test_every_type_has_a_case(self):
        assert set(BY_TYPE) == set(TYPES)

    def test_every_wording_has_a_case(self):
        assert set(BY_WORDING) == {wording.name for wording in WORDINGS}

    def test_every_status_has_a_case(self):
        statuses = {status for status, _, _ in BY_STATUS}
        assert set(STATUSES) <= statuses
        assert {status // 100 for status in statuses - set(STATUSES)} == set(OTHER_STATUSES) - {2}

    def test_every_class_they_name_has_an_exception(self):
        named = {*CODES.values(), *TYPES.values(), *STATUSES.values(), *OTHER_STATUSES.values(), *FINISHES.values()}
        assert named | {wording.becomes for wording in WORDINGS} <= set(EXCEPTIONS)

    def test_lookups_are_in_lower_case(self):
        assert all(name == name.lower() for name in (*CODES, *TYPES))


@pytest.mark.parametrize(("names", "cases"), [(CODES, BY_CODE), (TYPES, BY_TYPE)])
def test_each_case_holds_the_word_it_is_for(names, cases):
    for name in names:
        assert name in orjson.dumps(cases[name][1]).decode().lower(), name


@pytest.mark.parametrize("finish", FINISHES)
def test_a_finish_reason_can_be_a_failure(finish):
    with pytest.raises(ProviderError, match=f"finish_reason {finish}") as caught:
        CODEC.decode(200, JSON, orjson.dumps(completion(finish=finish)))
    assert caught.value.error_class is (OVERLOADED if finish == "insufficient_system_resource" else SERVER)[0]


class TestThePrecedence:
    def test_code_outranks_type_and_status(self):
        assert error(500, openai("rate_limit_exceeded", type_="server_error")).error_class is ErrorClass.THROTTLED

    def test_type_outranks_status(self):
        assert error(400, openai(400, type_="overloaded_error")).error_class is ErrorClass.OVERLOADED

    def test_the_http_status_outranks_a_number_in_the_body(self):
        assert error(503, openai(400)).error_class is ErrorClass.OVERLOADED

    def test_a_number_in_the_body_stands_in_for_a_200(self):
        for body in (openai(429), openai("429"), {"error": {"message": "x", "status_code": 429}}):
            assert error(200, body).error_class is ErrorClass.THROTTLED

    def test_a_wording_does_not_overrule_what_it_does_not_refine(self):
        text = "Rate limit reached. Learn about context length at example.org."
        assert error(429, openai("rate_limit_exceeded", text)).error_class is ErrorClass.THROTTLED


class TestTheMessage:
    def test_names_who_what_and_why(self):
        found = error(429, openai("rate_limit_exceeded", "Rate limit reached for gpt-5-nano.", "requests"))
        assert str(found) == "openai answered 429 rate_limit_exceeded: Rate limit reached for gpt-5-nano."
        assert found.code == "rate_limit_exceeded"

    def test_takes_the_type_where_there_is_no_code(self):
        assert error(503, openai(503, "Loading model", "unavailable_error")).code == "unavailable_error"

    def test_of_a_page_is_its_title(self):
        assert str(error(502, HTML.format("502 Bad\n Gateway"))) == "openai answered 502: 502 Bad Gateway"

    def test_of_nothing_says_so(self):
        assert str(error(500, "")) == "openai answered 500: without a word"

    def test_tells_what_the_server_behind_a_router_said(self):
        assert "rate-limited upstream" in str(error(429, openrouter(429, raw="rate-limited upstream")))

    def test_is_bounded(self):
        assert len(str(error(400, openai("c" * 500, "m" * 10_000)))) < 450
        assert len(str(error(400, "x" * 10_000))) < 400

    @pytest.mark.parametrize(
        "secret",
        [
            "sk-proj-abcdefghijklmnop",
            "sk-ant-api03-xyz_123",
            "sk-ab***************9xyz",
            "gsk_abcdefghijklmnop",
            "AIzaSyA1234567890",
            "xai-abcdefgh12345678",
            "hf_abcdefghijkl",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-_x",
        ],
    )
    def test_never_holds_a_key(self, secret):
        for body in (
            openai("invalid_api_key", f"Incorrect API key provided: {secret}. You can find it at example.org."),
            openai(secret, "x"),
            openai(None, f"Authorization: Bearer {secret} was refused", secret),
            f"<title>bad {secret}</title>",
            f"plain text with {secret}",
            {"detail": [{"input": secret, "type": "x"}]},
        ):
            found = error(401, body)
            assert secret not in f"{found}{found.code}{found!r}"

    def test_never_holds_a_key_that_looks_like_none(self):
        found = error(401, openai(None, "Authentication Fails, Your api key: ****cd1f is invalid"))
        assert "cd1f" not in str(found)
        assert "[key] is invalid" in str(found)


class TestTheHint:
    def test_is_retry_after(self):
        assert error(429, openai("slow_down"), {"retry-after": "7"}).retry_after == 7
        assert error(503, "", {"retry-after-ms": "1500"}).retry_after == 1.5
        date = {"retry-after": "Mon, 23 Nov 2026 10:33:40 GMT", "date": "Mon, 23 Nov 2026 10:33:20 GMT"}
        assert error(529, "", date).retry_after == 20

    @pytest.mark.parametrize(
        ("message", "seconds"),
        [
            ("Rate limit reached. Please try again in 7.66s. Visit example.org", 7.66),
            ("Please try again in 2m59.56s.", 179.56),
            ("Please try again in 120ms.", 0.12),
            ("Please retry after 6 seconds.", 6),
            ("Please retry after 2 minutes.", 120),
            ("Please retry in 34.4s.", 34.4),
            ("Try again in 250 milliseconds", 0.25),
            ("Please try again in a while.", None),
            ("Please try again in 1.2.3.", None),
        ],
    )
    def test_may_stand_in_the_message(self, message, seconds):
        found = error(429, openai("rate_limit_exceeded", message)).retry_after
        assert found == (None if seconds is None else pytest.approx(seconds))

    def test_may_be_googles_retry_info(self):
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        body = google(429, "RESOURCE_EXHAUSTED", **{"@type": kind, "retryDelay": "34.4s"})
        assert error(429, body).retry_after == pytest.approx(34.4)

    def test_the_header_outranks_the_message(self):
        found = error(429, openai("slow_down", "Please try again in 60s."), {"retry-after": "2"})
        assert found.retry_after == 2

    def test_may_be_the_reset_of_the_limit_that_is_used_up(self):
        headers = {
            "x-ratelimit-limit-requests": "100",
            "x-ratelimit-remaining-requests": "40",
            "x-ratelimit-reset-requests": "50s",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "9s",
        }
        assert error(429, openai("rate_limit_exceeded"), headers).retry_after == 9
        assert error(500, openai("server_error"), headers).retry_after is None


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.sampled_from(["429", 429, "sk-abcdefgh"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "detail", "details", "metadata", "status", "innererror"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(status=st.integers(300, 599), body=BODIES | st.binary(max_size=30))
def test_whatever_comes_is_one_of_ours_and_short(status, body):
    try:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
    except TypeError:  # an integer beyond 64 bits: no server's JSON parser would have it either
        data = str(body).encode()
    found = CODEC.error(status, {}, data, wall_now=NOW)
    assert type(found) is EXCEPTIONS[found.error_class]
    assert str(found).startswith(f"openai answered {status}")
    assert len(str(found)) < 450
    assert "sk-abcdefgh" not in str(found)
