"""`resilio report`: where the money went, and why it changed."""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resilio.bench.figures import check_plots
from resilio.cli.command import UsageError, count
from resilio.config import load_config
from resilio.report import wording
from resilio.report.export import HEADERS, as_dict, csv_rows
from resilio.report.periods import Period, PeriodError, period_before, period_of
from resilio.report.summary import Report, Row, collect, make_report
from resilio.store.totals import DIMENSIONS, TAG, Totals, reading

if TYPE_CHECKING:
    from resilio.cli.screen import Screen

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = """\
Read the request log: cost, calls, tokens and what the cache saved, by model, user, feature, tag or anything else it
holds, and why cost changed against the period before: more calls, longer prompts, longer answers, other models, other
prices, fewer cache hits. The parts add up to the change. Only reads; may run beside the program that writes. A cost
that is not known is said to be unknown, and is in no sum."""

EXAMPLES: Final = """\
  resilio report                                  the log of ./resilio.toml: the last 30 days against the 30 before
  resilio report requests.db --month 2026-11      a calendar month against the one before
  resilio report --by user --by tag:team --top 5  who spends most, and which teams
  resilio report --days 7 --plot week.png         a picture: cost by day, and its causes
  resilio report --since 2026-11-01 --until 2026-11-15 --time-zone Europe/Berlin --json
  resilio report --csv costs.csv                  everything, for a spreadsheet"""

_DEFAULT: Final = "resilio.toml"
_BY: Final = ("model", "feature", "user")
_SHOWN: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("log", nargs="?", metavar="LOG", help="the file; default: [log] path of the configuration")
    parser.add_argument(
        "--config", default=_DEFAULT, metavar="FILE", help="says where the log is; default: ./%(default)s"
    )
    parser.add_argument(
        "--by", action="append", type=_dimension, metavar="WHAT",
        help=f"{', '.join(DIMENSIONS)}, day or tag:NAME; may be repeated; default: {', '.join(_BY)}",
    )  # fmt: skip
    parser.add_argument("--days", type=count, metavar="N", help="the last N days, today included; default: 30")
    parser.add_argument("--month", metavar="YYYY-MM", help="a calendar month, against the one before")
    parser.add_argument("--since", metavar="WHEN", help="a day or an instant, as in 2026-11-24 or 2026-11-24T13:30")
    parser.add_argument("--until", metavar="WHEN", help="a day, included, or an instant; default: now")
    parser.add_argument(
        "--time-zone", type=_zone, default="UTC", metavar="NAME", help="whose days; default: %(default)s"
    )
    parser.add_argument("--top", type=count, metavar="N", help=f"names in each table; default: {_SHOWN}, in files: all")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--csv", metavar="FILE", help="write everything to this file too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a .png, .svg or .pdf too (needs matplotlib)")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show it.

    Raises:
        UsageError: There is no log, or no such period.
        ConfigError: The configuration is wrong.
        LogUnreadable: The log cannot be read.
        PlotError: The plot cannot be drawn here; nothing was read.
    """
    path = Path(options.log) if options.log else _configured(options.config)
    if options.plot is not None:
        check_plots(options.plot)
    if options.csv is not None and not Path(options.csv).absolute().parent.is_dir():
        raise UsageError(f"there is no folder to put {options.csv!r} into")
    after, before = _periods(options)
    by = list(dict.fromkeys(options.by or _BY))
    with reading(path) as log, screen.progress("adding up") as show:
        span = log.span()
        earlier, later = collect(log, (before, after), [each for each in by if each != _DAY], show)
    report = make_report(earlier, later, span)
    if options.json:
        screen.json({"file": str(path), **as_dict(report, top=options.top)})
    else:
        _show(report, path, by, options.top or _SHOWN, screen)
    if options.csv is not None:
        _write_csv(report, options.csv, options.top)
        screen.note(f"written: {options.csv}")
    if options.plot is not None:
        from resilio.report.plots import draw_report

        draw_report(report, options.plot)
        screen.note(f"drawn: {options.plot}")
    return 0


# --- what is asked for ---------------------------------------------------------------------------

_DAY: Final = "day"


def _configured(file: str) -> Path:
    if file == _DEFAULT and not os.path.exists(file):
        raise UsageError("which log? Name its file; there is no ./resilio.toml that says where it is")
    if path := load_config(file).log.path:
        return Path(path)
    raise UsageError(
        f'{file} keeps no request log; turn it on with\n  [log]\n  path = "requests.db"\nor name a log there is'
    )


def _periods(options: argparse.Namespace) -> tuple[Period, Period]:
    now = datetime.fromtimestamp(time.time(), options.time_zone)
    try:
        after = period_of(now, days=options.days, month=options.month, since=options.since, until=options.until)
        return after, period_before(after)
    except PeriodError as exc:
        raise UsageError(str(exc)) from exc


def _dimension(text: str) -> str:
    if text in (*DIMENSIONS, _DAY) or (text.startswith(TAG) and text != TAG):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DIMENSIONS)}, day or tag:NAME")


def _zone(text: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(text)
    except (LookupError, ValueError, OSError) as exc:
        raise argparse.ArgumentTypeError(f"no time zone is called {text!r}; write one as in Europe/Berlin") from exc


# --- for people ----------------------------------------------------------------------------------


def _show(report: Report, path: Path, by: Sequence[str], top: int, screen: Screen) -> None:
    zone = getattr(report.after.start.tzinfo, "key", report.after.start.tzinfo)
    screen.say(f"{path}: {report.after.name} ({zone}), against {report.before.name}\n")
    if not any(totals.calls for totals in report.totals):
        screen.say(_nothing(report), "yellow")
        return
    _show_totals(report, screen)
    screen.say(f"\n{wording.headline(report)}", "bold")
    if report.change.amount:
        _show_causes(report, screen)
    if report.moves:
        _show_moves(report, screen)
    for dimension in by:
        screen.say(f"\nby {dimension}", "bold")
        if dimension == _DAY:
            _show_days(report, screen)
        else:
            _show_names(dimension, report.groups[dimension], top, screen)
    if told := [*wording.notes(report)]:
        screen.say()
        for line in told:
            screen.say(f"note: {line}", "yellow")


def _nothing(report: Report) -> str:
    if report.begins is None or report.ends is None:
        return "The log is empty."
    first, last = (datetime.fromtimestamp(at, report.after.start.tzinfo) for at in (report.begins, report.ends))
    return f"No calls in either; the log has calls from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}."


def _show_totals(report: Report, screen: Screen) -> None:
    before, after = report.totals
    rows = [("cost, USD", wording.cost(after), wording.cost(before), wording.cost_change(before, after))]  # fmt: skip
    rows += [("saved by the cache, USD", wording.usd(after.saved_usd), wording.usd(before.saved_usd),
              wording.change(before.saved_usd, after.saved_usd))]  # fmt: skip
    if before.prompt_saved_usd or after.prompt_saved_usd:
        rows += [("saved by providers' caches, USD", wording.usd(after.prompt_saved_usd),
                  wording.usd(before.prompt_saved_usd),
                  wording.change(before.prompt_saved_usd, after.prompt_saved_usd))]  # fmt: skip
    rows += [
        (what, wording.tokens(now), wording.tokens(was), wording.change(was, now))
        for what, was, now in (
            ("calls", before.calls, after.calls),
            ("  answered by the cache", before.hits, after.hits),
            ("  answered at unknown cost", before.unpriced, after.unpriced),
            ("  not answered", before.unanswered, after.unanswered),
            ("tokens in", before.all_input, after.all_input),
            ("  read from providers' caches", before.cache_read_tokens, after.cache_read_tokens),
            ("  written to providers' caches", before.cache_write_tokens, after.cache_write_tokens),
            ("  read anew after moves", before.rewritten_tokens, after.rewritten_tokens),
            ("tokens out", before.all_output, after.all_output),
        )
        if was or now or not what.startswith(" ")
    ]
    screen.table(("", "now", "before", "change"), rows)


def _show_causes(report: Report, screen: Screen) -> None:
    amount = report.change.amount
    rows = [
        (
            wording.spoken(cause), wording.usd(cause.amount, signed=True), _percent(cause.amount / amount),
            wording.evidence(cause, report),
        )
        for cause in report.change.causes
    ]  # fmt: skip
    screen.table(("cause", "USD", "of the change", "before -> now"), rows)


def _show_moves(report: Report, screen: Screen) -> None:
    screen.say("\nconversations that moved", "bold")
    rows = [
        (wording.moved(pair), f"{before.times:,} -> {after.times:,}", wording.tokens(after.tokens),
         wording.usd(after.cost_usd))
        for pair, (before, after) in report.moves.items()
    ]  # fmt: skip
    screen.table(("what it took", "times, before -> now", "tokens", "USD more"), rows)


def _percent(share: float) -> str:
    """Whole per cent, without the sign that a float's zero may have."""
    return f"{round(100 * share) + 0:d}%"


_COLUMNS: Final = ("cost, USD", "before", "change", "calls", "in", "out", "hits", "saved, USD")


def _show_names(dimension: str, rows: Sequence[Row], top: int, screen: Screen) -> None:
    shown = [_cells(wording.name_of(row.name), row) for row in rows[:top]]
    if len(rows) > top:
        rest = Row(f"{len(rows) - top:,} others", rows[top].before, rows[top].after)
        for row in rows[top + 1 :]:
            rest = rest._replace(before=rest.before.plus(row.before), after=rest.after.plus(row.after))
        shown.append(_cells(str(rest.name), rest))
    screen.table((dimension, *_COLUMNS), shown)


def _cells(name: str, row: Row) -> tuple[str, ...]:
    before, after = row.before, row.after
    return (
        name, wording.cost(after), wording.cost(before), wording.cost_change(before, after),
        wording.short(after.calls), wording.short(after.all_input), wording.short(after.all_output),
        wording.short(after.hits), wording.usd(after.saved_usd),
    )  # fmt: skip


def _show_days(report: Report, screen: Screen) -> None:
    rows = []
    for day in report.days[1]:
        models = {wording.name_of(name): its for name, its in day.models.items()}
        dearest = max(models, key=lambda name: (models[name].cost_usd, name), default=None)
        whole = Totals()
        for its in day.models.values():
            whole = whole.plus(its)
        rows.append(
            (
                day.date.isoformat(), wording.cost(whole), wording.short(whole.calls),
                wording.short(whole.all_input), wording.short(whole.all_output),
                "" if dearest is None else f"{dearest} {wording.cost(models[dearest])}",
            )
        )  # fmt: skip
    screen.table(("day", "cost, USD", "calls", "in", "out", "dearest model"), rows)


def _write_csv(report: Report, file: str, top: int | None) -> None:
    try:
        with open(file, "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(HEADERS)
            writer.writerows(csv_rows(report, top=top))
    except OSError as exc:
        raise UsageError(f"cannot write {file}: {exc.strerror or exc}") from exc
