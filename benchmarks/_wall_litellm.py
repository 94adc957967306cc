"""litellm's Router behind a pipe, for `wall_peers.py`: it lives in an environment of its own.

One JSON object a line comes in (an id, a model, whether to stream, seconds until the caller gives up), one goes out.
The first argument is the Router's own configuration as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

QUESTION_FIELD = "question"


def seen(ended: str, text: str = "", error: str | None = None, **more) -> dict:
    return {"ended": ended, "text": text, "error": error, **more}


async def ask(router, asked: dict) -> dict:
    import litellm

    parts: list[str] = []
    try:
        async with asyncio.timeout(asked["deadline"]):
            return await _ask(router, asked, parts)
    except litellm.ContentPolicyViolationError as exc:
        return seen("refused", error=_line(exc))
    except Exception as exc:  # whatever it raises is what its caller sees
        return seen("error", "".join(parts), _line(exc), chunks=len(parts))


async def _ask(router, asked: dict, parts: list[str]) -> dict:
    fields = {"model": asked["model"], "messages": [{"role": "user", "content": asked[QUESTION_FIELD]}]}
    if not asked["stream"]:
        reply = await router.acompletion(**fields)
        choice = reply.choices[0]
        usage = {"input_tokens": reply.usage.prompt_tokens, "output_tokens": reply.usage.completion_tokens}
        return seen(_ended(choice.finish_reason), choice.message.content or "", **usage)
    finish, usage = None, {}
    stream = await router.acompletion(**fields, stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        if getattr(chunk, "usage", None) is not None:
            usage = {"input_tokens": chunk.usage.prompt_tokens, "output_tokens": chunk.usage.completion_tokens}
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            if choice.delta.content:
                parts.append(choice.delta.content)
    return seen(_ended(finish), "".join(parts), chunks=len(parts), **usage)


def _ended(finish: str | None) -> str:
    if finish == "content_filter":
        return "refused"
    return "complete" if finish in (None, "stop") else "partial"


def _line(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".replace("\n", " ")[:300]


async def main() -> None:
    # It prints to standard output now and then; ours is the pipe.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import litellm
    from litellm import Router

    router = Router(**json.loads(sys.argv[1]))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    # Its first call imports much: that is not what is measured.
    hello = {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}], "mock_response": "hi"}
    await litellm.acompletion(**hello)
    async for _ in await litellm.acompletion(**hello, stream=True):
        pass
    out.write(json.dumps({"ready": True}) + "\n")
    out.flush()

    async def answer(asked: dict) -> None:
        out.write(json.dumps({"id": asked["id"], **await ask(router, asked)}) + "\n")
        out.flush()

    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


if __name__ == "__main__":
    asyncio.run(main())
