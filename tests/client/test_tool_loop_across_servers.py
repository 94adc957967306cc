"""A loop of tools that moves between servers as strict as the real ones: each gets what it needs and will take."""

import json
import re

from resilio import Client
from resilio.testing import Script, ScriptedTransport, SimulatedProvider, run
from resilio.testing.reaction import Reaction

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CONFIG = {
    "provider": [
        {"name": "deepseek", "kind": "deepseek", "keys": ["sk-deepseek"], "models": {"m": {}}},
        {"name": "mistral", "kind": "mistral", "keys": ["mistral-key"], "models": {"m": {}}},
    ],
    "route": {
        "one": {"targets": ["deepseek/m"]},
        "two": {"targets": ["mistral/m"]},
    },
}


class Strict(SimulatedProvider):
    """A server that refuses what its real one refuses, and thinks before it calls, if it is one that does."""

    def __init__(self, script, complaint, thought=""):
        super().__init__(script)
        self.complaint, self.thought = complaint, thought

    def react(self, *args, **options):
        seen, reaction = super().react(*args, **options)
        why = self.complaint(seen.body)
        if why is not None:
            seen.status = 400
            return seen, Reaction(400, {}, [(0.0, json.dumps({"error": {"message": why}}).encode())])
        if self.thought:
            body = json.loads(b"".join(data for _, data in reaction.pieces))
            body["choices"][0]["message"]["reasoning_content"] = self.thought
            reaction.pieces[:] = [(0.0, json.dumps(body).encode())]
        return seen, reaction


def deepseeks(body):
    for message in body["messages"]:
        if message["role"] == "developer":
            return "unknown variant `developer`"
        if message.get("tool_calls") and "reasoning_content" not in message:
            return "The `reasoning_content` in the thinking mode must be passed back to the API."
    return None


def mistrals(body):
    extra = {"seed", "max_completion_tokens", "stream_options", "user", "store"} & body.keys()
    if extra:
        return f"{extra}: Extra inputs are not permitted"
    for message in body["messages"]:
        if set(message) - {"role", "content", "tool_calls", "tool_call_id"}:
            return f"{sorted(message)}: Extra inputs are not permitted"
        for call in message.get("tool_calls") or ():
            if not re.fullmatch("[a-zA-Z0-9]{9}", call["id"]):
                return f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9."
    return None


def calls(*ids):
    made = [{"id": id_, "type": "function", "function": {"name": "look_up", "arguments": "{}"}} for id_ in ids]
    return {"role": "assistant", "tool_calls": made}


def rounds(*answers):
    """An answer for each request, in order."""
    left = list(answers)
    return Script(answer=lambda body: left.pop(0))


def test_a_loop_of_tools_goes_from_one_to_another_and_back():
    deepseek = Strict(rounds(calls("call_00_a", "call_00_b"), "Done."), deepseeks, thought="I should look.")
    mistral = Strict(rounds(calls("D681PevKs")), mistrals)
    transport = ScriptedTransport({"https://api.deepseek.com": deepseek, "https://api.mistral.ai/v1": mistral})
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Look it up."}]

    async def main():
        async with Client(CONFIG, transport=transport) as llm:
            for route in ("one", "two", "one"):
                reply = await llm.complete(
                    route, messages, tools=[TOOL], max_completion_tokens=100, user="ann", store=False
                )
                messages.append(reply.message())
                messages.extend(
                    {"role": "tool", "tool_call_id": call.id, "content": "found"} for call in reply.tool_calls
                )
            return reply

    assert run(main()).text == "Done."
    first, second = (seen.body["messages"] for seen in (deepseek.log[0], deepseek.log[1]))
    assert [message["role"] for message in first] == ["system", "user"]
    thoughts = [message["reasoning_content"] for message in second if message.get("tool_calls")]
    assert thoughts == ["I should look.", ""]
    asked = mistral.log[0].body
    call, *results = asked["messages"][2:]
    assert [its["id"] for its in call["tool_calls"]] == [its["tool_call_id"] for its in results]
    assert (asked["max_tokens"], len(results)) == (100, 2)
