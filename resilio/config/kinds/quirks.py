"""What each server of OpenAI's dialect does in its own way.

A row is written down only where sending the field as it came would be refused, or would be taken and not honoured.
Fields that nobody knows go out as they came, so that a new parameter works the day it appears. What is read differently
stands here too (`Do.READ`), for those who look a server up; the codec reads every form from everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.config.kinds.quirk import Do, Quirk

__all__ = [
    "AZURE_QUIRKS",
    "DEEPSEEK_QUIRKS",
    "GROQ_QUIRKS",
    "LLAMACPP_QUIRKS",
    "MISTRAL_QUIRKS",
    "OLLAMA_QUIRKS",
    "OPENROUTER_QUIRKS",
    "VLLM_QUIRKS",
]

_MISTRAL_API: Final = "https://docs.mistral.ai/api (ChatCompletionRequest) and the types of mistralai 3"
_MISTRAL_STRICT: Final = "https://github.com/Gitlawb/openclaude/issues/739: 422 extra_forbidden"
_MISTRAL_THOUGHTS: Final = "https://github.com/charmbracelet/crush/issues/1590: extra_forbidden"
_GROQ: Final = "https://console.groq.com/docs/openai: 400 if supplied"
_GROQ_STRICT: Final = "property 'cache_control' is unsupported: Groq, as many report"
_GROQ_NULLS: Final = "https://github.com/BerriAI/litellm/issues/5839: Value is not nullable"
_GROQ_THOUGHTS: Final = "https://github.com/agentjido/req_llm/issues/772: property 'reasoning_content' is unsupported"
_DEEPSEEK: Final = "https://api-docs.deepseek.com/api/create-chat-completion"
_DEEPSEEK_THINKING: Final = "https://api-docs.deepseek.com/guides/thinking_mode"
_DEEPSEEK_PICTURES: Final = (
    "https://api-docs.deepseek.com/zh-cn/guides/vision: deepseek-flash sees, deepseek-v4-pro does not"
)
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

_SHARED: Final = (
    Quirk(Do.FUNCTIONS, "functions", why="written as tools", source="deprecated by OpenAI in 2023"),
    Quirk(Do.NARROW, "tool_choice allowed_tools", why="only those tools are sent", source=_OPENAI_ONLY),
    Quirk(Do.TOOL, "custom", why="only functions can be called", source=_OPENAI_ONLY),
    Quirk(Do.REFUSAL, "refusal", why="of messages: said as content", source=_OPENAI_ONLY),
)
"""Of all but OpenAI's own servers."""


MISTRAL_QUIRKS: Final = (
    *_SHARED,
    Quirk(Do.RENAME, "max_completion_tokens", "max_tokens", source=_MISTRAL_STRICT),
    Quirk(Do.RENAME, "seed", "random_seed", source=_MISTRAL_API),
    Quirk(Do.RENAME, "dimensions", "output_dimension", source="https://docs.mistral.ai/api (EmbeddingRequest)"),
    Quirk(Do.SAY, "tool_choice", "any", keeps=("required",), source=_MISTRAL_API),
    Quirk(Do.ROLE, "developer", "system", source=_MISTRAL_API),
    *_lacks(_NO_FIELD, _MISTRAL_API, "logprobs", "top_logprobs", "logit_bias", "service_tier", *_OWN_FEATURES),
    *_hints(_MISTRAL_STRICT, "stream_options", "user", *_OPENAI_HINTS),
    Quirk(Do.MESSAGE, "name", why="only results of tools have one", source=(
        "https://github.com/Gage-Technologies/mistral-go/pull/2: 422 for user.name"
    )),
    Quirk(Do.MESSAGE, "reasoning_content", source=_MISTRAL_THOUGHTS),
    Quirk(Do.MESSAGE, "reasoning", source=_MISTRAL_THOUGHTS),
    Quirk(Do.MESSAGE, "reasoning_details", source=_MISTRAL_THOUGHTS),
    Quirk(Do.MESSAGE, "annotations", source=_MISTRAL_STRICT),
    Quirk(Do.MESSAGE, "audio", why="an answer that was spoken cannot be referred to", source=_MISTRAL_STRICT),
    Quirk(Do.NULLS, "null", why="what is null is left out, but for content", source=_MISTRAL_STRICT),
    Quirk(Do.MARKS, "cache_control", why="left out of messages, parts and tools", source=_MISTRAL_STRICT),
    Quirk(Do.CALL_IDS, "tool_calls[].id", why="nine letters and digits; others are replaced by such", source=(
        "400: Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9 (mistral-common's validator)"
    )),
    Quirk(Do.ORDER, "messages", why='late system ones first; a "." of the assistant between result and user', source=(
        "https://github.com/NousResearch/hermes-agent/issues/20154: Unexpected role 'user' after role 'tool'"
    )),
    Quirk(Do.PREFIX, "messages[-1]", why="of the assistant: marked with prefix, to be continued", source=(
        "https://github.com/NEKOparapa/AiNiee/issues/641: Expected last role User or Tool (or Assistant with prefix)"
    )),
    Quirk(Do.AUDIO, "input_audio", why="sent as bare base64", source=_MISTRAL_API),
    *_parts("documents have a part of their own there, document_url", _MISTRAL_API, "file"),
    Quirk(Do.READ, "content", why="may be parts; those of type thinking are reasoning", source=(
        "recorded exchanges; https://docs.mistral.ai/capabilities/reasoning"
    )),
)  # fmt: skip

GROQ_QUIRKS: Final = (
    *_SHARED,
    Quirk(Do.ROLE, "developer", "system", source="https://console.groq.com/docs/api-reference"),
    *_lacks(_NO_FIELD, _GROQ, "logprobs", "top_logprobs", "logit_bias"),
    *_lacks("one answer a request", _GROQ, "n"),
    *_lacks(_NO_FIELD, "https://console.groq.com/docs/api-reference", *_OWN_FEATURES),
    *_hints("https://console.groq.com/docs/api-reference", "prediction", *_OPENAI_HINTS),
    Quirk(Do.FLAT, "content", why="parts that are all text are sent as one text", source=(
        "https://github.com/OpenHands/OpenHands/issues/4643: 400 value must be a string"
    )),
    Quirk(Do.MESSAGE, "name", why="400 if supplied", source=_GROQ),
    Quirk(Do.MESSAGE, "reasoning_content", source=_GROQ_THOUGHTS),
    Quirk(Do.MESSAGE, "reasoning_details", source=_GROQ_THOUGHTS),
    Quirk(Do.MESSAGE, "annotations", source="400: property 'annotations' is unsupported, of OpenAI's own messages"),
    Quirk(Do.MESSAGE, "audio", why="an answer that was spoken cannot be referred to", source=_GROQ),
    Quirk(Do.NULLS, "null", why="what is null is left out, but for content", source=_GROQ_NULLS),
    Quirk(Do.MARKS, "cache_control", why="left out of messages, parts and tools", source=_GROQ_STRICT),
    *_parts("pictures alone are read", "https://console.groq.com/docs/vision", "input_audio", "file"),
    Quirk(Do.READ, "status 498", why="the flex tier has no capacity: throttled", source=(
        "https://console.groq.com/docs/errors"
    )),
    Quirk(Do.READ, "failed_generation", why="a tool call or JSON that does not fit: malformed, once more", source=(
        "recorded exchanges: 400 tool_use_failed"
    )),
)  # fmt: skip

DEEPSEEK_QUIRKS: Final = (
    *_SHARED,
    Quirk(Do.RENAME, "max_completion_tokens", "max_tokens", source=_DEEPSEEK),
    Quirk(Do.ROLE, "developer", "system", source=_DEEPSEEK),
    *_lacks(_NO_FIELD, _DEEPSEEK, "seed", "logit_bias", "service_tier", *_OWN_FEATURES),
    *_lacks("one answer a request", _DEEPSEEK, "n"),
    *_lacks(_NO_FIELD, _DEEPSEEK, "parallel_tool_calls"),
    *_hints(_DEEPSEEK, "metadata", "prediction", "prompt_cache_key", *_OPENAI_HINTS),
    Quirk(Do.SCHEMA, "response_format", why="no schema is taken; sent as json_object if the prompt says JSON", source=(
        "https://api-docs.deepseek.com/guides/json_mode"
    )),
    *_parts("it reads text and pictures", _DEEPSEEK_PICTURES, "input_audio", "file"),
    Quirk(Do.FLAT, "content", why="parts that are all text are sent as one text", source=(
        "https://github.com/QwenLM/qwen-code/pull/2320: 400 invalid type: sequence, expected a string"
    )),
    Quirk(Do.GIVE_BACK, "reasoning_content", why="comes back with the tool calls it led to, or 400", source=(
        _DEEPSEEK_THINKING
    )),
    Quirk(Do.CALM, "tool_choice", "thinking", why="a call that is forced excludes thinking; it is turned off", source=(
        "https://github.com/deepseek-ai/DeepSeek-V3/issues/1376: 400 Thinking mode does not support this tool_choice"
    )),
    Quirk(Do.OFF, "reasoning_effort", "thinking", keeps=("none",), why="none is sent as thinking, disabled", source=(
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
    *_SHARED,
    *_lacks("one answer a request", _OPENROUTER, "n"),
    *_hints(_OPENROUTER, *_OPENAI_HINTS),
    Quirk(Do.DETAILS, "reasoning_details", why="come back with the tool calls they led to, or 400 of Gemini", source=(
        "https://openrouter.ai/docs/guides/best-practices/reasoning-tokens#preserving-reasoning-blocks"
    )),
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
    *_SHARED,
    Quirk(Do.ROLE, "developer", "system", source=f"{_VLLM}: most models' chat templates know no developer"),
    *_lacks(_NOT_HONOURED, _VLLM, "service_tier", *_OWN_FEATURES),
    *_hints(_VLLM, "metadata", "prediction", *_OPENAI_HINTS),
    *_parts("its chat templates know no documents", _VLLM, "file"),
    Quirk(Do.READ, "reasoning", why="reasoning; reasoning_content before version 0.11", source=_VLLM),
    Quirk(Do.READ, "finish_reason abort", why="server_error", source=_VLLM),
    Quirk(Do.READ, "status 400", why="by its words: a full context is too_long, a missing feature unsupported",
          source=_VLLM),
)  # fmt: skip

OLLAMA_QUIRKS: Final = (
    *_SHARED,
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
    *_SHARED,
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
