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
    MalformedResponse,
    ProviderError,
    ProviderUnavailable,
    RequestUnsuitable,
    StreamStopped,
    TransportError,
)
from resilio.models import Answer, Chunk, Usage
from resilio.statemachines.stream import StreamFlow, StreamState

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Attempt
    from resilio.transport import Response

__all__ = ["Leg", "clock_error", "forget_frames"]

GRACE: Final = 2.0
"""Seconds a server may take, after the finish reason, to send usage and end the response. One that holds the
connection open longer loses it; the caller loses nothing."""

PIECE: Final = 256
"""Tokens that a stream which has used more than was reserved for it reserves at a time."""

PROVIDERS_SHARE: Final = 0.9
"""Of the total clock: where we waited less than this for the provider, a slow reader used it up."""


class Leg:
    """An open upstream stream.

    Args:
        attempt: The attempt it is part of, and settles.
        response: The response, its head read.
        expected: For a leg that starts the answer over: the text that was handed out already. It must come again,
            letter by letter, and is swallowed; where it does not the leg breaks, and no harm is done.
        blank: For a leg that continues a text whose last blanks could not be sent: they are swallowed where it begins
            with them.
    """

    def __init__(self, attempt: Attempt, response: Response, expected: str = "", blank: str = "") -> None:
        self.attempt = attempt
        self.flow = StreamFlow()
        self.ready: deque[Chunk] = deque()
        """Decoded and not yet handed out."""
        self._response = response
        self._decoder = attempt.target.codec.stream_decoder(response.status, response.headers)
        self._expected = expected
        self._blank = blank
        self._repeated = 0
        """Chunks that were swallowed and show that the answer is being written anew."""
        self._ended = False
        """The response was read to its end."""
        settings = attempt.plan.route.settings
        self._clocks = settings.clocks
        self._comments_are_life = "comments" in settings.counts_as_life
        self._reasoning_is_life = "reasoning" in settings.counts_as_life
        self._total_until = attempt.started + settings.clocks.total
        self._silent = 0.0
        """Seconds waited for a sign of life: what the idle clock counts, never the caller's own time."""
        self._waited = 0.0
        """Seconds waited for the provider altogether."""
        self._grace = GRACE
        """Seconds it may still be waited for, once the answer is whole."""
        self._broken: ProviderError | TransportError | None = None
        self._limit = attempt.target.provider.settings.max_body_bytes
        """Characters; what frames them on the wire is not counted, as it may be many times as much."""
        self.held = 0
        """Characters of content decoded so far, what was handed out by an earlier leg not counted."""
        held = attempt.held
        self._reserved = held is not None and held.stops
        """Whether a budget would end it for using more than was reserved."""
        self._room = attempt.room() if self._reserved else 0
        """Characters it may hold before it does."""
        self._slow = False
        self.first_token_at = attempt.started
        """The instant of its first content."""
        self.flow.step("head")

    # --- reading -------------------------------------------------------------------------------

    async def read_first(self, scope: asyncio.Timeout) -> None:
        """Read up to the first content that is new to the caller, or the end of an answer that has none.

        Args:
            scope: The attempt's own scope, which bounds this; comments move it, where they count as life. So does
                text that is swallowed: a target that answers anew has begun, and is on the idle clock from there.
        """
        attempt, decoder, clock = self.attempt, self._decoder, self.attempt.engine.clock
        comments, repeated = decoder.comments, self._repeated
        began: float | None = None
        alive = False
        # A whole answer without any content waits for nothing here: what follows it has its own, short clock.
        while not (alive or self._ended or decoder.complete):
            alive = self._take(await self._response.read_some())
            if self._repeated > repeated:
                repeated = self._repeated
                began = clock() if began is None else began
                if not alive:
                    attempt.watch(scope, self._window(clock()))
            elif self._comments_are_life and decoder.comments > comments:
                comments = decoder.comments
                attempt.watch(scope, attempt.first_token_window() if began is None else self._window(clock()))
        now = clock()
        self.first_token_at, self._waited = now, now - attempt.started
        latency = (now if began is None else began) - attempt.started
        self._slow = latency > attempt.target.provider.settings.breaker.slow_first_token
        attempt.lease.first_token(now, latency)
        if alive:
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
        window = self._window(now)
        alive = False
        try:
            if window.until <= now:  # checked on entry: bytes at hand must not outrun the total clock
                raise TimeoutError
            async with asyncio.timeout_at(window.until):
                try:
                    alive = self._take(await self._response.read_some())
                finally:  # also at the caller's own time-out: it may come back and read on
                    self._count(now, alive=alive or (self._comments_are_life and self._decoder.comments > comments))
        except TimeoutError as exc:
            if self._is_whole():
                return False
            raise self._break(clock_error(window, self.attempt.target.name), window) from exc
        except (ProviderError, TransportError) as exc:
            if self._is_whole():
                return False
            self._break(exc, None)
            raise
        if self._reserved and self.held > self._room and not self._decoder.complete:
            await self._ask_for_more()
        return True

    async def _ask_for_more(self) -> None:
        """It has used more than was reserved for it: reserve more, or end it.

        Raises:
            StreamStopped: The budget has nothing left.
        """
        attempt = self.attempt
        assert attempt.held is not None, "only what was reserved can be used up"
        refused = await attempt.held.widen(attempt.need_of_more(PIECE), attempt.call.until)
        if refused is not None:
            raise self._break(StreamStopped(attempt.target.name, refused.name, refused.entity or ""), None)
        self._room += PIECE * 4

    def _count(self, since: float, *, alive: bool) -> None:
        """Add the time of one read to the clocks that count only our waiting."""
        waited = self.attempt.engine.clock() - since
        self._waited += waited
        self._silent = 0.0 if alive else self._silent + waited
        if self._decoder.complete:
            self._grace -= waited

    def _is_whole(self) -> bool:
        """Whether an error means nothing, because the answer is whole and only its wrapping is missing."""
        self._ended = self._ended or self._decoder.complete
        return self._decoder.complete

    def _break(self, exc: ProviderError | TransportError, window: Window | None) -> ProviderError | TransportError:
        """Settle a stream that broke, by this clock if there is one; returns the error."""
        if window is not None:
            self.flow.step("stall")
            if window.clock == "total" and self._waited < PROVIDERS_SHARE * window.seconds:
                # The caller took the time, not the provider: as if the caller's deadline had come.
                window = window._replace(clock="deadline", shortened=True)
        self._response.close()
        self.flow.step("cut")
        self._broken = exc
        self.attempt.break_off(exc, self.usage(self.answer()), window)
        return exc

    def _take(self, data: bytes) -> bool:
        """Decode what came; True if it shows that the answer is being written."""
        if data:
            chunks = self._decoder.feed(data)
        else:
            chunks = self._decoder.finish()
            self._ended = True
        if self._expected and chunks:
            chunks = [kept for chunk in chunks if (kept := self._swallow(chunk)) is not None]
        if self._blank and chunks:
            chunks = [self._without_blank(chunk) for chunk in chunks]
        alive = False
        for chunk in chunks:  # once for every chunk of every stream: plain tests, the likely one first
            if chunk.text:
                self.held += len(chunk.text)
                alive = True
            elif chunk.tool_calls or chunk.refusal:
                self.held += len(chunk.refusal) + sum(len(call.arguments) for call in chunk.tool_calls)
                alive = True
            elif chunk.reasoning:
                self.held += len(chunk.reasoning)
                alive = alive or self._reasoning_is_life
            elif not chunk.finish_reason and chunk.usage is None:
                continue
            self.ready.append(chunk)
        if self.held > self._limit:
            raise MalformedResponse(
                f"{self.attempt.target.name} wrote more than max_body_bytes = {self._limit}", ErrorClass.MALFORMED
            )
        return alive

    def _swallow(self, chunk: Chunk) -> Chunk | None:
        """Compare a chunk with what was handed out before; what goes beyond it is kept.

        Raises:
            RequestUnsuitable: It differs, or the answer ends too soon: this target cannot go on.
        """
        expected, text = self._expected, chunk.text
        if not expected:  # chunks that came in the same bytes as the last of it
            return chunk
        common = min(len(expected), len(text))
        if chunk.index != 0 or expected[:common] != text[:common]:
            raise _differs(self.attempt.target.name)
        self._expected = expected[common:]
        self._repeated += bool(text or (chunk.reasoning and self._reasoning_is_life))
        rest = chunk._replace(text=text[common:], reasoning="", raw=None)  # its raw form has what is swallowed
        if not (rest.text or rest.tool_calls or rest.refusal or rest.finish_reason):
            return None
        if self._expected:
            raise _differs(self.attempt.target.name)
        return rest

    def _without_blank(self, chunk: Chunk) -> Chunk:
        """Take away blanks that were handed out already."""
        text = chunk.text
        if not text or chunk.index != 0:
            return chunk
        common = min(len(self._blank), len(text))
        if text[:common] != self._blank[:common]:
            self._blank = ""
            return chunk
        self._blank = self._blank[common:]
        return chunk._replace(text=text[common:], raw=None)

    def _window(self, now: float) -> Window:
        until = self.attempt.call.until
        if self._decoder.complete:
            return Window("grace", self._grace, min(now + self._grace, until), shortened=False)
        until, name = min(
            (now + self._clocks.idle - self._silent, "idle"), (self._total_until, "total"), (until, "deadline")
        )
        return Window(name, self._clocks.idle if name == "idle" else self._clocks.total, until, name == "deadline")

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
        self.attempt.succeed(usage, slow=self._slow, latency=self._waited)
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


def clock_error(window: Window, name: str) -> ProviderUnavailable:
    """The error of a clock that fired while the target of this name was writing."""
    what = {
        "idle": f"{name} was silent for {window.seconds:.3g} s in mid-answer",
        "total": f"{name} was still writing when the total clock of {window.seconds:.3g} s fired",
    }.get(window.clock, f"{name} was still writing at the caller's deadline")
    error_class = ErrorClass.IDLE if window.clock == "idle" else ErrorClass.TOTAL
    return ProviderUnavailable(what, error_class, clock=window.clock, clock_seconds=window.seconds)


def forget_frames(exc: BaseException) -> None:
    """Take the traceback from an error that broke a leg, and from its causes.

    Their frames know the leg, which knows the error: left so, the response would stay alive until the cycle
    collector comes by. What broke stands in the message; the frames are ours.
    """
    each: BaseException | None = exc
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__


def _differs(name: str) -> RequestUnsuitable:
    return RequestUnsuitable(
        f"{name} cannot go on: its answer differs from what was handed out already", ErrorClass.UNSUPPORTED
    )
