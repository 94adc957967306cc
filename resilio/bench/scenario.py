"""Scenarios: simulated providers that stand in for those of a configuration, each with a script of its own.

A scenario file has a table `[provider.NAME]` for each provider that is to do more than answer well; what stands
in it is what `Script.from_dict` reads.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from resilio.config import Config, ControlSettings, NetworkSettings, load_config
from resilio.errors import ConfigError
from resilio.testing.script import Script

__all__ = [
    "BUILT_IN",
    "HEALTHY",
    "as_simulated",
    "built_in",
    "healthy",
    "load_without_keys",
    "read_scenario",
    "simulated_url",
    "without_socket",
]

BUILT_IN: Final = ("east", "west")
"""Providers of the configuration that is used where there is none."""

HEALTHY: Final = """\
first_token = { lognormal = { median = 0.05, sigma = 0.3 } }
tokens_per_second = 500
"""
"""A provider without a table: it answers well, and fast."""


def built_in(urls: Mapping[str, str]) -> Config:
    """A configuration of providers at these URLs, by name, all in one route, in that order.

    Their limit on concurrency lies out of the way: what is measured is the engine.
    """
    return load_config(
        {
            "provider": [
                {"name": name, "kind": "openai", "base_url": url, "models": {"large": {}}, "max_concurrency": 4096}
                for name, url in urls.items()
            ],
            "route": {"chat": {"targets": [f"{name}/large" for name in urls]}},
        }
    )


def read_scenario(path: Path, providers: Collection[str] | None = None) -> dict[str, Script]:
    """The scripts of a scenario file, by provider.

    Args:
        path: The file.
        providers: The providers there are; None: any name will do.

    Raises:
        ConfigError: The file is wrong, or names a provider there is not; every problem is listed.
    """
    scripts: dict[str, Script] = {}
    problems = []
    for name, table in _tables(path).items():
        if providers is not None and name not in providers:
            near = get_close_matches(name, providers, 1) or sorted(providers)
            problems.append(f"provider.{name}: there is no such provider; there is {', '.join(near)}")
            continue
        try:
            scripts[name] = Script.from_dict(table)
        except ConfigError as exc:
            problems += [f"provider.{name}.{problem}" for problem in exc.problems]
    if problems:
        raise ConfigError(problems, str(path))
    return scripts


def healthy() -> Script:
    """What a provider without a table does."""
    return Script.from_dict(tomllib.loads(HEALTHY))


def _tables(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], str(path)) from exc
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigError([f"is not TOML: {exc}"], str(path)) from exc
    found = whole.pop("provider", {})
    if whole or not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        raise ConfigError(["expected tables [provider.NAME] and nothing else"], str(path))
    return found


# --- a configuration without its providers -----------------------------------------------------


def simulated_url(number: int) -> str:
    """Where the n-th simulated provider is: a name that no resolver knows."""
    return f"http://provider-{number}.simulated/v1"


class _Pretended(Mapping[str, str]):
    """An environment in which every variable is set: a simulation needs no secret, and must not hold one."""

    def __getitem__(self, name: str) -> str:
        return f"simulated-{name}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def load_without_keys(path: Path) -> Config:
    """Read a configuration as it will be simulated: what it takes keys from need not be there.

    Raises:
        ConfigError: It is wrong.
    """
    return load_config(path, environ=_Pretended(), pretend=True)


def as_simulated(config: Config) -> Config:
    """The same configuration with every provider replaced by a simulated one; limits and clocks stay."""
    providers = tuple(
        replace(
            provider,
            kind="openai",
            base_url=simulated_url(number),
            keys=tuple(replace(key, key=f"simulated-{at}", source=None) for at, key in enumerate(provider.keys)),
            headers={},
            network=NetworkSettings(),
        )
        for number, provider in enumerate(config.providers)
    )
    return without_socket(replace(config, providers=providers))


def without_socket(config: Config) -> Config:
    """The same without a control socket, which belongs to the program that serves with this configuration."""
    return replace(config, control=ControlSettings())
