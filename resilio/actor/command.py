"""`Command`: runs a program whose standard output is a secret, in the caller's thread, and sees that it ends.

Blocks, so it is for a thread. No shell is involved, standard error is never read, and the program's words appear in
no message. The rule: whatever ends the wait, a timeout, another thread or Ctrl-C, kills the program and all it started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import Final

from resilio.config.secrets import MAX_SECRET, SecretUnreadable, Source, clean, words_of

__all__ = ["GRACE", "Command"]

GRACE: Final = 5.0
"""Seconds a program gets to be gone once it was killed or has closed its output."""


class Command:
    """One run of a program whose standard output is a secret. No shell is involved.

    Args:
        line: Program and arguments, parted as a shell would.
        timeout: Seconds after which it is killed.
    """

    def __init__(self, line: str, timeout: float) -> None:
        self._line = line
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._called_off = False

    def run(self) -> str:
        """Run it to its end; blocks. Whatever ends the wait, Ctrl-C too, ends the program.

        Raises:
            SecretUnreadable: It cannot be run, failed, took too long, or wrote no key.
        """
        process = self._start()
        written: list[bytes] = []
        # A thread of its own: what inherited the pipe may keep it open after the program is gone.
        reader = threading.Thread(target=_read, args=(process, written), name="resilio key", daemon=True)
        done = False
        try:
            reader.start()
            reader.join(self._timeout)
            late = reader.is_alive()
            if not late and written and len(written[0]) <= MAX_SECRET:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
                    done = True
        finally:
            self._end(process, reader, kill=not done)
        if self._called_off:
            raise SecretUnreadable("was called off")
        if late or not (done or len(written[0]) > MAX_SECRET):
            raise SecretUnreadable(f"did not end within {self._timeout:g} s")
        if done and process.returncode:
            raise SecretUnreadable(f"failed: exit status {process.returncode}")
        return clean(written[0])

    def _start(self) -> subprocess.Popen[bytes]:
        words, process, problem = words_of(self._line), None, "was called off"
        with self._lock:
            try:
                if not self._called_off:
                    process = self._process = subprocess.Popen(  # noqa: S603 - the operator's own command
                        words,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                    )
            except (OSError, ValueError) as exc:  # ValueError: a word holds a NUL
                problem = f"cannot be run: {getattr(exc, 'strerror', None) or 'a word of it is no argument'}"
        if process is None:
            raise SecretUnreadable(problem)
        return process

    def call_off(self) -> None:
        """Kill the program, from another thread; `run` then raises. At once, and harmless at any time."""
        with self._lock:
            self._called_off = True
            if self._process is not None and self._process.returncode is None:
                _kill(self._process)

    def _end(self, process: subprocess.Popen[bytes], reader: threading.Thread, *, kill: bool) -> None:
        if kill:
            with self._lock:
                if process.returncode is None:
                    _kill(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            reader.join(GRACE)
        if process.stdout is not None and not reader.is_alive():  # closing waits for who reads
            process.stdout.close()

    def __repr__(self) -> str:
        return f"<Command {Source('command', self._line)}>"


def _read(process: subprocess.Popen[bytes], written: list[bytes]) -> None:
    assert process.stdout is not None, "it was started with a pipe"
    written.append(process.stdout.read(MAX_SECRET + 1))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The program and what it started: it is the first of a process group of its own."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
