"""Anthropic's Messages dialect, in both of its versions (2023-06-01 and 2026-10-21).

`request` writes, with `messages`, `thinking` and `caching`; `answer` and `stream` read; errors are read by the tables
in `faults`. What a request loses on the way is found where it is lost, and told before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from resilio.config import ModelSettings, ProviderSettings, TargetSettings
from resilio.config.kinds import KINDS
from resilio.models import Answer, HttpRequest, LimitReading, Request
from resilio.providers.anthropic.answer import decode_answer
from resilio.providers.anthropic.caching import with_breakpoints
from resilio.providers.anthropic.faults import FAULTS
from resilio.providers.anthropic.models import cache_minimum
from resilio.providers.anthropic.request import default_limit, endpoint, request_headers, translate
from resilio.providers.anthropic.stream import AnthropicStreamDecoder
from resilio.providers.encoding import dumps
from resilio.providers.headers import ANTHROPIC, read_limits
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.translating import Translating, Translation

__all__ = ["AnthropicCodec", "AnthropicStreamDecoder"]

DEFAULT_VERSION: Final = KINDS["anthropic"].version


class AnthropicCodec(Translating):
    """Implements `resilio.providers.base.Codec`; see there for what each method promises."""

    __slots__ = ("_models", "version")

    faults = FAULTS

    def __init__(
        self,
        *,
        name: str = "anthropic",
        version: str = DEFAULT_VERSION,
        models: Mapping[str, ModelSettings] | None = None,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        """Make a codec for a provider that messages call `name`, for this version of the API and these models."""
        super().__init__("anthropic", name, max_event_bytes, words=version)
        self.version: Final = version
        self._models: Final = models or {}

    def __repr__(self) -> str:
        return f"AnthropicCodec(name={self.name!r}, version={self.version!r})"

    def for_provider(self, settings: ProviderSettings) -> Self:
        return type(self)(
            name=settings.name,
            version=settings.version or DEFAULT_VERSION,
            models=settings.models,
            max_event_bytes=settings.max_body_bytes,
        )

    def _translate(self, request: Request, target: TargetSettings, limit: int | None) -> Translation:
        """As ever, once it is known what limit is sent: there always is one."""
        if limit is None:
            model = self._models.get(target.model)
            limit = (model.max_output_tokens if model is not None else None) or default_limit(request.wire)
        return super()._translate(request, target, limit)

    def _translated(self, request: Request, model: str, limit: int | None) -> Translation:
        assert limit is not None, "found above"
        return translate(request, model, self.version, limit)

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
        if target.prompt_cache == "auto":
            body = self._marked(body, request, target)
        if stream:
            body = {**body, "stream": True}
        return HttpRequest(endpoint(base_url), request_headers(key, self.version, tuple(headers.items())), dumps(body))

    def _marked(self, body: dict[str, Any], request: Request, target: TargetSettings) -> dict[str, Any]:
        model = self._models.get(target.model)
        own = None if model is None else model.prompt_cache_minimum
        return with_breakpoints(
            body,
            minimum=cache_minimum(target.model) if own is None else own,
            ttl=target.prompt_cache_ttl or "5m",
            session=request.identity.session is not None,
        )

    def prefilled(self, text: str) -> str:
        return text.rstrip()  # a blank at the end is a 400

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return decode_answer(self.name, status, headers, body)

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> AnthropicStreamDecoder:
        return AnthropicStreamDecoder(self.name, status, headers, self.max_event_bytes)

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        return read_limits(headers, wall_now, ANTHROPIC)
