"""Every kind of provider there is, as data: where it is, which variable holds its key, and where it differs.

A kind is a wire format at somebody's address. Most speak OpenAI's chat completions, and no two the same: what one of
them refuses, ignores or calls by another name is a `Quirk`, with the page it is known from. The codec of that dialect
reads the quirks, the loader the rest, `resilio providers` and `docs/providers.md` show all of it. To add a server of
the dialect: one row of `KINDS`. Left out: what one model of a provider can do (`capabilities`), and its errors.

The rule that keeps it simple: a quirk is written down only where sending the field as it came would be refused, or
would be taken and not honoured. Fields that nobody knows go out as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

__all__ = ["KINDS", "PREFIXES", "Do", "Kind", "Quirk"]


class Do(StrEnum):
    """What is done about a field that a server does not take as it came."""

    RENAME = "rename"
    """A wire field goes by the name `to`."""
    LACK = "lack"
    """A wire field has no form there: a loss. With `keeps`, only other values than those are."""
    HINT = "hint"
    """A wire field that changes no answer is left out without a word."""
    SAY = "say"
    """The value `keeps` of a wire field is said as `to`."""
    FORCE = "force"
    """A choice of one tool by name is not honoured: a loss."""
    SCHEMA = "schema"
    """A schema for the answer has no form there: a loss, weakened to JSON of any shape."""
    ROLE = "role"
    """Messages of the role `field` are sent as those of `to`."""
    PART = "part"
    """Parts of this type have no form there: a loss that is never left out."""
    LINK = "link"
    """Pictures behind a URL are not fetched: a loss that is never left out."""
    MESSAGE = "message"
    """A field of messages is left out; a loss where `why` says so."""
    MESSAGE_RENAME = "message rename"
    """A field of messages goes by the name `to`."""
    CALL_IDS = "call ids"
    """Ids of tool calls have nine letters and digits: others are replaced, the same in call and result."""
    GIVE_BACK = "give back"
    """The reasoning before a tool call has to come back with it; a call made elsewhere gets an empty one."""
    FUNCTIONS = "functions"
    """The older `functions` and `function_call` are written as tools."""
    NARROW = "narrow"
    """Of a choice among `allowed_tools`, only those are sent."""
    TOOL = "tool"
    """Tools of the type `field` have no form there: a loss that is never left out."""
    AUDIO = "audio"
    """A recording is sent as bare base64."""
    READ = "read"
    """Nothing is sent differently; what comes back is, and is read."""


@dataclass(frozen=True, slots=True)
class Quirk:
    """One difference from OpenAI's own server."""

    do: Do
    field: str
    to: str = ""
    why: str = ""
    """Of a loss, what the caller is told; of what is read, what it means."""
    keeps: tuple[object, ...] = ()
    source: str = ""
    """The page or thread it is known from."""

    def __str__(self) -> str:
        match self.do:
            case Do.RENAME:
                return f"{self.field} is sent as {self.to}"
            case Do.SAY:
                return f"{self.field} {self.keeps[0]!r} is sent as {self.to!r}"
            case Do.HINT:
                return f"{self.field} is left out: it changes no answer"
            case Do.ROLE:
                return f"messages of role {self.field} are sent as {self.to}"
            case Do.MESSAGE_RENAME:
                return f"{self.field} of messages is sent as {self.to}"
            case Do.PART | Do.TOOL:
                what = "tools" if self.do is Do.TOOL else "parts"
                return f"{what} of type {self.field}: {self.why}"
            case Do.MESSAGE:
                return f"{self.field} of messages is left out{f': {self.why}' if self.why else ''}"
            case _:
                return f"{self.field}: {self.why}"


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
    """Everybody has one of their own, so its key goes to whatever `base_url` says; else to the host of `url` alone."""
    url_variables: tuple[str, ...] = ()
    """Where its address is by convention, for names such as ``azure/my-deployment`` that say no URL."""
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
        return self.own_server or not base_url or urlsplit(base_url).netloc.lower() == urlsplit(self.url).netloc


_MISTRAL_API: Final = "https://docs.mistral.ai/api (ChatCompletionRequest) and the types of mistralai 3"
_MISTRAL_STRICT: Final = "https://github.com/Gitlawb/openclaude/issues/739: 422 extra_forbidden"
_MISTRAL_THOUGHTS: Final = "https://github.com/charmbracelet/crush/issues/1590: extra_forbidden"
_GROQ: Final = "https://console.groq.com/docs/openai: 400 if supplied"
_GROQ_THOUGHTS: Final = "https://github.com/agentjido/req_llm/issues/772: property 'reasoning_content' is unsupported"
_DEEPSEEK: Final = "https://api-docs.deepseek.com/api/create-chat-completion"
_DEEPSEEK_THINKING: Final = "https://api-docs.deepseek.com/guides/thinking_mode"
_OLLAMA: Final = "https://docs.ollama.com/api/openai-compatibility"
_LLAMACPP: Final = "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"
_VLLM: Final = "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"
_OPENROUTER: Final = "https://openrouter.ai/docs/api-reference/parameters"
_OPENAI_ONLY: Final = "https://platform.openai.com/docs/api-reference/chat: its own, and in nobody else's reference"
_AZURE: Final = "https://learn.microsoft.com/azure/ai-foundry/openai/reference"


def _lacks(why: str, source: str, *fields: str) -> tuple[Quirk, ...]:
    return tuple(Quirk(Do.LACK, field, why=why, keeps=_NOTHING_SAID.get(field, ()), source=source) for field in fields)


def _hints(source: str, *fields: str) -> tuple[Quirk, ...]:
    return tuple(Quirk(Do.HINT, field, source=source) for field in fields)


def _parts(why: str, source: str, *types: str) -> tuple[Quirk, ...]:
    return tuple(Quirk(Do.PART, type_, why=why, source=source) for type_ in types)


_NOTHING_SAID: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"], ("text",)),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
}
"""Values that ask for what is done anyway."""

_OPENAI_HINTS: Final = ("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store")
_OWN_FEATURES: Final = ("audio", "modalities", "moderation", "verbosity", "web_search_options")
_NO_FIELD: Final = "there is no such field"
_NOT_HONOURED: Final = "it is taken and not honoured"

_TOOLS: Final = (
    Quirk(Do.FUNCTIONS, "functions", why="written as tools", source="deprecated by OpenAI in 2023"),
    Quirk(Do.NARROW, "tool_choice allowed_tools", why="only those tools are sent", source=_OPENAI_ONLY),
    Quirk(Do.TOOL, "custom", why="only functions can be called", source=_OPENAI_ONLY),
)
"""Of all but OpenAI's own servers."""


MISTRAL_QUIRKS: Final = (
    *_TOOLS,
    Quirk(Do.RENAME, "max_completion_tokens", "max_tokens", source=_MISTRAL_STRICT),
    Quirk(Do.RENAME, "seed", "random_seed", source=_MISTRAL_API),
    Quirk(Do.SAY, "tool_choice", "any", keeps=("required",), source=_MISTRAL_API),
    Quirk(Do.ROLE, "developer", "system", source=_MISTRAL_API),
    *_lacks(_NO_FIELD, _MISTRAL_API, "logprobs", "top_logprobs", "logit_bias", "service_tier", *_OWN_FEATURES),
    *_hints(_MISTRAL_STRICT, "stream_options", "user", *_OPENAI_HINTS),
    Quirk(Do.MESSAGE, "name", why="only results of tools have one", source=(
        "https://github.com/Gage-Technologies/mistral-go/pull/2: 422 for user.name"
    )),
    Quirk(Do.MESSAGE, "refusal", source=_MISTRAL_API),
    Quirk(Do.MESSAGE, "reasoning_content", source=_MISTRAL_THOUGHTS),
    Quirk(Do.MESSAGE, "reasoning", source=_MISTRAL_THOUGHTS),
    Quirk(Do.CALL_IDS, "tool_calls[].id", why="nine letters and digits; others are replaced by such", source=(
        "400: Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9 (mistral-common's validator)"
    )),
    Quirk(Do.AUDIO, "input_audio", why="sent as bare base64", source=_MISTRAL_API),
    *_parts("documents have a part of their own there, document_url", _MISTRAL_API, "file"),
    Quirk(Do.READ, "content", why="may be parts; those of type thinking are reasoning", source=(
        "recorded exchanges; https://docs.mistral.ai/capabilities/reasoning"
    )),
)  # fmt: skip

GROQ_QUIRKS: Final = (
    *_TOOLS,
    *_lacks(_NO_FIELD, _GROQ, "logprobs", "top_logprobs", "logit_bias"),
    *_lacks("one answer a request", _GROQ, "n"),
    *_lacks(_NO_FIELD, "https://console.groq.com/docs/api-reference", *_OWN_FEATURES),
    *_hints("https://console.groq.com/docs/api-reference", "prediction", *_OPENAI_HINTS),
    Quirk(Do.MESSAGE, "name", why="400 if supplied", source=_GROQ),
    Quirk(Do.MESSAGE, "refusal", source=_GROQ_THOUGHTS),
    Quirk(Do.MESSAGE, "reasoning_content", source=_GROQ_THOUGHTS),
    *_parts("pictures alone are read", "https://console.groq.com/docs/vision", "input_audio", "file"),
    Quirk(Do.READ, "status 498", why="the flex tier has no capacity: throttled", source=(
        "https://console.groq.com/docs/errors"
    )),
    Quirk(Do.READ, "failed_generation", why="a tool call or JSON that does not fit: malformed, once more", source=(
        "recorded exchanges: 400 tool_use_failed"
    )),
)  # fmt: skip

DEEPSEEK_QUIRKS: Final = (
    *_TOOLS,
    Quirk(Do.RENAME, "max_completion_tokens", "max_tokens", source=_DEEPSEEK),
    Quirk(Do.ROLE, "developer", "system", source=_DEEPSEEK),
    *_lacks(_NO_FIELD, _DEEPSEEK, "seed", "logit_bias", "service_tier", *_OWN_FEATURES),
    *_lacks("one answer a request", _DEEPSEEK, "n"),
    *_lacks(_NO_FIELD, _DEEPSEEK, "parallel_tool_calls"),
    *_hints(_DEEPSEEK, "metadata", "prediction", "prompt_cache_key", *_OPENAI_HINTS),
    Quirk(Do.SCHEMA, "response_format", why="no schema is taken; sent as json_object if the prompt says JSON", source=(
        "https://api-docs.deepseek.com/guides/json_mode"
    )),
    *_parts("it reads text alone", "https://github.com/DayuanJiang/next-ai-draw-io/pull/326: unknown variant image_url",
            "image_url", "input_audio", "file"),
    Quirk(Do.GIVE_BACK, "reasoning_content", why="comes back with the tool calls it led to, or 400", source=(
        _DEEPSEEK_THINKING
    )),
    Quirk(Do.SAY, "reasoning_effort", "low", keeps=("minimal",), source=_DEEPSEEK_THINKING),
    Quirk(Do.SAY, "reasoning_effort", "high", keeps=("medium",), source=_DEEPSEEK_THINKING),
    Quirk(Do.SAY, "reasoning_effort", "high", keeps=("xhigh",), source=_DEEPSEEK_THINKING),
    Quirk(Do.READ, "reasoning_content", why="reasoning", source=_DEEPSEEK_THINKING),
    Quirk(Do.READ, "usage.prompt_cache_hit_tokens", why="input read from its cache", source=_DEEPSEEK),
    Quirk(Do.READ, "finish_reason insufficient_system_resource", why="overloaded", source=_DEEPSEEK),
)  # fmt: skip

OPENROUTER_QUIRKS: Final = (
    *_TOOLS,
    *_lacks("one answer a request", _OPENROUTER, "n"),
    *_hints(_OPENROUTER, *_OPENAI_HINTS),
    Quirk(Do.READ, "reasoning", why="reasoning, beside reasoning_details", source=(
        "https://openrouter.ai/docs/use-cases/reasoning-tokens"
    )),
    Quirk(Do.READ, "error.code", why="a number: the status of the server behind it, also inside a 200", source=(
        "https://openrouter.ai/docs/api-reference/errors"
    )),
    Quirk(Do.READ, "status 402", why="no credit; throttled while earlier requests are in flight", source=(
        "https://openrouter.ai/docs/api-reference/errors"
    )),
    Quirk(Do.READ, ": OPENROUTER PROCESSING", why="comments in a stream: signs of life", source=(
        "https://openrouter.ai/docs/api-reference/streaming"
    )),
)  # fmt: skip

VLLM_QUIRKS: Final = (
    *_TOOLS,
    *_lacks(_NOT_HONOURED, _VLLM, "service_tier", *_OWN_FEATURES),
    *_hints(_VLLM, "metadata", "prediction", *_OPENAI_HINTS),
    *_parts("its chat templates know no documents", _VLLM, "file"),
    Quirk(Do.READ, "reasoning", why="reasoning; reasoning_content before version 0.11", source=_VLLM),
    Quirk(Do.READ, "finish_reason abort", why="server_error", source=_VLLM),
    Quirk(Do.READ, "status 400", why="by its words: a full context is too_long, a missing feature unsupported",
          source=_VLLM),
)  # fmt: skip

OLLAMA_QUIRKS: Final = (
    *_TOOLS,
    Quirk(Do.RENAME, "max_completion_tokens", "max_tokens", source=_OLLAMA),
    Quirk(Do.ROLE, "developer", "system", source=_OLLAMA),
    *_lacks(_NOT_HONOURED, _OLLAMA, "logit_bias", "parallel_tool_calls", "service_tier", *_OWN_FEATURES),
    *_lacks("one answer a request", _OLLAMA, "n"),
    Quirk(Do.LACK, "tool_choice", why=_NOT_HONOURED, keeps=("auto",), source=_OLLAMA),
    *_hints(_OLLAMA, "metadata", "prediction", "prompt_cache_key", "user", *_OPENAI_HINTS),
    *_parts("it reads text and pictures", _OLLAMA, "input_audio", "file"),
    Quirk(Do.LINK, "image_url", why="pictures are taken as base64 alone", source=_OLLAMA),
    Quirk(Do.READ, "reasoning", why="reasoning", source=_OLLAMA),
    Quirk(Do.READ, "usage", why="older versions leave it out of streams: counted here, and marked estimated",
          source=_OLLAMA),
)  # fmt: skip

LLAMACPP_QUIRKS: Final = (
    *_TOOLS,
    Quirk(Do.RENAME, "max_completion_tokens", "max_tokens", source=_LLAMACPP),
    Quirk(Do.ROLE, "developer", "system", source=_LLAMACPP),
    *_lacks(_NOT_HONOURED, _LLAMACPP, "service_tier", *_OWN_FEATURES),
    *_hints(_LLAMACPP, "metadata", "prediction", "prompt_cache_key", "user", *_OPENAI_HINTS),
    Quirk(Do.FORCE, "tool_choice", why="a tool named is taken as auto", source=(
        "https://github.com/ggml-org/llama.cpp/pull/28806"
    )),
    *_parts("it reads text, pictures and sound", _LLAMACPP, "file"),
    Quirk(Do.READ, "reasoning_content", why="reasoning", source=_LLAMACPP),
    Quirk(Do.READ, "status 503", why="Loading model: overloaded", source=_LLAMACPP),
)  # fmt: skip

AZURE_QUIRKS: Final = (
    Quirk(Do.READ, "content_filter_results", why="what its filter found; stays in reply.raw", source=_AZURE),
    Quirk(Do.READ, "status 400 content_filter", why="the prompt was refused; error.innererror says why", source=_AZURE),
    Quirk(Do.READ, "prompt_filter_results", why="opens a stream, in a chunk without choices", source=_AZURE),
    Quirk(Do.READ, "retry-after-ms, x-ms-retry-after-ms", why="the hint, before retry-after", source=_AZURE),
    Quirk(Do.READ, "x-ratelimit-reset-*", why="bare milliseconds; a limit of -1 or 0 says nothing", source=(
        "recorded exchanges"
    )),
)  # fmt: skip

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
         key_variables=("DEEPSEEK_API_KEY",), example="deepseek-chat", embeddings=False, caching="automatic",
         quirks=DEEPSEEK_QUIRKS),
    Kind(name="openrouter", title="OpenRouter", format=_CHAT, url="https://openrouter.ai/api/v1",
         key_variables=("OPENROUTER_API_KEY",), example="meta-llama/llama-3.3-70b-instruct",
         caching="automatic, or marked", quirks=OPENROUTER_QUIRKS),
    Kind(name="vllm", title="vLLM", format=_CHAT, url="http://localhost:8000/v1",
         key_variables=("VLLM_API_KEY", "HOSTED_VLLM_API_KEY"), needs_key=False, own_server=True,
         url_variables=("HOSTED_VLLM_API_BASE",), synonyms=("hosted_vllm",),
         example="meta-llama/Llama-3.3-70B-Instruct", caching="automatic", quirks=VLLM_QUIRKS),
    Kind(name="ollama", title="Ollama", format=_CHAT, url="http://localhost:11434/v1",
         key_variables=("OLLAMA_API_KEY",), needs_key=False, own_server=True, synonyms=("ollama_chat",),
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
