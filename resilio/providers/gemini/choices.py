"""What a response holds beyond one answer, as choices of OpenAI's: further candidates, and log probabilities.

For callers of OpenAI's dialect, who asked for ``n`` or ``logprobs`` and look for them there. The rule that keeps it
simple: a response of one candidate without log probabilities has nothing of the kind, and a candidate of another shape
is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from resilio.providers.gemini.answer import finish_of, read_parts, refusal_of
from resilio.providers.reading import as_text

__all__ = ["openai_choices"]


def openai_choices(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Choices of a whole response or of one event; none where there is nothing beyond the first answer's own."""
    given = raw.get("candidates")
    candidates = given if isinstance(given, list) else []
    if len(candidates) == 1 and isinstance(candidates[0], Mapping) and "logprobsResult" not in candidates[0]:
        return []
    made: list[Mapping[str, Any]] = []
    for candidate in candidates:
        try:
            made.append(_choice(candidate, as_text(raw.get("responseId"))))
        except (AttributeError, KeyError, TypeError):
            continue
    return made


def _choice(candidate: Mapping[str, Any], response_id: str) -> Mapping[str, Any]:
    index = candidate.get("index") or 0
    if type(index) is not int:
        raise TypeError("index is not a number")
    text, thoughts, calls = read_parts(candidate, response_id, index)
    message: dict[str, Any] = {"content": text, "refusal": refusal_of({}, candidate) or None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = [call.as_sent() for call in calls]
    finish = finish_of(candidate.get("finishReason"), calls) or None
    return {"index": index, "message": message, "logprobs": _logprobs(candidate), "finish_reason": finish}


def _logprobs(candidate: Mapping[str, Any]) -> dict[str, Any] | None:
    result = candidate.get("logprobsResult")
    if not isinstance(result, Mapping):
        return None
    tops = [list(_tokens(each.get("candidates"))) for each in result.get("topCandidates") or ()]
    chosen = list(_tokens(result.get("chosenCandidates")))
    tops += [[]] * (len(chosen) - len(tops))
    content = [{**token, "top_logprobs": top} for token, top in zip(chosen, tops, strict=False)]
    return {"content": content, "refusal": None} if content else None


def _tokens(given: Any) -> Iterator[dict[str, Any]]:
    for each in given or ():
        token, logprob = as_text(each.get("token")), each.get("logProbability")
        finite = type(logprob) in (int, float) and math.isfinite(logprob)
        yield {
            "token": token,
            "logprob": logprob if finite else -9999.0,
            "bytes": list(token.encode("utf-8", "replace")),
        }
