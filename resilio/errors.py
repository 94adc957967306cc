"""The exception tree, and the one table that says what each class of error means.

The type of an exception tells whether the request left this process, whose fault it was and
whether trying again can help. Codecs and the transport choose an `ErrorClass` once; the actor
reads from `ERROR_RULES` which breaker it counts for, dispatch reads what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from resilio.models import AttemptRecord, CheckRecord, Chunk, Usage

__all__ = [
    "ERROR_RULES",
    "AnswerUnfit",
    "BudgetExceeded",
    "CheckDenied",
    "CircuitOpen",
    "ConfigError",
    "ControlError",
    "Counts",
    "DeadlineExceeded",
    "EmbedderUnavailable",
    "ErrorClass",
    "ErrorRule",
    "Exhausted",
    "InstallFailed",
    "InvalidRequest",
    "KeyRejected",
    "LedgerUnavailable",
    "LocalModelUnavailable",
    "MailboxFull",
    "MalformedResponse",
    "ProviderError",
    "ProviderRefused",
    "ProviderStopped",
    "ProviderThrottled",
    "ProviderUnavailable",
    "RateLimited",
    "RequestRejected",
    "RequestUnsuitable",
    "ServiceReduced",
    "ResilioError",
    "StreamBroken",
    "StreamStopped",
    "Then",
    "TransportError",
    "Unencodable",
    "UnknownBudget",
    "UnknownProvider",
    "Unsupported",
]


class ErrorClass(StrEnum):
    """What went wrong with one attempt, whoever the provider is."""

    CONNECT = "connect"
    """DNS, TCP or TLS failed: the request certainly was not processed."""
    FIRST_TOKEN = "first_token"  # noqa: S105 - a token of text, not a password
    IDLE = "idle"
    TOTAL = "total"
    DISCONNECTED = "disconnected"
    """The connection ended after the request was sent and before any of the answer."""
    TRUNCATED = "truncated"
    """The answer began and ended without its terminal event or its last byte."""
    MALFORMED = "malformed"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    THROTTLED = "throttled"
    OUT_OF_CREDIT = "out_of_credit"
    UNAUTHORISED = "unauthorised"
    TOO_LONG = "too_long"
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"
    BUDGET = "budget"
    """We ended a stream that had used more than was reserved, as its budget had nothing left."""
    CALLER = "caller"
    """Any other fault of the request itself (other 4xx)."""


class Counts(StrEnum):
    """Which breaker an error feeds."""

    PROVIDER = "provider"
    TARGET = "target"
    NEITHER = "neither"


class Then(StrEnum):
    """What dispatch does after an error, within attempts, budgets and deadline."""

    NEXT_TARGET = "next_target"
    RETRY_ONCE = "retry_once"
    """One jittered retry on the same target, then the next."""
    REST = "rest"
    """Next key, next target; the same one only after a short hinted wait."""
    NEXT_KEY = "next_key"
    """The key is set aside: next key, then next target."""
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row of the table of errors."""

    counts: Counts
    then: Then


ERROR_RULES: Final[Mapping[ErrorClass, ErrorRule]] = {
    ErrorClass.CONNECT: ErrorRule(Counts.PROVIDER, Then.NEXT_TARGET),
    ErrorClass.FIRST_TOKEN: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.IDLE: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.TOTAL: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.DISCONNECTED: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.TRUNCATED: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.MALFORMED: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.OVERLOADED: ErrorRule(Counts.TARGET, Then.NEXT_TARGET),
    ErrorClass.SERVER_ERROR: ErrorRule(Counts.TARGET, Then.RETRY_ONCE),
    ErrorClass.THROTTLED: ErrorRule(Counts.NEITHER, Then.REST),
    ErrorClass.OUT_OF_CREDIT: ErrorRule(Counts.NEITHER, Then.NEXT_KEY),
    ErrorClass.UNAUTHORISED: ErrorRule(Counts.NEITHER, Then.NEXT_KEY),
    ErrorClass.TOO_LONG: ErrorRule(Counts.NEITHER, Then.NEXT_TARGET),
    ErrorClass.UNSUPPORTED: ErrorRule(Counts.NEITHER, Then.NEXT_TARGET),
    ErrorClass.REFUSED: ErrorRule(Counts.NEITHER, Then.STOP),
    ErrorClass.BUDGET: ErrorRule(Counts.NEITHER, Then.STOP),
    ErrorClass.CALLER: ErrorRule(Counts.NEITHER, Then.STOP),
}


class ResilioError(Exception):
    """Root of everything resilio raises on purpose.

    Errors that end a call carry `attempts`, the requests made for it, oldest first, and
    `retry_after`, seconds after which trying again makes sense, where that is known.
    """

    attempts: Sequence[AttemptRecord] = ()
    retry_after: float | None = None


class ConfigError(ResilioError):
    """The configuration is wrong; the message lists every problem with its path.

    Attributes:
        problems: One line a problem: path, what is wrong, the nearest valid spelling.
    """

    def __init__(self, problems: Sequence[str], source: str = "configuration") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  - {line}" for line in self.problems)]))


class UnknownProvider(ResilioError, LookupError):
    """There is no such provider, or it has no such model; raised by what operators call, never by a request."""

    def __init__(self, name: str, known: Iterable[str], provider: str | None = None) -> None:
        """`provider` None: `name` is meant for one; else it is meant for a model of that provider."""
        self.name, self.provider = name, provider
        names = sorted(known)
        near = get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names) or 'none'}"
        super().__init__(f"{f'{provider!r} has no model' if provider else 'no provider'} {name!r}{hint}")


class ControlError(ResilioError):
    """The control socket cannot be had or does not answer; or the running program refused what was asked of it."""


# --- never sent ------------------------------------------------------------------------------


class RequestRejected(ResilioError):
    """This process refused to send the request; no provider saw it."""


class MalformedRequest(RequestRejected, ValueError):
    """What the program passed is not a request; the message says what is expected."""


class UnknownRoute(RequestRejected, LookupError):
    """The configuration has no such route."""

    def __init__(self, route: str, known: Iterable[str]) -> None:
        self.route = route
        names = sorted(known)
        near = get_close_matches(route, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names) or 'none'}"
        super().__init__(f"no route {route!r}{hint}")


class CircuitOpen(RequestRejected):
    """A breaker is open. `retry_after` is the time until its next probe."""

    def __init__(self, name: str, retry_after: float | None) -> None:
        self.name = name
        self.retry_after = retry_after
        when = "it was opened by hand" if retry_after is None else f"next probe in {retry_after:.1f} s"
        super().__init__(f"circuit for {name!r} is open; {when}")


class RateLimited(RequestRejected):
    """Our own limiter or concurrency limit has no room in the time there is.

    Attributes:
        waited: Seconds already spent in the queue for it.
    """

    def __init__(self, name: str, what: str, retry_after: float | None, waited: float = 0.0) -> None:
        self.name = name
        self.retry_after = retry_after
        self.waited = waited
        after = f" after {waited:.1f} s in the queue" if waited else ""
        when = "" if retry_after is None else f"; room in {retry_after:.1f} s"
        super().__init__(f"{what} of {name!r} has no room{after}{when}")


class BudgetExceeded(RequestRejected):
    """The request could pass a spending limit.

    Attributes:
        name: Of the budget.
        entity: Whose budget it is; None: that of a scope.
        unit: Of all amounts: ``usd`` or ``tokens``.
        limit: The hard limit.
        left: What of it can still be reserved.
        needed: The most the request could have used; None: it cannot be known, and the message says what to set.
        retry_after: Seconds until the budget's window ends, or something of a sliding one; None: it has none.
    """

    def __init__(
        self,
        name: str,
        limit: float,
        left: float,
        needed: float | None,
        advice: str = "",
        *,
        unit: str = "usd",
        entity: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.name, self.limit, self.left, self.needed = name, limit, left, needed
        self.unit, self.entity, self.retry_after = unit, entity, retry_after
        suffix = "USD" if unit == "usd" else unit
        verb = "cost" if unit == "usd" else "use"
        whose = "" if entity is None else f" of {entity!r}"
        figure = ".6g" if unit == "usd" else ".0f"
        may_need = f"may {verb} an unknown amount" if needed is None else f"may {verb} {needed:{figure}} {suffix}"
        rest = f"; {advice}" if advice else ""
        if retry_after is not None:
            rest += f"; resets in {retry_after:.0f} s"
        are = "is" if unit == "usd" else "are"
        of_it = f"{left:{figure}} of {limit:{figure}} {suffix} {are} left"
        super().__init__(f"budget {name!r}{whose}: this call {may_need}, {of_it}{rest}")


class UnknownBudget(ResilioError, LookupError):
    """There is no budget of that name, or it has no limit in that unit; raised by what operators call."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        names = sorted(known)
        near = get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names) or 'none'}"
        super().__init__(f"no budget {name!r}{hint}")


class ServiceReduced(RequestRejected):
    """A budget is so far spent that the route gives less than the request needs. `retry_after`: when it resets."""

    def __init__(self, route: str, level: str, budget: str, entity: str, share: float, retry_after: float) -> None:
        self.route, self.level, self.budget, self.entity, self.share = route, level, budget, entity, share
        self.retry_after = retry_after
        super().__init__(
            f"route {route!r} is at service level {level}: {share:.0%} of budget {budget!r} of {entity!r} is spent; "
            f"it resets in {retry_after:.0f} s"
        )


class LedgerUnavailable(RequestRejected):
    """The ledger cannot be written, so nothing new may be spent: budgets fail closed."""

    def __init__(self, path: str, why: str, remedy: str = "") -> None:
        self.path, self.why, self.remedy = path, why, remedy
        run = f"; {remedy}" if remedy else ""
        super().__init__(f"ledger {path!r} cannot be written: {why}{run}")


class MailboxFull(RequestRejected):
    """Too many callers already wait for this provider."""

    def __init__(self, name: str, waiting: int) -> None:
        self.name, self.waiting = name, waiting
        super().__init__(f"queue of {name!r} is full: {waiting} callers wait already")


class ProviderStopped(RequestRejected):
    """The provider's actor does not run: draining, restarting, failed or stopped."""

    def __init__(self, name: str, state: str) -> None:
        self.name, self.state = name, state
        super().__init__(f"provider {name!r} is {state}")


class Unsupported(RequestRejected):
    """No target of the route can serve this request. `lacking` says what each one lacks."""

    def __init__(self, route: str, lacking: Mapping[str, str]) -> None:
        self.route, self.lacking = route, dict(lacking)
        each = "; ".join(f"{target}: {what}" for target, what in lacking.items())
        super().__init__(f"no target of route {route!r} can serve this request ({each})")


class Unencodable(RequestRejected):
    """The request holds a value JSON cannot write (NaN, an object), so no target can be sent it.

    Attributes:
        path: Where, for example ``logit_bias.50256`` or ``messages[0].content``.
        error_class: `caller`: trying another target cannot help.
    """

    error_class = ErrorClass.CALLER

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"the request cannot be written as JSON: {path or 'body'}: {why}")


# --- sent, answered badly --------------------------------------------------------------------


class ProviderError(ResilioError):
    """The provider answered, and the answer was an error.

    Attributes:
        error_class: Which row of `ERROR_RULES` applies.
        status: HTTP status, if one was read.
        code: The provider's own error code, as text.
        clock: Name of our clock that fired (first_token, idle, total), if one did.
        clock_seconds: What that clock was set to.
    """

    def __init__(
        self,
        message: str,
        error_class: ErrorClass,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        clock: str | None = None,
        clock_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.clock = clock
        self.clock_seconds = clock_seconds


class ProviderThrottled(ProviderError):
    """429 and its kin: come back later."""


class ProviderUnavailable(ProviderError):
    """Overloaded, failing, or silent past one of our clocks."""


class KeyRejected(ProviderError):
    """The key is unauthorised or out of credit."""


class ProviderRefused(ProviderError):
    """A content filter or the model refused; asking elsewhere would dodge it."""


class RequestUnsuitable(ProviderError):
    """Too long for this model, or a feature it lacks: another target may serve it."""


class InvalidRequest(ProviderError):
    """The request itself is wrong; no provider would take it."""


class MalformedResponse(ProviderError):
    """Not what the dialect promises: HTML, broken JSON, empty choices, a body over the limit, a cut."""


class StreamStopped(ProviderError):
    """Not the provider's doing: a budget with `stop_streams` had nothing left for a stream that went on."""

    def __init__(self, target: str, budget: str, entity: str) -> None:
        self.budget, self.entity = budget, entity
        text = f"{target} wrote more than was reserved, and budget {budget!r} of {entity!r} has nothing left"
        super().__init__(text, ErrorClass.BUDGET)


class TransportError(ResilioError):
    """The network failed and the outcome is unknown, unless `error_class` is connect.

    Attributes:
        reused: The connection had served another request before.
        answered: At least one byte of a response had arrived.
    """

    def __init__(
        self,
        message: str,
        error_class: ErrorClass,
        *,
        reused: bool = False,
        answered: bool = False,
        clock: str | None = None,
        clock_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.reused = reused
        self.answered = answered
        self.clock = clock
        self.clock_seconds = clock_seconds


class LocalModelUnavailable(TransportError):
    """The model on this machine does not run, so nothing was sent. The message says what to do about it.

    Attributes:
        model: Name of the model.
        why: What is missing or what went wrong, in one line.
        remedy: The command that mends it, where one does.
    """

    def __init__(self, model: str, why: str, *, remedy: str | None = None, output: str = "") -> None:
        self.model, self.why, self.remedy = model, why, remedy
        run = "" if remedy is None else f"; run `{remedy}`"
        said = "".join(f"\n  | {line}" for line in output.splitlines())
        super().__init__(f"local model {model!r} does not run: {why}{run}{said}", ErrorClass.CONNECT)


class EmbedderUnavailable(ResilioError):
    """Texts cannot be embedded on this machine; the message says what to do about it.

    Attributes:
        embedder: Its name in the registry.
        why: What is missing or wrong, in one line.
        remedy: The command that mends it, where one does.
    """

    def __init__(self, embedder: str, why: str, remedy: str | None = None) -> None:
        self.embedder, self.why, self.remedy = embedder, why, remedy
        run = "" if remedy is None else f"; run: {remedy}"
        super().__init__(f"embedder {embedder!r} cannot be used: {why}{run}")


class InstallFailed(ResilioError):
    """`resilio local install` could not do its work; the installer's own output came before."""


# --- the end of a call -----------------------------------------------------------------------


def _listed(attempts: Sequence[AttemptRecord], reasons: Sequence[str]) -> str:
    lines = [f"  {number}. {attempt}" for number, attempt in enumerate(attempts, 1)]
    lines += [f"  - {reason}" for reason in reasons]
    return "\n" + "\n".join(lines) if lines else ""


class DeadlineExceeded(ResilioError):
    """The deadline came before an answer; `attempts` says where the time went."""

    def __init__(self, deadline: float, attempts: Sequence[AttemptRecord] = (), reasons: Sequence[str] = ()) -> None:
        self.deadline, self.attempts, self.reasons = deadline, tuple(attempts), tuple(reasons)
        tried = f"{len(self.attempts)} attempt{'s' if len(self.attempts) != 1 else ''}"
        super().__init__(f"no answer within {deadline:g} s ({tried}){_listed(attempts, reasons)}")


class Exhausted(ResilioError):
    """Every target and every rung was tried or refused; each is listed."""

    def __init__(
        self,
        route: str,
        attempts: Sequence[AttemptRecord] = (),
        reasons: Sequence[str] = (),
        retry_after: float | None = None,
    ) -> None:
        self.route, self.attempts, self.reasons = route, tuple(attempts), tuple(reasons)
        self.retry_after = retry_after
        hint = "" if retry_after is None else f"; try again in {retry_after:.1f} s"
        super().__init__(f"route {route!r} has nothing left to try{hint}{_listed(attempts, reasons)}")


class CheckDenied(ResilioError):
    """A check of the route did not let the request or the answer pass.

    Attributes:
        record: Which check it was, what it looked at, what it found, or how it failed.
    """

    def __init__(self, record: CheckRecord) -> None:
        self.record = record
        what = "the request" if record.stage == "before" else "the answer"
        verb = {"failed": f"failed on {what}", "timed_out": f"took too long for {what}"}.get(
            record.action, f"denied {what}" if record.action == "denied" else f"does not accept {what}"
        )
        super().__init__(f"check {record.name!r} {verb}: {record.reason}")


class AnswerUnfit(CheckDenied):
    """No answer passed a check that would have had another one: asked again and escalated as far as that went."""


class StreamBroken(ResilioError):
    """A stream ended before its terminal event, after content had been handed out.

    Attributes:
        text: What had arrived.
        usage: Tokens so far, estimated unless the provider said.
        chunks: Tool-call fragments and the like that had arrived, in order.
    """

    def __init__(self, message: str, text: str, usage: Usage, chunks: Sequence[Chunk] = ()) -> None:
        super().__init__(message)
        self.text, self.usage, self.chunks = text, usage, tuple(chunks)
