"""How a simulated provider answers `POST /v1/chat/completions`, faults included. Pure."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Mapping
from typing import Any, Final

from resilio.testing import wire
from resilio.testing.faults import (
    ERRORS,
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
from resilio.testing.reaction import Ending, Reaction
from resilio.testing.script import Script

__all__ = ["chat_reaction", "error_reaction"]

_SSE: Final = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


def error_reaction(fault: Error, wall_now: float) -> Reaction:
    """An HTTP error with its hint.

    Args:
        fault: What to send.
        wall_now: Unix seconds, for a hint given as a date.
    """
    shape = ERRORS.get(fault.code or "")
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        if fault.retry_after_as == "ms":
            headers["retry-after-ms"] = f"{fault.retry_after * 1000:g}"
        elif fault.retry_after_as == "date":
            # A date has whole seconds: rounded up, so that it never asks for less than was meant.
            headers["Retry-After"] = email.utils.formatdate(math.ceil(wall_now + fault.retry_after), usegmt=True)
        else:
            headers["Retry-After"] = f"{fault.retry_after:g}"
    status = fault.status or (shape.status if shape else 500)
    return Reaction(status, headers, [(0.0, wire.error_body(fault.code, fault.message))])


def chat_reaction(
    script: Script,
    body: Mapping[str, Any],
    faults: tuple[Fault, ...],
    rng: random.Random,
    identity: str,
    created: int,
) -> Reaction:
    """Answer one chat request.

    Args:
        script: How healthy answers are made and timed.
        body: The request, with a model.
        faults: What strikes this request; faults of the connection are dealt with before.
        rng: For latencies.
        identity: The answer's id.
        created: Unix seconds.
    """
    if (objection := _objection(body, faults)) is not None:
        return objection
    completion = _completion(script, body, identity, created)
    _bend(completion, faults)
    first_token = script.first_token.draw(rng)
    for fault in faults:
        if isinstance(fault, SlowFirstToken):
            first_token = fault.seconds
    gap = 1.0 / script.tokens_per_second if script.tokens_per_second else 0.0
    if body.get("stream") is True:
        options = body.get("stream_options")
        with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        return _streamed(completion, faults, first_token, gap, script.head, include_usage=with_usage)
    return _unary(completion, faults, first_token + gap * max(0, len(completion.pieces) - 1))


def _objection(body: Mapping[str, Any], faults: tuple[Fault, ...]) -> Reaction | None:
    """400s that depend on the messages."""
    messages = body.get("messages")
    if messages is None:
        return _bad("missing_required_parameter", "Missing required parameter: 'messages'.")
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        return _bad("invalid_type", "Invalid type for 'messages': expected an array of objects.")
    if not messages:
        return _bad("empty_array", "Invalid 'messages': empty array. Expected at least one.")
    for fault in faults:
        if isinstance(fault, NoPrefill) and messages[-1].get("role") == "assistant":
            return _bad(None, "This model does not support assistant message prefill.")
        if isinstance(fault, Refusal) and fault.how == "prompt":
            return error_reaction(Error("content_policy_violation"), 0.0)
    return None


def _bad(code: str | None, message: str) -> Reaction:
    return Reaction(400, {}, [(0.0, wire.error_body(code, message, "messages"))])


def _completion(script: Script, body: Mapping[str, Any], identity: str, created: int) -> wire.Completion:
    messages = body["messages"]
    made = script.answer(body) if callable(script.answer) else script.answer
    if made is None:
        asked = [message for message in messages if message.get("role") == "user"]
        made = wire.content_text(asked[-1]) if asked else ""
    calls = () if isinstance(made, str) else made.get("tool_calls", ())
    pieces = wire.words(made if isinstance(made, str) else wire.content_text(made))
    finish = "tool_calls" if calls else "stop"
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(most, int) and len(pieces) > most:
        pieces, finish = pieces[:most], "length"
    n = body.get("n") or 1
    prompt = max(1, len(wire.prompt_text(messages).encode()) // 4)
    tier = body.get("service_tier")
    written = n * (len(pieces) + sum(len(call["function"]["arguments"]) // 4 + 1 for call in calls))
    return wire.Completion(
        identity,
        created,
        body["model"],
        pieces,
        finish,
        tool_calls=calls,
        n=n,
        usage=_usage(prompt, written, 0),
        service_tier=tier if isinstance(tier, str) and tier != "auto" else "default",
    )


def _usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _bend(completion: wire.Completion, faults: tuple[Fault, ...]) -> None:
    """Apply the faults that change what is said rather than how it is sent."""
    for fault in faults:
        match fault:
            case Refusal(how="content_filter", text=text):
                completion.pieces, completion.finish_reason = wire.words(text), "content_filter"
            case Refusal(text=text):
                completion.pieces, completion.refusal = wire.words(text), True
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


def _unary(completion: wire.Completion, faults: tuple[Fault, ...], took: float) -> Reaction:
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
                reaction.pieces = [(0.0, wire.error_body(code, message))]
            case _:
                continue
    return reaction


def _streamed(
    completion: wire.Completion,
    faults: tuple[Fault, ...],
    first_token: float,
    gap: float,
    head: str,
    *,
    include_usage: bool,
) -> Reaction:
    if any(isinstance(fault, EmptyChoices) for fault in faults):
        completion.n = 0
    opening, content, closing = completion.chunks(include_usage=include_usage)
    if completion.n == 0:
        opening = closing[-1:] or [b'data: {"object":"chat.completion.chunk","choices":[]}\n\n']
        closing = []
    ending, done = Ending.CLEAN, 1
    for fault in faults:
        match fault:
            case Cut(after=after, clean=clean):
                content, closing, done = content[:after], [], 0
                ending = Ending.CLEAN if clean else Ending.CUT
            case Stall(after=after):
                content, closing, done, ending = content[:after], [], 0, Ending.NEVER
            case Malformed(after=after, data=data, lost=lost):
                content[after : after + lost] = [b"data: " + data.encode() + b"\n\n"]
            case TruncatedJson():
                middle = len(content) // 2
                last = content[middle : middle + 1] or opening[-1:]
                content = [*content[:middle], last[0][: len(last[0]) // 2]]
                closing, done = [], 0
            case ErrorFrame(after=after, code=code, message=message):
                frame = b"data: " + wire.error_body(code, message) + b"\n\n"
                content, closing, done = [*content[:after], frame], [], 0
            case Terminator(times=times):
                done = times
            case _:
                continue
    # The role chunk and the first content come with the first token; the finish, the usage and the terminator
    # with the last one.
    frames = [*opening, *content, *closing, *[wire.DONE] * done]
    spaced = range(len(opening) + 1, len(opening) + len(content))
    pieces = [(gap if number in spaced else 0.0, frame) for number, frame in enumerate(frames)]
    early = head == "early"
    if early and pieces:
        pieces[0] = (first_token, frames[0])
    return Reaction(200, dict(_SSE), pieces, ending, head_delay=0.0 if early else first_token, stream=True)
