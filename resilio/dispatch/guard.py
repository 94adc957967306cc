"""What stands between a stream and its caller where the route has checks of answers.

Checks with a window look while the text flows: its last characters are held back, so that no part of a match is handed
out. All others look at the end, and the end is held back for them: a caller who saw a finish reason has an answer that
passed. With a window, fragments of tool calls wait for the end too, as nothing can be told from a half of them.

Pure but for the checks it runs at the end. It holds what is not handed out yet; the stream keeps what was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from resilio.checks import Checks, Sieve, Verdict
from resilio.models import Answer, Chunk, Reply

if TYPE_CHECKING:
    from resilio.dispatch.call import Call
    from resilio.dispatch.checked import Checked

__all__ = ["Guard"]


class Guard:
    """The checks of one stream.

    Attributes:
        ready: Chunks that may be handed out.
        originals: Text as it was written, handed out or not: what another target would have to go on from.
        ended: The answer is whole and passed.
    """

    def __init__(self, checked: Checked, call: Call, checks: Checks) -> None:
        self._checked = checked
        self._call = call
        self._at_end = checks.at_end
        self._patterns = tuple(its for its in checks.in_window if its.pattern is not None)
        self._lengths = tuple(its for its in checks.in_window if its.pattern is None)
        self._windowed = bool(checks.in_window)
        self._sieves: dict[str, list[Sieve]] = {}
        self._length = 0
        self._kept: list[Chunk] = []
        self._out: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
        """What has come out, by field, the last of it perhaps not handed out yet."""
        self._flushed = False
        self.ready: deque[Chunk] = deque()
        self.originals: list[str] = []
        self.ended = False

    @property
    def holds_tools(self) -> bool:
        """Whether fragments of tool calls wait in it: then nobody else can go on with the answer."""
        return any(chunk.tool_calls for chunk in self._kept)

    def take(self, chunks: deque[Chunk]) -> None:
        """Take what was decoded; what may be handed out of it is in `ready`.

        Raises:
            CheckDenied: A check with a window found something.
        """
        while chunks:
            chunk = chunks.popleft()
            if chunk.index:  # of another choice, which nobody asked for
                continue
            if chunk.text:
                self.originals.append(chunk.text)
            if self._windowed:
                self._through_window(chunk)
            elif chunk.finish_reason or self._kept:
                self._kept.append(chunk)
            else:
                self._pass(chunk)

    def _through_window(self, chunk: Chunk) -> None:
        if chunk.tool_calls or chunk.finish_reason or chunk.usage is not None:
            self._kept.append(Chunk(tool_calls=chunk.tool_calls, finish_reason=chunk.finish_reason, usage=chunk.usage))
        self._length += len(chunk.text)
        for check in self._lengths:
            if (reason := check.measure(self._length)) is not None:
                self._checked.in_window(self._call, check, Verdict("deny", reason))
        self._pass(
            Chunk(
                self._sieved("text", chunk.text),
                self._sieved("reasoning", chunk.reasoning),
                self._sieved("refusal", chunk.refusal),
            )
        )
        self._see_denials()

    def _sieved(self, field: str, piece: str, *, last: bool = False) -> str:
        if not piece and not (last and field in self._sieves):
            return piece
        sieves = self._sieves.get(field)
        if sieves is None:
            sieves = self._sieves[field] = [check.sieve() for check in self._patterns]
        for sieve in sieves:
            piece = sieve.feed(piece) + sieve.finish() if last else sieve.feed(piece)
        return piece

    def _see_denials(self) -> None:
        for sieves in self._sieves.values():
            for check, sieve in zip(self._patterns, sieves, strict=True):
                if sieve.denied_at is not None:
                    self._checked.in_window(self._call, check, Verdict("deny", check.found_at(sieve.denied_at)))

    def _pass(self, chunk: Chunk) -> None:
        if not (chunk.has_content or chunk.finish_reason or chunk.usage is not None):
            return
        for field, parts in self._out.items():
            if piece := getattr(chunk, field):
                parts.append(piece)
        self.ready.append(chunk)

    # --- the end -----------------------------------------------------------------------------------

    def flush(self) -> None:
        """There is no more of it: decide about what was held back.

        Raises:
            CheckDenied: As for `take`.
        """
        if self._flushed:
            return
        self._flushed = True
        if not self._windowed:
            return
        text, reasoning, refusal = (self._sieved(field, "", last=True) for field in self._out)
        self._pass(Chunk(text, reasoning, refusal))
        self._see_denials()
        for index, check in enumerate(self._patterns):
            places = sum(sieves[index].found for sieves in self._sieves.values())
            reason = f"{places} place{'s' if places != 1 else ''}"
            self._checked.in_window(self._call, check, Verdict("redact", reason) if places else Verdict())
        for check in self._lengths:
            self._checked.in_window(self._call, check, Verdict())

    async def end(self, reply: Reply) -> None:
        """The answer is over: let what was held back go, if it passes.

        Args:
            reply: The answer as `shown` has it.

        Raises:
            CheckDenied: It does not pass.
        """
        self._see_tools(reply)
        await self._checked.at_end(self._call, self._at_end, reply)
        for chunk in self._kept:
            self._pass(chunk)
        self._kept.clear()
        self.ended = True

    def _see_tools(self, reply: Reply) -> None:
        """Arguments of tool calls cannot be redacted once they are in pieces."""
        for check in self._patterns:
            for tool in reply.tool_calls:
                if (reason := check.find(tool.arguments)) is not None:
                    self._checked.in_window(self._call, check, Verdict("deny", f"in a tool call: {reason}"))

    def shown(self, answer: Answer, *, whole: bool, text: str, reasoning: str) -> Answer:
        """The answer as the caller gets to see it.

        Args:
            answer: As it was written.
            whole: Up to its end; else `text` and `reasoning` are what was handed out.
            text: For a part.
            reasoning: Likewise.
        """
        if whole and not self._windowed:
            return answer
        if whole:
            text, reasoning, refusal = ("".join(self._out[field]) for field in ("text", "reasoning", "refusal"))
            return replace(answer, text=text, reasoning=reasoning, refusal=refusal, raw={}, extras=None)
        tools = () if self._windowed else answer.tool_calls
        refusal = "".join(self._out["refusal"])
        return replace(answer, text=text, reasoning=reasoning, refusal=refusal, tool_calls=tools, raw={}, extras=None)
