"""The page about operation: its example runs and says what it says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_the_example_runs_and_prints_what_the_page_says(tmp_path):
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "('provider.openai',)"
    assert "opneai" in done.stdout
    assert said[-2:] == ["8", "forced_open"]
    for line in (said[0], *said[-2:]):
        assert f"  # {line}\n" in example
    assert [path.name for path in tmp_path.iterdir()] == ["resilio.toml"]
