"""Which embedder a command measures with: one that needs no more than its name, or the one of a configuration."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from resilio.bench.scenario import without_socket
from resilio.cache.embedding import EMBEDDERS, Embedder, Means
from resilio.cli.command import UsageError
from resilio.client import Client
from resilio.config import load_config

__all__ = ["LOCAL", "add_embedder", "opened"]

LOCAL: Final = tuple(name for name in EMBEDDERS if name != "provider")
"""Embedders that need no more than their name."""


def add_embedder(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--embedder", choices=LOCAL, default="minilm", help="default: %(default)s")
    which.add_argument(
        "--config", type=Path, metavar="FILE",
        help="the embedder of its [cache.semantic], such as a route; texts are sent to it",
    )  # fmt: skip


@contextlib.asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Embedder]:
    """The embedder that the options name, closed at the end.

    Raises:
        UsageError: The configuration has no semantic cache.
        ConfigError: The configuration is wrong.
    """
    if options.config is None:
        embedder = EMBEDDERS[options.embedder](Means())
        try:
            yield embedder
        finally:
            await embedder.aclose()
        return
    config = without_socket(load_config(options.config))
    if config.cache.semantic is None:
        raise UsageError(f"{options.config} has no [cache.semantic], so there is no embedder to measure")
    # What the program keeps on disk is its own, and may be in use.
    caches = replace(config.cache, semantic=replace(config.cache.semantic, path=""))
    async with Client(replace(config, cache=caches)) as llm:
        found = llm.embedder
        assert found is not None, "a semantic cache has one"
        yield found
