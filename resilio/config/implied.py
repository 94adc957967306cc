"""Providers that nobody declared: ``anthropic/claude-sonnet-4-5`` in a route says by itself where and in which format.

The part before the first "/" is a kind of `resilio.config.kinds` or one of its synonyms, as in LiteLLM; a name without
a "/" is a model of OpenAI's. Its address is the kind's own, its key in the variable that people keep it in. A declared
provider of that name always wins. The rule that keeps it simple: what is implied is a table like one in the file, read
by the same code; so it has the defaults, the bounds and the checks of every other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from resilio.config.kinds import PREFIXES, Kind
from resilio.config.problems import Path, Problems, listed, nearest, shown
from resilio.config.settings import RouteSettings, TargetSettings

__all__ = ["NO_PREFIX", "conventional_key", "implied_tables", "key_missing", "unknown_provider"]

NO_PREFIX: Final = "openai"
"""The provider of a model whose name says none."""


def conventional_key(kind: Kind, environ: Mapping[str, str], base_url: str = "") -> str | None:
    """The variable of this kind that is set, if one is: the first, or the one whose address is `base_url`.

    A key whose own address is set too, and is another host than `base_url`, was not made for it and is not given.
    """
    given = [name for name in kind.key_variables if environ.get(name, "").strip()]
    if not base_url:
        return next(iter(given), None)
    urls = dict(zip(kind.key_variables, kind.url_variables, strict=False))
    homes = {name: environ.get(urls.get(name, ""), "").strip() for name in given}
    fitting = [name for name in given if not homes[name] or _host(homes[name]) == _host(base_url)]
    return min(fitting, key=lambda name: not homes[name], default=None)


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url.lower())
    return parts.scheme, parts.netloc


def key_missing(kind: Kind, environ: Mapping[str, str]) -> str:
    """What to say where no key was found: which variable, and which it may have been meant to be."""
    names = _either(kind.key_variables)
    close = next((found for name in kind.key_variables if (found := nearest(name, tuple(environ), 0.85))), None)
    return f"{names} is not set" + ("" if close is None else f"; did you mean {close}, which is set?")


def unknown_provider(name: str, providers: Iterable[str]) -> str:
    """The end of a message about a provider there is not: the nearest name that is declared, or that is a prefix."""
    declared = tuple(providers)
    if nearest(name, declared) is None and (close := nearest(name, PREFIXES)) is not None:
        return f"; did you mean the prefix {shown(f'{close}/')}?"
    return listed(name, declared or PREFIXES)


def implied_tables(
    problems: Problems, routes: Mapping[str, RouteSettings], declared: Iterable[str], environ: Mapping[str, str]
) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Name, place of the first mention, and table of each provider that targets name and nobody declared.

    Where its address or key is not to be found a problem is noted there, once, and no table is given.
    """
    known = set(declared)
    models: dict[str, dict[str, Any]] = {}
    places: dict[str, tuple[Path, TargetSettings]] = {}
    for route in routes.values():
        for index, target in enumerate(route.targets):
            if not isinstance(target, TargetSettings) or target.provider in known or not target.model:
                continue
            if target.provider in PREFIXES:
                places.setdefault(target.provider, (("route", route.name, "targets", index), target))
                models.setdefault(target.provider, {})[target.model] = {}
    for name, (path, target) in places.items():
        table = _table(problems, name, path, target, environ)
        if table is not None:
            yield name, path, {**table, "models": models[name]}


def _table(
    problems: Problems, name: str, path: Path, target: TargetSettings, environ: Mapping[str, str]
) -> dict[str, Any] | None:
    kind = PREFIXES[name]
    table: dict[str, Any] = {"name": name, "kind": kind.name}
    otherwise = f"or declare a provider {shown(name)}"
    url = _address(kind, environ)
    if url:
        table["base_url"] = url
    elif not kind.url and kind.url_variables:
        text = f"needs an address: {_either(kind.url_variables)} is not set; set it, {otherwise} with a base_url"
        problems.add(path, f"{shown(target.name)} {text}")
        return None
    variable = conventional_key(kind, environ, url) if kind.has_key_of(url or kind.url) else None
    if variable is not None:
        table["keys"] = [f"env:{variable}"]
    elif kind.needs_key:
        text = f"needs a key: {key_missing(kind, environ)}; set it, {otherwise} with keys"
        problems.add(path, f"{shown(target.name)} {text}")
        return None
    if version := next((found for each in kind.version_variables if (found := environ.get(each, "").strip())), ""):
        table["version"] = version
    return table


def _address(kind: Kind, environ: Mapping[str, str]) -> str:
    """What the variables for it say: first of one whose key is set as well."""
    found = [(name, url) for name in kind.url_variables if (url := environ.get(name, "").strip())]
    keyed = {
        url for key, url in zip(kind.key_variables, kind.url_variables, strict=False) if environ.get(key, "").strip()
    }
    return min(found, key=lambda its: its[0] not in keyed, default=("", ""))[1]


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)
