"""The codec of a server that speaks OpenAI's dialect with a difference: Mistral, Groq, DeepSeek, Ollama and so on.

A request is first put into the form its server takes (`quirks`), once for all targets of that kind, and then written
as every other. The rule that keeps it simple: nothing of one server stands here; it is all in the rows of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Self

from resilio.config import ProviderSettings, TargetSettings
from resilio.config.kinds import KINDS
from resilio.models import Answer, Chunk, HttpRequest, Loss, Request, Usage
from resilio.providers.conversation import GIVEN_BACK
from resilio.providers.encoding import dumps
from resilio.providers.openai import OpenAICodec
from resilio.providers.openai.embedding import encode_embeddings
from resilio.providers.openai.quirks import Quirks
from resilio.providers.openai.request import body_of, endpoint, request_headers
from resilio.providers.openai.stream import OpenAIStreamDecoder
from resilio.providers.sse import MAX_EVENT_BYTES

__all__ = ["ChatCodec", "PresetCodec"]

_GROWING: Final = ("text", "summary", "data")
"""Of a part of reasoning, what comes in fragments."""


class PresetCodec(OpenAICodec):
    """Implements `Codec` and `EmbeddingCodec`; `kind` is a row of `KINDS`."""

    __slots__ = ("_quirks",)

    def __init__(
        self,
        kind: str,
        max_event_bytes: int = MAX_EVENT_BYTES,
        *,
        name: str = "",
        quirks: Quirks | None = None,
    ) -> None:
        super().__init__(kind, max_event_bytes, name=name)
        self._quirks: Final = Quirks(KINDS[kind].quirks) if quirks is None else quirks

    def for_provider(self, settings: ProviderSettings) -> Self:
        return type(self)(self.kind, settings.max_body_bytes, name=settings.name, quirks=self._quirks)

    def _adapted(self, request: Request) -> tuple[Request, tuple[Loss, ...]]:
        """Once a request and kind; what is returned is shared, and not to be changed."""
        found: tuple[Request, tuple[Loss, ...]] | None = request.translations.get(self.kind)
        if found is None:
            found = request.translations[self.kind] = self._quirks.adapted(request)
        return found

    def unsupported(
        self, request: Request, target: TargetSettings, *, max_output_tokens: int | None
    ) -> tuple[Loss, ...]:
        own = self._adapted(request)[1]
        told = {loss.path for loss in own}
        rest = super().unsupported(request, target, max_output_tokens=max_output_tokens)
        return own + tuple(loss for loss in rest if loss.path not in told)

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
        url, limit_field = endpoint(base_url)
        adapted, _ = self._adapted(request)
        cache = target.prompt_cache == "auto"
        body = body_of(adapted, target.model, base_url, stream, limit_field, max_output_tokens, cache, strict=False)
        if not self._quirks.usage_option:
            body.pop("stream_options", None)  # it tells the usage unasked
        return HttpRequest(url, request_headers(key, tuple(headers.items())), dumps(body))

    def encode_embeddings(
        self,
        request: Request,
        target: TargetSettings,
        *,
        base_url: str,
        key: str | None,
        headers: Mapping[str, str],
    ) -> HttpRequest:
        adapted, _ = self._adapted(request)
        return encode_embeddings(adapted, target, base_url=base_url, key=key, headers=headers)

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        answer = super().decode(status, headers, body)
        if self._quirks.gives_details_back:
            return _given_back(answer, _details_of(answer.raw))
        return _given_back(answer, answer.reasoning) if self._quirks.gives_back else answer

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> OpenAIStreamDecoder:
        decoder: type[OpenAIStreamDecoder] = OpenAIStreamDecoder
        if self._quirks.gives_details_back:
            decoder = _GivesDetailsBack
        elif self._quirks.gives_back:
            decoder = _GivesBack
        return decoder(self.name, status, headers, self.max_event_bytes)


class ChatCodec(PresetCodec):
    """Of a server that makes no vectors: no `EmbeddingCodec`, so that nobody asks it for any."""

    __slots__ = ()

    encode_embeddings = None  # type: ignore[assignment]
    decode_embeddings = None  # type: ignore[assignment]


class _GivesBack(OpenAIStreamDecoder):
    """Its answer keeps the reasoning that has to come back."""

    __slots__ = ()

    def answer(self) -> Answer:
        answer = super().answer()
        return _given_back(answer, answer.reasoning)


class _GivesDetailsBack(OpenAIStreamDecoder):
    """Its answer keeps the signed parts of the reasoning."""

    __slots__ = ("_details",)

    def __init__(
        self, who: str, status: int, headers: Mapping[str, str], max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(who, status, headers, max_event_bytes)
        self._details: list[dict[str, Any]] = []

    def _take_choice(
        self, choice: dict[str, Any], usage: Usage | None, raw: Mapping[str, Any] | None, chunks: list[Chunk]
    ) -> None:
        super()._take_choice(choice, usage, raw, chunks)
        delta = choice.get("delta")
        if delta and not choice.get("index"):
            self._details += _objects(delta.get("reasoning_details"))

    def answer(self) -> Answer:
        return _given_back(super().answer(), _joined(self._details))


def _given_back(answer: Answer, reasoning: Any) -> Answer:
    """The same; with what has to come back in `extras` where tools were called."""
    if not (answer.tool_calls and reasoning):
        return answer
    return replace(answer, extras={**(answer.extras or {}), GIVEN_BACK: reasoning})


def _details_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The signed parts of the reasoning of a whole answer: of the choice that was read."""
    choices = _objects(body.get("choices"))
    first = next((choice for choice in choices if not choice.get("index")), choices[0] if choices else {})
    message = first.get("message")
    return _objects(message.get("reasoning_details")) if isinstance(message, dict) else []


def _objects(given: Any) -> list[dict[str, Any]]:
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def _joined(fragments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Parts as they would have come whole: neighbours of one kind and place are one, their texts run together."""
    made: list[dict[str, Any]] = []
    texts: list[dict[str, list[str]]] = []
    for fragment in fragments:
        same = bool(made) and all(made[-1].get(name) == fragment.get(name) for name in ("type", "index"))
        if not same:
            made.append({})
            texts.append({name: [] for name in _GROWING})
        made[-1].update((name, value) for name, value in fragment.items() if value is not None or name not in made[-1])
        for name in _GROWING:
            if isinstance(piece := fragment.get(name), str):
                texts[-1][name].append(piece)
    for part, grown in zip(made, texts, strict=True):
        part.update((name, "".join(pieces)) for name, pieces in grown.items() if pieces)
    return made
