"""Real processes on one real ledger: killed at any instant, they never pass the limit together."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from resilio.store import open_ledger

pytestmark = pytest.mark.real_loop

LIMIT = 8_000
ROUNDS = 20 if os.environ.get("RESILIO_SOAK") == "1" else 1

PROGRAM = textwrap.dedent(
    """
    import asyncio, sys
    from resilio import BudgetExceeded, Client
    from resilio.testing import Fixed, Script, ScriptedTransport, SimulatedProvider

    CONFIG = {
        "provider": [{
            "name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["k"], "models": {"m": {}},
            "max_concurrency": 1000,
        }],
        "route": {"chat": {"targets": ["a/m"], "max_output_tokens": 50}},
        "budget": [{"per": "user", "window": "month", "limit_tokens": int(sys.argv[2])}],
        "ledger": {"path": sys.argv[1]},
    }

    async def caller(llm, number):
        while True:
            try:
                reply = await llm.complete("chat", f"a prompt of caller {number}", user="alice")
            except BudgetExceeded as exc:
                if exc.left == 0 or exc.needed > exc.left:
                    return
                raise
            print(reply.usage.total_tokens, flush=True)

    async def main():
        provider = SimulatedProvider(Script(answer="word " * 20, first_token=Fixed(0.002)))
        async with Client(CONFIG, transport=ScriptedTransport({"http://a.test/v1": provider})) as llm:
            await asyncio.gather(*(caller(llm, number) for number in range(20)))

    asyncio.run(main())
    """
)


def started(path):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(LIMIT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def spent(path):
    ledger = await open_ledger(path)
    try:
        windows = tuple(f"{year}-{month:02}" for year in range(2020, 2100) for month in range(1, 13))
        return (await ledger.spent("user/month/tokens", {"alice": windows}))["alice"]
    finally:
        await ledger.aclose()


async def test_processes_that_are_killed_and_started_again_never_pass_the_limit_together(tmp_path):
    path = tmp_path / "ledger.db"
    delivered = 0
    for _ in range(ROUNDS):
        victim, other = started(path), started(path)
        for _ in range(30):  # it has answers in hand, and others under way
            line = victim.stdout.readline()
            delivered += int(line or 0)
        victim.send_signal(signal.SIGKILL)
        rest, _ = victim.communicate()
        delivered += sum(map(int, rest.split()))
        output, errors = other.communicate(timeout=60)
        assert other.returncode == 0, errors
        delivered += sum(map(int, output.split()))
    last = started(path)
    output, errors = last.communicate(timeout=60)
    assert last.returncode == 0, errors
    delivered += sum(map(int, output.split()))
    charged = await spent(path)
    assert delivered <= charged <= LIMIT
    assert charged > LIMIT * 0.8, "and what is free is found"
