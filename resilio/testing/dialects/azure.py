"""The simulated provider's side of Azure's OpenAI: OpenAI's wire format with the words of a content filter in it.

Spoken on paths that name a deployment. Shapes follow Azure's REST reference (November 2026): a stream opens with a
chunk without choices, errors have codes of their own, and a filtered prompt is a 400 with an inner error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from resilio.testing.dialects.openai import Completion, OpenAI

__all__ = ["DEPLOYMENTS", "Azure", "AzureCompletion"]

DEPLOYMENTS: Final = "/openai/deployments/"
"""What stands before the deployment's name in a path of Azure's."""

_SAFE: Final = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_CODES: Final[Mapping[str, tuple[int, str, str]]] = {
    "rate_limit_exceeded": (429, "429", "Requests have exceeded call rate limit. Please retry after 1 second."),
    "slow_down": (429, "429", "Requests have exceeded token rate limit. Please retry after 1 second."),
    "invalid_api_key": (401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "model_not_found": (404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
    "server_error": (500, "InternalServerError", "The server had an error processing your request."),
    "content_policy_violation": (
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    ),
}
"""OpenAI's codes, which scripts are written in, as Azure says the same; the others are the same there."""


class AzureCompletion(Completion):
    """One answer, whole or in chunks, with what the filter found."""

    def body(self) -> bytes:
        whole: dict[str, Any] = orjson.loads(Completion.body(self))
        for choice in whole["choices"]:
            choice["content_filter_results"] = _SAFE
        return orjson.dumps({**whole, "prompt_filter_results": _prompt_results()})

    def chunks(self, *, include_usage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        opening, content, closing = Completion.chunks(self, include_usage=include_usage)
        nothing = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
        first = {**nothing, "prompt_filter_results": _prompt_results()}
        return [b"data: " + orjson.dumps(first) + b"\n\n", *opening], content, closing


def _prompt_results() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _SAFE}]


class Azure(OpenAI):
    """Implements `resilio.testing.dialects.base.Dialect`."""

    said = AzureCompletion

    def speaks(self, path: str) -> bool:
        return DEPLOYMENTS in path and super().speaks(path)

    def headers(self, number: int) -> dict[str, str]:
        return {"apim-request-id": f"{number:08d}", "x-ms-region": "simulated"}

    def error(self, code: str | None, message: str | None = None, param: str | None = None) -> tuple[int, bytes]:
        if code is None or code not in _CODES:
            return super().error(code, message, param)
        status, own, words = _CODES[code]
        error: dict[str, Any] = {"code": own, "message": message or words}
        if own == "content_filter":
            hate = {"hate": {"filtered": True, "severity": "high"}}
            inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {**_SAFE, **hate}}
            error |= {"type": None, "param": "prompt", "status": status, "innererror": inner}
        return status, orjson.dumps({"error": error})
