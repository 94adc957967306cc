"""Price files: prices and windows of many models in one place, for models that say none themselves.

Two formats, told apart by what is in them. Our own is TOML, with the settings a model has in a configuration, by
its name or, where a name means different things at different sellers, by "provider/name":

    [models."gpt-4o"]
    context_window = 128_000
    price = { input = 2.5, output = 10, cache_read = 1.25 }

The other is the JSON of LiteLLM's price list, read by `resilio.config.litellm_prices`. The rule that keeps it
simple: a file only adds to what is not said, and a wrong entry is a problem of the configuration that names it.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Final

from resilio.config.litellm_prices import entries_of
from resilio.config.problems import Path, Problems, shown
from resilio.config.settings import ALL_CAPABILITIES, CONFIGURED, ModelSettings, Price, ProviderSettings, Setting
from resilio.models import Capability

if TYPE_CHECKING:
    from resilio.config.reader import Reader

__all__ = ["PriceEntry", "read_document", "with_price_file"]

_SECTION: Final = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry:
    """What a price file may say of a model."""

    price: Annotated[Price | None, Setting("None: the file only knows its limits")] = None
    context_window: Annotated[int | None, Setting("input and output together", "tokens", above=0)] = None
    max_output_tokens: Annotated[int | None, Setting("the most it can write", "tokens", above=0)] = None
    lacks: Annotated[tuple[Capability, ...], Setting("what it cannot do")] = ()


def read_document(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Entries of a price file by name, unchecked: tables of the shape of `PriceEntry`.

    Raises:
        ValueError: It cannot be read, or has no price file's shape; the message goes on from "the file ...".
    """
    try:
        text = FilePath(path).read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ValueError(f"cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"is not UTF-8 text (byte {exc.start})") from exc
    if text.lstrip()[:1] == "{":  # no TOML document begins so
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"is not JSON: {exc}") from exc
        return entries_of(document)
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"is neither TOML nor JSON: {exc}") from exc
    unknown = [key for key in found if key != _SECTION]
    if unknown or not isinstance(found.get(_SECTION), Mapping):
        got = f"section {shown(unknown[0])}" if unknown else "no section models"
        raise ValueError(f'has {got}; expected [models."NAME"] and nothing else')
    models: Mapping[str, Any] = found[_SECTION]
    return models


def with_price_file(
    problems: Problems, reader: Reader, file: str, folder: str, providers: Iterable[ProviderSettings]
) -> tuple[ProviderSettings, ...]:
    """The providers, with what the file knows of models that do not say it themselves.

    Only entries of models that are configured are looked at: the others are somebody else's.
    """
    path: Path = ("prices", "file")
    try:
        entries = read_document(os.path.join(folder, os.path.expanduser(file)))
    except ValueError as exc:
        problems.add(path, f"{file} {exc}")
        return tuple(providers)
    filled = []
    for provider in providers:
        models = {}
        for name, model in provider.models.items():
            key = next((each for each in _names(provider, name, model) if each in entries), None)
            entry = None if key is None else _entry(problems, reader, entries[key], file, key)
            models[name] = model if entry is None else _over(model, entry, f"{file}: {key}")
        filled.append(replace(provider, models=models))
    return tuple(filled)


def _names(provider: ProviderSettings, name: str, model: ModelSettings) -> Iterable[str]:
    """What an entry for this model may be called, the most particular first."""
    if model.price_as is not None:
        yield model.price_as
    yield f"{provider.name}/{name}"
    yield name


def _entry(problems: Problems, reader: Reader, raw: Any, file: str, key: str) -> PriceEntry | None:
    path: Path = ("prices", "file", key)
    problems.labels[path] = f"prices.file ({file}): {_SECTION}.{shown(key)}"
    return reader.table(PriceEntry, raw, path)


def _over(model: ModelSettings, entry: PriceEntry, source: str) -> ModelSettings:
    """What the model says itself holds; the rest is the entry's."""
    price = model.price
    if price is None and entry.price is not None:
        price = entry.price if entry.price.source != CONFIGURED else replace(entry.price, source=source)
    window = entry.context_window if model.context_window is None else model.context_window
    most = entry.max_output_tokens if model.max_output_tokens is None else model.max_output_tokens
    if window is not None and most is not None and most > window:  # one of the two is the model's own
        window, most = model.context_window, model.max_output_tokens
    can = model.capabilities
    return replace(
        model,
        price=price,
        context_window=window,
        max_output_tokens=most,
        capabilities=can - set(entry.lacks) if can == ALL_CAPABILITIES else can,
    )
