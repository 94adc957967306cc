"""Which rule applies: the first one; and which never can: those that earlier ones leave nothing to."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from resilio.config import Condition, RuleSettings
from resilio.config.rules import shadows
from resilio.models import Identity
from resilio.rules import first_match

ROUTES = ("chat", "code")
some = st.none() | st.sampled_from(["x", "y"])
size = st.none() | st.integers(1, 5)


@st.composite
def conditions(draw):
    low, high = draw(size), draw(size)
    if low is not None and high is not None and low > high:
        low, high = high, low
    tags = draw(st.dictionaries(st.sampled_from(["tier", "team"]), st.sampled_from(["x", "y"]), max_size=2))
    return Condition(tags=tags, user=draw(some), feature=draw(some), min_input_tokens=low, max_input_tokens=high)


rules = st.builds(
    RuleSettings,
    use=st.sampled_from(ROUTES),
    routes=st.lists(st.sampled_from(ROUTES), unique=True, max_size=2).map(tuple),
    when=conditions(),
)
asked = st.tuples(st.sampled_from(ROUTES), some, some, some, some, st.integers(1, 6))


def identity(user, feature, tier, team):
    tags = {name: value for name, value in (("tier", tier), ("team", team)) if value is not None}
    return Identity(user=user, feature=feature, tags=tags)


def applies(rule, route, who, tokens):
    """Word for word what the settings say."""
    when = rule.when
    return all([
        rule.routes == () or route in rule.routes,
        when.user is None or when.user == who.user,
        when.organisation is None or when.organisation == who.organisation,
        when.feature is None or when.feature == who.feature,
        set(when.tags.items()) <= set(who.tags.items()),
        when.min_input_tokens is None or tokens >= when.min_input_tokens,
        when.max_input_tokens is None or tokens <= when.max_input_tokens,
    ])  # fmt: skip


@given(st.lists(rules, max_size=6), asked)
def test_the_first_rule_that_applies_wins(all_rules, call):
    route, user, feature, tier, team, tokens = call
    who = identity(user, feature, tier, team)
    naive = next((rule for rule in all_rules if applies(rule, route, who, tokens)), None)
    assert first_match(all_rules, route, who, lambda: tokens) is naive


# "z" stands for every value no rule names, 6 for every size above those they name.
EVERY_CALL = [
    (route, identity(user, feature, tier, team), tokens)
    for route, user, feature, tier, team, tokens in product(ROUTES, "xyz", "xyz", "xyz", "xyz", range(1, 7))
]


@given(st.lists(rules, min_size=1, max_size=5))
def test_a_rule_is_shadowed_just_when_no_call_is_left_to_it(all_rules):
    last = len(all_rules) - 1
    left = any(
        applies(all_rules[last], *call) and not any(applies(rule, *call) for rule in all_rules[:last])
        for call in EVERY_CALL
    )
    assert bool(shadows(all_rules, last, ROUTES)) is not left


@given(st.lists(st.builds(Condition, min_input_tokens=size, max_input_tokens=size), min_size=2, max_size=5))
def test_sizes_that_leave_a_gap_leave_calls_to_a_later_rule(whens):
    all_rules = [RuleSettings(use="chat", when=when) for when in whens]
    last = len(all_rules) - 1
    left = any(
        applies(all_rules[last], "chat", Identity(), tokens)
        and not any(applies(rule, "chat", Identity(), tokens) for rule in all_rules[:last])
        for tokens in range(1, 7)
    )
    possible = (whens[last].min_input_tokens or 1) <= (whens[last].max_input_tokens or 6)
    assert not possible or bool(shadows(all_rules, last, ROUTES)) is not left


@given(st.lists(rules, min_size=2, max_size=5))
def test_those_said_to_shadow_a_rule_are_enough_to_do_so(all_rules):
    last = len(all_rules) - 1
    found = shadows(all_rules, last, ROUTES)
    named = [all_rules[index] for index in found] + [all_rules[last]]
    assert not found or shadows(named, len(found), ROUTES)


def never_measured():
    raise AssertionError("the prompt was measured for nothing")


def test_the_prompt_is_measured_once_and_only_where_a_rule_depends_on_it():
    small = RuleSettings(use="code", when=Condition(max_input_tokens=5, user="x"))
    large = RuleSettings(use="code", when=Condition(min_input_tokens=9))
    measured = []
    assert first_match([small], "chat", Identity(user="y"), never_measured) is None
    assert first_match([small, large], "chat", Identity(user="x"), lambda: measured.append(1) or 7) is None
    assert measured == [1]


def test_two_rules_that_share_the_sizes_between_them_shadow_a_third():
    short = RuleSettings(use="code", when=Condition(max_input_tokens=4))
    long = RuleSettings(use="code", when=Condition(min_input_tokens=5))
    anyone = RuleSettings(use="code", when=Condition(user="x"))
    assert shadows([short, long, anyone], 2, ROUTES) == [0, 1]
    assert shadows([short, anyone], 1, ROUTES) == []
    longer = RuleSettings(use="code", when=Condition(min_input_tokens=6))
    assert shadows([short, longer, anyone], 2, ROUTES) == []  # 5 is left
