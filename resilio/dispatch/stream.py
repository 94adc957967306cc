"""A stream in the caller's hands: chunks in, chunks out, never a silent half answer.

It ends in one of three ways: complete (the dialect's finish reason was seen), broken (`StreamBroken`,
with the text so far) or left early by the caller. A scope is open only inside `__anext__`, around reads
from upstream; none is while the caller's code runs, and none of the clocks counts the caller's time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from resilio.dispatch.call import Window
from resilio.errors import (
    ErrorClass,
    ProviderError,
    ProviderUnavailable,
    ResilioError,
    StreamBroken,
    TransportError,
)
from resilio.models import Chunk, Reply
from resilio.transport import Response

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Attempt

__all__ = ["Stream"]

GRACE = 2.0
"""Seconds a server may take, after the finish reason, to send usage and end the response; a server
that holds the connection open longer loses it, and the caller loses nothing."""


class Stream:
    """An open stream: iterate over its chunks; `reply` is there once it is over."""

    def __init__(self, attempt: Attempt, response: Response, clock_started: float) -> None:
        self._attempt = attempt
        self._call = attempt.call
        self._clock = attempt.call.engine.clock
        self._response = response
        self._decoder = attempt.target.codec.stream_decoder(response.status, response.headers)
        self._ready: deque[Chunk] = deque()
        self._total_until = clock_started + attempt.plan.route.settings.clocks.total
        self._slow = False
        self._ended = False
        """The response was read to its end."""
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """The whole story: complete or not, text, usage, attempts.

        Raises:
            RuntimeError: The stream is not over yet.
        """
        if self._reply is None:
            raise RuntimeError("stream.reply is there once the stream is over; iterate to its end first")
        return self._reply

    @property
    def target(self) -> str:
        """The target that answers."""
        return self._attempt.target.name

    async def read_until_content(self) -> None:
        """Read up to the first content, or the end of an answer that has none. The attempt's scope bounds it."""
        while not self._ended:
            await self._read()
            if any(chunk.has_content for chunk in self._ready):
                break
        now = self._clock()
        latency = now - self._attempt.started
        self._slow = latency > self._attempt.target.provider.settings.breaker.slow_first_token
        self._attempt.lease.first_token(now, latency)
        self._call.first_token = now - self._call.started

    async def _read(self) -> None:
        """One read from upstream, decoded; at the end of the bytes, the decoder's verdict."""
        data = await self._response.read_some()
        if data:
            chunks = self._decoder.feed(data)
        else:
            chunks = self._decoder.finish()
            self._ended = True
        self._ready.extend(
            chunk for chunk in chunks if chunk.has_content or chunk.finish_reason or chunk.usage is not None
        )

    # --- iteration -----------------------------------------------------------------------------

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Chunk:
        if self._reply is not None:
            raise StopAsyncIteration
        while not self._ready:
            if self._ended:
                self._complete()
                raise StopAsyncIteration
            await self._read_in_time()
        return self._ready.popleft()

    async def _read_in_time(self) -> None:
        """One read under whichever clock fires first.

        Raises:
            StreamBroken: A clock fired, the connection ended or the bytes made no sense; nobody was told
                that the answer is whole.
        """
        window = self._window()
        try:
            async with asyncio.timeout_at(window.until):
                await self._read()
        except TimeoutError as exc:
            if self._decoder.complete:
                self._ended = True
                return
            raise self._broken(self._clock_error(window), window) from exc
        except (ProviderError, TransportError) as exc:
            if self._decoder.complete:  # the answer was whole; what is missing is only its wrapping
                self._ended = True
                return
            raise self._broken(exc, None) from exc

    def _window(self) -> Window:
        now = self._clock()
        idle = GRACE if self._decoder.complete else self._attempt.plan.route.settings.clocks.idle
        until, name = min((now + idle, "idle"), (self._total_until, "total"), (self._call.until, "deadline"))
        return Window(name, max(0.0, until - now), until, name == "deadline")

    def _clock_error(self, window: Window) -> ResilioError:
        what = {
            "idle": f"was silent for {window.seconds:.3g} s in mid-answer",
            "total": "was still writing when the total clock fired",
            "deadline": "was still writing at the deadline",
        }[window.clock]
        return ProviderUnavailable(
            f"{self.target} {what}",
            ErrorClass.IDLE if window.clock == "idle" else ErrorClass.TOTAL,
            clock=window.clock,
            clock_seconds=window.seconds,
        )

    # --- the three ends ------------------------------------------------------------------------

    def _complete(self) -> None:
        self._response.close()
        answer = self._decoder.answer()
        usage = self._call.usage_or_estimate(answer.usage, self._attempt.plan, answer)
        self._attempt.succeed(usage, slow=self._slow)
        self._reply = self._call.succeed(self._call.reply(answer, complete=True, usage=usage))

    def _broken(self, exc: ResilioError, window: Window | None) -> StreamBroken:
        answer = self._decoder.answer()
        usage = self._call.usage_or_estimate(answer.usage, self._attempt.plan, answer)
        self._response.close()
        self._attempt.break_off(exc, usage, window)
        self._reply = self._call.reply(answer, complete=False, usage=usage)
        error = StreamBroken(f"stream broken after {len(answer.text)} characters: {exc}", answer.text, usage)
        error.attempts = self._reply.attempts
        self._call.fail(error)
        return error

    def leave(self) -> None:
        """The caller goes away: close upstream and settle what was used. Harmless once the stream is over."""
        if self._reply is not None:
            return
        if self._decoder.complete:
            self._complete()
            return
        answer = self._decoder.answer()
        usage = self._call.usage_or_estimate(answer.usage, self._attempt.plan, answer)
        self._response.close()
        gone = asyncio.CancelledError("the caller left the stream early")
        self._attempt.fail(gone, usage)
        self._reply = self._call.reply(answer, complete=False, usage=usage)
        self._call.fail(gone)

    def __repr__(self) -> str:
        state = "over" if self._reply is not None else "open"
        return f"<Stream from {self.target}, {state}>"
