"""Every kind of provider there is, as data: where it is, which variable holds its key, and where it differs.

A kind is a wire format at somebody's address. Most speak OpenAI's chat completions, and no two the same: what one of
them refuses, ignores or calls by another name is a `Quirk`, with the page it is known from. The codec of that dialect
reads the quirks, the loader the rest, `resilio providers` and `docs/providers.md` show all of it. To add a server of
the dialect: one row of `KINDS`. Left out: what one model of a provider can do (`capabilities`), and its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from resilio.config.kinds.quirk import Do, Quirk
from resilio.config.kinds.quirks import (
    AZURE_QUIRKS,
    DEEPSEEK_QUIRKS,
    GROQ_QUIRKS,
    LLAMACPP_QUIRKS,
    MISTRAL_QUIRKS,
    OLLAMA_QUIRKS,
    OPENROUTER_QUIRKS,
    VLLM_QUIRKS,
)

__all__ = ["AZURE_HOSTS", "KINDS", "PREFIXES", "Do", "Kind", "Quirk", "kind_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One row: a wire format at somebody's address."""

    name: str
    title: str
    format: str
    """What is spoken there, as people call it."""
    url: str = ""
    """`base_url` unless one is written; empty: the customer's own, and has to be written."""
    key_variables: tuple[str, ...] = ()
    """Where its key is by convention, most usual first."""
    needs_key: bool = True
    own_server: bool = False
    """Everybody has one of their own, so its key goes to whatever `base_url` says; else to one host alone."""
    key_url: str = ""
    """Where that host is, if not at `url`: the key of Ollama's cloud is no business of a server of one's own."""
    url_variables: tuple[str, ...] = ()
    """Where its address is by convention, for names such as ``azure/my-deployment`` that say no URL; each beside the
    variable of the key for that address, at the same place in `key_variables`."""
    version: str = ""
    """Of the API, unless one is written; empty: it has none."""
    version_variables: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    """All it may be set to, or a word for them; first the one that holds unless another is written."""
    synonyms: tuple[str, ...] = ()
    """Other prefixes that mean it."""
    example: str = "model"
    """A model of it, for examples and for asking the codec what it can say."""
    embeddings: bool = True
    """Whether its server makes vectors, where its format has a form for them."""
    caching: str = ""
    """How its server keeps prompts: automatic, or where the request marks them; empty: not, as far as is known."""
    quirks: tuple[Quirk, ...] = ()

    def has_key_of(self, base_url: str) -> bool:
        """Whether the conventional variable of this kind holds a key for this address.

        A key never goes to a host it was not made for: kind `openai` with the URL of somebody's proxy gets none.
        """
        given, own = urlsplit(base_url.lower()), urlsplit(self.key_url or self.url)
        return self.own_server or (given.scheme, given.netloc) == (own.scheme, own.netloc)


_CHAT: Final = "OpenAI chat completions"

_ROWS: Final = (
    Kind(name="openai", title="OpenAI, and any server of its dialect", format=_CHAT, url="https://api.openai.com/v1",
         key_variables=("OPENAI_API_KEY",), example="gpt-4.1", caching="automatic"),
    Kind(name="responses", title="OpenAI", format="OpenAI responses", url="https://api.openai.com/v1",
         key_variables=("OPENAI_API_KEY",), synonyms=("openai_responses",), example="gpt-5", caching="automatic"),
    Kind(name="azure", title="Azure OpenAI", format=f"{_CHAT}, by deployment",
         key_variables=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"), own_server=True,
         url_variables=("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"), version="v1",
         version_variables=("OPENAI_API_VERSION", "AZURE_API_VERSION"), versions=("v1", "preview", "2024-10-21"),
         example="my-deployment", caching="automatic", quirks=AZURE_QUIRKS),
    Kind(name="anthropic", title="Anthropic", format="Anthropic messages", url="https://api.anthropic.com",
         key_variables=("ANTHROPIC_API_KEY",), version="2023-06-01", versions=("2023-06-01", "2026-10-21"),
         synonyms=("claude",), example="claude-sonnet-4-5", caching="marked"),
    Kind(name="gemini", title="Google Gemini", format="Gemini generateContent",
         url="https://generativelanguage.googleapis.com", key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
         synonyms=("google",), example="gemini-2.5-flash", caching="automatic"),
    Kind(name="mistral", title="Mistral", format=_CHAT, url="https://api.mistral.ai/v1",
         key_variables=("MISTRAL_API_KEY",), example="mistral-small-latest", caching="automatic",
         synonyms=("mistralai",), quirks=MISTRAL_QUIRKS),
    Kind(name="groq", title="Groq", format=_CHAT, url="https://api.groq.com/openai/v1",
         key_variables=("GROQ_API_KEY",), example="openai/gpt-oss-120b", embeddings=False, caching="automatic",
         quirks=GROQ_QUIRKS),
    Kind(name="deepseek", title="DeepSeek", format=_CHAT, url="https://api.deepseek.com",
         key_variables=("DEEPSEEK_API_KEY",), example="deepseek-flash", embeddings=False, caching="automatic",
         quirks=DEEPSEEK_QUIRKS),
    Kind(name="openrouter", title="OpenRouter", format=_CHAT, url="https://openrouter.ai/api/v1",
         key_variables=("OPENROUTER_API_KEY",), example="meta-llama/llama-3.3-70b-instruct",
         caching="automatic, or marked", quirks=OPENROUTER_QUIRKS),
    Kind(name="vllm", title="vLLM", format=_CHAT, url="http://localhost:8000/v1",
         key_variables=("HOSTED_VLLM_API_KEY", "VLLM_API_KEY"), needs_key=False, own_server=True,
         url_variables=("HOSTED_VLLM_API_BASE",), synonyms=("hosted_vllm",),
         example="meta-llama/Llama-3.3-70B-Instruct", caching="automatic", quirks=VLLM_QUIRKS),
    Kind(name="ollama", title="Ollama", format=_CHAT, url="http://localhost:11434/v1",
         key_variables=("OLLAMA_API_KEY",), needs_key=False, key_url="https://ollama.com/v1", synonyms=("ollama_chat",),
         example="llama3:8b", caching="automatic",
         quirks=OLLAMA_QUIRKS),
    Kind(name="llamacpp", title="llama.cpp", format=_CHAT, url="http://localhost:8080/v1",
         key_variables=("LLAMA_API_KEY",), needs_key=False, own_server=True, synonyms=("llama.cpp", "llama_cpp"),
         caching="automatic",
         quirks=LLAMACPP_QUIRKS),
    Kind(name="local", title="A model on this machine", format=_CHAT, needs_key=False, example="smollm2-135m",
         embeddings=False),
)  # fmt: skip

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({row.name: row for row in _ROWS})
"""By name, in the order in which they are shown."""

PREFIXES: Final[Mapping[str, Kind]] = MappingProxyType(
    {prefix: row for row in _ROWS for prefix in (row.name, *row.synonyms)}
)
"""What may stand before the first "/" of a model's name, and the kind it means."""


AZURE_HOSTS: Final = (
    ".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".openai.azure.us",
)  # fmt: skip
"""How the hosts of Azure's OpenAI end."""


def kind_at(url: str) -> Kind | None:
    """The kind of a server with quirks that is at this address by all that is known; None: nothing is."""
    parts = urlsplit(url.lower())
    if (parts.hostname or "").endswith(AZURE_HOSTS):
        return KINDS["azure"]
    return next((its for its in _ROWS if its.quirks and its.url and urlsplit(its.url).netloc == parts.netloc), None)
