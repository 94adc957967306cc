"""What parts a request into its question and its partition: only the text of the last turn is compared by meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.cache import CacheControl
from resilio.cache.keys import question
from resilio.cache.semantic import place_of, trusted
from resilio.cache.wording import bound_by
from resilio.config.settings import NamespaceSettings, SemanticCacheSettings
from resilio.models import Identity, Request

SYSTEM = {"role": "system", "content": "You are terse."}
BEFORE = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."})
SETTINGS = SemanticCacheSettings(
    namespaces={"faq": NamespaceSettings(shared=True)}, trusted=("program", "user:root", "key:ops", "feature:seeding")
)
ANN, BOB = Identity(user="ann", organisation="acme"), Identity(user="bob", organisation="acme")


def request(text="What is the capital of France?", *, before=(), identity=ANN, route="chat", **wire):
    return Request(route, [*before, {"role": "user", "content": text}], wire, identity)


def parted(given, **how):
    return question(given, "print", **{"stream": False, **how})


def partition(given, **how):
    return parted(given, **how).partition


# --- what is compared --------------------------------------------------------------------------


def test_two_wordings_of_the_last_turn_share_a_partition():
    one, other = parted(request("What is the capital of France?")), parted(request("  France's capital, please \n"))
    assert one.partition == other.partition
    assert (one.text, other.text) == ("What is the capital of France?", "France's capital, please")


@pytest.mark.parametrize(
    "other",
    [
        request(before=[SYSTEM]),
        request(before=BEFORE),
        request(before=[BEFORE[0], {"role": "assistant", "content": "Hi!"}]),
        request(identity=BOB),
        request(identity=Identity(user="ann", organisation="umbrella")),
        request(identity=Identity(user="ann", key="ops")),
        request(identity=Identity(organisation="acme")),
        request(route="small"),
        request(temperature=0.2),
        request(max_tokens=5),
        request(tools=[{"type": "function", "function": {"name": "look_up"}}]),
        request(response_format={"type": "json_object"}),
        request(something_new=1),
    ],
    ids=["system", "earlier", "one letter", "user", "tenant", "key", "no user", "route", "temperature", "length",
         "tools", "format", "unknown field"],
)  # fmt: skip
def test_everything_else_must_be_identical(other):
    assert partition(request(before=[])) != partition(other)


def test_fingerprint_and_namespace_part_too():
    mine = request()
    assert partition(mine) != question(mine, "another", stream=False).partition
    assert partition(mine) != partition(mine, namespace=("v2", ""))
    assert partition(mine, namespace=("a", "b")) != partition(mine, namespace=("ab", ""))


def test_a_shared_namespace_leaves_the_user_out_and_nothing_else():
    assert partition(request(), shared=True) == partition(request(identity=BOB), shared=True)
    assert partition(request(), shared=True) != partition(request(), shared=False)
    other = request(identity=Identity(user="ann", organisation="umbrella"))
    assert partition(request(), shared=True) != partition(other, shared=True)


def test_no_user_can_be_named_so_that_the_partition_of_no_user_is_theirs():
    for name in ("", "shared", "[]", "null", "None"):
        named = request(identity=Identity(user=name, organisation="acme"))
        assert partition(named) != partition(request(identity=Identity(organisation="acme")))
        assert partition(named) != partition(named, shared=True)


def picture(url="data:image/png;base64,AAAA"):
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_a_user_that_only_the_provider_is_told_of_is_kept_apart_too(field):
    def told(name, **how):
        return partition(request(identity=Identity(organisation="acme"), **{field: name}), **how)

    assert len({told("ann"), told("bob"), told("")}) == 3
    assert told("ann") != partition(request(identity=Identity(organisation="acme")))
    assert told("ann", shared=True) == told("bob", shared=True)
    assert partition(request()) == partition(request(**{field: "ann"})), "known as the same to us"


def test_beside_the_text_of_a_turn_pictures_must_be_identical():
    asked = [{"type": "text", "text": "What is this?"}, picture()]
    reworded = [{"type": "text", "text": "What do you see?"}, picture()]
    elsewhere = [picture(), {"type": "text", "text": "What is this?"}]
    assert partition(request(asked)) == partition(request(reworded))
    assert parted(request(asked)).text == "What is this?"
    assert partition(request(asked)) != partition(request([asked[0], picture("http://x.test/y.png")]))
    assert partition(request(asked)) != partition(request(elsewhere))
    assert partition(request(asked)) != partition(request("What is this?"))


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "I"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": " \n "}],
        [{"role": "user", "content": None}],
        [{"role": "user"}],
        [{"role": "user", "content": [picture()]}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1", "content": "5"}],
        [{"role": "user", "content": "x", "odd": float("nan")}],
        [{"role": "user", "content": "x", "odd": object()}],
    ],
)
def test_what_has_no_one_question_is_not_compared(messages):
    assert question(Request("chat", messages), "print", stream=False) is None


def test_several_choices_are_not_compared():
    assert parted(request(n=2)) is None
    assert partition(request(n=1)) == partition(request())


def test_a_stream_and_a_whole_answer_part_only_where_raw_may_matter():
    assert partition(request(), stream=True) == partition(request(), stream=False)
    assert partition(request(logprobs=True), stream=True) != partition(request(logprobs=True), stream=False)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8).filter(str.strip)
TURNS = st.lists(st.builds(lambda role, content: {"role": role, "content": content},
                           st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=3)  # fmt: skip
NAMES = st.none() | st.text("ab", max_size=2)


@given(
    *(st.tuples(TURNS, NAMES, NAMES, st.dictionaries(st.sampled_from(["top_p", "odd"]), TEXTS)) for _ in range(2)),
    TEXTS, TEXTS,
)  # fmt: skip
def test_requests_share_a_partition_exactly_where_all_but_the_last_text_is_equal(one, other, text, reworded):
    def made(parts, text):
        before, user, organisation, wire = parts
        return request(text, before=before, identity=Identity(user=user, organisation=organisation), **wire)

    assert partition(made(one, text)) == partition(made(one, reworded))
    assert (partition(made(one, text)) == partition(made(other, reworded))) == (one == other)


# --- who looks, and who stores -----------------------------------------------------------------


def place(given, control=None, settings=SETTINGS):
    return place_of(given, "print", control or CacheControl(), settings, stream=False)


@pytest.mark.parametrize(
    ("given", "control"),
    [
        (request(temperature=0.31), None),
        (request("What is the weather in Oslo?"), None),
        (request("Where is my order?"), None),
        (request(), CacheControl(answers=2)),
        (request("why " * 2100), None),
        (request("why " * 5000), None),
    ],
    ids=["temperature", "time", "user", "variety", "long", "very long"],
)
def test_what_would_not_hold_for_others_or_later_has_no_place(given, control):
    assert place(given, control) is None


def test_a_low_temperature_or_none_has_a_place():
    assert place(request(temperature=0.3)) is not None
    assert place(request(temperature=0)) is not None
    assert place(request()).owner == (("organisation", "acme"), "ann", "", {})


def test_questions_about_whoever_asks_may_be_stored_on_demand():
    assert place(request("Where is my order?"), settings=SemanticCacheSettings(user_bound="store")) is not None
    assert place(request("Where is it today?"), settings=SemanticCacheSettings(user_bound="store")) is None


@pytest.mark.parametrize(
    ("identity", "known"),
    [
        (Identity(), True),
        (Identity(organisation="acme"), True),
        (Identity(user="ann"), False),
        (Identity(user="root"), True),
        (Identity(key="ops"), True),
        (Identity(key="web"), False),
        (Identity(user="ops"), False),
        (Identity(user="ann", feature="seeding"), True),
        (Identity(user="program"), False),
        (Identity(user="", key=""), False),
    ],
)
def test_trusted_principals_alone_store_in_a_shared_namespace(identity, known):
    faq = CacheControl(namespace="faq")
    assert trusted(identity, SETTINGS.trusted) == known
    assert place(request(identity=identity), faq).may_store == known
    assert place(request(identity=identity), faq).trusted == known
    assert place(request(identity=identity)).may_store, "a namespace of one's own is one's own"


# --- wording -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("What's today\u2019s date?", ("time", "today's")),
        ("What is the LATEST version of Python?", ("time", "latest")),
        ("Who won last   night?", ("time", "last night")),
        ("Wie wird das Wetter?", ("time", "wetter")),
        ("What is my balance?", ("user", "my")),
        ("Do I have any refunds?", ("user", "do i have")),
        ("¿Dónde está mi pedido?", ("user", "mi")),
        ("How do I boil an egg?", None),
        ("What is a mineral?", None),
        ("Explain the Myanmar calendar", None),
        ("Who knows newspapers?", None),
        ("", None),
    ],
)
def test_wording_that_ties_an_answer_down_is_found_as_whole_words(text, bound):
    assert bound_by(text) == bound


@given(st.text())
def test_no_text_confuses_it(text):
    bound_by(text)
    assert bound_by(f"{text} today")[0] == "time"
