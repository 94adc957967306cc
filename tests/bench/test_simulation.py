"""Simulations: a configuration on virtual time, the same to the digit for one seed."""

from dataclasses import asdict

import pytest

from resilio.bench.load import Load
from resilio.bench.report import level_report
from resilio.bench.scenario import (
    BUILT_IN,
    as_simulated,
    built_in,
    healthy,
    load_without_keys,
    read_scenario,
    simulated_url,
)
from resilio.bench.simulation import Simulation, simulate
from resilio.config import load_config
from resilio.errors import ConfigError
from resilio.testing import Fixed, LogNormal, Script
from resilio.testing.faults import Error, Refused

DOWN = Error("server_is_overloaded")
WELL = Script(first_token=LogNormal(median=0.1))


def simulation(east=WELL, west=WELL, **more):
    config = built_in({name: simulated_url(number) for number, name in enumerate(BUILT_IN)})
    options = {"route": "chat", "wire": {}, "streamed": False, "seed": 1, **more}
    return Simulation(config=config, scripts={"east": east, "west": west}, **options)


def figures(simulated, load):
    done = simulate(simulated, load)
    return asdict(level_report(done.samples, load, streamed=simulated.streamed)), done.changes, done.requests


OUTAGE = WELL.outage(20, 40, Refused())
A_MINUTE = Load(rate=20, seconds=60.0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("load", [A_MINUTE, Load(concurrency=4, requests=400)])
def test_one_seed_gives_the_same_figures_to_the_last_digit(load, streamed):
    simulated = simulation(OUTAGE.probability(0.1, DOWN), WELL.probability(0.05, DOWN), streamed=streamed)
    assert figures(simulated, load) == figures(simulated, load)


def test_another_seed_gives_others():
    assert figures(simulation(), A_MINUTE) != figures(simulation(seed=2), A_MINUTE)


def test_through_an_outage_of_the_first_provider_the_second_answers_and_the_breaker_opens_and_closes():
    report, changes, _ = figures(simulation(OUTAGE), Load(rate=20, seconds=120.0))
    assert report["availability"] == 1.0
    moves = [change for change in changes if change.name == "east"]
    assert [move.dest for move in moves] == ["open", "half_open", "ramping", "closed"]
    assert 20 <= moves[0].at < 22
    assert moves[1].at >= 40
    assert report["targets"]["west/large"] > 400
    assert set(report["attempt_errors"]) == {"connect"}


def test_the_engine_says_of_each_request_what_the_providers_counted():
    report, _, requests = figures(simulation(WELL.probability(0.3, DOWN), WELL.probability(0.3, DOWN)), A_MINUTE)
    assert report["upstream"] == sum(requests.values()) > report["calls"]


def test_without_faults_only_the_rules_are_gone():
    simulated = simulation(OUTAGE)
    assert simulated.has_faults
    calm = simulated.without_faults()
    assert not calm.has_faults
    assert calm.scripts["east"].first_token == OUTAGE.first_token
    report, changes, requests = figures(calm, A_MINUTE)
    assert (report["amplification"], changes, requests["west"]) == (1.0, [], 0)


def test_an_outage_counts_from_the_beginning_of_the_run_for_every_provider():
    # West is asked for the first time when east goes down, at 20 s: its own outage is not put off by that.
    report, _, _ = figures(simulation(OUTAGE, WELL.outage(0, 30, Refused())), A_MINUTE)
    assert report["availability"] < 0.9
    late, _, _ = figures(simulation(OUTAGE, WELL.outage(0, 20, Refused())), A_MINUTE)
    assert late["availability"] == 1.0


def test_a_warm_up_is_left_out_of_everything_but_the_state_of_the_engine():
    load = Load(concurrency=1, requests=10)
    report, changes, requests = figures(simulation(Script.of(DOWN), warmup=5), load)
    assert report["calls"] == 10
    assert (changes, requests) == ([], {"east": 0, "west": 10})  # the breaker had opened before


def test_a_closed_loop_ends_even_where_everything_fails_in_no_time():
    report, _, _ = figures(simulation(Script.of(Refused()), Script.of(Refused())), Load(concurrency=2, seconds=2.0))
    assert report["answered"] == 0
    assert 100 < report["calls"] <= 4010


def test_streams_have_a_first_token_before_their_end():
    script = Script(answer="one two three four five", first_token=Fixed(0.2), tokens_per_second=10)
    report, _, _ = figures(simulation(script, streamed=True), Load(concurrency=1, requests=5))
    assert report["first_token"]["p50"] == pytest.approx(0.2)
    assert report["latency"]["p50"] == pytest.approx(0.6)


# --- scenarios ---------------------------------------------------------------------------------

CONFIG = """\
[[provider]]
name = "paid"
kind = "openai"
base_url = "https://paid.example/v1"
keys = ["env:KEY_THAT_IS_NOT_SET"]
headers = { X-Team = "env:TEAM_THAT_IS_NOT_SET" }
models.large = {}
[[provider]]
name = "here"
kind = "local"
[route.chat]
targets = ["paid/large", "here/smollm2-135m"]
"""


def test_a_configuration_is_simulated_without_its_keys_and_with_every_provider_replaced(tmp_path):
    path = tmp_path / "resilio.toml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError):
        load_config(path)
    config = as_simulated(load_without_keys(path))
    assert [(each.kind, each.base_url, dict(each.headers)) for each in config.providers] == [
        ("openai", simulated_url(0), {}),
        ("openai", simulated_url(1), {}),
    ]
    simulated = Simulation(
        config=load_without_keys(path), route="chat", wire={}, streamed=False, seed=1,
        scripts={"paid": Script.of(DOWN), "here": WELL},
    )  # fmt: skip
    report, _, _ = figures(simulated, Load(concurrency=1, requests=5))
    assert report["targets"] == {"here/smollm2-135m": 5}


def test_a_scenario_has_a_script_for_each_provider_it_names(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(
        '[provider.east]\nfirst_token = 0.5\n[[provider.east.rule]]\noutage = {start = 1}\nfault = "refused"\n'
    )
    assert read_scenario(path, BUILT_IN) == {"east": Script(first_token=Fixed(0.5)).outage(1, None, Refused())}
    assert not healthy().rules


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[provider.eats]\n", "there is no such provider; there is east"),
        ("[provider.east]\nfirst_tokn = 1\n", "provider.east.first_tokn"),
        ("[east]\n", "expected tables [provider.NAME]"),
        ("provider = 3\n", "expected tables [provider.NAME]"),
        ("[provider", "is not TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_scenario_is_told_with_its_problems(text, told, tmp_path):
    path = tmp_path / "scenario.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_scenario(path, BUILT_IN)
    assert told in str(refused.value)
