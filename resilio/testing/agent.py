"""An agent at work: one conversation of many turns, with tools, a long system prompt and a growing history.

What prompt caching is for, and so what it is tried on. Everything is made up and the same each time; sizes are in
tokens of simulated providers, 4 bytes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from resilio.models import Reply
from resilio.testing.script import Script

if TYPE_CHECKING:
    from resilio import Client

__all__ = ["TOOLS", "agent_run", "agent_script"]

TOOLS: Final[tuple[Mapping[str, Any], ...]] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Use it to {name} whatever the task needs, and read what comes back. " * 4,
            "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
        },
    }
    for name in ("search", "fetch", "compute")
)


def _text(subject: str, tokens: int) -> str:
    """So many tokens about a subject."""
    return (f"{subject}: one more thing that has to be known of it. " * (tokens // 8 + 1))[: 4 * tokens]


def agent_script(**healthy: Any) -> Script:
    """A provider that calls a tool at each turn, another one each time; `healthy` are further fields of the script."""

    def answer(body: Mapping[str, Any]) -> Mapping[str, Any]:
        turn = sum(message["role"] == "assistant" for message in body["messages"]) + 1
        function = TOOLS[turn % len(TOOLS)]["function"]
        call = {"name": function["name"], "arguments": f'{{"what":"{_text(f"step {turn}", 20)}"}}'}
        return {
            "content": _text(f"What step {turn} is for", 40),
            "tool_calls": [{"id": f"call_{turn}", "type": "function", "function": call}],
        }

    return Script(answer=answer, **healthy)


async def agent_run(
    llm: Client, route: str, *, turns: int = 20, system_tokens: int = 2000, result_tokens: int = 150, **options: Any
) -> list[Reply]:
    """Have a conversation, turn after turn, each sent with everything that was said before.

    Args:
        llm: An open client, whose providers play `agent_script`.
        route: Which route to ask.
        turns: How many requests.
        system_tokens: Length of the system prompt.
        result_tokens: Of what each tool gives back.
        **options: Of every call: session, prompt_cache, ...
    """
    messages: list[Mapping[str, Any]] = [
        {"role": "system", "content": _text("The rules of the house", system_tokens)},
        {"role": "user", "content": "Find out why the nightly build fails, and mend it."},
    ]
    replies = []
    for turn in range(1, turns + 1):
        reply = await llm.complete(route, list(messages), tools=list(TOOLS), **options)
        replies.append(reply)
        messages.append(reply.message())
        for call in reply.tool_calls:
            result = _text(f"What was found at step {turn}", result_tokens)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return replies
