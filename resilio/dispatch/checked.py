"""Where a call meets the checks of its route: before it is looked up or sent, and before an answer counts as one.

The checks of the route that was asked hold on every rung that asks a model, whichever route that is in the end. What
comes out of the cache passed the same checks when it was stored (they are part of its key), and prepared answers are
their author's own words. Checks run one after the other, each on what the one before has left.

A check that raises or takes too long ends the call as denied unless it says ``on_error = "allow"``: what stands in for
a promise should not stop to hold because something went wrong. Functions run in tasks of their own, so that neither
their clocks nor what they do to their task is the call's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from resilio.checks import Check, CheckInput, Checks, Verdict
from resilio.checks.verdict import checked_verdict
from resilio.errors import (
    AnswerUnfit,
    CheckDenied,
    DeadlineExceeded,
    Exhausted,
    MalformedRequest,
    RequestRejected,
)
from resilio.events import CheckEnded
from resilio.models import CheckRecord, CheckResult, CheckStage, Message, Reply

if TYPE_CHECKING:
    from resilio.dispatch.attempt import Engine
    from resilio.dispatch.call import Call, Plan

__all__ = ["Checked"]

logger = logging.getLogger("resilio")

_OURS: Final = ("system", "developer")
"""Roles whose messages are the program's own words: a rule that names a banned word may stand there."""
_DONE: Final[Mapping[str, CheckResult]] = {
    "allow": "allowed",
    "deny": "denied",
    "redact": "redacted",
    "retry": "retried",
    "escalate": "escalated",
}

_running: ContextVar[frozenset[tuple[str, str]]] = ContextVar("resilio_running_checks", default=frozenset())


class _Failed(Exception):
    """A check could not tell."""

    def __init__(self, how: CheckResult, why: str) -> None:
        super().__init__(why)
        self.how = how


class _Looked(NamedTuple):
    """What a check said, and what of the text it left where it redacted."""

    verdict: Verdict
    changed: Any = None


class Checked:
    """Runs the checks of one engine's routes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.ask: Callable[..., Awaitable[Reply]] | None = None
        """`Client.complete`, for functions that ask a model."""
        self.scope: Callable[..., AbstractContextManager[None]] | None = None
        """`Client.scope`, for what they may spend, and on whose account."""

    # --- before ----------------------------------------------------------------------------------

    async def before(self, call: Call) -> None:
        """Look at the request, and change it where a check redacts. A call that is denied is settled here.

        Raises:
            CheckDenied: It must not be sent.
            MalformedRequest: It asks for what cannot be checked.
        """
        route = self._engine.supervisor.routes.get(call.request.route)
        checks = None if route is None else route.checks
        if checks is None:
            return
        try:
            self._checkable(call, checks)
            for check in checks.before:
                looked = await self._look(call, check, None)
                if looked is None:
                    continue
                if looked.verdict.action == "redact":
                    call.request = replace(call.request, messages=looked.changed)
                record = self._note(call, check, "before", looked.verdict)
                if record.action == "denied":
                    raise CheckDenied(record)
                if record.action == "escalated":
                    call.unfit = AnswerUnfit(record)
        except BaseException as exc:
            call.fail(exc)
            raise

    def _checkable(self, call: Call, checks: Checks) -> None:
        """Refuse now what no answer could pass, before anybody is paid for one."""
        if not checks.after:
            return
        if call.request.wire.get("n") not in (None, 1):
            text = "n asks for several answers, and the checks of route {!r} see one; ask for one at a time"
            raise MalformedRequest(text.format(call.request.route))
        for check in checks.after:
            if check.settings.json_schema is None:
                continue
            try:
                check.schema(call.request)
            except ValueError as exc:
                raise MalformedRequest(f"response_format {exc}, as check {check.name!r} has to read it") from exc

    async def _of_request(self, call: Call, check: Check) -> _Looked:
        messages = call.request.messages
        if check.pattern is not None:
            if check.settings.then != "redact":
                for text in _texts(messages):
                    if (reason := check.find(text)) is not None:
                        return _Looked(Verdict(check.settings.then, reason))
                return _Looked(Verdict())
            changed, places = _redacted(messages, check.redacted)
            return _Looked(Verdict("redact", _places(places)) if places else Verdict(), changed)
        last, position = _last_turn(messages)
        if check.function is None:
            reason = check.measure(len(last))
            return _Looked(Verdict() if reason is None else Verdict(check.settings.then, reason))
        verdict = await self._run(call, check, CheckInput("before", last, call.request, None, self._asker()))
        if verdict.action != "redact":
            return _Looked(verdict)
        if position is None:
            raise _Failed("failed", "it redacted a request without a text of the user's")
        one, _ = _redacted([messages[position]], lambda _: (verdict.text or "", 1), once=True)
        return _Looked(verdict, [*messages[:position], *one, *messages[position + 1 :]])

    # --- after: whole answers ----------------------------------------------------------------------

    def of(self, call: Call) -> Checks | None:
        """The checks of the route that was asked, under the configuration the call goes by; None: it has none."""
        assert call.snapshot is not None, "answers come to calls that have begun"
        checks = call.snapshot.routes[call.request.route].checks
        return checks if checks is not None and checks.after else None

    async def answer(
        self, call: Call, checks: Checks, plan: Plan, ask: Callable[[Plan], Awaitable[Reply]], again: Callable[[], Plan]
    ) -> Reply:
        """An answer that passed; one that a check sends back is asked for once more on this rung.

        Args:
            call: The call.
            checks: Of its route.
            plan: The way through the route that is asked.
            ask: Drives a plan to an answer.
            again: Makes a plan anew, for the request as it then is.

        Raises:
            AnswerUnfit: This rung has no answer that passes.
            CheckDenied: The call must not have one.
        """
        first = await ask(plan)
        reply, sent_back = await self._after(call, checks, first, may_retry=True)
        if sent_back is None:
            return reply
        check, record = sent_back
        asked = call.request
        try:
            if check.repairs:
                call.request = replace(asked, messages=[*asked.messages, *_repair(first.text, record.reason)])
            following = again()
            following.follow(plan)
            second = await ask(following)
        except (Exhausted, RequestRejected, DeadlineExceeded) as exc:
            why = f"{record.reason}; it could not be asked again: {str(exc).splitlines()[0]}"
            raise AnswerUnfit(self._note(call, check, "after", Verdict("escalate", why))) from exc
        finally:
            call.request = asked
        reply, _ = await self._after(call, checks, second, may_retry=False)
        return reply

    async def _after(
        self, call: Call, checks: Checks, reply: Reply, *, may_retry: bool
    ) -> tuple[Reply, tuple[Check, CheckRecord] | None]:
        """Run all checks on an answer; second what sends it back, if anything does.

        Whatever keeps it from the caller, a denial, an error or a cancellation, it stays on the bill of the call.
        """
        bill = (reply.cost_usd, reply.usage, reply.prompt_cache)
        try:
            reply, sent_back = await self._held_against(call, checks, reply, may_retry=may_retry)
        except BaseException:
            call.spent.append(bill)
            raise
        if sent_back is not None:
            call.spent.append(bill)
        return reply, sent_back

    async def _held_against(
        self, call: Call, checks: Checks, reply: Reply, *, may_retry: bool
    ) -> tuple[Reply, tuple[Check, CheckRecord] | None]:
        for check in checks.after:
            looked = await self._look(call, check, reply)
            if looked is None:
                continue
            verdict = looked.verdict
            if verdict.action == "redact":
                reply = looked.changed
            elif verdict.action == "retry" and not may_retry:
                verdict = Verdict("escalate", verdict.reason)
            record = self._note(call, check, "after", verdict)
            if record.action == "retried":
                return reply, (check, record)
            if record.action == "denied":
                raise CheckDenied(record)
            if record.action == "escalated":
                raise AnswerUnfit(record)
        latency = self._engine.clock() - call.started
        # A hedge that lost may have ended while the checks looked.
        return replace(reply, checks=tuple(call.checks), attempts=tuple(call.attempts), latency=latency), None

    async def _of_answer(self, call: Call, check: Check, reply: Reply) -> _Looked:
        then = check.settings.then
        if check.pattern is not None:
            if then == "redact":
                changed, places = _redacted_reply(reply, check.redacted)
                return _Looked(Verdict("redact", _places(places)) if places else Verdict(), changed)
            parts = (reply.text, reply.refusal, reply.reasoning, *(tool.arguments for tool in reply.tool_calls))
            reason = next((found for part in parts if (found := check.find(part)) is not None), None)
            return _Looked(Verdict() if reason is None else Verdict(then, reason))
        if check.function is None:
            if not reply.text and (reply.tool_calls or reply.refusal):
                return _Looked(Verdict())  # no text was to be expected
            if check.settings.json_schema is None:
                reason = check.measure(len(reply.text))
            else:
                reason = check.validate(call.request, reply.text)
            return _Looked(Verdict() if reason is None else Verdict(then, reason))
        verdict = await self._run(call, check, CheckInput("after", reply.text, call.request, reply, self._asker()))
        if verdict.action != "redact":
            return _Looked(verdict)
        # What else may hold the old text goes with it.
        return _Looked(verdict, replace(reply, text=verdict.text or "", reasoning="", refusal="", raw={}, extras=None))

    # --- after: streams ------------------------------------------------------------------------------

    async def at_end(self, call: Call, checks: Sequence[Check], reply: Reply) -> None:
        """Look at the answer of a stream that was handed out already: what it does not pass, it can only be denied.

        Raises:
            CheckDenied: It does not pass.
        """
        for check in checks:
            looked = await self._look(call, check, reply)
            if looked is None:
                continue
            verdict = looked.verdict
            if verdict.action != "allow":
                verdict = Verdict("deny", verdict.reason)
            record = self._note(call, check, "after", verdict)
            if record.action == "denied":
                raise CheckDenied(record)

    def in_window(self, call: Call, check: Check, verdict: Verdict) -> None:
        """Note what a check found in the window of a stream.

        Raises:
            CheckDenied: It denies it.
        """
        record = self._note(call, check, "after", verdict)
        if record.action == "denied":
            raise CheckDenied(record)

    # --- running one -----------------------------------------------------------------------------------

    async def _look(self, call: Call, check: Check, reply: Reply | None) -> _Looked | None:
        """What a check says of an answer, or of the request; None: it cannot tell, which is noted, and lets it pass.

        Raises:
            CheckDenied: It cannot tell, and then nothing passes.
        """
        try:
            return await (self._of_request(call, check) if reply is None else self._of_answer(call, check, reply))
        except _Failed as failed:
            record = CheckRecord(check.name, "before" if reply is None else "after", failed.how, str(failed))
        self._record(call, check, record)
        if check.settings.on_error == "deny":
            raise CheckDenied(record)
        return None

    async def _run(self, call: Call, check: Check, given: CheckInput) -> Verdict:
        """Ask a function of one's own, within its time and the call's, and its budget.

        Raises:
            _Failed: It raised, took too long, or said nothing that makes sense.
            DeadlineExceeded: The caller's time was over first.
        """
        engine, settings = self._engine, check.settings
        this = (call.request.route, check.name)
        if this in _running.get():
            raise _Failed("failed", "it asked the route that it is a check of")
        now = engine.clock()
        left = call.until - now
        if left <= 0:
            self._too_late(call)
        task = self._start(call, check, given, this, min(settings.timeout, left))
        try:
            done, _ = await asyncio.wait({task}, timeout=min(settings.timeout, left))
        except BaseException:
            task.cancel()
            raise
        if not done:
            task.cancel()
            if left <= settings.timeout:
                self._too_late(call)
            raise _Failed("timed_out", f"no verdict within {settings.timeout:g} s")
        if task.cancelled():
            raise _Failed("failed", "it was cancelled from inside")
        exc = task.exception()
        if exc is not None:
            logger.warning("check %r of route %r failed", check.name, call.request.route, exc_info=exc)
            raise _Failed("failed", f"{type(exc).__name__}: {_message(exc)}".splitlines()[0])
        try:
            return checked_verdict(task.result(), given.stage, settings.then)
        except Exception as unsound:  # what it returned may be anything, even what cannot be shown
            raise _Failed("failed", _message(unsound)) from None

    def _start(
        self, call: Call, check: Check, given: CheckInput, this: tuple[str, str], seconds: float
    ) -> asyncio.Task[Any]:
        """A task for it, in a scope of its own: on the caller's account, marked with the check's name."""
        assert check.function is not None, "others do not wait"
        assert self.scope is not None, "the client sets it when it opens"
        function, its = check.function, call.request.identity

        async def run() -> Any:
            try:
                return await function(given)
            except SystemExit as exc:  # the loop would end, and all calls with it
                raise RuntimeError("it wanted the program to exit") from exc

        token = _running.set(_running.get() | {this})
        try:
            with self.scope(
                user=its.user,
                organisation=its.organisation,
                feature=its.feature,
                session=its.session,
                tags={**its.tags, "check": check.name},
                max_cost_usd=check.settings.max_cost_usd,
                deadline=seconds,
                priority=call.priority,
            ):
                task = asyncio.create_task(run(), name=f"resilio check {check.name}")
        finally:
            _running.reset(token)
        self._engine.tasks.add(task)
        task.add_done_callback(self._engine.tasks.discard)
        task.add_done_callback(_look_at_error)
        return task

    def _asker(self) -> Callable[..., Awaitable[Reply]]:
        assert self.ask is not None, "the client sets it when it opens"
        return self.ask

    def _too_late(self, call: Call) -> NoReturn:
        raise DeadlineExceeded(call.deadline, call.attempts, call.reasons)

    def _note(self, call: Call, check: Check, stage: CheckStage, verdict: Verdict) -> CheckRecord:
        """Note what a verdict led to."""
        reason = "" if verdict.action == "allow" else verdict.reason or "it gave no reason"
        record = CheckRecord(check.name, stage, _DONE[verdict.action], reason)
        self._record(call, check, record)
        return record

    def _record(self, call: Call, check: Check, record: CheckRecord) -> None:
        check.count(record)
        call.checks.append(record)
        engine = self._engine
        if engine.listeners:
            engine.emit(CheckEnded(call.request.id, call.request.route, record, engine.clock()))


def _look_at_error(task: asyncio.Task[Any]) -> None:
    """So that one nobody waits for any more is not complained about."""
    if not task.cancelled():
        task.exception()


def _message(exc: BaseException) -> str:
    """What an exception says, where it can."""
    try:
        return str(exc)
    except Exception:
        return "it cannot be shown"


# --- texts -----------------------------------------------------------------------------------------


def _places(count: int) -> str:
    return f"{count} place{'s' if count != 1 else ''}"


def _texts(messages: Sequence[Message]) -> list[str]:
    """All texts of a request but the program's own."""
    found = []
    for message in messages:
        if message.get("role") not in _OURS:
            found += [text for _, text in _parts(message.get("content"))]
    return found


def _parts(content: Any) -> list[tuple[int | None, str]]:
    """The texts of one message's content, each with its place; None: it is the content itself."""
    if isinstance(content, str):
        return [(None, content)]
    if not isinstance(content, list | tuple):
        return []
    return [
        (place, part["text"])
        for place, part in enumerate(content)
        if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    ]


def _last_turn(messages: Sequence[Message]) -> tuple[str, int | None]:
    """The texts of the last turn of the user's, and its position; None: it has no text."""
    for position in range(len(messages) - 1, -1, -1):
        if messages[position].get("role") == "user":
            texts = [text for _, text in _parts(messages[position].get("content"))]
            return "\n".join(texts), position if texts else None
    return "", None


def _redacted(
    messages: Sequence[Message], redact: Callable[[str], tuple[str, int]], *, once: bool = False
) -> tuple[list[Message], int]:
    """Copies of messages with every text redacted; `once`: all texts of a message become one."""
    found: list[Message] = []
    places = 0
    for message in messages:
        parts = _parts(message.get("content"))
        if message.get("role") in _OURS or not parts:
            found.append(message)
            continue
        content: Any = message["content"]
        if parts[0][0] is None:
            content, count = redact(content)
            places += count
        else:
            content = list(content)
            for number, (place, text) in enumerate(parts):
                assert place is not None, "parts of a list have places"
                changed, count = ("", 0) if once and number else redact(text)
                content[place] = {**content[place], "text": changed}
                places += count
        found.append({**message, "content": content})
    return found, places


def _redacted_reply(reply: Reply, redact: Callable[[str], tuple[str, int]]) -> tuple[Reply, int]:
    """The reply without what is found in it; `raw` and `extras` go, for they would have it still."""
    text, in_text = redact(reply.text)
    refusal, in_refusal = redact(reply.refusal)
    reasoning, in_reasoning = redact(reply.reasoning)
    tools = [(tool, *redact(tool.arguments)) for tool in reply.tool_calls]
    places = in_text + in_refusal + in_reasoning + sum(count for _, _, count in tools)
    if not places:
        return reply, 0
    calls = tuple(replace(tool, arguments=arguments) for tool, arguments, _ in tools)
    return replace(
        reply, text=text, refusal=refusal, reasoning=reasoning, tool_calls=calls, raw={}, extras=None
    ), places


def _repair(answer: str, reason: str) -> list[Message]:
    """What is added to a request whose answer failed."""
    complaint = f"That answer was not accepted: {reason}. Give the whole answer again, with this put right."
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": complaint}]
