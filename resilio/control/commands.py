"""What may be asked of a running engine: a line of JSON in, a value for a line of JSON out.

    {"command": "open", "provider": "openai", "model": "gpt-4o"}   ->  {"ok": true, ...}
    {"command": "opne"}                                            ->  {"ok": false, "error": "...", "problems": []}

A row of `COMMANDS` is all it takes to add one. Nothing a caller sends can raise out of `answer`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Protocol, cast

import orjson

from resilio.budget import Unit
from resilio.control.handle import ProviderControl
from resilio.errors import ConfigError, ControlError, ResilioError
from resilio.events import ConfigApplied
from resilio.status import Status

__all__ = ["BUDGET_COMMANDS", "COMMANDS", "Controlled", "answer"]

logger = logging.getLogger("resilio")


class Controlled(Protocol):
    """What is controlled: the part of `resilio.Client` that is needed here, a layer above."""

    def status(self) -> Status: ...

    def provider(self, name: str, /) -> ProviderControl: ...

    def reload(self) -> Awaitable[ConfigApplied]: ...

    def set_limit(
        self, budget: str, limit: float | None, *, entity: str | None = None, unit: Unit | None = None
    ) -> None: ...


Run = Callable[[Controlled, str, str | None], Awaitable[dict[str, Any]]]
RunOnBudgets = Callable[[Controlled, Mapping[str, str]], Awaitable[dict[str, Any]]]


async def _status(engine: Controlled, provider: str, model: str | None) -> dict[str, Any]:
    return {"status": engine.status()}


async def _reload(engine: Controlled, provider: str, model: str | None) -> dict[str, Any]:
    return {"applied": await engine.reload()}


async def _budgets(engine: Controlled, asked: Mapping[str, str]) -> dict[str, Any]:
    if asked:
        raise ControlError(f"budgets is for the whole engine and takes no {next(iter(asked))}")
    return {"budgets": engine.status().budgets}


async def _set_limit(engine: Controlled, asked: Mapping[str, str]) -> dict[str, Any]:
    budget, written, unit = asked.get("budget"), asked.get("limit"), asked.get("unit")
    if budget is None or written is None:
        raise ControlError('set-limit needs a budget and a limit: a number, or "configured" to undo it')
    if unit not in (None, "tokens", "usd"):
        raise ControlError(f'unit must be "tokens" or "usd", not {unit[:80]!r}')
    try:
        limit = None if written == "configured" else float(written)
        engine.set_limit(budget, limit, entity=asked.get("entity"), unit=cast("Unit | None", unit))
    except ValueError as exc:
        raise ControlError(str(exc)) from exc
    return {"budget": budget, "entity": asked.get("entity"), "limit": limit}


async def _keys(engine: Controlled, provider: str, model: str | None) -> dict[str, Any]:
    if model is not None:
        raise ControlError(f"keys belong to a whole provider; name {provider!r} alone")
    engine.provider(provider)  # raises where there is none
    return {"provider": provider, "keys": engine.status().providers[provider].keys}


async def _restore_key(engine: Controlled, provider: str, key: str) -> dict[str, Any]:
    engine.provider(provider).restore_key(int(key) if key.isdecimal() and len(key) < _MAX_DIGITS else key)
    return await _keys(engine, provider, None)


def _circuit(act: Callable[[ProviderControl, str | None], None]) -> Run:
    async def run(engine: Controlled, provider: str, model: str | None) -> dict[str, Any]:
        act(engine.provider(provider), model)
        return _as_it_is(engine, provider)

    return run


def _admission(act: Callable[[ProviderControl], None]) -> Run:
    async def run(engine: Controlled, provider: str, model: str | None) -> dict[str, Any]:
        if model is not None:
            raise ControlError(f"only a whole provider is drained or resumed; name {provider!r}, or open {model!r}")
        act(engine.provider(provider))
        return _as_it_is(engine, provider)

    return run


def _as_it_is(engine: Controlled, provider: str) -> dict[str, Any]:
    """The provider's state and circuits after what was done."""
    its = engine.status().providers[provider]
    circuits = {provider: str(its.breaker.state), **{name: str(t.breaker.state) for name, t in its.targets.items()}}
    return {"provider": provider, "state": its.state, "in_flight": its.in_flight, "circuits": circuits}


COMMANDS: Final[Mapping[str, Run]] = {
    "status": _status,
    "open": _circuit(ProviderControl.open),
    "close": _circuit(ProviderControl.close),
    "disable": _circuit(ProviderControl.disable),
    "metrics-only": _circuit(ProviderControl.metrics_only),
    "drain": _admission(ProviderControl.drain),
    "resume": _admission(ProviderControl.resume),
    "keys": _keys,
    "reload": _reload,
}
RESTORE_KEY: Final = "restore-key"
"""The command that takes a key, too."""
BUDGET_COMMANDS: Final[Mapping[str, RunOnBudgets]] = {"budgets": _budgets, "set-limit": _set_limit}
"""Commands that take a budget, an entity, a unit and a limit."""
WHOLE_ENGINE: Final = frozenset({"status", "reload"})
"""Commands that take no provider."""

_BUDGET_FIELDS: Final = ("budget", "entity", "unit", "limit")
_FIELDS: Final = ("command", "provider", "model", "key", *_BUDGET_FIELDS)
_MAX_DIGITS: Final = 10
"""No provider has so many keys, and huge numbers are slow to read."""


async def answer(engine: Controlled, line: bytes) -> bytes:
    """Do what a line asks for; the answer is a line, without its end."""
    try:
        got = {"ok": True, **await _do(engine, line)}
    except ResilioError as exc:
        got = {"ok": False, "error": str(exc), "problems": exc.problems if isinstance(exc, ConfigError) else ()}
    except Exception:  # a bug of ours: whoever asks learns that, and no more
        logger.exception("the control command %.200r failed", line)
        got = {"ok": False, "error": "internal error; the log of the running program says more", "problems": ()}
    return orjson.dumps(got, option=orjson.OPT_NON_STR_KEYS, default=str)


async def _do(engine: Controlled, line: bytes) -> dict[str, Any]:
    asked = _read(line)
    command, provider, model = asked.pop("command"), asked.pop("provider", None), asked.pop("model", None)
    if command in BUDGET_COMMANDS:
        if provider is not None or model is not None:
            raise ControlError(f"{command} is about budgets and takes no provider")
        return await BUDGET_COMMANDS[command](engine, asked)
    key = asked.pop("key", None)
    if (key is not None) != (command == RESTORE_KEY):
        raise ControlError(f"{command} takes no key" if key is not None else f"{command} needs a key: index or name")
    if asked:
        raise ControlError(f"{command} is not about budgets and takes no {next(iter(asked))}")
    if key is not None:
        if provider is None or model is not None:
            raise ControlError(f"{command} needs a provider, and no model")
        return await _restore_key(engine, provider, key)
    run = COMMANDS.get(command)
    if run is None:
        known = (*COMMANDS, RESTORE_KEY, *BUDGET_COMMANDS)
        near = get_close_matches(command, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise ControlError(f"no command {command[:80]!r}; {hint}")
    if command in WHOLE_ENGINE and provider is not None:
        raise ControlError(f"{command} is for the whole engine and takes no provider")
    if command not in WHOLE_ENGINE and provider is None:
        raise ControlError(f"{command} needs a provider")
    return await run(engine, provider or "", model)


def _read(line: bytes) -> dict[str, str]:
    """The fields of a line that say something, `command` among them.

    Raises:
        ControlError: It is not one.
    """
    try:
        asked = orjson.loads(line)
    except ValueError as exc:
        raise ControlError(f"not JSON: {exc}") from exc
    if not isinstance(asked, dict):
        raise ControlError(f'expected an object like {{"command": "status"}}, not {type(asked).__name__}')
    if unknown := [key for key in asked if key not in _FIELDS]:
        raise ControlError(f"unknown field {unknown[0][:80]!r}; there are {', '.join(_FIELDS)}")
    for name in _FIELDS:
        value = asked.get(name)
        if value is not None and not isinstance(value, str):
            raise ControlError(f"{name} must be text")
    if not asked.get("command"):
        raise ControlError(f"no command; there are {', '.join((*COMMANDS, RESTORE_KEY, *BUDGET_COMMANDS))}")
    return {name: value for name, value in asked.items() if value is not None}
