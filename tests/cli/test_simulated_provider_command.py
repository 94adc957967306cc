"""`resilio simulated-provider`: served, logged, summed up."""

import asyncio
import io
import json
import os
import random
import signal
import socket
from argparse import ArgumentParser, Namespace
from collections import Counter

import aiohttp
import pytest
from waitable import Said

from resilio.cli import main, simulate
from resilio.cli.screen import Screen
from resilio.testing import Script
from resilio.testing.faults import ERRORS, FAULTS, Error, Reset

NEED_FIGURES = ["slow_first_token", "headers"]
QUESTION = {"model": "large", "messages": [{"role": "user", "content": "Hello?"}]}


class Running:
    """The command, running in this loop."""

    def __init__(self, *arguments, script=None):
        parser = ArgumentParser()
        simulate.add_arguments(parser)
        options = parser.parse_args(arguments)
        self.out, self.err = Said(), io.StringIO()
        self.script = script or simulate.script_of(options)
        self.task = asyncio.create_task(simulate.serve_until_signal(self.script, options, Screen(self.out, self.err)))

    async def __aenter__(self):
        await self.out.begun.wait()
        self.url = self.out.getvalue().strip()
        return self

    async def __aexit__(self, *exc_info):
        if not self.task.done():
            await self.end()

    async def end(self, number=signal.SIGINT):
        os.kill(os.getpid(), number)
        return await self.task


async def ask(url, times=1, **more):
    """Statuses of so many questions; None where there was no answer."""
    statuses = []
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            try:
                async with session.post(f"{url}/chat/completions", json={**QUESTION, **more}) as response:
                    await response.read()
                    statuses.append(response.status)
            except aiohttp.ClientError:
                statuses.append(None)
    return statuses


@pytest.mark.real_loop
async def test_it_prints_its_url_answers_and_sums_up():
    async with Running("--json") as running:
        assert await ask(running.url, 3) == [200, 200, 200]
        assert await running.end() == 130
    url, summary = running.out.getvalue().splitlines()
    assert url.endswith("/v1")
    assert json.loads(summary) == {
        "requests": 3,
        "struck": 0,
        "outcomes": {"answered": 3},
        "faults": {},
        "models": {"large": 3},
    }


@pytest.mark.real_loop
async def test_sigterm_ends_it_in_order_too():
    async with Running() as running:
        assert await running.end(signal.SIGTERM) == 143
    assert running.out.getvalue().splitlines()[1:] == ["0 requests, 0 of them met a fault"]


@pytest.mark.real_loop
async def test_faults_strike_and_are_counted():
    async with Running("--fault", "server_error", "--json", "--verbose") as running:
        assert await ask(running.url, 2) == [500, 500]
        await running.end()
    summary = json.loads(running.out.getvalue().splitlines()[-1])
    assert (summary["struck"], summary["outcomes"], summary["faults"]) == (2, {"error": 2}, {"server_error": 2})
    logged = [line for line in running.err.getvalue().splitlines() if "server_error" in line]
    assert [line.split()[0] for line in logged] == ["1", "2"]
    assert "large: server_error; 500, error" in logged[0]


@pytest.mark.real_loop
async def test_without_verbose_no_request_is_logged():
    async with Running() as running:
        await ask(running.url)
        await running.end()
    assert running.err.getvalue() == "serving until Ctrl-C\n"


@pytest.mark.real_loop
async def test_the_summary_for_people_names_outcomes_faults_and_models():
    async with Running(script=Script().sequence(Error("slow_down"), Reset(), None)) as running:
        assert await ask(running.url, 3) == [429, None, 200]
        await running.end()
    lines = [line.split() for line in running.out.getvalue().splitlines()[1:]]
    assert lines == [
        ["3", "requests,", "2", "of", "them", "met", "a", "fault"],
        ["name", "requests"],
        ["outcome", "answered", "1"],
        ["outcome", "broken", "1"],
        ["outcome", "error", "1"],
        ["fault", "reset", "1"],
        ["fault", "slow_down", "1"],
        ["model", "large", "3"],
    ]


@pytest.mark.real_loop
async def test_a_script_file_says_what_happens(tmp_path):
    path = tmp_path / "outage.toml"
    path.write_text('answer = "Paris."\n[[rule]]\nfault = "error"\ncode = "rate_limit_exceeded"\nfirst = 1\n')
    async with Running("--script", str(path)) as running:
        assert await ask(running.url, 2) == [429, 200]


@pytest.mark.real_loop
async def test_one_seed_draws_the_same_faults_every_time():
    drawn = []
    for seed in ("3", "3", "4"):
        async with Running("--fault", "none", "server_error", "slow_down", "--seed", seed) as running:
            drawn.append(await ask(running.url, 12))
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_a_mixture_is_even():
    script, rng = simulate.mixture([None, Reset(), Error("slow_down")]), random.Random(1)
    chosen = Counter(
        tuple(type(fault).__name__ for fault in faults)
        for faults in (script.choose("large", None, stream=False, elapsed=0.0, rng=rng, counts={}) for _ in range(3000))
    )
    assert set(chosen) == {(), ("Reset",), ("Error",)}
    assert all(900 < times < 1100 for times in chosen.values())


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in NEED_FIGURES] + list(ERRORS))
def test_every_other_fault_and_code_is_known_by_name(name):
    (rule,) = simulate.script_of(Namespace(script=None, fault=[name])).rules
    (fault,) = rule.faults
    assert fault == (Error(name) if name in ERRORS else FAULTS[name]())


@pytest.mark.parametrize("name", NEED_FIGURES)
def test_a_fault_that_needs_figures_is_for_scripts(name, capsys):
    assert main(["simulated-provider", "--fault", name]) == 2
    assert "write it into a --script" in capsys.readouterr().err


def test_a_fault_that_is_none_is_refused(capsys):
    assert main(["simulated-provider", "--fault", "meteorite"]) == 2
    assert "no fault 'meteorite'; there are none, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [("[[rule]]\nfault = 3\n", "rule[0].fault"), ("answer =", "is not TOML"), (None, "cannot be read")],
)
def test_a_wrong_script_is_told_with_its_problems(text, told, tmp_path, capsys):
    path = tmp_path / "outage.toml"
    if text is not None:
        path.write_text(text)
    assert main(["simulated-provider", "--script", str(path)]) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["simulated-provider", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_port_out_of_range_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulated-provider", "--port", "70000"])
    assert ended.value.code == 2
