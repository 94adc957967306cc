"""The command itself: finding commands, help, exit statuses, and what is imported when."""

import os
import signal
import subprocess
import sys
from importlib import import_module

import pytest

import resilio
from resilio.cli import COMMANDS, main
from resilio.testing import Script, SimulatedProvider
from resilio.testing.faults import Silence

RESILIO = [sys.executable, "-m", "resilio"]

# A shell starts background jobs with Ctrl-C ignored, and so would a test run in one.
HEARS_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from resilio.cli import main
sys.exit(main())
"""


def test_it_says_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"resilio {resilio.__version__}\n"


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"  {command.name} " in said and command.help in said for command in COMMANDS.values())


def test_no_command_at_all_shows_the_help_and_is_an_error(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_of_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    examples = [
        line for line in import_module(COMMANDS[name].module).EXAMPLES.splitlines() if f"resilio {name}" in line
    ]
    assert examples
    assert all(example in said for example in examples)


@pytest.mark.parametrize(("typed", "told"), [("chek", "did you mean 'check'?"), ("zzz", "there are ask, check")])
def test_a_command_that_is_none_is_answered_with_those_there_are(typed, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main([typed])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_importing_the_command_line_imports_no_command_and_nothing_heavy():
    modules = ["rich", "aiohttp", "resilio.testing", *(command.module for command in COMMANDS.values())]
    code = f"import sys, resilio.cli; print([name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.real_loop
def test_ctrl_c_ends_a_command_with_130_and_no_traceback(configured):
    provider = SimulatedProvider(Script.of(Silence()))
    command = [sys.executable, "-c", HEARS_CTRL_C, "ask", "--config", str(configured(silent=provider)), "Hello?"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not provider.log and process.poll() is None:
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_who_goes_away_is_no_error_to_print():
    with subprocess.Popen([*RESILIO, "machines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")
