"""What a server of the OpenAI dialect means by an error: tables from its words to an `ErrorClass`.

The tables are data: the codec reads them, the tests have a case for each row, `docs/errors.md` is made
from them. A code outranks a type, a type a status; then a known wording may correct the class, for
some servers say nothing but "400 BadRequestError" or blame the rate where no wait will help.

Names so general that the status says more (``invalid_request_error``, which OpenAI sends with 400,
401 and 404, DeepSeek with 402) are deliberately missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.errors import ErrorClass as Cls
from resilio.providers.classify import Faults, wording

__all__ = [
    "CODES",
    "FAULTS",
    "FINISHES",
    "FINISH_SPELLINGS",
    "STATUSES",
    "TYPES",
    "WORDINGS",
]

CODES: Final[Mapping[str, Cls]] = {
    # OpenAI, and most who copy it
    "rate_limit_exceeded": Cls.THROTTLED,
    "slow_down": Cls.THROTTLED,
    "insufficient_quota": Cls.OUT_OF_CREDIT,
    "credit_balance_exhausted": Cls.OUT_OF_CREDIT,
    "organization_spend_limit_exceeded": Cls.OUT_OF_CREDIT,
    "project_spend_limit_exceeded": Cls.OUT_OF_CREDIT,
    "organization_usage_limit_exceeded": Cls.OUT_OF_CREDIT,
    "billing_hard_limit_reached": Cls.OUT_OF_CREDIT,
    "billing_not_active": Cls.OUT_OF_CREDIT,
    "invalid_api_key": Cls.UNAUTHORISED,
    "account_deactivated": Cls.UNAUTHORISED,
    "invalid_organization": Cls.UNAUTHORISED,
    "mismatched_organization": Cls.UNAUTHORISED,
    "insufficient_permissions": Cls.UNAUTHORISED,
    "server_is_overloaded": Cls.OVERLOADED,
    "server_error": Cls.SERVER_ERROR,
    "internal_error": Cls.SERVER_ERROR,
    "context_length_exceeded": Cls.TOO_LONG,
    "string_above_max_length": Cls.TOO_LONG,
    "unsupported_value": Cls.UNSUPPORTED,
    "unsupported_parameter": Cls.UNSUPPORTED,
    "unknown_parameter": Cls.UNSUPPORTED,
    "model_not_found": Cls.UNSUPPORTED,
    "unsupported_country_region_territory": Cls.UNSUPPORTED,
    "content_policy_violation": Cls.REFUSED,
    "moderation_blocked": Cls.REFUSED,
    # Azure
    "content_filter": Cls.REFUSED,
    "responsibleaipolicyviolation": Cls.REFUSED,
    "deploymentnotfound": Cls.UNSUPPORTED,
    "operationnotsupported": Cls.UNSUPPORTED,
    "ratelimitreached": Cls.THROTTLED,
    "nocapacity": Cls.OVERLOADED,
    "permissiondenied": Cls.UNAUTHORISED,
    "invalidapiversionparameter": Cls.UNSUPPORTED,
    "unknown_model": Cls.UNSUPPORTED,
    # Groq. The model wrote a tool call or JSON that does not fit: its failure, not the caller's.
    "tool_use_failed": Cls.MALFORMED,
    "json_validate_failed": Cls.MALFORMED,
    "model_decommissioned": Cls.UNSUPPORTED,
    "model_terms_required": Cls.UNSUPPORTED,
    "blocked_api_access": Cls.OUT_OF_CREDIT,
    "organization_restricted": Cls.UNAUTHORISED,
    "capacity_exceeded": Cls.THROTTLED,
    # An administrator has closed the model to the key: another model, or key, is not.
    "model_permission_blocked_org": Cls.UNSUPPORTED,
    "model_permission_blocked_project": Cls.UNSUPPORTED,
    # Mistral's numbers
    "1300": Cls.THROTTLED,
    "1500": Cls.UNSUPPORTED,
    "extra_forbidden": Cls.UNSUPPORTED,
    # OpenRouter: `metadata.limit_source`, then `metadata.error_type`
    "openrouter_in_flight_budget": Cls.THROTTLED,
    "openrouter_credits": Cls.OUT_OF_CREDIT,
    "openrouter_key_limit": Cls.OUT_OF_CREDIT,
    "openrouter_guardrail_budget": Cls.OUT_OF_CREDIT,
    "openrouter_workspace_budget": Cls.OUT_OF_CREDIT,
    "payment_required": Cls.OUT_OF_CREDIT,
    "provider_overloaded": Cls.OVERLOADED,
    "provider_unavailable": Cls.OVERLOADED,
    "token_limit_exceeded": Cls.TOO_LONG,
    "string_too_long": Cls.TOO_LONG,
    # Google's compatible endpoint: `error.status`
    "resource_exhausted": Cls.THROTTLED,
    "unavailable": Cls.OVERLOADED,
    "deadline_exceeded": Cls.OVERLOADED,
    "internal": Cls.SERVER_ERROR,
    "unauthenticated": Cls.UNAUTHORISED,
    "permission_denied": Cls.UNAUTHORISED,
    "not_found": Cls.UNSUPPORTED,
    # Alibaba
    "data_inspection_failed": Cls.REFUSED,
    "throttling": Cls.THROTTLED,
    "arrearage": Cls.OUT_OF_CREDIT,
    # Bedrock
    "throttlingexception": Cls.THROTTLED,
    "servicequotaexceededexception": Cls.THROTTLED,
    "modelnotreadyexception": Cls.THROTTLED,
    "modelerrorexception": Cls.SERVER_ERROR,
    "accessdeniedexception": Cls.UNAUTHORISED,
}
"""By `error.code` and what stands in for it, in lower case."""

TYPES: Final[Mapping[str, Cls]] = {
    "insufficient_quota": Cls.OUT_OF_CREDIT,
    "requests": Cls.THROTTLED,
    "tokens": Cls.THROTTLED,
    "rate_limit_error": Cls.THROTTLED,
    "rate_limited": Cls.THROTTLED,
    "service_tier_capacity_exceeded": Cls.THROTTLED,
    "service_unavailable_error": Cls.OVERLOADED,
    "overloaded_error": Cls.OVERLOADED,
    "engine_overloaded_error": Cls.OVERLOADED,
    "overloaded": Cls.OVERLOADED,
    "unreachable_backend": Cls.OVERLOADED,
    "unavailable_error": Cls.OVERLOADED,
    "timeout_error": Cls.OVERLOADED,
    "server_error": Cls.SERVER_ERROR,
    "api_error": Cls.SERVER_ERROR,
    "internal_server_error": Cls.SERVER_ERROR,
    "internalservererror": Cls.SERVER_ERROR,
    "authentication_error": Cls.UNAUTHORISED,
    "permission_error": Cls.UNAUTHORISED,
    "billing_error": Cls.OUT_OF_CREDIT,
    "exceeded_current_quota_error": Cls.OUT_OF_CREDIT,
    "exceed_context_size_error": Cls.TOO_LONG,
    "request_too_large": Cls.TOO_LONG,
    "invalid_model": Cls.UNSUPPORTED,
    "not_supported_error": Cls.UNSUPPORTED,
    "not_found_error": Cls.UNSUPPORTED,
    "notfounderror": Cls.UNSUPPORTED,
}
"""By `error.type`, in lower case."""

STATUSES: Final[Mapping[int, Cls]] = {
    400: Cls.CALLER,
    401: Cls.UNAUTHORISED,
    402: Cls.OUT_OF_CREDIT,
    403: Cls.UNAUTHORISED,
    # No caller can cause these with a chat request: the target's model or URL is at fault.
    404: Cls.UNSUPPORTED,
    405: Cls.UNSUPPORTED,
    410: Cls.UNSUPPORTED,
    415: Cls.UNSUPPORTED,
    501: Cls.UNSUPPORTED,
    # The server gave up waiting, on us, on a lock or on a replay: once more may do.
    408: Cls.SERVER_ERROR,
    409: Cls.SERVER_ERROR,
    425: Cls.SERVER_ERROR,
    499: Cls.SERVER_ERROR,
    413: Cls.TOO_LONG,
    422: Cls.CALLER,
    424: Cls.SERVER_ERROR,
    429: Cls.THROTTLED,
    451: Cls.UNSUPPORTED,
    498: Cls.THROTTLED,
    500: Cls.SERVER_ERROR,
    502: Cls.SERVER_ERROR,
    503: Cls.OVERLOADED,
    # A gateway waited in vain: the same target would most likely cost that time again.
    504: Cls.OVERLOADED,
    520: Cls.SERVER_ERROR,
    521: Cls.OVERLOADED,
    522: Cls.OVERLOADED,
    523: Cls.OVERLOADED,
    524: Cls.OVERLOADED,
    529: Cls.OVERLOADED,
    530: Cls.OVERLOADED,
}
"""By HTTP status. A number in `error.code` stands in where the status is 2xx."""


WORDINGS: Final = (
    wording(
        "the context is full",
        r"context (?:length|window|size|limit)|exceeds?.{0,20}n_ctx|prompt is too long|input is too long"
        r"|when context the overflows|reduce the length of|prompt contains \d+ tokens",
        {Cls.CALLER, Cls.SERVER_ERROR},
        Cls.TOO_LONG,
        "vLLM, Groq, Mistral, llama.cpp, LM Studio",
    ),
    wording(
        "larger than a whole minute's limit",
        r"request too large|(?:tokens|input) must be reduced",
        {Cls.CALLER, Cls.THROTTLED},
        Cls.TOO_LONG,
        "OpenAI 429, Groq 413: the code blames the rate, no wait helps",
    ),
    wording(
        "no such model",
        r"models? .{0,120}(?:not exist|not found)|invalid model|no such model|model not exist",
        {Cls.CALLER, Cls.SERVER_ERROR},
        Cls.UNSUPPORTED,
        "DeepSeek 400, Ollama, vLLM",
    ),
    wording(
        "bad key",
        r"api[ _-]?key.{0,40}(?:invalid|incorrect|not valid|expired)|authentication fail"
        r"|(?:invalid|incorrect).{0,10} api[ _-]?key",
        {Cls.CALLER},
        Cls.UNAUTHORISED,
        "Google 400, xAI 400",
    ),
    wording(
        "no money",
        r"insufficient (?:balance|credit|fund)|credit balance is too low",
        {Cls.CALLER, Cls.THROTTLED, Cls.UNAUTHORISED},
        Cls.OUT_OF_CREDIT,
        "Moonshot and Zhipu 429, Anthropic's compatible endpoint 400",
    ),
    wording(
        "money in flight",
        r"in[- ]flight",
        {Cls.OUT_OF_CREDIT},
        Cls.THROTTLED,
        "OpenRouter 402 while earlier requests have not settled",
    ),
    wording(
        "more than the balance buys",
        r"can only afford (?!0\b)",
        {Cls.OUT_OF_CREDIT},
        Cls.TOO_LONG,
        "OpenRouter 402: a smaller request with the same key is served",
    ),
    wording(
        "moderated",
        r"content (?:management|filter\w*|policy)|flagged|requires moderation|usage polic|safety system",
        {Cls.CALLER, Cls.UNAUTHORISED},
        Cls.REFUSED,
        "OpenRouter 403, Azure and OpenAI 400",
    ),
    wording(
        "a feature it lacks",
        r"(?:not|n't) support|unsupported|unknown variant .image_url|not enabled for this model"
        r"|extra inputs are not permitted"
        r"|unrecognized (?:request )?(?:argument|field)|reasoning_effort\W{0,3} must be one of",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "Mistral 422, vLLM 400, Groq 400, DeepSeek 400",
    ),
    wording(
        "started without it",
        r"requires --(?:jinja|enable-auto-tool-choice)|provide the mmproj|not a multimodal model|roles must alternate",
        {Cls.CALLER, Cls.SERVER_ERROR},
        Cls.UNSUPPORTED,
        "llama.cpp 500, vLLM 400: the server's options or the model's chat template have no such thing",
    ),
    wording(
        "reasoning that did not come back",
        r"reasoning_content.{0,40}must be passed back",
        {Cls.CALLER},
        Cls.UNSUPPORTED,
        "DeepSeek 400: another target may take the conversation without it",
    ),
    wording(
        "no room",
        r"overloaded|(?:at|over|no) capacity|capacity (?:is )?exceeded|no healthy upstream|loading model"
        r"|requires more system memory|server busy",
        {Cls.SERVER_ERROR},
        Cls.OVERLOADED,
        "vLLM, Ollama and proxies with 500",
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

FAULTS: Final = Faults(CODES, TYPES, STATUSES, WORDINGS)
"""All of it, as `resilio.providers.classify` asks for it."""

FINISHES: Final[Mapping[str, Cls]] = {
    "error": Cls.SERVER_ERROR,  # OpenRouter, Mistral
    "abort": Cls.SERVER_ERROR,  # vLLM, SGLang
    "network_error": Cls.SERVER_ERROR,  # Zhipu
    "insufficient_system_resource": Cls.OVERLOADED,  # DeepSeek
}
"""A `finish_reason` that means the answer failed."""

FINISH_SPELLINGS: Final[Mapping[str, str]] = {
    "model_length": "length",  # Mistral
    "sensitive": "content_filter",  # Zhipu
    "eos": "stop",
    "end_turn": "stop",
    "max_tokens": "length",
}
"""Other words for OpenAI's finish reasons."""
