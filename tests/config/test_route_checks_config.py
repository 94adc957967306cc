"""Checks in a configuration: what could not work, or could hang, is refused with its line."""

import subprocess
import sys

import own_checks
import pytest

from resilio import Client, ConfigError
from resilio.config import json_schema, load_config
from resilio.config.settings import AnswerSchema
from resilio.testing import run

HEAD = """\
[[provider]]
name = "p"
kind = "openai"
base_url = "http://p.test/v1"
models.m = {}

[route.small]
targets = ["p/m"]

[route.chat]
targets = ["p/m"]
"""
LINE = HEAD.count("\n") + 1


def load(tmp_path, text, head=HEAD):
    path = tmp_path / "resilio.toml"
    path.write_text(head + text, encoding="utf-8")
    return load_config(path)


def one(**settings):
    lines = ["[[route.chat.checks]]", 'name = "it"']
    lines += [f"{name} = {value}" for name, value in ({"stage": '"after"'} | settings).items()]
    return "\n".join(lines) + "\n"


REFUSED = [
    (one(), 0, "chat.checks[0]: does not say what it looks for; expected exactly one of regex"),
    (one(regex="'x'", banned_words='["y"]'), 0, "is of 2 kinds (regex, banned_words)"),
    (one(function='"own_checks:allow"', json_schema="true"), 0, "is of 2 kinds (json_schema, function)"),
    (one(regex="'('"), 3, "regex: is no regular expression"),
    (one(regex="'(a+)+b'"), 3, "regex: could take for ever"),
    (one(regex="'a*'"), 3, "regex: can match no character at all"),
    (one(banned_words="[]"), 3, "banned_words: is empty"),
    (one(banned_words='["a", ""]'), 3, "banned_words[1]: is empty"),
    (one(min_characters="0"), 3, "expected more than 0"),
    (one(min_characters="9", max_characters="3"), 3, "is 9, but max_characters is 3: no text is both"),
    (one(json_schema='{ type = "strin" }'), 3, "json_schema: is no JSON schema"),
    (one(json_schema="false"), 3, "expected true or a table that is a JSON schema"),
    (one(json_schema='{ "$ref" = "http://x.test/y" }'), 3, "a schema may refer to its own parts alone"),
    (one(json_schema="true", stage='"before"'), 2, "stage: is \"before\", but a schema is what an answer"),
    (one(json_schema="true", then='"redact"'), 4, "finds nothing that could be taken out"),
    (one(max_characters="3", then='"redact"'), 4, "finds nothing that could be taken out"),
    (one(function='"own_checks:shout"', then='"redact"'), 4, "only the function knows the new text"),
    (one(regex="'x'", stage='"before"', then='"retry"'), 4, "before sending there is no answer to ask for again"),
    (one(regex="'x'", then='"escalate"'), 4, "the ladder of the route has no other rung"),
    (one(function='"own_checks"'), 3, 'expected "package.module:name"'),
    (one(function='"no_such_module:it"'), 3, "cannot import 'no_such_module'"),
    (one(function='"own_checks:alow"'), 3, "'own_checks:alow' is not there; what can be called in it: "),
    (one(function='"own_checks:not_async"'), 3, "is not an async function"),
    (one(regex="'x'", timeout="3"), 4, "timeout: has a meaning for function alone"),
    (one(regex="'x'", replacement="'y'"), 4, "replacement: has a meaning for"),
    (one(regex="'x'", stream='"end"', stage='"before"'), 4, "stream: has a meaning for stage \"after\" alone"),
    (one(regex="'x'", window="9"), 4, "window: has a meaning for stream"),
    (one(function='"own_checks:allow"', stream='"window"'), 4, "which only regex, banned_words and max_characters"),
    (one(min_characters="3", stream='"window"'), 4, "which only regex, banned_words and max_characters"),
    (one(regex="'x{9}'", stream='"window"', window="8"), 5, "is 8, but a match can have 9 characters; it would slip"),
    (one(banned_words='["abcdef"]', then='"redact"', window="5"), 5, "a match can have 6 characters"),
    (one(regex="'x'") + one(regex="'y'"), 5, 'name: "it" is already checks[0]'),
    (one(regexp="'x'"), 3, "did you mean regex?"),
    (one(regex="'x'", then='"block"'), 4, '"block"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_a_check_that_could_not_work_is_refused_with_its_line(tmp_path, text, line, message):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"line {LINE + line}: route.chat.checks[")
    assert message in problem


def test_sound_checks_are_read_with_what_they_mean(tmp_path):
    text = (
        one(regex="'x'", then='"redact"')
        + one(json_schema='{ type = "object", properties = { a = { type = "string" } } }').replace('"it"', '"b"', 1)
        + one(json_schema="true", then='"retry"').replace('"it"', '"c"', 1)
        + one(function='"own_checks:allow"', max_cost_usd="0.01").replace('"it"', '"d"', 1)
        + one(max_characters="9", stream='"window"').replace('"it"', '"e"', 1)
        + one(banned_words='["x"]', stream='"end"', then='"redact"').replace('"it"', '"f"', 1)
    )
    first, second, third, fourth, fifth, sixth = load(tmp_path, text).routes["chat"].checks
    assert (first.kinds, first.in_window, second.in_window) == (("regex",), True, False)
    assert second.json_schema.document["properties"] == {"a": {"type": "string"}}
    assert third.json_schema == AnswerSchema()
    assert (fourth.max_cost_usd, fourth.timeout, fourth.on_error, fourth.then) == (0.01, 5.0, "deny", "deny")
    assert (fifth.in_window, sixth.in_window) == (True, False)


def test_an_inline_array_of_checks_is_read_too(tmp_path):
    text = 'checks = [{ name = "a", stage = "before", regex = "x" }, { name = "b", stage = "after", regex = "(" }]\n'
    with pytest.raises(ConfigError, match=rf"line {LINE}: route.chat.checks\[1\].regex: is no regular"):
        load(tmp_path, text)


def test_a_schema_without_the_package_that_reads_it_says_how_to_get_it(tmp_path, monkeypatch):
    json_schema._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(ConfigError, match=r"needs the package jsonschema-rs; run: pip install 'resilio-llm\[checks\]'"):
        load(tmp_path, one(json_schema="true"))


def test_what_has_no_form_in_json_is_no_schema():
    with pytest.raises(ValueError, match="is no JSON schema: Type is not JSON serializable"):
        json_schema.compile_schema({"const": object()})
    with pytest.raises(ValueError, match="is no JSON schema: int where an object"):
        json_schema.compile_schema(3)


def test_a_function_that_went_away_since_is_refused_when_the_client_opens(tmp_path, monkeypatch):
    config = load(tmp_path, one(function='"own_checks:allow"'))
    monkeypatch.delattr(own_checks, "allow")

    async def open_it():
        async with Client(config):
            raise AssertionError

    with pytest.raises(ConfigError, match=r"route.chat.checks: 'it' 'own_checks:allow' is not there"):
        run(open_it())


def test_checks_cost_an_import_only_where_a_schema_is_checked():
    code = "import resilio, sys; print([m for m in ('jsonschema_rs', 'rpds') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
