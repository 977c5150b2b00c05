# SPDX-License-Identifier: GPL-2.0-or-later
"""The verb export: a trace for other programs."""

from __future__ import annotations

import argparse
import sys

from emu.cli.failure import Failure, tell
from emu.trace.export.output import ExportError, Output, OutputDirectory
from emu.trace.export.source import Source
from emu.trace.reader import TraceError


def export(arguments: argparse.Namespace) -> int:
    """Write the export; 0, or 1 when the trace was cut off."""
    try:
        source = Source(arguments.file)
        if arguments.to == "parquet" and arguments.output == "-":
            raise Failure("parquet is a directory of files: name one with -o")
        if arguments.to in ("perfetto", "trace.dat") and arguments.output == "-" and sys.stdout.isatty():
            raise Failure(f"a {arguments.to} trace is binary: name a file with -o")
        note = _write(source, arguments)
    except (TraceError, ExportError) as problem:
        raise Failure(str(problem)) from None
    if note:
        tell(note)
    if source.trace.problem:
        tell(source.trace.problem)
        return 1
    return 0


def _write(source: Source, arguments: argparse.Namespace) -> str:
    target = arguments.output
    if arguments.to == "parquet":
        from emu.trace.export.tabular import write_parquet

        with OutputDirectory(target) as directory:
            directory.open()
            write_parquet(source, directory, arguments.partition)
        return ""
    with Output(target) as output:
        output.open()
        if arguments.to == "csv":
            from emu.trace.export.tabular import write_csv

            write_csv(source, output)
            return ""
        if arguments.to == "ftrace":
            from emu.trace.export.ftrace import write_ftrace

            return write_ftrace(source, output)
        if arguments.to == "trace.dat":
            from emu.trace.export.tracedat import write_tracedat

            return write_tracedat(source, output)
        if arguments.to == "folded":
            from emu.trace.export.folded import write_folded

            return write_folded(source, output, arguments.weight)
        from emu.trace.export.perfetto import write_perfetto

        return write_perfetto(source, output)
