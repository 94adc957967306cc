"""What does it cost to write one piece of a stream in a caller's dialect?

Microseconds for each chunk of a text stream, in either dialect, with and without the provider's own event at the chunk;
for a fragment of a tool call; and for a whole answer. Beside us in the same run: `model_dump_json` of the OpenAI SDK's
own `ChatCompletionChunk`, alone and with the building of it, and the same from a dict with orjson. Each figure is the
best of the rounds. Last line: JSON.

    python benchmarks/outgoing.py [--chunks 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import orjson
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

from resilio.models import Chunk, Level, Reply, ToolCallDelta, Usage
from resilio.wire import DIALECTS

CREATED = 1_795_430_000
OPENAI_EVENT = {
    "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": CREATED, "model": "m",
    "choices": [{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}],
}  # fmt: skip
ANTHROPIC_EVENT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}


def best(step: Callable[[], object], count: int, rounds: int) -> float:
    """Microseconds a call."""
    figures = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            step()
        figures.append((time.perf_counter() - began) / count * 1e6)
    return min(figures)


def sdk_chunk() -> ChatCompletionChunk:
    choice = Choice(index=0, delta=ChoiceDelta(content=" word"), logprobs=None, finish_reason=None)
    return ChatCompletionChunk(
        id="chatcmpl-a1-7", object="chat.completion.chunk", created=CREATED, model="chat", choices=[choice]
    )


def sdk_frame(chunk: ChatCompletionChunk) -> bytes:
    return b"data: " + chunk.model_dump_json().encode() + b"\n\n"


def dict_frame() -> bytes:
    choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
    body = {"id": "chatcmpl-a1-7", "object": "chat.completion.chunk", "created": CREATED, "model": "chat"}
    return b"data: " + orjson.dumps({**body, "choices": [choice]}) + b"\n\n"


def writer(dialect: str, chunk: Chunk) -> Callable[[], bytes]:
    """Write this chunk again and again into a stream that has begun with one like it."""
    encoder = DIALECTS[dialect].stream(request_id="a1-7", model="chat", created=CREATED)
    encoder.chunk(Chunk(tool_calls=(ToolCallDelta(0, "call_1", "f"),)) if chunk.tool_calls else chunk)
    return lambda: encoder.chunk(chunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count, rounds = options.chunks, options.rounds
    text, piece = " word", ToolCallDelta(0, arguments='{"city": ')
    reply = Reply(
        "Hello there. " * 40, "stop", target="openai/m", level=Level.FULL, complete=True, usage=Usage(100, 40),
        request_id="a1-7", latency=1.0,
    )  # fmt: skip
    built = sdk_chunk()
    steps = {
        "sdk_dump": lambda: sdk_frame(built),
        "sdk_build_and_dump": lambda: sdk_frame(sdk_chunk()),
        "dict_orjson": dict_frame,
        "openai_text": writer("openai", Chunk(text)),
        "openai_text_from_openai": writer("openai", Chunk(text, raw=OPENAI_EVENT)),
        "openai_tool_fragment": writer("openai", Chunk(tool_calls=(piece,))),
        "anthropic_text": writer("anthropic", Chunk(text)),
        "anthropic_text_from_anthropic": writer("anthropic", Chunk(text, raw=ANTHROPIC_EVENT)),
        "anthropic_tool_fragment": writer("anthropic", Chunk(tool_calls=(piece,))),
        "openai_whole_answer": lambda: DIALECTS["openai"].reply(reply, model="chat", created=CREATED),
        "anthropic_whole_answer": lambda: DIALECTS["anthropic"].reply(reply, model="chat", created=CREATED),
    }
    found = {name: best(step, count, rounds) for name, step in steps.items()}
    for name, figure in found.items():
        print(f"{name:32} {figure:7.2f} us")
    sdk = found["sdk_dump"]
    result = {name: round(figure, 2) for name, figure in found.items()}
    result |= {f"sdk_dump_over_{name}": round(sdk / found[name], 1) for name in ("openai_text", "anthropic_text")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
