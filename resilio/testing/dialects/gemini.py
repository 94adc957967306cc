"""The simulated provider's side of Gemini's wire format: responses, events and errors as bytes.

Shapes follow the Gemini API's reference and its SDK's types (November 2026). It is as strict as the real server where a
careless client is found out: unknown fields, turns, results that answer the calls before them, and calls of the turn
going on that come back without the signature they were given.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import unquote

import orjson

from resilio.testing.dialects.base import ByPath, Objection, Said

__all__ = ["Gemini", "GeminiArray", "GeminiResponse", "signature_of"]

SENTINEL: Final = "skip_thought_signature_validator"
_RPC: Final = "type.googleapis.com/google.rpc."
_QUOTA: Final = "You exceeded your current quota, please check your plan and billing details."
_ERRORS: Final[Mapping[str, tuple[int, str, str, str]]] = {
    "rate_limit_exceeded": (
        429, "RESOURCE_EXHAUSTED", _QUOTA, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    ),
    "slow_down": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", ""),
    "insufficient_quota": (
        429, "RESOURCE_EXHAUSTED", _QUOTA, "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    ),
    "credit_balance_exhausted": (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", ""),
    "billing_not_active": (403, "PERMISSION_DENIED", "This API method requires billing to be enabled.",
                           "BILLING_DISABLED"),
    "server_is_overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", ""),
    "server_error": (500, "INTERNAL", "An internal error has occurred.", ""),
    "bad_gateway": (502, "INTERNAL", "Bad gateway", ""),
    "context_length_exceeded": (
        400, "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "",
    ),
    "content_policy_violation": (400, "INVALID_ARGUMENT", "The prompt violates the Prohibited Use Policy.", ""),
    "unsupported_parameter": (400, "INVALID_ARGUMENT", "Penalty is not enabled for this model", ""),
    "invalid_value": (400, "INVALID_ARGUMENT", "Invalid value at 'tools[0].function_declarations[0].name'", ""),
    "invalid_api_key": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "model_not_found": (404, "NOT_FOUND", "models/no-such-model is not found for API version v1beta", ""),
}  # fmt: skip
"""OpenAI's codes, which scripts are written in, as Google says the same: status, its name, words, and the quota or the
reason in the details."""
_STATUSES: Final = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "INTERNAL": 500, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
"""Its own names may be asked for as well."""
_FINISHES: Final = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_PATH: Final = re.compile(r"/(?:models|tunedModels|endpoints)/([^/:?]+):(g|streamG)enerateContent$")
_FIELDS: Final = frozenset({
    "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "cachedContent",
    "serviceTier", "labels", "store", "model", "stream",
})  # fmt: skip
"""`model` and `stream` are not sent: they are read from the path."""
_CONFIG: Final = frozenset({
    "temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "candidateCount", "seed", "responseMimeType",
    "responseSchema", "responseJsonSchema", "responseLogprobs", "logprobs", "presencePenalty", "frequencyPenalty",
    "thinkingConfig", "responseModalities", "mediaResolution", "speechConfig", "imageConfig", "audioTimestamp",
})  # fmt: skip
_ONE_OF: Final = frozenset({
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
})  # fmt: skip


def signature_of(thought: str) -> str:
    """The signature this server gives what it thought or called, and wants back with it."""
    return base64.b64encode(hashlib.blake2b(thought.encode(), digest_size=24).digest()).decode()


class GeminiResponse(Said):
    """One answer, whole or as a stream of responses."""

    first: ClassVar[bytes] = b"data: "
    further: ClassVar[bytes] = b"data: "
    end: ClassVar[bytes] = b"\r\n\r\n"

    def body(self) -> bytes:
        parts = list(self._parts("".join(self.pieces)))
        candidates = [self._candidate(index, parts, end=True) for index in range(self.n)]
        return orjson.dumps(self._response(candidates, self._usage()))

    def chunks(self, *, include_usage: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Each piece of content is one event, and the reason to finish comes on its own with the usage."""
        thoughts = [{"text": self.reasoning, "thought": True}] if self.reasoning else []
        texts = [] if self.refusal else [{"text": piece} for piece in self.pieces]
        calls = [part for part in self._parts("") if "functionCall" in part]
        said: list[Mapping[str, Any]] = [*thoughts, *texts, *calls]
        begun = self._usage(1)
        bodies = [self._response([self._candidate(index, [part])], begun) for index in range(self.n) for part in said]
        last = [self._candidate(index, [{"text": "", **self._signed({})}], end=True) for index in range(self.n)]
        closing = self._response(last, self._usage())
        frames = [self._frame(each, number) for number, each in enumerate([*bodies, closing])]
        return [], frames[:-1], frames[-1:]

    def _frame(self, body: Mapping[str, Any], number: int) -> bytes:
        return (self.further if number else self.first) + orjson.dumps(body) + self.end

    def _parts(self, text: str) -> Iterator[dict[str, Any]]:
        if self.reasoning:
            yield {"text": self.reasoning, "thought": True}
        if text and not self.refusal:
            yield {"text": text, **self._signed({})}
        for number, call in enumerate(self.tool_calls):
            function = call["function"]
            given = orjson.loads(function["arguments"] or b"{}")
            part = {"functionCall": {"id": call["id"], "name": function["name"], "args": given}}
            # Of parallel calls the first bears the signature.
            yield part if number else {**part, "thoughtSignature": _signature_of_call(part["functionCall"])}

    def _signed(self, part: dict[str, Any]) -> dict[str, Any]:
        """Text that was thought about bears a signature, where no call does."""
        if self.reasoning and not self.tool_calls:
            return {**part, "thoughtSignature": signature_of(self.reasoning)}
        return part

    def _candidate(self, index: int, parts: Sequence[Mapping[str, Any]], *, end: bool = False) -> dict[str, Any]:
        content = {"role": "model", **({"parts": parts} if parts else {})}
        candidate: dict[str, Any] = {"content": content, "index": index}
        if not end:
            return candidate
        finish = "SAFETY" if self.refusal else _FINISHES.get(self.finish_reason or "", self.finish_reason)
        candidate["finishReason"] = finish
        return {**candidate, "finishMessage": "".join(self.pieces)} if self.refusal else candidate

    def _usage(self, output: int | None = None) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        prompt, cached = self.usage["prompt_tokens"], self.usage["prompt_tokens_details"]["cached_tokens"]
        written = self.usage["completion_tokens"] if output is None else output
        told = {"promptTokenCount": prompt, "candidatesTokenCount": written, "totalTokenCount": prompt + written}
        return {**told, "cachedContentTokenCount": cached} if cached else told

    def _response(self, candidates: list[Any], usage: Mapping[str, Any] | None) -> dict[str, Any]:
        whole: dict[str, Any] = {"candidates": candidates} if candidates else {}
        if usage is not None:
            whole["usageMetadata"] = {**usage, "serviceTier": "standard"}
        return {**whole, "modelVersion": self.model, "responseId": self.id}


class Gemini(ByPath):
    """Implements `resilio.testing.dialects.base.Dialect`: unary, and streams with ``alt=sse``."""

    said: type[Said] = GeminiResponse
    last: bytes = b""

    def speaks(self, path: str) -> bool:
        return _PATH.search(path.partition("?")[0]) is not None

    def asked(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        found = _PATH.search(path.partition("?")[0])
        if found is None:
            return body
        return {**body, "model": unquote(found[1]), "stream": found[2] == "streamG"}

    def headers(self, number: int) -> dict[str, str]:
        return {"server-timing": f"gfet4t7; dur={number}", "vary": "Origin"}

    def identity(self, bits: int) -> str:
        return base64.urlsafe_b64encode(bits.to_bytes(8, "big")).decode().rstrip("=")

    def error(self, code: str | None, message: str | None = None, param: str | None = None) -> tuple[int, bytes]:
        named = code or "INVALID_ARGUMENT"
        status, name, words, detail = _ERRORS.get(named, (_STATUSES.get(named, 400), named, "Simulated error.", ""))
        if named not in _ERRORS and named not in _STATUSES:
            name = "INVALID_ARGUMENT"
        error: dict[str, Any] = {"code": status, "message": message or words, "status": name}
        if detail and status == 429:
            error["details"] = [{"@type": f"{_RPC}QuotaFailure", "violations": [{"quotaId": detail}]}]
        elif detail:
            domain = "googleapis.com"
            error["details"] = [{"@type": f"{_RPC}ErrorInfo", "reason": detail, "domain": domain}]
        return status, orjson.dumps({"error": error})

    def hinted(self, body: bytes, seconds: float) -> bytes | None:
        whole = orjson.loads(body)
        hint = {"@type": f"{_RPC}RetryInfo", "retryDelay": f"{seconds:g}s"}
        whole["error"]["details"] = [*whole["error"].get("details", ()), hint]
        return orjson.dumps(whole)

    def frame(self, data: bytes, *, error: bool = False) -> bytes:
        return b"data: " + data + b"\r\n\r\n"

    def wants_usage(self, body: Mapping[str, Any]) -> bool:
        return True

    def objection(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Objection | None:
        why = _why_not(body)
        return None if why is None else Objection(None, why)

    def neutral(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Messages, tools and limits; what has no twin is not told."""
        messages: list[dict[str, Any]] = []
        if system := body.get("systemInstruction"):
            messages.append({"role": "system", "content": "".join(part.get("text", "") for part in system["parts"])})
        for number, content in enumerate(body["contents"]):
            messages += _neutral(content, number)
        config = _config(body)
        tools = [
            {"type": "function", "function": {**its, "parameters": its.get("parametersJsonSchema")}}
            for tool in body.get("tools") or ()
            for its in tool.get("functionDeclarations") or ()
        ]
        return {
            "model": body["model"],
            "stream": body["stream"],
            "messages": messages,
            "n": config.get("candidateCount"),
            "max_tokens": config.get("maxOutputTokens"),
            "generationConfig": config,
            **({"tools": tools} if tools else {}),
        }


class _ArrayResponse(GeminiResponse):
    """The stream of whoever did not ask for ``alt=sse``: one JSON array, an element at a time."""

    first = b"["
    further = b",\r\n"
    end = b""


class GeminiArray(Gemini):
    """The same, for streams without ``alt=sse``."""

    said = _ArrayResponse
    last = b"]"
    stream_type = "application/json; charset=UTF-8"

    def speaks(self, path: str) -> bool:
        where, _, query = path.partition("?")
        found = _PATH.search(where)
        return found is not None and found[2] == "streamG" and "alt=sse" not in query.split("&")

    def frame(self, data: bytes, *, error: bool = False) -> bytes:
        return b",\r\n" + data


def _neutral(content: Mapping[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """One turn: its results each as one of a tool, then its text and calls."""
    parts = content["parts"]
    for part in parts:
        if result := part.get("functionResponse"):
            said = result["response"]
            yield {
                "role": "tool",
                "tool_call_id": result.get("id") or result["name"],
                "content": said.get("result") or said.get("error") or "",
            }
    rest = [{"type": "text", "text": part["text"]} for part in parts if "text" in part and not part.get("thought")]
    calls = [
        {
            "id": call.get("id") or f"call_{number}_{place}",
            "type": "function",
            "function": {"name": call["name"], "arguments": orjson.dumps(call.get("args") or {}).decode()},
        }
        for place, part in enumerate(parts)
        if (call := part.get("functionCall"))
    ]
    if rest or calls or not any("functionResponse" in part for part in parts):
        role = "assistant" if content.get("role") == "model" else "user"
        yield {"role": role, "content": rest or None, **({"tool_calls": calls} if calls else {})}


def _signature_of_call(call: Mapping[str, Any]) -> str:
    return signature_of(call["name"] + orjson.dumps(call.get("args") or {}, option=orjson.OPT_SORT_KEYS).decode())


# --- what is refused ---------------------------------------------------------------------------


def _camel(name: str) -> str:
    """Both spellings are taken."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _config(body: Mapping[str, Any]) -> dict[str, Any]:
    return {_camel(name): value for name, value in (body.get("generationConfig") or {}).items()}


def _why_not(body: Mapping[str, Any]) -> str | None:
    config = _config(body)
    for where, given, known in (("", body, _FIELDS), (" at 'generation_config'", config, _CONFIG)):
        for name in given:
            if _camel(name) not in known:
                return f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    if len(config.get("stopSequences") or ()) > 5:
        return "The number of stop sequences must be at most 5"
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        return "* GenerateContentRequest.contents: contents is not specified"
    for index, content in enumerate(contents):
        if (why := _why_not_content(content, index)) is not None:
            return why
    if contents[0].get("role") == "model":
        return "Please ensure that multiturn requests start with a user turn"
    return _why_not_calls(contents)


def _why_not_content(content: Any, index: int) -> str | None:
    if not isinstance(content, Mapping) or content.get("role") not in ("user", "model", None):
        return "Please use a valid role: user, model."
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, Mapping) for part in parts):
        return f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty."
    for number, part in enumerate(parts):
        if len(_ONE_OF.intersection(map(_camel, part))) != 1:
            where = f"contents[{index}].parts[{number}]"
            return f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field"
    return None


def _why_not_calls(contents: Sequence[Mapping[str, Any]]) -> str | None:
    """Every call is answered in the next turn; in the turn going on, each step's first call has its signature."""
    spoken = [index for index, its in enumerate(contents) if its.get("role") != "model" and _speaks(its)]
    for index, content in enumerate(contents):
        calls = [part for part in content["parts"] if "functionCall" in part]
        following = contents[index + 1]["parts"] if index + 1 < len(contents) else []
        results = [part["functionResponse"].get("name") for part in following if "functionResponse" in part]
        if calls and sorted(part["functionCall"]["name"] for part in calls) != sorted(map(str, results)):
            return (
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        if not calls or (spoken and index < spoken[-1]):
            continue
        signature, call = calls[0].get("thoughtSignature"), calls[0]["functionCall"]
        if not signature:
            return f"Function call is missing a thought_signature in functionCall parts: {call['name']}"
        if _bytes_of(signature) not in (_bytes_of(SENTINEL), _bytes_of(_signature_of_call(call))):
            return "Corrupted thought signature."
    return None


def _bytes_of(signature: str) -> str:
    """Both alphabets of base64 are taken: the SDK writes the other one."""
    return signature.replace("+", "-").replace("/", "_")


def _speaks(content: Mapping[str, Any]) -> bool:
    return not any("functionResponse" in part for part in content["parts"])
