"""The Responses API: OpenAI's, and that of all who serve it (Azure, Bedrock, OpenRouter, vLLM, Ollama).

`request` writes, with `items` and `models`; `answer` and `stream` read; errors are read by the tables in `faults`. The
format that keeps a conversation at the server is used without that: every request holds all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from resilio.config import ProviderSettings, TargetSettings
from resilio.errors import Unencodable
from resilio.models import Answer, HttpRequest, LimitReading, Request
from resilio.providers.encoding import dumps
from resilio.providers.headers import read_limits
from resilio.providers.openai.request import endpoint, request_headers
from resilio.providers.prefix import help_the_cache
from resilio.providers.responses.answer import decode_answer
from resilio.providers.responses.faults import FAULTS
from resilio.providers.responses.request import translate
from resilio.providers.responses.stream import ResponsesStreamDecoder
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.translating import Translating, Translation

__all__ = ["ResponsesCodec", "ResponsesStreamDecoder"]


class ResponsesCodec(Translating):
    """Implements `resilio.providers.base.Codec`; see there for what each method promises."""

    __slots__ = ()

    faults = FAULTS

    def __init__(self, *, name: str = "responses", max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Make a codec for a provider that messages call `name`."""
        super().__init__("responses", name, max_event_bytes, words=name)  # who reads back what was sent before

    def __repr__(self) -> str:
        return f"ResponsesCodec(name={self.name!r})"

    def for_provider(self, settings: ProviderSettings) -> Self:
        return type(self)(name=settings.name, max_event_bytes=settings.max_body_bytes)

    def _translated(self, request: Request, model: str, limit: int | None) -> Translation:
        return translate(request, model, self.name, limit)

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
        translated, _ = self._translate(request, target, max_output_tokens)
        body = dict(translated)
        if target.prompt_cache == "auto":
            help_the_cache(body, request, base_url)
        if stream:
            body["stream"] = True
            options = request.wire.get("stream_options")
            if isinstance(options, Mapping) and options.get("include_obfuscation") is not None:
                body["stream_options"] = {"include_obfuscation": options["include_obfuscation"]}
        elif body.get("background") is True:
            raise Unencodable("background", "the answer would not be in the response; ask for a stream")
        url, _ = endpoint(base_url, "/responses")
        return HttpRequest(url, request_headers(key, tuple(headers.items())), dumps(body))

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return decode_answer(self.name, status, headers, body)

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> ResponsesStreamDecoder:
        return ResponsesStreamDecoder(self.name, status, headers, self.max_event_bytes)

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        return read_limits(headers, wall_now)
