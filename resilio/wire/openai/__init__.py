"""OpenAI's Chat Completions as resilio's own clients see them: `answer` writes whole bodies, `stream` events."""

from __future__ import annotations

from typing import Final

import orjson

from resilio.models import Reply
from resilio.wire.base import HttpAnswer
from resilio.wire.faults import fault_of
from resilio.wire.openai.answer import chat_completion, error_object
from resilio.wire.openai.stream import OpenAIEncoder
from resilio.wire.story import reply_headers

__all__ = ["OpenAIDialect", "OpenAIEncoder", "chat_completion"]

JSON: Final = "application/json"


class OpenAIDialect:
    """Implements `resilio.wire.base.CallerDialect`; see there for what each method promises."""

    name = "openai"

    def reply(self, reply: Reply, *, model: str, created: int) -> HttpAnswer:
        headers = {"content-type": JSON, "x-request-id": reply.request_id, **reply_headers(reply)}
        return HttpAnswer(200, headers, orjson.dumps(chat_completion(reply, model=model, created=created)))

    def error(self, error: BaseException, *, request_id: str = "") -> HttpAnswer:
        fault = fault_of(error)
        headers = {"content-type": JSON, **({"x-request-id": request_id} if request_id else {}), **fault.headers()}
        return HttpAnswer(fault.status, headers, orjson.dumps({"error": error_object(fault)}))

    def stream(
        self, *, request_id: str, model: str, created: int, input_tokens: int = 0, include_usage: bool = False
    ) -> OpenAIEncoder:
        return OpenAIEncoder(request_id=request_id, model=model, created=created, include_usage=include_usage)
