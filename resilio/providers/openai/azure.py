"""Azure's OpenAI: the same bodies, at a deployment's URL or the v1 surface, with its own header for the key.

The provider's `version` says which: ``v1`` (and ``preview`` or ``latest``, features not yet released) posts to
``/openai/v1/chat/completions`` and names the deployment as the model; a date posts to
``/openai/deployments/{deployment}/chat/completions?api-version={date}``. A deployment may be called anything: a model's
`deployment` is asked for where it is set, else the model's own name, so that price and limits stay the model's. A key
that is a token of Entra ID (a JWT) goes out as a bearer, any other as ``api-key``.

Source: Azure OpenAI in Microsoft Foundry Models, REST API reference and API version lifecycle (November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit, urlunsplit

from resilio.config import ModelSettings, ProviderSettings, TargetSettings
from resilio.config.kinds import KINDS
from resilio.models import HttpRequest, Request
from resilio.providers.encoding import dumps
from resilio.providers.openai import OpenAICodec
from resilio.providers.openai.embedding import embeddings_body
from resilio.providers.openai.request import body_of
from resilio.providers.sse import MAX_EVENT_BYTES

__all__ = ["AzureCodec", "azure_url"]

_CHAT: Final = "/chat/completions"
_EMBEDDINGS: Final = "/embeddings"
_NEW_LIMIT_FROM: Final = "2024-12-01"
"""From this version on every model takes `max_completion_tokens`; before it, only those that reason."""
_USAGE_FROM: Final = "2024-09-01"
"""From this version on a stream takes `stream_options`."""
_ENDS: Final = ("/openai/v1", "/openai/deployments", "/openai")


class AzureCodec(OpenAICodec):
    """Implements `Codec` and `EmbeddingCodec` of `resilio.providers.base`."""

    __slots__ = ("_models", "version")

    def __init__(
        self,
        kind: str = "azure",
        max_event_bytes: int = MAX_EVENT_BYTES,
        *,
        name: str = "",
        version: str = "",
        models: Mapping[str, ModelSettings] | None = None,
    ) -> None:
        """Make a codec for a provider that messages call `name`, for this version of the API and these models."""
        super().__init__(kind, max_event_bytes, name=name)
        self.version: Final = version or KINDS["azure"].version
        self._models: Final = models or {}

    def for_provider(self, settings: ProviderSettings) -> Self:
        return type(self)(
            self.kind, settings.max_body_bytes, name=settings.name, version=settings.version, models=settings.models
        )

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
        deployment = self._deployment(target.model)
        field = self._limit_field(target.model)
        cache = target.prompt_cache == "auto"
        body = body_of(request, deployment, base_url, stream, field, max_output_tokens, cache, strict=True)
        if stream and self.version < _USAGE_FROM:
            body.pop("stream_options", None)
        return self._request(body, deployment, _CHAT, base_url, key, headers)

    def encode_embeddings(
        self,
        request: Request,
        target: TargetSettings,
        *,
        base_url: str,
        key: str | None,
        headers: Mapping[str, str],
    ) -> HttpRequest:
        deployment = self._deployment(target.model)
        body = embeddings_body(request, deployment, base64=True)
        return self._request(body, deployment, _EMBEDDINGS, base_url, key, headers)

    def _request(
        self,
        body: Mapping[str, Any],
        deployment: str,
        path: str,
        base_url: str,
        key: str | None,
        headers: Mapping[str, str],
    ) -> HttpRequest:
        url = azure_url(base_url, deployment, self.version, path)
        return HttpRequest(url, _headers(key, tuple(headers.items())), dumps(body))

    def _deployment(self, model: str) -> str:
        its = self._models.get(model)
        return model if its is None or its.deployment is None else its.deployment

    def _limit_field(self, model: str) -> str:
        its = self._models.get(model)
        new = self.version >= _NEW_LIMIT_FROM or (its is not None and its.reasoning)  # "v1" and "preview" come after
        return "max_completion_tokens" if new else "max_tokens"


@lru_cache(maxsize=1024)
def azure_url(base_url: str, deployment: str, version: str, path: str) -> str:
    """The URL to post to. `base_url` is the resource's, whether it ends at the host, at /openai or at /openai/v1."""
    parts = urlsplit(base_url)
    root = parts.path.rstrip("/")
    for end in _ENDS:
        root = root.removesuffix(end)
    dated = version[:1].isdigit()
    where = f"{root}/openai/deployments/{quote(deployment, safe='')}" if dated else f"{root}/openai/v1"
    query = "" if version == "v1" else f"api-version={quote(version, safe='')}"
    return urlunsplit(parts._replace(path=where + path, query=query))


@lru_cache(maxsize=1024)
def _headers(key: str | None, extra: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The same for every request with one key, so built once and shared, read-only. A provider's own `headers` win."""
    given = {name.lower() for name, _ in extra}
    found = {} if "content-type" in given else {"Content-Type": "application/json"}
    if key is not None and not given & {"authorization", "api-key"}:
        found |= {"Authorization": f"Bearer {key}"} if _is_token(key) else {"api-key": key}
    found.update(extra)
    return MappingProxyType(found)


def _is_token(key: str) -> bool:
    """Whether it is a token of Entra ID: a JWT, which Azure's keys, of letters and digits alone, never look like."""
    return key.startswith("eyJ") and key.count(".") == 2
