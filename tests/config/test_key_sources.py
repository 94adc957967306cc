"""Keys written as files, commands and tables: what is read, what is refused, and what is never told."""

import os
import traceback

import pytest

from resilio import ConfigError
from resilio.bench.scenario import as_simulated, load_without_keys
from resilio.config import KeySettings, load_config
from resilio.config.secrets import MAX_SECRET, Source

SECRET = "sk-marker-0123456789"


def document(*keys, **settings):
    provider = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}, **settings}
    return {"provider": [{**provider, "keys": list(keys)}], "route": {"chat": {"targets": ["a/m"]}}}


def keys_of(*keys, **environ):
    return load_config(document(*keys), environ=environ).providers[0].keys


def problem(*keys, **settings):
    with pytest.raises(ConfigError) as caught:
        load_config(document(*keys, **settings), environ={"A": SECRET})
    assert SECRET not in str(caught.value)
    (only,) = caught.value.problems
    return only


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "key"
    path.write_text(SECRET + "\n")
    return path


def test_a_key_says_where_it_is_from(file):
    literal, variable, read, told = keys_of("sk-literal", "env:A", f"file:{file}", "command:echo sk", A="sk-variable")
    assert (literal.key, literal.source) == ("sk-literal", None)
    assert (variable.key, variable.source) == ("sk-variable", Source("env", "A"))
    assert (read.key, read.source) == (SECRET, Source("file", str(file)))
    assert (told.key, told.source) == ("", Source("command", "echo sk"))
    assert not any(secret in repr(key) for key in (literal, variable, read) for secret in ("literal", SECRET, "sk-v"))


def test_a_mark_that_an_editor_put_in_front_of_a_file_is_no_part_of_the_key(file):
    file.write_bytes(b"\xef\xbb\xbf" + SECRET.encode() + b"\r\n")
    assert keys_of(f"file:{file}")[0].key == SECRET


def test_the_repr_of_a_key_holds_no_command_line():
    (key,) = keys_of(f"command:echo --token {SECRET}")
    assert SECRET not in f"{key!r} {key.source!r} {key.source}"


def test_a_file_lies_beside_the_configuration(tmp_path, file):
    path = tmp_path / "resilio.toml"
    path.write_text(
        '[[provider]]\nname = "a"\nkind = "openai"\nbase_url = "http://a.test/v1"\nkeys = ["file:key"]\nmodels.m = {}\n'
        '[route.chat]\ntargets = ["a/m"]\n'
    )
    assert load_config(path).providers[0].keys[0].key == SECRET


def test_a_table_gives_a_key_a_name_and_limits_of_its_own():
    table = {"key": "env:A", "name": "team-a", "requests_per_minute": 60, "tokens_per_minute": 900}
    (key,) = keys_of(table, A=SECRET)
    assert key == KeySettings(
        key=SECRET, name="team-a", requests_per_minute=60, tokens_per_minute=900, source=Source("env", "A")
    )


def test_reading_a_configuration_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    keys_of(f"command:touch {trace}")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"one\ntwo", "holds a character that no header may contain"),
        ("schlüssel".encode(), "holds a character that no header may contain"),
        (b"x" * (MAX_SECRET + 1), "holds more than"),
    ],
)
def test_a_file_without_a_key_is_refused_by_its_path(tmp_path, content, says):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    assert problem(f"file:{path}").startswith(f'provider.a.keys[0]: file "{path}" {says}')


def test_neither_a_folder_nor_a_pipe_holds_anybody_up(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is no plain file" in problem(f"file:{tmp_path}")
    assert "is no plain file" in problem(f"file:{tmp_path / 'pipe'}")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("file:", "keys[0]: names no file"),
        ("command:", "keys[0]: names no program"),
        ("command:no-such-program-here --now", "keys[0]: names a program that is not there, or may not be run: no-s"),
        (f"command:echo '{SECRET}", "keys[0]: has a quotation without an end"),
        ({"name": "x"}, "keys[0].key: is missing"),
        ({"key": "env:A", "nmae": "x"}, "keys[0].nmae: unknown key; did you mean name?"),
        ({"key": "env:A", "name": "7"}, 'keys[0].name: "7" would be taken for a key\'s number'),
        ({"key": "env:A", "tokens_per_minute": 0}, "keys[0].tokens_per_minute: is 0; expected more than 0"),
        ({"key": "env:A", "refresh": 5}, "keys[0].refresh: has a meaning for file: and command: alone"),
        ({"key": "env:A", "timeout": 5}, "keys[0].timeout: has a meaning for command: alone"),
        ({"key": 7}, "keys[0].key: is a number; expected a string"),
    ],
)
def test_a_wrong_key_is_told_by_its_place(key, says):
    assert f"provider.a.{says}" in problem(key)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (f"env:{SECRET}", "keys[0]: is not the name of an environment variable; expected env:NAME"),
        (f"command:TOKEN={SECRET} vault get", "keys[0]: begins with an assignment, which only a shell reads"),
    ],
)
def test_a_secret_written_where_a_name_belongs_is_not_quoted(key, says):
    assert f"provider.a.{says}" in problem(key)


def test_no_variable_of_the_frames_that_refuse_a_configuration_holds_a_secret(tmp_path, file):
    path = tmp_path / "resilio.toml"
    path.write_text(
        f'[[provider]]\nname = "a"\nkind = "openai"\nbase_url = "http://a.test/v1"\nmodls.m = {{}}\n'
        f'keys = ["file:{file}", "env:A", "{SECRET}-literal"]\n[route.chat]\ntargets = ["a/m"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={"A": f"{SECRET}-variable"})
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in told.stack if f"{os.sep}resilio{os.sep}config" in frame.filename]
    assert frames
    assert not [frame.name for frame in frames if SECRET in repr(frame.locals)]


def test_two_keys_have_neither_a_secret_nor_a_source_nor_a_name_in_common(file):
    assert "keys[1]: is the same key as keys[0]" in problem("env:A", SECRET)
    assert "keys[1]: is the same key as keys[0]" in problem(f"file:{file}", SECRET)
    assert "keys[1]: is the same key as keys[0]" in problem("command:echo 1", "command:echo 1")
    table = {"name": "x"}
    twice = problem({"key": "sk-1", **table}, {"key": "sk-2", **table})
    assert twice.endswith('keys[1].name: "x" is the name of an earlier key too')


def test_a_header_comes_from_a_file_and_not_from_a_command(file):
    config = load_config(document("sk", headers={"x-team": f"file:{file}"}))
    assert config.providers[0].headers == {"x-team": SECRET}
    assert "cannot come from a command, only a key can" in problem("sk", headers={"x-team": "command:echo 1"})


def test_a_file_that_anybody_may_change_is_warned_of(file, caplog):
    keys_of(f"file:{file}")
    assert not caplog.records
    file.chmod(0o666)
    keys_of(f"file:{file}")
    (warned,) = caplog.messages
    assert warned.startswith("provider.a.keys[0]: every user of this machine may change")


def test_a_simulation_needs_neither_files_nor_programs(tmp_path):
    path = tmp_path / "resilio.toml"
    keys = '["file:not-there", "command:not-there --x", { key = "env:NOT_SET", name = "n", requests_per_minute = 5 }]'
    path.write_text(
        f'[[provider]]\nname = "a"\nkind = "openai"\nbase_url = "http://a.test/v1"\nkeys = {keys}\nmodels.m = {{}}\n'
        '[route.chat]\ntargets = ["a/m"]\n'
    )
    made = as_simulated(load_without_keys(path)).providers[0].keys
    assert [(key.key, key.source) for key in made] == [(f"simulated-{at}", None) for at in range(3)]
    assert (made[2].name, made[2].requests_per_minute) == ("n", 5)
