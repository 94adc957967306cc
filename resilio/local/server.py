"""The child process that serves a local model: settings in as arguments, one line out with the address.

Run as a file, not as a module, and importing nothing of resilio: the child holds the model and nothing else.
It is llama.cpp's own HTTP server; loading holds the GIL and computing wants a core, so it must not share a
process with an event loop.

The child lives as long as its standard input is open: a parent that dies, even by SIGKILL, closes that pipe,
on every system.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

KEY_VARIABLE: Final = "RESILIO_LOCAL_API_KEY"
"""Where the child finds the key that callers must send: arguments are there for everyone to see."""

MAX_EMBEDDED: Final = 512
"""Longest text, in tokens, that can be embedded: it must fit in one batch, and a batch takes 0.4 MB a token."""

ERRORS_ONLY: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends.

    Returns:
        Exit status: 1 when the model cannot be loaded; the reason is on standard error.
    """
    options = _parser().parse_args(arguments)
    # Only the address goes where the parent reads it; whatever else is printed, by C too, joins the errors.
    with os.fdopen(os.dup(1), "w") as to_parent:
        os.dup2(2, 1)
        try:
            import xllamacpp  # heavy, and a missing package must end in one line

            server = xllamacpp.Server(parameters(xllamacpp, options, os.environ.get(KEY_VARIABLE)))
        except Exception as exc:
            print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
            return 1
        print(json.dumps({"address": server.listening_address}), file=to_parent, flush=True)
    while sys.stdin.buffer.read(4096):
        pass
    # Not a return: the server's destructor waits for the answers in progress, which nobody reads any more.
    os._exit(0)


def parameters(llama: Any, options: argparse.Namespace, api_key: str | None = None) -> Any:
    """The server's own `CommonParams`.

    Args:
        llama: The module `xllamacpp`.
        options: What `_parser` gives.
        api_key: Callers must send it; None asks for none.
    """
    params = llama.CommonParams()
    params.model.path = options.weights
    params.model_alias = _like(params.model_alias, [options.alias])
    params.hostnames = _like(params.hostnames, ["127.0.0.1"])
    params.port = 0  # any free one
    params.api_keys = _like(params.api_keys, [api_key] if api_key else [])
    params.n_parallel = options.parallel
    # The server divides its context between the slots; what is asked for here is what each request may use.
    params.n_ctx = options.context * options.parallel
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.use_jinja = True
    params.endpoint_metrics = True
    params.endpoint_slots = False  # it shows the prompts of other callers
    params.ui = False
    params.verbosity = ERRORS_ONLY
    # By default it keeps the state of every prompt it ever saw, 23 kB a token, up to 8 GiB.
    params.cache_ram_mib = 0
    if options.embeddings:
        params.embedding = True
        params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = longest = min(options.context, MAX_EMBEDDED)
        params.n_ctx = longest * options.parallel
    return params


def _like(default: Iterable[str], values: list[str]) -> list[str] | set[str]:
    """The values as a set or a list, whichever this version of the server uses for the field."""
    return set(values) if isinstance(default, set | frozenset) else values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve a local model until standard input ends.")
    parser.add_argument("weights", help="the GGUF file")
    parser.add_argument("--alias", required=True, help="name of the model in answers")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute (%(default)s)")
    parser.add_argument("--context", type=int, default=4096, help="tokens one request may use (%(default)s)")
    parser.add_argument("--parallel", type=int, default=2, help="requests computed at one time (%(default)s)")
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings, mean pooling")
    return parser


if __name__ == "__main__":
    sys.exit(main())
