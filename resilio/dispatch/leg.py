"""One upstream stream: bytes from one target, under its clocks, until it is complete, broken or given up.

A leg belongs to one attempt and settles it. The caller's `Stream` walks over one leg after the other; `complete()`
with ``upstream_stream = "auto"`` walks over one and keeps all it holds. Nothing here decides what comes after a break.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from resilio.dispatch.call import Window
from resilio.errors import (
    ErrorClass,
    ProviderError,
    ProviderUnavailable,
    RequestUnsuitable,
    TransportError,
)
from resilio.models import Answer, Chunk, Usage
from resilio.statemachines.stream import StreamFlow, StreamState

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Attempt
    from resilio.transport import Response

__all__ = ["Leg"]

GRACE: Final = 2.0
"""Seconds a server may take, after the finish reason, to send usage and end the response. One that holds the
connection open longer loses it; the caller loses nothing."""


class Leg:
    """An open upstream stream.

    Args:
        attempt: The attempt it is part of, and settles.
        response: The response, its head read.
        expected: For a leg that starts the answer over: the text that was handed out already. It must come again,
            letter by letter, and is swallowed; where it does not the leg breaks, and no harm is done.
    """

    def __init__(self, attempt: Attempt, response: Response, expected: str = "") -> None:
        self.attempt = attempt
        self.flow = StreamFlow()
        self.ready: deque[Chunk] = deque()
        """Decoded and not yet handed out."""
        self.plain = True
        """Only text of one choice was handed out: what another target could go on from."""
        self._response = response
        self._decoder = attempt.target.codec.stream_decoder(response.status, response.headers)
        self._expected = expected
        self._ended = False
        """The response was read to its end."""
        settings = attempt.plan.route.settings
        self._clocks = settings.clocks
        self._comments_are_life = "comments" in settings.counts_as_life
        self._reasoning_is_life = "reasoning" in settings.counts_as_life
        self._total_until = attempt.started + settings.clocks.total
        self._listening: float | None = None
        """Since when we wait for a sign of life: the idle clock counts from here, never the caller's own time."""
        self._broken: ProviderError | TransportError | None = None
        self.held = 0
        """Characters of text decoded so far."""
        self._slow = False
        self.first_token_at = attempt.started
        """The instant of its first content."""
        self.flow.step("head")

    # --- reading -------------------------------------------------------------------------------

    async def read_first(self, scope: asyncio.Timeout) -> None:
        """Read up to the first sign of life, or the end of an answer that has none.

        Args:
            scope: The attempt's own scope, which bounds this; comments move it, where they count as life.
        """
        attempt = self.attempt
        comments = self._decoder.comments
        while not self._ended:
            if self._take(await self._response.read_some()):
                break
            if self._comments_are_life and self._decoder.comments > comments:
                comments = self._decoder.comments
                attempt.extend(scope)
        now = attempt.engine.clock()
        self.first_token_at = now
        latency = now - attempt.started
        self._slow = latency > attempt.target.provider.settings.breaker.slow_first_token
        attempt.lease.first_token(now, latency)
        if not self._ended:
            self.flow.step("content")

    async def read(self) -> bool:
        """One read from upstream under whichever clock fires first; False when the answer is whole.

        Raises:
            ProviderError, TransportError: It broke; the attempt is settled and the response closed.
        """
        if self._ended:
            return False
        if self._broken is not None:
            raise self._broken
        comments = self._decoder.comments
        now = self.attempt.engine.clock()
        if self._listening is None:
            self._listening = now
        window = self._window(self._listening, now)
        try:
            if window.until <= now:  # checked on entry: bytes at hand must not outrun the total clock
                raise TimeoutError
            async with asyncio.timeout_at(window.until):
                alive = self._take(await self._response.read_some())
        except TimeoutError as exc:
            return self._over_or_broken(self._clock_error(window), window, exc)
        except (ProviderError, TransportError) as exc:
            return self._over_or_broken(exc, None, None)
        except BaseException:  # the caller's own time-out; it may come back and read on
            self._listening = None
            raise
        if alive or (self._comments_are_life and self._decoder.comments > comments):
            self._listening = None
        return True

    def _over_or_broken(
        self, exc: ProviderError | TransportError, window: Window | None, cause: BaseException | None
    ) -> bool:
        """What an error means: nothing, where the answer is whole and only its wrapping is missing."""
        if self._decoder.complete:
            self._ended = True
            return False
        if window is not None:
            self.flow.step("stall")
        self._response.close()
        self.flow.step("cut")
        self._broken = exc
        self.attempt.break_off(exc, self.usage(self.answer()), window)
        raise exc from cause

    def _take(self, data: bytes) -> bool:
        """Decode what came; True if it shows that the answer is being written."""
        if data:
            chunks = self._decoder.feed(data)
        else:
            chunks = self._decoder.finish()
            self._ended = True
        if self._expected and chunks:
            chunks = [kept for chunk in chunks if (kept := self._swallow(chunk)) is not None]
        alive = False
        for chunk in chunks:  # once for every chunk of every stream: plain tests, the likely one first
            if chunk.text:
                self.held += len(chunk.text)
                alive = True
            elif chunk.tool_calls or chunk.refusal:
                alive = True
            elif chunk.reasoning:
                alive = alive or self._reasoning_is_life
            elif not chunk.finish_reason and chunk.usage is None:
                continue
            self.ready.append(chunk)
        return alive

    def _swallow(self, chunk: Chunk) -> Chunk | None:
        """Compare a chunk with what was handed out before; what goes beyond it is kept.

        Raises:
            RequestUnsuitable: It differs, or the answer ends too soon: this target cannot go on.
        """
        expected, text = self._expected, chunk.text
        if text:
            common = min(len(expected), len(text))
            if chunk.index != 0 or expected[:common] != text[:common]:
                raise _differs(self.attempt.target.name)
            self._expected = expected[common:]
            rest = text[common:]
            return Chunk(rest, finish_reason=chunk.finish_reason, usage=chunk.usage, raw=chunk.raw) if rest else None
        if chunk.tool_calls or chunk.refusal or chunk.finish_reason:
            raise _differs(self.attempt.target.name)
        return None

    def _window(self, listening: float, now: float) -> Window:
        if self._decoder.complete:
            return Window("grace", GRACE, now + GRACE, shortened=False)
        until, name = min(
            (listening + self._clocks.idle, "idle"), (self._total_until, "total"), (self.attempt.call.until, "deadline")
        )
        return Window(name, self._clocks.idle if name == "idle" else self._clocks.total, until, name == "deadline")

    def _clock_error(self, window: Window) -> ProviderUnavailable:
        name = self.attempt.target.name
        what = {
            "idle": f"{name} was silent for {window.seconds:.3g} s in mid-answer",
            "total": f"{name} was still writing when the total clock of {window.seconds:.3g} s fired",
            "deadline": f"{name} was still writing at the caller's deadline",
        }.get(window.clock, "")
        error_class = ErrorClass.IDLE if window.clock == "idle" else ErrorClass.TOTAL
        return ProviderUnavailable(what, error_class, clock=window.clock, clock_seconds=window.seconds)

    # --- what it holds -------------------------------------------------------------------------

    @property
    def broken(self) -> ProviderError | TransportError | None:
        """What broke it, if anything did."""
        return self._broken

    @property
    def complete(self) -> bool:
        """The finish reason was seen: the answer is whole, whatever happens to the connection now."""
        return self._decoder.complete

    def answer(self) -> Answer:
        """Everything so far."""
        return self._decoder.answer()

    def usage(self, answer: Answer) -> Usage:
        """What the provider reported, or our own count of what came."""
        return self.attempt.call.usage_or_estimate(answer.usage, self.attempt.plan, answer)

    # --- the three ends ------------------------------------------------------------------------

    def finish(self) -> tuple[Answer, Usage]:
        """The answer is whole: settle it."""
        self._response.close()
        answer = self.answer()
        usage = self.usage(answer)
        self.flow.step("finish")
        self.attempt.succeed(usage, slow=self._slow)
        return answer, usage

    def abort(self, exc: BaseException) -> None:
        """Give it up; harmless once it is over. What it wrote is settled as used."""
        if self.flow.settled:
            return
        self._response.close()
        self.flow.step("abort")
        self.attempt.fail(exc, self.usage(self.answer()))

    def __repr__(self) -> str:
        return f"<Leg of {self.attempt.target.name}, {StreamState(self.flow.state)}>"


def _differs(name: str) -> RequestUnsuitable:
    return RequestUnsuitable(
        f"{name} cannot go on: its answer differs from what was handed out already", ErrorClass.UNSUPPORTED
    )
