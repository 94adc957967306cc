"""Google's Gemini dialect: `generateContent` of the Gemini API, and of Vertex AI behind the same shapes.

`request` writes, with `contents`, `media` and `generation`; `answer` and `stream` read; errors are read by the tables
in `faults`. What a request loses on the way is found where it is lost, and told before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from resilio.config import ProviderSettings, TargetSettings
from resilio.models import Answer, HttpRequest, LimitReading, Request
from resilio.providers.encoding import dumps
from resilio.providers.gemini.answer import decode_answer
from resilio.providers.gemini.faults import FAULTS
from resilio.providers.gemini.request import endpoint, request_headers, translate
from resilio.providers.gemini.stream import GeminiStreamDecoder
from resilio.providers.prefix import stable_tools
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.translating import Translating, Translation

__all__ = ["GeminiCodec", "GeminiStreamDecoder"]


class GeminiCodec(Translating):
    """Implements `resilio.providers.base.Codec`; see there for what each method promises."""

    __slots__ = ("vertex",)

    faults = FAULTS

    def __init__(self, *, name: str = "gemini", vertex: bool = False, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Make a codec for a provider that messages call `name`; `vertex`: it is Vertex AI, not the Gemini API."""
        super().__init__("gemini", name, max_event_bytes, words=vertex)
        self.vertex: Final = vertex

    def __repr__(self) -> str:
        return f"GeminiCodec(name={self.name!r}{', vertex=True' if self.vertex else ''})"

    def for_provider(self, settings: ProviderSettings) -> Self:
        host = urlsplit(settings.base_url).hostname or ""
        vertex = host.endswith("aiplatform.googleapis.com")
        return type(self)(name=settings.name, vertex=vertex, max_event_bytes=settings.max_body_bytes)

    def _translated(self, request: Request, model: str, limit: int | None) -> Translation:
        return translate(request, model, limit, vertex=self.vertex)

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
        body, _ = self._translate(request, target, max_output_tokens)
        if target.prompt_cache == "auto" and body.get("tools"):
            body = {**body, "tools": [_stable(each) for each in body["tools"]]}
        url = endpoint(base_url, target.model, stream=stream)
        return HttpRequest(url, request_headers(key, tuple(headers.items())), dumps(body))

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return decode_answer(self.name, status, headers, body)

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> GeminiStreamDecoder:
        return GeminiStreamDecoder(self.name, status, headers, self.max_event_bytes)

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        return ()  # Google's headers tell of none


def _stable(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Functions in one order, for the cache goes by what begins alike."""
    functions = tool.get("functionDeclarations")
    return tool if functions is None else {**tool, "functionDeclarations": stable_tools(functions)}
