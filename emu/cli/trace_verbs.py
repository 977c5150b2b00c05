# SPDX-License-Identifier: GPL-2.0-or-later
"""report and script: the verbs that read a trace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from emu.cli.failure import Failure, tell
from emu.cli.trace_file import open_trace, progress, stdout_console
from emu.trace import script as lines
from emu.trace.export.source import Source
from emu.trace.images import TraceSymbols
from emu.trace.kernel_record import kernel_lines
from emu.trace.perf_script import perf_lines
from emu.trace.reader import Trace, TraceError
from emu.tracepoint import Row


def report(arguments: argparse.Namespace) -> int:
    """Print the summary of a trace, or what the options ask for instead; 0, or 1 when the trace was cut off."""
    if arguments.html or arguments.svg:
        from emu.cli.pictures import pictures

        return pictures(arguments)
    if arguments.flame:
        from emu.cli.flame import write_flame

        return write_flame(arguments)
    trace = open_trace(arguments.file)
    console = stdout_console()
    if arguments.by:
        from emu.trace.grouping import group
        from emu.trace.report_tables import print_grouping, print_notes

        with progress(trace):
            found = group(trace, arguments.by, arguments.program)
        print_grouping(found, arguments.entries, console)
        print_notes([*found.notes, trace.problem], console)
    elif arguments.lock_waits:
        _lock_waits(arguments, trace)
    elif arguments.fault is not None:
        from emu.trace.fault_story import NoSuchFault, tell_fault

        try:
            for line in tell_fault(trace, arguments.fault, arguments.program):
                sys.stdout.write(line + "\n")
        except NoSuchFault as problem:
            if trace.problem:
                tell(trace.problem)
            raise Failure(str(problem)) from None
        except TraceError as problem:
            raise Failure(str(problem)) from None
    else:
        from emu.trace.summary import Summary, print_summary

        with progress(trace):
            summary = Summary(trace, arguments.program)
        print_summary(trace, summary, console)
    sys.stdout.flush()
    return 1 if trace.problem else 0


def _lock_waits(arguments: argparse.Namespace, trace: Trace) -> None:
    from emu.trace.lock_waits import contention, find_waits
    from emu.trace.report_tables import print_contention, print_notes, print_waits

    console = stdout_console()
    with progress(trace):
        waits = find_waits(trace)
    if not waits:
        console.print("nobody waited for a lock")
    elif arguments.per == "wait":
        print_waits(waits, arguments.entries, console)
    else:
        per = arguments.per or "chain"
        print_contention(contention(waits, per), per, arguments.key, arguments.entries, console)
    unfinished = sum(not each.ended for each in waits)
    note = f"{unfinished} waits were not over at the end; they count until then" if unfinished else None
    print_notes([note, trace.problem], console)


def script(arguments: argparse.Namespace) -> int:
    """Print every event; 0, or 1 when the trace was cut off."""
    trace = open_trace(arguments.file)
    rows: Iterator[Row] = trace.rows()
    kernel = arguments.format == "kernel"
    symbols: TraceSymbols | None = None
    only = lines.Only(arguments.pid, arguments.tid, arguments.event)
    if arguments.children and not kernel:
        raise Failure("--children is for --format kernel; the other formats have the events of all tasks")
    if arguments.format == "text":
        symbols = TraceSymbols(trace.path)
        found = lines.text_lines(rows, str(trace.metadata.get("comm", "")), symbols, arguments.from_entry, only)
    elif arguments.format == "perf":
        source = Source(arguments.file)
        trace, symbols = source.trace, source.symbols()
        rows = lines.from_entry(source.rows()) if arguments.from_entry else source.rows()
        found = perf_lines(rows, trace.metadata, symbols, only)
    else:
        if arguments.from_entry:
            rows = lines.from_entry(rows)
        rows = filter(only, rows)
        found = kernel_lines(rows, arguments.children) if kernel else lines.json_lines(rows)
    write = sys.stdout.write
    for line in found:
        write(line + "\n")
    sys.stdout.flush()
    if symbols is not None and symbols.note:
        tell(symbols.note)
    if trace.problem:
        tell(trace.problem)
        return 1
    return 0
