"""The page on networks: its example runs, its configuration is one, its words are those of the code."""

import inspect
import re
from pathlib import Path

import trustme

from resilio.config import load_config
from resilio.config.docs import PAGES
from resilio.dispatch import attempt
from resilio.transport import advice

PAGE = (Path(PAGES) / "network.md").read_text(encoding="utf-8")


VARIABLE = re.compile(r"(?:(?<=\s)|^)(?:[A-Z]+|\d+|\.\.\.),?(?=\s|$)")
"""A word of a message that stands for another: HOST, 407, three dots."""


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def test_the_example_runs(capsys):
    exec(compile(block("python"), "network.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_configuration_is_one(tmp_path):
    folder = tmp_path / "certificates"
    folder.mkdir()
    ca = trustme.CA()
    issued = ca.issue_cert("gateway@example.org")
    (folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
    (folder / "gateway.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (folder / "gateway.key").write_bytes(issued.private_key_pem.bytes())
    path = tmp_path / "resilio.toml"
    path.write_text(block("toml"), encoding="utf-8")
    config = load_config(path, environ={"OPENAI_API_KEY": "sk-test", "COMPANY_PROXY": "http://me:pass@proxy.test:3128"})
    openai, house, sidecar = (provider.network for provider in config.providers)
    assert openai.proxy == "http://me:pass@proxy.test:3128"
    assert house.client_key == str(folder / "gateway.key")
    assert sidecar.unix_socket == "/run/llm/http.sock"


def test_every_message_of_the_table_is_one_of_the_code():
    source = " ".join((inspect.getsource(advice) + inspect.getsource(attempt)).split())
    table = PAGE.partition("| the message says |")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:] if line.startswith("|")]
    phrases = [part for row in rows for part in row.partition(" (class")[0].split("; ")]
    # What is a name, a figure or left out here is filled in there; all between stands in the code as it is.
    missing = [phrase for phrase in phrases if not all(run.strip() in source for run in VARIABLE.split(phrase))]
    assert len(rows) >= 18
    assert missing == []
