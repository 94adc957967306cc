"""Where commands print: rich on a terminal, plain text anywhere else.

Answers and results go to standard output, everything about them to standard error, so that a pipe gets what it
wants. Colour, boxes and spinners appear only where a person looks (a terminal, and NO_COLOR not set); rich is
imported only there. Text that came from a provider loses its control characters before a terminal sees it: an
answer must not move the cursor or rename the window.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Screen", "printable"]

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text without control characters other than line breaks and tabs."""
    return _CONTROLS.sub("", text)


class Screen:
    """Two streams.

    Args:
        out: For results; by default standard output, as it is now.
        err: For all else; by default standard error.
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out = sys.stdout if out is None else out
        self.err = sys.stderr if err is None else err

    @property
    def width(self) -> int | None:
        """Columns of the terminal that results go to; None: they go elsewhere."""
        if not self.out.isatty():
            return None
        return shutil.get_terminal_size().columns if self._out_console is None else self._out_console.width

    # --- results: standard output ------------------------------------------------------------

    def say(self, text: str = "", style: str = "") -> None:
        """One or more lines."""
        self._print(self.out, self._out_console, text, style)

    def write(self, text: str) -> None:
        """A piece of an answer, at once and without a line break."""
        self.out.write(printable(text) if self.out.isatty() else text)
        self.out.flush()

    def json(self, value: Any) -> None:
        """One line of JSON."""
        self.out.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
        self.out.flush()

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under headers."""
        if (console := self._out_console) is not None:
            from rich.table import Table
            from rich.text import Text

            # What is too wide goes on in the next line: half a number would be another number.
            table = Table(header_style="bold")
            for header in headers:
                table.add_column(header, overflow="fold")
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
            return
        widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
        for row in (headers, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.say("  ".join(cells).rstrip())

    def markdown(self, text: str) -> None:
        """Markdown: drawn on a terminal, as it is elsewhere."""
        if (console := self._out_console) is not None:
            from rich.markdown import Markdown

            console.print(Markdown(text))
            return
        self.say(text)

    # --- about them: standard error ----------------------------------------------------------

    def note(self, text: str, style: str = "") -> None:
        """One or more lines."""
        self._print(self.err, self._err_console, text, style)

    def busy(self, text: str) -> AbstractContextManager[Any]:
        """A spinner while something runs, on a terminal only; nothing may be said to standard output meanwhile."""
        console = self._err_console
        return nullcontext() if console is None else console.status(text)

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[float], None]]:
        """A bar, on a terminal only; call what is given with the share that is done, 0 to 1, as often as you like."""
        if (console := self._err_console) is None:
            yield lambda share: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task(text, total=1.0)
            shown = 0.0

            def show(share: float) -> None:
                nonlocal shown
                if share - shown >= 0.005 or share >= 1.0:  # rich takes a lock and reads clocks: not for each call
                    shown = share
                    bar.update(task, completed=share)

            yield show

    # --- inside ------------------------------------------------------------------------------

    @cached_property
    def _out_console(self) -> Console | None:
        return _console(self.out)

    @cached_property
    def _err_console(self) -> Console | None:
        return _console(self.err)

    def _print(self, stream: TextIO, console: Console | None, text: str, style: str) -> None:
        if console is None:
            stream.write(f"{text}\n")
            stream.flush()
            return
        from rich.text import Text

        console.print(Text(printable(text), style), soft_wrap=True)


def _console(stream: TextIO) -> Console | None:
    """A console for a terminal that may be coloured; None: plain text."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)
