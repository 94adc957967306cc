"""Wire formats as pure codecs: bytes to values and back, no I/O, no clock, no randomness.

`REGISTRY` maps a provider's `kind` to its codec. To add a format: one module, one row here,
recordings and `resilio.testing.check_codec` to prove it.
"""

from __future__ import annotations

from resilio.providers.anthropic import AnthropicCodec
from resilio.providers.base import Codec, EmbeddingCodec, StreamDecoder
from resilio.providers.openai import OpenAICodec

__all__ = ["REGISTRY", "AnthropicCodec", "Codec", "EmbeddingCodec", "OpenAICodec", "StreamDecoder"]

REGISTRY: dict[str, Codec] = {
    "openai": OpenAICodec("openai"),
    "anthropic": AnthropicCodec(),
    "local": OpenAICodec("local"),
}
