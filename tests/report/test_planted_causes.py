"""A planted doubling of cost is found, and its cause named first, whichever of the six it is."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from resilio.cli import main
from resilio.report import wording
from resilio.report.causes import ANSWERS, HIT_RATE, MIX, PRICE, PROMPTS, VOLUME
from resilio.testing.spending import PLANTABLE, Traffic, planted, simulated_log

START = datetime(2026, 9, 26, tzinfo=UTC)
TRAFFIC = Traffic(calls=40)
SPAN = ("--since", "2026-10-26", "--until", "2026-11-24")
SAID = {
    VOLUME: "more calls",
    HIT_RATE: "fewer cache hits",
    MIX: "dearer model mix",
    PROMPTS: "longer prompts",
    ANSWERS: "longer answers",
    PRICE: "higher prices",
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A log for each cause, of thirty days before and thirty after."""
    folder = tmp_path_factory.mktemp("logs")
    for cause in PLANTABLE:
        simulated_log(folder / f"{cause}.db", cause, START, traffic=TRAFFIC)
    return {cause: folder / f"{cause}.db" for cause in PLANTABLE}


@pytest.mark.parametrize("cause", PLANTABLE)
def test_the_planted_cause_is_named_first_in_words_and_figures_and_picture(cause, logs, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "resilio.report.plots.headline", lambda report: drawn.append(report) or wording.headline(report)
    )
    picture = tmp_path / "report.png"
    assert main(["report", str(logs[cause]), *SPAN, "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    assert f"mostly because of {SAID[cause]}." in said
    (first,) = (line for line in said.splitlines() if line.startswith(SAID[cause]))
    assert said.index(first) < min(
        said.index(f"\n{word}") for name, word in SAID.items() if name != cause and f"\n{word}" in said
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert drawn[0].change.causes[0].name == cause

    assert main(["report", str(logs[cause]), *SPAN, "--json"]) == 0
    change = json.loads(capsys.readouterr().out)["change"]
    assert change["foremost"] == change["causes"][0]["name"] == cause
    assert change["after_usd"] / change["before_usd"] == pytest.approx(2, rel=0.25)
    assert sum(each["amount_usd"] for each in change["causes"]) == pytest.approx(change["amount_usd"])
    # Chance moves the rest of it: the planted one stands far out.
    assert change["causes"][0]["amount_usd"] > 3 * abs(change["causes"][1]["amount_usd"])


@pytest.mark.parametrize("cause", PLANTABLE)
def test_the_other_way_round_the_same_cause_is_named_as_a_saving(cause, logs):
    from resilio.report.periods import Period
    from resilio.report.summary import collect, make_report
    from resilio.store.totals import reading

    early = Period(START, START + timedelta(days=30))
    late = Period(early.end, early.end + timedelta(days=30))
    with reading(logs[cause]) as log:
        before, after = collect(log, (late, early), ["user"])
    report = make_report(before, after)
    assert report.change.foremost.name == cause
    assert report.change.amount < 0
    assert wording.spoken(report.change.causes[0]) != SAID[cause]


@pytest.mark.parametrize("cause", PLANTABLE)
def test_what_is_planted_is_a_doubling(cause):
    found = planted(cause)
    assert found.calls * found.answered_usd == pytest.approx(2 * Traffic().calls * Traffic().answered_usd)


@pytest.mark.parametrize(("cause", "times"), [(HIT_RATE, 9.0), (MIX, 9.0), ("weather", 2.0)])
def test_what_cannot_be_planted_is_refused(cause, times):
    with pytest.raises(ValueError, match="alone cannot make this traffic cost"):
        planted(cause, times=times)
