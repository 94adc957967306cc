"""The pages keep their word: code runs, configurations load, commands parse, links lead somewhere.

A block that cannot run is marked on the line above it, with ``<!-- not run: why -->``.
"""

import ast
import inspect
import os
import re
import shlex
import tomllib
from argparse import ArgumentParser
from dataclasses import dataclass
from functools import partialmethod
from importlib import import_module
from pathlib import Path

import pytest
import trustme

from resilio import Client
from resilio.bench.scenario import read_scenario
from resilio.cli import COMMANDS
from resilio.config import load_config
from resilio.config.kinds import KINDS
from resilio.testing import InlineExecutor, Script, ScriptedTransport, SimulatedProvider, VirtualTimeLoop, run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n$")
MOST_NOT_RUN = 3


@dataclass
class Block:
    page: str
    line: int
    language: str
    text: str
    why_not: str | None

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks_of(page):
    text = TEXTS[page]
    for found in FENCE.finditer(text):
        why_not = NOT_RUN.search(text[: found.start()])
        line = text.count("\n", 0, found.start()) + 2
        yield Block(page, line, found[1], found[3], why_not and why_not[1])


BLOCKS = [block for page in TEXTS for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
TOML = [block for block in BLOCKS if block.language == "toml"]


def test_every_block_says_its_language_and_each_that_is_not_run_says_why():
    known = {"python", "toml", "console", "text", "mermaid", "json", "yaml", "http"}
    assert {str(block): block.language for block in BLOCKS if block.language not in known} == {}
    not_run = {str(block): block.why_not for block in BLOCKS if block.why_not}
    assert len(not_run) <= MOST_NOT_RUN, not_run
    # Nothing looks like a block and escapes the search.
    fences = sum(text.count("\n```") + text.startswith("```") for text in TEXTS.values())
    assert fences == 2 * len(BLOCKS)


# --- configurations ------------------------------------------------------------------------------

WHOLE = {
    "provider": [{"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "models": {"m": {}}}],
    "route": {name: {"targets": ["p/m"]} for name in ("chat", "small", "long", "embed")},
}
OF_A_ROUTE = {"strategy", "hedge", "on_break", "ladder", "retry", "clocks", "deadline", "targets"}
OF_DEFAULTS = {"breaker"}
CONVENTIONAL = {name: f"sk-example-of-{name.lower()}" for kind in KINDS.values() for name in kind.key_variables}
"""A key in each variable that targets may read without saying so."""


def is_whole(text):
    return isinstance(tomllib.loads(text).get("provider"), list)


def completed(fragment):
    """A fragment of a configuration in its place in a whole one."""
    chat = {**WHOLE["route"]["chat"], **{key: its for key, its in fragment.items() if key in OF_A_ROUTE}}
    rest = {key: its for key, its in fragment.items() if key not in OF_A_ROUTE | OF_DEFAULTS}
    defaults = {key: its for key, its in fragment.items() if key in OF_DEFAULTS}
    routes = {**WHOLE["route"], "chat": chat, **rest.pop("route", {})}
    return {**WHOLE, **rest, "route": routes, "defaults": {**defaults, **rest.get("defaults", {})}}


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_in(inner)


def environment_of(text):
    """A value for each variable a configuration reads."""
    names = {its[4:] for its in strings_in(tomllib.loads(text)) if its.startswith("env:")}
    values = {name: f"sk-example-of-{name.lower()}" for name in names}
    return {name: "http://me:pass@proxy.test:3128" if "PROXY" in name else its for name, its in values.items()}


def write_files(text, folder):
    """The certificates, prepared answers and keys a configuration names, in their places."""
    ca = trustme.CA()
    issued = ca.issue_cert("gateway@example.org")
    its_bytes = {
        "ca_file": ca.cert_pem.bytes(),
        "client_cert": issued.cert_chain_pems[0].bytes(),
        "client_key": issued.private_key_pem.bytes(),
    }
    for name in re.findall(r'static = "([^"]+)"', text):
        (folder / name).write_text('[[answer]]\nquestion = "Why?"\nanswer = "Because."\n')
    for name in re.findall(r'"file:([^"]+)"', text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("sk-example-in-a-file-" + name)
    for setting, name in re.findall(r'^(\w+) = "(.+)"$', text, re.MULTILINE):
        if setting in its_bytes:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(its_bytes[setting])


def is_script(document):
    return any("fault" in rule or "faults" in rule for rule in document.get("rule", ()))


@pytest.mark.parametrize("block", TOML, ids=str)
def test_configurations_load_and_scripts_are_scripts(block, tmp_path):
    document = tomllib.loads(block.text)
    if is_whole(block.text):
        write_files(block.text, tmp_path)
        path = tmp_path / "resilio.toml"
        path.write_text(block.text, encoding="utf-8")
        assert load_config(path, environ=environment_of(block.text)).providers
    elif is_script(document):
        assert Script.from_dict(document).rules
    elif isinstance(document.get("provider"), dict):
        path = tmp_path / "scenario.toml"
        path.write_text(block.text, encoding="utf-8")
        assert read_scenario(path)
    else:
        assert load_config(completed(document), environ=CONVENTIONAL).routes["chat"]


# --- code ----------------------------------------------------------------------------------------


def configuration_for(block):
    """The configuration that stands nearest above a block of code, or the first below it."""
    whole = [its for its in TOML if its.page == block.page and is_whole(its.text)]
    above = [its for its in whole if its.line < block.line]
    return (above[-1:] or whole[:1] or [None])[0]


def simulated(document):
    """A transport on which every provider of a configuration answers."""
    urls = {its["base_url"] for its in document["provider"] if its.get("base_url")}
    return ScriptedTransport({url: SimulatedProvider(Script(answer="A simulated answer.")) for url in urls})


async def my_own_call(model, *, stream):
    return f"what {model} says, streamed: {stream}"


def names_for(block, toml):
    """What pages take as given."""
    names = {"__name__": "example", "pytest": pytest, "VirtualTimeLoop": VirtualTimeLoop, "my_own_call": my_own_call}
    return names | ({} if toml is None else {"TOML": toml.text})


def perform(block, names):
    """Run a block; a fragment that awaits runs on virtual time, with an open client called `llm`."""
    code = compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, names)
        for name, its in list(names.items()):
            if name.startswith("test_"):
                its()
        return

    async def within():
        async with Client(WHOLE, transport=simulated(WHOLE)) as llm:
            await eval(code, {**names, "llm": llm})

    run(within())


@pytest.mark.parametrize("block", [its for its in PYTHON if its.why_not is None], ids=str)
def test_code_runs_as_printed(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toml = configuration_for(block)
    if toml is not None:
        Path("resilio.toml").write_text(toml.text, encoding="utf-8")
        write_files(toml.text, tmp_path)
        for name, value in environment_of(toml.text).items():
            monkeypatch.setenv(name, value)
        if "from_file" in block.text:
            transport = simulated(tomllib.loads(toml.text))
            monkeypatch.setattr("resilio.client._aiohttp_transport", lambda: transport)
            # Virtual time runs no threads.
            monkeypatch.setattr(Client, "__init__", partialmethod(Client.__init__, executor=InlineExecutor()))
    perform(block, names_for(block, toml))


# --- commands ------------------------------------------------------------------------------------

TYPED = re.compile(r"^(?:\$ |    )(resilio (?:[^\\\n]|\\\n)*)$", re.MULTILINE)
INLINE = re.compile(r"`(resilio [^`]*)`")
SYNOPSIS = re.compile(r"\[|\.\.\.|\||COMMAND|ACTION|^resilio --")
"""Says what may be typed rather than being typed."""


def commands_of(page):
    text = TEXTS[page]
    found = [its.replace("\\\n", " ") for its in TYPED.findall(text)]
    found += [" ".join(its.split()) for its in INLINE.findall(text)]
    return [its for its in found if not SYNOPSIS.search(its)]


COMMAND_LINES = sorted({(page, command) for page in TEXTS for command in commands_of(page)})


@pytest.mark.parametrize(("page", "line"), COMMAND_LINES)
def test_every_command_line_of_the_pages_is_one(page, line):
    _, name, *arguments = shlex.split(line, comments=True)
    parser = ArgumentParser(exit_on_error=False)
    import_module(COMMANDS[name].module).add_arguments(parser)
    if arguments and "--help" not in arguments:  # alone it is a command's name, not a line to type
        parser.parse_args(arguments)


def test_every_make_target_of_the_pages_is_there():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {its for text in TEXTS.values() for its in re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


# --- links ---------------------------------------------------------------------------------------


def slug(heading):
    """A heading's anchor, as mkdocs makes it."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"`", "", heading)).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


def anchors(path):
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {slug(its) for its in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"", TEXTS[page.name])
    broken = []
    for link in map("".join, links):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / name)) if name else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_navigation_and_in_the_readme():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2].partition("\nmarkdown")[0]
    pages = {page.name for page in PAGES[1:]}
    assert set(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)) == pages
    assert set(re.findall(r"\]\(docs/([\w-]+\.md)\)", TEXTS["README.md"])) == pages


def test_the_layers_of_the_architecture_page_are_those_the_linter_holds():
    drawn = re.search(r"^    cli > .*?(?=\n\n)", TEXTS["architecture.md"], re.MULTILINE | re.DOTALL)
    layers = [set(re.findall(r"\w+", layer)) for layer in drawn[0].split(">")]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    held = contracts["contracts"][0]["layers"]
    assert layers == [set(re.findall(r"resilio\.(\w+)", layer)) for layer in held]
