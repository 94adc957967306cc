"""What is sent: one JSON body, its URL and its headers.

The caller's wire fields go out as they came, unknown ones too: a new parameter of a provider works the day it
appears. Only `model`, `messages`, `stream` and, in a stream, `stream_options.include_usage` are ours; of messages only
what another dialect has put there for itself is left out, and for OpenAI's own servers what stands in a tool's result
and is no text follows behind it; where prompts are to be cached, tools have one order. The rule that keeps it simple:
the caller's mappings are read, never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from resilio.config import TargetSettings
from resilio.config.kinds import AZURE_HOSTS
from resilio.models import HttpRequest, Request
from resilio.providers.conversation import ANTHROPIC_FIELDS, without_foreign, without_hints
from resilio.providers.encoding import dumps
from resilio.providers.openai.results import media_behind_results
from resilio.providers.prefix import help_the_cache

__all__ = ["body_of", "encode", "endpoint", "request_headers"]

_PATH: Final = "/chat/completions"
_NEW_LIMIT: Final = "max_completion_tokens"


def encode(
    request: Request,
    target: TargetSettings,
    *,
    base_url: str,
    key: str | None,
    headers: Mapping[str, str],
    stream: bool,
    max_output_tokens: int | None,
) -> HttpRequest:
    """Build the HTTP request.

    A unary call drops the caller's `stream` and `stream_options`, for OpenAI rejects the latter without the
    former. A stream always asks for usage, whatever the caller said of it: the accounts need it.

    Raises:
        Unencodable: A wire field or message holds what JSON cannot.
    """
    url, limit_field = endpoint(base_url)
    cache = target.prompt_cache == "auto"
    strict = limit_field == _NEW_LIMIT  # OpenAI's own servers
    body = body_of(request, target.model, base_url, stream, limit_field, max_output_tokens, cache, strict=strict)
    return HttpRequest(url, request_headers(key, tuple(headers.items())), dumps(body))


def body_of(
    request: Request,
    model: str,
    base_url: str,
    stream: bool,
    limit_field: str,
    max_output_tokens: int | None,
    cache: bool,
    *,
    strict: bool,
) -> dict[str, Any]:
    """What `encode` sends: a new mapping, that may hold the caller's own values.

    `cache` tells that the server's prompt cache is to be helped, `strict` that it takes no hints of another dialect.
    """
    wire = request.wire
    body: dict[str, Any] = {"model": None, "messages": None, **wire}
    body["model"] = model
    body["messages"] = without_foreign(request.messages, signatures=_is_google(base_url))
    body.pop(ANTHROPIC_FIELDS, None)
    if cache:
        help_the_cache(body, request, base_url)
    if stream:
        body["stream"] = True
        options = wire.get("stream_options")
        given = options if isinstance(options, Mapping) else {}
        body["stream_options"] = {**given, "include_usage": True}
    else:
        body.pop("stream", None)
        body.pop("stream_options", None)
    if strict:
        body.update((name, without_hints(body[name])) for name in ("messages", "tools") if name in body)
        body["messages"] = media_behind_results(body["messages"])
    if max_output_tokens is not None and wire.get("max_tokens") is None and wire.get("max_completion_tokens") is None:
        body[limit_field] = max_output_tokens
    return body


@lru_cache(maxsize=256)
def endpoint(base_url: str, path: str = _PATH) -> tuple[str, str]:
    """The URL to post to, and the field its server knows the output limit by.

    OpenAI's reasoning models reject `max_tokens` (400 `unsupported_parameter`) and all its models take
    `max_completion_tokens`, as does Azure's v1 surface; many other servers know only the old name.
    A query in `base_url` (Azure's ``?api-version=...``) stays at the end.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    new_name = host == "api.openai.com" or host.endswith(".api.openai.com")
    new_name = new_name or (host.endswith(AZURE_HOSTS) and "/openai/v1" in parts.path)
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))
    return url, _NEW_LIMIT if new_name else "max_tokens"


@lru_cache(maxsize=256)
def _is_google(base_url: str) -> bool:
    """Whether it is Google's own endpoint of this dialect, which wants its signatures back on tool calls."""
    return (urlsplit(base_url).hostname or "").endswith(".googleapis.com")


@lru_cache(maxsize=1024)
def request_headers(key: str | None, extra: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The same for every request with one key, so built once and shared, read-only.

    A provider's own `headers` win: Azure's ``api-key`` stands beside no key, a proxy may want another scheme.
    """
    given = {name.lower() for name, _ in extra}
    headers = {} if "content-type" in given else {"Content-Type": "application/json"}
    if key is not None and "authorization" not in given:
        headers["Authorization"] = f"Bearer {key}"
    headers.update(extra)
    return MappingProxyType(headers)
