# SPDX-License-Identifier: GPL-2.0-or-later
"""report and script: the verbs that read a trace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from rich.console import Console

from emu.cli.failure import Failure, tell
from emu.trace import script as lines
from emu.trace.reader import Trace, TraceError
from emu.trace.summary import print_report
from emu.trace.symbols import Symbols
from emu.tracepoint import Kind, Row

WIDE = 100


def _open(path: str) -> Trace:
    try:
        return Trace(path)
    except TraceError as problem:
        raise Failure(str(problem)) from None


def report(arguments: argparse.Namespace) -> int:
    """Print the summary of a trace."""
    trace = _open(arguments.file)
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, soft_wrap=not sys.stdout.isatty())
    print_report(trace, console)
    sys.stdout.flush()
    return 0


def script(arguments: argparse.Namespace) -> int:
    """Print every event; 0, or 1 when the trace was cut off."""
    trace = _open(arguments.file)
    rows: Iterator[Row] = trace.rows()
    if arguments.format == "text":
        rows, bias = _peek_bias(rows)
        symbols = Symbols.of_trace(trace.metadata, bias)
        if arguments.from_entry:
            rows = lines.from_entry(rows)
        found = lines.text_lines(rows, str(trace.metadata.get("comm", "")), symbols)
    else:
        if arguments.from_entry:
            rows = lines.from_entry(rows)
        found = lines.kernel_lines(rows) if arguments.format == "kernel" else lines.json_lines(rows)
    write = sys.stdout.write
    for line in found:
        write(line + "\n")
    sys.stdout.flush()
    if trace.problem:
        tell(trace.problem)
        return 1
    return 0


def _peek_bias(rows: Iterator[Row]) -> tuple[Iterator[Row], int]:
    """The rows again, and the load bias that the exec event among the first of them tells."""
    seen: list[Row] = []
    bias = 0
    for row in rows:
        seen.append(row)
        if row[4] == Kind.EXEC:
            bias = row[5]
            break

    def again() -> Iterator[Row]:
        yield from seen
        yield from rows

    return again(), bias
