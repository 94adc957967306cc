"""`resilio ask`: the answer on standard output, the story on standard error."""

import io
import json
import sys

import pytest

from resilio.cli import ask, main
from resilio.local import MODELS, LocalStatus
from resilio.testing import Fixed, Script, SimulatedProvider
from resilio.testing.faults import Cut, Error

PARIS = Script(answer="It is Paris.")
DOWN = Script.of(Error("server_is_overloaded"))


@pytest.fixture(autouse=True)
def somewhere_empty(tmp_path, monkeypatch):
    """No `resilio.toml` of anybody else."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_the_answer_goes_to_standard_output_and_who_gave_it_to_standard_error(how, configured, capsys):
    provider = SimulatedProvider(PARIS)
    assert main(["ask", "--config", str(configured(east=provider)), how, "The capital of France?"]) == 0
    said = capsys.readouterr()
    assert said.out == "It is Paris.\n"
    assert said.err.startswith("east/large, level full: ")
    assert "5 + 3 tokens" in said.err
    assert [seen.stream for seen in provider.log] == [how == "--stream"]


def test_it_streams_unless_told_otherwise(configured, capsys):
    provider = SimulatedProvider(PARIS)
    path = str(configured(east=provider))
    assert main(["ask", "--config", path, "Hello?"]) == 0
    assert main(["ask", "--config", path, "--json", "Hello?"]) == 0
    assert main(["ask", "--config", path, "--json", "--stream", "Hello?"]) == 0
    assert [seen.stream for seen in provider.log] == [True, False, True]
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["text"], last["complete"]) == ("It is Paris.", True)


def test_what_was_tried_before_the_answer_is_told(configured, capsys):
    path = configured(east=SimulatedProvider(DOWN), west=SimulatedProvider(PARIS))
    assert main(["ask", "--config", str(path), "The capital of France?"]) == 0
    said = capsys.readouterr()
    assert said.out == "It is Paris.\n"
    assert "tried east/large after" in said.err
    assert "503" in said.err
    assert "\nwest/large, level full: " in said.err


def test_json_has_the_answer_the_usage_and_every_attempt(configured, capsys):
    path = configured(east=SimulatedProvider(DOWN), west=SimulatedProvider(PARIS))
    assert main(["ask", "--config", str(path), "--json", "The capital of France?"]) == 0
    said = capsys.readouterr()
    reply = json.loads(said.out)
    assert (reply["text"], reply["target"], reply["level"]) == ("It is Paris.", "west/large", "full")
    assert reply["usage"]["output_tokens"] == 3
    assert [(its["target"], its["error_class"]) for its in reply["attempts"]] == [
        ("east/large", "overloaded"),
        ("west/large", None),
    ]
    assert said.err == ""


def test_the_question_can_come_from_standard_input(configured, capsys, monkeypatch):
    provider = SimulatedProvider()
    monkeypatch.setattr(sys, "stdin", io.StringIO("The capital\nof France?\n"))
    assert main(["ask", "--config", str(configured(east=provider)), "-"]) == 0
    assert provider.log[0].body["messages"] == [{"role": "user", "content": "The capital\nof France?"}]


def test_limits_and_temperature_reach_the_provider(configured, capsys):
    provider = SimulatedProvider()
    path = str(configured(east=provider))
    given = ["--max-tokens", "2", "--temperature", "0.5"]
    assert main(["ask", "--config", path, *given, "one two three four"]) == 0
    said = capsys.readouterr()
    assert (provider.log[0].body["max_tokens"], provider.log[0].body["temperature"]) == (2, 0.5)
    assert said.out == "one two \n"
    assert "--max-tokens raises it" in said.err
    assert main(["ask", "--config", path, "one two three four"]) == 0
    assert {"max_tokens", "temperature"}.isdisjoint(provider.log[1].body)


def test_a_configuration_in_this_folder_is_used(configured, capsys, monkeypatch):
    monkeypatch.chdir(configured(east=SimulatedProvider(PARIS)).parent)
    assert main(["ask", "The capital of France?"]) == 0
    assert capsys.readouterr().out == "It is Paris.\n"


def test_no_answer_is_an_error_that_lists_the_attempts(configured, capsys):
    path = configured(east=SimulatedProvider(DOWN), west=SimulatedProvider(DOWN))
    assert main(["ask", "--config", str(path), "Hello?"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("resilio ask: route 'chat' has nothing left to try\n  1. east/large")
    assert "2. west/large" in said.err
    assert "Traceback" not in said.err


def test_no_answer_as_json_has_the_error_and_the_attempts(configured, capsys):
    path = configured(east=SimulatedProvider(DOWN))
    assert main(["ask", "--config", str(path), "--json", "Hello?"]) == 1
    error = json.loads(capsys.readouterr().out)
    assert (error["error"], error["text"]) == ("Exhausted", "")
    assert [its["error_class"] for its in error["attempts"]] == ["overloaded"]


def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(configured, capsys):
    path = str(configured(east=SimulatedProvider(Script.of(Cut(after=2), answer="one two three four"))))
    assert main(["ask", "--config", path, "Hello?"]) == 1
    said = capsys.readouterr()
    assert said.out == "one two \n"
    assert "stream broken after 8 characters" in said.err
    assert main(["ask", "--config", path, "--json", "--stream", "Hello?"]) == 1
    error = json.loads(capsys.readouterr().out)
    assert (error["error"], error["text"]) == ("StreamBroken", "one two ")


def test_the_deadline_holds(configured, capsys):
    path = configured(east=SimulatedProvider(Script(first_token=Fixed(30.0))))
    assert main(["ask", "--config", str(path), "--deadline", "0.05", "Hello?"]) == 1
    assert "0.05 s" in capsys.readouterr().err


# --- routes ------------------------------------------------------------------------------------


def test_the_only_route_needs_no_name(configured, capsys):
    path = configured(east=SimulatedProvider(PARIS))
    path.write_text(path.read_text().replace("[route.chat]", "[route.talk]"))
    assert main(["ask", "--config", str(path), "Hello?"]) == 0


def test_one_of_several_routes_must_be_named(configured, capsys):
    path = configured(east=SimulatedProvider(PARIS))
    text = path.read_text().replace("[route.chat]", "[route.talk]")
    path.write_text(text + '[route.code]\ntargets = ["east/large"]\n')
    assert main(["ask", "--config", str(path), "Hello?"]) == 1
    assert "there are code, talk" in capsys.readouterr().err
    assert main(["ask", "--config", str(path), "--route", "code", "Hello?"]) == 0


def test_a_route_that_is_not_there_is_told(configured, capsys):
    path = configured(east=SimulatedProvider(PARIS))
    assert main(["ask", "--config", str(path), "--route", "chta", "Hello?"]) == 1
    assert "did you mean 'chat'?" in capsys.readouterr().err


# --- what is refused ---------------------------------------------------------------------------


def test_an_empty_question_is_refused(capsys):
    assert main(["ask", "  "]) == 2
    assert "the question is empty" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--deadline", "0"], ["--deadline", "nan"], ["--max-tokens", "0"]])
def test_figures_out_of_bounds_are_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["ask", *option, "Hello?"])
    assert ended.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_a_wrong_configuration_is_told_with_its_problems(tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text("[route.chat]\ntargets = []\n")
    assert main(["ask", "--config", str(path), "Hello?"]) == 2
    assert "route.chat.targets" in capsys.readouterr().err


# --- the model on this machine -----------------------------------------------------------------


def test_without_a_model_it_says_how_to_install_one(monkeypatch, capsys):
    missing = LocalStatus(MODELS["smollm2-135m"], None, None)
    monkeypatch.setattr(ask, "status", lambda: missing)
    assert main(["ask", "Hello?"]) == 1
    assert "run `resilio local install`" in capsys.readouterr().err


@pytest.mark.real_loop
def test_without_a_configuration_the_model_on_this_machine_answers(capsys):
    assert main(["ask", "--max-tokens", "12", "What is the capital of France?"]) == 0
    said = capsys.readouterr()
    assert said.out.strip()
    assert said.err.startswith("local/smollm2-135m, level full: ")
    assert "a 135M model on this machine: its answers are fluent and often wrong" in said.err


# --- models by name alone ----------------------------------------------------------------------


def test_a_model_is_asked_by_name_without_a_configuration(serving, monkeypatch, capsys):
    down, up = SimulatedProvider(DOWN), SimulatedProvider(PARIS, keys=["token-of-mine"])
    urls = serving({"vllm": down, "azure": up}).urls
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", urls["vllm"])
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", urls["azure"].removesuffix("/v1"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "token-of-mine")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    models = ["--model", "hosted_vllm/meta-llama/Llama-3", "--model", "azure/prod-chat"]
    assert main(["ask", *models, "The capital of France?"]) == 0
    said = capsys.readouterr()
    assert said.out == "It is Paris.\n"
    assert "\nazure/prod-chat, level full: " in said.err
    assert [seen.model for seen in down.log] == ["meta-llama/Llama-3"]
    assert up.log[0].path == "/azure/openai/deployments/prod-chat/chat/completions"


def test_a_key_that_is_not_set_is_named(monkeypatch, capsys):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert main(["ask", "--model", "anthropic/claude", "Hello?"]) == 2
    assert "ANTHROPIC_API_KEY is not set" in capsys.readouterr().err


def test_a_model_by_name_and_a_configuration_do_not_go_together(configured, capsys):
    path = str(configured(east=SimulatedProvider(PARIS)))
    assert main(["ask", "--config", path, "--model", "gpt-4.1", "Hello?"]) == 2
    assert "leave out --config and --route" in capsys.readouterr().err
