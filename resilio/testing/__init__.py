"""Tools to test code that calls LLM providers: virtual time, simulated providers, tried schedules.

Nothing in resilio itself needs them (only the command line does); they ship because its users' code has the
same things to prove.
"""

from resilio.testing import faults
from resilio.testing.conformance import Sample, check_codec, simulated_samples
from resilio.testing.embedder import check_embedder
from resilio.testing.executor import InlineExecutor
from resilio.testing.latency import Fixed, LogNormal, Mixture, Uniform
from resilio.testing.loop import Deadlock, NotVirtual, VirtualTimeLoop, run, wall_clock
from resilio.testing.provider import SimulatedProvider
from resilio.testing.reaction import Outcome, SeenRequest
from resilio.testing.schedule import ShufflingLoop, cancel_everywhere, shuffled
from resilio.testing.script import Flapping, Outage, Rule, Script
from resilio.testing.server import SimulatedServer, serve
from resilio.testing.store import check_store
from resilio.testing.transport import ScriptedTransport

__all__ = [
    "Deadlock",
    "Fixed",
    "Flapping",
    "InlineExecutor",
    "LogNormal",
    "Mixture",
    "NotVirtual",
    "Outage",
    "Outcome",
    "Rule",
    "Sample",
    "ScriptedTransport",
    "Script",
    "SeenRequest",
    "ShufflingLoop",
    "SimulatedProvider",
    "SimulatedServer",
    "Uniform",
    "VirtualTimeLoop",
    "cancel_everywhere",
    "check_codec",
    "check_store",
    "check_embedder",
    "faults",
    "run",
    "serve",
    "shuffled",
    "simulated_samples",
    "wall_clock",
]
