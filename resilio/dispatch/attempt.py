"""One HTTP request to one target, under its clocks, settled on the one way back.

One scope per attempt (each further one would cost microseconds): where a new connection has to be opened
it is moved to the connect clock and back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from resilio.actor import Lease, Outcome
from resilio.affinity import Affinity
from resilio.budget import Need
from resilio.dispatch.call import Call, Plan, Window
from resilio.dispatch.leg import Leg, clock_error
from resilio.dispatch.money import used_of
from resilio.dispatch.prompt_cache import keep, settings_of
from resilio.dispatch.secrecy import hush, secrets_of
from resilio.errors import (
    ERROR_RULES,
    Counts,
    ErrorClass,
    ProviderUnavailable,
    ResilioError,
    TransportError,
)
from resilio.events import AttemptEnded, Event, Listener, tell
from resilio.models import Answer, AttemptRecord, Capability, HttpRequest, Reply, Request, Usage
from resilio.providers import EmbeddingCodec
from resilio.providers.prefix import limited
from resilio.spending import Reservation, Spending
from resilio.supervisor import RouteTarget, Supervisor
from resilio.transport import Exchange, Response, Transport

__all__ = ["Attempt", "Embedded", "Engine"]

T = TypeVar("T")

MAX_VECTOR_BYTES = 128 * 1024
"""Room for one vector in a response: 4,096 numbers at 32 bytes each, as JSON."""


class Embedded(NamedTuple):
    """What an attempt at embedding brings: the books of it, and a vector for each text."""

    reply: Reply
    vectors: Sequence[list[float]]


@dataclass(slots=True)
class Engine:
    """What every call shares."""

    supervisor: Supervisor
    transport: Transport
    clock: Callable[[], float]
    wall: Callable[[], float]
    rng: random.Random
    spending: Spending
    listeners: list[Listener] = field(default_factory=list)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Tasks that make calls on their own (many at once); closing the client ends them."""
    executor: Executor | None = None
    """Where blocking work runs; None: each part that has some has threads of its own."""
    affinity: Affinity = field(default_factory=Affinity)
    """Which target holds which conversation in its prompt cache."""

    def emit(self, event: Event) -> None:
        """Tell every listener; one that raises is logged and does no harm."""
        tell(self.listeners, event)


class Attempt:
    """One attempt of a call on a leased target."""

    __slots__ = (
        "_exchange", "_inside", "_scope", "_streams", "_waited", "_window", "call", "engine", "held", "how", "lease",
        "plan", "prefilled", "started", "target",
    )  # fmt: skip

    def __init__(
        self, engine: Engine, call: Call, plan: Plan, target: RouteTarget, lease: Lease, held: Reservation | None = None
    ) -> None:
        self.engine = engine
        self.call = call
        self.plan = plan
        self.target = target
        self.lease = lease
        self.started = engine.clock()
        self._waited = self.started - call.idle_since
        settings = target.provider.settings
        self._exchange = Exchange(network=settings.network, provider=settings.name)
        self.held = held
        """What it has reserved of budgets and caps; None: there are none."""
        self._window: Window | None = None
        """The clock that runs now."""
        self._inside: Window
        """The attempt's own clock, inside which the others run."""
        self._scope: asyncio.Timeout | None = None
        self.how = ""
        """For a leg that goes on where another broke off: prefill or restart."""
        self.prefilled = ""
        """What is sent beyond the call's own messages."""

    # --- the kinds of attempt --------------------------------------------------------------

    async def ask(self) -> Reply:
        """A whole answer."""
        answer = await self._fetch(self.target.codec.decode, self.target.provider.settings.max_body_bytes)
        usage = self.call.usage_or_estimate(answer.usage, self.plan, answer)
        self.succeed(usage, slow=False)
        return self.call.reply(answer, self.target, complete=True, usage=usage)

    async def embed(self) -> Embedded:
        """Vectors for the texts of the request."""
        inputs, codec = self.call.request.inputs or (), self.target.codec
        assert isinstance(codec, EmbeddingCodec), "`RouteTarget.lacks` leaves out targets without"
        # The limit is for texts; vectors of 2048 inputs are larger than any answer.
        limit = self.target.provider.settings.max_body_bytes + len(inputs) * MAX_VECTOR_BYTES
        made = await self._fetch(partial(codec.decode_embeddings, count=len(inputs)), limit)
        usage = made.usage or Usage(self.plan.demand.input_tokens, estimated=True)
        self.succeed(usage, slow=False)
        nothing = Answer("", "stop", made.usage, model=made.model)
        return Embedded(self.call.reply(nothing, self.target, complete=True, usage=usage), made.vectors)

    async def _fetch(self, decode: Callable[[int, Mapping[str, str], bytes], T], max_bytes: int) -> T:
        """Send, and read the whole response; settles an attempt that fails, and no other."""
        window = self.plan.answer_window(self.started, self.target)
        try:
            response = None
            try:
                async with asyncio.timeout_at(window.until) as scope:
                    response = await self._send(scope, window, stream=False)
                    body = await response.read(max_bytes)
            except TimeoutError as exc:
                raise self._clock_error() from exc
            finally:
                if response is not None:
                    response.close()
            if 200 <= response.status < 300:
                return decode(response.status, response.headers, body)
            raise self._refusal(response, body)
        except BaseException as exc:
            self.fail(exc)
            raise

    async def open_leg(self, before: str | None = None) -> Leg:
        """A stream up to and including its first content.

        Args:
            before: Text that was handed out already, for a stream that is to go on from there: by prefill where
                the model can continue a message of the assistant's, else by answering anew with the same beginning.
        """
        window = self.first_token_window()
        request, expected, blank = self.call.request, "", ""
        if before is not None:
            sent = self.target.codec.prefilled(before)
            self.how = self.plan.way_on(self.target) if sent else "restart"  # nothing but reasoning came so far
            if self.how == "prefill":
                self.prefilled = before
                blank = before[len(sent) :]
                request = replace(request, messages=[*request.messages, {"role": "assistant", "content": before}])
            else:
                expected = before
        response = None
        try:
            try:
                async with asyncio.timeout_at(window.until) as scope:
                    response = await self._send(scope, window, stream=True, request=request)
                    if not 200 <= response.status < 300:
                        body = await response.read(self.target.provider.settings.max_body_bytes)
                        raise self._refusal(response, body)
                    leg = Leg(self, response, expected, blank)
                    await leg.read_first(scope)
            except TimeoutError as exc:
                raise self._clock_error() from exc
        except BaseException as exc:
            if response is not None:
                response.close()
            self.fail(exc)
            raise
        return leg

    async def whole(self) -> Reply | Leg:
        """A whole answer, or a leg to collect it from where the target can stream: ``upstream_stream = "auto"``."""
        if Capability.STREAMING in self.target.model.capabilities:
            return await self.open_leg()
        return await self.ask()

    def first_token_window(self) -> Window:
        """The first-token clock from now on, inside the total clock, which a sign of life does not move."""
        window = self.plan.first_token_window(self.engine.clock(), self.target)
        total = self.plan.route.settings.clocks.total
        if window.until <= self.started + total:
            return window
        return Window("total", total, self.started + total, shortened=False)

    def watch(self, scope: asyncio.Timeout, window: Window) -> None:
        """A sign of life came before new content: another clock runs from here, or the same one anew."""
        self._window = window
        scope.reschedule(window.until)

    # --- sending -----------------------------------------------------------------------------

    async def _send(
        self, scope: asyncio.Timeout, window: Window, *, stream: bool, request: Request | None = None
    ) -> Response:
        """Send, starting a local server first where need be; move the scope from clock to clock."""
        target, lease, engine = self.target, self.lease, self.engine
        self._window = window
        base_url = target.provider.settings.base_url or (await target.local.start() if target.local else "")
        encoded = self._encoded(request or self.call.request, base_url, stream=stream)
        exchange = self._exchange
        self._scope, self._inside, self._streams = scope, window, stream
        exchange.on_connecting, exchange.on_connected = self._connecting, self._connected
        if stream and self.plan.route.settings.clocks.headers is not None:
            self._connected()  # a kept-alive connection tells nothing: the clock runs until a new one is opened
        try:
            response = await self._send_or_replay(encoded)
        finally:
            # The exchange knows the attempt and the attempt the exchange: left so, every call would be garbage
            # that only the cycle collector finds, at a tenth of what a call costs.
            exchange.on_connecting = exchange.on_connected = self._scope = None
        if self._window is not window:
            self._window = window
            scope.reschedule(window.until)
        if readings := target.codec.limits(response.headers, wall_now=engine.wall()):
            lease.learn(engine.clock(), readings)
        return response

    def _encoded(self, request: Request, base_url: str, *, stream: bool) -> HttpRequest:
        """The request in the target's wire format."""
        target, codec = self.target, self.target.codec
        key, headers = self.lease.secret, target.provider.settings.headers
        if request.inputs is not None:
            assert isinstance(codec, EmbeddingCodec), "`RouteTarget.lacks` leaves out targets without"
            return codec.encode_embeddings(request, target.settings, base_url=base_url, key=key, headers=headers)
        return codec.encode(
            request,
            settings_of(self.plan, target),
            base_url=base_url,
            key=key,
            headers=headers,
            stream=stream,
            max_output_tokens=self.plan.max_output_tokens,
        )

    def _refusal(self, response: Response, body: bytes) -> ResilioError:
        """What an answer with an error says; some servers say the whole key that they refuse, and we do not."""
        for secret in self._secrets():
            body = body.replace(secret.encode(), b"[key]")
        return self.target.codec.error(response.status, response.headers, body, wall_now=self.engine.wall())

    def _secrets(self) -> tuple[str, ...]:
        return secrets_of(self.lease.secret, self.target.provider.settings.headers)

    def _connecting(self) -> None:
        """A new connection is being opened: the connect clock runs."""
        assert self._scope is not None, "only an exchange under way calls this"
        self._window = connect = self.plan.connect_window(self.engine.clock(), self._inside)
        self._scope.reschedule(connect.until)

    def _connected(self) -> None:
        """It is open: the attempt's own clock runs, or that of the response's head."""
        assert self._scope is not None, "only an exchange under way calls this"
        inside = self._inside
        self._window = head = self.plan.headers_window(self.engine.clock(), inside) if self._streams else inside
        self._scope.reschedule(head.until)

    async def _send_or_replay(self, request: HttpRequest) -> Response:
        """Send; a kept-alive connection that dies before any byte of a response gets one replay, at once.

        The server had closed it while it idled, which is nobody's fault and no evidence: no breaker
        counts it and no retry budget pays. The replay insists on a new connection.
        """
        try:
            return await self.engine.transport.send(request, self._exchange)
        except TransportError as exc:
            if exc.error_class is not ErrorClass.DISCONNECTED or not exc.reused:
                raise
            self._note(Outcome.IGNORED, exc)
            self.started = self.call.idle_since = self.engine.clock()
            self._waited = 0.0
            self._exchange.fresh = True
            return await self.engine.transport.send(request, self._exchange)

    # --- money ---------------------------------------------------------------------------------

    def _pay(self, usage: Usage | None, *, unused: bool = False) -> None:
        """True the reservation up; a request that was sent and reported nothing is charged in full.

        So is one to a model that reasons out of sight, where what was used is our own count of what was seen.

        Args:
            usage: What was used, reported or counted.
            unused: It provably used nothing.
        """
        if self.held is None:
            return
        if usage is not None and not (usage.estimated and self.target.model.reasoning):
            self.held.settle(used_of(self.call, self.target, usage))
        elif unused:
            self.held.release()
        else:
            self.held.charge()

    def room(self) -> int:
        """Characters of answer that what was reserved pays for, at 4 a token, if the prompt is as long as expected."""
        return 4 * ((self.plan.need(self.target).tokens or 0) - self.plan.input_tokens)

    def need_of_more(self, tokens: int) -> Need:
        """What so many more tokens of answer may cost."""
        return used_of(self.call, self.target, Usage(output_tokens=tokens))

    def never_sent(self) -> None:
        """It was called off before its first step: its own clean-up never ran."""
        self.lease.settle(self.engine.clock(), Outcome.REJECTED)
        self._pay(None, unused=True)

    # --- the one way back ------------------------------------------------------------------------

    def succeed(self, usage: Usage, *, slow: bool, latency: float | None = None) -> None:
        """Settle a whole answer; `latency` where the time since admission is not all the target's."""
        now = self.engine.clock()
        outcome = Outcome.SLOW if slow else Outcome.SUCCESS
        probe = self.lease.probe
        stale = self.lease.settle(now, outcome, usage=limited(self.target.codec.kind, usage), latency=latency)
        self._pay(usage)
        if self.call.request.inputs is None:
            self.plan.route.output_lengths.add(usage.output_tokens)
        keep(self, usage)
        if not usage.estimated and not self.prefilled:  # such a request was longer than what was measured
            self.target.record.tokens.learn(self.plan.size, usage.input_tokens)
        self._record(AttemptRecord(
            self.target.name, self.lease.key.index, self.started - self.call.started, self._waited,
            now - self.started, outcome, replay=self._exchange.fresh, probe=probe,
        ), usage, stale=stale)  # fmt: skip

    def fail(self, exc: BaseException, usage: Usage | None = None) -> None:
        """Settle an attempt that ended in this exception, whatever it is."""
        lease = self.lease
        lease.sent = self._exchange.sent
        if isinstance(exc, Exception):
            hush(exc, self._secrets())
        now = self.engine.clock()
        error_class: ErrorClass | None = getattr(exc, "error_class", None)
        if not isinstance(exc, Exception):
            outcome = Outcome.CANCELLED
        elif error_class is None:  # refused here (encoding) or a bug of ours: no evidence
            outcome = Outcome.IGNORED if lease.sent else Outcome.REJECTED
        elif self._says_nothing(exc):
            outcome, error_class = Outcome.IGNORED, None
        elif ERROR_RULES[error_class].counts is Counts.NEITHER:
            outcome = Outcome.IGNORED
        else:
            outcome = Outcome.FAILURE
        counted = None if usage is None else limited(self.target.codec.kind, usage)
        stale = lease.settle(
            now, outcome, usage=counted, error_class=error_class, retry_after=getattr(exc, "retry_after", None)
        )
        unsent = not lease.sent or error_class is ErrorClass.CONNECT
        self._pay(usage, unused=unsent or _turned_away(exc))
        if usage is None and outcome == Outcome.CANCELLED and lease.sent:  # what it read of the prompt is billed
            usage = Usage(lease.demand.input_tokens, estimated=True)
        elif usage is not None:  # a stream that broke off, or was left: the prompt had been read
            keep(self, usage)
        if outcome != Outcome.REJECTED:  # nothing left this process: not an attempt
            self._note(outcome, exc, stale=stale, usage=usage)

    def break_off(self, exc: ResilioError, usage: Usage, window: Window | None) -> None:
        """Settle a stream that broke after its first content."""
        self._window = window
        self.fail(exc, usage)

    def _says_nothing(self, exc: BaseException) -> bool:
        """Whether a clock of ours fired so early that even a healthy provider would have been caught."""
        window = self._window
        if getattr(exc, "clock", None) is None or window is None:
            return False
        if self._exchange.queued:  # it was never asked for a connection: our own limit was reached
            return True
        if not window.shortened:
            return False
        if window.clock == "deadline":  # it was writing all the time; the caller had no more to give
            return True
        record = self.target.record
        history = record.latencies if window.clock == "total" else record.first_tokens
        usual = history.p95
        if usual is None:
            usual = self.target.provider.settings.breaker.slow_first_token / 2
        return window.seconds < usual

    def _clock_error(self) -> ResilioError:
        window = self._window
        assert window is not None, "a scope cannot fire before its window is set"
        share = ", its share of the deadline" if window.shortened else ""
        if window.clock == "connect":
            message = f"no connection to {self.target.name} within {window.seconds:.3g} s{share}: {self._unconnected()}"
            return TransportError(message, ErrorClass.CONNECT, clock="connect", clock_seconds=window.seconds)
        if window.clock in ("idle", "deadline"):  # it was writing, if only what had been handed out already
            return clock_error(window, self.target.name)
        what = {"total": "answer", "headers": "response head"}.get(window.clock, "first token")
        return ProviderUnavailable(
            f"no {what} from {self.target.name} within {window.seconds:.3g} s{share}",
            ErrorClass.TOTAL if window.clock == "total" else ErrorClass.FIRST_TOKEN,
            clock=window.clock,
            clock_seconds=window.seconds,
        )

    def _unconnected(self) -> str:
        network = self._exchange.network
        if self._exchange.queued:
            return f"all network.max_connections = {network.max_connections} were in use; raise it or send less at once"
        proxy = "" if network.proxy is None else ", its proxy"
        return f"nothing answered there; check its host and port{proxy}, and firewalls on the way"

    def _note(self, outcome: str, exc: BaseException, *, stale: bool = False, usage: Usage | None = None) -> None:
        now = self.engine.clock()
        error_class = getattr(exc, "error_class", None)
        self._record(AttemptRecord(
            self.target.name, self.lease.key.index, self.started - self.call.started, self._waited,
            now - self.started, outcome,
            error_class=None if error_class is None else str(error_class),
            error=str(exc) or type(exc).__name__,
            clock=getattr(exc, "clock", None),
            clock_seconds=getattr(exc, "clock_seconds", None),
            status=getattr(exc, "status", None),
            replay=self._exchange.fresh,
            probe=self.lease.probe,
        ), usage, stale=stale)  # fmt: skip

    def _record(self, record: AttemptRecord, usage: Usage | None, *, stale: bool) -> None:
        call = self.call
        call.attempts.append(record)
        call.idle_since = self.engine.clock()
        if self.engine.listeners:
            self.engine.emit(AttemptEnded(call.request.id, call.request.route, record, usage, stale, call.idle_since))


def _turned_away(exc: BaseException) -> bool:
    """Whether the provider answered that it would not take the request: nobody bills that.

    A 5xx proves nothing (the gateway in front may have given up, not the model), nor does a refusal by a content
    filter, which reads the prompt first.
    """
    status = getattr(exc, "status", None)
    turned = status is not None and 400 <= status < 500 and status not in (408, 499)
    return turned and getattr(exc, "error_class", None) in _TURNED_AWAY


_TURNED_AWAY = frozenset({
    ErrorClass.THROTTLED, ErrorClass.OUT_OF_CREDIT, ErrorClass.UNAUTHORISED, ErrorClass.TOO_LONG,
    ErrorClass.UNSUPPORTED, ErrorClass.CALLER,
})  # fmt: skip
