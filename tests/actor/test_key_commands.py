"""Programs that give keys: run without a shell, killed in time, and silent about what they wrote. Real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from resilio import Client
from resilio.actor.command import Command
from resilio.config.secrets import MAX_SECRET, SecretUnreadable

SECRET = "sk-marker-0123456789"


def python(code):
    return f'{sys.executable} -c "{code}"'


def gone(pid):
    """Whether a killed process has ended, if need be in a moment; a zombie has: nothing here reaps orphans."""
    for _ in range(100_000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        os.sched_yield()
    return False


@pytest.fixture
def pipe(tmp_path):
    """Through which a program says that it runs, by its process id."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def said(pipe):
    with open(pipe, encoding="ascii") as file:
        return int(file.readline())


def test_its_output_without_the_line_break_is_the_key():
    assert Command(f"echo {SECRET}", 10).run() == SECRET


def test_no_shell_reads_its_words():
    assert Command("echo '$HOME;' '*'", 10).run() == "$HOME; *"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (python(f"import sys; print('{SECRET}'); sys.exit('{SECRET}')"), "failed: exit status 1"),
        ("true", "is empty"),
        (python(f"print('{SECRET}\\\\nmore')"), "holds a character that no header may contain"),
        (python(f"print('x' * {MAX_SECRET + 1})"), "holds more than"),
        (python("import os; os.kill(os.getpid(), 9)"), "failed: exit status -9"),
    ],
)
def test_a_program_without_a_key_is_told_of_without_its_words_or_output(line, says):
    with pytest.raises(SecretUnreadable) as caught:
        Command(line, 20).run()
    assert str(caught.value).startswith(says)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_program_that_has_gone_since_is_a_failure_like_any_other(tmp_path):
    with pytest.raises(SecretUnreadable, match="names a program that is not there"):
        Command(str(tmp_path / "gone"), 10).run()
    (tmp_path / "text").write_text("not a program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(SecretUnreadable, match="cannot be run: Exec format error") as caught:
        Command(str(tmp_path / "text"), 10).run()
    assert caught.value.__context__ is None


def test_a_word_that_no_program_can_be_given_is_a_failure_like_any_other():
    with pytest.raises(SecretUnreadable, match="cannot be run") as caught:
        Command(f"echo {SECRET}\0", 10).run()
    assert caught.value.__context__ is None


def test_one_that_writes_without_end_is_stopped_after_what_a_key_may_have():
    with pytest.raises(SecretUnreadable, match="holds more than"):
        Command("yes sk", 30).run()


def test_a_late_program_is_killed_with_all_it_started(pipe):
    found = []
    reader = threading.Thread(target=lambda: found.append(said(pipe)), daemon=True)
    reader.start()
    with pytest.raises(SecretUnreadable, match=r"did not end within 1\.5 s"):
        Command(f"sh -c 'sleep 600 & echo $! > {pipe}; wait'", 1.5).run()
    reader.join(30)
    assert gone(found[0])


def test_it_can_be_called_off_before_while_and_after(pipe):
    command = Command(python(f"import os, time; open('{pipe}', 'w').write(str(os.getpid())); time.sleep(600)"), 600)
    ends = []

    def run():
        try:
            command.run()
        except SecretUnreadable as exc:
            ends.append(str(exc))

    thread = threading.Thread(target=run)
    thread.start()
    pid = said(pipe)
    command.call_off()
    thread.join()
    command.call_off()
    assert ends == ["was called off"]
    assert gone(pid)
    with pytest.raises(SecretUnreadable, match="was called off"):
        command.run()


def test_a_program_that_asks_for_input_is_given_none():
    code = "from resilio.actor.command import Command\nprint(Command('cat', 600).run())"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.wait()  # its own input stays open meanwhile
        assert b"SecretUnreadable: is empty" in program.stderr.read()


def test_ctrl_c_ends_the_program_too(pipe):
    line = python(f"import os, time; open('{pipe}', 'w').write(str(os.getpid())); time.sleep(600)")
    code = f"from resilio.actor.command import Command\nCommand({line!r}, 600).run()"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as program:
        pid = said(pipe)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate()
    assert b"KeyboardInterrupt" in errors
    assert gone(pid)


@pytest.mark.real_loop
@pytest.mark.parametrize("times", [1, 2])
async def test_a_client_cancelled_while_it_opens_ends_its_programs(pipe, times):
    line = python(f"import os, time; open('{pipe}', 'w').write(str(os.getpid())); time.sleep(600)")
    table = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}
    keys = [{"key": f"command:{line}", "timeout": 600}]
    client = Client({"provider": [{**table, "keys": keys}], "route": {"chat": {"targets": ["a/m"]}}})
    opening = asyncio.create_task(client.__aenter__())
    pid = await asyncio.to_thread(said, pipe)
    for _ in range(times):
        opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.get_running_loop().shutdown_default_executor()
    assert gone(pid)


def test_its_repr_holds_nothing_but_the_program():
    assert repr(Command(f"/usr/bin/vault kv get --token {SECRET}", 10)) == "<Command command vault>"


@pytest.mark.real_loop
async def test_a_client_that_closes_while_a_program_runs_ends_it(pipe, tmp_path):
    go = tmp_path / "go"
    line = f"command:sh -c 'test -e {go} && echo $$ > {pipe} && exec sleep 600; echo sk-first'"
    table = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}
    keys = [{"key": line, "timeout": 600, "refresh": 0.01}]
    async with Client({"provider": [{**table, "keys": keys}], "route": {"chat": {"targets": ["a/m"]}}}):
        go.touch()
        pid = await asyncio.to_thread(said, pipe)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert gone(pid)
