# SPDX-License-Identifier: GPL-2.0-or-later
"""Folded stacks: a line for each path of calls, with its weight behind it."""

from __future__ import annotations

from emu.trace.export.output import Output
from emu.trace.export.source import Source
from emu.trace.stacks import Folder, Weight, folded_lines


def write_folded(source: Source, output: Output, weight: Weight) -> str:
    """Write them; the result says what was left out."""
    symbols = source.symbols()
    stacks = Folder(source.metadata, symbols, weight).add(source.rows())
    for line in folded_lines(stacks):
        output.write(line.encode() + b"\n")
    return "; ".join(part for part in (stacks.note(), symbols.note) if part)
