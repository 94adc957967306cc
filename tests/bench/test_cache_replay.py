"""Replays: a log is read strictly, played in its own time, and each cache does with it what it does live."""

import itertools
import json
import math

import numpy as np
import pytest

from resilio.bench.replay import Kind, Logged, Plan, Replay, classroom_log, read_log, write_log
from resilio.bench.replay.engine import play_configuration
from resilio.bench.replay.shelf import Shelf, Similarities
from resilio.cache.bound import NOTHING_NEAR, Terms
from resilio.cache.embedding.hashing import HashingEmbedder
from resilio.config import load_config
from resilio.errors import ConfigError


def asked(at, text, intent="x", *, user="", tenant="", history="", latency=1.0, answer=""):
    return Logged(float(at), text, intent, answer, latency, 0.01, user, tenant, history)


async def never(question, kept, fresh):
    raise AssertionError("nobody should have been asked")


async def prepared(*log, agreement=never):
    return await Replay.prepare(log, HashingEmbedder(), agreement)


def kinds(run):
    return [served.kind for served in run.served]


NEAR = Plan("near", 0.5, shared=True)


# --- the time of the log -------------------------------------------------------------------------


async def test_an_answer_is_there_when_the_model_has_given_it():
    replay = await prepared(
        asked(0, "what is osmosis"),
        asked(0.25, "what is osmosis"),  # on its way
        asked(0.5, "please what is osmosis"),  # near, but there is no answer yet
        asked(2, "and what is osmosis"),
        asked(3, "what is osmosis"),
    )
    run = await replay.play(NEAR)
    assert kinds(run) == [Kind.MISS, Kind.SHARED, Kind.MISS, Kind.NEAR, Kind.EXACT]
    assert [served.latency for served in run.served][:3] == [1.0, 0.75, 1.0]
    assert run.served[4].latency == 0
    assert run.spent_usd == pytest.approx(0.02)
    assert (run.hits, run.hit_rate, run.wrong) == (3, 0.6, 0)


async def test_an_answer_is_served_for_its_time():
    log = [asked(at, text) for at, text in ((0, "what is osmosis"), (9, "so what is osmosis"), (12, "what is osmosis"))]
    replay = await prepared(*log)
    assert kinds(await replay.play(Plan("", 0.5, shared=True, ttl=10))) == [Kind.MISS, Kind.NEAR, Kind.MISS]
    assert kinds(await replay.play(Plan("", 0.5, shared=True))) == [Kind.MISS, Kind.NEAR, Kind.EXACT]


async def test_only_what_is_near_enough_is_served_and_what_is_not_the_same_is_wrong():
    replay = await prepared(
        asked(0, "tell me about the water cycle", "cycle"),
        asked(5, "please tell me about the water cycle", "cycle"),
        asked(10, "tell me about the water cycle engine", "engine"),
        asked(15, "who wrote hamlet", "hamlet"),
    )
    run = await replay.play(Plan("", 0.8, shared=True))
    assert kinds(run) == [Kind.MISS, Kind.NEAR, Kind.NEAR, Kind.MISS]
    assert [served.wrong for served in run.served] == [False, False, True, False]
    assert (run.wrong, run.wrong_per_near_hit) == (1, 0.5)
    assert kinds(await replay.play(Plan("", 0.999, shared=True))) == [Kind.MISS] * 4
    alone = await replay.play(Plan("exact alone"))
    assert (kinds(alone), alone.near_latency, alone.wrong_per_near_hit) == ([Kind.MISS] * 4, None, None)


async def test_what_the_exact_cache_got_wrong_is_no_wrong_hit_by_meaning():
    replay = await prepared(
        asked(0, "tell me about the water cycle", "cycle"),
        asked(5, "please tell me about the water cycle", "cycle"),
        asked(10, "tell me about the water cycle", "cycle, another answer by now"),
    )
    run = await replay.play(Plan("", 0.8, shared=True))
    assert kinds(run) == [Kind.MISS, Kind.NEAR, Kind.EXACT]
    assert (run.wrong, run.wrong_per_near_hit) == (1, 0.0)


async def test_what_a_guard_refuses_makes_room_for_the_next_nearest():
    replay = await prepared(
        asked(0, "how do I open the door", "open"),
        asked(5, "how do I not open the door", "not"),
        asked(10, "how do I then open the door", "open"),
    )
    run = await replay.play(NEAR)
    assert kinds(run) == [Kind.MISS, Kind.MISS, Kind.NEAR]
    assert run.wrong == 0


async def test_tenants_histories_and_users_are_kept_apart():
    log = [
        asked(0, "what is osmosis", user="ann", tenant="acme"),
        asked(5, "oh what is osmosis", user="bob", tenant="acme"),
        asked(10, "so what is osmosis", user="ann", tenant="acme"),
        asked(15, "now what is osmosis", user="ann", tenant="other"),
        asked(20, "what is osmosis", user="ann", tenant="acme", history="f00"),
    ]
    replay = await prepared(*log)
    assert kinds(await replay.play(Plan("", 0.5))) == [Kind.MISS, Kind.MISS, Kind.NEAR, Kind.MISS, Kind.MISS]
    assert kinds(await replay.play(NEAR)) == [Kind.MISS, Kind.NEAR, Kind.NEAR, Kind.MISS, Kind.MISS]


async def test_without_an_intent_answers_are_compared_each_pair_once():
    compared = []

    async def agreement(question, kept, fresh):
        compared.append((question, kept, fresh))
        return kept == fresh

    log = [
        asked(0, "what is osmosis", None, answer="water moves"),
        asked(5, "oh what is osmosis", None, answer="water moves"),
        asked(10, "so what is osmosis", None, answer="a river"),
    ]
    replay = await prepared(*log, agreement=agreement)
    for _ in range(2):
        run = await replay.play(NEAR)
        assert [served.wrong for served in run.served] == [False, False, True]
    assert compared == [
        ("oh what is osmosis", "water moves", "water moves"), ("so what is osmosis", "water moves", "a river")
    ]  # fmt: skip


# --- guaranteed mode -----------------------------------------------------------------------------


def questions(count, intent=lambda number: "x", start=0):
    """Questions that are all near each other, and never the same."""
    return [asked(2 * (start + number), f"what is osmosis dear {WORDS[(start + number) % 26] * 3}", intent(number))
            for number in range(count)]  # fmt: skip


WORDS = "abcdefghijklmnopqrstuvwxyz"
FIVE = Plan("guaranteed", terms=Terms(max_wrong=0.05), shared=True, exact=False)


async def test_everything_is_audited_until_there_is_evidence_and_then_a_tenth():
    run = await (await prepared(*questions(1000))).play(FIVE, seed=3)
    assert set(kinds(run)[:125]) == {Kind.AUDIT}
    assert [(number, change.before, change.after) for number, change in run.changes] == [(124, None, 0.6)]
    after = kinds(run)[125:]
    assert 50 < after.count(Kind.AUDIT) < 130
    assert after.count(Kind.NEAR) == len(after) - after.count(Kind.AUDIT)
    assert run.bound.audits == run.count(Kind.AUDIT)
    assert run.wrong == 0


async def test_an_audited_answer_that_agrees_is_not_kept_a_second_time():
    run = await (await prepared(*questions(26))).play(FIVE)
    nearest = [served.similarity for served in run.served]
    assert nearest[0] == NOTHING_NEAR
    # Only the first was kept: nobody finds the one that asked just before.
    assert max(nearest[1:]) < 0.999


async def test_an_audited_entry_that_disagrees_goes_and_the_fresh_answer_stands_in_its_place():
    log = [
        asked(0, "what is osmosis", "old"),
        asked(5, "oh what is osmosis", "new"),
        asked(10, "what is osmosis", "new"),
    ]
    run = await (await prepared(*log)).play(FIVE)
    assert run.bound.disagreements == 1
    assert run.served[2].similarity < 0.999  # the entry of the very same text has gone
    assert run.wrong == 0  # audited requests get the fresh answer


async def test_when_the_answer_changes_the_threshold_is_dropped_and_opens_again():
    log = questions(1500) + questions(6000, lambda number: str(number % 5), start=1500)
    log += questions(1500, start=7500)
    run = await (await prepared(*log)).play(FIVE, seed=1)
    dropped = [number for number, change in run.changes if change.after is None]
    assert 1500 <= dropped[0] < 3000
    assert run.wrong / len(log) < 0.05


async def test_the_same_seed_gives_the_same_run():
    replay = await prepared(*questions(600))

    async def played(seed):
        return [(served.kind, served.similarity, served.wrong) for served in (await replay.play(FIVE, seed)).served]

    assert await played(1) == await played(1) != await played(2)
    assert [each[0] for each in await played(1)] == kinds(await replay.on(replay.log).play(FIVE, 1))


# --- a whole configuration -----------------------------------------------------------------------

CONFIG = {
    "provider": [{"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "models": {"m": {}}}],
    "route": {"chat": {"targets": ["p/m"], "deadline": 30}},
    "cache": {"exact": {}, "semantic": {"embedder": "hashing", "profile": "safety"}},
}


def configured(**semantic):
    cache = {"exact": {}, "semantic": {"embedder": "hashing", **semantic}}
    return load_config(CONFIG | {"cache": cache})


def test_the_engine_serves_a_log_as_it_would_have_served_the_calls():
    log = [
        asked(0, "what is osmosis in a cell", latency=2),
        asked(1, "what is osmosis in a cell", latency=9),  # joins the one under way
        asked(5, "What is osmosis in a cell?", latency=3),
        asked(9, "what is osmosis in a cell"),
        asked(12, "who wrote the play hamlet", "hamlet", latency=4),
        asked(20, "who wrote the play hamlet", "hamlet", latency=40, history="f00"),  # past the deadline
    ]
    run = play_configuration(configured(profile="safety"), log, "chat", shared=True)
    assert kinds(run) == [Kind.MISS, Kind.SHARED, Kind.NEAR, Kind.EXACT, Kind.MISS, Kind.FAILED]
    assert [round(run.served[number].latency, 3) for number in (0, 1, 3, 4)] == [2, 1, 0, 4]
    assert run.spent_usd == pytest.approx(0.02)
    assert (run.wrong, run.hits) == (0, 3)


def test_the_engine_keeps_users_apart_and_out_what_its_configuration_keeps_out():
    log = [
        asked(0, "what is osmosis in a cell", user="ann"),
        asked(5, "What is osmosis in a cell?", user="bob"),
        asked(10, "what is the weather today", user="ann"),
        asked(15, "What is the weather today?", user="ann"),
    ]
    config = configured(profile="safety")
    assert kinds(play_configuration(config, log, "chat")) == [Kind.MISS] * 4
    assert kinds(play_configuration(config, log, "chat", shared=True)) == [Kind.MISS, Kind.NEAR, Kind.MISS, Kind.MISS]


def test_an_answer_that_is_not_its_own_is_told_also_when_the_whole_engine_serves_it():
    log = [asked(0, "what is osmosis in a cell", "old"), asked(5, "What is osmosis in a cell?", "new")]
    run = play_configuration(configured(profile="safety"), log, "chat", shared=True)
    assert [(served.kind, served.wrong) for served in run.served] == [(Kind.MISS, False), (Kind.NEAR, True)]


def test_guaranteed_mode_of_the_engine_opens_after_as_many_audits_as_in_a_replay():
    log = questions(300)
    config = load_config(CONFIG | {"cache": {"semantic": {"embedder": "hashing", "max_wrong": 0.05}}})
    run = play_configuration(config, log, "chat", shared=True, seed=3)
    assert [(change.before, change.after) for _, change in run.changes] == [(None, 0.6)]
    assert run.changes[0][0] in (124, 125)
    assert run.bound.threshold == 0.6
    assert set(kinds(run)[:125]) == {Kind.MISS}
    assert kinds(run)[126:].count(Kind.NEAR) > 130
    assert run.wrong == 0


# --- the shelf -----------------------------------------------------------------------------------


def test_a_shelf_finds_what_a_plain_search_finds(rng):
    vectors = np.random.default_rng(7).normal(size=(60, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities, shelf, kept = Similarities(vectors), Shelf(), {}
    for step in range(800):
        text = rng.randrange(60)
        if rng.random() < 0.6:
            since, until = step + rng.choice([0, 5]), step + rng.choice([8, 100, math.inf])
            shelf.put(text, step, since, until)
            kept[text] = step, since, until
        else:
            shelf.remove(text)
            kept.pop(text, None)
        probe, floor = rng.randrange(60), rng.uniform(-1, 1)
        row = similarities.row(probe)
        due = sorted(
            ((float(row[each]), each, number) for each, (number, since, until) in kept.items()
             if since <= step < until and row[each] >= floor),
            reverse=True,
        )  # fmt: skip
        assert sorted(shelf.nearest(row, step, floor, 4), reverse=True) == due[:4]
        assert len(shelf) == len(kept)
        held = kept.get(probe)
        assert shelf.get(probe, step) == (None if held is None or held[2] <= step else held[:2])


# --- logs ----------------------------------------------------------------------------------------


def written(tmp_path, *lines):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return path


def test_a_log_is_read_and_put_in_order(tmp_path):
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "and now?"}]
    path = written(
        tmp_path,
        {"at": 7, "text": "a", "intent": 3, "latency": 2, "cost_usd": 0.5, "user": "ann", "tenant": "acme"},
        "",
        {"messages": turns, "answer": "yes", "organisation": "acme"},
        {"messages": turns[1:], "answer": "yes"},
        {"at": 0, "messages": [{"content": "s", "role": "system"}, turns[1]], "answer": "yes"},
    )
    log = read_log(path, latency=0.7, cost_usd=0.2)
    assert [each.at for each in log] == [0, 1, 2, 7]
    assert log[3] == Logged(7.0, "a", "3", "", 2.0, 0.5, "ann", "acme", "")
    assert (log[1].text, log[1].intent, log[1].answer) == ("and now?", None, "yes")
    assert (log[1].latency, log[1].cost_usd, log[1].tenant) == (0.7, 0.2, "acme")
    # The order of fields is no difference of histories, and having none is another history.
    assert log[0].history == log[1].history != log[2].history == ""


def test_lines_that_are_no_request_are_listed(tmp_path):
    bad = [
        "{", [], {"intent": "x"}, {"text": " ", "intent": "x"}, {"text": "a"}, {"text": "a", "answer": " "},
        {"messages": [], "intent": "x"}, {"messages": [{"role": "assistant", "content": "a"}], "intent": "x"},
        {"messages": [{"role": "user", "content": ["a"]}], "intent": "x"}, {"text": "a", "intent": "x", "at": -1},
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        read_log(written(tmp_path, *bad))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [f"line {number}" for number in range(1, 11)]
    with pytest.raises(ConfigError, match="and 1 more"):
        read_log(written(tmp_path, *bad, {"text": "a", "intent": "x", "latency": "soon"}))
    with pytest.raises(ConfigError, match="no requests"):
        read_log(written(tmp_path, ""))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_log(tmp_path / "nowhere")


def test_a_log_that_was_written_is_read_again(tmp_path):
    log = classroom_log(50)
    write_log(tmp_path / "log.jsonl", log)
    assert read_log(tmp_path / "log.jsonl") == log
    with pytest.raises(ConfigError, match="cannot be written"):
        write_log(tmp_path / "no" / "log.jsonl", log)


# --- the class -----------------------------------------------------------------------------------


def test_a_class_asks_each_question_in_three_wordings():
    log = classroom_log()
    assert len(log) == len({each.text for each in log}) == 330
    assert len({each.intent for each in log}) == 110
    assert log == classroom_log() != classroom_log(seed=1)
    assert {each.latency for each in log} == {1.2}


def test_a_class_asks_some_questions_far_more_often():
    log = classroom_log(4000)
    counts = sorted(
        (sum(each.intent == intent for each in log) for intent in {each.intent for each in log}), reverse=True
    )
    assert len(log) == 4000
    assert counts[0] > 5 * counts[len(counts) // 2]
    assert all(one.at <= other.at for one, other in itertools.pairwise(log))
