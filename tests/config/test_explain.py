"""`explain` tells what the engine will do, in numbers that follow from the settings."""

import json
import re
from pathlib import Path

import pytest
from loader_samples import ENVIRON, SECRET, VALID

from resilio.config import load_config
from resilio.config.explain import explain

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"

PROVIDERS = [
    {
        "name": "a",
        "kind": "openai",
        "base_url": "http://127.0.0.1:1/v1",
        "models": {"big": {}, "slow": {"reasoning": True}, "own": {"first_token": 30}},
    },
    {"name": "b", "kind": "openai", "base_url": "http://127.0.0.1:2/v1", "models": {"small": {}}},
    {"name": "here", "kind": "local"},
]


def explained(**route):
    routes = {"chat": {"targets": ["a/big", "b/small"], **route}, "spare": {"targets": ["here/smollm2-135m"]}}
    return explain(load_config({"provider": PROVIDERS, "route": routes}, environ={}))


def chat(**route):
    return explained(**route).routes[0]


def notes(**route):
    return "\n".join(chat(**route).notes)


def test_targets_stand_in_their_order_with_the_clock_that_holds_for_each():
    targets = chat(targets=["a/slow", "a/own", {"target": "a/big", "first_token": 7}, "b/small"]).targets
    assert [(target.name, target.first_token, target.first_token_from) for target in targets] == [
        ("a/slow", 120.0, "reasoning model"),
        ("a/own", 30.0, "model"),
        ("a/big", 7.0, "target"),
        ("b/small", 10.0, "route"),
    ]


def test_the_deadline_is_shared_among_the_targets_still_to_try():
    first, second, third = chat(targets=["a/big", "b/small", "a/own"], deadline=12, clocks={"first_token": 6}).targets
    assert (first.first_token_at_worst, first.share_of_deadline) == (4.0, pytest.approx(1 / 3))
    assert (second.first_token_at_worst, third.first_token_at_worst) == (4.0, 4.0)


def test_what_one_target_leaves_of_its_share_goes_to_the_next():
    first, second = chat(deadline=12, targets=[{"target": "a/big", "first_token": 2}, "a/own"]).targets
    assert (first.first_token_at_worst, second.first_token_at_worst) == (2.0, 10.0)


def test_a_rung_below_keeps_a_share_of_the_deadline():
    first, second = chat(deadline=12, ladder=["full", {"simpler": "spare"}]).targets
    assert (first.first_token_at_worst, second.first_token_at_worst) == (4.0, 4.0)


def test_a_target_no_call_gets_to_has_no_share():
    route = chat(retry={"max_targets": 1})
    assert [target.share_of_deadline for target in route.targets] == [pytest.approx(1 / 6), None]
    assert "a call tries 1 of 2 targets" in "\n".join(route.notes)


def test_the_deadline_of_the_defaults_holds_where_the_route_has_none():
    assert chat().deadline == 60.0
    assert chat(deadline=5).deadline == 5.0


def test_the_worst_case_counts_every_attempt_and_every_wait():
    route = chat(retry={"max_attempts": 5, "base": 1, "cap": 3, "same_target_wait": 1.5}, clocks={"total": 50})
    assert route.targets_tried == 2
    assert route.longest_waits == 1.5 + 2 + 3 + 3
    assert route.longest_unbounded == 5 * 50 + 9.5


def test_rungs_below_add_their_attempts_to_the_worst_case():
    plain, deep = chat(), chat(ladder=["full", {"simpler": "spare"}])
    assert (plain.attempts_below, deep.attempts_below) == (0, 3)
    assert deep.longest_unbounded == 2 * plain.longest_unbounded


def test_very_many_attempts_are_added_up_without_counting_them_one_by_one():
    assert chat(retry={"max_attempts": 10**9}).longest_waits == pytest.approx(8e9, rel=1e-3)


def test_what_a_target_cannot_do_is_said_of_it_and_of_the_route_where_nobody_can():
    route = chat(targets=["a/big", "here/smollm2-135m"])
    assert route.targets[0].lacks == ()
    assert route.targets[1].lacks == ("tools", "images", "audio", "files", "embeddings")
    assert route.nobody_can == ()
    spare = explained().routes[1]
    assert spare.nobody_can == ("tools", "images", "audio", "files", "embeddings")
    assert "no target can serve calls that need tools, images, audio, files" in explained().as_text()


def test_the_ladder_is_told_rung_by_rung_and_ends_in_the_error():
    assert chat(ladder=["full", {"simpler": "spare"}]).ladder == (
        "full: the targets of this route",
        "simpler: the targets of route spare (here/smollm2-135m)",
        "error: a precise error that lists every attempt",
    )


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"deadline": 5}, "the first-token clock of a/big, 10 s, is longer than the deadline of 5 s and never fires"),
        ({"clocks": {"total": 6}}, "the first-token clock of a/big, 10 s, is longer than clocks.total, 6 s, and never"),
        ({"targets": ["a/slow", "b/small"]}, "a/slow, 120 s, is longer than the deadline of 60 s"),
        ({"targets": ["a/slow"], "deadline": 200}, "a/slow, 120 s, is longer than clocks.total, 60 s, and never fires"),
        ({"deadline": 15}, "the first-token clock of a/big, 10 s, may be cut to 7.5 s"),
        ({"deadline": 30}, "clocks.total, 60 s, is longer than the deadline, 30 s, and never fires"),
        ({"deadline": 4}, "clocks.connect, 5 s, is longer than an attempt may take and never fires"),
        ({"targets": ["a/big"]}, "everything depends on provider a: when it is down, calls fail"),
        (
            {"targets": ["a/big", "here/smollm2-135m"], "max_output_tokens": 4096},
            "here/smollm2-135m serves only callers who set a lower max_tokens",
        ),
        ({"clocks": {"first_token": 8}}, "a/big is never counted as slow: slow_first_token, 8 s, is not below"),
        ({}, "no price is known for a/big, b/small"),
    ],
)
def test_what_is_allowed_and_surprising_is_noted(route, says):
    assert says in notes(**route)


def test_a_route_without_surprises_has_no_notes_but_for_prices():
    assert notes() == "no price is known for a/big, b/small"


def test_a_provider_that_no_route_names_and_a_file_without_routes_are_noted():
    assert explain(load_config({"provider": PROVIDERS}, environ={})).notes == (
        "there is no route, so nothing can be asked; add [route.NAME]",
        "provider a is used by no route",
        "provider b is used by no route",
        "provider here is used by no route",
    )
    assert explained(targets=["a/big", "b/small"]).notes == ()


def test_the_breaker_is_told_in_its_own_numbers():
    breaker = {"consecutive_failures": 1, "break_duration": 7, "ramp_duration": 0, "failure_rate": 0.25}
    document = {"provider": [{"name": "here", "kind": "local", "breaker": breaker}]}
    told = "\n".join(explain(load_config(document, environ={})).providers[0].breaker)
    assert "opens after 1 failure in a row" in told
    assert "25 % failed or 50 % were slow (first token after 8 s)" in told
    assert "stays open 7 s" in told
    assert "3 successes of at most 5 close it" in told
    assert "ramp" not in told


def test_the_text_and_the_dict_tell_the_same_and_no_secret():
    explanation = explain(load_config(VALID, environ=ENVIRON))
    text, plain = explanation.as_text(), explanation.as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert SECRET not in text + json.dumps(plain)
    for route in plain["routes"]:
        assert f"route {route['name']}: an answer or an error within" in text
        for target in route["targets"]:
            assert f". {target['name']}: " in text
        for note in route["notes"]:
            assert f"note: {note}" in text
    assert "provider openai: openai at https://api.openai.com/v1, 1 key\n" in text
    assert plain["providers"][0]["used_by"] == ["chat"]
    assert text.splitlines() == explanation.lines()


def page(language):
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return example


@pytest.fixture
def example_file(tmp_path, monkeypatch):
    """The page's configuration where its Python example looks for it, with the keys both want."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-1")
    monkeypatch.setenv("OTHER_API_KEY", "sk-test-2")
    file = tmp_path / "resilio.toml"
    file.write_text(page("toml"), encoding="utf-8")
    return file


def test_the_configuration_of_the_page_loads_and_is_free_of_useless_clocks(example_file):
    config = load_config(example_file)
    assert set(config.routes) == {"chat", "small"}
    assert not any("never" in note for route in explain(config).routes for note in route.notes)


def test_the_python_example_of_the_page_runs(example_file, capsys):
    exec(compile(page("python"), "configuration.md", "exec"), {})
    assert capsys.readouterr().out.startswith("route chat: an answer or an error within 60 s\n")


def test_checks_are_told_in_order_with_what_they_look_at_and_what_follows():
    found = chat(
        checks=[
            {"name": "pin", "stage": "before", "regex": "[0-9]{4}", "then": "redact"},
            {"name": "words", "stage": "after", "banned_words": ["x"], "then": "redact"},
            {"name": "mine", "stage": "after", "function": "own_checks:allow"},
        ]
    )
    assert found.checks == (
        "pin: regex of what is asked, then redact",
        "words: banned_words of the answer, of a stream while it flows, then redact",
        "mine: function own_checks:allow of the answer, then as it says",
    )
    assert chat().checks == ()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://api.mistral.ai/v1", "mistral"),
        ("http://localhost:11434/v1", "ollama"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://api.openai.com/v1", None),
        ("http://127.0.0.1:1/v1", None),
    ],
)
def test_an_address_whose_server_has_a_kind_of_its_own_is_noted(url, kind):
    provider = {"name": "a", "kind": "openai", "base_url": url, "keys": ["some-key"], "models": {"m": {}}}
    document = {"provider": [provider], "route": {"chat": {"targets": ["a/m"]}}}
    found = [note for note in explain(load_config(document, environ={})).notes if "address" in note]
    assert ([] if kind is None else [kind]) == [re.search('kind = "(.+)"', note)[1] for note in found]
    document["provider"][0]["kind"] = kind or "openai"
    assert not [note for note in explain(load_config(document, environ={})).notes if "address" in note]
