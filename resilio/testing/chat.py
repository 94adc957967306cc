"""How a simulated provider answers one request for a chat, faults included, in whichever dialect. Pure."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Mapping
from typing import Any

from resilio.testing.dialects.base import Dialect, Objection, Said, content_text, words
from resilio.testing.faults import (
    Cut,
    EmptyChoices,
    Error,
    ErrorFrame,
    Fault,
    Giant,
    Malformed,
    NoPrefill,
    Refusal,
    SlowFirstToken,
    Stall,
    Terminator,
    TruncatedJson,
    UsageReport,
)
from resilio.testing.prompt_cache import Cached, PromptCache, prompt_tokens
from resilio.testing.reaction import Ending, Reaction
from resilio.testing.script import Script

__all__ = ["chat_reaction", "error_reaction"]


def error_reaction(fault: Error, wall_now: float, dialect: Dialect) -> Reaction:
    """An HTTP error with its hint.

    Args:
        fault: What to send.
        wall_now: Unix seconds, for a hint given as a date.
        dialect: Whose shape it has.
    """
    headers = dict(fault.headers)
    status, body = dialect.error(fault.code, fault.message)
    if fault.retry_after is not None and (hinted := dialect.hinted(body, fault.retry_after)) is not None:
        body = hinted
    elif fault.retry_after is not None:
        if fault.retry_after_as == "ms":
            headers["retry-after-ms"] = f"{fault.retry_after * 1000:g}"
        elif fault.retry_after_as == "date":
            # A date has whole seconds: rounded up, so that it never asks for less than was meant.
            headers["Retry-After"] = email.utils.formatdate(math.ceil(wall_now + fault.retry_after), usegmt=True)
        else:
            headers["Retry-After"] = f"{fault.retry_after:g}"
    return Reaction(fault.status or (status if fault.code else 500), headers, [(0.0, body)])


def chat_reaction(
    script: Script,
    body: Mapping[str, Any],
    faults: tuple[Fault, ...],
    rng: random.Random,
    created: int,
    *,
    dialect: Dialect,
    headers: Mapping[str, str],
    cache: PromptCache,
    now: float,
) -> Reaction:
    """Answer one chat request.

    Args:
        script: How healthy answers are made and timed.
        body: The request, with a model.
        faults: What strikes this request; faults of the connection are dealt with before.
        rng: For the answer's id and latencies.
        created: Unix seconds.
        dialect: What is spoken.
        headers: Of the request.
        cache: The prompts that the provider remembers.
        now: Monotonic seconds, for how long it does.
    """
    identity = dialect.identity(rng.getrandbits(64))
    if (objection := dialect.objection(body, headers)) is not None:
        return _refused(objection, dialect)
    asked = dialect.neutral(body)
    if (objection := _bent_objection(asked, faults)) is not None:
        return _refused(objection, dialect)
    cached = Cached()
    if dialect.marks_prefixes:
        cached = cache.by_breakpoints(body, dialect, now)
    elif script.automatic_cache:
        cached = cache.automatic(asked, now)
    said = _said(script, asked, identity, created, dialect, cached)
    _bend(said, faults)
    first_token = script.first_token.draw(rng)
    for fault in faults:
        if isinstance(fault, SlowFirstToken):
            first_token = fault.seconds
    gap = 1.0 / script.tokens_per_second if script.tokens_per_second else 0.0
    if body.get("stream") is True:
        usage = dialect.wants_usage(body)
        return _streamed(said, faults, first_token, gap, script.head, dialect, include_usage=usage)
    return _unary(said, faults, first_token + gap * max(0, len(said.pieces) - 1), dialect)


def _refused(objection: Objection, dialect: Dialect) -> Reaction:
    return Reaction(400, {}, [(0.0, dialect.error(*objection)[1])])


def _bent_objection(asked: Mapping[str, Any], faults: tuple[Fault, ...]) -> Objection | None:
    """400s that a fault stands for."""
    for fault in faults:
        if isinstance(fault, NoPrefill) and asked["messages"][-1].get("role") == "assistant":
            return Objection(None, "This model does not support assistant message prefill.", "messages")
        if isinstance(fault, Refusal) and fault.how == "prompt":
            return Objection("content_policy_violation", None)
    return None


def _said(
    script: Script, body: Mapping[str, Any], identity: str, created: int, dialect: Dialect, cached: Cached
) -> Said:
    messages = body["messages"]
    made = script.answer(body) if callable(script.answer) else script.answer
    if made is None:
        asked = [message for message in messages if message.get("role") == "user"]
        made = content_text(asked[-1]) if asked else ""
    calls = () if isinstance(made, str) else made.get("tool_calls", ())
    pieces = words(made if isinstance(made, str) else content_text(made))
    finish = "tool_calls" if calls else "stop"
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(most, int) and len(pieces) > most:
        pieces, finish = pieces[:most], "length"
    n = body.get("n") or 1
    prompt = prompt_tokens(body)
    tier = body.get("service_tier")
    written = n * (len(pieces) + sum(len(_written(call)) // 4 + 1 for call in calls))
    return dialect.said(
        identity,
        created,
        body["model"],
        pieces,
        finish,
        tool_calls=calls,
        n=n,
        usage=_usage(prompt, written, cached.read),
        cache_written=(cached.written_5m, cached.written_1h),
        reasoning="" if isinstance(made, str) else made.get("reasoning_content") or "",
        service_tier=tier if isinstance(tier, str) and tier != "auto" else "default",
        asked=body,
    )


def _written(call: Mapping[str, Any]) -> str:
    """What a call of a tool gives it: arguments, or any text for a custom one."""
    inner = call.get("function") or call["custom"]
    return str(inner["arguments"] if "arguments" in inner else inner["input"])


def _usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _bend(completion: Said, faults: tuple[Fault, ...]) -> None:
    """Apply the faults that change what is said rather than how it is sent."""
    for fault in faults:
        match fault:
            case Refusal(how="content_filter", text=text):
                completion.pieces, completion.finish_reason = words(text), "content_filter"
            case Refusal(text=text):
                completion.pieces, completion.refusal = words(text), True
            case Giant(size=size):
                completion.pieces = ["x" * 65_535 + " "] * (size // 65_536 + 1)
            case UsageReport(missing=True):
                completion.usage = None
            case UsageReport() if completion.usage is not None:
                true = completion.usage
                completion.usage = _usage(
                    true["prompt_tokens"] if fault.prompt_tokens is None else fault.prompt_tokens,
                    true["completion_tokens"] if fault.completion_tokens is None else fault.completion_tokens,
                    fault.cached_tokens or 0,
                )
            case _:
                continue


def _unary(completion: Said, faults: tuple[Fault, ...], took: float, dialect: Dialect) -> Reaction:
    whole = completion.body()
    reaction = Reaction(200, {}, [(0.0, whole)], head_delay=took)

    def share(after: int) -> int:
        return max(1, len(whole) * after // max(after + 1, len(completion.pieces)))

    for fault in faults:
        match fault:
            case Cut(after=after, clean=clean):
                reaction.pieces = [(0.0, whole[: share(after)])]
                reaction.ending = Ending.CLEAN if clean else Ending.CUT
            case Stall(after=after):
                reaction.pieces, reaction.ending = [(0.0, whole[: share(after)])], Ending.NEVER
            case Malformed(after=after, data=data):
                at = share(after)
                reaction.pieces = [(0.0, whole[:at] + data.encode() + whole[at:])]
            case TruncatedJson():
                reaction.pieces = [(0.0, whole[: len(whole) // 2])]
            case EmptyChoices():
                completion.n = 0
                reaction.pieces = [(0.0, completion.body())]
            case ErrorFrame(code=code, message=message):
                reaction.pieces = [(0.0, dialect.error(code, message)[1])]
            case _:
                continue
    return reaction


def _streamed(
    completion: Said,
    faults: tuple[Fault, ...],
    first_token: float,
    gap: float,
    head: str,
    dialect: Dialect,
    *,
    include_usage: bool,
) -> Reaction:
    if any(isinstance(fault, EmptyChoices) for fault in faults):
        completion.n = 0
    opening, content, closing = completion.chunks(include_usage=include_usage)
    if completion.n == 0:
        opening, content, closing = opening or closing[-1:], [], []
    ending, done = Ending.CLEAN, 1
    for fault in faults:
        match fault:
            case Cut(after=after, clean=clean):
                content, closing, done = content[:after], [], 0
                ending = Ending.CLEAN if clean else Ending.CUT
            case Stall(after=after):
                content, closing, done, ending = content[:after], [], 0, Ending.NEVER
            case Malformed(after=after, data=data, lost=lost):
                content[after : after + lost] = [dialect.frame(data.encode())]
            case TruncatedJson():
                middle = len(content) // 2
                last = content[middle : middle + 1] or opening[-1:]
                content = [*content[:middle], last[0][: len(last[0]) // 2]]
                closing, done = [], 0
            case ErrorFrame(after=after, code=code, message=message):
                frame = dialect.frame(dialect.error(code, message)[1], error=True)
                content, closing, done = [*content[:after], frame], [], 0
            case Terminator(times=times):
                done = times
            case _:
                continue
    # The role chunk and the first content come with the first token; the finish, the usage and the terminator
    # with the last one.
    frames = [*opening, *content, *closing, *[dialect.last] * (done if dialect.last else 0)]
    spaced = range(len(opening) + 1, len(opening) + len(content))
    pieces = [(gap if number in spaced else 0.0, frame) for number, frame in enumerate(frames)]
    early = head == "early"
    if early and pieces:
        pieces[0] = (first_token, frames[0])
    kind = {"Content-Type": dialect.stream_type, "Cache-Control": "no-cache"}
    return Reaction(200, kind, pieces, ending, head_delay=0.0 if early else first_token, stream=True)
