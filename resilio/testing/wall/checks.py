"""Rules of single rows: which calls are forbidden, how soon an answer must come, what must be told. Pure.

Each is a function from evidence to a complaint, or None. Rules that take a figure are made with it. They judge what was
done, never how: a client that keeps them by other means than ours passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Final

from resilio.testing.wall.evidence import Ended, Evidence, Seen, UpstreamCall

__all__ = [
    "PROBE_INTERVAL",
    "THRESHOLD",
    "Check",
    "accounts_for",
    "amplified_at_most",
    "at_most",
    "caller_gone_is_noticed",
    "first_cause_is_kept",
    "in_time",
    "never_says",
    "primary_is_back",
    "probes_only",
    "quiet_after",
    "spaced",
    "struck_at_most",
]

THRESHOLD: Final = 5
"""Failures after which a breaker must be open."""
PROBE_INTERVAL: Final = 10.0
"""More than one call in so many seconds is no probing."""

Check = Callable[[Evidence], "str | None"]
"""Says what rule was broken, or None."""


def quiet_after(hint: float) -> Check:
    """After the first 429 the primary is left alone for `hint` seconds."""

    def check(evidence: Evidence) -> str | None:
        first, *later = evidence.of("primary") or (None,)
        if first is None:
            return "the primary was never asked"
        for call in later:
            # The hint counts from the answer; the request was a little earlier.
            if call.at - first.at < hint - 0.001:
                return f"the primary was asked again {call.at - first.at:.2f} s after it asked for {hint:g} s of rest"
        return None

    return check


def spaced(least: float) -> Check:
    """Between two calls of the primary, the first of which failed, lie at least so many seconds."""

    def check(evidence: Evidence) -> str | None:
        calls = evidence.of("primary")
        for before, after in itertools.pairwise(calls):
            if (before.status or 0) >= 400 and after.at - before.at < least:
                return f"the primary was asked again after {after.at - before.at:.3f} s"
        return None

    return check


def at_most(calls: int, upstream: str | None = None) -> Check:
    """No more than so many calls, of one upstream or of all together."""

    def check(evidence: Evidence) -> str | None:
        made = len(evidence.calls if upstream is None else evidence.of(upstream))
        return None if made <= calls else f"{made} calls of {upstream or 'all upstreams'}, at most {calls} are allowed"

    return check


def in_time(seconds: float) -> Check:
    """No answer takes longer than so many seconds; an error may take until the deadline."""

    def check(evidence: Evidence) -> str | None:
        answered = (seen.elapsed for seen in evidence.seen if seen.ended is Ended.COMPLETE)
        longest = max(answered, default=0.0)
        if longest <= seconds + evidence.slack:
            return None
        return f"took {longest:.1f} s, {seconds:g} s are enough"

    return check


def _while_down(evidence: Evidence) -> list[UpstreamCall]:
    return [call for call in evidence.of("primary") if call.faults]


def probes_only(at_once: int = 0) -> Check:
    """While it is down the primary gets the calls that open a breaker, those already out by then, and probes.

    Args:
        at_once: Callers that ask at the same time.
    """

    def check(evidence: Evidence) -> str | None:
        struck = _while_down(evidence)
        if len(struck) <= THRESHOLD + at_once:
            return None
        # Counted from the failure that had to open the breaker: before it there is nothing to probe.
        since_open = struck[-1].at - struck[THRESHOLD - 1].at
        allowed = THRESHOLD + at_once + int(since_open / PROBE_INTERVAL)
        return None if len(struck) <= allowed else f"{len(struck)} calls of a primary that is down, {allowed} at most"

    return check


def primary_is_back(evidence: Evidence) -> str | None:
    """After the errors that are no fault of the primary's it answers again: nothing was held against it."""
    served = any(call.status == 200 for call in evidence.of("primary"))
    return None if served else "the primary was not asked again, although nothing is wrong with it"


def struck_at_most(calls: int) -> Check:
    """The fault of the row was met no more often than this."""

    def check(evidence: Evidence) -> str | None:
        struck = len(_while_down(evidence))
        return None if struck <= calls else f"the primary's fault was met {struck} times, {calls} at most"

    return check


def amplified_at_most(ratio: float) -> Check:
    """Upstream calls for each of a caller's."""

    def check(evidence: Evidence) -> str | None:
        met = evidence.amplification
        return None if met <= ratio else f"{met:.2f} upstream calls for each of a caller's, {ratio:g} at most"

    return check


def never_says(what: str) -> Check:
    """These characters reach no caller."""

    def check(evidence: Evidence) -> str | None:
        return f"the caller got {what!r}" if any(what in seen.text for seen in evidence.seen) else None

    return check


def first_cause_is_kept(evidence: Evidence) -> str | None:
    """The attempts begin with what broke first; clients that list no attempts are not asked."""
    for seen in evidence.seen:
        if seen.attempts is None:
            continue
        if not seen.attempts:
            return "no attempt is listed"
        first = seen.attempts[0]
        if not first.target.startswith("primary") or first.error_class is None:
            return f"the first attempt listed is {first.target}, {first.error_class or 'well'}: the first cause is lost"
    return None


def accounts_for(upstream: str, usage: Callable[[], tuple[int, int]], price: tuple[float, float]) -> Check:
    """Usage, cost and target are those of the upstream that answered; attempts match its log.

    Args:
        upstream: The one that answers.
        usage: Its input and output tokens for the question.
        price: US dollars for a million tokens of each.
    """

    def check(evidence: Evidence) -> str | None:
        tokens = usage()
        cost = sum(count * each for count, each in zip(tokens, price, strict=True)) / 1e6
        for seen in evidence.seen:
            if seen.ended is not Ended.COMPLETE:
                continue
            told = (seen.input_tokens, seen.output_tokens)
            if seen.input_tokens is not None and told != tokens:
                return f"usage {told} reported, {tokens} used"
            if seen.cost_usd is not None and abs(seen.cost_usd - cost) > 1e-12:
                return f"cost {seen.cost_usd:.8f} reported, it is {cost:.8f}"
            if seen.target is not None and not seen.target.startswith(upstream):
                return f"target {seen.target} reported, {upstream} answered"
            if (why := _attempts_match(seen, evidence.calls)) is not None:
                return why
        return None

    return check


def _attempts_match(seen: Seen, calls: Sequence[UpstreamCall]) -> str | None:
    if seen.attempts is None:
        return None
    listed = [(tried.target.split("/")[0], tried.error_class is None) for tried in seen.attempts]
    logged = [(call.upstream, call.status == 200) for call in calls]
    return None if listed == logged else f"attempts {listed} reported, {logged} in the logs"


def caller_gone_is_noticed(within: float) -> Check:
    """Calls that were out when the caller went away are cancelled upstream in so many seconds."""

    def check(evidence: Evidence) -> str | None:
        left_at = evidence.left_at
        assert left_at is not None, "a check for rows whose callers leave"
        out = [call for call in evidence.calls if call.ended_at is None or call.ended_at > left_at - 1e-9]
        if not out:
            return "no call was out when the caller left: the row did not measure"
        late = [call for call in evidence.calls if call.at > left_at + evidence.slack]
        if late:
            return f"{len(late)} calls were begun after the caller had left"
        for call in out:
            if call.ended_at is None or call.ended_at - left_at > within + evidence.slack:
                return f"{call.upstream} still answers: {call.outcome}"
        return None

    return check
