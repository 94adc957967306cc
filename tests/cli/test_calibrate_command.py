"""`resilio calibrate` and `resilio cache`: what they print, write and return."""

import json

import pytest

from resilio.cache.calibration import load_calibration
from resilio.cache.embedding.base import Profile
from resilio.cli import main
from resilio.testing import SimulatedProvider

PNG = b"\x89PNG\r\n\x1a\n"
HASHING = ["--embedder", "hashing"]


@pytest.fixture
def pairs(tmp_path):
    """Writes a set: paraphrases that are near for any embedder, and differences of two kinds."""

    def write(same, traps=0, others=0):
        rows = [{"a": f"what is thing {word(n)}", "b": f"so what is thing {word(n)}", "same": 1} for n in range(same)]
        rows += [{"a": f"is {word(n)} the right one", "b": f"so is {word(n)} the right one", "same": 0, "kind": "trap"}
                 for n in range(traps)]  # fmt: skip
        rows += [
            {"a": f"what is thing {word(n)}", "b": "sing a song", "same": 0, "kind": "other"} for n in range(others)
        ]
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def word(number):
    return "".join("bcdfghjklm"[int(digit)] + "aeiou"[int(digit) % 5] for digit in f"{number:04}")


def test_people_get_a_table_and_a_threshold_for_each_limit(pairs, capsys):
    assert main(["calibrate", pairs(160, traps=1, others=100), *HASHING]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "160 pairs with the same answer, 101 without; embedder hashing-3-grams-256"
    assert lines[2].split()[:5] == ["threshold", "hits", "wrong", "precision", "recall"]
    assert [line.split()[0] for line in lines[3:10]] == ["0.97", "0.95", "0.92", "0.90", "0.87", "0.85", "0.80"]
    found, _, missing = lines[-3:]
    assert found.startswith("at most 0.05 wrong per hit: threshold 0.")
    assert "1 wrong of 161 hits" in found
    assert missing == "at most 0.01 wrong per hit: not enough data, 161 hits at most and 299 needed without one wrong"


def test_on_forty_pairs_there_is_not_enough_data(pairs, capsys):
    assert main(["calibrate", pairs(20, others=20), *HASHING]) == 0
    assert capsys.readouterr().out.count("not enough data") == 3


def test_json_has_the_whole_grid_with_and_without_guards(pairs, capsys):
    path = pairs(100, traps=30)
    assert main(["calibrate", path, *HASHING, "--max-wrong", "0.05", "--json", "--confidence", "0.9"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["same"], found["confidence"]) == (130, 100, 0.9)
    assert [row["threshold"] for row in found["thresholds"]] == [round(0.99 - 0.01 * n, 2) for n in range(40)]
    loosest = found["thresholds"][-1]
    assert (loosest["bare"]["hits"], loosest["bare"]["wrong"]) == (130, 30)
    (recommended,) = found["recommended"]
    assert (recommended["outcome"], recommended["threshold"]) == ("too many wrong", None)
    assert found["kinds"]["0.8"]["trap"][0] == 30


def test_a_threshold_is_written_and_others_are_kept(pairs, tmp_path, capsys):
    kept = tmp_path / "calibration.toml"
    write = ["calibrate", pairs(160, others=10), *HASHING, "--write", str(kept)]
    assert main([*write, "--max-wrong", "0.02"]) == 0
    assert main([*write, "--max-wrong", "0.05", "--profile", "faq", "--strict"]) == 0
    found = load_calibration(kept)
    assert found.embedder == "hashing-3-grams-256"
    assert {name: profile.strict for name, profile in found.profiles.items()} == {
        "safety": True, "default": False, "faq": True
    }  # fmt: skip
    assert found.profiles["safety"] == Profile(0.97, strict=True)
    assert found.lowest < 0.97
    before = kept.read_text()
    assert main([*write, "--max-wrong", "0.01"]) == 1
    assert "nothing written: not enough data" in capsys.readouterr().err
    assert kept.read_text() == before


def test_a_file_about_another_embedder_is_left_alone(pairs, tmp_path, capsys):
    kept = tmp_path / "calibration.toml"
    write = ["calibrate", pairs(160, others=1), *HASHING, "--max-wrong", "0.02", "--write", str(kept)]
    assert main(write) == 0
    kept.write_text(kept.read_text().replace("hashing", "another"))
    before = kept.read_text()
    assert main(write) == 2
    assert "is about embedder 'another" in capsys.readouterr().err
    assert kept.read_text() == before


def test_what_does_not_go_together_or_cannot_be_drawn_is_said_before_anything_is_measured(tmp_path, capsys):
    nowhere = str(tmp_path / "nowhere.jsonl")
    assert main(["calibrate", nowhere, "--write", "c.toml"]) == 2
    assert "--write keeps one threshold" in capsys.readouterr().err
    assert main(["calibrate", nowhere, "--plot", "c.gif"]) == 1
    assert main(["calibrate", nowhere]) == 2
    assert "cannot be read" in capsys.readouterr().err
    for wrong in ("0", "1", "nan", "0.05,"):
        with pytest.raises(SystemExit):
            main(["calibrate", "--max-wrong", wrong])


def test_a_calibration_is_drawn(pairs, tmp_path):
    picture = tmp_path / "c.png"
    assert main(["calibrate", pairs(70, traps=5, others=30), *HASHING, "--plot", str(picture), "--json"]) == 0
    assert picture.read_bytes().startswith(PNG)


def test_the_embedder_of_a_configuration_is_measured_over_its_route(pairs, serving, tmp_path, capsys):
    provider = SimulatedProvider(dimensions=48)
    config = tmp_path / "resilio.toml"
    config.write_text(
        f'[[provider]]\nname = "p"\nkind = "openai"\nbase_url = "{serving(provider).url}"\n'
        'models.embedding-1 = { capabilities = ["embeddings"] }\n[route.vectors]\ntargets = ["p/embedding-1"]\n'
        '[cache.semantic]\nembedder = "route:vectors"\nembedder_dimension = 48\nprofile = "safety"\n'
    )
    path = pairs(20, others=5)
    assert main(["calibrate", path, "--config", str(config), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["embedder"].endswith("-48")
    assert {seen.path.rpartition("/")[2] for seen in provider.log} == {"embeddings"}
    assert sum(len(seen.body["input"]) for seen in provider.log) == 41
    assert main(["cache", "evaluate", path, "--config", str(config), "--max-wrong", "0.05"]) == 2
    assert "not enough data" in capsys.readouterr().out
    # A replay simulates its providers, and simulated vectors mean nothing.
    assert main(["cache", "replay", "--requests", "5", *HASHING, "--config", str(config), "--route", "vectors"]) == 2
    assert "cannot be played" in capsys.readouterr().err


def test_a_configuration_without_a_semantic_cache_has_no_embedder(pairs, tmp_path, capsys):
    config = tmp_path / "resilio.toml"
    config.write_text('[[provider]]\nname = "p"\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodels.m = {}\n')
    assert main(["calibrate", pairs(3, others=1), "--config", str(config)]) == 2
    assert "has no [cache.semantic]" in capsys.readouterr().err


# --- resilio cache evaluate ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("same", "traps", "status", "verdict"),
    [(160, 0, 0, "within the bound"), (160, 20, 1, "not within the bound"), (100, 0, 2, "not enough data"),
     (10, 80, 2, "not enough data")],
)  # fmt: skip
def test_the_exit_status_tells_ci_whether_a_threshold_holds(pairs, capsys, same, traps, status, verdict):
    path = pairs(same, traps, others=1)
    command = ["cache", "evaluate", path, *HASHING, "--max-wrong", "0.02", "--threshold", "0.6"]
    assert main(command) == status
    assert capsys.readouterr().out.startswith(f"{verdict}: {traps} wrong of {same + traps} hits at 0.6")
    assert main([*command, "--json"]) == status
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["needed"], found["wrong"]) == (verdict, 149, traps)


def test_a_set_in_which_nothing_could_be_wrong_proves_nothing(pairs, tmp_path, capsys):
    path, kept = pairs(300), tmp_path / "calibration.toml"
    assert main(["cache", "evaluate", path, *HASHING, "--max-wrong", "0.02", "--threshold", "0.6"]) == 2
    assert main(["calibrate", path, *HASHING, "--max-wrong", "0.02", "--write", str(kept)]) == 2
    assert capsys.readouterr().err.count("no pair that is labelled different") == 2
    assert not kept.exists()


def test_a_profile_of_the_embedder_can_be_held_to_a_bound(pairs, capsys):
    command = ["cache", "evaluate", pairs(3, others=1), *HASHING, "--max-wrong", "0.05", "--json"]
    assert main([*command, "--profile", "safety"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["strict"]) == (0.97, True)
    assert main([*command]) == 2
    assert json.loads(capsys.readouterr().out) == found
    assert main([*command, "--profile", "faq"]) == 2
    assert "the embedder has no profile 'faq'; there is safety" in capsys.readouterr().err


def test_a_profile_that_was_calibrated_can_be_held_to_a_bound(pairs, tmp_path, capsys):
    path, kept, config = pairs(160, others=10), tmp_path / "calibration.toml", tmp_path / "resilio.toml"
    write = ["calibrate", path, *HASHING, "--max-wrong", "0.02", "--profile", "faq", "--write", str(kept)]
    assert main(write) == 0
    config.write_text(
        '[[provider]]\nname = "p"\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodels.m = {}\n'
        '[cache.semantic]\nembedder = "hashing"\nprofile = "faq"\ncalibration = "calibration.toml"\n'
    )
    capsys.readouterr()
    command = ["cache", "evaluate", path, "--config", str(config), "--max-wrong", "0.02", "--profile", "faq", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threshold"] == load_calibration(kept).profiles["faq"].threshold


# --- resilio cache replay ------------------------------------------------------------------------


def test_a_class_is_replayed_through_profiles_thresholds_and_guaranteed_mode(tmp_path, capsys):
    picture, log = tmp_path / "r.png", tmp_path / "log.jsonl"
    options = ["--requests", "300", "--threshold", "0.7", "--max-wrong", "0.2", "--plot", str(picture)]
    assert main(["cache", "replay", *HASHING, *options, "--write-log", str(log), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [run["name"] for run in found["runs"]]
    assert names == ["exact alone", "safety (0.97)", "threshold 0.7", "guaranteed 0.2"]
    alone, _, near, guaranteed = found["runs"]
    assert (alone["answered_by"]["near"], alone["wrong"], alone["near_hit_latency_p50"]) == (0, 0, None)
    assert near["hit_rate"] > alone["hit_rate"] > 0
    assert near["shared"] is True  # a class shares
    assert guaranteed["bound"]["max_wrong"] == 0.2
    assert guaranteed["answered_by"]["audit"] == guaranteed["bound"]["audits"] > 0
    assert picture.read_bytes().startswith(PNG)
    # What was written is the same log, to the digit.
    assert main(["cache", "replay", str(log), *HASHING, "--threshold", "0.7", "--shared", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["runs"]
    assert again[2]["answered_by"] == near["answered_by"]
    for name in ("hit_rate", "wrong", "cost_usd"):
        assert again[2][name] == pytest.approx(near[name])


def test_a_whole_configuration_is_played_too(tmp_path, capsys):
    config = tmp_path / "resilio.toml"
    config.write_text(
        '[[provider]]\nname = "p"\nkind = "openai"\nbase_url = "https://p.test/v1"\n'
        'keys = ["env:NOT_SET"]\nmodels.m = {}\n'
        '[route.chat]\ntargets = ["p/m"]\n[cache.exact]\n[cache.semantic]\nembedder = "hashing"\nprofile = "safety"\n'
    )
    command = ["cache", "replay", "--requests", "80", *HASHING, "--config", str(config), "--json"]
    assert main(command) == 0
    alone, safety, _, configured = json.loads(capsys.readouterr().out)["runs"]
    assert configured["name"] == "as configured"
    assert 0 < alone["hit_rate"] <= configured["hit_rate"] <= safety["hit_rate"]
    assert configured["answered_by"]["failed"] == 0
    assert main([*command, "--route", "nobody"]) == 1
    assert "no route 'nobody'" in capsys.readouterr().err


def test_users_share_nothing_unless_it_is_said(tmp_path, capsys):
    assert main(["cache", "replay", "--requests", "0", *HASHING, "--threshold", "0.6", "--no-shared", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["runs"][2]
    assert main(["cache", "replay", "--requests", "0", *HASHING, "--threshold", "0.6", "--json"]) == 0
    shared = json.loads(capsys.readouterr().out)["runs"][2]
    assert own["answered_by"]["near"] < shared["answered_by"]["near"] / 3


def test_people_get_a_table_of_caches(capsys):
    assert main(["cache", "replay", "--requests", "60", *HASHING, "--profile", "safety"]) == 0
    said = capsys.readouterr()
    head, *rows = said.out.splitlines()
    assert head.startswith("cache  ")
    assert [row.split("  ")[0] for row in rows] == ["exact alone", "safety (0.97)", "guaranteed 0.02"]
    assert "a text is embedded in" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["LOG", "--requests", "5"], "about the class"),
        (["LOG", "--write-log", "x"], "about the class"),
        (["--requests", "5", "--profile", "nobody"], "no profile 'nobody'"),
        (["--requests", "5", "--max-wrong", "0.7"], "max_wrong must be"),
        (["--requests", "5", "--route", "chat"], "add --config"),
        (["LOG"], "cannot be read"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(tmp_path, capsys, options, said):
    given = [str(tmp_path / "nowhere") if each == "LOG" else each for each in options]
    assert main(["cache", "replay", *HASHING, *given]) == 2
    assert said in capsys.readouterr().err


def test_the_commands_of_cache_are_told_when_none_is_given(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["cache"])
    assert caught.value.code == 2
    assert "evaluate|replay" in capsys.readouterr().err
