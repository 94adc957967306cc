import random
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.errors import ConfigError
from resilio.testing import Fixed, Flapping, LogNormal, Mixture, Rule, Script, Uniform, faults

BUSY = faults.Error("server_is_overloaded")


class Player:
    """Asks a script about one request after the other, as a provider does."""

    def __init__(self, script, seed=0):
        self.script, self.rng, self.counts = script, random.Random(seed), {}

    def __call__(self, model="m", *, key=None, stream=False, elapsed=0.0):
        return self.script.choose(model, key, stream=stream, elapsed=elapsed, rng=self.rng, counts=self.counts)


def test_an_empty_script_answers_well():
    assert Player(Script())() == ()


def test_the_first_requests_fail_and_the_rest_meet_what_follows():
    ask = Player(Script().first(2, BUSY).then(faults.Silence()))
    assert [ask() for _ in range(4)] == [(BUSY,), (BUSY,), (faults.Silence(),), (faults.Silence(),)]


def test_a_sequence_gives_one_step_to_each_request_and_is_healthy_after():
    ask = Player(Script().sequence(BUSY, None, faults.Reset()))
    assert [ask() for _ in range(5)] == [(BUSY,), (), (faults.Reset(),), (), ()]


def test_the_model_name_chooses_the_fault():
    ask = Player(Script().for_model("w05", faults.Reset()).for_model("w06", faults.Silence()))
    assert ask("w05") == (faults.Reset(),)
    assert ask("w06") == (faults.Silence(),)
    assert ask("healthy") == ()


def test_one_key_fails_and_the_other_works():
    ask = Player(Script().with_rule(faults.Error("invalid_api_key"), key="old"))
    assert ask(key="old") == (faults.Error("invalid_api_key"),)
    assert ask(key="new") == ()


def test_a_rule_may_strike_streams_alone():
    ask = Player(Script().with_rule(BUSY, stream=True))
    assert (ask(stream=True), ask(stream=False)) == ((BUSY,), ())


def test_requests_of_another_model_do_not_use_up_a_rule():
    ask = Player(Script().with_rule(BUSY, model="a", first=1))
    assert [ask("b"), ask("b"), ask("a"), ask("a")] == [(), (), (BUSY,), ()]


def test_skipped_requests_come_before_those_that_fail():
    ask = Player(Script().with_rule(BUSY, skip=2, first=1))
    assert [ask() for _ in range(4)] == [(), (), (BUSY,), ()]


def test_flapping_goes_by_time():
    ask = Player(Script().flapping(60, 30, BUSY))
    down = [ask(elapsed=second) == (BUSY,) for second in (0, 59.9, 60, 89.9, 90, 149.9, 150)]
    assert down == [False, False, True, True, False, False, True]
    assert Player(Script().flapping(60, 30, BUSY, start="down"))(elapsed=0) == (BUSY,)


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(0, 1e4))
def test_flapping_repeats_with_its_period(up, down, elapsed):
    flapping = Flapping(up, down)
    inside = elapsed % (up + down)
    if min(abs(inside - up), inside, up + down - inside) > 1e-6:  # not on an edge, where rounding decides
        assert flapping.is_down(elapsed) == flapping.is_down(elapsed + up + down) == (inside > up)


@given(st.floats(0, 1), st.integers(0, 2**32))
def test_a_probability_strikes_that_share_and_the_same_requests_for_the_same_seed(share, seed):
    def struck():
        ask = Player(Script().probability(share, BUSY), seed)
        return [bool(ask()) for _ in range(500)]

    first = struck()
    assert first == struck()
    assert abs(sum(first) / 500 - share) < 0.12


@given(st.integers(0, 2**32))
def test_latencies_stay_within_their_distribution(seed):
    rng = random.Random(seed)
    assert Fixed(2.5).draw(rng) == 2.5
    assert 1 <= Uniform(1, 3).draw(rng) <= 3
    assert LogNormal(0.4, 0).draw(rng) == pytest.approx(0.4)
    assert Mixture(((1, Fixed(1)), (3, Fixed(2)))).draw(rng) in (1, 2)


def test_half_of_log_normal_latencies_lie_below_the_median(rng):
    draws = [LogNormal(0.4, 0.5).draw(rng) for _ in range(4000)]
    assert 0.47 < sum(draw < 0.4 for draw in draws) / 4000 < 0.53


def test_a_mixture_keeps_its_weights(rng):
    mixture = Mixture(((9, Fixed(1)), (1, Fixed(10))))
    assert 0.08 < sum(mixture.draw(rng) == 10 for _ in range(4000)) / 4000 < 0.12


TOML = """
answer = "forty-two"
tokens_per_second = 80
head = "with_first_token"
first_token = [
    { weight = 0.9, lognormal = { median = 0.4, sigma = 0.3 } },
    { weight = 0.1, fixed = 8 },
]
headers = { x-ratelimit-remaining-requests = "7" }

[[rule]]
model = "w01"
first = 3
fault = "error"
code = "rate_limit_exceeded"
retry_after = 1

[[rule]]
probability = 0.5
flapping = { up = 60, down = 60 }
faults = [{ fault = "slow_first_token", seconds = 30 }, { fault = "cut", after = 7, clean = false }]

[[rule]]
key = "old"
fault = "none"
"""


def test_a_script_in_toml_is_the_script_in_python():
    assert Script.from_dict(tomllib.loads(TOML)) == Script(
        answer="forty-two",
        tokens_per_second=80,
        head="with_first_token",
        first_token=Mixture(((0.9, LogNormal(0.4, 0.3)), (0.1, Fixed(8)))),
        headers={"x-ratelimit-remaining-requests": "7"},
        rules=(
            Rule((faults.Error("rate_limit_exceeded", retry_after=1),), model="w01", first=3),
            Rule(
                (faults.SlowFirstToken(30), faults.Cut(7, clean=False)),
                probability=0.5,
                flapping=Flapping(60, 60),
            ),
            Rule((), key="old"),
        ),
    )


@pytest.mark.parametrize("name", sorted(faults.FAULTS))
def test_every_fault_has_a_name_for_toml(name):
    needed = {"slow_first_token": {"seconds": 3}, "headers": {"headers": {"a": "b"}}}.get(name, {})
    script = Script.from_dict({"rule": [{"fault": name, **needed}]})
    assert script == Script.of(faults.FAULTS[name](**needed))


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("tokens_per_secnd = 8", "did you mean tokens_per_second"),
        ("tokens_per_second = -1", "tokens_per_second: is -1"),
        ("head = 'late'", "head: "),
        ("first_token = 'soon'", "first_token: must be an array of tables"),
        ("first_token = -1", r"first_token\[0\].fixed"),
        ("first_token = {gauss = 1}", "exactly one of fixed, uniform, lognormal"),
        ("first_token = {fixed = 1, uniform = {low = 1, high = 2}}", "exactly one of"),
        ("first_token = [{weight = 0, fixed = 1}]", "weight"),
        ("rule = 3", "rule: must be an array of tables"),
        ("[[rule]]\nfault = 'cutt'", 'did you mean "cut"'),
        ("[[rule]]\nmodel = 'm'", r"rule\[0\].fault: is nothing"),
        ("[[rule]]\nfault = 'slow_first_token'", r"rule\[0\].seconds: is missing"),
        ("[[rule]]\nfault = 'cut'\nafter = -1", r"rule\[0\].after"),
        ("[[rule]]\nfault = 'cut'\nprobability = 1.5", "probability"),
        ("[[rule]]\nfault = 'cut'\nflapping = {up = 1}", "down: is missing"),
        ("[[rule]]\nfaults = [{fault = 'cut'}]\nafter = 3", "write it into one of them"),
        ("rules = []", r"rules: is given by the name"),
    ],
)
def test_a_script_that_would_be_misread_is_refused_with_the_place(toml, problem):
    with pytest.raises(ConfigError, match=problem):
        Script.from_dict(tomllib.loads(toml))


def test_all_problems_of_a_script_are_listed_at_once():
    with pytest.raises(ConfigError) as refused:
        Script.from_dict({"hed": "early", "rule": [{"fault": "x"}, {"fault": "cut", "afer": 1}]}, source="wall.toml")
    assert len(refused.value.problems) == 3
    assert str(refused.value).startswith("wall.toml: 3 problems")
