"""The OpenAI chat-completions dialect: OpenAI, vLLM, llama.cpp, Ollama, Mistral, Groq, DeepSeek, OpenRouter.

One codec for all of them: where servers differ, both ways are read, and nothing needs to know who
answered. `request` writes, `answer` and `stream` read, `embedding` does both for vectors, `classify` reads errors
by the tables in `faults`. What a server does not take as it came is put right before, by `preset`; Azure's URLs and
headers are `azure`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from resilio.config import ProviderSettings, TargetSettings
from resilio.errors import ProviderError
from resilio.models import Answer, Embeddings, LimitReading, Loss, Request
from resilio.providers.classify import error_of_response
from resilio.providers.conversation import foreign_losses
from resilio.providers.demand import bound, estimate_tokens, needs
from resilio.providers.headers import read_limits
from resilio.providers.openai.answer import decode_answer
from resilio.providers.openai.embedding import decode_embeddings, encode_embeddings
from resilio.providers.openai.faults import FAULTS
from resilio.providers.openai.request import encode
from resilio.providers.openai.stream import OpenAIStreamDecoder
from resilio.providers.openai.unsayable import unsayable
from resilio.providers.sse import MAX_EVENT_BYTES

__all__ = ["OpenAICodec", "OpenAIStreamDecoder"]


class OpenAICodec:
    """Implements `Codec` and `EmbeddingCodec` of `resilio.providers.base`; see there for what each method promises."""

    __slots__ = ("kind", "max_event_bytes", "name")

    def __init__(self, kind: str, max_event_bytes: int = MAX_EVENT_BYTES, *, name: str = "") -> None:
        """Make a codec for servers that messages call `name`; without one they are called by their kind."""
        self.kind: str = kind
        self.max_event_bytes: Final = max_event_bytes
        self.name: Final = name or kind

    def __repr__(self) -> str:
        return f"OpenAICodec({self.kind!r}, name={self.name!r})"

    def for_provider(self, settings: ProviderSettings) -> Self:
        return type(self)(self.kind, settings.max_body_bytes, name=settings.name)

    def unsupported(
        self, request: Request, target: TargetSettings, *, max_output_tokens: int | None
    ) -> tuple[Loss, ...]:
        # Callers speak this very dialect, or another that was read as this; what one server or model lacks only its own
        # answer tells.
        return bound(request.wire) + foreign_losses(request.wire) + unsayable(request)

    encode = staticmethod(encode)
    needs = staticmethod(needs)
    estimate_tokens = staticmethod(estimate_tokens)
    encode_embeddings = staticmethod(encode_embeddings)

    def prefilled(self, text: str) -> str:
        return text

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return decode_answer(self.name, status, headers, body)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, *, wall_now: float) -> ProviderError:
        return error_of_response(FAULTS, self.name, status, headers, body, wall_now)

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> OpenAIStreamDecoder:
        return OpenAIStreamDecoder(self.name, status, headers, self.max_event_bytes)

    def decode_embeddings(self, status: int, headers: Mapping[str, str], body: bytes, *, count: int) -> Embeddings:
        return decode_embeddings(self.name, status, headers, body, count)

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        return read_limits(headers, wall_now)
