"""Google's Gemini dialect: `generateContent` of the Gemini API, and of Vertex AI behind the same shapes.

`request` writes, with `contents`, `media` and `generation`; `answer` and `stream` read; errors are read by the tables
in `faults`. What a request loses on the way is found where it is lost, and told before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from resilio.config import ProviderSettings, TargetSettings
from resilio.errors import ProviderError
from resilio.models import Answer, HttpRequest, LimitReading, Loss, Request
from resilio.providers.classify import error_of_response
from resilio.providers.demand import estimate_tokens, needs
from resilio.providers.encoding import dumps
from resilio.providers.gemini.answer import decode_answer
from resilio.providers.gemini.faults import FAULTS
from resilio.providers.gemini.request import endpoint, request_headers, translate
from resilio.providers.gemini.stream import GeminiStreamDecoder
from resilio.providers.prefix import stable_tools
from resilio.providers.sse import MAX_EVENT_BYTES

__all__ = ["GeminiCodec", "GeminiStreamDecoder"]


class GeminiCodec:
    """Implements `resilio.providers.base.Codec`; see there for what each method promises."""

    __slots__ = ("kind", "max_event_bytes", "name", "vertex")

    def __init__(self, *, name: str = "gemini", vertex: bool = False, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Make a codec for a provider that messages call `name`; `vertex`: it is Vertex AI, not the Gemini API."""
        self.kind: str = "gemini"
        self.name: Final = name
        self.vertex: Final = vertex
        self.max_event_bytes: Final = max_event_bytes

    def __repr__(self) -> str:
        return f"GeminiCodec(name={self.name!r}{', vertex=True' if self.vertex else ''})"

    def for_provider(self, settings: ProviderSettings) -> Self:
        host = urlsplit(settings.base_url).hostname or ""
        vertex = host.endswith("aiplatform.googleapis.com")
        return type(self)(name=settings.name, vertex=vertex, max_event_bytes=settings.max_body_bytes)

    needs = staticmethod(needs)
    estimate_tokens = staticmethod(estimate_tokens)

    def unsupported(
        self, request: Request, target: TargetSettings, *, max_output_tokens: int | None
    ) -> tuple[Loss, ...]:
        return self._translate(request, target, max_output_tokens)[1]

    def _translate(
        self, request: Request, target: TargetSettings, limit: int | None
    ) -> tuple[dict[str, Any], tuple[Loss, ...]]:
        """Once a request and target; what is returned is shared, and not to be changed."""
        key = (self.kind, self.vertex, target.model, limit)
        found: tuple[dict[str, Any], tuple[Loss, ...]] | None = request.translations.get(key)
        if found is None:
            found = request.translations[key] = translate(request, target.model, limit, vertex=self.vertex)
        return found

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

    def prefilled(self, text: str) -> str:
        return text

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return decode_answer(self.name, status, headers, body)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, *, wall_now: float) -> ProviderError:
        return error_of_response(FAULTS, self.name, status, headers, body, wall_now)

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> GeminiStreamDecoder:
        return GeminiStreamDecoder(self.name, status, headers, self.max_event_bytes)

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        return ()  # Google's headers tell of none


def _stable(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Functions in one order, for the cache goes by what begins alike."""
    functions = tool.get("functionDeclarations")
    return tool if functions is None else {**tool, "functionDeclarations": stable_tools(functions)}
