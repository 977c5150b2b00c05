# SPDX-License-Identifier: GPL-2.0-or-later
"""query: SQL over the events of a trace."""

from __future__ import annotations

import argparse
import sys

from emu.cli.failure import Failure, tell
from emu.cli.trace_file import open_trace, progress, stdout_console
from emu.trace.query import QueryError, query, write_csv, write_json
from emu.trace.tables import add_row, new_table


def run_query(arguments: argparse.Namespace) -> int:
    """Print the answer; 1 when the trace was cut off. Failure when the query is wrong or DuckDB is missing."""
    trace = open_trace(arguments.file)
    try:
        with progress(trace):
            result = query(trace, arguments.sql)
            if arguments.format == "table":
                rows = list(result.rows())
                first = rows[0] if rows else ("",) * len(result.columns)
                marks = (">" if isinstance(value, int | float) else "" for value in first)
                shown = new_table("", *(f"{mark}{name}" for mark, name in zip(marks, result.columns)))
                shown.title = None
                for row in rows:
                    add_row(shown, *("" if value is None else value for value in row))
        if arguments.format == "table":
            stdout_console().print(shown)
        elif arguments.format == "csv":
            write_csv(result, sys.stdout)
        else:
            write_json(result, sys.stdout)
    except QueryError as problem:
        raise Failure(f"query: {problem}") from None
    sys.stdout.flush()
    if trace.problem:
        tell(trace.problem)
        return 1
    return 0
