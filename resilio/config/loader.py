"""Reads a configuration, from TOML or a mapping of the same shape, and refuses it whole or not at all.

What stands here is what the tables mean beyond their fields: sections, inheritance from
`[defaults]`; targets, rungs and keys in their short forms. Fields, types and
bounds come from the annotations in `settings`, relations between them from `checks`. Every problem
is found in one run. Secrets are read where they are kept, and appear nowhere else.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Final

from resilio.config.budgets import check_budget, check_budgets
from resilio.config.checks import check_cache_rungs, check_descents, check_routes, check_table
from resilio.config.credentials import Credentials, check_url
from resilio.config.faq import read_faq
from resilio.config.implied import NO_PREFIX, implied_tables
from resilio.config.kind_checks import check_kind, keys_of
from resilio.config.network import DIRECT, Networks
from resilio.config.problems import Path, Problems, listed, shown
from resilio.config.reader import BAD, Reader, fields_of
from resilio.config.route_checks import check_route_checks
from resilio.config.rules import check_rules
from resilio.config.semantic import check_semantic
from resilio.config.settings import (
    DEFAULT_URLS,
    DEFAULT_VERSIONS,
    LOCAL_CONCURRENCY,
    LOCAL_MODELS,
    RUNG_KINDS,
    STRATEGY_NAMES,
    AnswerSchema,
    BudgetSettings,
    CacheSettings,
    Config,
    Defaults,
    KeySettings,
    ModelSettings,
    NestedRoute,
    PricesSettings,
    ProviderSettings,
    RouteSettings,
    RuleSettings,
    RungSettings,
    TargetSettings,
)
from resilio.errors import ConfigError

__all__ = ["load_config"]

_SECTIONS: Final = {"provider": "providers", "route": "routes", "rule": "rules", "budget": "budgets"}
"""Sections whose TOML name is not the field's: ``[[provider]]`` reads better than ``[[providers]]``."""

_OWN_STRATEGY: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

# Keep the places of the others where a target or rung could not be read; the checks pass them over.
_NO_TARGET: Final = TargetSettings(provider="", model="")
_NO_RUNG: Final = RungSettings(kind="")


def load_config(
    source: Mapping[str, Any] | str | os.PathLike[str],
    *,
    environ: Mapping[str, str] = os.environ,
    strategies: Collection[str] = STRATEGY_NAMES,
    pretend: bool = False,
) -> Config:
    """Read and check a configuration.

    Args:
        source: A path of a TOML file, or a mapping of the shape such a file has.
        environ: Where ``env:NAME`` is looked up.
        strategies: Names a route's `strategy` may have.
        pretend: Do without the files and programs that keys come from; for simulations.

    Returns:
        The configuration: every name in it resolves, every number is within its bounds.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong. All problems are listed,
            each with its path and, for a file, its line.
    """
    if isinstance(source, Mapping):
        name, text, document = "configuration", None, source
        folder = os.getcwd()
    else:
        name = _named(source)
        text, document = _from_file(source, name)
        folder = os.path.dirname(os.path.abspath(name))
    problems = Problems()
    credentials = Credentials(problems, environ, folder, pretend=pretend)
    config = _Document(problems, credentials, strategies, folder).read(document)
    error = problems.error(name, text)
    if error is not None:
        del text, document, environ, credentials  # some tools print a traceback with variables; these hold secrets
        raise error
    return config


def _named(source: Any) -> str:
    try:
        return os.fsdecode(os.fspath(source))
    except TypeError:
        kind = type(source).__name__
        raise ConfigError([f"expected a path or a mapping, not a value of type {kind}"]) from None


def _from_file(source: str | os.PathLike[str], name: str) -> tuple[str, dict[str, Any]]:
    try:
        # utf-8-sig: some editors put a byte order mark in front, which TOML does not know.
        text = FilePath(source).read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise ConfigError(["there is no such file"], name) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"is not UTF-8 text (byte {exc.start})"], name) from exc
    except (OSError, ValueError) as exc:
        raise ConfigError([f"cannot be read: {getattr(exc, 'strerror', None) or exc}"], name) from exc
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # ValueError also for integers of thousands of digits
        raise ConfigError([f"is not TOML: {exc}"], name) from exc


class _Document:
    """One run over one document; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems, credentials: Credentials, strategies: Collection[str], folder: str) -> None:
        self.problems = problems
        self.credentials = credentials
        self.networks = Networks(problems, self.credentials, folder)
        self.strategies = strategies
        self.folder = folder
        special = {
            TargetSettings: self._target,
            RungSettings: self._rung,
            AnswerSchema: self._schema,
            KeySettings: self._key,
        }
        self.reader = Reader(problems, special, check_table)

    def read(self, document: Mapping[Any, Any]) -> Config:
        sections = {field: name for name, field in _SECTIONS.items()}
        specs = {sections.get(name, name): spec for name, spec in fields_of(Config).items()}
        for key in document:
            if key not in specs:
                path = (key,) if isinstance(key, str) else ()
                self.problems.add(path, f"unknown section{listed(''.join(path), specs)}")
        defaults = self._defaults(document)
        named = self._providers(document.get("provider", ()), defaults)
        raw_routes = document.get("route", {})
        routes = self._routes(raw_routes, defaults)
        self._imply(routes, named, defaults)
        route_names = dict.fromkeys(filter(_is_text, raw_routes)) if isinstance(raw_routes, Mapping) else {}
        check_routes(self.problems, routes, route_names, named)
        rules = self._rules(document.get("rule", ()))
        check_rules(self.problems, rules, route_names)
        others = {
            spec.name: self.reader.value(spec.type, document[key], (key,), spec)
            for key, spec in specs.items()
            if key in document and key not in ("defaults", *_SECTIONS)
        }
        providers = tuple(provider for provider in named.values() if provider is not None)
        prices = others.get("prices")
        if isinstance(prices, PricesSettings) and prices.file:
            from resilio.config.price_file import with_price_file  # only who has such a file pays for its import

            providers = with_price_file(self.problems, self.reader, prices.file, self.folder, providers)
        check_cache_rungs(self.problems, routes, others.get("cache"))
        others = self._beside(others)
        check_semantic(self.problems, getattr(others.get("cache"), "semantic", None), route_names)
        budgets = self._budgets(document.get("budget", ()))
        check_descents(self.problems, routes, budgets)
        looked_up = not isinstance(prices, PricesSettings) or prices.source != "none"
        filled = {**named, **{provider.name: provider for provider in providers}}
        check_budgets(self.problems, budgets, routes, filled, looked_up=looked_up)
        kept = tuple(rule for rule in rules if rule is not None)
        return Config(
            defaults=defaults, providers=providers, routes=routes, rules=kept,
            budgets=tuple(budget for budget in budgets if budget is not None), **others,
        )  # fmt: skip

    def _beside(self, sections: dict[str, Any]) -> dict[str, Any]:
        """Files that are named lie beside the one that names them."""
        caches = sections.get("cache")
        if not isinstance(caches, CacheSettings) or caches.semantic is None or caches.semantic.calibration is None:
            return sections
        path = os.path.join(self.folder, caches.semantic.calibration)
        return {**sections, "cache": replace(caches, semantic=replace(caches.semantic, calibration=path))}

    def _defaults(self, document: Mapping[str, Any]) -> Defaults:
        read = self.reader.table(Defaults, document.get("defaults", {}), ("defaults",))
        return Defaults() if read is None else read

    def _inherited(self, cls: type[Any], defaults: Defaults) -> dict[str, Any]:
        """Whole tables a provider or route shares with `[defaults]`: same name, same type."""
        shared = fields_of(Defaults)
        return {
            name: getattr(defaults, name)
            for name, spec in fields_of(cls).items()
            if name in shared and shared[name].type == spec.type
        }

    # --- providers ---------------------------------------------------------------------------

    def _providers(self, raw: Any, defaults: Defaults) -> dict[str, ProviderSettings | None]:
        """All providers by name; None for those that have a name but could not be read."""
        if isinstance(raw, str | Mapping) or not isinstance(raw, Sequence):
            hint = 'expected an array of tables: write [[provider]] with name = "..." in it'
            self.problems.add(("provider",), f"is {shown(raw)}; {hint}")
            # Its names are still known, so that routes do not complain about each of them.
            return dict.fromkeys(filter(_is_text, raw)) if isinstance(raw, Mapping) else {}
        found: dict[str, ProviderSettings | None] = {}
        for index, table in enumerate(raw):
            path: Path = ("provider", index)
            name = table.get("name") if isinstance(table, Mapping) else None
            if not isinstance(name, str) or not name:
                self._provider(table, path, defaults)
            elif name in found:
                self.problems.add((*path, "name"), f"{shown(name)} is the name of an earlier provider too")
                self._provider(table, path, defaults)
            else:
                self.problems.labels[path] = self.problems.render(("provider", name))
                found[name] = self._provider(table, path, defaults)
        return found

    def _provider(self, table: Any, path: Path, defaults: Defaults) -> ProviderSettings | None:
        fallbacks = self._inherited(ProviderSettings, defaults)
        models = table.get("models", {}) if isinstance(table, Mapping) else {}
        local = isinstance(table, Mapping) and table.get("kind") == "local"
        if local:
            fallbacks["models"] = _local_models(models)
            fallbacks["max_concurrency"] = LOCAL_CONCURRENCY
            if models == {}:
                table = {key: value for key, value in table.items() if key != "models"}
        kind = table.get("kind") if isinstance(table, Mapping) else None
        for field, known in (("base_url", DEFAULT_URLS), ("version", DEFAULT_VERSIONS)):
            if isinstance(kind, str) and kind in known:
                fallbacks[field] = known[kind]
        stand_ins = {"name": "", "kind": "local" if local else "openai"}
        provider = self.reader.table(ProviderSettings, table, path, fallbacks, stand_ins=stand_ins)
        if provider is None:
            return None
        if "/" in provider.name:
            text = f'{shown(provider.name)} has a "/" in it, which parts provider and model in a target'
            self.problems.add((*path, "name"), text)
        check_kind(self.problems, provider, path)
        if local:
            self._check_local(provider, path)
        elif provider.base_url or not self.problems.touch((*path, "kind")):
            example = "https://NAME.openai.azure.com" if provider.kind == "azure" else "https://api.openai.com/v1"
            check_url(self.problems, provider.base_url, (*path, "base_url"), example)
        written_url = isinstance(table, Mapping) and "base_url" in table
        keys = keys_of(self.problems, provider, path, self.credentials.environ, written_url=written_url)
        checked = replace(
            provider,
            keys=self.credentials.keys(keys, (*path, "keys")),
            headers=self.credentials.headers(provider.headers, (*path, "headers")),
            network=self.networks.checked(provider.network, provider.base_url, (*path, "network")),
        )
        # Where a model could not be read at all, routes should not be told that it is not there.
        readable = isinstance(models, Mapping) and all(isinstance(one, Mapping) for one in models.values())
        return checked if readable else None

    def _key(self, raw: Any, path: Path) -> Any:
        """``"env:NAME"`` and the like, or a table with that as its `key`."""
        if isinstance(raw, Mapping):
            made = self.reader.table(KeySettings, raw, path, fixed={"source": None})
            return BAD if made is None else made
        secret = self.reader.value(str, raw, path, fields_of(KeySettings)["key"])
        return BAD if secret is BAD else KeySettings(key=secret)

    def _imply(
        self, routes: Mapping[str, RouteSettings], named: dict[str, ProviderSettings | None], defaults: Defaults
    ) -> None:
        """Add the providers that targets name and nobody declared; None for one that lacks a key or an address."""
        problems, environ = self.problems, self.credentials.environ
        for name, path, table in implied_tables(problems, routes, named, environ):
            named[name] = self._provider(table, path, defaults)
        for route in routes.values():
            for index, target in enumerate(route.targets):
                if isinstance(target, TargetSettings) and problems.touch(("route", route.name, "targets", index)):
                    named.setdefault(target.provider, None)

    def _check_local(self, provider: ProviderSettings, path: Path) -> None:
        for name in ("base_url", "keys", "headers"):
            if getattr(provider, name):
                text = "must be absent for kind local: the model runs on this machine"
                self.problems.add((*path, name), text)
        if provider.network != DIRECT:
            self.problems.add((*path, "network"), "must be absent for kind local: the model runs on this machine")

    # --- routes ------------------------------------------------------------------------------

    def _routes(self, raw: Any, defaults: Defaults) -> dict[str, RouteSettings]:
        if not isinstance(raw, Mapping):
            self.problems.add(("route",), f"is {shown(raw)}; expected tables: write [route.NAME]")
            return {}
        found = {}
        inherited = self._inherited(RouteSettings, defaults)
        for name, table in raw.items():
            path: Path = ("route", name)
            if not _is_text(name) or not name.strip() or name != name.strip():
                self.problems.add(("route",), f"{shown(name)} is not a name for a route")
                continue
            if name in fields_of(RouteSettings) and not isinstance(table, Mapping):
                self.problems.add(path, "belongs in a route: write [route.NAME] above it")
                continue
            route = self.reader.table(RouteSettings, table, path, inherited, {"name": name}, {"targets": ()})
            if route is not None:
                found[name] = route
                self._check_route(route, path)
        return found

    def _check_route(self, route: RouteSettings, path: Path) -> None:
        if not route.targets and not self.problems.touch((*path, "targets")):
            self.problems.add((*path, "targets"), 'is empty; expected at least one "provider/model"')
        if route.strategy not in self.strategies and not _OWN_STRATEGY.fullmatch(route.strategy):
            hint = listed(route.strategy, self.strategies)
            if ":" in route.strategy:
                hint = '; one of your own is "package.module:name"'
            self.problems.add((*path, "strategy"), f"is {shown(route.strategy)}{hint}")
        if not route.ladder and not self.problems.touch((*path, "ladder")):
            self.problems.add((*path, "ladder"), 'is empty; expected at least "full"')
        check_route_checks(self.reader, route, path)

    def _schema(self, raw: Any, path: Path) -> Any:
        """``true``, or a table that is a JSON schema."""
        if raw is True:
            return AnswerSchema()
        if isinstance(raw, Mapping):
            return AnswerSchema(document=raw)
        self.problems.add(path, f"is {shown(raw)}; expected true or a table that is a JSON schema")
        return BAD

    def _target(self, raw: Any, path: Path) -> TargetSettings | NestedRoute:
        """``"provider/model"``, or a table with `target`, or with `provider` and `model`; or ``{ route = "name" }``.

        The first "/" parts the two: names of models may contain more of them. Without one it is a model of OpenAI's.
        A route has only the table form, as a rung that leads to one has: no text can then be taken for the other.
        """
        if isinstance(raw, Mapping) and "route" in raw:
            return self.reader.table(NestedRoute, raw, path) or _NO_TARGET
        if isinstance(raw, str):
            raw, where = {"target": raw}, path
        else:
            where = (*path, "target")
        if isinstance(raw, Mapping) and "target" in raw:
            named = raw["target"]
            provider, slash, model = named.partition("/") if _is_text(named) else ("", "", "")
            if _is_text(named) and named.strip() and not slash and not named.startswith("route:"):
                provider, slash, model = NO_PREFIX, "/", named
            if not (provider.strip() and slash and model.strip()):
                other = ' or { route = "name" }' if where == path else ""
                self.problems.add(where, f'is {shown(named)}; expected "provider/model"{other}')
                return _NO_TARGET
            double = [key for key in ("provider", "model") if key in raw]
            if double:
                self.problems.add((*path, double[0]), "is said by target already; leave it out")
            rest = {key: value for key, value in raw.items() if key != "target"}
            raw = {**rest, "provider": provider, "model": model}
        made = self.reader.table(TargetSettings, raw, path, stand_ins={"provider": "", "model": ""})
        return _NO_TARGET if made is None else made

    def _rung(self, raw: Any, path: Path) -> RungSettings:
        """``"full"``, ``"cache"``, ``{ simpler = "route" }`` or ``{ static = "faq.toml" }``; tables may say more."""
        if isinstance(raw, str):
            kind, argument, more = raw, None, {}
        else:
            known = [key for key in raw if key in RUNG_KINDS] if isinstance(raw, Mapping) else []
            kinds = known or (list(raw) if isinstance(raw, Mapping) else [])
            if len(kinds) != 1 or not _is_text(kinds[0]):
                forms = '"full", "cache", { simpler = "route" } or { static = "faq.toml" }'
                self.problems.add(path, f"is {shown(raw)}; expected {forms}")
                return _NO_RUNG
            kind, argument = kinds[0], raw[kinds[0]]
            more = {key: value for key, value in raw.items() if key != kind}
        if kind not in RUNG_KINDS:
            self.problems.add(path, f"no rung is called {shown(kind)}{listed(kind, RUNG_KINDS)}")
            return _NO_RUNG
        takes = {"simpler": "the name of a route", "static": "a file of prepared answers"}.get(kind)
        if takes is None and argument not in (None, True):
            self.problems.add(path, f'{kind} takes nothing; write "{kind}", or {{ {kind} = true, label = "..." }}')
        elif takes is not None and not (_is_text(argument) and argument):
            self.problems.add(path, f'{kind} needs {takes}: write {{ {kind} = "..." }}')
        else:
            return self._rung_table(kind, argument if takes else None, more, path)
        return _NO_RUNG

    def _rung_table(self, kind: str, argument: str | None, more: Mapping[str, Any], path: Path) -> RungSettings:
        fixed = {"kind": kind, "argument": argument, "faq": None}
        rung = self.reader.table(RungSettings, more, path, {}, fixed)
        if rung is None:
            return _NO_RUNG
        for name in ("match", "threshold"):
            if kind != "static" and name in more:
                self.problems.add((*path, name), "has a meaning for static alone")
        if kind != "static" or argument is None:
            return rung
        try:
            return replace(rung, faq=read_faq(FilePath(self.folder, argument)))
        except ConfigError as exc:
            for problem in exc.problems:
                self.problems.add(path, f"{argument}: {problem}")
            return rung

    # --- rules -------------------------------------------------------------------------------

    def _rules(self, raw: Any) -> list[RuleSettings | None]:
        """All rules in order; None for those that could not be read. One without a name has its number."""
        if isinstance(raw, str | Mapping) or not isinstance(raw, Sequence):
            self.problems.add(
                ("rule",), f'is {shown(raw)}; expected an array of tables: write [[rule]] with use = "..."'
            )
            return []
        found = []
        for index, table in enumerate(raw):
            path: Path = ("rule", index)
            if isinstance(table, Mapping) and _is_text(table.get("name")) and table["name"]:
                self.problems.labels[path] = self.problems.render(("rule", table["name"]))
            rule = self.reader.table(RuleSettings, table, path)
            found.append(rule if rule is None or rule.name else replace(rule, name=str(index + 1)))
        return found

    # --- budgets -----------------------------------------------------------------------------

    def _budgets(self, raw: Any) -> list[BudgetSettings | None]:
        """All budgets in order; None for those that could not be read."""
        if isinstance(raw, str | Mapping) or not isinstance(raw, Sequence):
            hint = 'expected an array of tables: write [[budget]] with per = "user" in it'
            self.problems.add(("budget",), f"is {shown(raw)}; {hint}")
            return []
        found = []
        for index, table in enumerate(raw):
            path: Path = ("budget", index)
            if isinstance(table, Mapping) and _is_text(table.get("name")) and table["name"]:
                self.problems.labels[path] = self.problems.render(("budget", table["name"]))
            stand_ins = {"per": "", "window": "day"}
            budget = self.reader.table(BudgetSettings, table, path, stand_ins=stand_ins)
            if budget is not None:
                check_budget(self.reader, budget, path)
            found.append(budget)
        return found


def _local_models(written: Any) -> Mapping[str, ModelSettings]:
    """What local models fall back to: each runs in the one engine and can do what that can."""
    if not isinstance(written, Mapping) or not written:
        return LOCAL_MODELS
    return dict.fromkeys(filter(_is_text, written), next(iter(LOCAL_MODELS.values())))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
