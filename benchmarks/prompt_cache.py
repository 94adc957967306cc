"""By which factor does prompt caching lower what an agent's input costs, and what does a move cost?

    python benchmarks/prompt_cache.py [--turns 20] [--system 2000]

An agent with tools, a system prompt of so many tokens and a growing history has one conversation on virtual time, with
a simulated provider that caches by the breakpoints of each request as Anthropic does. Its input is priced with caching
and without, and held against what the price list predicts from the lengths of the prompts alone. Then the target fails
in mid-conversation. The CPU that encoding takes with caching and without is measured too. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from resilio import Client
from resilio.config import ProviderSettings, TargetSettings
from resilio.models import Reply, Request
from resilio.providers import REGISTRY
from resilio.testing import Script, ScriptedTransport, SimulatedProvider, run
from resilio.testing.agent import TOOLS, agent_run, agent_script
from resilio.testing.faults import Error

PRICES = {
    "claude-sonnet-4-5": {
        "input": 3.0,
        "output": 15.0,
        "cache_read": 0.3,
        "cache_write_5m": 3.75,
        "cache_write_1h": 6.0,
    },
}
MODEL = "claude-sonnet-4-5"
PRICE = PRICES[MODEL]


def client(scripts: dict[str, Script], **route: Any) -> Client:
    providers = [
        {"name": name, "kind": "anthropic", "base_url": f"http://{name}.test", "models": {MODEL: {"price": PRICE}}}
        for name in scripts
    ]
    targets = [f"{name}/{MODEL}" for name in scripts]
    simulated = {f"http://{name}.test": SimulatedProvider(script) for name, script in scripts.items()}
    config = {"provider": providers, "route": {"agent": {"targets": targets, **route}}}
    return Client(config, transport=ScriptedTransport(simulated), rng=random.Random(1))


def input_usd(replies: Sequence[Reply]) -> float:
    return sum((reply.cost_usd or 0.0) - reply.usage.output_tokens * PRICE["output"] / 1e6 for reply in replies)


def predicted(sizes: Sequence[int], ttl: str) -> tuple[float, float]:
    """US dollars of prompts of these lengths, without caching and with, by the price list alone."""
    write = PRICE["cache_write_5m" if ttl == "5m" else "cache_write_1h"]
    added = sum(before * PRICE["cache_read"] + (now - before) * write for before, now in pairwise(sizes))
    return sum(sizes) * PRICE["input"] / 1e6, (sizes[0] * write + added) / 1e6


async def conversation(turns: int, system: int, ttl: str) -> dict[str, Any]:
    async with client({"a": agent_script()}, prompt_cache="auto", prompt_cache_ttl=ttl) as llm:
        cached = await agent_run(llm, "agent", turns=turns, system_tokens=system)
        plain = await agent_run(llm, "agent", turns=turns, system_tokens=system, prompt_cache="off")
    sizes = [reply.usage.input_tokens for reply in plain]
    expected = predicted(sizes, ttl)
    return {
        "off_usd": round(input_usd(plain), 6),
        "auto_usd": round(input_usd(cached), 6),
        "factor": round(input_usd(plain) / input_usd(cached), 4),
        "predicted_factor": round(expected[0] / expected[1], 4),
        "prompt_tokens": [sizes[0], sizes[-1]],
    }


async def moved(turns: int, system: int) -> dict[str, Any]:
    down = agent_script().with_rule(Error("server_is_overloaded"), skip=turns // 2)
    async with client({"a": down, "b": agent_script()}, prompt_cache="auto") as llm:
        replies = await agent_run(llm, "agent", turns=turns, system_tokens=system)
    uses = [reply.prompt_cache for reply in replies]
    return {
        "targets": [sum(reply.target.startswith(name) for reply in replies) for name in ("a/", "b/")],
        "auto_usd": round(input_usd(replies), 6),
        "written_again_tokens": sum(use.rewritten_tokens for use in uses if use),
        "written_again_usd": round(sum(use.rewritten_usd or 0.0 for use in uses if use), 6),
        "turns_that_read_nothing": sum(use is None or use.read_tokens == 0 for use in uses),
    }


def encoding(system: int, turns: int) -> dict[str, float]:
    """Microseconds of CPU to build one request of a conversation that long, with caching and without."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s" * 4 * system},
        {"role": "user", "content": "Find out why."},
    ]
    for turn in range(turns):
        messages += [{"role": "assistant", "content": "a" * 160}, {"role": "user", "content": f"{turn} " + "r" * 600}]
    codec = REGISTRY["anthropic"].for_provider(ProviderSettings(name="a", kind="anthropic", base_url="http://a.test"))
    took = {}
    for mode in ("off", "auto", "off", "auto"):
        target = TargetSettings(provider="a", model=MODEL, prompt_cache=mode)  # type: ignore[arg-type]
        samples = []
        for _ in range(300):
            request = Request("agent", messages, {"tools": list(TOOLS)})
            began = time.process_time_ns()
            codec.encode(
                request, target, base_url="http://a.test", key=None, headers={}, stream=False, max_output_tokens=9
            )
            samples.append((time.process_time_ns() - began) / 1000)
        took[mode] = round(statistics.median(samples), 1)
    return took


async def all_of(turns: int, system: int) -> dict[str, Any]:
    return {
        "5m": await conversation(turns, system, "5m"),
        "1h": await conversation(turns, system, "1h"),
        "moved": await moved(turns, system),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--system", type=int, default=2000, help="tokens of the system prompt")
    options = parser.parse_args()
    result = run(all_of(options.turns, options.system))
    for ttl in ("5m", "1h"):
        row = result[ttl]
        first, last = row["prompt_tokens"]
        print(
            f"{ttl}: {options.turns} turns, prompts of {first:,} to {last:,} tokens: input {row['off_usd']:.4f} USD "
            f"without, {row['auto_usd']:.4f} with: x {row['factor']:.3f} (price list: {row['predicted_factor']:.3f})"
        )
    row = result["moved"]
    print(
        f"down after {row['targets'][0]} turns: {row['written_again_tokens']:,} tokens written again, "
        f"{row['written_again_usd']:.4f} USD more; input {row['auto_usd']:.4f} USD in all"
    )
    result["encode_cpu_us"] = encoding(options.system, options.turns)
    print("CPU to encode the last turn, us:", result["encode_cpu_us"])
    print(json.dumps({"turns": options.turns, "system_tokens": options.system, **result}))


if __name__ == "__main__":
    main()
