"""`resilio wall`: the library's tables, the served upstreams, and any endpoint held against them."""

import asyncio
import io
import json
import os
import signal
from argparse import ArgumentParser

import aiohttp
import pytest
from waitable import Said

from resilio.cli import main, wall
from resilio.cli.screen import Screen
from resilio.testing.wall import LocalUpstreams, WallServer


def figures(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def options_of(*arguments):
    parser = ArgumentParser()
    wall.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_library_is_shown_in_a_table_for_each_mode_and_counted_at_the_end(capsys):
    assert main(["wall", "run", "--library", "--rows", "W11", "w13"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line in ("complete", "stream_continue", "stream_error")] == [
        "complete",
        "stream_continue",
        "stream_error",
    ]
    assert out.count("W13  content filter refusal") == 3
    passed = {"passed": 2, "of": 2}
    assert json.loads(out.splitlines()[-1]) == {
        "complete": passed,
        "stream_continue": passed,
        "stream_error": passed,
    }


def test_json_alone_is_one_line(capsys):
    assert main(["wall", "run", "--library", "--rows", "W11", "--modes", "complete", "--seeds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"complete": {"passed": 1, "of": 1}}


def test_sockets_are_asked_for_and_used(capsys):
    assert main(["wall", "run", "--library", "--sockets", "--rows", "W05", "--modes", "complete", "--json"]) == 0
    assert figures(capsys) == {"complete": {"passed": 1, "of": 1}}


def test_harder_cases_are_counted_apart(capsys):
    assert main(["wall", "run", "--library", "--rows", "W11", "B06", "--modes", "stream_error", "--json"]) == 0
    assert figures(capsys) == {
        "stream_error": {"passed": 1, "of": 1},
        "beyond": {"stream_error": {"passed": 1, "of": 1}},
    }


def test_crowds_tell_their_amplification(capsys):
    assert main(["wall", "run", "--library", "--rows", "B01", "--modes", "complete", "--json"]) == 0
    assert 1.0 <= figures(capsys)["amplification"]["B01"]["complete"] <= 1.3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--library", "--rows", "W99"], "no row 'W99'; there are W01"),
        (["--url", "http://127.0.0.1:1/v1"], "needs --upstream"),
        (["--library", "--scale", "0.1"], "virtual time"),
        (["--url", "http://127.0.0.1:1/v1", "--upstream", "http://127.0.0.1:1", "--sockets"], "goes with --library"),
        (["--library", "--rows", "B05", "--modes", "complete"], "no row left"),
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_command_line(capsys, arguments, complaint):
    assert main(["wall", "run", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_upstreams_that_are_not_there_are_told(capsys):
    assert main(["wall", "run", "--url", "http://127.0.0.1:1/v1", "--upstream", "http://127.0.0.1:1"]) == 1
    assert "upstreams at http://127.0.0.1:1 cannot be asked" in capsys.readouterr().err


def test_an_address_that_is_taken_is_told(capsys):
    with pytest.MonkeyPatch.context() as patch:

        async def taken(self):
            raise OSError(98, "Address already in use")

        patch.setattr(WallServer, "__aenter__", taken)
        assert main(["wall", "serve", "--port", "9"]) == 1
    assert "cannot listen on 127.0.0.1:9: Address already in use" in capsys.readouterr().err


@pytest.mark.real_loop
@pytest.mark.parametrize("as_json", [False, True])
async def test_the_upstreams_are_announced_and_served_until_a_signal(as_json):
    out, err = Said(), io.StringIO()
    options = options_of("serve", "--scale", "0.5", *(["--json"] if as_json else []))
    serving = asyncio.create_task(wall.serve_until_signal(options, Screen(out, err)))
    await out.begun.wait()
    first = out.getvalue().splitlines()[0]
    root = json.loads(first)["url"] if as_json else first
    async with aiohttp.ClientSession() as session, session.post(f"{root}/_reset", params={"row": "w11"}) as response:
        assert await response.json() == {"row": "W11", "model": "w11", "scale": 0.5}
    if as_json:
        assert json.loads(first)["models"]["w14"] == ["primary", "fallback", "spare"]
    else:
        assert "first token 5, idle 2.5, deadline 10" in err.getvalue()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 128 + signal.SIGTERM


async def test_an_endpoint_is_held_against_the_wall_and_its_verdicts_are_told_as_they_come():
    """The endpoint is the bare primary, on virtual time: what it passes and fails is known."""
    out, err = io.StringIO(), io.StringIO()
    async with WallServer(LocalUpstreams(scale=0.1)) as server:
        primary = server.urls["primary"]
        options = options_of(
            "run", "--url", primary, "--upstream", primary.removesuffix("/primary/v1"), "--scale", "0.1",
            "--rows", "W08", "W11", "--modes", "stream_error", "--model", "{row}",
        )  # fmt: skip
        screen = Screen(out, err)
        results = await wall.held(options, screen)
    assert wall.report(results, options, screen) == 1
    assert "stream_error     W08  fail" in err.getvalue()
    told = json.loads(out.getvalue().splitlines()[-1])["stream_error"]
    assert (told["passed"], told["of"]) == (1, 2)
    assert "truncated after" in told["not_passed"]["W08"]
