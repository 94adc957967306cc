"""`resilio ctl budgets` and `set-limit`, over a real socket."""

import asyncio
import json

import pytest

from resilio import Client
from resilio.cli import main
from resilio.control.commands import answer
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

pytestmark = pytest.mark.real_loop

PRICED = {"price": {"input": 1, "output": 1}}
CONFIG = {
    "provider": [{"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "models": {"m": PRICED}}],
    "route": {"chat": {"targets": ["p/m"], "max_output_tokens": 50}},
    "budget": [
        {"per": "user", "window": "month", "limit_tokens": 1000},
        {"per": "all", "window": "month", "limit_tokens": 5000, "limit_usd": 2},
    ],
}  # fmt: skip


def opened(path=None):
    transport = ScriptedTransport({"http://p.test/v1": SimulatedProvider(Script(answer="fine"))})
    return Client(CONFIG, transport=transport, control_socket=path)


async def ctl(path, *arguments):
    return await asyncio.to_thread(main, ["ctl", "--socket", path, *arguments])


async def test_budgets_are_shown_and_limits_set(tmp_path, capsys):
    path = str(tmp_path / "s")
    async with opened(path) as llm:
        await llm.complete("chat", "hi", user="alice")
        assert await ctl(path, "budgets") == 0
        shown = capsys.readouterr().out
        assert "user/month/tokens" in shown
        assert "alice" in shown
        assert await ctl(path, "set-limit", "user/month", "10", "--entity", "alice") == 0
        assert "budget user/month of alice has a limit of 10" in capsys.readouterr().out
        assert await ctl(path, "budgets", "--json") == 0
        (alice,) = json.loads(capsys.readouterr().out)["budgets"]["user/month/tokens"]["nearest"]
        assert (alice["entity"], alice["limit"]) == ("alice", 10)
        assert await ctl(path, "set-limit", "user/month", "configured", "--entity", "alice") == 0
        assert (await llm.usage(user="alice"))[0].limit == 1000
        assert await ctl(path, "set-limit", "all/month", "1.5", "--unit", "usd") == 0
        assert (await llm.usage())[1].limit == 1.5


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"command": "set-limit"}, "needs a budget and a limit"),
        ({"command": "set-limit", "budget": "x", "limit": "5"}, "no budget 'x'"),
        ({"command": "set-limit", "budget": "user/month", "limit": "-5"}, "from 0"),
        ({"command": "set-limit", "budget": "user/month", "limit": "nan"}, "from 0"),
        ({"command": "set-limit", "budget": "user/month", "limit": "many"}, "could not convert"),
        ({"command": "set-limit", "budget": "all/month", "limit": "5"}, "say which"),
        ({"command": "set-limit", "budget": "user/month", "limit": "5", "unit": "eur"}, '"tokens" or "usd"'),
        ({"command": "set-limit", "budget": "user/month", "limit": "5", "provider": "p"}, "takes no provider"),
        ({"command": "set-limit", "budget": "user/month", "limit": 5}, "limit must be text"),
        ({"command": "budgets", "entity": "a"}, "takes no entity"),
        ({"command": "open", "provider": "p", "budget": "a"}, "takes no budget"),
        ({"command": "bugdets"}, "did you mean 'budgets'"),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(asked, says):
    async with opened() as llm:
        got = json.loads(await answer(llm, json.dumps(asked).encode()))
        assert not got["ok"]
        assert says in got["error"]
        assert [its.limit for its in await llm.usage(user="u")] == [1000, 5000, 2]


@pytest.mark.parametrize(
    "arguments",
    [("set-limit",), ("set-limit", "user/month"), ("budgets", "user"), ("open", "p", "5"), ("status", "--entity", "a")],
)
def test_arguments_that_do_not_fit_are_a_usage_error(tmp_path, arguments, capsys):
    assert main(["ctl", "--socket", str(tmp_path / "none"), *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err
