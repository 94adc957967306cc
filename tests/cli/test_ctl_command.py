"""`resilio ctl` and the control socket, over real sockets and against a real process."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import pytest

from resilio import Client
from resilio.actor.keys import set_aside
from resilio.cli import main
from resilio.control.server import MAX_CONNECTIONS, MAX_LINE, ControlServer
from resilio.errors import ControlError, ErrorClass
from resilio.testing.latency import Fixed
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

pytestmark = pytest.mark.real_loop

TOML = """\
[[provider]]
name = "openai"
kind = "openai"
base_url = "http://openai.test/v1"
keys = ["sk-very-secret-1", "sk-very-secret-2"]
models = { gpt = {}, mini = {} }
max_concurrency = 7

[route.chat]
targets = ["openai/gpt"]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "resilio.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "llm.sock")


@pytest.fixture
def client(file, path):
    return opened(file, path)


def opened(file, path, **options):
    transport = ScriptedTransport({"http://openai.test/v1": SimulatedProvider(Script(answer="fine"))})
    return Client.from_file(file, control_socket=path, transport=transport, **options)


async def ctl(capsys, path, *words):
    """Exit status, standard output, standard error."""
    status = await asyncio.to_thread(main, ["ctl", "--socket", path, *words])
    said = capsys.readouterr()
    return status, said.out, said.err


async def say(path, line, *, end=True):
    """One raw exchange; what came back."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(line)
        if end:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def refused(path, line, **how):
    got = json.loads(await say(path, line, **how))
    assert got["ok"] is False
    return got["error"]


# --- the command -------------------------------------------------------------------------------


async def test_status_is_a_table_without_secrets(client, path, capsys):
    async with client as llm:
        llm.engine.supervisor.providers["openai"].keys[1].aside = "out_of_credit"
        llm.provider("openai").open(model="mini")
        status, out, err = await ctl(capsys, path, "status")
    assert (status, err) == (0, "")
    head, first, gpt, mini = out.splitlines()
    assert head.split("  ")[0] == "provider"
    assert first.split() == ["openai", "running", "closed", "0/7", "0", "1:", "out_of_credit"]
    assert gpt.split() == ["openai/gpt", "closed", "0"]
    assert mini.split() == ["openai/mini", "forced_open", "0"]
    assert "secret" not in out


async def test_status_as_json_is_the_whole_snapshot(client, path, capsys):
    async with client as llm:
        llm.engine.supervisor.providers["openai"].models["gpt"].breaker.trip_now(asyncio.get_running_loop().time())
        status, out, _ = await ctl(capsys, path, "status", "--json")
        _, table, _ = await ctl(capsys, path, "status")
    got = json.loads(out)
    assert (status, got["ok"]) == (0, True)
    assert got["status"]["routes"] == {"chat": ["openai/gpt"]}
    assert got["status"]["providers"]["openai"]["targets"]["openai/gpt"]["breaker"]["state"] == "open"
    assert "open, probe in" in table
    assert "secret" not in out


@pytest.mark.parametrize(
    ("action", "state"),
    [("open", "forced_open"), ("close", "closed"), ("disable", "disabled"), ("metrics-only", "metrics_only")],
)
async def test_circuits_are_moved_by_hand(client, path, capsys, action, state):
    async with client as llm:
        status, out, _ = await ctl(capsys, path, action, "openai/gpt")
        assert status == 0
        assert f"openai/gpt {state}" in out
        assert str(llm.status().providers["openai"].targets["openai/gpt"].breaker.state) == state
        assert str(llm.status().providers["openai"].breaker.state) == "closed"


async def test_a_provider_is_drained_and_resumed(client, path, capsys):
    async with client as llm:
        assert (await ctl(capsys, path, "drain", "openai"))[0] == 0
        await asyncio.sleep(0.01)
        assert llm.status().providers["openai"].state == "stopped"
        status, out, _ = await ctl(capsys, path, "resume", "openai")
        assert (status, out.split(",")[0]) == (0, "openai is running")
        assert (await llm.complete("chat", "hi")).text == "fine"


async def test_reload_reads_the_file_again_and_says_what_changed(client, file, path, capsys):
    async with client as llm:
        assert (await ctl(capsys, path, "reload"))[1] == "nothing has changed\n"
        file.write_text(TOML.replace("= 7", "= 9") + '[route.more]\ntargets = ["openai/mini"]\n')
        status, out, _ = await ctl(capsys, path, "reload")
        assert (status, out) == (0, "added route.more\nchanged provider.openai\n")
        assert llm.config.providers[0].max_concurrency == 9


async def test_a_wrong_file_is_refused_with_every_problem(client, file, path, capsys, caplog):
    async with client as llm:
        file.write_text(TOML.replace("= 7", "= 0") + "[rout.x]\n")
        status, out, err = await ctl(capsys, path, "reload", "--json")
        assert status == 2
        assert len(json.loads(out)["problems"]) == 2
        assert "refused, the old configuration holds on: 2 problems" in err
        assert "max_concurrency" in err
        assert llm.config.providers[0].max_concurrency == 7


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["open", "opneai"], 1, "no provider 'opneai'; did you mean 'openai'?"),
        (["open", "openai/gtp"], 1, "'openai' has no model 'gtp'; did you mean 'gpt'?"),
        (["drain", "openai/gpt"], 1, "only a whole provider is drained or resumed"),
        (["open"], 2, "open needs a provider"),
        (["status", "openai"], 2, "leave out 'openai'"),
    ],
)
async def test_what_cannot_be_done_is_said(client, path, capsys, words, status, complaint):
    async with client:
        got = await ctl(capsys, path, *words)
    assert got[0] == status
    assert complaint in got[2]


async def test_a_client_made_of_a_mapping_has_nothing_to_reload(path, capsys, caplog):
    table = {
        "provider": [{"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}],
        "route": {"chat": {"targets": ["a/m"]}},
        "control": {"socket": path},
    }
    async with Client(table, transport=ScriptedTransport({})):
        status, _, err = await ctl(capsys, path, "reload")
    assert (status, "was not read from a file" in err) == (2, True)


def test_without_a_program_there_is_an_error_that_says_so(path, capsys):
    assert main(["ctl", "--socket", path, "status"]) == 1
    assert "there is no socket" in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert main(["ctl", "--socket", path, "status"]) == 1
    assert "nobody serves" in capsys.readouterr().err


def test_who_takes_the_connection_and_says_nothing_is_not_waited_for_long(path, capsys):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        assert main(["ctl", "--socket", path, "status", "--timeout", "0.2"]) == 1
    assert "no answer from" in capsys.readouterr().err


# --- the protocol ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", "not JSON"),
        (b"\n", "not JSON"),
        (b"GET / HTTP/1.1\r\n\r\n", "not JSON"),
        (b"\xff\x00\xfe\n", "not JSON"),
        (b"[" * 5000 + b"\n", "not JSON"),
        (b"[1]\n", "expected an object"),
        (b"{}\n", "no command"),
        (b'{"command": null}\n', "no command"),
        (b'{"command": 5}\n', "command must be text"),
        (b'{"command": "opne", "provider": "openai"}\n', "no command 'opne'; did you mean 'open'?"),
        (b'{"command": "open", "provider": ["openai"]}\n', "provider must be text"),
        (b'{"command": "open", "provider": "openai", "model": 1}\n', "model must be text"),
        (b'{"command": "open", "force": true}\n', "unknown field 'force'"),
        (b'{"command": "open"}\n', "open needs a provider"),
        (b'{"command": "open", "provider": ""}\n', "no provider ''"),
        (b'{"command": "reload", "provider": "/etc/passwd"}\n', "takes no provider"),
    ],
)
async def test_nonsense_gets_an_error_line_and_harms_nothing(client, path, line, error):
    async with client as llm:
        before = llm.status().providers["openai"].targets
        assert error in await refused(path, line)
        assert llm.status().providers["openai"].targets == before
        assert (await llm.complete("chat", "hi")).text == "fine"


async def test_a_line_may_end_with_the_connection(client, path):
    async with client:
        assert json.loads(await say(path, b'{"command": "status"}'))["ok"] is True


async def test_a_line_without_end_is_refused_before_it_fills_the_memory(client, path):
    async with client as llm:
        assert f"longer than {MAX_LINE} bytes" in await refused(path, b"x" * (5 * MAX_LINE) + b"\n")
        assert (await llm.complete("chat", "hi")).text == "fine"


async def test_who_says_nothing_is_hung_up_on(client, path):
    async with client as llm:
        server = ControlServer(path + "2", llm, timeout=0.05)
        await server.start()
        assert await say(path + "2", b"", end=False) == b""
        assert await say(path + "2", b'{"command": "sta', end=False) == b""
        await server.aclose()


async def test_who_leaves_in_the_middle_harms_nothing(client, path, caplog):
    async with client:
        for line in (b"", b'{"com', b'{"command": "status"}\n'):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(line)
            writer.transport.abort()
        await asyncio.sleep(0.05)
        assert json.loads(await say(path, b'{"command": "status"}\n'))["ok"] is True
    assert not caplog.records


async def test_connections_are_bounded(client, path):
    async with client:
        crowd = [await asyncio.open_unix_connection(path) for _ in range(MAX_CONNECTIONS)]
        assert "others are connected" in await refused(path, b'{"command": "status"}\n')
        for _, writer in crowd:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert json.loads(await say(path, b'{"command": "status"}\n'))["ok"] is True


class Broken:
    def status(self):
        raise ZeroDivisionError


async def test_a_bug_of_ours_is_logged_and_told_without_its_inside(path, caplog):
    server = ControlServer(path, Broken())
    await server.start()
    assert await refused(path, b'{"command": "status"}\n') == (
        "internal error; the log of the running program says more"
    )
    assert "ZeroDivisionError" in caplog.text
    await server.aclose()


# --- the socket --------------------------------------------------------------------------------


async def test_only_the_owner_may_open_the_socket_and_closing_removes_it(client, path):
    async with client:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["resilio.toml"]


async def test_a_live_socket_is_not_taken_away(client, file, path):
    async with client:
        with pytest.raises(ControlError, match="another process serves"):
            async with opened(file, path):
                pytest.fail("it took the socket")
        assert json.loads(await say(path, b'{"command": "status"}\n'))["ok"] is True


async def test_a_client_that_cannot_have_its_socket_leaves_no_task(file, tmp_path):
    before = asyncio.all_tasks()
    with pytest.raises(ControlError, match="No such file or directory"):
        await opened(file, str(tmp_path / "nowhere" / "llm.sock"), watch=True).__aenter__()
    assert asyncio.all_tasks() == before


async def test_a_stale_socket_is_replaced(client, path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    async with client:
        assert json.loads(await say(path, b'{"command": "status"}\n'))["ok"] is True


async def test_what_is_no_socket_is_left_alone(file):
    with pytest.raises(ControlError, match="not a socket"):
        await opened(file, str(file)).__aenter__()
    assert file.read_text() == TOML


async def test_closing_leaves_the_socket_of_a_successor_alone(client, file, path):
    async with client:
        os.unlink(path)
        successor = opened(file, path)
        await successor.__aenter__()
    assert json.loads(await say(path, b'{"command": "status"}\n'))["ok"] is True
    await successor.__aexit__(None, None, None)


async def test_closing_hangs_up_on_whoever_is_connected(client, path):
    before = asyncio.all_tasks()
    async with client:
        reader, writer = await asyncio.open_unix_connection(path)
        await asyncio.sleep(0.01)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert asyncio.all_tasks() == before


async def test_calls_in_flight_know_nothing_of_a_drain_over_the_socket(file, path, capsys):
    slow = SimulatedProvider(Script(answer="fine", first_token=Fixed(0.3)))
    transport = ScriptedTransport({"http://openai.test/v1": slow})
    async with Client.from_file(file, control_socket=path, transport=transport) as llm:
        call = asyncio.create_task(llm.complete("chat", "hi"))
        await asyncio.sleep(0.05)
        _, out, _ = await ctl(capsys, path, "drain", "openai")
        assert "openai is draining, 1 in flight" in out
        assert (await call).text == "fine"


# --- a real process ----------------------------------------------------------------------------

PROGRAM = textwrap.dedent(
    """
    import asyncio, signal, sys
    from resilio import Client

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with Client.from_file(sys.argv[1], control_socket=sys.argv[2]):
            print("ready", flush=True)
            await stop.wait()

    asyncio.run(main())
    """
)


def started(file, path):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(file), path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def run(path, *words):
    done = subprocess.run(
        [sys.executable, "-m", "resilio", "ctl", "--socket", path, *words], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def test_another_process_is_controlled_killed_and_its_socket_taken_over(file, path):
    first = started(file, path)
    try:
        assert run(path, "open", "openai")[0] == 0
        status, out, _ = run(path, "status")
        assert (status, "forced_open" in out) == (0, True)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert os.path.exists(path), "killed, it could remove nothing"
    assert "nobody serves" in run(path, "status")[2]
    second = started(file, path)
    try:
        assert run(path, "status", "--json")[0] == 0
    finally:
        second.terminate()
        second.communicate()
    assert second.returncode == 0
    assert not os.path.exists(path)


# --- keys --------------------------------------------------------------------------------------


async def test_keys_are_listed_and_put_back_by_number_or_name(file, path, capsys):
    keys = '[{ key = "sk-very-secret-1", name = "team-a", requests_per_minute = 60 }, "sk-very-secret-2"]'
    file.write_text(TOML.replace('["sk-very-secret-1", "sk-very-secret-2"]', keys))
    async with opened(file, path) as llm:
        record, now = llm.engine.supervisor.providers["openai"], asyncio.get_running_loop().time()
        set_aside(record, record.keys[0], ErrorClass.OUT_OF_CREDIT, now, 7200.0)
        record.keys[1].limiters["gpt"].rest(now + 30)
        _, status, _ = await ctl(capsys, path, "status")
        code, listed, err = await ctl(capsys, path, "keys", "openai")
        assert (code, err) == (0, "")
        _, restored, _ = await ctl(capsys, path, "restore-key", "openai", "team-a")
        assert record.keys[0].aside is None
        set_aside(record, record.keys[0], ErrorClass.UNAUTHORISED, now)
        assert (await ctl(capsys, path, "restore-key", "openai", "0", "--json"))[0] == 0
        assert record.keys[0].aside is None
        assert (await llm.complete("chat", "hi")).text == "fine"
    assert "team-a: out_of_credit" in status
    head, first, second = listed.splitlines()
    assert head.split()[:2] == ["key", "name"]
    assert first.split()[:5] == ["0", "team-a", "set", "aside:", "out_of_credit"]
    assert "60/60 requests" in first
    assert re.search(r"(7200|7199) s", first)
    assert re.search(r"gpt rests (30|29) s", second)
    assert "in use" in restored
    assert "secret" not in status + listed + restored


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"command": "keys"}, "keys needs a provider"),
        ({"command": "keys", "provider": "openai", "model": "gpt"}, "keys belong to a whole provider"),
        ({"command": "keys", "provider": "nobody"}, "nobody"),
        ({"command": "restore-key", "provider": "openai"}, "restore-key needs a key: index or name"),
        ({"command": "restore-key", "key": "0"}, "restore-key needs a provider"),
        ({"command": "restore-key", "provider": "openai", "key": "7"}, "'openai' has no key '7'; there are 0, 1"),
        ({"command": "restore-key", "provider": "openai", "key": "x"}, "'openai' has no key 'x'"),
        ({"command": "restore-key", "provider": "openai", "key": ""}, "'openai' has no key ''"),
        ({"command": "restore-key", "provider": "openai", "key": "9" * 5000}, "has no key"),
        ({"command": "open", "provider": "openai", "key": "0"}, "open takes no key"),
    ],
)
async def test_a_wrong_question_about_keys_gets_a_plain_answer(client, path, asked, says):
    async with client:
        error = await refused(path, json.dumps(asked).encode() + b"\n")
    assert says in error
    assert len(error) < 300


async def test_a_key_to_put_back_must_be_named(path, capsys):
    assert await asyncio.to_thread(main, ["ctl", "--socket", path, "restore-key", "openai"]) == 2
    assert "restore-key needs a key" in capsys.readouterr().err
