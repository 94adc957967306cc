"""`resilio chat`: a conversation in a real process, on a pseudo-terminal and from a pipe."""

import contextlib
import fcntl
import os
import pty
import re
import selectors
import subprocess
import sys
import termios
import threading
import time

import pytest

from resilio.cli import main
from resilio.cli.chat import Conversation
from resilio.cli.simulate import WatchedProvider
from resilio.testing import Script, SimulatedProvider
from resilio.testing.faults import Cut, Error
from resilio.testing.reaction import Outcome

pytestmark = pytest.mark.usefixtures("somewhere_empty")

# A shell starts background jobs with Ctrl-C ignored, and so would a test run in one.
CHAT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from resilio.cli import main
sys.exit(main(["chat", *sys.argv[1:]]))
"""
STORY = " ".join(f"word{number}" for number in range(2000))
PATIENCE = 30.0
"""Real seconds after which a process that says nothing is taken for dead."""


@pytest.fixture
def somewhere_empty(tmp_path, monkeypatch):
    """No `resilio.toml` of anybody else."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def tells_a_story(body):
    """A long answer to "story", a short one to everything else."""
    return STORY if body["messages"][-1]["content"] == "story" else "It is Paris."


class Terminal:
    """A chat on a pseudo-terminal of its own, which is typed into and read like a screen."""

    def __init__(self, *arguments):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHAT, *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text):
        os.write(self._master, text.encode())

    def read_until(self, pattern, nudge=""):
        """What is shown up to and including this; it is taken off. While nothing is shown, `nudge` is typed."""
        until = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._master, selectors.EVENT_READ)
            while (found := re.search(pattern, self.seen)) is None:
                assert time.monotonic() < until, f"no {pattern!r} in {self.seen!r}"
                if not selector.select(0.5):
                    self.type(nudge)
                else:
                    self.seen += os.read(self._master, 65536).decode()
        shown, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return shown

    def ended(self):
        """The exit status, once all output is read."""
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other side open
            while data := os.read(self._master, 65536):
                self.seen += data.decode()
        return self.process.wait(PATIENCE)


def test_a_conversation_on_a_terminal_is_streamed_and_kept(configured):
    provider = SimulatedProvider(Script(answer=tells_a_story))
    with Terminal("--config", str(configured(east=provider)), "--system", "Be brief.") as terminal:
        terminal.read_until("> $")
        terminal.type("The capital of France?\n")
        assert "It is Paris." in terminal.read_until("east/large, level full: .* tokens, cost unknown")
        terminal.read_until("> $")
        terminal.type("Really?\n")
        terminal.read_until("level full")
        terminal.read_until("> $")
        terminal.type("\x04")
        assert terminal.ended() == 0
    assert [seen.stream for seen in provider.log] == [True, True]
    assert provider.log[1].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The capital of France?"},
        {"role": "assistant", "content": "It is Paris."},
        {"role": "user", "content": "Really?"},
    ]


@pytest.mark.parametrize("impatience", [1, 20])
def test_ctrl_c_stops_the_answer_and_not_the_program(impatience, configured):
    gone = threading.Event()
    provider = WatchedProvider(Script(answer=tells_a_story, tokens_per_second=50), lambda seen: gone.set())
    with Terminal("--config", str(configured(east=provider))) as terminal:
        terminal.read_until("> $")
        terminal.type("story\n")
        terminal.read_until("word3 ")
        for _ in range(impatience):
            terminal.type("\x03")
        terminal.read_until("stopped")
        terminal.read_until("> $")
        assert gone.wait(PATIENCE)
        assert [seen.outcome for seen in provider.log] == [Outcome.CLIENT_GONE]
        terminal.type("The capital of France?\n")
        # The last of many may have come with the prompt, and taken the line with it.
        assert "It is Paris." in terminal.read_until("level full", nudge="The capital of France?\n")
        terminal.read_until("> $")
        terminal.type("/quit\n")
        assert terminal.ended() == 0
    _, partial, question = provider.log[1].body["messages"]
    assert partial["role"] == "assistant"
    assert partial["content"].startswith("word0 word1 word2 word3")
    assert len(partial["content"]) < len(STORY)
    assert question["content"] == "The capital of France?"


def test_ctrl_c_at_the_prompt_gives_up_the_line(configured):
    provider = SimulatedProvider(Script(answer=tells_a_story))
    with Terminal("--config", str(configured(east=provider))) as terminal:
        terminal.read_until("> $")
        terminal.type("never mi")
        terminal.read_until("never mi")
        terminal.type("\x03")
        # Python misses a Ctrl-C that falls into the microseconds in which readline takes in a key.
        terminal.read_until("> $", nudge="\x03")
        terminal.type("The capital of France?\n")
        terminal.read_until("level full")
        terminal.read_until("> $")
        terminal.type("/quit\n")
        assert terminal.ended() == 0
    assert [seen.body["messages"][-1]["content"] for seen in provider.log] == ["The capital of France?"]


def piped(path, *lines):
    return subprocess.run(
        [sys.executable, "-m", "resilio", "chat", "--config", str(path)],
        input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip


def test_from_a_pipe_the_answers_alone_go_to_standard_output(configured):
    said = piped(configured(east=SimulatedProvider(Script(answer=tells_a_story))), "The capital of France?", "And?")
    assert said.stdout == "It is Paris.\nIt is Paris.\n"
    assert said.stderr.count("east/large, level full: ") == 2


def test_reset_forgets_the_conversation(configured):
    provider = SimulatedProvider()
    piped(configured(east=provider), "one", "/reset", "two")
    assert [len(seen.body["messages"]) for seen in provider.log] == [1, 1]


def test_status_shows_the_breakers(configured):
    down = Error("server_is_overloaded")
    path = configured(east=SimulatedProvider(Script.of(down)), west=SimulatedProvider())
    path.write_text(path.read_text().replace("models.large", "breaker.consecutive_failures = 1\nmodels.large", 1))
    said = piped(path, "hello", "/status")
    rows = [line.split() for line in said.stdout.splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        ["east", "running", "closed"],
        ["east/large", "open", "in"],
        ["west", "running", "closed"],
        ["west/large", "closed", "0"],
    ]
    assert "tried east/large" in said.stderr


def test_a_question_without_an_answer_is_not_kept_and_the_next_is_asked_as_before(configured):
    provider = SimulatedProvider(Script().sequence(Error("content_policy_violation")))
    said = piped(configured(east=provider), "one", "two")
    assert said.stdout == "two\n"
    assert "content_policy_violation" in said.stderr
    assert [seen.body["messages"][-1]["content"] for seen in provider.log] == ["one", "two"]
    assert len(provider.log[-1].body["messages"]) == 1


def test_a_broken_answer_stands_as_far_as_it_came(configured):
    provider = SimulatedProvider(Script(answer="a b c d e f g h").sequence(Cut(after=3)))
    said = piped(configured(east=provider), "one", "two")
    assert said.stdout.startswith("a b c \n")
    assert "broken" in said.stderr
    assert provider.log[-1].body["messages"][1] == {"role": "assistant", "content": "a b c "}


def test_an_unknown_command_is_told_and_not_sent(configured):
    provider = SimulatedProvider()
    assert "there is no /rest" in piped(configured(east=provider), "/rest", "").stderr
    assert provider.log == []


def test_a_control_socket_is_left_to_the_program_that_serves(configured, tmp_path):
    path, socket = configured(east=SimulatedProvider()), tmp_path / "resilio.sock"
    socket.write_text("somebody else's")
    path.write_text(f'[control]\nsocket = "{socket}"\n{path.read_text()}')
    assert piped(path, "hello").stdout == "hello\n"
    assert socket.read_text() == "somebody else's"


def test_an_unknown_route_is_told_before_anything_is_asked(configured, capsys):
    path = configured(east=SimulatedProvider())
    assert main(["chat", "--config", str(path), "--route", "chatt"]) == 1
    assert "did you mean 'chat'?" in capsys.readouterr().err


def test_a_conversation_keeps_its_system_prompt_first():
    talk = Conversation("chat", "Be brief.")
    talk.answered("one", "1")
    talk.answered("nothing came", "")
    assert [message["role"] for message in talk.messages("two")] == ["system", "user", "assistant", "user"]
    talk.reset()
    assert [message["role"] for message in talk.messages("two")] == ["system", "user"]
