# SPDX-License-Identifier: GPL-2.0-or-later
"""report --flame: call stacks as a picture."""

from __future__ import annotations

import argparse
import os

from emu.cli.failure import Failure, tell
from emu.trace.export.output import ExportError, Output
from emu.trace.export.source import Source
from emu.trace.reader import TraceError
from emu.trace.stacks import UNITS, Folder


def write_flame(arguments: argparse.Namespace) -> int:
    """Write the picture; 0, or 1 when the trace was cut off."""
    from emu.ui.flame import render_flame

    try:
        source = Source(arguments.file)
        symbols = source.symbols(arguments.program)
        stacks = Folder(source.metadata, symbols, arguments.weight).add(source.rows())
        meta = source.metadata
        title = f"{os.path.basename(str(meta.get('program')))} on {meta.get('arch')}, --locking {meta.get('locking')}: "
        title += UNITS[arguments.weight]
        with Output(arguments.flame) as output:
            output.open()
            output.write(render_flame(stacks, title).encode())
    except (TraceError, ExportError) as problem:
        raise Failure(str(problem)) from None
    for note in (stacks.note(), symbols.note, source.trace.problem):
        if note:
            tell(note)
    return 1 if source.trace.problem else 0
