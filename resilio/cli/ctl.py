"""`resilio ctl`: look at a program that runs, and move its circuits, actors and configuration by hand."""

from __future__ import annotations

import argparse
import json
import socket
from typing import Any, Final

from resilio.cli.command import UsageError, positive
from resilio.cli.screen import Screen
from resilio.errors import ConfigError, ControlError

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "ask", "run"]

DESCRIPTION: Final = """\
Talk with a running program that has a control socket: Client(..., control_socket=PATH), or socket = "PATH" under
[control] in its configuration.

  status         providers, circuits, requests in flight and waiting, keys set aside
  open           send a provider (or one of its models) nothing, until it is closed
  close          close its circuits and forget their breaks: back to normal
  disable        let everything through and count nothing
  metrics-only   let everything through and count it, but never open
  drain          take nothing new, let what is in flight finish
  resume         undo drain; bring back an actor that crashed too often
  keys           its keys: in use, set aside or resting, and the room each has left
  restore-key    use a key again that was set aside or rests: PROVIDER KEY, its number or its name
  reload         read the configuration's file again: all of it, or nothing if it is wrong
  budgets        what is spent and left, of the entities nearest to their limits
  set-limit      another limit for a budget: BUDGET LIMIT, in tokens or US dollars; "configured" undoes it"""

EXAMPLES: Final = """\
  resilio ctl --socket run/llm.sock status                  how are they?
  resilio ctl --socket run/llm.sock open openai/gpt-4o      send this model nothing
  resilio ctl --socket run/llm.sock close openai            back to normal, all its models
  resilio ctl --socket run/llm.sock drain openai            before its keys change
  resilio ctl --socket run/llm.sock restore-key openai 1    the account has been topped up
  resilio ctl --socket run/llm.sock reload --json           what changed, for a program
  resilio ctl --socket run/llm.sock set-limit user/day 200000 --entity alice"""

ACTIONS: Final = (
    "status",
    "open",
    "close",
    "disable",
    "metrics-only",
    "drain",
    "resume",
    "keys",
    "restore-key",
    "reload",
    "budgets",
    "set-limit",
)
_WHOLE: Final = ("status", "reload", "budgets")
_PROVIDER_NEEDED: Final = "a provider: {} PROVIDER[/MODEL]"
_MAX_ANSWER: Final = 16 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--socket", required=True, metavar="PATH", help="control socket of the running program")
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
    where = "what it is done to; for set-limit, a budget"
    parser.add_argument("target", nargs="?", metavar="PROVIDER[/MODEL]", help=where)
    parser.add_argument("limit", nargs="?", metavar="LIMIT|KEY", help="for set-limit and restore-key")
    parser.add_argument("--entity", metavar="NAME", help="for set-limit: whose; default: everybody's")
    parser.add_argument("--unit", choices=("tokens", "usd"), help="for set-limit, where the budget limits both")
    parser.add_argument("--timeout", type=positive, default=10.0, metavar="S", help="seconds; default: %(default)g")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Do it.

    Raises:
        UsageError: A provider is missing, or one too many.
        ConfigError: The file to reload is wrong; the program goes on with the old configuration.
        ControlError: Nobody answers, or the program refused.
    """
    whole = options.action in _WHOLE
    if whole and options.target is not None:
        raise UsageError(f"{options.action} is for the whole program; leave out {options.target!r}")
    if not whole and options.target is None:
        what = "a budget: set-limit BUDGET LIMIT" if options.action == "set-limit" else _PROVIDER_NEEDED
        raise UsageError(f"{options.action} needs {what.format(options.action)}")
    asked = _asked(options)
    got = ask(options.socket, asked, options.timeout)
    if options.json:
        screen.json(got)
    if not got.get("ok"):
        if problems := got.get("problems"):
            raise ConfigError(problems, "refused, the old configuration holds on")
        raise ControlError(str(got.get("error", "the program gave no reason")))
    if not options.json:
        _show(options.action, got, screen)
    return 0


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What to ask the program for.

    Raises:
        UsageError: An argument is missing, or belongs to another action.
    """
    if options.action == "set-limit":
        if options.limit is None:
            raise UsageError("set-limit needs a limit: set-limit BUDGET LIMIT")
        return {
            "command": options.action, "budget": options.target, "limit": options.limit, "entity": options.entity,
            "unit": options.unit,
        }  # fmt: skip
    provider, _, model = (options.target or "").partition("/")
    asked = {"command": options.action, "provider": provider or None, "model": model or None}
    if options.action == "restore-key":
        if options.limit is None:
            raise UsageError("restore-key needs a key, its number or its name: restore-key PROVIDER KEY")
        asked["key"], options.limit = options.limit, None
    for name in ("limit", "entity", "unit"):
        if getattr(options, name) is not None:
            raise UsageError(f"{options.action} takes no {name}; only set-limit does")
    return asked


def ask(path: str, asked: dict[str, Any], timeout: float) -> dict[str, Any]:
    """One exchange over the socket.

    Raises:
        ControlError: There is no socket, nobody answers in time, or not in this protocol.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ControlError("this system has no Unix sockets")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps(asked).encode() + b"\n")
            line = connection.makefile("rb").readline(_MAX_ANSWER)
    except FileNotFoundError:
        raise ControlError(f"there is no socket {path!r}; does the program run, with this socket?") from None
    except ConnectionRefusedError:
        raise ControlError(f"nobody serves {path!r}: the program has ended without removing it") from None
    except TimeoutError:
        raise ControlError(f"no answer from {path!r} within {timeout:g} s; its event loop may be blocked") from None
    except OSError as exc:
        raise ControlError(f"cannot talk over {path!r}: {exc.strerror or exc}") from exc
    try:
        got = json.loads(line)
    except ValueError:
        got = None
    if not isinstance(got, dict):
        raise ControlError(f"{path!r} gave no answer of this protocol: {line[:80]!r}")
    return got


# --- what is shown -----------------------------------------------------------------------------


def _show(action: str, got: dict[str, Any], screen: Screen) -> None:
    if action == "status":
        screen.table(("provider", "state", "circuit", "in flight", "waiting", "keys set aside"), _rows(got["status"]))
    elif action == "budgets":
        head = ("budget", "entity", "unit", "limit", "spent", "reserved", "left", "state", "resets in")
        screen.table(head, _budgets(got["budgets"]))
    elif action == "set-limit":
        whose = "" if got["entity"] is None else f" of {got['entity']}"
        limit = "the configured limit" if got["limit"] is None else f"a limit of {got['limit']:.15g}"
        screen.say(f"budget {got['budget']}{whose} has {limit}")
    elif action in ("keys", "restore-key"):
        screen.table(("key", "name", "state", "tried again in", "in flight", "left of its limits"), _keys(got["keys"]))
    elif action == "reload":
        changes = [(what, name) for what in ("added", "removed", "changed") for name in got["applied"][what]]
        screen.say("\n".join(f"{what} {name}" for what, name in changes) or "nothing has changed")
    else:
        circuits = ", ".join(f"{name} {state}" for name, state in got["circuits"].items())
        screen.say(f"{got['provider']} is {got['state']}, {got['in_flight']} in flight; circuits: {circuits}")


def _rows(status: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, its in status["providers"].items():
        rows += _provider(name, its, its["state"])
    for its in status["leaving"]:  # not in the configuration any more: calls still use it
        rows += _provider(its["breaker"]["name"], its, f"leaving ({its['state']})")
    return rows


def _budgets(budgets: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, its in budgets.items():
        state = "open" if its["unavailable"] is None else f"nothing is spent: {its['unavailable']}"
        rows.append((name, f"{its['entities']} in use", its["unit"], f"{its['limit']:.15g}", "", "", "", state, ""))
        rows += [
            ("", each["entity"], "", *(f"{each[what]:.9g}" for what in ("limit", "spent", "reserved", "left")),
             each["state"], f"{each['resets_in']:.0f} s")
            for each in its["nearest"]
        ]  # fmt: skip
    return rows


def _keys(keys: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            str(key["index"]),
            key["name"],
            f"set aside: {key['set_aside']}" if key["set_aside"] else _resting(key["limits"]),
            "" if key["tried_again_in"] is None else f"{key['tried_again_in']:.0f} s",
            str(key["in_flight"]),
            "; ".join(_left(group, its["dimensions"]) for group, its in key["limits"].items() if its["dimensions"]),
        )
        for key in keys
    ]


def _resting(limits: dict[str, Any]) -> str:
    rests = [f"{group} rests {its['resting']:.0f} s" for group, its in limits.items() if its["resting"] > 0]
    return ", ".join(rests) or "in use"


def _left(group: str, dimensions: dict[str, Any]) -> str:
    each = (f"{its['level']:.0f}/{its['limit']:.0f} {name.replace('_', ' ')}" for name, its in dimensions.items())
    return f"{group} {', '.join(each)}"


def _provider(name: str, its: dict[str, Any], state: str) -> list[tuple[str, ...]]:
    aside = [f"{key['name'] or key['index']}: {key['set_aside']}" for key in its["keys"] if key["set_aside"]]
    used = f"{its['in_flight']}/{its['max_concurrency']}"
    first = (name, state, _circuit(its["breaker"]), used, str(its["waiting"]), ", ".join(aside) or "none")
    models = (
        (f"  {target}", "", _circuit(each["breaker"]), str(each["in_flight"]), "", "")
        for target, each in its["targets"].items()
    )
    return [first, *models]


def _circuit(breaker: dict[str, Any]) -> str:
    again = breaker["reopens_in"]
    return str(breaker["state"]) if again is None else f"{breaker['state']}, probe in {again:.0f} s"
