import os
import subprocess
import sys
from pathlib import Path

WORLD = Path(__file__).with_name("opening_world.py")
SOAK = os.environ.get("RESILIO_SOAK") == "1"


def test_many_who_open_and_close_one_ledger_at_the_same_moment_are_all_served():
    rounds, processes = (100, 16) if SOAK else (2, 6)
    ended = subprocess.run(
        [sys.executable, WORLD, str(rounds), str(processes)], capture_output=True, text=True, timeout=600
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "0\n")
