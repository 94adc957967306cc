"""`resilio check`, `resilio machines` and `resilio local`."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest
from waitable import Said

from resilio.cli import local, main
from resilio.cli.screen import Screen
from resilio.errors import LocalModelUnavailable
from resilio.local import MODELS, LocalServer, LocalStatus, status
from resilio.statemachines import TABLES

SOUND = """\
[[provider]]
name = "east"
kind = "openai"
base_url = "https://east.example/v1"
keys = ["env:EAST_KEY"]
models.large = {}
[route.chat]
targets = ["east/large"]
deadline = 20
"""


@pytest.fixture
def sound(tmp_path, monkeypatch):
    monkeypatch.setenv("EAST_KEY", "sk-very-secret")
    path = tmp_path / "resilio.toml"
    path.write_text(SOUND)
    return path


def test_a_sound_configuration_is_explained_and_its_keys_are_not_shown(sound, capsys):
    assert main(["check", str(sound)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{sound} is sound\n\nroute chat: an answer or an error within 20 s")
    assert "sk-very-secret" not in said.out + said.err


def test_a_sound_configuration_is_explained_to_programs(sound, capsys):
    assert main(["check", str(sound), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sound"] is True
    assert [(route["name"], route["deadline"]) for route in said["routes"]] == [("chat", 20.0)]


def test_the_configuration_of_this_folder_is_checked_by_default(sound, capsys, monkeypatch):
    monkeypatch.chdir(sound.parent)
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith("resilio.toml is sound")


def test_every_problem_of_a_wrong_configuration_is_listed_with_its_path(sound, capsys):
    sound.write_text(SOUND.replace("20", "-1").replace("east/large", "east/lage"))
    assert main(["check", str(sound)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 problems" in said.err
    assert "route.chat.deadline" in said.err
    assert "route.chat.targets[0]" in said.err


def test_the_problems_are_told_to_programs_too(sound, capsys):
    sound.write_text(SOUND.replace("20", "-1"))
    assert main(["check", str(sound), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["sound"] is False
    assert len(said["problems"]) == 1
    assert "route.chat.deadline" in said["problems"][0]


def test_a_file_that_is_not_there_is_a_problem_too(tmp_path, capsys):
    assert main(["check", str(tmp_path / "nothing.toml")]) == 2
    assert "there is no such file" in capsys.readouterr().err


# --- machines ----------------------------------------------------------------------------------


def test_every_machine_is_shown_unless_one_is_named(capsys):
    assert main(["machines"]) == 0
    said = capsys.readouterr().out
    assert all(f"{table.name}: {table.doc}" in said for table in TABLES.values())


def test_a_machine_is_drawn_as_mermaid(capsys):
    assert main(["machines", "breaker", "--format", "mermaid"]) == 0
    assert capsys.readouterr().out == TABLES["breaker"].mermaid() + "\n"


def test_a_machine_that_is_none_is_answered_with_those_there_are(capsys):
    assert main(["machines", "toaster"]) == 2
    assert "there are " + ", ".join(TABLES) in capsys.readouterr().err


# --- local -------------------------------------------------------------------------------------


def test_a_missing_model_is_told_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setattr(local, "status", lambda name: LocalStatus(MODELS[name], None, None))
    assert main(["local", "status"]) == 1
    assert "run `resilio local install`" in capsys.readouterr().out
    assert main(["local", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["smollm2-135m"]["ready"] is False


def test_a_model_that_is_there_is_told(monkeypatch, tmp_path, capsys):
    weights = tmp_path / "weights.gguf"
    monkeypatch.setattr(local, "status", lambda name: LocalStatus(MODELS[name], "2026.10.1", weights))
    assert main(["local", "status"]) == 0
    assert str(weights) in capsys.readouterr().out
    assert main(["local", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["smollm2-135m"] == {
        "ready": True,
        "problem": None,
        "server": "2026.10.1",
        "weights": str(weights),
        "licence": "Apache-2.0",
        "parameters": 134515008,
    }


def test_what_is_installed_is_not_installed_again(capsys):
    assert main(["local", "install"]) == 0
    assert capsys.readouterr().out == f"{status()}\n"


@pytest.mark.real_loop
def test_it_serves_until_ctrl_c_and_leaves_nothing_behind():
    command = [sys.executable, "-m", "resilio", "local", "serve", "--context", "256", "--parallel", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with urlopen(f"{url}/models", timeout=60) as answer:
            assert "smollm2-135m" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "smollm2-135m answers there until Ctrl-C\n"
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/models", timeout=60)


@pytest.mark.real_loop
async def test_sigterm_while_it_loads_ends_it_in_order():
    server, out = LocalServer(context=256, parallel=1), io.StringIO()
    serving = asyncio.create_task(local.serve_until_signal(server, Screen(out, io.StringIO())))
    while server.pid is None:  # noqa: ASYNC110 - nothing announces a process that only loads
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await serving == 143
    assert out.getvalue() == ""
    assert not server.alive


@pytest.mark.real_loop
async def test_a_server_that_dies_is_told_and_not_waited_for():
    server, err = LocalServer(context=256, parallel=1), Said()
    serving = asyncio.create_task(local.serve_until_signal(server, Screen(io.StringIO(), err)))
    await err.begun.wait()
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(LocalModelUnavailable, match="its server was killed by signal 9"):
        await serving


@pytest.mark.real_loop
async def test_a_server_that_cannot_start_is_told_with_its_remedy():
    server = LocalServer(check=lambda name: LocalStatus(MODELS[name], None, None))
    with pytest.raises(LocalModelUnavailable, match="run `resilio local install`"):
        await local.serve_until_signal(server, Screen(io.StringIO(), io.StringIO()))
