"""`resilio bench`: the command, its tables, its JSON and its pictures."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from resilio.bench import plots
from resilio.cli import main
from resilio.testing import Script, SimulatedProvider
from resilio.testing.faults import Error

PNG = b"\x89PNG\r\n\x1a\n"
OUTAGE = """\
[provider.east]
first_token = 0.1
[[provider.east.rule]]
outage = { start = 20, end = 40 }
fault = "refused"
"""
SHORT = ["--simulate", "--rate", "10", "--seconds", "60"]
DOWN = Error("server_is_overloaded")


@pytest.fixture
def outage(tmp_path):
    path = tmp_path / "outage.toml"
    path.write_text(OUTAGE)
    return str(path)


def in_its_own_process(*arguments, **environment):
    command = [sys.executable, "-m", "resilio", "bench", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=True, env={**os.environ, **environment})


def test_a_simulation_is_the_same_to_the_digit_in_every_process(outage, tmp_path):
    pictures = [tmp_path / "one.png", tmp_path / "two.png"]
    runs = [
        in_its_own_process(*SHORT, "--script", outage, "--json", "--plot", str(picture), PYTHONHASHSEED=hashes)
        for picture, hashes in zip(pictures, ("1", "2"), strict=True)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[0].read_bytes().startswith(PNG)


def test_json_has_the_figures_the_bins_and_the_lives_of_the_breakers(outage, capsys):
    assert main(["bench", *SHORT, "--script", outage, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["route"], found["simulated"], found["seed"]) == ("chat", True, 0)
    (level,) = found["levels"]
    assert (level["load"], level["open_loop"], level["availability"]) == ("10 requests/s", True, 1.0)
    assert sum(each["calls"] for each in level["bins"]) == level["calls"]
    assert level["provider_requests"]["west"] == level["targets"]["west/large"]
    assert level["breaker_changes"][0]["dest"] == "open"
    calm, met = level["without_faults"]["latency"], level["latency"]
    assert level["added_latency"]["p99"] == pytest.approx(met["p99"] - calm["p99"])
    assert level["without_faults"]["amplification"] == 1.0 < level["amplification"]


def test_people_get_a_table_and_below_it_what_was_met(outage, capsys):
    assert main(["bench", *SHORT, "--script", outage]) == 0
    said = capsys.readouterr()
    head, row, _, title, *lines = said.out.splitlines()
    assert head.split()[:4] == ["load", "calls", "answered", "answers/s"]
    assert row.startswith("10 requests/s")
    assert title == "10 requests/s"
    assert any(line.startswith("  upstream errors: connect ") for line in lines)
    assert any(line.startswith("  latency added by the faults: mean ") for line in lines)
    assert any(" east: closed -> open, next probe in " in line for line in lines)
    assert "s of traffic in" in said.err


def test_an_uneventful_level_is_told_in_one_line(capsys):
    assert main(["bench", "--simulate", "--concurrency", "2,4", "--requests", "20", "--stream"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "first token p50" in lines[0]
    assert lines.count("  all answered by east/large, level full") == 2
    assert [line for line in lines if line.endswith("callers")] == ["2 callers", "4 callers"]


def test_a_configuration_of_ones_own_is_measured_with_real_requests(configured, tmp_path, capsys):
    east, west = SimulatedProvider(Script.of(DOWN)), SimulatedProvider()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\n")
    path = str(configured(east=east, west=west))
    options = ["--requests", "12", "--concurrency", "3", "--prompts", str(prompts), "--max-tokens", "7", "--json"]
    assert main(["bench", "--config", path, *options]) == 0
    (level,) = json.loads(capsys.readouterr().out)["levels"]
    assert (level["calls"], level["targets"]) == (12, {"west/large": 12})
    assert "bins" not in level
    assert west.count() == 13  # and one to warm up
    assert {seen.body["messages"][0]["content"] for seen in west.log} == {"one", "two"}
    assert {seen.body["max_tokens"] for seen in west.log} == {7}
    assert {seen.stream for seen in west.log} == {False}


def test_an_open_loop_over_sockets_sends_as_many_as_are_due(configured, capsys):
    provider = SimulatedProvider()
    path = str(configured(east=provider))
    options = ["--rate", "100", "--arrivals", "constant", "--seconds", "0.2", "--warmup", "0", "--stream", "--json"]
    assert main(["bench", "--config", path, *options]) == 0
    (level,) = json.loads(capsys.readouterr().out)["levels"]
    assert level["calls"] == provider.count() == 20
    assert level["lag"]["max"] >= 0
    assert {seen.stream for seen in provider.log} == {True}


def test_without_a_configuration_simulated_providers_are_served_by_processes_of_their_own(outage, tmp_path):
    picture = tmp_path / "levels.png"
    options = ["--requests", "20", "--concurrency", "1,4", "--script", outage, "--plot", str(picture), "--json"]
    levels = json.loads(in_its_own_process(*options).stdout)["levels"]
    assert [level["targets"] for level in levels] == [{"east/large": 20}] * 2
    # The script's latency was in force: 0.1 s, and four callers are about four times as fast as one.
    assert all(level["latency"]["p50"] >= 0.1 for level in levels)
    assert picture.read_bytes().startswith(PNG)


def test_a_run_in_which_nothing_was_answered_is_a_failure(configured, capsys):
    path = str(configured(east=SimulatedProvider(Script.of(DOWN))))
    assert main(["bench", "--config", path, "--requests", "2"]) == 1
    assert "not answered: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "{config}"], "the requests will be real"),
        (["--config", "{config}", "--requests", "1", "--script", "{script}"], "--script is for simulated providers"),
        (["--warmup", "-1"], "--warmup must be at least 0"),
        (["--simulate", "--prompts", "/nowhere.txt"], "cannot be read"),
        (["--simulate", "--config", "/nowhere.toml"], "there is no such file"),
        (["--simulate", "--script", "/nowhere.toml"], "cannot be read"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, told, configured, outage, capsys):
    provider = SimulatedProvider()
    config = configured(east=provider)
    filled = [each.format(config=config, script=outage) for each in arguments]
    assert main(["bench", *filled]) == 2
    assert told in capsys.readouterr().err
    assert provider.log == []


@pytest.mark.parametrize(
    "arguments",
    [["--concurrency", "0"], ["--concurrency", "1,,2"], ["--rate", "x"], ["--rate", "1", "--concurrency", "1"]],
)
def test_a_level_that_is_none_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2


@pytest.mark.parametrize("how", [["--simulate"], []])
def test_a_control_socket_is_left_to_the_program_that_serves(how, configured, tmp_path, capsys):
    path, socket = configured(east=SimulatedProvider()), tmp_path / "resilio.sock"
    socket.write_text("somebody else's")
    path.write_text(f'[control]\nsocket = "{socket}"\n{path.read_text()}')
    assert main(["bench", "--config", str(path), "--requests", "2", "--concurrency", "1", *how]) == 0
    assert socket.read_text() == "somebody else's"


def test_an_unknown_route_is_told_before_anything_is_sent(configured, capsys):
    provider = SimulatedProvider()
    path = str(configured(east=provider))
    assert main(["bench", "--config", path, "--route", "chta", "--requests", "1"]) == 1
    assert "did you mean 'chat'?" in capsys.readouterr().err
    assert provider.log == []


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"), [("hour.gif", "a .png, .svg or .pdf file"), ("nowhere/hour.png", "there is no folder")]
)
def test_a_picture_that_cannot_be_written_is_told_before_the_run(name, told, tmp_path, capsys):
    assert main(["bench", *SHORT, "--plot", str(tmp_path / name)]) == 1
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


def test_without_matplotlib_the_remedy_is_told_before_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["bench", *SHORT, "--plot", str(tmp_path / "hour.png")]) == 1
    said = capsys.readouterr()
    assert "pip install 'resilio-llm[plot]'" in said.err
    assert said.out == ""


def test_matplotlib_is_not_imported_without_a_plot():
    code = "import sys; from resilio.cli import bench; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("seconds", "told"), [(0.05, "50 ms"), (0.5, "500 ms"), (1.0, "1 s"), (2.5, "2.5 s")])
def test_an_axis_is_read_in_the_unit_that_suits(seconds, told):
    assert plots._told(seconds) == told


def test_a_picture_of_simulated_levels_is_drawn_too(tmp_path, capsys):
    picture = tmp_path / "levels.svg"
    options = ["--simulate", "--rate", "5,50", "--seconds", "5", "--plot", str(picture)]
    assert main(["bench", *options]) == 0
    assert picture.read_text().startswith("<?xml")


# --- on a terminal -----------------------------------------------------------------------------


def test_a_terminal_shows_how_far_it_is_and_ctrl_c_ends_it_with_what_was_found():
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from resilio.cli import main; sys.exit(main())"
    )
    options = ["bench", "--simulate", "--rate", "0.001,50", "--seconds", "100000"]
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options],
        stdout=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(slave)
    try:
        seen = ""
        while "chat: 50 requests/s" not in seen:
            seen += os.read(master, 4096).decode()
        process.send_signal(signal.SIGINT)
        table, _ = process.communicate(timeout=30)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()
        os.close(master)
    assert "chat: 0.001 requests/s" in seen
    assert [line.split()[0] for line in table.decode().splitlines()[:2]] == ["load", "0.001"]
