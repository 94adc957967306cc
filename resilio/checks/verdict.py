r"""What passes between a check and whoever runs it: what it is given to look at, and what it says.

async def no_advice(given: CheckInput) -> Verdict:
    answer = await given.ask("judge", f"Is this legal advice? Answer yes or no.\n\n{given.text}")
    return Verdict("deny", "legal advice") if answer.text.startswith("yes") else Verdict()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from resilio.models import CheckStage, Reply, Request

__all__ = ["CheckInput", "Verdict", "VerdictAction", "checked_verdict"]

VerdictAction = Literal["allow", "deny", "redact", "retry", "escalate"]
_ACTIONS: Final = ("allow", "deny", "redact", "retry", "escalate")


class Verdict(NamedTuple):
    """What a check says of a text."""

    action: VerdictAction = "allow"
    reason: str = ""
    """Why, for whoever asked: it stands in replies, errors and events, so it should not quote what was found."""
    text: str | None = None
    """With ``redact``: what to put in the place of the text."""


@dataclass(frozen=True, slots=True)
class CheckInput:
    """What a function of one's own is given."""

    stage: CheckStage
    text: str
    """Before: of the last turn of the user's; after: of the answer, as earlier checks left it."""
    request: Request
    """Messages, wire fields and identity, as earlier checks left them; `messages` must not be changed."""
    reply: Reply | None
    """After: the answer; None before."""
    ask: Callable[..., Awaitable[Reply]] = field(repr=False)
    """`Client.complete`, in the scope of this check: within its time and its budget, for the same user."""


def checked_verdict(said: Any, stage: CheckStage, then: VerdictAction) -> Verdict:
    """What a function's result means: a `Verdict`, True to allow, False for what the check's `then` says.

    Raises:
        ValueError: It means nothing, or cannot be done at this stage.
    """
    if isinstance(said, bool):
        return Verdict() if said else Verdict(then, "said no")
    if not isinstance(said, Verdict):
        raise ValueError(f"it returned {said!r:.60}, not a Verdict, True or False")
    if said.action not in _ACTIONS:
        raise ValueError(f"it returned the action {said.action!r:.60}; there are {', '.join(_ACTIONS)}")
    if not isinstance(said.reason, str):
        raise ValueError(f"its reason is {type(said.reason).__name__}, not text")
    if said.action == "retry" and stage == "before":
        raise ValueError("it asked for a retry, but before sending there is no answer to ask for again")
    if said.action == "redact" and not isinstance(said.text, str):
        raise ValueError("it redacted without a text to put in the place of the old one")
    return said
