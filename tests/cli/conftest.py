"""Simulated providers for commands that run their own event loop: served from a thread with a loop of its own."""

import asyncio
import contextlib
import threading

import pytest

from resilio.testing import SimulatedServer


@contextlib.contextmanager
def _serving(providers):
    loop = asyncio.SelectorEventLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = SimulatedServer(providers)

    def within(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=30)

    try:
        within(server.__aenter__())
        try:
            yield server
        finally:
            within(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def serving():
    """Serves one provider, or several by name, until the test is over; gives the server."""
    with contextlib.ExitStack() as stack:
        yield lambda providers: stack.enter_context(_serving(providers))


@pytest.fixture
def configured(serving, tmp_path):
    """Writes a configuration whose route `chat` asks these providers in order; gives its path."""

    def write(**providers):
        urls = serving(providers).urls
        tables = [
            f'[[provider]]\nname = "{name}"\nkind = "openai"\nbase_url = "{url}"\nmodels.large = {{}}\n'
            for name, url in urls.items()
        ]
        targets = ", ".join(f'"{name}/large"' for name in providers)
        path = tmp_path / "resilio.toml"
        path.write_text("".join(tables) + f"[route.chat]\ntargets = [{targets}]\n")
        return path

    return write
