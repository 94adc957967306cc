"""Anthropic's Messages as resilio's own clients see them: `answer` and `stream` write, `request` reads."""

from __future__ import annotations

from typing import Final

import orjson

from resilio.models import Reply
from resilio.wire.anthropic.answer import error_body, message_of
from resilio.wire.anthropic.request import MessagesCall, NotMessages, read_messages
from resilio.wire.anthropic.stream import AnthropicEncoder
from resilio.wire.base import HttpAnswer
from resilio.wire.faults import fault_of
from resilio.wire.story import reply_headers

__all__ = ["AnthropicDialect", "AnthropicEncoder", "MessagesCall", "NotMessages", "message_of", "read_messages"]

JSON: Final = "application/json"


class AnthropicDialect:
    """Implements `resilio.wire.base.CallerDialect`; see there for what each method promises.

    The dialect has no field for the instant of an answer, and always tells usage.
    """

    name = "anthropic"

    def reply(self, reply: Reply, *, model: str, created: int) -> HttpAnswer:
        headers = {"content-type": JSON, "request-id": reply.request_id, **reply_headers(reply)}
        return HttpAnswer(200, headers, orjson.dumps(message_of(reply, model=model)))

    def error(self, error: BaseException, *, request_id: str = "") -> HttpAnswer:
        fault = fault_of(error)
        headers = {"content-type": JSON, **({"request-id": request_id} if request_id else {}), **fault.headers()}
        return HttpAnswer(fault.anthropic_status, headers, orjson.dumps(error_body(fault, request_id)))

    def stream(
        self, *, request_id: str, model: str, created: int, input_tokens: int = 0, include_usage: bool = False
    ) -> AnthropicEncoder:
        return AnthropicEncoder(request_id=request_id, model=model, input_tokens=input_tokens)
