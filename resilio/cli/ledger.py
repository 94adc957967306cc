"""`resilio ledger`: prove what was spent, repair a damaged ledger, look into one."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resilio.cli.command import count
from resilio.cli.screen import Screen

if TYPE_CHECKING:
    from resilio.store.audit import Audit, Repair

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION: Final = """\
Look after the file in which budgets keep what was spent.

  audit    recompute every balance from the entries; exit status 1 if one differs or the file is damaged. Only
           reads, and may run beside the program
  repair   make a sound ledger of what can be read of a damaged one, which is kept. Stop all that use it first
  show     accounts with what is spent and claimed; with --entries, the lines they are made of"""

EXAMPLES: Final = """\
  resilio ledger audit ledger.db                        is every balance what its entries say?
  resilio ledger repair ledger.db                       after it was set aside as damaged
  resilio ledger show ledger.db --entity alice          what has alice spent?
  resilio ledger show ledger.db --entries 20 --json     the last 20 entries, for a program"""

ACTIONS: Final = ("audit", "repair", "show")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
    parser.add_argument("file", metavar="FILE", help="the ledger")
    parser.add_argument("--budget", metavar="NAME", help="show: only accounts of this budget")
    parser.add_argument("--entity", metavar="NAME", help="show: only this user, organisation, ...")
    parser.add_argument("--entries", type=count, metavar="N", help="show: the last N entries instead of accounts")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Do it.

    Raises:
        LedgerUnavailable: It cannot be read, or is in use while it is to be repaired.
    """
    from resilio.store import audit as ledgers  # it imports sqlite3

    path = Path(options.file)
    if options.action == "audit":
        with screen.busy("adding up"):
            found = ledgers.audit(path)
        _show_audit(found, screen, as_json=options.json)
        return 0 if found.clean else 1
    if options.action == "repair":
        with screen.busy("reading what can be read"):
            done = ledgers.repair(path)
        _show_repair(done, screen, as_json=options.json)
        return 0
    if options.entries:
        _show_entries(
            ledgers.entries(path, last=options.entries, budget=options.budget, entity=options.entity), options, screen
        )
    else:
        _show_accounts(ledgers.standings(path, budget=options.budget, entity=options.entity), options, screen)
    return 0


def _show_audit(found: Audit, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        screen.json(
            {
                "file": found.path, "clean": found.clean, "entries": found.entries, "accounts": found.accounts,
                "processes": found.processes, "damage": found.damage,
                "differences": [_difference(its) for its in found.differences],
            }
        )  # fmt: skip
        return
    amount = f"{found.entries} entries of {found.accounts} accounts, {found.processes} processes"
    if found.clean:
        screen.say(f"{found.path} is sound: {amount}", "green")
        return
    screen.say(f"{found.path} is not sound: {amount}", "red")
    for line in found.damage:
        screen.say(f"  damaged: {line}")
    for its in found.differences:
        screen.say(f"  {_name(its.account)}: balance {its.balance}, its entries add up to {its.entries}")
    screen.note(f"stop all that use it, then run: resilio ledger repair {found.path}")


def _show_repair(done: Repair, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        screen.json(
            {
                "file": done.path, "damaged": done.damaged, "entries": done.entries, "unreadable": done.unreadable,
                "corrected": [_difference(its) for its in done.corrected], "claims": done.claims,
                "claims_lost": done.claims_lost,
            }
        )  # fmt: skip
        return
    screen.say(f"{done.path} is new, with {done.entries} entries; the damaged one is kept as {done.damaged}", "green")
    if done.unreadable:
        screen.say(f"  {done.unreadable} entries cannot be read")
    for its in done.corrected:
        screen.say(
            f"  {_name(its.account)}: the balance knows of {its.balance - its.entries} more; entered as corrected"
        )
    if done.claims_lost:
        screen.say("  claims cannot be read: what was in use when it broke is not charged")


def _show_accounts(standings: list[Any], options: argparse.Namespace, screen: Screen) -> None:
    if options.json:
        accounts = [{**its.account._asdict(), "spent": its.spent, "claimed": its.claimed} for its in standings]
        screen.json({"file": options.file, "accounts": accounts})
        return
    rows = [(*its.account, str(its.spent), str(its.claimed)) for its in standings]
    screen.table(("budget", "entity", "window", "spent", "claimed"), rows)


def _show_entries(entries: list[Any], options: argparse.Namespace, screen: Screen) -> None:
    if options.json:
        lines = [{**its._asdict(), "account": its.account._asdict()} for its in entries]
        screen.json({"file": options.file, "entries": lines})
        return
    rows = [(_time(its.at), *its.account, its.kind, str(its.amount), its.request_id) for its in entries]
    screen.table(("at", "budget", "entity", "window", "kind", "amount", "request"), rows)


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, OSError, ValueError):  # beyond the year 9999
        return str(at)


def _name(account: Any) -> str:
    return " ".join(account)


def _difference(its: Any) -> dict[str, Any]:
    return {**its.account._asdict(), "balance": its.balance, "entries": its.entries}
