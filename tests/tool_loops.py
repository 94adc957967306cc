"""What agents do, for tests of targets of any dialect: ask whole or streamed, and go round with tools."""

import pytest

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TOOL_CALLS = [
    {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": f'{{"city":"{city}"}}'}}
    for city in ("Oslo", "Rome")
]


async def whole(it, *args, route="chat", **wire):
    return await it.llm.complete(route, *args, **wire)


async def streamed(it, *args, route="chat", **wire):
    async with it.llm.stream(route, *args, **wire) as stream:
        text = "".join([chunk.text async for chunk in stream])
    assert text == stream.reply.text
    return stream.reply


BOTH = pytest.mark.parametrize("ask", [whole, streamed])


def asks_for_tools_until(rounds, thought=None):
    """An answer maker that calls two tools at once in each round, then says how many results it saw."""

    def answer(body):
        results = [message for message in body["messages"] if message["role"] == "tool"]
        if len(results) < 2 * rounds:
            number = len(results)
            calls = [{**call, "id": f"{call['id']}_{number}"} for call in TOOL_CALLS]
            thoughts = {"reasoning_content": thought} if thought else {}
            return {"role": "assistant", "content": "Looking.", "tool_calls": calls, **thoughts}
        return f"{len(results)} results"

    return answer


async def loop(it, ask, messages, rounds, **wire):
    """What an agent does: run the tools, append what came, ask again."""
    targets = []
    for number in range(rounds + 1):
        reply = await ask(it, messages, tools=[WEATHER], **wire)
        targets.append(reply.target)
        messages.append(reply.message())
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": f"{number}: mild"} for call in reply.tool_calls
        ]
    return reply, targets
