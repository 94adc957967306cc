"""The rung `static`: which prepared answer is given, when none is, and what its file must be like."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import world

from resilio.config import load_config
from resilio.config.faq import Faq, FaqAnswer, read_faq
from resilio.errors import ConfigError, DeadlineExceeded, Exhausted
from resilio.events import CallSettled
from resilio.faq import KeywordMatcher
from resilio.models import Level
from resilio.testing.faults import Error, Silence
from resilio.testing.script import Script

DOWN = Script.of(Error(status=503))
FAQ = """
[[answer]]
question = "How do I reset a password?"
answer = "Open Settings, Security, Reset."

[[answer]]
questions = ["How do I close an account?", "How can an account be deleted?"]
answer = "Write to us."
"""


@pytest.fixture
def ladder(tmp_path):
    (tmp_path / "faq.toml").write_text(FAQ)
    return {"ladder": ["full", {"static": str(tmp_path / "faq.toml")}]}


async def test_a_prepared_answer_is_given_when_nobody_else_answers_and_says_so(ladder):
    async with world(a=DOWN, route=ladder) as w:
        reply = await w.llm.complete("chat", "How do I reset the password?")
        assert (reply.text, reply.level, reply.label) == (
            "Open Settings, Security, Reset.",
            Level.STATIC,
            "prepared answer",
        )
        assert reply.complete
        assert (reply.finish_reason, reply.cost_usd, reply.usage.total_tokens) == ("stop", 0.0, 0)
        assert reply.target.startswith("static/")
        assert reply.reasons[0].startswith("full: ")
        assert reply.attempts
        event = next(each for each in w.events if isinstance(each, CallSettled))
        assert (event.level, event.final) == (Level.STATIC, "complete")
        w.assert_idle()


async def test_a_stream_gets_it_too(ladder):
    async with world(a=DOWN, route=ladder) as w, w.llm.stream("chat", "Can an account be deleted?") as stream:
        known = stream.request_id
        assert "".join([chunk.text async for chunk in stream]) == "Write to us."
    assert (stream.reply.level, stream.reply.complete) == (Level.STATIC, True)
    assert stream.reply.request_id == known


async def test_a_stream_that_is_left_early_is_settled_once(ladder):
    async with world(a=DOWN, route=ladder) as w:
        async with w.llm.stream("chat", "Can an account be deleted?") as stream:
            pass
        assert stream.reply.complete
        assert sum(isinstance(each, CallSettled) for each in w.events) == 1


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("What is photosynthesis?", "shares a word|is 0"),
        ("How do I reset a router?", "is 0.* of 0.6"),
        ("qwertz", "shares a word"),
    ],
)
async def test_a_question_none_was_prepared_for_gets_the_error_with_the_reason(ladder, question, why):
    async with world(a=DOWN, route=ladder) as w:
        with pytest.raises(Exhausted):
            await w.llm.complete("chat", question)
        event = next(each for each in w.events if isinstance(each, CallSettled))
        assert event.reasons[1].startswith("static (")


async def test_the_last_turn_is_what_counts_and_it_must_be_a_users_text(ladder):
    async with world(a=DOWN, route=ladder) as w:
        talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        part = [{"type": "text", "text": "How do I reset a password?"}]
        reply = await w.llm.complete("chat", [*talk, {"role": "user", "content": part}])
        assert reply.level is Level.STATIC
        picture = [*part, {"type": "image_url", "image_url": {"url": "http://x.test/y.png"}}]
        for last in (picture, [], 5):
            with pytest.raises(Exhausted):
                await w.llm.complete("chat", [*talk, {"role": "user", "content": last}])


async def test_it_is_open_to_a_call_whose_deadline_has_come(ladder):
    async with world(a=Script.of(Silence()), route=ladder) as w:
        began = w.now
        reply = await w.llm.complete("chat", "How do I reset a password?", deadline=2.0)
        assert reply.level is Level.STATIC
        assert w.now - began == pytest.approx(2.0)
        with pytest.raises(DeadlineExceeded):
            await w.llm.complete("chat", "Why?", deadline=2.0)


async def test_a_rung_says_what_its_answers_are_worth_and_how_well_they_must_fit(ladder, tmp_path):
    rung = {"static": str(tmp_path / "faq.toml"), "threshold": 0.2, "label": "from the handbook"}
    async with world(a=DOWN, route={"ladder": [{"full": True, "label": "fresh"}, rung]}) as w:
        assert (await w.llm.complete("chat", "password reset")).label == "from the handbook"
        w.providers["a"].script = Script()
        assert (await w.llm.complete("chat", "password reset")).label == "fresh"


async def test_what_a_prepared_answer_says_is_never_cached(ladder):
    async with world(a=DOWN, route=ladder, cache={"exact": {}}) as w:
        await w.llm.complete("chat", "How do I reset a password?")
        w.providers["a"].script = Script(answer="fresh")
        assert (await w.llm.complete("chat", "How do I reset a password?")).text == "fresh"


# --- files -------------------------------------------------------------------------------------


def written(tmp_path, text, name="faq.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_json_lines_hold_the_same(tmp_path):
    path = written(
        tmp_path,
        '{"question": "Why?", "answer": " Because. "}\n\n{"questions": ["A", "B"], "answer": "C"}\n',
        "faq.jsonl",
    )
    assert read_faq(path).answers == (FaqAnswer(("Why?",), "Because."), FaqAnswer(("A", "B"), "C"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[[answer]]\nquestion = "Why?"\nanswer = "A"\n\n[[answer]]\nquestion = "why"\nanswer = "B"',
            'line 5: question "why" stands at line 1',
        ),
        ('[[answer]]\nquestions = ["A", "a!"]\nanswer = "B"', "stands at the same answer already"),
        ('[[answer]]\nquestion = "Why?"\nanswer = " "', 'line 1: the answer to "Why?" is empty'),
        ('[[answer]]\nquestion = "Why?"', "the answer to"),
        ('[[answer]]\nquestion = "?!"\nanswer = "x"', "has no words"),
        ('[[answer]]\nanswer = "x"', "has no question"),
        ('[[answer]]\nquestion = "a"\nquestions = ["b"]\nanswer = "x"', "write one of them"),
        ('[[answer]]\nquestion = "a"\nanswr = "x"', 'unknown key "answr"; did you mean "answer"?'),
        ('[answers]\nx = 1', 'line 1: unknown section; did you mean "answer"?'),
        ("answer = 5", "expected an array of tables"),
        ("answer = [5]", "expected an object"),
        ("[[answer", "is not TOML"),
        ("", "holds no answers"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_its_line(tmp_path, text, said):
    with pytest.raises(ConfigError) as refused:
        read_faq(written(tmp_path, text))
    assert said in str(refused.value)


def test_every_problem_of_json_lines_is_found_in_one_run(tmp_path):
    path = written(tmp_path, '{"question": "a", "answer": ""}\nnot json\n[]\n', "faq.jsonl")
    with pytest.raises(ConfigError) as refused:
        read_faq(path)
    assert [line.split(":")[0] for line in refused.value.problems] == ["line 1", "line 2", "line 3"]


def test_its_problems_are_told_with_those_of_the_configuration(tmp_path):
    written(tmp_path, "[[answer]]\nquestion = 'a'\nanswer = ''")
    path = written(
        tmp_path,
        "[[provider]]\nname = 'a'\nkind = 'openai'\nbase_url = 'http://a.test/v1'\nmodels.m = {}\n"
        "[route.chat]\ntargets = ['a/m']\nladder = ['full', { static = 'faq.toml' }]\n",
        "resilio.toml",
    )
    with pytest.raises(ConfigError, match=r"line 8: route.chat.ladder\[1\]: faq.toml: line 1: the answer to"):
        load_config(path)


# --- words -------------------------------------------------------------------------------------

WORDS = st.text(st.sampled_from("abc "), min_size=1, max_size=12).filter(str.strip)


@given(st.lists(WORDS, min_size=1, max_size=6, unique_by=lambda text: " ".join(text.split())), WORDS)
def test_fits_lie_between_0_and_1_and_the_same_words_fit_best(questions, asked):
    matcher = KeywordMatcher(Faq("x", tuple(FaqAnswer((question,), question) for question in questions)))
    for match in matcher.best(asked):
        assert 0 < match.score <= 1 + 1e-9
    for question in questions:
        best = matcher.best(question)[0]
        assert best.score == pytest.approx(1.0)
        assert sorted(best.question.split()) == sorted(question.split())


def test_rare_words_decide():
    faq = Faq(
        "x", tuple(FaqAnswer((f"How do I {what} the device?",), what) for what in ("charge", "reset", "clean", "open"))
    )
    assert KeywordMatcher(faq).best("device reset")[0].answer.answer == "reset"


async def test_many_calls_at_once_share_one_matcher(ladder):
    async with world(a=DOWN, route=ladder) as w:
        replies = await asyncio.gather(*(w.llm.complete("chat", "How do I reset a password?") for _ in range(20)))
        assert {reply.text for reply in replies} == {"Open Settings, Security, Reset."}
