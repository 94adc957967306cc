"""What a provider's kind says of its settings: which may stand there, and the key where none is written.

Left out: providers that nobody declared (`implied`). The rule that keeps it simple: a key is read from a variable only
for the host that it was made for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from resilio.config.implied import conventional_key, key_missing
from resilio.config.kinds import KINDS
from resilio.config.problems import Path, Problems, listed, shown
from resilio.config.settings import KeySettings, ProviderSettings

__all__ = ["check_kind", "keys_of"]

_AUTH: Final = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
_AZURE_VERSION: Final = re.compile(r"v1|preview|latest|\d{4}-\d\d-\d\d(-preview)?")


def keys_of(
    problems: Problems, provider: ProviderSettings, path: Path, environ: Mapping[str, str], *, written_url: bool
) -> tuple[KeySettings, ...]:
    """The keys as written; where none are, the variable that holds this kind's by convention, if it is set.

    Who writes no `base_url` means the company's own server, which answers nobody without a key: that one is then a
    problem. With a `base_url` there may be a proxy that needs none.
    """
    kind = KINDS.get(provider.kind)
    by_header = any(name.lower() in _AUTH for name in provider.headers)
    if provider.keys or kind is None or by_header or problems.touch((*path, "keys")):
        return provider.keys
    if not kind.has_key_of(provider.base_url):
        return ()
    variable = conventional_key(kind, environ, provider.base_url)
    if variable is not None:
        return (KeySettings(key=f"env:{variable}"),)
    if kind.needs_key and not written_url and not kind.own_server and not problems.touch((*path, "kind")):
        problems.add((*path, "keys"), f"is missing, and {key_missing(kind, environ)}; set it, or write keys")
    return ()


def check_kind(problems: Problems, provider: ProviderSettings, path: Path) -> None:
    """Refuse a version where there are none or that there never was, and deployments where they mean nothing."""
    version, where = provider.version, (*path, "version")
    if version and not KINDS[provider.kind].version:
        problems.add(where, f"must be absent for kind {provider.kind}: its API has no versions")
    if provider.kind == "azure":
        if version and not _is_azure_version(version):
            problems.add(where, f'is {shown(version)}; expected "v1", "preview" or a date such as "2024-10-21"')
        if "/openai/deployments/" in provider.base_url:
            text = "goes on to a deployment; end at the host: the model, or its `deployment`, says which"
            problems.add((*path, "base_url"), text)
        return
    known = KINDS[provider.kind].versions
    if version and known and version not in known:
        problems.add(where, f"is {shown(version)}{listed(version, known)}")
    for name, model in provider.models.items():
        if model.deployment is not None:
            text = "has a meaning for kind azure alone; elsewhere a model's name is what is asked for"
            problems.add((*path, "models", name, "deployment"), text)


def _is_azure_version(version: str) -> bool:
    if not _AZURE_VERSION.fullmatch(version):
        return False
    try:
        date.fromisoformat(version[:10])
    except ValueError:
        return not version[0].isdigit()
    return True
