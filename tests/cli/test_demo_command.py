"""`resilio demo`, at reduced size, with the real model; and that its figures can say no."""

import io
import json
import re

import pytest

from resilio.cli import ask, main
from resilio.cli.demo import failover as demo
from resilio.cli.demo import meaning
from resilio.cli.screen import Screen
from resilio.client import Client
from resilio.local import DEFAULT_MODEL as LOCAL_MODEL
from resilio.local import MODELS, LocalStatus
from resilio.models import AttemptRecord, Level, Reply, Usage
from resilio.testing import InlineExecutor, Script, ScriptedTransport, SimulatedProvider
from resilio.testing.faults import Error


def test_without_a_model_it_says_how_to_install_one(monkeypatch, capsys):
    monkeypatch.setattr(ask, "status", lambda: LocalStatus(MODELS["smollm2-135m"], None, None))
    assert main(["demo"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "run `resilio local install`" in said.err


@pytest.mark.parametrize("number", ["0", "7", "two"])
def test_it_has_so_many_questions_and_no_more(number, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--questions", number])
    assert ended.value.code == 2


@pytest.mark.real_loop
def test_failing_providers_are_passed_over_and_the_real_model_answers(capsys):
    assert main(["demo", "--only", "failover", "--questions", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(lines[-1])
    assert figures["answers"] == figures["failovers"] == 3
    assert figures["attempts"] == figures["simulator_requests"] + figures["local_requests"]
    assert figures["simulator_requests"] == figures["simulator_failures"] >= 3
    assert figures["local_requests"] >= 3
    assert figures["breakers_opened"] == sum(1 for line in lines if re.search(r"breaker of \S+: .* -> open", line)) >= 1
    # What is printed as it happens and what is summed up at the end are the same attempts.
    printed = [line for line in lines if re.search(r"(east|west)/large +\d+\.\d+ s", line)]
    assert len(printed) == figures["simulator_requests"]


async def test_a_question_without_an_answer_is_told_and_its_attempts_are_counted():
    url = "http://east.test/v1"
    transport = ScriptedTransport({url: SimulatedProvider(Script.of(Error("server_is_overloaded")))})
    provider = {"name": "east", "kind": "openai", "base_url": url, "models": {"large": {}}}
    config = {"provider": [provider], "route": {"chat": {"targets": ["east/large"]}}}
    out = io.StringIO()
    show = demo.Show(Screen(out), 0.0)
    async with Client(config, transport=transport, listeners=[show.hear]) as llm:
        await show.ask(llm, 1, "Where?", streamed=True)
        await show.ask(llm, 2, "Why?", streamed=False)
    assert show.replies == {}
    assert [attempt.error_class for attempt in show.attempts] == ["overloaded", "overloaded"]
    assert out.getvalue().count("no answer: route 'chat' has nothing left to try\n") == 2


# --- the figures ---------------------------------------------------------------------------------


def attempt(target, error=None):
    return AttemptRecord(target, 0, 0.0, 0.0, 0.1, "failure" if error else "success", error, error)


def reply(*attempts, text="Paris."):
    return Reply(text, "stop", attempts[-1].target, Level.FULL, True, Usage(), "r", 1.0, attempts=attempts)


def struck(provider, question, times=1):
    for _ in range(times):
        body = json.dumps({"model": "large", "messages": [{"role": "user", "content": question}]}).encode()
        seen, _ = provider.react("POST", "/v1/chat/completions", {}, body)
        provider.settle(seen)


@pytest.fixture
async def stage():
    """One question that failed at east and was answered by the real model, as both sides tell it."""
    simulators = demo.make_simulators(seed=0)
    show = demo.Show(Screen(io.StringIO()), 0.0)
    struck(simulators["east"], "Where?")
    answered = reply(attempt("east/large", "overloaded"), attempt(demo.LOCAL))
    show.replies["Where?"] = answered
    show.attempts += answered.attempts
    return show, simulators


def judged(show, simulators, enough=1):
    good, figures = demo.figures(show, simulators, enough=enough)
    return (0 if good else 1), figures


async def test_figures_on_which_both_sides_agree_are_good(stage):
    code, figures = judged(*stage)
    assert (code, figures["logs_agree"], figures["answers"], figures["failovers"], figures["attempts"]) == (
        0, True, 1, 1, 2,
    )  # fmt: skip


async def test_too_few_answers_fail(stage):
    assert judged(*stage, enough=2)[0] == 1


async def test_an_answer_without_words_is_none(stage):
    show, simulators = stage
    show.replies["Where?"] = reply(*show.attempts, text=" \n")
    assert judged(show, simulators)[0] == 1


async def test_a_request_the_engine_did_not_report_fails(stage):
    show, simulators = stage
    struck(simulators["west"], "Where?")
    code, figures = judged(show, simulators)
    assert (code, figures["logs_agree"]) == (1, False)


async def test_a_failure_no_simulator_saw_fails(stage):
    show, simulators = stage
    show.attempts.append(attempt("west/large", "overloaded"))
    assert judged(show, simulators)[0] == 1


async def test_a_failover_no_simulator_caused_is_not_believed(stage):
    show, simulators = stage
    simulators["east"].log.clear()
    struck(simulators["east"], "Another question?")
    code, figures = judged(show, simulators)
    assert (code, figures["failovers"], figures["logs_agree"]) == (1, 1, False)


async def test_a_simulated_answer_is_not_one_of_the_real_model(stage):
    show, simulators = stage
    show.replies["Why?"] = reply(attempt("west/large"))
    simulators["west"] = SimulatedProvider()
    struck(simulators["west"], "Why?")
    show.attempts.append(attempt("west/large"))
    code, figures = judged(show, simulators)
    assert (code, figures["answers"], figures["logs_agree"]) == (0, 1, True)


# --- the other scenes ----------------------------------------------------------------------------


@pytest.mark.real_loop
def test_questions_in_other_words_are_answered_from_the_cache(capsys):
    assert main(["demo", "--only", "meaning"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["meaning"] == {"questions": 6, "from_cache": 3, "upstream_calls": 3, "as_expected": 6}


@pytest.mark.real_loop
def test_the_ladder_is_walked_down_rung_by_rung_each_with_its_reasons(capsys):
    assert main(["demo", "--only", "ladder"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(lines[-1])
    assert figures["ladder"]["levels"] == ["full", "full", "cached", "simpler", "static", "error"]
    reasons = [line.split("- ")[1].split(":")[0] for line in lines if "            - " in line]
    assert reasons == ["full", "full", "cache", "full", "cache", "simpler (small)"]


async def test_a_scene_that_goes_otherwise_fails():
    wrong = [meaning.Talk({"threshold": 0.9}, [meaning.Turn("What is the capital of France?", cached=True)])]
    good, figures = await meaning.show(Screen(io.StringIO()), wrong, client=simulated)
    assert (good, figures["meaning"]["as_expected"]) == (False, 0)


def simulated(settings, **options):
    """A client whose local model is a simulated provider."""
    url = "http://local.test/v1"
    provider = {"name": "local", "kind": "openai", "base_url": url, "models": {LOCAL_MODEL: {}}}
    transport = ScriptedTransport({url: SimulatedProvider(Script(answer="Paris."))})
    return Client({**settings, "provider": [provider]}, transport=transport, executor=InlineExecutor(), **options)
