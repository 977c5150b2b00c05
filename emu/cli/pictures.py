# SPDX-License-Identifier: GPL-2.0-or-later
"""report --html and --svg: pictures of a trace as files."""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console
from rich.text import Text

from emu.cli.failure import Failure, tell
from emu.trace.escape import printable
from emu.trace.export.output import ExportError
from emu.trace.reader import Trace, TraceError


def pictures(arguments: argparse.Namespace) -> int:
    """Write the page, the SVG, or both; tell their sizes on stderr. 0, or 1 when the trace was cut off."""
    from emu.ui.html import write_html, write_svg

    console = Console(stderr=True, highlight=False)
    problem = None
    for path, write in ((arguments.html, write_html), (arguments.svg, write_svg)):
        if path is None:
            continue
        if os.path.exists(path) and os.path.exists(arguments.file) and os.path.samefile(path, arguments.file):
            raise Failure(f"{path}: is the trace itself")
        try:
            trace = Trace(arguments.file)
            with console.status(Text(f"drawing {printable(path)}")):
                size = write(trace, path, arguments.program)
            problem = trace.problem
        except (TraceError, ExportError) as error:
            raise Failure(str(error)) from None
        sys.stderr.write(f"[ mmscope report: {size} bytes in {printable(path)} ]\n")
    if problem:
        tell(problem)
    return 1 if problem else 0
