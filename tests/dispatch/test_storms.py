"""Random faults, policies, callers and schedules: whatever happens, every call ends once, honestly and in time."""

import asyncio
import contextlib
import os
import random

import anyio
import pytest
from world import world

from resilio import ResilioError, StreamBroken
from resilio.client import CompletionRequest
from resilio.events import AttemptEnded, CallSettled
from resilio.testing.faults import (
    ConnectHang,
    Cut,
    EmptyChoices,
    Error,
    ErrorFrame,
    Html,
    Malformed,
    NoPrefill,
    Refusal,
    Refused,
    Reset,
    Silence,
    SlowFirstToken,
    Stale,
    Stall,
    Terminator,
    TruncatedJson,
    UsageReport,
)
from resilio.testing.latency import Uniform
from resilio.testing.schedule import shuffled
from resilio.testing.script import Script

STORMS = 3000 if os.environ.get("RESILIO_SOAK") == "1" else 300
BATCHES = 6
TEXT = "one two three four five six seven eight nine ten"
FAULTS = (
    Cut(0), Cut(1), Cut(4), Cut(4, clean=False), Stall(0), Stall(3), Malformed(0), Malformed(3), Silence(),
    Silence(head=True), Reset(), Stale(), Refused(), ConnectHang(), Html(), EmptyChoices(), TruncatedJson(),
    Terminator(0), Terminator(2), UsageReport(missing=True), SlowFirstToken(4.0), ErrorFrame(0), ErrorFrame(3),
    ErrorFrame(3, code="content_policy_violation"), ErrorFrame(2, code="rate_limit_exceeded"), NoPrefill(),
    Refusal("prompt"), Error(status=500), Error(status=503), Error("invalid_api_key"),
    Error("rate_limit_exceeded", retry_after=0.5), Error("rate_limit_exceeded"), Error("context_length_exceeded"),
    Error("invalid_value"), Error("content_policy_violation"), Error("unsupported_parameter"),
)  # fmt: skip


def go_on(body):
    last = body["messages"][-1]
    return TEXT.removeprefix(last["content"]) if last["role"] == "assistant" else TEXT


def provider_script(rng):
    script = Script(
        answer=go_on,
        first_token=Uniform(0.0, rng.choice([0.01, 1.0, 3.0])),
        tokens_per_second=rng.choice([None, 5.0, 20.0]),
        head=rng.choice(["early", "with_first_token"]),
    )
    for fault in rng.sample(FAULTS, rng.randint(0, 4)):
        script = script.probability(rng.uniform(0.1, 0.9), fault)
    return script


def route_settings(rng):
    settings = {
        "on_break": rng.choice(["error", "partial", "continue", "continue"]),
        "upstream_stream": rng.choice(["as_asked", "auto"]),
        "hold_back_tokens": rng.choice([0, 0, 2, 100]),
        "counts_as_life": rng.choice([[], ["reasoning"], ["comments", "reasoning"]]),
        "max_output_tokens": 64,
        "clocks": {
            "connect": rng.choice([0.5, 1]), "first_token": rng.choice([1, 3]), "idle": rng.choice([0.5, 1]),
            "total": rng.choice([3, 5, 60]),
        },
        "retry": {"max_attempts": rng.randint(1, 5), "max_targets": rng.randint(1, 3), "base": 0.1},
        "targets": ["a/m", "b/m"],
        "ladder": rng.choice([["full"], ["full", {"simpler": "small"}]]),
    }  # fmt: skip
    if rng.random() < 0.5:
        settings["clocks"]["headers"] = rng.choice([0.3, 1])
    if rng.random() < 0.6:
        settings |= {"hedge": rng.choice([0.0001, 0.2, 1.0, "p95"]), "hedge_share": 1.0}
    return settings


class Storm:
    """Some callers of one world, each with ways of their own."""

    def __init__(self, w, rng):
        self.w, self.rng = w, rng
        self.calls = 0
        self.handed = {}

    async def caller(self):
        rng = self.rng
        for _ in range(3):
            await asyncio.sleep(rng.uniform(0, 0.5))
            deadline = rng.choice([0.3, 2.0, 8.0, 30.0])
            what = rng.choice([self.ask, self.read, self.read, self.read_slowly, self.read_impatiently, self.ask_many])
            with contextlib.suppress(ResilioError, TimeoutError):
                await self.disturbed(what(deadline), rng.uniform(0.0, 4.0))

    async def disturbed(self, call, patience):
        how = self.rng.choice(["not", "not", "task", "twice", "scope", "timeout"])
        if how in ("task", "twice"):
            task = asyncio.create_task(call)
            await asyncio.wait([task], timeout=patience)
            task.cancel()
            if how == "twice":
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        elif how == "scope":
            with anyio.move_on_after(patience):
                await call
        elif how == "timeout":
            async with asyncio.timeout(patience):
                await call
        else:
            await call

    async def ask(self, deadline):
        began = self.w.now
        self.calls += 1
        try:
            self.judge(await self.w.llm.complete("chat", "hi", deadline=deadline))
        finally:
            assert self.w.now <= began + deadline + 1e-6

    async def ask_many(self, deadline):
        def requests():
            for _ in range(3):
                self.calls += 1
                yield CompletionRequest("chat", "hi", {"deadline": deadline})

        async for done in self.w.llm.complete_many(requests(), max_concurrency=2):
            if done.reply is not None:
                self.judge(done.reply)

    async def read(self, deadline, pause=0.0):
        began = self.w.now
        self.calls += 1
        parts = []
        try:
            async with self.w.llm.stream("chat", "hi", deadline=deadline) as stream:
                leave_after = self.rng.choice([0, 3, None, None])
                async for chunk in stream:
                    parts.append(chunk.text)
                    if pause:
                        await asyncio.sleep(self.rng.uniform(0, pause))
                    if leave_after is not None and len(parts) > leave_after:
                        break
            self.judge(stream.reply, "".join(parts))
        except StreamBroken as broken:
            self.judge_break(broken, stream.reply, "".join(parts))
            raise
        finally:
            if not pause:
                assert self.w.now <= began + deadline + 1e-6

    async def read_slowly(self, deadline):
        await self.read(deadline, pause=self.rng.choice([0.2, 2.0]))

    async def read_impatiently(self, deadline):
        """A time-out of its own around each chunk, after which it reads on."""
        self.calls += 1
        parts = []
        async with self.w.llm.stream("chat", "hi", deadline=deadline) as stream:
            while True:
                try:
                    async with asyncio.timeout(self.rng.uniform(0.0, 0.7)):
                        parts.append((await anext(stream)).text)
                except TimeoutError:
                    await asyncio.sleep(self.rng.uniform(0.0, 0.2))
                except StopAsyncIteration:
                    break
        self.judge(stream.reply, "".join(parts))

    def judge_break(self, broken, reply, handed):
        assert broken.text == handed == reply.text
        assert TEXT.startswith(handed)
        assert not reply.complete

    def judge(self, reply, handed=None):
        assert TEXT.startswith(reply.text)
        if reply.complete:
            assert reply.text == TEXT
            assert reply.finish_reason
            assert reply.broken is None
        else:
            assert reply.broken
        if handed is not None and reply.broken != "left":
            assert handed in (reply.text, reply.text[: len(handed)])
        self.handed[reply.request_id] = reply


async def storm(seed):
    rng = random.Random(seed)
    only = {}
    if rng.random() < 0.5:
        only["b"] = {"models": {"m": {"capabilities": ["streaming", "prefill"], "price": {"input": 1, "output": 2}}}}
    before = asyncio.all_tasks()
    async with world(
        a=provider_script(rng), b=provider_script(rng), c=provider_script(rng), only=only, seed=seed,
        model={"price": {"input": 1.0, "output": 2.0}}, route=route_settings(rng),
        routes={"small": {"targets": ["c/m"], "hold_back_tokens": rng.choice([0, 50])}},
        provider={"max_concurrency": rng.choice([1, 3, 64])},
    ) as w:  # fmt: skip
        storm = Storm(w, rng)
        with w.llm.scope(max_cost_usd=rng.choice([1.0, 0.002, 100.0])):
            await asyncio.gather(*(storm.caller() for _ in range(4)))
        await asyncio.sleep(0.1)
        w.assert_idle()
        assert w.transport.open_responses == 0
        check_records(w, storm)
    assert asyncio.all_tasks() == before


def check_records(w, storm):
    """One decision record for each call, with its very attempts and the answer the caller got."""
    settled = {event.request_id: event for event in w.events if isinstance(event, CallSettled)}
    assert len(settled) == sum(isinstance(event, CallSettled) for event in w.events)
    assert len(settled) <= storm.calls
    attempts = {}
    for event in w.events:
        if isinstance(event, AttemptEnded):
            attempts.setdefault(event.request_id, []).append(event.attempt)
    assert attempts.keys() <= settled.keys()
    for request_id, event in settled.items():
        assert list(event.attempts) == attempts.get(request_id, [])
        assert event.final in ("complete", "partial", "refused", "failed", "cancelled")
    for request_id, reply in storm.handed.items():
        event = settled[request_id]
        assert event.final == ("complete" if reply.complete else "cancelled" if reply.broken == "left" else "partial")
        assert (event.target, event.usage, event.cost_usd) == (reply.target, reply.usage, reply.cost_usd)
        assert event.attempts == reply.attempts


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_call_ends_once_and_honestly_whatever_strikes(batch):
    for seed in range(batch, STORMS, BATCHES):
        shuffled(lambda seed=seed: storm(seed), [seed])
