"""How do others stand before the wall of sixteen faults? The plain OpenAI SDK, litellm's Router and resilio in one run.

Real time, every time shrunk by --scale; the upstreams run in a process of their own. Each is set up as its own
documentation recommends, and every caller gives up at the deadline, so nobody is failed for a missing outer time-out:

- OpenAI SDK: one client on the primary (it has no fallback), its default two retries, read time-out = the
  first-token clock. Its back-off (0.5 s to 8 s) is scaled too.
- litellm: a model group for each upstream, `fallbacks` and `context_window_fallbacks` to the second, `timeout` and
  `stream_timeout` = the first-token clock, `allowed_fails` 4, `cooldown_time` 30 s. Twice: with `num_retries` 0, which
  suits a deadline of 20 s best, and with its default of 2. Its back-off is scaled.
- resilio: the configuration of `resilio.testing.wall`, with breakers and back-off scaled.

Last line: JSON, also written to --out.

    python benchmarks/wall_peers.py [--scale 0.1] [--litellm /tmp/resilio-wall-litellm]
        [--out benchmarks/results/wall_peers.json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import openai
from openai import _base_client

from resilio import Client
from resilio.testing.wall import (
    QUESTION,
    ROWS,
    Ask,
    Ended,
    LibraryClient,
    Mode,
    RemoteUpstreams,
    Result,
    Row,
    Seen,
    WallClient,
    configuration,
    run_row,
    summary,
)
from resilio.testing.wall.evidence import FIRST_TOKEN
from resilio.testing.wall.http import seen_of_error

ROOT = Path(__file__).resolve().parents[1]
SLACK = 0.25
"""Real seconds by which a measured instant may be off."""

TITLES = {
    "resilio": "resilio",
    "openai": "OpenAI SDK",
    "litellm": "litellm",
    "litellm_2_retries": "litellm, 2 retries",
}

Opened = Callable[[Row, Mode], AbstractAsyncContextManager[WallClient]]


# --- the plain SDK -------------------------------------------------------------------------------


class SdkClient:
    """`openai.AsyncOpenAI` as most programs use it."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    def leaks(self) -> tuple[str, ...]:
        return ()

    async def ask(self, ask: Ask) -> Seen:
        parts: list[str] = []
        try:
            async with asyncio.timeout(ask.deadline):
                return await self._ask(ask, parts)
        except (openai.OpenAIError, TimeoutError) as exc:
            code = getattr(exc, "code", None)
            return seen_of_error(f"{type(exc).__name__} {code or ''}: {exc}", "".join(parts))
        except Exception as exc:  # httpx's and json's own reach its callers too
            text = "".join(parts)
            return Seen(Ended.ERROR, text, f"{type(exc).__name__}: {exc}", text or None)

    async def _ask(self, ask: Ask, parts: list[str]) -> Seen:
        create = self._client.chat.completions.create
        messages: Any = [{"role": "user", "content": QUESTION}]
        if not ask.mode.stream:
            reply = await create(model=ask.model, messages=messages)
            choice, usage = reply.choices[0], reply.usage
            tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
            text = choice.message.content or ""
            return Seen(_ended(choice.finish_reason), text, input_tokens=tokens[0], output_tokens=tokens[1])
        finish = None
        async for chunk in await create(model=ask.model, messages=messages, stream=True):
            for part in chunk.choices:
                finish = part.finish_reason or finish
                if part.delta.content:
                    parts.append(part.delta.content)
        return Seen(_ended(finish), "".join(parts), chunks=len(parts))


def _ended(finish: str | None) -> Ended:
    if finish == "content_filter":
        return Ended.REFUSED
    return Ended.COMPLETE if finish in (None, "stop") else Ended.PARTIAL


def sdk(urls: dict[str, str], scale: float) -> Opened:
    _base_client.INITIAL_RETRY_DELAY = 0.5 * scale
    _base_client.MAX_RETRY_DELAY = 8.0 * scale

    @asynccontextmanager
    async def opened(row: Row, mode: Mode) -> AsyncIterator[WallClient]:
        clocks = openai.Timeout(FIRST_TOKEN * scale, connect=5 * scale)
        async with openai.AsyncOpenAI(base_url=urls["primary"], api_key="sk-wall", timeout=clocks) as client:
            yield SdkClient(client)

    return opened


# --- litellm -------------------------------------------------------------------------------------


class PipedClient:
    """`_wall_litellm.py` at the other end of a pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def leaks(self) -> tuple[str, ...]:
        return ()

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            future = self._waiting.pop(told.pop("id"))
            if not future.done():  # nobody waits any more for an answer that came too late
                future.set_result(told)

    async def ask(self, ask: Ask) -> Seen:
        identity = next(self._ids)
        self._waiting[identity] = future = asyncio.get_running_loop().create_future()
        asked = {"id": identity, "model": ask.model, "stream": ask.mode.stream, "deadline": ask.deadline}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**asked, "question": QUESTION}).encode() + b"\n")
        told = await future
        ended = Ended(told.pop("ended"))
        return Seen(ended, partial_text=told["text"] or None if ended is Ended.ERROR else None, **told)


def litellm_router(urls: dict[str, str], scale: float, num_retries: int) -> dict[str, Any]:
    """What `litellm.Router` is constructed with."""

    def deployment(row: Row, upstream: str) -> dict[str, Any]:
        group = row.model if upstream == "primary" else f"{row.model}-{upstream}"
        params = {"model": f"openai/{row.model}", "api_base": urls[upstream], "api_key": "sk-wall"}
        return {"model_name": group, "litellm_params": params}

    after = [{row.model: [f"{row.model}-{upstream}" for upstream in row.targets[1:]]} for row in ROWS]
    return {
        "model_list": [deployment(row, upstream) for row in ROWS for upstream in row.targets],
        "fallbacks": after,
        "context_window_fallbacks": after,
        "timeout": FIRST_TOKEN * scale,
        "stream_timeout": FIRST_TOKEN * scale,
        "num_retries": num_retries,
        "allowed_fails": 4,
        "cooldown_time": 30 * scale,
    }


def litellm(urls: dict[str, str], scale: float, environment: Path, num_retries: int) -> Opened:
    router = litellm_router(urls, scale, num_retries)
    back_off = {
        "INITIAL_RETRY_DELAY": str(0.5 * scale),
        "MAX_RETRY_DELAY": str(8 * scale),
        "JITTER": str(0.75 * scale),
    }
    # Its price list comes from the network otherwise.
    variables = {**os.environ, **back_off, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    clients: dict[Mode, PipedClient] = {}

    @asynccontextmanager
    async def opened(row: Row, mode: Mode) -> AsyncIterator[WallClient]:
        if mode not in clients:  # one process for all rows of a mode; their models are different ones
            process = await asyncio.create_subprocess_exec(
                str(environment / "bin" / "python"), str(ROOT / "benchmarks" / "_wall_litellm.py"), json.dumps(router),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables,
            )  # fmt: skip
            assert process.stdout is not None
            await process.stdout.readline()
            clients[mode] = PipedClient(process)
            _routers[process] = asyncio.create_task(clients[mode].listen())
        yield clients[mode]

    return opened


_routers: dict[asyncio.subprocess.Process, asyncio.Task[None]] = {}


async def end_routers() -> None:
    """Their standard input ends, and so do they."""
    for process, listening in _routers.items():
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await listening


def install_litellm(environment: Path) -> str | None:
    """Its version, installed where it is not; None where it cannot be."""
    python = environment / "bin" / "python"
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    try:
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "litellm"], check=True)
        code = "from importlib.metadata import version; print(version('litellm'))"
        return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as exc:
        print(f"litellm is left out: {exc}", file=sys.stderr)
        return None


# --- resilio -------------------------------------------------------------------------------------


def library(urls: dict[str, str], scale: float) -> Opened:
    @asynccontextmanager
    async def opened(row: Row, mode: Mode) -> AsyncIterator[WallClient]:
        async with Client(configuration(row, mode, urls, scale=scale)) as llm:
            yield LibraryClient(llm)

    return opened


# --- the run -------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(scale: float):
    command = [sys.executable, "-m", "resilio", "wall", "serve", "--scale", str(scale), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


async def hold(name: str, opened: Opened, root: str, scale: float) -> list[Result]:
    results = []
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        upstreams = RemoteUpstreams(session, root)
        for mode in Mode:
            for row in ROWS:
                async with opened(row, mode) as client:
                    result = await run_row(client, upstreams, row, mode, scale=scale, slack=SLACK / scale)
                results.append(result)
                print(f"{name:20} {mode:16} {row.id} {result.judgement.verdict:8} {result.judgement.why}"[:200])
    return results


def told(results: list[Result]) -> dict[str, Any]:
    """The summary, with every row's verdict."""
    found: dict[str, Any] = dict(summary(results))
    for result in results:
        found[result.mode].setdefault("rows", {})[result.row.id] = str(result.judgement.verdict)
    return found


async def measure(served: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    urls, root, scale = served["upstreams"], served["url"], options.scale
    litellm_version = install_litellm(options.litellm) if options.litellm else None
    peers: dict[str, Opened | None] = {
        "resilio": library(urls, scale),
        "openai": sdk(urls, scale),
        "litellm": litellm(urls, scale, options.litellm, 0) if litellm_version else None,
        "litellm_2_retries": litellm(urls, scale, options.litellm, 2) if litellm_version else None,
    }
    found: dict[str, Any] = {
        "scale": scale,
        "versions": {"openai": version("openai"), "litellm": litellm_version},
    }
    try:
        for name, opened in peers.items():
            if not options.only or name in options.only:
                found[name] = None if opened is None else told(await hold(name, opened, root, scale))
    finally:
        await end_routers()
    return found


def tables(found: dict[str, Any]) -> str:
    """Markdown: how many rows passed, then each row's verdicts in the order of the modes."""
    those = {name: title for name, title in TITLES.items() if found.get(name)}

    def line(first: str, cells: Iterable[str]) -> str:
        return "| " + " | ".join([first, *cells]) + " |"

    head = [line("", those.values()), "|---|" + "---|" * len(those)]
    counts = [line(f"`{mode}`", (f"{found[name][mode]['passed']} of {len(ROWS)}" for name in those)) for mode in Mode]
    rows = [
        line(row.id, (", ".join(found[name][mode]["rows"][row.id] for mode in Mode) for name in those)) for row in ROWS
    ]
    return "\n".join([*head, *counts, "", *head, *rows])


def write_into(page: Path, made: str) -> None:
    """Put the tables between their marks."""
    before, rest = page.read_text().split("<!-- peers -->\n", 1)
    _, after = rest.split("<!-- end of peers -->", 1)
    page.write_text(f"{before}<!-- peers -->\n{made}\n<!-- end of peers -->{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="every time is multiplied by it")
    parser.add_argument(
        "--litellm", type=Path, default=Path("/tmp/resilio-wall-litellm"), help="its environment, made where missing"
    )
    parser.add_argument("--only", nargs="+", help="resilio, openai, litellm, litellm_2_retries")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "wall_peers.json")
    parser.add_argument("--page", type=Path, help="a page whose tables are written anew, such as docs/wall.md")
    options = parser.parse_args()
    with served(options.scale) as where:
        found = asyncio.run(measure(where, options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.page:
        write_into(options.page, tables(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
