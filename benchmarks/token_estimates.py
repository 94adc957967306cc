"""How far is the estimate of a prompt's tokens from what providers report?

    python benchmarks/token_estimates.py --recordings DIR

Reads recorded exchanges (one JSON file each, with `request` and `response`), takes those whose prompt is text alone
and whose usage is reported, and estimates each in two ways: unlearned, and by an estimator that has seen all other
recordings of the same provider (leave one out). A group of fewer than five teaches nothing; its prompts count as
unlearned in both. `covered` is the share of prompts that had no more tokens than a hard budget would have reserved.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from resilio.models import Request
from resilio.tokens import PromptSize, TokenEstimator, prompt_size


class Sample(NamedTuple):
    """One recorded exchange: what was sent, and how many tokens the provider says that was."""

    name: str
    provider: str
    size: PromptSize
    tokens: int


# --- recordings to our own shape ---------------------------------------------------------------


def part(raw: Any) -> Any:
    """One piece of a message, text as text; raises ValueError for what is not text."""
    if not isinstance(raw, Mapping):
        return raw
    kind = raw.get("type", "")
    medium = raw.keys() & {"inlineData", "fileData", "document", "image", "cachePoint", "source", "image_url"}
    if medium - {"cachePoint"} or kind in ("image", "document", "image_url", "input_audio", "file"):
        raise ValueError("not text alone")
    if isinstance(raw.get("text"), str):
        return {"type": "text", "text": raw["text"]}
    return {name: value for name, value in raw.items() if name not in ("signature", "thoughtSignature")}


def neutral(body: Mapping[str, Any]) -> Request:
    """The request in the shape callers of resilio write, whichever of five wire formats it was sent in."""
    messages: list[dict[str, Any]] = []
    system = body.get("system") or body.get("systemInstruction") or body.get("instructions")
    if isinstance(system, Mapping):
        system = system.get("parts")
    if system:
        messages.append({"role": "system", "content": system if isinstance(system, str) else [*map(part, system)]})
    raw = body.get("messages") or body.get("contents") or body.get("input") or []
    for message in [{"role": "user", "content": raw}] if isinstance(raw, str) else raw:
        told = dict(message)
        content = told.pop("parts", None) or told.get("content")
        if isinstance(content, list):
            told["content"] = [*map(part, content)]
        messages.append(told)
    wire = {}
    tools = body.get("tools") or body.get("toolConfig", {}).get("tools")
    if tools:
        wire["tools"] = tools
    config = body.get("generationConfig") or {}
    if shape := body.get("response_format") or config.get("responseSchema") or config.get("responseJsonSchema"):
        wire["response_format"] = shape
    return Request("bench", messages, wire)


def reported(response: Mapping[str, Any]) -> int | None:
    """Tokens of the whole prompt, cached parts included."""
    body = response.get("json")
    if isinstance(body, Mapping):
        found = [body.get("usage") or body.get("usageMetadata") or {}]
    else:
        found = [*objects(response.get("sse", ""))]
    best = 0
    for usage in found:
        if "promptTokenCount" in usage:
            count = usage["promptTokenCount"]
        elif "prompt_tokens" in usage:
            count = usage["prompt_tokens"]
        elif "inputTokens" in usage:
            count = usage["inputTokens"] + usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        elif isinstance(usage.get("tokens"), Mapping):  # Cohere
            count = usage["tokens"]["input_tokens"]
        else:
            count = usage.get("input_tokens", 0)
            count += usage.get("cache_creation_input_tokens", 0) + usage.get("cache_read_input_tokens", 0)
        best = max(best, count or 0)
    return best or None


def objects(sse: str) -> Iterator[dict[str, Any]]:
    for line in re.findall(r"^data:\s*(\{.*\})\s*$", sse, re.MULTILINE):
        event = json.loads(line)
        for holder in (event, event.get("message") or {}, event.get("response") or {}, event.get("x_groq") or {}):
            usage = holder.get("usage") or holder.get("usageMetadata")
            if isinstance(usage, dict):
                yield usage


def samples(directory: Path) -> list[Sample]:
    found = []
    for file in sorted(directory.glob("*.json")):
        exchange = json.loads(file.read_text(encoding="utf-8"))
        request = exchange.get("request") if isinstance(exchange, dict) else None
        body = (request or {}).get("json")
        tokens = reported(exchange["response"]) if body and "response" in exchange else None
        if tokens is None or exchange["response"]["status"] >= 300:
            continue
        try:
            size = prompt_size(neutral(body))
        except ValueError:
            continue
        host = re.sub(r"^https?://([^/:]+).*", r"\1", request["uri"])
        found.append(Sample(file.stem, host, size, tokens))
    return found


# --- measuring -----------------------------------------------------------------------------------


def learned_from(others: list[Sample], seed: int) -> TokenEstimator:
    estimator = TokenEstimator()
    order = list(others)
    random.Random(seed).shuffle(order)
    for sample in order:
        estimator.learn(sample.size, sample.tokens)
    return estimator


def errors_of(group: list[Sample], estimators: list[TokenEstimator]) -> dict[str, float]:
    pairs = [*zip(group, estimators, strict=True)]
    errors = sorted(abs(its.estimate(one.size) - one.tokens) / one.tokens * 100 for one, its in pairs)
    return {
        "median_percent": round(median(errors), 1),
        "p95_percent": round(errors[min(len(errors) - 1, int(0.95 * len(errors)))], 1),
        "covered": round(sum(one.tokens <= its.at_most(one.size) for one, its in pairs) / len(pairs), 3),
    }


def measure(found: list[Sample], seed: int = 1) -> dict[str, Any]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for one in found:
        groups[one.provider].append(one)
    rows, everything, before, after = {}, [], [], []
    for provider, group in sorted(groups.items()):
        new = [TokenEstimator() for _ in group]
        taught = [learned_from([two for two in group if two is not one], seed) for one in group]
        rows[provider] = {
            "samples": len(group), "unlearned": errors_of(group, new), "learned": errors_of(group, taught),
        }  # fmt: skip
        everything += group
        before += new
        after += taught
    return {
        "samples": len(everything),
        "unlearned": errors_of(everything, before),
        "learned": errors_of(everything, after),
        "providers": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True, metavar="DIR")
    parser.add_argument("--verbose", action="store_true", help="one line a recording")
    options = parser.parse_args()
    found = samples(options.recordings)
    if not found:
        parser.error(f"{options.recordings} holds no recorded exchange with text and usage")
    if options.verbose:
        for one in found:
            print(f"{one.tokens:6} tokens {one.size.text_bytes:6} bytes {one.size.tools!s:5} {one.provider} {one.name}")
    result = measure(found)
    print(f"{'provider':38} {'n':>3}  {'unlearned: median p95 covered':>32}  {'learned: median p95 covered':>32}")
    for provider, row in [*result["providers"].items(), ("all", result)]:
        cells = (
            f"{row[how]['median_percent']:6.1f} % {row[how]['p95_percent']:6.1f} % {row[how]['covered']:6.3f}"
            for how in ("unlearned", "learned")
        )
        print(f"{provider:38} {row['samples']:3}  {'':>6}{next(cells)}  {'':>6}{next(cells)}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
