"""Plain text in pipes, colour on terminals, and never a control character from outside."""

import io
import json
import re

import pytest

from resilio.cli.screen import Screen, printable


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_pipe_gets_plain_text():
    out = io.StringIO()
    Screen(out).say("sound", "green")
    assert out.getvalue() == "sound\n"


def test_a_terminal_gets_colour():
    out = Terminal()
    Screen(out).say("sound", "green")
    assert "\x1b[32msound" in out.getvalue()


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_none_gets_plain_text(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    out = Terminal()
    screen = Screen(out)
    screen.say("sound", "green")
    screen.table(("a",), [("b",)])
    assert out.getvalue() == "sound\na\nb\n"


def test_a_number_in_a_narrow_table_is_broken_and_never_cut_short(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    Screen(out).table(("heading", "another"), [("1234567890123", "x" * 30)])
    assert "…" not in out.getvalue()
    assert "".join(filter(str.isdigit, re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()))) == "1234567890123"


def test_a_long_line_is_not_broken_where_the_terminal_ends(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    Screen(out).say("word " * 20)
    assert out.getvalue() == "word " * 20 + "\n"


def test_an_answer_cannot_steer_the_terminal_but_a_pipe_gets_it_as_it_is():
    answer = "\x1b]0;owned\x07 red \x1b[31m\r\x9b2J\tfine\n"
    out, err, pipe = Terminal(), Terminal(), io.StringIO()
    Screen(out, err).write(answer)
    Screen(out, err).note(f"tried {answer}")
    Screen(pipe).write(answer)
    assert out.getvalue() == "]0;owned red [31m2J\tfine\n"
    assert not set("\x1b\x07\r\x9b") & set(err.getvalue())
    assert pipe.getvalue() == answer


def test_printable_keeps_what_is_text():
    assert printable("naïve\n\t“日本” 🙂") == "naïve\n\t“日本” 🙂"


def test_a_plain_table_is_aligned_and_has_no_boxes():
    out = io.StringIO()
    Screen(out).table(("name", "requests"), [("reset", "3"), ("a long name", "12")])
    assert out.getvalue() == "name         requests\nreset        3\na long name  12\n"


def test_a_table_on_a_terminal_shows_the_same_cells():
    out = Terminal()
    Screen(out).table(("name", "requests"), [("[bold]", "3")])
    assert "[bold]" in out.getvalue()
    assert "requests" in out.getvalue()


def test_json_is_one_line_whatever_the_stream_is():
    for out in (io.StringIO(), Terminal()):
        Screen(out).json({"text": "é\n"})
        assert json.loads(out.getvalue()) == {"text": "é\n"}
        assert out.getvalue().count("\n") == 1


def test_only_a_terminal_sees_a_spinner():
    pipe, terminal = io.StringIO(), Terminal()
    with Screen(err=pipe).busy("asking"):
        pass
    with Screen(err=terminal).busy("asking"):
        pass
    assert pipe.getvalue() == ""
    assert "asking" in terminal.getvalue()


def test_markdown_is_drawn_on_a_terminal_and_left_alone_elsewhere():
    text = "| a | b |\n|---|---|\n| 1 | 2 |"
    pipe, terminal = io.StringIO(), Terminal()
    Screen(pipe).markdown(text)
    Screen(terminal).markdown(text)
    assert pipe.getvalue() == text + "\n"
    assert "|---|" not in terminal.getvalue()
