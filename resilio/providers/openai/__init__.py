"""The OpenAI chat-completions dialect: OpenAI, vLLM, llama.cpp, Ollama, Mistral, Groq, DeepSeek, OpenRouter.

One codec for all of them: where servers differ, both ways are read, and nothing needs to know who
answered. `request` writes, `answer` and `stream` read, `classify` reads errors by the tables in `faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.config import TargetSettings
from resilio.errors import ProviderError
from resilio.models import Answer, Capability, HttpRequest, LimitReading, Request
from resilio.providers.headers import read_limits
from resilio.providers.openai.answer import decode_answer
from resilio.providers.openai.classify import error_of_response
from resilio.providers.openai.request import encode, estimate_tokens, needs
from resilio.providers.openai.stream import OpenAIStreamDecoder
from resilio.providers.sse import MAX_EVENT_BYTES

__all__ = ["OpenAICodec", "OpenAIStreamDecoder"]


class OpenAICodec:
    """Implements `resilio.providers.base.Codec`; see there for what each method promises."""

    __slots__ = ("kind", "max_event_bytes")

    def __init__(self, kind: str, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Make a codec that calls itself `kind` in messages; no event of a stream passes `max_event_bytes`."""
        self.kind: str = kind
        self.max_event_bytes: Final = max_event_bytes

    def __repr__(self) -> str:
        return f"OpenAICodec({self.kind!r})"

    def encode(
        self,
        request: Request,
        target: TargetSettings,
        *,
        base_url: str,
        key: str | None,
        headers: Mapping[str, str],
        stream: bool,
        max_output_tokens: int | None,
    ) -> HttpRequest:
        return encode(
            request,
            target,
            base_url=base_url,
            key=key,
            headers=headers,
            stream=stream,
            max_output_tokens=max_output_tokens,
        )

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return decode_answer(self.kind, status, headers, body)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, *, wall_now: float) -> ProviderError:
        return error_of_response(self.kind, status, headers, body, wall_now)

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> OpenAIStreamDecoder:
        return OpenAIStreamDecoder(self.kind, status, headers, self.max_event_bytes)

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        return read_limits(headers, wall_now)

    def needs(self, request: Request) -> frozenset[Capability]:
        return needs(request)

    def estimate_tokens(self, request: Request) -> int:
        return estimate_tokens(request)
