# SPDX-License-Identifier: GPL-2.0-or-later
"""report --html and --svg: pictures of a trace as files."""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console
from rich.text import Text

from emu.cli.failure import Failure
from emu.trace.escape import printable
from emu.trace.reader import Trace, TraceError


def pictures(arguments: argparse.Namespace) -> int:
    """Write the page, the SVG, or both; tell their sizes on stderr."""
    from emu.ui.html import write_html, write_svg

    console = Console(stderr=True, highlight=False)
    for path, write in ((arguments.html, write_html), (arguments.svg, write_svg)):
        if path is None:
            continue
        if os.path.exists(path) and os.path.exists(arguments.file) and os.path.samefile(path, arguments.file):
            raise Failure(f"{path}: is the trace itself")
        try:
            with console.status(Text(f"drawing {printable(path)}")):
                size = write(Trace(arguments.file), path)
        except TraceError as problem:
            raise Failure(str(problem)) from None
        except OSError as error:
            raise Failure(f"{path}: cannot be written: {error.strerror or error}") from None
        sys.stderr.write(f"[ mmscope report: {size} bytes in {printable(path)} ]\n")
    return 0
