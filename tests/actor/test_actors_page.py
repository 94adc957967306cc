"""The page on actors: its configuration is one, its example runs and prints what the page says."""

import re
from pathlib import Path

from resilio.config import load_config
from resilio.config.docs import PAGES

TEXT = (Path(PAGES) / "actors.md").read_text(encoding="utf-8")


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return found


def test_the_example_prints_what_the_page_says(capsys):
    example = block("python")
    exec(compile(example, "actors.md", "exec"), {"__name__": "example"})
    said = [line.removeprefix("# ") for line in example.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == said


def test_the_configuration_is_one(tmp_path):
    path = tmp_path / "resilio.toml"
    path.write_text(block("toml"), encoding="utf-8")
    config = load_config(path, environ={"OPENAI_API_KEY": "sk-1", "OPENAI_API_KEY_2": "sk-2"})
    assert config.providers[0].queue.max_waiting == 200
    assert len(config.providers[0].keys) == 2
