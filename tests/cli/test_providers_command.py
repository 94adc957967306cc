"""`resilio providers`: what each kind supports is what its codec says, and of a key only whether it is set."""

import argparse
import io
import json
import re

import pytest

from resilio.cli import main, providers
from resilio.cli.screen import Screen
from resilio.config.kinds import KINDS
from resilio.models import Request
from resilio.providers import REGISTRY
from resilio.providers.support import FEATURES, differences, known, support
from resilio.providers.support import docs as pages

SECRET = "gsk_secret_key_of_somebody"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for kind in KINDS.values():
        for name in kind.key_variables:
            monkeypatch.delenv(name, raising=False)


def plain(*arguments, capsys):
    assert main(["providers", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_kind_that_has_a_codec_is_a_row(capsys):
    assert main(["providers"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == list(map(str, (kind.name for kind in known())))
    assert set(REGISTRY) == {kind.name for kind in known()}
    for feature in FEATURES:
        assert feature.name in head


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_narrow_terminal_every_word_can_still_be_read(columns, colour, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False) if colour else monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    providers.run(argparse.Namespace(kind=None, json=False), Screen(terminal))
    said = terminal.getvalue()
    for kind in known():
        assert re.search(rf"^\W*{kind.name}\b", said, re.MULTILINE), kind.name
    for word in ("documents", "logprobs", "embeddings", "audio"):
        assert word in said
    assert "what lacks" in said


def test_a_wide_terminal_has_a_column_for_each_feature(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    providers.run(argparse.Namespace(kind=None, json=False), Screen(terminal))
    assert "prompt caching" in terminal.getvalue()
    assert "what lacks" not in terminal.getvalue()


def test_of_a_key_it_is_told_whether_it_is_set_and_never_more(monkeypatch, capsys):
    monkeypatch.setenv("GROQ_API_KEY", SECRET)
    for arguments in ([], ["groq"], ["--json"], ["groq", "--json"]):
        assert main(["providers", *arguments]) == 0
    said = capsys.readouterr().out
    assert SECRET not in said
    assert "GROQ_API_KEY: set" in said
    assert "MISTRAL_API_KEY: not set" in said
    assert "OLLAMA_API_KEY: not set, not needed" in said
    keys = {kind["name"]: kind["key_set"] for kind in plain(capsys=capsys)["kinds"]}
    assert {name for name, is_set in keys.items() if is_set} == {"groq"}


def test_what_is_shown_is_what_a_route_would_do(capsys):
    """Two ways to the same word: the table, and a request of one's own judged by the codec."""
    wires = {"n": {"n": 2}, "seed": {"seed": 7}, "logprobs": {"logprobs": True, "top_logprobs": 2}}
    for kind in plain(capsys=capsys)["kinds"]:
        row = KINDS[kind["name"]]
        target = type("Target", (), {"model": row.example})()
        for name, wire in wires.items():
            request = Request("chat", [{"role": "user", "content": "Hello"}], wire)
            honoured = not REGISTRY[row.name].unsupported(request, target, max_output_tokens=None)
            first = next(iter(kind["versions"].values()))
            assert first[name]["support"] == ("yes" if honoured else "no"), (row.name, name)


def test_a_kind_is_shown_in_each_version_with_its_reasons(capsys):
    versions = plain("anthropic", capsys=capsys)["versions"]
    assert [versions[its]["sampling"]["support"] for its in ("2023-06-01", "2026-10-21")] == ["temperature", "no"]
    assert "no sampling parameters" in versions["2026-10-21"]["sampling"]["why"][0]
    assert main(["providers", "anthropic"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^sampling +temperature +no +top_p beside it: .*takes one of.*2026-10-21", said, re.MULTILINE)


def test_a_part_of_a_feature_is_named(capsys):
    first = plain("ollama", capsys=capsys)["versions"][""]
    assert first["images"] == {"support": "base64", "why": ["URL: pictures are taken as base64 alone"]}
    assert first["tools"]["support"] == "free"


def test_the_differences_of_a_kind_are_shown_with_their_sources(capsys):
    assert main(["providers", "mistral"]) == 0
    said = capsys.readouterr().out
    assert "seed is sent as random_seed" in said
    assert "as a target: mistral/mistral-small-latest or mistralai/mistral-small-latest" in said
    for _, source in differences(KINDS["mistral"]):
        assert source in said


def test_another_of_its_prefixes_names_a_kind_too(capsys):
    assert plain("hosted_vllm", capsys=capsys)["name"] == "vllm"


def test_a_kind_there_is_not_is_refused_with_the_nearest(capsys):
    assert main(["providers", "mistrall"]) == 2
    assert "no kind is called 'mistrall'; did you mean \"mistral\"?" in capsys.readouterr().err


def test_a_model_on_this_machine_supports_what_it_can():
    found = support(KINDS["local"])
    assert (found["tools"].word, found["images"].word, found["JSON schema"].word) == ("no", "no", "yes")


def test_the_tables_of_the_page_are_up_to_date(capsys):
    assert pages.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_table_is_told_and_written_again(tmp_path, capsys):
    page = tmp_path / "providers.md"
    page.write_text("before\n\n<!-- kinds: support -->\nold\n<!-- end -->\n\nafter\n")
    assert pages.main(["--check"], page) == 1
    assert "is stale" in capsys.readouterr().err
    assert pages.main([], page) == 0
    assert pages.main(["--check"], page) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| `groq` |" in text
