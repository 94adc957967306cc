"""The examples of docs/testing.md run as printed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from resilio.testing import Script
from resilio.testing.faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run_and_print_what_the_page_says(number):
    calls = "\ntest_a_cancelled_call_leaves_nothing_behind()\n" if number == 1 else ""
    code = blocks("python")[number] + calls
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    assert ended.stdout == (blocks("text")[0] if number == 0 else "")


def test_the_script_of_the_page_is_a_script():
    script = Script.from_dict(tomllib.loads(blocks("toml")[0]))
    assert len(script.rules) == 3


def test_the_page_names_every_fault():
    table = PAGE.read_text(encoding="utf-8")
    assert [name for name in FAULTS if f"`{name}`" not in table] == []
