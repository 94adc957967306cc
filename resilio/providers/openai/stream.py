"""What is read from a streamed answer.

A stream is complete when every choice seen in it has a finish reason, whether ``[DONE]`` comes or not, and
never without: a clean end of the connection proves nothing, and no official client checks. The rule that
keeps it simple: each event of the stream is one parsed object, taken whole or refused whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilio.errors import ErrorClass, MalformedResponse
from resilio.models import Answer, Chunk, ToolCallDelta, Usage
from resilio.providers.classify import error_in_answer, refused_answer
from resilio.providers.openai.answer import decode_answer, failed_finish, read_content, read_usage
from resilio.providers.openai.assembly import StreamedChoice, as_streamed, assembled
from resilio.providers.openai.faults import FAULTS, FINISH_SPELLINGS, FINISHES
from resilio.providers.reading import as_text
from resilio.providers.sse import MAX_EVENT_BYTES
from resilio.providers.stream import EventStream

__all__ = ["OpenAIStreamDecoder"]


class OpenAIStreamDecoder(EventStream):
    """Reads one streamed response; see `resilio.providers.base.StreamDecoder` for the contract.

    Every JSON object of the stream gives at least one chunk, even one that says nothing (Azure's filter
    results, the role), so whoever passes `raw` on misses nothing. An object with several choices gives a
    chunk for each, and only the first of them carries `raw`.
    """

    __slots__ = ("_choices", "_meta", "_open", "_raw_usage", "_usage")

    faults = FAULTS

    def __init__(
        self, who: str, status: int, headers: Mapping[str, str], max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(who, status, headers, max_event_bytes)
        self._choices: dict[int, StreamedChoice] = {}
        self._open = 0  # choices without a finish reason
        self._usage: Usage | None = None
        self._raw_usage: Any = None
        self._meta: Mapping[str, Any] = {}  # an object that names id and model

    def __repr__(self) -> str:
        state = "complete" if self.complete else "done" if self.done else "open"
        return f"<OpenAIStreamDecoder {self._who} {state}, {len(self._choices)} choices, {self._parser!r}>"

    @property
    def complete(self) -> bool:
        """Every choice seen has its finish reason, and nothing went wrong."""
        return bool(self._choices) and not self._open and self._error is None

    def answer(self) -> Answer:
        """Everything so far; `finish_reason` is empty while the first choice has none.

        `raw` is what the same server would have sent without streaming, as far as it came.
        """
        first = self._choices.get(0) or next(iter(self._choices.values()), None) or StreamedChoice()
        return Answer(
            "".join(first.text),
            first.finish,
            self._usage,
            first.tool_calls(),
            "".join(first.reasoning),
            "".join(first.refusal),
            as_text(self._meta.get("model")),
            as_text(self._meta.get("id")),
            assembled(self._meta, self._choices, self._raw_usage),
        )

    # --- what the dialect says ----------------------------------------------------------------------

    def _take_whole(self, body: bytes, chunks: list[Chunk]) -> None:
        """A server that ignored `stream`: its one answer becomes one object of a stream."""
        answer = decode_answer(self._who, self._status, self._headers, body)
        try:
            choices = [as_streamed(choice, answer.finish_reason) for choice in answer.raw["choices"]]
        except (AttributeError, TypeError, ValueError) as exc:
            raise self._malformed(f"with JSON of another shape ({exc})") from exc
        self._take({**answer.raw, "object": "chat.completion.chunk", "choices": choices}, chunks)

    def _ends(self, body: dict[str, Any]) -> bool:
        choices = body.get("choices")
        return isinstance(choices, list) and any(
            isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
        )

    def _unfinished(self) -> MalformedResponse:
        if self._choices:
            how = "then [DONE]" if self.done else "then the end of the stream"
            return self._malformed(f"{how}, without a finish_reason", ErrorClass.TRUNCATED)
        if self.done:
            return self._malformed("with a stream without any choice")
        return self._malformed("with a stream that ended before any choice", ErrorClass.TRUNCATED)

    def _take(self, body: dict[str, Any], chunks: list[Chunk]) -> None:
        """Take one object of the stream in."""
        if self._take_plain(body, chunks):
            return
        usage = None
        if (raw_usage := body.get("usage")) is not None:
            usage = read_usage(raw_usage, body.get("service_tier"))
            if usage is not None:
                self._usage, self._raw_usage = usage, raw_usage  # the last counts: some repeat it, growing
        if not self._meta.get("id"):
            self._meta = body
        choices = body.get("choices")
        if not choices:
            chunks.append(Chunk(usage=usage, raw=body))
            return
        raw: Mapping[str, Any] | None = body
        try:
            for choice in choices:
                self._take_choice(choice, usage, raw, chunks)
                usage = raw = None
        except (AttributeError, TypeError) as exc:
            # A number where an object should be, text where a list should: not worth a check a field.
            raise self._malformed(f"with an event of another shape ({exc})") from exc

    def _take_plain(self, body: dict[str, Any], chunks: list[Chunk]) -> bool:
        """The event most streams consist of: a few letters of a choice that is known. False: it is not one."""
        choices = body.get("choices")
        if type(choices) is not list or len(choices) != 1 or body.get("usage") is not None:
            return False
        choice = choices[0]
        if type(choice) is not dict or choice.get("finish_reason"):
            return False
        delta = choice.get("delta")
        if type(delta) is not dict or len(delta) != 1:
            return False
        text, index = delta.get("content"), choice.get("index")
        if type(text) is not str or not text or type(index) is not int or (state := self._choices.get(index)) is None:
            return False
        state.text.append(text)
        chunks.append(Chunk(text, index=index, raw=body))
        return True

    def _take_choice(
        self, choice: dict[str, Any], usage: Usage | None, raw: Mapping[str, Any] | None, chunks: list[Chunk]
    ) -> None:
        index = choice.get("index") or 0
        state = self._choices.get(index)
        if state is None:
            if type(index) is not int:
                raise TypeError("index is not a number")
            state = self._choices[index] = StreamedChoice()
            self._open += 1
        text = reasoning = refusal = ""
        tools: tuple[ToolCallDelta, ...] = ()
        delta = choice.get("delta")
        if delta:
            text, reasoning = read_content(delta)
            if text:
                state.text.append(text)
            if reasoning:
                state.reasoning.append(reasoning)
            if delta.get("refusal"):
                refusal = as_text(delta["refusal"])
                state.refusal.append(refusal)
            if delta.get("tool_calls"):
                tools = tuple([state.take_tool(call) for call in delta["tool_calls"]])
            elif delta.get("function_call"):
                tools = (state.take_tool({"index": 0, "function": delta["function_call"]}),)
        finish = choice.get("finish_reason") or None
        if finish is not None:
            if finish in FINISHES or choice.get("error"):
                chunk = Chunk(text, reasoning, refusal, tools, None, usage, index, raw)
                self._give_up(choice, finish, chunk, chunks)
            finish = FINISH_SPELLINGS.get(finish, as_text(finish))
            if not state.finish:
                self._open -= 1
            state.finish = finish
        chunks.append(Chunk(text, reasoning, refusal, tools, finish, usage, index, raw))
        if finish == "content_filter" and not self._open:
            self._check_refused()

    def _give_up(self, choice: dict[str, Any], finish: str, chunk: Chunk, chunks: list[Chunk]) -> None:
        if chunk.has_content:
            chunks.append(chunk)
        if choice.get("error"):
            raise error_in_answer(FAULTS, self._who, self._status, choice)
        raise failed_finish(self._who, self._status, finish)

    def _check_refused(self) -> None:
        if not any(choice.answered for choice in self._choices.values()):
            raise refused_answer(self._who, self._status)
