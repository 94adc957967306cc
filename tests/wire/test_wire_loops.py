"""An agent behind a caller's dialect: rounds of tools through every kind of provider, written out and read back in."""

import itertools

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter
from tool_loops import WEATHER, asks_for_tools_until
from world import world

from resilio.providers.sse import SSEParser
from resilio.testing import Script, faults
from resilio.wire import DIALECTS, read_messages

pytestmark = pytest.mark.anyio

FORMATS = {
    "openai": {"kind": "openai"},
    "anthropic": {"kind": "anthropic"},
    "gemini": {"kind": "gemini"},
    "responses": {"kind": "responses"},
    "deepseek": {"kind": "deepseek"},
}
EVENT = TypeAdapter(RawMessageStreamEvent)


class OpenAIAgent:
    """Keeps its conversation as OpenAI's SDK gives it."""

    dialect = DIALECTS["openai"]

    def __init__(self):
        self.messages = [{"role": "user", "content": "Weather?"}]

    def asked(self):
        return self.messages, {"tools": [WEATHER]}

    def read(self, body):
        (choice,) = ChatCompletion.model_validate(body, strict=True).choices
        return self.hear(choice.message)

    def read_events(self, events):
        state = ChatCompletionStreamState()
        for event in events[:-1]:
            state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(event.data), strict=True))
        assert events[-1].data == b"[DONE]"
        return self.hear(state.current_completion_snapshot.choices[0].message)

    def hear(self, message):
        calls = [call.id for call in message.tool_calls or ()]
        self.messages.append(message.model_dump(mode="json", exclude_none=True))
        self.messages += [{"role": "tool", "tool_call_id": call, "content": "mild"} for call in calls]
        return message.content, calls


class AnthropicAgent:
    """Likewise, of Anthropic's."""

    dialect = DIALECTS["anthropic"]

    def __init__(self):
        self.messages = [{"role": "user", "content": "Weather?"}]

    def asked(self):
        tools = [{"name": "weather", "input_schema": {"type": "object"}}]
        read = read_messages({"model": "chat", "max_tokens": 100, "messages": self.messages, "tools": tools})
        return read.messages, read.wire

    def read(self, body):
        return self.hear(Message.model_validate(body, strict=True))

    def read_events(self, events):
        snapshot, buffers = None, {}
        for event in events:
            given = EVENT.validate_python(orjson.loads(event.data))
            snapshot = accumulate_event(event=given, current_snapshot=snapshot, json_bufs=buffers)
        return self.hear(snapshot)

    def hear(self, message):
        calls = [block.id for block in message.content if block.type == "tool_use"]
        content = [block.model_dump(mode="json", exclude_none=True) for block in message.content]
        self.messages.append({"role": "assistant", "content": content})
        if calls:
            results = [{"type": "tool_result", "tool_use_id": call, "content": "mild"} for call in calls]
            self.messages.append({"role": "user", "content": results})
        return "".join(block.text for block in message.content if block.type == "text"), calls


async def ask(it, agent, streamed, route="chat"):
    """One round; returns the target, what was said, and the ids of the calls."""
    messages, wire = agent.asked()
    if not streamed:
        reply = await it.llm.complete(route, messages, **wire)
        return reply.target, *agent.read(orjson.loads(agent.dialect.reply(reply, model="m", created=1).body))
    async with it.llm.stream(route, messages, **wire) as stream:
        writing = agent.dialect.stream(request_id=stream.request_id, model="m", created=1)
        written = [writing.chunk(chunk) async for chunk in stream]
    written.append(writing.end(stream.reply))
    return stream.reply.target, *agent.read_events(SSEParser().feed(b"".join(written)))


AGENTS = pytest.mark.parametrize("agent", [OpenAIAgent, AnthropicAgent])
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
THOUGHTS = pytest.mark.parametrize("thought", ["Both, I think.", pytest.param(None, marks=pytest.mark.soak)])


@AGENTS
@STREAMED
@THOUGHTS
@pytest.mark.parametrize(("first", "second"), [*itertools.product(FORMATS, FORMATS)])
async def test_three_rounds_go_on_at_another_provider_and_back(agent, streamed, thought, first, second):
    """The first is down for the second round. The simulated providers refuse what the real ones would."""
    down = [] if first == second else [None, faults.Error("server_is_overloaded"), None, None]
    scripts = {second: Script(answer=asks_for_tools_until(3, thought))}
    scripts = {first: Script(answer=asks_for_tools_until(3, thought)).sequence(*down), **scripts}
    if first == second:
        scripts = {first: Script(answer=asks_for_tools_until(3, thought))}
    speaking, targets = agent(), []
    async with world(only=FORMATS, **scripts) as it:
        for number in range(4):
            target, text, calls = await ask(it, speaking, streamed)
            targets.append(target)
            assert len(set(calls)) == (2 if number < 3 else 0)
        assert text == "6 results"
        assert targets == [f"{first}/m", f"{second}/m", f"{first}/m", f"{first}/m"]
        it.assert_idle()
