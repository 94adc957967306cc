"""Wire formats as pure codecs: bytes to values and back, no I/O, no clock, no randomness.

`REGISTRY` maps a provider's `kind` to its codec. To add a format: one module, one row here,
recordings and `resilio.testing.check_codec` to prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from resilio.providers.base import Codec, EmbeddingCodec, StreamDecoder
from resilio.providers.openai import OpenAICodec

__all__ = ["REGISTRY", "Codec", "EmbeddingCodec", "OpenAICodec", "StreamDecoder"]


def _anthropic() -> Codec:
    from resilio.providers.anthropic import AnthropicCodec

    return AnthropicCodec()


def _gemini() -> Codec:
    from resilio.providers.gemini import GeminiCodec

    return GeminiCodec()


def _responses() -> Codec:
    from resilio.providers.responses import ResponsesCodec

    return ResponsesCodec()


def _azure() -> Codec:
    from resilio.providers.openai.azure import AzureCodec

    return AzureCodec()


def _preset(kind: str) -> Callable[[], Codec]:
    def make() -> Codec:
        from resilio.config.kinds import KINDS
        from resilio.providers.openai.preset import ChatCodec, PresetCodec

        return PresetCodec(kind) if KINDS[kind].embeddings else ChatCodec(kind)

    return make


class _Registry(Mapping[str, Codec]):
    """Codecs by kind, each imported and made when it is first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Codec]]) -> None:
        self._makers = makers
        self._made: dict[str, Codec] = {}

    def __getitem__(self, kind: str) -> Codec:
        codec = self._made.get(kind)
        if codec is None:
            codec = self._made[kind] = self._makers[kind]()
        return codec

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


REGISTRY: Final[Mapping[str, Codec]] = _Registry(
    {
        "openai": lambda: OpenAICodec("openai"),
        "anthropic": _anthropic,
        "gemini": _gemini,
        "responses": _responses,
        "azure": _azure,
        "mistral": _preset("mistral"),
        "groq": _preset("groq"),
        "deepseek": _preset("deepseek"),
        "openrouter": _preset("openrouter"),
        "vllm": _preset("vllm"),
        "ollama": _preset("ollama"),
        "llamacpp": _preset("llamacpp"),
        "local": lambda: OpenAICodec("local"),
    }
)
