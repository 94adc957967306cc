"""Simulated providers in processes of their own, so that their work is not taken for the engine's."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from resilio.bench.scenario import HEALTHY, read_scenario
from resilio.errors import ResilioError

__all__ = ["simulated_providers"]

ENDS_WITHIN: Final = 5.0
"""Seconds that a provider gets to end."""


@contextlib.contextmanager
def simulated_providers(names: Collection[str], scenario: Path | None, seed: int) -> Iterator[dict[str, str]]:
    """Serve one provider a name over sockets; gives their base URLs.

    Args:
        names: Of the providers.
        scenario: Their scripts; None: all answer well, as those do that have no table in it.
        seed: Of what they draw.

    Raises:
        ConfigError: The scenario is wrong.
        ResilioError: A process ended before it served.
    """
    scripted = {} if scenario is None else read_scenario(scenario, names)
    with contextlib.ExitStack() as stack:
        spare = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "healthy.toml"
        spare.write_text("".join(f"[provider.{name}]\n{HEALTHY}" for name in names), encoding="utf-8")
        files = {name: scenario if scenario is not None and name in scripted else spare for name in names}
        yield {name: stack.enter_context(_provider(name, file, seed)) for name, file in files.items()}


@contextlib.contextmanager
def _provider(name: str, scenario: Path, seed: int) -> Iterator[str]:
    command = [sys.executable, "-m", "resilio", "simulated-provider", "--seed", str(seed)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--script", str(scenario), "--provider", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise ResilioError(f"the simulated provider {name!r} did not start; try: {' '.join(process.args)}")  # type: ignore[arg-type]  # a list of str
        yield url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
