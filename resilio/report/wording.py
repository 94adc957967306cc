"""A report in words: amounts, changes, and what shows each cause. No layout, no colour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from resilio.report.causes import ANSWERS, HIT_RATE, KNOWN, MIX, PRICE, PROMPTS, REWRITTEN, VOLUME, Cause
from resilio.report.rates import ASSUMED_RATIO
from resilio.report.summary import Report
from resilio.store.totals import Moves, Totals

__all__ = [
    "change",
    "cost",
    "cost_change",
    "evidence",
    "headline",
    "moved",
    "name_of",
    "notes",
    "short",
    "spoken",
    "tokens",
    "usd",
]

NOBODY: Final = "(none)"
_SPOKEN: Final = {
    VOLUME: ("more calls", "fewer calls"),
    HIT_RATE: ("fewer cache hits", "more cache hits"),
    MIX: ("dearer model mix", "cheaper model mix"),
    PROMPTS: ("longer prompts", "shorter prompts"),
    ANSWERS: ("longer answers", "shorter answers"),
    PRICE: ("higher prices", "lower prices"),
    KNOWN: ("more costs known", "fewer costs known"),
    REWRITTEN: ("prefixes written again", "fewer prefixes written again"),
}
"""Where a cause made it dearer, and where cheaper."""
_NONE: Final = (Moves(), Moves())
_SMALL: Final = 0.02
"""Share of the change below which a price that is guessed is not worth a note."""


def usd(amount: float, *, signed: bool = False) -> str:
    """US dollars: cents, and of less than a dollar as many digits as it takes."""
    sign = "+" if signed and amount > 0 else ""
    if amount == 0 or abs(amount) >= 1:
        return f"{sign}{amount:,.2f}"
    return f"{sign}{amount:.4f}" if abs(amount) >= 0.001 else f"{sign}{amount:.3g}"


def tokens(count: float) -> str:
    """A number of tokens or calls."""
    if count >= 100_000_000:
        return f"{count / 1_000_000:,.0f}M"
    return f"{count / 1_000_000:,.1f}M" if count >= 10_000_000 else f"{count:,.0f}"


def short(count: float) -> str:
    """A number of tokens or calls where there is little room: three digits of what is large."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 10 * size or (size > 1e3 and count >= size):
            scaled = count / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{count:,.0f}"


def change(before: float, after: float) -> str:
    """How much more or less, in per cent of what was."""
    if before == after:
        return "="
    if not before:
        return "new"
    if not after:
        return "gone"
    share = (after - before) / before
    return f"x {after / before:,.1f}" if share >= 9.995 else f"{share:+.1%}" if abs(share) < 0.0995 else f"{share:+.0%}"


def cost(its: Totals) -> str:
    """What calls cost as far as it is known, and whether it is: ``unknown`` is not nothing."""
    if not its.unpriced:
        return usd(its.cost_usd)
    return f"{usd(its.cost_usd)} + unknown" if its.priced else "unknown"


def cost_change(before: Totals, after: Totals) -> str:
    """As `change`, of costs; a question mark where one of the two is not known."""
    return "?" if before.unpriced or after.unpriced else change(before.cost_usd, after.cost_usd)


def name_of(name: object) -> str:
    """What a group is called, on one line and without control characters: names are what callers wrote."""
    return NOBODY if name is None else " ".join("".join(its if its.isprintable() else " " for its in str(name)).split())


def spoken(cause: Cause) -> str:
    """The cause as it worked: prompts that were shorter are not called longer."""
    return _SPOKEN[cause.name][cause.amount < 0]


def headline(report: Report) -> str:
    """What happened to the cost, and mostly for which reason."""
    found = report.change
    if not found.amount:
        return f"Cost stayed at {usd(found.after)} USD."
    verb = "rose" if found.amount > 0 else "fell"
    text = f"Cost {verb} from {usd(found.before)} to {usd(found.after)} USD"
    if found.before and found.after:
        text += f" ({change(found.before, found.after)})"
    first = found.foremost
    return f"{text}." if first is None else f"{text}, mostly because of {spoken(first)}."


def evidence(cause: Cause, report: Report) -> str:
    """The figures that show it, before and after."""
    one, two = report.change.sides
    if cause.name == VOLUME:
        return f"{one.calls:,} -> {two.calls:,} answered calls"
    if cause.name == HIT_RATE:
        return f"{one.hit_rate:.1%} -> {two.hit_rate:.1%} answered by the cache"
    if cause.name == PROMPTS:
        return f"{one.prompt:,.0f} -> {two.prompt:,.0f} tokens a prompt"
    if cause.name == ANSWERS:
        return f"{one.answer:,.0f} -> {two.answer:,.0f} tokens an answer"
    if cause.name == KNOWN:
        return f"cost known of {one.known:.1%} -> {two.known:.1%} of calls"
    if cause.name == REWRITTEN:
        return _rewritten(report)
    return _mix(report) if cause.name == MIX else _price(cause, report) if cause.name == PRICE else ""


def moved(pair: tuple[str, str]) -> str:
    """What a move of conversations did."""
    source, target = map(name_of, pair)
    return f"prefix written again after a move from {source} to {target}"


def _rewritten(report: Report) -> str:
    """The move that cost most."""
    pair, (before, after) = max(
        report.moves.items(), key=lambda each: abs(each[1][1].cost_usd - each[1][0].cost_usd), default=(("", ""), _NONE)
    )
    return f"{moved(pair)}: {before.times:,} -> {after.times:,} times"


def _mix(report: Report) -> str:
    """The model whose share moved most."""
    models = report.change.models
    if not models:
        return ""
    name, (one, two) = max(models.items(), key=lambda each: (abs(each[1][1].share - each[1][0].share), str(each[0])))
    return f"{name_of(name)}: {one.share:.1%} -> {two.share:.1%} of calls"


def _price(cause: Cause, report: Report) -> str:
    """The model whose price did most."""
    if not cause.models:
        return "no price moved"
    name = max(cause.models, key=lambda each: (abs(cause.models[each]), str(each)))
    one, two = (its.rates for its in report.change.models[name])
    text = f"{name_of(name)}: {_rate(one.input)} -> {_rate(two.input)} in"
    if report.change.models[name][0].answer or report.change.models[name][1].answer:
        text += f", {_rate(one.output)} -> {_rate(two.output)} out"
    reads = [use.totals.cache_read_tokens / max(1, use.totals.input_tokens) for use in report.models[name]]
    if abs(reads[1] - reads[0]) >= 0.05:
        text += f"; {reads[0]:.0%} -> {reads[1]:.0%} of input read from the provider's cache"
    return f"{text} (USD/1M)"


def _rate(a_token: float) -> str:
    return f"{a_token * 1e6:.3g}"


def notes(report: Report) -> Iterator[str]:
    """What a reader must know before they believe the figures."""
    for period, totals in zip(("before", "now"), report.totals, strict=True):
        yield from _unknown(period, totals)
    unknown = sorted(name_of(name) for name, uses in report.models.items() if any(use.totals.unpriced for use in uses))
    if unknown:
        yield f"no price is known for {', '.join(unknown[:5])}{' and others' if len(unknown) > 5 else ''}"
    guessed = sorted(name_of(name) for name in report.change.models if _is_guessed(name, report))
    if guessed:
        yield (
            f"how the cost of {', '.join(guessed)} splits into prompts and answers is assumed (output at "
            f"{ASSUMED_RATIO:g} times input): its calls do not tell"
        )
    if report.is_half and report.begins is not None:
        begins = datetime.fromtimestamp(report.begins, report.before.start.tzinfo)
        yield f"the log begins on {begins:%Y-%m-%d %H:%M}: of the period before it does not have everything"


def _unknown(period: str, totals: Totals) -> Iterator[str]:
    if totals.unpriced:
        amount = f"{tokens(totals.unpriced_input)} tokens in, {tokens(totals.unpriced_output)} out"
        yield f"{period}: cost unknown of {totals.unpriced:,} calls ({amount}); they are in no sum of dollars"
    if totals.unanswered_sent:
        what = f"{totals.unanswered_sent:,} calls were sent and not answered"
        yield f"{period}: {what}; whether they were billed is not known"
    if totals.saved_unknown:
        yield f"{period}: what {totals.saved_unknown:,} cache hits saved is not known"


def _is_guessed(name: str | None, report: Report) -> bool:
    one, two = report.change.models[name]
    largest = max(one.cost, two.cost)
    return not (one.rates.told and two.rates.told) and largest > _SMALL * max(report.change.before, report.change.after)
