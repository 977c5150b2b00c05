# SPDX-License-Identifier: GPL-2.0-or-later
"""What the verbs that read a trace share: opening it, the console that they print on, progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from emu.cli.failure import Failure
from emu.trace.escape import printable
from emu.trace.reader import Trace, TraceError

WIDE = 1000  # columns where standard output is no terminal: nothing is folded


def open_trace(path: str) -> Trace:
    """The trace, or Failure that says why it cannot be read."""
    try:
        return Trace(path)
    except TraceError as problem:
        raise Failure(str(problem)) from None


class _Stdout(Console):
    def on_broken_pipe(self) -> None:
        """rich would end the process with status 1; here the reader of our output may go as it likes."""
        raise BrokenPipeError


def stdout_console() -> Console:
    """For tables: as wide as the terminal; where standard output is none, lines as long as they are."""
    terminal = sys.stdout.isatty()
    return _Stdout(width=None if terminal else WIDE, highlight=False, soft_wrap=not terminal)


def wide_text() -> bool:
    """May lines be longer than the terminal is wide: they may where standard output is none."""
    return not sys.stdout.isatty()


@contextmanager
def progress(trace: Trace, what: str = "reading") -> Iterator[None]:
    """While the body runs, how much of `trace` was read, on standard error if that is a terminal. It goes away at the
    end, an interrupted one too."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as shown:
        task = shown.add_task(f"{what} {printable(trace.path)}", total=1.0)
        trace.progress = lambda part: shown.update(task, completed=part)
        try:
            yield
        finally:
            trace.progress = None
