import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

WORLD = Path(__file__).with_name("crash_world.py")
SOAK = os.environ.get("RESILIO_SOAK") == "1"


def crashed(kills, processes, seed):
    command = [sys.executable, WORLD, f"--kills={kills}", f"--processes={processes}", f"--seed={seed}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_instants_it_loses_nothing_counts_nothing_twice_and_overspends_nothing(processes):
    kills = 100 if SOAK else 10
    # Another seed each time it runs in full: instants are random anyway.
    found = crashed(kills // processes, processes, random.randrange(10**6) if SOAK else 1)
    wrong = {name: found[name] for name in ("lost", "double", "overspent", "presumed_wrong")}
    assert wrong == dict.fromkeys(wrong, 0), found
    assert found["kills"] == kills
    assert found["audit_clean"]
    assert found["acknowledged"] > 100  # they were killed at work
    assert 0 <= found["left"] < 700 * processes  # whoever came afterwards could spend the 2000 there were, and no more
