"""What is read from a streamed response: each event is a whole response with what is new.

A stream is complete when every candidate seen in it has a `finishReason`; nothing else ends it. The rule that keeps it
simple: each event is one parsed object, taken whole or refused whole, and pieces are kept in lists and joined once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from resilio.errors import ErrorClass, MalformedResponse
from resilio.models import Answer, Chunk, ToolCallDelta, Usage
from resilio.providers.classify import error_in_answer, is_error
from resilio.providers.gemini.answer import (
    answer_of,
    block_reason,
    blocked,
    call_id,
    decode_answer,
    failed,
    finish_of,
    read_usage,
    refusal_of,
)
from resilio.providers.gemini.arguments import PartialArguments
from resilio.providers.gemini.faults import FAULTS, FINISHES
from resilio.providers.reading import as_json_text, as_text
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.stream import EventStream

__all__ = ["GeminiStreamDecoder"]

CHARACTERS_PER_TOKEN: Final = 4
_LASTING: Final = ("modelVersion", "responseId", "createTime")
"""Of a response; the first counts."""
_PLAIN: Final = frozenset({"text", "thought"})


class _Call:
    """One function call as it comes."""

    __slots__ = ("arguments", "name", "number", "part", "written")

    def __init__(self, number: int, name: str, part: dict[str, Any], given: Any) -> None:
        self.number, self.name, self.part = number, name, part
        self.arguments = PartialArguments(given)
        self.written = ""
        """Its arguments as they were handed out; empty while they grow."""

    def whole(self) -> dict[str, Any]:
        """As it would stand in a response that was not streamed."""
        call = {name: value for name, value in self.part["functionCall"].items() if name not in _GROWING}
        return {**self.part, "functionCall": {**call, "args": self.arguments.value()}}


_GROWING: Final = ("partialArgs", "willContinue", "args")


class _Candidate:
    """One candidate as it grows."""

    __slots__ = ("calls", "finish", "index", "open", "parts", "rest", "texts")

    def __init__(self, index: int) -> None:
        self.index = index
        self.parts: list[dict[str, Any] | _Call] = []
        self.texts: list[str] = []
        """Pieces of the text that is the last part."""
        self.calls: list[_Call] = []
        self.open: _Call | None = None
        """The call whose arguments still come."""
        self.rest: dict[str, Any] = {}
        """All but the content, the last of each."""
        self.finish = ""

    @property
    def answered(self) -> bool:
        return any(isinstance(part, _Call) or part.get("thought") is not True for part in self.parts)

    def add_text(self, part: Mapping[str, Any], text: str) -> None:
        """A piece of text joins the text before it, if neither is signed and both are thought or both are not."""
        last = self.parts[-1] if self.parts else None
        plain = _PLAIN.issuperset(part)
        if plain and not text:
            return
        if plain and self.texts and isinstance(last, dict) and last.get("thought") == part.get("thought"):
            self.texts.append(text)
            return
        self.seal()
        self.parts.append(dict(part))
        if plain:
            self.texts.append(text)

    def seal(self) -> None:
        """What comes next is another part."""
        if self.texts:
            self.parts[-1] = {**self.parts[-1], "text": "".join(self.texts)}  # type: ignore[dict-item]  # a text
            self.texts = []

    def whole(self) -> dict[str, Any]:
        """As it would stand in a response that was not streamed."""
        texts = "".join(self.texts)
        parts = [part.whole() if isinstance(part, _Call) else part for part in self.parts]
        if self.texts:
            parts[-1] = {**parts[-1], "text": texts}
        content = {"role": "model", **({"parts": parts} if parts else {})}
        return {**self.rest, "content": content, "index": self.index}


class GeminiStreamDecoder(EventStream):
    """Reads one streamed response; see `resilio.providers.base.StreamDecoder` for the contract.

    Every JSON object of the stream gives at least one chunk, even one that says nothing, so whoever passes `raw` on
    misses nothing. An object with several candidates gives a chunk for each, and only the first of them has `raw`.
    """

    __slots__ = ("_candidates", "_feedback", "_meta", "_open", "_raw_usage", "_size", "_usage")

    faults = FAULTS

    def __init__(
        self, who: str, status: int, headers: Mapping[str, str], max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(who, status, headers, max_event_bytes)
        self._candidates: dict[int, _Candidate] = {}
        self._open = 0  # candidates without a finish reason
        self._meta: dict[str, Any] = {}
        self._feedback: Any = None
        self._usage: Usage | None = None
        self._raw_usage: Any = None
        self._size = 0  # characters so far

    @property
    def complete(self) -> bool:
        """Every candidate seen has its finish reason, or the prompt was blocked; and nothing went wrong."""
        return self._finished and self._error is None

    @property
    def _finished(self) -> bool:
        if self._candidates:
            return not self._open
        return bool(block_reason({"promptFeedback": self._feedback}))

    def answer(self) -> Answer:
        """Everything so far; `finish_reason` is empty while the first candidate has none.

        `raw` is what the same server would have sent without streaming, as far as it came. Where the final usage did
        not come, the input is the provider's own figure and the output counted from what came.
        """
        body = dict(self._meta)
        if self._candidates:
            body["candidates"] = [self._candidates[index].whole() for index in sorted(self._candidates)]
        if self._feedback is not None:
            body["promptFeedback"] = self._feedback
        if self._raw_usage is not None:
            body["usageMetadata"] = self._raw_usage
        first = self._candidates.get(0) or next(iter(self._candidates.values()), None)
        written = {call.number: call.written for call in first.calls if call.written} if first else None
        answer = answer_of(body, written)
        if answer.usage is None or self._finished:
            return answer
        counted = max(answer.usage.output_tokens, self._size // CHARACTERS_PER_TOKEN + 1)
        return replace(answer, usage=replace(answer.usage, output_tokens=counted, estimated=True, service_tier=None))

    # --- what the dialect says -------------------------------------------------------------------

    def _ends(self, body: dict[str, Any]) -> bool:
        candidates = body.get("candidates")
        if not isinstance(candidates, list):
            return bool(block_reason(body))
        return any(isinstance(each, dict) and each.get("finishReason") for each in candidates)

    def _unfinished(self) -> MalformedResponse:
        if self._candidates:
            return self._malformed("with a stream that ended without a finishReason", ErrorClass.TRUNCATED)
        return self._malformed("with a stream that ended before any candidate", ErrorClass.TRUNCATED)

    def _take_whole(self, body: bytes, chunks: list[Chunk]) -> None:
        """One response, or the array of responses that is sent where ``alt=sse`` was not asked for."""
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        if isinstance(parsed, list) and not is_error(parsed):
            for each in parsed:
                if is_error(each):
                    raise error_in_answer(FAULTS, self._who, self._status, each)
                if type(each) is not dict:
                    raise self._malformed("with an array of what are no objects")
                self._take(each, chunks)
            return
        answer = decode_answer(self._who, self._status, self._headers, body)
        self._take(dict(answer.raw), chunks)

    def _take(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        try:
            self._take_response(body, chunks)
        except (AttributeError, KeyError, TypeError) as exc:
            # A number where an object should be, text where a list should: not worth a check a field.
            raise self._malformed(f"with an event of another shape ({exc!r})") from exc

    # --- events ----------------------------------------------------------------------------------

    def _take_response(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        for name in _LASTING:
            if body.get(name) is not None:
                self._meta.setdefault(name, body[name])
        news = read_usage(body.get("usageMetadata"))
        if news is not None:  # the last counts: it is repeated, growing, and put right at the end
            self._usage, self._raw_usage = news, body["usageMetadata"]
        if body.get("promptFeedback") is not None:
            self._feedback = body["promptFeedback"]
        candidates = body.get("candidates")
        if not candidates:
            self._take_empty(body, news, chunks)
            return
        raw: Mapping[str, Any] | None = body
        for candidate in candidates:
            self._take_candidate(candidate, raw, chunks)
            raw = None

    def _take_empty(self, body: dict[str, Any], news: Usage | None, chunks: list[Chunk]) -> None:
        """No candidate: the prompt was blocked, or there is news of the usage alone."""
        reason = block_reason(body)
        if not reason or self._candidates:
            chunks.append(Chunk(usage=news if self._finished else None, raw=body))
            return
        refusal = refusal_of(body, {})
        if not refusal:
            raise blocked(self._who, self._status, "the prompt", reason)
        chunks.append(Chunk(refusal=refusal, finish_reason="content_filter", usage=self._usage, raw=body))

    def _take_candidate(self, candidate: dict[str, Any], raw: Mapping[str, Any] | None, chunks: list[Chunk]) -> None:
        index = candidate.get("index") or 0
        state = self._candidates.get(index)
        if state is None:
            if type(index) is not int:
                raise TypeError("index is not a number")
            state = self._candidates[index] = _Candidate(index)
            self._open += 1
        state.rest.update((name, value) for name, value in candidate.items() if name not in ("content", "index"))
        texts: list[str] = []
        thoughts: list[str] = []
        deltas: list[ToolCallDelta] = []
        for part in (candidate.get("content") or {}).get("parts") or ():
            self._take_part(state, part, texts, thoughts, deltas)
        reason = as_text(candidate.get("finishReason"))
        finish = finish_of(reason, ())
        if finish and state.open is not None:
            deltas.append(_close(state))
        chunk = Chunk("".join(texts), "".join(thoughts), "", tuple(deltas), None, None, index, raw)
        if not finish:
            chunks.append(chunk)
            return
        if reason in FINISHES:
            if chunk.has_content:
                chunks.append(chunk)
            raise failed(self._who, self._status, candidate)
        self._finish(state, candidate, finish_of(reason, state.calls), chunk, chunks)

    def _finish(
        self, state: _Candidate, candidate: dict[str, Any], finish: str, chunk: Chunk, chunks: list[Chunk]
    ) -> None:
        if not state.finish:
            self._open -= 1
        state.finish = finish
        refusal = refusal_of({}, candidate)
        usage = None if self._open else self._usage
        chunks.append(chunk._replace(refusal=refusal, finish_reason=finish, usage=usage))
        if finish != "content_filter" or refusal or self._open:
            return
        if not any(each.answered or each.rest.get("finishMessage") for each in self._candidates.values()):
            raise blocked(self._who, self._status, "the answer", as_text(candidate.get("finishReason")))

    def _take_part(
        self,
        state: _Candidate,
        part: dict[str, Any],
        texts: list[str],
        thoughts: list[str],
        deltas: list[ToolCallDelta],
    ) -> None:
        call = part.get("functionCall")
        if call is not None:
            deltas += self._take_call(state, part, call)
            return
        text = part.get("text")
        if text is None:  # code that ran, a picture, and whatever may come to be
            state.seal()
            state.parts.append(part)
            return
        if type(text) is not str:
            raise TypeError(f"{type(text).__name__} in place of text")
        state.add_text(part, text)
        self._size += len(text)
        (thoughts if part.get("thought") is True else texts).append(text)

    def _take_call(self, state: _Candidate, part: dict[str, Any], given: dict[str, Any]) -> list[ToolCallDelta]:
        """A whole call, the beginning of one, more of its arguments, or its end."""
        deltas: list[ToolCallDelta] = []
        name = as_text(given.get("name"))
        call = state.open
        if name:
            if call is not None:
                deltas.append(_close(state))
            orjson.dumps(given.get("args"))  # nested too deep to be written, it is refused here and not at the end
            call = state.open = _Call(len(state.calls), name, dict(part), given.get("args"))
            state.seal()
            state.parts.append(call)
            state.calls.append(call)
            response_id = as_text(self._meta.get("responseId"))
            identity = as_text(given.get("id")) or call_id(response_id, state.index, call.number)
            deltas.append(ToolCallDelta(call.number, identity, name))
        elif call is None:
            raise self._malformed("with a function call that names no function")
        elif part.get("thoughtSignature"):
            call.part.setdefault("thoughtSignature", part["thoughtSignature"])
        for piece in given.get("partialArgs") or ():
            self._size += call.arguments.add(piece)
        if given.get("willContinue") is not True:
            deltas.append(_close(state))
        return deltas


def _close(state: _Candidate) -> ToolCallDelta:
    """The arguments of the open call, now that they are all there."""
    call = state.open
    assert call is not None, "only while one is open"
    state.open = None
    call.written = as_json_text(call.arguments.value())
    return ToolCallDelta(call.number, arguments=call.written)
