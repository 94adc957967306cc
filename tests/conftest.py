"""What every test gets: virtual time, reproducible hypothesis runs, and the soak switch."""

import asyncio
import os
import random
import signal

import pytest
from hypothesis import HealthCheck, settings

from resilio.testing import VirtualTimeLoop

SOAK = os.environ.get("RESILIO_SOAK") == "1"

settings.register_profile("default", max_examples=40, stateful_step_count=30, derandomize=True, deadline=None)
settings.register_profile(
    "soak",
    max_examples=2000,
    stateful_step_count=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("soak" if SOAK else "default")


def pytest_configure():
    """Let Ctrl-C reach the tests of it, and what they start: a shell's background jobs begin with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Deselect what is marked `soak` unless RESILIO_SOAK=1; a skip reads as a test switched off."""
    if SOAK:
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture
def anyio_backend(request):
    """Async tests run on virtual time, those marked `real_loop` on asyncio's own loop."""
    real = request.node.get_closest_marker("real_loop")
    return "asyncio", {"loop_factory": asyncio.SelectorEventLoop if real else VirtualTimeLoop}


@pytest.fixture
def rng():
    """A generator that gives the same numbers in every run."""
    return random.Random(20261123)
