"""The index under everything at once, in real threads, in a process whose crash is a failure with a message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = os.environ.get("RESILIO_SOAK") == "1"
SECONDS = 60 if SOAK else 5
DONE = ("searches", "additions", "removals", "saves", "loads", "task", "twice", "timeout", "scope", "absorbed")


@pytest.mark.real_loop
def test_nothing_crashes_lies_or_waits_for_ever_when_everything_happens_at_once():
    command = [sys.executable, "-X", "faulthandler", "-W", "error", Path(__file__).with_name("index_soak.py")]
    soak = subprocess.run(
        [*command, str(SECONDS), "20261124"], capture_output=True, text=True, timeout=900, check=False
    )
    died = f"killed by signal {-soak.returncode}" if soak.returncode < 0 else f"exit status {soak.returncode}"
    assert soak.returncode == 0, f"{died}\n{soak.stderr}"
    done = json.loads(soak.stdout)
    assert all(done[what] > 10 for what in DONE), done
    assert done["graphs"] >= 1, done
    assert not soak.stderr, "no task and no exception was forgotten"
