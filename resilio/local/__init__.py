"""A language model on this machine: from package-index wheels, served by a process of its own.

Nothing is compiled and nothing is fetched when a request runs. It leaves out the wire format (it is
OpenAI's, so the codec of that dialect serves it) and the requests themselves, which are the transport's.
"""

from resilio.local.install import (
    DEFAULT_MODEL,
    MODELS,
    LocalModel,
    LocalStatus,
    find_weights,
    install_model,
    status,
)
from resilio.local.process import LocalServer

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "LocalModel",
    "LocalServer",
    "LocalStatus",
    "find_weights",
    "install_model",
    "status",
]
